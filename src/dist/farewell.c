#define _GNU_SOURCE
#include "dist/farewell.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Tenths of a second. GRACE: in which mpirun, if it can be reached, ends its daemon. END: in which a daemon that was
 * asked to ends. */
enum { GRACE = 50, END = 20 };

static bool is_daemon(pid_t process) {
    char path[64], name[32] = "";
    snprintf(path, sizeof path, "/proc/%d/comm", (int)process);
    FILE *file = fopen(path, "r");
    if (!file) return false;
    bool read = fgets(name, sizeof name, file) != NULL;
    fclose(file);
    return read && (strcmp(name, "orted\n") == 0 || strcmp(name, "prted\n") == 0);
}

static bool gone_after(pid_t process, int tenths) {
    const struct timespec tenth = {.tv_nsec = 100000000};
    for (int i = 0; i < tenths; i++) {
        if (kill(process, 0) != 0) return true;
        nanosleep(&tenth, NULL);
    }
    return false;
}

/* In a process of its own, with nothing open that the daemon might wait for. Only async-signal-safe calls here. */
static _Noreturn void outlive(pid_t daemon) {
    if (syscall(SYS_close_range, 0u, ~0u, 0u) != 0)
        for (int fd = 0; fd < 1024; fd++) close(fd);
    setsid();
    if (!gone_after(daemon, GRACE)) {
        kill(daemon, SIGTERM);
        if (!gone_after(daemon, END)) kill(daemon, SIGKILL);
    }
    _exit(0);
}

_Noreturn void ec__farewell(int exit_code) {
    const pid_t parent = getppid();
    if (is_daemon(parent) && fork() == 0) outlive(parent);
    _exit(exit_code);
}
