/* Signals that ask for a stop. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "core/stop.h"

/* How long after a USR1 or USR2 another is the same request: launchers and schedulers may both pass one on. */
enum { ECHO_MS = 1000 };

static volatile sig_atomic_t ending;   /* a TERM or INT was seen */
static volatile sig_atomic_t asked;    /* a USR1 or USR2 was seen */
static volatile sig_atomic_t asked_at; /* when, in milliseconds of the monotonic clock, wrapping around */

static int now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int)(unsigned)((uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000);
}

/* Does this signal say once more what one of its kind has said before? A TERM after a USR1 does not: it may be the
 * scheduler's, while the checkpoint that USR1 asked for is being written. */
static bool is_second(int number) {
    bool second;
    if (number == SIGINT || number == SIGTERM) {
        second = ending;
        ending = 1;
    } else {
        int now = now_ms();
        second = asked && (unsigned)now - (unsigned)asked_at > ECHO_MS;
        if (!asked) asked_at = now;
        asked = 1;
    }
    return second;
}

/* Only async-signal-safe calls here. Who asks twice does not want to wait. */
static void handler(int number) {
    int saved = errno;
    bool second = is_second(number);
    ec__stop_request(number);
    if (second) {
        struct sigaction standard = {.sa_handler = SIG_DFL};
        sigaction(number, &standard, NULL);
        raise(number); /* delivered when this handler returns, which unblocks it */
    }
    errno = saved;
}

static ec_status set_handler(const int *numbers, size_t count, void (*what)(int)) {
    struct sigaction action = {.sa_handler = what, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < count; i++)
        if (sigaction(numbers[i], &action, NULL) != 0)
            return EC_ERROR(EC_ERR_ENV, "cannot catch signal %d: %s", numbers[i], strerror(errno));
    return EC_OK;
}

ec_status cli_catch_signals(void) {
    static const int numbers[] = {SIGTERM, SIGINT, SIGUSR1, SIGUSR2};
    return set_handler(numbers, sizeof numbers / sizeof numbers[0], handler);
}

ec_status cli_pass_over_requests(void) {
    static const int numbers[] = {SIGUSR1, SIGUSR2};
    return set_handler(numbers, sizeof numbers / sizeof numbers[0], SIG_IGN);
}
