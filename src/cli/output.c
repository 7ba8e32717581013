/* What the program says: results to stdout, log and errors to stderr. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"

/* One process has one stdout and one log: that is why this is not passed around. Written by the main thread before
 * other threads start. */
static struct {
    int rank, size;
    ec_log_level level;
    bool level_chosen;
    bool stdout_failed;
} output = {.size = 1, .level = EC_LOG_INFO};

static ec_status stdout_error(void) {
    output.stdout_failed = true;
    return EC_ERROR(EC_ERR_IO, "cannot write to standard output: %s", strerror(errno));
}

ec_status cli_print(const char *format, ...) {
    if (output.stdout_failed) return stdout_error();
    va_list args;
    va_start(args, format);
    int written = vprintf(format, args);
    va_end(args);
    return written < 0 ? stdout_error() : EC_OK;
}

ec_status cli_print_json(json_t *root) {
    if (!root) return EC_ERROR(EC_ERR_MEMORY, "no memory for the JSON output");
    /* 17 digits bring every double back. */
    char *text = json_dumps(root, JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(17));
    json_decref(root);
    if (!text) return EC_ERROR(EC_ERR_MEMORY, "no memory for the JSON output");
    ec_status status = cli_print("%s\n", text);
    free(text);
    return status;
}

ec_status cli_flush(void) { return fflush(stdout) != 0 ? stdout_error() : EC_OK; }

static const char *const level_prefix[] = {"debug: ", "", "warning: ", "error: "};

static void sink(void *arg, ec_log_level level, int rank, const char *text) {
    (void)arg, (void)rank;
    char line[2200];
    if (output.size > 1) {
        if (level == EC_LOG_INFO && output.rank != 0 && output.level != EC_LOG_DEBUG) return;
        snprintf(line, sizeof line, "[rank %d] %s%s", output.rank, level_prefix[level], text);
    } else {
        snprintf(line, sizeof line, "%s%s", level_prefix[level], text);
    }
    cli_line(line);
}

void cli_output_open(void) { ec__log_set_sink(sink, NULL, output.level); }

void cli_set_log_level(ec_log_level level, bool chosen_by_user) {
    if (output.level_chosen && !chosen_by_user) return;
    output.level = level;
    output.level_chosen = output.level_chosen || chosen_by_user;
    ec__log_set_sink(sink, NULL, level);
}

void cli_set_ranks(int rank, int size) {
    output.rank = rank;
    output.size = size;
    ec__log_set_rank(rank);
    ec__error_set_rank(rank);
}

int cli_rank(void) { return output.rank; }

/* Rank number that an MPI launcher gave this process, before any communicator exists; 0 where there is none. */
static int launcher_rank(void) {
    static const char *const names[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *value = getenv(names[i]);
        if (value) return atoi(value);
    }
    return 0;
}

static const char *hint(ec_status code) {
    switch (code) {
    case EC_ERR_MEMORY: return "\"emoclim doctor\" tells how much memory there is";
    case EC_ERR_DIST:
        return "the rank named above says more; \"emoclim doctor\" under mpirun tests whether ranks can talk";
    case EC_ERR_BUG: return "this is a defect of emoclim; please report it with the lines below";
    case EC_OK:
    case EC_ERR_USAGE:
    case EC_ERR_CONFIG:
    case EC_ERR_DATA:
    case EC_ERR_IO:
    case EC_ERR_ENV:
    case EC_STOPPED: break;
    }
    return NULL;
}

/* Does rank 0 say the same, having the same command line and the same text of a configuration? A configuration that
 * cannot be opened may be a matter of one host. */
static bool is_the_same_everywhere(const ec_error *error) {
    if (error->code == EC_ERR_USAGE) return true;
    return error->code == EC_ERR_CONFIG && strncmp(error->text, "configuration: ", strlen("configuration: ")) != 0;
}

/* A record taken over from another rank is printed there. */
static bool is_told_elsewhere(const ec_error *error) {
    if (output.size > 1) return error->rank >= 0 && error->rank != output.rank;
    return launcher_rank() > 0 && is_the_same_everywhere(error);
}

/* mpirun ends all ranks when one has failed. The silent ones must not be that one before another has said why. */
static void leave_time_to_tell(void) {
    struct timespec half_a_second = {.tv_nsec = 500000000};
    nanosleep(&half_a_second, NULL);
}

void cli_print_error(const char *command, bool verbose) {
    const ec_error *error = ec_error_last();
    char line[EC_ERROR_TEXT + 512], who[32] = "";
    if (error->code == EC_OK || error->code == EC_STOPPED) return;
    if (is_told_elsewhere(error)) {
        leave_time_to_tell();
        return;
    }
    if (output.size > 1) snprintf(who, sizeof who, "[rank %d] ", output.rank);
    snprintf(line, sizeof line, "%s%s: %s%s", who, command, error->code == EC_ERR_BUG ? "internal error: " : "",
             error->text);
    cli_line(line);
    line[0] = '\0';
    if (error->code == EC_ERR_USAGE) snprintf(line, sizeof line, "  hint: \"%s --help\" tells more", command);
    else if (hint(error->code)) snprintf(line, sizeof line, "  hint: %s", hint(error->code));
    if (*line) cli_line(line);
    if (!verbose && error->code != EC_ERR_BUG) return;
    for (int i = 0; i < error->frame_count; i++) {
        const ec_error_frame *f = &error->frame[i];
        snprintf(line, sizeof line, "  %s %s (%s:%d)", i ? "from" : "in", f->function, f->file, f->line);
        cli_line(line);
    }
}
