//! Numbers, flags and layouts against another reading of the same specification: the one in Zig's own library.
const std = @import("std");
const abi = @import("../abi.zig");
const reference = std.os.wasi;
const expectEqual = std.testing.expectEqual;

test "error numbers" {
    @setEvalBranchQuota(20_000);
    inline for (comptime std.enums.values(abi.Errno)) |errno| {
        var buffer: [16]u8 = undefined;
        const name = std.ascii.upperString(&buffer, @tagName(errno));
        // Zig has the name of POSIX for this one.
        const same = std.meta.stringToEnum(reference.errno_t, if (errno == .notsup) "OPNOTSUPP" else name) orelse return error.UnknownName;
        try expectEqual(@backingInt(same), @backingInt(errno));
    }
}

test "rights" {
    var all: u64 = 0;
    inline for (comptime std.meta.fieldNames(reference.rights_t)) |name| if (comptime name[0] != '_') {
        var right = reference.rights_t{};
        @field(right, name) = true;
        const lower = comptime blk: {
            @setEvalBranchQuota(100_000);
            var buffer: [64]u8 = undefined;
            break :blk std.ascii.lowerString(&buffer, name)[0..name.len].*;
        };
        try expectEqual(@as(u64, @bitCast(right)), @field(abi.rights, &lower));
        all |= @bitCast(right);
    };
    try expectEqual(all, abi.rights.all);
    try expectEqual(@as(u64, 0), abi.rights.on_opened & ~abi.rights.all);
    // What programs look for on a preopened directory, and what a directory must not have.
    const r = abi.rights;
    try expectEqual(@as(u64, 0), r.on_directory & (r.fd_read | r.fd_write | r.fd_seek | r.fd_filestat_set_size));
}

test "flags" {
    const F = reference.fdflags_t;
    try expectEqual(@as(u16, @bitCast(F{ .APPEND = true })), abi.fdflags.append);
    try expectEqual(@as(u16, @bitCast(F{ .DSYNC = true })), abi.fdflags.dsync);
    try expectEqual(@as(u16, @bitCast(F{ .NONBLOCK = true })), abi.fdflags.nonblock);
    try expectEqual(@as(u16, @bitCast(F{ .RSYNC = true })), abi.fdflags.rsync);
    try expectEqual(@as(u16, @bitCast(F{ .SYNC = true })), abi.fdflags.sync);
    const O = reference.oflags_t;
    try expectEqual(@as(u16, @bitCast(O{ .CREAT = true })), abi.oflags.creat);
    try expectEqual(@as(u16, @bitCast(O{ .DIRECTORY = true })), abi.oflags.directory);
    try expectEqual(@as(u16, @bitCast(O{ .EXCL = true })), abi.oflags.excl);
    try expectEqual(@as(u16, @bitCast(O{ .TRUNC = true })), abi.oflags.trunc);
    const T = reference.fstflags_t;
    try expectEqual(@as(u16, @bitCast(T{ .ATIM = true })), abi.fstflags.atim);
    try expectEqual(@as(u16, @bitCast(T{ .ATIM_NOW = true })), abi.fstflags.atim_now);
    try expectEqual(@as(u16, @bitCast(T{ .MTIM = true })), abi.fstflags.mtim);
    try expectEqual(@as(u16, @bitCast(T{ .MTIM_NOW = true })), abi.fstflags.mtim_now);
    try expectEqual(@as(u32, @bitCast(reference.lookupflags_t{ .SYMLINK_FOLLOW = true })), abi.lookupflags.all);
    try expectEqual(reference.SUBSCRIPTION_CLOCK_ABSTIME, abi.subclock_abstime);
}

test "small numbers" {
    try expectEqual(@backingInt(reference.filetype_t.UNKNOWN), @backingInt(abi.Filetype.unknown));
    try expectEqual(@backingInt(reference.filetype_t.DIRECTORY), @backingInt(abi.Filetype.directory));
    try expectEqual(@backingInt(reference.filetype_t.REGULAR_FILE), @backingInt(abi.Filetype.regular_file));
    try expectEqual(@backingInt(reference.whence_t.SET), @backingInt(abi.Whence.set));
    try expectEqual(@backingInt(reference.whence_t.CUR), @backingInt(abi.Whence.cur));
    try expectEqual(@backingInt(reference.whence_t.END), @backingInt(abi.Whence.end));
    try expectEqual(@backingInt(reference.eventtype_t.CLOCK), @backingInt(abi.Eventtype.clock));
    try expectEqual(@backingInt(reference.eventtype_t.FD_READ), @backingInt(abi.Eventtype.fd_read));
    try expectEqual(@backingInt(reference.eventtype_t.FD_WRITE), @backingInt(abi.Eventtype.fd_write));
    try expectEqual(@backingInt(reference.clockid_t.REALTIME), @backingInt(abi.Clock.realtime));
    try expectEqual(@backingInt(reference.clockid_t.MONOTONIC), @backingInt(abi.Clock.monotonic));
}

/// Reads encoded bytes as the reference's record.
fn as(comptime Record: type, bytes: []const u8) Record {
    return @as(*align(1) const Record, @ptrCast(bytes.ptr)).*;
}

test "fdstat, filestat" {
    try expectEqual(@sizeOf(reference.fdstat_t), abi.Fdstat.size);
    const fdstat = as(reference.fdstat_t, &(abi.Fdstat{
        .filetype = .directory,
        .flags = abi.fdflags.sync,
        .rights_base = 1 << 6,
        .rights_inheriting = 1 << 29,
    }).encode());
    try expectEqual(reference.filetype_t.DIRECTORY, fdstat.fs_filetype);
    try expectEqual(reference.fdflags_t{ .SYNC = true }, fdstat.fs_flags);
    try expectEqual(reference.rights_t{ .FD_WRITE = true }, fdstat.fs_rights_base);
    try expectEqual(reference.rights_t{ .SOCK_ACCEPT = true }, fdstat.fs_rights_inheriting);

    try expectEqual(@sizeOf(reference.filestat_t), abi.Filestat.size);
    const filestat = as(reference.filestat_t, &(abi.Filestat{
        .device = 1,
        .inode = 2,
        .filetype = .regular_file,
        .links = 3,
        .bytes = 4,
        .times = .{ .accessed = 5, .modified = 6, .changed = 7 },
    }).encode());
    try expectEqual(reference.filestat_t{
        .dev = 1,
        .ino = 2,
        .filetype = .REGULAR_FILE,
        .nlink = 3,
        .size = 4,
        .atim = 5,
        .mtim = 6,
        .ctim = 7,
    }, filestat);
}

test "dirent, event, subscription, iovec, prestat" {
    try expectEqual(@sizeOf(reference.dirent_t), abi.dirent_size);
    const dirent = as(reference.dirent_t, &abi.dirent(.{ .next_cookie = 9, .inode = 8, .kind = .directory, .name = "abc" }));
    try expectEqual(reference.dirent_t{ .next = 9, .ino = 8, .namlen = 3, .type = .DIRECTORY }, dirent);

    try expectEqual(@sizeOf(reference.event_t), abi.Event.size);
    const encoded = abi.Event{ .userdata = 1, .errno = .badf, .kind = .fd_write, .available = 2, .hangup = true };
    const event = as(reference.event_t, &encoded.encode());
    try expectEqual(@as(u64, 1), event.userdata);
    try expectEqual(reference.errno_t.BADF, event.@"error");
    try expectEqual(reference.eventtype_t.FD_WRITE, event.type);
    try expectEqual(reference.eventfdreadwrite_t{ .nbytes = 2, .flags = 1 }, event.fd_readwrite);

    // Offsets that poll.zig reads.
    try expectEqual(@sizeOf(reference.subscription_t), abi.subscription_size);
    try expectEqual(@as(usize, 8), @offsetOf(reference.subscription_t, "u"));
    try expectEqual(@as(usize, 8), @offsetOf(reference.subscription_u_t, "u"));
    try expectEqual(@as(usize, 0), @offsetOf(reference.subscription_clock_t, "id"));
    try expectEqual(@as(usize, 8), @offsetOf(reference.subscription_clock_t, "timeout"));
    try expectEqual(@as(usize, 24), @offsetOf(reference.subscription_clock_t, "flags"));

    // The reference has host-sized pointers here; wasm32's are 4 bytes (typenames.witx).
    try expectEqual(@as(usize, 8), abi.iovec_size);
    try expectEqual([8]u8{ 0, 0, 0, 0, 1, 0, 0, 0 }, abi.prestatDirectory(1));
}
