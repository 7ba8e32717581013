/* Which back ends this build has: the only file that names them. */
#include <string.h>

#include "compute/backend.h"
#include "compute/cpu/cpu.h"
#include "compute/cuda/module.h"
#include "core/log.h"
#include "core/module.h"

static ec_status open_cuda(const ec_backend_options *options, ec_backend **out) {
    const ec_module *module;
    EC_RETURN_IF(ec__module_cuda(&module));
    EC_RETURN_IF(module->compute->open(options, out));
    return EC_OK;
}

ec_status ec__backend_open_with(const char *name, const ec_backend_options *options, ec_backend **out) {
    if (strcmp(name, "cpu") == 0) return ec__cpu_backend_open(options->threads, out);
    if (strcmp(name, "cuda") == 0) {
        if (open_cuda(options, out) != EC_OK) return ec__error_prefix("the GPU back end cannot be used: ");
        return EC_OK;
    }
    if (strcmp(name, "auto") == 0) {
        if (open_cuda(options, out) == EC_OK) return EC_OK;
        EC_DEBUG("computing on the CPU: %s", ec_error_last()->text);
        ec_error_clear();
        return ec__cpu_backend_open(options->threads, out);
    }
    return EC_ERROR(EC_ERR_ENV, "no back end is named \"%s\": there are cpu, cuda and auto", name);
}

ec_status ec__backend_open(const char *name, int32_t threads, ec_backend **out) {
    return ec__backend_open_with(name, &(ec_backend_options){.threads = threads, .deterministic = true}, out);
}

int32_t ec__backend_device_for(int32_t node_rank) {
    const ec_module *module;
    int32_t count = 0;
    if (ec__module_cuda(&module) == EC_OK && module->compute->device_count(&count) == EC_OK && count > 0)
        return node_rank % count;
    ec_error_clear();
    return 0;
}
