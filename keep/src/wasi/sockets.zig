//! `sock_*`. A keep has no sockets, so no descriptor is one. The preopened directory stands where a program that was given
//! nothing expects nothing, so to these functions a directory is not open at all.
const abi = @import("abi.zig");
const Failure = abi.Failure;
const Wasi = @import("wasi.zig").Wasi;

pub fn sock_accept(self: *Wasi, fd: u32, flags: u32, out: u32) u32 {
    _ = .{ flags, out };
    return abi.result(refuse(self, fd));
}

pub fn sock_recv(self: *Wasi, fd: u32, vectors: u32, count: u32, flags: u32, size_out: u32, flags_out: u32) u32 {
    _ = .{ vectors, count, flags, size_out, flags_out };
    return abi.result(refuse(self, fd));
}

pub fn sock_send(self: *Wasi, fd: u32, vectors: u32, count: u32, flags: u32, size_out: u32) u32 {
    _ = .{ vectors, count, flags, size_out };
    return abi.result(refuse(self, fd));
}

pub fn sock_shutdown(self: *Wasi, fd: u32, how: u32) u32 {
    _ = how;
    return abi.result(refuse(self, fd));
}

fn refuse(self: *Wasi, fd: u32) Failure!void {
    const descriptor = try self.descriptors.get(fd);
    return if (descriptor.object == .directory) error.BadDescriptor else error.NotSocket;
}
