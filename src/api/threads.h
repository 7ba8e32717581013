/* How the public interface opens its back ends. */
#ifndef EC_API_THREADS_H
#define EC_API_THREADS_H

#include "compute/backend.h"

/* A CPU back end of that many threads; 0: the processors of this process. EC_ERR_USAGE for a number out of range. */
ec_status ec__api_backend(int32_t threads, ec_backend **out);

#endif
