/* emoclim eval: each sub-command is an eval_*.c file of its own. */
#include "cli/commands.h"

static const cli_command *const parts[] = {&cli_eval_retrieval, NULL};

const cli_command cli_eval = {
    .name = "eval",
    .summary = "Evaluate trained heads.",
    .children = parts,
};
