//! The root of a keep's image: where the processor arrives, at the start and after an exception.

const std = @import("std");
const Keep = @import("keep.zig").Keep;
const machine = @import("machine.zig");
const session = @import("session.zig");

/// A failed safety check is a trap like any other: it ends the keep, and says nothing in clear.
pub const panic = std.debug.no_panic;

pub const std_options: std.Options = .{
    .side_channels_mitigations = .full,
};

export fn keepMain() callconv(.c) noreturn {
    machine.current.start();
    session.serve(.current());
}

export fn keepTrapped() callconv(.c) noreturn {
    Keep.current().trapped(machine.current.trap());
}

comptime {
    _ = machine.current;
}
