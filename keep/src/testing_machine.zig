//! The machine of unit tests: the program's ranges at their true addresses in the test process, without exits.

const layout = @import("layout.zig");
const linux = @import("linux.zig");
const machine = @import("machine.zig");

/// It is; that it need not be is part of the test.
pub const memory_is_zero = false;

var started = false;
pub var locked_blocks: ?u64 = null;

/// Empties all ranges; called by each test that uses them.
pub fn start() void {
    const anonymous = linux.map.private | linux.map.anonymous | linux.map.no_reserve;
    const placing: u64 = if (started) linux.map.fixed else linux.map.fixed_no_replace;
    for ([_][2]u64{ .{ layout.segments, layout.contents_end }, .{ layout.linear, layout.linear_guard_end } }) |range| {
        const got = linux.call(.mmap, range[0], range[1] - range[0], linux.protection.none, anonymous | placing, @bitCast(@as(i64, -1)), 0);
        if (got != range[0]) @panic("the ranges of a program are not free in this process");
    }
    for ([_]u64{ layout.contents, layout.linear }) |first| if (!linux.protect(first, layout.block, read_write)) @panic("no memory");
    started = true;
    locked_blocks = null;
}

pub fn leave() void {
    @panic("no host");
}

pub fn trap() machine.Trap {
    @panic("no trap");
}

const read_write = linux.protection.read | linux.protection.write;

pub fn map(region: machine.Region, address: u64, _: u64, blocks: u64) bool {
    return linux.protect(address, blocks * layout.block, if (region == .read_only_segments) linux.protection.read else read_write);
}

pub fn mapTail(address: u64, _: u64, first: u64, end: u64) bool {
    return linux.protect(address + first * layout.wasm_page, (end - first) * layout.wasm_page, read_write);
}

/// Read-only instead of executable: no test runs a program.
pub fn lock(address: u64, blocks: u64) bool {
    if (locked_blocks != null) return false;
    locked_blocks = blocks;
    return linux.protect(address, blocks * layout.block, linux.protection.read);
}
