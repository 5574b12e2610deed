/* A guest of the process kind that looks around: findings as u32 into the window, in the order of FINDINGS in
   test_sandbox.py, then what it was given to read, then exits for ever. */
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WINDOW = 3, EXITS = 4, PRIVATE = 5 };

extern char **environ;

static volatile unsigned *window;
static unsigned count;

static void say(unsigned value) { window[count++] = value; }

static unsigned limit(int which)
{
    struct rlimit found;
    getrlimit(which, &found);
    return found.rlim_cur > 0xffffffff ? 0xffffffff : found.rlim_cur;
}

static unsigned open_descriptors(void)
{
    unsigned found = 0;
    for (int each = 0; each < 1000; each++)
        if (fcntl(each, F_GETFD) != -1) found |= 1u << (each < 31 ? each : 31);
    return found;
}

static unsigned ignored_signals(void)
{
    unsigned found = 0;
    struct sigaction action;
    for (int each = 1; each < 31; each++) {
        sigaction(each, 0, &action);
        if (action.sa_handler == SIG_IGN) found |= 1u << each;
    }
    return found;
}

int main(int argc, char **argv)
{
    struct stat status;
    int signal_number = 0;
    char folder[2] = {0}, byte = 1;

    (void)argv;
    window = mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, WINDOW, 0);
    say(open_descriptors());
    say(environ[0] != 0);
    say(argc);
    say(getsid(0) == getpid());
    prctl(PR_GET_PDEATHSIG, &signal_number);
    say(signal_number);
    say(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    say(limit(RLIMIT_CORE));
    say(limit(RLIMIT_NOFILE));
    say(limit(RLIMIT_FSIZE));
    say(limit(RLIMIT_NPROC));
    say(ignored_signals());
    fstat(PRIVATE, &status);
    say(status.st_size);
    read(PRIVATE, (char *)window + 0x1000, 8192);
    say(lseek(PRIVATE, 0, SEEK_CUR));
    signal(SIGXFSZ, SIG_IGN); /* the limit on file sizes would end this otherwise */
    say(write(PRIVATE, "x", 1) == -1);
    say(ftruncate(WINDOW, 0) == -1);
    getcwd(folder, sizeof folder);
    say(folder[0] == '/' && folder[1] == 0);
    do write(EXITS, &byte, 1);
    while (read(EXITS, &byte, 1) == 1);
    return 0;
}
