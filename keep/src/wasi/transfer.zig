//! Bytes in and out: `fd_read`, `fd_pread`, `fd_write`, `fd_pwrite`, `fd_seek`, `fd_tell`, `fd_advise`.
const std = @import("std");
const abi = @import("abi.zig");
const memory_ = @import("memory.zig");
const descriptors = @import("descriptors.zig");
const file_system = @import("../files/file_system.zig");
const Descriptor = descriptors.Descriptor;
const Failure = abi.Failure;
const Wasi = @import("wasi.zig").Wasi;
const rights = abi.rights;

/// Buffers in one call (IOV_MAX).
pub const maximum_vectors = 1024;
/// Bytes moved by one call at most; a caller that asks for more is told how much was moved.
const maximum_transfer: u32 = 0x7fff_0000;

pub fn fd_read(self: *Wasi, fd: u32, vectors: u32, count: u32, out: u32) u32 {
    return abi.result(read(self, fd, vectors, count, out));
}

pub fn fd_write(self: *Wasi, fd: u32, vectors: u32, count: u32, out: u32) u32 {
    return abi.result(write(self, fd, vectors, count, out));
}

pub fn fd_pread(self: *Wasi, fd: u32, vectors: u32, count: u32, position: u64, out: u32) u32 {
    return abi.result(pread(self, fd, vectors, count, position, out));
}

pub fn fd_pwrite(self: *Wasi, fd: u32, vectors: u32, count: u32, position: u64, out: u32) u32 {
    return abi.result(pwrite(self, fd, vectors, count, position, out));
}

pub fn fd_seek(self: *Wasi, fd: u32, offset: u64, whence: u32, out: u32) u32 {
    return abi.result(seek(self, fd, @bitCast(offset), whence, out));
}

pub fn fd_tell(self: *Wasi, fd: u32, out: u32) u32 {
    return abi.result(tell(self, fd, out));
}

/// Advice is checked and not taken: everything is in memory already.
pub fn fd_advise(self: *Wasi, fd: u32, offset: u64, length: u64, advice: u32) u32 {
    _ = .{ offset, length };
    return abi.result(advise(self, fd, advice));
}

fn read(self: *Wasi, fd: u32, vectors: u32, count: u32, out: u32) Failure!void {
    const descriptor = try self.descriptors.get(fd);
    if (descriptor.object == .directory) return error.IsDirectory;
    try descriptor.require(rights.fd_read);
    const buffers = try gather(self, vectors, count, out);
    switch (descriptor.object) {
        .input => try readInput(self, descriptor, buffers, out),
        .file => |id| {
            const done = try readFile(self, id, descriptor.position, buffers);
            descriptor.position += done;
            try self.memory().store(u32, out, done);
        },
        .closed, .output, .directory => return error.BadDescriptor,
    }
}

/// Fills the first buffer that can take something: a second one could make the call wait for more input than
/// there will be.
fn readInput(self: *Wasi, descriptor: *const Descriptor, buffers: []const abi.Iovec, out: u32) Failure!void {
    var done: usize = 0;
    for (buffers) |buffer| {
        if (buffer.length == 0) continue;
        const waits = descriptor.flags & abi.fdflags.nonblock == 0;
        if (!waits and !self.environment.wait(true, self.environment.monotonic())) return error.WouldBlock;
        const destination = try self.memory().slice(buffer.address, buffer.length);
        done = self.environment.input(destination);
        std.debug.assert(done <= destination.len);
        break;
    }
    try self.memory().store(u32, out, @intCast(done));
}

fn readFile(self: *Wasi, id: file_system.Id, from: u64, buffers: []const abi.Iovec) Failure!u32 {
    const memory = self.memory();
    var done: u32 = 0;
    for (buffers) |buffer| {
        const destination = try memory.slice(buffer.address, buffer.length);
        const n = self.files.read(id, from +| done, destination) catch |reason| {
            if (done > 0) break; // the caller sees the reason when it goes on
            return reason;
        };
        done += @intCast(n);
        if (n < buffer.length) break;
    }
    return done;
}

fn write(self: *Wasi, fd: u32, vectors: u32, count: u32, out: u32) Failure!void {
    const descriptor = try self.descriptors.get(fd);
    try descriptor.require(rights.fd_write);
    const buffers = try gather(self, vectors, count, out);
    switch (descriptor.object) {
        .output => |stream| {
            var done: u32 = 0;
            for (buffers) |buffer| {
                if (buffer.length == 0) continue;
                self.environment.output(stream, try self.memory().slice(buffer.address, buffer.length));
                done += buffer.length;
            }
            try self.memory().store(u32, out, done);
        },
        .file => |id| {
            const begin = try startOf(self, descriptor, id, descriptor.position);
            const done = try writeFile(self, id, begin, buffers);
            descriptor.position = begin + done;
            try syncIfAsked(self, descriptor, id, done);
            try self.memory().store(u32, out, done);
        },
        .closed, .input, .directory => return error.BadDescriptor,
    }
}

/// Where a write begins. "Data written to the file is always appended to the file's end" in append mode
/// (`fdflags`), so that then even fd_pwrite's position counts for nothing, as on Linux.
fn startOf(self: *Wasi, descriptor: *const Descriptor, id: file_system.Id, position: u64) Failure!u64 {
    return if (descriptor.flags & abi.fdflags.append != 0) try self.files.sizeOf(id) else position;
}

fn writeFile(self: *Wasi, id: file_system.Id, to: u64, buffers: []const abi.Iovec) Failure!u32 {
    const memory = self.memory();
    const now = self.now();
    var done: u32 = 0;
    for (buffers) |buffer| {
        const source = try memory.slice(buffer.address, buffer.length);
        const n = self.files.write(id, to +| done, source, now) catch |reason| {
            if (done > 0) break; // the caller sees the reason when it goes on
            return reason;
        };
        done += @intCast(n);
        if (n < buffer.length) break;
    }
    return done;
}

fn pread(self: *Wasi, fd: u32, vectors: u32, count: u32, position: u64, out: u32) Failure!void {
    const file = try seekable(self, fd);
    try file.descriptor.require(rights.fd_read | rights.fd_seek);
    const buffers = try gather(self, vectors, count, out);
    try self.memory().store(u32, out, try readFile(self, file.id, position, buffers));
}

/// Leaves the descriptor's position alone.
fn pwrite(self: *Wasi, fd: u32, vectors: u32, count: u32, position: u64, out: u32) Failure!void {
    const file = seekable(self, fd) catch |reason| return switch (reason) {
        error.IsDirectory => error.BadDescriptor, // one that nothing was ever open to write to
        else => reason,
    };
    try file.descriptor.require(rights.fd_write | rights.fd_seek);
    const buffers = try gather(self, vectors, count, out);
    const begin = try startOf(self, file.descriptor, file.id, position);
    const done = try writeFile(self, file.id, begin, buffers);
    try syncIfAsked(self, file.descriptor, file.id, done);
    try self.memory().store(u32, out, done);
}

/// A write to a descriptor with `sync` or `dsync` is durable when it returns, or fails.
fn syncIfAsked(self: *Wasi, descriptor: *const Descriptor, id: file_system.Id, written: u32) Failure!void {
    if (written > 0 and descriptor.flags & (abi.fdflags.sync | abi.fdflags.dsync) != 0) try self.files.sync(id);
}

fn seek(self: *Wasi, fd: u32, offset: i64, whence: u32, out: u32) Failure!void {
    const file = try seekable(self, fd);
    const origin: u64 = switch (whence) {
        @backingInt(abi.Whence.set) => 0,
        @backingInt(abi.Whence.cur) => file.descriptor.position,
        @backingInt(abi.Whence.end) => try self.files.sizeOf(file.id),
        else => return error.Invalid,
    };
    const only_tells = whence == @backingInt(abi.Whence.cur) and offset == 0;
    if (!only_tells) try file.descriptor.require(rights.fd_seek) else try requireTell(file.descriptor);
    const position = std.math.cast(i64, @as(i128, origin) + offset) orelse return error.Invalid;
    if (position < 0) return error.Invalid;
    try self.memory().store(u64, out, @intCast(position));
    file.descriptor.position = @intCast(position);
}

fn tell(self: *Wasi, fd: u32, out: u32) Failure!void {
    const file = try seekable(self, fd);
    try requireTell(file.descriptor);
    try self.memory().store(u64, out, file.descriptor.position);
}

/// "This flag [fd_seek] implies rights::fd_tell."
fn requireTell(descriptor: *const Descriptor) Failure!void {
    if (descriptor.base & (rights.fd_seek | rights.fd_tell) == 0) return error.NotCapable;
}

fn advise(self: *Wasi, fd: u32, advice: u32) Failure!void {
    const file = try seekable(self, fd);
    if (advice > abi.last_advice) return error.Invalid;
    try file.descriptor.require(rights.fd_advise);
}

pub const File = struct { descriptor: *Descriptor, id: file_system.Id };

/// A descriptor of a file, which has positions.
pub fn seekable(self: *Wasi, fd: u32) Failure!File {
    const descriptor = try self.descriptors.get(fd);
    return switch (descriptor.object) {
        .file => |id| .{ .descriptor = descriptor, .id = id },
        .directory => error.IsDirectory,
        .closed, .input, .output => error.NotSeekable,
    };
}

/// Reads the list of buffers once into private memory. Each buffer, and the place for the result, is inside
/// linear memory; together they are at most `maximum_transfer` long, by cutting off the rest.
pub fn gather(self: *Wasi, vectors: u32, count: u32, out: u32) Failure![]const abi.Iovec {
    if (count > maximum_vectors) return error.Invalid;
    const memory = self.memory();
    try memory.check(out, 4);
    try memory.check(vectors, @as(u64, count) * abi.iovec_size);
    var left = maximum_transfer;
    for (self.vectors[0..count], 0..) |*vector, i| {
        const at = try memory_.element(vectors, i, abi.iovec_size);
        const address = try memory.load(u32, at);
        const length = try memory.load(u32, try memory_.element(at, 4, 1));
        try memory.check(address, length);
        vector.* = .{ .address = address, .length = @min(length, left) };
        left -= vector.length;
    }
    return self.vectors[0..count];
}
