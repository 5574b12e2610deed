/* poll_oneoff: clocks, files and streams, several at once, and bad subscriptions. */
#include "table.h"

static clock_subscription_t subscriptions[8];
static event_t events[8];

static void clock_(int i, uint32_t id, uint64_t timeout, uint16_t flags) {
  subscriptions[i] = (clock_subscription_t){.userdata = 100 + i, .tag = 0, .id = id, .timeout = timeout, .flags = flags};
}

static void descriptor(int i, uint8_t tag, fd_t fd) {
  subscriptions[i] = (clock_subscription_t){.userdata = 100 + i, .tag = tag, .id = fd};
}

/* Events in the order they came: userdata, kind and errno of each. */
static void polled(const char *name, uint32_t count) {
  if (skipped(name)) return;
  memset(events, 0, sizeof events);
  uint32_t failed = wasi_poll_oneoff(AT(subscriptions), AT(events), count, AT(&out32));
  char all[200] = "";
  for (uint32_t i = 0; !failed && i < out32; i++)
    snprintf(all + strlen(all), 40, " %llu:%u:%u", events[i].userdata, events[i].kind, events[i].error);
  line(name, failed, "%s", all);
}

/* The same where wasmtime gives one event or more, as it happens: whether there is one, and none has failed. */
static void polled_some(const char *name, uint32_t count) {
  memset(events, 0, sizeof events);
  uint32_t failed = wasi_poll_oneoff(AT(subscriptions), AT(events), count, AT(&out32)), good = !failed && out32 > 0;
  for (uint32_t i = 0; good && i < out32; i++) good = events[i].error == 0;
  line(name, failed, " %u", good);
}

void polling(void) {
  uint64_t before = 0, after = 0;
  made("file", "12345");
  fd_t fd = opened("file", 0, R_FILE, 0);
  clock_(0, MONOTONIC, 2000000, 0);
  wasi_clock_time_get(MONOTONIC, 0, AT(&before));
  polled("a relative clock", 1);
  wasi_clock_time_get(MONOTONIC, 0, AT(&after));
  line("waited at least that", 0, " %d", after - before >= 2000000);
  clock_(0, REALTIME, 1000000, 0);
  polled("the other clock", 1);
  wasi_clock_time_get(MONOTONIC, 0, AT(&before));
  clock_(0, MONOTONIC, before + 2000000, 1);
  polled("an absolute clock", 1);
  wasi_clock_time_get(MONOTONIC, 0, AT(&after));
  line("waited until then", 0, " %d", after >= before + 2000000);
  clock_(0, MONOTONIC, 1, 1);
  polled("in the past", 1);
  clock_(0, MONOTONIC, 0, 0);
  polled("at once", 1);
  clock_(0, MONOTONIC, 1000000, 0);
  clock_(1, MONOTONIC, 60000000000, 0);
  polled("the earlier of two", 2);
  clock_(0, MONOTONIC, ~0ull, 0);
  clock_(1, REALTIME, 1000000, 0);
  polled("the farthest and a near one", 2);
  clock_(0, MONOTONIC, 0, 0);
  clock_(1, MONOTONIC, 0, 0);
  polled("two at once", 2);
  clock_(0, PROCESS_TIME, 0, 0);
  polled("a clock that is not offered", 1);
  clock_(0, 9, 0, 0);
  polled("an unknown clock", 1);
  clock_(0, MONOTONIC, 0, 8);
  polled("unknown flags", 1);
  descriptor(0, 1, fd);
  polled("a file to read", 1);
  line("bytes there", 0, " %lld", events[0].bytes);
  descriptor(0, 2, fd);
  polled("a file to write", 1);
  descriptor(0, 1, fd);
  descriptor(1, 2, fd);
  clock_(2, MONOTONIC, 60000000000, 0);
  polled_some("a file both ways, and a far clock", 3);
  descriptor(0, 2, 1);
  polled("output", 1);
  descriptor(0, 1, 1);
  polled("output to read", 1);
  descriptor(0, 2, 0);
  polled("input to write", 1);
  descriptor(0, 1, 99);
  polled("an unknown descriptor", 1);
  descriptor(0, 1, 99);
  descriptor(1, 2, fd);
  polled("an unknown descriptor and a file", 2);
  descriptor(0, 1, place);
  polled("a directory", 1);
  descriptor(0, 3, fd);
  polled("an unknown tag", 1);
  polled("nothing", 0);
  descriptor(0, 1, fd);
  CASE("2^32-1 subscriptions", wasi_poll_oneoff(AT(subscriptions), AT(events), 0xffffffffu, AT(&out32)));
  CASE("2^27 subscriptions", wasi_poll_oneoff(AT(subscriptions), AT(events), 1u << 27, AT(&out32)));
  OUTSIDE("subscriptions outside", 48, wasi_poll_oneoff(P, AT(events), 1, AT(&out32)));
  OUTSIDE("events outside", 32, wasi_poll_oneoff(AT(subscriptions), P, 1, AT(&out32)));
  OUTSIDE("count outside", 4, wasi_poll_oneoff(AT(subscriptions), AT(events), 1, P));
  CASE("events over the subscriptions", wasi_poll_oneoff(AT(subscriptions), AT(subscriptions), 1, AT(&out32)));
  wasi_fd_close(fd);
}
