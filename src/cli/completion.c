/* emoclim completion bash | zsh: what a shell needs to complete the command line, printed from the tables of commands
 * and of configuration keys. */
#include "cli/completion.h"

#include <string.h>

#include "cli/commands.h"
#include "config/config.h"

ec_status cli_print_key_completion(void) {
    const char *help = NULL, *section = NULL;
    ec_config_key key;
    EC_RETURN_IF(cli_print("\n_emoclim_sections() {\n    REPLY='"));
    for (size_t i = 0; (section = ec__config_section(i, &help)); i++)
        EC_RETURN_IF(cli_print("%s%s.", i ? " " : "", section));
    EC_RETURN_IF(cli_print("'\n}\n\n_emoclim_key_names() {\n    REPLY='"));
    for (size_t i = 0; ec__config_key(i, &key); i++) EC_RETURN_IF(cli_print("%s%s=", i ? "\n        " : "", key.name));
    EC_RETURN_IF(cli_print("'\n}\n"));
    EC_RETURN_IF(cli_print("\n_emoclim_key_values() {\n    case $1 in\n"));
    for (size_t i = 0; ec__config_key(i, &key); i++) {
        if (key.is_path) EC_RETURN_IF(cli_print("    '%s') REPLY=@files ;;\n", key.name));
        if (!key.words) continue;
        EC_RETURN_IF(cli_print("    '%s') REPLY='", key.name));
        for (const char *const *w = key.words; *w; w++) EC_RETURN_IF(cli_print("%s%s", w == key.words ? "" : " ", *w));
        EC_RETURN_IF(cli_print("' ;;\n"));
    }
    return cli_print("    *) return 1 ;;\n    esac\n}\n");
}

static ec_status run(const cli_context *cli, const void *values) {
    (void)values;
    const char *shell = cli->argument[0];
    if (cli->json) return EC_ERROR(EC_ERR_USAGE, "a script has no form in JSON");
    if (strcmp(shell, "bash") == 0) return cli_print_bash_completion();
    if (strcmp(shell, "zsh") == 0) return cli_print_zsh_completion();
    return EC_ERROR(EC_ERR_USAGE, "found \"%s\", expected one of the shells bash, zsh", shell);
}

const cli_command cli_completion = {
    .name = "completion",
    .summary = "Print a script by which a shell completes commands, options, files and configuration keys.",
    .arguments = "bash|zsh",
    .arguments_min = 1,
    .arguments_max = 1,
    .details = "An installed program comes with it. For this shell alone: source <(emoclim completion bash). zsh takes "
               "it as a file _emoclim in a folder of its fpath.",
    .run = run,
};
