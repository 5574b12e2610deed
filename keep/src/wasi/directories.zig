//! `fd_readdir`.
const abi = @import("abi.zig");
const Failure = abi.Failure;
const Wasi = @import("wasi.zig").Wasi;

pub fn fd_readdir(self: *Wasi, fd: u32, buffer: u32, length: u32, cookie: u64, out: u32) u32 {
    return abi.result(readdir(self, fd, buffer, length, cookie, out));
}

/// Fills the buffer with whole entries; the last may be cut off, which tells the caller to ask again from there.
/// A buffer that is not full is the end of the directory.
fn readdir(self: *Wasi, fd: u32, buffer: u32, length: u32, cookie: u64, out: u32) Failure!void {
    const descriptor = try self.descriptors.get(fd);
    const directory = try descriptor.directory();
    try descriptor.require(abi.rights.fd_readdir);
    const memory = self.memory();
    try memory.check(out, 4);
    var space = try memory.slice(buffer, length);
    var entries = self.files.list(directory, cookie);
    while (space.len > 0) {
        const entry = try entries.next() orelse break;
        space = copy(space, &abi.dirent(entry));
        space = copy(space, entry.name);
    }
    try memory.store(u32, out, length - @as(u32, @intCast(space.len)));
}

/// Copies as much as fits; returns the space left.
fn copy(space: []u8, bytes: []const u8) []u8 {
    const n = @min(space.len, bytes.len);
    @memcpy(space[0..n], bytes[0..n]);
    return space[n..];
}
