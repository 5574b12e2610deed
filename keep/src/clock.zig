//! Time as a keep can know it: the tenant's wall clock at the start, and the processor's cycle counter, whose rate
//! is the host's hint. It never goes back, and no security decision rests on it.

const std = @import("std");

pub const minimum_khz = 500_000;
pub const maximum_khz = 10_000_000;

pub const Clock = struct {
    start: u64,
    /// Nanoseconds a cycle, as a 32.32 fixed-point number.
    scale: u64,
    latest: u64 = 0,

    /// null when no processor runs at that rate.
    pub fn init(frequency_khz: u64, cycles: u64) ?Clock {
        if (frequency_khz < minimum_khz or frequency_khz > maximum_khz) return null;
        return .{ .start = cycles, .scale = (1_000_000 << 32) / frequency_khz };
    }

    /// Counts from here: the program starts.
    pub fn restart(self: *Clock, cycles: u64) void {
        self.start = cycles;
        self.latest = 0;
    }

    /// Nanoseconds since the start, at a reading of the cycle counter. A counter that went back stands still.
    pub fn elapsed(self: *Clock, cycles: u64) u64 {
        const passed: u128 = cycles -| self.start;
        const now = std.math.lossyCast(u64, passed * self.scale >> 32);
        self.latest = @max(self.latest, now);
        return self.latest;
    }
};

pub fn readCycles() u64 {
    var low: u32 = undefined;
    var high: u32 = undefined;
    asm volatile ("rdtsc"
        : [low] "={eax}" (low),
          [high] "={edx}" (high),
    );
    return @as(u64, high) << 32 | low;
}

test "rates outside the range are refused" {
    try std.testing.expectEqual(null, Clock.init(minimum_khz - 1, 0));
    try std.testing.expectEqual(null, Clock.init(maximum_khz + 1, 0));
    try std.testing.expect(Clock.init(minimum_khz, 0) != null);
    try std.testing.expect(Clock.init(maximum_khz, 0) != null);
}

test "time follows the counter and never goes back" {
    var clock = Clock.init(2_000_000, 1000).?;
    try std.testing.expectEqual(0, clock.elapsed(1000));
    try std.testing.expectEqual(1_000_000_000, clock.elapsed(1000 + 2_000_000_000));
    try std.testing.expectEqual(1_000_000_000, clock.elapsed(0));
    try std.testing.expectEqual(1_000_000_000, clock.elapsed(500));
    try std.testing.expect(clock.elapsed(std.math.maxInt(u64)) > 1_000_000_000);
}
