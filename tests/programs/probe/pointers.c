/* Addresses that are not inside memory, each pointer of each function in turn; and that a call that fails so
 * has done nothing. The functions without a descriptor are in `process`, `poll_oneoff` is in `polling`. */
#include "table.h"

static void on_files(void) {
  stat_t stat;
  made("file", "0123456789");
  fd_t fd = opened("file", 0, R_FILE, 0);
  iovec_t vector = {AT(buffer), 4};
  OUTSIDE("fd_read vectors", 8, wasi_fd_read(fd, P, 1, AT(&out32)));
  OUTSIDE("fd_read buffer", 4, (vector.buffer = P, wasi_fd_read(fd, AT(&vector), 1, AT(&out32))));
  vector.buffer = AT(buffer);
  OUTSIDE("fd_read count", 4, wasi_fd_read(fd, AT(&vector), 1, P));
  CASE("fd_read 2^32-1 vectors", wasi_fd_read(fd, AT(&vector), 0xffffffffu, AT(&out32)));
  CASE("fd_read 2^29 vectors", wasi_fd_read(fd, AT(&vector), 1u << 29, AT(&out32)));
  vector.length = 0xffffffffu;
  CASE("fd_read a buffer of 2^32-1", wasi_fd_read(fd, AT(&vector), 1, AT(&out32)));
  vector = (iovec_t){0xffffff00u, 0x200};
  CASE("fd_read a buffer across 2^32", wasi_fd_read(fd, AT(&vector), 1, AT(&out32)));
  iovec_t second_bad[2] = {{AT(buffer), 2}, {0xfffffff0u, 4}};
  CASE("fd_read, the second buffer outside", wasi_fd_read(fd, AT(second_bad), 2, AT(&out32)));
  GIVES("the position has not moved", wasi_fd_tell(fd, AT(&out64)), out64);
  wasi_fd_seek(fd, 0, SET, AT(&out64));
  vector = (iovec_t){last(4), 4};
  GIVES("fd_read at the end of memory", wasi_fd_read(fd, AT(&vector), 1, AT(&out32)), out32);
  vector = (iovec_t){last(0), 0};
  GIVES("fd_read nothing at the end of memory", wasi_fd_read(fd, AT(&vector), 1, AT(&out32)), out32);
  vector = (iovec_t){0xffffffffu, 0};
  CASE("fd_read nothing beyond memory", wasi_fd_read(fd, AT(&vector), 1, AT(&out32)));
  vector = (iovec_t){AT(buffer), 4};
  OUTSIDE("fd_pread vectors", 8, wasi_fd_pread(fd, P, 1, 0, AT(&out32)));
  OUTSIDE("fd_pread buffer", 4, (vector.buffer = P, wasi_fd_pread(fd, AT(&vector), 1, 0, AT(&out32))));
  vector.buffer = AT(buffer);
  OUTSIDE("fd_pread count", 4, wasi_fd_pread(fd, AT(&vector), 1, 0, P));
  OUTSIDE("fd_write vectors", 8, wasi_fd_write(fd, P, 1, AT(&out32)));
  OUTSIDE("fd_write buffer", 4, (vector.buffer = P, wasi_fd_write(fd, AT(&vector), 1, AT(&out32))));
  vector.length = 0xffffffffu;
  vector.buffer = AT(buffer);
  CASE("fd_write a buffer of 2^32-1", wasi_fd_write(fd, AT(&vector), 1, AT(&out32)));
  second_bad[0].length = 2;
  CASE("fd_write, the second buffer outside", wasi_fd_write(fd, AT(second_bad), 2, AT(&out32)));
  vector = (iovec_t){AT(buffer), 4};
  OUTSIDE("fd_pwrite vectors", 8, wasi_fd_pwrite(fd, P, 1, 0, AT(&out32)));
  OUTSIDE("fd_pwrite buffer", 4, (vector.buffer = P, wasi_fd_pwrite(fd, AT(&vector), 1, 0, AT(&out32))));
  OUTSIDE("fd_seek", 8, wasi_fd_seek(fd, 1, CUR, P));
  OUTSIDE("fd_tell", 8, wasi_fd_tell(fd, P));
  OUTSIDE("fd_fdstat_get", 24, wasi_fd_fdstat_get(fd, P));
  OUTSIDE("fd_filestat_get", 64, wasi_fd_filestat_get(fd, P));
  CASE("fd_filestat_get at the end", wasi_fd_filestat_get(fd, last(64)));
  CASE("fd_filestat_get unaligned", wasi_fd_filestat_get(fd, AT(buffer) + 3));
  GIVES("its size is the same", wasi_fd_filestat_get(fd, AT(&stat)), stat.size);
  iovec_t streams[2] = {{AT(buffer), 0}, {0x80000000u, 4}};
  CASE("fd_write output outside", wasi_fd_write(1, AT(streams), 2, AT(&out32)));
  CASE("fd_read input outside", wasi_fd_read(0, AT(streams), 2, AT(&out32)));
  wasi_fd_close(fd);
}

static void on_paths(void) {
  fd_t fd = 0xffffffffu;
  OUTSIDE("fd_readdir buffer", 100, wasi_fd_readdir(place, P, 100, 0, AT(&out32)));
  OUTSIDE("fd_readdir used", 4, wasi_fd_readdir(place, AT(buffer), 100, 0, P));
  CASE("fd_readdir 2^32-1 bytes", wasi_fd_readdir(place, AT(buffer), 0xffffffffu, 0, AT(&out32)));
  OUTSIDE("path_create_directory", 1, wasi_path_create_directory(place, P, 1));
  OUTSIDE("path_filestat_get path", 4, wasi_path_filestat_get(place, 0, P, 4, AT(buffer)));
  OUTSIDE("path_filestat_get out", 64, wasi_path_filestat_get(place, 0, TEXT("file"), P));
  OUTSIDE("path_filestat_set_times", 4, wasi_path_filestat_set_times(place, 0, P, 4, 0, 0, ATIM));
  OUTSIDE("path_link path", 4, wasi_path_link(place, 0, P, 4, place, TEXT("new")));
  OUTSIDE("path_link name", 4, wasi_path_link(place, 0, TEXT("file"), place, P, 4));
  OUTSIDE("path_open path", 4, wasi_path_open(place, 0, P, 4, 0, R_READ, 0, 0, AT(&fd)));
  OUTSIDE("path_open out", 4, wasi_path_open(place, 0, TEXT("file"), 0, R_READ, 0, 0, P));
  OUTSIDE("path_readlink path", 4, wasi_path_readlink(place, P, 4, AT(buffer), 4, AT(&out32)));
  OUTSIDE("path_remove_directory", 4, wasi_path_remove_directory(place, P, 4));
  OUTSIDE("path_rename path", 4, wasi_path_rename(place, P, 4, place, TEXT("new")));
  OUTSIDE("path_rename name", 4, wasi_path_rename(place, TEXT("file"), place, P, 4));
  OUTSIDE("path_symlink target", 4, wasi_path_symlink(P, 4, place, TEXT("new")));
  OUTSIDE("path_symlink path", 4, wasi_path_symlink(TEXT("x"), place, P, 4));
  OUTSIDE("path_unlink_file", 4, wasi_path_unlink_file(place, P, 4));
  CASE("nothing was opened", wasi_path_filestat_get(place, 0, TEXT("new"), AT(buffer)));
  CASE("path_open to create, out outside",
       wasi_path_open(place, 0, TEXT("made"), CREAT, R_WRITE, 0, 0, 0xfffffff0u));
  CASE("whether it was made", wasi_path_filestat_get(place, 0, TEXT("made"), AT(buffer)));
}

void pointers(void) {
  on_files();
  on_paths();
}
