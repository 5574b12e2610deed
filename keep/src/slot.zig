//! The launch slot: one page of the measured image, zero when it is measured, into which the secure processor puts
//! the tenant's packet before the keep runs (SEV API 0.24, AMD 55766, 6.6 LAUNCH_SECRET). docs/protocol.md section 6.
//!
//! The packet's authentication does not cover the address at which the host has it injected. So all of its bytes are
//! opcodes that 64-bit mode does not have, and even: over code it traps wherever it is entered (#UD), over a page
//! table it maps nothing. In the slot it must be whole, alone and well-formed.

const std = @import("std");
const crypto = std.crypto;
const Hkdf = crypto.kdf.hkdf.HkdfSha256;
const HmacSha256 = crypto.auth.hmac.sha2.HmacSha256;

/// Three bits a symbol: PUSH and POP of segment registers, PUSHA, far CALL and JMP, INTO.
pub const alphabet = [8]u8{ 0x06, 0x0E, 0x16, 0x1E, 0x60, 0x9A, 0xCE, 0xEA };
/// Names a packet. It starts with small numbers: a jump whose displacement they overwrite ends up inside the packet, or
/// between 96 and 512 MiB, where nothing is mapped.
pub const guid = [16]u8{ 0x1E, 0x16, 0x0E, 0x06, 0x60, 0x9A, 0xCE, 0xEA, 0x9A, 0x60, 0xEA, 0xCE, 0x06, 0x1E, 0x16, 0x0E };
pub const symbol_count = 108;
pub const packet_length = guid.len + length_symbols.len + symbol_count;
/// The packet's length as four octal digits, the lowest first, each as its symbol.
const length_symbols = [4]u8{ alphabet[0], alphabet[0], alphabet[2], alphabet[0] };

comptime {
    std.debug.assert(packet_length == 0o0200);
}

pub const Symbols = [symbol_count]u8;

/// Takes the tenant's symbols out of the slot and wipes it whole. null where there is no packet, or anything that is
/// not exactly one.
pub fn take(page: *align(8) volatile [4096]u8) ?Symbols {
    var packet: [packet_length]u8 = undefined;
    defer crypto.secureZero(u8, &packet);
    for (&packet, 0..) |*byte, index| byte.* = page[index];
    var rest: u8 = 0;
    for (packet_length..page.len) |index| rest |= page[index];
    crypto.secureZero(u8, page);
    if (rest != 0) return null;
    return parse(&packet);
}

fn parse(packet: *const [packet_length]u8) ?Symbols {
    if (!std.mem.eql(u8, packet[0..guid.len], &guid)) return null;
    if (!std.mem.eql(u8, packet[guid.len..][0..length_symbols.len], &length_symbols)) return null;
    const symbols = packet[guid.len + length_symbols.len ..];
    for (symbols) |symbol| if (std.mem.findScalar(u8, &alphabet, symbol) == null) return null;
    return symbols.*;
}

/// What only this launch and its tenant know. `tee` is the name of the kind of TEE.
pub fn launchSecret(symbols: *const Symbols, tee: []const u8) [32]u8 {
    return derive("wasmkeep-launch-secret-v1", symbols, tee);
}

/// Shows the tenant that the keep of these keys and this nonce is the one that was given the launch secret.
pub fn proof(launch_secret: *const [32]u8, report_data: *const [64]u8) [32]u8 {
    var key = derive("", launch_secret, "wasmkeep proof v1");
    defer crypto.secureZero(u8, &key);
    var out: [32]u8 = undefined;
    HmacSha256.create(&out, report_data, &key);
    return out;
}

fn derive(salt: []const u8, input: []const u8, info: []const u8) [32]u8 {
    var prk = Hkdf.extract(salt, input);
    defer crypto.secureZero(u8, &prk);
    var out: [32]u8 = undefined;
    Hkdf.expand(&out, info, prk);
    return out;
}
