/* The table of commands. */
#include "cli/commands.h"

/* In the order in which a new user needs them. */
static const cli_command *const commands[] = {
    &cli_doctor,
    &cli_demo,
    &cli_config,
    &cli_cache,
    &cli_checkpoint,
    &cli_plan,
    &cli_train,
    &cli_eval,
    &cli_embed,
    &cli_search,
    &cli_export,
    &cli_import,
    &cli_bench,
    &cli_completion,
    &cli_manual,
    &cli_version,
    NULL,
};

const cli_command cli_program = {
    .name = "emoclim",
    .summary = "Train and use image-to-music encoders: emotion-aligned contrastive learning, distributed, in C.",
    .details = "Exit codes: 0 done; 2 usage or configuration; 3 data; 4 environment; 5 distributed failure; 75 stopped "
               "by a signal with a checkpoint written.", /* the manual has this under EXIT STATUS */
    .children = commands,
};
