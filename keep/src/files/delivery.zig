//! Takes in the tenant's files, before the program starts. Refusals are named one by one; after any of them
//! the delivery is over.
const file_system = @import("file_system.zig");
const path = @import("path.zig");
const place = @import("place.zig");
const FileSystem = file_system.FileSystem;
const Id = file_system.Id;

pub const Error = path.DeliveredError || error{
    Duplicate,
    MissingParent,
    ParentIsFile,
    TooManyNodes,
    TooLarge,
    NoMemory,
};

/// Adds a directory. `modified` is in nanoseconds since 1970.
pub fn addDirectory(self: *FileSystem, text: []const u8, writable: bool, modified: u64) Error!void {
    _ = try add(self, text, .directory, writable, modified);
}

/// Adds a file of `size` bytes and returns where its contents go: private memory, zeroed, which stays valid until
/// the program starts.
pub fn addFile(self: *FileSystem, text: []const u8, size: u64, writable: bool, modified: u64) Error![]u8 {
    if (size > file_system.maximum_size) return error.TooLarge;
    const id = try add(self, text, .file, writable, modified);
    return self.node(id).contents.deliver(&self.blocks, size) catch |reason| switch (reason) {
        error.NoSpace => error.NoMemory,
        error.TooLarge => error.TooLarge,
    };
}

fn add(self: *FileSystem, text: []const u8, kind: file_system.Kind, writable: bool, modified: u64) Error!Id {
    const delivered = try path.Delivered.parse(text);
    const parent = try directoryAt(self, delivered.directory);
    if (self.index.find(&self.nodes, parent, delivered.name) != .none) return error.Duplicate;
    const parent_times = self.node(parent).times;
    const id = try place.make(self, .{ .parent = parent, .name = delivered.name }, kind, modified);
    self.node(parent).times = parent_times; // its own time is the one that was delivered with it
    self.node(id).read_only = !writable;
    return id;
}

fn directoryAt(self: *FileSystem, text: []const u8) Error!Id {
    var here: Id = .root;
    var names = path.Names{ .rest = text };
    while (names.next()) |name| {
        here = self.index.find(&self.nodes, here, name);
        if (here == .none) return error.MissingParent;
        if (self.node(here).kind == .file) return error.ParentIsFile;
    }
    return here;
}
