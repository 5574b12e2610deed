//! The machine under the keep: a guest of a processor with a TEE, or a process in its place. One is compiled in;
//! nothing above this file knows which.
//!
//! A machine provides:
//!   start()                                     what has to be done before anything else
//!   leave()                                     the one exit: hands the processor to the host until it answers
//!   map(region, address, first, blocks) bool    maps whole blocks of the pool, `first` counted from its start
//!   mapTail(address, block, first, end) bool    maps wasm pages [first, end) of the last block of linear memory
//!   lock(address, blocks) bool                  maps the segment mapped first read-execute, and ends all changes to
//!                                               segments
//!   trap() Trap                                 what the last exception was
//!   memory_is_zero                              whether memory that was not part of the launch reads as zero

const options = @import("options");

pub const Kind = enum { guest, process, testing };
pub const kind: Kind = options.machine;

pub const current = switch (kind) {
    .guest => @import("guest.zig"),
    .process => @import("process.zig"),
    .testing => @import("testing_machine.zig"),
};

/// Where blocks may be mapped, and how: there is no executable region (see `lock`). Both kinds of segments may only
/// be mapped before the lock. The first block of `contents` and of `linear` is mapped from the start.
pub const Region = enum { segments, read_only_segments, contents, linear };

/// An exception in ring 3, in the processor's own terms.
pub const Trap = extern struct {
    vector: u64,
    error_code: u64,
    instruction: u64,
    fault_address: u64,
    stack_pointer: u64,
    frame_pointer: u64,
};
