//! Sealed records: docs/protocol.md section 3. Both directions work in place on private memory only.

const std = @import("std");
const crypto = std.crypto;
const aead = @import("aes_gcm.zig");
const Hkdf = crypto.kdf.hkdf.HkdfSha256;

pub const length_size = 4;
pub const tag_size = aead.tag_length;
/// Type, three zero bytes, payload length.
pub const header_size = 8;
pub const padding_unit = 256;
pub const plaintext_maximum = 65_536;
pub const payload_maximum = plaintext_maximum - header_size;
/// The most that a stream's record carries.
pub const stream_maximum = 61_440;
/// Ciphertext and tag.
pub const body_maximum = plaintext_maximum + tag_size;

pub const Type = enum(u8) {
    hello = 0x01,
    package = 0x02,
    stdin = 0x03,
    launched = 0x10,
    stdout = 0x11,
    stderr = 0x12,
    trap = 0x13,
    want_stdin = 0x14,
    refused = 0x15,
    receipt = 0x16,
    _,
};

pub const Error = error{ Length, Authentication, Padding };

/// A length field as it stands in front of a record, checked: a whole number of padding units and a tag.
pub fn bodyLength(field: *const [length_size]u8) Error!u32 {
    const length = std.mem.readInt(u32, field, .little);
    if (length < padding_unit + tag_size or length > body_maximum) return error.Length;
    if ((length - tag_size) % padding_unit != 0) return error.Length;
    return length;
}

/// Size of a record's body that carries `payload` bytes.
pub fn sealedLength(payload: usize) usize {
    return std.mem.alignForward(usize, header_size + payload, padding_unit) + tag_size;
}

pub const Record = struct { type: Type, payload: []u8 };

/// One direction of the channel: its key and the number of the next record. A number is used up before the
/// cipher runs, so that no failure in between can use it twice.
pub const Direction = struct {
    key: [aead.key_length]u8,
    iv: [aead.nonce_length]u8,
    sequence: u64,

    /// HKDF-SHA256 over the tenant's secret, followed by the launch's where there is one; `info` names the direction.
    pub fn derive(session_id: *const [32]u8, secret: *const [32]u8, launch_secret: []const u8, info: []const u8) Direction {
        var extracting = Hkdf.extractInit(session_id);
        extracting.update(secret);
        extracting.update(launch_secret);
        var prk: [Hkdf.prk_length]u8 = undefined;
        extracting.final(&prk);
        defer crypto.secureZero(u8, &prk);
        var out: [aead.key_length + aead.nonce_length]u8 = undefined;
        defer crypto.secureZero(u8, &out);
        Hkdf.expand(&out, info, prk);
        return .{ .key = out[0..aead.key_length].*, .iv = out[aead.key_length..].*, .sequence = 0 };
    }

    pub fn wipe(self: *Direction) void {
        crypto.secureZero(u8, &self.key);
        crypto.secureZero(u8, &self.iv);
    }

    /// Opens a body (ciphertext and tag) in place. What it returns lies inside `body`. Like `seal` never inlined: the
    /// copies of the key that it makes lie below the caller's frame, where `stack.zig` wipes them.
    pub noinline fn open(self: *Direction, field: *const [length_size]u8, body: []u8) Error!Record {
        std.debug.assert(body.len >= padding_unit + tag_size);
        const plaintext = body[0 .. body.len - tag_size];
        const tag = body[plaintext.len..][0..tag_size].*;
        aead.decrypt(plaintext, plaintext, tag, field, self.nextNonce(), self.key) catch return error.Authentication;
        return parse(plaintext);
    }

    /// Seals a payload into `out`: length, ciphertext, tag. Returns the whole record.
    pub noinline fn seal(self: *Direction, record_type: Type, payload: []const u8, out: []u8) []u8 {
        const body_length = sealedLength(payload.len);
        std.debug.assert(body_length <= body_maximum);
        const record = out[0 .. length_size + body_length];
        const field = record[0..length_size];
        std.mem.writeInt(u32, field, @intCast(body_length), .little);

        const plaintext = record[length_size .. record.len - tag_size];
        @memset(plaintext[0..header_size], 0);
        plaintext[0] = @backingInt(record_type);
        std.mem.writeInt(u32, plaintext[4..8], @intCast(payload.len), .little);
        @memcpy(plaintext[header_size..][0..payload.len], payload);
        @memset(plaintext[header_size + payload.len ..], 0);

        aead.encrypt(plaintext, record[record.len - tag_size ..][0..tag_size], plaintext, field, self.nextNonce(), self.key);
        return record;
    }

    /// iv XOR the sequence number as a 96-bit big-endian integer.
    fn nextNonce(self: *Direction) [aead.nonce_length]u8 {
        var nonce = self.iv;
        var number: [8]u8 = undefined;
        std.mem.writeInt(u64, &number, self.sequence, .big);
        self.sequence += 1; // checked: it never wraps
        for (nonce[4..], number) |*byte, mask| byte.* ^= mask;
        return nonce;
    }
};

/// A record's plaintext, opened; there is one encoding of a type and payload.
pub fn parse(plaintext: []u8) Error!Record {
    if (plaintext[1] != 0 or plaintext[2] != 0 or plaintext[3] != 0) return error.Padding;
    const length = std.mem.readInt(u32, plaintext[4..8], .little);
    if (length > plaintext.len - header_size) return error.Padding;
    const end = header_size + length;
    // One encoding only: the padding is less than a unit, and zero.
    if (plaintext.len - end >= padding_unit) return error.Padding;
    for (plaintext[end..]) |byte| if (byte != 0) return error.Padding;
    return .{ .type = @fromBackingInt(@intCast(plaintext[0])), .payload = plaintext[header_size..end] };
}
