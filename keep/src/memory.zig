//! Private memory beyond the image: a pool of 2 MiB blocks, given out once, to the program's segments, its linear
//! memory, and the contents of files. Nobody gets a byte of it that was not zero (see `clear`).

const std = @import("std");
const layout = @import("layout.zig");
const machine = @import("machine.zig");

const pages_per_block = layout.block / layout.page;
const wasm_pages_per_block = layout.block / layout.wasm_page;

/// Nothing is given back.
pub const Pool = struct {
    next: u64 = 0,
    blocks: u64,

    /// `memory` is the measured memory size, in bytes.
    pub fn init(memory: u64) Pool {
        return .{ .blocks = (memory - layout.pool) / layout.block };
    }

    /// The number of the first of `count` neighbouring blocks.
    pub fn take(self: *Pool, count: u64) ?u64 {
        if (count > self.left()) return null;
        defer self.next += count;
        return self.next;
    }

    pub fn left(self: *const Pool) u64 {
        return self.blocks - self.next;
    }
};

/// Makes memory zero that was not part of the launch, where it is not zero by itself. To be called for whatever of it
/// is given to the program for the first time.
pub fn clear(fresh: []u8) void {
    if (!machine.current.memory_is_zero) @memset(fresh, 0);
}

/// A mapping that the rules allow cannot fail; if it does, something is wrong with the keep, and it ends.
pub fn mapped(done: bool) void {
    if (!done) @trap();
}

/// The program's linear memory: [base, base + length), then nothing up to the end of the guard.
///
/// The base is chosen such that the memory that a program starts with ends at the end of a block. So it is mapped in
/// whole blocks, which is fast, and its end is exact; what lies below the base in the first block is out of a
/// program's reach, whose indexes are unsigned. Only what is grown later may end inside a block, which is then mapped
/// by smaller pages.
pub const Linear = struct {
    base: u64 = layout.linear,
    /// In wasm pages of 64 KiB.
    pages: u64 = 0,
    limit: u64 = 0,
    /// The block that holds the last, partly mapped pages.
    tail: u64 = 0,

    /// Makes the initial memory of `pages`, which may grow to `limit` (and a block less, close to 4 GiB); or does
    /// nothing and returns false. The region's first block is mapped already, and always in use.
    pub fn start(self: *Linear, pool: *Pool, pages: u64, limit: u64) bool {
        const blocks = @max(1, std.math.divCeil(u64, pages, wasm_pages_per_block) catch unreachable);
        if (blocks * layout.block > layout.linear_end - layout.linear) return false;
        const fresh = pool.take(blocks - 1) orelse return false;
        if (blocks > 1) mapped(machine.current.map(.linear, layout.linear + layout.block, fresh, blocks - 1));
        self.base = layout.linear + blocks * layout.block - pages * layout.wasm_page;
        self.pages = pages;
        self.limit = @max(pages, @min(limit, (layout.linear_end - self.base) / layout.wasm_page));
        clear(self.bytes());
        return true;
    }

    pub fn bytes(self: *const Linear) []u8 {
        return @as([*]u8, @ptrFromInt(self.base))[0..self.length()];
    }

    /// Memory never shrinks: this is its peak, too.
    pub fn length(self: *const Linear) u64 {
        return self.pages * layout.wasm_page;
    }

    /// Grows by `delta` pages, zeroed; or does nothing and returns false.
    pub fn grow(self: *Linear, pool: *Pool, delta: u64) bool {
        if (delta > self.limit - self.pages) return false;
        const at = self.end();
        const new_end = at + delta * layout.wasm_page;
        const fresh = pool.take(std.mem.alignForward(u64, new_end, layout.block) / layout.block - std.mem.alignForward(u64, at, layout.block) / layout.block) orelse return false;
        self.addBlocks(fresh, self.fillTail(at, new_end), new_end);
        self.pages += delta;
        clear(self.bytes()[at - self.base ..]);
        return true;
    }

    fn end(self: *const Linear) u64 {
        return self.base + self.length();
    }

    /// Maps more of the block that is partly mapped already, if there is one. Returns how far it came.
    fn fillTail(self: *Linear, at: u64, new_end: u64) u64 {
        const start_of_block = std.mem.alignBackward(u64, at, layout.block);
        if (at == start_of_block) return at;
        const end_of_block = start_of_block + layout.block;
        if (new_end >= end_of_block) {
            mapped(machine.current.map(.linear, start_of_block, self.tail, 1));
            return end_of_block;
        }
        if (new_end > at) mapped(machine.current.mapTail(start_of_block, self.tail, (at - start_of_block) / layout.wasm_page, (new_end - start_of_block) / layout.wasm_page));
        return new_end;
    }

    /// Maps whole blocks and the beginning of a last one.
    fn addBlocks(self: *Linear, fresh: u64, at: u64, new_end: u64) void {
        const whole = (new_end - at) / layout.block;
        if (whole > 0) mapped(machine.current.map(.linear, at, fresh, whole));
        const last = at + whole * layout.block;
        if (last == new_end) return;
        self.tail = fresh + whole;
        mapped(machine.current.mapTail(last, self.tail, 0, (new_end - last) / layout.wasm_page));
    }
};

/// Whole pages for the contents of files. First fit over a bitmap; blocks are added at the end as needed.
/// Pages are zero when they are given out: fresh blocks are, and what comes back is cleared at once.
pub const Contents = struct {
    pub const maximum_pages = (layout.contents_end - layout.contents) / layout.page;
    pub const Bitmap = [maximum_pages / 64]u64;

    /// A set bit is a page in use. Only the words of mapped blocks have a meaning.
    used: *Bitmap,
    /// Pages mapped so far, and one before which none is free.
    mapped_pages: usize,
    first_free: usize = 0,

    /// The region's first block is mapped from the start.
    pub fn init(used: *Bitmap) Contents {
        @memset(used[0 .. pages_per_block / 64], 0);
        return .{ .used = used, .mapped_pages = pages_per_block };
    }

    pub fn allocate(self: *Contents, pool: *Pool, size: usize) ?[]align(layout.page) u8 {
        if (size == 0 or size > layout.contents_end - layout.contents) return null;
        const count = std.mem.alignForward(usize, size, layout.page) / layout.page;
        const start = self.find(count) orelse return null;
        if (start + count > self.mapped_pages) {
            if (!self.extend(pool, start + count - self.mapped_pages)) return null;
        }
        self.mark(start, count, true);
        if (start == self.first_free) self.first_free = start + count;
        clear(slice(start, count));
        return slice(start, count);
    }

    /// Takes back a slice exactly as it was allocated.
    pub fn release(self: *Contents, pages: []align(layout.page) u8) void {
        const start = (@intFromPtr(pages.ptr) - layout.contents) / layout.page;
        const count = pages.len / layout.page;
        std.debug.assert(start + count <= self.mapped_pages);
        @memset(pages, 0);
        self.mark(start, count, false);
        self.first_free = @min(self.first_free, start);
    }

    /// The first run of `count` free pages; it may end beyond what is mapped.
    fn find(self: *const Contents, count: usize) ?usize {
        var start = self.first_free;
        var at = start;
        while (at < self.mapped_pages and at - start < count) {
            const word = self.used[at / 64] >> @intCast(at % 64);
            const run = @min(64 - at % 64, if (word & 1 == 1) @ctz(~word) else @ctz(word));
            at += run;
            if (word & 1 == 1) start = at;
        }
        return if (start + count <= maximum_pages) start else null;
    }

    fn extend(self: *Contents, pool: *Pool, pages: usize) bool {
        const blocks = std.math.divCeil(usize, pages, pages_per_block) catch unreachable;
        if (self.mapped_pages + blocks * pages_per_block > maximum_pages) return false;
        const first = pool.take(blocks) orelse return false;
        mapped(machine.current.map(.contents, layout.contents + self.mapped_pages * layout.page, first, blocks));
        const words = blocks * pages_per_block / 64;
        @memset(self.used[self.mapped_pages / 64 ..][0..words], 0);
        self.mapped_pages += blocks * pages_per_block;
        return true;
    }

    fn mark(self: *Contents, start: usize, count: usize, used: bool) void {
        var at = start;
        while (at < start + count) {
            const bit = at % 64;
            const run = @min(64 - bit, start + count - at);
            const mask = (@as(u64, std.math.maxInt(u64)) >> @intCast(64 - run)) << @intCast(bit);
            const word = &self.used[at / 64];
            // Either all of them change or the caller gave back what it did not have.
            std.debug.assert(word.* & mask == if (used) 0 else mask);
            word.* ^= mask;
            at += run;
        }
    }

    fn slice(start: usize, count: usize) []align(layout.page) u8 {
        const first: [*]align(layout.page) u8 = @ptrFromInt(layout.contents + start * layout.page);
        return first[0 .. count * layout.page];
    }
};
