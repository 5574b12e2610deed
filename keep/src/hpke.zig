//! HPKE (RFC 9180), base mode, single shot, opening side: KEM 0x647A (X-Wing, ML-KEM-768 with X25519),
//! KDF 0x0001 (HKDF-SHA256), AEAD 0x0002 (AES-256-GCM). One suite, no negotiation.

const std = @import("std");
const crypto = std.crypto;
const Hkdf = crypto.kdf.hkdf.HkdfSha256;
const aead = @import("aes_gcm.zig");

pub const Kem = crypto.kem.hybrid.MlKem768X25519;

pub const encapsulation_length = 1120;
pub const public_key_length = 1216;
pub const secret_length = 32;
pub const message_length = encapsulation_length + secret_length + aead.tag_length;
/// "wasmkeep-session-v1" and the report data.
pub const info_length = 19 + 64;

comptime {
    std.debug.assert(Kem.EncapsulatedSecret.ciphertext_length == encapsulation_length);
    std.debug.assert(Kem.PublicKey.encoded_length == public_key_length);
    std.debug.assert(message_length == 1168);
}

/// RFC 9180 section 5.1: "HPKE" and the ids of KEM, KDF and AEAD.
const suite_id = "HPKE\x64\x7A\x00\x01\x00\x02";
const version_label = "HPKE-v1";
const mode_base = 0;

pub const Error = error{OpenFailed};

/// Opens `message` (encapsulation, ciphertext, tag) with the keep's receiving key. Every failure is the same one.
pub fn open(key: Kem.SecretKey, message: *const [message_length]u8, info: *const [info_length]u8) Error![secret_length]u8 {
    var shared = key.decaps(message[0..encapsulation_length]) catch return error.OpenFailed;
    defer crypto.secureZero(u8, &shared);
    var schedule = keySchedule(&shared, info);
    defer schedule.wipe();

    const sealed = message[encapsulation_length..];
    var secret: [secret_length]u8 = undefined;
    errdefer crypto.secureZero(u8, &secret);
    aead.decrypt(&secret, sealed[0..secret_length], sealed[secret_length..][0..aead.tag_length].*, "", schedule.nonce, schedule.key) catch return error.OpenFailed;
    return secret;
}

const Schedule = struct {
    key: [aead.key_length]u8,
    nonce: [aead.nonce_length]u8,

    fn wipe(self: *Schedule) void {
        crypto.secureZero(u8, &self.key);
        crypto.secureZero(u8, &self.nonce);
    }
};

/// RFC 9180 section 5.1, KeySchedule with an empty psk and psk_id.
fn keySchedule(shared: *const [32]u8, info: []const u8) Schedule {
    const context = [1]u8{mode_base} ++ labeledExtract("", "psk_id_hash", "") ++ labeledExtract("", "info_hash", info);
    var secret = labeledExtract(shared, "secret", "");
    defer crypto.secureZero(u8, &secret);
    return .{
        .key = labeledExpand(aead.key_length, secret, "key", &context),
        .nonce = labeledExpand(aead.nonce_length, secret, "base_nonce", &context),
    };
}

fn labeledExtract(salt: []const u8, label: []const u8, ikm: []const u8) [32]u8 {
    var mac = Hkdf.extractInit(salt);
    for ([_][]const u8{ version_label, suite_id, label, ikm }) |part| mac.update(part);
    var out: [32]u8 = undefined;
    mac.final(&out);
    return out;
}

fn labeledExpand(comptime length: u16, prk: [32]u8, comptime label: []const u8, context: *const [65]u8) [length]u8 {
    const info = [2]u8{ length >> 8, length & 0xFF } ++ version_label.* ++ suite_id.* ++ label[0..label.len].* ++ context.*;
    var out: [length]u8 = undefined;
    Hkdf.expand(&out, &info, prk);
    return out;
}
