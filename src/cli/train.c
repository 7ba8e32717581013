/* emoclim train: from two feature caches to trained projection heads. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/session.h"
#include "core/file.h"
#include "core/log.h"
#include "report/metrics.h"
#include "train/trainer.h"

typedef struct train_options {
    const char *resume;
} train_options;

static const cli_option options[] = {
    {.name = "resume", .type = CLI_TEXT, .argument = "auto|FILE", .offset = offsetof(train_options, resume),
     .help = "go on from the newest good checkpoint of the run (auto: from the start where there is none), or from "
             "FILE"},
    {0},
};

/* Where the trainer's events go: the metrics file, and lines for a person. */
typedef struct listener {
    ec_metrics *metrics;
    bool quiet;
    int64_t total_steps;
    json_t *last; /* validation figures for --json */
    const ec_config *config;
    char checkpoint[512]; /* the last one */
} listener;

static void say(const listener *l, const char *text) {
    if (!l->quiet) cli_line(text);
}

/* The resolved configuration in the run's folder: of a run that began, not of one that was refused. */
static ec_status save_config(const ec_config *config) {
    ec_status status = EC_OK;
    char *text = NULL, *path = NULL;
    EC_TRY(ec__config_print(config, &text));
    EC_TRY(ec__path_join(config->logging.folder, "config.yaml", &path));
    ec__atomic_sweep(path);
    EC_TRY(ec__file_write(path, text, strlen(text)));
done:
    free(text);
    free(path);
    return status;
}

static void started(void *arg, const ec_train_start *s) {
    listener *l = arg;
    char text[512];
    l->total_steps = s->total_steps;
    if (save_config(l->config) != EC_OK) EC_WARN("the run goes on without config.yaml: %s", ec_error_last()->text);
    ec__metrics_start(l->metrics, s);
    snprintf(text, sizeof text, "%lld images and %lld tracks of %d classes; %lld parameters; %.1f MB a rank",
             (long long)s->images, (long long)s->tracks, s->classes, (long long)s->parameters, (double)s->bytes * 1e-6);
    say(l, text);
    if (s->resumed_from) {
        snprintf(text, sizeof text, "going on after step %lld from %s", (long long)s->first_step, s->resumed_from);
        say(l, text);
    }
}

static void stepped(void *arg, const ec_train_record *r) {
    listener *l = arg;
    char text[256];
    ec__metrics_step(l->metrics, r);
    snprintf(text, sizeof text,
             "step %lld/%lld  epoch %.2f  loss %.4f  %.0f samples/s  %.2f ms/step  loader wait %.3f ms  lr %.3g",
             (long long)r->step, (long long)l->total_steps, r->epoch, r->result.total, r->samples_per_s, r->step_ms,
             r->wait_ms, r->result.learning_rate);
    say(l, text);
}

static void validated(void *arg, const ec_validation_record *r) {
    listener *l = arg;
    char text[256];
    ec__metrics_validation(l->metrics, r);
    snprintf(text, sizeof text,
             "validation  epoch %.2f  loss %.4f  image to music: P@1 %.3f MRR %.3f  music to image: P@1 %.3f MRR "
             "%.3f%s",
             r->epoch, r->total, r->image2music[EC_P_AT_1], r->image2music[EC_MRR], r->music2image[EC_P_AT_1],
             r->music2image[EC_MRR], r->best ? "  (best so far)" : "");
    say(l, text);
    json_decref(l->last);
    l->last = json_pack("{s:f, s:f, s:f}", "loss", r->total, "image2music_precision@1", r->image2music[EC_P_AT_1],
                        "music2image_precision@1", r->music2image[EC_P_AT_1]);
}

static void saved(void *arg, int64_t step, const char *path) {
    listener *l = arg;
    ec__metrics_checkpoint(l->metrics, step, path);
    snprintf(l->checkpoint, sizeof l->checkpoint, "%s", path);
}

/* The run's folder, and the metrics file in it. */
static ec_status open_folder(listener *l) {
    ec_status status = EC_OK;
    char *path = NULL;
    EC_TRY(ec__make_folders(l->config->logging.folder));
    EC_TRY(ec__path_join(l->config->logging.folder, "metrics.jsonl", &path));
    EC_TRY(ec__metrics_open(path, &l->metrics));
done:
    free(path);
    return status;
}

static ec_status print_result(const cli_context *cli, const ec_config *config, const listener *l) {
    if (cli->json)
        return cli_print_json(json_pack("{s:s, s:s, s:O?}", "folder", config->logging.folder, "checkpoints",
                                        config->checkpoint.folder, "validation", l->last));
    return cli_print("checkpoints: %s\n", config->checkpoint.folder);
}

static void tell_stop(const listener *l) {
    char text[640];
    snprintf(text, sizeof text, "stopped by a signal; %s is written; --resume auto goes on from there", l->checkpoint);
    say(l, text);
}

static ec_status run(const cli_context *cli, const void *values) {
    ec_status status = EC_OK, mine = EC_OK;
    const train_options *o = values;
    ec_error first;
    ec_config *config = NULL;
    cli_session session = {0};
    listener l = {.quiet = cli->quiet};
    EC_TRY(cli_load_config(cli, &config));
    cli_set_log_level(config->logging.level, false);
    cli_session_options how = cli_session_of(config);
    how.stops = true;
    EC_TRY(cli_session_open(&how, &session));
    l.config = config;
    if (session.comm->rank == 0) mine = open_folder(&l);
    EC_TRY(ec__comm_agree(session.comm, mine));
    const ec_train_observer observer = {
        .arg = &l, .started = started, .stepped = stepped, .validated = validated, .saved = saved};
    const ec_train_options train = {.resume = o->resume};
    EC_TRY(ec__train_run(config, session.be, session.comm, &train, &observer));
    if (session.comm->rank == 0) EC_TRY(print_result(cli, config, &l));
done:
    if (status == EC_STOPPED && session.comm->rank == 0) tell_stop(&l);
    /* An error of closing must not take the place of the one that ended the run. */
    first = *ec_error_last();
    mine = ec__metrics_close(l.metrics);
    if (status == EC_OK) status = mine;
    else ec__error_adopt(&first);
    json_decref(l.last);
    cli_session_close(&session, status);
    ec__config_free(config);
    return status;
}

const cli_command cli_train = {
    .name = "train",
    .summary = "Train projection heads on two feature caches.",
    .arguments = "CONFIG [KEY=VALUE ...]",
    .arguments_min = 1,
    .arguments_max = -1,
    .details = "Runs on one rank or, started by mpirun, on many; the weights have the same bits on any number of ranks "
               "(distributed.reduction: reproducible). USR1, USR2, INT and TERM ask for a checkpoint and a stop after "
               "the current step; exit code 75 then says that --resume auto goes on. Metrics are lines of JSON in "
               "metrics.jsonl of logging.folder.",
    .options = options,
    .values_size = sizeof(train_options),
    .run = run,
};
