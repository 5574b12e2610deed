//! Paths: what they may be, opening, making, removing, renaming, reading directories.
const std = @import("std");
const abi = @import("../abi.zig");
const program = @import("program.zig");
const Program = program.Program;
const expect = program.expect;
const expectEqual = std.testing.expectEqual;
const expectEqualStrings = std.testing.expectEqualStrings;
const rights = abi.rights;
const creat = abi.oflags.creat;

test "paths lead where they say and never out" {
    var p = try Program.start(.{});
    defer p.stop();
    try expect(.success, p.makeDirectory("dir"));
    try expect(.success, p.makeDirectory("dir/nested"));
    try p.makeFile("dir/nested/file", "");
    const reading = program.Opening{};
    for ([_][]const u8{
        "dir/nested/file",
        "./dir//nested/./file",
        "dir/.//nested/../../dir/nested/../nested///./file",
        "dir/nested",
        "dir/nested///",
        "dir/..",
        "dir/../",
        ".",
        "./",
    }) |path| _ = try p.open(path, reading);
    const Case = struct { path: []const u8, errno: program.Errno };
    for ([_]Case{
        .{ .path = "/dir", .errno = .perm },
        .{ .path = "/", .errno = .perm },
        .{ .path = "..", .errno = .perm },
        .{ .path = "../dir", .errno = .perm },
        .{ .path = "dir/../..", .errno = .perm },
        .{ .path = "dir/nested/../../../dir/nested/file", .errno = .perm },
        .{ .path = "", .errno = .noent },
        .{ .path = "none/..", .errno = .noent },
        .{ .path = "none", .errno = .noent },
        .{ .path = "none/", .errno = .noent },
        .{ .path = "dir/none/x", .errno = .noent },
        .{ .path = "dir/nested/file/", .errno = .notdir },
        .{ .path = "dir/nested/file///", .errno = .notdir },
        .{ .path = "dir/nested/file/.", .errno = .notdir },
        .{ .path = "dir/nested/file/..", .errno = .notdir },
        .{ .path = "dir/nested/file/x", .errno = .notdir },
        .{ .path = "dir\x00", .errno = .inval },
        .{ .path = "dir/nested/file\x00", .errno = .inval },
        .{ .path = "\xff", .errno = .ilseq },
        .{ .path = "dir/\xc0\xaf", .errno = .ilseq },
        .{ .path = &@as([256]u8, @splat('a')), .errno = .nametoolong },
        .{ .path = &@as([4097]u8, @splat('/')), .errno = .nametoolong },
    }) |case| {
        errdefer std.debug.print("path {s}\n", .{case.path});
        try expect(case.errno, p.tryOpen(case.path, reading));
        try expect(case.errno, p.stat(case.path));
    }
    const name: [255]u8 = @splat('a');
    try p.makeFile(&name, "x");
    try expectEqualStrings("x", try p.contentsOf(&name));
}

test "a path is bounded by the directory it starts from" {
    var p = try Program.start(.{});
    defer p.stop();
    try expect(.success, p.makeDirectory("a"));
    try expect(.success, p.makeDirectory("a/b"));
    try p.makeFile("secret", "");
    const a = try p.open("a", program.directory);
    try expect(.perm, p.tryOpen("../secret", .{ .fd = a }));
    try expect(.perm, p.tryOpen("b/../../secret", .{ .fd = a }));
    _ = try p.open("b/..", .{ .fd = a });
    const b = try p.open("b", .{ .fd = a, .oflags = abi.oflags.directory, .base = rights.on_directory });
    try expect(.perm, p.tryOpen("..", .{ .fd = b }));
    // Also after it has moved.
    try expect(.success, p.rename("a/b", "c"));
    try expect(.perm, p.tryOpen("..", .{ .fd = b }));
    const file = try p.open("secret", .{});
    try expect(.notdir, p.tryOpen("x", .{ .fd = file }));
    try expect(.notdir, p.tryOpen("x", .{ .fd = 1 }));
    try expect(.badf, p.tryOpen("x", .{ .fd = 200 }));
}

test "opening: what exists, what is made, what is refused" {
    var p = try Program.start(.{});
    defer p.stop();
    const o = abi.oflags;
    try expect(.success, p.makeDirectory("d"));
    try p.makeFile("f", "abc");
    const Case = struct { path: []const u8, oflags: u32 = 0, base: u64 = rights.fd_read, errno: program.Errno };
    for ([_]Case{
        .{ .path = "f", .oflags = creat | o.excl, .errno = .exist },
        .{ .path = "d", .oflags = creat | o.excl, .errno = .exist },
        .{ .path = "new", .oflags = o.excl, .errno = .noent },
        .{ .path = "new/", .oflags = creat, .errno = .isdir },
        .{ .path = "d", .oflags = creat, .errno = .isdir },
        .{ .path = "d/", .oflags = creat | o.excl, .errno = .isdir },
        .{ .path = "f/", .oflags = creat, .errno = .isdir },
        .{ .path = "f/", .oflags = 0, .errno = .notdir },
        .{ .path = ".", .oflags = creat, .errno = .isdir },
        .{ .path = "d", .oflags = o.trunc, .errno = .isdir },
        .{ .path = "d", .base = rights.fd_read | rights.fd_write, .errno = .isdir },
        .{ .path = ".", .oflags = o.directory, .base = rights.fd_write, .errno = .isdir },
        .{ .path = "f", .oflags = o.directory, .errno = .notdir },
        .{ .path = "new", .oflags = o.directory, .errno = .noent },
        .{ .path = "new", .oflags = o.directory | creat, .errno = .inval },
        .{ .path = "d", .oflags = o.directory | o.trunc, .errno = .inval },
        .{ .path = "f", .oflags = 16, .errno = .inval },
        .{ .path = "f", .oflags = 0x1_0000, .errno = .inval },
        .{ .path = "d", .oflags = o.directory, .errno = .success },
        .{ .path = "d", .base = rights.fd_read | rights.fd_allocate | rights.fd_filestat_set_size, .errno = .success },
        .{ .path = "f", .oflags = creat, .errno = .success },
        .{ .path = "new", .oflags = creat | o.excl, .base = 0, .errno = .success },
    }) |case| {
        errdefer std.debug.print("path {s} oflags {d}\n", .{ case.path, case.oflags });
        try expect(case.errno, p.tryOpen(case.path, .{ .oflags = case.oflags, .base = case.base }));
    }
    try expectEqualStrings("abc", try p.contentsOf("f"));
    _ = try p.open("f", .{ .oflags = o.trunc, .base = 0 });
    try expectEqualStrings("", try p.contentsOf("f"));
    try expect(.inval, p.tryOpen("f", .{ .lookup = 2 }));
    const text = p.put("made");
    const end: u32 = @intCast(p.fake.memory_length);
    try expect(.fault, p.wasi.path_open(3, 0, text.at, text.len, creat, 0, 0, 0, end - 3));
    try expect(.noent, p.stat("made"));
    try expect(.fault, p.wasi.path_open(3, 0, end, 1, creat, 0, 0, 0, 0));
    try expect(.fault, p.wasi.path_open(3, 0, 0xffff_ffff, 0xffff_ffff, creat, 0, 0, 0, 0));
}

test "directories are made and removed" {
    var p = try Program.start(.{});
    defer p.stop();
    try expect(.success, p.makeDirectory("d"));
    try expect(.success, p.makeDirectory("d/e/"));
    try expect(.exist, p.makeDirectory("d"));
    try expect(.exist, p.makeDirectory("d/"));
    try expect(.exist, p.makeDirectory("."));
    try expect(.exist, p.makeDirectory("d/.."));
    try expect(.noent, p.makeDirectory("x/y"));
    try p.makeFile("f", "");
    try expect(.exist, p.makeDirectory("f"));
    try expect(.exist, p.makeDirectory("f/"));
    try expect(.notdir, p.makeDirectory("f/x"));
    try expect(.notempty, p.removeDirectory("d"));
    try expect(.inval, p.removeDirectory("d/."));
    try expect(.inval, p.removeDirectory("d/e/.."));
    try expect(.inval, p.removeDirectory("."));
    try expect(.notdir, p.removeDirectory("f"));
    try expect(.notdir, p.removeDirectory("f/"));
    try expect(.noent, p.removeDirectory("x"));
    try expect(.isdir, p.unlink("d"));
    try expect(.isdir, p.unlink("d/"));
    try expect(.isdir, p.unlink("."));
    try expect(.notdir, p.unlink("f/"));
    try expect(.success, p.unlink("f"));
    try expect(.noent, p.unlink("f"));
    try expect(.success, p.removeDirectory("d/e/"));
    try expect(.success, p.removeDirectory("d"));
    try expect(.busy, p.removeDirectory("tmp"));
    try expect(.busy, p.rename("tmp", "other"));
    try expect(.busy, blk: {
        try expect(.success, p.makeDirectory("other"));
        break :blk p.rename("other", "tmp");
    });
}

test "a file without a name lives while it is open" {
    var p = try Program.start(.{});
    defer p.stop();
    const fd = try p.open("f", program.create);
    _ = try p.write(fd, "kept");
    try expect(.success, p.unlink("f"));
    try p.makeFile("f", "new");
    try expect(.success, p.wasi.fd_seek(fd, 0, 0, 8));
    try expectEqualStrings("kept", try p.read(fd, 10));
    try expectEqual(1, try p.write(fd, "!"));
    try expect(.success, p.wasi.fd_filestat_get(fd, 64));
    try expectEqual(0, p.word(u64, 64 + 24)); // no name
    try expectEqualStrings("new", try p.contentsOf("f"));
}

test "a removed directory that is open is empty and takes nothing" {
    var p = try Program.start(.{});
    defer p.stop();
    try expect(.success, p.makeDirectory("d"));
    const d = try p.open("d", program.directory);
    try expect(.success, p.removeDirectory("d"));
    try expect(.noent, p.tryOpen("f", .{ .fd = d, .oflags = creat }));
    try expect(.noent, p.tryOpen("f", .{ .fd = d }));
    try expect(.perm, p.tryOpen("..", .{ .fd = d }));
    const name, const new = .{ p.put("x"), p.put("tmp/x") };
    try expect(.noent, p.wasi.path_create_directory(d, name.at, name.len));
    try p.makeFile("tmp/x", "");
    try expect(.noent, p.wasi.path_rename(3, new.at, new.len, d, name.at, name.len));
    try expect(.success, p.wasi.fd_readdir(d, 1000, 1000, 0, 0));
    try expectEqual(2 * 24 + 3, p.word(u32, 0));
    _ = try p.open(".", .{ .fd = d, .oflags = abi.oflags.directory, .base = rights.on_directory });
}

test "renaming" {
    var p = try Program.start(.{});
    defer p.stop();
    for ([_][]const u8{ "a", "a/b", "empty", "full" }) |path| try expect(.success, p.makeDirectory(path));
    try p.makeFile("full/f", "1");
    try p.makeFile("g", "2");
    const Case = struct { from: []const u8, to: []const u8, errno: program.Errno };
    for ([_]Case{
        .{ .from = "none", .to = "x", .errno = .noent },
        .{ .from = "g", .to = "none/x", .errno = .noent },
        .{ .from = "a", .to = "a/b/c", .errno = .inval },
        .{ .from = "a", .to = "a/c", .errno = .inval },
        .{ .from = "a/.", .to = "x", .errno = .busy },
        .{ .from = "a", .to = ".", .errno = .busy },
        .{ .from = "a/..", .to = "x", .errno = .busy },
        .{ .from = "a", .to = "full", .errno = .notempty },
        .{ .from = "a/b", .to = "a", .errno = .notempty },
        .{ .from = "a", .to = "g", .errno = .notdir },
        .{ .from = "g", .to = "empty", .errno = .isdir },
        .{ .from = "g/", .to = "x", .errno = .notdir },
        .{ .from = "g", .to = "x/", .errno = .notdir },
        .{ .from = "../g", .to = "x", .errno = .perm },
        .{ .from = "g", .to = "/x", .errno = .perm },
        .{ .from = "g", .to = "g", .errno = .success },
        .{ .from = "a", .to = "empty", .errno = .success },
        .{ .from = "empty/", .to = "moved/", .errno = .success },
        .{ .from = "g", .to = "full/f", .errno = .success },
        .{ .from = "full/f", .to = "moved/b/f", .errno = .success },
    }) |case| {
        errdefer std.debug.print("{s} to {s}\n", .{ case.from, case.to });
        try expect(case.errno, p.rename(case.from, case.to));
    }
    try expectEqualStrings("2", try p.contentsOf("moved/b/f"));
    try expect(.noent, p.stat("g"));
    try expect(.noent, p.stat("a"));
    try expect(.success, p.removeDirectory("full"));
    const old, const new = .{ p.put("moved"), p.put("m") };
    const from = try p.open(".", .{ .oflags = abi.oflags.directory, .base = rights.on_directory & ~rights.path_rename_source });
    try expect(.notcapable, p.wasi.path_rename(from, old.at, old.len, 3, new.at, new.len));
    try expect(.success, p.wasi.path_rename(3, old.at, old.len, from, new.at, new.len));
}

test "no path is a link" {
    var p = try Program.start(.{});
    defer p.stop();
    try p.makeFile("f", "");
    const f, const none = .{ p.put("f"), p.put("none") };
    try expect(.inval, p.wasi.path_readlink(3, f.at, f.len, 100, 10, 0));
    try expect(.noent, p.wasi.path_readlink(3, none.at, none.len, 100, 10, 0));
    try expect(.fault, p.wasi.path_readlink(3, f.at, f.len, 0xffff_ffff, 10, 0));
}

test "what was delivered read-only stays as it is" {
    var p = try Program.start(.{});
    defer p.stop();
    try p.files.addDirectory("ro", false, 1);
    try p.files.addDirectory("ro/sub", false, 1);
    try p.deliver("ro/f", "fixed", false);
    try p.deliver("ro/w", "free", true);
    try p.files.addDirectory("rw", true, 1);
    try p.deliver("rw/fixed", "fixed", false);
    try p.makeFile("mine", "");
    const writing = program.Opening{ .base = program.read_write };
    try expect(.rofs, p.tryOpen("ro/f", writing));
    try expect(.rofs, p.tryOpen("ro/f", .{ .oflags = abi.oflags.trunc }));
    try expect(.rofs, p.tryOpen("ro/new", program.create));
    try expect(.rofs, p.makeDirectory("ro/new"));
    try expect(.rofs, p.unlink("ro/f"));
    try expect(.rofs, p.unlink("ro/w"));
    try expect(.rofs, p.unlink("rw/fixed"));
    try expect(.rofs, p.removeDirectory("ro/sub"));
    try expect(.rofs, p.rename("ro", "other"));
    try expect(.rofs, p.rename("ro/f", "other"));
    try expect(.rofs, p.rename("mine", "ro/f"));
    try expect(.rofs, p.rename("mine", "ro/new"));
    try expect(.rofs, p.rename("mine", "rw/fixed"));
    const fd = try p.open("ro/f", .{});
    try expect(.rofs, p.wasi.fd_filestat_set_size(fd, 0));
    try expect(.rofs, p.wasi.fd_allocate(fd, 0, 100));
    try expect(.rofs, p.wasi.fd_filestat_set_times(fd, 1, 1, 1));
    const text = p.put("ro/sub");
    try expect(.rofs, p.wasi.path_filestat_set_times(3, 0, text.at, text.len, 1, 1, 1));
    try expectEqualStrings("fixed", try p.contentsOf("ro/f"));
    // A writable copy may change in place, and a writable directory takes new names.
    _ = try p.write(try p.open("ro/w", writing), "FREE!");
    try expectEqualStrings("FREE!", try p.contentsOf("ro/w"));
    try p.makeFile("rw/new", "");
    try expect(.success, p.rename("rw/new", "rw/newer"));
    try expect(.success, p.unlink("rw/newer"));
    try p.makeFile("tmp/scratch", "");
}
