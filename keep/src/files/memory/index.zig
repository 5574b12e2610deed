//! Finds a name in a directory without looking at the directory's other names: one hash table over
//! (directory, name) for the whole tree. The hash starts from a random number of this keep, so that whoever chose
//! the names did not choose which of them share a bucket.
const std = @import("std");
const environment = @import("../../environment.zig");
const node_ = @import("node.zig");
const Environment = environment.Environment;
const Id = node_.Id;
const NameId = node_.NameId;
const Names = node_.Names;

const first_size = environment.page_size; // bytes of the smallest table
const largest_size = node_.maximum_names * @sizeOf(NameId);

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

    fn buckets(self: *Index) []NameId {
        // A power of two: `allocate` rounds up to whole pages, and both sizes are whole pages.
        return @ptrCast(self.pages);
    }

    fn bucket(self: *Index, hash: u32) *NameId {
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

    /// That name in the directory, or `.none`.
    pub fn find(self: *Index, names: *const Names, parent: Id, text: []const u8) NameId {
        const hash = self.hashOf(parent, text);
        var id = self.bucket(hash).*;
        while (id != .none) {
            const name = names.get(id);
            if (name.hash == hash and name.parent == parent and std.mem.eql(u8, name.text(), text)) return id;
            id = name.next_in_bucket;
        }
        return .none;
    }

    /// Adds a name that has its parent, text and hash.
    pub fn insert(self: *Index, names: *const Names, id: NameId) void {
        if (self.count >= self.buckets().len) self.grow(names);
        self.put(names, id);
        self.count += 1;
    }

    pub fn remove(self: *Index, names: *const Names, id: NameId) void {
        const name = names.get(id);
        var link = self.bucket(name.hash);
        while (link.* != id) link = &names.get(link.*).next_in_bucket;
        link.* = name.next_in_bucket;
        name.next_in_bucket = .none;
        self.count -= 1;
    }

    fn put(self: *Index, names: *const Names, id: NameId) void {
        const name = names.get(id);
        const head = self.bucket(name.hash);
        name.next_in_bucket = head.*;
        head.* = id;
    }

    /// Doubles the table. Without memory for it the old one stays and only becomes slower.
    fn grow(self: *Index, names: *const Names) void {
        if (self.pages.len >= largest_size) return;
        const old = self.pages;
        const old_buckets = self.buckets();
        self.pages = self.environment.allocate(old.len * 2) orelse return;
        @memset(self.buckets(), .none);
        for (old_buckets) |first| {
            var id = first;
            while (id != .none) {
                const next = names.get(id).next_in_bucket;
                self.put(names, id);
                id = next;
            }
        }
        self.environment.release(old);
    }
};
