//! That each rule is enforced is tested on the running keep (tests/keep/test_refusals.py); here: what a package that
//! is right leaves behind, however it is cut, and that a refusal comes before the act.
const std = @import("std");
const layout = @import("../layout.zig");
const machine = @import("../machine.zig");
const transcript = @import("../transcript.zig");
const Loading = @import("loading.zig").Loading;
const Sample = @import("loading.zig").Sample;
const loading = @import("loading.zig");
const expectEqual = std.testing.expectEqual;
const expectEqualSlices = std.testing.expectEqualSlices;

fn memoryAt(address: u64, comptime length: usize) *[length]u8 {
    return @ptrFromInt(address);
}

test "a package is taken in, wherever its records are cut" {
    var buffer: [4096]u8 = undefined;
    const bytes = Sample.init().encode(&buffer);
    for ([_]usize{ 1, 2, 3, 7, 64, 191, 192, 193, 500, 4096 }) |piece| {
        var taking: Loading = .init(bytes, piece);
        const program = taking.load() orelse {
            std.debug.print("refused: {t}\n", .{taking.refusal.code});
            return error.Refused;
        };
        try expectEqualSlices(u8, "sixteen of text!", memoryAt(loading.text, 16));
        try expectEqualSlices(u8, "of data.", memoryAt(loading.data, 8));
        try expectEqual(0x1111_0000 + 38, @as(*u64, @ptrFromInt(loading.data + 64)).*);
        try expectEqual(0x1111_0000, @as(*u64, @ptrFromInt(loading.data + 8184)).*);
        const linear = taking.linear.bytes();
        try expectEqualSlices(u8, "run", linear[100..103]);
        try expectEqual('!', linear[65_535]);
        try expectEqual(1, machine.current.locked_blocks);
        try expectEqual(4, taking.linear.limit);
        try expectEqualSlices(u8, "name\x00two\x00", program.arguments);
        try expectEqualSlices(u8, "A=1\x00", program.variables);

        const program_part = bytes.len - (352 + Sample.strings.len + 3 * 24 + "dd/ed/e/f".len + Sample.content.len);
        try expectEqual(transcript.digest(bytes[0..program_part]), program.program_digest);
        var arguments = transcript.saltedDigest("arguments", &@splat(0));
        arguments.update("name\x00two\x00");
        try expectEqual(arguments.finalResult(), program.arguments_digest);
        var configuration = transcript.saltedDigest("configuration", &@splat(0));
        configuration.update("conf");
        try expectEqual(configuration.finalResult(), program.configuration_digest);
        var files = transcript.saltedDigest("files", &@splat(0));
        files.update(bytes[program_part + 352 + Sample.strings.len ..]);
        try expectEqual(files.finalResult(), program.files_digest);
    }
}

test "a package that ends early is never taken for a whole one" {
    var buffer: [4096]u8 = undefined;
    const bytes = Sample.init().encode(&buffer);
    for (0..bytes.len) |length| {
        var taking: Loading = .init(bytes[0..length], 4096);
        try expectEqual(null, taking.load());
        try expectEqual(.record_type, taking.refusal.code);
    }
}

test "a byte too many is refused" {
    var buffer: [4096]u8 = undefined;
    const bytes = Sample.init().encode(&buffer);
    buffer[bytes.len] = 0;
    var taking: Loading = .init(buffer[0 .. bytes.len + 1], 4096);
    try expectEqual(null, taking.load());
    try expectEqual(.package_excess, taking.refusal.code);
}

test "nothing is mapped for a program whose table is refused" {
    var buffer: [4096]u8 = undefined;
    var sample: Sample = .init();
    sample.segments[2].protection = 7;
    var taking: Loading = .init(sample.encode(&buffer), 4096);
    const before = taking.pool.left();
    try expectEqual(null, taking.load());
    try expectEqual(.segment_protection, taking.refusal.code);
    try expectEqual(before, taking.pool.left());
}

test "more memory than there is is refused, whoever asks" {
    var buffer: [4096]u8 = undefined;
    var sample: Sample = .init();
    sample.segments[1].memory_size = 512 << 20;
    sample.segments[2].address = loading.data + (512 << 20);
    var taking: Loading = .init(sample.encode(&buffer), 4096);
    try expectEqual(null, taking.load());
    try expectEqual(.memory_exhausted, taking.refusal.code);

    sample = .init();
    sample.header.memory_minimum = 1000;
    sample.header.memory_maximum = 1000;
    sample.invocation.memory_limit = 1 << 32;
    taking = .init(sample.encode(&buffer), 4096);
    try expectEqual(null, taking.load());
    try expectEqual(.memory_exhausted, taking.refusal.code);

    sample = .init();
    sample.invocation.file_bytes = 500 << 20;
    taking = .init(sample.encode(&buffer), 4096);
    try expectEqual(null, taking.load());
    try expectEqual(.file_memory, taking.refusal.code);
}
