//! Small fixed-size blocks, cut from whole pages, for names and extent tables. Blocks that are given back are
//! reused for the same size; their pages are never returned, so what this holds is bounded by the most names
//! and tables that ever existed at once.
const std = @import("std");
const environment = @import("../../environment.zig");
const Environment = environment.Environment;

/// Block sizes in bytes, ascending; each divides a page.
pub const sizes = [_]usize{ 16, 32, 64, 128, 256, 512 };
pub const largest = sizes[sizes.len - 1];

const Free = struct { next: ?*Free };

pub const Blocks = struct {
    environment: Environment,
    free: [sizes.len]?*Free = @splat(null),

    /// A block of at least `size` bytes (1 to `largest`); its contents are undefined. null: out of memory.
    pub fn take(self: *Blocks, size: usize) ?[]align(16) u8 {
        const class = classOf(size);
        const block = self.free[class] orelse blk: {
            const pages = self.environment.allocate(environment.page_size) orelse return null;
            self.cut(class, pages);
            break :blk self.free[class].?;
        };
        self.free[class] = block.next;
        const bytes: [*]align(16) u8 = @ptrCast(@alignCast(block));
        return bytes[0..sizes[class]];
    }

    /// Gives back a block exactly as `take` returned it.
    pub fn give(self: *Blocks, block: []align(16) u8) void {
        const class = classOf(block.len);
        std.debug.assert(sizes[class] == block.len);
        const free: *Free = @ptrCast(block.ptr);
        free.next = self.free[class];
        self.free[class] = free;
    }

    fn cut(self: *Blocks, class: usize, pages: []align(environment.page_size) u8) void {
        const size = sizes[class];
        var end = pages.len - pages.len % size;
        while (end > 0) : (end -= size) { // from the end, so that blocks are taken in ascending order
            const block: []align(16) u8 = @alignCast(pages[end - size .. end]);
            self.give(block);
        }
    }

    fn classOf(size: usize) usize {
        std.debug.assert(size > 0);
        for (sizes, 0..) |limit, class| if (size <= limit) return class;
        unreachable; // the callers' own limits are below `largest`
    }
};

test "blocks are distinct, sized and reused" {
    const Fake = @import("../../wasi/tests/fake_environment.zig").FakeEnvironment;
    var fake = try Fake.init(.{});
    defer fake.deinit();
    var blocks = Blocks{ .environment = fake.environment() };
    var taken: [400][]align(16) u8 = undefined;
    for (&taken, 0..) |*block, i| {
        block.* = blocks.take(1 + i % 512).?;
        try std.testing.expect(block.len >= 1 + i % 512);
        @memset(block.*, @truncate(i));
    }
    for (taken, 0..) |block, i| for (block) |byte| try std.testing.expectEqual(@as(u8, @truncate(i)), byte);
    const before = fake.allocated;
    for (taken) |block| blocks.give(block);
    for (&taken, 0..) |*block, i| block.* = blocks.take(1 + i % 512).?;
    try std.testing.expectEqual(before, fake.allocated);
    fake.limit = fake.allocated;
    while (blocks.take(512)) |_| {}
    try std.testing.expectEqual(@as(?[]align(16) u8, null), blocks.take(500));
}
