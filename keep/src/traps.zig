//! The report of a trap, to the tenant only: docs/protocol.md section 3, TRAP.

const std = @import("std");
const layout = @import("layout.zig");
const Trap = @import("machine.zig").Trap;

pub const frames_maximum = 48;
const header_size = 56;
pub const report_maximum = header_size + 8 * frames_maximum;

/// Lays a report out: the trap, the bytes of linear memory, and the return addresses on the stack.
pub fn report(trap: *const Trap, linear_length: u64, out: *[report_maximum]u8) []const u8 {
    std.mem.writeInt(u32, out[0..4], @truncate(trap.vector), .little);
    std.mem.writeInt(u32, out[4..8], @truncate(trap.error_code), .little);
    inline for (.{ trap.instruction, trap.fault_address, trap.stack_pointer, trap.frame_pointer, linear_length }, 0..) |value, index|
        std.mem.writeInt(u64, out[8 + 8 * index ..][0..8], value, .little);
    var count: u32 = 0;
    var frame = trap.frame_pointer;
    while (count < frames_maximum and isFrame(frame)) : (count += 1) {
        const saved: *const [2]u64 = @ptrFromInt(frame);
        std.mem.writeInt(u64, out[header_size + 8 * count ..][0..8], saved[1], .little);
        if (saved[0] <= frame) {
            count += 1;
            break;
        }
        frame = saved[0];
    }
    std.mem.writeInt(u32, out[48..52], count, .little);
    std.mem.writeInt(u32, out[52..56], 0, .little);
    return out[0 .. header_size + 8 * count];
}

/// A saved frame pointer and a return address lie here, on the stack.
fn isFrame(address: u64) bool {
    return address % 8 == 0 and address >= layout.stack and address <= layout.stack_end - 16;
}

/// An address that may be shown to anyone: of the public image, or 0.
pub fn publicAddress(instruction: u64) u64 {
    return if (instruction >= layout.image and instruction < layout.image_end) instruction else 0;
}
