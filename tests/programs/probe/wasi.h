/* All functions of wasi_snapshot_preview1 as a program imports them: pointers are numbers here, so that bad ones
 * can be passed. Constants are those of typenames.witx. */
#ifndef WASI_H
#define WASI_H
#include <stdint.h>

typedef uint32_t fd_t, ptr_t, len_t;

#define WASI(name, parameters) \
  __attribute__((import_module("wasi_snapshot_preview1"), import_name(#name))) uint32_t wasi_##name parameters

WASI(args_get, (ptr_t pointers, ptr_t buffer));
WASI(args_sizes_get, (ptr_t count, ptr_t size));
WASI(clock_res_get, (uint32_t clock, ptr_t out));
WASI(clock_time_get, (uint32_t clock, uint64_t precision, ptr_t out));
WASI(environ_get, (ptr_t pointers, ptr_t buffer));
WASI(environ_sizes_get, (ptr_t count, ptr_t size));
WASI(fd_advise, (fd_t fd, uint64_t offset, uint64_t length, uint32_t advice));
WASI(fd_allocate, (fd_t fd, uint64_t offset, uint64_t length));
WASI(fd_close, (fd_t fd));
WASI(fd_datasync, (fd_t fd));
WASI(fd_fdstat_get, (fd_t fd, ptr_t out));
WASI(fd_fdstat_set_flags, (fd_t fd, uint32_t flags));
WASI(fd_fdstat_set_rights, (fd_t fd, uint64_t base, uint64_t inheriting));
WASI(fd_filestat_get, (fd_t fd, ptr_t out));
WASI(fd_filestat_set_size, (fd_t fd, uint64_t size));
WASI(fd_filestat_set_times, (fd_t fd, uint64_t accessed, uint64_t modified, uint32_t flags));
WASI(fd_pread, (fd_t fd, ptr_t vectors, len_t count, uint64_t position, ptr_t out));
WASI(fd_prestat_dir_name, (fd_t fd, ptr_t buffer, len_t length));
WASI(fd_prestat_get, (fd_t fd, ptr_t out));
WASI(fd_pwrite, (fd_t fd, ptr_t vectors, len_t count, uint64_t position, ptr_t out));
WASI(fd_read, (fd_t fd, ptr_t vectors, len_t count, ptr_t out));
WASI(fd_readdir, (fd_t fd, ptr_t buffer, len_t length, uint64_t cookie, ptr_t out));
WASI(fd_renumber, (fd_t from, fd_t to));
WASI(fd_seek, (fd_t fd, int64_t offset, uint32_t whence, ptr_t out));
WASI(fd_sync, (fd_t fd));
WASI(fd_tell, (fd_t fd, ptr_t out));
WASI(fd_write, (fd_t fd, ptr_t vectors, len_t count, ptr_t out));
WASI(path_create_directory, (fd_t fd, ptr_t path, len_t length));
WASI(path_filestat_get, (fd_t fd, uint32_t follow, ptr_t path, len_t length, ptr_t out));
WASI(path_filestat_set_times, (fd_t fd, uint32_t follow, ptr_t path, len_t length, uint64_t accessed,
                               uint64_t modified, uint32_t flags));
WASI(path_link, (fd_t from, uint32_t follow, ptr_t path, len_t length, fd_t to, ptr_t name, len_t name_length));
WASI(path_open, (fd_t fd, uint32_t follow, ptr_t path, len_t length, uint32_t oflags, uint64_t base,
                 uint64_t inheriting, uint32_t fdflags, ptr_t out));
WASI(path_readlink, (fd_t fd, ptr_t path, len_t length, ptr_t buffer, len_t size, ptr_t out));
WASI(path_remove_directory, (fd_t fd, ptr_t path, len_t length));
WASI(path_rename, (fd_t from, ptr_t path, len_t length, fd_t to, ptr_t name, len_t name_length));
WASI(path_symlink, (ptr_t target, len_t target_length, fd_t fd, ptr_t path, len_t length));
WASI(path_unlink_file, (fd_t fd, ptr_t path, len_t length));
WASI(poll_oneoff, (ptr_t subscriptions, ptr_t events, len_t count, ptr_t out));
__attribute__((import_module("wasi_snapshot_preview1"), import_name("proc_exit"), noreturn)) void
wasi_proc_exit(uint32_t code);
WASI(proc_raise, (uint32_t signal));
WASI(random_get, (ptr_t buffer, len_t length));
WASI(sched_yield, (void));
WASI(sock_accept, (fd_t fd, uint32_t flags, ptr_t out));
WASI(sock_recv, (fd_t fd, ptr_t vectors, len_t count, uint32_t flags, ptr_t out, ptr_t out_flags));
WASI(sock_send, (fd_t fd, ptr_t vectors, len_t count, uint32_t flags, ptr_t out));
WASI(sock_shutdown, (fd_t fd, uint32_t how));

enum { REALTIME = 0, MONOTONIC = 1, PROCESS_TIME = 2, THREAD_TIME = 3 };
enum { CREAT = 1, DIRECTORY = 2, EXCL = 4, TRUNC = 8 };
enum { APPEND = 1, DSYNC = 2, NONBLOCK = 4, RSYNC = 8, SYNC = 16 };
enum { SET = 0, CUR = 1, END = 2 };
enum { ATIM = 1, ATIM_NOW = 2, MTIM = 4, MTIM_NOW = 8 };
enum { NOFOLLOW = 0, FOLLOW = 1 };
enum {
  R_DATASYNC = 1 << 0, R_READ = 1 << 1, R_SEEK = 1 << 2, R_SET_FLAGS = 1 << 3, R_SYNC = 1 << 4, R_TELL = 1 << 5,
  R_WRITE = 1 << 6, R_ADVISE = 1 << 7, R_ALLOCATE = 1 << 8, R_CREATE_DIRECTORY = 1 << 9, R_CREATE_FILE = 1 << 10,
  R_LINK_SOURCE = 1 << 11, R_LINK_TARGET = 1 << 12, R_OPEN = 1 << 13, R_READDIR = 1 << 14, R_READLINK = 1 << 15,
  R_RENAME_SOURCE = 1 << 16, R_RENAME_TARGET = 1 << 17, R_PATH_STAT = 1 << 18, R_PATH_SET_SIZE = 1 << 19,
  R_PATH_SET_TIMES = 1 << 20, R_STAT = 1 << 21, R_SET_SIZE = 1 << 22, R_SET_TIMES = 1 << 23, R_SYMLINK = 1 << 24,
  R_REMOVE_DIRECTORY = 1 << 25, R_UNLINK = 1 << 26, R_POLL = 1 << 27, R_SHUTDOWN = 1 << 28, R_ACCEPT = 1 << 29,
};
#define R_ALL ((uint64_t)(1u << 30) - 1)
#define R_FILE (R_ALL & ~(R_SHUTDOWN | R_ACCEPT))
#define R_DIRECTORY (R_FILE & ~(R_READ | R_WRITE | R_SEEK | R_TELL | R_ALLOCATE | R_ADVISE | R_SET_SIZE))

typedef struct { ptr_t buffer; len_t length; } iovec_t;
typedef struct { uint8_t kind; uint16_t flags; uint64_t base, inheriting; } fdstat_t;
typedef struct { uint64_t device, inode; uint8_t kind; uint64_t links, size, accessed, modified, changed; } stat_t;
typedef struct { uint64_t next, inode; uint32_t name; uint8_t kind; } dirent_t;
typedef struct {
  uint64_t userdata; uint8_t tag; _Alignas(8) uint32_t id; uint64_t timeout, precision; uint16_t flags;
} clock_subscription_t; /* 48 bytes; for tags 1 and 2 `id` is a descriptor */
typedef struct { uint64_t userdata; uint16_t error; uint8_t kind; uint64_t bytes; uint16_t flags; } event_t;
_Static_assert(sizeof(stat_t) == 64 && sizeof(fdstat_t) == 24 && sizeof(dirent_t) == 24, "as in witx");
_Static_assert(sizeof(clock_subscription_t) == 48 && sizeof(event_t) == 32, "as in witx");
#endif
