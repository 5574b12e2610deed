//! The sev-es kind: a guest of AMD SEV-ES, whose launch is attested before it runs.
pub const machine = .guest;
pub const tee = .sev_es;
