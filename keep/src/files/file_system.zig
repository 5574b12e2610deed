//! The file tree that a program sees: mounts on mounts, the first of them in the keep's memory. Rules about names stand
//! in `place.zig`, the way of a path in `walk.zig`, once for every kind of mount.
const std = @import("std");
const backend_ = @import("backend.zig");
const delivery = @import("memory/delivery.zig");
const listing = @import("listing.zig");
const memory_ = @import("memory/memory.zig");
const path = @import("path.zig");
const place = @import("place.zig");
const walk_ = @import("walk.zig");
const Environment = @import("../environment.zig").Environment;

pub const Attributes = backend_.Attributes;
pub const Backend = backend_.Backend;
pub const Inode = backend_.Inode;
pub const Kind = backend_.Kind;
pub const Times = backend_.Times;
pub const Last = walk_.Last;
pub const Target = walk_.Target;
pub const Entry = listing.Entry;
pub const DeliveryError = delivery.Error;
pub const Memory = memory_.Memory;

/// A node of the whole tree: in which mount, and which there.
pub const Id = struct {
    mount: u8,
    inode: Inode,

    pub fn eql(self: Id, other: Id) bool {
        return self.mount == other.mount and self.inode == other.inode;
    }
};

/// Why an operation of a program fails.
pub const Error = path.TextError || backend_.Error || error{
    Exists,
    NotEmpty,
    Busy,
    NotPermitted,
    /// Both names would be on one mount.
    CrossDevice,
    /// Too many symbolic links on the way, or one that must not be followed.
    Loop,
};

/// Mounts that a tree can have, its own memory among them.
pub const maximum_mounts = 9;

const Mount = struct {
    backend: Backend,
    /// The directory that it covers; the first mount covers none.
    over: ?Id,
};

pub const FileSystem = struct {
    /// The first mount. The tree stays where it is once it has others.
    memory: Memory,
    further: [maximum_mounts - 1]Mount = undefined,
    count: u8 = 1,
    /// Where paths are put together that lead over symbolic links.
    expansion: walk_.Expansion = .{},

    /// `now` (nanoseconds since 1970) stamps `/` and `/tmp`. Only `allocate`, `release` and `random` of the
    /// environment are used, here and later.
    pub fn init(environment: Environment, now: u64) error{NoMemory}!FileSystem {
        var self = FileSystem{ .memory = try Memory.init(environment, now) };
        const temporary = self.memory.make(.root, path.reserved, .directory, now) catch return error.NoMemory;
        self.memory.node(temporary).fixed = true;
        return self;
    }

    pub fn root(self: *const FileSystem) Id {
        return .{ .mount = 0, .inode = self.memory.root() };
    }

    pub fn backend(self: *FileSystem, id: Id) Backend {
        return if (id.mount == 0) .{ .memory = &self.memory } else self.further[id.mount - 1].backend;
    }

    /// The number that tells mounts apart; streams have 0.
    pub fn device(_: *const FileSystem, id: Id) u64 {
        return @as(u64, id.mount) + 1;
    }

    // Delivery, before the program starts.

    pub fn addDirectory(self: *FileSystem, text: []const u8, writable: bool, modified: u64) DeliveryError!void {
        return delivery.addDirectory(&self.memory, text, writable, modified);
    }

    pub fn addFile(self: *FileSystem, text: []const u8, size: u64, writable: bool, modified: u64) DeliveryError![]u8 {
        return delivery.addFile(&self.memory, text, size, writable, modified);
    }

    pub const MountError = error{ Path, TooMany, NoMemory };

    /// Mounts a backend at a path like one that is delivered. Directories on the way that are not there are made,
    /// read-only; the last one must be new, or an empty directory. A mount lies in memory, never in another mount.
    pub fn mount(self: *FileSystem, text: []const u8, mounted: Backend, now: u64) MountError!void {
        if (self.count == maximum_mounts) return error.TooMany;
        _ = path.Delivered.parse(text) catch return error.Path;
        var here = self.memory.root();
        var names = path.Names{ .rest = text };
        while (names.next()) |name| {
            const below: Id = .{ .mount = 0, .inode = here };
            if (self.covering(below) != null) return error.Path;
            const known = self.memory.find(here, name) catch return error.Path;
            here = known orelse blk: {
                const made = self.memory.create(here, name, .directory, now) catch return error.NoMemory;
                self.memory.node(made).read_only = true;
                break :blk made;
            };
            if (self.memory.node(here).kind != .directory) return error.Path;
            self.memory.node(here).fixed = true;
        }
        const over: Id = .{ .mount = 0, .inode = here };
        const empty = self.memory.isEmpty(here) catch return error.Path;
        if (!empty or self.covering(over) != null) return error.Path;
        self.further[self.count - 1] = .{ .backend = mounted, .over = over };
        self.count += 1;
    }

    /// The root of what is mounted on a directory.
    pub fn covering(self: *const FileSystem, id: Id) ?Id {
        for (self.further[0 .. self.count - 1], 1..) |*own, number| if (own.over.?.eql(id)) {
            return .{ .mount = @intCast(number), .inode = own.backend.root() };
        };
        return null;
    }

    /// The directory above one, across mounts.
    pub fn parent(self: *FileSystem, id: Id) Error!Id {
        if (id.mount > 0) {
            const own = &self.further[id.mount - 1];
            if (own.backend.root() == id.inode) return self.parent(own.over.?);
        }
        return .{ .mount = id.mount, .inode = try self.backend(id).parent(id.inode) };
    }

    // Names.
    pub const walk = walk_.walk;
    pub const existing = walk_.existing;
    pub const createFile = place.createFile;
    pub const createDirectory = place.createDirectory;
    pub const createSymlink = place.createSymlink;
    pub const link = place.link;
    pub const removeFile = place.removeFile;
    pub const removeDirectory = place.removeDirectory;
    pub const rename = place.rename;
    pub const list = listing.list;

    pub fn attributes(self: *FileSystem, id: Id) Error!Attributes {
        return self.backend(id).attributes(id.inode);
    }

    // Descriptors' hold on nodes.

    pub fn retain(self: *FileSystem, id: Id) Error!void {
        return self.backend(id).hold(id.inode);
    }

    pub fn release(self: *FileSystem, id: Id) void {
        self.backend(id).drop(id.inode);
    }

    // Contents.

    pub fn read(self: *FileSystem, id: Id, position: u64, destination: []u8) Error!usize {
        return self.backend(id).read(id.inode, position, destination);
    }

    /// How many bytes were stored: fewer than asked only where space ends. An error means none were.
    pub fn write(self: *FileSystem, id: Id, position: u64, source: []const u8, now: u64) Error!usize {
        if ((try self.attributes(id)).read_only) return error.ReadOnly;
        return self.backend(id).write(id.inode, position, source, now);
    }

    pub fn resize(self: *FileSystem, id: Id, size: u64, now: u64) Error!void {
        if ((try self.attributes(id)).read_only) return error.ReadOnly;
        return self.backend(id).resize(id.inode, size, now);
    }

    pub fn sizeOf(self: *FileSystem, id: Id) Error!u64 {
        return (try self.attributes(id)).size;
    }

    /// Sets the times that are given; `now` becomes the time of change.
    pub fn setTimes(self: *FileSystem, id: Id, accessed: ?u64, modified: ?u64, now: u64) Error!void {
        if ((try self.attributes(id)).read_only) return error.ReadOnly;
        return self.backend(id).setTimes(id.inode, accessed, modified, now);
    }

    pub fn sync(self: *FileSystem, id: Id) Error!void {
        return self.backend(id).sync();
    }
};
