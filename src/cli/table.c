#include "cli/table.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { PATH = 128 };

ec_status cli_walk(const cli_command *command, const char *path, cli_visit visit, void *arg) {
    EC_RETURN_IF(visit(arg, path, command));
    for (const cli_command *const *c = command->children; c && *c; c++) {
        char below[PATH];
        snprintf(below, sizeof below, "%s%s%s", path, *path ? " " : "", (*c)->name);
        EC_RETURN_IF(cli_walk(*c, below, visit, arg));
    }
    return EC_OK;
}

static void append(char into[CLI_HINTS], const char *word, size_t length) {
    const size_t used = strlen(into);
    snprintf(into + used, CLI_HINTS - used, "%s%.*s", used ? " " : "", (int)length, word);
}

static void append_hint(char into[CLI_HINTS], const char *word, size_t length) {
    static const struct {
        const char *name, *hint;
    } places[] = {{"FILE", "@files"}, {"FOLDER", "@folders"}, {"CONFIG", "@configs"}, {"KEY=VALUE", "@keys"}};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        if (strlen(places[i].name) == length && strncmp(places[i].name, word, length) == 0) {
            append(into, places[i].hint, strlen(places[i].hint));
            return;
        }
    if (islower((unsigned char)word[0])) append(into, word, length);
}

void cli_hints(const char *text, size_t length, char into[CLI_HINTS]) {
    static const char between[] = "[].| ";
    into[0] = '\0';
    for (size_t i = 0; i < length;) {
        size_t word = 0;
        while (i + word < length && !strchr(between, text[i + word])) word++;
        if (word) append_hint(into, text + i, word);
        i += word + 1;
    }
}

void cli_option_hints(const cli_option *option, char into[CLI_HINTS]) {
    into[0] = '\0';
    for (const char *const *c = option->choices; c && *c; c++) append(into, *c, strlen(*c));
    if (!option->choices && option->argument) cli_hints(option->argument, strlen(option->argument), into);
}

/* Word number i of the arguments, which are "CONFIG [KEY=VALUE ...]" or "FILE..."; a "...]" of its own is none. */
static const char *argument_word(const char *arguments, int i, size_t *length) {
    for (const char *p = arguments; p && *p; p += *length + (p[*length] == ' ')) {
        *length = strcspn(p, " ");
        if (p[0] != '.' && i-- == 0) return p;
    }
    return NULL;
}

int cli_argument_kinds(const cli_command *command) {
    int kinds = 0;
    size_t length = 0;
    while (argument_word(command->arguments, kinds, &length)) kinds++;
    return kinds;
}

void cli_argument_hints(const cli_command *command, int i, char into[CLI_HINTS]) {
    const int kinds = cli_argument_kinds(command);
    size_t length = 0;
    into[0] = '\0';
    if (kinds == 0 || (command->arguments_max >= 0 && i >= command->arguments_max)) return;
    const char *word = argument_word(command->arguments, i < kinds ? i : kinds - 1, &length);
    cli_hints(word, length, into);
}
