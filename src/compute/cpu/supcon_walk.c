#include <sched.h>

#include "compute/cpu/supcon.h"

/* Most floats a modality that are packed once for all tasks; above, memory matters more than the 3 % of packing
 * again. */
static const size_t PACK_ALL = 1 << 20;

static int32_t round_up(int32_t x, int32_t to) { return (x + to - 1) / to * to; }

/* Rows of a block, from the shape alone: as many as stay in the second-level cache, so that a row brought there meets
 * many others; fewer where the batch is small, to leave work for several threads, but whole tiles if possible. */
static int32_t block_rows(int64_t global_rows, int32_t dim) {
    enum { SMALLEST = 32, LARGEST = 512, CACHED = 65536 /* floats */ };
    int32_t most = CACHED / dim / EC_SUPCON_TILE * EC_SUPCON_TILE;
    if (most < EC_SUPCON_TILE) most = EC_SUPCON_TILE;
    if (most > LARGEST) most = LARGEST;
    if (global_rows >= 8 * (int64_t)most) return most;
    if (global_rows > 8 * EC_SUPCON_TILE) return round_up((int32_t)(global_rows + 7) / 8, EC_SUPCON_TILE);
    const int32_t rows = round_up((int32_t)(global_rows + 3) / 4, SMALLEST);
    return rows < EC_SUPCON_TILE ? rows : EC_SUPCON_TILE;
}

ec_supcon_plan ec__supcon_plan(ec_backend *be, int64_t global_rows, int32_t dim, ec_arena *arena) {
    ec_supcon_plan plan = {.kernel = ec__supcon_kernel_pick(), .global_rows = global_rows, .dim = dim};
    plan.block_rows = block_rows(global_rows, dim);
    plan.blocks = (int32_t)((global_rows + plan.block_rows - 1) / plan.block_rows);
    const int32_t all = 2 * plan.blocks, workers = be->width(be);
    plan.tasks = all + all / 2 * (all - 1);
    plan.turn = ec__arena_take(arena, (size_t)all, sizeof *plan.turn);
    plan.work = ec__arena_take(arena, (size_t)workers, sizeof *plan.work);
    const size_t all_floats = ((size_t)global_rows + (size_t)plan.kernel->nr) * (size_t)dim;
    const bool packed = all_floats <= PACK_ALL;
    for (int m = 0; m < 2; m++) plan.columns[m] = packed ? ec__arena_take(arena, all_floats, sizeof(float)) : NULL;
    plan.packed = packed;
    const size_t column_floats = packed ? 0 : (size_t)round_up(plan.block_rows, plan.kernel->nr) * (size_t)dim;
    const size_t tail_floats = (size_t)EC_SUPCON_TILE * (size_t)plan.kernel->nr;
    const size_t tile_floats = (size_t)(EC_SUPCON_TILE + plan.kernel->mr) * EC_SUPCON_TILE_LD;
    for (int32_t w = 0; w < workers; w++) {
        ec_supcon_work work;
        work.columns = ec__arena_take(arena, column_floats, sizeof(float));
        work.tail = ec__arena_take(arena, tail_floats, sizeof(float));
        work.tile = ec__arena_take(arena, tile_floats, sizeof(float));
        work.class_sum = ec__arena_take(arena, 2 * (size_t)dim, sizeof(double));
        work.towards = ec__arena_take(arena, (size_t)dim, sizeof(float));
        if (plan.work) plan.work[w] = work;
    }
    return plan;
}

ec_supcon_plan ec__supcon_plan_of(ec_backend *be, const ec_supcon_problem *problem) {
    ec_arena counting = ec__arena_counting();
    ec__supcon_plan(be, problem->global_rows, problem->dim, &counting);
    ec_arena arena = ec__arena_over(problem->scratch, ec__arena_used(&counting));
    return ec__supcon_plan(be, problem->global_rows, problem->dim, &arena);
}

typedef struct packing {
    const ec_supcon_plan *plan;
    const ec_supcon_problem *problem;
} packing;

static ec_status pack_task(void *arg, int32_t task, ec_stream *stream) {
    const packing *p = arg;
    const ec_supcon_plan *plan = p->plan;
    const int32_t modality = task / plan->blocks;
    const int64_t row = (int64_t)(task % plan->blocks) * plan->block_rows, left = plan->global_rows - row;
    (void)stream;
    plan->kernel->pack_columns(p->problem->z[modality] + row * plan->dim,
                               left < plan->block_rows ? (int32_t)left : plan->block_rows, plan->dim,
                               plan->columns[modality] + row * plan->dim);
    return EC_OK;
}

ec_status ec__supcon_pack(ec_backend *be, const ec_supcon_plan *plan, const ec_supcon_problem *problem) {
    packing p = {.plan = plan, .problem = problem};
    if (plan->packed) EC_RETURN_IF(be->for_each(be, 2 * plan->blocks, pack_task, &p));
    return EC_OK;
}

const float *ec__supcon_columns(const ec_supcon_plan *plan, const ec_supcon_problem *problem,
                                const ec_supcon_work *work, const ec_supcon_span *second) {
    const ptrdiff_t at = second->row * plan->dim;
    if (plan->packed) return plan->columns[second->modality] + at;
    plan->kernel->pack_columns(problem->z[second->modality] + at, second->rows, plan->dim, work->columns);
    return work->columns;
}

static int32_t clamp(int64_t x, int32_t limit) { return x < 0 ? 0 : x > limit ? limit : (int32_t)x; }

ec_supcon_span ec__supcon_span(const ec_supcon_problem *problem, int32_t modality, int64_t row, int32_t rows) {
    return (ec_supcon_span){.modality = modality,
                            .row = row,
                            .rows = rows,
                            .own_begin = clamp(problem->first - row, rows),
                            .own_end = clamp(problem->first + problem->rows - row, rows)};
}

typedef struct walk {
    const ec_supcon_plan *plan;
    const ec_supcon_problem *problem;
    ec_supcon_pair_fn fn;
    void *arg;
} walk;

static ec_supcon_span block_span(const walk *w, int32_t block) {
    const ec_supcon_plan *plan = w->plan;
    const int32_t modality = block / plan->blocks;
    const int64_t row = (int64_t)(block % plan->blocks) * plan->block_rows;
    const int64_t left = plan->global_rows - row;
    return ec__supcon_span(w->problem, modality, row, left < plan->block_rows ? (int32_t)left : plan->block_rows);
}

/* The circle method: one block sits still, the others move on by one seat a round. */
static int32_t find_pair(const ec_supcon_plan *plan, int32_t task, int32_t *first, int32_t *second) {
    const int32_t all = 2 * plan->blocks, ring = all - 1;
    if (task < all) {
        *first = *second = task;
        return 0;
    }
    const int32_t round = (task - all) / (all / 2), seat = (task - all) % (all / 2);
    const int32_t a = seat == 0 ? ring : (round + seat) % ring, b = (round - seat + ring) % ring;
    *first = a < b ? a : b;
    *second = a < b ? b : a;
    return round + 1;
}

/* Tasks are taken in order, so whoever finishes the round before is already running: nobody waits in a circle. */
static void wait_for(const ec_supcon_plan *plan, int32_t block, int32_t round) {
    for (int spins = 0; atomic_load_explicit(&plan->turn[block].rounds, memory_order_acquire) < round; spins++) {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
        if (spins > 2000) sched_yield();
    }
}

static bool is_wanted(const ec_supcon_problem *problem, const ec_supcon_span *a, const ec_supcon_span *b) {
    const bool owned = a->own_begin < a->own_end || b->own_begin < b->own_end;
    return owned && (a->modality == b->modality ? problem->intra[a->modality] : problem->cross);
}

static ec_status walk_task(void *arg, int32_t task, ec_stream *stream) {
    const walk *w = arg;
    const ec_supcon_plan *plan = w->plan;
    int32_t a, b;
    const int32_t round = find_pair(plan, task, &a, &b);
    const ec_supcon_span first = block_span(w, a), second = block_span(w, b);
    wait_for(plan, a, round);
    wait_for(plan, b, round);
    if (is_wanted(w->problem, &first, &second)) w->fn(w->arg, &plan->work[stream->worker], &first, &second);
    atomic_store_explicit(&plan->turn[a].rounds, round + 1, memory_order_release);
    if (a != b) atomic_store_explicit(&plan->turn[b].rounds, round + 1, memory_order_release);
    return EC_OK;
}

ec_status ec__supcon_walk(ec_backend *be, const ec_supcon_plan *plan, const ec_supcon_problem *problem,
                          ec_supcon_pair_fn fn, void *arg) {
    walk w = {.plan = plan, .problem = problem, .fn = fn, .arg = arg};
    for (int32_t b = 0; b < 2 * plan->blocks; b++)
        atomic_store_explicit(&plan->turn[b].rounds, 0, memory_order_relaxed);
    EC_RETURN_IF(be->for_each(be, plan->tasks, walk_task, &w));
    return EC_OK;
}
