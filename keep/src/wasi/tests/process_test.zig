//! Arguments, environment, clocks, random bytes, sockets, and what is not offered.
const std = @import("std");
const program = @import("program.zig");
const Program = program.Program;
const expect = program.expect;
const expectEqual = std.testing.expectEqual;
const expectEqualStrings = std.testing.expectEqualStrings;

test "arguments and variables arrive with their addresses" {
    var p = try Program.start(.{});
    defer p.stop();
    p.fake.arguments = "prog\x00\x00-v\x00";
    p.fake.argument_count = 3;
    p.fake.variables = "A=1\x00";
    p.fake.variable_count = 1;
    p.begin();
    try expect(.success, p.wasi.args_sizes_get(0, 4));
    try expectEqual(3, p.word(u32, 0));
    try expectEqual(9, p.word(u32, 4));
    try expect(.success, p.wasi.args_get(100, 200));
    try expectEqualStrings("prog\x00\x00-v\x00", p.fake.memory()[200..209]);
    try expectEqual(200, p.word(u32, 100));
    try expectEqual(205, p.word(u32, 104));
    try expectEqual(206, p.word(u32, 108));
    try expectEqual(0, p.word(u32, 112));
    try expect(.success, p.wasi.environ_sizes_get(0, 4));
    try expectEqual(1, p.word(u32, 0));
    try expectEqual(4, p.word(u32, 4));
    try expect(.success, p.wasi.environ_get(300, 400));
    try expectEqualStrings("A=1\x00", p.fake.memory()[400..404]);
    try expectEqual(400, p.word(u32, 300));
}

test "arguments are refused where they do not fit" {
    var p = try Program.start(.{});
    defer p.stop();
    p.fake.arguments = "prog\x00";
    p.fake.argument_count = 1;
    p.begin();
    const end: u32 = @intCast(p.fake.memory_length);
    try expect(.success, p.wasi.args_get(end - 4, end - 9));
    for ([_][2]u32{ .{ end - 3, 0 }, .{ 0, end - 4 }, .{ 0xffff_ffff, 0 }, .{ 0, 0xffff_ffff } }) |bad|
        try expect(.fault, p.wasi.args_get(bad[0], bad[1]));
    try expect(.fault, p.wasi.args_sizes_get(end, 0));
    try expect(.fault, p.wasi.args_sizes_get(0, 0xffff_fffe));
}

test "no arguments" {
    var p = try Program.start(.{});
    defer p.stop();
    try expect(.success, p.wasi.args_sizes_get(0, 4));
    try expectEqual(0, p.word(u64, 0));
    try expect(.success, p.wasi.args_get(0, 0));
    try expect(.success, p.wasi.environ_get(0, 0));
}

test "clocks" {
    var p = try Program.start(.{});
    defer p.stop();
    try expect(.success, p.wasi.clock_time_get(0, 0, 8));
    try std.testing.expect(p.word(u64, 8) >= 1_700_000_000_000_000_000);
    try expect(.success, p.wasi.clock_time_get(1, 1, 8));
    const first = p.word(u64, 8);
    try expect(.success, p.wasi.clock_time_get(1, 0, 8));
    try std.testing.expect(p.word(u64, 8) > first);
    try expect(.success, p.wasi.clock_res_get(0, 8));
    try std.testing.expect(p.word(u64, 8) != 0);
    for ([_]u32{ 2, 3, 4, 0xffff_ffff }) |clock| {
        try expect(.inval, p.wasi.clock_time_get(clock, 0, 8));
        try expect(.inval, p.wasi.clock_res_get(clock, 8));
    }
    try expect(.fault, p.wasi.clock_time_get(0, 0, 0xffff_fffc));
}

test "random bytes fill exactly what was asked for" {
    var p = try Program.start(.{});
    defer p.stop();
    try expect(.success, p.wasi.random_get(1000, 64));
    try std.testing.expect(!std.mem.allEqual(u8, p.fake.memory()[1000..1064], 0));
    try std.testing.expect(std.mem.allEqual(u8, p.fake.memory()[1064..1100], 0));
    try expect(.success, p.wasi.random_get(0, 0));
    const end: u32 = @intCast(p.fake.memory_length);
    try expect(.success, p.wasi.random_get(0, end));
    try expect(.fault, p.wasi.random_get(1, end));
    try expect(.fault, p.wasi.random_get(0xffff_ffff, 0xffff_ffff));
}

test "no descriptor is a socket" {
    var p = try Program.start(.{});
    defer p.stop();
    try p.makeFile("f", "");
    const file = try p.open("f", .{});
    for ([_]u32{ 0, 1, 2, file }) |fd| {
        try expect(.notsock, p.wasi.sock_shutdown(fd, 1));
        try expect(.notsock, p.wasi.sock_accept(fd, 0, 0));
        try expect(.notsock, p.wasi.sock_recv(fd, 0, 0, 0, 0, 4));
        try expect(.notsock, p.wasi.sock_send(fd, 0, 0, 0, 0));
    }
    for ([_]u32{ 3, 5 }) |fd| { // a directory, and nothing
        try expect(.badf, p.wasi.sock_shutdown(fd, 1));
        try expect(.badf, p.wasi.sock_accept(fd, 0, 0));
        try expect(.badf, p.wasi.sock_recv(fd, 0, 0, 0, 0, 4));
        try expect(.badf, p.wasi.sock_send(fd, 0, 0, 0, 0));
    }
    try expect(.badf, p.wasi.sock_accept(0xffff_ffff, 0, 0));
}

test "signals that end nothing" {
    var p = try Program.start(.{});
    defer p.stop();
    for ([_]u32{ 0, 16, 17, 22, 27 }) |ignored| try expect(.success, p.wasi.proc_raise(ignored));
    for ([_]u32{ 18, 19, 20, 21 }) |stops| try expect(.notsup, p.wasi.proc_raise(stops));
    for ([_]u32{ 31, 64, 0xffff_ffff }) |unknown| try expect(.inval, p.wasi.proc_raise(unknown));
    try expect(.success, p.wasi.sched_yield());
}

test "all of wasi_snapshot_preview1 is there, with its types" {
    const Wasi = @import("../wasi.zig").Wasi;
    // One letter a parameter: i is i32, l is i64.
    const functions = .{
        .{ "args_get", "ii" },              .{ "args_sizes_get", "ii" },
        .{ "clock_res_get", "ii" },         .{ "clock_time_get", "ili" },
        .{ "environ_get", "ii" },           .{ "environ_sizes_get", "ii" },
        .{ "fd_advise", "illi" },           .{ "fd_allocate", "ill" },
        .{ "fd_close", "i" },               .{ "fd_datasync", "i" },
        .{ "fd_fdstat_get", "ii" },         .{ "fd_fdstat_set_flags", "ii" },
        .{ "fd_fdstat_set_rights", "ill" }, .{ "fd_filestat_get", "ii" },
        .{ "fd_filestat_set_size", "il" },  .{ "fd_filestat_set_times", "illi" },
        .{ "fd_pread", "iiili" },           .{ "fd_prestat_dir_name", "iii" },
        .{ "fd_prestat_get", "ii" },        .{ "fd_pwrite", "iiili" },
        .{ "fd_read", "iiii" },             .{ "fd_readdir", "iiili" },
        .{ "fd_renumber", "ii" },           .{ "fd_seek", "ilii" },
        .{ "fd_sync", "i" },                .{ "fd_tell", "ii" },
        .{ "fd_write", "iiii" },            .{ "path_create_directory", "iii" },
        .{ "path_filestat_get", "iiiii" },  .{ "path_filestat_set_times", "iiiilli" },
        .{ "path_link", "iiiiiii" },        .{ "path_open", "iiiiillii" },
        .{ "path_readlink", "iiiiii" },     .{ "path_remove_directory", "iii" },
        .{ "path_rename", "iiiiii" },       .{ "path_symlink", "iiiii" },
        .{ "path_unlink_file", "iii" },     .{ "poll_oneoff", "iiii" },
        .{ "proc_exit", "i" },              .{ "proc_raise", "i" },
        .{ "random_get", "ii" },            .{ "sched_yield", "" },
        .{ "sock_accept", "iii" },          .{ "sock_recv", "iiiiii" },
        .{ "sock_send", "iiiii" },          .{ "sock_shutdown", "ii" },
    };
    try expectEqual(46, functions.len);
    inline for (functions) |function| {
        const info = @typeInfo(@TypeOf(@field(Wasi, function[0]))).@"fn";
        try expectEqual(function[1].len + 1, info.param_types.len);
        inline for (function[1], 1..) |letter, i|
            try expectEqual(if (letter == 'l') u64 else u32, info.param_types[i].?);
        const exits = comptime std.mem.eql(u8, function[0], "proc_exit");
        try expectEqual(if (exits) noreturn else u32, info.return_type.?);
    }
}
