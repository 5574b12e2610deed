/* There are no sockets: every function says so of every kind of descriptor. */
#include "table.h"

static void all(const char *what, fd_t fd) {
  char name[48];
  iovec_t vector = {AT(buffer), 4};
  uint32_t flags = 0;
#define EACH(call, ...) snprintf(name, sizeof name, #call " %s", what); CASE(name, wasi_##call(fd, __VA_ARGS__))
  EACH(sock_accept, 0, AT(&out32));
  EACH(sock_recv, AT(&vector), 1, 0, AT(&out32), AT(&flags));
  EACH(sock_send, AT(&vector), 1, 0, AT(&out32));
  EACH(sock_shutdown, 3);
}

void sockets(void) {
  fd_t fd = opened("file", CREAT, R_FILE, 0);
  all("file", fd);
  all("directory", place);
  all("input", 0);
  all("output", 1);
  all("closed", 99);
  wasi_fd_close(fd);
}
