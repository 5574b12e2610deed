//! Reading, writing, seeking, on files and streams.
const std = @import("std");
const abi = @import("../abi.zig");
const program = @import("program.zig");
const transfer = @import("../transfer.zig");
const Program = program.Program;
const expect = program.expect;
const expectEqual = std.testing.expectEqual;
const expectEqualStrings = std.testing.expectEqualStrings;
const rights = abi.rights;

test "a file gives back what was written" {
    var p = try Program.start(.{});
    defer p.stop();
    const fd = try p.open("f", program.create);
    try expectEqual(5, try p.write(fd, "hello"));
    try expectEqualStrings("", try p.read(fd, 10));
    try expect(.success, p.wasi.fd_seek(fd, 1, 0, 8));
    try expectEqual(1, p.word(u64, 8));
    try expectEqualStrings("ello", try p.read(fd, 10));
    try expect(.success, p.wasi.fd_tell(fd, 8));
    try expectEqual(5, p.word(u64, 8));
}

test "several buffers, empty ones among them" {
    var p = try Program.start(.{});
    defer p.stop();
    const fd = try p.open("f", program.create);
    const a, const b = .{ p.put("ab"), p.put("cde") };
    const list = p.vector(a.at, a.len);
    _ = p.vector(0, 0);
    _ = p.vector(b.at, b.len);
    // `vector` pads each to 16 bytes; pack them.
    std.mem.copyForwards(u8, p.fake.memory()[list + 8 ..][0..8], p.fake.memory()[list + 16 ..][0..8]);
    std.mem.copyForwards(u8, p.fake.memory()[list + 16 ..][0..8], p.fake.memory()[list + 32 ..][0..8]);
    try expect(.success, p.wasi.fd_write(fd, list, 3, 0));
    try expectEqual(5, p.word(u32, 0));
    try expectEqualStrings("abcde", try p.contentsOf("f"));
    try expect(.success, p.wasi.fd_pread(fd, list, 3, 1, 0));
    try expectEqual(4, p.word(u32, 0));
    try expectEqualStrings("bc", p.fake.memory()[a.at..][0..2]);
    try expectEqualStrings("de", p.fake.memory()[b.at..][0..2]);
}

test "a list of buffers that a read overwrites is the list that was passed" {
    var p = try Program.start(.{});
    defer p.stop();
    try p.makeFile("f", &@as([16]u8, @splat(0xff)));
    const fd = try p.open("f", .{});
    // The first buffer is the list itself, the second is elsewhere.
    for ([_]u32{ 8000, 16, 9000, 8 }, 0..) |value, i| p.setWord(u32, @intCast(8000 + 4 * i), value);
    try expect(.success, p.wasi.fd_read(fd, 8000, 2, 0));
    try expectEqual(16, p.word(u32, 0));
}

test "bad buffers are refused before anything moves" {
    var p = try Program.start(.{});
    defer p.stop();
    const fd = try p.open("f", program.create);
    const end: u32 = @intCast(p.fake.memory_length);
    const good = p.vector(100, 10);
    try expect(.fault, p.wasi.fd_write(fd, good, 1, end - 3));
    try expect(.fault, p.wasi.fd_write(fd, end - 4, 1, 0));
    try expect(.fault, p.wasi.fd_write(fd, 0xffff_fff8, 1, 0));
    try expect(.fault, p.wasi.fd_write(fd, 0xffff_fff8, 1024, 0));
    for ([_][2]u32{ .{ end, 1 }, .{ end - 1, 2 }, .{ 0xffff_ffff, 1 }, .{ 0xffff_ffff, 0 }, .{ 8, 0xffff_ffff } }) |bad| {
        try expect(.fault, p.wasi.fd_write(fd, p.vector(bad[0], bad[1]), 1, 0));
        try expect(.fault, p.wasi.fd_write(1, p.vector(bad[0], bad[1]), 1, 0));
    }
    try expect(.inval, p.wasi.fd_write(fd, 0, transfer.maximum_vectors + 1, 0));
    try expect(.success, p.wasi.fd_write(fd, 65536, transfer.maximum_vectors, 0));
    try expect(.success, p.stat("f"));
    try expectEqual(0, p.word(u64, 64 + 32));
    try expectEqual(0, p.fake.stdout.items.len);
}

test "one call moves a bounded number of bytes" {
    var p = try Program.start(.{ .memory = 4 << 20 });
    defer p.stop();
    for (0..1024) |i| {
        p.setWord(u32, @intCast(65536 + 8 * i), 1 << 20);
        p.setWord(u32, @intCast(65536 + 8 * i + 4), 3 << 20);
    }
    try expect(.success, p.wasi.fd_write(1, 65536, 1024, 0));
    try expectEqual(0x7fff_0000, p.word(u32, 0));
}

test "appending goes to the end, and stops when told" {
    var p = try Program.start(.{});
    defer p.stop();
    const fd = try p.open("f", .{ .oflags = abi.oflags.creat, .base = program.read_write, .fdflags = abi.fdflags.append });
    _ = try p.write(fd, "abc");
    try expect(.success, p.wasi.fd_seek(fd, 0, 0, 8));
    _ = try p.write(fd, "def");
    try expectEqualStrings("abcdef", try p.contentsOf("f"));
    try expect(.success, p.wasi.fd_tell(fd, 8));
    try expectEqual(6, p.word(u64, 8));
    const text = p.put("XY");
    try expect(.success, p.wasi.fd_pwrite(fd, p.vector(text.at, text.len), 1, 1, 0));
    try expectEqualStrings("abcdefXY", try p.contentsOf("f"));
    try expect(.success, p.wasi.fd_tell(fd, 8));
    try expectEqual(6, p.word(u64, 8)); // where it was
    try expect(.success, p.wasi.fd_fdstat_set_flags(fd, 0));
    try expect(.success, p.wasi.fd_seek(fd, 0, 0, 8));
    _ = try p.write(fd, "Z");
    try expectEqualStrings("ZbcdefXY", try p.contentsOf("f"));
}

test "seeking" {
    var p = try Program.start(.{});
    defer p.stop();
    const fd = try p.open("f", program.create);
    _ = try p.write(fd, "0123456789");
    const minus_two: u64 = @bitCast(@as(i64, -2));
    try expect(.success, p.wasi.fd_seek(fd, minus_two, 2, 8));
    try expectEqual(8, p.word(u64, 8));
    try expect(.success, p.wasi.fd_seek(fd, minus_two, 1, 8));
    try expectEqual(6, p.word(u64, 8));
    try expect(.success, p.wasi.fd_seek(fd, 1000, 1, 8)); // beyond the end
    try expectEqualStrings("", try p.read(fd, 10));
    const most: u64 = std.math.maxInt(i64);
    try expect(.success, p.wasi.fd_seek(fd, most, 0, 8));
    try expect(.inval, p.wasi.fd_seek(fd, 1, 1, 8));
    try expect(.inval, p.wasi.fd_seek(fd, most, 2, 8));
    try expect(.fbig, p.wasi.fd_write(fd, p.vector(0, 1), 1, 0));
    try expectEqualStrings("", try p.read(fd, 10));
    try expect(.inval, p.wasi.fd_seek(fd, minus_two, 0, 8));
    try expect(.inval, p.wasi.fd_seek(fd, 1 << 63, 1, 8));
    for ([_]u32{ 3, 256, 0xffff_ffff }) |whence| try expect(.inval, p.wasi.fd_seek(fd, 0, whence, 8));
    try expect(.fault, p.wasi.fd_seek(fd, 3, 0, 0xffff_fffa));
    try expect(.success, p.wasi.fd_tell(fd, 8));
    try expectEqual(most, p.word(u64, 8)); // a failed seek did not move
    try expect(.spipe, p.wasi.fd_seek(0, 0, 1, 8));
    try expect(.spipe, p.wasi.fd_tell(1, 8));
    try expect(.isdir, p.wasi.fd_seek(3, 0, 0, 8));
    try expect(.isdir, p.wasi.fd_tell(3, 8));
    try expect(.badf, p.wasi.fd_seek(40, 0, 0, 8));
}

test "the rights to seek, tell and place" {
    var p = try Program.start(.{});
    defer p.stop();
    const fd = try p.open("f", program.create);
    const v = p.vector(100, 4);
    try expect(.success, p.wasi.fd_fdstat_set_rights(fd, rights.fd_seek | rights.fd_read | rights.fd_write, 0));
    try expect(.success, p.wasi.fd_tell(fd, 8));
    try expect(.success, p.wasi.fd_fdstat_set_rights(fd, rights.fd_read | rights.fd_write, 0));
    try expect(.notcapable, p.wasi.fd_tell(fd, 8));
    try expect(.notcapable, p.wasi.fd_seek(fd, 0, 1, 8));
    try expect(.notcapable, p.wasi.fd_seek(fd, 0, 0, 8));
    try expect(.notcapable, p.wasi.fd_pread(fd, v, 1, 0, 0));
    try expect(.notcapable, p.wasi.fd_pwrite(fd, v, 1, 0, 0));
    const other = try p.open("f", .{ .base = rights.fd_tell });
    try expect(.success, p.wasi.fd_seek(other, 0, 1, 8));
    try expect(.notcapable, p.wasi.fd_seek(other, 0, 0, 8));
    try expect(.notcapable, p.wasi.fd_seek(other, 1, 1, 8));
}

test "directories and streams are not files" {
    var p = try Program.start(.{});
    defer p.stop();
    const v = p.vector(100, 4);
    try expect(.isdir, p.wasi.fd_read(3, v, 1, 0));
    try expect(.badf, p.wasi.fd_write(3, v, 1, 0));
    try expect(.isdir, p.wasi.fd_pread(3, v, 1, 0, 0));
    try expect(.badf, p.wasi.fd_pwrite(3, v, 1, 0, 0));
    try expect(.isdir, p.wasi.fd_advise(3, 0, 0, 0));
    try expect(.spipe, p.wasi.fd_pread(0, v, 1, 0, 0));
    try expect(.spipe, p.wasi.fd_pwrite(1, v, 1, 0, 0));
    try expect(.spipe, p.wasi.fd_advise(1, 0, 0, 0));
    try expect(.badf, p.wasi.fd_read(1, v, 1, 0));
    try expect(.badf, p.wasi.fd_write(0, v, 1, 0));
    try expect(.badf, p.wasi.fd_read(70, v, 1, 0));
    const fd = try p.open("f", program.create);
    try expect(.success, p.wasi.fd_advise(fd, 1, 2, 5));
    try expect(.inval, p.wasi.fd_advise(fd, 1, 2, 6));
}

test "output and input" {
    var p = try Program.start(.{});
    defer p.stop();
    try expectEqual(3, try p.write(1, "out"));
    try expectEqual(3, try p.write(2, "err"));
    try expectEqual(0, try p.write(1, ""));
    try expectEqualStrings("out", p.fake.stdout.items);
    try expectEqualStrings("err", p.fake.stderr.items);
    p.fake.input = "some input";
    try expectEqualStrings("some", try p.read(0, 4));
    try expectEqualStrings("", try p.read(0, 0));
    try expectEqualStrings(" input", try p.read(0, 100));
    try expectEqualStrings("", try p.read(0, 100));
    try expectEqual(0, p.fake.waits);
}

test "input that is not there yet, without waiting for it" {
    var p = try Program.start(.{});
    defer p.stop();
    try expect(.success, p.wasi.fd_fdstat_set_flags(0, abi.fdflags.nonblock));
    p.fake.input_ready = false;
    try expect(.again, p.wasi.fd_read(0, p.vector(100, 4), 1, 0));
    p.fake.input_ready = true;
    p.fake.input = "x";
    try expectEqualStrings("x", try p.read(0, 4));
}

test "memory that runs out in the middle of a write" {
    var p = try Program.start(.{});
    defer p.stop();
    const fd = try p.open("f", program.create);
    _ = try p.write(fd, "x");
    p.fake.limit = p.fake.allocated;
    const big = p.vector(0, 8192);
    try expect(.success, p.wasi.fd_write(fd, big, 1, 0));
    try expectEqual(4095, p.word(u32, 0));
    try expect(.nospc, p.wasi.fd_write(fd, big, 1, 0));
    p.fake.limit += 1 << 20;
    try expect(.success, p.wasi.fd_write(fd, big, 1, 0));
    try expectEqual(8192, p.word(u32, 0));
}
