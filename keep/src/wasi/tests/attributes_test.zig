//! Sizes, times, and reading directories.
const std = @import("std");
const abi = @import("../abi.zig");
const program = @import("program.zig");
const Program = program.Program;
const expect = program.expect;
const expectEqual = std.testing.expectEqual;
const expectEqualStrings = std.testing.expectEqualStrings;

const at = 64; // where Program.stat leaves the record
const Field = enum(u32) { device = 0, inode = 8, kind = 16, links = 24, size = 32, accessed = 40, modified = 48, changed = 56 };

fn field(p: *Program, which: Field) u64 {
    return if (which == .kind) p.word(u8, at + 16) else p.word(u64, at + @backingInt(which));
}

test "filestat" {
    var p = try Program.start(.{});
    defer p.stop();
    try p.files.addDirectory("d", false, 11);
    try p.deliver("d/f", "abc", false);
    try expect(.success, p.stat("d"));
    const directory = field(p, .inode);
    try expectEqual(3, field(p, .kind));
    try expectEqual(11, field(p, .modified)); // not changed by what was delivered into it
    try expect(.success, p.stat("d/f"));
    try expectEqual(4, field(p, .kind));
    try expectEqual(3, field(p, .size));
    try expectEqual(1, field(p, .links));
    try expectEqual(77, field(p, .modified));
    try std.testing.expect(field(p, .inode) != directory);
    const inode = field(p, .inode);
    const fd = try p.open("d/f", .{});
    try expect(.success, p.wasi.fd_filestat_get(fd, at));
    try expectEqual(inode, field(p, .inode));
    try expectEqual(1, field(p, .device));
    try expect(.success, p.wasi.fd_filestat_get(1, at));
    try expectEqual(0, field(p, .kind));
    try expectEqual(0, field(p, .size));
    try expect(.badf, p.wasi.fd_filestat_get(30, at));
    try expect(.fault, p.wasi.fd_filestat_get(fd, 0xffff_ffc1));
    const text = p.put("d/f");
    try expect(.inval, p.wasi.path_filestat_get(3, 2, text.at, text.len, at));
    try expect(.fault, p.wasi.path_filestat_get(3, 0, text.at, text.len, 0xffff_ffc1));
    try expect(.fault, p.wasi.path_filestat_get(3, 0, text.at, 0xffff_0000, at));
}

test "an inode number is never used twice" {
    var p = try Program.start(.{});
    defer p.stop();
    try p.makeFile("f", "");
    try expect(.success, p.stat("f"));
    const first = field(p, .inode);
    try expect(.success, p.unlink("f"));
    try p.makeFile("f", "");
    try expect(.success, p.stat("f"));
    try std.testing.expect(field(p, .inode) != first);
}

test "times" {
    var p = try Program.start(.{});
    defer p.stop();
    const f = abi.fstflags;
    const fd = try p.open("f", program.create);
    try expect(.success, p.wasi.fd_filestat_set_times(fd, 1, 2, f.mtim));
    try expect(.success, p.stat("f"));
    try expectEqual(2, field(p, .modified));
    try std.testing.expect(field(p, .accessed) > 1_000);
    try expect(.success, p.wasi.fd_filestat_set_times(fd, 1, 3, f.atim));
    try expect(.success, p.stat("f"));
    try expectEqual(2, field(p, .modified));
    try expectEqual(1, field(p, .accessed));
    try expect(.inval, p.wasi.fd_filestat_set_times(fd, 9, 9, f.mtim | f.mtim_now));
    try expect(.inval, p.wasi.fd_filestat_set_times(fd, 9, 9, f.atim | f.atim_now));
    try expect(.inval, p.wasi.fd_filestat_set_times(fd, 9, 9, 16));
    const text = p.put("f");
    try expect(.inval, p.wasi.path_filestat_set_times(3, 0, text.at, text.len, 9, 9, f.mtim | f.mtim_now));
    try expect(.success, p.stat("f"));
    try expectEqual(2, field(p, .modified));
    try expect(.success, p.wasi.path_filestat_set_times(3, 0, text.at, text.len, 9, 8, f.atim | f.mtim));
    try expect(.success, p.stat("f"));
    try expectEqual(9, field(p, .accessed));
    try expectEqual(8, field(p, .modified));
    try std.testing.expect(field(p, .changed) > 1_000);
    try expect(.success, p.wasi.fd_filestat_set_times(fd, 0, 0, f.atim_now | f.mtim_now));
    try expect(.success, p.stat("f"));
    try std.testing.expect(field(p, .accessed) > 1_000 and field(p, .modified) > 1_000);
    try expect(.success, p.wasi.fd_filestat_set_times(fd, 5, 5, f.atim | f.mtim));
    _ = try p.write(fd, "x");
    try expect(.success, p.stat("f"));
    try std.testing.expect(field(p, .modified) > 1_000);
    try expectEqual(5, field(p, .accessed)); // reading and writing leave it alone
    try expect(.notcapable, p.wasi.fd_filestat_set_times(1, 0, 0, 0));
    try expect(.success, p.wasi.fd_filestat_set_times(3, 6, 7, f.mtim));
}

test "a directory's time follows its names" {
    var p = try Program.start(.{});
    defer p.stop();
    try expect(.success, p.makeDirectory("d"));
    const d = p.put("d");
    const reset = struct {
        fn reset(q: *Program, text: program.Text) !void {
            try expect(.success, q.wasi.path_filestat_set_times(3, 0, text.at, text.len, 1, 1, abi.fstflags.mtim));
        }
    }.reset;
    try reset(p, d);
    try p.makeFile("d/a", "");
    try expect(.success, p.stat("d"));
    try std.testing.expect(field(p, .modified) > 1);
    try reset(p, d);
    try expect(.success, p.rename("d/a", "d/b"));
    try expect(.success, p.stat("d"));
    try std.testing.expect(field(p, .modified) > 1);
    try reset(p, d);
    try expect(.success, p.unlink("d/b"));
    try expect(.success, p.stat("d"));
    try std.testing.expect(field(p, .modified) > 1);
}

test "sizes" {
    var p = try Program.start(.{});
    defer p.stop();
    const fd = try p.open("f", program.create);
    _ = try p.write(fd, "abcdef");
    try expect(.success, p.wasi.fd_filestat_set_size(fd, 3));
    try expect(.success, p.wasi.fd_filestat_set_size(fd, 6));
    try expectEqualStrings("abc\x00\x00\x00", try p.contentsOf("f"));
    try expect(.success, p.wasi.fd_allocate(fd, 0, 100));
    try expect(.success, p.wasi.fd_allocate(fd, 10, 10));
    try expect(.success, p.stat("f"));
    try expectEqual(100, field(p, .size));
    try expect(.success, p.wasi.fd_allocate(fd, 90, 20));
    try expect(.success, p.stat("f"));
    try expectEqual(110, field(p, .size));
    try expectEqualStrings("abc", (try p.contentsOf("f"))[0..3]);
    try expect(.inval, p.wasi.fd_allocate(fd, 0, 0));
    try expect(.fbig, p.wasi.fd_filestat_set_size(fd, (1 << 30) + 1));
    try expect(.fbig, p.wasi.fd_allocate(fd, std.math.maxInt(u64), std.math.maxInt(u64)));
    try expect(.nospc, p.wasi.fd_filestat_set_size(fd, 1 << 30));
    try expect(.nospc, p.wasi.fd_allocate(fd, 0, 1 << 30));
    try expect(.success, p.stat("f"));
    try expectEqual(110, field(p, .size));
    try expect(.inval, p.wasi.fd_filestat_set_size(1, 0));
    try expect(.spipe, p.wasi.fd_allocate(0, 0, 1));
    try expect(.isdir, p.wasi.fd_filestat_set_size(3, 0));
    try expect(.isdir, p.wasi.fd_allocate(3, 0, 1));
}

const Entry = struct { next: u64, inode: u64, kind: u8, name: []const u8 };
const buffer = 200_000;

/// Entries at `cookie` that are whole in a buffer of this size, and whether that is all there is.
fn readdir(p: *Program, fd: u32, size: u32, cookie: u64, list: []Entry) !struct { []Entry, bool } {
    try expect(.success, p.wasi.fd_readdir(fd, buffer, size, cookie, 0));
    const used = p.word(u32, 0);
    try std.testing.expect(used <= size);
    var n: usize = 0;
    var offset: u32 = 0;
    while (used - offset >= 24) : (n += 1) {
        const length = p.word(u32, buffer + offset + 16);
        if (used - offset < 24 + length) break;
        list[n] = .{
            .next = p.word(u64, buffer + offset),
            .inode = p.word(u64, buffer + offset + 8),
            .kind = p.word(u8, buffer + offset + 20),
            .name = p.fake.memory()[buffer + offset + 24 ..][0..length],
        };
        offset += 24 + length;
    }
    return .{ list[0..n], used < size };
}

test "a directory lists itself, its parent and its names" {
    var p = try Program.start(.{});
    defer p.stop();
    try expect(.success, p.makeDirectory("d"));
    try p.makeFile("d/file", "");
    try expect(.success, p.makeDirectory("d/sub"));
    const d = try p.open("d", program.directory);
    var list: [10]Entry = undefined;
    const entries, const all = try readdir(p, d, 1000, 0, &list);
    try std.testing.expect(all);
    try expectEqual(4, entries.len);
    for ([_][]const u8{ ".", "..", "file", "sub" }, [_]u8{ 3, 3, 4, 3 }, entries) |name, kind, entry| {
        try expectEqualStrings(name, entry.name);
        try expectEqual(kind, entry.kind);
    }
    try expect(.success, p.stat("d"));
    try expectEqual(entries[0].inode, field(p, .inode));
    try expect(.success, p.stat("."));
    try expectEqual(entries[1].inode, field(p, .inode));
    try expect(.success, p.stat("d/file"));
    try expectEqual(entries[2].inode, field(p, .inode));
    const cookie = entries[2].next;
    const rest, _ = try readdir(p, d, 1000, cookie, &list);
    try expectEqual(1, rest.len);
    try expectEqualStrings("sub", rest[0].name);
    const none, _ = try readdir(p, d, 1000, std.math.maxInt(u64), &list);
    try expectEqual(0, none.len);
    try expect(.notdir, p.wasi.fd_readdir(1, 0, 0, 0, 0));
    try expect(.fault, p.wasi.fd_readdir(d, 0xffff_ff00, 0x200, 0, 0));
    try expect(.fault, p.wasi.fd_readdir(d, 0, 10, 0, 0xffff_fffd));
    const file = try p.open("d/file", .{});
    try expect(.notdir, p.wasi.fd_readdir(file, 0, 0, 0, 0));
}

test "entries that do not fit are cut, and a cut one is read again" {
    var p = try Program.start(.{});
    defer p.stop();
    var list: [10]Entry = undefined;
    for (0..60) |size| {
        try expect(.success, p.wasi.fd_readdir(3, buffer, @intCast(size), 0, 0));
        try expectEqual(@as(u32, @intCast(@min(size, 24 + 1 + 24 + 2 + 24 + 3))), p.word(u32, 0));
    }
    const entries, _ = try readdir(p, 3, 24 + 1 + 24, 0, &list);
    try expectEqual(1, entries.len);
}

test "reading a directory in pieces while its names come and go" {
    var p = try Program.start(.{});
    defer p.stop();
    const count = 200;
    var name: [16]u8 = undefined;
    for (0..count) |i| try p.makeFile(try std.fmt.bufPrint(&name, "tmp/f{d}", .{i}), "");
    const tmp = try p.open("tmp", program.directory);
    var seen: [count]u8 = @splat(0);
    var list: [64]Entry = undefined;
    var cookie: u64 = 0;
    var removed: usize = 0;
    while (true) {
        const entries, const all = try readdir(p, tmp, 256, cookie, &list);
        var names: [64][16]u8 = undefined;
        var lengths: [64]usize = undefined;
        for (entries, 0..) |entry, i| {
            lengths[i] = entry.name.len;
            @memcpy(names[i][0..entry.name.len], entry.name);
        }
        if (entries.len > 0) cookie = entries[entries.len - 1].next;
        for (names[0..entries.len], lengths[0..entries.len]) |entry, length| {
            if (entry[0] != 'f') continue;
            seen[try std.fmt.parseInt(usize, entry[1..length], 10)] += 1;
            // Every name is removed as soon as it is seen, and a new one made.
            try expect(.success, p.unlink(try std.fmt.bufPrint(&name, "tmp/{s}", .{entry[0..length]})));
            removed += 1;
        }
        if (all) break;
    }
    try expectEqual(count, removed);
    for (seen) |times| try expectEqual(1, times);
    try expect(.success, p.wasi.fd_readdir(tmp, buffer, 1000, 0, 0));
    try expectEqual(51, p.word(u32, 0));
}
