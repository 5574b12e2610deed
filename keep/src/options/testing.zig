//! Unit tests on the development machine.
pub const machine = .testing;
pub const tee = .snp;
