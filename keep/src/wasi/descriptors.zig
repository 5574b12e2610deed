//! The table of open descriptors, and the one place where rights are checked.
const std = @import("std");
const abi = @import("abi.zig");
const file_system = @import("../files/file_system.zig");
const FileSystem = file_system.FileSystem;
const rights = abi.rights;

/// Descriptors that can be open at once.
pub const maximum = 256;
/// The one preopened directory, `/`.
pub const preopen = 3;

pub const Object = union(enum) {
    closed,
    input,
    output: @import("../environment.zig").Stream,
    file: file_system.Id,
    directory: file_system.Id,

    /// The rights that mean something for it.
    pub fn applicable(self: Object) u64 {
        return switch (self) {
            .closed => 0,
            .input => rights.on_input,
            .output => rights.on_output,
            .file => rights.on_file,
            .directory => rights.on_directory,
        };
    }
};

pub const Descriptor = struct {
    object: Object = .closed,
    /// Rights on this descriptor, and the most that a descriptor opened through it can have.
    base: u64 = 0,
    inheriting: u64 = 0,
    /// `fdflags`.
    flags: u16 = 0,
    /// Of a file: where the next read or write happens.
    position: u64 = 0,
    preopened: bool = false,

    /// Refuses what the descriptor was not given. Reading or writing where only the other was asked for at
    /// opening is BadDescriptor, as in POSIX; any other missing right is NotCapable.
    pub fn require(self: *const Descriptor, needed: u64) error{ BadDescriptor, NotCapable }!void {
        const missing = needed & ~self.base;
        if (missing & (rights.fd_read | rights.fd_write) != 0) return error.BadDescriptor;
        if (missing != 0) return error.NotCapable;
    }

    /// The file or directory; null for a stream.
    pub fn node(self: *const Descriptor) ?file_system.Id {
        return switch (self.object) {
            .file, .directory => |id| id,
            .closed, .input, .output => null,
        };
    }

    pub fn directory(self: *const Descriptor) error{NotDirectory}!file_system.Id {
        return switch (self.object) {
            .directory => |id| id,
            else => error.NotDirectory,
        };
    }
};

pub const Descriptors = struct {
    table: [maximum]Descriptor,
    files: *FileSystem,

    /// Standard streams at 0, 1, 2 and `/` at 3.
    pub fn init(files: *FileSystem) Descriptors {
        var self = Descriptors{ .table = @splat(.{}), .files = files };
        self.table[0] = .{ .object = .input, .base = rights.on_input };
        self.table[1] = .{ .object = .{ .output = .stdout }, .base = rights.on_output };
        self.table[2] = .{ .object = .{ .output = .stderr }, .base = rights.on_output };
        self.table[preopen] = .{
            .object = .{ .directory = files.root() },
            .base = rights.on_directory,
            .inheriting = rights.on_opened,
            .preopened = true,
        };
        files.retain(files.root()) catch {}; // the root needs no holding
        return self;
    }

    pub fn get(self: *Descriptors, number: u32) error{BadDescriptor}!*Descriptor {
        if (number >= maximum) return error.BadDescriptor;
        const descriptor = &self.table[number];
        if (descriptor.object == .closed) return error.BadDescriptor;
        return descriptor;
    }

    /// The lowest number that is free.
    pub fn vacancy(self: *const Descriptors) error{TooManyOpen}!u32 {
        for (&self.table, 0..) |*descriptor, number| if (descriptor.object == .closed) return @intCast(number);
        return error.TooManyOpen;
    }

    /// Fills a free number.
    pub fn place(self: *Descriptors, number: u32, descriptor: Descriptor) file_system.Error!void {
        std.debug.assert(self.table[number].object == .closed);
        if (descriptor.node()) |id| try self.files.retain(id);
        self.table[number] = descriptor;
    }

    pub fn close(self: *Descriptors, number: u32) error{BadDescriptor}!void {
        const descriptor = try self.get(number);
        const held = descriptor.node();
        descriptor.* = .{};
        if (held) |id| self.files.release(id);
    }

    /// Moves a descriptor to a number that is open; what was open there is closed.
    pub fn renumber(self: *Descriptors, from: u32, to: u32) error{BadDescriptor}!void {
        const moved = try self.get(from);
        _ = try self.get(to);
        if (from == to) return;
        try self.close(to);
        self.table[to] = moved.*;
        moved.* = .{};
    }
};
