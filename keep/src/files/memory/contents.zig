//! What a file holds: a list of extents, each one allocation of whole pages. Growing adds an extent as large as
//! all before it, so a file that grows byte by byte is never copied and has few extents.
//!
//! Invariant: every byte of the capacity beyond `size` is zero, so that growing shows no old bytes.
const std = @import("std");
const environment = @import("../../environment.zig");
const Blocks = @import("blocks.zig").Blocks;

/// Bytes a single file may hold.
pub const maximum_size: u64 = 1 << 30;
/// Extents a single file may have: doublings from one page to `largest_step`, then steps, and some to spare.
pub const maximum_extents = 32;
/// Bytes at most that a growing file takes beyond what it needs.
const largest_step: u64 = 128 << 20;

pub const Error = error{ NoSpace, TooLarge };

const Extent = []align(environment.page_size) u8;
/// The extents after the first, in one block.
const Rest = [maximum_extents - 1]Extent;
comptime {
    std.debug.assert(@sizeOf(Rest) <= @import("blocks.zig").largest);
}

pub const Contents = struct {
    size: u64 = 0,
    capacity: u64 = 0,
    count: usize = 0,
    first: Extent = &.{},
    rest: ?*Rest = null,

    /// Contents of exactly this many zero bytes, in one piece, to be filled by whoever delivers the file.
    pub fn deliver(self: *Contents, blocks: *Blocks, size: u64) Error![]u8 {
        std.debug.assert(self.count == 0);
        if (size > maximum_size) return error.TooLarge;
        if (size == 0) return &.{};
        if (!self.add(blocks, size)) return error.NoSpace;
        self.size = size;
        return self.first[0..@intCast(size)];
    }

    /// Copies what the file holds from `position` on; returns how many bytes there were.
    pub fn read(self: *const Contents, position: u64, destination: []u8) usize {
        if (position >= self.size) return 0;
        const length: usize = @intCast(@min(destination.len, self.size - position));
        var done: usize = 0;
        var pieces = self.from(position);
        while (done < length) {
            const piece = pieces.next();
            const n = @min(piece.len, length - done);
            @memcpy(destination[done..][0..n], piece[0..n]);
            done += n;
        }
        return length;
    }

    /// Stores bytes at `position`, growing the file; a gap before them reads as zeros. Returns how many were
    /// stored: fewer than asked only when memory or the size limit ends there. An error means none were.
    pub fn write(self: *Contents, blocks: *Blocks, position: u64, source: []const u8) Error!usize {
        if (source.len == 0) return 0;
        if (position >= maximum_size) return error.TooLarge;
        var length: usize = @intCast(@min(source.len, maximum_size - position));
        self.reserve(blocks, position + length) catch {
            if (position >= self.capacity) return error.NoSpace;
            length = @intCast(@min(length, self.capacity - position));
        };
        var done: usize = 0;
        var pieces = self.from(position);
        while (done < length) {
            const piece = pieces.next();
            const n = @min(piece.len, length - done);
            @memcpy(piece[0..n], source[done..][0..n]);
            done += n;
        }
        self.size = @max(self.size, position + length);
        return length;
    }

    /// Makes the file `size` bytes long. New bytes are zero; memory no longer needed is given back.
    pub fn resize(self: *Contents, blocks: *Blocks, size: u64) Error!void {
        if (size > maximum_size) return error.TooLarge;
        try self.reserve(blocks, size);
        if (size < self.size) self.shrink(blocks, size);
        self.size = size;
    }

    /// Gives back all memory; the file is empty afterwards.
    pub fn release(self: *Contents, blocks: *Blocks) void {
        while (self.count > 0) self.drop(blocks);
        self.size = 0;
    }

    fn extent(self: *const Contents, i: usize) Extent {
        std.debug.assert(i < self.count);
        return if (i == 0) self.first else self.rest.?[i - 1];
    }

    /// Capacity for `size` bytes at least; when that fails nothing changes.
    fn reserve(self: *Contents, blocks: *Blocks, size: u64) error{NoSpace}!void {
        if (size <= self.capacity) return;
        const needed = size - self.capacity;
        // A generous step spares later ones; near the end of memory a smaller one may still do.
        var step = @max(needed, @min(self.capacity, largest_step, maximum_size - self.capacity));
        while (!self.add(blocks, step)) {
            if (step == needed) return error.NoSpace;
            step = @max(needed, step / 2);
        }
    }

    fn add(self: *Contents, blocks: *Blocks, size: u64) bool {
        if (self.count == maximum_extents) return false;
        if (self.count > 0 and self.rest == null) {
            const block = blocks.take(@sizeOf(Rest)) orelse return false;
            self.rest = @ptrCast(block.ptr);
        }
        const new = blocks.environment.allocate(@intCast(size)) orelse {
            self.dropTable(blocks);
            return false;
        };
        std.debug.assert(new.len >= size);
        if (self.count == 0) self.first = new else self.rest.?[self.count - 1] = new;
        self.count += 1;
        self.capacity += new.len;
        return true;
    }

    fn drop(self: *Contents, blocks: *Blocks) void {
        const last = self.extent(self.count - 1);
        self.count -= 1;
        self.capacity -= last.len;
        blocks.environment.release(last);
        self.dropTable(blocks);
    }

    fn dropTable(self: *Contents, blocks: *Blocks) void {
        if (self.count > 1) return;
        const rest = self.rest orelse return;
        const block: [*]align(16) u8 = @ptrCast(@alignCast(rest));
        blocks.give(block[0..@import("blocks.zig").largest]);
        self.rest = null;
    }

    fn shrink(self: *Contents, blocks: *Blocks, size: u64) void {
        while (self.count > 0 and self.capacity - self.extent(self.count - 1).len >= size) self.drop(blocks);
        if (self.count == 0) return;
        const last = self.extent(self.count - 1);
        const kept: usize = @intCast(size - (self.capacity - last.len));
        if (kept <= last.len / 2) if (blocks.environment.allocate(kept)) |smaller| {
            @memcpy(smaller[0..kept], last[0..kept]);
            if (self.count == 1) self.first = smaller else self.rest.?[self.count - 2] = smaller;
            self.capacity -= last.len - smaller.len;
            blocks.environment.release(last);
            return;
        };
        @memset(last[kept..], 0);
    }

    const Pieces = struct {
        contents: *const Contents,
        index: usize,
        offset: usize,

        /// The next stretch of capacity; the caller stops before it ends.
        fn next(self: *Pieces) []u8 {
            const piece = self.contents.extent(self.index)[self.offset..];
            self.index += 1;
            self.offset = 0;
            return piece;
        }
    };

    fn from(self: *const Contents, position: u64) Pieces {
        var before: u64 = 0;
        var i: usize = 0;
        while (before + self.extent(i).len <= position) : (i += 1) before += self.extent(i).len;
        return .{ .contents = self, .index = i, .offset = @intCast(position - before) };
    }
};
