#include "loss/supcon.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compute/ops_supcon.h"
#include "core/arena.h"
#include "loss/supcon_classes.h"

/* Powers of two between the largest and the smallest term of a sum up to which one shift serves all rows: the smallest
 * term, and its quotient by a sum, then stay normal numbers. At unit length this is t >= 0.0251. */
static const double SHARED_SHIFT_RANGE = 115;
static const int64_t MOST_ROWS = (int64_t)1 << 30;

/* What a rank tells the others about its embeddings before they are exchanged. */
typedef struct findings {
    int64_t bad[2]; /* first row that is not finite, or -1 */
    float norm2;    /* largest squared norm */
    int32_t unused;
} findings;

/* Per own row results, by direction; (4, B) each. Ranks exchange them as one piece. */
typedef struct row_results {
    double *sum, *positive;
    float *shift;
} row_results;

struct ec_supcon {
    ec_backend *be;
    ec_comm *comm;
    ec_supcon_config config;
    int32_t rows; /* B */

    size_t device_bytes, host_bytes;
    void *device, *host;
    float *z[2];     /* (G, D) of all ranks; unused on one rank */
    void *scratch;
    findings *findings;  /* (size) */
    int32_t *label;      /* (2G) */
    ec_class_sorter sorter;
    size_t results_bytes;
    char *results;       /* (size) pieces of results_bytes: row_results of each rank */
    float *weight;       /* (4, G) */
    float *shift;        /* (4, G) */
};

static ec_status check_config(const ec_comm *comm, const ec_supcon_config *c) {
    if (c->global_rows < 1 || c->global_rows > MOST_ROWS)
        return EC_ERROR(EC_ERR_CONFIG, "SupCon: a global batch of %lld rows; 1 to 2^30 are possible",
                        (long long)c->global_rows);
    if (c->global_rows % comm->size != 0)
        return EC_ERROR(EC_ERR_CONFIG, "SupCon: a global batch of %lld rows cannot be spread evenly over %d ranks",
                        (long long)c->global_rows, comm->size);
    if (c->dim < 1) return EC_ERROR(EC_ERR_CONFIG, "SupCon: embeddings of width %d; at least 1 is needed", c->dim);
    if (!(c->temperature > 0) || !isfinite(c->temperature) || !isfinite(1 / c->temperature))
        return EC_ERROR(EC_ERR_CONFIG, "SupCon: temperature %g; a positive number is needed", (double)c->temperature);
    for (int d = 0; d < EC_DIRECTIONS; d++)
        if (!(c->weight[d] >= 0) || !isfinite(c->weight[d]))
            return EC_ERROR(EC_ERR_CONFIG, "SupCon: weight %g of direction %d; 0 or a positive number is needed",
                            (double)c->weight[d], d);
    if (c->global_rows < 2 && (c->weight[EC_IMAGE_TO_IMAGE] > 0 || c->weight[EC_MUSIC_TO_MUSIC] > 0))
        return EC_ERROR(EC_ERR_CONFIG, "SupCon: the intra-modal losses of a batch of one row are undefined; use at least "
                                       "2 rows or set their weights to 0");
    return EC_OK;
}

static row_results results_of(const ec_supcon *loss, int32_t rank) {
    const size_t count = EC_SUPCON_DIRECTIONS * (size_t)loss->rows;
    double *piece = (double *)(loss->results + (size_t)rank * loss->results_bytes);
    return (row_results){.sum = piece, .positive = piece + count, .shift = (float *)(piece + 2 * count)};
}

static void place_device(ec_supcon *loss, ec_arena *arena) {
    const size_t count = (size_t)loss->config.global_rows * (size_t)loss->config.dim;
    if (loss->comm->size > 1)
        for (int m = 0; m < 2; m++) loss->z[m] = ec__arena_take(arena, count, sizeof(float));
    const size_t bytes = loss->be->supcon->scratch_bytes(loss->be, loss->config.global_rows, loss->config.dim);
    loss->scratch = ec__arena_take(arena, bytes, 1);
}

static void place_host(ec_supcon *loss, ec_arena *arena) {
    const size_t ranks = (size_t)loss->comm->size, all = EC_SUPCON_DIRECTIONS * (size_t)loss->config.global_rows;
    loss->findings = ec__arena_take(arena, ranks, sizeof *loss->findings);
    loss->label = ec__arena_take(arena, 2 * (size_t)loss->config.global_rows, sizeof(int32_t));
    loss->sorter = ec__class_sorter(loss->config.global_rows, arena);
    loss->results = ec__arena_take(arena, ranks, loss->results_bytes);
    loss->weight = ec__arena_take(arena, all, sizeof(float));
    loss->shift = ec__arena_take(arena, all, sizeof(float));
}

ec_status ec__supcon_new(ec_backend *be, ec_comm *comm, const ec_supcon_config *config, ec_supcon **out) {
    ec_status status = EC_OK;
    ec_supcon *loss = NULL;
    EC_TRY(check_config(comm, config));
    loss = calloc(1, sizeof *loss);
    if (!loss) EC_FAIL(EC_ERR_MEMORY, "no memory for the SupCon loss");
    loss->be = be;
    loss->comm = comm;
    loss->config = *config;
    loss->rows = (int32_t)(config->global_rows / comm->size);
    loss->results_bytes = EC_SUPCON_DIRECTIONS * (size_t)loss->rows * (2 * sizeof(double) + sizeof(float));
    ec_arena device = ec__arena_counting(), host = ec__arena_counting();
    place_device(loss, &device);
    place_host(loss, &host);
    loss->device_bytes = ec__arena_used(&device);
    loss->host_bytes = ec__arena_used(&host);
    EC_TRY(be->memory->alloc(be, loss->device_bytes, &loss->device));
    loss->host = aligned_alloc(EC_ARENA_ALIGN, loss->host_bytes);
    if (!loss->host) EC_FAIL(EC_ERR_MEMORY, "no memory for %zu bytes of the SupCon loss", loss->host_bytes);
    memset(loss->host, 0, loss->host_bytes);
    device = ec__arena_over(loss->device, loss->device_bytes);
    host = ec__arena_over(loss->host, loss->host_bytes);
    place_device(loss, &device);
    place_host(loss, &host);
    *out = loss;
    loss = NULL;
done:
    ec__supcon_free(loss);
    return status;
}

void ec__supcon_free(ec_supcon *loss) {
    if (!loss) return;
    loss->be->memory->free(loss->be, loss->device);
    free(loss->host);
    free(loss);
}

size_t ec__supcon_bytes(const ec_supcon *loss) { return loss->device_bytes + loss->host_bytes; }

/* Collective. Raises the same error on all ranks where any of them has an embedding that is not finite; else *norm2 is
 * the largest squared norm of all. */
static ec_status inspect(ec_supcon *loss, const float *const z[2], float *norm2) {
    static const char *const modality[2] = {"image", "music"};
    ec_backend *be = loss->be;
    findings *mine = &loss->findings[loss->comm->rank];
    mine->norm2 = 0;
    for (int m = 0; m < 2; m++) {
        float largest;
        EC_RETURN_IF(be->supcon->inspect(be, z[m], loss->rows, loss->config.dim, &mine->bad[m], &largest));
        if (largest > mine->norm2) mine->norm2 = largest;
    }
    EC_RETURN_IF(ec__comm_all_gather(loss->comm, mine, loss->findings, sizeof *mine));
    *norm2 = 0;
    for (int32_t r = 0; r < loss->comm->size; r++) {
        const findings *f = &loss->findings[r];
        for (int m = 0; m < 2; m++)
            if (f->bad[m] >= 0)
                return EC_ERROR(EC_ERR_DATA,
                                "SupCon: the %s embedding in row %lld of the global batch (row %lld of rank %d) is not finite",
                                modality[m], (long long)(r * (int64_t)loss->rows + f->bad[m]), (long long)f->bad[m], r);
        if (f->norm2 > *norm2) *norm2 = f->norm2;
    }
    return EC_OK;
}

static ec_supcon_problem problem_of(const ec_supcon *loss, const float *const z[2], float norm2) {
    const ec_supcon_config *c = &loss->config;
    const double scale = 1.4426950408889634 / (double)c->temperature, largest = scale * (double)norm2;
    return (ec_supcon_problem){
        .global_rows = c->global_rows,
        .dim = c->dim,
        .first = loss->comm->rank * (int64_t)loss->rows,
        .rows = loss->rows,
        .intra = {c->weight[EC_IMAGE_TO_IMAGE] > 0, c->weight[EC_MUSIC_TO_MUSIC] > 0},
        .cross = c->weight[EC_IMAGE_TO_MUSIC] > 0 || c->weight[EC_MUSIC_TO_IMAGE] > 0,
        .scale = (float)scale,
        .row_shift = 2 * largest > SHARED_SHIFT_RANGE,
        .shared_shift = (float)largest,
        .z = {loss->comm->size > 1 ? loss->z[0] : z[0], loss->comm->size > 1 ? loss->z[1] : z[1]},
        .scratch = loss->scratch,
    };
}

/* Weight 1 for anchors with a positive, 0 for the others. */
static void mark_anchors(ec_supcon *loss, const ec_supcon_classes *classes) {
    const int64_t rows = loss->config.global_rows;
    for (int32_t c = 0; c < classes->count; c++) {
        const int32_t begin = classes->start[c], middle = classes->music[c], end = classes->start[c + 1];
        const int32_t count[2] = {middle - begin, end - middle};
        for (int32_t i = begin; i < end; i++) {
            const int32_t m = i < middle ? 0 : 1;
            const int64_t row = classes->order[i] - m * rows;
            loss->weight[ec__supcon_direction(m, m) * rows + row] = count[m] > 1 ? 1.f : 0.f;
            loss->weight[ec__supcon_direction(m, 1 - m) * rows + row] = count[1 - m] > 0 ? 1.f : 0.f;
        }
    }
}

/* From all ranks' rows, in row order: the loss of direction d, and the weight of each of its anchors. A direction of weight
 * 0 may share its block of the matrix with one that counts, so its shifts have to be known. */
static double finish_direction(ec_supcon *loss, const ec_supcon_problem *p, int d, double coefficient) {
    const double inverse_t = 1 / (double)loss->config.temperature, ln2 = 0.69314718055994531;
    double total = 0, product = 1; /* of sums whose logarithm is still to be added: one logarithm for many rows */
    for (int32_t r = 0; r < loss->comm->size; r++) {
        const row_results results = results_of(loss, r);
        float *weight = loss->weight + d * p->global_rows + r * (int64_t)loss->rows;
        float *shift = loss->shift + d * p->global_rows + r * (int64_t)loss->rows;
        for (int32_t b = 0; b < loss->rows; b++) {
            const ptrdiff_t at = (ptrdiff_t)d * loss->rows + b;
            shift[b] = p->row_shift ? results.shift[at] : p->shared_shift;
            if (coefficient == 0) weight[b] = 0;
            if (weight[b] == 0.f) continue;
            total += ln2 * (double)shift[b] - inverse_t * results.positive[at];
            product *= results.sum[at]; /* 1e-38 to 1e10, so far from the limits of a double */
            if (product < 1e-200 || product > 1e200) {
                total += log(product);
                product = 1;
            }
            weight[b] = (float)(coefficient / results.sum[at]);
        }
    }
    return (total + log(product)) / (double)p->global_rows;
}

/* Where not on one rank: everybody's embeddings to everybody. */
static ec_status gather(ec_supcon *loss, const float *const z[2], const int32_t *const label[2]) {
    const size_t z_bytes = (size_t)loss->rows * (size_t)loss->config.dim * sizeof(float);
    for (int m = 0; m < 2; m++) {
        if (loss->comm->size > 1) EC_RETURN_IF(ec__comm_all_gather(loss->comm, z[m], loss->z[m], z_bytes));
        EC_RETURN_IF(ec__comm_all_gather(loss->comm, label[m], loss->label + m * loss->config.global_rows,
                                         (size_t)loss->rows * sizeof(int32_t)));
    }
    return EC_OK;
}

ec_status ec__supcon_run(ec_supcon *loss, const float *z_image, const float *z_music, const int32_t *label_image,
                         const int32_t *label_music, float *grad_image, float *grad_music,
                         double losses[EC_DIRECTIONS]) {
    const float *const z[2] = {z_image, z_music};
    const int32_t *const label[2] = {label_image, label_music};
    float *const grad[2] = {grad_image, grad_music};
    const ec_supcon_ops *ops = loss->be->supcon;
    double coefficient[EC_DIRECTIONS];
    float norm2 = 0;
    for (int d = 0; d < EC_DIRECTIONS; d++)
        coefficient[d] = (double)loss->config.weight[d] / ((double)loss->config.global_rows * (double)loss->config.temperature);

    EC_RETURN_IF(inspect(loss, z, &norm2));
    EC_RETURN_IF(gather(loss, z, label));
    const ec_supcon_problem problem = problem_of(loss, z, norm2);
    const ec_supcon_classes classes = ec__class_sort(&loss->sorter, loss->label);
    const row_results mine = results_of(loss, loss->comm->rank);
    EC_RETURN_IF(ops->prepare(loss->be, &problem));
    EC_RETURN_IF(ops->positives(loss->be, &problem, &classes, coefficient, mine.positive, grad));
    EC_RETURN_IF(ops->sums(loss->be, &problem, mine.sum, mine.shift));
    EC_RETURN_IF(ec__comm_all_gather(loss->comm, mine.sum, loss->results, loss->results_bytes));
    mark_anchors(loss, &classes);
    for (int d = 0; d < EC_DIRECTIONS; d++) losses[d] = finish_direction(loss, &problem, d, coefficient[d]);
    EC_RETURN_IF(ops->gradient(loss->be, &problem, loss->weight, loss->shift, grad));
    return EC_OK;
}
