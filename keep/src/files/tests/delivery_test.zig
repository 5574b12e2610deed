//! What a tenant may deliver, and each way to be refused.
const std = @import("std");
const file_system = @import("../file_system.zig");
const node_ = @import("../memory/node.zig");
const FakeEnvironment = @import("../../wasi/tests/fake_environment.zig").FakeEnvironment;
const FileSystem = file_system.FileSystem;
const expectEqual = std.testing.expectEqual;
const expectError = std.testing.expectError;

test "directories and files, each in its time" {
    var fake = try FakeEnvironment.init(.{});
    defer fake.deinit();
    var files = try FileSystem.init(fake.environment(), 5);
    try files.addDirectory("data", false, 10);
    try files.addDirectory("data/more", true, 11);
    @memcpy(try files.addFile("data/a file", 3, false, 12), "abc");
    try expectEqual(0, (try files.addFile("data/more/empty", 0, true, 13)).len);
    _ = try files.addFile("top", 1, true, 14);
    const Expected = struct { path: []const u8, kind: file_system.Kind, read_only: bool, modified: u64 };
    for ([_]Expected{
        .{ .path = "data", .kind = .directory, .read_only = true, .modified = 10 },
        .{ .path = "data/more", .kind = .directory, .read_only = false, .modified = 11 },
        .{ .path = "data/a file", .kind = .file, .read_only = true, .modified = 12 },
        .{ .path = "data/more/empty", .kind = .file, .read_only = false, .modified = 13 },
        .{ .path = "top", .kind = .file, .read_only = false, .modified = 14 },
        .{ .path = "tmp", .kind = .directory, .read_only = false, .modified = 5 },
        .{ .path = ".", .kind = .directory, .read_only = false, .modified = 5 },
    }) |expected| {
        const node = try files.attributes((try files.walk(files.root(), expected.path, .followed)).node.?);
        try expectEqual(expected.kind, node.kind);
        try expectEqual(expected.read_only, node.read_only);
        try expectEqual(expected.modified, node.times.modified);
    }
    var bytes: [4]u8 = undefined;
    try expectEqual(3, try files.read((try files.walk(files.root(), "data/a file", .followed)).node.?, 0, &bytes));
    try std.testing.expectEqualStrings("abc", bytes[0..3]);
}

test "refused paths" {
    var fake = try FakeEnvironment.init(.{});
    defer fake.deinit();
    var files = try FileSystem.init(fake.environment(), 5);
    try files.addDirectory("d", false, 1);
    _ = try files.addFile("d/f", 0, false, 1);
    const long: [1025]u8 = @splat('a');
    const name: [256]u8 = @splat('a');
    const before = files.memory.node_count;
    const Case = struct { []const u8, file_system.DeliveryError };
    for ([_]Case{
        .{ "", error.PathEmpty },
        .{ &long, error.PathTooLong },
        .{ "/d/x", error.PathAbsolute },
        .{ "/", error.PathAbsolute },
        .{ "d/x\x00y", error.PathHasNul },
        .{ "d\\x", error.PathHasBackslash },
        .{ "d/\xff", error.PathNotUtf8 },
        .{ "d//x", error.ComponentEmpty },
        .{ "d/x/", error.ComponentEmpty },
        .{ &name, error.ComponentTooLong },
        .{ "d/" ++ name, error.ComponentTooLong },
        .{ ".", error.ComponentIsDot },
        .{ "d/./x", error.ComponentIsDot },
        .{ "..", error.ComponentIsDotDot },
        .{ "d/../x", error.ComponentIsDotDot },
        .{ "d/..", error.ComponentIsDotDot },
        .{ "tmp", error.Reserved },
        .{ "tmp/x", error.Reserved },
        .{ "d", error.Duplicate },
        .{ "d/f", error.Duplicate },
        .{ "none/x", error.MissingParent },
        .{ "d/none/x", error.MissingParent },
        .{ "d/f/x", error.ParentIsFile },
    }) |case| {
        errdefer std.debug.print("{s}\n", .{case[0]});
        try expectError(case[1], files.addFile(case[0], 1, false, 1));
        try expectError(case[1], files.addDirectory(case[0], true, 1));
    }
    try expectEqual(before, files.memory.node_count);
    try files.addDirectory("tmp2", false, 1);
    try files.addDirectory("d/tmp", false, 1);
    try files.addDirectory("...", false, 1);
    try files.addDirectory(name[0..255], false, 1);
}

test "a path of the greatest length" {
    var fake = try FakeEnvironment.init(.{});
    defer fake.deinit();
    var files = try FileSystem.init(fake.environment(), 5);
    var path: [1024]u8 = @splat('a');
    for (1..path.len) |i| if (i % 2 == 1 and i < path.len - 1) {
        path[i] = '/';
    };
    var end: usize = 1;
    while (end < path.len - 2) : (end += 2) try files.addDirectory(path[0..end], true, 1);
    _ = try files.addFile(&path, 1, true, 1);
}

test "too much" {
    var fake = try FakeEnvironment.init(.{ .limit = 1 << 20 });
    defer fake.deinit();
    var files = try FileSystem.init(fake.environment(), 5);
    try expectError(error.TooLarge, files.addFile("f", (1 << 30) + 1, false, 1));
    try expectError(error.TooLarge, files.addFile("f", std.math.maxInt(u64), false, 1));
    try expectError(error.NoMemory, files.addFile("f", 1 << 30, false, 1));
    fake.limit = 0;
    try expectError(error.NoMemory, FileSystem.init(fake.environment(), 5));
}

test "as many nodes as there may be, found at once, and reused" {
    var fake = try FakeEnvironment.init(.{});
    defer fake.deinit();
    var files = try FileSystem.init(fake.environment(), 5);
    var name: [16]u8 = undefined;
    var made: usize = 2;
    while (made < node_.maximum_nodes) : (made += 1)
        _ = try files.addFile(try std.fmt.bufPrint(&name, "f{d}", .{made}), 0, true, 1);
    try expectError(error.TooManyNodes, files.addFile("one more", 0, true, 1));
    try expectError(error.NoSpace, files.createFile(&try files.walk(files.root(), "tmp/x", .followed), 1));
    for (2..node_.maximum_nodes) |i| {
        const target = try files.walk(files.root(), try std.fmt.bufPrint(&name, "f{d}", .{i}), .followed);
        try std.testing.expect(target.node != null);
    }
    // No bucket is long.
    var longest: usize = 0;
    for (std.mem.bytesAsSlice(node_.NameId, files.memory.index.pages)) |first| {
        var length: usize = 0;
        var id = first;
        while (id != .none) : (length += 1) id = files.memory.names.get(id).next_in_bucket;
        longest = @max(longest, length);
    }
    try std.testing.expect(longest < 16);
    try files.removeFile(&try files.walk(files.root(), "f77", .followed), 1);
    _ = try files.createFile(&try files.walk(files.root(), "tmp/x", .followed), 1);
    try expectError(error.NoSpace, files.createFile(&try files.walk(files.root(), "tmp/y", .followed), 1));
}
