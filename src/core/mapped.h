/* Reading a file through a map. A page that cannot be had, because the file was cut or its disk fails, is not an error
 * that a call returns but a signal, SIGBUS, amid any instruction that touches the map. Here it becomes an error.
 *
 * For that the process must have said ec__mapped_catch, which the program does. Where it has not (the library in
 * another program), and for any other SIGBUS, the signal does what it always did. */
#ifndef EC_CORE_MAPPED_H
#define EC_CORE_MAPPED_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

/* A part of a file in memory. All borrowed. */
typedef struct ec_mapped {
    const char *path;
    const void *start;
    size_t bytes;
    int64_t offset; /* of start in the file */
} ec_mapped;

/* Calls read(arg), which may touch the map, and returns what it returns. EC_ERR_DATA naming file and byte where a page
 * cannot be had; read was then left in the middle, so it must not hold anything meanwhile (memory, a lock). Calls may
 * nest; any number of threads at once, provided that they do not block SIGBUS. */
ec_status ec__mapped_read(const ec_mapped *map, ec_status (*read)(void *arg), void *arg);

/* Installs the handler of SIGBUS, for all threads. To be called before MPI is started, which installs one where there
 * is none. */
ec_status ec__mapped_catch(void);

#endif
