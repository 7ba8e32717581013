#include "api/threads.h"

#include "core/pool.h"

enum { MOST_THREADS = 4096 };

ec_status ec__api_backend(int32_t threads, ec_backend **out) {
    if (threads < 0 || threads > MOST_THREADS)
        return EC_ERROR(EC_ERR_USAGE, "%d threads; expected 0 to %d", (int)threads, MOST_THREADS);
    return ec__backend_open("cpu", threads ? threads : ec__processor_count(), out);
}
