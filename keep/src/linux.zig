//! The few Linux system calls of the process kind, x86-64. Numbers and layouts: asm/unistd_64.h, linux/mman-common.h,
//! linux/seccomp.h, asm/signal.h, asm/ucontext.h.

pub const Number = enum(u32) {
    read = 0,
    write = 1,
    close = 3,
    mmap = 9,
    mprotect = 10,
    rt_sigaction = 13,
    sigaltstack = 131,
    prctl = 157,
    exit_group = 231,
    prlimit64 = 302,
    seccomp = 317,
};

pub const eintr: i64 = -4;

pub const protection = struct {
    pub const none = 0;
    pub const read = 1;
    pub const write = 2;
    pub const execute = 4;
};

pub const map = struct {
    pub const shared = 0x01;
    pub const private = 0x02;
    pub const fixed = 0x10;
    pub const anonymous = 0x20;
    pub const no_reserve = 0x4000;
    pub const fixed_no_replace = 0x10_0000;
};

pub const signal = struct {
    pub const illegal = 4;
    pub const trap = 5;
    pub const bus = 7;
    pub const floating_point = 8;
    pub const segmentation = 11;
    pub const system_call = 31;
    pub const kill = 9;

    pub const info_flag = 0x4;
    pub const on_stack = 0x0800_0000;
    pub const restorer = 0x0400_0000;

    pub const Action = extern struct { handler: u64, flags: u64, restorer: u64, mask: u64 };
    pub const Stack = extern struct { base: u64, flags: u32 = 0, size: u64 };

    /// `ucontext_t` as far as the saved registers.
    pub const Context = extern struct {
        flags: u64,
        link: u64,
        stack: Stack,
        registers: [23]u64,
    };
    /// Indexes into `registers`.
    pub const register = struct {
        pub const rbp = 10;
        pub const rsp = 15;
        pub const rip = 16;
        pub const error_code = 19;
        pub const vector = 20;
        pub const cr2 = 22;
    };
};

pub fn call(number: Number, a: u64, b: u64, c: u64, d: u64, e: u64, f: u64) i64 {
    return asm volatile ("syscall"
        : [result] "={rax}" (-> i64),
        : [number] "{rax}" (@as(u64, @backingInt(number))),
          [a] "{rdi}" (a),
          [b] "{rsi}" (b),
          [c] "{rdx}" (c),
          [d] "{r10}" (d),
          [e] "{r8}" (e),
          [f] "{r9}" (f),
        : .{ .rcx = true, .r11 = true, .memory = true });
}

/// Maps anonymous memory at exactly this address; false if something is there.
pub fn reserve(address: u64, size: u64, access: u64) bool {
    const flags = map.private | map.anonymous | map.no_reserve | map.fixed_no_replace;
    return call(.mmap, address, size, access, flags, @bitCast(@as(i64, -1)), 0) == @as(i64, @bitCast(address));
}

pub fn protect(address: u64, size: u64, access: u64) bool {
    return call(.mprotect, address, size, access, 0, 0, 0) == 0;
}
