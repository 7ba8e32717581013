/* emoclim version */
#include "cli/commands.h"

static ec_status run(const cli_context *cli, const void *values) {
    (void)values;
    if (cli->json)
        return cli_print_json(json_pack("{s:s, s:b}", "version", EMOCLIM_VERSION, "ffmpeg", EMOCLIM_HAVE_FFMPEG));
    return cli_print("emoclim %s\n", EMOCLIM_VERSION);
}

const cli_command cli_version = {
    .name = "version",
    .summary = "Tell the version.",
    .run = run,
};
