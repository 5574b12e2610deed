/* Closed and unknown descriptors in every function; closing and renumbering. */
#include "table.h"

static void everything(const char *name, fd_t fd) {
  iovec_t vector = {AT(buffer), 4};
  uint32_t results[] = {
    wasi_fd_advise(fd, 0, 0, 0),
    wasi_fd_allocate(fd, 0, 1),
    wasi_fd_close(fd),
    wasi_fd_datasync(fd),
    wasi_fd_fdstat_get(fd, AT(buffer)),
    wasi_fd_fdstat_set_flags(fd, 0),
    wasi_fd_fdstat_set_rights(fd, 0, 0),
    wasi_fd_filestat_get(fd, AT(buffer)),
    wasi_fd_filestat_set_size(fd, 0),
    wasi_fd_filestat_set_times(fd, 0, 0, ATIM),
    wasi_fd_pread(fd, AT(&vector), 1, 0, AT(&out32)),
    wasi_fd_prestat_get(fd, AT(buffer)),
    wasi_fd_prestat_dir_name(fd, AT(buffer), 100),
    wasi_fd_pwrite(fd, AT(&vector), 1, 0, AT(&out32)),
    wasi_fd_read(fd, AT(&vector), 1, AT(&out32)),
    wasi_fd_readdir(fd, AT(buffer), 100, 0, AT(&out32)),
    wasi_fd_renumber(fd, place),
    wasi_fd_seek(fd, 0, SET, AT(&out64)),
    wasi_fd_sync(fd),
    wasi_fd_tell(fd, AT(&out64)),
    wasi_fd_write(fd, AT(&vector), 1, AT(&out32)),
    wasi_path_create_directory(fd, TEXT("x")),
    wasi_path_filestat_get(fd, 0, TEXT("x"), AT(buffer)),
    wasi_path_filestat_set_times(fd, 0, TEXT("x"), 0, 0, ATIM),
    wasi_path_link(fd, 0, TEXT("x"), place, TEXT("y")),
    wasi_path_open(fd, 0, TEXT("x"), 0, 0, 0, 0, AT(&out32)),
    wasi_path_readlink(fd, TEXT("x"), AT(buffer), 10, AT(&out32)),
    wasi_path_remove_directory(fd, TEXT("x")),
    wasi_path_rename(fd, TEXT("x"), place, TEXT("y")),
    wasi_path_symlink(TEXT("x"), fd, TEXT("y")),
    wasi_path_unlink_file(fd, TEXT("x")),
  };
  char all[256] = "";
  for (unsigned i = 0; i < sizeof results / sizeof *results; i++)
    snprintf(all + strlen(all), 8, " %u", results[i]);
  line(name, 0, "%s", all);
}

void descriptors(void) {
  fd_t one, two;
  everything("every function on 99", 99);
  everything("every function on 2^31", 0x80000000u);
  everything("every function on 2^32-1", 0xffffffffu);
  made("one", "1");
  made("two", "2");
  one = opened("one", 0, R_FILE, 0);
  two = opened("two", 0, R_FILE, 0);
  CASE("fd_close", wasi_fd_close(one));
  CASE("fd_close again", wasi_fd_close(one));
  everything("every function on a closed one", one);
  fd_t again = opened("one", 0, R_FILE, 0);
  line("the lowest number comes again", 0, " %d", again == one);
  CASE("path_rename to a closed one", wasi_path_rename(place, TEXT("one"), 99, TEXT("y")));
  CASE("path_link to a closed one", wasi_path_link(place, 0, TEXT("one"), 99, TEXT("y")));
  CASE("path_rename from a file's", wasi_path_rename(two, TEXT("one"), place, TEXT("y")));
  CASE("path_create_directory below a file's", wasi_path_create_directory(two, TEXT("y")));
  CASE("fd_renumber", wasi_fd_renumber(again, two));
  line("the other's file is read there", 0, " %s", holds(two));
  CASE("the old number is closed", wasi_fd_close(again));
  CASE("fd_renumber to itself", wasi_fd_renumber(two, two));
  CASE("fd_renumber to a closed one", wasi_fd_renumber(two, 50));
  CASE("fd_renumber a closed one", wasi_fd_renumber(50, two));
  CASE("fd_renumber a closed one to itself", wasi_fd_renumber(50, 50));
  wasi_fd_close(two);
  fd_t opened_[300];
  int count = 0;
  while (count < 300 && wasi_path_open(place, 0, TEXT("one"), 0, R_READ, 0, 0, AT(&opened_[count])) == 0) count++;
  line("a hundred can be open", 0, " %d", count > 100);
  for (int i = 0; i < count; i++) wasi_fd_close(opened_[i]);
}
