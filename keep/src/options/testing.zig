//! Unit tests on the development machine.
pub const kind = .testing;
