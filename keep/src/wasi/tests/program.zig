//! A program as the tests play it: it has linear memory, puts arguments into it, calls WASI functions and reads
//! results back.
const std = @import("std");
const abi = @import("../abi.zig");
const fake_environment = @import("fake_environment.zig");
const FakeEnvironment = fake_environment.FakeEnvironment;
const FileSystem = @import("../../files/file_system.zig").FileSystem;
const Wasi = @import("../wasi.zig").Wasi;

pub const Errno = abi.Errno;
pub const rights = abi.rights;
pub const root = 3;

/// Where `put` begins; below it are places for results.
const heap = 4096;

pub const Text = struct { at: u32, len: u32 };

pub const Opening = struct {
    fd: u32 = root,
    oflags: u32 = 0,
    base: u64 = rights.on_file & ~rights.fd_write,
    inheriting: u64 = rights.on_opened,
    fdflags: u32 = 0,
    lookup: u32 = 1,
};

pub const read_write = rights.on_file;
pub const create = Opening{ .oflags = abi.oflags.creat, .base = read_write };
pub const directory = Opening{ .oflags = abi.oflags.directory, .base = rights.on_directory };

pub const Program = struct {
    fake: FakeEnvironment,
    files: FileSystem,
    wasi: Wasi,
    next: u32 = heap,

    pub fn start(options: fake_environment.Options) !*Program {
        const self = try std.heap.page_allocator.create(Program);
        self.fake = try FakeEnvironment.init(options);
        self.files = try FileSystem.init(self.fake.environment(), 5);
        self.next = heap;
        self.begin();
        return self;
    }

    /// Takes over arguments, variables and files that were set meanwhile.
    pub fn begin(self: *Program) void {
        self.wasi.init(self.fake.environment(), &self.files);
    }

    /// Closes everything and opens the standard descriptors again, over the same files.
    pub fn beginAgain(self: *Program) void {
        for (0..@import("../descriptors.zig").maximum) |fd| _ = self.wasi.fd_close(@intCast(fd));
        self.begin();
    }

    pub fn stop(self: *Program) void {
        self.fake.expectGuarded() catch @panic("wrote outside linear memory");
        self.fake.deinit();
        std.heap.page_allocator.destroy(self);
    }

    pub fn put(self: *Program, bytes: []const u8) Text {
        const at = self.next;
        @memcpy(self.fake.memory()[at..][0..bytes.len], bytes);
        self.next += @intCast(std.mem.alignForward(usize, bytes.len + 1, 8));
        if (self.next > self.fake.memory_length / 2) self.next = heap;
        return .{ .at = at, .len = @intCast(bytes.len) };
    }

    pub fn word(self: *Program, comptime T: type, at: u32) T {
        return std.mem.readInt(T, self.fake.memory()[at..][0..@sizeOf(T)], .little);
    }

    pub fn setWord(self: *Program, comptime T: type, at: u32, value: T) void {
        std.mem.writeInt(T, self.fake.memory()[at..][0..@sizeOf(T)], value, .little);
    }

    pub fn tryOpen(self: *Program, path: []const u8, how: Opening) u32 {
        const text = self.put(path);
        return self.wasi.path_open(how.fd, how.lookup, text.at, text.len, how.oflags, how.base, how.inheriting, how.fdflags, 0);
    }

    pub fn open(self: *Program, path: []const u8, how: Opening) !u32 {
        try expect(.success, self.tryOpen(path, how));
        return self.word(u32, 0);
    }

    /// One buffer's list of buffers.
    pub fn vector(self: *Program, at: u32, len: u32) u32 {
        var bytes: [8]u8 = undefined;
        std.mem.writeInt(u32, bytes[0..4], at, .little);
        std.mem.writeInt(u32, bytes[4..8], len, .little);
        return self.put(&bytes).at;
    }

    pub fn write(self: *Program, fd: u32, bytes: []const u8) !u32 {
        const text = self.put(bytes);
        try expect(.success, self.wasi.fd_write(fd, self.vector(text.at, text.len), 1, 0));
        return self.word(u32, 0);
    }

    pub fn read(self: *Program, fd: u32, length: u32) ![]const u8 {
        const at: u32 = @intCast(self.fake.memory_length / 2);
        try expect(.success, self.wasi.fd_read(fd, self.vector(at, length), 1, 0));
        return self.fake.memory()[at..][0..self.word(u32, 0)];
    }

    pub fn makeFile(self: *Program, path: []const u8, bytes: []const u8) !void {
        const fd = try self.open(path, create);
        if (bytes.len > 0) try std.testing.expectEqual(bytes.len, try self.write(fd, bytes));
        try expect(.success, self.wasi.fd_close(fd));
    }

    pub fn contentsOf(self: *Program, path: []const u8) ![]const u8 {
        const fd = try self.open(path, .{});
        defer _ = self.wasi.fd_close(fd);
        return self.read(fd, 4096);
    }

    pub fn makeDirectory(self: *Program, path: []const u8) u32 {
        const text = self.put(path);
        return self.wasi.path_create_directory(root, text.at, text.len);
    }

    pub fn unlink(self: *Program, path: []const u8) u32 {
        const text = self.put(path);
        return self.wasi.path_unlink_file(root, text.at, text.len);
    }

    pub fn removeDirectory(self: *Program, path: []const u8) u32 {
        const text = self.put(path);
        return self.wasi.path_remove_directory(root, text.at, text.len);
    }

    pub fn rename(self: *Program, from: []const u8, to: []const u8) u32 {
        const old = self.put(from);
        const new = self.put(to);
        return self.wasi.path_rename(root, old.at, old.len, root, new.at, new.len);
    }

    /// The `filestat` of a path, at address 64.
    pub fn stat(self: *Program, path: []const u8) u32 {
        const text = self.put(path);
        return self.wasi.path_filestat_get(root, 0, text.at, text.len, 64);
    }

    pub fn deliver(self: *Program, path: []const u8, bytes: []const u8, writable: bool) !void {
        @memcpy(try self.files.addFile(path, bytes.len, writable, 77), bytes);
    }
};

pub fn expect(errno: Errno, returned: u32) !void {
    if (returned == @backingInt(errno)) return;
    std.debug.print("expected {t}, got {d}\n", .{ errno, returned });
    return error.TestUnexpectedErrno;
}
