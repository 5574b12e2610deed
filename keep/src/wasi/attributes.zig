//! Sizes and times: `fd_filestat_*`, `path_filestat_*`, `fd_allocate`.
const abi = @import("abi.zig");
const file_system = @import("../files/file_system.zig");
const paths = @import("paths.zig");
const transfer = @import("transfer.zig");
const Failure = abi.Failure;
const Wasi = @import("wasi.zig").Wasi;
const rights = abi.rights;

pub fn fd_filestat_get(self: *Wasi, fd: u32, out: u32) u32 {
    return abi.result(get(self, fd, out));
}

fn get(self: *Wasi, fd: u32, out: u32) Failure!void {
    const descriptor = try self.descriptors.get(fd);
    try descriptor.require(rights.fd_filestat_get);
    const stat = if (descriptor.node()) |id| try filestat(self, id) else abi.Filestat{
        .device = 0,
        .inode = 0,
        .filetype = .unknown,
        .links = 0,
        .bytes = 0,
        .times = .{ .accessed = 0, .modified = 0, .changed = 0 },
    };
    try self.memory().storeBytes(out, &stat.encode());
}

pub fn path_filestat_get(self: *Wasi, fd: u32, flags: u32, address: u32, length: u32, out: u32) u32 {
    return abi.result(getAt(self, fd, flags, address, length, out));
}

fn getAt(self: *Wasi, fd: u32, flags: u32, address: u32, length: u32, out: u32) Failure!void {
    const last = try paths.lastOf(flags);
    const target = try paths.resolve(self, fd, address, length, rights.path_filestat_get, last);
    const id = try self.files.existing(&target);
    try self.memory().storeBytes(out, &(try filestat(self, id)).encode());
}

fn filestat(self: *Wasi, id: file_system.Id) Failure!abi.Filestat {
    const attributes = try self.files.attributes(id);
    return .{
        .device = self.files.device(id),
        .inode = id.inode,
        .filetype = abi.filetypeOf(attributes.kind),
        .links = attributes.links,
        .bytes = attributes.size,
        .times = attributes.times,
    };
}

pub fn fd_filestat_set_times(self: *Wasi, fd: u32, accessed: u64, modified: u64, flags: u32) u32 {
    return abi.result(setTimes(self, fd, accessed, modified, flags));
}

fn setTimes(self: *Wasi, fd: u32, accessed: u64, modified: u64, flags: u32) Failure!void {
    const descriptor = try self.descriptors.get(fd);
    const chosen = try Chosen.from(flags, accessed, modified, self.now());
    try descriptor.require(rights.fd_filestat_set_times);
    const id = descriptor.node() orelse return error.BadDescriptor;
    try self.files.setTimes(id, chosen.accessed, chosen.modified, self.now());
}

pub fn path_filestat_set_times(
    self: *Wasi,
    fd: u32,
    flags: u32,
    address: u32,
    length: u32,
    accessed: u64,
    modified: u64,
    time_flags: u32,
) u32 {
    return abi.result(setTimesAt(self, fd, flags, address, length, accessed, modified, time_flags));
}

fn setTimesAt(
    self: *Wasi,
    fd: u32,
    flags: u32,
    address: u32,
    length: u32,
    accessed: u64,
    modified: u64,
    time_flags: u32,
) Failure!void {
    const last = try paths.lastOf(flags);
    const chosen = try Chosen.from(time_flags, accessed, modified, self.now());
    const target = try paths.resolve(self, fd, address, length, rights.path_filestat_set_times, last);
    const id = try self.files.existing(&target);
    try self.files.setTimes(id, chosen.accessed, chosen.modified, self.now());
}

/// Which times `fstflags` set, and to what.
const Chosen = struct {
    accessed: ?u64,
    modified: ?u64,

    fn from(flags: u32, accessed: u64, modified: u64, now: u64) error{Invalid}!Chosen {
        const f = abi.fstflags;
        try abi.checkFlags(flags, f.all);
        if (flags & f.atim != 0 and flags & f.atim_now != 0) return error.Invalid;
        if (flags & f.mtim != 0 and flags & f.mtim_now != 0) return error.Invalid;
        return .{
            .accessed = if (flags & f.atim != 0) accessed else if (flags & f.atim_now != 0) now else null,
            .modified = if (flags & f.mtim != 0) modified else if (flags & f.mtim_now != 0) now else null,
        };
    }
};

pub fn fd_filestat_set_size(self: *Wasi, fd: u32, size: u64) u32 {
    return abi.result(setSize(self, fd, size));
}

fn setSize(self: *Wasi, fd: u32, size: u64) Failure!void {
    const file = transfer.seekable(self, fd) catch |reason| return switch (reason) {
        error.NotSeekable => error.Invalid, // as ftruncate of a pipe
        else => reason,
    };
    try file.descriptor.require(rights.fd_filestat_set_size);
    try self.files.resize(file.id, size, self.now());
}

pub fn fd_allocate(self: *Wasi, fd: u32, offset: u64, length: u64) u32 {
    return abi.result(allocate(self, fd, offset, length));
}

/// Makes the file reach as far as `offset` + `length`; it never shrinks, and what it holds stays.
fn allocate(self: *Wasi, fd: u32, offset: u64, length: u64) Failure!void {
    const file = try transfer.seekable(self, fd);
    try file.descriptor.require(rights.fd_allocate);
    if (length == 0) return error.Invalid; // as posix_fallocate
    const size = @max(offset +| length, try self.files.sizeOf(file.id));
    try self.files.resize(file.id, size, self.now());
}
