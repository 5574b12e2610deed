/* path_rename: what replaces what. */
#include "table.h"

static uint32_t move(const char *from, const char *to) {
  return wasi_path_rename(place, TEXT(from), place, TEXT(to));
}

void renaming(void) {
  stat_t stat;
  made("one", "1");
  made("two", "2");
  const char *folders[] = {"empty", "full", "full/sub", "other"};
  for (int i = 0; i < 4; i++) wasi_path_create_directory(place, TEXT(folders[i]));
  CASE("a file", move("one", "uno"));
  line("is there", 0, " %s %s", held("uno"), held("one"));
  CASE("over a file", move("uno", "two"));
  line("replaced it", 0, " %s %s", held("two"), held("uno"));
  CASE("to itself", move("two", "two"));
  CASE("to ./itself", move("two", "./two"));
  CASE("none", move("none", "new"));
  CASE("into nothing", move("two", "none/two"));
  CASE("below a file", move("empty", "two/x"));
  CASE("a file over a directory", move("two", "empty"));
  CASE("a directory over a file", move("empty", "two"));
  CASE("a directory over a full one", move("empty", "full"));
  CASE("a directory over an empty one", move("other", "empty"));
  CASE("a directory into itself", move("full", "full/sub/x"));
  CASE("a directory over its child", move("full", "full/sub"));
  CASE("a directory over its parent", move("full/sub", "full"));
  CASE("a directory to itself", move("full", "full"));
  CASE("a file to name/", move("two", "slash/"));
  CASE("file/", move("two/", "three"));
  CASE("a directory to name/", move("empty", "moved/"));
  CASE("directory/", move("moved/", "again"));
  CASE(".", move(".", "x"));
  CASE("to .", move("full", "."));
  CASE("full/sub/..", move("full/sub/..", "x"));
  CASE("to full/sub/..", move("again", "full/sub/.."));
  fd_t other = opened("full", DIRECTORY, R_DIRECTORY, 0);
  CASE("between directories", wasi_path_rename(place, TEXT("two"), other, TEXT("moved")));
  line("is in the other", 0, " %s", held("full/moved"));
  fd_t fd = opened("full/moved", 0, R_FILE, 0);
  CASE("while it is open", wasi_path_rename(other, TEXT("moved"), place, TEXT("back")));
  line("still reads", 0, " %s", holds(fd));
  made("over", "new contents");
  CASE("over an open one", move("over", "back"));
  line("old contents stay for who has it", 0, " %s %s", holds(fd), held("back"));
  GIVES("without a name", wasi_fd_filestat_get(fd, AT(&stat)), stat.links);
  wasi_fd_close(fd);
  wasi_fd_close(other);
}
