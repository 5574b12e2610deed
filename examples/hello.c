/* Any C compiler for WASI will do; the one from PyPI's ziglang:
 *     python -m ziglang cc -target wasm32-wasi -O2 -o hello.wasm hello.c */
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
  const char *whom = argc > 1 ? argv[1] : getenv("USER");
  printf("Hello, %s.\n", whom ? whom : "world");
  return 0;
}
