//! Evidence of a keep whose launch was attested before it ran (SEV, SEV-ES): the launch gave it a secret of the
//! tenant's, and it proves that it has it. Such a keep cannot know its own measurement, and there is no HOST_DATA: what
//! the host hints is made true by the proof, which covers it.

const std = @import("std");
const crypto = std.crypto;
const layout = @import("layout.zig");
const slot = @import("slot.zig");
const tee = @import("tee.zig");
const Hints = @import("window.zig").Hints;
const Refused = @import("wire.zig").Refused;
const Wire = @import("wire.zig").Wire;

pub const Evidence = struct {
    bytes: [32]u8,
    measurement: [0]u8,
    tenant_key_digest: [32]u8,
};

/// What the launch gave this keep: a secret that it shares with its tenant.
pub const Launch = struct {
    launch_secret: [32]u8,

    pub fn take(wire: *Wire) Refused!Launch {
        var symbols = slot.take(@ptrFromInt(layout.launch_page)) orelse return wire.refuse(.launch_slot, 0);
        defer crypto.secureZero(u8, &symbols);
        return .{ .launch_secret = slot.launchSecret(&symbols, tee.name) };
    }

    /// Mixed into entropy and the keys of records.
    pub fn secret(self: *const Launch) []const u8 {
        return &self.launch_secret;
    }

    pub fn wipe(self: *Launch) void {
        crypto.secureZero(u8, &self.launch_secret);
    }

    pub fn attest(self: *Launch, _: *Wire, hints: *const Hints, report_data: *const [64]u8) Refused!Evidence {
        return .{
            .bytes = slot.proof(&self.launch_secret, report_data),
            .measurement = .{},
            .tenant_key_digest = hints.tenant_key_digest,
        };
    }
};
