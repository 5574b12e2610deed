/* A tree that was delivered read-only: it can be read, and nothing changes it. It holds `file` ("contents") and
 * `folder`, with `inner` in it. */
#include "table.h"

void read_only(void) {
  stat_t stat;
  fd_t fd = 0xffffffffu, folder = 0xffffffffu;
  line("reads", 0, " %s %s", held("file"), held("folder/inner"));
  GIVES("path_filestat_get", wasi_path_filestat_get(place, 0, TEXT("file"), AT(&stat)), stat.size);
  CASE("open to read", wasi_path_open(place, 0, TEXT("file"), 0, R_READ | R_SEEK | R_SYNC, 0, 0, AT(&fd)));
  iovec_t vector = {AT(buffer), 4};
  CASE("fd_read", wasi_fd_read(fd, AT(&vector), 1, AT(&out32)));
  CASE("fd_write", wrote(fd, "x"));
  CASE("fd_filestat_set_size", wasi_fd_filestat_set_size(fd, 0));
  CASE("fd_allocate", wasi_fd_allocate(fd, 0, 100));
  CASE("fd_sync", wasi_fd_sync(fd));
  wasi_fd_close(fd);
  CASE("open with every right", wasi_path_open(place, 0, TEXT("file"), 0, R_FILE, 0, 0, AT(&fd)));
  CASE("open to write", wasi_path_open(place, 0, TEXT("file"), 0, R_WRITE, 0, 0, AT(&fd)));
  CASE("truncate", wasi_path_open(place, 0, TEXT("file"), TRUNC, R_WRITE, 0, 0, AT(&fd)));
  CASE("create", wasi_path_open(place, 0, TEXT("new"), CREAT, R_WRITE, 0, 0, AT(&fd)));
  CASE("create what is there, to read", wasi_path_open(place, 0, TEXT("file"), CREAT, R_READ, 0, 0, AT(&fd)));
  CASE("create exclusively what is there",
       wasi_path_open(place, 0, TEXT("file"), CREAT | EXCL, R_READ, 0, 0, AT(&fd)));
  CASE("path_create_directory", wasi_path_create_directory(place, TEXT("new")));
  CASE("path_create_directory what is there", wasi_path_create_directory(place, TEXT("folder")));
  CASE("path_unlink_file", wasi_path_unlink_file(place, TEXT("file")));
  CASE("path_unlink_file none", wasi_path_unlink_file(place, TEXT("none")));
  CASE("path_remove_directory", wasi_path_remove_directory(place, TEXT("folder")));
  CASE("path_rename", wasi_path_rename(place, TEXT("file"), place, TEXT("new")));
  CASE("path_rename out of it", wasi_path_rename(place, TEXT("file"), 3, TEXT("tmp/taken")));
  CASE("path_symlink", wasi_path_symlink(TEXT("file"), place, TEXT("new")));
  CASE("path_link", wasi_path_link(place, 0, TEXT("file"), place, TEXT("new")));
  CASE("path_filestat_set_times", wasi_path_filestat_set_times(place, 0, TEXT("file"), 0, 0, ATIM | MTIM));
  CASE("open a folder", wasi_path_open(place, 0, TEXT("folder"), DIRECTORY, R_READDIR | R_OPEN, R_READ, 0, AT(&folder)));
  GIVES("fd_readdir", wasi_fd_readdir(folder, AT(buffer), 4096, 0, AT(&out32)), out32);
  CASE("fd_filestat_set_times", wasi_fd_filestat_set_times(folder, 0, 0, MTIM_NOW));
  wasi_fd_close(folder);
  line("still holds", 0, " %s %s", held("file"), held("folder/inner"));
}
