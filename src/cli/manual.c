/* emoclim manual: the manual page emoclim(1), made from the tables of commands and of configuration keys. */
#include <string.h>

#include "cli/commands.h"
#include "cli/table.h"
#include "config/config.h"

/* Text as it stands on the page: nothing of it is a request to the formatter. Blank lines part paragraphs. */
static ec_status print_text(const char *text) {
    bool begins = true; /* of a line of the page's source */
    for (; *text; text++) {
        if (begins && (*text == '.' || *text == '\'')) EC_RETURN_IF(cli_print("\\&"));
        begins = *text == '\n';
        if (begins) {
            const bool paragraph = text[1] == '\n';
            EC_RETURN_IF(cli_print(paragraph ? "\n.PP\n" : "\n.br\n"));
            text += paragraph;
        } else if (*text == '.' && text[1] == ' ') { /* a sentence begins a line: the formatter chooses the space */
            EC_RETURN_IF(cli_print(".\n"));
            begins = true;
            text++;
        } else if (*text == '\\') {
            EC_RETURN_IF(cli_print("\\e"));
        } else {
            EC_RETURN_IF(cli_print(*text == '-' ? "\\-" : "%c", *text));
        }
    }
    return cli_print("\n");
}

static ec_status print_section(const char *heading, const char *text) {
    EC_RETURN_IF(cli_print(".SH %s\n", heading));
    return print_text(text);
}

/* What stands in a place that the user fills in: names in capitals, in italics. */
static ec_status print_places(const char *text) {
    EC_RETURN_IF(cli_print("\\fI"));
    for (; *text; text++) EC_RETURN_IF(cli_print(*text == '-' ? "\\-" : "%c", *text));
    return cli_print("\\fR");
}

static ec_status print_options(const cli_option *options) {
    for (const cli_option *o = options; o && o->name; o++) {
        EC_RETURN_IF(cli_print(".TP\n"));
        if (o->letter) EC_RETURN_IF(cli_print("\\fB\\-%c\\fR, ", o->letter));
        EC_RETURN_IF(cli_print("\\fB\\-\\-"));
        for (const char *p = o->name; *p; p++) EC_RETURN_IF(cli_print(*p == '-' ? "\\-" : "%c", *p));
        EC_RETURN_IF(cli_print("\\fR"));
        if (o->argument) {
            EC_RETURN_IF(cli_print(" "));
            EC_RETURN_IF(print_places(o->argument));
        }
        EC_RETURN_IF(cli_print("\n"));
        EC_RETURN_IF(print_text(o->help));
    }
    return EC_OK;
}

/* A command that does something; its parents only lead there. */
static ec_status print_command(void *arg, const char *path, const cli_command *command) {
    (void)arg;
    if (command->children) return EC_OK;
    EC_RETURN_IF(cli_print(".SS emoclim %s", path));
    EC_RETURN_IF(cli_print("\n\\fBemoclim %s\\fR [\\fIoptions\\fR]", path));
    if (command->arguments) {
        EC_RETURN_IF(cli_print(" "));
        EC_RETURN_IF(print_places(command->arguments));
    }
    EC_RETURN_IF(cli_print("\n.PP\n"));
    EC_RETURN_IF(print_text(command->summary));
    if (command->details) EC_RETURN_IF(print_text(command->details));
    return print_options(command->options);
}

static ec_status print_configuration(void) {
    const char *help = NULL, *name = NULL;
    EC_RETURN_IF(print_section(
        "CONFIGURATION", "A configuration is a YAML file with the sections below. Words section.key=value behind its "
                         "name change single values, the last one winning. \"emoclim config print CONFIG\" shows what "
                         "a run will use, \"emoclim config print --schema\" describes every key."));
    for (size_t i = 0; (name = ec__config_section(i, &help)); i++) {
        EC_RETURN_IF(cli_print(".TP\n\\fB%s\\fR\n", name));
        EC_RETURN_IF(print_text(help));
    }
    return EC_OK;
}

static ec_status print_examples(void) {
    static const char *const lines[] = {
        "emoclim demo --out data",
        "emoclim cache build run.yaml",
        "mpirun -np 8 emoclim train --resume auto run.yaml",
        "emoclim eval retrieval --checkpoint runs/emoclim/checkpoints/best.h5 --split test",
        "emoclim embed -c runs/emoclim/checkpoints/best.h5 --cache music.h5 --out index.h5",
        "emoclim search -c runs/emoclim/checkpoints/best.h5 --image photo.jpg --index index.h5",
    };
    EC_RETURN_IF(print_section("EXAMPLES", "From files to a search with a photo:"));
    EC_RETURN_IF(cli_print(".PP\n.nf\n.RS 4\n"));
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) EC_RETURN_IF(print_text(lines[i]));
    return cli_print(".RE\n.fi\n");
}

static ec_status run(const cli_context *cli, const void *values) {
    (void)values;
    if (cli->json) return EC_ERROR(EC_ERR_USAGE, "the manual has no form in JSON");
    EC_RETURN_IF(cli_print(".TH EMOCLIM 1 %s \"emoclim %s\" \"User Commands\"\n.nh\n.ad l\n", EMOCLIM_RELEASED,
                           EMOCLIM_VERSION));
    EC_RETURN_IF(cli_print(".SH NAME\nemoclim \\- train and use encoders that bring pictures and music together\n"
                           ".SH SYNOPSIS\n\\fBemoclim\\fR \\fICOMMAND\\fR [\\fIoptions\\fR] [\\fIarguments\\fR]\n"));
    EC_RETURN_IF(print_section("DESCRIPTION", cli_program.summary));
    EC_RETURN_IF(cli_print(".PP\n"));
    EC_RETURN_IF(print_text("Given a photo, it finds music that feels alike. Files are decoded and encoded once, into "
                            "feature caches; on them projection heads are trained, on one rank or, under mpirun, on "
                            "many, with the same result. Results go to standard output, all else to standard error."));
    EC_RETURN_IF(cli_print(".SH COMMANDS\n"));
    EC_RETURN_IF(cli_walk(&cli_program, "", print_command, NULL));
    EC_RETURN_IF(cli_print(".SH COMMON OPTIONS\nEvery command has these.\n"));
    EC_RETURN_IF(print_options(cli_common_options));
    EC_RETURN_IF(print_configuration());
    EC_RETURN_IF(print_section("EXIT STATUS", cli_program.details));
    EC_RETURN_IF(print_examples());
    return cli_print(".SH SEE ALSO\n.BR mpirun (1)\n");
}

const cli_command cli_manual = {
    .name = "manual",
    .summary = "Print the manual page, for man.",
    .details = "To read it without installing: emoclim manual | man -l -",
    .run = run,
};
