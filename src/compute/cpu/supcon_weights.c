/* From the sums of all rows to the losses and to what the gradient weighs rows with: one task a direction. */
#include <math.h>

#include "compute/cpu/supcon.h"

typedef struct job {
    const ec_supcon_problem *problem;
    const ec_supcon_classes *classes;
    const double *coefficient; /* (4) */
    const char *pieces;
    float *weight, *shift; /* (4, G) */
    double *loss;          /* (4) */
} job;

/* Weight 1 for anchors of a direction with a positive, 0 for the others. */
static void mark_anchors(const job *j, int32_t anchor, int32_t candidate, float *weight) {
    const ec_supcon_classes *classes = j->classes;
    for (int32_t c = 0; c < *classes->count; c++) {
        const int32_t bound[3] = {classes->start[c], classes->music[c], classes->start[c + 1]};
        const int32_t candidates = bound[candidate + 1] - bound[candidate];
        const float mark = candidates > (anchor == candidate ? 1 : 0) ? 1.f : 0.f;
        for (int32_t i = bound[anchor]; i < bound[anchor + 1]; i++)
            weight[classes->order[i] - anchor * j->problem->global_rows] = mark;
    }
}

/* Rows in ascending order. A direction of weight 0 may share its block of the matrix with one that counts, so its
 * shifts have to be known. */
static double finish(const job *j, int32_t d, float *all_weights, float *all_shifts) {
    const ec_supcon_problem *p = j->problem;
    const double coefficient = j->coefficient[d], ln2 = 0.69314718055994531;
    double total = 0, product = 1; /* of sums whose logarithm is still to be added: one logarithm for many rows */
    for (int64_t first = 0; first < p->global_rows; first += p->rows) {
        const char *piece = j->pieces + (size_t)(first / p->rows) * ec__supcon_rows_bytes(p->rows);
        const ec_supcon_rows rows = ec__supcon_rows_in((void *)(uintptr_t)piece, p->rows);
        for (int32_t b = 0; b < p->rows; b++) {
            const ptrdiff_t at = (ptrdiff_t)d * p->rows + b;
            float *weight = all_weights + first + b;
            const float shift = p->row_shift ? rows.shift[at] : p->shared_shift;
            if (p->row_shift) all_shifts[first + b] = shift;
            if (coefficient == 0) *weight = 0;
            if (*weight == 0.f) continue;
            total += ln2 * (double)shift - p->inverse_t * rows.positive[at];
            product *= rows.sum[at]; /* 1e-38 to 1e10, so far from the limits of a double */
            if (product < 1e-200 || product > 1e200) {
                total += log(product);
                product = 1;
            }
            *weight = (float)(coefficient / rows.sum[at]);
        }
    }
    return (total + log(product)) / (double)p->global_rows;
}

static ec_status direction_task(void *arg, int32_t task, ec_stream *stream) {
    const job *j = arg;
    const int32_t anchor = task / 2, candidate = task % 2, d = ec__supcon_direction(anchor, candidate);
    const ptrdiff_t at = d * (ptrdiff_t)j->problem->global_rows;
    (void)stream;
    mark_anchors(j, anchor, candidate, j->weight + at);
    j->loss[d] = finish(j, d, j->weight + at, j->shift + at);
    return EC_OK;
}

ec_status ec__cpu_supcon_weights(ec_backend *be, const ec_supcon_problem *problem, const ec_supcon_classes *classes,
                                 const double coefficient[EC_SUPCON_DIRECTIONS], const void *pieces, float *weight,
                                 float *shift, double *loss) {
    job j = {.problem = problem,
             .classes = classes,
             .coefficient = coefficient,
             .pieces = pieces,
             .weight = weight,
             .shift = shift,
             .loss = loss};
    return be->for_each(be, 4, direction_task, &j);
}
