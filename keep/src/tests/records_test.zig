const std = @import("std");
const records = @import("../records.zig");
const expect = std.testing.expect;
const expectEqual = std.testing.expectEqual;
const expectError = std.testing.expectError;

const Buffer = [records.length_size + records.body_maximum]u8;

/// The two ends of one direction.
pub fn ends() [2]records.Direction {
    const one: records.Direction = .derive(&@splat(1), &@splat(2), "", "test");
    return .{ one, one };
}

fn open(receiver: *records.Direction, record: []u8) records.Error!records.Record {
    const length = try records.bodyLength(record[0..4]);
    return receiver.open(record[0..4], record[4..][0..length]);
}

test "what is sealed opens, at every size around a padding unit" {
    var sender, var receiver = ends();
    var buffer: Buffer = undefined;
    var payload: [records.payload_maximum]u8 = undefined;
    for (&payload, 0..) |*byte, index| byte.* = @truncate(index *% 31);
    for ([_]usize{ 0, 1, 247, 248, 249, 503, 504, 505, 61_440, 65_279, 65_280, 65_528 }) |size| {
        const record = sender.seal(.stdout, payload[0..size], &buffer);
        try expectEqual(4 + records.sealedLength(size), record.len);
        const opened = try open(&receiver, record);
        try expectEqual(.stdout, opened.type);
        try std.testing.expectEqualSlices(u8, payload[0..size], opened.payload);
    }
}

test "no bit of a record can be changed" {
    for (0..4 + records.sealedLength(1)) |index| for (0..8) |bit| {
        var sender, var receiver = ends();
        var buffer: Buffer = undefined;
        const record = sender.seal(.package, "x", &buffer);
        record[index] ^= @as(u8, 1) << @intCast(bit);
        // Another valid length needs bytes that are not there; the buffer has room for them.
        try expect(std.meta.isError(open(&receiver, &buffer)));
    };
}

test "records open in their order, each once" {
    var sender, var receiver = ends();
    var one: Buffer = undefined;
    var two: Buffer = undefined;
    const first = sender.seal(.package, "1", &one);
    const second = sender.seal(.package, "2", &two);
    var copy: Buffer = undefined;
    @memcpy(copy[0..first.len], first);
    _ = try open(&receiver, first);
    try expectError(error.Authentication, open(&receiver, copy[0..first.len]));
    // The number that failed is used up: even the right record no longer opens.
    try expectError(error.Authentication, open(&receiver, second));
}

test "no number is used for two records" {
    var sender, _ = ends();
    var one: Buffer = undefined;
    var two: Buffer = undefined;
    const first = sender.seal(.stdout, "same", &one);
    const second = sender.seal(.stdout, "same", &two);
    try expect(!std.mem.eql(u8, first[4..], second[4..]));
    try expectEqual(2, sender.sequence);
}

test "lengths that no record has" {
    for ([_]u32{ 0, 1, 16, 255, 256, 271, 273, 528 - 1, 65_551, 65_553, 65_808, 0x7FFF_FFFF, 0xFFFF_FFFF }) |length| {
        try expectError(error.Length, records.bodyLength(&std.mem.toBytes(length)));
    }
    for ([_]u32{ 272, 528, 65_552 }) |length| {
        try expectEqual(length, try records.bodyLength(&std.mem.toBytes(length)));
    }
}

test "one encoding of a plaintext" {
    var plaintext: [512]u8 = @splat(0);
    plaintext[0] = 2;
    plaintext[4] = 249; // the least that needs two units
    _ = try records.parse(&plaintext);
    for (1..4) |reserved| {
        var other = plaintext;
        other[reserved] = 1;
        try expectError(error.Padding, records.parse(&other));
    }
    var other = plaintext;
    other[4] = 248; // would fit into one
    try expectError(error.Padding, records.parse(&other));
    other = plaintext;
    std.mem.writeInt(u32, other[4..8], 505, .little);
    try expectError(error.Padding, records.parse(&other));
    other = plaintext;
    other[511] = 1;
    try expectError(error.Padding, records.parse(&other));
    other = plaintext;
    other[8 + 249] = 1;
    try expectError(error.Padding, records.parse(&other));
}

test "a wiped direction has no key" {
    var sender, _ = ends();
    sender.wipe();
    try expect(std.mem.allEqual(u8, &sender.key, 0));
    try expect(std.mem.allEqual(u8, &sender.iv, 0));
}
