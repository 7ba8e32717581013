/* emoclim checkpoint digest | show | verify */
#include <inttypes.h>
#include <math.h>

#include "cache/json_text.h"
#include "cli/commands.h"
#include "cli/verify.h"
#include "train/checkpoint.h"

static ec_status check(const char *path, const ec_progress *progress) {
    (void)progress;
    ec_checkpoint *checkpoint = NULL;
    EC_RETURN_IF(ec__checkpoint_load(path, &checkpoint));
    ec__checkpoint_free(checkpoint);
    return EC_OK;
}

static ec_status verify(const cli_context *cli, const void *values) {
    (void)values;
    return cli_verify_files(cli, "checkpoint", check);
}

static ec_status digest(const cli_context *cli, const void *values) {
    (void)values;
    ec_status status = EC_OK;
    ec_checkpoint *checkpoint = NULL;
    char hex[EC_SHA256_HEX];
    EC_TRY(ec__checkpoint_load(cli->argument[0], &checkpoint));
    EC_TRY(ec__checkpoint_digest(checkpoint, hex));
    if (cli->json) EC_TRY(cli_print_json(json_pack("{s:o, s:I, s:s}", "path", ec__json_text(cli->argument[0]), "step",
                                                   (json_int_t)checkpoint->meta.step, "digest", hex)));
    else EC_TRY(cli_print("%s\n", hex));
done:
    ec__checkpoint_free(checkpoint);
    return status;
}

static ec_status print_arrays(const ec_checkpoint *c) {
    EC_RETURN_IF(cli_print("arrays:\n"));
    for (int32_t k = 0; k < c->count; k++) {
        const ec_checkpoint_array *x = &c->array[k];
        EC_RETURN_IF(cli_print("  %s: %s (", x->name, ec__h5_type_name(x->type)));
        for (int32_t i = 0; i < x->rank; i++) EC_RETURN_IF(cli_print(i ? ",%" PRId64 : "%" PRId64, x->dim[i]));
        EC_RETURN_IF(cli_print(")\n"));
    }
    return EC_OK;
}

static ec_status print(const ec_checkpoint *c, const char *hex) {
    const ec_checkpoint_meta *m = &c->meta;
    EC_RETURN_IF(cli_print("%s\nsaved by: %s\nstep: %" PRId64 "\nepoch: %" PRId64 "\nseed: %" PRIu64 "\n", c->path,
                           c->program, m->step, m->epoch, m->seed));
    EC_RETURN_IF(cli_print("ranks: %d\nshards: %d\n", m->ranks, m->shards));
    if (isfinite(m->best_metric)) EC_RETURN_IF(cli_print("best metric: %.6g\n", m->best_metric));
    EC_RETURN_IF(cli_print("digest: %s\n", hex));
    static const char *const modality[EC_CHECKPOINT_ORIGINS] = {"image", "music"};
    for (int i = 0; i < EC_CHECKPOINT_ORIGINS; i++)
        if (m->features[i]) EC_RETURN_IF(cli_print("%s features: %s\n", modality[i], m->features[i]));
    EC_RETURN_IF(print_arrays(c));
    return cli_print("configuration:\n%s", m->config);
}

static ec_status show(const cli_context *cli, const void *values) {
    (void)values;
    ec_status status = EC_OK;
    ec_checkpoint *checkpoint = NULL;
    json_t *json = NULL;
    char hex[EC_SHA256_HEX];
    EC_TRY(ec__checkpoint_load(cli->argument[0], &checkpoint));
    EC_TRY(ec__checkpoint_digest(checkpoint, hex));
    if (cli->json) {
        EC_TRY(ec__checkpoint_json(checkpoint, &json));
        EC_TRY(cli_print_json(json_incref(json)));
    } else {
        EC_TRY(print(checkpoint, hex));
    }
done:
    json_decref(json);
    ec__checkpoint_free(checkpoint);
    return status;
}

static const cli_command digest_command = {
    .name = "digest",
    .summary = "Print the SHA-256 of what training computed.",
    .arguments = "FILE",
    .arguments_min = 1,
    .arguments_max = 1,
    .details = "Over parameters, buffers, optimizer state and step: names, shapes and every bit. Two checkpoints of "
               "equal digest hold the same state, whatever the number of ranks or the paths of their runs.",
    .run = digest,
};

static const cli_command show_command = {
    .name = "show",
    .summary = "Describe a checkpoint: where the run is, its arrays, its configuration.",
    .arguments = "FILE",
    .arguments_min = 1,
    .arguments_max = 1,
    .run = show,
};

static const cli_command verify_command = {
    .name = "verify",
    .summary = "Check that checkpoints are complete and undamaged.",
    .arguments = "FILE...",
    .arguments_min = 1,
    .arguments_max = -1,
    .run = verify,
};

static const cli_command *const children[] = {&digest_command, &show_command, &verify_command, NULL};

const cli_command cli_checkpoint = {
    .name = "checkpoint",
    .summary = "Describe, compare and check checkpoints.",
    .children = children,
};
