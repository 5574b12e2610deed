//! Names: `path_create_directory`, `path_unlink_file`, `path_remove_directory`, `path_rename`, `path_readlink`; and
//! how every `path_*` function finds what a path means.
const abi = @import("abi.zig");
const file_system = @import("../files/file_system.zig");
const Failure = abi.Failure;
const Wasi = @import("wasi.zig").Wasi;
const rights = abi.rights;

/// Follows a path from an open directory that has the `needed` rights. The target's name lies in linear memory.
pub fn resolve(self: *Wasi, fd: u32, address: u32, length: u32, needed: u64) Failure!file_system.Target {
    const descriptor = try self.descriptors.get(fd);
    const base = try descriptor.directory();
    try descriptor.require(needed);
    return self.files.walk(base, try self.memory().slice(address, length));
}

pub fn path_create_directory(self: *Wasi, fd: u32, address: u32, length: u32) u32 {
    return abi.result(createDirectory(self, fd, address, length));
}

fn createDirectory(self: *Wasi, fd: u32, address: u32, length: u32) Failure!void {
    const target = try resolve(self, fd, address, length, rights.path_create_directory);
    _ = try self.files.createDirectory(target, self.now());
}

pub fn path_unlink_file(self: *Wasi, fd: u32, address: u32, length: u32) u32 {
    return abi.result(unlinkFile(self, fd, address, length));
}

fn unlinkFile(self: *Wasi, fd: u32, address: u32, length: u32) Failure!void {
    const target = try resolve(self, fd, address, length, rights.path_unlink_file);
    try self.files.removeFile(target, self.now());
}

pub fn path_remove_directory(self: *Wasi, fd: u32, address: u32, length: u32) u32 {
    return abi.result(removeDirectory(self, fd, address, length));
}

fn removeDirectory(self: *Wasi, fd: u32, address: u32, length: u32) Failure!void {
    const target = try resolve(self, fd, address, length, rights.path_remove_directory);
    try self.files.removeDirectory(target, self.now());
}

pub fn path_rename(
    self: *Wasi,
    fd: u32,
    address: u32,
    length: u32,
    new_fd: u32,
    new_address: u32,
    new_length: u32,
) u32 {
    const from = resolve(self, fd, address, length, rights.path_rename_source) catch |failure|
        return abi.result(failure);
    const to = resolve(self, new_fd, new_address, new_length, rights.path_rename_target) catch |failure|
        return abi.result(failure);
    return abi.result(self.files.rename(from, to, self.now()));
}

pub fn path_readlink(self: *Wasi, fd: u32, address: u32, length: u32, buffer: u32, size: u32, out: u32) u32 {
    return abi.result(readlink(self, fd, address, length, buffer, size, out));
}

/// There are no symbolic links to read.
fn readlink(self: *Wasi, fd: u32, address: u32, length: u32, buffer: u32, size: u32, out: u32) Failure!void {
    const target = try resolve(self, fd, address, length, rights.path_readlink);
    _ = try self.files.existing(target);
    try self.memory().check(buffer, size);
    try self.memory().check(out, 4);
    return error.Invalid;
}

/// A node has one name.
pub fn path_link(
    self: *Wasi,
    fd: u32,
    flags: u32,
    address: u32,
    length: u32,
    new_fd: u32,
    new_address: u32,
    new_length: u32,
) u32 {
    _ = .{ self, fd, flags, address, length, new_fd, new_address, new_length };
    return abi.result(error.NotImplemented);
}

pub fn path_symlink(self: *Wasi, old_address: u32, old_length: u32, fd: u32, address: u32, length: u32) u32 {
    _ = .{ self, old_address, old_length, fd, address, length };
    return abi.result(error.NotImplemented);
}
