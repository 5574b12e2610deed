//! The nodes of the file tree: one for each file and directory, found by number.
const std = @import("std");
const Environment = @import("../environment.zig").Environment;
const Contents = @import("contents.zig").Contents;

/// Files and directories that can exist at once, `/` and `/tmp` among them.
pub const maximum_nodes = 16384;

/// A node's number. Numbers are reused after a node is destroyed; `Node.serial` never is.
pub const Id = enum(u16) {
    root = 0,
    none = 0xffff,
    _,
};

/// Nanoseconds since 1970.
pub const Times = struct { accessed: u64, modified: u64, changed: u64 };

pub const Kind = enum { file, directory };

pub const Node = struct {
    kind: Kind,
    in_use: bool,
    /// Delivered read-only: it, its contents and (for a directory) its list of names cannot change.
    read_only: bool,
    /// Holds its place in the tree for good, like a mount point.
    fixed: bool,
    /// How many descriptors refer to it. A node without a name lives on while there are any.
    open_count: u32,
    /// The inode number that programs see.
    serial: u64,
    times: Times,
    place: Place,
    children: Children,
    contents: Contents,

    /// Reachable by a path, so that names may be made in it.
    pub fn named(self: *const Node) bool {
        return self.place.parent != .none;
    }
};

/// Where a node stands in the tree. The root is its own parent; a removed node has none.
pub const Place = struct {
    parent: Id = .none,
    /// Lives in a block.
    name: []align(16) u8 = &.{},
    name_length: u16 = 0,
    hash: u32 = 0,
    /// The next node in the same bucket of the index; the next free number when the node is not in use.
    next_in_bucket: Id = .none,
    previous: Id = .none,
    next: Id = .none,
    /// Where reading the parent directory continues behind this node is this number plus one.
    cookie: u64 = 0,

    pub fn text(self: *const Place) []const u8 {
        return self.name[0..self.name_length];
    }
};

/// What a directory holds, in the order in which the names were made.
pub const Children = struct {
    first: Id = .none,
    last: Id = .none,
    /// Ascending for the life of the directory. 0 and 1 stand for `.` and `..`.
    next_cookie: u64 = 2,
};

const per_chunk = 256;
const Chunk = [per_chunk]Node;

pub const Nodes = struct {
    chunks: [maximum_nodes / per_chunk]?*Chunk = @splat(null),
    /// Numbers below this were in use at some time.
    high: u16 = 0,
    free: Id = .none,
    next_serial: u64 = 1,
    count: u16 = 0,

    pub fn get(self: *const Nodes, id: Id) *Node {
        const node = self.slot(id);
        std.debug.assert(node.in_use);
        return node;
    }

    fn slot(self: *const Nodes, id: Id) *Node {
        const i = @backingInt(id);
        std.debug.assert(i < self.high);
        return &self.chunks[i / per_chunk].?[i % per_chunk];
    }

    /// A new node without name or contents.
    pub fn create(self: *Nodes, environment: Environment, kind: Kind, now: u64) error{ TooManyNodes, NoMemory }!Id {
        const id = if (self.free != .none) self.free else try self.extend(environment);
        const node = self.slot(id);
        if (self.free != .none) self.free = node.place.next_in_bucket;
        node.* = .{
            .kind = kind,
            .in_use = true,
            .read_only = false,
            .fixed = false,
            .open_count = 0,
            .serial = self.next_serial,
            .times = .{ .accessed = now, .modified = now, .changed = now },
            .place = .{},
            .children = .{},
            .contents = .{},
        };
        self.next_serial += 1;
        self.count += 1;
        return id;
    }

    /// The node must have neither name nor contents any more.
    pub fn destroy(self: *Nodes, id: Id) void {
        const node = self.get(id);
        std.debug.assert(node.open_count == 0 and !node.named() and node.contents.count == 0);
        node.in_use = false;
        node.place = .{ .next_in_bucket = self.free };
        self.free = id;
        self.count -= 1;
    }

    fn extend(self: *Nodes, environment: Environment) error{ TooManyNodes, NoMemory }!Id {
        if (self.high == maximum_nodes) return error.TooManyNodes;
        const chunk = &self.chunks[self.high / per_chunk];
        if (chunk.* == null) {
            const pages = environment.allocate(@sizeOf(Chunk)) orelse return error.NoMemory;
            chunk.* = @ptrCast(pages.ptr);
        }
        const id: Id = @fromBackingInt(@intCast(self.high));
        self.high += 1;
        return id;
    }
};
