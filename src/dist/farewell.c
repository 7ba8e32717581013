#define _GNU_SOURCE
#include "dist/farewell.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Tenths of a second. GRACE: in which mpirun, if it can be reached, ends its daemon. END: in which a daemon that was
 * asked to ends. MPIRUN_GRACE: in which mpirun ends when it can; the daemons come first. */
enum { GRACE = 50, END = 20, MPIRUN_GRACE = 80 };

/* A wrapper of the program, or a container's starter, may be between it and its launcher. */
enum { ANCESTORS = 8 };

typedef enum kind { OTHER, DAEMON, MPIRUN } kind;

/* A folder of /proc, held open: it stays that process's, and is empty for whoever gets the number next. */
typedef struct process {
    pid_t id;
    int folder;
} process;

/* Bytes read, 0 where the process is gone. A zombie has a stat, but no cmdline. Async-signal-safe. */
static size_t read_of(const process *p, const char *name, char *text, size_t size) {
    const int fd = openat(p->folder, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    const ssize_t got = read(fd, text, size - 1);
    close(fd);
    text[got > 0 ? got : 0] = '\0';
    return got > 0 ? (size_t)got : 0;
}

/* 0: unknown. */
static pid_t parent_of(const process *p) {
    char text[512];
    if (read_of(p, "stat", text, sizeof text) == 0) return 0;
    const char *after_name = strrchr(text, ')'); /* "12 (name) S 11 ...", and a name may hold anything */
    return after_name && strlen(after_name) > 4 ? (pid_t)atoi(after_name + 4) : 0;
}

static process open_process(pid_t id) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d", (int)id);
    return (process){.id = id, .folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
}

static kind kind_of(const process *p) {
    static const char *const daemons[] = {"orted\n", "prted\n"};
    static const char *const mpiruns[] = {"mpirun", "mpiexec", "orterun", "prterun"}; /* mpirun.openmpi, too */
    char name[32];
    if (read_of(p, "comm", name, sizeof name) == 0) return OTHER;
    for (size_t i = 0; i < sizeof daemons / sizeof *daemons; i++)
        if (strcmp(name, daemons[i]) == 0) return DAEMON;
    for (size_t i = 0; i < sizeof mpiruns / sizeof *mpiruns; i++)
        if (strncmp(name, mpiruns[i], strlen(mpiruns[i])) == 0) return MPIRUN;
    return OTHER;
}

/* The nearest ancestor that is one of Open MPI's, or OTHER. */
static kind find_launcher(process *launcher) {
    process child = open_process(getpid());
    kind k = OTHER;
    for (int i = 0; i < ANCESTORS && k == OTHER && child.folder >= 0; i++) {
        const process parent = open_process(parent_of(&child));
        const bool still = parent.folder >= 0 && parent_of(&child) == parent.id;
        close(child.folder);
        child = parent;
        if (!still) break;
        k = kind_of(&parent);
    }
    *launcher = child;
    return k;
}

/* Jobs in a virtual machine that somebody started by "prte", and that outlives them, have its name in theirs; those of
 * Open MPI 5's mpirun begin with "prterun-", those of Open MPI 4 are numbers. */
static bool launcher_is_shared(void) {
    const char *job = getenv("PMIX_NAMESPACE");
    return job && strncmp(job, "prte-", 5) == 0;
}

static bool gone_after(const process *p, int tenths) {
    const struct timespec tenth = {.tv_nsec = 100000000};
    char byte[2];
    for (int i = 0; i < tenths; i++) {
        if (read_of(p, "cmdline", byte, sizeof byte) == 0) return true;
        nanosleep(&tenth, NULL);
    }
    return false;
}

/* In a process of its own, with nothing open that the launcher might wait for. Only async-signal-safe calls here. */
static _Noreturn void outlive(process launcher, kind k) {
    if (dup2(launcher.folder, 0) != 0) _exit(1);
    launcher.folder = 0;
    if (syscall(SYS_close_range, 1u, ~0u, 0u) != 0)
        for (int fd = 1; fd < 1024; fd++) close(fd);
    setsid();
    if (!gone_after(&launcher, k == MPIRUN ? MPIRUN_GRACE : GRACE)) {
        /* Open MPI 4.1's mpirun, asked to end when it waits for a lost host, crashes. */
        if (k == DAEMON) kill(launcher.id, SIGTERM);
        if (k == MPIRUN || !gone_after(&launcher, END)) kill(launcher.id, SIGKILL);
    }
    _exit(0);
}

_Noreturn void ec__farewell(int exit_code, bool several_hosts) {
    process launcher;
    const kind k = launcher_is_shared() ? OTHER : find_launcher(&launcher);
    if ((k == DAEMON || (k == MPIRUN && several_hosts)) && fork() == 0) outlive(launcher, k);
    _exit(exit_code);
}
