/* Which back ends this build has: the only file that names them. */
#include <stdio.h>
#include <string.h>

#include "compute/about.h"
#include "compute/backend.h"
#include "compute/cpu/cpu.h"
#include "compute/cuda/module.h"
#include "core/log.h"
#include "core/module.h"

static ec_status open_module(const ec_backend_options *options, bool device, ec_backend **out) {
    const ec_module *module;
    ec_backend *be = NULL;
    EC_RETURN_IF(ec__module_cuda(&module));
    EC_RETURN_IF((device ? module->compute->open : module->compute->open_sizes)(options, &be));
    ec_status status = ec__cpu_backend_open(options->threads, &be->host);
    if (status != EC_OK) {
        be->close(be);
        return ec__error_pass(status, __FILE__, __LINE__, __func__);
    }
    be->pool = be->host->pool;
    *out = be;
    return EC_OK;
}

static ec_status open_cuda(const ec_backend_options *options, ec_backend **out) {
    return open_module(options, true, out);
}

ec_status ec__backend_open_sizes(const ec_backend_options *options, ec_backend **out) {
    return open_module(options, false, out);
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

static void describe(int32_t number, const struct ec_cuda_compute *compute, ec_gpu *out) {
    ec_cuda_device d;
    char kernels[EC_CUDA_TEXT] = "";
    if (compute->device(number, &d) != EC_OK) {
        snprintf(out->text, sizeof out->text, "%.*s", EC_GPU_TEXT - 1, ec_error_last()->text);
        ec_error_clear();
        return;
    }
    out->usable = !*d.unusable;
    if (out->usable) compute->kernels(number, kernels);
    snprintf(out->text, sizeof out->text, "%s, %.1f GiB, %d multiprocessors, compute capability %d.%d, at %s%s%s%s",
             d.name, (double)d.memory / (double)(1 << 30), d.multiprocessors, d.major, d.minor, d.bus,
             out->usable ? ", " : ": ", d.unusable, kernels);
}

void ec__gpu_about(ec_gpu_about *out) {
    const ec_module *module;
    ec_cuda_versions v;
    *out = (ec_gpu_about){.count = 0};
    if (ec__module_cuda(&module) != EC_OK) goto missing;
    snprintf(out->module, sizeof out->module, "%s", ec__module_cuda_path());
    out->emulated = strcmp(module->kind, "cuda") != 0;
    module->compute->versions(&v);
    snprintf(out->versions, sizeof out->versions, "CUDA driver %d.%d, runtime %d.%d; %s", v.driver / 1000,
             v.driver % 1000 / 10, v.runtime / 1000, v.runtime % 1000 / 10, v.libraries);
    if (module->compute->device_count(&out->count) != EC_OK) goto missing;
    for (int32_t i = 0; i < out->count && i < EC_GPUS; i++) describe(i, module->compute, &out->gpu[i]);
    for (int32_t i = 0; i < out->count && i < EC_GPUS; i++)
        if (out->gpu[i].usable) return;
    snprintf(out->missing, sizeof out->missing, "none of them can be used");
    return;
missing:
    snprintf(out->missing, sizeof out->missing, "%s", ec_error_last()->text);
    ec_error_clear();
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
