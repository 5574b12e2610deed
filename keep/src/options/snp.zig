//! The snp kind: a guest of AMD SEV-SNP, entered in ring 3, with the small ring 0 of `ring0.s`.
pub const machine = .guest;
pub const tee = .snp;
