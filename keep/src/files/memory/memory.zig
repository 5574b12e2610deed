//! Files in the keep's private memory: what the tenant delivered, and what the program adds. All is gone when the keep
//! ends.
const std = @import("std");
const backend = @import("../backend.zig");
const contents_ = @import("contents.zig");
const node_ = @import("node.zig");
const Attributes = backend.Attributes;
const Blocks = @import("blocks.zig").Blocks;
const Entry = backend.Entry;
const Environment = @import("../../environment.zig").Environment;
const Error = backend.Error;
const Id = node_.Id;
const Index = @import("index.zig").Index;
const Inode = backend.Inode;
const Kind = backend.Kind;
const NameId = node_.NameId;
const Node = node_.Node;

pub const maximum_size = contents_.maximum_size;

pub const Memory = struct {
    environment: Environment,
    nodes: node_.Nodes = .{},
    free_node: Id = .none,
    node_count: u16 = 0,
    next_serial: u64 = 1,
    names: node_.Names = .{},
    free_name: NameId = .none,
    blocks: Blocks,
    index: Index,

    /// An empty tree. `now` stamps its root. Only `allocate`, `release` and `random` of the environment are used.
    pub fn init(environment: Environment, now: u64) error{NoMemory}!Memory {
        var self = Memory{
            .environment = environment,
            .blocks = .{ .environment = environment },
            .index = try Index.init(environment),
        };
        const id = self.newNode(.directory, now) catch return error.NoMemory;
        std.debug.assert(id == .root);
        const top = self.nodes.get(id);
        top.fixed = true;
        top.links = 1;
        top.parent = id;
        return self;
    }

    // Numbers. An inode of a node that is gone is a mistake of the tree's, which holds what it refers to.

    fn idOf(self: *const Memory, inode: Inode) Id {
        const id: Id = @fromBackingInt(@intCast(@as(u16, @truncate(inode))));
        std.debug.assert(self.nodes.get(id).in_use and self.nodes.get(id).serial == inode >> 16);
        return id;
    }

    pub fn node(self: *const Memory, inode: Inode) *Node {
        return self.nodes.get(self.idOf(inode));
    }

    fn inodeOf(self: *const Memory, id: Id) Inode {
        return self.nodes.get(id).inode(id);
    }

    // What the tree asks (`backend.Backend`).

    pub fn root(self: *const Memory) Inode {
        return self.inodeOf(.root);
    }

    pub fn attributes(self: *const Memory, inode: Inode) Error!Attributes {
        const own = self.node(inode);
        return .{
            .kind = own.kind,
            .links = own.links,
            .size = own.contents.size,
            .times = own.times,
            .read_only = own.read_only,
            .fixed = own.fixed,
        };
    }

    pub fn find(self: *Memory, directory: Inode, name: []const u8) Error!?Inode {
        const found = self.index.find(&self.names, self.idOf(directory), name);
        return if (found == .none) null else self.inodeOf(self.names.get(found).node);
    }

    pub fn parent(self: *const Memory, directory: Inode) Error!Inode {
        return self.inodeOf(self.node(directory).parent);
    }

    pub fn create(self: *Memory, directory: Inode, name: []const u8, kind: Kind, now: u64) Error!Inode {
        return self.make(self.idOf(directory), name, kind, now) catch error.NoSpace;
    }

    /// Why there is no room for a new node, in the words of a delivery.
    pub const MakeError = error{ TooMany, NoMemory };

    pub fn make(self: *Memory, directory: Id, name: []const u8, kind: Kind, now: u64) MakeError!Inode {
        const entry = try self.newName(name);
        const id = self.newNode(kind, now) catch |reason| {
            self.freeName(entry);
            return reason;
        };
        self.attach(entry, directory, id);
        if (kind == .directory) self.nodes.get(id).parent = directory;
        touch(self.nodes.get(directory), now);
        return self.inodeOf(id);
    }

    pub fn link(self: *Memory, directory: Inode, name: []const u8, inode: Inode, now: u64) Error!void {
        const own = self.node(inode);
        if (own.links == std.math.maxInt(u32)) return error.TooManyLinks;
        const entry = self.newName(name) catch return error.NoSpace;
        self.attach(entry, self.idOf(directory), self.idOf(inode));
        own.times.changed = now;
        touch(self.node(directory), now);
    }

    pub fn remove(self: *Memory, directory: Inode, name: []const u8, now: u64) Error!void {
        const entry = self.index.find(&self.names, self.idOf(directory), name);
        if (entry == .none) return error.NotFound;
        self.unlink(entry, now);
    }

    pub fn rename(self: *Memory, from: Inode, from_name: []const u8, to: Inode, to_name: []const u8, now: u64) Error!void {
        const old = self.index.find(&self.names, self.idOf(from), from_name);
        if (old == .none) return error.NotFound;
        const fresh = self.newName(to_name) catch return error.NoSpace; // before anything changes
        const replaced = self.index.find(&self.names, self.idOf(to), to_name);
        if (replaced != .none) self.unlink(replaced, now);
        const id = self.names.get(old).node;
        self.detach(old);
        self.attach(fresh, self.idOf(to), id);
        touch(self.node(from), now);
        touch(self.node(to), now);
        const moved = self.nodes.get(id);
        if (moved.kind == .directory) moved.parent = self.idOf(to);
        moved.times.changed = now;
    }

    pub fn isEmpty(self: *const Memory, directory: Inode) Error!bool {
        return self.node(directory).children.first == .none;
    }

    pub fn list(self: *const Memory, directory: Inode, cookie: u64, entry: *Entry) Error!bool {
        var id = self.node(directory).children.first;
        // Whoever reads on goes on from where the last entry was, which is mostly still there.
        if (entry.next_cookie == cookie and entry.name.len > 0) if (self.after(directory, entry)) |next| {
            id = next;
        };
        while (id != .none) {
            const name = self.names.get(id);
            if (name.cookie >= cookie) {
                entry.* = .{
                    .name = name.text(),
                    .inode = self.inodeOf(name.node),
                    .kind = self.nodes.get(name.node).kind,
                    .next_cookie = name.cookie + 1,
                };
                return true;
            }
            id = name.next;
        }
        return false;
    }

    /// The name behind one that was listed in the same walk.
    fn after(self: *const Memory, directory: Inode, entry: *const Entry) ?NameId {
        const index: *Index = @constCast(&self.index);
        const found = index.find(&self.names, self.idOf(directory), entry.name);
        if (found == .none) return null;
        const name = self.names.get(found);
        return if (name.cookie + 1 == entry.next_cookie) name.next else null;
    }

    pub fn hold(self: *Memory, inode: Inode) Error!void {
        self.node(inode).held += 1;
    }

    pub fn drop(self: *Memory, inode: Inode) void {
        self.node(inode).held -= 1;
        self.destroyIfUnused(self.idOf(inode));
    }

    pub fn read(self: *const Memory, inode: Inode, position: u64, destination: []u8) Error!usize {
        return self.node(inode).contents.read(position, destination);
    }

    pub fn write(self: *Memory, inode: Inode, position: u64, source: []const u8, now: u64) Error!usize {
        const own = self.node(inode);
        const written = try own.contents.write(&self.blocks, position, source);
        if (written > 0) touch(own, now);
        return written;
    }

    pub fn resize(self: *Memory, inode: Inode, size: u64, now: u64) Error!void {
        const own = self.node(inode);
        try own.contents.resize(&self.blocks, size);
        touch(own, now);
    }

    pub fn setTimes(self: *Memory, inode: Inode, accessed: ?u64, modified: ?u64, now: u64) Error!void {
        const own = self.node(inode);
        if (accessed) |time| own.times.accessed = time;
        if (modified) |time| own.times.modified = time;
        own.times.changed = now;
    }

    /// What is here is as safe as it will ever be the moment it is written.
    pub fn sync(_: *Memory) Error!void {}

    // Nodes and names.

    fn newNode(self: *Memory, kind: Kind, now: u64) MakeError!Id {
        const id = if (self.free_node != .none) self.free_node else try self.nodes.extend(self.environment);
        const own = self.nodes.get(id);
        if (self.free_node != .none) self.free_node = own.next_free;
        own.* = .{
            .kind = kind,
            .in_use = true,
            .serial = self.next_serial,
            .times = .{ .accessed = now, .modified = now, .changed = now },
        };
        self.next_serial += 1;
        self.node_count += 1;
        return id;
    }

    fn destroyIfUnused(self: *Memory, id: Id) void {
        const own = self.nodes.get(id);
        if (own.links > 0 or own.held > 0) return;
        own.contents.release(&self.blocks);
        own.in_use = false;
        own.next_free = self.free_node;
        self.free_node = id;
        self.node_count -= 1;
    }

    fn newName(self: *Memory, text: []const u8) MakeError!NameId {
        const block = self.blocks.take(text.len) orelse return error.NoMemory;
        const id = if (self.free_name != .none) self.free_name else self.names.extend(self.environment) catch |reason| {
            self.blocks.give(block);
            return reason;
        };
        const name = self.names.get(id);
        if (self.free_name != .none) self.free_name = name.next_in_bucket;
        @memcpy(block[0..text.len], text);
        name.* = .{ .block = block, .length = @intCast(text.len) };
        return id;
    }

    fn freeName(self: *Memory, id: NameId) void {
        const name = self.names.get(id);
        self.blocks.give(name.block);
        name.* = .{ .next_in_bucket = self.free_name };
        self.free_name = id;
    }

    /// Puts a name at the end of a directory.
    fn attach(self: *Memory, entry: NameId, directory: Id, id: Id) void {
        const children = &self.nodes.get(directory).children;
        const name = self.names.get(entry);
        name.parent = directory;
        name.node = id;
        name.hash = self.index.hashOf(directory, name.text());
        name.previous = children.last;
        name.cookie = children.next_cookie;
        children.next_cookie += 1;
        if (children.last == .none) children.first = entry else self.names.get(children.last).next = entry;
        children.last = entry;
        self.index.insert(&self.names, entry);
        self.nodes.get(id).links += 1;
    }

    /// Takes a name out of its directory; the node stays, whether or not it has another.
    fn detach(self: *Memory, entry: NameId) void {
        self.index.remove(&self.names, entry);
        const name = self.names.get(entry);
        const children = &self.nodes.get(name.parent).children;
        if (name.previous == .none) children.first = name.next else self.names.get(name.previous).next = name.next;
        if (name.next == .none) children.last = name.previous else self.names.get(name.next).previous = name.previous;
        self.nodes.get(name.node).links -= 1;
        self.freeName(entry);
    }

    fn unlink(self: *Memory, entry: NameId, now: u64) void {
        const name = self.names.get(entry);
        const id, const directory = .{ name.node, name.parent };
        self.detach(entry);
        touch(self.nodes.get(directory), now);
        const own = self.nodes.get(id);
        own.times.changed = now;
        if (own.kind == .directory) own.parent = id;
        self.destroyIfUnused(id);
    }
};

fn touch(target: *Node, now: u64) void {
    target.times.modified = now;
    target.times.changed = now;
}
