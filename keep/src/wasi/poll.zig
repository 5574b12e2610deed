//! `poll_oneoff`: waits for time, and for standard input. Files and output are always ready. The only waiting is
//! `Environment.wait`, once a call.
const std = @import("std");
const abi = @import("abi.zig");
const clocks = @import("clocks.zig");
const file_system = @import("../files/file_system.zig");
const memory_ = @import("memory.zig");
const Failure = abi.Failure;
const Memory = memory_.Memory;
const Wasi = @import("wasi.zig").Wasi;
const rights = abi.rights;

/// Subscriptions in one call: reading and writing on every descriptor, and timers beside them.
pub const maximum_subscriptions = 1024;

/// A subscription, read and judged once.
pub const Subscription = struct {
    userdata: u64 = 0,
    kind: abi.Eventtype = .clock,
    state: State = .ready,

    const State = union(enum) {
        /// Happens at this time of the monotonic clock.
        due: u64,
        /// Happens when standard input has something, or ends.
        input,
        /// Has happened.
        ready,
        readable: struct { bytes: u64 },
        failed: abi.Errno,
    };
};

pub fn poll_oneoff(self: *Wasi, subscriptions: u32, events: u32, count: u32, out: u32) u32 {
    return abi.result(poll(self, subscriptions, events, count, out));
}

fn poll(self: *Wasi, subscriptions: u32, events: u32, count: u32, out: u32) Failure!void {
    if (count == 0 or count > maximum_subscriptions) return error.Invalid;
    const memory = self.memory();
    try memory.check(subscriptions, @as(u64, count) * abi.subscription_size);
    try memory.check(events, @as(u64, count) * abi.Event.size);
    try memory.check(out, 4);
    const began = self.environment.monotonic();
    const list = self.subscriptions[0..count];
    for (list, 0..) |*subscription, i| {
        const address = try memory_.element(subscriptions, i, abi.subscription_size);
        subscription.* = try read(self, memory, address, began);
    }
    const happened = wait(self, list, began);
    try report(self.memory(), list, happened, events, out);
}

fn read(self: *Wasi, memory: Memory, address: u32, began: u64) Failure!Subscription {
    const bytes = try memory.slice(address, abi.subscription_size);
    const userdata = std.mem.readInt(u64, bytes[0..8], .little);
    const state: Subscription.State, const kind: abi.Eventtype = switch (bytes[8]) {
        @backingInt(abi.Eventtype.clock) => .{ .{ .due = try dueTime(self, bytes, began) }, .clock },
        @backingInt(abi.Eventtype.fd_read) => .{ readiness(self, bytes, rights.fd_read), .fd_read },
        @backingInt(abi.Eventtype.fd_write) => .{ readiness(self, bytes, rights.fd_write), .fd_write },
        else => return error.Invalid,
    };
    return .{ .userdata = userdata, .kind = kind, .state = state };
}

/// The time of the monotonic clock at which a clock subscription happens; the past is now.
fn dueTime(self: *Wasi, bytes: []const u8, began: u64) Failure!u64 {
    const clock = try clocks.clockOf(std.mem.readInt(u32, bytes[16..20], .little));
    const timeout = std.mem.readInt(u64, bytes[24..32], .little);
    const flags = std.mem.readInt(u16, bytes[40..42], .little);
    try abi.checkFlags(flags, abi.subclock_abstime);
    if (flags & abi.subclock_abstime == 0) return began +| timeout;
    return switch (clock) {
        .monotonic => timeout,
        .realtime => began +| (timeout -| self.environment.realtime()),
    };
}

/// A descriptor that cannot be polled fails alone; the other subscriptions go on.
fn readiness(self: *Wasi, bytes: []const u8, right: u64) Subscription.State {
    const fd = std.mem.readInt(u32, bytes[16..20], .little);
    const descriptor = self.descriptors.get(fd) catch |reason| return .{ .failed = abi.errnoOf(reason) };
    descriptor.require(right | rights.poll_fd_readwrite) catch |reason| return .{ .failed = abi.errnoOf(reason) };
    return switch (descriptor.object) {
        .input => .input,
        .file => |id| if (right == rights.fd_read) sizeLeft(self, id, descriptor.position) else .ready,
        .output => .ready,
        .closed, .directory => .{ .failed = .badf }, // neither has the rights above
    };
}

fn sizeLeft(self: *Wasi, id: file_system.Id, position: u64) Subscription.State {
    const size = self.files.sizeOf(id) catch |reason| return .{ .failed = abi.errnoOf(reason) };
    return .{ .readable = .{ .bytes = size -| position } };
}

const Happened = struct { time: u64, input: bool };

/// Waits until at least one subscription has happened.
fn wait(self: *Wasi, list: []const Subscription, began: u64) Happened {
    var want_input = false;
    var immediate = false;
    var earliest: ?u64 = null;
    for (list) |subscription| switch (subscription.state) {
        .due => |time| earliest = @min(time, earliest orelse time),
        .input => want_input = true,
        .ready, .readable, .failed => immediate = true,
    };
    const deadline = if (immediate) began else earliest;
    const must_ask = want_input or (!immediate and deadline.? > began);
    const input = must_ask and self.environment.wait(want_input, deadline);
    // The wait is over because the deadline has passed, whatever the clock's last digits say.
    const time = self.environment.monotonic();
    return .{ .time = if (input) time else @max(time, deadline.?), .input = input };
}

fn report(memory: Memory, list: []const Subscription, happened: Happened, events: u32, out: u32) Failure!void {
    var count: u32 = 0;
    for (list) |subscription| {
        const event = eventOf(subscription, happened) orelse continue;
        try memory.storeBytes(try memory_.element(events, count, abi.Event.size), &event.encode());
        count += 1;
    }
    std.debug.assert(count > 0);
    try memory.store(u32, out, count);
}

fn eventOf(subscription: Subscription, happened: Happened) ?abi.Event {
    var event = abi.Event{
        .userdata = subscription.userdata,
        .errno = .success,
        .kind = subscription.kind,
        .available = 0,
        .hangup = false,
    };
    switch (subscription.state) {
        .due => |time| if (time > happened.time) return null,
        // How much there is shows only when it is read.
        .input => if (happened.input) {
            event.available = 1;
        } else return null,
        .ready => event.available = 1,
        .readable => |file| {
            event.available = file.bytes;
            event.hangup = file.bytes == 0;
        },
        .failed => |errno| event.errno = errno,
    }
    return event;
}
