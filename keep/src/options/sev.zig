//! The sev kind: a guest of AMD SEV, whose launch is attested before it runs.
pub const machine = .guest;
pub const tee = .sev;
