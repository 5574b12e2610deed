//! Names: `path_create_directory`, `path_unlink_file`, `path_remove_directory`, `path_rename`, `path_readlink`; and
//! how every `path_*` function finds what a path means.
const abi = @import("abi.zig");
const file_system = @import("../files/file_system.zig");
const Failure = abi.Failure;
const Wasi = @import("wasi.zig").Wasi;
const rights = abi.rights;

pub fn lastOf(lookup: u32) error{Invalid}!file_system.Last {
    try abi.checkFlags(lookup, abi.lookupflags.all);
    return if (lookup & abi.lookupflags.symlink_follow != 0) .followed else .itself;
}

/// Follows a path from an open directory that has the `needed` rights.
pub fn resolve(self: *Wasi, fd: u32, address: u32, length: u32, needed: u64, last: file_system.Last) Failure!file_system.Target {
    const descriptor = try self.descriptors.get(fd);
    const base = try descriptor.directory();
    try descriptor.require(needed);
    return self.files.walk(base, try self.memory().slice(address, length), last);
}

pub fn path_create_directory(self: *Wasi, fd: u32, address: u32, length: u32) u32 {
    return abi.result(createDirectory(self, fd, address, length));
}

fn createDirectory(self: *Wasi, fd: u32, address: u32, length: u32) Failure!void {
    const target = try resolve(self, fd, address, length, rights.path_create_directory, .name);
    _ = try self.files.createDirectory(&target, self.now());
}

pub fn path_unlink_file(self: *Wasi, fd: u32, address: u32, length: u32) u32 {
    return abi.result(unlinkFile(self, fd, address, length));
}

fn unlinkFile(self: *Wasi, fd: u32, address: u32, length: u32) Failure!void {
    const target = try resolve(self, fd, address, length, rights.path_unlink_file, .name);
    try self.files.removeFile(&target, self.now());
}

pub fn path_remove_directory(self: *Wasi, fd: u32, address: u32, length: u32) u32 {
    return abi.result(removeDirectory(self, fd, address, length));
}

fn removeDirectory(self: *Wasi, fd: u32, address: u32, length: u32) Failure!void {
    const target = try resolve(self, fd, address, length, rights.path_remove_directory, .name);
    try self.files.removeDirectory(&target, self.now());
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
    const from = resolve(self, fd, address, length, rights.path_rename_source, .name) catch |failure|
        return abi.result(failure);
    const to = resolve(self, new_fd, new_address, new_length, rights.path_rename_target, .name) catch |failure|
        return abi.result(failure);
    return abi.result(self.files.rename(&from, &to, self.now()));
}

pub fn path_readlink(self: *Wasi, fd: u32, address: u32, length: u32, buffer: u32, size: u32, out: u32) u32 {
    return abi.result(readlink(self, fd, address, length, buffer, size, out));
}

/// A buffer that is too short gets the beginning.
fn readlink(self: *Wasi, fd: u32, address: u32, length: u32, buffer: u32, size: u32, out: u32) Failure!void {
    const target = try resolve(self, fd, address, length, rights.path_readlink, .itself);
    const id = try self.files.existing(&target);
    const destination = try self.memory().slice(buffer, size);
    try self.memory().check(out, 4);
    if ((try self.files.attributes(id)).kind != .symlink) return error.Invalid;
    const placed = if (destination.len > 0) try self.files.read(id, 0, destination) else 0;
    try self.memory().store(u32, out, @intCast(placed));
}

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
    return abi.result(link(self, fd, flags, address, length, new_fd, new_address, new_length));
}

/// Another name for a file, or for a symbolic link itself: following one first is Invalid, as in wasmtime.
fn link(
    self: *Wasi,
    fd: u32,
    flags: u32,
    address: u32,
    length: u32,
    new_fd: u32,
    new_address: u32,
    new_length: u32,
) Failure!void {
    if (try lastOf(flags) == .followed) return error.Invalid;
    const from = try resolve(self, fd, address, length, rights.path_link_source, .itself);
    const to = try resolve(self, new_fd, new_address, new_length, rights.path_link_target, .name);
    try self.files.link(&from, &to, self.now());
}

pub fn path_symlink(self: *Wasi, old_address: u32, old_length: u32, fd: u32, address: u32, length: u32) u32 {
    return abi.result(symlink(self, old_address, old_length, fd, address, length));
}

fn symlink(self: *Wasi, old_address: u32, old_length: u32, fd: u32, address: u32, length: u32) Failure!void {
    const target = try resolve(self, fd, address, length, rights.path_symlink, .name);
    const text = try self.memory().slice(old_address, old_length);
    try self.files.createSymlink(&target, text, self.now());
}
