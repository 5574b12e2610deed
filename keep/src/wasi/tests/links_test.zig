//! Hard and symbolic links: what they lead to, what they must not lead to, and what becomes of them.
const std = @import("std");
const program = @import("program.zig");
const Program = program.Program;
const expect = program.expect;
const expectEqual = std.testing.expectEqual;
const expectStrings = std.testing.expectEqualStrings;

fn symlink(p: *Program, target: []const u8, path: []const u8) u32 {
    const old, const new = .{ p.put(target), p.put(path) };
    return p.wasi.path_symlink(old.at, old.len, 3, new.at, new.len);
}

fn link(p: *Program, from: []const u8, to: []const u8) u32 {
    const old, const new = .{ p.put(from), p.put(to) };
    return p.wasi.path_link(3, 0, old.at, old.len, 3, new.at, new.len);
}

fn readlink(p: *Program, path: []const u8, size: u32) ![]const u8 {
    const text = p.put(path);
    try expect(.success, p.wasi.path_readlink(3, text.at, text.len, 512, size, 0));
    return p.fake.memory()[512..][0..p.word(u32, 0)];
}

const Stat = struct { inode: u64, kind: u8, links: u64, size: u64 };

fn stat(p: *Program, path: []const u8, flags: u32) !Stat {
    const text = p.put(path);
    try expect(.success, p.wasi.path_filestat_get(3, flags, text.at, text.len, 64));
    return .{ .inode = p.word(u64, 72), .kind = p.word(u8, 80), .links = p.word(u64, 88), .size = p.word(u64, 96) };
}

test "a file of several names lives as long as one of them" {
    var p = try Program.start(.{});
    defer p.stop();
    try p.makeFile("a", "content");
    try expect(.success, p.makeDirectory("d"));
    try expect(.success, link(p, "a", "d/b"));
    const one, const other = .{ try stat(p, "a", 0), try stat(p, "d/b", 0) };
    try expectEqual(one, other);
    try expectEqual(2, one.links);
    try expect(.success, p.rename("a", "d/b")); // names of one file stay as they are
    try expectEqual(2, (try stat(p, "a", 0)).links);
    try expect(.success, p.unlink("a"));
    try expectStrings("content", try p.contentsOf("d/b"));
    try expectEqual(1, (try stat(p, "d/b", 0)).links);
    try expect(.exist, link(p, "d/b", "d"));
    try expect(.exist, link(p, "d/b", "d/b"));
    try expect(.perm, link(p, "d", "e"));
    try expect(.noent, link(p, "none", "e"));
    try expect(.noent, link(p, "d/b", "e/"));
    try expect(.notdir, link(p, "d/b/", "e"));
    try expect(.noent, link(p, "d/b", "none/e"));
    const old, const new = .{ p.put("d/b"), p.put("e") };
    try expect(.inval, p.wasi.path_link(3, 1, old.at, old.len, 3, new.at, new.len));
    try expect(.inval, p.wasi.path_link(3, 2, old.at, old.len, 3, new.at, new.len));
}

test "a symbolic link is followed where it should be" {
    var p = try Program.start(.{});
    defer p.stop();
    try expect(.success, p.makeDirectory("d"));
    try p.makeFile("d/f", "content");
    try expect(.success, symlink(p, "d/f", "to-file"));
    try expect(.success, symlink(p, "d/", "to-directory"));
    try expect(.success, symlink(p, "../to-file", "d/up"));
    try expect(.success, symlink(p, "none", "dangling"));
    try expectStrings("content", try p.contentsOf("to-file"));
    try expectStrings("content", try p.contentsOf("to-directory/f"));
    try expectStrings("content", try p.contentsOf("to-directory/up"));
    try expectEqual(7, (try stat(p, "to-file", 0)).kind);
    try expectEqual(3, (try stat(p, "to-file", 0)).size);
    try expectEqual(4, (try stat(p, "to-file", 1)).kind);
    try expectEqual(3, (try stat(p, "to-directory/", 0)).kind);
    try expect(.loop, p.tryOpen("to-file", .{ .lookup = 0 }));
    try expect(.notdir, p.tryOpen("to-file/", .{}));
    try expect(.noent, p.tryOpen("dangling", .{}));
    try expect(.exist, p.tryOpen("dangling", .{ .oflags = 1 | 4 })); // it must be new, and is there
    try p.makeFile("dangling", "made through it");
    try expectStrings("made through it", try p.contentsOf("none"));
    try expect(.exist, symlink(p, "x", "to-file"));
    try expect(.exist, symlink(p, "x", "d"));
    try expect(.noent, symlink(p, "x", "new/"));
    try expect(.noent, symlink(p, "", "new"));
    try expect(.perm, symlink(p, "/d", "new"));
    try expect(.success, link(p, "to-file", "link-to-link"));
    try expectEqual(7, (try stat(p, "link-to-link", 0)).kind);
    try expect(.success, p.unlink("to-file"));
    try expectStrings("content", try p.contentsOf("d/f"));
    try expect(.notdir, p.removeDirectory("to-directory"));
    try expect(.success, p.rename("to-directory", "renamed"));
    try expectStrings("d/", try readlink(p, "renamed", 100));
    try expectStrings("d", try readlink(p, "renamed", 1));
    try expectStrings("", try readlink(p, "renamed", 0));
}

test "a slash behind a link does not make or remove what it leads to" {
    var p = try Program.start(.{});
    defer p.stop();
    try expect(.success, p.makeDirectory("d"));
    try p.makeFile("f", "");
    try expect(.success, symlink(p, "d", "to-directory"));
    try expect(.success, symlink(p, "new", "dangling"));
    try expect(.notdir, p.removeDirectory("to-directory/"));
    try expect(.notdir, p.unlink("to-directory/"));
    try expect(.notdir, p.rename("to-directory/", "moved"));
    try expect(.notdir, p.rename("d", "to-directory/"));
    try expect(.notdir, p.rename("f", "to-directory/"));
    try expect(.exist, p.makeDirectory("to-directory/"));
    try expect(.exist, p.makeDirectory("dangling/"));
    try expect(.exist, symlink(p, "x", "dangling/"));
    try expect(.exist, link(p, "f", "dangling/"));
    try expect(.perm, link(p, "to-directory/", "other")); // a directory, which the slash does lead to
    try expectEqual(3, (try stat(p, "d", 0)).kind);
    try expectEqual(7, (try stat(p, "to-directory", 0)).kind);
}

test "no link leads out, nor on for ever" {
    var p = try Program.start(.{});
    defer p.stop();
    try expect(.success, p.makeDirectory("d"));
    try p.makeFile("f", "outside d");
    try expect(.success, symlink(p, "../f", "d/out"));
    try expectStrings("outside d", try p.contentsOf("d/out"));
    const inside = try p.open("d", program.directory);
    try expect(.perm, p.tryOpen("out", .{ .fd = inside }));
    try expect(.success, symlink(p, "../../f", "d/further"));
    try expect(.perm, p.tryOpen("d/further", .{}));
    try expect(.success, symlink(p, "b", "a"));
    try expect(.success, symlink(p, "a", "b"));
    try expect(.loop, p.tryOpen("a", .{}));
    try expect(.success, symlink(p, "self/x", "self"));
    try expect(.loop, p.tryOpen("self", .{}));
    try p.makeFile("l0", "the end");
    var names: [2][8]u8 = undefined;
    for (1..42) |i| {
        const to = try std.fmt.bufPrint(&names[0], "l{d}", .{i - 1});
        const from = try std.fmt.bufPrint(&names[1], "l{d}", .{i});
        try expect(.success, symlink(p, to, from));
    }
    try expectStrings("the end", try p.contentsOf("l40"));
    try expect(.loop, p.tryOpen("l41", .{}));
    var long: [4000]u8 = @splat('x');
    for (0..long.len) |i| if (i % 100 == 0) {
        long[i] = '/';
    };
    long[0] = 'd';
    try expect(.success, symlink(p, &long, "long"));
    const rest = "long/" ++ @as([200]u8, @splat('y'));
    try expect(.nametoolong, p.tryOpen(rest, .{}));
}

test "a directory lists links as what they are" {
    var p = try Program.start(.{});
    defer p.stop();
    try p.makeFile("f", "");
    try expect(.success, symlink(p, "f", "s"));
    try expect(.success, link(p, "f", "g"));
    try expect(.success, p.wasi.fd_readdir(3, 4096, 1024, 2, 0));
    const bytes = p.fake.memory()[4096..][0..p.word(u32, 0)];
    var kinds: [8]u8 = undefined;
    var inodes: [8]u64 = undefined;
    var count: usize = 0;
    var at: usize = 0;
    while (at < bytes.len) : (count += 1) {
        kinds[count] = bytes[at + 20];
        inodes[count] = std.mem.readInt(u64, bytes[at + 8 ..][0..8], .little);
        at += 24 + std.mem.readInt(u32, bytes[at + 16 ..][0..4], .little);
    }
    try std.testing.expectEqualSlices(u8, &.{ 3, 4, 7, 4 }, kinds[0..count]); // tmp, f, s, g
    try expectEqual(inodes[1], inodes[3]);
}
