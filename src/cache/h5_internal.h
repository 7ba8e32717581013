/* What the files of the HDF5 wrapper share. */
#ifndef EC_CACHE_H5_INTERNAL_H
#define EC_CACHE_H5_INTERNAL_H

#include <hdf5.h>

#include "cache/h5.h"

struct ec_h5 {
    hid_t id;
    char *path;
    int64_t bytes; /* length of a file that is read */
    bool writing;
    bool chunks; /* data sets in chunks may be read */
    int failure; /* errno of the first write that failed; 0 */
};

/* Makes an access list use the driver of h5_driver.c, which notes failures at *failure. */
bool ec__h5_use_driver(hid_t list, int *failure);

/* The global lock. Between the two, the calling thread may use the library, whose printing is off. */
void ec__h5_enter(void);
void ec__h5_leave(void);

/* Releases any identifier; a negative one is none. */
static inline void ec__h5_drop(hid_t id) {
    if (id >= 0) H5Idec_ref(id);
}

/* The innermost message of the library's error stack, which is cleared. */
void ec__h5_message(char *text, size_t size);

/* Raises "<path>: cannot <what> <object>: <reason>": the system's reason when a write failed, else the library's. */
ec_status ec__h5_raise(const ec_h5 *file, const char *what, const char *object, const char *source, int line,
                       const char *function);
#define EC_H5_FAIL(file, what, object)                                                  \
    do {                                                                                \
        status = ec__h5_raise((file), (what), (object), __FILE__, __LINE__, __func__);  \
        goto done;                                                                      \
    } while (0)

/* To be asked after every call that may write: the driver hides failed writes from the library. */
#define EC_H5_CHECK_WRITTEN(file, object)                                 \
    do {                                                                  \
        if ((file)->failure) EC_H5_FAIL((file), "write", (object));       \
    } while (0)

/* Creates the groups above a name; under the lock. EC_ERR_DATA for a name that is too long. */
ec_status ec__h5_make_parents(ec_h5 *file, const char *name);

/* A new identifier of a type as it is in files and in memory; negative on failure. string_bytes only for STRING. */
hid_t ec__h5_type_new(ec_h5_type type, size_t string_bytes);

/* Our type for one in a file; false for any other. */
bool ec__h5_type_of(hid_t type, ec_h5_type *out);

#endif
