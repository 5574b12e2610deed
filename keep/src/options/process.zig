//! The process kind: a sandboxed Linux process in place of the snp kind, where a machine has no virtual processor to
//! offer.
pub const machine = .process;
pub const tee = .snp;
