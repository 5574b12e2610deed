const std = @import("std");
const options = @import("options");
const slot = @import("../slot.zig");
const expect = std.testing.expect;
const expectEqual = std.testing.expectEqual;

const Page = [4096]u8;

/// Symbols 0, 1, 2 … and again.
fn packet() [slot.packet_length]u8 {
    var symbols: slot.Symbols = undefined;
    for (&symbols, 0..) |*symbol, index| symbol.* = slot.alphabet[index % slot.alphabet.len];
    return slot.guid ++ [4]u8{ 0x06, 0x06, 0x16, 0x06 } ++ symbols;
}

fn pageWith(at: usize, bytes: []const u8) Page {
    var page: Page = @splat(0);
    @memcpy(page[at..][0..bytes.len], bytes);
    return page;
}

fn take(page: *const Page) ?slot.Symbols {
    var copy: Page align(8) = page.*;
    defer expect(std.mem.allEqual(u8, &copy, 0)) catch @panic("the slot was not wiped");
    return slot.take(&copy);
}

test "a packet in its place gives its symbols, and the slot is wiped" {
    const whole = packet();
    try expectEqual(whole[20..].*, take(&pageWith(0, &whole)).?);
}

test "an empty slot gives nothing, and so does a packet at any other place" {
    try expectEqual(null, take(&@splat(0)));
    const whole = packet();
    for (1..4096 - whole.len) |at| try expectEqual(null, take(&pageWith(at, &whole)));
    for (1..whole.len) |cut| {
        try expectEqual(null, take(&pageWith(0, whole[cut..])));
        try expectEqual(null, take(&pageWith(0, whole[0..cut])));
    }
}

test "a packet twice in the slot gives nothing" {
    const whole = packet();
    var at: usize = 16; // the unit in which memory is encrypted
    while (at + whole.len <= 4096) : (at += 16) {
        var page = pageWith(at, &whole);
        @memcpy(page[0..whole.len], &whole);
        try expectEqual(null, take(&page));
        page = pageWith(0, &whole);
        @memcpy(page[at..][0..whole.len], &whole);
        try expectEqual(null, take(&page));
    }
}

test "no byte of the slot may be another, but a symbol for a symbol" {
    const good = pageWith(0, &packet());
    for (0..good.len) |index| for (1..256) |difference| {
        var page = good;
        page[index] ^= @intCast(difference);
        const symbols = index >= 20 and index < slot.packet_length and std.mem.findScalar(u8, &slot.alphabet, page[index]) != null;
        if (index > 200 and difference > 8) continue; // more of the same
        try expectEqual(symbols, take(&page) != null);
    };
}

test "bytes of all kinds in the slot: nothing, unless they are a packet" {
    var random: std.Random.DefaultPrng = .init(options.fuzz_count);
    const source = random.random();
    for (0..options.fuzz_count) |_| {
        var page = pageWith(0, &packet());
        for (0..source.intRangeAtMost(usize, 1, 4)) |_| page[source.uintLessThan(usize, 256)] = source.int(u8);
        const symbols = take(&page) orelse continue;
        try std.testing.expectEqualSlices(u8, &slot.guid, page[0..16]);
        try std.testing.expectEqualSlices(u8, page[20..slot.packet_length], &symbols);
        try expect(std.mem.allEqual(u8, page[slot.packet_length..], 0));
        for (symbols) |symbol| try expect(std.mem.findScalar(u8, &slot.alphabet, symbol) != null);
    }
}

test "all bytes of a packet are even, and opcodes that 64-bit mode does not have" {
    // APM volume 3, table A-1 and "invalid in 64-bit mode": PUSH/POP ES, CS, SS, DS; PUSHA, POPA, BOUND; CALLF; INTO; JMPF …
    const absent = [_]u8{ 0x06, 0x07, 0x0E, 0x16, 0x17, 0x1E, 0x1F, 0x27, 0x2F, 0x37, 0x3F, 0x60, 0x61, 0x82, 0x9A, 0xCE, 0xD4, 0xD5, 0xD6, 0xEA };
    for (packet()) |byte| {
        try expect(byte % 2 == 0);
        try expect(std.mem.findScalar(u8, &absent, byte) != null);
    }
}

test "the launch secret depends on every symbol and on the TEE; the proof on it and on the report data" {
    var symbols = packet()[20..].*;
    const secret = slot.launchSecret(&symbols, "sev");
    try expect(!std.mem.eql(u8, &secret, &slot.launchSecret(&symbols, "sev-es")));
    for (&symbols) |*symbol| {
        const before = symbol.*;
        symbol.* = if (before == 0x06) 0x0E else 0x06;
        try expect(!std.mem.eql(u8, &secret, &slot.launchSecret(&symbols, "sev")));
        symbol.* = before;
    }
    const report_data: [64]u8 = @splat(7);
    const proof = slot.proof(&secret, &report_data);
    try expect(!std.mem.eql(u8, &proof, &slot.proof(&@splat(0), &report_data)));
    for (0..report_data.len) |index| {
        var other = report_data;
        other[index] ^= 1;
        try expect(!std.mem.eql(u8, &proof, &slot.proof(&secret, &other)));
    }
}
