/* Descriptors 0, 1 and 2. Standard input holds "input\n" and ends. */
#include "table.h"

void streams(void) {
  fdstat_t stat;
  stat_t file;
  char one[4] = {0}, two[64] = {0};
  iovec_t both[2] = {{AT(one), 2}, {AT(two), 64}};
  GIVES("fd_fdstat_get input", wasi_fd_fdstat_get(0, AT(&stat)), stat.kind);
  line("input may be read, not written", 0, " %d %d", !!(stat.base & R_READ), !!(stat.base & R_WRITE));
  GIVES("fd_fdstat_get output", wasi_fd_fdstat_get(1, AT(&stat)), stat.kind);
  line("output may be written, not read", 0, " %d %d", !!(stat.base & R_WRITE), !!(stat.base & R_READ));
  GIVES("fd_fdstat_get errors", wasi_fd_fdstat_get(2, AT(&stat)), stat.kind);
  GIVES("fd_filestat_get input", wasi_fd_filestat_get(0, AT(&file)), file.size);
  GIVES("fd_filestat_get output", wasi_fd_filestat_get(1, AT(&file)), file.size);
  CASE("fd_seek input", wasi_fd_seek(0, 0, CUR, AT(&out64)));
  CASE("fd_seek output", wasi_fd_seek(1, 0, SET, AT(&out64)));
  CASE("fd_tell input", wasi_fd_tell(0, AT(&out64)));
  CASE("fd_tell output", wasi_fd_tell(1, AT(&out64)));
  CASE("fd_read output", wasi_fd_read(1, AT(both), 1, AT(&out32)));
  CASE("fd_write input", wasi_fd_write(0, AT(both), 1, AT(&out32)));
  CASE("fd_pread input", wasi_fd_pread(0, AT(both), 1, 0, AT(&out32)));
  CASE("fd_pwrite output", wasi_fd_pwrite(1, AT(both), 1, 0, AT(&out32)));
  CASE("fd_readdir input", wasi_fd_readdir(0, AT(buffer), 100, 0, AT(&out32)));
  CASE("fd_allocate output", wasi_fd_allocate(1, 0, 10));
  CASE("fd_advise output", wasi_fd_advise(1, 0, 10, 0));
  CASE("fd_sync output", wasi_fd_sync(1));
  CASE("fd_datasync output", wasi_fd_datasync(1));
  CASE("fd_filestat_set_size output", wasi_fd_filestat_set_size(1, 0));
  CASE("fd_filestat_set_times output", wasi_fd_filestat_set_times(1, 0, 0, ATIM));
  CASE("path_open below input", wasi_path_open(0, 0, TEXT("x"), 0, R_READ, 0, 0, AT(&out32)));
  CASE("path_filestat_get below output", wasi_path_filestat_get(1, 0, TEXT("x"), AT(&file)));

  GIVES("fd_read nothing", wasi_fd_read(0, AT(both), 0, AT(&out32)), out32);
  uint32_t errno_ = 0, total = 0;
  char all[64];
  do {
    errno_ = wasi_fd_read(0, AT(both), 1, AT(&out32));
    if (errno_ || total + out32 > 32) break;
    memcpy(all + total, one, out32);
    total += out32;
  } while (out32);
  line("fd_read until the end", errno_, " %u %.5s", total, all);
  GIVES("fd_read behind the end", wasi_fd_read(0, AT(both), 2, AT(&out32)), out32);

  iovec_t lines[4] = {{TEXT("one ")}, {AT(one), 0}, {TEXT("two ")}, {TEXT("three\n")}};
  GIVES("fd_write gathers", wasi_fd_write(2, AT(lines), 4, AT(&out32)), out32);
  GIVES("fd_write nothing", wasi_fd_write(2, AT(lines), 0, AT(&out32)), out32);
  iovec_t empty = {0, 0};
  GIVES("fd_write an empty buffer at 0", wasi_fd_write(2, AT(&empty), 1, AT(&out32)), out32);
  fflush(stdout);
  GIVES("fd_write output, nothing", wasi_fd_write(1, AT(&empty), 1, AT(&out32)), out32);
}
