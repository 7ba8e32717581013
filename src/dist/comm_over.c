/* The way from the program to the module that has the communicator over GPUs. */
#include "core/module.h"
#include "dist/comm_impl.h"
#include "dist/comm_nccl.h"

ec_status ec__comm_open_over(ec_comm *host, void *queue, ec_comm **out) {
    ec_status status = EC_OK;
    const ec_module *module = NULL;
    if (!queue) {
        *out = host;
        goto done;
    }
    EC_TRY(ec__module_cuda(&module));
    EC_TRY(module->dist->open(host, queue, out));
done:
    return status;
}
