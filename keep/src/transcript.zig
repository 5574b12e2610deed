//! Fixed, length-prefixed encodings that are hashed: what evidence, session and digests are bound to.
//! docs/protocol.md sections 1, 2 and 4.

const std = @import("std");
const Sha256 = std.crypto.hash.sha2.Sha256;
const Sha512 = std.crypto.hash.sha2.Sha512;

/// Appends lp(bytes): the length as u32, little-endian, then the bytes.
pub fn prefixed(hasher: anytype, bytes: []const u8) void {
    var length: [4]u8 = undefined;
    std.mem.writeInt(u32, &length, @intCast(bytes.len), .little);
    hasher.update(&length);
    hasher.update(bytes);
}

/// `tee` is the name of the kind of TEE.
pub fn reportData(tee: []const u8, nonce: *const [32]u8, tenant_key_digest: *const [32]u8, receiving_key: []const u8, receipt_key: *const [32]u8) [64]u8 {
    var hasher: Sha512 = .init(.{});
    for ([_][]const u8{ "wasmkeep-evidence-v1", tee, nonce, tenant_key_digest, receiving_key, receipt_key }) |part| prefixed(&hasher, part);
    return hasher.finalResult();
}

pub fn sessionId(report_data: *const [64]u8, hpke_message: []const u8) [32]u8 {
    const message_digest = digest(hpke_message);
    var hasher: Sha256 = .init(.{});
    for ([_][]const u8{ "wasmkeep-transcript-v1", report_data, &message_digest }) |part| prefixed(&hasher, part);
    return hasher.finalResult();
}

/// Starts the salted digest of one field of the tenant's data; the data follows as it comes.
pub fn saltedDigest(field: []const u8, salt: *const [32]u8) Sha256 {
    var hasher: Sha256 = .init(.{});
    for ([_][]const u8{ "wasmkeep-digest-v1", field, salt }) |part| prefixed(&hasher, part);
    return hasher;
}

pub fn digest(bytes: []const u8) [32]u8 {
    var out: [32]u8 = undefined;
    Sha256.hash(bytes, &out, .{});
    return out;
}
