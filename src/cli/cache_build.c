/* emoclim cache build: from media files to feature caches. */
#include "cli/commands.h"
#include "cli/session.h"
#include "core/log.h"
#include "pipeline/build.h"

typedef struct build_options {
    int only; /* index into modalities */
    bool rebuild;
} build_options;

enum { BOTH, ONLY_IMAGE, ONLY_MUSIC };

static const char *const modalities[] = {"both", "image", "music", NULL};

static const cli_option options[] = {
    {.name = "only", .type = CLI_CHOICE, .argument = "MODALITY", .choices = modalities,
     .help = "image, music or both (default: both)", .offset = offsetof(build_options, only)},
    {.name = "rebuild", .type = CLI_FLAG, .offset = offsetof(build_options, rebuild),
     .help = "replace a cache that was made from other files or in another way"},
    {0},
};

static json_t *summary_json(const ec_build_summary *s, const char *path) {
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:f, s:b}", "path", path, "rows", (json_int_t)s->rows, "encoded",
                     (json_int_t)s->encoded, "resumed", (json_int_t)s->resumed, "skipped", (json_int_t)s->skipped,
                     "seconds", s->seconds, "up_to_date", s->up_to_date);
}

static ec_status print_summary(const ec_build_summary *s, const char *path) {
    if (s->up_to_date) return cli_print("%s: up to date, %lld rows\n", path, (long long)(s->rows - s->skipped));
    if (s->resumed > 0)
        EC_RETURN_IF(cli_print("%s: went on with %lld of %lld rows\n", path, (long long)s->resumed,
                               (long long)s->rows));
    EC_RETURN_IF(cli_print("%s: %lld rows encoded in %.1f s (%.1f a second)\n", path, (long long)s->encoded, s->seconds,
                           s->seconds > 0 ? (double)s->encoded / s->seconds : 0.0));
    if (s->skipped > 0)
        EC_RETURN_IF(cli_print("%s: %lld broken files left out; \"emoclim cache info\" lists them\n", path,
                               (long long)s->skipped));
    return EC_OK;
}

static ec_status tell(const ec_build_summary *s, const char *path, json_t *results) {
    if (!results) return print_summary(s, path);
    return json_array_append_new(results, summary_json(s, path)) == 0 ? EC_OK
               : EC_ERROR(EC_ERR_MEMORY, "no memory for a summary");
}

static ec_status build_one(const cli_context *cli, const build_options *o, const ec_config *config,
                           cli_session *session, ec_modality modality, json_t *results) {
    ec_build_summary summary;
    const char *path = modality == EC_IMAGE ? config->dataset.image_cache : config->dataset.audio_cache;
    if (modality == EC_IMAGE ? o->only == ONLY_MUSIC : o->only == ONLY_IMAGE) return EC_OK;
    ec_status status =
        ec__build_cache(config, session->be, session->comm->host, modality, o->rebuild, cli_progress(cli), &summary);
    cli_progress_end();
    EC_RETURN_IF(status);
    /* Where rank 0 cannot tell, no rank goes on to the next cache. */
    return ec__comm_agree(session->comm, session->comm->rank == 0 ? tell(&summary, path, results) : EC_OK);
}

static ec_status run(const cli_context *cli, const void *values) {
    ec_status status = EC_OK;
    ec_config *config = NULL;
    cli_session session = {0};
    json_t *results = cli->json ? json_array() : NULL;
    EC_TRY(cli_load_config(cli, &config));
    cli_set_log_level(config->logging.level, false);
    cli_session_options how = cli_session_of(config);
    how.stops = true;
    EC_TRY(cli_session_open(&how, &session));
    EC_TRY(build_one(cli, values, config, &session, EC_IMAGE, results));
    EC_TRY(build_one(cli, values, config, &session, EC_MUSIC, results));
    if (results && session.comm->rank == 0) EC_TRY(cli_print_json(json_incref(results)));
done:
    if (status == EC_STOPPED && session.comm->rank == 0) cli_line(ec_error_last()->text);
    json_decref(results);
    cli_session_close(&session, status);
    ec__config_free(config);
    return status;
}

const cli_command cli_cache_build = {
    .name = "build",
    .summary = "Decode, preprocess and encode the files of the manifests; write the feature caches.",
    .arguments = "CONFIG [KEY=VALUE ...]",
    .arguments_min = 1,
    .arguments_max = -1,
    .details = "Runs on one rank or, started by mpirun, on many. A build that was killed goes on where it was. A "
               "broken file is named, left out and listed in the cache, or ends the build with "
               "dataset.skip_broken=false.",
    .options = options,
    .values_size = sizeof(build_options),
    .run = run,
};
