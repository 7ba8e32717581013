/* How the library raises errors and passes them on (the internal half of emoclim/status.h).
 *
 * A function that owns something has one exit:
 *
 *     ec_status status = EC_OK;
 *     ...
 *     EC_TRY(ec__file_size(path, &bytes));                       // passes an error on, to done:
 *     if (bytes < 8) EC_FAIL(EC_ERR_DATA, "%s: too short", path); // raises one
 * done:
 *     free(x);
 *     return status;
 *
 * A function that owns nothing may write: return EC_ERROR(EC_ERR_DATA, "...");
 * The first error of a chain is never overwritten by a later one that arises while cleaning up: release functions
 * return void. */
#ifndef EC_CORE_ERROR_H
#define EC_CORE_ERROR_H

#include "emoclim/status.h"

/* Starts a new record (message in printf style) and returns code. */
ec_status ec__error_raise(ec_status code, const char *file, int line, const char *function, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* Adds a caller to the chain and returns code. */
ec_status ec__error_pass(ec_status code, const char *file, int line, const char *function);

/* Puts text in front of the message: what was being done, which sample, which file. Returns the record's code. */
ec_status ec__error_prefix(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Copies another thread's (or rank's) record, or one set aside, into the calling thread's. */
ec_status ec__error_adopt(const ec_error *other);

/* Rank that this process writes into its records; -1 before a communicator exists. */
void ec__error_set_rank(int rank);

#define EC_ERROR(code, ...) ec__error_raise((code), __FILE__, __LINE__, __func__, __VA_ARGS__)

#define EC_FAIL(code, ...)                  \
    do {                                    \
        status = EC_ERROR(code, __VA_ARGS__); \
        goto done;                          \
    } while (0)

#define EC_TRY(call)                                                        \
    do {                                                                    \
        status = (call);                                                    \
        if (status != EC_OK) {                                              \
            status = ec__error_pass(status, __FILE__, __LINE__, __func__);  \
            goto done;                                                      \
        }                                                                   \
    } while (0)

/* For functions that own nothing. */
#define EC_RETURN_IF(call)                                                              \
    do {                                                                                \
        ec_status ec__status_ = (call);                                                 \
        if (ec__status_ != EC_OK) return ec__error_pass(ec__status_, __FILE__, __LINE__, __func__); \
    } while (0)

#endif
