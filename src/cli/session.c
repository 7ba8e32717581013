#include "cli/session.h"

#include <stdio.h>
#include <string.h>

#include "cli/consistency.h"
#include "core/log.h"
#include "core/pool.h"

static const char *const device_names[] = {
    [EC_CONFIG_DEVICE_AUTO] = "auto", [EC_CONFIG_DEVICE_CPU] = "cpu", [EC_CONFIG_DEVICE_CUDA] = "cuda"};

static const ec_math maths[] = {[EC_CONFIG_MATH_FLOAT32] = EC_MATH_FLOAT32,
                                [EC_CONFIG_MATH_TF32] = EC_MATH_TF32,
                                [EC_CONFIG_MATH_BF16] = EC_MATH_BF16};

static const char *const comm_names[] = {[EC_CONFIG_COMM_AUTO] = "auto",
                                         [EC_CONFIG_COMM_SELF] = "self",
                                         [EC_CONFIG_COMM_MPI] = "mpi",
                                         [EC_CONFIG_COMM_MPI_PLAIN] = "mpi-plain"};

cli_session_options cli_session_of(const ec_config *config) {
    return (cli_session_options){
        .comm = comm_names[config->distributed.comm],
        .device = device_names[config->distributed.device],
        .math = maths[config->distributed.precision],
        .fast = config->distributed.reduction == EC_CONFIG_FAST,
        .threads = config->distributed.threads,
        .deadline_s = config->distributed.deadline_s,
        .patience_s = config->distributed.patience_s,
        .config = config,
    };
}

/* With "auto" a rank may find no GPU where the others do: they would compute other bits, and wait in another
 * library. */
static ec_status check_alike(ec_comm *comm, const ec_backend *be) {
    ec_status status = EC_OK;
    char mine[16] = "";
    const void *all = NULL;
    if (comm->size == 1) return EC_OK;
    snprintf(mine, sizeof mine, "%s", be->name);
    EC_RETURN_IF(ec__comm_all_gather_view(comm, mine, &all, sizeof mine));
    if (strcmp(mine, all) != 0)
        status = EC_ERROR(EC_ERR_ENV,
                          "rank %d would compute with the back end %s, rank 0 with %s: see emoclim doctor on its host, "
                          "or set distributed.device",
                          comm->rank, mine, (const char *)all);
    return ec__comm_agree(comm, status);
}

/* After the error of a GPU that is not there, which is told. */
static ec_status open_sizes(const ec_backend_options *backend, cli_session *out) {
    const ec_error missing = *ec_error_last();
    if (ec__backend_open_sizes(backend, &out->be) != EC_OK)
        return ec__error_prefix("the GPU back end cannot be used, not even for sizes: ");
    EC_INFO("%s; going on without one", missing.text);
    ec_error_clear();
    out->no_device = true;
    return EC_OK;
}

/* A rank without its GPU must not leave the others waiting for it in NCCL. */
static ec_status open_backend(const cli_session_options *options, cli_session *out) {
    int64_t threads = options->threads;
    if (threads == 0) threads = ec__processor_count() / out->comm->node_size;
    if (threads < 1) threads = 1;
    const ec_backend_options backend = {.threads = (int32_t)threads,
                                        .device = ec__backend_device_for(out->comm->node_rank),
                                        .math = options->math,
                                        .deterministic = !options->fast};
    const char *device = options->device ? options->device : "auto";
    ec_status status = ec__backend_open_with(device, &backend, &out->be);
    if (status == EC_ERR_ENV && options->sizes && strcmp(device, "cuda") == 0) status = open_sizes(&backend, out);
    return ec__comm_agree(out->comm, status);
}

ec_status cli_session_open(const cli_session_options *options, cli_session *out) {
    ec_status status = EC_OK;
    *out = (cli_session){0};
    EC_TRY(options->stops ? cli_catch_signals() : cli_pass_over_requests());
    EC_TRY(ec__comm_open(options->comm ? options->comm : "auto", &out->comm));
    cli_set_ranks(out->comm->rank, out->comm->size);
    if (options->deadline_s > 0) ec__comm_set_deadline(out->comm, options->deadline_s, options->patience_s);
    EC_TRY(cli_check_consistency(out->comm, options->config));
    EC_TRY(open_backend(options, out));
    EC_TRY(check_alike(out->comm, out->be));
    EC_TRY(cli_agree_on_kernels(out->comm, out->be));
    if (!out->no_device) EC_TRY(ec__comm_open_over(out->comm, out->be->native_queue(out->be), &out->comm));
done:
    return status;
}

void cli_session_close(cli_session *session, ec_status status) {
    ec_comm *host = session->comm ? session->comm->host : NULL;
    if (host) ec__comm_fail(host, status);
    if (session->comm != host) ec__comm_close(session->comm);
    if (session->be) session->be->close(session->be);
    ec__comm_close(host);
    *session = (cli_session){0};
}

ec_status cli_load_config(const cli_context *cli, ec_config **out) {
    return ec__config_load(cli->argument[0], cli->argument + 1, (size_t)cli->argument_count - 1, out);
}
