/* Which back ends this build has: the only file that names them. */
#include <string.h>

#include "compute/backend.h"
#include "compute/cpu/cpu.h"

ec_status ec__backend_open_with(const char *name, const ec_backend_options *options, ec_backend **out) {
    if (strcmp(name, "cpu") == 0 || strcmp(name, "auto") == 0) return ec__cpu_backend_open(options->threads, out);
    return EC_ERROR(EC_ERR_ENV, "no back end named \"%s\"; this build has: cpu", name);
}

ec_status ec__backend_open(const char *name, int32_t threads, ec_backend **out) {
    const ec_backend_options options = {.threads = threads, .deterministic = true};
    return ec__backend_open_with(name, &options, out);
}
