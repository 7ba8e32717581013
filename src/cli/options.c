/* Parses a command line by the tables of a command. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "core/nearest.h"

enum { MOST_OPTIONS = 64 };

static const char *const level_names[] = {"debug", "info", "warn", "error", NULL};

const cli_option cli_common_options[] = {
    {.name = "json", .type = CLI_FLAG, .help = "results as JSON on stdout", .offset = offsetof(cli_common, json)},
    {.name = "quiet", .letter = 'q', .type = CLI_FLAG, .help = "only warnings and errors on stderr, no progress",
     .offset = offsetof(cli_common, quiet)},
    {.name = "verbose", .letter = 'v', .type = CLI_FLAG, .help = "details, from every rank, and the origin of errors",
     .offset = offsetof(cli_common, verbose)},
    {.name = "log-level", .type = CLI_CHOICE, .argument = "LEVEL",
     .help = "lowest level shown: debug, info, warn or error",
     .offset = offsetof(cli_common, log_level), .choices = level_names},
    {.name = "help", .letter = 'h', .type = CLI_FLAG, .help = "this text", .offset = offsetof(cli_common, help)},
    {.name = NULL},
};

/* One table of a command with the structure that it fills. */
typedef struct target {
    const cli_option *option;
    void *values;
} target;

typedef struct parser {
    target tables[2]; /* the command's own options, the common ones */
    const char *title;
    char **argv;
    int argc, at;
} parser;

static bool find_option(const parser *p, const char *name, size_t length, char letter, target *found) {
    for (int t = 0; t < 2; t++)
        for (const cli_option *o = p->tables[t].option; o && o->name; o++)
            if (name ? strncmp(o->name, name, length) == 0 && o->name[length] == '\0' : o->letter == letter) {
                *found = (target){o, p->tables[t].values};
                return true;
            }
    return false;
}

static ec_status unknown_option(const parser *p, const char *name, size_t length) {
    const char *names[MOST_OPTIONS];
    char word[EC_NEAREST_LONGEST + 2];
    size_t count = 0;
    for (int t = 0; t < 2; t++)
        for (const cli_option *o = p->tables[t].option; o && o->name && count < MOST_OPTIONS; o++)
            names[count++] = o->name;
    snprintf(word, sizeof word, "%.*s", (int)length, name);
    const char *near = ec__nearest(word, names, count);
    if (near) return EC_ERROR(EC_ERR_USAGE, "unknown option --%.*s; did you mean --%s?", (int)length, name, near);
    return EC_ERROR(EC_ERR_USAGE, "unknown option --%.*s", (int)length, name);
}

static ec_status parse_int(const cli_option *o, const char *text, int64_t *out) {
    char *end = NULL;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (*text == '\0' || *end != '\0' || errno == ERANGE)
        return EC_ERROR(EC_ERR_USAGE, "--%s: found \"%s\", expected a whole number", o->name, text);
    if (o->high > o->low && ((double)value < o->low || (double)value > o->high))
        return EC_ERROR(EC_ERR_USAGE, "--%s: found %s, expected a whole number from %.0f to %.0f", o->name, text,
                        o->low, o->high);
    *out = value;
    return EC_OK;
}

static ec_status parse_double(const cli_option *o, const char *text, double *out) {
    char *end = NULL;
    double value = strtod(text, &end);
    if (*text == '\0' || *end != '\0' || !isfinite(value))
        return EC_ERROR(EC_ERR_USAGE, "--%s: found \"%s\", expected a number", o->name, text);
    if (o->high > o->low && (value < o->low || value > o->high))
        return EC_ERROR(EC_ERR_USAGE, "--%s: found %s, expected a number from %g to %g", o->name, text, o->low,
                        o->high);
    *out = value;
    return EC_OK;
}

static ec_status parse_choice(const cli_option *o, const char *text, int *out) {
    char all[256] = "";
    int count = 0;
    for (; o->choices[count]; count++) {
        if (strcmp(o->choices[count], text) == 0) {
            *out = count;
            return EC_OK;
        }
        size_t used = strlen(all);
        snprintf(all + used, sizeof all - used, "%s%s", count ? ", " : "", o->choices[count]);
    }
    const char *near = ec__nearest(text, o->choices, (size_t)count);
    return EC_ERROR(EC_ERR_USAGE, "--%s: found \"%s\", expected one of %s%s%s%s", o->name, text, all,
                    near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

static ec_status append(const parser *p, cli_list *list, const char *text) {
    if (!list->item) list->item = calloc((size_t)p->argc + 1, sizeof *list->item);
    if (!list->item) return EC_ERROR(EC_ERR_MEMORY, "no memory for the command line");
    list->item[list->count++] = text;
    return EC_OK;
}

static ec_status store(const parser *p, const target *found, const char *text) {
    void *into = (char *)found->values + found->option->offset;
    switch (found->option->type) {
    case CLI_FLAG: *(bool *)into = true; return EC_OK;
    case CLI_TEXT: *(const char **)into = text; return EC_OK;
    case CLI_INT: return parse_int(found->option, text, into);
    case CLI_DOUBLE: return parse_double(found->option, text, into);
    case CLI_CHOICE: return parse_choice(found->option, text, into);
    case CLI_LIST: return append(p, into, text);
    }
    return EC_ERROR(EC_ERR_BUG, "option --%s has an unknown type", found->option->name);
}

/* The value of an option whose text after the name is attached (NULL: nothing attached, take the next argument). */
static ec_status take_value(parser *p, const target *found, const char *attached) {
    const cli_option *o = found->option;
    if (o->type == CLI_FLAG) {
        if (attached) return EC_ERROR(EC_ERR_USAGE, "option --%s takes no value; found \"%s\"", o->name, attached);
    } else if (!attached) {
        if (p->at >= p->argc)
            return EC_ERROR(EC_ERR_USAGE, "option --%s needs a value: --%s %s", o->name, o->name, o->argument);
        attached = p->argv[p->at++];
    }
    return store(p, found, attached);
}

static ec_status parse_long(parser *p, const char *text) {
    target found;
    const char *equals = strchr(text, '=');
    size_t length = equals ? (size_t)(equals - text) : strlen(text);
    if (!find_option(p, text, length, 0, &found)) return unknown_option(p, text, length);
    return take_value(p, &found, equals ? equals + 1 : NULL);
}

/* -q, -qv, -i FILE, -iFILE */
static ec_status parse_letters(parser *p, const char *text) {
    for (; *text; text++) {
        target found;
        if (!find_option(p, NULL, 0, *text, &found)) return EC_ERROR(EC_ERR_USAGE, "unknown option -%c", *text);
        if (found.option->type != CLI_FLAG) return take_value(p, &found, text[1] ? text + 1 : NULL);
        EC_RETURN_IF(store(p, &found, NULL));
    }
    return EC_OK;
}

static ec_status parse_arguments(parser *p, cli_context *context) {
    bool options_ended = false;
    while (p->at < p->argc) {
        const char *text = p->argv[p->at++];
        if (options_ended || text[0] != '-' || text[1] == '\0') context->argument[context->argument_count++] = text;
        else if (strcmp(text, "--") == 0) options_ended = true;
        else if (text[1] == '-') EC_RETURN_IF(parse_long(p, text + 2));
        else EC_RETURN_IF(parse_letters(p, text + 1));
    }
    return EC_OK;
}

static ec_status check_count(const cli_command *command, const cli_context *context) {
    int count = context->argument_count;
    if (count < command->arguments_min)
        return EC_ERROR(EC_ERR_USAGE, "%s; usage: %s [options] %s", count ? "too few arguments" : "missing arguments",
                        context->command, command->arguments);
    if (command->arguments_max >= 0 && count > command->arguments_max)
        return EC_ERROR(EC_ERR_USAGE, "unexpected argument \"%s\"; usage: %s [options] %s",
                        context->argument[command->arguments_max], context->command,
                        command->arguments ? command->arguments : "");
    return EC_OK;
}

ec_status cli_parse(const cli_command *command, const char *title, int argc, char **argv, cli_parsed *out) {
    ec_status status = EC_OK;
    cli_common common = {.log_level = -1};
    *out = (cli_parsed){.context.command = title};
    out->values = calloc(1, command->values_size + 1);
    out->context.argument = calloc((size_t)argc + 1, sizeof *out->context.argument);
    if (!out->values || !out->context.argument) EC_FAIL(EC_ERR_MEMORY, "no memory for the command line");
    if (command->defaults) memcpy(out->values, command->defaults, command->values_size);
    parser p = {.tables = {{command->options, out->values}, {cli_common_options, &common}},
                .title = title, .argv = argv, .argc = argc};
    EC_TRY(parse_arguments(&p, &out->context));
    out->help = common.help;
    out->context.json = common.json;
    out->context.quiet = common.quiet;
    out->context.verbose = common.verbose;
    if (!common.help) EC_TRY(check_count(command, &out->context));
    if (common.log_level >= 0) cli_set_log_level((ec_log_level)common.log_level, true);
    else if (common.quiet) cli_set_log_level(EC_LOG_WARN, true);
    else if (common.verbose) cli_set_log_level(EC_LOG_DEBUG, true);
done:
    return status;
}

void cli_parsed_release(const cli_command *command, cli_parsed *parsed) {
    if (parsed->values)
        for (const cli_option *o = command->options; o && o->name; o++)
            if (o->type == CLI_LIST) free(((cli_list *)(void *)((char *)parsed->values + o->offset))->item);
    free(parsed->values);
    free(parsed->context.argument);
    *parsed = (cli_parsed){.values = NULL};
}
