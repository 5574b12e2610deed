/* Calls every function of WASI preview 1 with good and bad arguments and prints what it gave.
 * Arguments: the directory to work in, the groups to run with commas between, and skip=CASES. */
#include <stdarg.h>
#include <stdlib.h>
#include "table.h"

const char *group = "";
fd_t place;
uint64_t out64;
uint32_t out32;
char buffer[4096];
static const char *skips = "";

static int announced;

/* A case is announced before it runs, and written at once: so that one that traps is known by its name. */
int skipped(const char *name) {
  char full[160];
  snprintf(full, sizeof full, ",%s.%s,", group, name);
  if (strstr(skips, full) != 0) return 1;
  printf("%s.%s: ", group, name);
  fflush(stdout);
  announced = 1;
  return 0;
}

void line(const char *name, uint32_t errno_, const char *format, ...) {
  va_list values;
  if (!announced) printf("%s.%s: ", group, name);
  announced = 0;
  printf("%u", errno_);
  va_start(values, format);
  vprintf(format, values);
  va_end(values);
  puts("");
  fflush(stdout);
}

static uint32_t end(void) { return (uint32_t)__builtin_wasm_memory_size(0) << 16; }

ptr_t last(uint32_t size) { return end() - size; }

ptr_t outside(int number, uint32_t size) {
  const ptr_t addresses[OUTSIDE_COUNT] = {
    end() - size + 1, end(), end() + 1, 0x80000000u, 0xfffffff0u, -size, 0xffffffffu,
  };
  return addresses[number];
}

void outside_line(const char *name, const uint32_t *results) {
  int same = 1;
  for (int i = 1; i < OUTSIDE_COUNT; i++) same &= results[i] == results[0];
  if (same) { line(name, results[0], ""); return; }
  char all[OUTSIDE_COUNT * 5 + 1] = "";
  for (int i = 0; i < OUTSIDE_COUNT; i++) snprintf(all + strlen(all), 5, " %u", results[i] % 1000);
  line(name, results[0], " of%s", all);
}

fd_t opened(const char *path, uint32_t oflags, uint64_t rights, uint32_t fdflags) {
  fd_t fd = 0xffffffffu;
  uint32_t failed = wasi_path_open(place, FOLLOW, TEXT(path), oflags, rights, R_FILE, fdflags, AT(&fd));
  if (failed) printf("%s: cannot open %s: %u\n", group, path, failed);
  return fd;
}

uint32_t wrote(fd_t fd, const char *text) {
  iovec_t vector = {TEXT(text)};
  return wasi_fd_write(fd, AT(&vector), 1, AT(&out32));
}

void made(const char *path, const char *contents) {
  fd_t fd = opened(path, CREAT | TRUNC, R_READ | R_WRITE, 0);
  wrote(fd, contents);
  wasi_fd_close(fd);
}

const char *holds(fd_t fd) {
  static char text[256];
  uint32_t done = 0;
  while (done < 255) {
    iovec_t vector = {AT(text + done), 255 - done};
    uint32_t failed = wasi_fd_pread(fd, AT(&vector), 1, done, AT(&out32));
    if (failed) { snprintf(text, sizeof text, "?%u", failed); return text; }
    if (out32 == 0) break;
    done += out32;
  }
  for (uint32_t i = 0; i < done; i++) if (text[i] == 0) text[i] = '0';
  text[done] = 0;
  return text;
}

const char *held(const char *path) {
  fd_t fd = 0xffffffffu;
  uint32_t failed = wasi_path_open(place, NOFOLLOW, TEXT(path), 0, R_READ | R_SEEK, 0, 0, AT(&fd));
  if (failed) { static char none[16]; snprintf(none, sizeof none, "?%u", failed); return none; }
  const char *text = holds(fd);
  wasi_fd_close(fd);
  return text;
}

static const struct { const char *name; void (*run)(void); int makes; } GROUPS[] = {
  {"process", process, 0}, {"streams", streams, 0}, {"files", files, 1}, {"seeking", seeking, 1},
  {"attributes", attributes, 1}, {"rights", rights, 1}, {"directories", directories, 1}, {"paths", paths, 1},
  {"renaming", renaming, 1}, {"links", links, 1}, {"descriptors", descriptors, 1}, {"polling", polling, 1},
  {"sockets", sockets, 1}, {"pointers", pointers, 1}, {"read_only", read_only, 0},
};

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  __builtin_wasm_memory_grow(0, 32); /* its end is written to, where nothing else may be */
  if (argc > 3) skips = argv[3];
  for (unsigned i = 0; i < sizeof GROUPS / sizeof *GROUPS; i++) {
    char wanted[64], all[256], own[128];
    snprintf(wanted, sizeof wanted, ",%s,", GROUPS[i].name);
    snprintf(all, sizeof all, ",%s,", argv[2]);
    if (!strstr(all, wanted)) continue;
    group = GROUPS[i].name;
    snprintf(own, sizeof own, "%s%s%s", argv[1], GROUPS[i].makes ? "/" : "", GROUPS[i].makes ? group : "");
    if (GROUPS[i].makes) line("make its directory", wasi_path_create_directory(3, TEXT(own)), "");
    uint32_t failed = wasi_path_open(3, NOFOLLOW, TEXT(own), DIRECTORY, R_DIRECTORY, R_FILE, 0, AT(&place));
    if (failed) { line("open its directory", failed, ""); return 1; }
    GROUPS[i].run();
    wasi_fd_close(place);
  }
  puts("end");
  return 0;
}
