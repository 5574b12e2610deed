//! The window: the only memory a keep shares with its host. Layout: docs/host-interface.md.
//!
//! A host may write here at any moment. So every value is read exactly once, into private memory, and checked
//! there; no cipher and no parser ever runs on the window.

const std = @import("std");
const ghcb = @import("ghcb.zig");

pub const size = 1 << 20;
pub const data_size = 983_040;

const offset = struct {
    const control = 0x1000;
    const operation = control + 0x000;
    const outgoing = control + 0x004;
    const wait = control + 0x008;
    const refusal_code = control + 0x010;
    const refusal_detail = control + 0x014;
    const incoming = control + 0x100;
    const nonce = control + 0x200;
    const tenant_key_digest = control + 0x220;
    const frequency = control + 0x240;
    const request = 0x2000;
    const response = 0x3000;
    const data = 0x1_0000;
};

pub const Operation = enum(u32) { exchange = 1, end = 2, refuse = 3 };

/// What a host says before the start. Hints: evidence, not the host, makes them true.
pub const Hints = struct { nonce: [32]u8, tenant_key_digest: [32]u8, frequency_khz: u64 };

pub const Window = struct {
    base: [*]align(4096) volatile u8,

    pub fn hints(self: Window) Hints {
        var read: Hints = .{ .nonce = undefined, .tenant_key_digest = undefined, .frequency_khz = self.load(u64, offset.frequency) };
        copyOnce(&read.nonce, self.base + offset.nonce);
        copyOnce(&read.tenant_key_digest, self.base + offset.tenant_key_digest);
        return read;
    }

    pub fn ghcbPage(self: Window) ghcb.Page {
        return .{ .bytes = self.base[0..4096] };
    }

    pub fn requestAddress(self: Window) u64 {
        return @intFromPtr(self.base) + offset.request;
    }

    pub fn responseAddress(self: Window) u64 {
        return @intFromPtr(self.base) + offset.response;
    }

    pub fn placeRequest(self: Window, bytes: []const u8) void {
        std.debug.assert(bytes.len <= 4096);
        place(self.base + offset.request, bytes);
    }

    pub fn takeResponse(self: Window, destination: []u8) void {
        std.debug.assert(destination.len <= 4096);
        copyOnce(destination, self.base + offset.response);
    }

    /// Puts sealed bytes into the data area.
    pub fn placeData(self: Window, at: usize, bytes: []const u8) void {
        std.debug.assert(at <= data_size and bytes.len <= data_size - at);
        place(self.base + offset.data + at, bytes);
    }

    /// Takes bytes out of the data area. No byte of one message is taken twice.
    pub fn takeData(self: Window, at: usize, destination: []u8) void {
        std.debug.assert(at <= data_size and destination.len <= data_size - at);
        copyOnce(destination, self.base + offset.data + at);
    }

    pub fn stateOperation(self: Window, operation: Operation, outgoing: u32, wait: u64) void {
        self.store(u32, offset.operation, @backingInt(operation));
        self.store(u32, offset.outgoing, outgoing);
        self.store(u64, offset.wait, wait);
    }

    pub fn stateRefusal(self: Window, code: u32, detail: u64) void {
        self.store(u32, offset.refusal_code, code);
        self.store(u32, offset.refusal_detail, @truncate(detail));
        self.store(u32, offset.refusal_detail + 4, @truncate(detail >> 32));
    }

    /// Bytes from the tenant, as the host claims; null when it claims more than there can be.
    pub fn incoming(self: Window) ?u32 {
        const claimed = self.load(u32, offset.incoming);
        return if (claimed <= data_size) claimed else null;
    }

    fn store(self: Window, comptime T: type, comptime where: usize, value: T) void {
        @as(*volatile T, @ptrCast(@alignCast(self.base + where))).* = value;
    }

    fn load(self: Window, comptime T: type, comptime where: usize) T {
        return @as(*volatile T, @ptrCast(@alignCast(self.base + where))).*;
    }
};

/// One pass, each byte read once: what is checked afterwards is what was read.
fn copyOnce(destination: []u8, source: [*]const volatile u8) void {
    asm volatile ("rep movsb"
        :
        : [to] "{rdi}" (destination.ptr),
          [from] "{rsi}" (source),
          [count] "{rcx}" (destination.len),
        : .{ .memory = true, .rdi = true, .rsi = true, .rcx = true });
}

fn place(destination: [*]volatile u8, source: []const u8) void {
    asm volatile ("rep movsb"
        :
        : [to] "{rdi}" (destination),
          [from] "{rsi}" (source.ptr),
          [count] "{rcx}" (source.len),
        : .{ .memory = true, .rdi = true, .rsi = true, .rcx = true });
}

test "hints, lengths and data stand where the document puts them" {
    const memory = try std.testing.allocator.alignedAlloc(u8, .fromByteUnits(4096), size);
    defer std.testing.allocator.free(memory);
    @memset(memory, 0);
    const window: Window = .{ .base = memory.ptr };
    @memset(memory[0x1200..0x1220], 0xA1);
    @memset(memory[0x1220..0x1240], 0xB2);
    std.mem.writeInt(u64, memory[0x1240..0x1248], 2_500_000, .little);
    const read = window.hints();
    try std.testing.expectEqual(@as([32]u8, @splat(0xA1)), read.nonce);
    try std.testing.expectEqual(@as([32]u8, @splat(0xB2)), read.tenant_key_digest);
    try std.testing.expectEqual(2_500_000, read.frequency_khz);

    std.mem.writeInt(u32, memory[0x1100..0x1104], data_size, .little);
    try std.testing.expectEqual(data_size, window.incoming());
    std.mem.writeInt(u32, memory[0x1100..0x1104], data_size + 1, .little);
    try std.testing.expectEqual(null, window.incoming());

    window.stateOperation(.refuse, 3, 5);
    window.stateRefusal(7, 0x1234_5678_9ABC_DEF0);
    try std.testing.expectEqualSlices(u8, &.{ 3, 0, 0, 0, 3, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0xF0, 0xDE, 0xBC, 0x9A, 0x78, 0x56, 0x34, 0x12 }, memory[0x1000..0x101C]);

    window.placeData(data_size - 2, "ab");
    try std.testing.expectEqualSlices(u8, "ab", memory[size - 2 ..]);
    var taken: [2]u8 = undefined;
    window.takeData(data_size - 2, &taken);
    try std.testing.expectEqualSlices(u8, "ab", &taken);
}
