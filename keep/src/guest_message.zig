//! The guest message channel to the secure processor: SEV-SNP firmware ABI, "Guest messages", "MSG_REPORT_REQ"
//! and "MSG_REPORT_RSP"; the secrets page: "Secrets page format".
//!
//! A number is never used for two messages, and a key whose state is in doubt is not used again: this keep asks
//! once, and drops the key before it looks at the answer's content.

const std = @import("std");
const crypto = std.crypto;
const aead = @import("aes_gcm.zig");

pub const report_length = 1184;
pub const header_length = 0x60;
const request_payload = 96;
const response_payload = 0x20 + report_length;
pub const request_length = header_length + request_payload;
pub const response_length = header_length + response_payload;

const algorithm_aes_256_gcm = 1;
const header_version = 1;
const message_version = 1;
const type_report_request = 5;
const type_report_response = 6;

const offset = struct {
    const sequence = 0x20;
    const authenticated = 0x30; // the rest of the header is the additional data
    const algorithm = 0x30;
    const header_version = 0x31;
    const header_size = 0x32;
    const message_type = 0x34;
    const message_version = 0x35;
    const message_size = 0x36;
    const key_number = 0x3C;
};

pub const Error = error{ Malformed, Authentication, Status };

/// Secrets page: version, then VMPCK0 at 20h. Takes the key and wipes all four.
pub fn takeKey(secrets: *volatile [4096]u8) error{UnknownVersion}![32]u8 {
    const version = std.mem.readInt(u32, &[4]u8{ secrets[0], secrets[1], secrets[2], secrets[3] }, .little);
    var key: [32]u8 = undefined;
    for (&key, 0..) |*byte, index| byte.* = secrets[0x20 + index];
    crypto.secureZero(u8, secrets);
    if (version < 2 or version > 3) {
        crypto.secureZero(u8, &key);
        return error.UnknownVersion;
    }
    return key;
}

/// MSG_REPORT_REQ for VMPL 0, key selection 0 (VLEK if there is one, otherwise VCEK).
pub fn reportRequest(key: [32]u8, sequence: u64, report_data: *const [64]u8) [request_length]u8 {
    var message: [request_length]u8 = @splat(0);
    std.mem.writeInt(u64, message[offset.sequence..][0..8], sequence, .little);
    message[offset.algorithm] = algorithm_aes_256_gcm;
    message[offset.header_version] = header_version;
    std.mem.writeInt(u16, message[offset.header_size..][0..2], header_length, .little);
    message[offset.message_type] = type_report_request;
    message[offset.message_version] = message_version;
    std.mem.writeInt(u16, message[offset.message_size..][0..2], request_payload, .little);

    const payload = report_data.* ++ @as([request_payload - 64]u8, @splat(0));
    const additional = message[offset.authenticated..header_length].*;
    aead.encrypt(message[header_length..], message[0..aead.tag_length], &payload, &additional, nonce(sequence), key);
    return message;
}

/// Opens the answer in place (a private copy of what the host left in the window); returns the report in it.
pub fn openReport(key: [32]u8, sequence: u64, message: *[response_length]u8) Error!*const [report_length]u8 {
    try checkHeader(message[0..header_length], sequence);
    const payload = message[header_length..];
    aead.decrypt(payload, payload, message[0..aead.tag_length].*, message[offset.authenticated..header_length], nonce(sequence), key) catch return error.Authentication;
    if (std.mem.readInt(u32, payload[0..4], .little) != 0) return error.Status;
    if (std.mem.readInt(u32, payload[4..8], .little) != report_length) return error.Malformed;
    if (!std.mem.allEqual(u8, payload[8..0x20], 0)) return error.Malformed;
    return payload[0x20..];
}

fn checkHeader(header: *const [header_length]u8, sequence: u64) Error!void {
    if (!std.mem.allEqual(u8, header[aead.tag_length..offset.sequence], 0)) return error.Malformed;
    if (std.mem.readInt(u64, header[offset.sequence..][0..8], .little) != sequence) return error.Malformed;
    if (std.mem.readInt(u64, header[offset.sequence + 8 ..][0..8], .little) != 0) return error.Malformed;
    if (header[offset.algorithm] != algorithm_aes_256_gcm or header[offset.header_version] != header_version) return error.Malformed;
    if (std.mem.readInt(u16, header[offset.header_size..][0..2], .little) != header_length) return error.Malformed;
    if (header[offset.message_type] != type_report_response or header[offset.message_version] != message_version) return error.Malformed;
    if (std.mem.readInt(u16, header[offset.message_size..][0..2], .little) != response_payload) return error.Malformed;
    if (!std.mem.allEqual(u8, header[offset.message_size + 2 ..], 0)) return error.Malformed; // VMPCK 0, reserved
}

/// The sequence number as u64 little-endian, then zeros.
fn nonce(sequence: u64) [aead.nonce_length]u8 {
    var out: [aead.nonce_length]u8 = @splat(0);
    std.mem.writeInt(u64, out[0..8], sequence, .little);
    return out;
}

/// What the keep needs of its own report (table "ATTESTATION_REPORT"). It came over the authenticated channel, so
/// its signature is for others to check.
pub const Report = struct {
    measurement: [48]u8,
    host_data: [32]u8,

    /// null unless it is a report about this keep's request.
    pub fn read(bytes: *const [report_length]u8, report_data: *const [64]u8) ?Report {
        const version = std.mem.readInt(u32, bytes[0..4], .little);
        if (version < 2 or version > 5) return null;
        if (!std.mem.eql(u8, bytes[0x50..0x90], report_data)) return null;
        return .{ .measurement = bytes[0x90..0xC0].*, .host_data = bytes[0xC0..0xE0].* };
    }
};

/// An answer as the secure processor would make it, for tests.
pub fn sampleResponse(key: [32]u8, sequence: u64, report: *const [report_length]u8, status: u32) [response_length]u8 {
    var message: [response_length]u8 = @splat(0);
    std.mem.writeInt(u64, message[offset.sequence..][0..8], sequence, .little);
    message[offset.algorithm] = 1;
    message[offset.header_version] = 1;
    std.mem.writeInt(u16, message[offset.header_size..][0..2], header_length, .little);
    message[offset.message_type] = type_report_response;
    message[offset.message_version] = 1;
    std.mem.writeInt(u16, message[offset.message_size..][0..2], response_payload, .little);
    var payload: [response_payload]u8 = @splat(0);
    std.mem.writeInt(u32, payload[0..4], status, .little);
    std.mem.writeInt(u32, payload[4..8], report_length, .little);
    @memcpy(payload[0x20..], report);
    aead.encrypt(message[header_length..], message[0..16], &payload, message[0x30..0x60], nonce(sequence), key);
    return message;
}

test "the request is laid out and sealed as the firmware expects" {
    const key: [32]u8 = @splat(9);
    const report_data: [64]u8 = @splat(0x5A);
    const message = reportRequest(key, 1, &report_data);
    try std.testing.expectEqual(1, message[0x20]);
    try std.testing.expectEqualSlices(u8, &.{ 1, 1, 0x60, 0, 5, 1, 96, 0, 0, 0, 0, 0, 0 }, message[0x30..0x3D]);
    var payload: [96]u8 = undefined;
    try aead.decrypt(&payload, message[0x60..], message[0..16].*, message[0x30..0x60], .{ 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }, key);
    try std.testing.expectEqualSlices(u8, &report_data, payload[0..64]);
    try std.testing.expect(std.mem.allEqual(u8, payload[64..], 0));
}

test "an answer opens once it is right in every byte, and in no other case" {
    const key: [32]u8 = @splat(3);
    var report: [report_length]u8 = @splat(0x11);
    report[0..4].* = .{ 3, 0, 0, 0 };
    const good = sampleResponse(key, 2, &report, 0);
    var copy = good;
    try std.testing.expectEqualSlices(u8, &report, try openReport(key, 2, &copy));
    for (0..good.len) |index| {
        copy = good;
        copy[index] ^= 0x10;
        try std.testing.expect(std.meta.isError(openReport(key, 2, &copy)));
    }
    copy = good;
    try std.testing.expectError(error.Malformed, openReport(key, 4, &copy));
    copy = sampleResponse(key, 1, &report, 0);
    try std.testing.expectError(error.Malformed, openReport(key, 2, &copy));
}

test "a report about another request is not read" {
    var report: [report_length]u8 = @splat(0);
    report[0] = 3;
    @memset(report[0x50..0x90], 7);
    @memset(report[0xC0..0xE0], 8);
    try std.testing.expectEqual(@as([32]u8, @splat(8)), Report.read(&report, &@splat(7)).?.host_data);
    try std.testing.expectEqual(null, Report.read(&report, &@splat(6)));
    report[0] = 6;
    try std.testing.expectEqual(null, Report.read(&report, &@splat(7)));
}

test "the secrets page gives its key once" {
    var page: [4096]u8 = @splat(0xCC);
    page[0..4].* = .{ 3, 0, 0, 0 };
    try std.testing.expectEqual(@as([32]u8, @splat(0xCC)), try takeKey(&page));
    try std.testing.expect(std.mem.allEqual(u8, &page, 0));
    try std.testing.expectError(error.UnknownVersion, takeKey(&page));
}
