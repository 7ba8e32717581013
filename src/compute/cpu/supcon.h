/* How the CPU back end cuts the matrix of the SupCon loss and walks through it.
 *
 * Each modality is cut into row blocks; a pair of blocks is a task. Pairs are played as a round-robin tournament: in a
 * round every block meets exactly one other, so a block receives its contributions in a fixed order, from one task at a
 * time. A block's pair with itself comes first. A task starts when both its blocks have finished the round before. */
#ifndef EC_COMPUTE_CPU_SUPCON_H
#define EC_COMPUTE_CPU_SUPCON_H

#include <stdatomic.h>

#include "compute/cpu/cpu.h"
#include "compute/cpu/supcon_kernel.h"
#include "compute/ops_supcon.h"
#include "core/arena.h"

/* Rounds that a block has finished, on a cache line of its own. */
typedef struct ec_supcon_turn {
    _Alignas(64) atomic_int rounds;
} ec_supcon_turn;

/* What one worker works in. */
typedef struct ec_supcon_work {
    float *columns;    /* the second block, packed by columns; unused where packed */
    float *tail;       /* (EC_SUPCON_TILE, nr) of one tile's rows */
    float *tile;       /* (EC_SUPCON_TILE + mr, EC_SUPCON_TILE_LD) */
    double *class_sum; /* (2, D) */
    float *towards;    /* (D) */
} ec_supcon_work;

typedef struct ec_supcon_plan {
    const ec_supcon_kernel *kernel;
    int64_t global_rows;
    int32_t dim;
    int32_t block_rows; /* rows of a block; the last one of a modality may have fewer */
    int32_t blocks;     /* of one modality; block b of music is number blocks + b */
    int32_t tasks;
    bool packed;          /* both modalities are packed by columns beforehand, once for all tasks */
    float *columns[2];    /* where packed: (G rounded up to nr, D) */
    ec_supcon_turn *turn; /* (2 blocks) */
    ec_supcon_work *work; /* one a worker */
} ec_supcon_plan;

/* Consecutive rows of one modality, and which of them this rank owns. */
typedef struct ec_supcon_span {
    int32_t modality;
    int64_t row; /* the first */
    int32_t rows;
    int32_t own_begin, own_end; /* relative to row; empty where own_begin == own_end */
} ec_supcon_span;

/* Everything but memory; then places the arrays (counting when arena does). */
ec_supcon_plan ec__supcon_plan(ec_backend *be, int64_t global_rows, int32_t dim, ec_arena *arena);

/* The plan of a problem, in its scratch. */
ec_supcon_plan ec__supcon_plan_of(ec_backend *be, const ec_supcon_problem *problem);

/* Packs both modalities where the plan has room for them. To be called before a walk. */
ec_status ec__supcon_pack(ec_backend *be, const ec_supcon_plan *plan, const ec_supcon_problem *problem);

/* The second block of a pair, packed by columns. */
const float *ec__supcon_columns(const ec_supcon_plan *plan, const ec_supcon_problem *problem,
                                const ec_supcon_work *work, const ec_supcon_span *second);

ec_supcon_span ec__supcon_span(const ec_supcon_problem *problem, int32_t modality, int64_t row, int32_t rows);

/* Does one pair of blocks; first == second for a block with itself. */
typedef void (*ec_supcon_pair_fn)(void *arg, ec_supcon_work *work, const ec_supcon_span *first,
                                  const ec_supcon_span *second);

/* Calls fn for every pair in which this rank owns rows and whose block of the matrix is wanted. */
ec_status ec__supcon_walk(ec_backend *be, const ec_supcon_plan *plan, const ec_supcon_problem *problem,
                          ec_supcon_pair_fn fn, void *arg);

ec_status ec__cpu_supcon_positives(ec_backend *be, const ec_supcon_problem *problem, const ec_supcon_classes *classes,
                                   const double coefficient[EC_SUPCON_DIRECTIONS], const ec_supcon_rows *own,
                                   float *const grad[2]);

ec_status ec__cpu_supcon_weights(ec_backend *be, const ec_supcon_problem *problem, const ec_supcon_classes *classes,
                                 const double coefficient[EC_SUPCON_DIRECTIONS], const void *pieces, float *weight,
                                 float *shift, double *loss);

#endif
