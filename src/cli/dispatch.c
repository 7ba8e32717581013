/* From a command's name to its function. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "core/nearest.h"

enum { MOST_CHILDREN = 64, TITLE = 128 };

static ec_status unknown_command(const cli_command *command, const char *title, const char *word) {
    const char *names[MOST_CHILDREN];
    size_t count = 0;
    for (const cli_command *const *c = command->children; *c && count < MOST_CHILDREN; c++) names[count++] = (*c)->name;
    const char *near = ec__nearest(word, names, count);
    if (near) return EC_ERROR(EC_ERR_USAGE, "unknown command \"%s\"; did you mean \"%s %s\"?", word, title, near);
    return EC_ERROR(EC_ERR_USAGE, "unknown command \"%s\"", word);
}

static ec_status misplaced_option(const char *title, const char *word) {
    return EC_ERROR(EC_ERR_USAGE, "option %s comes after the name of a command: \"%s COMMAND %s\"", word, title, word);
}

static ec_status dispatch_child(const cli_command *command, const char *title, int argc, char **argv) {
    ec_status status = EC_OK;
    if (argc == 0) EC_FAIL(EC_ERR_USAGE, "which command?");
    const char *word = argv[0];
    for (const cli_command *const *c = command->children; *c; c++)
        if (strcmp((*c)->name, word) == 0) {
            char full[TITLE];
            snprintf(full, sizeof full, "%s %s", title, word);
            return cli_dispatch(*c, full, argc - 1, argv + 1);
        }
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) EC_TRY(cli_print_help(command, title));
    else EC_TRY(word[0] == '-' ? misplaced_option(title, word) : unknown_command(command, title, word));
done:
    if (status != EC_OK) cli_print_error(title, false);
    return status;
}

ec_status cli_dispatch(const cli_command *command, const char *title, int argc, char **argv) {
    if (command->children) return dispatch_child(command, title, argc, argv);
    ec_status status = EC_OK;
    cli_parsed parsed;
    EC_TRY(cli_parse(command, title, argc, argv, &parsed));
    if (parsed.help) EC_TRY(cli_print_help(command, title));
    else EC_TRY(command->run(&parsed.context, parsed.values));
done:
    cli_progress_end();
    if (status != EC_OK) cli_print_error(title, parsed.context.verbose);
    cli_parsed_release(command, &parsed);
    return status;
}
