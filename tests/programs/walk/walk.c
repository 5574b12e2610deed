/* A long random walk over a small file tree, the same for the same seed: each step a call, its errno and what it
 * gave, one line each. Arguments: directory (seen from the root), seed, steps, and `links` where they are to be made
 * too. Steps whose answers are known to differ from wasmtime's (../differences.txt) are not taken. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "../probe/wasi.h"

#define AT(x) ((ptr_t)(uintptr_t)(x))
#define TEXT(s) AT(s), (len_t)strlen(s)

enum { SLOTS = 6, LARGEST = 40000, DIRECTORY_KIND = 3, FILE_KIND = 4 };

static const char *const NAMES[] = {
  "a", "b", "c", "d", "d/a", "d/b", "d/e", "d/e/a", "d/e/f", "d/../b", "d/./a", "d/e/..", "x/a", "a/a", "b/", "d/",
  "d/e/../a", "l", "d/l", "l/a", "d/l/b", "l/../a", ".", "..", "d/../../a", "", "/a",
};
enum { NAMES_COUNT = sizeof NAMES / sizeof *NAMES };

static uint64_t state;
static fd_t place;
static struct { fd_t fd; int open, directory; } slots[SLOTS];
static uint8_t data[LARGEST];
static int with_links;
static stat_t stat;
static uint32_t count32;
static uint64_t count64;

static uint32_t any(uint32_t below) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(state >> 33) % below;
}

static const char *name(void) { return NAMES[any(NAMES_COUNT)]; }

static void say(uint32_t failed, const char *format, ...) {
  va_list values;
  va_start(values, format);
  printf("%u ", failed);
  vprintf(format, values);
  va_end(values);
  puts("");
}

static uint32_t sum(const uint8_t *bytes, uint32_t size) {
  uint32_t value = 1;
  for (uint32_t i = 0; i < size; i++) value = value * 31 + bytes[i];
  return value;
}

static void shut(int slot) {
  if (slots[slot].open) wasi_fd_close(slots[slot].fd);
  slots[slot].open = 0;
}

static void open_(int slot) {
  static const uint32_t FLAGS[] = {0, 0, CREAT, CREAT, CREAT | EXCL, TRUNC, CREAT | TRUNC, DIRECTORY};
  const uint32_t flags = FLAGS[any(8)], descriptor = any(4) == 0 ? APPEND : 0, follow = any(2);
  const char *path = name();
  const uint64_t file = R_READ | R_WRITE | R_SEEK | R_TELL | R_STAT | R_SET_SIZE | R_SET_FLAGS | R_SYNC | R_SET_TIMES;
  fd_t fd;
  shut(slot);
  const uint32_t failed = wasi_path_open(place, follow, TEXT(path), flags, flags & DIRECTORY ? R_READDIR | R_STAT : file,
                                         0, descriptor, AT(&fd));
  if (!failed) {
    wasi_fd_filestat_get(fd, AT(&stat));
    slots[slot].fd = fd;
    slots[slot].open = 1;
    slots[slot].directory = stat.kind == DIRECTORY_KIND;
  }
  say(failed, "open %s %u %u %u", path, flags, descriptor, follow);
}

static void write_(fd_t fd, int positioned) {
  const uint32_t size = any(4) ? any(300) + 1 : any(LARGEST) + 1, from = any(60000);
  for (uint32_t i = 0; i < size; i++) data[i] = (uint8_t)(state + i);
  const iovec_t vector = {AT(data), size};
  const uint32_t failed = positioned ? wasi_fd_pwrite(fd, AT(&vector), 1, from, AT(&count32))
                                     : wasi_fd_write(fd, AT(&vector), 1, AT(&count32));
  say(failed, "write %u of %u at %u", failed ? 0 : count32, size, positioned ? from : 0);
}

static void read_(fd_t fd, int positioned) {
  const uint32_t size = any(4) ? any(300) + 1 : any(LARGEST) + 1, from = any(60000);
  const iovec_t vector = {AT(data), size};
  const uint32_t failed = positioned ? wasi_fd_pread(fd, AT(&vector), 1, from, AT(&count32))
                                     : wasi_fd_read(fd, AT(&vector), 1, AT(&count32));
  if (failed) count32 = 0;
  say(failed, "read %u of %u at %u: %08x", count32, size, positioned ? from : 0, sum(data, count32));
}

static void on_slot(int slot, uint32_t what) {
  const fd_t fd = slots[slot].fd;
  if (!slots[slot].open || slots[slot].directory) { open_(slot); return; }
  switch (what) {
    case 0: case 1: write_(fd, what); break;
    case 2: case 3: read_(fd, what - 2); break;
    case 4: {
      const int64_t offset = (int64_t)any(50000) - 10000;
      const uint32_t whence = any(3), failed = wasi_fd_seek(fd, offset, whence, AT(&count64));
      say(failed, "seek %lld %u: %lld", offset, whence, failed ? 0 : count64);
      break;
    }
    case 5: { const uint32_t size = any(60000); say(wasi_fd_filestat_set_size(fd, size), "resize %u", size); break; }
    case 6: {
      const uint32_t failed = wasi_fd_filestat_get(fd, AT(&stat));
      say(failed, "stat %u %lld %lld", stat.kind, stat.size, stat.links);
      break;
    }
    case 7: { const uint32_t flags = any(2); say(wasi_fd_fdstat_set_flags(fd, flags), "flags %u", flags); break; }
    case 8: { const uint32_t failed = wasi_fd_tell(fd, AT(&count64)); say(failed, "tell %lld", count64); break; }
    case 9: {
      const int other = (int)any(SLOTS);
      if (!slots[other].open || other == slot) { say(wasi_fd_sync(fd), "sync"); break; }
      const uint32_t failed = wasi_fd_renumber(fd, slots[other].fd);
      if (!failed) { slots[slot].open = 0; slots[other].directory = 0; }
      say(failed, "renumber");
      break;
    }
    default: shut(slot); say(0, "close"); break;
  }
}

/* The names in a directory in the order of their letters, each with its kind. */
static void list(const char *path) {
  static uint8_t entries[8192];
  char found[64][24], all[1600] = "";
  fd_t fd;
  int names = 0;
  uint32_t failed = wasi_path_open(place, FOLLOW, TEXT(path), DIRECTORY, R_READDIR, 0, 0, AT(&fd));
  if (!failed) failed = wasi_fd_readdir(fd, AT(entries), sizeof entries, 0, AT(&count32));
  for (uint32_t at = 0; !failed && at + sizeof(dirent_t) <= count32 && names < 64;) {
    dirent_t entry;
    memcpy(&entry, entries + at, sizeof entry);
    snprintf(found[names++], 24, " %.*s:%u", (int)entry.name, entries + at + sizeof entry, entry.kind);
    at += sizeof entry + entry.name;
  }
  qsort(found, names, 24, (int (*)(const void *, const void *))strcmp);
  for (int i = 0; i < names; i++) strcat(all, found[i]);
  if (!failed) wasi_fd_close(fd);
  say(failed, "list %s:%s", path, all);
}

static void on_names(uint32_t what) {
  const char *path = name(), *other = name();
  const uint32_t follow = any(2);
  switch (what) {
    case 0: say(wasi_path_create_directory(place, TEXT(path)), "mkdir %s", path); break;
    case 1:
      if (*path && path[strlen(path) - 1] == '/') path = "d/e";
      say(wasi_path_remove_directory(place, TEXT(path)), "rmdir %s", path);
      break;
    case 2: say(wasi_path_unlink_file(place, TEXT(path)), "unlink %s", path); break;
    case 3: case 4: say(wasi_path_rename(place, TEXT(path), place, TEXT(other)), "rename %s %s", path, other); break;
    case 5: case 6: {
      const uint32_t failed = wasi_path_filestat_get(place, follow, TEXT(path), AT(&stat));
      const int plain = !failed && stat.kind == FILE_KIND;
      say(failed, "look %s %u: %u %lld %lld", path, follow, failed ? 0 : stat.kind, plain ? stat.size : 0,
          plain ? stat.links : 0);
      break;
    }
    case 7: list(path); break;
    case 8: say(wasi_path_symlink(TEXT(other), place, TEXT(path)), "symlink %s: %s", path, other); break;
    case 9: say(wasi_path_link(place, NOFOLLOW, TEXT(path), place, TEXT(other)), "link %s %s", path, other); break;
    default: {
      const uint32_t failed = wasi_path_readlink(place, TEXT(path), AT(data), 100, AT(&count32));
      say(failed, "readlink %s: %.*s", path, failed ? 0 : (int)count32, data);
    }
  }
}

int main(int argc, char **argv) {
  if (argc < 4) return 2;
  state = strtoull(argv[2], 0, 10) * 2654435761u + 1;
  with_links = argc > 4;
  char own[64];
  snprintf(own, sizeof own, "%s/walk", argv[1]);
  wasi_path_create_directory(3, TEXT(own));
  if (wasi_path_open(3, 0, TEXT(own), DIRECTORY, R_DIRECTORY, R_FILE, 0, AT(&place))) return 3;
  for (long left = atol(argv[3]); left > 0; left--) {
    if (any(2)) on_slot((int)any(SLOTS), any(11));
    else on_names(any(with_links ? 11 : 8));
  }
  return 0;
}
