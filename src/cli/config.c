/* emoclim config check | print */
#include <stdlib.h>
#include <string.h>

#include "cache/json_text.h"
#include "cli/commands.h"
#include "config/config.h"

typedef struct check_options {
    int64_t ranks; /* 0: not asked */
} check_options;

static ec_status load(const cli_context *cli, ec_config **out) {
    return ec__config_load(cli->argument[0], cli->argument + 1, (size_t)cli->argument_count - 1, out);
}

static ec_status check(const cli_context *cli, const void *values) {
    ec_status status = EC_OK;
    const check_options *options = values;
    ec_config *config = NULL;
    char hex[EC_SHA256_HEX];
    EC_TRY(load(cli, &config));
    if (options->ranks > 0) EC_TRY(ec__config_check_ranks(config, (int32_t)options->ranks));
    EC_TRY(ec__config_hash(config, hex));
    if (cli->json)
        EC_TRY(cli_print_json(json_pack("{s:o, s:b, s:s}", "file", ec__json_text(cli->argument[0]), "valid", 1, "hash",
                                        hex)));
    else EC_TRY(cli_print("%s: valid\n", cli->argument[0]));
done:
    ec__config_free(config);
    return status;
}

typedef struct print_options {
    bool schema;
} print_options;

static ec_status print_text(const cli_context *cli, char *text) {
    if (cli->json) return cli_print_json(json_pack("{s:s}", "text", text));
    return cli_print("%s", text);
}

static ec_status print(const cli_context *cli, const void *values) {
    ec_status status = EC_OK;
    const print_options *options = values;
    ec_config *config = NULL;
    char *text = NULL;
    if (!options->schema && cli->argument_count == 0)
        EC_FAIL(EC_ERR_USAGE, "missing arguments; usage: %s CONFIG [KEY=VALUE ...], or %s --schema", cli->command,
                cli->command);
    if (options->schema) {
        EC_TRY(ec__config_document(&text));
    } else {
        EC_TRY(load(cli, &config));
        EC_TRY(ec__config_print(config, &text));
    }
    EC_TRY(print_text(cli, text));
done:
    free(text);
    ec__config_free(config);
    return status;
}

static const cli_option check_table[] = {
    {.name = "ranks", .letter = 'n', .type = CLI_INT, .argument = "N", .help = "check that N ranks can run it, too",
     .offset = offsetof(check_options, ranks), .low = 1, .high = 1000000},
    {.name = NULL},
};

static const cli_option print_table[] = {
    {.name = "schema", .type = CLI_FLAG, .help = "all keys with default, legal values and meaning, as Markdown",
     .offset = offsetof(print_options, schema)},
    {.name = NULL},
};

static const cli_command check_command = {
    .name = "check",
    .summary = "Check a configuration: every key, type, value, and the rules between them.",
    .arguments = "CONFIG [KEY=VALUE ...]",
    .arguments_min = 1,
    .arguments_max = -1,
    .details = "Prints \"FILE: valid\", or tells file, line, column and what would be legal (exit code 2). Files that "
               "the configuration names are not opened.",
    .options = check_table,
    .values_size = sizeof(check_options),
    .run = check,
};

static const cli_command print_command = {
    .name = "print",
    .summary = "Print a configuration with every default and override filled in, as YAML.",
    .arguments = "CONFIG [KEY=VALUE ...]",
    .arguments_max = -1,
    .options = print_table,
    .values_size = sizeof(print_options),
    .run = print,
};

static const cli_command *const children[] = {&check_command, &print_command, NULL};

const cli_command cli_config = {
    .name = "config",
    .summary = "Check a configuration, or print it with all defaults.",
    .children = children,
};
