//! Finds a name in a directory without looking at the directory's other names: one hash table over
//! (directory, name) for the whole tree. The hash starts from a random number of this keep, so that whoever chose
//! the names did not choose which of them share a bucket.
const std = @import("std");
const environment = @import("../environment.zig");
const node_ = @import("node.zig");
const Environment = environment.Environment;
const Id = node_.Id;
const Nodes = node_.Nodes;

const first_size = environment.page_size; // bytes of the smallest table
const largest_size = node_.maximum_nodes * @sizeOf(Id);

pub const Index = struct {
    environment: Environment,
    seed: u64,
    pages: []align(environment.page_size) u8,
    count: usize = 0,

    pub fn init(from: Environment) error{NoMemory}!Index {
        var seed: [8]u8 = undefined;
        from.random(&seed);
        const pages = from.allocate(first_size) orelse return error.NoMemory;
        var index = Index{ .environment = from, .seed = std.mem.readInt(u64, &seed, .little), .pages = pages };
        @memset(index.buckets(), .none);
        return index;
    }

    fn buckets(self: *Index) []Id {
        // A power of two: `allocate` rounds up to whole pages, and both sizes are whole pages.
        return @ptrCast(self.pages);
    }

    fn bucket(self: *Index, hash: u32) *Id {
        const all = self.buckets();
        return &all[hash % all.len];
    }

    pub fn hashOf(self: *const Index, parent: Id, name: []const u8) u32 {
        var hash = std.hash.Fnv1a_64.init();
        hash.value ^= self.seed;
        hash.update(std.mem.asBytes(&parent));
        hash.update(name);
        // FNV leaves the last bytes of a name in few bits; spread them over all.
        const spread = (hash.final() ^ (hash.final() >> 32)) *% 0x9e37_79b9_7f4a_7c15;
        return @truncate(spread >> 32);
    }

    /// The node of that name in the directory, or `.none`.
    pub fn find(self: *Index, nodes: *const Nodes, parent: Id, name: []const u8) Id {
        const hash = self.hashOf(parent, name);
        var id = self.bucket(hash).*;
        while (id != .none) {
            const place = &nodes.get(id).place;
            if (place.hash == hash and place.parent == parent and std.mem.eql(u8, place.text(), name)) return id;
            id = place.next_in_bucket;
        }
        return .none;
    }

    /// Adds a node whose place names parent, name and hash.
    pub fn insert(self: *Index, nodes: *const Nodes, id: Id) void {
        if (self.count >= self.buckets().len) self.grow(nodes);
        self.put(nodes, id);
        self.count += 1;
    }

    pub fn remove(self: *Index, nodes: *const Nodes, id: Id) void {
        const place = &nodes.get(id).place;
        var link = self.bucket(place.hash);
        while (link.* != id) link = &nodes.get(link.*).place.next_in_bucket;
        link.* = place.next_in_bucket;
        place.next_in_bucket = .none;
        self.count -= 1;
    }

    fn put(self: *Index, nodes: *const Nodes, id: Id) void {
        const place = &nodes.get(id).place;
        const head = self.bucket(place.hash);
        place.next_in_bucket = head.*;
        head.* = id;
    }

    /// Doubles the table. Without memory for it the old one stays and only becomes slower.
    fn grow(self: *Index, nodes: *const Nodes) void {
        if (self.pages.len >= largest_size) return;
        const old = self.pages;
        const old_buckets = self.buckets();
        self.pages = self.environment.allocate(old.len * 2) orelse return;
        @memset(self.buckets(), .none);
        for (old_buckets) |first| {
            var id = first;
            while (id != .none) {
                const next = nodes.get(id).place.next_in_bucket;
                self.put(nodes, id);
                id = next;
            }
        }
        self.environment.release(old);
    }
};
