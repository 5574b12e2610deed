//! Zig's own library at work: allocation, sorting, hashing, formatting, with whatever its compiler emits by default.
const std = @import("std");

pub fn main() u8 {
    var numbers: [1000]u32 = undefined;
    var state: u32 = 1;
    for (&numbers) |*number| {
        state = state *% 1664525 +% 1013904223;
        number.* = state >> 8;
    }
    std.mem.sort(u32, &numbers, {}, std.sort.asc(u32));
    var digest: [32]u8 = undefined;
    std.crypto.hash.sha2.Sha256.hash(std.mem.sliceAsBytes(&numbers), &digest, .{});
    const vector: @Vector(8, f32) = .{ 1, 2, 3, 4, 5, 6, 7, 8 };
    std.debug.print("{x} {d} {d:.3} {d}\n", .{ digest, numbers[500], @reduce(.Add, @sqrt(vector)), std.math.maxInt(u128) });
    return 12;
}
