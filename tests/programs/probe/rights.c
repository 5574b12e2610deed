/* Rights: what a descriptor lacks is refused; they can be taken away, not given. */
#include "table.h"

void rights(void) {
  fdstat_t stat;
  fd_t fd = 0xffffffffu;
  made("file", "12345");
  wasi_path_create_directory(place, TEXT("sub"));
  fd = opened("file", 0, R_READ | R_SEEK, 0);
  GIVES("fd_fdstat_get", wasi_fd_fdstat_get(fd, AT(&stat)), stat.kind);
  line("has what it asked for", 0, " %d %d", (stat.base & (R_READ | R_SEEK)) == (R_READ | R_SEEK),
       !!(stat.base & R_WRITE));
  CASE("give itself more", wasi_fd_fdstat_set_rights(fd, R_READ | R_WRITE, 0));
  CASE("take away", wasi_fd_fdstat_set_rights(fd, R_SEEK, 0));
  iovec_t vector = {AT(buffer), 4};
  CASE("fd_read taken away", wasi_fd_read(fd, AT(&vector), 1, AT(&out32)));
  CASE("take it back", wasi_fd_fdstat_set_rights(fd, R_READ | R_SEEK, 0));
  CASE("unknown rights", wasi_fd_fdstat_set_rights(fd, 1ull << 50, 0));
  wasi_fd_close(fd);

  fd = opened("file", 0, R_READ | R_WRITE, 0);
  wasi_fd_fdstat_set_rights(fd, R_READ, 0);
  CASE("fd_write taken away", wrote(fd, "x"));
  CASE("fd_seek lacking", wasi_fd_seek(fd, 1, SET, AT(&out64)));
  CASE("fd_tell lacking", wasi_fd_tell(fd, AT(&out64)));
  CASE("fd_sync lacking", wasi_fd_sync(fd));
  CASE("fd_datasync lacking", wasi_fd_datasync(fd));
  CASE("fd_advise lacking", wasi_fd_advise(fd, 0, 0, 0));
  CASE("fd_allocate lacking", wasi_fd_allocate(fd, 0, 10));
  CASE("fd_filestat_get lacking", wasi_fd_filestat_get(fd, AT(buffer)));
  CASE("fd_filestat_set_size lacking", wasi_fd_filestat_set_size(fd, 1));
  CASE("fd_filestat_set_times lacking", wasi_fd_filestat_set_times(fd, 0, 0, ATIM));
  CASE("fd_fdstat_set_flags lacking", wasi_fd_fdstat_set_flags(fd, APPEND));
  CASE("fd_fdstat_get needs none", wasi_fd_fdstat_get(fd, AT(&stat)));
  wasi_fd_close(fd);

  fd_t directory = 0xffffffffu;
  CASE("a directory for opening only",
       wasi_path_open(place, 0, TEXT("sub"), DIRECTORY, R_OPEN, R_READ, 0, AT(&directory)));
  CASE("path_create_directory lacking", wasi_path_create_directory(directory, TEXT("x")));
  CASE("path_open to create lacking",
       wasi_path_open(directory, 0, TEXT("new"), CREAT, R_READ, 0, 0, AT(&fd)));
  CASE("path_open beyond what it hands down",
       wasi_path_open(directory, 0, TEXT("."), 0, R_READDIR, 0, 0, AT(&fd)));
  CASE("path_filestat_get lacking", wasi_path_filestat_get(directory, 0, TEXT("."), AT(buffer)));
  CASE("path_filestat_set_times lacking",
       wasi_path_filestat_set_times(directory, 0, TEXT("."), 0, 0, ATIM_NOW));
  CASE("path_rename lacking", wasi_path_rename(directory, TEXT("a"), directory, TEXT("b")));
  CASE("path_remove_directory lacking", wasi_path_remove_directory(directory, TEXT("a")));
  CASE("path_unlink_file lacking", wasi_path_unlink_file(directory, TEXT("a")));
  CASE("path_link lacking", wasi_path_link(directory, 0, TEXT("a"), directory, TEXT("b")));
  CASE("path_symlink lacking", wasi_path_symlink(TEXT("a"), directory, TEXT("b")));
  CASE("path_readlink lacking", wasi_path_readlink(directory, TEXT("a"), AT(buffer), 10, AT(&out32)));
  CASE("fd_readdir lacking", wasi_fd_readdir(directory, AT(buffer), 100, 0, AT(&out32)));
  wasi_fd_close(directory);
}
