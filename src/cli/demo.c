/* emoclim demo: makes the demo data. */
#include <stddef.h>

#include "cache/json_text.h"
#include "cli/commands.h"
#include "demo.h"

typedef struct options {
    const char *out;
    int64_t images, tracks, seed, threads;
} options;

static const cli_option table[] = {
    {"out", 'o', CLI_TEXT, "FOLDER", "Folder to make; it must not exist or be empty", offsetof(options, out), 0, 0,
     NULL},
    {"images", 0, CLI_INT, "N", "Number of pictures (default 240)", offsetof(options, images), 0, 100000, NULL},
    {"tracks", 0, CLI_INT, "N", "Number of pieces of music (default 120)", offsetof(options, tracks), 0, 100000, NULL},
    {"seed", 0, CLI_INT, "S", "The same seed gives the same files (default 1)", offsetof(options, seed), 0,
     (double)INT32_MAX, NULL},
    {"threads", 0, CLI_INT, "N", "Threads to use (default 0: all processors)", offsetof(options, threads), 0, 1024,
     NULL},
    {NULL, 0, CLI_FLAG, NULL, NULL, 0, 0, 0, NULL},
};

static const options defaults = {.images = 240, .tracks = 120, .seed = 1};

static ec_status run(const cli_context *cli, const void *values) {
    const options *o = values;
    if (!o->out) return EC_ERROR(EC_ERR_USAGE, "say where the demo data shall be written: --out FOLDER");
    ec_demo_config config = ec__demo_defaults();
    config.folder = o->out;
    config.images = (int32_t)o->images;
    config.tracks = (int32_t)o->tracks;
    config.seed = (uint64_t)o->seed;
    config.threads = (int32_t)o->threads;
    ec_status status = ec__demo_write(&config, cli_progress(cli));
    cli_progress_end();
    EC_RETURN_IF(status);
    if (cli->json)
        return cli_print_json(json_pack("{s:o, s:i, s:i, s:I}", "folder", ec__json_text(o->out), "images",
                                        config.images, "tracks", config.tracks, "seed", (json_int_t)o->seed));
    EC_RETURN_IF(
        cli_print("%s: %d pictures (images.csv), %d tracks (music.csv)\n", o->out, config.images, config.tracks));
    return EC_OK;
}

const cli_command cli_demo = {
    .name = "demo",
    .summary = "Make a small data set of pictures and music in six emotions.",
    .details = "The files are real JPEG, PNG, WAV, FLAC, Ogg Vorbis and MP3 files (WAV alone in a build without "
               "FFmpeg), drawn and composed by the program from nothing but the seed. images.csv and music.csv are "
               "manifests for \"emoclim cache build\"; README.txt says how a picture or a track carries its emotion.",
    .options = table,
    .values_size = sizeof(options),
    .defaults = &defaults,
    .run = run,
};
