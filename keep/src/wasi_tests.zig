//! Root of the unit tests of the WASI functions and the file tree; needs no machine.
test {
    _ = @import("files/memory/blocks.zig");
    _ = @import("files/file_system.zig");
    _ = @import("files/tests/contents_test.zig");
    _ = @import("files/tests/delivery_test.zig");
    _ = @import("files/tests/model_test.zig");
    _ = @import("wasi/memory.zig");
    _ = @import("wasi/wasi.zig");
    _ = @import("wasi/tests/abi_test.zig");
    _ = @import("wasi/tests/attributes_test.zig");
    _ = @import("wasi/tests/descriptors_test.zig");
    _ = @import("wasi/tests/fuzz_test.zig");
    _ = @import("wasi/tests/links_test.zig");
    _ = @import("wasi/tests/paths_test.zig");
    _ = @import("wasi/tests/poll_test.zig");
    _ = @import("wasi/tests/process_test.zig");
    _ = @import("wasi/tests/transfer_test.zig");
}
