//! The TEE that this keep is built for. It is compiled in, like the machine: no host chooses it. What differs from
//! one TEE to another in the keep is said here.

const options = @import("options");

pub const Tee = enum { snp, sev, sev_es };
pub const current: Tee = options.tee;

/// The name in evidence and statements.
pub const name = switch (current) {
    .snp => "snp",
    .sev => "sev",
    .sev_es => "sev-es",
};

/// How a keep proves itself: with evidence that it asks its TEE for, or with a secret that only its launch was given.
pub const session = switch (current) {
    .snp => @import("attested.zig"),
    .sev, .sev_es => @import("pre_attested.zig"),
};

/// Whether an exit is stated on the GHCB page. On SEV a host sees the processor's registers: nothing needs saying.
pub const states_exits = current != .sev;
