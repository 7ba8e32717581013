#include "pipeline/loader_read.h"

#include <string.h>

#include "core/rng.h"
#include "pipeline/replace.h"

/* A smaller batch is read before the threads have woken. */
enum { FEWEST_TASKS = 8 };

void ec__batch_reader_init(ec_batch_reader *reader, const ec_loader_config *config, ec_sampler *sampler,
                           const ec_row_source source[EC_MODALITIES]) {
    *reader = (ec_batch_reader){.config = *config, .sampler = sampler, .drawn = config->first_step,
                                .rows = (int32_t)(config->global_rows / config->size)};
    memcpy(reader->source, source, sizeof reader->source);
    for (int m = 0; m < EC_MODALITIES; m++) reader->half[m] = config->half && source[m].read_half;
}

/* Positions [first, first + count) of this rank's part of a batch. */
typedef struct piece {
    ec_modality m;
    int32_t first, count;
} piece;

typedef struct job {
    ec_batch_reader *reader;
    int64_t step;
    const ec_batch_place *place;
} job;

static int32_t pieces_of(const ec_batch_reader *r) { return (r->rows + EC_READ_PIECE - 1) / EC_READ_PIECE; }

static piece piece_of(const ec_batch_reader *r, int32_t task) {
    const int32_t pieces = pieces_of(r), first = task % pieces * EC_READ_PIECE;
    return (piece){.m = (ec_modality)(task / pieces), .first = first,
                   .count = r->rows - first < EC_READ_PIECE ? r->rows - first : EC_READ_PIECE};
}

/* fn for all tasks of a batch. */
static ec_status run(const ec_batch_reader *r, bool shared, ec_task_fn fn, void *arg) {
    const int32_t tasks = EC_MODALITIES * pieces_of(r);
    if (shared && r->pool && tasks >= FEWEST_TASKS) return ec__pool_run(r->pool, tasks, fn, arg);
    for (int32_t task = 0; task < tasks; task++) EC_RETURN_IF(fn(arg, task, 0));
    return EC_OK;
}

static int64_t position(const ec_batch_reader *r, int32_t b) { return (int64_t)r->config.rank * r->rows + b; }

/* Draws the rows of a piece of a step to come, and announces them. */
static ec_status draw_piece(void *arg, int32_t task, int32_t worker) {
    const job *j = arg;
    ec_batch_reader *r = j->reader;
    const piece p = piece_of(r, task);
    const ec_row_source *from = &r->source[p.m];
    int64_t *row = r->row[j->step % EC_LOADER_RING][p.m] + p.first;
    (void)worker;
    EC_RETURN_IF(ec__sampler_rows(r->sampler, p.m, j->step, position(r, p.first), p.count, row));
    if (from->will_need) from->will_need(from->arg, row, p.count);
    return EC_OK;
}

/* Draws the rows of steps up to AHEAD after step, each once and in order. */
static ec_status draw_ahead(ec_batch_reader *r, int64_t step) {
    ec_status status = EC_OK;
    const bool shared = ec__sampler_is_pure(r->sampler);
    for (; r->drawn < r->config.end_step && r->drawn <= step + EC_LOADER_AHEAD; r->drawn++) {
        job j = {.reader = r, .step = r->drawn};
        EC_TRY(run(r, shared, draw_piece, &j));
    }
done:
    /* The step itself may be well while one to come is not: then that one's turn is when it fails. */
    return status != EC_OK && r->drawn > step ? EC_OK : status;
}

static void draw_views(const ec_batch_reader *r, const piece *p, int64_t step) {
    for (int32_t b = p->first; b < p->first + p->count; b++) {
        ec_rng rng = ec__rng_at(r->config.seed, EC_RNG_AUGMENT, (uint32_t)step,
                                (uint64_t)p->m << 40 | (uint64_t)position(r, b));
        r->view[p->m][b] = (int32_t)ec__rng_below(&rng, (uint64_t)r->source[p->m].views);
    }
}

/* Replaces the rows of a piece that cannot be read. */
static ec_status replace_bad(const ec_batch_reader *r, const piece *p, int64_t step) {
    const ec_row_source *from = &r->source[p->m];
    int64_t *row = r->row[step % EC_LOADER_RING][p->m], count;
    const int64_t *candidate = ec__sampler_candidates(r->sampler, p->m, &count);
    for (int32_t b = p->first; candidate && b < p->first + p->count; b++) {
        if (from->good(from->arg, row[b])) continue;
        ec_rng rng = ec__rng_at(r->config.seed, EC_RNG_REPLACE, (uint32_t)step,
                                (uint64_t)p->m << 40 | (uint64_t)position(r, b));
        EC_RETURN_IF(ec__replacement(from, candidate, count, &rng, row[b], &row[b]));
    }
    return EC_OK;
}

static ec_status read_piece(void *arg, int32_t task, int32_t worker) {
    const job *j = arg;
    const ec_batch_reader *r = j->reader;
    const piece p = piece_of(r, task);
    const ec_row_source *from = &r->source[p.m];
    const int64_t *row = r->row[j->step % EC_LOADER_RING][p.m] + p.first;
    const int32_t *view = from->views > 1 ? r->view[p.m] + p.first : NULL;
    const size_t at = (size_t)p.first * (size_t)from->width;
    int32_t *label = j->place->label[p.m] + p.first;
    void *x = j->place->x[p.m];
    (void)worker;
    if (from->good) EC_RETURN_IF(replace_bad(r, &p, j->step));
    if (view) draw_views(r, &p, j->step);
    if (r->half[p.m]) EC_RETURN_IF(from->read_half(from->arg, row, view, p.count, (uint16_t *)x + at));
    else EC_RETURN_IF(from->read(from->arg, row, view, p.count, (float *)x + at));
    for (int32_t b = 0; b < p.count; b++) label[b] = from->label[row[b]];
    return EC_OK;
}

ec_status ec__batch_read(ec_batch_reader *r, int64_t step, const ec_batch_place *place, ec_batch *batch) {
    job j = {.reader = r, .step = step, .place = place};
    EC_RETURN_IF(draw_ahead(r, step));
    EC_RETURN_IF(run(r, true, read_piece, &j));
    batch->step = step;
    for (int m = 0; m < EC_MODALITIES; m++) {
        batch->x[m] = r->half[m] ? NULL : place->x[m];
        batch->half[m] = r->half[m] ? place->x[m] : NULL;
        batch->label[m] = place->label[m];
        batch->row[m] = r->row[step % EC_LOADER_RING][m];
    }
    return EC_OK;
}
