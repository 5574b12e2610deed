/* Places a program part (docs/protocol.md, section 4) in this process and runs it: the least that a keep does,
 * without keep, session or virtual machine, so that the tenant's layout can be tested by itself.
 *
 *   bare_loader PART REPORT [ARGUMENT ...]     exit: the program's own, or 200 after a trap, 201 for a bad part
 *
 * After a trap REPORT holds a TRAP payload (section 3). WASI: arguments, standard streams, exit, clocks as zero,
 * random as zero; everything else is ENOSYS. No bounds are kept: it is fed by tests only. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <ucontext.h>
#include <unistd.h>

typedef struct { char magic[8]; uint32_t segments, relocations, runs, zero; uint64_t vmctx, start, entry, memory;
  uint32_t minimum, maximum; char target[64]; char zeros[64]; } Header;
typedef struct { uint64_t address, memory_size, file_size; uint32_t protection, zero; } Segment;
typedef struct { uint64_t address; uint32_t builtin, zero; } Relocation;
typedef union { uint32_t i32; uint64_t i64; uint8_t bytes[16]; } Value;

#define LINEAR 0x100000000ull
#define STACK 0x800000ull
#define STACK_SIZE 0x200000ull
static const Header *header;
static uint64_t *memory;
static const char *report;
static int count;
static char **arguments;

static void leave(int code) { _exit(code); }
static uint8_t *at(uint32_t offset) { return (uint8_t *)(LINEAR + offset); }

static void trapped(int signal, siginfo_t *info, void *context) {
  (void)info;
  greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
  struct { uint32_t vector, error; uint64_t at, fault, sp, fp, bytes; uint32_t frames, zero; uint64_t frame[48]; } t;
  memset(&t, 0, sizeof t);
  t.vector = (uint32_t)r[REG_TRAPNO]; t.error = (uint32_t)r[REG_ERR]; t.at = r[REG_RIP]; t.sp = r[REG_RSP];
  t.fault = signal == SIGSEGV ? (uint64_t)r[REG_CR2] : 0; t.fp = r[REG_RBP]; t.bytes = memory[1];
  uint64_t fp = t.fp;
  while (t.frames < 48 && fp >= STACK && fp < STACK + STACK_SIZE - 16 && fp % 8 == 0) {
    uint64_t *f = (uint64_t *)fp;
    t.frame[t.frames++] = f[1];
    if (f[0] <= fp) break;
    fp = f[0];
  }
  int file = open(report, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  size_t size = 56 + 8 * t.frames;
  if (file < 0 || write(file, &t, size) != (ssize_t)size) leave(202);
  leave(200);
}

/* wasmtime's builtins */
static uint64_t memory_grow(void *vmctx, uint64_t delta, uint32_t index) {
  (void)vmctx; (void)index;
  uint64_t pages = memory[1] >> 16;
  if (delta > header->maximum || pages + delta > header->maximum) return ~0ull;
  if (delta && mprotect((void *)(LINEAR + memory[1]), delta << 16, PROT_READ | PROT_WRITE)) return ~0ull;
  memory[1] += delta << 16;
  return pages;
}
static void memory_copy(void *vmctx, void *to, void *from, size_t n) { (void)vmctx; memmove(to, from, n); }
static void memory_fill(void *vmctx, void *to, uint32_t value, size_t n) { (void)vmctx; memset(to, (int)(value & 255), n); }
static void trap(void) { __builtin_trap(); }

/* WASI, as array calls */
#define CALL(name) static char name(void *callee, void *caller, Value *v, size_t n)
#define UNUSED (void)callee, (void)caller, (void)v, (void)n
#define RETURN(x) do { v[0].i64 = (x); return 1; } while (0)
CALL(wasi_none) { UNUSED; RETURN(52); }
CALL(wasi_zero) { UNUSED; RETURN(0); }
CALL(wasi_exit) { UNUSED; leave((int)v[0].i32); return 1; }
CALL(wasi_sizes) {
  UNUSED; uint32_t total = 0;
  for (int i = 0; i < count; i++) total += (uint32_t)strlen(arguments[i]) + 1;
  memcpy(at(v[0].i32), &count, 4); memcpy(at(v[1].i32), &total, 4); RETURN(0);
}
CALL(wasi_args) {
  UNUSED; uint32_t pointer = v[0].i32, text = v[1].i32;
  for (int i = 0; i < count; i++, pointer += 4) {
    memcpy(at(pointer), &text, 4); strcpy((char *)at(text), arguments[i]); text += (uint32_t)strlen(arguments[i]) + 1;
  }
  RETURN(0);
}
CALL(wasi_no_environment) { UNUSED; memset(at(v[0].i32), 0, 4); memset(at(v[1].i32), 0, 4); RETURN(0); }
CALL(wasi_clock) { UNUSED; memset(at(v[2].i32), 0, 8); RETURN(0); }
CALL(wasi_random) { UNUSED; memset(at(v[0].i32), 0, v[1].i32); RETURN(0); }
CALL(wasi_fdstat) {
  UNUSED; if (v[0].i32 > 2) RETURN(8);
  memset(at(v[1].i32), 0, 24); *at(v[1].i32) = 2; memset(at(v[1].i32) + 8, 255, 8); RETURN(0);
}
CALL(wasi_bad_file) { UNUSED; RETURN(8); }
static uint64_t transfer(Value *v, int writing) {
  uint32_t done = 0;
  for (uint32_t i = 0; i < v[2].i32; i++) {
    uint32_t part[2]; memcpy(part, at(v[1].i32 + 8 * i), 8);
    ssize_t k = writing ? write((int)v[0].i32, at(part[0]), part[1]) : read((int)v[0].i32, at(part[0]), part[1]);
    if (k < 0) return 29;
    done += (uint32_t)k;
    if ((uint32_t)k < part[1]) break;
  }
  memcpy(at(v[3].i32), &done, 4);
  return 0;
}
CALL(wasi_write) { UNUSED; if (v[0].i32 - 1 > 1) RETURN(8); RETURN(transfer(v, 1)); }
CALL(wasi_read) { UNUSED; if (v[0].i32) RETURN(8); RETURN(transfer(v, 0)); }

static void *builtin(uint32_t number) {
  switch (number) {
    case 0: return (void *)wasi_args;      case 1: return (void *)wasi_sizes;
    case 3: return (void *)wasi_clock;     case 4: return (void *)wasi_zero;
    case 5: return (void *)wasi_no_environment;
    case 8: return (void *)wasi_zero;      case 10: return (void *)wasi_fdstat;
    case 18: return (void *)wasi_bad_file; case 20: return (void *)wasi_read;
    case 26: return (void *)wasi_write;    case 38: return (void *)wasi_exit;
    case 40: return (void *)wasi_random;   case 41: return (void *)wasi_zero;
    case 64: return (void *)memory_grow;   case 65: return (void *)memory_copy;
    case 66: return (void *)memory_fill;   case 67: return (void *)trap;
    default: if (number > 45) leave(201); return (void *)wasi_none;
  }
}

static void reserve(uint64_t address, uint64_t size, int protection) {
  void *got = mmap((void *)address, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_NORESERVE, -1, 0);
  if (got != (void *)address) { perror("bare_loader: mmap"); leave(201); }
}

/* enter_at(function, vmctx, values, stack): an array call on the program's own stack */
extern void enter_at(uint64_t function, uint64_t vmctx, Value *values, uint64_t stack);
__asm__(".text\n.globl enter_at\nenter_at:\n"
  "pushq %rbp\n pushq %rbx\n pushq %r12\n pushq %r13\n pushq %r14\n pushq %r15\n pushq $0\n"
  "movq %rsp, %r12\n movq %rcx, %rsp\n pushq %r12\n pushq $0\n xorl %ebp, %ebp\n"
  "movq %rdi, %rax\n movq %rsi, %rdi\n xorl %ecx, %ecx\n callq *%rax\n"
  "addq $8, %rsp\n popq %rsp\n addq $8, %rsp\n"
  "popq %r15\n popq %r14\n popq %r13\n popq %r12\n popq %rbx\n popq %rbp\n retq\n");

static void enter(uint64_t function) {
  Value values[1];
  enter_at(function, header->vmctx, values, STACK + STACK_SIZE - 64);
}

int main(int argc, char **argv) {
  if (argc < 3) return 201;
  report = argv[2]; count = argc - 2; arguments = argv + 2; arguments[0] = argv[1];
  int file = open(argv[1], O_RDONLY);
  struct stat status;
  if (file < 0 || fstat(file, &status)) return 201;
  uint8_t *part = mmap(0, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, file, 0);
  header = (const Header *)part;
  if (part == MAP_FAILED || memcmp(header->magic, "WKPROG01", 8)) return 201;
  reserve(STACK, STACK_SIZE, PROT_READ | PROT_WRITE);
  reserve(LINEAR, 2 * LINEAR, PROT_NONE);
  const Segment *segment = (const Segment *)(header + 1);
  const uint8_t *p = (const uint8_t *)(segment + header->segments);
  for (uint32_t i = 0; i < header->segments; i++) {
    reserve(segment[i].address, segment[i].memory_size, PROT_READ | PROT_WRITE);
    memcpy((void *)segment[i].address, p, segment[i].file_size);
    p += segment[i].file_size;
  }
  for (uint32_t i = 0; i < header->relocations; i++, p += sizeof(Relocation)) {
    Relocation r; memcpy(&r, p, sizeof r);
    *(void **)r.address = builtin(r.builtin);
  }
  memory = (uint64_t *)header->memory;
  memory[0] = LINEAR; memory[1] = 0;
  if (memory_grow(0, header->minimum, 0) == ~0ull) return 201;
  for (uint32_t i = 0; i < header->runs; i++) {
    uint32_t run[2]; memcpy(run, p, 8);
    memcpy(at(run[0]), p + 8, run[1]);
    p += 8 + run[1];
  }
  if (p != part + status.st_size) return 201;
  for (uint32_t i = 0; i < header->segments; i++)
    mprotect((void *)segment[i].address, segment[i].memory_size, segment[i].protection == 1 ? PROT_READ :
      segment[i].protection == 2 ? PROT_READ | PROT_WRITE : PROT_READ | PROT_EXEC);
  stack_t alternate = { .ss_sp = malloc(65536), .ss_size = 65536 };
  sigaltstack(&alternate, 0);
  struct sigaction action = { .sa_sigaction = trapped, .sa_flags = SA_SIGINFO | SA_ONSTACK };
  int signals[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP };
  for (int i = 0; i < 5; i++) sigaction(signals[i], &action, 0);
  if (header->start) enter(header->start);
  enter(header->entry);
  return 0;
}
