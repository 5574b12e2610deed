//! What a mount's files lie in: the words in which the tree speaks to it, and the kinds that there are. A backend knows
//! nodes, names and contents. Rules (what may replace what, what is a directory, where a path leads) are the tree's.
const memory = @import("memory/memory.zig");

/// A node's number in its mount, which programs see too. 0 is never one, and none is used twice.
pub const Inode = u64;

pub const Kind = enum { file, directory, symlink };

/// Nanoseconds since 1970.
pub const Times = struct { accessed: u64, modified: u64, changed: u64 };

pub const Attributes = struct {
    kind: Kind,
    /// Names. A node without one lives as long as it is held.
    links: u32,
    /// Bytes: of a file's contents, of a symbolic link's target.
    size: u64,
    times: Times,
    /// It, its contents and (of a directory) its list of names cannot change.
    read_only: bool,
    /// Holds its place in the tree for good, like a mount point.
    fixed: bool,
};

/// One name in a directory.
pub const Entry = struct {
    /// Valid until the next call.
    name: []const u8,
    inode: Inode,
    kind: Kind,
    /// Continues behind this entry. 0 and 1 stand for `.` and `..`, which are the tree's.
    next_cookie: u64,
};

/// The first cookie that is a backend's own.
pub const first_cookie = 2;

pub const Error = error{
    /// The storage failed, or is not what was written there.
    InputOutput,
    NoSpace,
    ReadOnly,
    NotFound,
    NotDirectory,
    IsDirectory,
    TooLarge,
    TooManyLinks,
    /// More nodes held at once than there is memory for.
    NoMemory,
};

pub const Backend = union(enum) {
    memory: *memory.Memory,

    pub fn root(self: Backend) Inode {
        return switch (self) {
            inline else => |own| own.root(),
        };
    }

    pub fn attributes(self: Backend, inode: Inode) Error!Attributes {
        return switch (self) {
            inline else => |own| own.attributes(inode),
        };
    }

    pub fn find(self: Backend, directory: Inode, name: []const u8) Error!?Inode {
        return switch (self) {
            inline else => |own| own.find(directory, name),
        };
    }

    /// The root's parent is the root.
    pub fn parent(self: Backend, directory: Inode) Error!Inode {
        return switch (self) {
            inline else => |own| own.parent(directory),
        };
    }

    /// An empty node with a name, which nothing has yet.
    pub fn create(self: Backend, directory: Inode, name: []const u8, kind: Kind, now: u64) Error!Inode {
        return switch (self) {
            inline else => |own| own.create(directory, name, kind, now),
        };
    }

    /// Another name for what is no directory.
    pub fn link(self: Backend, directory: Inode, name: []const u8, inode: Inode, now: u64) Error!void {
        return switch (self) {
            inline else => |own| own.link(directory, name, inode, now),
        };
    }

    /// Takes a name away. The node goes with the last one, once nobody holds it.
    pub fn remove(self: Backend, directory: Inode, name: []const u8, now: u64) Error!void {
        return switch (self) {
            inline else => |own| own.remove(directory, name, now),
        };
    }

    /// Replaces what has the new name, at one stroke.
    pub fn rename(self: Backend, from: Inode, from_name: []const u8, to: Inode, to_name: []const u8, now: u64) Error!void {
        return switch (self) {
            inline else => |own| own.rename(from, from_name, to, to_name, now),
        };
    }

    pub fn isEmpty(self: Backend, directory: Inode) Error!bool {
        return switch (self) {
            inline else => |own| own.isEmpty(directory),
        };
    }

    /// The first entry at `cookie` (at least `first_cookie`) or behind it; false at the end. Names that come and go
    /// make no other one appear twice or be missed.
    pub fn list(self: Backend, directory: Inode, cookie: u64, entry: *Entry) Error!bool {
        return switch (self) {
            inline else => |own| own.list(directory, cookie, entry),
        };
    }

    pub fn hold(self: Backend, inode: Inode) Error!void {
        return switch (self) {
            inline else => |own| own.hold(inode),
        };
    }

    pub fn drop(self: Backend, inode: Inode) void {
        switch (self) {
            inline else => |own| own.drop(inode),
        }
    }

    /// How many bytes there were from `position` on.
    pub fn read(self: Backend, inode: Inode, position: u64, destination: []u8) Error!usize {
        return switch (self) {
            inline else => |own| own.read(inode, position, destination),
        };
    }

    /// How many bytes were stored: fewer than asked only where space ends. A gap before them reads as zeros.
    pub fn write(self: Backend, inode: Inode, position: u64, source: []const u8, now: u64) Error!usize {
        return switch (self) {
            inline else => |own| own.write(inode, position, source, now),
        };
    }

    pub fn resize(self: Backend, inode: Inode, size: u64, now: u64) Error!void {
        return switch (self) {
            inline else => |own| own.resize(inode, size, now),
        };
    }

    pub fn setTimes(self: Backend, inode: Inode, accessed: ?u64, modified: ?u64, now: u64) Error!void {
        return switch (self) {
            inline else => |own| own.setTimes(inode, accessed, modified, now),
        };
    }

    /// What was done is durable afterwards, as far as the mount promises it.
    pub fn sync(self: Backend) Error!void {
        return switch (self) {
            inline else => |own| own.sync(),
        };
    }
};
