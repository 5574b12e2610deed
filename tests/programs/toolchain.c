/* Code for which compilers choose newer instructions where they may: vectors, saturating conversions, copies and
 * fills of whole buffers, functions by pointer, sign extension, several results, calls at the end of functions. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { int64_t quotient, rest; } divided_t;
typedef int (*step_t)(int);

__attribute__((noinline)) static divided_t divided(int64_t a, int64_t b) { return (divided_t){a / b, a % b}; }
__attribute__((noinline)) static int narrow(int value) { return (int8_t)value + (int16_t)(value * 3); }
__attribute__((noinline)) static int twice(int value) { return value * 2; }
__attribute__((noinline)) static int negated(int value) { return -value; }
static step_t volatile steps[] = {narrow, twice, negated};

__attribute__((noinline)) static int odd(int n);
__attribute__((noinline)) static int even(int n) { return n == 0 ? 1 : odd(n - 1); }
__attribute__((noinline)) static int odd(int n) { return n == 0 ? 0 : even(n - 1); }

static unsigned __int128 product(uint64_t a, uint64_t b) { return (unsigned __int128)a * b + a; }

int main(int argc, char **argv) {
  static float a[1000], b[1000];
  static uint8_t bytes[100000], copy[100000];
  for (int i = 0; i < 1000; i++) { a[i] = i * 0.5f; b[i] = a[i] * a[i] - 3.0f; }
  double sum = 0;
  for (int i = 0; i < 1000; i++) sum += b[i];
  printf("%.1f %d\n", sum, argc);
  memset(bytes, argc, sizeof bytes);
  for (size_t i = 0; i < sizeof bytes; i++) bytes[i] += (uint8_t)(i * 31);
  memcpy(copy, bytes, sizeof copy);
  memmove(copy + 1, copy, sizeof copy - 1);
  uint32_t hash = 0;
  for (size_t i = 0; i < sizeof copy; i++) hash = hash * 33 + copy[i];
  printf("%u %d\n", hash, memcmp(bytes, copy, sizeof copy) != 0);
  divided_t d = divided(-1000000007ll * argc, 12345);
  printf("%lld %lld\n", (long long)d.quotient, (long long)d.rest);
  int value = 77;
  for (int i = 0; i < 9; i++) value = steps[i % 3](value);
  printf("%d %d\n", value, even(100 + argc));
  float wild[] = {1e20f, -1e20f, 2.75f, -0.5f};
  for (int i = 2; i < 4; i++) printf("%d %u ", (int)wild[i], (unsigned)fabsf(wild[i]));
  unsigned __int128 wide = product(0xfedcba9876543210u, strtoull("18446744073709551557", 0, 10));
  printf("%llx%016llx\n", (unsigned long long)(wide >> 64), (unsigned long long)wide);
  printf("%.12f %.12f %s\n", sin(argc), pow(2, 0.5), argv[1]);
  char *grown = malloc(50 << 20);
  grown[49 << 20] = 7;
  printf("%d\n", grown[49 << 20]);
  free(grown);
  return 11;
}
