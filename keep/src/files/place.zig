//! Giving names to nodes and taking them away: the rules, for every kind of mount. Each operation checks everything
//! first, and a refused one changes nothing.
const std = @import("std");
const backend = @import("backend.zig");
const file_system = @import("file_system.zig");
const path = @import("path.zig");
const Attributes = backend.Attributes;
const Error = file_system.Error;
const FileSystem = file_system.FileSystem;
const Id = file_system.Id;
const Target = file_system.Target;

/// Makes an empty file where `target` says.
pub fn createFile(self: *FileSystem, target: *const Target, now: u64) Error!Id {
    return create(self, target, .file, now);
}

/// Makes an empty directory where `target` says.
pub fn createDirectory(self: *FileSystem, target: *const Target, now: u64) Error!Id {
    return create(self, target, .directory, now);
}

/// Makes a symbolic link where `target` says, to wherever `text` leads then. It cannot lead out of the tree: an absolute
/// one is Escapes.
pub fn createSymlink(self: *FileSystem, target: *const Target, text: []const u8, now: u64) Error!void {
    _ = try path.Relative.parse(text);
    if (target.node != null) return error.Exists;
    if (target.directory_only) return error.NotFound;
    const id = try create(self, target, .symlink, now);
    const own = self.backend(id);
    const written = own.write(id.inode, 0, text, now) catch |reason| return undo(self, target, now, reason);
    if (written != text.len) return undo(self, target, now, error.NoSpace);
}

fn undo(self: *FileSystem, target: *const Target, now: u64, reason: Error) Error {
    const parent = target.parent.?;
    self.backend(parent).remove(parent.inode, target.name(), now) catch |other| return other;
    return reason;
}

fn create(self: *FileSystem, target: *const Target, kind: backend.Kind, now: u64) Error!Id {
    if (target.node != null) return error.Exists;
    const parent = target.parent.?; // what has none is there
    try checkTakesNames(self, parent);
    const inode = try self.backend(parent).create(parent.inode, target.name(), kind, now);
    return .{ .mount = parent.mount, .inode = inode };
}

/// Names may be made in this directory, and taken from it.
fn checkTakesNames(self: *FileSystem, directory: Id) Error!void {
    const attributes = try self.attributes(directory);
    if (attributes.links == 0) return error.NotFound; // the directory itself was removed
    if (attributes.read_only) return error.ReadOnly;
}

/// Gives a file or symbolic link another name.
pub fn link(self: *FileSystem, from: *const Target, to: *const Target, now: u64) Error!void {
    const id = try self.existing(from);
    const attributes = try self.attributes(id);
    if (attributes.kind == .directory) return error.NotPermitted;
    if (to.node != null) return error.Exists;
    if (to.directory_only) return error.NotFound;
    const parent = to.parent.?;
    if (parent.mount != id.mount) return error.CrossDevice;
    if (attributes.read_only) return error.ReadOnly;
    try checkTakesNames(self, parent);
    try self.backend(parent).link(parent.inode, to.name(), id.inode, now);
}

/// Takes the name of a file or symbolic link away. The file lives on while it is open, or has another name.
pub fn removeFile(self: *FileSystem, target: *const Target, now: u64) Error!void {
    const id = try self.existing(target);
    const attributes = try self.attributes(id);
    if (attributes.kind == .directory) return error.IsDirectory;
    const parent = target.parent.?; // only directories are reached without
    try checkRemovable(self, &attributes, parent);
    try self.backend(parent).remove(parent.inode, target.name(), now);
}

/// Removes an empty directory. It lives on, without a name, while it is open.
pub fn removeDirectory(self: *FileSystem, target: *const Target, now: u64) Error!void {
    const id = try self.existing(target);
    const parent = target.parent orelse return error.Invalid; // `.` or `..`
    const attributes = try self.attributes(id);
    if (attributes.kind != .directory) return error.NotDirectory;
    if (id.mount != parent.mount) return error.Busy; // something is mounted there
    try checkRemovable(self, &attributes, parent);
    if (!try self.backend(id).isEmpty(id.inode)) return error.NotEmpty;
    try self.backend(parent).remove(parent.inode, target.name(), now);
}

/// Moves a node to another name, as rename(2): what had that name before is removed.
pub fn rename(self: *FileSystem, from: *const Target, to: *const Target, now: u64) Error!void {
    const source = from.parent orelse return error.Busy; // `.` or `..`
    const destination = to.parent orelse return error.Busy;
    const id = try self.existing(from);
    const moved = try self.attributes(id);
    if (id.mount != source.mount) return error.Busy; // something is mounted there
    if ((try self.attributes(destination)).links == 0) return error.NotFound;
    if (moved.kind != .directory and to.directory_only) return error.NotDirectory;
    if (source.mount != destination.mount) return error.CrossDevice;
    if (to.node) |other| if (id.eql(other)) return; // two names of one node stay as they are
    try checkRemovable(self, &moved, source);
    if ((try self.attributes(destination)).read_only) return error.ReadOnly;
    if (moved.kind == .directory and try isWithin(self, destination, id)) return error.Invalid;
    if (to.node) |other| try checkReplaceable(self, other, moved.kind, destination);
    try self.backend(source).rename(source.inode, from.name(), destination.inode, to.name(), now);
}

fn checkReplaceable(self: *FileSystem, id: Id, by: backend.Kind, parent: Id) Error!void {
    if (id.mount != parent.mount) return error.Busy; // something is mounted there
    const replaced = try self.attributes(id);
    if (by == .directory and replaced.kind != .directory) return error.NotDirectory;
    if (by != .directory and replaced.kind == .directory) return error.IsDirectory;
    try checkRemovable(self, &replaced, parent);
    if (replaced.kind == .directory and !try self.backend(id).isEmpty(id.inode)) return error.NotEmpty;
}

fn checkRemovable(self: *FileSystem, attributes: *const Attributes, parent: Id) Error!void {
    if (attributes.fixed) return error.Busy;
    if (attributes.read_only or (try self.attributes(parent)).read_only) return error.ReadOnly;
}

/// Is `id` the directory `ancestor` or below it? Both are on one mount.
fn isWithin(self: *FileSystem, id: Id, ancestor: Id) Error!bool {
    const own = self.backend(id);
    var here = id.inode;
    while (here != ancestor.inode) {
        if (here == own.root()) return false;
        here = try own.parent(here);
    }
    return true;
}
