/* Faults from outside the program: a library for LD_PRELOAD that counts the calls which change files below a folder,
 * and at the N-th of them kills ranks, or lets the call fail.
 *
 *     FAULT_UNDER=/path    counted are calls on files whose absolute path begins with this
 *     FAULT_KINDS=a,b      counted are only these: open write sync truncate close rename link unlink folder line;
 *                          default: all but line (a line of text written by fputs: something that happens once a step)
 *     FAULT_RANK=R         calls are counted on this rank only (default 0; -1: on every rank, each for itself)
 *     FAULT_AT=N           strikes at the N-th counted call, from 1; 0 or absent: never
 *     FAULT_DO=kill        SIGKILL before the call; what was not written by then is not in the file
 *     FAULT_DO=tear        the same in the middle of a write: half of it is done
 *     FAULT_DO=USR1        USR1, which asks for a stop, before the call
 *     FAULT_VICTIM=V       who gets the signal: a rank, or "all"
 *     FAULT_DO=short       the call writes half of what it was asked to, and says so
 *     FAULT_DO=ENOSPC      (or EDQUOT EIO EROFS EACCES) the call fails with that error and does nothing
 *     FAULT_DO=sleep       the call takes FAULT_SECONDS longer (default 1)
 *     FAULT_FOR=M          calls from the N-th on that fail, are short or long (default 1; 0: all)
 *     FAULT_LOG=FILE       gets a line "rank number kind path" for every counted call, and "struck" when it strikes
 *     FAULT_NO_THREAD=N    the N-th thread that the program itself starts on that rank cannot be started (EAGAIN)
 *     FAULT_MEMINFO=FILE   is read in place of /proc/meminfo: a machine with another amount of memory
 *     FAULT_PIDS=FOLDER    gets a file for every rank, named by its number, holding its process id
 *
 * Streams of such files are made unbuffered, so that a call of fwrite is a write. Only functions that are defined here
 * are seen; test_points.sh compares them with what the program calls. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The function of that name that the program would have called. */
#define REAL(name) ((__typeof__(&(name)))dlsym(RTLD_NEXT, #name))

typedef enum verdict { PASS, FAIL, HALF, TEAR } verdict;

/* One process has one set of faults. Written once, before main. */
static struct {
    int rank, at, times, error; /* error: errno of a call that fails */
    int signal;                 /* that strikes, or 0 */
    int seconds;                /* that a call takes longer, or 0 */
    int no_thread;              /* number of a thread of the program, or 0 */
    bool counts, tears, halves;
    const char *under, *kinds, *victim, *log, *pids;
} fault;
static atomic_int counted, threads;

static int number_of(const char *name, int standard) {
    const char *text = getenv(name);
    return text && *text ? atoi(text) : standard;
}

static int own_rank(void) {
    static const char *const names[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (getenv(names[i])) return number_of(names[i], 0);
    return 0;
}

static int error_named(const char *name) {
    static const struct {
        const char *name;
        int number;
    } errors[] = {{"ENOSPC", ENOSPC}, {"EDQUOT", EDQUOT}, {"EIO", EIO}, {"EROFS", EROFS}, {"EACCES", EACCES}};
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (strcmp(name, errors[i].name) == 0) return errors[i].number;
    return 0;
}

/* Adds text to a file by system calls that are not counted. */
static void append(const char *path, const char *text) {
    long fd = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (fd < 0) return;
    if (syscall(SYS_write, fd, text, strlen(text)) < 0) abort();
    syscall(SYS_close, fd);
}

__attribute__((constructor)) static void begin(void) {
    char path[PATH_MAX], text[32];
    const char *what = getenv("FAULT_DO");
    fault.rank = own_rank();
    fault.under = getenv("FAULT_UNDER");
    fault.kinds = getenv("FAULT_KINDS");
    fault.victim = getenv("FAULT_VICTIM");
    fault.log = getenv("FAULT_LOG");
    fault.pids = getenv("FAULT_PIDS");
    fault.at = number_of("FAULT_AT", 0);
    fault.times = number_of("FAULT_FOR", 1);
    int rank = number_of("FAULT_RANK", 0);
    fault.counts = fault.under && (rank < 0 || rank == fault.rank);
    fault.no_thread = rank < 0 || rank == fault.rank ? number_of("FAULT_NO_THREAD", 0) : 0;
    fault.tears = what && strcmp(what, "tear") == 0;
    fault.signal = fault.tears || (what && strcmp(what, "kill") == 0) ? SIGKILL : 0;
    if (what && strcmp(what, "USR1") == 0) fault.signal = SIGUSR1;
    fault.halves = what && strcmp(what, "short") == 0;
    fault.error = what ? error_named(what) : 0;
    fault.seconds = what && strcmp(what, "sleep") == 0 ? number_of("FAULT_SECONDS", 1) : 0;
    if (fault.at && !fault.signal && !fault.halves && !fault.error && !fault.seconds) abort(); /* FAULT_DO means nothing */
    if (!fault.pids) return;
    snprintf(path, sizeof path, "%s/%d", fault.pids, fault.rank);
    snprintf(text, sizeof text, "%ld\n", (long)getpid());
    append(path, text);
}

static void signal_rank(const char *number) {
    char path[PATH_MAX], text[32] = "";
    snprintf(path, sizeof path, "%s/%s", fault.pids, number);
    long fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    if (syscall(SYS_read, fd, text, sizeof text - 1) > 0) kill((pid_t)atol(text), fault.signal);
    syscall(SYS_close, fd);
}

/* The victims get the signal, this process last; comes back where it is none of them, or lives. */
static void strike(void) {
    char number[16];
    bool all = strcmp(fault.victim, "all") == 0;
    for (int rank = 0; all && rank < 64; rank++) {
        snprintf(number, sizeof number, "%d", rank);
        if (rank != fault.rank) signal_rank(number);
    }
    if (all || atoi(fault.victim) == fault.rank) kill(getpid(), fault.signal);
    else signal_rank(fault.victim);
}

static bool has_kind(const char *kind) {
    if (!fault.kinds) return strcmp(kind, "line") != 0;
    const char *found = strstr(fault.kinds, kind);
    return found && (found == fault.kinds || found[-1] == ',') && strchr(",", found[strlen(kind)]) != NULL;
}

static bool is_under(const char *path) {
    char whole[2 * PATH_MAX], folder[PATH_MAX];
    if (path[0] == '/') snprintf(whole, sizeof whole, "%s", path);
    else snprintf(whole, sizeof whole, "%s/%s", getcwd(folder, sizeof folder) ? folder : "", path);
    return strncmp(whole, fault.under, strlen(fault.under)) == 0;
}

/* What becomes of a call of this kind on that file. */
static verdict judge(const char *kind, const char *path) {
    char line[PATH_MAX + 64];
    int before = errno;
    if (!fault.counts || !path || !has_kind(kind) || !is_under(path)) return PASS;
    int number = atomic_fetch_add(&counted, 1) + 1;
    bool now = fault.at && number >= fault.at && (fault.times == 0 || number < fault.at + fault.times);
    if (fault.log) {
        snprintf(line, sizeof line, "%d %d %s %s%s\n", fault.rank, number, kind, path, now ? "\nstruck" : "");
        append(fault.log, line);
    }
    errno = before;
    if (!now) return PASS;
    if (fault.tears && strcmp(kind, "write") == 0) return TEAR;
    if (fault.signal) strike();
    if (fault.halves && strcmp(kind, "write") == 0) return HALF;
    if (fault.seconds) sleep((unsigned)fault.seconds);
    if (!fault.error) return PASS;
    errno = fault.error;
    return FAIL;
}

static verdict judge_fd(const char *kind, int fd) {
    char link[64], path[PATH_MAX];
    if (!fault.counts) return PASS;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return PASS;
    path[length] = '\0';
    return judge(kind, path);
}

int open(const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (flags & O_CREAT && judge("open", path) == FAIL) return -1;
    return REAL(open)(path, flags, mode);
}

/* What becomes of making a file in a folder that is held open. */
static verdict judge_at(const char *kind, int folder, const char *path) {
    char link[64], whole[2 * PATH_MAX];
    if (folder == AT_FDCWD || path[0] == '/') return judge(kind, path);
    snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    ssize_t length = readlink(link, whole, PATH_MAX);
    if (length < 0) return PASS;
    snprintf(whole + length, sizeof whole - (size_t)length, "/%s", path);
    return judge(kind, whole);
}

int openat(int folder, const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (flags & O_CREAT && judge_at("open", folder, path) == FAIL) return -1;
    return REAL(openat)(folder, path, flags, mode);
}

FILE *fopen(const char *path, const char *mode) {
    bool writes = mode[0] != 'r' || strchr(mode, '+');
    if (writes && judge("open", path) == FAIL) return NULL;
    const char *memory = strcmp(path, "/proc/meminfo") == 0 ? getenv("FAULT_MEMINFO") : NULL;
    FILE *stream = REAL(fopen)(memory ? memory : path, mode);
    if (stream && writes && fault.counts && is_under(path)) setvbuf(stream, NULL, _IONBF, 0);
    return stream;
}

ssize_t pwrite(int fd, const void *from, size_t count, off_t offset) {
    verdict v = judge_fd("write", fd);
    if (v == FAIL) return -1;
    ssize_t put = REAL(pwrite)(fd, from, v == PASS ? count : (count + 1) / 2, offset);
    if (v == TEAR) strike();
    return put;
}

ssize_t write(int fd, const void *from, size_t count) {
    verdict v = judge_fd("write", fd);
    if (v == FAIL) return -1;
    ssize_t put = REAL(write)(fd, from, v == PASS ? count : (count + 1) / 2);
    if (v == TEAR) strike();
    return put;
}

size_t fwrite(const void *from, size_t size, size_t count, FILE *stream) {
    verdict v = judge_fd("write", fileno(stream));
    if (v == FAIL) return 0;
    if (v == PASS) return REAL(fwrite)(from, size, count, stream);
    size_t put = REAL(fwrite)(from, 1, (size * count + 1) / 2, stream) / size;
    if (v == TEAR) strike();
    errno = ENOSPC;
    return put;
}

int fputs(const char *text, FILE *stream) {
    if (judge_fd("line", fileno(stream)) == FAIL) return EOF;
    return REAL(fputs)(text, stream);
}

int fclose(FILE *stream) {
    int fd = fileno(stream);
    bool fails = fd >= 0 && (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY && judge_fd("close", fd) == FAIL;
    int error = errno, result = REAL(fclose)(stream);
    if (!fails) return result;
    errno = error;
    return EOF;
}

int close(int fd) {
    int flags = fcntl(fd, F_GETFL);
    bool fails = flags >= 0 && (flags & O_ACCMODE) != O_RDONLY && judge_fd("close", fd) == FAIL;
    int error = errno, result = REAL(close)(fd);
    if (!fails) return result;
    errno = error;
    return -1;
}

int fsync(int fd) { return judge_fd("sync", fd) == FAIL ? -1 : REAL(fsync)(fd); }

int fdatasync(int fd) { return judge_fd("sync", fd) == FAIL ? -1 : REAL(fdatasync)(fd); }

int ftruncate(int fd, off_t length) { return judge_fd("truncate", fd) == FAIL ? -1 : REAL(ftruncate)(fd, length); }

int truncate(const char *path, off_t length) {
    return judge("truncate", path) == FAIL ? -1 : REAL(truncate)(path, length);
}

int rename(const char *from, const char *to) { return judge("rename", to) == FAIL ? -1 : REAL(rename)(from, to); }

int link(const char *from, const char *to) { return judge("link", to) == FAIL ? -1 : REAL(link)(from, to); }

int unlink(const char *path) { return judge("unlink", path) == FAIL ? -1 : REAL(unlink)(path); }

int remove(const char *path) { return judge("unlink", path) == FAIL ? -1 : REAL(remove)(path); }

int mkdir(const char *path, mode_t mode) { return judge("folder", path) == FAIL ? -1 : REAL(mkdir)(path, mode); }

int rmdir(const char *path) { return judge("folder", path) == FAIL ? -1 : REAL(rmdir)(path); }

/* Threads of libraries, which begin in those, are not the program's. */
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *arg) {
    Dl_info place;
    const bool own = fault.no_thread && dladdr((void *)(uintptr_t)run, &place) && strstr(place.dli_fname, "emoclim");
    if (own && atomic_fetch_add(&threads, 1) + 1 == fault.no_thread) return EAGAIN;
    return REAL(pthread_create)(thread, attributes, run, arg);
}
