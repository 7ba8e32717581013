/* What the commands of the program share: option tables, output, signals.
 *
 * stdout carries results only; everything else (log, progress, errors) goes to stderr. A command never exits: it
 * returns a status and main does the rest.
 *
 * Four things to do to add a command:
 *   1. write src/cli/NAME.c with a table of options, a run function and one "const cli_command cli_NAME";
 *   2. declare it in src/cli/commands.h and list it in the table of src/cli/commands.c;
 *   3. print results with cli_print or cli_print_json only, and raise errors with EC_FAIL;
 *   4. test it in tests/cli/test_NAME.sh (test_help.sh finds it by itself; so do the manual and completion). */
#ifndef EC_CLI_CLI_H
#define EC_CLI_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/log.h"
#include "core/progress.h"

typedef enum cli_type {
    CLI_FLAG,   /* bool: true when given */
    CLI_TEXT,   /* const char *, points into argv */
    CLI_INT,    /* int64_t, in [low, high] where high > low */
    CLI_DOUBLE, /* double, finite, in [low, high] where high > low */
    CLI_LIST,   /* cli_list: the option may be given several times */
    CLI_CHOICE, /* int: index into choices */
} cli_type;

typedef struct cli_list {
    const char **item; /* owned by the option parser, valid while the command runs */
    int count;
} cli_list;

/* One option; a table ends with a NULL name. Values are stored at offset in the command's own structure, which starts
 * as a copy of its defaults. */
typedef struct cli_option {
    const char *name;     /* long name without dashes */
    char letter;          /* short name or 0 */
    cli_type type;
    const char *argument; /* what --help calls the value: "FILE"; NULL for a flag */
    const char *help;     /* one sentence, no full stop; where there is a default, it names it */
    size_t offset;
    double low, high;
    const char *const *choices; /* CLI_CHOICE: ends with NULL */
} cli_option;

/* What every command gets besides its own options. */
typedef struct cli_context {
    const char *command;     /* full name, "emoclim config check" */
    const char **argument;   /* positional arguments */
    int argument_count;      /* within the command's limits */
    bool json, quiet, verbose;
} cli_context;

typedef struct cli_command cli_command;
struct cli_command {
    const char *name;
    const char *summary;           /* one line */
    const char *arguments;         /* positional arguments for --help: "FILE [KEY=VALUE ...]"; NULL: none */
    int arguments_min, arguments_max; /* max -1: any number */
    const char *details;           /* further paragraphs of --help, or NULL; wrapped by the printer */
    const cli_option *options;     /* or NULL */
    size_t values_size;            /* of the structure that options point into */
    const void *defaults;          /* its initial contents, or NULL for zeros */
    ec_status (*run)(const cli_context *cli, const void *values); /* NULL for a command that only has sub-commands */
    const cli_command *const *children;                           /* sub-commands, ends with NULL; or NULL */
};

/* --- dispatch.c, options.c, help.c --- */

/* Runs command with argv (after its name), or the sub-command that argv[0] names; title is the full name so far
 * ("emoclim"). --help prints the help instead. */
ec_status cli_dispatch(const cli_command *command, const char *title, int argc, char **argv);

/* What a command line was parsed into. */
typedef struct cli_parsed {
    cli_context context;
    void *values;
    bool help;
} cli_parsed;

/* EC_ERR_USAGE names what is wrong and the nearest legal name. cli_parsed_release also after an error. */
ec_status cli_parse(const cli_command *command, const char *title, int argc, char **argv, cli_parsed *out);
void cli_parsed_release(const cli_command *command, cli_parsed *parsed);

ec_status cli_print_help(const cli_command *command, const char *title);

/* The options that every command has; ends with a NULL name. */
extern const cli_option cli_common_options[];

typedef struct cli_common {
    bool help, json, quiet, verbose;
    int log_level; /* -1: not given */
} cli_common;

/* --- output.c --- */

/* Results, to stdout. Once writing failed, every further call fails. */
ec_status cli_print(const char *format, ...) __attribute__((format(printf, 1, 2)));
ec_status cli_print_json(json_t *root); /* takes over the reference, also on error; NULL is EC_ERR_MEMORY */
ec_status cli_flush(void);

/* Installs the log sink. Above one rank, lines carry the rank; below EC_LOG_WARN only rank 0 speaks unless verbose. */
void cli_output_open(void);

/* The lowest level shown. A level that the user chose with an option wins over one from a configuration. */
void cli_set_log_level(ec_log_level level, bool chosen_by_user);

/* Tells the output which rank this is of how many; to be called after opening a communicator. */
void cli_set_ranks(int rank, int size);
int cli_rank(void);

/* Prints the calling thread's error record to stderr: message, hint and, with --verbose or for an internal error, the
 * chain of callers. A record of another rank is left to that rank. */
void cli_print_error(const char *command, bool verbose);

/* --- screen.c --- */

/* A progress report for the library: a bar where stderr is a terminal, else a line every few seconds; nothing with
 * --quiet or on ranks other than 0. Belongs to the program, never released. */
const ec_progress *cli_progress(const cli_context *cli);

/* Takes the bar off the terminal. To be called when the phase has ended, before results are printed. */
void cli_progress_end(void);

/* A line to stderr that leaves a bar intact. */
void cli_line(const char *text);

/* Columns of the terminal behind a file descriptor; 80 where there is none. */
int cli_columns(int fd);

/* --- signals.c --- */

/* TERM, INT, USR1 and USR2 ask for a stop at the next safe point (core/stop.h). A second TERM or INT ends the process
 * at once. */
ec_status cli_catch_signals(void);

/* For a command without safe points: TERM and INT end it, USR1 and USR2, which schedulers send to whatever runs, do
 * not. */
ec_status cli_pass_over_requests(void);

#endif
