//! Root of the unit tests and fuzz loops of the keep itself; needs no machine.
test {
    _ = @import("clock.zig");
    _ = @import("entropy.zig");
    _ = @import("ghcb.zig");
    _ = @import("guest_message.zig");
    _ = @import("statement.zig");
    _ = @import("window.zig");
    _ = @import("tests/aes_gcm_test.zig");
    _ = @import("tests/fuzz_test.zig");
    _ = @import("tests/hpke_test.zig");
    _ = @import("tests/loader_test.zig");
    _ = @import("tests/memory_test.zig");
    _ = @import("tests/package_test.zig");
    _ = @import("tests/records_test.zig");
    _ = @import("tests/slot_test.zig");
    _ = @import("tests/traps_test.zig");
}
