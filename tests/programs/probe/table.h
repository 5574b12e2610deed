/* The table that the program prints: `group.case: errno` and perhaps what came out. Each line is compared with
 * the same line of the same program in plain wasmtime. A case named in the argument `skip=` is left out: that is
 * how the harness goes on behind a case that traps there. */
#ifndef TABLE_H
#define TABLE_H
#include <stdio.h>
#include <string.h>
#include "wasi.h"

#define AT(x) ((ptr_t)(uintptr_t)(x))
#define TEXT(s) AT(s), (len_t)strlen(s)
#define OK 0

extern const char *group;
/* The directory that a group works in, a descriptor with every right. */
extern fd_t place;
extern uint64_t out64;
extern uint32_t out32;
extern char buffer[4096];

int skipped(const char *name);
void line(const char *name, uint32_t errno_, const char *format, ...);

/* One case: the errno of a call. */
#define CASE(name, call) do { if (!skipped(name)) line(name, (call), ""); } while (0)
/* One case, and a value it left behind where it succeeded. */
#define GIVES(name, call, value) do { \
    if (!skipped(name)) { uint32_t e_ = (call); line(name, e_, e_ ? "" : " %lld", (long long)(value)); } \
  } while (0)

/* `call` with `P` running over addresses at which `size` bytes are not inside memory. One line: they all
 * agree, or the line lists every result. */
#define OUTSIDE(name, size, call) do { \
    if (!skipped(name)) { \
      uint32_t results_[OUTSIDE_COUNT]; \
      for (int i_ = 0; i_ < OUTSIDE_COUNT; i_++) { ptr_t P = outside(i_, (size)); results_[i_] = (call); } \
      outside_line(name, results_); \
    } \
  } while (0)
enum { OUTSIDE_COUNT = 7 };
ptr_t outside(int number, uint32_t size);
void outside_line(const char *name, const uint32_t *results);
/* The last address at which `size` bytes are inside memory. */
ptr_t last(uint32_t size);

fd_t opened(const char *path, uint32_t oflags, uint64_t rights, uint32_t fdflags);
/* A file of `place` with these contents, closed again. */
void made(const char *path, const char *contents);
uint32_t wrote(fd_t fd, const char *text);
/* What `fd` holds from its beginning, at most 255 bytes; "?<errno>" where it cannot be read. */
const char *holds(fd_t fd);
/* The same of a path. */
const char *held(const char *path);

void process(void);
void streams(void);
void files(void);
void seeking(void);
void attributes(void);
void rights(void);
void directories(void);
void paths(void);
void renaming(void);
void links(void);
void descriptors(void);
void polling(void);
void sockets(void);
void pointers(void);
void read_only(void);
#endif
