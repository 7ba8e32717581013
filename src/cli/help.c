/* The --help text, from a command's tables. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

enum { WIDEST = 100, NARROWEST = 50, LEFT_WIDEST = 30 };

static int text_width(void) {
    int columns = cli_columns(STDOUT_FILENO);
    return columns > WIDEST ? WIDEST : columns < NARROWEST ? NARROWEST : columns;
}

/* Prints text in lines of at most width columns; the cursor stands at column indent and every further line starts
 * there. A newline in text stays one. */
static ec_status print_wrapped(const char *text, int indent, int width) {
    int column = indent;
    while (*text) {
        size_t length = strcspn(text, " \n");
        if (column > indent && column + 1 + (int)length > width) {
            EC_RETURN_IF(cli_print("\n%*s", indent, ""));
            column = indent;
        }
        EC_RETURN_IF(cli_print("%s%.*s", column > indent ? " " : "", (int)length, text));
        column += (int)length + (column > indent);
        text += length;
        if (*text == '\n') {
            EC_RETURN_IF(cli_print("\n%*s", text[1] == '\n' || !text[1] ? 0 : indent, ""));
            column = indent;
        }
        if (*text) text++;
    }
    return cli_print("\n");
}

/* "-i, --image FILE", or "    --image FILE" */
static int option_left(const cli_option *o, char *into, size_t size) {
    char letter[8] = "    ";
    if (o->letter) snprintf(letter, sizeof letter, "-%c, ", o->letter);
    return snprintf(into, size, "%s--%s%s%s", letter, o->name, o->argument ? " " : "", o->argument ? o->argument : "");
}

static int widest_left(const cli_option *options) {
    char left[128];
    int widest = 0;
    for (const cli_option *o = options; o && o->name; o++) {
        int length = option_left(o, left, sizeof left);
        if (length > widest) widest = length;
    }
    return widest;
}

static ec_status print_pair(const char *left, const char *right, int left_width) {
    int indent = 2 + left_width + 2;
    if ((int)strlen(left) > left_width) EC_RETURN_IF(cli_print("  %s\n%*s", left, indent, ""));
    else EC_RETURN_IF(cli_print("  %-*s  ", left_width, left));
    return print_wrapped(right, indent, text_width());
}

static ec_status print_options(const char *heading, const cli_option *options, int left_width) {
    if (!options || !options->name) return EC_OK;
    EC_RETURN_IF(cli_print("\n%s:\n", heading));
    for (const cli_option *o = options; o->name; o++) {
        char left[128];
        option_left(o, left, sizeof left);
        EC_RETURN_IF(print_pair(left, o->help, left_width));
    }
    return EC_OK;
}

static ec_status print_children(const cli_command *command, const char *title) {
    int widest = 0;
    for (const cli_command *const *c = command->children; *c; c++)
        if ((int)strlen((*c)->name) > widest) widest = (int)strlen((*c)->name);
    EC_RETURN_IF(cli_print("\ncommands:\n"));
    for (const cli_command *const *c = command->children; *c; c++)
        EC_RETURN_IF(print_pair((*c)->name, (*c)->summary, widest));
    return cli_print("\n%s COMMAND --help tells more.\n", title);
}

ec_status cli_print_help(const cli_command *command, const char *title) {
    if (command->children) EC_RETURN_IF(cli_print("usage: %s COMMAND ...\n\n", title));
    else
        EC_RETURN_IF(cli_print("usage: %s [options]%s%s\n\n", title, command->arguments ? " " : "",
                               command->arguments ? command->arguments : ""));
    EC_RETURN_IF(print_wrapped(command->summary, 0, text_width()));
    if (command->details) {
        EC_RETURN_IF(cli_print("\n"));
        EC_RETURN_IF(print_wrapped(command->details, 0, text_width()));
    }
    if (command->children) return print_children(command, title);
    int own = widest_left(command->options), common = widest_left(cli_common_options);
    int left = own > common ? own : common;
    if (left > LEFT_WIDEST) left = LEFT_WIDEST;
    EC_RETURN_IF(print_options("options", command->options, left));
    return print_options("common options", cli_common_options, left);
}
