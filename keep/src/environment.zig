//! What a program's WASI calls may ask of the keep. The WASI code sees the keep only through this
//! table, so it runs unchanged in a keep and in a unit test.

/// The two streams a program may write to; each is sealed to the tenant and digested on its own.
pub const Stream = enum { stdout, stderr };

pub const page_size = 4096;

pub const Environment = struct {
    context: *anyopaque,
    vtable: *const VTable,
    /// NUL-terminated strings, back to back, exactly as the tenant delivered them.
    arguments: []const u8,
    argument_count: u32,
    /// `NAME=value` strings, each ended by NUL, back to back.
    variables: []const u8,
    variable_count: u32,

    pub const VTable = struct {
        /// Linear memory as it is now. The base never changes; the length grows. Ask again after anything
        /// that may run the program.
        memory: *const fn (context: *anyopaque) []u8,
        /// Nanoseconds since 1970: the time the tenant claimed at start plus the time elapsed. Never goes back.
        realtime: *const fn (context: *anyopaque) u64,
        /// Nanoseconds since the program started. Never goes back.
        monotonic: *const fn (context: *anyopaque) u64,
        /// Fills the slice from the keep's own generator.
        random: *const fn (context: *anyopaque, destination: []u8) void,
        /// Seals and delivers all the bytes, in order. Linear memory may be passed as it stands.
        output: *const fn (context: *anyopaque, stream: Stream, bytes: []const u8) void,
        /// Blocks until standard input has something; returns how many bytes were placed, 0 at the end of
        /// input (or for an empty destination).
        input: *const fn (context: *anyopaque, destination: []u8) usize,
        /// Waits outside the processor. With `want_input`, returns true as soon as input (or its end) is ready;
        /// returns false once `deadline` (in `monotonic` nanoseconds) has passed. A null deadline waits for ever
        /// and needs `want_input`.
        wait: *const fn (context: *anyopaque, want_input: bool, deadline: ?u64) bool,
        /// Ends the program with an exit code.
        exit: *const fn (context: *anyopaque, code: u32) noreturn,
        /// At least this many bytes (more than 0) as whole pages, zeroed; the slice's length is rounded up to
        /// whole pages. null when the keep has no memory left.
        allocate: *const fn (context: *anyopaque, size: usize) ?[]align(page_size) u8,
        /// Gives back a slice exactly as `allocate` returned it.
        release: *const fn (context: *anyopaque, pages: []align(page_size) u8) void,
    };

    pub fn memory(self: Environment) []u8 {
        return self.vtable.memory(self.context);
    }
    pub fn realtime(self: Environment) u64 {
        return self.vtable.realtime(self.context);
    }
    pub fn monotonic(self: Environment) u64 {
        return self.vtable.monotonic(self.context);
    }
    pub fn random(self: Environment, destination: []u8) void {
        self.vtable.random(self.context, destination);
    }
    pub fn output(self: Environment, stream: Stream, bytes: []const u8) void {
        self.vtable.output(self.context, stream, bytes);
    }
    pub fn input(self: Environment, destination: []u8) usize {
        return self.vtable.input(self.context, destination);
    }
    pub fn wait(self: Environment, want_input: bool, deadline: ?u64) bool {
        return self.vtable.wait(self.context, want_input, deadline);
    }
    pub fn exit(self: Environment, code: u32) noreturn {
        self.vtable.exit(self.context, code);
    }
    pub fn allocate(self: Environment, size: usize) ?[]align(page_size) u8 {
        return self.vtable.allocate(self.context, size);
    }
    pub fn release(self: Environment, pages: []align(page_size) u8) void {
        self.vtable.release(self.context, pages);
    }
};
