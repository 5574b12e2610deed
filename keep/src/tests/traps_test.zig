const std = @import("std");
const layout = @import("../layout.zig");
const traps = @import("../traps.zig");
const linux = @import("../linux.zig");
const Trap = @import("../machine.zig").Trap;

fn trapAt(frame_pointer: u64) Trap {
    return .{ .vector = 14, .error_code = 6, .instruction = 0x4000_0010, .fault_address = 8, .stack_pointer = 0x90_0000, .frame_pointer = frame_pointer };
}

test "frames are read on the stack only, ever upwards, and at most 48" {
    if (!linux.reserve(layout.stack, layout.stack_end - layout.stack, 3)) return error.SkipZigTest;
    const words: [*]u64 = @ptrFromInt(layout.stack);
    var out: [traps.report_maximum]u8 = undefined;
    const count = struct {
        fn of(report: []const u8) u32 {
            return std.mem.readInt(u32, report[48..52], .little);
        }
    }.of;

    for ([_]u64{ 0, 8, layout.stack - 8, layout.stack + 4, layout.stack_end - 8, layout.stack_end, std.math.maxInt(u64) - 7 }) |nowhere| {
        try std.testing.expectEqual(0, count(traps.report(&trapAt(nowhere), 65_536, &out)));
    }
    // A chain of 60 frames, then one that points back to the first.
    for (0..60) |index| {
        words[2 * index] = layout.stack + 16 * (index + 1);
        words[2 * index + 1] = 1000 + index;
    }
    const report = traps.report(&trapAt(layout.stack), 65_536, &out);
    try std.testing.expectEqual(48, count(report));
    try std.testing.expectEqual(56 + 48 * 8, report.len);
    try std.testing.expectEqual(1047, std.mem.readInt(u64, report[report.len - 8 ..][0..8], .little));
    words[4] = layout.stack;
    try std.testing.expectEqual(3, count(traps.report(&trapAt(layout.stack), 65_536, &out)));
    words[4] = layout.stack + 32;
    try std.testing.expectEqual(3, count(traps.report(&trapAt(layout.stack), 65_536, &out)));
}

test "only addresses of the image are public" {
    for ([_]u64{ 0, layout.image - 1, layout.image_end, 0x4000_0000, 0x90_0000 }) |private| try std.testing.expectEqual(0, traps.publicAddress(private));
    try std.testing.expectEqual(layout.text, traps.publicAddress(layout.text));
}
