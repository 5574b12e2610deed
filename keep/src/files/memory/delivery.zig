//! Takes in the tenant's files, before the program starts. Refusals are named one by one; after any of them
//! the delivery is over.
const backend = @import("../backend.zig");
const memory = @import("memory.zig");
const path = @import("../path.zig");
const Inode = backend.Inode;
const Memory = memory.Memory;

pub const Error = path.DeliveredError || error{
    Duplicate,
    MissingParent,
    ParentIsFile,
    TooManyNodes,
    TooLarge,
    NoMemory,
};

/// Adds a directory. `modified` is in nanoseconds since 1970.
pub fn addDirectory(self: *Memory, text: []const u8, writable: bool, modified: u64) Error!void {
    _ = try add(self, text, .directory, writable, modified);
}

/// Adds a file of `size` bytes and returns where its contents go: private memory, zeroed, which stays valid until
/// the program starts.
pub fn addFile(self: *Memory, text: []const u8, size: u64, writable: bool, modified: u64) Error![]u8 {
    if (size > memory.maximum_size) return error.TooLarge;
    const inode = try add(self, text, .file, writable, modified);
    return self.node(inode).contents.deliver(&self.blocks, size) catch |reason| switch (reason) {
        error.NoSpace => error.NoMemory,
        error.TooLarge => error.TooLarge,
    };
}

fn add(self: *Memory, text: []const u8, kind: backend.Kind, writable: bool, modified: u64) Error!Inode {
    const delivered = try path.Delivered.parse(text);
    const parent = try directoryAt(self, delivered.directory);
    if (try found(self, parent, delivered.name) != null) return error.Duplicate;
    const times = self.node(parent).times;
    const inode = self.make(@fromBackingInt(@intCast(@as(u16, @truncate(parent)))), delivered.name, kind, modified) catch |reason| return switch (reason) {
        error.TooMany => error.TooManyNodes,
        error.NoMemory => error.NoMemory,
    };
    self.node(parent).times = times; // its own time is the one that was delivered with it
    self.node(inode).read_only = !writable;
    return inode;
}

fn directoryAt(self: *Memory, text: []const u8) Error!Inode {
    var here = self.root();
    var names = path.Names{ .rest = text };
    while (names.next()) |name| {
        here = try found(self, here, name) orelse return error.MissingParent;
        if (self.node(here).kind != .directory) return error.ParentIsFile;
    }
    return here;
}

fn found(self: *Memory, directory: Inode, name: []const u8) Error!?Inode {
    return self.find(directory, name) catch error.NoMemory; // memory itself cannot fail
}
