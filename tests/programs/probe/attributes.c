/* Attributes and times: fd_filestat_get, path_filestat_get, and their setters. */
#include "table.h"

static stat_t stat;

static uint32_t look(const char *path) { return wasi_path_filestat_get(place, NOFOLLOW, TEXT(path), AT(&stat)); }

void attributes(void) {
  made("file", "12345");
  fd_t fd = opened("file", 0, R_FILE, 0);
  GIVES("fd_filestat_get kind", wasi_fd_filestat_get(fd, AT(&stat)), stat.kind);
  line("size and links", 0, " %lld %lld", stat.size, stat.links);
  uint64_t inode = stat.inode, device = stat.device, modified = stat.modified;
  GIVES("path_filestat_get is the same", look("file"), stat.inode == inode && stat.device == device);
  GIVES("path_filestat_get directory", look("."), stat.kind);
  GIVES("a directory's own", wasi_fd_filestat_get(place, AT(&stat)), stat.kind);
  line("other inode, same device", 0, " %d %d", stat.inode != inode, stat.device == device);
  CASE("path_filestat_get none", look("none"));
  CASE("path_filestat_get below a file", look("file/x"));
  CASE("path_filestat_get file/", look("file/"));
  CASE("path_filestat_get ./", look("./"));
  CASE("path_filestat_get unknown flags", wasi_path_filestat_get(place, 6, TEXT("file"), AT(&stat)));
  CASE("path_filestat_get of a file's", wasi_path_filestat_get(fd, 0, TEXT("file"), AT(&stat)));

  CASE("fd_filestat_set_times both", wasi_fd_filestat_set_times(fd, 1000000007, 2000000009, ATIM | MTIM));
  GIVES("are set", look("file"), stat.accessed * 10000000000ull + stat.modified);
  CASE("fd_filestat_set_times one", wasi_fd_filestat_set_times(fd, 1, 3000000001, MTIM));
  GIVES("one is set", look("file"), stat.accessed * 10000000000ull + stat.modified);
  CASE("fd_filestat_set_times none", wasi_fd_filestat_set_times(fd, 5, 5, 0));
  GIVES("none is set", look("file"), stat.accessed * 10000000000ull + stat.modified);
  CASE("fd_filestat_set_times now", wasi_fd_filestat_set_times(fd, 0, 0, ATIM_NOW | MTIM_NOW));
  GIVES("now", look("file"), stat.accessed >= modified && stat.modified >= modified);
  CASE("fd_filestat_set_times both kinds", wasi_fd_filestat_set_times(fd, 0, 0, ATIM | ATIM_NOW));
  CASE("fd_filestat_set_times both kinds of modified", wasi_fd_filestat_set_times(fd, 0, 0, MTIM | MTIM_NOW));
  CASE("fd_filestat_set_times unknown", wasi_fd_filestat_set_times(fd, 0, 0, 16));
  CASE("fd_filestat_set_times directory", wasi_fd_filestat_set_times(place, 0, 7000000000, MTIM));
  GIVES("the directory's", look("."), stat.modified);
  CASE("path_filestat_set_times",
       wasi_path_filestat_set_times(place, 0, TEXT("file"), 4000000000, 5000000000, ATIM | MTIM));
  GIVES("by path", look("file"), stat.accessed + stat.modified);
  CASE("path_filestat_set_times none", wasi_path_filestat_set_times(place, 0, TEXT("none"), 0, 0, ATIM));
  CASE("path_filestat_set_times both kinds",
       wasi_path_filestat_set_times(place, 0, TEXT("file"), 0, 0, MTIM | MTIM_NOW));
  CASE("path_filestat_set_times unknown", wasi_path_filestat_set_times(place, 0, TEXT("file"), 0, 0, 32));
  CASE("path_filestat_set_times unknown lookup", wasi_path_filestat_set_times(place, 4, TEXT("file"), 0, 0, ATIM));

  fd_t unnamed = opened("gone", CREAT, R_FILE, 0);
  wrote(unnamed, "still here");
  CASE("path_unlink_file", wasi_path_unlink_file(place, TEXT("gone")));
  GIVES("an unnamed file's links", wasi_fd_filestat_get(unnamed, AT(&stat)), stat.links);
  line("an unnamed file holds", 0, " %s", holds(unnamed));
  CASE("it closes", wasi_fd_close(unnamed));
  CASE("a directory is no file to unlink", wasi_path_unlink_file(place, TEXT(".")));
  CASE("path_unlink_file none", wasi_path_unlink_file(place, TEXT("none")));
  CASE("path_unlink_file file/", wasi_path_unlink_file(place, TEXT("file/")));
  wasi_fd_close(fd);
}
