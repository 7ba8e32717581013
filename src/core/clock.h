/* Monotonic time. */
#ifndef EC_CORE_CLOCK_H
#define EC_CORE_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Nanoseconds since an arbitrary fixed moment; never goes back. */
static inline int64_t ec__now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline double ec__seconds_since(int64_t start_ns) { return (double)(ec__now_ns() - start_ns) * 1e-9; }

#endif
