//! Takes a package in: reads it as a stream, checks every bound before it acts, and leaves a program that is ready
//! to run. A refusal names the first rule that was broken; after it nothing of the package is used.

const std = @import("std");
const layout = @import("layout.zig");
const machine = @import("machine.zig");
const package = @import("package.zig");
const refusal = @import("refusal.zig");
const transcript = @import("transcript.zig");
const Contents = @import("memory.zig").Contents;
const Linear = @import("memory.zig").Linear;
const Pool = @import("memory.zig").Pool;
const clear = @import("memory.zig").clear;
const mapped = @import("memory.zig").mapped;
const Files = @import("files/file_system.zig").FileSystem;
const Sha256 = std.crypto.hash.sha2.Sha256;

pub const Refused = error{Refused};

/// Where the bytes come from: each call gives the next payload, never an empty one.
pub const Source = struct {
    context: *anyopaque,
    next: *const fn (context: *anyopaque) Refused![]const u8,
};

/// What a loaded program is.
pub const Program = struct {
    vmctx: u64,
    start: u64,
    entry: u64,
    /// Where the program keeps {base, length} of its linear memory.
    memory_definition: *[2]u64,
    target: [64]u8,
    target_length: usize,
    program_digest: [32]u8,
    wall_clock: u64,
    memory_limit: u64,
    entropy: [32]u8,
    salts: [7][32]u8,
    arguments: []const u8,
    argument_count: u32,
    variables: []const u8,
    variable_count: u32,
    configuration_digest: [32]u8,
    arguments_digest: [32]u8,
    environment_digest: [32]u8,
    files_digest: [32]u8,
};

/// What the loader writes to.
pub const Destination = struct {
    pool: *Pool,
    linear: *Linear,
    arguments: *[package.maximum.string_bytes]u8,
    variables: *[package.maximum.string_bytes]u8,
    /// The address of a builtin of the keep, by its number.
    builtin: *const fn (number: u32) ?u64,
    /// Called once, when the time is known; gives the tree that files are delivered into.
    files: *const fn (context: *anyopaque, wall_clock: u64) ?*Files,
    files_context: *anyopaque,
};

pub const Loader = struct {
    source: Source,
    to: Destination,
    /// What is left of the payload at hand.
    chunk: []const u8 = &.{},
    /// Everything that is read also goes here.
    digest: ?*Sha256 = null,
    /// Set before `error.Refused` is returned, here or by the source.
    refusal: *refusal.Refusal,

    pub fn load(self: *Loader) Refused!Program {
        var program: Program = undefined;
        try self.programPart(&program);
        try self.invocationPart(&program);
        if (self.chunk.len > 0) return self.refuse(.package_excess, self.chunk.len);
        return program;
    }

    // The program part.

    fn programPart(self: *Loader, program: *Program) Refused!void {
        var hasher: Sha256 = .init(.{});
        self.digest = &hasher;
        defer self.digest = null;

        const header = try self.value(package.ProgramHeader);
        try self.accept(header.check());
        var table: [package.maximum.segments]package.Segment = undefined;
        const segments = table[0..header.segments];
        try self.read(std.mem.sliceAsBytes(segments));
        try self.accept(package.checkSegments(segments));
        try self.accept(package.checkAddresses(&header, segments));

        const placed = try self.loadSegments(segments);
        for (0..header.relocations) |_| try self.relocate(segments);
        if (!self.to.linear.start(self.to.pool, header.memory_minimum, header.memory_maximum))
            return self.refuse(.memory_exhausted, header.memory_minimum);
        for (0..header.data_runs) |_| try self.initialize();
        protect(segments, &placed);

        program.vmctx = header.vmctx;
        program.start = header.start;
        program.entry = header.entry;
        program.memory_definition = @ptrFromInt(header.memory_definition);
        program.target = header.target;
        program.target_length = header.targetName().?.len;
        hasher.final(&program.program_digest);
    }

    /// The first block of each segment.
    const Placed = struct { first: [package.maximum.segments]u64 };

    /// Neighbours in both address spaces, mapped by one call: entering ring 0 costs more than what it does there.
    const Run = struct {
        address: u64 = 0,
        first: u64 = 0,
        blocks: u64 = 0,

        fn add(self: *Run, address: u64, first: u64, blocks: u64) void {
            if (address != self.address + self.blocks * layout.block or first != self.first + self.blocks) {
                self.map();
                self.* = .{ .address = address, .first = first };
            }
            self.blocks += blocks;
        }

        fn map(self: *const Run) void {
            if (self.blocks > 0) mapped(machine.current.map(.segments, self.address, self.first, self.blocks));
        }
    };

    /// Maps all segments writable and fills them. The executable one is mapped first and alone: what is mapped first
    /// is what the lock makes executable.
    fn loadSegments(self: *Loader, segments: []const package.Segment) Refused!Placed {
        var placed: Placed = undefined;
        var run: Run = .{};
        for ([_]bool{ true, false }) |executable| for (segments, placed.first[0..segments.len]) |*segment, *first| {
            if ((segment.allows() == .read_execute) != executable) continue;
            first.* = self.to.pool.take(segment.blocks()) orelse return self.refuse(.memory_exhausted, segment.address);
            if (executable) {
                mapped(machine.current.map(.segments, segment.address, first.*, segment.blocks()));
            } else run.add(segment.address, first.*, segment.blocks());
        };
        run.map();
        for (segments) |*segment| {
            // What becomes executable has nothing behind the text; elsewhere nobody looks behind a segment's end.
            const end = if (segment.allows() == .read_execute) segment.blocks() * layout.block else segment.memory_size;
            const whole = pointer(segment.address)[0..end];
            try self.read(whole[0..segment.file_size]);
            clear(whole[segment.file_size..]);
        }
        return placed;
    }

    /// Takes write access from what shall not have it, then ends all such changes.
    fn protect(segments: []const package.Segment, placed: *const Placed) void {
        for (segments, placed.first[0..segments.len]) |*segment, first| {
            if (segment.allows() == .read) mapped(machine.current.map(.read_only_segments, segment.address, first, segment.blocks()));
        }
        for (segments) |*segment| {
            if (segment.allows() == .read_execute) mapped(machine.current.lock(segment.address, segment.blocks()));
        }
    }

    fn relocate(self: *Loader, segments: []const package.Segment) Refused!void {
        const relocation = try self.value(package.Relocation);
        if (relocation.zero != 0) return self.refuse(.program_reserved, relocation.address);
        if (relocation.address % 8 != 0 or package.find(segments, relocation.address, 8, .read_write) == null)
            return self.refuse(.relocation_address, relocation.address);
        const address = self.to.builtin(relocation.builtin) orelse return self.refuse(.relocation_builtin, relocation.builtin);
        @as(*u64, @ptrFromInt(relocation.address)).* = address;
    }

    fn initialize(self: *Loader) Refused!void {
        const run = try self.value(package.DataRun);
        const memory = self.to.linear.bytes();
        if (run.offset > memory.len or run.length > memory.len - run.offset) return self.refuse(.data_run_bounds, run.offset);
        try self.read(memory[run.offset..][0..run.length]);
    }

    // The invocation part.

    fn invocationPart(self: *Loader, program: *Program) Refused!void {
        const header = try self.value(package.InvocationHeader);
        try self.accept(header.check());
        const limit_pages = header.memory_limit / layout.wasm_page;
        if (limit_pages < self.to.linear.pages) return self.refuse(.memory_limit, header.memory_limit);
        self.to.linear.limit = @min(self.to.linear.limit, limit_pages);
        program.wall_clock = header.wall_clock;
        program.memory_limit = header.memory_limit;
        program.entropy = header.entropy;
        program.salts = header.salts;

        program.arguments = self.to.arguments[0..header.argument_bytes];
        program.argument_count = header.arguments;
        program.arguments_digest = try self.field("arguments", &header.salts[package.salts.arguments], self.to.arguments[0..header.argument_bytes]);
        if (!package.isStringList(program.arguments, header.arguments)) return self.refuse(.argument_bytes, header.arguments);

        program.variables = self.to.variables[0..header.variable_bytes];
        program.variable_count = header.variables;
        program.environment_digest = try self.field("environment", &header.salts[package.salts.environment], self.to.variables[0..header.variable_bytes]);
        if (!package.isStringList(program.variables, header.variables) or !package.areVariables(program.variables))
            return self.refuse(.variable_bytes, header.variables);

        program.configuration_digest = try self.configuration(&header);
        program.files_digest = try self.deliverFiles(&header);
    }

    /// Reads one field of the tenant's data, whole.
    fn field(self: *Loader, name: []const u8, salt: *const [32]u8, destination: []u8) Refused![32]u8 {
        var hasher = transcript.saltedDigest(name, salt);
        self.digest = &hasher;
        defer self.digest = null;
        try self.read(destination);
        return hasher.finalResult();
    }

    /// The configuration is digested and vouched for, not kept: the keep has no use for it.
    fn configuration(self: *Loader, header: *const package.InvocationHeader) Refused![32]u8 {
        var hasher = transcript.saltedDigest("configuration", &header.salts[package.salts.configuration]);
        var left: usize = header.configuration_bytes;
        while (left > 0) {
            const part = try self.available(left);
            hasher.update(part);
            left -= part.len;
        }
        return hasher.finalResult();
    }

    fn deliverFiles(self: *Loader, header: *const package.InvocationHeader) Refused![32]u8 {
        if (header.file_bytes > self.to.pool.left() * layout.block) return self.refuse(.file_memory, header.file_bytes);
        const files = self.to.files(self.to.files_context, header.wall_clock) orelse return self.refuse(.file_memory, 0);
        var hasher = transcript.saltedDigest("files", &header.salts[package.salts.files]);
        self.digest = &hasher;
        defer self.digest = null;
        var left = header.file_bytes;
        for (0..header.files) |index| left -= try self.deliver(files, index, left);
        if (left != 0) return self.refuse(.file_bytes, left);
        return hasher.finalResult();
    }

    /// One entry; returns its size, which is at most `left`.
    fn deliver(self: *Loader, files: *Files, index: usize, left: u64) Refused!u64 {
        const header = try self.value(package.FileHeader);
        if (header.path_length < 1 or header.path_length > package.maximum.path) return self.refuse(.file_path, index);
        const flags: package.FileFlags = @bitCast(header.flags);
        if (flags.reserved != 0 or (flags.directory and header.size != 0)) return self.refuse(.file_flags, index);
        if (header.size > left) return self.refuse(.file_bytes, index);
        var path_buffer: [package.maximum.path]u8 = undefined;
        const path = path_buffer[0..header.path_length];
        try self.read(path);

        if (flags.directory) {
            files.addDirectory(path, flags.writable, header.modified) catch |reason| return self.refuse(deliveryCode(reason), index);
        } else {
            const content = files.addFile(path, header.size, flags.writable, header.modified) catch |reason|
                return self.refuse(deliveryCode(reason), index);
            try self.read(content);
        }
        return header.size;
    }

    fn deliveryCode(reason: @import("files/file_system.zig").DeliveryError) refusal.Code {
        return switch (reason) {
            error.Duplicate => .file_duplicate,
            error.MissingParent, error.ParentIsFile => .file_parent,
            error.TooManyNodes => .file_count,
            error.TooLarge, error.NoMemory => .file_memory,
            else => .file_path,
        };
    }

    // The stream.

    fn value(self: *Loader, comptime T: type) Refused!T {
        var out: T = undefined;
        try self.read(std.mem.asBytes(&out));
        return out;
    }

    fn read(self: *Loader, destination: []u8) Refused!void {
        var filled: usize = 0;
        while (filled < destination.len) {
            const part = try self.available(destination.len - filled);
            @memcpy(destination[filled..][0..part.len], part);
            if (self.digest) |digest| digest.update(part);
            filled += part.len;
        }
    }

    /// At least one and at most `limit` of the next bytes.
    fn available(self: *Loader, limit: usize) Refused![]const u8 {
        if (self.chunk.len == 0) self.chunk = try self.source.next(self.source.context);
        const part = self.chunk[0..@min(limit, self.chunk.len)];
        self.chunk = self.chunk[part.len..];
        return part;
    }

    fn accept(self: *Loader, verdict: ?refusal.Refusal) Refused!void {
        self.refusal.* = verdict orelse return;
        return error.Refused;
    }

    fn refuse(self: *Loader, code: refusal.Code, detail: u64) Refused {
        self.refusal.* = .{ .code = code, .detail = detail };
        return error.Refused;
    }
};

fn pointer(address: u64) [*]u8 {
    return @ptrFromInt(address);
}
