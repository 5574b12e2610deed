//! The nodes of a tree in memory: one for each file, directory and symbolic link, found by number; and the names that
//! directories have for them.
const std = @import("std");
const backend = @import("../backend.zig");
const Environment = @import("../../environment.zig").Environment;
const Contents = @import("contents.zig").Contents;

/// Nodes that can exist at once, `/` and `/tmp` among them.
pub const maximum_nodes = 16_384;
/// Names: more than nodes, since a node may have several.
pub const maximum_names = 32_768;

/// A node's number. Numbers are reused after a node is destroyed; `Node.serial` never is.
pub const Id = enum(u16) {
    root = 0,
    none = 0xffff,
    _,
};

pub const NameId = enum(u16) {
    none = 0xffff,
    _,
};

pub const Node = struct {
    kind: backend.Kind = .file,
    in_use: bool = false,
    read_only: bool = false,
    fixed: bool = false,
    /// How many hold it. A node without a name lives on while there are any.
    held: u32 = 0,
    /// Names, the root's place counted as one.
    links: u32 = 0,
    serial: u64 = 0,
    times: backend.Times = .{ .accessed = 0, .modified = 0, .changed = 0 },
    /// Of a directory. The root's is the root; a removed one's is itself.
    parent: Id = .none,
    children: Children = .{},
    contents: Contents = .{},
    /// While the node is not in use: the next free number.
    next_free: Id = .none,

    /// What programs and the tree know it by: never the same number twice.
    pub fn inode(self: *const Node, id: Id) backend.Inode {
        return self.serial << 16 | @backingInt(id);
    }
};

/// What a directory holds, in the order in which the names were made.
pub const Children = struct {
    first: NameId = .none,
    last: NameId = .none,
    /// Ascending for the life of the directory.
    next_cookie: u64 = backend.first_cookie,
};

/// One name of a node, in a directory.
pub const Name = struct {
    parent: Id = .none,
    node: Id = .none,
    /// Lives in a block.
    block: []align(16) u8 = &.{},
    length: u16 = 0,
    hash: u32 = 0,
    /// The next name in the same bucket of the index; the next free number while this one is not in use.
    next_in_bucket: NameId = .none,
    previous: NameId = .none,
    next: NameId = .none,
    /// Where reading the directory finds it.
    cookie: u64 = 0,

    pub fn text(self: *const Name) []const u8 {
        return self.block[0..self.length];
    }
};

/// Things found by number, in chunks that are taken when they are first needed.
pub fn Table(comptime Thing: type, comptime Number: type, comptime maximum: usize) type {
    return struct {
        const per_chunk = 256;
        const Chunk = [per_chunk]Thing;
        const Self = @This();

        chunks: [maximum / per_chunk]?*Chunk = @splat(null),
        /// Numbers below this were in use at some time.
        high: u16 = 0,

        pub fn get(self: *const Self, number: Number) *Thing {
            const i: usize = @backingInt(number);
            std.debug.assert(i < self.high);
            return &self.chunks[i / per_chunk].?[i % per_chunk];
        }

        /// A number that was never used.
        pub fn extend(self: *Self, environment: Environment) error{ TooMany, NoMemory }!Number {
            if (self.high == maximum) return error.TooMany;
            const chunk = &self.chunks[self.high / per_chunk];
            if (chunk.* == null) {
                const pages = environment.allocate(@sizeOf(Chunk)) orelse return error.NoMemory;
                chunk.* = @ptrCast(@alignCast(pages.ptr));
            }
            const number: Number = @fromBackingInt(@intCast(self.high));
            self.high += 1;
            self.get(number).* = .{};
            return number;
        }
    };
}

pub const Nodes = Table(Node, Id, maximum_nodes);
pub const Names = Table(Name, NameId, maximum_names);
