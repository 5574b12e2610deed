const std = @import("std");
const layout = @import("../layout.zig");
const machine = @import("../machine.zig");
const memory = @import("../memory.zig");
const expect = std.testing.expect;
const expectEqual = std.testing.expectEqual;

var bitmap: memory.Contents.Bitmap = undefined;

test "the pool gives each block once" {
    var pool: memory.Pool = .init(layout.pool + 3 * layout.block);
    try expectEqual(0, pool.take(1));
    try expectEqual(null, pool.take(3));
    try expectEqual(1, pool.take(2));
    try expectEqual(null, pool.take(1));
    try expectEqual(3, pool.take(0));
}

test "linear memory starts so that it ends with a block" {
    for ([_]u64{ 0, 1, 31, 32, 33, 64, 1000 }) |pages| {
        machine.current.start();
        var pool: memory.Pool = .init(256 << 20);
        var linear: memory.Linear = .{};
        try expect(linear.start(&pool, pages, 65_536));
        try expectEqual(pages * layout.wasm_page, linear.length());
        try expectEqual(0, (linear.base + linear.length()) % layout.block);
        try expect(linear.base >= layout.linear);
        const bytes = linear.bytes();
        if (bytes.len > 0) {
            try expectEqual(0, bytes[0]);
            bytes[0] = 1;
            bytes[bytes.len - 1] = 1;
        }
        // All of an address space of 4 GiB, less what lies below the base.
        try expectEqual((layout.linear_end - linear.base) / layout.wasm_page, linear.limit);
    }
}

test "linear memory grows by any steps, and not at all where it cannot" {
    var random = std.Random.DefaultPrng.init(7);
    for (0..40) |_| {
        machine.current.start();
        var pool: memory.Pool = .init(64 << 20);
        var linear: memory.Linear = .{};
        const limit = random.random().uintLessThan(u64, 900);
        const first = random.random().uintAtMost(u64, @min(limit, 300));
        try expect(linear.start(&pool, first, limit));
        while (true) {
            const before = linear.pages;
            const blocks_before = pool.left();
            const step = random.random().uintLessThan(u64, 70);
            if (!linear.grow(&pool, step)) {
                try expectEqual(before, linear.pages);
                try expectEqual(blocks_before, pool.left());
                break;
            }
            try expectEqual(before + step, linear.pages);
            try expect(linear.pages <= limit);
            // Touch the first and last byte of what is new: mapped, and zero.
            if (step > 0) for ([_]u64{ before * layout.wasm_page, linear.length() - 1 }) |at| {
                try expect(linear.bytes()[at] == 0 or at == before * layout.wasm_page);
                linear.bytes()[at] = 0xFF;
            };
            if (step == 0 and linear.pages == limit) break;
        }
    }
}

test "growth asks for no more than there is" {
    machine.current.start();
    var pool: memory.Pool = .init(layout.pool + layout.block);
    var linear: memory.Linear = .{};
    try expect(linear.start(&pool, 32, 65_536));
    try expect(!linear.grow(&pool, 33));
    try expect(!linear.grow(&pool, std.math.maxInt(u64)));
    try expect(linear.grow(&pool, 32));
    try expect(!linear.grow(&pool, 1));
    try expect(linear.grow(&pool, 0));
}

test "contents are apart, zeroed, and come back" {
    machine.current.start();
    var pool: memory.Pool = .init(64 << 20);
    var contents: memory.Contents = .init(&bitmap);
    var random = std.Random.DefaultPrng.init(3);
    var held: [64]?[]align(layout.page) u8 = @splat(null);
    for (0..4000) |turn| {
        const slot = &held[random.random().uintLessThan(usize, held.len)];
        if (slot.*) |pages| {
            // Nobody else wrote here.
            try expectEqual(pages[0], pages[pages.len - 1]);
            contents.release(pages);
            slot.* = null;
        } else {
            const size = random.random().uintAtMost(usize, if (turn % 50 == 0) 3 << 20 else 40_000) + 1;
            const pages = contents.allocate(&pool, size) orelse continue;
            try expect(pages.len >= size and pages.len % layout.page == 0);
            try expect(std.mem.allEqual(u8, pages[0..@min(pages.len, 64)], 0));
            try expect(std.mem.allEqual(u8, pages[pages.len - 64 ..], 0));
            for (held) |other| if (other) |taken| {
                const start = @intFromPtr(pages.ptr);
                const their = @intFromPtr(taken.ptr);
                try expect(start + pages.len <= their or their + taken.len <= start);
            };
            @memset(pages, @truncate(turn | 1));
            slot.* = pages;
        }
    }
}

test "contents end with the pool" {
    machine.current.start();
    var pool: memory.Pool = .init(layout.pool + layout.block);
    var contents: memory.Contents = .init(&bitmap);
    try expectEqual(null, contents.allocate(&pool, 0));
    try expectEqual(null, contents.allocate(&pool, std.math.maxInt(usize)));
    try expectEqual(null, contents.allocate(&pool, 3 * layout.block));
    const whole = contents.allocate(&pool, 2 * layout.block).?;
    try expectEqual(null, contents.allocate(&pool, 1));
    contents.release(whole);
    try expect(contents.allocate(&pool, 1) != null);
}
