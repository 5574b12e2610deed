//! Reads a directory in an order that stays put. A name's cookie is fixed while it exists, so entries that come and go
//! meanwhile make no other entry appear twice or be missed.
const backend = @import("backend.zig");
const file_system = @import("file_system.zig");
const Error = file_system.Error;
const FileSystem = file_system.FileSystem;
const Id = file_system.Id;

pub const Entry = backend.Entry;

pub const Listing = struct {
    files: *FileSystem,
    directory: Id,
    cookie: u64,
    entry: Entry = .{ .name = "", .inode = 0, .kind = .directory, .next_cookie = 0 },

    /// The next entry, valid until the tree changes.
    pub fn next(self: *Listing) Error!?Entry {
        switch (self.cookie) {
            0 => {
                self.cookie = 1;
                return .{ .next_cookie = 1, .inode = self.directory.inode, .kind = .directory, .name = "." };
            },
            1 => {
                self.cookie = backend.first_cookie;
                const parent = try self.files.parent(self.directory);
                return .{ .next_cookie = self.cookie, .inode = parent.inode, .kind = .directory, .name = ".." };
            },
            else => {
                if (!try self.files.backend(self.directory).list(self.directory.inode, self.cookie, &self.entry)) return null;
                self.cookie = self.entry.next_cookie;
                return self.entry;
            },
        }
    }
};

/// The entries of a directory behind `cookie`; 0 is the beginning, an unknown cookie is wherever it would be.
pub fn list(self: *FileSystem, directory: Id, cookie: u64) Listing {
    return .{ .files = self, .directory = directory, .cookie = cookie };
}
