const std = @import("std");
const layout = @import("../layout.zig");
const package = @import("../package.zig");
const Code = @import("../refusal.zig").Code;
const Sample = @import("loading.zig").Sample;
const expect = std.testing.expect;
const expectEqual = std.testing.expectEqual;

fn codeOf(verdict: anytype) ?Code {
    return if (verdict) |refused| refused.code else null;
}

test "the sample breaks no rule" {
    const sample: Sample = .init();
    try expectEqual(null, sample.header.check());
    try expectEqual(null, package.checkSegments(&sample.segments));
    try expectEqual(null, package.checkAddresses(&sample.header, &sample.segments));
    try expectEqual(null, sample.invocation.check());
    try std.testing.expectEqualStrings("sample", sample.header.targetName().?);
}

test "a segment holds what lies inside, and sums do not wrap" {
    const segment: package.Segment = .{ .address = 0x4000_0000, .memory_size = 100, .file_size = 0, .protection = 2, .zero = 0 };
    try expect(segment.holds(0x4000_0000, 100));
    try expect(segment.holds(0x4000_0063, 1));
    try expect(segment.holds(0x4000_0064, 0));
    try expect(!segment.holds(0x4000_0064, 1));
    try expect(!segment.holds(0x4000_0000, 101));
    try expect(!segment.holds(0x3FFF_FFFF, 1));
    try expect(!segment.holds(0x4000_0001, std.math.maxInt(u64)));
    try expect(!segment.holds(std.math.maxInt(u64), 1));
    try expect(!segment.holds(0, 0));
}

test "a segment may end with the range for programs, and no later" {
    var segments = [_]package.Segment{.{ .address = layout.segments_end - layout.block, .memory_size = layout.block, .file_size = 0, .protection = 3, .zero = 0 }};
    try expectEqual(null, package.checkSegments(&segments));
    segments[0].memory_size += 1;
    try expectEqual(.segment_address, codeOf(package.checkSegments(&segments)));
}

test "segments share no block" {
    var segments = [_]package.Segment{
        .{ .address = layout.segments, .memory_size = layout.block, .file_size = 0, .protection = 3, .zero = 0 },
        .{ .address = layout.segments + layout.block, .memory_size = 1, .file_size = 0, .protection = 2, .zero = 0 },
    };
    try expectEqual(null, package.checkSegments(&segments));
    segments[0].memory_size += 1;
    try expectEqual(.segment_address, codeOf(package.checkSegments(&segments)));
}

test "strings are counted by their ends" {
    try expect(package.isStringList("", 0));
    try expect(package.isStringList("\x00", 1));
    try expect(package.isStringList("a\x00\x00b\x00", 3));
    try expect(!package.isStringList("", 1));
    try expect(!package.isStringList("a", 0));
    try expect(!package.isStringList("a", 1));
    try expect(!package.isStringList("a\x00b", 1));
    try expect(!package.isStringList("a\x00", 2));
}

test "variables have names" {
    try expect(package.areVariables(""));
    try expect(package.areVariables("A=\x00B==\x00"));
    try expect(!package.areVariables("\x00"));
    try expect(!package.areVariables("=\x00"));
    try expect(!package.areVariables("A\x00"));
    try expect(!package.areVariables("A=1\x00\x00"));
}
