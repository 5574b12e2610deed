//! The session from the keep's side, start to launch. docs/protocol.md is the rule; the steps are:
//!
//!  1. check the measured configuration, take what the launch gave this keep (the guest message key, or the launch
//!     secret), take the host's hints;
//!  2. gather entropy, make the receiving key, the receipt key and the keep's salt;
//!  3. get evidence over the report data: a report whose HOST_DATA is the tenant key digest of the hints
//!     (`attested.zig`), or the proof that the keep has the launch secret (`pre_attested.zig`);
//!  4. offer: keys, salt, evidence; wait for the tenant;
//!  5. open the HPKE message, derive both directions;
//!  6. HELLO: the tenant key's digest is the one in the report data, and its signature covers nonce, keys and HPKE message;
//!  7. PACKAGE records: load the program and the invocation;
//!  8. run (`keep.zig`).
//!
//! Each step can refuse; nothing of a later step is touched before the earlier ones passed.

const std = @import("std");
const crypto = std.crypto;
const Ed25519 = crypto.sign.Ed25519;
const builtins = @import("builtins.zig");
const clock = @import("clock.zig");
const entropy = @import("entropy.zig");
const hpke = @import("hpke.zig");
const layout = @import("layout.zig");
const loader = @import("loader.zig");
const machine = @import("machine.zig");
const memory = @import("memory.zig");
const refusal = @import("refusal.zig");
const stack = @import("stack.zig");
const tee = @import("tee.zig");
const transcript = @import("transcript.zig");
const Buffers = @import("keep.zig").Buffers;
const Files = @import("files/file_system.zig").FileSystem;
const Hints = @import("window.zig").Hints;
const Keep = @import("keep.zig").Keep;
const Launch = tee.session.Launch;
const Refused = @import("wire.zig").Refused;
const Window = @import("window.zig").Window;
const Wire = @import("wire.zig").Wire;
const forever = @import("wire.zig").forever;

const offer_version = 1;

pub fn serve(keep: *Keep) noreturn {
    prepare(keep);
    run(keep) catch keep.refuse(keep.wire.refusal);
    keep.launch();
}

/// Everything a refusal or a trap needs, before either can happen.
fn prepare(keep: *Keep) void {
    const buffers: *Buffers = .get();
    keep.launched = false;
    keep.linear = .{};
    keep.wire = .{
        .window = .{ .base = @ptrFromInt(layout.window) },
        .inbound = &buffers.inbound,
        .outbound = &buffers.outbound,
    };
}

fn run(keep: *Keep) Refused!void {
    const wire = &keep.wire;
    // 1.
    const memory_size = configuredMemory(@ptrFromInt(layout.configuration_page)) orelse return wire.refuse(.configuration_page, 0);
    var launch: Launch = try .take(wire);
    defer launch.wipe();
    const hints = wire.window.hints();
    keep.clock = clock.Clock.init(hints.frequency_khz, clock.readCycles()) orelse return wire.refuse(.clock_frequency, 0);
    keep.pool = .init(memory_size);
    keep.contents = .init(&Buffers.get().bitmap);

    var identity: Identity = undefined;
    defer identity.wipe();
    try identity.make(wire, launch.secret()); // 2.
    keep.generator = .early(&identity.seed);
    const report_data = transcript.reportData(tee.name, &hints.nonce, &hints.tenant_key_digest, &identity.receiving.public_key.bytes, &identity.receiptKey());
    const evidence = try launch.attest(wire, &hints, &report_data); // 3.
    stack.wipeBelow();
    offer(wire, &identity, &evidence.bytes); // 4.
    try wire.await();
    const answer = try accept(wire, &identity, &launch, &report_data); // 5.
    try authenticate(wire, &identity, &hints, &answer.message); // 6.
    stack.wipeBelow();

    keep.signer = .{ .key = identity.receipt, .session_id = answer.session_id };
    try load(keep); // 7.
    keep.generator = .init(&identity.seed, &keep.program.entropy);
    keep.measurement = evidence.measurement;
    keep.facts = .{
        .tee = tee.name,
        .measurement = &keep.measurement,
        .program_digest = keep.program.program_digest,
        .target = keep.program.target[0..keep.program.target_length],
        .configuration = keep.program.configuration_digest,
        .arguments = keep.program.arguments_digest,
        .environment = keep.program.environment_digest,
        .files = keep.program.files_digest,
        .memory_limit = keep.program.memory_limit,
        .wall_clock = keep.program.wall_clock,
        .tenant_key_digest = evidence.tenant_key_digest,
    };
}

/// Configuration page: magic, memory size, vCPUs, zeros. Bytes of memory, or null.
fn configuredMemory(page: *const [layout.page]u8) ?u64 {
    if (!std.mem.eql(u8, page[0..8], "WKCONF01")) return null;
    const size = std.mem.readInt(u64, page[8..16], .little);
    if (size < layout.minimum_memory or size % layout.block != 0 or size > layout.maximum_memory) return null;
    if (std.mem.readInt(u32, page[16..20], .little) != 1) return null;
    return if (std.mem.allEqual(u8, page[20..], 0)) size else null;
}

/// What the keep makes for this one session.
const Identity = struct {
    seed: entropy.Seed,
    receiving: hpke.Kem.KeyPair,
    receipt: Ed25519.KeyPair,
    salt: [32]u8,

    fn make(self: *Identity, wire: *Wire, launch_secret: []const u8) Refused!void {
        self.seed = entropy.Seed.gather(launch_secret) catch return wire.refuse(.entropy, 0);
        self.receiving = hpke.Kem.KeyPair.generateDeterministic(self.seed.derive("receiving key")) catch return wire.refuse(.key_generation, 0);
        self.receipt = Ed25519.KeyPair.generateDeterministic(self.seed.derive("receipt key")) catch return wire.refuse(.key_generation, 0);
        self.salt = self.seed.derive("keep salt");
    }

    fn receiptKey(self: *const Identity) [32]u8 {
        return self.receipt.public_key.toBytes();
    }

    fn wipe(self: *Identity) void {
        crypto.secureZero(u8, std.mem.asBytes(self));
    }
};

fn offer(wire: *Wire, identity: *const Identity, evidence: []const u8) void {
    var number: [4]u8 = undefined;
    std.mem.writeInt(u32, &number, offer_version, .little);
    wire.sendClear(&number);
    wire.sendClear(&identity.receiving.public_key.bytes);
    wire.sendClear(&identity.receiptKey());
    wire.sendClear(&identity.salt);
    std.mem.writeInt(u32, &number, @intCast(evidence.len), .little);
    wire.sendClear(&number);
    wire.sendClear(evidence);
}

const Answer = struct {
    message: [hpke.message_length]u8,
    session_id: [32]u8,
};

/// Opens the tenant's HPKE message and makes the channel, for which the launch secret is needed for the last time.
fn accept(wire: *Wire, identity: *const Identity, launch: *Launch, report_data: *const [64]u8) Refused!Answer {
    defer launch.wipe();
    var answer: Answer = undefined;
    wire.takeClear(&answer.message) orelse return wire.refuse(.first_message_length, 0);
    const info = "wasmkeep-session-v1".* ++ report_data.*;
    var secret = hpke.open(identity.receiving.secret_key, &answer.message, &info) catch return wire.refuse(.first_message_authentication, 0);
    defer crypto.secureZero(u8, &secret);
    answer.session_id = transcript.sessionId(report_data, &answer.message);
    wire.channel = .{
        .receive = .derive(&answer.session_id, &secret, launch.secret(), "wasmkeep to-keep v1"),
        .send = .derive(&answer.session_id, &secret, launch.secret(), &("wasmkeep to-tenant v1".* ++ identity.salt)),
    };
    return answer;
}

/// HELLO: whoever made the channel holds the key that the launch fixed.
fn authenticate(wire: *Wire, identity: *const Identity, hints: *const Hints, message: []const u8) Refused!void {
    const record = try wire.next() orelse return wire.refuse(.record_type, 0);
    if (record.type != .hello) return wire.refuse(.record_type, @backingInt(record.type));
    if (record.payload.len != 32 + 64) return wire.refuse(.record_payload, record.payload.len);
    const key = record.payload[0..32];
    // The evidence vouches for the digest in the hints (step 3).
    if (!crypto.timing_safe.eql([32]u8, transcript.digest(key), hints.tenant_key_digest)) return wire.refuse(.tenant_key_mismatch, 0);
    verifyHello(key, record.payload[32..96], &.{
        "wasmkeep-tenant-v1",
        &hints.nonce,
        &identity.receiving.public_key.bytes,
        &identity.receiptKey(),
        message,
    }) catch return wire.refuse(.tenant_signature, 0);
}

fn verifyHello(key: *const [32]u8, signature: *const [64]u8, parts: []const []const u8) !void {
    const public_key: Ed25519.PublicKey = try .fromBytes(key.*);
    var verifier = try Ed25519.Signature.fromBytes(signature.*).verifier(public_key);
    for (parts) |part| transcript.prefixed(&verifier, part);
    try verifier.verifyStrict();
}

fn load(keep: *Keep) Refused!void {
    const buffers: *Buffers = .get();
    var taking: loader.Loader = .{
        .source = .{ .context = &keep.wire, .next = nextPackage },
        .refusal = &keep.wire.refusal,
        .to = .{
            .pool = &keep.pool,
            .linear = &keep.linear,
            .arguments = &buffers.arguments,
            .variables = &buffers.variables,
            .builtin = builtins.address,
            .files = makeFiles,
            .files_context = keep,
        },
    };
    keep.program = try taking.load();
    if (keep.wire.taken != keep.wire.incoming) return keep.wire.refuse(.package_excess, keep.wire.incoming - keep.wire.taken);
}

fn nextPackage(context: *anyopaque) Refused![]const u8 {
    const wire: *Wire = @ptrCast(@alignCast(context));
    try wire.await();
    const record = (try wire.next()).?;
    if (record.type != .package) return wire.refuse(.record_type, @backingInt(record.type));
    if (record.payload.len == 0) return wire.refuse(.record_payload, 0);
    return record.payload;
}

fn makeFiles(context: *anyopaque, wall_clock: u64) ?*Files {
    const keep: *Keep = @ptrCast(@alignCast(context));
    keep.files = Files.init(keep.filesEnvironment(), wall_clock) catch return null;
    return &keep.files;
}
