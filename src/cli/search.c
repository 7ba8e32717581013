/* emoclim search: the items of an index that are nearest to a picture or a piece of music. */
#define _POSIX_C_SOURCE 200809L
#include <stdlib.h>

#include "cache/json_text.h"
#include "cli/commands.h"
#include "core/clock.h"
#include "emoclim/emoclim.h"

typedef struct search_options {
    const char *checkpoint, *image, *music, *index;
    int64_t k, threads;
} search_options;

static const search_options defaults = {.k = 10};

static const cli_option options[] = {
    {.name = "checkpoint", .letter = 'c', .type = CLI_TEXT, .argument = "FILE",
     .help = "checkpoint with the trained heads",
     .offset = offsetof(search_options, checkpoint)},
    {.name = "image", .type = CLI_TEXT, .argument = "FILE", .help = "picture to search with",
     .offset = offsetof(search_options, image)},
    {.name = "music", .type = CLI_TEXT, .argument = "FILE", .help = "recording to search with",
     .offset = offsetof(search_options, music)},
    {.name = "index", .type = CLI_TEXT, .argument = "FILE", .help = "embeddings to search in, from \"emoclim embed\"",
     .offset = offsetof(search_options, index)},
    {.name = "k", .letter = 'k', .type = CLI_INT, .argument = "K", .low = 1, .high = 1000000,
     .help = "items to show (default: 10)", .offset = offsetof(search_options, k)},
    {.name = "threads", .type = CLI_INT, .argument = "N", .low = 0, .high = 4096,
     .offset = offsetof(search_options, threads),
     .help = "CPU threads (default: all processors)"},
    {0},
};

typedef struct search {
    const cli_context *cli;
    const search_options *o;
    ec_model *model;
    ec_index *index;
    float *query; /* (D) unit length */
    ec_match *match;
    int32_t found;
    double encode_ms, load_ms, search_ms;
} search;

static ec_status embed_query(search *s) {
    s->query = malloc(sizeof *s->query * (size_t)ec_model_width(s->model));
    if (!s->query) return EC_ERROR(EC_ERR_MEMORY, "no memory for the query");
    EC_RETURN_IF(s->o->image ? ec_model_prepare_image(s->model) : ec_model_prepare_music(s->model));
    int64_t start = ec__now_ns();
    EC_RETURN_IF(s->o->image ? ec_model_embed_image(s->model, s->o->image, s->query)
                             : ec_model_embed_music(s->model, s->o->music, 0, 0, s->query));
    s->encode_ms = ec__seconds_since(start) * 1e3;
    return EC_OK;
}

static ec_status load_index(search *s) {
    int64_t start = ec__now_ns();
    EC_RETURN_IF(ec_index_open(s->o->index, (int32_t)s->o->threads, &s->index));
    EC_RETURN_IF(ec_index_check_model(s->index, s->model));
    s->load_ms = ec__seconds_since(start) * 1e3;
    return EC_OK;
}

static ec_status rank_items(search *s) {
    int64_t start = ec__now_ns(), items = ec_index_items(s->index);
    int32_t k = (int32_t)(s->o->k < items ? s->o->k : items);
    s->match = malloc(sizeof *s->match * (size_t)k);
    if (!s->match) return EC_ERROR(EC_ERR_MEMORY, "no memory for %d items", k);
    EC_RETURN_IF(ec_index_search(s->index, s->query, k, s->match, &s->found));
    s->search_ms = ec__seconds_since(start) * 1e3;
    return EC_OK;
}

static ec_status print_json(const search *s) {
    json_t *results = json_array();
    for (int32_t i = 0; i < s->found; i++)
        json_array_append_new(results, json_pack("{s:i, s:f, s:s, s:s?}", "rank", i + 1, "score",
                                                 (double)s->match[i].score, "id",
                                                 ec_index_id(s->index, s->match[i].item), "label",
                                                 ec_index_label(s->index, s->match[i].item)));
    return cli_print_json(json_pack("{s:o, s:o, s:I, s:f, s:f, s:f, s:o}", "query",
                                    ec__json_text(s->o->image ? s->o->image : s->o->music), "index",
                                    ec__json_text(s->o->index), "items",
                                    (json_int_t)ec_index_items(s->index), "encode_ms", s->encode_ms, "load_ms",
                                    s->load_ms, "search_ms", s->search_ms, "results", results));
}

static ec_status print_results(const search *s) {
    EC_RETURN_IF(cli_print("%4s  %7s  %-10s  %s\n", "rank", "cosine", "label", "file"));
    for (int32_t i = 0; i < s->found; i++) {
        const char *label = ec_index_label(s->index, s->match[i].item);
        EC_RETURN_IF(cli_print("%4d  %7.4f  %-10s  %s\n", i + 1, s->match[i].score, label ? label : "-",
                               ec_index_id(s->index, s->match[i].item)));
    }
    return cli_print("%lld items; encoding %.0f ms, loading the index %.0f ms, searching %.1f ms\n",
                     (long long)ec_index_items(s->index), s->encode_ms, s->load_ms, s->search_ms);
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
    EC_TRY(ec_model_open(s.o->checkpoint, (int32_t)s.o->threads, &s.model));
    EC_TRY(load_index(&s));
    EC_TRY(embed_query(&s));
    EC_TRY(rank_items(&s));
    EC_TRY(cli->json ? print_json(&s) : print_results(&s));
done:
    free(s.match);
    free(s.query);
    ec_index_close(s.index);
    ec_model_close(s.model);
    return status;
}

const cli_command cli_search = {
    .name = "search",
    .summary = "Find the music nearest to a picture, or the pictures nearest to a piece of music.",
    .details = "The index comes from \"emoclim embed\" with the same checkpoint. The search is exact: cosine "
               "similarity with every item, equal ones in the order of the index.",
    .options = options,
    .values_size = sizeof(search_options),
    .defaults = &defaults,
    .run = run,
};
