//! `path_open`: the one way to a new descriptor, and where rights are handed down.
const abi = @import("abi.zig");
const descriptors = @import("descriptors.zig");
const file_system = @import("../files/file_system.zig");
const paths = @import("paths.zig");
const Failure = abi.Failure;
const Wasi = @import("wasi.zig").Wasi;
const rights = abi.rights;

pub fn path_open(
    self: *Wasi,
    fd: u32,
    lookup: u32,
    address: u32,
    length: u32,
    oflags: u32,
    base: u64,
    inheriting: u64,
    fdflags: u32,
    out: u32,
) u32 {
    const request = Request{ .oflags = oflags, .base = base, .inheriting = inheriting, .fdflags = fdflags };
    return abi.result(open(self, fd, lookup, address, length, request, out));
}

/// What the program asks for, beside the path.
const Request = struct {
    oflags: u32,
    base: u64,
    inheriting: u64,
    fdflags: u32,

    fn has(self: Request, flag: u32) bool {
        return self.oflags & flag != 0;
    }

    fn check(self: Request) error{Invalid}!void {
        try abi.checkFlags(self.oflags, abi.oflags.all);
        try abi.checkFlags(self.fdflags, abi.fdflags.all);
        try abi.checkFlags(self.base | self.inheriting, rights.all);
        const makes_or_changes = abi.oflags.creat | abi.oflags.excl | abi.oflags.trunc;
        if (self.has(abi.oflags.directory) and self.has(makes_or_changes)) return error.Invalid;
    }

    /// What the directory must allow for this request (`rights` in typenames.witx).
    fn needed(self: Request) u64 {
        var right = rights.path_open;
        if (self.has(abi.oflags.creat)) right |= rights.path_create_file;
        if (self.has(abi.oflags.trunc)) right |= rights.path_filestat_set_size;
        return right;
    }
};

fn open(self: *Wasi, fd: u32, lookup: u32, address: u32, length: u32, request: Request, out: u32) Failure!void {
    const asked = try paths.lastOf(lookup);
    try request.check();
    try self.memory().check(out, 4);
    // What must be new is not what a link leads to.
    const last: file_system.Last = if (request.has(abi.oflags.creat) and request.has(abi.oflags.excl)) .itself else asked;
    const target = try paths.resolve(self, fd, address, length, request.needed(), last);
    const directory = try self.descriptors.get(fd);
    try checkInherited(directory, request);
    const number = try self.descriptors.vacancy();

    const id = try find(self, &target, request);
    const object: descriptors.Object = switch ((try self.files.attributes(id)).kind) {
        .file => .{ .file = id },
        .directory => .{ .directory = id },
        .symlink => return error.Loop, // it was not to be followed
    };
    try self.descriptors.place(number, .{
        .object = object,
        .base = request.base & object.applicable(),
        .inheriting = if (object == .directory) request.inheriting & rights.on_opened else 0,
        .flags = @intCast(request.fdflags),
    });
    try self.memory().store(u32, out, number);
}

/// A descriptor has at most the rights that its directory hands down; rights that no file or directory has may be
/// asked for and are not given.
fn checkInherited(directory: *const descriptors.Descriptor, request: Request) error{NotCapable}!void {
    const asked = (request.base | request.inheriting) & rights.on_opened;
    if (asked & ~directory.inheriting != 0) return error.NotCapable;
    const f = abi.fdflags;
    if (request.fdflags & f.dsync != 0 and directory.inheriting & (rights.fd_datasync | rights.fd_sync) == 0)
        return error.NotCapable;
    if (request.fdflags & (f.rsync | f.sync) != 0 and directory.inheriting & rights.fd_sync == 0)
        return error.NotCapable;
}

/// What is there, or the file made for this request; empty if the request says so.
fn find(self: *Wasi, target: *const file_system.Target, request: Request) Failure!file_system.Id {
    if (request.has(abi.oflags.creat)) {
        if (target.directory_only) return error.IsDirectory; // only files are made here
        if (target.node == null) return self.files.createFile(target, self.now());
        if (request.has(abi.oflags.excl)) return error.Exists;
    }
    const id = try self.files.existing(target);
    const attributes = try self.files.attributes(id);
    switch (attributes.kind) {
        .directory => {
            const writes = request.base & rights.fd_write != 0;
            if (writes or request.has(abi.oflags.creat | abi.oflags.trunc)) return error.IsDirectory;
        },
        .file => {
            if (request.has(abi.oflags.directory)) return error.NotDirectory;
            if (attributes.read_only and request.base & rights.fd_write != 0) return error.ReadOnly;
            if (request.has(abi.oflags.trunc)) try self.files.resize(id, 0, self.now());
        },
        .symlink => {},
    }
    return id;
}
