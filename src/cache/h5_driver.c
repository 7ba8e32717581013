/* A file driver for files that are written.
 *
 * HDF5 cannot close a file whose last blocks it could not write (a full disk): it keeps the broken file open, tries
 * again at exit, and crashes there. So this driver never tells it. The first failed write is noted at the place that
 * the opener named, later writes are dropped, and the wrapper asks for the note after each call and after the close.
 * Otherwise it does what the library's own driver for ordinary files does. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache/h5_internal.h"

typedef struct settings {
    int *failure; /* receives the first errno; borrowed */
} settings;

typedef struct driver {
    H5FD_t base; /* the library's part, first */
    int fd;
    haddr_t eoa; /* end of what the library has allocated */
    haddr_t eof; /* end of what has been written */
    int *failure;
} driver;

static herr_t driver_close(H5FD_t *base) {
    driver *d = (driver *)base;
    if (close(d->fd) != 0 && *d->failure == 0) *d->failure = errno;
    free(d);
    return 0;
}

static H5FD_t *driver_open(const char *name, unsigned flags, hid_t list, haddr_t limit) {
    (void)flags, (void)limit;
    const settings *given = H5Pget_driver_info(list);
    driver *d = given ? calloc(1, sizeof *d) : NULL;
    if (!d) return NULL;
    d->failure = given->failure;
    d->fd = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (d->fd >= 0) return &d->base;
    *d->failure = errno;
    free(d);
    return NULL;
}

/* Two handles of one file would corrupt it; the library asks in order to notice. */
static int driver_compare(const H5FD_t *one, const H5FD_t *two) {
    int a = ((const driver *)one)->fd, b = ((const driver *)two)->fd;
    return a < b ? -1 : a > b;
}

static herr_t driver_query(const H5FD_t *base, unsigned long *flags) {
    (void)base;
    *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA | H5FD_FEAT_DATA_SIEVE |
             H5FD_FEAT_AGGREGATE_SMALLDATA | H5FD_FEAT_DEFAULT_VFD_COMPATIBLE;
    return 0;
}

static haddr_t driver_get_eoa(const H5FD_t *base, H5FD_mem_t type) {
    (void)type;
    return ((const driver *)base)->eoa;
}

static herr_t driver_set_eoa(H5FD_t *base, H5FD_mem_t type, haddr_t end) {
    (void)type;
    ((driver *)base)->eoa = end;
    return 0;
}

static haddr_t driver_get_eof(const H5FD_t *base, H5FD_mem_t type) {
    (void)type;
    return ((const driver *)base)->eof;
}

static herr_t driver_read(H5FD_t *base, H5FD_mem_t type, hid_t transfer, haddr_t at, size_t size, void *into) {
    (void)type, (void)transfer;
    driver *d = (driver *)base;
    char *to = into;
    while (size > 0) {
        ssize_t got = pread(d->fd, to, size, (off_t)at);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return -1;
        if (got == 0) break;
        to += got;
        at += (haddr_t)got;
        size -= (size_t)got;
    }
    memset(to, 0, size); /* behind the end: allocated and not yet written */
    return 0;
}

static herr_t driver_write(H5FD_t *base, H5FD_mem_t type, hid_t transfer, haddr_t at, size_t size, const void *from) {
    (void)type, (void)transfer;
    driver *d = (driver *)base;
    const char *next = from;
    haddr_t end = at + size;
    while (size > 0 && *d->failure == 0) {
        ssize_t put = pwrite(d->fd, next, size, (off_t)at);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) {
            *d->failure = put < 0 ? errno : ENOSPC;
            break;
        }
        next += put;
        at += (haddr_t)put;
        size -= (size_t)put;
    }
    if (end > d->eof) d->eof = end;
    return 0;
}

/* Called at a flush and before the close: the file becomes as long as what was allocated. */
static herr_t driver_truncate(H5FD_t *base, hid_t transfer, hbool_t closing) {
    (void)transfer, (void)closing;
    driver *d = (driver *)base;
    if (*d->failure == 0 && ftruncate(d->fd, (off_t)d->eoa) != 0) *d->failure = errno;
    d->eof = d->eoa;
    return 0;
}

static const H5FD_class_t class_of_driver = {
#if H5_VERSION_GE(1, 13, 0)
    .version = H5FD_CLASS_VERSION,
    .value = 600, /* numbers from 512 on are free for programs */
#endif
    .name = "emoclim_write",
    .maxaddr = (haddr_t)INT64_MAX,
    .fc_degree = H5F_CLOSE_WEAK,
    .fapl_size = sizeof(settings),
    .open = driver_open,
    .close = driver_close,
    .cmp = driver_compare,
    .query = driver_query,
    .get_eoa = driver_get_eoa,
    .set_eoa = driver_set_eoa,
    .get_eof = driver_get_eof,
    .read = driver_read,
    .write = driver_write,
    .truncate = driver_truncate,
    .fl_map = H5FD_FLMAP_DICHOTOMY,
};

bool ec__h5_use_driver(hid_t list, int *failure) {
    static hid_t registered = -1; /* under the global lock, as everything here */
    if (registered < 0) registered = H5FDregister(&class_of_driver);
    return registered >= 0 && H5Pset_driver(list, registered, &(settings){failure}) >= 0;
}
