//! Launch statement and receipt: COSE_Sign1 (RFC 9052) over a CBOR map with ascending unsigned keys, in
//! deterministic encoding (RFC 8949 section 4.2.1). docs/protocol.md section 5.

const std = @import("std");
const Ed25519 = std.crypto.sign.Ed25519;
const transcript = @import("transcript.zig");

pub const target_maximum = 64;
/// Enough for every field at its largest; a test holds it.
pub const statement_maximum = 1024;

pub const Purpose = enum {
    launch,
    receipt,

    fn name(self: Purpose) []const u8 {
        return switch (self) {
            .launch => "wasmkeep-launch-v1",
            .receipt => "wasmkeep-receipt-v1",
        };
    }
};

/// What a keep says about itself and what it was given.
pub const Launch = struct {
    tee: []const u8,
    /// Empty where a keep cannot know it.
    measurement: []const u8,
    program_digest: [32]u8,
    target: []const u8,
    configuration: [32]u8,
    arguments: [32]u8,
    environment: [32]u8,
    files: [32]u8,
    memory_limit: u64,
    wall_clock: u64,
    tenant_key_digest: [32]u8,
};

pub const Outcome = union(enum) { exit: u32, trap: u32 };

pub const Stream = struct { digest: [32]u8, length: u64 };

/// What it says at the end, besides.
pub const Run = struct {
    outcome: Outcome,
    stdin: Stream,
    stdout: Stream,
    stderr: Stream,
    elapsed: u64,
    memory_peak: u64,
    exits: u64,
};

pub const Signer = struct {
    key: Ed25519.KeyPair,
    session_id: [32]u8,

    pub fn launch(self: *const Signer, facts: *const Launch, out: *[statement_maximum]u8) []const u8 {
        return self.sign(.launch, facts, null, out);
    }

    pub fn receipt(self: *const Signer, facts: *const Launch, run: *const Run, out: *[statement_maximum]u8) []const u8 {
        return self.sign(.receipt, facts, run, out);
    }

    fn sign(self: *const Signer, purpose: Purpose, facts: *const Launch, run: ?*const Run, out: *[statement_maximum]u8) []const u8 {
        var payload_buffer: [statement_maximum]u8 = undefined;
        var payload: Cbor = .{ .buffer = &payload_buffer };
        writePayload(&payload, facts, run);
        var signed_buffer: [statement_maximum]u8 = undefined;
        const signed = signatureStructure(purpose, &self.session_id, payload.written(), &signed_buffer);
        // Signing a fixed message with a key of our own making cannot fail; were it to, the keep would end.
        const signature = (self.key.sign(signed, null) catch unreachable).toBytes();

        var message: Cbor = .{ .buffer = out };
        message.array(4);
        message.bytes(protected_header);
        message.map(0);
        message.bytes(payload.written());
        message.bytes(&signature);
        return message.written();
    }
};

/// {1: -8}: the algorithm is EdDSA.
const protected_header = "\xA1\x01\x27";

/// RFC 9052 section 4.4; the external data names the statement's type and the session.
fn signatureStructure(purpose: Purpose, session_id: *const [32]u8, payload: []const u8, out: []u8) []const u8 {
    var external: Bytes(64) = .{};
    transcript.prefixed(&external, purpose.name());
    transcript.prefixed(&external, session_id);
    var structure: Cbor = .{ .buffer = out };
    structure.array(4);
    structure.text("Signature1");
    structure.bytes(protected_header);
    structure.bytes(external.slice());
    structure.bytes(payload);
    return structure.written();
}

fn writePayload(cbor: *Cbor, facts: *const Launch, run: ?*const Run) void {
    cbor.map(if (run == null) 11 else 21);
    cbor.unsigned(1);
    cbor.text(facts.tee);
    cbor.unsigned(2);
    cbor.bytes(facts.measurement);
    cbor.unsigned(3);
    cbor.bytes(&facts.program_digest);
    cbor.unsigned(4);
    cbor.text(facts.target);
    inline for (.{ facts.configuration, facts.arguments, facts.environment, facts.files }, 5..) |digest, key| {
        cbor.unsigned(key);
        cbor.bytes(&digest);
    }
    cbor.unsigned(9);
    cbor.unsigned(facts.memory_limit);
    cbor.unsigned(10);
    cbor.unsigned(facts.wall_clock);
    cbor.unsigned(11);
    cbor.bytes(&facts.tenant_key_digest);
    writeRun(cbor, run orelse return);
}

fn writeRun(cbor: *Cbor, run: *const Run) void {
    cbor.unsigned(20);
    cbor.array(2);
    switch (run.outcome) {
        .exit => |code| {
            cbor.unsigned(0);
            cbor.unsigned(code);
        },
        .trap => |vector| {
            cbor.unsigned(1);
            cbor.unsigned(vector);
        },
    }
    inline for (.{ run.stdin, run.stdout, run.stderr }, 0..) |stream, index| {
        cbor.unsigned(21 + 2 * index);
        cbor.bytes(&stream.digest);
        cbor.unsigned(22 + 2 * index);
        cbor.unsigned(stream.length);
    }
    inline for (.{ run.elapsed, run.memory_peak, run.exits }, 27..) |value, key| {
        cbor.unsigned(key);
        cbor.unsigned(value);
    }
}

/// The few kinds of CBOR item that a statement needs, each in its shortest form.
const Cbor = struct {
    buffer: []u8,
    length: usize = 0,

    fn written(self: *const Cbor) []const u8 {
        return self.buffer[0..self.length];
    }

    fn unsigned(self: *Cbor, value: u64) void {
        self.head(0, value);
    }

    fn bytes(self: *Cbor, value: []const u8) void {
        self.head(2, value.len);
        self.append(value);
    }

    fn text(self: *Cbor, value: []const u8) void {
        self.head(3, value.len);
        self.append(value);
    }

    fn array(self: *Cbor, items: u64) void {
        self.head(4, items);
    }

    fn map(self: *Cbor, pairs: u64) void {
        self.head(5, pairs);
    }

    fn head(self: *Cbor, major: u8, value: u64) void {
        const kind = major << 5;
        if (value < 24) return self.append(&.{kind | @as(u8, @intCast(value))});
        var argument: [8]u8 = undefined;
        std.mem.writeInt(u64, &argument, value, .big);
        const size: usize = if (value <= 0xFF) 1 else if (value <= 0xFFFF) 2 else if (value <= 0xFFFF_FFFF) 4 else 8;
        self.append(&.{kind | switch (size) {
            1 => @as(u8, 24),
            2 => 25,
            4 => 26,
            else => 27,
        }});
        self.append(argument[8 - size ..]);
    }

    fn append(self: *Cbor, value: []const u8) void {
        @memcpy(self.buffer[self.length..][0..value.len], value);
        self.length += value.len;
    }
};

/// Collects what `transcript.prefixed` writes.
fn Bytes(comptime capacity: usize) type {
    return struct {
        buffer: [capacity]u8 = undefined,
        length: usize = 0,

        pub fn update(self: *@This(), value: []const u8) void {
            @memcpy(self.buffer[self.length..][0..value.len], value);
            self.length += value.len;
        }

        fn slice(self: *const @This()) []const u8 {
            return self.buffer[0..self.length];
        }
    };
}

const testing = std.testing;

fn sampleFacts() Launch {
    return .{
        .tee = "sev-es",
        .measurement = &@as([48]u8, @splat(1)),
        .program_digest = @splat(2),
        .target = &@as([target_maximum]u8, @splat(0x74)),
        .configuration = @splat(3),
        .arguments = @splat(4),
        .environment = @splat(5),
        .files = @splat(6),
        .memory_limit = std.math.maxInt(u64),
        .wall_clock = std.math.maxInt(u64),
        .tenant_key_digest = @splat(7),
    };
}

fn sampleRun() Run {
    const stream: Stream = .{ .digest = @splat(9), .length = std.math.maxInt(u64) };
    const most = std.math.maxInt(u64);
    return .{ .outcome = .{ .trap = std.math.maxInt(u32) }, .stdin = stream, .stdout = stream, .stderr = stream, .elapsed = most, .memory_peak = most, .exits = most };
}

test "integers take their shortest form" {
    var buffer: [64]u8 = undefined;
    var cbor: Cbor = .{ .buffer = &buffer };
    for ([_]u64{ 0, 23, 24, 255, 256, 65_535, 65_536, 0xFFFF_FFFF, 0x1_0000_0000 }) |value| cbor.unsigned(value);
    try testing.expectEqualSlices(u8, "\x00\x17\x18\x18\x18\xFF\x19\x01\x00\x19\xFF\xFF\x1A\x00\x01\x00\x00\x1A\xFF\xFF\xFF\xFF\x1B\x00\x00\x00\x01\x00\x00\x00\x00", cbor.written());
}

test "the largest statement fits, and its signature holds for its type and session only" {
    const signer: Signer = .{ .key = try Ed25519.KeyPair.generateDeterministic(@splat(1)), .session_id = @splat(0xAB) };
    var out: [statement_maximum]u8 = undefined;
    const message = signer.receipt(&sampleFacts(), &sampleRun(), &out);
    try testing.expectEqualSlices(u8, "\x84\x43\xA1\x01\x27\xA0\x59", message[0..7]);
    const payload_length = std.mem.readInt(u16, message[7..9], .big);
    const payload = message[9..][0..payload_length];
    try testing.expectEqual(0xB5, payload[0]); // a map of 21
    const signature: Ed25519.Signature = .fromBytes(message[9 + payload_length + 2 ..][0..64].*);
    var structure: [statement_maximum]u8 = undefined;
    try signature.verify(signatureStructure(.receipt, &signer.session_id, payload, &structure), signer.key.public_key);
    try testing.expect(std.meta.isError(signature.verify(signatureStructure(.launch, &signer.session_id, payload, &structure), signer.key.public_key)));
    try testing.expect(std.meta.isError(signature.verify(signatureStructure(.receipt, &@splat(0xAC), payload, &structure), signer.key.public_key)));
}
