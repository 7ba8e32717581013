#include "loss/supcon.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "compute/ops_supcon.h"
#include "core/arena.h"
#include "loss/supcon_stream.h"

/* Powers of two between the largest and the smallest term of a sum up to which one shift serves all rows: the smallest
 * term, and its quotient by a sum, then stay normal numbers. At unit length this is t >= 0.0251. */
static const double SHARED_SHIFT_RANGE = 115;
/* Squared length of a unit vector with what rounding may add, and more. */
static const float UNIT_NORM2_MOST = 1.01f;
static const int64_t MOST_ROWS = (int64_t)1 << 30;
/* That EC_SUPCON_AUTO holds rather than exchange embeddings twice. Gathered they are more than 8 b D floats on any two
 * ranks, with the loss's other arrays. */
static const size_t WHOLE_BYTES = (size_t)1 << 30;

/* What the host wants to know of a step. */
typedef struct verdict {
    double losses[EC_SUPCON_DIRECTIONS];
    ec_supcon_finding finding[]; /* (size, 2) */
} verdict;

struct ec_supcon {
    ec_backend *be;
    ec_comm *comm;
    ec_supcon_config config;
    int32_t rows; /* B */
    const ec_labels *classes_of;
    ec_labels *labels; /* its own; NULL: the caller's */
    double coefficient[EC_DIRECTIONS];

    size_t device_bytes, host_bytes;
    void *device, *host;

    int32_t block; /* rows that pass by at a time; 0: embeddings are gathered */

    /* Back end memory. */
    float *z[2];    /* (G, D) of all ranks; NULL on one rank, and where they are streamed */
    float *landing; /* (block, D) */
    void *scratch;
    char *pieces;         /* ec_supcon_rows of every rank */
    float *weight;        /* (4, G) */
    float *shift;         /* (4, G) */
    verdict *verdict;

    verdict *told[EC_TURNS]; /* host memory */
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
        return EC_ERROR(EC_ERR_CONFIG,
                        "SupCon: the intra-modal losses of a batch of one row are undefined; use at least "
                        "2 rows or set their weights to 0");
    return EC_OK;
}

static size_t verdict_bytes(const ec_supcon *loss) {
    return sizeof(verdict) + 2 * (size_t)loss->comm->size * sizeof(ec_supcon_finding);
}

static ec_supcon_problem problem_of(const ec_supcon *loss, const float *const z[2]) {
    const ec_supcon_config *c = &loss->config;
    const double scale = 1.4426950408889634 / (double)c->temperature, largest = scale * (double)c->norm2_most;
    return (ec_supcon_problem){
        .global_rows = c->global_rows,
        .dim = c->dim,
        .first = loss->comm->rank * (int64_t)loss->rows,
        .rows = loss->rows,
        .intra = {c->weight[EC_IMAGE_TO_IMAGE] > 0, c->weight[EC_MUSIC_TO_MUSIC] > 0},
        .block = loss->block,
        .cross = c->weight[EC_IMAGE_TO_MUSIC] > 0 || c->weight[EC_MUSIC_TO_IMAGE] > 0,
        .inverse_t = 1 / (double)c->temperature,
        .scale = (float)scale,
        .row_shift = 2 * largest > SHARED_SHIFT_RANGE,
        .shared_shift = (float)largest,
        .z = {loss->z[0] ? loss->z[0] : z[0], loss->z[1] ? loss->z[1] : z[1]},
        .scratch = loss->scratch,
    };
}

/* For a problem whose embeddings are not there yet. */
static const float *const no_rows[2] = {NULL, NULL};

static void place_device(ec_supcon *loss, ec_arena *arena) {
    const ec_supcon_config *c = &loss->config;
    const size_t count = (size_t)c->global_rows * (size_t)c->dim, rows = (size_t)c->global_rows;
    if (loss->comm->size > 1 && !loss->block)
        for (int m = 0; m < 2; m++) loss->z[m] = ec__arena_take(arena, count, sizeof(float));
    if (loss->block) loss->landing = ec__arena_take(arena, (size_t)loss->block * (size_t)c->dim, sizeof(float));
    const ec_supcon_problem problem = problem_of(loss, no_rows);
    loss->scratch = ec__arena_take(
        arena, loss->be->supcon->scratch_bytes(loss->be, &problem, ec__labels_classes(loss->classes_of)->most), 1);
    loss->pieces = ec__arena_take(arena, (size_t)loss->comm->size, ec__supcon_rows_bytes(loss->rows));
    loss->weight = ec__arena_take(arena, EC_SUPCON_DIRECTIONS * rows, sizeof(float));
    loss->shift = ec__arena_take(arena, EC_SUPCON_DIRECTIONS * rows, sizeof(float));
    loss->verdict = ec__arena_take(arena, 1, verdict_bytes(loss));
}

static size_t device_bytes(ec_supcon *loss) {
    ec_arena counting = ec__arena_counting();
    place_device(loss, &counting);
    return ec__arena_used(&counting);
}

/* Gathered or streamed? */
static ec_status choose_block(ec_supcon *loss) {
    const ec_supcon_config *c = &loss->config;
    const ec_supcon_stream_ops *stream = loss->be->supcon->stream;
    if (c->gather == EC_SUPCON_STREAMED && !stream)
        return EC_ERROR(EC_ERR_CONFIG,
                        "distributed.gather = streamed needs a GPU; where the CPU computes, auto and whole are possible");
    if (c->gather == EC_SUPCON_WHOLE || !stream || loss->comm->size == 1) return EC_OK;
    if (c->gather == EC_SUPCON_AUTO && device_bytes(loss) <= WHOLE_BYTES) return EC_OK;
    const ec_supcon_problem problem = problem_of(loss, no_rows);
    loss->block = stream->block_rows(loss->be, &problem);
    return EC_OK;
}

static void place_host(ec_supcon *loss, ec_arena *arena) {
    for (int i = 0; i < EC_TURNS; i++) loss->told[i] = ec__arena_take(arena, 1, verdict_bytes(loss));
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
    if (!config->labels) EC_TRY(ec__labels_new(be, comm, config->global_rows, config->classes, &loss->labels));
    loss->classes_of = config->labels ? config->labels : loss->labels;
    if (!(loss->config.norm2_most > 0)) loss->config.norm2_most = UNIT_NORM2_MOST;
    for (int d = 0; d < EC_DIRECTIONS; d++)
        loss->coefficient[d] = (double)config->weight[d] / ((double)config->global_rows * (double)config->temperature);
    EC_TRY(choose_block(loss));
    ec_arena device, host = ec__arena_counting();
    place_host(loss, &host);
    loss->device_bytes = device_bytes(loss);
    loss->host_bytes = ec__arena_used(&host);
    EC_TRY(be->memory->alloc(be, loss->device_bytes, &loss->device));
    EC_TRY(be->memory->alloc_host(be, loss->host_bytes, &loss->host));
    device = ec__arena_over(loss->device, loss->device_bytes);
    host = ec__arena_over(loss->host, loss->host_bytes);
    place_device(loss, &device);
    place_host(loss, &host);
    /* Directions without weight are never written, but travel along and must be numbers. */
    EC_TRY(be->memory->zero(be, be->main_stream(be), loss->device, loss->device_bytes));
    EC_TRY(be->synchronize(be));
    const ec_supcon_problem problem = problem_of(loss, no_rows);
    EC_TRY(be->supcon->reserve(be, &problem));
    *out = loss;
    loss = NULL;
done:
    ec__supcon_free(loss);
    return status;
}

void ec__supcon_free(ec_supcon *loss) {
    if (!loss) return;
    loss->be->memory->free(loss->be, loss->device);
    loss->be->memory->free_host(loss->be, loss->host);
    ec__labels_free(loss->labels);
    free(loss);
}

size_t ec__supcon_bytes(const ec_supcon *loss) {
    return loss->device_bytes + loss->host_bytes + (loss->labels ? ec__labels_bytes(loss->labels) : 0);
}

bool ec__supcon_streams(const ec_supcon *loss) { return loss->block > 0; }

ec_status ec__supcon_begin(ec_supcon *loss, const int32_t *const label[2], int32_t turn) {
    return ec__labels_begin(loss->labels, label, turn);
}

double ec__supcon_flops(const ec_supcon *loss) {
    const ec_supcon_problem problem = problem_of(loss, no_rows);
    return loss->be->supcon->flops(loss->be, &problem);
}

/* This rank's part of an array to everybody. */
static ec_status gather(ec_supcon *loss, const void *mine, void *all, size_t bytes) {
    return loss->comm->size > 1 ? ec__comm_all_gather(loss->comm, mine, all, bytes) : EC_OK;
}

static ec_status inspect(ec_supcon *loss, const float *const z[2]) {
    ec_supcon_finding *mine = loss->verdict->finding + (ptrdiff_t)2 * loss->comm->rank;
    for (int m = 0; m < 2; m++)
        EC_RETURN_IF(loss->be->supcon->inspect(loss->be, z[m], loss->rows, loss->config.dim, loss->config.norm2_most,
                                               &mine[m]));
    return gather(loss, mine, loss->verdict->finding, 2 * sizeof *mine);
}

ec_status ec__supcon_gather(ec_supcon *loss, int32_t m, const float *z) {
    if (loss->block) return EC_OK;
    EC_RETURN_IF(ec__comm_fork(loss->comm));
    return gather(loss, z, loss->z[m], (size_t)loss->rows * (size_t)loss->config.dim * sizeof(float));
}

ec_status ec__supcon_enqueue(ec_supcon *loss, const float *const z[2], float *const grad[2]) {
    ec_backend *be = loss->be;
    const ec_supcon_ops *ops = be->supcon;
    const ec_supcon_problem problem = problem_of(loss, z);
    const ec_supcon_classes *classes = ec__labels_classes(loss->classes_of);
    const size_t piece_bytes = ec__supcon_rows_bytes(loss->rows);
    void *piece = loss->pieces + (size_t)loss->comm->rank * piece_bytes;
    const ec_supcon_rows own = ec__supcon_rows_in(piece, loss->rows);
    const ec_supcon_stream stream = {be, loss->comm, &problem, loss->landing};

    EC_RETURN_IF(ec__comm_join(loss->comm));
    EC_RETURN_IF(inspect(loss, z));
    EC_RETURN_IF(ops->prepare(be, &problem));
    if (loss->block) EC_RETURN_IF(ec__supcon_stream_sums(&stream, classes));
    EC_RETURN_IF(ops->positives(be, &problem, classes, loss->coefficient, &own, grad));
    EC_RETURN_IF(ops->sums(be, &problem, &own));
    EC_RETURN_IF(gather(loss, piece, loss->pieces, piece_bytes));
    EC_RETURN_IF(ops->weights(be, &problem, classes, loss->coefficient, loss->pieces, loss->weight, loss->shift,
                              loss->verdict->losses));
    return loss->block ? ec__supcon_stream_gradient(&stream, loss->weight, loss->shift, grad)
                       : ops->gradient(be, &problem, loss->weight, loss->shift, grad);
}

ec_status ec__supcon_tell(ec_supcon *loss, int32_t turn) {
    ec_backend *be = loss->be;
    return be->memory->download(be, be->main_stream(be), loss->told[turn], loss->verdict, verdict_bytes(loss));
}

ec_status ec__supcon_result(const ec_supcon *loss, int32_t turn, double losses[EC_DIRECTIONS]) {
    const verdict *told = loss->told[turn];
    static const char *const modality[2] = {"image", "music"};
    for (int32_t i = 0; i < 2 * loss->comm->size; i++) {
        const ec_supcon_finding *f = &told->finding[i];
        const int32_t rank = i / 2;
        char what[64] = "is not finite";
        if (f->bad < 0) continue;
        if (isfinite(f->norm2))
            snprintf(what, sizeof what, "has length %g, expected at most %g", sqrt((double)f->norm2),
                     sqrt((double)loss->config.norm2_most));
        return EC_ERROR(
            EC_ERR_DATA, "SupCon: the %s embedding in row %lld of the global batch (row %lld of rank %d) %s",
            modality[i % 2], (long long)(rank * (int64_t)loss->rows + f->bad), (long long)f->bad, rank, what);
    }
    for (int d = 0; d < EC_DIRECTIONS; d++) losses[d] = told->losses[d];
    return EC_OK;
}

ec_status ec__supcon_run(ec_supcon *loss, const float *z_image, const float *z_music, const int32_t *label_image,
                         const int32_t *label_music, float *grad_image, float *grad_music,
                         double losses[EC_DIRECTIONS]) {
    const float *const z[2] = {z_image, z_music};
    const int32_t *const label[2] = {label_image, label_music};
    float *const grad[2] = {grad_image, grad_music};
    EC_RETURN_IF(ec__supcon_begin(loss, label, 0));
    for (int m = 0; m < 2; m++) EC_RETURN_IF(ec__supcon_gather(loss, m, z[m]));
    EC_RETURN_IF(ec__supcon_enqueue(loss, z, grad));
    EC_RETURN_IF(ec__supcon_tell(loss, 0));
    EC_RETURN_IF(ec__comm_wait(loss->comm));
    EC_RETURN_IF(loss->be->synchronize(loss->be));
    return ec__supcon_result(loss, 0, losses);
}
