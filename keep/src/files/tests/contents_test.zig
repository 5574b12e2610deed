//! What files hold: growth without copying, zeros where nothing was written, memory given back.
const std = @import("std");
const contents_ = @import("../memory/contents.zig");
const Blocks = @import("../memory/blocks.zig").Blocks;
const Contents = contents_.Contents;
const FakeEnvironment = @import("../../wasi/tests/fake_environment.zig").FakeEnvironment;
const expectEqual = std.testing.expectEqual;
const expectError = std.testing.expectError;

const Fixture = struct {
    fake: FakeEnvironment,
    blocks: Blocks,
    contents: Contents = .{},

    fn start(self: *Fixture, limit: usize) !void {
        self.* = .{ .fake = try FakeEnvironment.init(.{ .limit = limit }), .blocks = undefined };
        self.blocks = .{ .environment = self.fake.environment() };
    }

    /// All memory but the blocks' pages comes back.
    fn stop(self: *Fixture) !void {
        self.contents.release(&self.blocks);
        try std.testing.expect(self.fake.allocated <= 4096);
        self.fake.deinit();
    }

    fn write(self: *Fixture, position: u64, bytes: []const u8) !usize {
        return self.contents.write(&self.blocks, position, bytes);
    }
};

test "growing byte by byte takes few extents" {
    var f: Fixture = undefined;
    try f.start(64 << 20);
    const piece: [1000]u8 = @splat(0xab);
    var position: u64 = 0;
    while (position < 10_000_000) : (position += piece.len) try expectEqual(piece.len, try f.write(position, &piece));
    try std.testing.expect(f.contents.count < 16);
    try std.testing.expect(f.fake.allocated < 2 * 10_000_000 + 8192);
    var all: [4096]u8 = undefined;
    try expectEqual(4096, f.contents.read(5_000_123, &all));
    try std.testing.expect(std.mem.allEqual(u8, &all, 0xab));
    try f.stop();
}

test "gaps and regrown parts read as zeros" {
    var f: Fixture = undefined;
    try f.start(64 << 20);
    _ = try f.write(20_000, "end");
    var bytes: [100]u8 = @splat(1);
    try expectEqual(100, f.contents.read(12_345, &bytes));
    try std.testing.expect(std.mem.allEqual(u8, &bytes, 0));
    const secret: [30_000]u8 = @splat(0x55);
    _ = try f.write(0, &secret);
    for ([_]u64{ 29_000, 16_384, 10_000, 4_097, 1, 0 }) |size| {
        try f.contents.resize(&f.blocks, size);
        try f.contents.resize(&f.blocks, 40_000);
        var rest: [40_000]u8 = undefined;
        try expectEqual(40_000, f.contents.read(0, &rest));
        try std.testing.expect(std.mem.allEqual(u8, rest[0..@intCast(size)], 0x55));
        try std.testing.expect(std.mem.allEqual(u8, rest[@intCast(size)..], 0));
        try f.contents.resize(&f.blocks, size);
    }
    try f.stop();
}

test "shrinking gives memory back" {
    var f: Fixture = undefined;
    try f.start(64 << 20);
    try f.contents.resize(&f.blocks, 10 << 20);
    try std.testing.expect(f.fake.allocated >= 10 << 20);
    try f.contents.resize(&f.blocks, 5000);
    try std.testing.expect(f.fake.allocated <= 8192 + 4096);
    try f.contents.resize(&f.blocks, 0);
    try std.testing.expect(f.fake.allocated <= 4096);
    try f.stop();
}

test "limits" {
    var f: Fixture = undefined;
    try f.start(1 << 20);
    try expectError(error.TooLarge, f.write(contents_.maximum_size, "x"));
    try expectError(error.TooLarge, f.write(std.math.maxInt(u64), "x"));
    try expectEqual(0, try f.write(std.math.maxInt(u64), ""));
    try expectError(error.TooLarge, f.contents.resize(&f.blocks, contents_.maximum_size + 1));
    try expectError(error.NoSpace, f.contents.resize(&f.blocks, contents_.maximum_size));
    try expectError(error.NoSpace, f.write(2 << 20, "x"));
    try expectEqual(0, f.contents.size);
    try expectEqual(0, f.contents.read(0, &@as([0]u8, .{})));
    try expectEqual(0, f.contents.capacity);
    try f.stop();
}

test "the last bytes of memory can be used" {
    var f: Fixture = undefined;
    try f.start(100 * 4096);
    const page: [4096]u8 = @splat(3);
    var position: u64 = 0;
    while (f.write(position, &page)) |n| position += n else |reason| try expectEqual(error.NoSpace, reason);
    try std.testing.expect(position >= 95 * 4096);
    try expectEqual(position, f.contents.size);
    try f.stop();
}

test "at the size limit a write is cut, then refused" {
    var f: Fixture = undefined;
    try f.start(2 << 30);
    const last = contents_.maximum_size - 2;
    try expectEqual(2, try f.write(last, "abcd"));
    try expectEqual(contents_.maximum_size, f.contents.size);
    try std.testing.expect(f.contents.count < contents_.maximum_extents);
    try expectError(error.TooLarge, f.write(contents_.maximum_size, "x"));
    try f.stop();
}

test "delivered contents are one piece" {
    var f: Fixture = undefined;
    try f.start(1 << 20);
    try expectError(error.NoSpace, f.contents.deliver(&f.blocks, 2 << 20));
    try expectError(error.TooLarge, f.contents.deliver(&f.blocks, 2 << 30));
    try expectEqual(0, (try f.contents.deliver(&f.blocks, 0)).len);
    @memcpy(try f.contents.deliver(&f.blocks, 5), "12345");
    var bytes: [10]u8 = undefined;
    try expectEqual(5, f.contents.read(0, &bytes));
    try expectEqual(3, try f.write(5, "678"));
    try expectEqual(8, f.contents.read(0, &bytes));
    try std.testing.expectEqualStrings("12345678", bytes[0..8]);
    try f.stop();
}
