/* A build from the inside. */
#ifndef EC_CACHE_CACHE_BUILD_H
#define EC_CACHE_CACHE_BUILD_H

#include "cache/cache_part.h"

struct ec_cache_build {
    char *path, *folder;
    const ec_cache_spec *spec;
    int lock; /* held on folder/lock; the system gives it up when the process ends, however it ends */
};

#endif
