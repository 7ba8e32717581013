/* emoclim export: trained heads as safetensors, for PyTorch and other programs. */
#include <string.h>

#include "cache/json_text.h"
#include "cli/commands.h"
#include "train/export.h"

typedef struct export_options {
    const char *checkpoint, *out;
} export_options;

static const cli_option options[] = {
    {.name = "checkpoint", .letter = 'c', .type = CLI_TEXT, .argument = "FILE",
     .help = "checkpoint with the trained heads",
     .offset = offsetof(export_options, checkpoint)},
    {.name = "out", .letter = 'o', .type = CLI_TEXT, .argument = "FILE", .help = "safetensors file to write",
     .offset = offsetof(export_options, out)},
    {0},
};

static ec_status run(const cli_context *cli, const void *values) {
    ec_status status = EC_OK;
    const export_options *o = values;
    ec_checkpoint *checkpoint = NULL;
    char digest[EC_SHA256_HEX];
    int32_t arrays;
    if (!o->checkpoint) EC_FAIL(EC_ERR_USAGE, "--checkpoint is missing");
    if (!o->out) EC_FAIL(EC_ERR_USAGE, "--out is missing");
    EC_TRY(ec__checkpoint_load(o->checkpoint, &checkpoint));
    EC_TRY(ec__checkpoint_digest(checkpoint, digest));
    EC_TRY(ec__export_heads(checkpoint, o->out, &arrays));
    if (cli->json)
        EC_TRY(cli_print_json(json_pack("{s:o, s:i, s:I, s:s}", "path", ec__json_text(o->out), "tensors", (int)arrays,
                                        "step", (json_int_t)checkpoint->meta.step, "checkpoint_digest", digest)));
    else
        EC_TRY(cli_print("%s: %d tensors of step %lld, digest %s\n", o->out, (int)arrays,
                         (long long)checkpoint->meta.step, digest));
done:
    ec__checkpoint_free(checkpoint);
    return status;
}

const cli_command cli_export = {
    .name = "export",
    .summary = "Write trained heads as safetensors, under the names of the original's state dict.",
    .details = "The file has parameters and BatchNorm buffers of the projectors and nothing else; "
               "load_state_dict(strict=True) takes it. training.init takes it too.",
    .options = options,
    .values_size = sizeof(export_options),
    .run = run,
};
