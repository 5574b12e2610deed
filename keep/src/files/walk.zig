//! Follows a program's path from a directory. The walk never goes above the directory it started from, whatever
//! symbolic links it meets.
const std = @import("std");
const file_system = @import("file_system.zig");
const path = @import("path.zig");
const Error = file_system.Error;
const FileSystem = file_system.FileSystem;
const Id = file_system.Id;

/// Symbolic links on one walk.
pub const maximum_links = 40;

/// Where a path leads.
pub const Target = struct {
    /// The directory that has, or could have, the last name. Null when the path ends in `.` or `..`.
    parent: ?Id,
    /// What is there; null when nothing is.
    node: ?Id,
    /// The path ends in a slash, `.` or `..`: only a directory may be meant.
    directory_only: bool,
    name_length: u8 = 0,
    name_buffer: [path.maximum_name]u8 = undefined,

    /// The last name. Empty when there is no `parent`.
    pub fn name(self: *const Target) []const u8 {
        return self.name_buffer[0..self.name_length];
    }
};

/// What is left of a path after a symbolic link: the link's target, then the rest.
pub const Expansion = struct {
    buffers: [2][path.maximum_path]u8 = undefined,
    used: u1 = 0,

    fn join(self: *Expansion, target: []const u8, rest: []const u8) error{NameTooLong}![]const u8 {
        // The rest may lie in the buffer that was used last.
        self.used ^= 1;
        const buffer = &self.buffers[self.used];
        if (target.len + 1 + rest.len > buffer.len) return error.NameTooLong;
        // The target lies at the buffer's beginning already.
        std.debug.assert(target.ptr == buffer);
        if (rest.len == 0) return target;
        buffer[target.len] = '/';
        @memcpy(buffer[target.len + 1 ..][0..rest.len], rest);
        return buffer[0 .. target.len + 1 + rest.len];
    }

    /// Where the next link's target goes.
    fn next(self: *Expansion) *[path.maximum_path]u8 {
        return &self.buffers[self.used ^ 1];
    }
};

/// What becomes of a symbolic link in a path's last place. Elsewhere each is followed.
pub const Last = enum {
    followed,
    /// Meant itself, but followed where a slash is behind it.
    itself,
    /// A name is made there or taken away, which is never done to what a link leads to: a slash behind the link makes
    /// it no directory.
    name,

    fn follows(self: Last, slash: bool) bool {
        return self == .followed or (self == .itself and slash);
    }
};

/// Fails with Escapes for an absolute path or link and for more `..` than names before them, with NotFound or
/// NotDirectory when a name on the way is missing or no directory, and with Loop after too many links.
pub fn walk(self: *FileSystem, base: Id, text: []const u8, last_place: Last) Error!Target {
    var relative = try path.Relative.parse(text);
    var names = relative.names();
    var here = base;
    var depth: usize = 0;
    var links: usize = 0;
    while (names.next()) |name| {
        if (std.mem.eql(u8, name, ".")) continue;
        if (std.mem.eql(u8, name, "..")) {
            if (depth == 0) return error.Escapes;
            depth -= 1;
            here = try self.parent(here);
            continue;
        }
        if (name.len > path.maximum_name) return error.NameTooLong;
        const last = names.atEnd();
        const directory_only = last and relative.endsWithSlash();
        const found = try child(self, here, name);
        const attributes = if (found) |id| try self.attributes(id) else null;
        if (attributes) |known| if (known.kind == .symlink and (!last or last_place.follows(directory_only))) {
            links += 1;
            if (links > maximum_links) return error.Loop;
            const target = try readLink(self, found.?, self.expansion.next());
            const slash = if (directory_only) "/" else "";
            const whole = try self.expansion.join(target, if (last) slash else names.rest);
            relative = try path.Relative.parse(whole);
            names = relative.names();
            continue;
        };
        if (last) return reached(here, name, found, directory_only);
        const kind = (attributes orelse return error.NotFound).kind;
        if (kind != .directory) return error.NotDirectory;
        here = found.?;
        depth += 1;
    }
    return .{ .parent = null, .node = here, .directory_only = true };
}

fn reached(parent: Id, name: []const u8, found: ?Id, directory_only: bool) Target {
    var target: Target = .{ .parent = parent, .node = found, .directory_only = directory_only, .name_length = @intCast(name.len) };
    @memcpy(target.name_buffer[0..name.len], name);
    return target;
}

/// What has this name in a directory; where something is mounted on that, its root.
fn child(self: *FileSystem, directory: Id, name: []const u8) Error!?Id {
    const inode = try self.backend(directory).find(directory.inode, name) orelse return null;
    const id: Id = .{ .mount = directory.mount, .inode = inode };
    return self.covering(id) orelse id;
}

/// The target of a symbolic link, in `buffer`. What was never a path is InputOutput: nothing but a mistake makes one.
pub fn readLink(self: *FileSystem, id: Id, buffer: *[path.maximum_path]u8) Error![]const u8 {
    const length = try self.read(id, 0, buffer);
    if (length == 0) return error.InputOutput;
    return buffer[0..length];
}

/// What is at the target; NotDirectory for anything else's name with a slash behind it.
pub fn existing(self: *FileSystem, target: *const Target) Error!Id {
    const id = target.node orelse return error.NotFound;
    if (target.directory_only and (try self.attributes(id)).kind != .directory) return error.NotDirectory;
    return id;
}
