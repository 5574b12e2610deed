/* How paths are resolved: nothing leads out of the directory, and each malformed one has its errno. */
#include "table.h"

static stat_t stat;

static void look(const char *name, const char *path, uint32_t length) {
  CASE(name, wasi_path_filestat_get(place, FOLLOW, AT(path), length, AT(&stat)));
}

static void at(const char *name, const char *path) { look(name, path, strlen(path)); }

void paths(void) {
  static char longest[5000];
  wasi_path_create_directory(place, TEXT("a"));
  wasi_path_create_directory(place, TEXT("a/b"));
  made("a/file", "x");
  at("a/b", "a/b");
  at("a/./b", "a/./b");
  at("a//b", "a//b");
  at("a/b/../file", "a/b/../file");
  at("a/b/../../a/file", "a/b/../../a/file");
  at("a/none/../file", "a/none/../file");
  at("a/file/../file", "a/file/../file");
  at("a/file/.", "a/file/.");
  at("a/file/", "a/file/");
  at("a/b/", "a/b/");
  at("a/b//", "a/b//");
  at("..", "..");
  at("../", "../");
  at("a/../..", "a/../..");
  at("a/../../paths", "a/../../paths");
  at("a/../../paths/a", "a/../../paths/a");
  at("/", "/");
  at("/a", "/a");
  at("//a", "//a");
  at("empty", "");
  at(".", ".");
  at("./.", "./.");
  at("a\\b", "a\\b");
  at("... is a name", "...");
  look("NUL at the end", "a\0", 2);
  look("NUL within", "a\0b", 3);
  look("NUL alone", "\0", 1);
  at("not UTF-8", "\xff\xfe");
  at("half a character", "a\xc3");
  at("a surrogate", "\xed\xa0\x80");
  at("overlong", "\xc0\xaf");
  memset(longest, 'x', sizeof longest);
  look("a name of 255", longest, 255);
  look("a name of 256", longest, 256);
  for (int i = 0; i < 5000; i += 2) memcpy(longest + i, "./", 2);
  look("a path of 4094", longest, 4094);
  look("a path of 4096", longest, 4096);
  look("a path of 4098", longest, 4098);
  look("a path of 5000", longest, 5000);
  CASE("a path of 4 GiB", wasi_path_filestat_get(place, 0, AT(longest), 0xffffffffu, AT(&stat)));
  CASE("a path across 4 GiB", wasi_path_filestat_get(place, 0, 0xffffff00u, 0x200, AT(&stat)));
  CASE("path_open ..", wasi_path_open(place, 0, TEXT(".."), DIRECTORY, R_READDIR, 0, 0, AT(&out32)));
  CASE("path_open /", wasi_path_open(place, 0, TEXT("/"), DIRECTORY, R_READDIR, 0, 0, AT(&out32)));
  CASE("path_open /tmp", wasi_path_open(3, 0, TEXT("/tmp"), DIRECTORY, R_READDIR, 0, 0, AT(&out32)));
  CASE("path_open ../ of the root", wasi_path_open(3, 0, TEXT("../"), DIRECTORY, R_READDIR, 0, 0, AT(&out32)));
  CASE("path_open file/", wasi_path_open(place, 0, TEXT("a/file/"), 0, R_READ, 0, 0, AT(&out32)));
  CASE("path_open new/", wasi_path_open(place, 0, TEXT("a/new/"), CREAT, R_WRITE, 0, 0, AT(&out32)));
  CASE("path_create_directory ../x", wasi_path_create_directory(place, TEXT("../x")));
  CASE("path_create_directory /x", wasi_path_create_directory(place, TEXT("/x")));
  CASE("path_remove_directory ..", wasi_path_remove_directory(place, TEXT("..")));
  CASE("path_unlink_file ../x", wasi_path_unlink_file(place, TEXT("../x")));
  CASE("path_rename out", wasi_path_rename(place, TEXT("a/file"), place, TEXT("../file")));
  CASE("path_rename in", wasi_path_rename(place, TEXT("../paths"), place, TEXT("x")));
  CASE("path_symlink out", wasi_path_symlink(TEXT("a"), place, TEXT("../x")));
  CASE("path_link out", wasi_path_link(place, 0, TEXT("a/file"), place, TEXT("../x")));
  CASE("path_readlink out", wasi_path_readlink(place, TEXT("../x"), AT(buffer), 10, AT(&out32)));
}
