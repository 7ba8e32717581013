/* The one place that starts and ends the process. */
#include <signal.h>
#include <string.h>

#include "cli/commands.h"
#include "core/mapped.h"

int main(int argc, char **argv) {
    static char version[] = "version";
    /* A closed pipe and a file larger than allowed are write errors with a message, not silent ends. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    cli_output_open();
    if (argc == 2 && (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)) argv[1] = version;
    ec_status status = ec__mapped_catch();
    if (status != EC_OK) cli_print_error("emoclim", false);
    else status = cli_dispatch(&cli_program, cli_program.name, argc - 1, argv + 1);
    if (status == EC_OK && (status = cli_flush()) != EC_OK) cli_print_error("emoclim", false);
    return ec_status_exit_code(status);
}
