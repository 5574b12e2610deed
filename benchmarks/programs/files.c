/* Work on files, below the directory that the first argument names, seen from the root.
 * Arguments: directory, operation, bytes of the file, bytes of a block, how often.
 *   read, read_random, write, write_random: that many blocks of a file that is made where it is not there yet
 *   create, stat, unlink: small files, in a folder of their own
 *   append: 128 bytes to a log, synced each time */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wasi/api.h>

enum { ROOT = 3, LARGEST = 1 << 16, SMALL = 100, RECORD = 128, KNOWN = 1000 };

static uint8_t block[LARGEST];

static void require(int met) {
  if (!met) { fputs("a call failed\n", stderr); exit(3); }
}

static __wasi_fd_t opened(const char *path, __wasi_oflags_t flags, __wasi_fdflags_t descriptor) {
  const __wasi_rights_t rights = __WASI_RIGHTS_FD_READ | __WASI_RIGHTS_FD_WRITE | __WASI_RIGHTS_FD_SEEK |
      __WASI_RIGHTS_FD_TELL | __WASI_RIGHTS_FD_FILESTAT_GET | __WASI_RIGHTS_FD_SYNC;
  __wasi_fd_t fd;
  require(!__wasi_path_open(ROOT, 0, path, __WASI_OFLAGS_CREAT | flags, rights, 0, descriptor, &fd));
  return fd;
}

static void put(__wasi_fd_t fd, uint64_t index, uint32_t size) {
  const __wasi_ciovec_t vector = {block, size};
  __wasi_size_t done;
  memcpy(block, &index, sizeof index);
  require(!__wasi_fd_pwrite(fd, &vector, 1, index * size, &done) && done == size);
}

static void get(__wasi_fd_t fd, uint64_t index, uint32_t size) {
  const __wasi_iovec_t vector = {block, size};
  __wasi_size_t done;
  uint64_t first;
  require(!__wasi_fd_pread(fd, &vector, 1, index * size, &done) && done == size);
  memcpy(&first, block, sizeof first);
  require(first == index);
}

/* A file of its own for each block size, so that what is read is known. */
static __wasi_fd_t filled(const char *base, uint64_t bytes, uint32_t size) {
  char path[256];
  __wasi_filestat_t stat;
  snprintf(path, sizeof path, "%s/blocks-%llu-%u", base, (unsigned long long)bytes, size);
  const __wasi_fd_t fd = opened(path, 0, 0);
  require(!__wasi_fd_filestat_get(fd, &stat));
  if (stat.size != bytes) {
    for (uint64_t i = 0; i < bytes / size; i++) put(fd, i, size);
    require(!__wasi_fd_sync(fd));
  }
  return fd;
}

static void blocks(const char *base, const char *operation, uint64_t bytes, uint32_t size, long count) {
  const __wasi_fd_t fd = filled(base, bytes, size);
  const uint64_t all = bytes / size;
  const int random = strstr(operation, "random") != 0, writes = operation[0] == 'w';
  uint64_t state = 1;
  for (long i = 0; i < count; i++) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const uint64_t index = random ? (state >> 33) % all : (uint64_t)i % all;
    if (writes) put(fd, index, size); else get(fd, index, size);
  }
  if (writes) require(!__wasi_fd_sync(fd));
}

/* A folder that no run before has used: on a volume they stay. */
static void folder(const char *base, char *path, size_t size) {
  __wasi_timestamp_t now;
  require(!__wasi_clock_time_get(__WASI_CLOCKID_REALTIME, 1, &now));
  snprintf(path, size, "%s/small-%llu", base, (unsigned long long)now);
  require(!__wasi_path_create_directory(ROOT, path));
}

static void create(const char *folder_, long count) {
  char path[300];
  for (long i = 0; i < count; i++) {
    snprintf(path, sizeof path, "%s/%ld", folder_, i);
    const __wasi_fd_t fd = opened(path, __WASI_OFLAGS_EXCL, 0);
    const __wasi_ciovec_t vector = {block, SMALL};
    __wasi_size_t done;
    require(!__wasi_fd_write(fd, &vector, 1, &done) && !__wasi_fd_close(fd));
  }
}

static void small(const char *base, const char *operation, long count) {
  char own[256], path[300];
  folder(base, own, sizeof own);
  if (!strcmp(operation, "create")) { create(own, count); return; }
  const int stats = !strcmp(operation, "stat");
  create(own, stats ? KNOWN : labs(count));
  for (long i = 0; i < count; i++) {
    __wasi_filestat_t stat;
    snprintf(path, sizeof path, "%s/%ld", own, stats ? i % KNOWN : i);
    if (stats) require(!__wasi_path_filestat_get(ROOT, 0, path, &stat) && stat.size == SMALL);
    else require(!__wasi_path_unlink_file(ROOT, path));
  }
}

static void append(const char *base, long count) {
  char path[256];
  snprintf(path, sizeof path, "%s/log", base);
  const __wasi_fd_t fd = opened(path, 0, __WASI_FDFLAGS_APPEND);
  for (long i = 0; i < count; i++) {
    const __wasi_ciovec_t vector = {block, RECORD};
    __wasi_size_t done;
    require(!__wasi_fd_write(fd, &vector, 1, &done) && done == RECORD && !__wasi_fd_sync(fd));
  }
}

int main(int argc, char **argv) {
  if (argc != 6) return 2;
  const char *base = argv[1], *operation = argv[2];
  const uint64_t bytes = strtoull(argv[3], 0, 10);
  const uint32_t size = strtoul(argv[4], 0, 10);
  const long count = atol(argv[5]);
  if (size > LARGEST) return 2;
  if (operation[0] == 'r' || operation[0] == 'w') blocks(base, operation, bytes, size, count);
  else if (!strcmp(operation, "append")) append(base, count);
  else small(base, operation, count);
  puts("done");
}
