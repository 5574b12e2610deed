//! What a tenant computed and sent (vectors/from_tenant.txt, made by tests/protocol/session_vectors.py), read by
//! the keep's half.

const std = @import("std");
const hpke = @import("hpke.zig");
const records = @import("records.zig");
const slot = @import("slot.zig");
const transcript = @import("transcript.zig");
const Ed25519 = std.crypto.sign.Ed25519;

pub const kem_seed: [32]u8 = @splat(0x11);
pub const receipt_seed: [32]u8 = @splat(0x22);
pub const keep_salt: [32]u8 = @splat(0x33);
pub const nonce: [32]u8 = @splat(0x44);
pub const secret: [32]u8 = @splat(0x66);
const field_salt: [32]u8 = @splat(0x77);
pub const pre_attested_session: [32]u8 = @splat(0xAA);

const text = @embedFile("vectors/from_tenant.txt");

/// The bytes of one vector, which has exactly this many.
pub fn tenant(comptime name: []const u8, comptime length: usize) [length]u8 {
    var lines = std.mem.splitScalar(u8, text, '\n');
    while (lines.next()) |line| {
        if (!std.mem.startsWith(u8, line, name ++ ": ")) continue;
        var out: [length]u8 = undefined;
        const decoded = std.fmt.hexToBytes(&out, line[name.len + 2 ..]) catch unreachable;
        std.debug.assert(decoded.len == length);
        return out;
    }
    unreachable;
}

fn package() [768]u8 {
    var out: [768]u8 = undefined;
    for (&out, 0..) |*byte, index| byte.* = @truncate(index);
    return out;
}

test "keys, report data and session are the tenant's" {
    const receiving = try hpke.Kem.KeyPair.generateDeterministic(kem_seed);
    try std.testing.expectEqualSlices(u8, &tenant("receiving_key", 1216), &receiving.public_key.bytes);
    const receipt = try Ed25519.KeyPair.generateDeterministic(receipt_seed);
    const receipt_key = receipt.public_key.toBytes();
    try std.testing.expectEqual(tenant("receipt_key", 32), receipt_key);
    const key_digest = transcript.digest(&tenant("tenant_key", 32));
    const report_data = transcript.reportData("snp", &nonce, &key_digest, &receiving.public_key.bytes, &receipt_key);
    try std.testing.expectEqual(tenant("report_data", 64), report_data);
    try std.testing.expectEqual(tenant("session_id", 32), transcript.sessionId(&report_data, &tenant("hpke_message", hpke.message_length)));
}

test "the tenant's secret opens, and nothing like it" {
    const receiving = try hpke.Kem.KeyPair.generateDeterministic(kem_seed);
    const info = "wasmkeep-session-v1".* ++ tenant("report_data", 64);
    const message = tenant("hpke_message", hpke.message_length);
    try std.testing.expectEqual(secret, try hpke.open(receiving.secret_key, &message, &info));
    for ([_]usize{ 0, 600, 1087, 1088, 1119, 1120, 1151, 1152, 1167 }) |position| {
        var altered = message;
        altered[position] ^= 1;
        try std.testing.expectError(error.OpenFailed, hpke.open(receiving.secret_key, &altered, &info));
    }
    var other = info;
    other[30] ^= 1;
    try std.testing.expectError(error.OpenFailed, hpke.open(receiving.secret_key, &message, &other));
}

test "the tenant's records open in their order" {
    const session_id = tenant("session_id", 32);
    var receiving: records.Direction = .derive(&session_id, &secret, "", "wasmkeep to-keep v1");
    const hello = try open(&receiving, &tenant("hello", 4 + 256 + 16));
    try std.testing.expectEqual(records.Type.hello, hello.type);
    try std.testing.expectEqualSlices(u8, &tenant("tenant_key", 32), hello.payload[0..32]);
    const sent = try open(&receiving, &tenant("package", 4 + 1024 + 16));
    try std.testing.expectEqual(records.Type.package, sent.type);
    try std.testing.expectEqualSlices(u8, &package(), sent.payload);
    const end = try open(&receiving, &tenant("end_of_input", 4 + 256 + 16));
    try std.testing.expectEqual(records.Type.stdin, end.type);
    try std.testing.expectEqual(0, end.payload.len);
    const longest = try open(&receiving, &tenant("longest", 4 + 65_536 + 16));
    try std.testing.expectEqual(records.payload_maximum, longest.payload.len);
    try std.testing.expect(std.mem.allEqual(u8, longest.payload, 0x88));
}

test "a record of the tenant's opens once, at its own place" {
    const session_id = tenant("session_id", 32);
    var receiving: records.Direction = .derive(&session_id, &secret, "", "wasmkeep to-keep v1");
    try std.testing.expectError(error.Authentication, open(&receiving, &tenant("package", 4 + 1024 + 16)));
    var other_way: records.Direction = .derive(&session_id, &secret, "", &("wasmkeep to-tenant v1".* ++ keep_salt));
    try std.testing.expectError(error.Authentication, open(&other_way, &tenant("hello", 4 + 256 + 16)));
}

test "the tenant's packet gives its secret, which is proven and opens its records" {
    var page: [4096]u8 align(8) = @splat(0);
    @memcpy(page[0..slot.packet_length], &tenant("slot_packet", slot.packet_length));
    const symbols = slot.take(&page).?;
    try std.testing.expectEqual(tenant("launch_secret_sev", 32), slot.launchSecret(&symbols, "sev"));
    const launch_secret = slot.launchSecret(&symbols, "sev-es");
    try std.testing.expectEqual(tenant("launch_secret_sev_es", 32), launch_secret);

    const key_digest = transcript.digest(&tenant("tenant_key", 32));
    const report_data = transcript.reportData("sev-es", &nonce, &key_digest, &tenant("receiving_key", 1216), &tenant("receipt_key", 32));
    try std.testing.expectEqual(tenant("pre_attested_report_data", 64), report_data);
    try std.testing.expectEqual(tenant("proof", 32), slot.proof(&launch_secret, &report_data));

    var receiving: records.Direction = .derive(&pre_attested_session, &secret, &launch_secret, "wasmkeep to-keep v1");
    const sent = try open(&receiving, &tenant("pre_attested_package", 4 + 1024 + 16));
    try std.testing.expectEqualSlices(u8, &package(), sent.payload);
    var without: records.Direction = .derive(&pre_attested_session, &secret, "", "wasmkeep to-keep v1");
    try std.testing.expectError(error.Authentication, open(&without, &tenant("pre_attested_package", 4 + 1024 + 16)));
}

test "salted digests are the tenant's" {
    var hasher = transcript.saltedDigest("stdout", &field_salt);
    hasher.update(&package());
    try std.testing.expectEqual(tenant("salted_digest", 32), hasher.finalResult());
}

var body: [records.body_maximum]u8 = undefined;

fn open(direction: *records.Direction, record: []const u8) !records.Record {
    const length = try records.bodyLength(record[0..4]);
    @memcpy(body[0..length], record[4..]);
    return direction.open(record[0..4], body[0..length]);
}
