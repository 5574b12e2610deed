//! The process-sev-es kind: a sandboxed Linux process in place of the sev-es kind.
pub const machine = .process;
pub const tee = .sev_es;
