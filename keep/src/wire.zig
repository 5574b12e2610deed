//! The keep's end of the wire: messages in and out of the window, records in and out of private memory.
//! What a message may contain is `session.zig`'s business.

const std = @import("std");
const crypto = std.crypto;
const machine = @import("machine.zig");
const records = @import("records.zig");
const refusal = @import("refusal.zig");
const stack = @import("stack.zig");
const tee = @import("tee.zig");
const Window = @import("window.zig").Window;
const Operation = @import("window.zig").Operation;
const data_size = @import("window.zig").data_size;

pub const Refused = error{Refused};

/// The host may take as long as it takes.
pub const forever = std.math.maxInt(u64);

/// Room for one record: its length, then ciphertext and tag, opened and sealed in place.
pub const RecordBuffer = [records.length_size + records.body_maximum]u8;

pub const Wire = struct {
    window: Window,
    inbound: *align(64) RecordBuffer,
    outbound: *align(64) RecordBuffer,
    channel: ?Channel = null,
    /// Sealed bytes in the data area that have not left.
    pending: u32 = 0,
    /// Bytes of the tenant's message in the data area, and how many of them were taken.
    incoming: u32 = 0,
    taken: u32 = 0,
    /// How often the processor was handed to the host.
    exits: u64 = 0,
    /// Why the last call returned `error.Refused`.
    refusal: refusal.Refusal = undefined,

    pub const Channel = struct {
        receive: records.Direction,
        send: records.Direction,

        pub fn wipe(self: *Channel) void {
            self.receive.wipe();
            self.send.wipe();
        }
    };

    /// Hands over what is pending and takes what the host has, within `wait` nanoseconds. The message before must
    /// have been taken whole: its place in the window is reused.
    pub fn exchange(self: *Wire, wait: u64) Refused!void {
        std.debug.assert(self.taken == self.incoming);
        self.leave(.exchange, wait);
        self.incoming = 0;
        self.taken = 0;
        self.incoming = self.window.incoming() orelse return self.refuse(.message_length, 0);
    }

    /// Waits until a message is there.
    pub fn await(self: *Wire) Refused!void {
        while (self.incoming == self.taken) try self.exchange(forever);
    }

    /// Has the host pass a message to the secure processor; whether it says that this was done.
    pub fn ask(self: *Wire, request: []const u8) bool {
        self.window.placeRequest(request);
        self.window.ghcbPage().stateGuestRequest(self.window.requestAddress(), self.window.responseAddress());
        self.exits += 1;
        machine.current.leave();
        return self.window.ghcbPage().exitInfo2() == 0;
    }

    /// Forgets what is left of the tenant's message: for the end of a keep.
    pub fn discard(self: *Wire) void {
        self.taken = self.incoming;
    }

    /// Sends bytes that are not sealed: the offer.
    pub fn sendClear(self: *Wire, bytes: []const u8) void {
        std.debug.assert(bytes.len <= data_size - self.pending);
        self.window.placeData(self.pending, bytes);
        self.pending += @intCast(bytes.len);
    }

    /// Whether a record with so many bytes of payload still fits behind what is pending.
    pub fn hasRoom(self: *const Wire, payload: usize) bool {
        return records.length_size + records.sealedLength(payload) <= data_size - self.pending;
    }

    /// Seals a record and puts it behind what is pending; there must be room. The tenant's last message must have
    /// been taken whole: its place in the window is reused.
    pub fn send(self: *Wire, record_type: records.Type, payload: []const u8) void {
        std.debug.assert(self.taken == self.incoming);
        stack.note();
        self.sendClear(self.channel.?.send.seal(record_type, payload, self.outbound));
    }

    /// Takes unsealed bytes of the message: the HPKE message. null when there are not as many.
    pub fn takeClear(self: *Wire, destination: []u8) ?void {
        if (destination.len > self.incoming - self.taken) return null;
        self.window.takeData(self.taken, destination);
        self.taken += @intCast(destination.len);
    }

    /// Takes and opens the next record; null at the end of the message. Valid until the next call.
    pub fn next(self: *Wire) Refused!?records.Record {
        if (self.taken == self.incoming) return null;
        const field = self.inbound[0..records.length_size];
        self.takeClear(field) orelse return self.refuse(.record_length, 0);
        const length = records.bodyLength(field) catch return self.refuse(.record_length, 0);
        const body = self.inbound[records.length_size..][0..length];
        self.takeClear(body) orelse return self.refuse(.record_length, length);
        stack.note();
        return self.channel.?.receive.open(field, body) catch |reason| self.refuse(switch (reason) {
            error.Length => .record_length,
            error.Authentication => .record_authentication,
            error.Padding => .record_padding,
        }, 0);
    }

    /// Hands over what is pending for the last time. Nothing is sealed or opened afterwards.
    pub fn end(self: *Wire) noreturn {
        self.close();
        self.finally(.end);
    }

    /// Ends the keep: sealed to the tenant once there is a channel, in public before.
    pub fn endRefused(self: *Wire, reason: refusal.Refusal) noreturn {
        if (self.channel != null) {
            var payload: [12]u8 = undefined;
            std.mem.writeInt(u32, payload[0..4], @backingInt(reason.code), .little);
            std.mem.writeInt(u64, payload[4..12], reason.detail, .little);
            self.discard();
            if (!self.hasRoom(payload.len)) self.leave(.exchange, 0);
            self.send(.refused, &payload);
            self.end();
        }
        self.pending = 0;
        self.window.stateRefusal(@backingInt(reason.code), reason.detail);
        self.finally(.refuse);
    }

    pub fn refuse(self: *Wire, code: refusal.Code, detail: u64) Refused {
        self.refusal = .{ .code = code, .detail = detail };
        return error.Refused;
    }

    fn close(self: *Wire) void {
        if (self.channel) |*channel| channel.wipe();
        crypto.secureZero(u8, self.inbound);
        stack.wipeAll();
    }

    fn finally(self: *Wire, operation: Operation) noreturn {
        while (true) self.leave(operation, 0);
    }

    fn leave(self: *Wire, operation: Operation, wait: u64) void {
        self.window.stateOperation(operation, self.pending, wait);
        if (tee.states_exits) self.window.ghcbPage().stateOut();
        self.exits += 1;
        machine.current.leave();
        self.pending = 0;
    }
};
