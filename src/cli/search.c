/* emoclim search: the items of an index that are nearest to a picture or a piece of music. */
#define _POSIX_C_SOURCE 200809L
#include <stdlib.h>
#include <string.h>

#include "cache/embedding_file.h"
#include "cli/commands.h"
#include "cli/session.h"
#include "core/clock.h"
#include "eval/similarity.h"
#include "pipeline/embed_media.h"
#include "train/trained.h"

typedef struct search_options {
    const char *checkpoint, *image, *music, *index;
    int64_t k, threads;
} search_options;

static const search_options defaults = {.k = 10};

static const cli_option options[] = {
    {.name = "checkpoint", .letter = 'c', .type = CLI_TEXT, .argument = "FILE", .help = "checkpoint with the trained heads",
     .offset = offsetof(search_options, checkpoint)},
    {.name = "image", .type = CLI_TEXT, .argument = "FILE", .help = "picture to search with",
     .offset = offsetof(search_options, image)},
    {.name = "music", .type = CLI_TEXT, .argument = "FILE", .help = "recording to search with",
     .offset = offsetof(search_options, music)},
    {.name = "index", .type = CLI_TEXT, .argument = "FILE", .help = "embeddings to search in, from \"emoclim embed\"",
     .offset = offsetof(search_options, index)},
    {.name = "k", .letter = 'k', .type = CLI_INT, .argument = "K", .low = 1, .high = 1000000,
     .help = "items to show (default: 10)", .offset = offsetof(search_options, k)},
    {.name = "threads", .type = CLI_INT, .argument = "N", .low = 0, .high = 4096, .offset = offsetof(search_options, threads),
     .help = "CPU threads (default: all processors)"},
    {0},
};

typedef struct search {
    const cli_context *cli;
    const search_options *o;
    cli_session session;
    ec_trained trained;
    ec_embeddings *index;
    float *query; /* (D) unit length */
    ec_ranked *top;
    int32_t found;
    double encode_ms, load_ms, search_ms;
} search;

static ec_status embed_query(search *s) {
    ec_status status = EC_OK;
    ec_featurizer *featurizer = NULL;
    uint8_t good = 0;
    ec_modality modality = s->o->image ? EC_IMAGE : EC_MUSIC;
    const ec_media_item item = {.path = s->o->image ? s->o->image : s->o->music};
    EC_TRY(ec__featurizer_open(s->session.be, s->trained.config, modality, &featurizer));
    EC_TRY(ec__trained_check_features(&s->trained, modality, "the encoder as it is now", ec__featurizer_identity(featurizer)));
    int64_t start = ec__now_ns();
    EC_TRY(ec__embed_media(s->trained.heads, EC_CROSS, s->session.comm, modality, featurizer, &item, 1, NULL, s->query, &good));
    s->encode_ms = ec__seconds_since(start) * 1e3;
    if (!good) EC_FAIL(EC_ERR_DATA, "cannot search with %s", item.path);
done:
    ec__featurizer_free(featurizer);
    return status;
}

static ec_status load_index(search *s) {
    int64_t start = ec__now_ns();
    EC_RETURN_IF(ec__embedding_read(s->o->index, &s->index));
    const ec_embedding_content *c = &s->index->content;
    if (strcmp(c->checkpoint_digest, s->trained.digest) != 0)
        return EC_ERROR(EC_ERR_DATA, "%s was made with another model (digest %.12s...) than %s (%.12s...); embed it again",
                        s->o->index, c->checkpoint_digest, s->o->checkpoint, s->trained.digest);
    s->load_ms = ec__seconds_since(start) * 1e3;
    return EC_OK;
}

static ec_status rank_items(search *s) {
    ec_status status = EC_OK;
    const ec_embedding_content *c = &s->index->content;
    ec_backend *be = s->session.be;
    int64_t start = ec__now_ns();
    float *scores = malloc(sizeof *scores * (size_t)c->rows);
    s->found = (int32_t)(s->o->k < c->rows ? s->o->k : c->rows);
    s->top = malloc(sizeof *s->top * (size_t)s->found);
    if (!scores || !s->top) EC_FAIL(EC_ERR_MEMORY, "no memory to rank %lld items", (long long)c->rows);
    EC_TRY(ec__similarity_block(be, be->main_stream(be), s->query, 1, c->embedding, c->rows, c->width, scores));
    ec__ranked_top(scores, c->rows, s->found, s->top);
    s->search_ms = ec__seconds_since(start) * 1e3;
done:
    free(scores);
    return status;
}

static const char *label_of(const ec_embedding_content *c, int32_t item) {
    return c->label[item] >= 0 ? c->class_names[c->label[item]] : NULL;
}

static ec_status print_json(const search *s) {
    const ec_embedding_content *c = &s->index->content;
    json_t *results = json_array();
    for (int32_t i = 0; i < s->found; i++)
        json_array_append_new(results, json_pack("{s:i, s:f, s:s, s:s?}", "rank", i + 1, "score", (double)s->top[i].score,
                                                 "id", c->id[s->top[i].index], "label", label_of(c, s->top[i].index)));
    return cli_print_json(json_pack("{s:s, s:s, s:I, s:f, s:f, s:f, s:o}", "query", s->o->image ? s->o->image : s->o->music,
                                    "index", s->o->index, "items", (json_int_t)c->rows, "encode_ms", s->encode_ms,
                                    "load_ms", s->load_ms, "search_ms", s->search_ms, "results", results));
}

static ec_status print_results(const search *s) {
    const ec_embedding_content *c = &s->index->content;
    EC_RETURN_IF(cli_print("%4s  %7s  %-10s  %s\n", "rank", "cosine", "label", "file"));
    for (int32_t i = 0; i < s->found; i++) {
        const char *label = label_of(c, s->top[i].index);
        EC_RETURN_IF(cli_print("%4d  %7.4f  %-10s  %s\n", i + 1, s->top[i].score, label ? label : "-", c->id[s->top[i].index]));
    }
    return cli_print("%lld items; encoding %.0f ms, loading the index %.0f ms, searching %.1f ms\n", (long long)c->rows,
                     s->encode_ms, s->load_ms, s->search_ms);
}

static ec_status check_options(const search_options *o) {
    if (!o->checkpoint) return EC_ERROR(EC_ERR_USAGE, "--checkpoint is missing");
    if (!o->index) return EC_ERROR(EC_ERR_USAGE, "--index is missing");
    if ((o->image != NULL) == (o->music != NULL)) return EC_ERROR(EC_ERR_USAGE, "give either --image or --music");
    return EC_OK;
}

static ec_status run(const cli_context *cli, const void *values) {
    ec_status status = EC_OK;
    search s = {.cli = cli, .o = values};
    EC_TRY(check_options(s.o));
    EC_TRY(cli_session_open(&(cli_session_options){.comm = "self", .threads = s.o->threads}, &s.session));
    EC_TRY(ec__trained_load(s.session.be, s.o->checkpoint, &s.trained));
    EC_TRY(load_index(&s));
    s.query = malloc(sizeof *s.query * (size_t)s.trained.heads->config.output_dim);
    if (!s.query) EC_FAIL(EC_ERR_MEMORY, "no memory for the query");
    EC_TRY(embed_query(&s));
    EC_TRY(rank_items(&s));
    EC_TRY(cli->json ? print_json(&s) : print_results(&s));
done:
    free(s.top);
    free(s.query);
    ec__embedding_free(s.index);
    ec__trained_release(&s.trained);
    cli_session_close(&s.session);
    return status;
}

const cli_command cli_search = {
    .name = "search",
    .summary = "Find the music nearest to a picture, or the pictures nearest to a piece of music.",
    .details = "The index comes from \"emoclim embed\" with the same checkpoint. The search is exact: cosine similarity "
               "with every item, equal ones in the order of the index.",
    .options = options,
    .values_size = sizeof(search_options),
    .defaults = &defaults,
    .run = run,
};
