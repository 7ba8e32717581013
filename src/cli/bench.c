/* emoclim bench: measurements of the parts; each part is a bench_*.c file of its own. */
#include "cli/commands.h"

static const cli_command *const parts[] = {
    &cli_bench_encode,
    &cli_bench_loader,
    &cli_bench_step,
    &cli_bench_supcon,
    NULL,
};

const cli_command cli_bench = {
    .name = "bench",
    .summary = "Measure the speed of a part on this machine.",
    .children = parts,
};
