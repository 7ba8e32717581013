/* The table of commands, and the one place that ends the process. */
#include <signal.h>
#include <string.h>

#include "cli/commands.h"

/* In the order in which a new user needs them. */
static const cli_command *const commands[] = {
    &cli_doctor,
    &cli_demo,
    &cli_config,
    &cli_cache,
    &cli_checkpoint,
    &cli_train,
    &cli_eval,
    &cli_embed,
    &cli_search,
    &cli_export,
    &cli_import,
    &cli_bench,
    &cli_version,
    NULL,
};

static const cli_command program = {
    .name = "emoclim",
    .summary = "Train and use image-to-music encoders: emotion-aligned contrastive learning, distributed, in C.",
    .details = "Exit codes: 0 done; 2 usage or configuration; 3 data; 4 environment; 5 distributed failure; 75 stopped "
               "by a signal with a checkpoint written.",
    .children = commands,
};

int main(int argc, char **argv) {
    static char version[] = "version";
    /* A closed pipe and a file larger than allowed are write errors with a message, not silent ends. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    cli_output_open();
    if (argc == 2 && (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)) argv[1] = version;
    ec_status status = cli_dispatch(&program, "emoclim", argc - 1, argv + 1);
    if (status == EC_OK && (status = cli_flush()) != EC_OK) cli_print_error("emoclim", false);
    return ec_status_exit_code(status);
}
