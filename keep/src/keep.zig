//! One keep: everything that lives while a program runs, and what the program's calls may ask of it.

const std = @import("std");
const crypto = std.crypto;
const builtins = @import("builtins.zig");
const clock = @import("clock.zig");
const entropy = @import("entropy.zig");
const environment = @import("environment.zig");
const layout = @import("layout.zig");
const loader = @import("loader.zig");
const machine = @import("machine.zig");
const memory = @import("memory.zig");
const package = @import("package.zig");
const records = @import("records.zig");
const statement = @import("statement.zig");
const tee = @import("tee.zig");
const transcript = @import("transcript.zig");
const traps = @import("traps.zig");
const wire = @import("wire.zig");
const Environment = environment.Environment;
const Files = @import("files/file_system.zig").FileSystem;
const Refusal = @import("refusal.zig").Refusal;
const Sha256 = crypto.hash.sha2.Sha256;
const Wasi = @import("wasi/wasi.zig").Wasi;

/// Large buffers, outside the image so that they need not be launched with it.
pub const Buffers = struct {
    inbound: wire.RecordBuffer align(64),
    outbound: wire.RecordBuffer align(64),
    arguments: [package.maximum.string_bytes]u8,
    variables: [package.maximum.string_bytes]u8,
    bitmap: memory.Contents.Bitmap,

    comptime {
        std.debug.assert(@sizeOf(Buffers) <= layout.buffers_end - layout.buffers);
    }

    pub fn get() *Buffers {
        return @ptrFromInt(layout.buffers);
    }
};

/// A stream of the program's: what went through it so far.
const StreamState = struct {
    hasher: Sha256,
    length: u64 = 0,

    fn init(name: []const u8, salt: *const [32]u8) StreamState {
        return .{ .hasher = transcript.saltedDigest(name, salt) };
    }

    fn update(self: *StreamState, bytes: []const u8) void {
        self.hasher.update(bytes);
        self.length += bytes.len;
    }

    fn finish(self: *StreamState) statement.Stream {
        return .{ .digest = self.hasher.finalResult(), .length = self.length };
    }
};

/// Standard input: at most one request is outstanding, and its answer is used up before the next.
const Input = struct {
    wanted: bool = false,
    ended: bool = false,
    /// What came and was not read yet; lies in the inbound buffer, which nothing else uses meanwhile.
    buffered: []const u8 = &.{},

    fn ready(self: *const Input) bool {
        return self.buffered.len > 0 or self.ended;
    }
};

/// The keep; there is one in an image.
var the_keep: Keep = undefined;

pub const Keep = struct {
    wire: wire.Wire,
    clock: clock.Clock,
    pool: memory.Pool,
    linear: memory.Linear,
    contents: memory.Contents,
    generator: entropy.Generator,
    files: Files,
    wasi: Wasi,
    program: loader.Program,
    signer: statement.Signer,
    /// As the keep knows it of itself; `facts` refer to it.
    measurement: @FieldType(tee.session.Evidence, "measurement"),
    facts: statement.Launch,
    stdin: StreamState,
    stdout: StreamState,
    stderr: StreamState,
    input: Input,
    /// From here on a trap is the program's, and the run ends with a receipt.
    launched: bool,

    pub fn current() *Keep {
        return &the_keep;
    }

    /// Runs a program that has been loaded; never returns.
    pub fn launch(self: *Keep) noreturn {
        self.input = .{};
        self.stdin = .init("stdin", &self.program.salts[package.salts.stdin]);
        self.stdout = .init("stdout", &self.program.salts[package.salts.stdout]);
        self.stderr = .init("stderr", &self.program.salts[package.salts.stderr]);
        self.wasi.init(self.programEnvironment(), &self.files);
        self.publishMemory();
        self.clock.restart(clock.readCycles());

        var out: [statement.statement_maximum]u8 = undefined;
        self.send(.launched, self.signer.launch(&self.facts, &out));
        self.launched = true;
        self.deliver();

        if (self.program.start != 0) self.call(self.program.start);
        self.call(self.program.entry);
        self.finish(.{ .exit = 0 });
    }

    fn call(self: *Keep, address: u64) void {
        const function: *const builtins.ArrayCall = @ptrFromInt(address);
        var values: [4]builtins.Value = @splat(.{ 0, 0 });
        // false: wasmtime's code reports a trap of a builtin's, and none of ours has any.
        if (!function(self.program.vmctx, self.program.vmctx, &values, values.len)) @trap();
    }

    /// The end of a run: the receipt, then nothing that could sign another.
    pub fn finish(self: *Keep, outcome: statement.Outcome) noreturn {
        self.makeRoom(statement.statement_maximum); // before the exits are counted
        const run: statement.Run = .{
            .outcome = outcome,
            .stdin = self.stdin.finish(),
            .stdout = self.stdout.finish(),
            .stderr = self.stderr.finish(),
            .elapsed = self.elapsed(),
            .memory_peak = self.linear.length(),
            .exits = self.wire.exits + 1, // and the one that carries this
        };
        var out: [statement.statement_maximum]u8 = undefined;
        const receipt = self.signer.receipt(&self.facts, &run, &out);
        self.wipe();
        self.send(.receipt, receipt);
        self.wire.end();
    }

    /// An exception in ring 3. Once the program runs, it is reported and the run ends with a receipt; before that
    /// something is wrong with the keep itself.
    pub fn trapped(self: *Keep, trap: machine.Trap) noreturn {
        if (self.launched) {
            var out: [traps.report_maximum]u8 = undefined;
            const report = traps.report(&trap, self.linear.length(), &out);
            self.wire.discard();
            self.send(.trap, report);
            self.finish(.{ .trap = @truncate(trap.vector) });
        }
        self.refuse(.{ .code = .trap_outside_program, .detail = traps.publicAddress(trap.instruction) });
    }

    pub fn refuse(self: *Keep, reason: Refusal) noreturn {
        self.wipe();
        self.wire.endRefused(reason);
    }

    fn wipe(self: *Keep) void {
        crypto.secureZero(u8, std.mem.asBytes(&self.signer.key));
        self.generator.wipe();
        crypto.secureZero(u8, std.mem.asBytes(&self.program.entropy));
    }

    // Memory.

    /// Grows linear memory by `delta` wasm pages; returns the size before, or null.
    pub fn growMemory(self: *Keep, delta: u64) ?u64 {
        const before = self.linear.pages;
        if (!self.linear.grow(&self.pool, delta)) return null;
        self.publishMemory();
        return before;
    }

    fn publishMemory(self: *Keep) void {
        self.program.memory_definition.* = .{ self.linear.base, self.linear.length() };
    }

    // The wire, while the program runs: whatever goes wrong there ends the keep.

    fn send(self: *Keep, record_type: records.Type, payload: []const u8) void {
        self.makeRoom(payload.len);
        self.wire.send(record_type, payload);
    }

    /// Hands over what is pending where a record would not fit behind it; takes what the tenant sent meanwhile.
    fn makeRoom(self: *Keep, payload: usize) void {
        if (!self.wire.hasRoom(payload)) self.exchange(0);
    }

    fn exchange(self: *Keep, wait: u64) void {
        self.wire.exchange(wait) catch self.refuse(self.wire.refusal);
        self.absorb();
    }

    /// Hands over what calls of the program have sealed. Called after each of them: output is never held back.
    pub fn deliver(self: *Keep) void {
        if (self.wire.pending > 0) self.exchange(0);
    }

    /// Takes what the tenant sent: the answer to a request for input and nothing else.
    fn absorb(self: *Keep) void {
        const record = self.wire.next() catch self.refuse(self.wire.refusal) orelse return;
        if (record.type != .stdin or !self.input.wanted) self.refuse(.{ .code = .record_type, .detail = @backingInt(record.type) });
        if (record.payload.len > records.stream_maximum) self.refuse(.{ .code = .record_payload, .detail = record.payload.len });
        if (self.wire.taken != self.wire.incoming) self.refuse(.{ .code = .record_type });
        self.stdin.update(record.payload);
        self.input = .{ .buffered = record.payload, .ended = record.payload.len == 0 };
    }

    fn elapsed(self: *Keep) u64 {
        return self.clock.elapsed(clock.readCycles());
    }

    // What the WASI code sees.

    /// Only `allocate`, `release` and `random` work before the program is loaded: file delivery needs no more.
    pub fn filesEnvironment(self: *Keep) Environment {
        return .{ .context = self, .vtable = &vtable, .arguments = &.{}, .argument_count = 0, .variables = &.{}, .variable_count = 0 };
    }

    fn programEnvironment(self: *Keep) Environment {
        return .{
            .context = self,
            .vtable = &vtable,
            .arguments = self.program.arguments,
            .argument_count = self.program.argument_count,
            .variables = self.program.variables,
            .variable_count = self.program.variable_count,
        };
    }

    const vtable: Environment.VTable = .{
        .memory = linearMemory,
        .realtime = realtime,
        .monotonic = monotonic,
        .random = random,
        .output = output,
        .input = readInput,
        .wait = waitFor,
        .exit = exit,
        .allocate = allocate,
        .release = release,
    };

    fn of(context: *anyopaque) *Keep {
        return @ptrCast(@alignCast(context));
    }

    fn linearMemory(context: *anyopaque) []u8 {
        return of(context).linear.bytes();
    }

    fn realtime(context: *anyopaque) u64 {
        const self = of(context);
        return self.program.wall_clock +| self.elapsed();
    }

    fn monotonic(context: *anyopaque) u64 {
        return of(context).elapsed();
    }

    fn random(context: *anyopaque, destination: []u8) void {
        of(context).generator.fill(destination);
    }

    fn output(context: *anyopaque, stream: environment.Stream, bytes: []const u8) void {
        const self = of(context);
        var left = bytes;
        while (left.len > 0) {
            const part = left[0..@min(left.len, records.stream_maximum)];
            self.send(if (stream == .stdout) .stdout else .stderr, part);
            (if (stream == .stdout) &self.stdout else &self.stderr).update(part);
            left = left[part.len..];
        }
    }

    fn readInput(context: *anyopaque, destination: []u8) usize {
        const self = of(context);
        if (destination.len == 0) return 0;
        _ = waitFor(context, true, null);
        const count = @min(destination.len, self.input.buffered.len);
        @memcpy(destination[0..count], self.input.buffered[0..count]);
        self.input.buffered = self.input.buffered[count..];
        return count;
    }

    fn waitFor(context: *anyopaque, want_input: bool, deadline: ?u64) bool {
        const self = of(context);
        var asked = false;
        while (true) {
            if (want_input and self.input.ready()) return true;
            const now = self.elapsed();
            const left = if (deadline) |moment| moment -| now else wire.forever;
            // Who does not wait still asks, and sees what has come.
            if (left == 0 and (asked or !want_input)) return false;
            asked = true;
            if (want_input) self.requestInput();
            self.exchange(left);
        }
    }

    fn requestInput(self: *Keep) void {
        if (self.input.wanted) return;
        var most: [4]u8 = undefined;
        std.mem.writeInt(u32, &most, records.stream_maximum, .little);
        self.send(.want_stdin, &most);
        self.input.wanted = true;
    }

    fn exit(context: *anyopaque, code: u32) noreturn {
        of(context).finish(.{ .exit = code });
    }

    fn allocate(context: *anyopaque, size: usize) ?[]align(environment.page_size) u8 {
        const self = of(context);
        return self.contents.allocate(&self.pool, size);
    }

    fn release(context: *anyopaque, pages: []align(environment.page_size) u8) void {
        of(context).contents.release(pages);
    }
};
