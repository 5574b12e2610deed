//! Random numbers of the keep's own. The source is the processor's RDSEED; everything is derived from 64 bytes
//! of it by HKDF, one label a purpose, together with the secret of the launch where there is one: either being good
//! suffices. A processor that does not deliver ends the keep before it makes a key.

const std = @import("std");
const crypto = std.crypto;
const Hkdf = crypto.kdf.hkdf.HkdfSha256;

pub const Error = error{NoEntropy};

const words = 8;
/// RDSEED may be momentarily empty. This many attempts a word, with a pause between, is far beyond what vendors
/// call normal.
const attempts = 10_000;

/// What everything random in a keep comes from.
pub const Seed = struct {
    prk: [32]u8,

    /// `launch_secret` is the tenant's, or empty.
    pub fn gather(launch_secret: []const u8) Error!Seed {
        return gatherFrom(rdseed, launch_secret);
    }

    fn gatherFrom(comptime source: fn () ?u64, launch_secret: []const u8) Error!Seed {
        var raw: [words]u64 = undefined;
        defer crypto.secureZero(u64, &raw);
        for (&raw) |*word| word.* = try next(source);
        // A stuck generator repeats itself (some processors returned all ones, or zero, and called it success).
        for (raw[1..], raw[0 .. words - 1]) |word, before| if (word == before) return error.NoEntropy;
        var mixing = Hkdf.extractInit("wasmkeep-entropy-v1");
        mixing.update(std.mem.asBytes(&raw));
        mixing.update(launch_secret);
        var seed: Seed = undefined;
        mixing.final(&seed.prk);
        return seed;
    }

    pub fn derive(self: *const Seed, purpose: []const u8) [32]u8 {
        var out: [32]u8 = undefined;
        Hkdf.expand(&out, purpose, self.prk);
        return out;
    }

    pub fn wipe(self: *Seed) void {
        crypto.secureZero(u8, &self.prk);
    }
};

/// A generator: ChaCha20 with fast key erasure. The program's is keyed by the keep's own seed and the tenant's
/// entropy, so that either one being good suffices.
pub const Generator = struct {
    state: std.Random.ChaCha,

    /// Before the tenant's entropy is there: for what the keep itself draws while it takes a package in.
    pub fn early(seed: *const Seed) Generator {
        return keyed(seed, "early generator", &@splat(0));
    }

    pub fn init(seed: *const Seed, tenant_entropy: *const [32]u8) Generator {
        return keyed(seed, "generator", tenant_entropy);
    }

    fn keyed(seed: *const Seed, purpose: []const u8, tenant_entropy: *const [32]u8) Generator {
        var own = seed.derive(purpose);
        defer crypto.secureZero(u8, &own);
        var key = Hkdf.extract(tenant_entropy, &own);
        defer crypto.secureZero(u8, &key);
        return .{ .state = .init(key) };
    }

    pub fn fill(self: *Generator, destination: []u8) void {
        self.state.fill(destination);
    }

    pub fn wipe(self: *Generator) void {
        crypto.secureZero(u8, std.mem.asBytes(&self.state));
    }
};

fn next(comptime source: fn () ?u64) Error!u64 {
    for (0..attempts) |_| {
        if (source()) |word| return word;
        std.atomic.spinLoopHint();
    }
    return error.NoEntropy;
}

/// The 64-bit form: on some processors the shorter ones report success with zero (AMD-SB-7055).
fn rdseed() ?u64 {
    var word: u64 = undefined;
    const delivered = asm volatile (
        \\ rdseed %[word]
        \\ setc %[delivered]
        : [delivered] "=q" (-> u8),
          [word] "=&r" (word),
    );
    return if (delivered == 1) word else null;
}

test "a generator that fails, or repeats itself, is refused" {
    const Source = struct {
        var counter: u64 = 0;
        fn empty() ?u64 {
            return null;
        }
        fn stuck() ?u64 {
            return std.math.maxInt(u64);
        }
        fn counting() ?u64 {
            counter += 1;
            return if (counter % 3 == 0) null else counter;
        }
    };
    try std.testing.expectError(error.NoEntropy, Seed.gatherFrom(Source.empty, ""));
    try std.testing.expectError(error.NoEntropy, Seed.gatherFrom(Source.stuck, ""));
    const seed = try Seed.gatherFrom(Source.counting, "");
    try std.testing.expect(!std.mem.eql(u8, &seed.derive("a"), &seed.derive("b")));
}

test "the launch secret is part of the seed" {
    const Source = struct {
        var counter: u64 = 0;
        fn counting() ?u64 {
            counter += 1;
            return counter;
        }
    };
    var seeds: [4][32]u8 = undefined;
    for (&seeds, [_][]const u8{ "", "one", "two", "two" }) |*seed, secret| {
        Source.counter = 0;
        seed.* = (try Seed.gatherFrom(Source.counting, secret)).prk;
    }
    try std.testing.expect(!std.mem.eql(u8, &seeds[0], &seeds[1]));
    try std.testing.expect(!std.mem.eql(u8, &seeds[1], &seeds[2]));
    try std.testing.expectEqual(seeds[2], seeds[3]);
}

test "the generator depends on both sources" {
    const one: Seed = .{ .prk = @splat(1) };
    const two: Seed = .{ .prk = @splat(2) };
    var outputs: [3][16]u8 = undefined;
    for (&outputs, [_]Seed{ one, two, one }, [_]u8{ 7, 7, 8 }) |*out, seed, tenant| {
        var generator: Generator = .init(&seed, &@splat(tenant));
        generator.fill(out);
    }
    try std.testing.expect(!std.mem.eql(u8, &outputs[0], &outputs[1]));
    try std.testing.expect(!std.mem.eql(u8, &outputs[0], &outputs[2]));
    var early: Generator = .early(&one);
    var late: Generator = .init(&one, &@splat(0));
    var drawn: [2][16]u8 = undefined;
    early.fill(&drawn[0]);
    late.fill(&drawn[1]);
    try std.testing.expect(!std.mem.eql(u8, &drawn[0], &drawn[1]));
}
