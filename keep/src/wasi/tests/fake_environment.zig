//! A keep for tests: linear memory between guard bytes, clocks that the test moves, input that the test writes,
//! and a limit on pages. Not part of any image.
const std = @import("std");
const environment_ = @import("../../environment.zig");
const Environment = environment_.Environment;
const page_size = environment_.page_size;

const guard = 4096;
const guard_byte = 0xa5;

pub const Options = struct {
    memory: usize = 1 << 20,
    /// What linear memory can grow to; as much as it has, if 0.
    maximum: usize = 0,
    seed: u64 = 1,
    /// Bytes that `allocate` hands out at most.
    limit: usize = 64 << 20,
};

pub const FakeEnvironment = struct {
    gpa: std.mem.Allocator = std.heap.page_allocator,
    arena: []u8,
    memory_length: usize,
    prng: std.Random.DefaultPrng,
    realtime: u64 = 1_700_000_000_000_000_000,
    monotonic: u64 = 1_000,
    /// Added to both clocks whenever one is read.
    tick: u64 = 1,
    limit: usize,
    allocated: usize = 0,
    /// Standard input: what is left of it, how much one call gives, whether it is ready yet.
    input: []const u8 = "",
    input_ready: bool = true,
    stdout: std.ArrayList(u8) = .empty,
    stderr: std.ArrayList(u8) = .empty,
    waits: usize = 0,
    last_deadline: ?u64 = null,
    /// Input becomes ready during a wait at this time.
    input_arrives: ?u64 = null,
    /// `wait` returns this much before its deadline by its own clock, as an imprecise host timer would.
    early: u64 = 0,
    arguments: []const u8 = "",
    argument_count: u32 = 0,
    variables: []const u8 = "",
    variable_count: u32 = 0,

    pub fn init(options: Options) !FakeEnvironment {
        const gpa = std.heap.page_allocator;
        const arena = try gpa.alloc(u8, @max(options.memory, options.maximum) + 2 * guard);
        @memset(arena, guard_byte);
        @memset(arena[guard..][0..options.memory], 0);
        return .{
            .arena = arena,
            .memory_length = options.memory,
            .prng = .init(options.seed),
            .limit = options.limit,
        };
    }

    pub fn deinit(self: *FakeEnvironment) void {
        self.gpa.free(self.arena);
        self.stdout.deinit(self.gpa);
        self.stderr.deinit(self.gpa);
    }

    pub fn environment(self: *FakeEnvironment) Environment {
        return .{
            .context = self,
            .vtable = &vtable,
            .arguments = self.arguments,
            .argument_count = self.argument_count,
            .variables = self.variables,
            .variable_count = self.variable_count,
        };
    }

    pub fn memory(self: *FakeEnvironment) []u8 {
        return self.arena[guard..][0..self.memory_length];
    }

    /// As memory.grow does. The maximum is the test's business.
    pub fn grow(self: *FakeEnvironment, by: usize) void {
        @memset(self.arena[guard + self.memory_length ..][0..by], 0);
        self.memory_length += by;
    }

    /// Nothing outside linear memory was written.
    pub fn expectGuarded(self: *FakeEnvironment) !void {
        for (self.arena[0..guard]) |byte| try std.testing.expectEqual(guard_byte, byte);
        for (self.arena[guard + self.memory_length ..]) |byte| try std.testing.expectEqual(guard_byte, byte);
    }

    const vtable = Environment.VTable{
        .memory = memoryOf,
        .realtime = realtimeOf,
        .monotonic = monotonicOf,
        .random = randomOf,
        .output = outputOf,
        .input = inputOf,
        .wait = waitOf,
        .exit = exitOf,
        .allocate = allocateOf,
        .release = releaseOf,
    };

    fn from(context: *anyopaque) *FakeEnvironment {
        return @ptrCast(@alignCast(context));
    }
    fn memoryOf(context: *anyopaque) []u8 {
        return from(context).memory();
    }
    fn advance(self: *FakeEnvironment, by: u64) void {
        self.realtime +|= by;
        self.monotonic +|= by;
    }
    fn realtimeOf(context: *anyopaque) u64 {
        const self = from(context);
        self.advance(self.tick);
        return self.realtime;
    }
    fn monotonicOf(context: *anyopaque) u64 {
        const self = from(context);
        self.advance(self.tick);
        return self.monotonic;
    }
    fn randomOf(context: *anyopaque, destination: []u8) void {
        from(context).prng.random().bytes(destination);
    }
    fn outputOf(context: *anyopaque, stream: environment_.Stream, bytes: []const u8) void {
        const self = from(context);
        const list = if (stream == .stdout) &self.stdout else &self.stderr;
        // Enough to compare; random calls can write gigabytes.
        if (list.items.len < 1 << 20) list.appendSlice(self.gpa, bytes) catch @panic("out of memory");
    }
    fn inputOf(context: *anyopaque, destination: []u8) usize {
        const self = from(context);
        const n = @min(self.input.len, destination.len);
        @memcpy(destination[0..n], self.input[0..n]);
        self.input = self.input[n..];
        return n;
    }
    fn waitOf(context: *anyopaque, want_input: bool, deadline: ?u64) bool {
        const self = from(context);
        self.waits += 1;
        self.last_deadline = deadline;
        if (want_input and self.input_ready) return true;
        if (self.input_arrives) |time| if (want_input and time <= deadline orelse time) {
            self.advance(time -| self.monotonic);
            self.input_ready = true;
            return true;
        };
        if (deadline == null) @panic("a wait that nothing ends");
        self.advance((deadline.? -| self.early) -| self.monotonic);
        return false;
    }
    fn exitOf(context: *anyopaque, code: u32) noreturn {
        _ = context;
        std.debug.panic("exit {d}", .{code});
    }
    fn allocateOf(context: *anyopaque, size: usize) ?[]align(page_size) u8 {
        const self = from(context);
        std.debug.assert(size > 0);
        const rounded = std.mem.alignForward(usize, size, page_size);
        if (rounded > self.limit -| self.allocated) return null;
        const pages = self.gpa.alignedAlloc(u8, .fromByteUnits(page_size), rounded) catch return null;
        @memset(pages, 0);
        self.allocated += rounded;
        return pages;
    }
    fn releaseOf(context: *anyopaque, pages: []align(page_size) u8) void {
        const self = from(context);
        self.allocated -= pages.len;
        self.gpa.free(pages);
    }
};
