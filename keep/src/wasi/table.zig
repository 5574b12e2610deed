//! Descriptors as such: `fd_close`, `fd_renumber`, `fd_fdstat_*`, `fd_prestat_*`, `fd_sync`, `fd_datasync`.
const abi = @import("abi.zig");
const Failure = abi.Failure;
const Wasi = @import("wasi.zig").Wasi;

/// The name under which programs know the preopened directory.
const preopen_name = "/";

pub fn fd_close(self: *Wasi, fd: u32) u32 {
    return abi.result(self.descriptors.close(fd));
}

pub fn fd_renumber(self: *Wasi, from: u32, to: u32) u32 {
    return abi.result(self.descriptors.renumber(from, to));
}

pub fn fd_fdstat_get(self: *Wasi, fd: u32, out: u32) u32 {
    return abi.result(fdstat(self, fd, out));
}

fn fdstat(self: *Wasi, fd: u32, out: u32) Failure!void {
    const descriptor = try self.descriptors.get(fd);
    const stat = abi.Fdstat{
        .filetype = switch (descriptor.object) {
            // Standard streams lead to the tenant, not to a terminal.
            .closed, .input, .output => .unknown,
            .file => .regular_file,
            .directory => .directory,
        },
        .flags = descriptor.flags,
        .rights_base = descriptor.base,
        .rights_inheriting = descriptor.inheriting,
    };
    try self.memory().storeBytes(out, &stat.encode());
}

pub fn fd_fdstat_set_flags(self: *Wasi, fd: u32, flags: u32) u32 {
    return abi.result(setFlags(self, fd, flags));
}

/// `append`, `nonblock`, `dsync` and `sync` count from the next call on. Reads give what was written last in any case, so
/// that `rsync` is kept and changes nothing.
fn setFlags(self: *Wasi, fd: u32, flags: u32) Failure!void {
    const descriptor = try self.descriptors.get(fd);
    try abi.checkFlags(flags, abi.fdflags.all);
    try descriptor.require(abi.rights.fd_fdstat_set_flags);
    descriptor.flags = @intCast(flags);
}

pub fn fd_fdstat_set_rights(self: *Wasi, fd: u32, base: u64, inheriting: u64) u32 {
    return abi.result(setRights(self, fd, base, inheriting));
}

/// Rights can only be taken away.
fn setRights(self: *Wasi, fd: u32, base: u64, inheriting: u64) Failure!void {
    const descriptor = try self.descriptors.get(fd);
    if (base & ~descriptor.base != 0 or inheriting & ~descriptor.inheriting != 0) return error.NotCapable;
    descriptor.base = base;
    descriptor.inheriting = inheriting;
}

pub fn fd_prestat_get(self: *Wasi, fd: u32, out: u32) u32 {
    return abi.result(prestat(self, fd, out));
}

/// BadDescriptor for anything else: programs look for preopened directories from 3 on until they see it.
fn prestat(self: *Wasi, fd: u32, out: u32) Failure!void {
    if (!(try self.descriptors.get(fd)).preopened) return error.BadDescriptor;
    try self.memory().storeBytes(out, &abi.prestatDirectory(preopen_name.len));
}

pub fn fd_prestat_dir_name(self: *Wasi, fd: u32, buffer: u32, length: u32) u32 {
    return abi.result(prestatName(self, fd, buffer, length));
}

fn prestatName(self: *Wasi, fd: u32, buffer: u32, length: u32) Failure!void {
    if (!(try self.descriptors.get(fd)).preopened) return error.BadDescriptor;
    if (length < preopen_name.len) return error.NameTooLong;
    try self.memory().storeBytes(buffer, preopen_name);
}

pub fn fd_sync(self: *Wasi, fd: u32) u32 {
    return abi.result(sync(self, fd, abi.rights.fd_sync));
}

pub fn fd_datasync(self: *Wasi, fd: u32) u32 {
    return abi.result(sync(self, fd, abi.rights.fd_datasync));
}

/// All of the mount that a file or directory is on. Streams cannot be asked, as in POSIX.
fn sync(self: *Wasi, fd: u32, right: u64) Failure!void {
    const descriptor = try self.descriptors.get(fd);
    const id = descriptor.node() orelse return error.Invalid;
    try descriptor.require(right);
    try self.files.sync(id);
}
