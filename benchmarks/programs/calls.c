/* One WASI call, over and over: `write` (4 KiB to a file), `clock`, `random` (32 bytes). Arguments: which, how often. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wasi/api.h>

enum { ROOT = 3, BLOCK = 4096, BLOCKS = 256 };

static __wasi_fd_t opened(const char *path) {
  __wasi_fd_t fd;
  const __wasi_rights_t rights = __WASI_RIGHTS_FD_WRITE | __WASI_RIGHTS_FD_SEEK | __WASI_RIGHTS_FD_TELL;
  const __wasi_oflags_t flags = __WASI_OFLAGS_CREAT | __WASI_OFLAGS_TRUNC;
  if (__wasi_path_open(ROOT, 0, path, flags, rights, 0, 0, &fd)) exit(3);
  return fd;
}

/* Round and round through a file of 1 MiB, so that its pages are there after the first round. */
static void write_(long count) {
  static uint8_t block[BLOCK];
  const __wasi_ciovec_t vector = {block, BLOCK};
  const __wasi_fd_t fd = opened("tmp/written");
  for (long i = 0; i < count; i++) {
    __wasi_size_t written;
    __wasi_filesize_t position;
    if (i % BLOCKS == 0 && __wasi_fd_seek(fd, 0, __WASI_WHENCE_SET, &position)) exit(3);
    if (__wasi_fd_write(fd, &vector, 1, &written) || written != BLOCK) exit(3);
  }
}

static void clock_(long count) {
  __wasi_timestamp_t last = 0, now;
  for (long i = 0; i < count; i++) {
    if (__wasi_clock_time_get(__WASI_CLOCKID_MONOTONIC, 1, &now) || now < last) exit(3);
    last = now;
  }
}

static void random_(long count) {
  uint8_t bytes[32];
  for (long i = 0; i < count; i++)
    if (__wasi_random_get(bytes, sizeof bytes)) exit(3);
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  const long count = atol(argv[2]);
  if (!strcmp(argv[1], "write")) write_(count);
  else if (!strcmp(argv[1], "clock")) clock_(count);
  else if (!strcmp(argv[1], "random")) random_(count);
  else return 2;
  puts("done");
}
