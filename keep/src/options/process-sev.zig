//! The process-sev kind: a sandboxed Linux process in place of the sev kind.
pub const machine = .process;
pub const tee = .sev;
