//! What does not open. That the right message does is in `vector_tests.zig`.
const std = @import("std");
const hpke = @import("../hpke.zig");
const vectors = @import("../vector_tests.zig");

fn keys() !hpke.Kem.KeyPair {
    return hpke.Kem.KeyPair.generateDeterministic(vectors.kem_seed);
}

fn info() [hpke.info_length]u8 {
    return "wasmkeep-session-v1".* ++ vectors.tenant("report_data", 64);
}

test "another key or other report data does not open it" {
    const message = vectors.tenant("hpke_message", hpke.message_length);
    const other = try hpke.Kem.KeyPair.generateDeterministic(@splat(0x12));
    try std.testing.expectError(error.OpenFailed, hpke.open(other.secret_key, &message, &info()));
    var other_info = info();
    other_info[40] ^= 1;
    try std.testing.expectError(error.OpenFailed, hpke.open((try keys()).secret_key, &message, &other_info));
}

test "points of small order are refused" {
    const pair = try keys();
    for ([_][32]u8{ @splat(0), [1]u8{1} ++ @as([31]u8, @splat(0)), [1]u8{0xEC} ++ @as([30]u8, @splat(0xFF)) ++ [1]u8{0x7F} }) |point| {
        var message = vectors.tenant("hpke_message", hpke.message_length);
        message[1088..1120].* = point;
        try std.testing.expectError(error.OpenFailed, hpke.open(pair.secret_key, &message, &info()));
    }
}
