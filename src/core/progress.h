/* How long work tells how far it is. The library calls, the program draws (a bar on a terminal, plain lines in a
 * log). */
#ifndef EC_CORE_PROGRESS_H
#define EC_CORE_PROGRESS_H

#include <stdint.h>

typedef struct ec_progress {
    /* what: a noun that stays the same during one phase ("images"); done of total are finished. May be called from one
     * thread at a time, as often as the caller likes. */
    void (*update)(void *arg, const char *what, int64_t done, int64_t total);
    void *arg;
} ec_progress;

/* progress may be NULL. */
static inline void ec__progress(const ec_progress *progress, const char *what, int64_t done, int64_t total) {
    if (progress && progress->update) progress->update(progress->arg, what, done, total);
}

#endif
