//! Evidence that the keep asks its TEE for: a report by the secure processor (SNP).

const std = @import("std");
const crypto = std.crypto;
const guest_message = @import("guest_message.zig");
const layout = @import("layout.zig");
const Hints = @import("window.zig").Hints;
const Refused = @import("wire.zig").Refused;
const Wire = @import("wire.zig").Wire;

pub const Evidence = struct {
    bytes: [guest_message.report_length]u8,
    measurement: [48]u8,
    tenant_key_digest: [32]u8,
};

/// What the launch gave this keep: a key to talk to the secure processor.
pub const Launch = struct {
    message_key: [32]u8,

    pub fn take(wire: *Wire) Refused!Launch {
        const key = guest_message.takeKey(@ptrFromInt(layout.launch_page)) catch return wire.refuse(.secrets_page, 0);
        return .{ .message_key = key };
    }

    /// Mixed into entropy and the keys of records: the launch holds no secret of the tenant's.
    pub fn secret(_: *const Launch) []const u8 {
        return "";
    }

    pub fn wipe(self: *Launch) void {
        crypto.secureZero(u8, &self.message_key);
    }

    /// Asks the secure processor once, with the first number of a fresh key, which is dropped whatever happens.
    pub fn attest(self: *Launch, wire: *Wire, hints: *const Hints, report_data: *const [64]u8) Refused!Evidence {
        defer self.wipe();
        if (!wire.ask(&guest_message.reportRequest(self.message_key, 1, report_data))) return wire.refuse(.guest_request_failed, 0);

        var response: [guest_message.response_length]u8 = undefined;
        wire.window.takeResponse(&response);
        const bytes = guest_message.openReport(self.message_key, 2, &response) catch |reason| return wire.refuse(switch (reason) {
            error.Status => .report_unusable,
            error.Malformed, error.Authentication => .guest_response_invalid,
        }, 0);
        const report = guest_message.Report.read(bytes, report_data) orelse return wire.refuse(.report_unusable, 0);
        if (!crypto.timing_safe.eql([32]u8, report.host_data, hints.tenant_key_digest)) return wire.refuse(.host_data_mismatch, 0);
        return .{ .bytes = bytes.*, .measurement = report.measurement, .tenant_key_digest = report.host_data };
    }
};
