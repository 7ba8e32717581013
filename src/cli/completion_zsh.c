/* Completion for zsh: a function a command, which hands the options to zsh's _arguments, with their help texts. */
#include <stdio.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/completion.h"
#include "cli/table.h"

/* Everything that does not depend on the tables. A sub-command is a function of its own: _emoclim_config_check. */
static const char zsh_code[] =
    "\n"
    "# A command that only has sub-commands, which stand in $commands as NAME:SUMMARY.\n"
    "_emoclim_group() { # FUNCTION\n"
    "    if ((CURRENT == 2)); then\n"
    "        _describe -t commands command commands\n"
    "    elif (($+functions[$1_$words[2]])); then\n"
    "        shift words\n"
    "        ((CURRENT--))\n"
    "        $1_$words[1]\n"
    "    fi\n"
    "}\n"
    "\n"
    "# Words, or a file.\n"
    "_emoclim_or_files() { # WORD...\n"
    "    compadd -- \"$@\"\n"
    "    _files\n"
    "}\n"
    "\n"
    "# section.key=value, one part after the other.\n"
    "_emoclim_keys() {\n"
    "    local key REPLY\n"
    "    if compset -P 1 '*='; then\n"
    "        key=${IPREFIX%=}\n"
    "        _emoclim_key_values \"$key\" || return\n"
    "        if [[ $REPLY == @files ]]; then _files; else compadd -- ${=REPLY}; fi\n"
    "    elif [[ $PREFIX == *.* ]]; then\n"
    "        _emoclim_key_names && compadd -S '' -- ${=REPLY}\n"
    "    else\n"
    "        _emoclim_sections && compadd -S '' -- ${=REPLY}\n"
    "    fi\n"
    "}\n"
    "\n"
    "_emoclim \"$@\"\n";

/* Text inside single quotes and, for zsh, in front of a colon. */
static ec_status print_text(const char *text) {
    for (; *text; text++) {
        if (strchr("[]:\\", *text)) EC_RETURN_IF(cli_print("\\"));
        EC_RETURN_IF(*text == '\'' ? cli_print("'\\''") : cli_print("%c", *text));
    }
    return EC_OK;
}

/* What completes the words of cli_hints: a call of a zsh function, or the words in brackets. */
static ec_status print_action(const char *hints) {
    char words[CLI_HINTS] = "";
    const char *action = "";
    for (const char *p = hints; *p;) {
        const size_t length = strcspn(p, " "), used = strlen(words);
        if (strncmp(p, "@files", length) == 0) action = "_files";
        else if (strncmp(p, "@folders", length) == 0) action = "_files -/";
        else if (strncmp(p, "@configs", length) == 0) action = "_files -g \"*.(yaml|yml)\"";
        else if (strncmp(p, "@keys", length) == 0) action = "_emoclim_keys";
        else snprintf(words + used, sizeof words - used, "%s%.*s", used ? " " : "", (int)length, p);
        p += length + (p[length] == ' ');
    }
    if (!*words) return *action ? cli_print("%s", action) : cli_print(" ");
    if (!*action) return cli_print("(%s)", words);
    return cli_print(" _emoclim_or_files %s", words); /* the blank keeps zsh's own arguments away */
}

/* '(-k --k)'{-k,--k}'[help]:K:action' */
static ec_status print_option(const cli_option *o) {
    char hints[CLI_HINTS];
    const char *const mark = o->type == CLI_FLAG ? "" : "=";
    const char *const often = o->type == CLI_LIST ? "*" : "";
    if (o->letter && o->type == CLI_LIST) EC_RETURN_IF(cli_print(" \\\n        '*'{-%c,--%s=}'[", o->letter, o->name));
    else if (o->letter)
        EC_RETURN_IF(
            cli_print(" \\\n        '(-%c --%s)'{-%c,--%s%s}'[", o->letter, o->name, o->letter, o->name, mark));
    else EC_RETURN_IF(cli_print(" \\\n        '%s--%s%s[", often, o->name, mark));
    EC_RETURN_IF(print_text(o->help));
    EC_RETURN_IF(cli_print("]"));
    if (o->type != CLI_FLAG) {
        cli_option_hints(o, hints);
        EC_RETURN_IF(cli_print(":"));
        EC_RETURN_IF(print_text(o->argument));
        EC_RETURN_IF(cli_print(":"));
        EC_RETURN_IF(print_action(hints));
    }
    return cli_print("'");
}

static ec_status print_arguments(const cli_command *command) {
    const int kinds = cli_argument_kinds(command), most = command->arguments_max;
    for (int i = 0; i < kinds && (most < 0 || i < most); i++) {
        char hints[CLI_HINTS];
        cli_argument_hints(command, i, hints);
        if (i == kinds - 1 && (most < 0 || most > kinds)) EC_RETURN_IF(cli_print(" \\\n        '*:argument:"));
        else EC_RETURN_IF(cli_print(" \\\n        '%d:argument:", i + 1));
        EC_RETURN_IF(print_action(hints));
        EC_RETURN_IF(cli_print("'"));
    }
    return EC_OK;
}

static ec_status print_group(const cli_command *command, const char *name) {
    EC_RETURN_IF(cli_print("    local -a commands=("));
    for (const cli_command *const *c = command->children; *c; c++) {
        EC_RETURN_IF(cli_print("\n        '%s:", (*c)->name));
        EC_RETURN_IF(print_text((*c)->summary));
        EC_RETURN_IF(cli_print("'"));
    }
    return cli_print("\n    )\n    _emoclim_group %s\n}\n", name);
}

static ec_status print_function(void *arg, const char *path, const cli_command *command) {
    (void)arg;
    char name[CLI_HINTS];
    snprintf(name, sizeof name, "_emoclim%s%s", *path ? "_" : "", path);
    for (char *p = name; *p; p++)
        if (*p == ' ') *p = '_';
    EC_RETURN_IF(cli_print("\n%s() {\n", name));
    if (command->children) return print_group(command, name);
    EC_RETURN_IF(cli_print("    _arguments -s -S :"));
    for (const cli_option *o = command->options; o && o->name; o++) EC_RETURN_IF(print_option(o));
    for (const cli_option *o = cli_common_options; o->name; o++) EC_RETURN_IF(print_option(o));
    EC_RETURN_IF(print_arguments(command));
    return cli_print("\n}\n");
}

ec_status cli_print_zsh_completion(void) {
    EC_RETURN_IF(cli_print("#compdef emoclim\n# zsh completion of emoclim %s, printed by \"emoclim completion zsh\".\n",
                           EMOCLIM_VERSION));
    EC_RETURN_IF(cli_walk(&cli_program, "", print_function, NULL));
    EC_RETURN_IF(cli_print_key_completion());
    return cli_print("%s", zsh_code);
}
