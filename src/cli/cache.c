/* emoclim cache: each sub-command is a cache_*.c file of its own. */
#include "cli/commands.h"

static const cli_command *const parts[] = {&cli_cache_build, &cli_cache_verify, &cli_cache_info, NULL};

const cli_command cli_cache = {
    .name = "cache",
    .summary = "Build, check and describe feature caches.",
    .children = parts,
};
