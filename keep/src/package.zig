//! The headers of a package, as bytes and as rules: docs/protocol.md section 4. Pure: bytes in, verdict out.

const std = @import("std");
const layout = @import("layout.zig");
const Refusal = @import("refusal.zig").Refusal;

pub const maximum = struct {
    pub const segments = 8;
    pub const relocations = 65_536;
    pub const data_runs = 65_536;
    pub const memory_pages = 65_536;
    pub const segment_size = 512 << 20;
    pub const strings = 4096;
    pub const string_bytes = 65_536;
    pub const configuration_bytes = 65_536;
    pub const files = 4096;
    pub const file_bytes = 512 << 20;
    pub const path = 1024;
};

/// There is no writable and executable.
pub const Protection = enum(u32) { read = 1, read_write = 2, read_execute = 3 };

pub const ProgramHeader = extern struct {
    magic: [8]u8,
    segments: u32,
    relocations: u32,
    data_runs: u32,
    zero: u32,
    vmctx: u64,
    start: u64,
    entry: u64,
    memory_definition: u64,
    memory_minimum: u32,
    memory_maximum: u32,
    target: [64]u8,
    reserved: [64]u8,

    comptime {
        std.debug.assert(@sizeOf(ProgramHeader) == 192);
    }

    pub fn check(self: *const ProgramHeader) ?Refusal {
        if (!std.mem.eql(u8, &self.magic, "WKPROG01")) return .{ .code = .program_magic };
        if (self.zero != 0 or !std.mem.allEqual(u8, &self.reserved, 0)) return .{ .code = .program_reserved };
        if (self.segments < 1 or self.segments > maximum.segments) return .{ .code = .segment_count, .detail = self.segments };
        if (self.relocations > maximum.relocations) return .{ .code = .relocation_count, .detail = self.relocations };
        if (self.data_runs > maximum.data_runs) return .{ .code = .data_run_count, .detail = self.data_runs };
        if (self.memory_maximum > maximum.memory_pages) return .{ .code = .memory_maximum, .detail = self.memory_maximum };
        if (self.memory_minimum > self.memory_maximum) return .{ .code = .memory_minimum, .detail = self.memory_minimum };
        if (self.targetName() == null) return .{ .code = .target_name };
        return null;
    }

    /// Printable ASCII, at least one character, then NULs only.
    pub fn targetName(self: *const ProgramHeader) ?[]const u8 {
        const length = std.mem.findScalar(u8, &self.target, 0) orelse self.target.len;
        for (self.target[0..length]) |byte| if (byte < 0x20 or byte > 0x7E) return null;
        if (length == 0 or !std.mem.allEqual(u8, self.target[length..], 0)) return null;
        return self.target[0..length];
    }
};

pub const Segment = extern struct {
    address: u64,
    memory_size: u64,
    file_size: u64,
    protection: u32,
    zero: u32,

    comptime {
        std.debug.assert(@sizeOf(Segment) == 32);
    }

    pub fn blocks(self: *const Segment) u64 {
        return std.mem.alignForward(u64, self.memory_size, layout.block) / layout.block;
    }

    pub fn allows(self: *const Segment) Protection {
        return @fromBackingInt(@intCast(self.protection));
    }

    /// Whether [address, address + size) lies inside.
    pub fn holds(self: *const Segment, address: u64, size: u64) bool {
        return address >= self.address and address - self.address <= self.memory_size and size <= self.memory_size - (address - self.address);
    }
};

/// Checks a whole table: each entry, their order, and that there is exactly one executable segment.
pub fn checkSegments(segments: []const Segment) ?Refusal {
    var free: u64 = layout.segments;
    var executable: u64 = 0;
    for (segments) |*segment| {
        if (segment.zero != 0) return .{ .code = .program_reserved };
        const protection = std.enums.fromInt(Protection, segment.protection) orelse
            return .{ .code = .segment_protection, .detail = segment.protection };
        if (segment.address % layout.block != 0 or segment.address < free or segment.address >= layout.segments_end)
            return .{ .code = .segment_address, .detail = segment.address };
        if (segment.memory_size == 0 or segment.memory_size > maximum.segment_size or segment.file_size > segment.memory_size)
            return .{ .code = .segment_size, .detail = segment.address };
        if (segment.memory_size > layout.segments_end - segment.address)
            return .{ .code = .segment_address, .detail = segment.address };
        free = segment.address + segment.blocks() * layout.block;
        executable += @intFromBool(protection == .read_execute);
    }
    return if (executable == 1) null else .{ .code = .executable_segments, .detail = executable };
}

/// Checks the addresses of a header against its segments.
pub fn checkAddresses(header: *const ProgramHeader, segments: []const Segment) ?Refusal {
    if (find(segments, header.vmctx, 8, .read_write) == null) return .{ .code = .vmctx_address, .detail = header.vmctx };
    if (header.start != 0 and find(segments, header.start, 1, .read_execute) == null) return .{ .code = .start_address, .detail = header.start };
    if (find(segments, header.entry, 1, .read_execute) == null) return .{ .code = .entry_address, .detail = header.entry };
    if (header.memory_definition % 8 != 0 or find(segments, header.memory_definition, 16, .read_write) == null)
        return .{ .code = .memory_definition_address, .detail = header.memory_definition };
    return null;
}

/// The segment of that protection which holds [address, address + size).
pub fn find(segments: []const Segment, address: u64, size: u64, protection: Protection) ?*const Segment {
    for (segments) |*segment| if (segment.allows() == protection and segment.holds(address, size)) return segment;
    return null;
}

pub const Relocation = extern struct { address: u64, builtin: u32, zero: u32 };

pub const DataRun = extern struct { offset: u32, length: u32 };

pub const salts = struct {
    pub const configuration = 0;
    pub const arguments = 1;
    pub const environment = 2;
    pub const files = 3;
    pub const stdin = 4;
    pub const stdout = 5;
    pub const stderr = 6;
};

pub const InvocationHeader = extern struct {
    magic: [8]u8,
    wall_clock: u64,
    memory_limit: u64,
    arguments: u32,
    argument_bytes: u32,
    variables: u32,
    variable_bytes: u32,
    configuration_bytes: u32,
    files: u32,
    file_bytes: u64,
    zero: u64,
    entropy: [32]u8,
    salts: [7][32]u8,
    reserved: [32]u8,

    comptime {
        std.debug.assert(@sizeOf(InvocationHeader) == 352);
    }

    pub fn check(self: *const InvocationHeader) ?Refusal {
        if (!std.mem.eql(u8, &self.magic, "WKINVO01")) return .{ .code = .invocation_magic };
        if (self.zero != 0 or !std.mem.allEqual(u8, &self.reserved, 0)) return .{ .code = .invocation_reserved };
        if (self.arguments > maximum.strings) return .{ .code = .argument_count, .detail = self.arguments };
        if (self.argument_bytes > maximum.string_bytes) return .{ .code = .argument_bytes, .detail = self.argument_bytes };
        if (self.variables > maximum.strings) return .{ .code = .variable_count, .detail = self.variables };
        if (self.variable_bytes > maximum.string_bytes) return .{ .code = .variable_bytes, .detail = self.variable_bytes };
        if (self.configuration_bytes > maximum.configuration_bytes) return .{ .code = .configuration_bytes, .detail = self.configuration_bytes };
        if (self.files > maximum.files) return .{ .code = .file_count, .detail = self.files };
        if (self.file_bytes > maximum.file_bytes) return .{ .code = .file_bytes, .detail = self.file_bytes };
        return null;
    }
};

/// Whether `bytes` is exactly `count` strings, each ended by NUL.
pub fn isStringList(bytes: []const u8, count: u32) bool {
    if (bytes.len > 0 and bytes[bytes.len - 1] != 0) return false;
    return std.mem.countScalar(u8, bytes, 0) == count;
}

/// Whether each string of a list is a name, `=`, and a value.
pub fn areVariables(bytes: []const u8) bool {
    var strings = std.mem.splitScalar(u8, bytes[0..bytes.len -| 1], 0);
    while (strings.next()) |variable| {
        if (bytes.len == 0) return true;
        const equals = std.mem.findScalar(u8, variable, '=') orelse return false;
        if (equals == 0) return false;
    }
    return true;
}

pub const FileHeader = extern struct { path_length: u32, flags: u32, size: u64, modified: u64 };

pub const FileFlags = packed struct(u32) { directory: bool, writable: bool, reserved: u30 };
