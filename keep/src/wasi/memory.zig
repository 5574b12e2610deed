//! The program's linear memory, through checks. Every address and length a program passes comes through here;
//! a range that is not wholly inside is Fault, whatever its length, and nothing wraps at 4 GiB.
const std = @import("std");

pub const Memory = struct {
    /// As it is now. It may grow whenever the program runs, so nothing from here outlives a call.
    bytes: []u8,

    pub fn slice(self: Memory, address: u32, length: u64) error{Fault}![]u8 {
        if (length > self.bytes.len or address > self.bytes.len - length) return error.Fault;
        return self.bytes[address..][0..@intCast(length)];
    }

    pub fn check(self: Memory, address: u32, length: u64) error{Fault}!void {
        _ = try self.slice(address, length);
    }

    pub fn load(self: Memory, comptime T: type, address: u32) error{Fault}!T {
        const bytes = try self.slice(address, @sizeOf(T));
        return std.mem.readInt(T, bytes[0..@sizeOf(T)], .little);
    }

    pub fn store(self: Memory, comptime T: type, address: u32, value: T) error{Fault}!void {
        const bytes = try self.slice(address, @sizeOf(T));
        std.mem.writeInt(T, bytes[0..@sizeOf(T)], value, .little);
    }

    pub fn storeBytes(self: Memory, address: u32, bytes: []const u8) error{Fault}!void {
        @memcpy(try self.slice(address, bytes.len), bytes);
    }
};

/// The address of element `index` of an array; Fault when it is past 4 GiB.
pub fn element(address: u32, index: usize, size: u32) error{Fault}!u32 {
    const at = @as(u64, address) + @as(u64, index) * size;
    return std.math.cast(u32, at) orelse error.Fault;
}

test "ranges end where memory ends" {
    var bytes: [64]u8 = @splat(7);
    const memory = Memory{ .bytes = &bytes };
    try std.testing.expectEqual(@as(usize, 64), (try memory.slice(0, 64)).len);
    try std.testing.expectEqual(@as(usize, 0), (try memory.slice(64, 0)).len);
    inline for (.{
        .{ 0, 65 },          .{ 1, 64 },          .{ 64, 1 },                             .{ 65, 0 },
        .{ 0xffff_ffff, 0 }, .{ 0xffff_ffff, 1 }, .{ 0xffff_fff0, 0x10 },                 .{ 0xffff_fff0, 0x20 },
        .{ 1, 0xffff_ffff }, .{ 0, 1 << 32 },     .{ 0xffff_ffff, std.math.maxInt(u64) },
    }) |range| try std.testing.expectError(error.Fault, memory.slice(range[0], range[1]));
    try std.testing.expectError(error.Fault, memory.load(u32, 61));
    try std.testing.expectEqual(@as(u32, 0x07070707), try memory.load(u32, 60));
    try std.testing.expectError(error.Fault, memory.store(u64, 57, 0));
    try std.testing.expectError(error.Fault, memory.storeBytes(62, "abc"));
    try std.testing.expectEqual(@as(u8, 7), bytes[63]);
    try std.testing.expectError(error.Fault, element(0xffff_ffff, 1, 8));
    try std.testing.expectEqual(@as(u32, 24), try element(8, 2, 8));
}
