/* Which back ends this build has: the only file that names them. */
#include <string.h>

#include "compute/backend.h"
#include "compute/cpu/cpu.h"

ec_status ec__backend_open(const char *name, int32_t threads, ec_backend **out) {
    if (strcmp(name, "cpu") == 0 || strcmp(name, "auto") == 0) return ec__cpu_backend_open(threads, out);
    return EC_ERROR(EC_ERR_ENV, "no back end named \"%s\"; this build has: cpu", name);
}
