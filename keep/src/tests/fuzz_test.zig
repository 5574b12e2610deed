//! Short fuzz loops over whatever parses a host's or a tenant's bytes: seeded, so that a failure repeats. A failed
//! safety check ends the test. `WASMKEEP_SOAK=1` makes the loops long.
const std = @import("std");
const options = @import("options");
const guest_message = @import("../guest_message.zig");
const hpke = @import("../hpke.zig");
const layout = @import("../layout.zig");
const package = @import("../package.zig");
const records = @import("../records.zig");
const vectors = @import("../vector_tests.zig");
const Loading = @import("loading.zig").Loading;
const Sample = @import("loading.zig").Sample;
const expect = std.testing.expect;

/// Values that sit at a bound of something.
const telling = [_]u64{ 0, 1, 2, 3, 7, 8, 0xFF, 0x1000, 0xFFFF, 0x1_0000, 0x1_0001, 0x20_0000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFF0, 0xFFFF_FFFF, layout.segments, layout.segments_end, layout.linear, layout.text, std.math.maxInt(u64) - 7, std.math.maxInt(u64) };

/// Changes a few places: a bit, a byte, a telling value, a stretch copied from elsewhere.
fn mutate(random: std.Random, bytes: []u8) void {
    for (0..1 + random.uintLessThan(usize, 4)) |_| {
        const at = random.uintLessThan(usize, bytes.len);
        switch (random.uintLessThan(u8, 5)) {
            0 => bytes[at] ^= @as(u8, 1) << random.int(u3),
            1 => bytes[at] = random.int(u8),
            2 => {
                const value = std.mem.toBytes(telling[random.uintLessThan(usize, telling.len)]);
                // Fields are aligned to four bytes or more.
                const start = at / 4 * 4;
                const length = @min(if (random.boolean()) @as(usize, 4) else 8, bytes.len - start);
                @memcpy(bytes[start..][0..length], value[0..length]);
            },
            3 => {
                const from = random.uintLessThan(usize, bytes.len);
                const length = @min(random.uintAtMost(usize, 32), bytes.len - @max(at, from));
                @memmove(bytes[at..][0..length], bytes[from..][0..length]);
            },
            else => {
                const length = @min(random.uintAtMost(usize, 16), bytes.len - at);
                random.bytes(bytes[at..][0..length]);
            },
        }
    }
}

test "package: whatever is taken keeps every rule" {
    var prng = std.Random.DefaultPrng.init(0x7061_636B);
    const random = prng.random();
    var buffer: [4096]u8 = undefined;
    const good = Sample.init().encode(&buffer);
    var taken: usize = 0;
    for (0..options.fuzz_count) |_| {
        var copy: [4096]u8 = undefined;
        @memcpy(copy[0..good.len], good);
        const length = if (random.uintLessThan(u8, 8) == 0) random.uintAtMost(usize, good.len) else good.len;
        if (length == 0) continue;
        mutate(random, copy[0..length]);
        var taking: Loading = .init(copy[0..length], 1 + random.uintLessThan(usize, 600));
        const program = taking.load() orelse continue;
        taken += 1;
        try expect(program.entry >= layout.segments and program.entry < layout.segments_end);
        try expect(@intFromPtr(program.memory_definition) >= layout.segments and @intFromPtr(program.memory_definition) + 16 <= layout.segments_end);
        try expect(taking.linear.pages <= taking.linear.limit);
        try expect(program.arguments.len <= package.maximum.string_bytes);
        // What a record behind the last one is, is for the session to say (test_wire.py).
        try expect(taking.taken <= length);
    }
    // Contents, names and salts may change without breaking a rule, so some are taken.
    try expect(taken > options.fuzz_count / 100);
}

test "record: what opens was sealed; what parses has one encoding" {
    var prng = std.Random.DefaultPrng.init(0x7265_636F);
    const random = prng.random();
    for (0..options.fuzz_count) |_| {
        var plaintext: [1024]u8 = @splat(0);
        plaintext[0] = random.int(u8);
        const size = 256 * (1 + random.uintLessThan(usize, 4));
        const payload = random.uintAtMost(u32, @intCast(size - 8));
        std.mem.writeInt(u32, plaintext[4..8], payload, .little);
        random.bytes(plaintext[8..][0..payload]);
        if (random.boolean()) mutate(random, plaintext[0..size]);
        const given = plaintext;
        const record = records.parse(plaintext[0..size]) catch continue;

        var sender: records.Direction = .derive(&@splat(1), &@splat(2), "", "fuzz");
        var receiver = sender;
        var buffer: [records.length_size + records.body_maximum]u8 = undefined;
        const sealed = sender.seal(record.type, record.payload, &buffer);
        try expect(sealed.len == 4 + size + 16);
        if (random.boolean()) {
            const at = random.uintLessThan(usize, sealed.len);
            sealed[at] ^= @as(u8, 1) << random.int(u3);
            const length = records.bodyLength(sealed[0..4]) catch continue;
            try expect(std.meta.isError(receiver.open(sealed[0..4], buffer[4..][0..length])));
        } else {
            const opened = try receiver.open(sealed[0..4], sealed[4..]);
            try expect(std.mem.eql(u8, opened.payload, given[8..][0..opened.payload.len]));
        }
    }
}

test "record length: any four bytes" {
    var prng = std.Random.DefaultPrng.init(0x6C65_6E67);
    for (0..options.fuzz_count) |_| {
        var field: [4]u8 = undefined;
        prng.random().bytes(&field);
        if (prng.random().boolean()) field[2..4].* = .{ 0, 0 };
        const length = records.bodyLength(&field) catch continue;
        try expect(length >= 272 and length <= records.body_maximum and (length - 16) % 256 == 0);
    }
}

test "first message: nothing but the tenant's opens" {
    var prng = std.Random.DefaultPrng.init(0x6670_6B65);
    const pair = try hpke.Kem.KeyPair.generateDeterministic(vectors.kem_seed);
    const good = vectors.tenant("hpke_message", hpke.message_length);
    const info = "wasmkeep-session-v1".* ++ vectors.tenant("report_data", 64);
    for (0..options.fuzz_count / 10) |_| {
        var message = good;
        if (prng.random().uintLessThan(u8, 4) == 0) prng.random().bytes(&message) else mutate(prng.random(), &message);
        if (std.mem.eql(u8, &message, &good)) continue;
        try expect(std.meta.isError(hpke.open(pair.secret_key, &message, &info)));
    }
}

test "guest message: no other answer opens, whatever a sealed one says is bounded" {
    var prng = std.Random.DefaultPrng.init(0x6775_6573);
    const random = prng.random();
    const key: [32]u8 = @splat(5);
    var report: [guest_message.report_length]u8 = @splat(0);
    report[0] = 3;
    const good = guest_message.sampleResponse(key, 2, &report, 0);
    for (0..options.fuzz_count) |_| {
        var message = good;
        mutate(random, &message);
        const same = std.mem.eql(u8, &message, &good);
        const opened = guest_message.openReport(key, 2, &message) catch continue;
        try expect(same and std.mem.eql(u8, opened, &report));
    }
    for (0..options.fuzz_count / 4) |_| {
        var said = report;
        mutate(random, &said);
        var message = guest_message.sampleResponse(key, 2, &said, if (random.uintLessThan(u8, 4) == 0) random.int(u32) else 0);
        const opened = guest_message.openReport(key, 2, &message) catch continue;
        if (guest_message.Report.read(opened, said[0x50..0x90])) |read| try expect(std.mem.eql(u8, &read.host_data, said[0xC0..0xE0]));
    }
}
