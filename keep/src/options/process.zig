//! The process kind: a sandboxed Linux process, where a machine has no virtual processor to offer.
pub const kind = .process;
