#include "cache/about.h"

#include <hdf5.h>
#include <stdio.h>

void ec__cache_about(char *into, size_t size) {
    unsigned major = 0, minor = 0, release = 0;
    H5get_libversion(&major, &minor, &release);
    snprintf(into, size, "HDF5 %u.%u.%u", major, minor, release);
}
