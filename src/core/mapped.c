#define _GNU_SOURCE
#include "core/mapped.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>

/* A call of ec__mapped_read that has not returned. */
typedef struct reading {
    const ec_mapped *map;
    sigjmp_buf back;
    volatile uintptr_t failed; /* the address */
} reading;

/* The innermost of this thread. The handler runs on the thread that touched the map, so it finds its own. */
static _Thread_local reading *volatile current;

/* Only async-signal-safe calls here. Jumping is safe, too: what is left is code of ours that computes on a map. */
static void handler(int number, siginfo_t *info, void *context) {
    const uintptr_t at = (uintptr_t)info->si_addr;
    reading *r = current;
    (void)context;
    if (r && info->si_code == BUS_ADRERR && at - (uintptr_t)r->map->start < r->map->bytes) {
        r->failed = at;
        siglongjmp(r->back, 1);
    }
    struct sigaction standard = {.sa_handler = SIG_DFL};
    sigaction(number, &standard, NULL);
    /* Sent by a process; else the instruction is tried again, and ends this one. */
    if (info->si_code <= 0) raise(number);
}

ec_status ec__mapped_catch(void) {
    /* The handler is left by a jump, which would leave the signal blocked without SA_NODEFER. */
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGBUS, &action, NULL) != 0) return EC_ERROR(EC_ERR_ENV, "cannot catch SIGBUS: %s", strerror(errno));
    return EC_OK;
}

ec_status ec__mapped_read(const ec_mapped *map, ec_status (*read)(void *arg), void *arg) {
    reading mine = {.map = map};
    reading *const outer = current;
    if (sigsetjmp(mine.back, 0) != 0) {
        current = outer;
        return EC_ERROR(EC_ERR_DATA, "reading %s at byte %lld failed: the file was cut, or its disk fails", map->path,
                        (long long)(map->offset + (int64_t)(mine.failed - (uintptr_t)map->start)));
    }
    current = &mine;
    ec_status status = read(arg);
    current = outer;
    return status;
}
