/* Arguments, environment, clocks, random numbers, the preopened directory, yielding. */
#include "table.h"

static int filled(const unsigned char *bytes, int size) {
  int seen = 0;
  for (int i = 0; i < size; i++) seen += bytes[i] != 0;
  return seen > size / 2;
}

static void given(void) {
  uint32_t count = 0, size = 0, pointers[64];
  GIVES("args_sizes_get", wasi_args_sizes_get(AT(&count), AT(&size)), count * 1000 + size);
  CASE("args_get", wasi_args_get(AT(pointers), AT(buffer)));
  line("arguments", 0, " %s|%s at %d", (char *)(uintptr_t)pointers[0], (char *)(uintptr_t)pointers[1],
       (int)(pointers[1] - AT(buffer)));
  CASE("args_get overlapping", wasi_args_get(AT(buffer), AT(buffer)));
  GIVES("environ_sizes_get", wasi_environ_sizes_get(AT(&count), AT(&size)), count * 1000 + size);
  CASE("environ_get", wasi_environ_get(AT(pointers), AT(buffer)));
  line("environment", 0, " %s|%s", (char *)(uintptr_t)pointers[0], (char *)(uintptr_t)pointers[1]);
  OUTSIDE("args_sizes_get count outside", 4, wasi_args_sizes_get(P, AT(&size)));
  OUTSIDE("args_sizes_get size outside", 4, wasi_args_sizes_get(AT(&count), P));
  OUTSIDE("args_get pointers outside", 4, wasi_args_get(P, AT(buffer)));
  OUTSIDE("args_get buffer outside", 4, wasi_args_get(AT(pointers), P));
  OUTSIDE("environ_sizes_get count outside", 4, wasi_environ_sizes_get(P, AT(&size)));
  OUTSIDE("environ_sizes_get size outside", 4, wasi_environ_sizes_get(AT(&count), P));
  OUTSIDE("environ_get pointers outside", 4, wasi_environ_get(P, AT(buffer)));
  OUTSIDE("environ_get buffer outside", 4, wasi_environ_get(AT(pointers), P));
}

static void clocks(void) {
  uint64_t first = 0, second = 0;
  GIVES("clock_time_get realtime", wasi_clock_time_get(REALTIME, 1, AT(&first)), first > 1600000000000000000ull);
  GIVES("clock_time_get monotonic", wasi_clock_time_get(MONOTONIC, 0, AT(&first)), first > 0 || 1);
  wasi_clock_time_get(MONOTONIC, ~0ull, AT(&second));
  line("monotonic", 0, " %d", second >= first);
  GIVES("clock_res_get realtime", wasi_clock_res_get(REALTIME, AT(&out64)), out64 > 0);
  GIVES("clock_res_get monotonic", wasi_clock_res_get(MONOTONIC, AT(&out64)), out64 > 0);
  CASE("clock_res_get process", wasi_clock_res_get(PROCESS_TIME, AT(&out64)));
  CASE("clock_time_get process", wasi_clock_time_get(PROCESS_TIME, 0, AT(&out64)));
  CASE("clock_time_get thread", wasi_clock_time_get(THREAD_TIME, 0, AT(&out64)));
  CASE("clock_time_get clock 4", wasi_clock_time_get(4, 0, AT(&out64)));
  CASE("clock_res_get clock 4", wasi_clock_res_get(4, AT(&out64)));
  CASE("clock_time_get clock -1", wasi_clock_time_get(0xffffffffu, 0, AT(&out64)));
  GIVES("clock_time_get at the end", wasi_clock_time_get(REALTIME, 0, last(8)),
        *(uint64_t *)(uintptr_t)last(8) > 1600000000000000000ull);
  CASE("clock_time_get unaligned", wasi_clock_time_get(REALTIME, 0, AT(buffer) + 1));
  OUTSIDE("clock_time_get outside", 8, wasi_clock_time_get(REALTIME, 0, P));
  OUTSIDE("clock_res_get outside", 8, wasi_clock_res_get(REALTIME, P));
}

static void randomness(void) {
  unsigned char one[32] = {0}, two[32] = {0};
  GIVES("random_get", wasi_random_get(AT(one), 32), filled(one, 32));
  wasi_random_get(AT(two), 32);
  line("random_get twice", 0, " %d", memcmp(one, two, 32) != 0);
  memset(one, 0, 32);
  wasi_random_get(AT(one) + 8, 16);
  line("random_get within bounds", 0, " %d", one[7] == 0 && one[24] == 0);
  CASE("random_get nothing", wasi_random_get(AT(one), 0));
  CASE("random_get nothing at the end", wasi_random_get(last(0), 0));
  CASE("random_get a megabyte", wasi_random_get(last(1 << 20), 1 << 20));
  OUTSIDE("random_get outside", 16, wasi_random_get(P, 16));
  CASE("random_get of 4 GiB", wasi_random_get(0, 0xffffffffu));
  CASE("random_get across 4 GiB", wasi_random_get(0x100, 0xffffff80u));
}

static void preopened(void) {
  uint32_t prestat[2] = {9, 9};
  GIVES("fd_prestat_get", wasi_fd_prestat_get(3, AT(prestat)), (prestat[0] & 255) * 1000 + prestat[1]);
  CASE("fd_prestat_get stdout", wasi_fd_prestat_get(1, AT(prestat)));
  CASE("fd_prestat_get an opened directory", wasi_fd_prestat_get(place, AT(prestat)));
  CASE("fd_prestat_get closed", wasi_fd_prestat_get(77, AT(prestat)));
  OUTSIDE("fd_prestat_get outside", 8, wasi_fd_prestat_get(3, P));
  buffer[0] = buffer[1] = '#';
  GIVES("fd_prestat_dir_name", wasi_fd_prestat_dir_name(3, AT(buffer), prestat[1]), buffer[0]);
  line("fd_prestat_dir_name writes no NUL", 0, " %c", buffer[1]);
  CASE("fd_prestat_dir_name longer", wasi_fd_prestat_dir_name(3, AT(buffer), 100));
  CASE("fd_prestat_dir_name shorter", wasi_fd_prestat_dir_name(3, AT(buffer), 0));
  CASE("fd_prestat_dir_name stdin", wasi_fd_prestat_dir_name(0, AT(buffer), 1));
  OUTSIDE("fd_prestat_dir_name outside", 1, wasi_fd_prestat_dir_name(3, P, 1));
}

void process(void) {
  given();
  clocks();
  randomness();
  preopened();
  CASE("sched_yield", wasi_sched_yield());
  CASE("proc_raise none", wasi_proc_raise(0));
  CASE("proc_raise unknown", wasi_proc_raise(99));
}
