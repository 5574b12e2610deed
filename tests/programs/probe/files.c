/* Opening, reading, writing, scattering and gathering, appending, sizes. */
#include "table.h"

static void opening(void) {
  fd_t fd = 0xffffffffu;
  CASE("open what is not there", wasi_path_open(place, 0, TEXT("none"), 0, R_READ, 0, 0, AT(&fd)));
  CASE("create", wasi_path_open(place, 0, TEXT("new"), CREAT, R_FILE, 0, 0, AT(&fd)));
  wrote(fd, "contents");
  wasi_fd_close(fd);
  CASE("create again", wasi_path_open(place, 0, TEXT("new"), CREAT, R_FILE, 0, 0, AT(&fd)));
  line("keeps contents", 0, " %s", holds(fd));
  wasi_fd_close(fd);
  CASE("create exclusively", wasi_path_open(place, 0, TEXT("new"), CREAT | EXCL, R_WRITE, 0, 0, AT(&fd)));
  CASE("truncate", wasi_path_open(place, 0, TEXT("new"), TRUNC, R_FILE, 0, 0, AT(&fd)));
  line("is empty", 0, " %s", holds(fd));
  wasi_fd_close(fd);
  made("kept", "contents");
  CASE("truncate without writing", wasi_path_open(place, 0, TEXT("kept"), TRUNC, R_READ, 0, 0, AT(&fd)));
  CASE("a file as a directory", wasi_path_open(place, 0, TEXT("new"), DIRECTORY, R_READ, 0, 0, AT(&fd)));
  CASE("create a directory", wasi_path_open(place, 0, TEXT("d"), CREAT | DIRECTORY, R_READ, 0, 0, AT(&fd)));
  CASE("a directory to write", wasi_path_open(place, 0, TEXT("."), 0, R_READ | R_WRITE, 0, 0, AT(&fd)));
  CASE("create a directory's name", wasi_path_open(place, 0, TEXT("."), CREAT | EXCL, R_READ, 0, 0, AT(&fd)));
  CASE("truncate a directory", wasi_path_open(place, 0, TEXT("."), TRUNC, R_READ, 0, 0, AT(&fd)));
  CASE("below a file", wasi_path_open(place, 0, TEXT("new/x"), CREAT, R_WRITE, 0, 0, AT(&fd)));
  CASE("unknown open flags", wasi_path_open(place, 0, TEXT("new"), 16, R_READ, 0, 0, AT(&fd)));
  CASE("unknown descriptor flags", wasi_path_open(place, 0, TEXT("new"), 0, R_READ, 0, 64, AT(&fd)));
  CASE("unknown lookup flags", wasi_path_open(place, 2, TEXT("new"), 0, R_READ, 0, 0, AT(&fd)));
  CASE("unknown rights", wasi_path_open(place, 0, TEXT("new"), 0, 1ull << 40, 0, 0, AT(&fd)));
  CASE("no rights", wasi_path_open(place, 0, TEXT("new"), 0, 0, 0, 0, AT(&fd)));
  CASE("create without rights", wasi_path_open(place, 0, TEXT("bare"), CREAT, 0, 0, 0, AT(&fd)));
  CASE("it is there", wasi_path_unlink_file(place, TEXT("bare")));
}

static void reading(void) {
  char one[4] = {0}, two[4] = {0}, same[8] = {0};
  made("read", "0123456789");
  fd_t fd = opened("read", 0, R_READ | R_SEEK | R_TELL, 0);
  iovec_t scattered[3] = {{AT(one), 3}, {AT(two), 0}, {AT(two), 2}};
  uint32_t errno_ = wasi_fd_read(fd, AT(scattered), 3, AT(&out32));
  line("fd_read scatters", errno_, " %u %.3s%.2s", out32, one, two);
  wasi_fd_seek(fd, 0, SET, AT(&out64));
  iovec_t empty_first[2] = {{AT(one), 0}, {AT(two), 4}};
  GIVES("fd_read after an empty buffer", wasi_fd_read(fd, AT(empty_first), 2, AT(&out32)), out32);
  wasi_fd_seek(fd, 8, SET, AT(&out64));
  GIVES("fd_read near the end", wasi_fd_read(fd, AT(empty_first), 2, AT(&out32)), out32);
  GIVES("fd_read at the end", wasi_fd_read(fd, AT(empty_first), 2, AT(&out32)), out32);
  GIVES("fd_read no buffers", wasi_fd_read(fd, AT(empty_first), 0, AT(&out32)), out32);
  iovec_t overlapping[2] = {{AT(same), 6}, {AT(same) + 2, 4}};
  wasi_fd_seek(fd, 0, SET, AT(&out64));
  errno_ = wasi_fd_read(fd, AT(overlapping), 2, AT(&out32));
  line("fd_read overlapping", errno_, " %u %.6s", out32, same);
  GIVES("fd_pread", wasi_fd_pread(fd, AT(&scattered[0]), 1, 7, AT(&out32)), one[0] * 10 + out32);
  GIVES("fd_pread behind the end", wasi_fd_pread(fd, AT(scattered), 3, 10, AT(&out32)), out32);
  GIVES("fd_pread far behind", wasi_fd_pread(fd, AT(scattered), 3, 1ull << 62, AT(&out32)), out32);
  CASE("fd_pread at 2^63", wasi_fd_pread(fd, AT(scattered), 3, 1ull << 63, AT(&out32)));
  CASE("fd_pread at 2^64-1", wasi_fd_pread(fd, AT(scattered), 3, ~0ull, AT(&out32)));
  CASE("fd_write without the right", wrote(fd, "x"));
  CASE("fd_pwrite without the right", wasi_fd_pwrite(fd, AT(scattered), 1, 0, AT(&out32)));
  CASE("fd_read a directory", wasi_fd_read(place, AT(scattered), 1, AT(&out32)));
  CASE("fd_pread a directory", wasi_fd_pread(place, AT(scattered), 1, 0, AT(&out32)));
  CASE("fd_write a directory", wasi_fd_write(place, AT(scattered), 1, AT(&out32)));
  CASE("fd_pwrite a directory", wasi_fd_pwrite(place, AT(scattered), 1, 0, AT(&out32)));
  wasi_fd_close(fd);
}

/* Result and buffer list in the memory that is read into: the list is read before anything is written. */
static void overlapping(void) {
  made("zeros", "abcdefghijklmnop");
  fd_t fd = opened("zeros", 0, R_READ | R_SEEK, 0);
  iovec_t itself[2] = {{0, 16}, {0, 0}};
  itself[0].buffer = AT(itself);
  uint32_t errno_ = wasi_fd_read(fd, AT(itself), 1, AT(&out32));
  line("fd_read over its own list", errno_, " %u %.16s", out32, (char *)itself);
  wasi_fd_seek(fd, 0, SET, AT(&out64));
  char text[16];
  iovec_t vector = {AT(text), 16};
  errno_ = wasi_fd_read(fd, AT(&vector), 1, AT(text) + 4);
  line("fd_read counts into its buffer", errno_, " %u %.4s", *(uint32_t *)(text + 4), text);
  wasi_fd_close(fd);
}

static void writing(void) {
  fd_t fd = opened("written", CREAT, R_FILE, 0);
  iovec_t gathered[4] = {{TEXT("one ")}, {0, 0}, {TEXT("two ")}, {TEXT("three")}};
  uint32_t done = 0;
  while (done < 13) { /* a write may be short: of the first buffer only, in wasmtime */
    iovec_t rest[4];
    uint32_t at = done, count = 0;
    for (int i = 0; i < 4; i++) {
      if (at >= gathered[i].length) { at -= gathered[i].length; continue; }
      rest[count++] = (iovec_t){gathered[i].buffer + at, gathered[i].length - at};
      at = 0;
    }
    if (wasi_fd_write(fd, AT(rest), count, AT(&out32)) || out32 == 0) break;
    done += out32;
  }
  line("fd_write gathers", done != 13, " %s", holds(fd));
  GIVES("fd_tell", wasi_fd_tell(fd, AT(&out64)), out64);
  CASE("fd_pwrite", wasi_fd_pwrite(fd, AT(gathered), 1, 4, AT(&out32)));
  line("fd_pwrite leaves the position", wasi_fd_tell(fd, AT(&out64)), " %lld %s", out64, holds(fd));
  CASE("fd_pwrite behind the end", wasi_fd_pwrite(fd, AT(gathered), 1, 16, AT(&out32)));
  line("the gap is zeros", 0, " %s", holds(fd));
  CASE("fd_pwrite at 2^63", wasi_fd_pwrite(fd, AT(gathered), 1, 1ull << 63, AT(&out32)));
  CASE("fd_pwrite at 2^64-1", wasi_fd_pwrite(fd, AT(gathered), 1, ~0ull, AT(&out32)));
  wasi_fd_seek(fd, 20, SET, AT(&out64));
  GIVES("fd_write nothing behind the end", wasi_fd_write(fd, AT(&gathered[1]), 1, AT(&out32)), out32);
  stat_t stat;
  GIVES("its size", wasi_fd_filestat_get(fd, AT(&stat)), stat.size);
  wasi_fd_close(fd);
  made("unread", "");
  fd = opened("unread", 0, R_WRITE, 0);
  CASE("fd_read without the right", wasi_fd_read(fd, AT(gathered), 1, AT(&out32)));
  CASE("fd_pread without the right", wasi_fd_pread(fd, AT(gathered), 1, 0, AT(&out32)));
  wasi_fd_close(fd);
}

static void appending(void) {
  made("log", "begin ");
  fd_t fd = opened("log", 0, R_READ | R_WRITE | R_SEEK | R_TELL | R_SET_FLAGS, APPEND);
  CASE("append", wrote(fd, "more "));
  line("appended", 0, " %s", held("log"));
  wasi_fd_seek(fd, 0, SET, AT(&out64));
  wrote(fd, "again ");
  line("after seeking", 0, " %s", held("log"));
  GIVES("position after appending", wasi_fd_tell(fd, AT(&out64)), out64);
  iovec_t vector = {TEXT("P")};
  wasi_fd_pwrite(fd, AT(&vector), 1, 0, AT(&out32));
  line("fd_pwrite when appending", 0, " %s", held("log"));
  fdstat_t stat;
  GIVES("flags", wasi_fd_fdstat_get(fd, AT(&stat)), stat.flags);
  CASE("fd_fdstat_set_flags none", wasi_fd_fdstat_set_flags(fd, 0));
  wasi_fd_seek(fd, 0, SET, AT(&out64));
  wrote(fd, "B");
  line("no longer appending", 0, " %s", held("log"));
  CASE("fd_fdstat_set_flags append", wasi_fd_fdstat_set_flags(fd, APPEND));
  GIVES("flags are set", wasi_fd_fdstat_get(fd, AT(&stat)), stat.flags);
  CASE("fd_fdstat_set_flags sync", wasi_fd_fdstat_set_flags(fd, SYNC));
  CASE("fd_fdstat_set_flags unknown", wasi_fd_fdstat_set_flags(fd, 64));
  wasi_fd_close(fd);
}

void files(void) {
  opening();
  reading();
  overlapping();
  writing();
  appending();
}
