/* Completion for bash, version 4.2 or newer; it needs no package of completion helpers. */
#include <stdio.h>

#include "cli/commands.h"
#include "cli/completion.h"
#include "cli/table.h"

/* Everything that does not depend on the tables. The functions that do are called _emoclim_commands (sub-commands of a
 * command), _emoclim_options, _emoclim_value (of an option), _emoclim_argument (number N of a command) and those of
 * cli_print_key_completion; they leave words in $REPLY, and fail where there is nothing. */
static const char bash_code[] =
    "\n"
    "# Adds to COMPREPLY what begins with CURRENT. WORDS may be @files, @folders, @configs and @keys.\n"
    "_emoclim_offer() { # CURRENT WORDS\n"
    "    local current=$1 word plain=() found=() IFS=$' \\t\\n'\n"
    "    for word in $2; do\n"
    "        case $word in\n"
    "        @keys) _emoclim_offer_keys \"$current\" ;;\n"
    "        @*)\n"
    "            compopt -o filenames 2>/dev/null\n"
    "            found=()\n"
    "            [[ $word != @files ]] || mapfile -t found < <(compgen -f -- \"$current\")\n"
    "            [[ $word != @folders ]] || mapfile -t found < <(compgen -d -- \"$current\")\n"
    "            [[ $word != @configs ]] ||\n"
    "                mapfile -t found < <(compgen -d -- \"$current\" || :; compgen -f -X '!*.y*ml' -- \"$current\")\n"
    "            COMPREPLY+=(\"${found[@]}\")\n"
    "            ;;\n"
    "        *) plain+=(\"$word\") ;;\n"
    "        esac\n"
    "    done\n"
    "    [[ ${#plain[@]} -eq 0 ]] || COMPREPLY+=($(compgen -W \"${plain[*]}\" -- \"$current\"))\n"
    "}\n"
    "\n"
    "# section.key=value, one part after the other.\n"
    "_emoclim_offer_keys() { # CURRENT\n"
    "    local current=$1 REPLY=\n"
    "    if [[ $current == *=* ]]; then\n"
    "        _emoclim_key_values \"${current%%=*}\" && _emoclim_offer_value \"$current\" \"$REPLY\"\n"
    "        return\n"
    "    fi\n"
    "    compopt -o nospace 2>/dev/null\n"
    "    if [[ $current == *.* ]]; then _emoclim_key_names; else _emoclim_sections; fi\n"
    "    _emoclim_offer \"$current\" \"$REPLY\"\n"
    "}\n"
    "\n"
    "# What follows NAME=. Where \"=\" ends a word for bash, the reply is the text behind it, else the whole.\n"
    "_emoclim_offer_value() { # NAME=CURRENT WORDS\n"
    "    local name=${1%%=*}=\n"
    "    _emoclim_offer \"${1#*=}\" \"$2\"\n"
    "    [[ ${COMP_WORDBREAKS-} == *=* ]] || COMPREPLY=(\"${COMPREPLY[@]/#/$name}\")\n"
    "}\n"
    "\n"
    "_emoclim() {\n"
    "    local i word last= current command= option= ended= count=0 line=() REPLY= IFS=$' \\t\\n'\n"
    "    COMPREPLY=()\n"
    "    # The words up to the cursor; what bash cut at \"=\" is put together again.\n"
    "    for ((i = 1; i <= COMP_CWORD; i++)); do\n"
    "        word=${COMP_WORDS[i]}\n"
    "        if [[ ${#line[@]} -gt 0 && ($word == =* || $last == *=) ]]; then line[${#line[@]}-1]+=$word\n"
    "        else line+=(\"$word\"); fi\n"
    "        last=$word\n"
    "    done\n"
    "    current=${line[${#line[@]}-1]}\n"
    "    unset 'line[${#line[@]}-1]'\n"
    "    # Which command it is, how many arguments it has, and whether an option waits for its value.\n"
    "    for word in \"${line[@]}\"; do\n"
    "        if [[ -n $option ]]; then option=\n"
    "        elif [[ -z $ended && $word == -- ]]; then ended=yes\n"
    "        elif [[ -z $ended && $word == -?* ]]; then\n"
    "            [[ $word == *=* ]] || ! _emoclim_value \"$command $word\" || option=$word\n"
    "        elif _emoclim_commands \"$command\" && [[ \" $REPLY \" == *\" $word \"* ]]; then\n"
    "            command=${command:+$command }$word\n"
    "        else count=$((count + 1)); fi\n"
    "    done\n"
    "    if [[ -n $option ]]; then\n"
    "        _emoclim_value \"$command $option\" && _emoclim_offer \"$current\" \"$REPLY\"\n"
    "    elif [[ -z $ended && $current == --*=* ]]; then\n"
    "        _emoclim_value \"$command ${current%%=*}\" && _emoclim_offer_value \"$current\" \"$REPLY\"\n"
    "    elif _emoclim_commands \"$command\"; then\n"
    "        _emoclim_offer \"$current\" \"$REPLY\"\n"
    "    elif [[ -z $ended && $current == -* ]]; then\n"
    "        _emoclim_options \"$command\" && _emoclim_offer \"$current\" \"$REPLY\"\n"
    "    else\n"
    "        _emoclim_argument \"$command\" \"$count\" && _emoclim_offer \"$current\" \"$REPLY\"\n"
    "    fi\n"
    "}\n"
    "complete -F _emoclim emoclim\n";

static ec_status open_function(const char *name, const char *subject) {
    return cli_print("\n%s() {\n    case %s in\n", name, subject);
}

static ec_status close_function(void) { return cli_print("    *) return 1 ;;\n    esac\n}\n"); }

static ec_status list_children(void *arg, const char *path, const cli_command *command) {
    (void)arg;
    if (!command->children) return EC_OK;
    EC_RETURN_IF(cli_print("    '%s') REPLY='", path));
    for (const cli_command *const *c = command->children; *c; c++)
        EC_RETURN_IF(cli_print("%s%s", c == command->children ? "" : " ", (*c)->name));
    return cli_print(command == &cli_program ? " --help --version' ;;\n" : " --help' ;;\n");
}

/* The options that all commands have stand in a variable of the script. */
static ec_status list_options(void *arg, const char *path, const cli_command *command) {
    (void)arg;
    if (command->children) return EC_OK;
    EC_RETURN_IF(cli_print("    '%s') REPLY=\"", path));
    for (const cli_option *o = command->options; o && o->name; o++) EC_RETURN_IF(cli_print("--%s ", o->name));
    return cli_print("$common\" ;;\n");
}

static ec_status list_common_options(void) {
    EC_RETURN_IF(cli_print("\n_emoclim_options() {\n    local common='"));
    for (const cli_option *o = cli_common_options; o->name; o++)
        EC_RETURN_IF(cli_print("%s--%s", o == cli_common_options ? "" : " ", o->name));
    return cli_print("'\n    case $1 in\n");
}

/* Only options that take a value: the others have no row. path: a pattern of the shell, its quote still open. */
static ec_status list_value(const char *path, const cli_option *o) {
    char hints[CLI_HINTS];
    if (o->type == CLI_FLAG) return EC_OK;
    cli_option_hints(o, hints);
    EC_RETURN_IF(cli_print("    %s --%s'", path, o->name));
    if (o->letter) EC_RETURN_IF(cli_print(" | %s -%c'", path, o->letter));
    return cli_print(") REPLY='%s' ;;\n", hints);
}

static ec_status list_values(void *arg, const char *path, const cli_command *command) {
    (void)arg;
    char quoted[CLI_HINTS];
    snprintf(quoted, sizeof quoted, "'%s", path);
    for (const cli_option *o = command->options; o && o->name; o++) EC_RETURN_IF(list_value(quoted, o));
    return EC_OK;
}

static ec_status list_arguments(void *arg, const char *path, const cli_command *command) {
    (void)arg;
    const int kinds = cli_argument_kinds(command), most = command->arguments_max;
    const int rows = most >= 0 && most < kinds ? most : kinds;
    for (int i = 0; i < rows; i++) {
        /* The last kind is that of all further arguments, if there may be more. */
        char hints[CLI_HINTS], number[16] = "*";
        cli_argument_hints(command, i, hints);
        if (i < kinds - 1 || (most >= 0 && most <= kinds)) snprintf(number, sizeof number, "%d", i);
        EC_RETURN_IF(cli_print("    '%s '%s) REPLY='%s' ;;\n", path, number, hints));
    }
    return EC_OK;
}

ec_status cli_print_bash_completion(void) {
    EC_RETURN_IF(cli_print("# bash completion of emoclim %s, printed by \"emoclim completion bash\".\n",
                           EMOCLIM_VERSION));
    EC_RETURN_IF(open_function("_emoclim_commands", "$1"));
    EC_RETURN_IF(cli_walk(&cli_program, "", list_children, NULL));
    EC_RETURN_IF(close_function());
    EC_RETURN_IF(list_common_options());
    EC_RETURN_IF(cli_walk(&cli_program, "", list_options, NULL));
    EC_RETURN_IF(close_function());
    EC_RETURN_IF(open_function("_emoclim_value", "$1"));
    EC_RETURN_IF(cli_walk(&cli_program, "", list_values, NULL));
    for (const cli_option *o = cli_common_options; o->name; o++) EC_RETURN_IF(list_value("*'", o));
    EC_RETURN_IF(close_function());
    EC_RETURN_IF(open_function("_emoclim_argument", "\"$1 $2\""));
    EC_RETURN_IF(cli_walk(&cli_program, "", list_arguments, NULL));
    EC_RETURN_IF(close_function());
    EC_RETURN_IF(cli_print_key_completion());
    return cli_print("%s", bash_code);
}
