/* The library behind .h5 files. */
#ifndef EC_CACHE_ABOUT_H
#define EC_CACHE_ABOUT_H

#include <stddef.h>

void ec__cache_about(char *into, size_t size); /* "HDF5 1.10.8" */

#endif
