/* Signals that ask for a stop. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "cli/cli.h"
#include "core/stop.h"

/* TERM and INT so far. */
static volatile sig_atomic_t endings;

/* Only async-signal-safe calls here. A second TERM or INT means that the user does not want to wait; one after a USR1
 * may be the scheduler's, while the checkpoint that USR1 asked for is being written. */
static void handler(int number) {
    int saved = errno;
    bool ending = number == SIGINT || number == SIGTERM;
    bool impatient = ending && endings > 0;
    if (ending) endings = 1;
    ec__stop_request(number);
    if (impatient) {
        struct sigaction standard = {.sa_handler = SIG_DFL};
        sigaction(number, &standard, NULL);
        raise(number); /* delivered when this handler returns, which unblocks it */
    }
    errno = saved;
}

ec_status cli_catch_signals(void) {
    static const int numbers[] = {SIGTERM, SIGINT, SIGUSR1, SIGUSR2};
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (sigaction(numbers[i], &action, NULL) != 0)
            return EC_ERROR(EC_ERR_ENV, "cannot catch signal %d: %s", numbers[i], strerror(errno));
    return EC_OK;
}
