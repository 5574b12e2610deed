//! Reads a directory in an order that stays put: names in the order in which they were made. A name's cookie is
//! fixed while it exists, so entries that come and go meanwhile make no other entry appear twice or be missed.
const file_system = @import("file_system.zig");
const FileSystem = file_system.FileSystem;
const Id = file_system.Id;

pub const Entry = struct {
    /// Continues behind this entry.
    next_cookie: u64,
    serial: u64,
    kind: file_system.Kind,
    /// Valid until the tree changes.
    name: []const u8,
};

pub const Listing = struct {
    files: *const FileSystem,
    directory: Id,
    cookie: u64,
    /// Where to go on among the children; found at the first one.
    child: ?Id = null,

    pub fn next(self: *Listing) ?Entry {
        const own = self.files.node(self.directory);
        switch (self.cookie) {
            0 => {
                self.cookie = 1;
                return .{ .next_cookie = 1, .serial = own.serial, .kind = .directory, .name = "." };
            },
            1 => {
                self.cookie = 2;
                const parent = if (own.named()) self.files.node(own.place.parent) else own;
                return .{ .next_cookie = 2, .serial = parent.serial, .kind = .directory, .name = ".." };
            },
            else => {
                const id = self.child orelse self.seek();
                if (id == .none) return null;
                const child = self.files.node(id);
                self.child = child.place.next;
                return .{
                    .next_cookie = child.place.cookie + 1,
                    .serial = child.serial,
                    .kind = child.kind,
                    .name = child.place.text(),
                };
            },
        }
    }

    fn seek(self: *const Listing) Id {
        var id = self.files.node(self.directory).children.first;
        while (id != .none) {
            const place = &self.files.node(id).place;
            if (place.cookie >= self.cookie) return id;
            id = place.next;
        }
        return .none;
    }
};

/// The entries of a directory behind `cookie`; 0 is the beginning, an unknown cookie is wherever it would be.
pub fn list(self: *const FileSystem, directory: Id, cookie: u64) Listing {
    return .{ .files = self, .directory = directory, .cookie = cookie };
}
