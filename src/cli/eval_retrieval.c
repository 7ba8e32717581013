/* emoclim eval retrieval: how well images find music of their emotion, and the other three ways round. */
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/session.h"
#include "eval/retrieval.h"
#include "pipeline/embed.h"
#include "report/retrieval_json.h"
#include "train/trained.h"

typedef struct eval_options {
    const char *checkpoint, *images, *music, *out;
    int split;
    int64_t threads;
} eval_options;

static const char *const splits[] = {"test", "valid", "train", "all", NULL};
static const int split_of[] = {EC_SPLIT_TEST, EC_SPLIT_VALID, EC_SPLIT_TRAIN, -1};

static const cli_option options[] = {
    {.name = "checkpoint", .letter = 'c', .type = CLI_TEXT, .argument = "FILE",
     .help = "checkpoint with the trained heads", .offset = offsetof(eval_options, checkpoint)},
    {.name = "images", .type = CLI_TEXT, .argument = "FILE",
     .help = "feature cache of images (default: the one trained on)", .offset = offsetof(eval_options, images)},
    {.name = "music", .type = CLI_TEXT, .argument = "FILE",
     .help = "feature cache of music (default: the one trained on)", .offset = offsetof(eval_options, music)},
    {.name = "split", .type = CLI_CHOICE, .argument = "SPLIT", .choices = splits,
     .offset = offsetof(eval_options, split), .help = "rows to evaluate: test, valid, train or all (default: test)"},
    {.name = "out", .letter = 'o', .type = CLI_TEXT, .argument = "FOLDER", .offset = offsetof(eval_options, out),
     .help = "write macro/TASK_retrieval.json and per_class/TASK_retrieval.json there"},
    {.name = "threads", .type = CLI_INT, .argument = "N", .low = 0, .high = 4096,
     .offset = offsetof(eval_options, threads),
     .help = "CPU threads of a rank (default: the processors shared by its ranks)"},
    {0},
};

/* One modality of the data that is evaluated. */
typedef struct side {
    ec_cache *cache;
    int64_t *row; /* (count) of the split */
    int64_t count;
    int32_t *label;                /* (count) */
    float *z[EC_EMBEDDINGS];       /* (count, D) */
} side;

static void side_release(side *s) {
    for (int e = 0; e < EC_EMBEDDINGS; e++) free(s->z[e]);
    free(s->label);
    free(s->row);
    ec__cache_close(s->cache);
}

static ec_status side_open(const char *path, int split, const ec_heads_config *heads, side *s) {
    EC_RETURN_IF(ec__cache_open(path, NULL, &s->cache));
    const ec_cache_info *info = ec__cache_info(s->cache);
    if (!info->label) return EC_ERROR(EC_ERR_DATA, "%s has tags and no labels: retrieval needs one label a row", path);
    s->row = malloc(sizeof *s->row * (size_t)info->rows);
    s->label = malloc(sizeof *s->label * (size_t)info->rows);
    if (!s->row || !s->label) return EC_ERROR(EC_ERR_MEMORY, "no memory for %lld rows", (long long)info->rows);
    for (int64_t r = 0; r < info->rows; r++)
        if (split < 0 || info->split[r] == split) {
            s->label[s->count] = info->label[r];
            s->row[s->count++] = r;
        }
    if (s->count == 0)
        return EC_ERROR(EC_ERR_DATA, "%s has no row of split \"%s\"", path, ec__split_name((ec_split)split));
    for (int e = 0; e < ec__heads_embeddings(heads); e++) {
        s->z[e] = malloc(sizeof(float) * (size_t)s->count * (size_t)heads->output_dim);
        if (!s->z[e]) return EC_ERROR(EC_ERR_MEMORY, "no memory for %lld embeddings", (long long)s->count);
    }
    return EC_OK;
}

static const struct {
    const char *name;
    ec_modality query, item;
} tasks[] = {
    {"image2music", EC_IMAGE, EC_MUSIC},
    {"music2image", EC_MUSIC, EC_IMAGE},
    {"image2image", EC_IMAGE, EC_IMAGE},
    {"music2music", EC_MUSIC, EC_MUSIC},
};
enum { TASKS = sizeof tasks / sizeof tasks[0] };

typedef struct evaluation {
    const cli_context *cli;
    const eval_options *o;
    cli_session session;
    ec_trained trained;
    side side[EC_MODALITIES];
    const char **class_name;
    json_t *json; /* of all tasks */
} evaluation;

/* Rank 0 only. */
static ec_status report_task(evaluation *e, int t, const ec_retrieval_result *r) {
    if (e->o->out) EC_RETURN_IF(ec__retrieval_write(e->o->out, tasks[t].name, r, e->class_name));
    if (e->json) {
        json_t *task = json_pack("{s:I, s:o, s:o}", "queries", (json_int_t)r->queries, "macro",
                                 ec__retrieval_macro_json(r), "per_class",
                                 ec__retrieval_per_class_json(r, e->class_name));
        return json_object_set_new(e->json, tasks[t].name, task) == 0
                   ? EC_OK
                   : EC_ERROR(EC_ERR_MEMORY, "no memory for results");
    }
    if (t == 0)
        EC_RETURN_IF(
            cli_print("%-12s %8s %7s %7s %7s %7s %7s\n", "task", "queries", "P@1", "P@5", "P@10", "MRR", "MAP"));
    return cli_print("%-12s %8lld %7.4f %7.4f %7.4f %7.4f %7.4f\n", tasks[t].name, (long long)r->queries,
                     r->macro[EC_P_AT_1], r->macro[EC_P_AT_5], r->macro[EC_P_AT_10], r->macro[EC_MRR],
                     r->macro[EC_MAP]);
}

static ec_status run_task(evaluation *e, int t) {
    ec_status status = EC_OK;
    ec_retrieval_result result = {0};
    bool intra = tasks[t].query == tasks[t].item;
    const ec_heads_config *heads = &e->trained.heads->config;
    int which = ec__heads_embedding(heads, intra ? EC_INTRA : EC_CROSS);
    const side *q = &e->side[tasks[t].query], *i = &e->side[tasks[t].item];
    const ec_retrieval_side query = {q->z[which], q->label, q->count}, item = {i->z[which], i->label, i->count};
    if (intra && q->count < 2) return EC_OK; /* nothing but itself to find */
    EC_TRY(ec__retrieval_evaluate(e->session.be->host, e->session.comm->host, &query, &item, heads->output_dim, intra,
                                  &result));
    EC_TRY(ec__comm_agree(e->session.comm, e->session.comm->rank == 0 ? report_task(e, t, &result) : EC_OK));
done:
    ec__retrieval_release(&result);
    return status;
}

static ec_status open_all(evaluation *e) {
    const char *path[EC_MODALITIES] = {[EC_IMAGE] = e->o->images, [EC_MUSIC] = e->o->music};
    EC_RETURN_IF(ec__trained_load(e->session.be, e->o->checkpoint, &e->trained));
    if (!path[EC_IMAGE]) path[EC_IMAGE] = e->trained.config->dataset.image_cache;
    if (!path[EC_MUSIC]) path[EC_MUSIC] = e->trained.config->dataset.audio_cache;
    for (int m = 0; m < EC_MODALITIES; m++)
        EC_RETURN_IF(side_open(path[m], split_of[e->o->split], &e->trained.heads->config, &e->side[m]));
    for (int m = 0; m < EC_MODALITIES; m++)
        EC_RETURN_IF(ec__trained_check_features(&e->trained, (ec_modality)m, path[m],
                                                &ec__cache_info(e->side[m].cache)->identity));
    const ec_cache_info *info = ec__cache_info(e->side[EC_IMAGE].cache);
    EC_RETURN_IF(ec__cache_check_classes(info, ec__cache_info(e->side[EC_MUSIC].cache)));
    e->class_name = malloc(sizeof *e->class_name * (size_t)info->class_count);
    if (!e->class_name) return EC_ERROR(EC_ERR_MEMORY, "no memory for class names");
    for (int32_t c = 0; c < info->class_count; c++) e->class_name[c] = ec__h5_string(&info->class_names, c);
    return EC_OK;
}

static ec_status run(const cli_context *cli, const void *values) {
    ec_status status = EC_OK;
    evaluation e = {.cli = cli, .o = values, .json = cli->json ? json_object() : NULL};
    if (!e.o->checkpoint) EC_FAIL(EC_ERR_USAGE, "--checkpoint is missing");
    EC_TRY(cli_session_open(&(cli_session_options){.threads = e.o->threads}, &e.session));
    EC_TRY(ec__comm_agree(e.session.comm, open_all(&e)));
    for (int m = 0; m < EC_MODALITIES; m++) {
        side *s = &e.side[m];
        EC_TRY(ec__embed_rows(e.trained.heads, e.session.comm->host, (ec_modality)m, s->cache, s->row, s->count, s->z));
    }
    for (int t = 0; t < TASKS; t++) EC_TRY(run_task(&e, t));
    if (e.json && e.session.comm->rank == 0) EC_TRY(cli_print_json(json_incref(e.json)));
done:
    json_decref(e.json);
    free(e.class_name);
    for (int m = 0; m < EC_MODALITIES; m++) side_release(&e.side[m]);
    ec__trained_release(&e.trained);
    cli_session_close(&e.session, status);
    return status;
}

const cli_command cli_eval_retrieval = {
    .name = "retrieval",
    .summary = "Precision, MRR and MAP of the four retrieval tasks, macro and per class.",
    .details = "Exact, and the same numbers on any number of ranks. Files of --out have the layout of the original "
               "program's results.",
    .options = options,
    .values_size = sizeof(eval_options),
    .run = run,
};
