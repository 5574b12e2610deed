//! WASI preview 1 as bytes: numbers, flags and record layouts of wasi_snapshot_preview1 (typenames.witx). All
//! records are little-endian in linear memory; an offset stands beside each field.
const std = @import("std");
const file_system = @import("../files/file_system.zig");

/// `errno`: what every function but `proc_exit` returns.
pub const Errno = enum(u16) {
    success = 0,
    again = 6,
    badf = 8,
    busy = 10,
    exist = 20,
    fault = 21,
    fbig = 22,
    ilseq = 25,
    inval = 28,
    io = 29,
    isdir = 31,
    loop = 32,
    mfile = 33,
    mlink = 34,
    nametoolong = 37,
    noent = 44,
    nomem = 48,
    nospc = 51,
    notdir = 54,
    notempty = 55,
    notsock = 57,
    notsup = 58,
    perm = 63,
    rofs = 69,
    spipe = 70,
    xdev = 75,
    notcapable = 76,
};

/// Why a call fails.
pub const Failure = file_system.Error || error{
    Fault,
    BadDescriptor,
    NotCapable,
    TooManyOpen,
    NotSocket,
    NotSeekable,
    WouldBlock,
    NotSupported,
};

pub fn errnoOf(failure: Failure) Errno {
    return switch (failure) {
        error.Fault => .fault,
        error.BadDescriptor => .badf,
        error.NotCapable => .notcapable,
        error.TooManyOpen => .mfile,
        error.NotSocket => .notsock,
        error.NotSeekable => .spipe,
        error.WouldBlock => .again,
        error.NotSupported => .notsup,
        error.NotPermitted => .perm,
        error.CrossDevice => .xdev,
        error.Loop => .loop,
        error.InputOutput => .io,
        error.NoMemory => .nomem,
        error.TooManyLinks => .mlink,
        error.NotFound => .noent,
        error.Escapes => .perm, // as wasmtime: a path that leaves its directory is "not permitted"
        error.NameTooLong => .nametoolong,
        error.Invalid => .inval,
        error.IllegalBytes => .ilseq,
        error.Exists => .exist,
        error.NotDirectory => .notdir,
        error.IsDirectory => .isdir,
        error.NotEmpty => .notempty,
        error.ReadOnly => .rofs,
        error.Busy => .busy,
        error.NoSpace => .nospc,
        error.TooLarge => .fbig,
    };
}

/// What a function returns to the program.
pub fn result(outcome: Failure!void) u32 {
    outcome catch |failure| return @backingInt(errnoOf(failure));
    return @backingInt(Errno.success);
}

/// `clockid`; the CPU-time clocks 2 and 3 are not offered.
pub const Clock = enum(u32) { realtime = 0, monotonic = 1 };

pub const Filetype = enum(u8) { unknown = 0, directory = 3, regular_file = 4, symbolic_link = 7 };

pub fn filetypeOf(kind: file_system.Kind) Filetype {
    return switch (kind) {
        .directory => .directory,
        .file => .regular_file,
        .symlink => .symbolic_link,
    };
}

pub const Whence = enum(u32) { set = 0, cur = 1, end = 2 };

/// The highest `advice`.
pub const last_advice = 5;

pub const fdflags = struct {
    pub const append = 1 << 0;
    pub const dsync = 1 << 1;
    pub const nonblock = 1 << 2;
    pub const rsync = 1 << 3;
    pub const sync = 1 << 4;
    pub const all = (1 << 5) - 1;
};

pub const oflags = struct {
    pub const creat = 1 << 0;
    pub const directory = 1 << 1;
    pub const excl = 1 << 2;
    pub const trunc = 1 << 3;
    pub const all = (1 << 4) - 1;
};

pub const lookupflags = struct {
    pub const symlink_follow = 1 << 0;
    pub const all = (1 << 1) - 1;
};

pub const fstflags = struct {
    pub const atim = 1 << 0;
    pub const atim_now = 1 << 1;
    pub const mtim = 1 << 2;
    pub const mtim_now = 1 << 3;
    pub const all = (1 << 4) - 1;
};

/// Refuses bits that `all` does not have.
pub fn checkFlags(flags: u64, all: u64) error{Invalid}!void {
    if (flags & ~all != 0) return error.Invalid;
}

/// `rights`: what may be done with a descriptor.
pub const rights = struct {
    pub const fd_datasync: u64 = 1 << 0;
    pub const fd_read: u64 = 1 << 1;
    pub const fd_seek: u64 = 1 << 2;
    pub const fd_fdstat_set_flags: u64 = 1 << 3;
    pub const fd_sync: u64 = 1 << 4;
    pub const fd_tell: u64 = 1 << 5;
    pub const fd_write: u64 = 1 << 6;
    pub const fd_advise: u64 = 1 << 7;
    pub const fd_allocate: u64 = 1 << 8;
    pub const path_create_directory: u64 = 1 << 9;
    pub const path_create_file: u64 = 1 << 10;
    pub const path_link_source: u64 = 1 << 11;
    pub const path_link_target: u64 = 1 << 12;
    pub const path_open: u64 = 1 << 13;
    pub const fd_readdir: u64 = 1 << 14;
    pub const path_readlink: u64 = 1 << 15;
    pub const path_rename_source: u64 = 1 << 16;
    pub const path_rename_target: u64 = 1 << 17;
    pub const path_filestat_get: u64 = 1 << 18;
    pub const path_filestat_set_size: u64 = 1 << 19;
    pub const path_filestat_set_times: u64 = 1 << 20;
    pub const fd_filestat_get: u64 = 1 << 21;
    pub const fd_filestat_set_size: u64 = 1 << 22;
    pub const fd_filestat_set_times: u64 = 1 << 23;
    pub const path_symlink: u64 = 1 << 24;
    pub const path_remove_directory: u64 = 1 << 25;
    pub const path_unlink_file: u64 = 1 << 26;
    pub const poll_fd_readwrite: u64 = 1 << 27;
    pub const sock_shutdown: u64 = 1 << 28;
    pub const sock_accept: u64 = 1 << 29;
    pub const all: u64 = (1 << 30) - 1;

    /// Rights that mean something for a stream, a file, a directory.
    const on_any = fd_fdstat_set_flags | fd_filestat_get | poll_fd_readwrite;
    pub const on_input = on_any | fd_read;
    pub const on_output = on_any | fd_write;
    pub const on_file = on_any | fd_datasync | fd_read | fd_seek | fd_sync | fd_tell | fd_write | fd_advise |
        fd_allocate | fd_filestat_set_size | fd_filestat_set_times;
    pub const on_directory = on_any | fd_datasync | fd_sync | fd_readdir | fd_filestat_set_times |
        path_create_directory | path_create_file | path_link_source | path_link_target | path_open | path_readlink |
        path_rename_source | path_rename_target | path_filestat_get | path_filestat_set_size |
        path_filestat_set_times | path_symlink | path_remove_directory | path_unlink_file;
    /// What can come of opening a path at all; rights on sockets cannot.
    pub const on_opened = on_file | on_directory;
};

/// `iovec` and `ciovec`: address u32 at 0, length u32 at 4.
pub const iovec_size = 8;
pub const Iovec = struct { address: u32, length: u32 };

/// `prestat`: tag u8 at 0 (0 = directory), length of the name u32 at 4.
pub const prestat_size = 8;

pub fn prestatDirectory(name_length: u32) [prestat_size]u8 {
    var bytes: [prestat_size]u8 = @splat(0);
    std.mem.writeInt(u32, bytes[4..8], name_length, .little);
    return bytes;
}

pub const Fdstat = struct {
    filetype: Filetype, // u8 at 0
    flags: u16, // at 2
    rights_base: u64, // at 8
    rights_inheriting: u64, // at 16

    pub const size = 24;

    pub fn encode(self: Fdstat) [size]u8 {
        var bytes: [size]u8 = @splat(0);
        bytes[0] = @backingInt(self.filetype);
        std.mem.writeInt(u16, bytes[2..4], self.flags, .little);
        std.mem.writeInt(u64, bytes[8..16], self.rights_base, .little);
        std.mem.writeInt(u64, bytes[16..24], self.rights_inheriting, .little);
        return bytes;
    }
};

pub const Filestat = struct {
    device: u64, // at 0
    inode: u64, // at 8
    filetype: Filetype, // u8 at 16
    links: u64, // at 24
    bytes: u64, // at 32
    times: file_system.Times, // at 40, 48, 56

    pub const size = 64;

    pub fn encode(self: Filestat) [size]u8 {
        var bytes: [size]u8 = @splat(0);
        std.mem.writeInt(u64, bytes[0..8], self.device, .little);
        std.mem.writeInt(u64, bytes[8..16], self.inode, .little);
        bytes[16] = @backingInt(self.filetype);
        std.mem.writeInt(u64, bytes[24..32], self.links, .little);
        std.mem.writeInt(u64, bytes[32..40], self.bytes, .little);
        std.mem.writeInt(u64, bytes[40..48], self.times.accessed, .little);
        std.mem.writeInt(u64, bytes[48..56], self.times.modified, .little);
        std.mem.writeInt(u64, bytes[56..64], self.times.changed, .little);
        return bytes;
    }
};

/// `dirent`: next cookie u64 at 0, inode u64 at 8, length of the name u32 at 16, type u8 at 20; the name follows.
pub const dirent_size = 24;

pub fn dirent(entry: file_system.Entry) [dirent_size]u8 {
    var bytes: [dirent_size]u8 = @splat(0);
    std.mem.writeInt(u64, bytes[0..8], entry.next_cookie, .little);
    std.mem.writeInt(u64, bytes[8..16], entry.inode, .little);
    std.mem.writeInt(u32, bytes[16..20], @intCast(entry.name.len), .little);
    bytes[20] = @backingInt(filetypeOf(entry.kind));
    return bytes;
}

pub const Eventtype = enum(u8) { clock = 0, fd_read = 1, fd_write = 2 };

/// `subscription`: userdata u64 at 0, tag u8 at 8; a clock's id u32 at 16, timeout u64 at 24, precision u64 at 32
/// and flags u16 at 40; otherwise a descriptor u32 at 16.
pub const subscription_size = 48;

/// `subclockflags`: the timeout is a point in time.
pub const subclock_abstime = 1 << 0;

pub const Event = struct {
    userdata: u64, // at 0
    errno: Errno, // u16 at 8
    kind: Eventtype, // u8 at 10
    available: u64, // `nbytes`, at 16
    hangup: bool, // `eventrwflags` u16 at 24, bit 0

    pub const size = 32;

    pub fn encode(self: Event) [size]u8 {
        var bytes: [size]u8 = @splat(0);
        std.mem.writeInt(u64, bytes[0..8], self.userdata, .little);
        std.mem.writeInt(u16, bytes[8..10], @backingInt(self.errno), .little);
        bytes[10] = @backingInt(self.kind);
        std.mem.writeInt(u64, bytes[16..24], self.available, .little);
        std.mem.writeInt(u16, bytes[24..26], @intFromBool(self.hangup), .little);
        return bytes;
    }
};
