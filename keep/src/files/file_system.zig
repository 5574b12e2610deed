//! The keep's file tree, all in private memory: what the tenant delivered, and what the program adds. It is gone
//! when the keep ends. `/` and `/tmp` are always there and writable; a delivered file or directory is read-only
//! unless the tenant said otherwise.
//!
//! There are no links, so a node has one name or none, and a directory's parent chain ends at the root. A node
//! without a name lives until its last descriptor is closed.
const std = @import("std");
const Environment = @import("../environment.zig").Environment;
const Blocks = @import("blocks.zig").Blocks;
const Index = @import("index.zig").Index;
const contents = @import("contents.zig");
const delivery = @import("delivery.zig");
const listing = @import("listing.zig");
const node_ = @import("node.zig");
const path = @import("path.zig");
const place = @import("place.zig");
const walk_ = @import("walk.zig");

pub const Id = node_.Id;
pub const Kind = node_.Kind;
pub const Node = node_.Node;
pub const Times = node_.Times;
pub const Target = walk_.Target;
pub const Entry = listing.Entry;
pub const DeliveryError = delivery.Error;
pub const maximum_size = contents.maximum_size;

/// Why an operation of a program fails.
pub const Error = path.TextError || error{
    Exists,
    NotDirectory,
    IsDirectory,
    NotEmpty,
    ReadOnly,
    Busy,
    NoSpace,
    TooLarge,
};

pub const FileSystem = struct {
    environment: Environment,
    nodes: node_.Nodes = .{},
    blocks: Blocks,
    index: Index,

    /// `now` (nanoseconds since 1970) stamps `/` and `/tmp`. Only `allocate`, `release` and `random` of the
    /// environment are used, here and later.
    pub fn init(environment: Environment, now: u64) error{NoMemory}!FileSystem {
        var self = FileSystem{
            .environment = environment,
            .blocks = .{ .environment = environment },
            .index = try Index.init(environment),
        };
        const root = self.nodes.create(environment, .directory, now) catch return error.NoMemory;
        std.debug.assert(root == .root);
        self.node(root).fixed = true;
        self.node(root).place.parent = root;
        const temporary = place.make(&self, .{ .parent = root, .name = path.reserved }, .directory, now) catch
            return error.NoMemory;
        self.node(temporary).fixed = true;
        return self;
    }

    pub fn node(self: *const FileSystem, id: Id) *Node {
        return self.nodes.get(id);
    }

    // Delivery, before the program starts.
    pub const addDirectory = delivery.addDirectory;
    pub const addFile = delivery.addFile;

    // Names.
    pub const walk = walk_.walk;
    pub const existing = walk_.existing;
    pub const createFile = place.createFile;
    pub const createDirectory = place.createDirectory;
    pub const removeFile = place.removeFile;
    pub const removeDirectory = place.removeDirectory;
    pub const rename = place.rename;
    pub const list = listing.list;

    // Descriptors' hold on nodes.

    pub fn retain(self: *FileSystem, id: Id) void {
        self.node(id).open_count += 1;
    }

    pub fn release(self: *FileSystem, id: Id) void {
        self.node(id).open_count -= 1;
        place.destroyIfUnused(self, id);
    }

    // Contents of files.

    pub fn read(self: *const FileSystem, id: Id, position: u64, destination: []u8) usize {
        return self.file(id).contents.read(position, destination);
    }

    /// See `Contents.write`.
    pub fn write(self: *FileSystem, id: Id, position: u64, source: []const u8, now: u64) Error!usize {
        const target = self.file(id);
        if (target.read_only) return error.ReadOnly;
        const written = try target.contents.write(&self.blocks, position, source);
        if (written > 0) touch(target, now);
        return written;
    }

    pub fn resize(self: *FileSystem, id: Id, size: u64, now: u64) Error!void {
        const target = self.file(id);
        if (target.read_only) return error.ReadOnly;
        try target.contents.resize(&self.blocks, size);
        touch(target, now);
    }

    pub fn sizeOf(self: *const FileSystem, id: Id) u64 {
        return self.node(id).contents.size;
    }

    /// Sets the times that are given; `now` becomes the time of change.
    pub fn setTimes(self: *FileSystem, id: Id, accessed: ?u64, modified: ?u64, now: u64) Error!void {
        const target = self.node(id);
        if (target.read_only) return error.ReadOnly;
        if (accessed) |time| target.times.accessed = time;
        if (modified) |time| target.times.modified = time;
        target.times.changed = now;
    }

    fn file(self: *const FileSystem, id: Id) *Node {
        const target = self.node(id);
        std.debug.assert(target.kind == .file);
        return target;
    }
};

pub fn touch(target: *Node, now: u64) void {
    target.times.modified = now;
    target.times.changed = now;
}
