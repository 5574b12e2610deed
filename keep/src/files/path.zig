//! The text of paths: what a program may pass and what a tenant may deliver. Nothing here knows the tree.
const std = @import("std");

/// Bytes of one name.
pub const maximum_name = 255;
/// Bytes of a path that a program passes (PATH_MAX).
pub const maximum_path = 4096;
/// Bytes of the path of a delivered file (docs/protocol.md, section 4).
pub const maximum_delivered = 1024;

/// The directory that the keep itself makes in `/`.
pub const reserved = "tmp";

pub const TextError = error{ NotFound, Escapes, NameTooLong, Invalid, IllegalBytes };

/// A program's path, checked: not empty, relative, UTF-8 without NUL. `.`, `..`, repeated and trailing slashes
/// are left in it.
pub const Relative = struct {
    text: []const u8,

    pub fn parse(text: []const u8) TextError!Relative {
        if (text.len == 0) return error.NotFound;
        if (text.len > maximum_path) return error.NameTooLong;
        if (has(text, 0)) return error.Invalid;
        if (!std.unicode.utf8ValidateSlice(text)) return error.IllegalBytes;
        if (text[0] == '/') return error.Escapes;
        return .{ .text = text };
    }

    pub fn names(self: Relative) Names {
        return .{ .rest = self.text };
    }

    pub fn endsWithSlash(self: Relative) bool {
        return self.text[self.text.len - 1] == '/';
    }
};

/// Why a delivered path is refused. The reasons are reported to the tenant one by one.
pub const DeliveredError = error{
    PathEmpty,
    PathTooLong,
    PathAbsolute,
    PathHasNul,
    PathHasBackslash,
    PathNotUtf8,
    ComponentEmpty,
    ComponentTooLong,
    ComponentIsDot,
    ComponentIsDotDot,
    Reserved,
};

/// A delivered path in its one accepted spelling: names joined by single slashes, none of them special.
pub const Delivered = struct {
    directory: []const u8,
    name: []const u8,

    pub fn parse(text: []const u8) DeliveredError!Delivered {
        if (text.len == 0) return error.PathEmpty;
        if (text.len > maximum_delivered) return error.PathTooLong;
        if (text[0] == '/') return error.PathAbsolute;
        if (has(text, 0)) return error.PathHasNul;
        if (has(text, '\\')) return error.PathHasBackslash;
        if (!std.unicode.utf8ValidateSlice(text)) return error.PathNotUtf8;
        var begin: usize = 0;
        while (begin <= text.len) {
            const name = untilSlash(text[begin..]);
            try checkName(name);
            begin += name.len + 1;
        }
        if (std.mem.eql(u8, untilSlash(text), reserved)) return error.Reserved;
        const slash = std.mem.lastIndexOfScalar(u8, text, '/') orelse return .{ .directory = "", .name = text };
        return .{ .directory = text[0..slash], .name = text[slash + 1 ..] };
    }

    fn checkName(name: []const u8) DeliveredError!void {
        if (name.len == 0) return error.ComponentEmpty;
        if (name.len > maximum_name) return error.ComponentTooLong;
        if (std.mem.eql(u8, name, ".")) return error.ComponentIsDot;
        if (std.mem.eql(u8, name, "..")) return error.ComponentIsDotDot;
    }
};

/// The names in a path, one after another; slashes between them, however many, are left out.
pub const Names = struct {
    rest: []const u8,

    pub fn next(self: *Names) ?[]const u8 {
        self.skipSlashes();
        if (self.rest.len == 0) return null;
        const name = untilSlash(self.rest);
        self.rest = self.rest[name.len..];
        self.skipSlashes();
        return name;
    }

    /// The name that `next` returned last is the last one.
    pub fn atEnd(self: *const Names) bool {
        return self.rest.len == 0;
    }

    fn skipSlashes(self: *Names) void {
        while (self.rest.len > 0 and self.rest[0] == '/') self.rest = self.rest[1..];
    }
};

fn has(text: []const u8, byte: u8) bool {
    for (text) |other| if (other == byte) return true;
    return false;
}

fn untilSlash(text: []const u8) []const u8 {
    for (text, 0..) |byte, i| if (byte == '/') return text[0..i];
    return text;
}
