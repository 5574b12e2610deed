//! poll_oneoff: time, standard input, files, and all of them at once; never spinning.
const std = @import("std");
const abi = @import("../abi.zig");
const poll = @import("../poll.zig");
const program = @import("program.zig");
const Program = program.Program;
const expect = program.expect;
const expectEqual = std.testing.expectEqual;

const subscriptions = 10_000;
const events = 100_000;

fn raw(p: *Program, i: u32, tag: u8) u32 {
    const at = subscriptions + i * 48;
    @memset(p.fake.memory()[at..][0..48], 0);
    p.setWord(u64, at, 1000 + i);
    p.setWord(u8, at + 8, tag);
    return at;
}

fn clock(p: *Program, i: u32, id: u32, timeout: u64, flags: u16) void {
    const at = raw(p, i, 0);
    p.setWord(u32, at + 16, id);
    p.setWord(u64, at + 24, timeout);
    p.setWord(u16, at + 40, flags);
}

fn descriptor(p: *Program, i: u32, tag: u8, fd: u32) void {
    p.setWord(u32, raw(p, i, tag) + 16, fd);
}

const Event = struct { userdata: u64, errno: u16, kind: u8, bytes: u64, flags: u16 };

fn run(p: *Program, count: u32, list: []Event) ![]Event {
    try expect(.success, p.wasi.poll_oneoff(subscriptions, events, count, 0));
    const n = p.word(u32, 0);
    for (list[0..n], 0..) |*event, i| {
        const at: u32 = @intCast(events + 32 * i);
        event.* = .{
            .userdata = p.word(u64, at),
            .errno = p.word(u16, at + 8),
            .kind = p.word(u8, at + 10),
            .bytes = p.word(u64, at + 16),
            .flags = p.word(u16, at + 24),
        };
    }
    return list[0..n];
}

test "sleeping waits once, for as long as it should" {
    var p = try Program.start(.{});
    defer p.stop();
    var list: [4]Event = undefined;
    for ([_]u32{ 0, 1 }) |id| {
        p.fake.waits = 0;
        const before = p.fake.monotonic;
        clock(p, 0, id, 5_000_000, 0);
        const got = try run(p, 1, &list);
        try expectEqual(1, got.len);
        try expectEqual(1000, got[0].userdata);
        try expectEqual(0, got[0].errno);
        try expectEqual(0, got[0].kind);
        try std.testing.expect(p.fake.monotonic - before >= 5_000_000);
        try expectEqual(1, p.fake.waits);
    }
}

test "points in time, in the future and in the past" {
    var p = try Program.start(.{});
    defer p.stop();
    var list: [4]Event = undefined;
    const ahead = p.fake.realtime + 1_000_000;
    clock(p, 0, 0, ahead, 1);
    _ = try run(p, 1, &list);
    try std.testing.expect(p.fake.realtime >= ahead);
    const mono = p.fake.monotonic + 1_000_000;
    clock(p, 0, 1, mono, 1);
    _ = try run(p, 1, &list);
    try std.testing.expect(p.fake.monotonic >= mono);
    p.fake.waits = 0;
    clock(p, 0, 0, 5, 1);
    _ = try run(p, 1, &list);
    clock(p, 0, 1, 5, 1);
    _ = try run(p, 1, &list);
    clock(p, 0, 1, 0, 0);
    _ = try run(p, 1, &list);
    try expectEqual(0, p.fake.waits);
}

test "the earliest of several timers happens, and those due with it" {
    var p = try Program.start(.{});
    defer p.stop();
    var list: [4]Event = undefined;
    p.fake.tick = 0;
    clock(p, 0, 1, 9_000, 0);
    clock(p, 1, 1, 3_000, 0);
    clock(p, 2, 0, 3_000, 0);
    const got = try run(p, 3, &list);
    try expectEqual(2, got.len);
    try expectEqual(1001, got[0].userdata);
    try expectEqual(1002, got[1].userdata);
    clock(p, 0, 1, std.math.maxInt(u64), 0);
    clock(p, 1, 0, std.math.maxInt(u64), 1);
    clock(p, 2, 1, 1, 0);
    const last = try run(p, 3, &list);
    try expectEqual(1, last.len);
    try expectEqual(1002, last[0].userdata);
}

test "a timer whose wait ends a little early still happens, after one wait" {
    var p = try Program.start(.{});
    defer p.stop();
    var list: [4]Event = undefined;
    p.fake.early = 100;
    clock(p, 0, 1, 5_000, 0);
    try expectEqual(1, (try run(p, 1, &list)).len);
    try expectEqual(1, p.fake.waits);
}

test "input or a timer, whichever is first" {
    var p = try Program.start(.{});
    defer p.stop();
    var list: [4]Event = undefined;
    p.fake.input_ready = false;
    descriptor(p, 0, 1, 0);
    clock(p, 1, 1, 10_000, 0);
    var got = try run(p, 2, &list);
    try expectEqual(1, got.len);
    try expectEqual(1001, got[0].userdata);
    p.fake.input_arrives = p.fake.monotonic + 5_000;
    got = try run(p, 2, &list);
    try expectEqual(1, got.len);
    try expectEqual(1000, got[0].userdata);
    try expectEqual(1, got[0].kind);
    try expectEqual(2, p.fake.waits);
    // Input alone waits for ever.
    p.fake.input_ready = false;
    p.fake.input_arrives = p.fake.monotonic + (1 << 40);
    got = try run(p, 1, &list);
    try expectEqual(1000, got[0].userdata);
    try expectEqual(null, p.fake.last_deadline);
}

test "what is ready at once does not wait, and input is only looked at" {
    var p = try Program.start(.{});
    defer p.stop();
    var list: [8]Event = undefined;
    p.fake.input_ready = false;
    const before = p.fake.monotonic;
    clock(p, 0, 1, 1 << 40, 0);
    descriptor(p, 1, 2, 1);
    descriptor(p, 2, 2, 2);
    descriptor(p, 3, 1, 0);
    var got = try run(p, 4, &list);
    try expectEqual(2, got.len);
    try expectEqual(1001, got[0].userdata);
    try expectEqual(2, got[1].kind);
    try std.testing.expect(p.fake.monotonic - before < 1000);
    p.fake.input_ready = true;
    got = try run(p, 4, &list);
    try expectEqual(3, got.len);
    try expectEqual(1003, got[2].userdata);
}

test "files are always ready and tell how much there is" {
    var p = try Program.start(.{});
    defer p.stop();
    var list: [8]Event = undefined;
    const fd = try p.open("f", program.create);
    _ = try p.write(fd, "abc");
    descriptor(p, 0, 1, fd);
    descriptor(p, 1, 2, fd);
    var got = try run(p, 2, &list);
    try expectEqual(2, got.len);
    try expectEqual(0, got[0].bytes);
    try expectEqual(1, got[0].flags); // at the end
    try expect(.success, p.wasi.fd_seek(fd, 1, 0, 8));
    got = try run(p, 2, &list);
    try expectEqual(2, got[0].bytes);
    try expectEqual(0, got[0].flags);
    try expectEqual(0, p.fake.waits);
}

test "a descriptor that cannot be polled fails alone" {
    var p = try Program.start(.{});
    defer p.stop();
    var list: [8]Event = undefined;
    descriptor(p, 0, 1, 99);
    descriptor(p, 1, 2, 0xffff_ffff);
    descriptor(p, 2, 1, 1);
    descriptor(p, 3, 1, 3);
    const fd = try p.open("f", .{ .oflags = abi.oflags.creat, .base = abi.rights.fd_read });
    descriptor(p, 4, 1, fd);
    clock(p, 5, 1, 1 << 40, 0);
    const got = try run(p, 6, &list);
    try expectEqual(5, got.len);
    for ([_]program.Errno{ .badf, .badf, .badf, .badf, .notcapable }, got) |errno, event|
        try expectEqual(@backingInt(errno), event.errno);
}

test "malformed calls are refused whole" {
    var p = try Program.start(.{});
    defer p.stop();
    try expect(.inval, p.wasi.poll_oneoff(subscriptions, events, 0, 0));
    try expect(.inval, p.wasi.poll_oneoff(subscriptions, events, poll.maximum_subscriptions + 1, 0));
    clock(p, 0, 1, 1, 0);
    const end: u32 = @intCast(p.fake.memory_length);
    try expect(.fault, p.wasi.poll_oneoff(end - 47, events, 1, 0));
    try expect(.fault, p.wasi.poll_oneoff(subscriptions, end - 31, 1, 0));
    try expect(.fault, p.wasi.poll_oneoff(subscriptions, events, 1, end - 3));
    try expect(.fault, p.wasi.poll_oneoff(0xffff_ffff, 0xffff_ffff, 1024, 0xffff_ffff));
    for ([_]u32{ 2, 3, 4 }) |id| {
        clock(p, 0, id, 1, 0);
        try expect(.inval, p.wasi.poll_oneoff(subscriptions, events, 1, 0));
    }
    clock(p, 0, 1, 1, 2);
    try expect(.inval, p.wasi.poll_oneoff(subscriptions, events, 1, 0));
    _ = raw(p, 0, 3);
    try expect(.inval, p.wasi.poll_oneoff(subscriptions, events, 1, 0));
    try expectEqual(0, p.fake.waits);
}

test "as many subscriptions as there may be, events over subscriptions" {
    var p = try Program.start(.{});
    defer p.stop();
    for (0..poll.maximum_subscriptions) |i| descriptor(p, @intCast(i), 2, 1);
    try expect(.success, p.wasi.poll_oneoff(subscriptions, subscriptions + 16, poll.maximum_subscriptions, 0));
    try expectEqual(poll.maximum_subscriptions, p.word(u32, 0));
    for (0..poll.maximum_subscriptions) |i|
        try expectEqual(1000 + i, p.word(u64, @intCast(subscriptions + 16 + 32 * i)));
}
