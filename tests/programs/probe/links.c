/* Symbolic and hard links: path_symlink, path_readlink, path_link, and paths that lead through them. */
#include "table.h"

static stat_t stat;

static void symlinks(void) {
  wasi_path_create_directory(place, TEXT("d"));
  made("d/file", "contents");
  CASE("path_symlink", wasi_path_symlink(TEXT("d/file"), place, TEXT("s")));
  CASE("path_symlink again", wasi_path_symlink(TEXT("d/file"), place, TEXT("s")));
  CASE("path_symlink over a directory", wasi_path_symlink(TEXT("x"), place, TEXT("d")));
  CASE("path_symlink to nothing", wasi_path_symlink(TEXT("nowhere"), place, TEXT("dangling")));
  CASE("path_symlink empty target", wasi_path_symlink(TEXT(""), place, TEXT("e")));
  CASE("path_symlink absolute target", wasi_path_symlink(TEXT("/tmp"), place, TEXT("absolute")));
  CASE("path_symlink name/", wasi_path_symlink(TEXT("d"), place, TEXT("t/")));
  CASE("path_symlink below nothing", wasi_path_symlink(TEXT("d"), place, TEXT("none/t")));
  CASE("path_symlink target with NUL", wasi_path_symlink(AT("a\0b"), 3, place, TEXT("nul")));
  CASE("path_symlink target not UTF-8", wasi_path_symlink(TEXT("\xff"), place, TEXT("bad")));
  memset(buffer, '#', 64);
  GIVES("path_readlink", wasi_path_readlink(place, TEXT("s"), AT(buffer), 64, AT(&out32)), out32);
  line("its target, without NUL", 0, " %.7s", buffer);
  memset(buffer, '#', 64);
  GIVES("path_readlink short", wasi_path_readlink(place, TEXT("s"), AT(buffer), 3, AT(&out32)), out32);
  line("cut", 0, " %.5s", buffer);
  GIVES("path_readlink no room", wasi_path_readlink(place, TEXT("s"), AT(buffer), 0, AT(&out32)), out32);
  CASE("path_readlink a file", wasi_path_readlink(place, TEXT("d/file"), AT(buffer), 64, AT(&out32)));
  CASE("path_readlink none", wasi_path_readlink(place, TEXT("none"), AT(buffer), 64, AT(&out32)));
  GIVES("kind, not followed", wasi_path_filestat_get(place, NOFOLLOW, TEXT("s"), AT(&stat)), stat.kind);
  line("size is the target's length", 0, " %lld", stat.size);
  GIVES("kind, followed", wasi_path_filestat_get(place, FOLLOW, TEXT("s"), AT(&stat)), stat.kind);
  CASE("dangling, not followed", wasi_path_filestat_get(place, NOFOLLOW, TEXT("dangling"), AT(&stat)));
  CASE("dangling, followed", wasi_path_filestat_get(place, FOLLOW, TEXT("dangling"), AT(&stat)));
}

static void opening(void) {
  fd_t fd = 0xffffffffu;
  CASE("open, followed", wasi_path_open(place, FOLLOW, TEXT("s"), 0, R_READ | R_SEEK, 0, 0, AT(&fd)));
  line("reads the target", 0, " %s", holds(fd));
  wasi_fd_close(fd);
  CASE("open, not followed", wasi_path_open(place, NOFOLLOW, TEXT("s"), 0, R_READ, 0, 0, AT(&fd)));
  CASE("create over a link", wasi_path_open(place, NOFOLLOW, TEXT("s"), CREAT | EXCL, R_WRITE, 0, 0, AT(&fd)));
  CASE("create exclusively, followed",
       wasi_path_open(place, FOLLOW, TEXT("dangling"), CREAT | EXCL, R_WRITE, 0, 0, AT(&fd)));
  CASE("create through a link", wasi_path_open(place, FOLLOW, TEXT("dangling"), CREAT, R_WRITE, 0, 0, AT(&fd)));
  CASE("made its target", wasi_path_unlink_file(place, TEXT("nowhere")));
  wasi_path_symlink(TEXT("d"), place, TEXT("folder"));
  CASE("a directory, followed", wasi_path_open(place, FOLLOW, TEXT("folder"), DIRECTORY, R_READDIR, 0, 0, AT(&fd)));
  CASE("a directory, not followed",
       wasi_path_open(place, NOFOLLOW, TEXT("folder"), DIRECTORY, R_READDIR, 0, 0, AT(&fd)));
  CASE("through a link", wasi_path_filestat_get(place, NOFOLLOW, TEXT("folder/file"), AT(&stat)));
  CASE("through a link and back", wasi_path_filestat_get(place, NOFOLLOW, TEXT("folder/../d/file"), AT(&stat)));
  CASE("folder/ is followed", wasi_path_filestat_get(place, NOFOLLOW, TEXT("folder/"), AT(&stat)));
  CASE("s/ is no directory", wasi_path_filestat_get(place, FOLLOW, TEXT("s/"), AT(&stat)));
  CASE("remove a link as a directory", wasi_path_remove_directory(place, TEXT("folder")));
  CASE("create a directory over a link", wasi_path_create_directory(place, TEXT("dangling")));
}

static void escapes(void) {
  CASE("an absolute target is not followed", wasi_path_filestat_get(place, FOLLOW, TEXT("absolute"), AT(&stat)));
  wasi_path_symlink(TEXT("../../../../../x"), place, TEXT("out"));
  CASE("a target outside is not followed", wasi_path_filestat_get(place, FOLLOW, TEXT("out"), AT(&stat)));
  wasi_path_symlink(TEXT(".."), place, TEXT("up"));
  CASE("a target above is not followed", wasi_path_filestat_get(place, FOLLOW, TEXT("up"), AT(&stat)));
  CASE("nor through it", wasi_path_filestat_get(place, FOLLOW, TEXT("up/links"), AT(&stat)));
  CASE("nor to create", wasi_path_create_directory(place, TEXT("up/made")));
  wasi_path_symlink(TEXT("loop2"), place, TEXT("loop1"));
  wasi_path_symlink(TEXT("loop1"), place, TEXT("loop2"));
  CASE("a loop", wasi_path_filestat_get(place, FOLLOW, TEXT("loop1"), AT(&stat)));
  CASE("a loop to open", wasi_path_open(place, FOLLOW, TEXT("loop1"), 0, R_READ, 0, 0, AT(&out32)));
  wasi_path_symlink(TEXT("d/file"), place, TEXT("c0"));
  for (int i = 1; i <= 45; i++) {
    char target[8], name[8];
    snprintf(target, sizeof target, "c%d", i - 1);
    snprintf(name, sizeof name, "c%d", i);
    wasi_path_symlink(TEXT(target), place, TEXT(name));
  }
  CASE("a chain of 20", wasi_path_filestat_get(place, FOLLOW, TEXT("c19"), AT(&stat)));
  CASE("a chain of 46", wasi_path_filestat_get(place, FOLLOW, TEXT("c45"), AT(&stat)));
}

static void names(void) {
  CASE("rename a link", wasi_path_rename(place, TEXT("s"), place, TEXT("renamed")));
  GIVES("it is one still", wasi_path_filestat_get(place, NOFOLLOW, TEXT("renamed"), AT(&stat)), stat.kind);
  made("plain", "plain");
  CASE("rename over a link", wasi_path_rename(place, TEXT("plain"), place, TEXT("renamed")));
  line("the target is unchanged", 0, " %s %s", held("d/file"), held("renamed"));
  CASE("unlink a link", wasi_path_unlink_file(place, TEXT("folder")));
  CASE("the directory is there", wasi_path_filestat_get(place, NOFOLLOW, TEXT("d"), AT(&stat)));
  wasi_path_symlink(TEXT("renamed"), place, TEXT("timed"));
  CASE("a link's own times",
       wasi_path_filestat_set_times(place, NOFOLLOW, TEXT("timed"), 0, 6000000000, MTIM));
  GIVES("are set", wasi_path_filestat_get(place, NOFOLLOW, TEXT("timed"), AT(&stat)), stat.modified);
  CASE("its target's times", wasi_path_filestat_set_times(place, FOLLOW, TEXT("timed"), 0, 7000000000, MTIM));
  GIVES("are set too", wasi_path_filestat_get(place, NOFOLLOW, TEXT("renamed"), AT(&stat)), stat.modified);
}

static void hard(void) {
  made("original", "shared");
  CASE("path_link", wasi_path_link(place, NOFOLLOW, TEXT("original"), place, TEXT("second")));
  GIVES("two links", wasi_path_filestat_get(place, NOFOLLOW, TEXT("original"), AT(&stat)), stat.links);
  uint64_t inode = stat.inode;
  wasi_path_filestat_get(place, NOFOLLOW, TEXT("second"), AT(&stat));
  line("one file", 0, " %d", stat.inode == inode);
  made("second", "changed");
  line("one content", 0, " %s", held("original"));
  CASE("path_link again", wasi_path_link(place, NOFOLLOW, TEXT("original"), place, TEXT("second")));
  CASE("path_link a directory", wasi_path_link(place, NOFOLLOW, TEXT("d"), place, TEXT("d2")));
  CASE("path_link none", wasi_path_link(place, NOFOLLOW, TEXT("none"), place, TEXT("n")));
  CASE("path_link to name/", wasi_path_link(place, NOFOLLOW, TEXT("original"), place, TEXT("third/")));
  CASE("path_link original/", wasi_path_link(place, NOFOLLOW, TEXT("original/"), place, TEXT("third")));
  CASE("path_link to .", wasi_path_link(place, NOFOLLOW, TEXT("original"), place, TEXT(".")));
  CASE("path_link, followed", wasi_path_link(place, FOLLOW, TEXT("timed"), place, TEXT("followed")));
  CASE("path_link a symbolic link", wasi_path_link(place, NOFOLLOW, TEXT("timed"), place, TEXT("linked")));
  GIVES("it is one", wasi_path_filestat_get(place, NOFOLLOW, TEXT("linked"), AT(&stat)), stat.kind);
  CASE("rename over the same file", wasi_path_rename(place, TEXT("original"), place, TEXT("second")));
  line("both names stay", 0, " %s %s", held("original"), held("second"));
  CASE("unlink the first", wasi_path_unlink_file(place, TEXT("original")));
  GIVES("one link", wasi_path_filestat_get(place, NOFOLLOW, TEXT("second"), AT(&stat)), stat.links);
  line("the file stays", 0, " %s", held("second"));
}

void links(void) {
  symlinks();
  opening();
  escapes();
  names();
  hard();
}
