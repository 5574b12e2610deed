//! Random calls with random arguments, most of them nearly right. After each one:
//! - the result is an error number this implementation has;
//! - nothing outside linear memory was written; a refused call wrote nothing at all, opened and closed nothing,
//!   made and removed no node;
//! - every open descriptor refers to a living node, and every node knows how many descriptors do;
//! - every named node is in the index, and every page is accounted for when all is closed and removed.
const std = @import("std");
const abi = @import("../abi.zig");
const descriptors = @import("../descriptors.zig");
const options = @import("options");
const program = @import("program.zig");
const Program = program.Program;
const Wasi = @import("../wasi.zig").Wasi;
const expectEqual = std.testing.expectEqual;

/// What each parameter is for: d descriptor, D one of a directory, p path and its length (two parameters), v list of buffers, n their
/// count, a address, s size, r rights, o offset or time, l `lookupflags`, c `oflags`, f `fdflags`, t `fstflags`,
/// w a clock or `whence`, x another small number.
const calls = .{
    .{ "args_get", "aa" },              .{ "args_sizes_get", "aa" },
    .{ "clock_res_get", "wa" },         .{ "clock_time_get", "woa" },
    .{ "environ_get", "aa" },           .{ "environ_sizes_get", "aa" },
    .{ "fd_advise", "doox" },           .{ "fd_allocate", "doo" },
    .{ "fd_close", "d" },               .{ "fd_datasync", "d" },
    .{ "fd_fdstat_get", "da" },         .{ "fd_fdstat_set_flags", "df" },
    .{ "fd_fdstat_set_rights", "drr" }, .{ "fd_filestat_get", "da" },
    .{ "fd_filestat_set_size", "do" },  .{ "fd_filestat_set_times", "doot" },
    .{ "fd_pread", "dvnoa" },           .{ "fd_prestat_dir_name", "das" },
    .{ "fd_prestat_get", "da" },        .{ "fd_pwrite", "dvnoa" },
    .{ "fd_read", "dvna" },             .{ "fd_readdir", "dasoa" },
    .{ "fd_renumber", "dd" },           .{ "fd_seek", "dowa" },
    .{ "fd_sync", "d" },                .{ "fd_tell", "da" },
    .{ "fd_write", "dvna" },            .{ "path_create_directory", "Dp" },
    .{ "path_filestat_get", "Dlpa" },   .{ "path_filestat_set_times", "Dlpoot" },
    .{ "path_link", "DlpDp" },          .{ "path_open", "Dlpcrrfa" },
    .{ "path_readlink", "Dpasa" },      .{ "path_remove_directory", "Dp" },
    .{ "path_rename", "DpDp" },         .{ "path_symlink", "pDp" },
    .{ "path_unlink_file", "Dp" },      .{ "poll_oneoff", "aana" },
    .{ "random_get", "as" },            .{ "path_symlink", "pDp" },
    .{ "sched_yield", "" },             .{ "sock_accept", "dxa" },
    .{ "sock_recv", "dvnxaa" },         .{ "sock_send", "dvnxa" },
    .{ "sock_shutdown", "dx" },
    // Again, because the others only matter when there is something to act on.
            .{ "path_open", "Dlpcrrfa" },
    .{ "path_open", "Dlpcrrfa" },       .{ "fd_write", "dvna" },
    .{ "path_create_directory", "Dp" },
};

/// The first `likely_paths` of these are used most.
const likely_paths = 6;
const paths = [_][]const u8{
    "a",    "b",  "a/b",   "tmp/x", "tmp",         "ro/w",
    "ro",   "c",  "ro/f",  "a/b/c", ".",           "..",
    "a/..", "a/", "../..", "/a",    "a/../tmp//y", "b/./c",
    "x/y",  "w",  "rw/f",  "rw",    "a\x00",       "\xff",
    "",
};
const path_area = 1024;
const vector_area = 4096;

const Fuzz = struct {
    p: *Program,
    random: std.Random,

    fn word(self: *Fuzz) u32 {
        const end: u32 = @intCast(@min(self.p.fake.memory_length, std.math.maxInt(u32)));
        return switch (self.random.uintLessThan(u8, 8)) {
            0 => self.random.int(u32),
            1 => 0 -% self.random.uintLessThan(u32, 64),
            2 => end -% self.random.uintLessThan(u32, 64),
            3 => end +% self.random.uintLessThan(u32, 64),
            4 => self.random.uintLessThan(u32, 64),
            5 => @as(u32, 1) << self.random.int(u5),
            else => self.random.uintLessThan(u32, end),
        };
    }

    fn long(self: *Fuzz) u64 {
        return switch (self.random.uintLessThan(u8, 6)) {
            0 => self.random.int(u64),
            1 => 0 -% self.random.uintLessThan(u64, 1 << 16),
            2 => (@as(u64, 1) << self.random.int(u6)) -% self.random.uintLessThan(u64, 2),
            3 => (1 << 30) -% self.random.uintLessThan(u64, 1 << 13),
            else => self.random.uintLessThan(u64, 1 << 15),
        };
    }

    fn rights(self: *Fuzz) u64 {
        return switch (self.random.uintLessThan(u8, 6)) {
            0 => self.random.int(u64) & abi.rights.all,
            1 => self.p.wasi.descriptors.table[self.openDescriptor()].base & self.random.int(u64),
            2, 3, 4 => abi.rights.all & ~abi.rights.fd_write,
            else => abi.rights.all,
        };
    }

    /// The preopened directory, or another that is open.
    fn openDescriptor(self: *Fuzz) u32 {
        const start = self.random.uintLessThan(u32, 16);
        if (self.random.uintLessThan(u8, 4) == 0) return 3;
        for (0..16) |i| {
            const fd = (start + 16 - @as(u32, @intCast(i))) % 16;
            if (self.p.wasi.descriptors.table[fd].object != .closed) return fd;
        }
        return start;
    }

    /// Fills in the parameters a letter stands for; returns how many.
    fn argument(self: *Fuzz, letter: u8, to: []u64) usize {
        const usual = self.random.uintLessThan(u8, 20) != 0;
        to[0] = self.word();
        switch (letter) {
            'o' => to[0] = self.long(),
            'r' => to[0] = self.rights(),
            'd' => if (usual) {
                to[0] = self.openDescriptor();
            },
            'D' => if (usual) {
                to[0] = if (self.random.uintLessThan(u8, 4) > 0) 3 else self.openDescriptor();
            },
            'l' => if (usual) {
                to[0] = self.random.uintLessThan(u32, 2);
            },
            'c' => if (usual) {
                to[0] = ([_]u32{ 0, 0, 1, 1, 2, 5, 8, 9 })[self.random.uintLessThan(usize, 8)];
            },
            'f' => if (usual) {
                to[0] = ([_]u32{ 0, 0, 0, 1, 4, 16 })[self.random.uintLessThan(usize, 6)];
            },
            't' => if (usual) {
                to[0] = self.random.uintLessThan(u32, 16);
            },
            'w' => if (usual) {
                to[0] = self.random.uintLessThan(u32, 3);
            },
            'x' => if (usual) {
                to[0] = self.random.uintLessThan(u32, 18);
            },
            'n' => if (usual) {
                to[0] = self.random.uintLessThan(u32, 6);
            },
            's' => if (usual) {
                to[0] = self.random.uintLessThan(u32, 2000);
            },
            'v' => if (usual) {
                to[0] = vector_area + 8 * self.random.uintLessThan(u32, 8);
            },
            'a' => if (usual) {
                to[0] = 8192 + self.random.uintLessThan(u32, 20_000);
            },
            'p' => {
                to[1] = self.word();
                if (!usual) return 2;
                const some = if (self.random.uintLessThan(u8, 3) > 0) likely_paths else paths.len;
                const path = paths[self.random.uintLessThan(usize, some)];
                to[0] = path_area + 64 * self.random.uintLessThan(u32, 16);
                to[1] = path.len;
                @memcpy(self.p.fake.memory()[@intCast(to[0])..][0..path.len], path);
                return 2;
            },
            else => unreachable,
        }
        return 1;
    }

    fn vectors(self: *Fuzz) void {
        for (0..16) |i| {
            const at: u32 = @intCast(vector_area + 8 * i);
            const usual = self.random.uintLessThan(u8, 30) != 0;
            self.p.setWord(u32, at, if (usual) 8192 + self.random.uintLessThan(u32, 20_000) else self.word());
            self.p.setWord(u32, at + 4, if (usual) self.random.uintLessThan(u32, 9000) else self.word());
        }
    }

    fn takesAway(which: usize) bool {
        inline for (calls, 0..) |call, i| if (i == which) {
            inline for (.{ "fd_close", "fd_renumber", "fd_fdstat_set_rights" }) |name|
                if (comptime std.mem.eql(u8, call[0], name)) return true;
        };
        return false;
    }

    fn step(self: *Fuzz, before: []u8) !void {
        const p = self.p;
        self.vectors();
        p.fake.input = "some input";
        p.fake.input_ready = self.random.boolean();
        p.fake.input_arrives = p.fake.monotonic;
        var which = self.random.uintLessThan(usize, calls.len);
        // What takes descriptors and rights away is rare, or little would be left to act on.
        while (takesAway(which) and self.random.uintLessThan(u8, 10) != 0)
            which = self.random.uintLessThan(usize, calls.len);
        @setEvalBranchQuota(100_000);
        inline for (calls, 0..) |call, i| if (i == which) {
            var values: [16]u64 = undefined;
            var n: usize = 0;
            inline for (call[1]) |letter| n += self.argument(letter, values[n..]);
            const method = @field(Wasi, call[0]);
            var arguments: std.meta.ArgsTuple(@TypeOf(method)) = undefined;
            arguments[0] = &p.wasi;
            try expectEqual(arguments.len - 1, n);
            inline for (1..arguments.len) |k| arguments[k] = @truncate(values[k - 1]);
            errdefer std.debug.print("{s} {any}\n", .{ call[0], values[0..n] });

            const memory = p.fake.memory();
            @memcpy(before[0..memory.len], memory);
            const table = p.wasi.descriptors.table;
            const nodes, const serial = .{ p.files.memory.node_count, p.files.memory.next_serial };
            const returned = @call(.auto, method, arguments);
            const errno = std.enums.fromInt(abi.Errno, returned) orelse return error.UnknownErrno;
            if (errno == .success) return;
            try std.testing.expect(std.mem.eql(u8, before[0..memory.len], memory));
            try expectEqual(nodes, p.files.memory.node_count);
            try expectEqual(serial, p.files.memory.next_serial);
            for (table, p.wasi.descriptors.table) |old, new| {
                try std.testing.expectEqualDeep(old.object, new.object);
                try expectEqual(old.base, new.base);
                try expectEqual(old.inheriting, new.inheriting);
                try expectEqual(old.flags, new.flags);
                try expectEqual(old.position, new.position);
            }
        };
    }

    fn consistent(self: *Fuzz) !void {
        const p = self.p;
        try p.fake.expectGuarded();
        var named: usize = 0;
        var opened: usize = 0;
        var in_use: usize = 0;
        for (0..p.files.memory.nodes.high) |i| {
            const node = &p.files.memory.nodes.chunks[i / 256].?[i % 256];
            if (!node.in_use) continue;
            in_use += 1;
            named += node.links;
            opened += node.held;
            try std.testing.expect(node.links > 0 or node.held > 0);
        }
        try expectEqual(p.files.memory.node_count, in_use);
        try expectEqual(p.files.memory.index.count + 1, named);
        var held: usize = 0;
        for (p.wasi.descriptors.table) |descriptor| {
            const id = descriptor.node() orelse continue;
            held += 1;
            try expectEqual(descriptor.object == .directory, (try p.files.attributes(id)).kind == .directory);
            try expectEqual(0, descriptor.base & ~descriptor.object.applicable());
            try std.testing.expect(descriptor.position <= std.math.maxInt(i64) + (1 << 31));
        }
        try expectEqual(opened, held);
    }

    /// Closes everything and removes every file that can be: their memory must all be back.
    fn finish(self: *Fuzz) !void {
        const p = self.p;
        for (0..descriptors.maximum) |fd| _ = p.wasi.fd_close(@intCast(fd));
        try self.consistent();
        var kept: usize = 0;
        for (0..p.files.memory.nodes.high) |i| {
            const node = &p.files.memory.nodes.chunks[i / 256].?[i % 256];
            if (!node.in_use or node.kind != .file) continue;
            if (!node.read_only) try p.files.resize(.{ .mount = 0, .inode = node.inode(@fromBackingInt(@intCast(i))) }, 0, 1);
            kept += std.mem.alignForward(usize, @intCast(node.contents.capacity), 4096);
        }
        try std.testing.expect(p.fake.allocated < kept + (2 << 20)); // nodes, names, the index
    }
};

test "random calls" {
    const maximum = 64 << 10;
    var before: [maximum]u8 = undefined;
    for (0..4) |seed| {
        const p = try Program.start(.{ .seed = seed, .memory = 40 << 10, .maximum = maximum, .limit = 8 << 20 });
        defer p.stop();
        p.fake.arguments = "program\x00argument\x00";
        p.fake.argument_count = 2;
        p.fake.variables = "NAME=value\x00";
        p.fake.variable_count = 1;
        try p.files.addDirectory("ro", false, 1);
        try p.files.addDirectory("rw", true, 1);
        try p.deliver("ro/f", "read-only", false);
        try p.deliver("ro/w", "writable", true);
        try p.deliver("rw/f", "read-only", false);
        p.beginAgain();
        var prng = std.Random.DefaultPrng.init(seed);
        var fuzz = Fuzz{ .p = p, .random = prng.random() };
        errdefer std.debug.print("seed {d}\n", .{seed});
        for (0..options.fuzz_count) |i| {
            errdefer std.debug.print("step {d}\n", .{i});
            try fuzz.step(&before);
            if (i % 50 == 0) try fuzz.consistent();
            if (i % 100 == 99) p.beginAgain();
            if (i == options.fuzz_count / 2) p.fake.grow(maximum - p.fake.memory_length);
        }
        var fixed: [16]u8 = undefined;
        const kept = (try p.files.walk(p.files.root(), "ro/f", .followed)).node.?;
        try std.testing.expectEqualStrings("read-only", fixed[0..try p.files.read(kept, 0, &fixed)]);
        try fuzz.finish();
    }
}
