//! A loader with everything it needs, in a test; and a package that it takes.
const std = @import("std");
const environment = @import("../environment.zig");
const layout = @import("../layout.zig");
const loader = @import("../loader.zig");
const machine = @import("../machine.zig");
const memory = @import("../memory.zig");
const package = @import("../package.zig");
const refusal = @import("../refusal.zig");
const Files = @import("../files/file_system.zig").FileSystem;

pub const text = layout.segments;
pub const data = layout.segments + layout.block;
pub const builtins = 46;

pub const Loading = struct {
    bytes: []const u8,
    /// Payloads have this many bytes; the last one fewer.
    piece: usize,
    taken: usize = 0,
    pool: memory.Pool,
    linear: memory.Linear = .{},
    contents: memory.Contents,
    files: Files = undefined,
    refusal: refusal.Refusal = undefined,

    var bitmap: memory.Contents.Bitmap = undefined;
    var arguments: [package.maximum.string_bytes]u8 = undefined;
    var variables: [package.maximum.string_bytes]u8 = undefined;

    pub fn init(bytes: []const u8, piece: usize) Loading {
        machine.current.start();
        return .{ .bytes = bytes, .piece = piece, .pool = .init(64 << 20), .contents = .init(&bitmap) };
    }

    /// null: refused, and `refusal` says why.
    pub fn load(self: *Loading) ?loader.Program {
        var taking: loader.Loader = .{
            .source = .{ .context = self, .next = next },
            .refusal = &self.refusal,
            .to = .{
                .pool = &self.pool,
                .linear = &self.linear,
                .arguments = &arguments,
                .variables = &variables,
                .builtin = builtin,
                .files = makeFiles,
                .files_context = self,
            },
        };
        return taking.load() catch null;
    }

    fn of(context: *anyopaque) *Loading {
        return @ptrCast(@alignCast(context));
    }

    /// Where the bytes end, a tenant's record is missing: the wire would wait for ever.
    fn next(context: *anyopaque) loader.Refused![]const u8 {
        const self = of(context);
        const left = self.bytes[self.taken..];
        if (left.len == 0) {
            self.refusal = .{ .code = .record_type };
            return error.Refused;
        }
        const payload = left[0..@min(self.piece, left.len)];
        self.taken += payload.len;
        return payload;
    }

    fn builtin(number: u32) ?u64 {
        return if (number < builtins) 0x1111_0000 + number else null;
    }

    fn makeFiles(context: *anyopaque, wall_clock: u64) ?*Files {
        const self = of(context);
        self.files = Files.init(.{
            .context = self,
            .vtable = &vtable,
            .arguments = &.{},
            .argument_count = 0,
            .variables = &.{},
            .variable_count = 0,
        }, wall_clock) catch return null;
        return &self.files;
    }

    const vtable: environment.Environment.VTable = .{
        .memory = noMemory,
        .realtime = noTime,
        .monotonic = noTime,
        .random = random,
        .output = noOutput,
        .input = noInput,
        .wait = noWait,
        .exit = noExit,
        .allocate = allocate,
        .release = release,
    };

    fn allocate(context: *anyopaque, size: usize) ?[]align(environment.page_size) u8 {
        const self = of(context);
        return self.contents.allocate(&self.pool, size);
    }
    fn release(context: *anyopaque, pages: []align(environment.page_size) u8) void {
        of(context).contents.release(pages);
    }
    fn random(_: *anyopaque, destination: []u8) void {
        @memset(destination, 7);
    }
    // Delivery asks for nothing else.
    fn noMemory(_: *anyopaque) []u8 {
        unreachable;
    }
    fn noTime(_: *anyopaque) u64 {
        unreachable;
    }
    fn noOutput(_: *anyopaque, _: environment.Stream, _: []const u8) void {
        unreachable;
    }
    fn noInput(_: *anyopaque, _: []u8) usize {
        unreachable;
    }
    fn noWait(_: *anyopaque, _: bool, _: ?u64) bool {
        unreachable;
    }
    fn noExit(_: *anyopaque, _: u32) noreturn {
        unreachable;
    }
};

/// A small package that is right in every field: text, data and read-only segments, two relocations, two runs,
/// arguments, a variable, configuration, and three files.
pub const Sample = struct {
    header: package.ProgramHeader = std.mem.bytesToValue(package.ProgramHeader, &(("WKPROG01").* ++ @as([184]u8, @splat(0)))),
    segments: [3]package.Segment = .{
        .{ .address = text, .memory_size = 4096, .file_size = 16, .protection = 3, .zero = 0 },
        .{ .address = data, .memory_size = 8192, .file_size = 8, .protection = 2, .zero = 0 },
        .{ .address = data + layout.block, .memory_size = 1, .file_size = 1, .protection = 1, .zero = 0 },
    },
    relocations: [2]package.Relocation = .{ .{ .address = data + 64, .builtin = 38, .zero = 0 }, .{ .address = data + 8184, .builtin = 0, .zero = 0 } },
    runs: [2]package.DataRun = .{ .{ .offset = 100, .length = 3 }, .{ .offset = 65_535, .length = 1 } },
    invocation: package.InvocationHeader = std.mem.bytesToValue(package.InvocationHeader, &(("WKINVO01").* ++ @as([344]u8, @splat(0)))),

    pub const segment_bytes = "sixteen of text!" ++ "of data." ++ "r";
    pub const strings = "name\x00two\x00" ++ "A=1\x00" ++ "conf";
    pub const content = "the content of a file";

    pub fn init() Sample {
        var self: Sample = .{};
        self.header.segments = 3;
        self.header.relocations = 2;
        self.header.data_runs = 2;
        self.header.vmctx = data;
        self.header.entry = text;
        self.header.memory_definition = data + 256;
        self.header.memory_minimum = 1;
        self.header.memory_maximum = 4;
        self.header.target[0..6].* = "sample".*;
        self.invocation.memory_limit = 1 << 20;
        self.invocation.arguments = 2;
        self.invocation.argument_bytes = 9;
        self.invocation.variables = 1;
        self.invocation.variable_bytes = 4;
        self.invocation.configuration_bytes = 4;
        self.invocation.files = 3;
        self.invocation.file_bytes = content.len;
        return self;
    }

    pub fn encode(self: *const Sample, out: []u8) []u8 {
        var writer: std.Io.Writer = .fixed(out);
        self.write(&writer) catch unreachable;
        return writer.buffered();
    }

    fn write(self: *const Sample, writer: *std.Io.Writer) !void {
        try writer.writeAll(std.mem.asBytes(&self.header));
        try writer.writeAll(std.mem.sliceAsBytes(&self.segments));
        try writer.writeAll(segment_bytes);
        try writer.writeAll(std.mem.sliceAsBytes(&self.relocations));
        for (self.runs, [_][]const u8{ "run", "!" }) |run, bytes| {
            try writer.writeAll(std.mem.asBytes(&run));
            try writer.writeAll(bytes);
        }
        try writer.writeAll(std.mem.asBytes(&self.invocation));
        try writer.writeAll(strings);
        try file(writer, "d", 1, "");
        try file(writer, "d/e", 3, "");
        try file(writer, "d/e/f", 2, content);
    }

    fn file(writer: *std.Io.Writer, path: []const u8, flags: u32, bytes: []const u8) !void {
        const header: package.FileHeader = .{ .path_length = @intCast(path.len), .flags = flags, .size = bytes.len, .modified = 5 };
        try writer.writeAll(std.mem.asBytes(&header));
        try writer.writeAll(path);
        try writer.writeAll(bytes);
    }
};
