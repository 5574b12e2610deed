//! The tree against a model: a flat map from paths to contents, with the rules written a second time in the
//! simplest way. Random operations go to both; answers and everything visible must agree. The build option
//! `fuzz_count` says how many.
const std = @import("std");
const file_system = @import("../file_system.zig");
const options = @import("options");
const FakeEnvironment = @import("../../wasi/tests/fake_environment.zig").FakeEnvironment;
const FileSystem = file_system.FileSystem;
const Id = file_system.Id;

const gpa = std.testing.allocator;

const Thing = union(enum) { directory, file: std.ArrayList(u8) };

const Model = struct {
    things: std.StringArrayHashMapUnmanaged(Thing) = .empty,

    fn deinit(self: *Model) void {
        for (self.things.keys(), self.things.values()) |key, *thing| drop(key, thing);
        self.things.deinit(gpa);
    }

    fn drop(key: []const u8, thing: *Thing) void {
        if (thing.* == .file) thing.file.deinit(gpa);
        gpa.free(key);
    }

    fn add(self: *Model, path: []const u8, thing: Thing) !void {
        try self.things.putNoClobber(gpa, try gpa.dupe(u8, path), thing);
    }

    fn remove(self: *Model, path: []const u8) void {
        var entry = self.things.fetchOrderedRemove(path).?;
        drop(entry.key, &entry.value);
    }

    fn parentOf(path: []const u8) []const u8 {
        return if (std.mem.lastIndexOfScalar(u8, path, '/')) |slash| path[0..slash] else "";
    }

    /// Why a path cannot be reached, if so.
    fn blocked(self: *Model, path: []const u8) ?anyerror {
        for (path, 0..) |byte, i| if (byte == '/') {
            const thing = self.things.get(path[0..i]) orelse return error.NotFound;
            if (thing == .file) return error.NotDirectory;
        };
        return null;
    }

    fn isEmpty(self: *Model, path: []const u8) bool {
        for (self.things.keys()) |key| if (std.mem.eql(u8, parentOf(key), path)) return false;
        return true;
    }

    fn within(path: []const u8, ancestor: []const u8) bool {
        return std.mem.eql(u8, path, ancestor) or
            (std.mem.startsWith(u8, path, ancestor) and path.len > ancestor.len and path[ancestor.len] == '/');
    }

    fn renameError(self: *Model, from: []const u8, to: []const u8) ?anyerror {
        if (self.blocked(from)) |reason| return reason;
        if (self.blocked(to)) |reason| return reason;
        const thing = self.things.get(from) orelse return error.NotFound;
        if (std.mem.eql(u8, from, to)) return null;
        if (std.mem.eql(u8, from, "tmp")) return error.Busy;
        if (within(parentOf(to), from)) return error.Invalid;
        const other = self.things.get(to) orelse return null;
        if (thing == .directory and other == .file) return error.NotDirectory;
        if (thing == .file and other == .directory) return error.IsDirectory;
        if (std.mem.eql(u8, to, "tmp")) return error.Busy;
        if (!self.isEmpty(to)) return error.NotEmpty;
        return null;
    }

    fn rename(self: *Model, from: []const u8, to: []const u8) !void {
        if (std.mem.eql(u8, from, to)) return;
        if (self.things.contains(to)) self.remove(to);
        for (0..self.things.count()) |i| {
            const key = self.things.keys()[i];
            if (!within(key, from)) continue;
            const moved = try std.mem.concat(gpa, u8, &.{ to, key[from.len..] });
            gpa.free(key);
            self.things.keys()[i] = moved;
        }
        try self.things.reIndex(gpa);
    }
};

const Run = struct {
    files: *FileSystem,
    model: Model = .{},
    random: std.Random,
    clock: u64 = 0,
    /// Files held open here, with what they should hold when their name is gone.
    held: [4]?struct { id: Id, name: ?[]u8, orphan: std.ArrayList(u8) } = @splat(null),

    fn path(self: *Run, buffer: []u8) []const u8 {
        const names = [_][]const u8{ "a", "b", "c", "tmp", "longer name with spaces" };
        const depth = 1 + self.random.uintLessThan(usize, 4);
        var length: usize = 0;
        for (0..depth) |i| {
            const name = names[self.random.uintLessThan(usize, names.len)];
            if (i > 0) {
                buffer[length] = '/';
                length += 1;
            }
            @memcpy(buffer[length..][0..name.len], name);
            length += name.len;
        }
        return buffer[0..length];
    }

    fn agree(expected: ?anyerror, outcome: anytype) !void {
        if (outcome) |_| {
            if (expected) |reason| {
                std.debug.print("the model refuses with {t}\n", .{reason});
                return error.TestUnexpectedResult;
            }
        } else |reason| try std.testing.expectEqual(expected orelse return reason, reason);
    }

    fn now(self: *Run) u64 {
        self.clock += 1;
        return self.clock;
    }

    fn step(self: *Run) !void {
        var one: [128]u8 = undefined;
        var two: [128]u8 = undefined;
        const p = self.path(&one);
        switch (self.random.uintLessThan(u8, 12)) {
            0, 1 => try self.makeFile(p),
            2, 3 => try self.makeDirectory(p),
            4 => try self.unlink(p),
            5 => try self.removeDirectory(p),
            6, 7 => try self.rename(p, self.path(&two)),
            8, 9 => try self.write(p),
            10 => try self.resize(p),
            else => try self.compare(p),
        }
    }

    fn walk(self: *Run, p: []const u8) file_system.Error!file_system.Target {
        return self.files.walk(self.files.root(), p, .followed);
    }

    fn makeFile(self: *Run, p: []const u8) !void {
        const expected: ?anyerror = self.model.blocked(p) orelse
            if (self.model.things.contains(p)) error.Exists else null;
        const target = self.walk(p) catch |reason| return agree(expected, @as(anyerror!void, reason));
        if (target.node != null) return agree(expected, @as(anyerror!void, error.Exists));
        try agree(expected, self.files.createFile(&target, self.now()));
        try self.model.add(p, .{ .file = .empty });
    }

    fn makeDirectory(self: *Run, p: []const u8) !void {
        const expected: ?anyerror = self.model.blocked(p) orelse
            if (self.model.things.contains(p)) error.Exists else null;
        const target = self.walk(p) catch |reason| return agree(expected, @as(anyerror!void, reason));
        try agree(expected, self.files.createDirectory(&target, self.now()));
        if (expected == null) try self.model.add(p, .directory);
    }

    fn unlink(self: *Run, p: []const u8) !void {
        const expected: ?anyerror = self.model.blocked(p) orelse
            if (self.model.things.get(p)) |thing|
                (if (thing == .directory) error.IsDirectory else null)
            else
                error.NotFound;
        const target = self.walk(p) catch |reason| return agree(expected, @as(anyerror!void, reason));
        if (expected == null) try self.orphan(target.node.?, p);
        try agree(expected, self.files.removeFile(&target, self.now()));
        if (expected == null) self.model.remove(p);
    }

    fn removeDirectory(self: *Run, p: []const u8) !void {
        const expected: ?anyerror = self.model.blocked(p) orelse blk: {
            const thing = self.model.things.get(p) orelse break :blk error.NotFound;
            if (thing == .file) break :blk error.NotDirectory;
            if (std.mem.eql(u8, p, "tmp")) break :blk error.Busy;
            break :blk if (self.model.isEmpty(p)) null else error.NotEmpty;
        };
        const target = self.walk(p) catch |reason| return agree(expected, @as(anyerror!void, reason));
        try agree(expected, self.files.removeDirectory(&target, self.now()));
        if (expected == null) self.model.remove(p);
    }

    fn rename(self: *Run, from: []const u8, to: []const u8) !void {
        const expected = self.model.renameError(from, to);
        const source = self.walk(from) catch |reason| return agree(expected, @as(anyerror!void, reason));
        const target = self.walk(to) catch |reason| return agree(expected, @as(anyerror!void, reason));
        if (expected == null and target.node != null and !source.node.?.eql(target.node.?)) try self.orphan(target.node.?, to);
        try agree(expected, self.files.rename(&source, &target, self.now()));
        if (expected == null) try self.model.rename(from, to);
    }

    /// Sometimes keeps a file open that is about to lose its name.
    fn orphan(self: *Run, id: Id, p: []const u8) !void {
        if ((try self.files.attributes(id)).kind != .file) return;
        const slot = &self.held[self.random.uintLessThan(usize, self.held.len)];
        if (slot.*) |*old| {
            try self.expectBytes(old.id, old.orphan.items);
            self.files.release(old.id);
            old.orphan.deinit(gpa);
        }
        slot.* = null;
        if (self.random.boolean()) return;
        try self.files.retain(id);
        var bytes: std.ArrayList(u8) = .empty;
        try bytes.appendSlice(gpa, self.model.things.get(p).?.file.items);
        slot.* = .{ .id = id, .name = null, .orphan = bytes };
    }

    fn write(self: *Run, p: []const u8) !void {
        const target = self.walk(p) catch return;
        const thing = self.model.things.getPtr(p) orelse return;
        if (thing.* == .directory) return;
        const list = &thing.file;
        const position = self.random.uintLessThan(usize, list.items.len + 3000);
        var bytes: [9000]u8 = undefined;
        const length = self.random.uintLessThan(usize, bytes.len);
        self.random.bytes(bytes[0..length]);
        try std.testing.expectEqual(length, try self.files.write(target.node.?, position, bytes[0..length], self.now()));
        if (length == 0) return;
        if (position + length > list.items.len) try list.appendNTimes(gpa, 0, position + length - list.items.len);
        @memcpy(list.items[position..][0..length], bytes[0..length]);
    }

    fn resize(self: *Run, p: []const u8) !void {
        const target = self.walk(p) catch return;
        const thing = self.model.things.getPtr(p) orelse return;
        if (thing.* == .directory) return;
        const size = if (self.random.boolean()) self.random.uintLessThan(usize, 40_000) else 0;
        try self.files.resize(target.node.?, size, self.now());
        const bytes = &thing.file;
        if (size < bytes.items.len) bytes.shrinkRetainingCapacity(size);
        try bytes.appendNTimes(gpa, 0, size - bytes.items.len);
    }

    fn compare(self: *Run, p: []const u8) !void {
        const target = self.walk(p) catch |reason| return agree(self.model.blocked(p), @as(anyerror!void, reason));
        const thing = self.model.things.get(p) orelse return std.testing.expectEqual(null, target.node);
        switch (thing) {
            .directory => try std.testing.expectEqual(.directory, (try self.files.attributes(target.node.?)).kind),
            .file => |bytes| try self.expectBytes(target.node.?, bytes.items),
        }
    }

    fn expectBytes(self: *Run, id: Id, bytes: []const u8) !void {
        const got = try gpa.alloc(u8, bytes.len + 10);
        defer gpa.free(got);
        try std.testing.expectEqual(bytes.len, try self.files.sizeOf(id));
        try std.testing.expectEqualSlices(u8, bytes, got[0..try self.files.read(id, 0, got)]);
    }

    /// Every directory lists exactly the model's names, and every node is accounted for.
    fn compareAll(self: *Run) !void {
        var nodes: usize = 1;
        var listed: usize = 0;
        for (self.held) |slot| nodes += @intFromBool(slot != null);
        nodes += self.model.things.count();
        try std.testing.expectEqual(nodes, self.files.memory.node_count);
        try std.testing.expectEqual(self.model.things.count(), self.files.memory.index.count);
        listed += try self.compareListing("");
        for (self.model.things.keys()) |key| {
            try self.compare(key);
            if (self.model.things.get(key).? == .directory) listed += try self.compareListing(key);
        }
        try std.testing.expectEqual(self.model.things.count(), listed);
    }

    fn compareListing(self: *Run, p: []const u8) !usize {
        const directory = if (p.len == 0) self.files.root() else (try self.walk(p)).node.?;
        var entries = self.files.list(directory, 2);
        var n: usize = 0;
        while (try entries.next()) |entry| : (n += 1) {
            const full = try std.mem.concat(gpa, u8, if (p.len == 0) &.{entry.name} else &.{ p, "/", entry.name });
            defer gpa.free(full);
            const thing = self.model.things.get(full) orelse return error.TestUnexpectedResult;
            try std.testing.expectEqual(entry.kind == .directory, thing == .directory);
        }
        return n;
    }

    fn finish(self: *Run) void {
        for (&self.held) |*slot| if (slot.*) |*held| {
            self.files.release(held.id);
            held.orphan.deinit(gpa);
        };
        self.model.deinit();
    }
};

test "random operations agree with the model" {
    for (0..8) |seed| {
        var fake = try FakeEnvironment.init(.{ .seed = seed });
        defer fake.deinit();
        var files = try FileSystem.init(fake.environment(), 1);
        var prng = std.Random.DefaultPrng.init(seed);
        var run = Run{ .files = &files, .random = prng.random() };
        defer run.finish();
        try run.model.add("tmp", .directory);
        errdefer std.debug.print("seed {d}\n", .{seed});
        for (0..options.fuzz_count) |i| {
            errdefer std.debug.print("step {d}\n", .{i});
            try run.step();
            if (i % 100 == 0) try run.compareAll();
        }
        try run.compareAll();
    }
}
