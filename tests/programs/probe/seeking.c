/* Positions and sizes: fd_seek, fd_tell, fd_filestat_set_size, fd_allocate, fd_advise, fd_sync, fd_datasync. */
#include "table.h"

void seeking(void) {
  made("file", "0123456789");
  fd_t fd = opened("file", 0, R_FILE, 0);
  GIVES("set", wasi_fd_seek(fd, 4, SET, AT(&out64)), out64);
  GIVES("forward", wasi_fd_seek(fd, 3, CUR, AT(&out64)), out64);
  GIVES("back", wasi_fd_seek(fd, -2, CUR, AT(&out64)), out64);
  GIVES("from the end", wasi_fd_seek(fd, -1, END, AT(&out64)), out64);
  GIVES("behind the end", wasi_fd_seek(fd, 5, END, AT(&out64)), out64);
  CASE("before the beginning", wasi_fd_seek(fd, -1, SET, AT(&out64)));
  CASE("back before the beginning", wasi_fd_seek(fd, -100, CUR, AT(&out64)));
  CASE("before it from the end", wasi_fd_seek(fd, -11, END, AT(&out64)));
  GIVES("fd_tell is unchanged", wasi_fd_tell(fd, AT(&out64)), out64);
  GIVES("the farthest", wasi_fd_seek(fd, INT64_MAX, SET, AT(&out64)), out64 == INT64_MAX);
  CASE("beyond the farthest", wasi_fd_seek(fd, 1, CUR, AT(&out64)));
  CASE("the least", wasi_fd_seek(fd, INT64_MIN, CUR, AT(&out64)));
  CASE("write there", wrote(fd, "x"));
  CASE("whence 3", wasi_fd_seek(fd, 0, 3, AT(&out64)));
  CASE("a directory", wasi_fd_seek(place, 0, SET, AT(&out64)));
  CASE("fd_tell a directory", wasi_fd_tell(place, AT(&out64)));

  stat_t stat;
  CASE("fd_filestat_set_size grows", wasi_fd_filestat_set_size(fd, 14));
  line("grown", 0, " %s", holds(fd));
  CASE("fd_filestat_set_size shrinks", wasi_fd_filestat_set_size(fd, 3));
  CASE("and grows again", wasi_fd_filestat_set_size(fd, 6));
  line("with zeros", 0, " %s", holds(fd));
  CASE("fd_filestat_set_size 2^63", wasi_fd_filestat_set_size(fd, 1ull << 63));
  CASE("fd_filestat_set_size 2^64-1", wasi_fd_filestat_set_size(fd, ~0ull));
  CASE("fd_filestat_set_size directory", wasi_fd_filestat_set_size(place, 0));
  CASE("fd_allocate", wasi_fd_allocate(fd, 4, 6));
  GIVES("fd_allocate grew", wasi_fd_filestat_get(fd, AT(&stat)), stat.size);
  CASE("fd_allocate within", wasi_fd_allocate(fd, 0, 1));
  GIVES("fd_allocate shrinks nothing", wasi_fd_filestat_get(fd, AT(&stat)), stat.size);
  CASE("fd_allocate nothing", wasi_fd_allocate(fd, 0, 0));
  CASE("fd_allocate beyond 2^64", wasi_fd_allocate(fd, ~0ull, 2));
  CASE("fd_allocate directory", wasi_fd_allocate(place, 0, 1));
  for (uint32_t advice = 0; advice < 8; advice++) {
    char name[32];
    snprintf(name, sizeof name, "fd_advise %u", advice);
    CASE(name, wasi_fd_advise(fd, 0, 10, advice));
  }
  CASE("fd_advise the whole range", wasi_fd_advise(fd, ~0ull, ~0ull, 0));
  CASE("fd_advise directory", wasi_fd_advise(place, 0, 0, 0));
  CASE("fd_sync", wasi_fd_sync(fd));
  CASE("fd_datasync", wasi_fd_datasync(fd));
  CASE("fd_sync directory", wasi_fd_sync(place));
  CASE("fd_datasync directory", wasi_fd_datasync(place));
  wasi_fd_close(fd);
}
