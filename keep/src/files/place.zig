//! Giving names to nodes and taking them away. Each operation checks everything first, and a refused one
//! changes nothing.
const std = @import("std");
const file_system = @import("file_system.zig");
const node_ = @import("node.zig");
const path = @import("path.zig");
const touch = file_system.touch;
const Error = file_system.Error;
const FileSystem = file_system.FileSystem;
const Id = file_system.Id;
const Target = file_system.Target;

/// A name to be, which nothing has yet.
const Vacancy = struct { parent: Id, name: []const u8 };

/// Makes an empty file where `target` says.
pub fn createFile(self: *FileSystem, target: Target, now: u64) Error!Id {
    if (target.node != .none) return error.Exists;
    return create(self, target, .file, now);
}

/// Makes an empty directory where `target` says.
pub fn createDirectory(self: *FileSystem, target: Target, now: u64) Error!Id {
    if (target.node != .none) return error.Exists;
    return create(self, target, .directory, now);
}

fn create(self: *FileSystem, target: Target, kind: node_.Kind, now: u64) Error!Id {
    std.debug.assert(target.node == .none and target.parent != .none);
    const parent = self.node(target.parent);
    if (!parent.named()) return error.NotFound; // the directory itself was removed
    if (parent.read_only) return error.ReadOnly;
    return make(self, .{ .parent = target.parent, .name = target.name }, kind, now) catch error.NoSpace;
}

/// Takes a file's name away. The file lives on while it is open.
pub fn removeFile(self: *FileSystem, target: Target, now: u64) Error!void {
    const id = try self.existing(target);
    if (self.node(id).kind == .directory) return error.IsDirectory;
    try checkRemovable(self, id);
    unlink(self, id, now);
}

/// Removes an empty directory. It lives on, without a name, while it is open.
pub fn removeDirectory(self: *FileSystem, target: Target, now: u64) Error!void {
    const id = try self.existing(target);
    if (target.parent == .none) return error.Invalid; // `.` or `..`
    if (self.node(id).kind == .file) return error.NotDirectory;
    try checkRemovable(self, id);
    if (self.node(id).children.first != .none) return error.NotEmpty;
    unlink(self, id, now);
}

/// Moves a node to another name, as rename(2): what had that name before is removed.
pub fn rename(self: *FileSystem, from: Target, to: Target, now: u64) Error!void {
    if (from.parent == .none or to.parent == .none) return error.Busy; // `.` or `..`
    const id = try self.existing(from);
    const moved = self.node(id);
    if (!self.node(to.parent).named()) return error.NotFound;
    if (moved.kind == .file and to.directory_only) return error.NotDirectory;
    if (id == to.node) return;
    try checkRemovable(self, id);
    if (self.node(to.parent).read_only) return error.ReadOnly;
    if (isWithin(self, to.parent, id)) return error.Invalid;
    if (to.node != .none) try checkReplaceable(self, to.node, moved.kind);

    const name = try keep(self, to.name);
    if (to.node != .none) unlink(self, to.node, now);
    detach(self, id, now);
    attach(self, id, to.parent, name, to.name.len);
    touch(self.node(to.parent), now);
    moved.times.changed = now;
}

fn checkReplaceable(self: *FileSystem, id: Id, by: node_.Kind) Error!void {
    const replaced = self.node(id);
    if (by == .directory and replaced.kind == .file) return error.NotDirectory;
    if (by == .file and replaced.kind == .directory) return error.IsDirectory;
    try checkRemovable(self, id);
    if (replaced.children.first != .none) return error.NotEmpty;
}

fn checkRemovable(self: *FileSystem, id: Id) Error!void {
    const node = self.node(id);
    if (node.fixed) return error.Busy;
    if (node.read_only or self.node(node.place.parent).read_only) return error.ReadOnly;
}

/// Is `id` the directory `ancestor` or below it?
fn isWithin(self: *FileSystem, id: Id, ancestor: Id) bool {
    var here = id;
    while (here != ancestor) {
        if (here == .root) return false;
        here = self.node(here).place.parent;
    }
    return true;
}

/// A new node with a name. The caller has checked that the directory may have it.
pub fn make(self: *FileSystem, at: Vacancy, kind: node_.Kind, now: u64) error{ TooManyNodes, NoMemory }!Id {
    const name = keep(self, at.name) catch return error.NoMemory;
    const id = self.nodes.create(self.environment, kind, now) catch |reason| {
        self.blocks.give(name);
        return reason;
    };
    attach(self, id, at.parent, name, at.name.len);
    touch(self.node(at.parent), now);
    return id;
}

fn keep(self: *FileSystem, name: []const u8) error{NoSpace}![]align(16) u8 {
    std.debug.assert(name.len > 0 and name.len <= path.maximum_name);
    const block = self.blocks.take(name.len) orelse return error.NoSpace;
    @memcpy(block[0..name.len], name);
    return block;
}

/// Puts a nameless node at the end of a directory.
fn attach(self: *FileSystem, id: Id, parent: Id, name: []align(16) u8, length: usize) void {
    const directory = &self.node(parent).children;
    const node = self.node(id);
    std.debug.assert(!node.named());
    node.place = .{
        .parent = parent,
        .name = name,
        .name_length = @intCast(length),
        .hash = self.index.hashOf(parent, name[0..length]),
        .previous = directory.last,
        .cookie = directory.next_cookie,
    };
    directory.next_cookie += 1;
    if (directory.last == .none) directory.first = id else self.node(directory.last).place.next = id;
    directory.last = id;
    self.index.insert(&self.nodes, id);
}

/// Takes a node out of its directory; it has no name afterwards.
fn detach(self: *FileSystem, id: Id, now: u64) void {
    self.index.remove(&self.nodes, id);
    const node = self.node(id);
    const parent = self.node(node.place.parent);
    const before, const after = .{ node.place.previous, node.place.next };
    if (before == .none) parent.children.first = after else self.node(before).place.next = after;
    if (after == .none) parent.children.last = before else self.node(after).place.previous = before;
    self.blocks.give(node.place.name);
    node.place = .{};
    touch(parent, now);
}

fn unlink(self: *FileSystem, id: Id, now: u64) void {
    detach(self, id, now);
    self.node(id).times.changed = now;
    destroyIfUnused(self, id);
}

/// Ends a node that has neither a name nor a descriptor.
pub fn destroyIfUnused(self: *FileSystem, id: Id) void {
    const node = self.node(id);
    if (node.named() or node.open_count > 0) return;
    node.contents.release(&self.blocks);
    self.nodes.destroy(id);
}
