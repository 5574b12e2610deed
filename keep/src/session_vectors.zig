//! Vectors of a session, from the keep's side: prints what it computes from the tenant's, one `name: hex` a line.
//! tests/protocol/test_vectors.py reads them back as a tenant does.

const std = @import("std");
const hpke = @import("hpke.zig");
const records = @import("records.zig");
const statement = @import("statement.zig");
const vectors = @import("vector_tests.zig");
const Ed25519 = std.crypto.sign.Ed25519;

pub fn main() !void {
    const session_id = vectors.tenant("session_id", 32);
    var sending: records.Direction = .derive(&session_id, &vectors.secret, "", &("wasmkeep to-tenant v1".* ++ vectors.keep_salt));
    const signer: statement.Signer = .{
        .key = try Ed25519.KeyPair.generateDeterministic(vectors.receipt_seed),
        .session_id = session_id,
    };
    var facts: statement.Launch = .{
        .tee = "snp",
        .measurement = &@as([48]u8, @splat(1)),
        .program_digest = @splat(2),
        .target = "wasmtime 50.0.1 x86_64-unknown-linux-gnu x86-64-v3",
        .configuration = @splat(3),
        .arguments = @splat(4),
        .environment = @splat(5),
        .files = @splat(6),
        .memory_limit = 1 << 28,
        .wall_clock = 1_800_000_000_000_000_000,
        .tenant_key_digest = @splat(7),
    };
    const run: statement.Run = .{
        .outcome = .{ .exit = 0xFFFF_FFFF },
        .stdin = .{ .digest = @splat(8), .length = 0 },
        .stdout = .{ .digest = @splat(9), .length = 23 },
        .stderr = .{ .digest = @splat(10), .length = std.math.maxInt(u64) },
        .elapsed = 1_000_000_007,
        .memory_peak = 65_536,
        .exits = 24,
    };
    var statement_buffer: [statement.statement_maximum]u8 = undefined;
    const launch = signer.launch(&facts, &statement_buffer);
    print("launch", launch);
    seal(&sending, "launched", .launched, launch);
    seal(&sending, "stdout", .stdout, "what a program says");
    const receipt = signer.receipt(&facts, &run, &statement_buffer);
    print("receipt", receipt);
    seal(&sending, "receipted", .receipt, receipt);

    const launch_secret = vectors.tenant("launch_secret_sev_es", 32);
    var mixed: records.Direction = .derive(&vectors.pre_attested_session, &vectors.secret, &launch_secret, &("wasmkeep to-tenant v1".* ++ vectors.keep_salt));
    const other_signer: statement.Signer = .{ .key = signer.key, .session_id = vectors.pre_attested_session };
    facts.tee = "sev-es";
    facts.measurement = "";
    const other_launch = other_signer.launch(&facts, &statement_buffer);
    print("pre_attested_launch", other_launch);
    seal(&mixed, "pre_attested_launched", .launched, other_launch);
}

fn seal(sending: *records.Direction, name: []const u8, record_type: records.Type, payload: []const u8) void {
    var buffer: [records.length_size + records.body_maximum]u8 = undefined;
    print(name, sending.seal(record_type, payload, &buffer));
}

fn print(name: []const u8, bytes: []const u8) void {
    std.debug.print("{s}: {x}\n", .{ name, bytes });
}
