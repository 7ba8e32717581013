/* Status codes and the thread-local error record.
 *
 * Every function of the library that can fail returns an ec_status and leaves its results in out-parameters, which
 * stay untouched on error. The first error on a thread fills that thread's record (code, message, file, line); each
 * caller that passes the error on adds itself to the chain. Nothing in the library prints or exits. */
#ifndef EMOCLIM_STATUS_H
#define EMOCLIM_STATUS_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum ec_status {
    EC_OK = 0,
    EC_ERR_USAGE,  /* an argument or a command line that cannot mean anything; exit code 2 */
    EC_ERR_CONFIG, /* a configuration with an unknown key, a wrong type or an illegal value; exit code 2 */
    EC_ERR_DATA,   /* the contents of a file: missing, truncated, corrupt, of another shape; exit code 3 */
    EC_ERR_IO,     /* the operating system refused: disk full, no permission; exit code 4 */
    EC_ERR_ENV,    /* something this machine lacks: a library, a device, a locale; exit code 4 */
    EC_ERR_MEMORY, /* an allocation failed; exit code 4 */
    EC_ERR_DIST,   /* another rank failed, or the network did; exit code 5 */
    EC_ERR_BUG,    /* an invariant of this library does not hold; exit code 70 */
    EC_STOPPED,    /* a signal asked for a stop and the state is saved; exit code 75 */
} ec_status;

enum { EC_ERROR_TEXT = 1024, EC_ERROR_FRAMES = 16 };

/* One caller on the way of an error; file and function are string literals. */
typedef struct ec_error_frame {
    const char *file;
    const char *function;
    int line;
} ec_error_frame;

/* The record of a thread's latest error. frame[0] is where it arose. */
typedef struct ec_error {
    ec_status code;
    int rank; /* rank that failed; -1 when it is this process and no communicator exists */
    int frame_count;
    ec_error_frame frame[EC_ERROR_FRAMES];
    char text[EC_ERROR_TEXT];
} ec_error;

/* The calling thread's record; never NULL, valid until the thread's next error. code is EC_OK when there is none. */
const ec_error *ec_error_last(void);

/* Forget the calling thread's error, after handling it. */
void ec_error_clear(void);

/* Short English name of a code, e.g. "data error". */
const char *ec_status_name(ec_status code);

/* Process exit code that belongs to a status (0, 2, 3, 4, 5, 70 or 75). */
int ec_status_exit_code(ec_status code);

#ifdef __cplusplus
}
#endif
#endif
