//! Follows a program's path from a directory. The walk never goes above the directory it started from.
const std = @import("std");
const file_system = @import("file_system.zig");
const path = @import("path.zig");
const FileSystem = file_system.FileSystem;
const Id = file_system.Id;

/// Where a path leads.
pub const Target = struct {
    /// The directory that has, or could have, the last name. `.none` when the path ends in `.` or `..`.
    parent: Id,
    /// The last name, a part of the caller's path. Empty when `parent` is `.none`.
    name: []const u8,
    /// What is there; `.none` when nothing is.
    node: Id,
    /// The path ends in a slash, `.` or `..`: only a directory may be meant.
    directory_only: bool,
};

/// Fails with Escapes for an absolute path and for more `..` than names before them, and with NotFound or
/// NotDirectory when a name on the way is missing or a file.
pub fn walk(self: *FileSystem, base: Id, text: []const u8) file_system.Error!Target {
    const relative = try path.Relative.parse(text);
    var names = relative.names();
    var here = base;
    var depth: usize = 0;
    while (names.next()) |name| {
        if (std.mem.eql(u8, name, "..")) {
            if (depth == 0) return error.Escapes;
            depth -= 1;
            here = self.node(here).place.parent;
        } else if (!std.mem.eql(u8, name, ".")) {
            if (name.len > path.maximum_name) return error.NameTooLong;
            const found = self.index.find(&self.nodes, here, name);
            if (names.atEnd())
                return .{ .parent = here, .name = name, .node = found, .directory_only = relative.endsWithSlash() };
            if (found == .none) return error.NotFound;
            if (self.node(found).kind == .file) return error.NotDirectory;
            here = found;
            depth += 1;
        }
    }
    return .{ .parent = .none, .name = "", .node = here, .directory_only = true };
}

/// What is at the target; NotDirectory for a file's name with a slash behind it.
pub fn existing(self: *const FileSystem, target: Target) file_system.Error!Id {
    if (target.node == .none) return error.NotFound;
    if (target.directory_only and self.node(target.node).kind == .file) return error.NotDirectory;
    return target.node;
}
