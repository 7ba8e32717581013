/* Walking over the table of commands, for what is generated from it: completion and the manual. */
#ifndef EC_CLI_TABLE_H
#define EC_CLI_TABLE_H

#include "cli/cli.h"

/* Visits command and all below it, parents first; path is "" for the first, then "config", "config check". */
typedef ec_status (*cli_visit)(void *arg, const char *path, const cli_command *command);
ec_status cli_walk(const cli_command *command, const char *path, cli_visit visit, void *arg);

/* What may stand in a place of the command line, as words: "@files", "@folders" and "@configs" for FILE, FOLDER and
 * CONFIG, "@keys" for KEY=VALUE, and words in small letters as they are; nothing for any other name, which is a number
 * or a text of one's own. "auto|FILE" gives "auto @files". Brackets and dots are left out. */
enum { CLI_HINTS = 256 };
void cli_hints(const char *text, size_t length, char into[CLI_HINTS]);

/* The same for the value of an option: its choices, if it has any; "" for a flag. */
void cli_option_hints(const cli_option *option, char into[CLI_HINTS]);

/* The same for argument number i of a command, from 0; "" where it takes no more. */
void cli_argument_hints(const cli_command *command, int i, char into[CLI_HINTS]);

/* Different arguments a command describes: hints of a larger number are those of the last. */
int cli_argument_kinds(const cli_command *command);

#endif
