//! The GHCB page: what the keep states to the hypervisor at an exit, and nothing else.
//! Source: AMD publication 56421, GHCB layout and "NAE events" (IOIO 7Bh, SNP guest request 8000_0011h).

const std = @import("std");

/// The one port a keep may touch.
pub const port = 0x10;

pub const offset = struct {
    pub const rax = 0x1F8;
    pub const exit_code = 0x390;
    pub const exit_info_1 = 0x398;
    pub const exit_info_2 = 0x3A0;
    pub const valid_bitmap = 0x3F0;
    pub const protocol_version = 0xFFA;
    pub const usage = 0xFFC;
};

const exit_code_ioio = 0x7B;
const exit_code_guest_request = 0x8000_0011;
/// Bit 4: one byte; bit 9: 64-bit address; bit 0 clear: OUT; bits 31:16 the port.
const ioio_out_byte = port << 16 | 1 << 9 | 1 << 4;

pub const Page = struct {
    bytes: *align(8) volatile [4096]u8,

    /// States a write of the byte 0 to the port.
    pub fn stateOut(self: Page) void {
        self.clear();
        self.field(offset.rax, 0);
        self.field(offset.exit_code, exit_code_ioio);
        self.field(offset.exit_info_1, ioio_out_byte);
        self.field(offset.exit_info_2, 0);
    }

    /// States a message for the secure processor in the page at `request`, to be answered at `response`.
    pub fn stateGuestRequest(self: Page, request: u64, response: u64) void {
        self.clear();
        self.field(offset.exit_code, exit_code_guest_request);
        self.field(offset.exit_info_1, request);
        self.field(offset.exit_info_2, response);
    }

    /// SW_EXITINFO2 as the host left it: read once, to be compared by the caller.
    pub fn exitInfo2(self: Page) u64 {
        return self.at(u64, offset.exit_info_2).*;
    }

    fn clear(self: Page) void {
        self.at(u64, offset.valid_bitmap).* = 0;
        self.at(u64, offset.valid_bitmap + 8).* = 0;
        self.at(u64, offset.rax).* = 0;
        self.at(u16, offset.protocol_version).* = 2;
        self.at(u32, offset.usage).* = 0;
    }

    /// Writes a quadword and its bit of the valid bitmap (bit number = offset / 8).
    fn field(self: Page, comptime where: usize, value: u64) void {
        self.at(u64, where).* = value;
        const bit = where / 8;
        self.bytes[offset.valid_bitmap + bit / 8] |= 1 << (bit % 8);
    }

    fn at(self: Page, comptime T: type, comptime where: usize) *volatile T {
        return @ptrCast(@alignCast(self.bytes[where..].ptr));
    }
};

test "fields of an exit stand where the specification puts them" {
    var memory: [4096]u8 align(8) = @splat(0);
    const page: Page = .{ .bytes = &memory };
    page.stateGuestRequest(0x20_2000, 0x20_3000);
    page.stateOut();
    const expectEqual = std.testing.expectEqual;
    try expectEqual(0x7B, std.mem.readInt(u64, memory[0x390..0x398], .little));
    try expectEqual(0x0010_0210, std.mem.readInt(u64, memory[0x398..0x3A0], .little));
    try expectEqual(0, page.exitInfo2());
    try expectEqual(0x80, memory[0x3F0 + 63 / 8]); // rax, bit 63
    try expectEqual(0b0001_1100, memory[0x3F0 + 114 / 8]); // exit code and both infos, bits 114 to 116
    try expectEqual(2, std.mem.readInt(u16, memory[0xFFA..0xFFC], .little));
    page.stateGuestRequest(0x20_2000, 0x20_3000);
    try expectEqual(0, memory[0x3F0 + 63 / 8]); // rax is not part of a guest request
    try expectEqual(0x8000_0011, std.mem.readInt(u64, memory[0x390..0x398], .little));
}
