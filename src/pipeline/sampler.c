#include "pipeline/sampler.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "pipeline/sampler_indices.h"

static const char *const modality_name[EC_MODALITIES] = {"images", "music"};
static const ec_rng_purpose draw_purpose[EC_MODALITIES] = {EC_RNG_SAMPLE_IMAGE, EC_RNG_SAMPLE_MUSIC};
static const ec_rng_purpose order_purpose[EC_MODALITIES] = {EC_RNG_SHUFFLE_IMAGE, EC_RNG_SHUFFLE_MUSIC};

typedef struct pool {
    int64_t count;
    int64_t *candidate; /* (count) rows: by class in class_balanced, ascending within; else as given */
    int64_t *start;     /* (classes + 1) where a class begins in candidate; class_balanced only */
    int64_t classes;
    int64_t *order; /* (count) the current round's order; shuffled only */
    int64_t round;  /* that order holds; -1: none */
} pool;

struct ec_sampler {
    ec_sampler_config config; /* its indices are not kept */
    pool pool[EC_MODALITIES];
    ec_indices *indices; /* or NULL */
};

typedef struct member {
    int32_t label;
    int64_t row;
} member;

static int by_label(const void *a, const void *b) {
    const member *x = a, *y = b;
    if (x->label != y->label) return x->label < y->label ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

/* Puts the candidates in order of their classes and notes where each class begins. */
static ec_status group_by_class(pool *p, const int32_t *label) {
    ec_status status = EC_OK;
    member *list = malloc((size_t)p->count * sizeof *list);
    p->start = malloc(((size_t)p->count + 1) * sizeof *p->start);
    if (!list || !p->start) EC_FAIL(EC_ERR_MEMORY, "no memory to group %lld rows by class", (long long)p->count);
    for (int64_t i = 0; i < p->count; i++) list[i] = (member){label[p->candidate[i]], p->candidate[i]};
    qsort(list, (size_t)p->count, sizeof *list, by_label);
    for (int64_t i = 0; i < p->count; i++) {
        if (i == 0 || list[i].label != list[i - 1].label) p->start[p->classes++] = i;
        p->candidate[i] = list[i].row;
    }
    p->start[p->classes] = p->count;
done:
    free(list);
    return status;
}

static ec_status fill_pool(ec_sampler *s, ec_modality m, const ec_sample_pool *from) {
    ec_status status = EC_OK;
    pool *p = &s->pool[m];
    const int64_t needed = m == EC_IMAGE && s->config.sampling == EC_SAMPLE_SHUFFLED ? s->config.global_rows : 1;
    p->count = from->count;
    p->round = -1;
    if (p->count < needed)
        EC_FAIL(EC_ERR_CONFIG, "there are %lld %s to draw from, a batch needs at least %lld", (long long)p->count,
                modality_name[m], (long long)needed);
    p->candidate = malloc((size_t)p->count * sizeof *p->candidate);
    if (!p->candidate) EC_FAIL(EC_ERR_MEMORY, "no memory for %lld row numbers", (long long)p->count);
    for (int64_t i = 0; i < p->count; i++) {
        p->candidate[i] = from->candidate ? from->candidate[i] : i;
        assert(p->candidate[i] >= 0 && p->candidate[i] < from->rows);
    }
    if (s->config.sampling == EC_SAMPLE_CLASS_BALANCED) {
        EC_TRY(group_by_class(p, from->label));
    } else {
        p->order = malloc((size_t)p->count * sizeof *p->order);
        if (!p->order) EC_FAIL(EC_ERR_MEMORY, "no memory for the order of %lld rows", (long long)p->count);
    }
done:
    return status;
}

ec_status ec__sampler_new(const ec_sampler_config *config, const ec_sample_pool from[EC_MODALITIES], ec_sampler **out) {
    ec_status status = EC_OK;
    ec_sampler *s = calloc(1, sizeof *s);
    if (!s) EC_FAIL(EC_ERR_MEMORY, "no memory for a sampler");
    s->config = *config;
    if (config->indices) {
        const int64_t rows[EC_MODALITIES] = {from[EC_IMAGE].rows, from[EC_MUSIC].rows};
        EC_TRY(ec__indices_read(config->indices, config->global_rows, rows, &s->indices));
    } else {
        for (int m = 0; m < EC_MODALITIES; m++) EC_TRY(fill_pool(s, (ec_modality)m, &from[m]));
    }
    *out = s;
    s = NULL;
done:
    ec__sampler_free(s);
    return status;
}

void ec__sampler_free(ec_sampler *s) {
    if (!s) return;
    for (int m = 0; m < EC_MODALITIES; m++) {
        free(s->pool[m].candidate);
        free(s->pool[m].start);
        free(s->pool[m].order);
    }
    ec__indices_free(s->indices);
    free(s);
}

static void draw_balanced(const ec_sampler *s, ec_modality m, int64_t step, int64_t first, int32_t count,
                          int64_t *row) {
    const pool *p = &s->pool[m];
    for (int32_t i = 0; i < count; i++) {
        ec_rng rng = ec__rng_at(s->config.seed, draw_purpose[m], (uint32_t)step, (uint64_t)(first + i));
        const int64_t *start = p->start + ec__rng_below(&rng, (uint64_t)p->classes);
        row[i] = p->candidate[start[0] + (int64_t)ec__rng_below(&rng, (uint64_t)(start[1] - start[0]))];
    }
}

/* The order of a round: Fisher-Yates, keyed by the round's number. */
static const int64_t *order_of(const ec_sampler *s, pool *p, ec_modality m, int64_t round) {
    if (p->round == round) return p->order;
    ec_rng rng = ec__rng_at(s->config.seed, order_purpose[m], (uint32_t)round, 0);
    memcpy(p->order, p->candidate, (size_t)p->count * sizeof *p->order);
    for (int64_t i = p->count - 1; i > 0; i--) {
        int64_t j = (int64_t)ec__rng_below(&rng, (uint64_t)i + 1), kept = p->order[i];
        p->order[i] = p->order[j];
        p->order[j] = kept;
    }
    p->round = round;
    return p->order;
}

static void draw_shuffled(ec_sampler *s, ec_modality m, int64_t step, int64_t first, int32_t count, int64_t *row) {
    const int64_t rows = s->config.global_rows;
    pool *p = &s->pool[m];
    /* Positions that a round uses; those of images are a whole number of batches. */
    const int64_t used = m == EC_IMAGE ? p->count / rows * rows : p->count;
    int64_t round = (step * rows + first) / used, at = (step * rows + first) % used;
    for (int32_t i = 0; i < count;) {
        const int64_t *order = order_of(s, p, m, round);
        const int64_t left = used - at < count - i ? used - at : count - i;
        memcpy(row + i, order + at, (size_t)left * sizeof *row);
        i += (int32_t)left;
        at = 0;
        round++;
    }
}

ec_status ec__sampler_rows(ec_sampler *s, ec_modality m, int64_t step, int64_t first, int32_t count, int64_t *row) {
    assert(step >= 0 && step < (int64_t)1 << 32 && first >= 0 && first + count <= s->config.global_rows);
    if (s->indices) return ec__indices_rows(s->indices, m, step, first, count, row);
    if (s->config.sampling == EC_SAMPLE_CLASS_BALANCED) draw_balanced(s, m, step, first, count, row);
    else draw_shuffled(s, m, step, first, count, row);
    return EC_OK;
}

bool ec__sampler_is_pure(const ec_sampler *s) {
    return !s->indices && s->config.sampling == EC_SAMPLE_CLASS_BALANCED;
}

const int64_t *ec__sampler_candidates(const ec_sampler *s, ec_modality m, int64_t *count) {
    *count = s->pool[m].count;
    return s->pool[m].candidate;
}

int64_t ec__sampler_steps_per_epoch(const ec_sampler *s) {
    if (s->indices) return ec__indices_steps(s->indices);
    int64_t rows = s->pool[EC_IMAGE].count, music = s->pool[EC_MUSIC].count;
    if (s->config.sampling == EC_SAMPLE_CLASS_BALANCED && music < rows) rows = music;
    return rows < s->config.global_rows ? 1 : rows / s->config.global_rows;
}

int64_t ec__sampler_steps(const ec_sampler *s) { return s->indices ? ec__indices_steps(s->indices) : (int64_t)1 << 32; }
