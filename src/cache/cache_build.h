/* A build from the inside. */
#ifndef EC_CACHE_CACHE_BUILD_H
#define EC_CACHE_CACHE_BUILD_H

#include "cache/cache_part.h"

struct ec_cache_build {
    char *path, *folder;
    const ec_cache_spec *spec;
    int lock; /* held on folder/lock; the system gives it up when the process ends, however it ends */
};

/* Removes everything of ours from a work folder, and the folder. */
void ec__cache_folder_remove(const char *folder);

#endif
