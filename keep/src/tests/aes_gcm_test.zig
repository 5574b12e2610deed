const std = @import("std");
const options = @import("options");
const aes_gcm = @import("../aes_gcm.zig");
const Reference = std.crypto.aead.aes_gcm.Aes256Gcm;
const expectEqualSlices = std.testing.expectEqualSlices;
const expectError = std.testing.expectError;

test "NIST's example with associated data and a text that ends inside a block" {
    // "The Galois/Counter Mode of Operation", appendix B, test case 16.
    const key = hex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308");
    const nonce = hex("cafebabefacedbaddecaf888");
    const text = hex("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39");
    const ad = hex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
    var sealed: [text.len]u8 = undefined;
    var tag: [16]u8 = undefined;
    aes_gcm.encrypt(&sealed, &tag, &text, &ad, nonce, key);
    try expectEqualSlices(u8, &hex("522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"), &sealed);
    try expectEqualSlices(u8, &hex("76fc6ece0f4e1768cddf8853bb2d551b"), &tag);
}

test "the standard library's results at every length, and its refusals" {
    var random: std.Random.DefaultPrng = .init(0x47434D);
    var text: [600]u8 = undefined;
    var associated: [300]u8 = undefined;
    for (0..text.len + 1) |length| {
        var key: [32]u8 = undefined;
        var nonce: [12]u8 = undefined;
        random.fill(&key);
        random.fill(&nonce);
        random.fill(&text);
        random.fill(&associated);
        try same(text[0..length], associated[0 .. (length * 7) % associated.len], nonce, key);
    }
}

test "a record's size, and more" {
    var text: [(64 << 10) + 1]u8 = undefined;
    var random: std.Random.DefaultPrng = .init(options.fuzz_count);
    random.fill(&text);
    for ([_]usize{ 256, 4096, 61_440, text.len - 1, text.len }) |length| {
        try same(text[0..length], "ad", @splat(0xA5), @splat(0x5A));
    }
}

test "whatever was altered, nothing is decrypted" {
    const key: [32]u8 = @splat(1);
    const nonce: [12]u8 = @splat(2);
    const ad = "associated data";
    var text: [200]u8 = @splat(3);
    var sealed: [text.len]u8 = undefined;
    var tag: [16]u8 = undefined;
    aes_gcm.encrypt(&sealed, &tag, &text, ad, nonce, key);
    for (0..sealed.len * 8) |bit| {
        var altered = sealed;
        altered[bit / 8] ^= @as(u8, 1) << @intCast(bit % 8);
        const before = altered;
        try expectError(error.AuthenticationFailed, aes_gcm.decrypt(&altered, &altered, tag, ad, nonce, key));
        try expectEqualSlices(u8, &before, &altered);
    }
    var opened: [text.len]u8 = @splat(0);
    for (0..tag.len * 8) |bit| {
        var altered = tag;
        altered[bit / 8] ^= @as(u8, 1) << @intCast(bit % 8);
        try expectError(error.AuthenticationFailed, aes_gcm.decrypt(&opened, &sealed, altered, ad, nonce, key));
    }
    try expectError(error.AuthenticationFailed, aes_gcm.decrypt(&opened, &sealed, tag, ad[1..], nonce, key));
    try expectError(error.AuthenticationFailed, aes_gcm.decrypt(&opened, &sealed, tag, ad, @splat(4), key));
    try expectError(error.AuthenticationFailed, aes_gcm.decrypt(&opened, &sealed, tag, ad, nonce, @splat(4)));
    // A byte moved between associated data and text has the same hash input but for the lengths.
    try expectError(error.AuthenticationFailed, aes_gcm.decrypt(opened[1..], sealed[1..], tag, ad ++ sealed[0..1], nonce, key));
    try expectEqualSlices(u8, &@as([text.len]u8, @splat(0)), &opened);
    try aes_gcm.decrypt(&opened, &sealed, tag, ad, nonce, key);
    try expectEqualSlices(u8, &text, &opened);
}

fn same(text: []const u8, ad: []const u8, nonce: [12]u8, key: [32]u8) !void {
    var ours: [(64 << 10) + 1]u8 = undefined;
    var theirs: [(64 << 10) + 1]u8 = undefined;
    var tag: [16]u8 = undefined;
    var their_tag: [16]u8 = undefined;
    aes_gcm.encrypt(ours[0..text.len], &tag, text, ad, nonce, key);
    Reference.encrypt(theirs[0..text.len], &their_tag, text, ad, nonce, key);
    try expectEqualSlices(u8, theirs[0..text.len], ours[0..text.len]);
    try expectEqualSlices(u8, &their_tag, &tag);
    try aes_gcm.decrypt(ours[0..text.len], ours[0..text.len], their_tag, ad, nonce, key);
    try expectEqualSlices(u8, text, ours[0..text.len]);
}

fn hex(comptime digits: []const u8) [digits.len / 2]u8 {
    var out: [digits.len / 2]u8 = undefined;
    _ = std.fmt.hexToBytes(&out, digits) catch unreachable;
    return out;
}
