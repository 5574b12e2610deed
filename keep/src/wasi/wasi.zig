//! WASI preview 1 (wasi_snapshot_preview1), complete in names. Each function takes the values the program
//! passed, as wasm has them, and returns an `errno`.
//!
//! Rules that hold throughout:
//! - linear memory is touched through `Memory` only; results are checked to fit before anything is done;
//! - a call that fails has changed nothing, except that a transfer may have been partly done when memory ran out;
//! - nothing loops without bound, and nothing waits but `poll_oneoff` and a read of standard input.
const abi = @import("abi.zig");
const Descriptors = @import("descriptors.zig").Descriptors;
const Environment = @import("../environment.zig").Environment;
const FileSystem = @import("../files/file_system.zig").FileSystem;
const Memory = @import("memory.zig").Memory;

const arguments = @import("arguments.zig");
const attributes = @import("attributes.zig");
const clocks = @import("clocks.zig");
const directories = @import("directories.zig");
const opening = @import("opening.zig");
const paths = @import("paths.zig");
const poll = @import("poll.zig");
const process = @import("process.zig");
const sockets = @import("sockets.zig");
const table = @import("table.zig");
const transfer = @import("transfer.zig");

pub const Wasi = struct {
    environment: Environment,
    files: *FileSystem,
    descriptors: Descriptors,
    /// Private copies of what a program passes as a list, so that it is read once.
    vectors: [transfer.maximum_vectors]abi.Iovec,
    subscriptions: [poll.maximum_subscriptions]poll.Subscription,

    /// Prepares for one program: standard streams and `/` are open.
    pub fn init(self: *Wasi, environment: Environment, files: *FileSystem) void {
        self.environment = environment;
        self.files = files;
        self.descriptors = Descriptors.init(files);
        self.vectors = @splat(.{ .address = 0, .length = 0 });
        self.subscriptions = @splat(.{});
    }

    pub fn memory(self: *const Wasi) Memory {
        return .{ .bytes = self.environment.memory() };
    }

    pub fn now(self: *const Wasi) u64 {
        return self.environment.realtime();
    }

    pub const args_get = arguments.args_get;
    pub const args_sizes_get = arguments.args_sizes_get;
    pub const clock_res_get = clocks.clock_res_get;
    pub const clock_time_get = clocks.clock_time_get;
    pub const environ_get = arguments.environ_get;
    pub const environ_sizes_get = arguments.environ_sizes_get;
    pub const fd_advise = transfer.fd_advise;
    pub const fd_allocate = attributes.fd_allocate;
    pub const fd_close = table.fd_close;
    pub const fd_datasync = table.fd_datasync;
    pub const fd_fdstat_get = table.fd_fdstat_get;
    pub const fd_fdstat_set_flags = table.fd_fdstat_set_flags;
    pub const fd_fdstat_set_rights = table.fd_fdstat_set_rights;
    pub const fd_filestat_get = attributes.fd_filestat_get;
    pub const fd_filestat_set_size = attributes.fd_filestat_set_size;
    pub const fd_filestat_set_times = attributes.fd_filestat_set_times;
    pub const fd_pread = transfer.fd_pread;
    pub const fd_prestat_dir_name = table.fd_prestat_dir_name;
    pub const fd_prestat_get = table.fd_prestat_get;
    pub const fd_pwrite = transfer.fd_pwrite;
    pub const fd_read = transfer.fd_read;
    pub const fd_readdir = directories.fd_readdir;
    pub const fd_renumber = table.fd_renumber;
    pub const fd_seek = transfer.fd_seek;
    pub const fd_sync = table.fd_sync;
    pub const fd_tell = transfer.fd_tell;
    pub const fd_write = transfer.fd_write;
    pub const path_create_directory = paths.path_create_directory;
    pub const path_filestat_get = attributes.path_filestat_get;
    pub const path_filestat_set_times = attributes.path_filestat_set_times;
    pub const path_link = paths.path_link;
    pub const path_open = opening.path_open;
    pub const path_readlink = paths.path_readlink;
    pub const path_remove_directory = paths.path_remove_directory;
    pub const path_rename = paths.path_rename;
    pub const path_symlink = paths.path_symlink;
    pub const path_unlink_file = paths.path_unlink_file;
    pub const poll_oneoff = poll.poll_oneoff;
    pub const proc_exit = process.proc_exit;
    pub const proc_raise = process.proc_raise;
    pub const random_get = process.random_get;
    pub const sched_yield = process.sched_yield;
    pub const sock_accept = sockets.sock_accept;
    pub const sock_recv = sockets.sock_recv;
    pub const sock_send = sockets.sock_send;
    pub const sock_shutdown = sockets.sock_shutdown;
};
