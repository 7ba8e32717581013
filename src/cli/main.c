/* The one place that starts and ends the process. */
#include <fcntl.h>
#include <signal.h>
#include <string.h>

#include "cli/commands.h"
#include "core/mapped.h"

/* Streams that were closed when the process began would leave their numbers to the first files that are opened, and
 * what is printed would go into those. In their place comes one that refuses. */
static void fill_closed_streams(void) {
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) < 0) return;
}

int main(int argc, char **argv) {
    static char version[] = "version";
    /* A closed pipe and a file larger than allowed are write errors with a message, not silent ends. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    fill_closed_streams();
    cli_output_open();
    if (argc == 2 && (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)) argv[1] = version;
    ec_status status = ec__mapped_catch();
    if (status != EC_OK) cli_print_error("emoclim", false);
    else status = cli_dispatch(&cli_program, cli_program.name, argc - 1, argv + 1);
    if (status == EC_OK && (status = cli_flush()) != EC_OK) cli_print_error("emoclim", false);
    return ec_status_exit_code(status);
}
