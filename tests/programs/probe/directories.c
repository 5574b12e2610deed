/* path_create_directory, path_remove_directory, fd_readdir with its cookies and short buffers. */
#include "table.h"

/* Names in order, with each one's kind; through buffers of `size` bytes. Order is the keep's own, so sorted. */
static void list(const char *name, fd_t fd, uint32_t size) {
  static char names[64][16];
  int count = 0;
  uint64_t cookie = 0;
  for (int rounds = 0; rounds < 400; rounds++) {
    uint32_t used = 0, failed = wasi_fd_readdir(fd, AT(buffer), size, cookie, AT(&used));
    if (failed) { line(name, failed, ""); return; }
    uint32_t at = 0;
    int whole = 0;
    while (at + sizeof(dirent_t) <= used && count < 64) {
      dirent_t entry;
      memcpy(&entry, buffer + at, sizeof entry);
      if (at + sizeof entry + entry.name > used) break;
      snprintf(names[count++], 16, "%.*s:%u", (int)entry.name, buffer + at + sizeof entry, entry.kind);
      at += sizeof entry + entry.name;
      cookie = entry.next;
      whole++;
    }
    if (used < size) break;
    if (!whole) { line(name, 9999, " stuck"); return; }
  }
  for (int i = 0; i < count; i++)
    for (int j = i + 1; j < count; j++)
      if (strcmp(names[j], names[i]) < 0) {
        char swap[16];
        memcpy(swap, names[i], 16); memcpy(names[i], names[j], 16); memcpy(names[j], swap, 16);
      }
  char all[1100] = "";
  for (int i = 0; i < count; i++) { strcat(all, " "); strcat(all, names[i]); }
  line(name, 0, "%s", all);
}

void directories(void) {
  fd_t fd = 0xffffffffu;
  CASE("create", wasi_path_create_directory(place, TEXT("a")));
  CASE("create again", wasi_path_create_directory(place, TEXT("a")));
  CASE("create below", wasi_path_create_directory(place, TEXT("a/b")));
  CASE("create with a slash", wasi_path_create_directory(place, TEXT("c/")));
  CASE("create below nothing", wasi_path_create_directory(place, TEXT("x/y")));
  CASE("create .", wasi_path_create_directory(place, TEXT(".")));
  CASE("create ..", wasi_path_create_directory(place, TEXT("a/..")));
  made("file", "");
  CASE("create a file's name", wasi_path_create_directory(place, TEXT("file")));
  CASE("create below a file", wasi_path_create_directory(place, TEXT("file/x")));
  CASE("remove not empty", wasi_path_remove_directory(place, TEXT("a")));
  CASE("remove a file", wasi_path_remove_directory(place, TEXT("file")));
  CASE("remove nothing", wasi_path_remove_directory(place, TEXT("none")));
  CASE("remove .", wasi_path_remove_directory(place, TEXT(".")));
  CASE("remove a/b/..", wasi_path_remove_directory(place, TEXT("a/b/..")));
  CASE("remove a/b/.", wasi_path_remove_directory(place, TEXT("a/b/.")));
  CASE("remove a/b/", wasi_path_remove_directory(place, TEXT("a/b/")));
  CASE("remove a", wasi_path_remove_directory(place, TEXT("a")));
  CASE("unlink a directory", wasi_path_unlink_file(place, TEXT("c")));

  wasi_path_create_directory(place, TEXT("list"));
  CASE("open", wasi_path_open(place, 0, TEXT("list"), DIRECTORY, R_DIRECTORY, R_FILE, 0, AT(&fd)));
  list("empty", fd, 4096);
  for (int i = 0; i < 20; i++) {
    char path[32];
    snprintf(path, sizeof path, "list/n%02d", i);
    if (i % 5 == 0) wasi_path_create_directory(place, TEXT(path)); else made(path, "");
  }
  list("all", fd, 4096);
  list("small buffers", fd, 64);
  list("a name at a time", fd, 28);
  GIVES("fd_readdir no room", wasi_fd_readdir(fd, AT(buffer), 0, 0, AT(&out32)), out32);
  GIVES("fd_readdir part of an entry", wasi_fd_readdir(fd, AT(buffer), 10, 0, AT(&out32)), out32);
  GIVES("fd_readdir a far cookie", wasi_fd_readdir(fd, AT(buffer), 100, 1000, AT(&out32)), out32);
  GIVES("fd_readdir the farthest cookie", wasi_fd_readdir(fd, AT(buffer), 100, ~0ull, AT(&out32)), out32);
  CASE("unlink one", wasi_path_unlink_file(fd, TEXT("n01")));
  made("list/new", "");
  list("after changes", fd, 128);
  fd_t file = opened("file", 0, R_FILE, 0);
  CASE("fd_readdir a file", wasi_fd_readdir(file, AT(buffer), 100, 0, AT(&out32)));
  wasi_fd_close(file);
  wasi_fd_close(fd);
  CASE("open a directory to be removed", wasi_path_open(place, 0, TEXT("c"), DIRECTORY, R_DIRECTORY, R_FILE, 0, AT(&fd)));
  CASE("remove it", wasi_path_remove_directory(place, TEXT("c")));
  CASE("create in it", wasi_path_create_directory(fd, TEXT("x")));
  wasi_fd_close(fd);
}
