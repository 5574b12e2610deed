//! Descriptors: preopen discovery, fdstat, rights, flags, renumbering, closing, sync.
const std = @import("std");
const abi = @import("../abi.zig");
const descriptors = @import("../descriptors.zig");
const program = @import("program.zig");
const Program = program.Program;
const expect = program.expect;
const expectEqual = std.testing.expectEqual;
const rights = abi.rights;

const Fdstat = struct { filetype: u8, flags: u16, base: u64, inheriting: u64 };

fn fdstat(p: *Program, fd: u32) !Fdstat {
    try expect(.success, p.wasi.fd_fdstat_get(fd, 32));
    return .{
        .filetype = p.word(u8, 32),
        .flags = p.word(u16, 34),
        .base = p.word(u64, 40),
        .inheriting = p.word(u64, 48),
    };
}

test "a program finds / at 3 and nothing behind it" {
    var p = try Program.start(.{});
    defer p.stop();
    p.setWord(u64, 0, 0xffff_ffff_ffff_ffff);
    try expect(.success, p.wasi.fd_prestat_get(3, 0));
    try expectEqual(@as(u64, 1 << 32), p.word(u64, 0));
    try expect(.success, p.wasi.fd_prestat_dir_name(3, 16, 1));
    try expectEqual('/', p.word(u8, 16));
    try expect(.success, p.wasi.fd_prestat_dir_name(3, 16, 100));
    try expect(.nametoolong, p.wasi.fd_prestat_dir_name(3, 16, 0));
    try expect(.fault, p.wasi.fd_prestat_dir_name(3, 0xffff_ffff, 1));
    try expect(.fault, p.wasi.fd_prestat_get(3, 0xffff_fff9));
    for ([_]u32{ 0, 1, 2, 4, 255, 256, 0xffff_ffff }) |fd| {
        try expect(.badf, p.wasi.fd_prestat_get(fd, 0));
        try expect(.badf, p.wasi.fd_prestat_dir_name(fd, 0, 10));
    }
    const again = try p.open(".", program.directory);
    try expect(.badf, p.wasi.fd_prestat_get(again, 0));
}

test "fdstat tells type and rights" {
    var p = try Program.start(.{});
    defer p.stop();
    const input = try fdstat(p, 0);
    try expectEqual(0, input.filetype); // not a character device, so not a terminal
    try std.testing.expect(input.base & rights.fd_read != 0 and input.base & rights.fd_write == 0);
    const output = try fdstat(p, 1);
    try std.testing.expect(output.base & rights.fd_write != 0 and output.base & rights.fd_read == 0);
    const root = try fdstat(p, 3);
    try expectEqual(3, root.filetype);
    try expectEqual(rights.on_directory, root.base);
    try expectEqual(rights.on_opened, root.inheriting);
    const file = try fdstat(p, try p.open("f", program.create));
    try expectEqual(4, file.filetype);
    try expectEqual(rights.on_file, file.base);
    try expectEqual(0, file.inheriting);
    try expect(.badf, p.wasi.fd_fdstat_get(9, 32));
    try expect(.fault, p.wasi.fd_fdstat_get(3, @intCast(p.fake.memory_length - 23)));
}

test "rights are handed down, taken away, and never come back" {
    var p = try Program.start(.{});
    defer p.stop();
    try expect(.success, p.makeDirectory("d"));
    const reading = rights.fd_read | rights.fd_seek;
    const d = try p.open("d", .{
        .oflags = abi.oflags.directory,
        .base = rights.path_open | rights.path_create_file | rights.fd_seek,
        .inheriting = reading,
    });
    try expectEqual(rights.path_open | rights.path_create_file, (try fdstat(p, d)).base);
    try expectEqual(reading, (try fdstat(p, d)).inheriting);
    const creat = abi.oflags.creat;
    try expect(.notcapable, p.tryOpen("f", .{ .fd = d, .oflags = creat, .base = rights.fd_write }));
    try expect(.notcapable, p.tryOpen("f", .{ .fd = d, .oflags = creat, .base = 0, .inheriting = rights.fd_write }));
    const f = try p.open("f", .{ .fd = d, .oflags = creat, .base = reading, .inheriting = 0 });
    try expect(.badf, p.wasi.fd_write(f, 0, 0, 0));
    try expect(.notcapable, p.wasi.fd_filestat_get(f, 64));
    try expect(.notcapable, p.wasi.fd_fdstat_set_rights(f, reading | rights.fd_write, 0));
    try expect(.notcapable, p.wasi.fd_fdstat_set_rights(f, reading, 1));
    try expect(.success, p.wasi.fd_fdstat_set_rights(f, reading, 0));
    try expect(.success, p.wasi.fd_fdstat_set_rights(f, rights.fd_seek, 0));
    try expect(.badf, p.wasi.fd_read(f, 0, 0, 0));
    try expect(.notcapable, p.wasi.fd_fdstat_set_rights(f, reading, 0));
    try expect(.badf, p.wasi.fd_fdstat_set_rights(99, 0, 0));
    const text = p.put("x");
    try expect(.notcapable, p.wasi.path_create_directory(d, text.at, text.len));
    try expect(.notcapable, p.wasi.path_unlink_file(d, text.at, text.len));
    try expect(.notcapable, p.wasi.fd_readdir(d, 0, 0, 0, 0));
}

test "opening needs the rights of its flags" {
    var p = try Program.start(.{});
    defer p.stop();
    try p.makeFile("f", "abc");
    const Case = struct { flags: u32, fdflags: u32 = 0, base: u64 = 0, inheriting: u64 = 0 };
    const f = abi.fdflags;
    for ([_]Case{
        .{ .flags = 0, .base = rights.path_open },
        .{ .flags = abi.oflags.creat, .base = rights.path_create_file },
        .{ .flags = abi.oflags.trunc, .base = rights.path_filestat_set_size },
        .{ .flags = 0, .fdflags = f.dsync, .inheriting = rights.fd_datasync | rights.fd_sync },
        .{ .flags = 0, .fdflags = f.sync, .inheriting = rights.fd_sync },
        .{ .flags = 0, .fdflags = f.rsync, .inheriting = rights.fd_sync },
    }) |case| {
        const d = try p.open(".", program.directory);
        const how = program.Opening{ .fd = d, .oflags = case.flags, .fdflags = case.fdflags, .base = 0, .inheriting = 0 };
        _ = try p.open("f", how);
        const base, const inheriting = .{ rights.on_directory & ~case.base, rights.on_opened & ~case.inheriting };
        try expect(.success, p.wasi.fd_fdstat_set_rights(d, base, inheriting));
        try expect(.notcapable, p.tryOpen("f", how));
    }
}

test "rights that nothing here has are asked for in vain; unknown ones are refused" {
    var p = try Program.start(.{});
    defer p.stop();
    const socket = rights.sock_accept | rights.sock_shutdown;
    const fd = try p.open("f", .{ .oflags = abi.oflags.creat, .base = rights.fd_read | socket, .inheriting = socket });
    try expectEqual(rights.fd_read, (try fdstat(p, fd)).base);
    try expect(.inval, p.tryOpen("f", .{ .base = 1 << 30 }));
    try expect(.inval, p.tryOpen("f", .{ .inheriting = 1 << 63 }));
}

test "flags of a descriptor" {
    var p = try Program.start(.{});
    defer p.stop();
    const fd = try p.open("f", program.create);
    const kept = abi.fdflags.append | abi.fdflags.sync;
    try expect(.success, p.wasi.fd_fdstat_set_flags(fd, kept));
    try expectEqual(@as(u16, kept), (try fdstat(p, fd)).flags);
    try expect(.inval, p.wasi.fd_fdstat_set_flags(fd, 32));
    try expect(.inval, p.wasi.fd_fdstat_set_flags(fd, 0x1_0000));
    try expect(.badf, p.wasi.fd_fdstat_set_flags(99, 0));
    try expect(.inval, p.tryOpen("f", .{ .fdflags = 32 }));
    try expectEqual(@as(u16, 4), (try fdstat(p, try p.open("f", .{ .fdflags = 4 }))).flags);
}

test "renumbering moves a descriptor over another" {
    var p = try Program.start(.{});
    defer p.stop();
    try p.makeFile("a", "aaa");
    try p.makeFile("b", "bbb");
    const a = try p.open("a", .{});
    const b = try p.open("b", .{});
    try expect(.success, p.wasi.fd_renumber(a, a));
    try expect(.success, p.wasi.fd_renumber(a, b));
    try std.testing.expectEqualStrings("aaa", try p.read(b, 10));
    try expect(.badf, p.wasi.fd_close(a));
    try expect(.badf, p.wasi.fd_renumber(b, a));
    try expect(.badf, p.wasi.fd_renumber(a, b));
    try expect(.badf, p.wasi.fd_renumber(b, 0xffff_ffff));
    // Over the preopened directory, which then is none any more.
    try expect(.success, p.wasi.fd_renumber(b, 3));
    try expect(.badf, p.wasi.fd_prestat_get(3, 0));
    // And the preopened directory elsewhere stays one.
    p.begin();
    try expect(.success, p.wasi.fd_renumber(3, 0));
    try expect(.success, p.wasi.fd_prestat_get(0, 0));
}

test "closing frees the number and what it held" {
    var p = try Program.start(.{});
    defer p.stop();
    const before = p.fake.allocated;
    const fd = try p.open("f", program.create);
    try expectEqual(4, fd);
    _ = try p.write(fd, &@as([10_000]u8, @splat(7)));
    try expect(.success, p.unlink("f"));
    try std.testing.expect(p.fake.allocated > before + 10_000);
    try expect(.success, p.wasi.fd_close(fd));
    try std.testing.expect(p.fake.allocated < before + 10_000);
    try expect(.badf, p.wasi.fd_close(fd));
    try expect(.badf, p.wasi.fd_close(0xffff_ffff));
    try expect(.success, p.wasi.fd_close(3));
    try expect(.badf, p.tryOpen("f", .{}));
}

test "descriptors run out, and nothing is made then" {
    var p = try Program.start(.{});
    defer p.stop();
    for (4..descriptors.maximum) |_| _ = try p.open("f", program.create);
    try expect(.mfile, p.tryOpen("f", .{}));
    try expect(.mfile, p.tryOpen("g", program.create));
    try expect(.noent, p.stat("g"));
    try expect(.success, p.wasi.fd_close(100));
    try expectEqual(100, try p.open("f", .{}));
}

test "sync" {
    var p = try Program.start(.{});
    defer p.stop();
    const fd = try p.open("f", program.create);
    try expect(.success, p.wasi.fd_sync(fd));
    try expect(.success, p.wasi.fd_datasync(fd));
    try expect(.success, p.wasi.fd_sync(3));
    try expect(.inval, p.wasi.fd_sync(1));
    try expect(.badf, p.wasi.fd_sync(77));
    try expect(.success, p.wasi.fd_fdstat_set_rights(fd, rights.fd_sync, 0));
    try expect(.notcapable, p.wasi.fd_datasync(fd));
}
