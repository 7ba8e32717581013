/* Which SupCon kernels a back end takes, and whether those for compute capability 9.0 do on its device what the
 * portable ones do: they are made from the manual and were never run on one. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compute/cuda/supcon.h"
#include "core/log.h"

/* A tile and a part of one; products are rounded to 2^-8, what is wrong is off by much more. */
enum { ROWS = 160 };
static const double SUM_MOST = 1e-3, GRADIENT_MOST = 2e-2;

/* One small problem on one rank, in the back end's memory, and what either set of kernels made of it. */
typedef struct trial {
    ec_supcon_problem problem;
    void *memory, *piece;
    float *weight, *shift, *grad[2];
    size_t bytes[3]; /* of piece, of all gradients, of everything */
    char *made[2];   /* on the host: piece, then gradients */
} trial;

static void place(trial *t, ec_arena *arena, size_t scratch) {
    const size_t row = (size_t)t->problem.dim * sizeof(float);
    for (int m = 0; m < 2; m++) t->problem.z[m] = ec__arena_take(arena, ROWS, row);
    t->weight = ec__arena_take(arena, EC_SUPCON_DIRECTIONS * ROWS, sizeof(float));
    t->shift = ec__arena_take(arena, EC_SUPCON_DIRECTIONS * ROWS, sizeof(float));
    t->piece = ec__arena_take(arena, 1, t->bytes[0]);
    t->grad[0] = ec__arena_take(arena, 2 * ROWS, row);
    if (t->grad[0]) t->grad[1] = t->grad[0] + ROWS * t->problem.dim;
    t->problem.scratch = ec__arena_take(arena, 1, scratch);
    t->bytes[2] = ec__arena_used(arena);
}

/* Numbers in [-1, 1), always the same. */
static float number(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return (float)(int32_t)*state * 0x1p-31f;
}

static void fill(trial *t, char *host) {
    uint32_t state = 5;
    const int32_t dim = t->problem.dim, values = EC_SUPCON_DIRECTIONS * ROWS;
    const size_t z = (size_t)((const char *)t->problem.z[0] - (char *)t->memory);
    const size_t music = (size_t)((const char *)t->problem.z[1] - (char *)t->memory);
    float *to[2] = {(float *)(host + z), (float *)(host + music)};
    for (int m = 0; m < 2; m++)
        for (int32_t i = 0; i < ROWS * dim; i++) to[m][i] = number(&state) / sqrtf((float)dim);
    float *weight = (float *)(host + ((char *)t->weight - (char *)t->memory));
    float *shift = (float *)(host + ((char *)t->shift - (char *)t->memory));
    for (int32_t i = 0; i < values; i++) {
        weight[i] = 1.5f + number(&state);
        shift[i] = t->problem.shared_shift * (0.5f + 0.25f * number(&state));
    }
}

static ec_status run(ec_cuda_backend *be, trial *t, bool hopper) {
    const ec_supcon_ops *ops = be->base.supcon;
    const ec_supcon_rows own = ec__supcon_rows_in(t->piece, ROWS);
    const ec_memory_ops *memory = be->base.memory;
    ec_stream *stream = &be->stream[0];
    be->hopper = hopper;
    EC_RETURN_IF(memory->zero(&be->base, stream, t->piece, t->bytes[0]));
    EC_RETURN_IF(memory->zero(&be->base, stream, t->grad[0], t->bytes[1]));
    EC_RETURN_IF(ops->prepare(&be->base, &t->problem));
    EC_RETURN_IF(ops->sums(&be->base, &t->problem, &own));
    if (t->problem.dim <= EC_SUPCON_CUDA_NARROW) /* above it is the same for both */
        EC_RETURN_IF(ops->gradient(&be->base, &t->problem, t->weight, t->shift, t->grad));
    EC_RETURN_IF(memory->download(&be->base, stream, t->made[hopper], t->piece, t->bytes[0]));
    return memory->download(&be->base, stream, t->made[hopper] + t->bytes[0], t->grad[0], t->bytes[1]);
}

/* How far the sums' logarithms, and the gradients beside their largest value, lie apart; infinite where one is no
 * number. */
static void compare(const trial *t, double *sums, double *gradients) {
    double off = 0, largest = 0;
    const ec_supcon_rows a = ec__supcon_rows_in(t->made[0], ROWS), b = ec__supcon_rows_in(t->made[1], ROWS);
    const float *x = (const float *)(t->made[0] + t->bytes[0]), *y = (const float *)(t->made[1] + t->bytes[0]);
    *sums = *gradients = 0;
    for (int32_t i = 0; i < EC_SUPCON_DIRECTIONS * ROWS; i++) {
        const double shift = t->problem.row_shift ? (double)b.shift[i] - (double)a.shift[i] : 0;
        const double apart = fabs(log2(b.sum[i]) - log2(a.sum[i]) + shift);
        if (!(apart <= *sums)) *sums = isfinite(apart) ? apart : INFINITY;
    }
    for (size_t i = 0; i < t->bytes[1] / sizeof(float); i++) {
        const double apart = fabs((double)x[i] - (double)y[i]);
        if (!(apart <= off)) off = isfinite(apart) ? apart : INFINITY;
        largest = fmax(largest, fabs((double)x[i]));
    }
    *gradients = largest > 0 ? off / largest : off;
}

static ec_status try_width(ec_cuda_backend *be, int32_t dim, bool row_shift, double *sums, double *gradients) {
    ec_status status = EC_OK;
    ec_backend *base = &be->base;
    char *host = NULL;
    trial t = {.problem = {.global_rows = ROWS,
                           .dim = dim,
                           .rows = ROWS,
                           .intra = {true, true},
                           .cross = true,
                           .scale = 8,
                           .row_shift = row_shift,
                           .shared_shift = 8}};
    t.bytes[0] = ec__supcon_rows_bytes(ROWS);
    t.bytes[1] = 2 * ROWS * (size_t)dim * sizeof(float);
    be->hopper = true; /* scratch is enough for either */
    const size_t scratch = base->supcon->scratch_bytes(base, &t.problem, 1);
    ec_arena counting = ec__arena_counting();
    place(&t, &counting, scratch);
    EC_TRY(base->memory->alloc(base, t.bytes[2], &t.memory));
    ec_arena arena = ec__arena_over(t.memory, t.bytes[2]);
    place(&t, &arena, scratch);
    host = calloc(1, t.bytes[2] + 2 * (t.bytes[0] + t.bytes[1]));
    if (!host) EC_FAIL(EC_ERR_MEMORY, "no memory to try kernels with");
    for (int i = 0; i < 2; i++) t.made[i] = host + t.bytes[2] + (size_t)i * (t.bytes[0] + t.bytes[1]);
    fill(&t, host);
    EC_TRY(base->memory->upload(base, &be->stream[0], t.memory, host, (size_t)((char *)t.piece - (char *)t.memory)));
    EC_TRY(run(be, &t, false));
    EC_TRY(run(be, &t, true));
    EC_TRY(base->synchronize(base));
    compare(&t, sums, gradients);
done:
    free(host);
    base->memory->free(base, t.memory);
    return status;
}

/* Sums and gradient of both are tried at widths that each variant of the kernels has a part in. */
static ec_status check(ec_cuda_backend *be, bool *right) {
    static const struct { int32_t dim; bool row_shift; } shape[] = {{100, false}, {40, true}, {150, false}};
    *right = true;
    for (size_t i = 0; i < sizeof shape / sizeof shape[0] && *right; i++) {
        double sums = 0, gradients = 0;
        if (try_width(be, shape[i].dim, shape[i].row_shift, &sums, &gradients) != EC_OK) {
            EC_WARN("GPU %d: the SupCon kernels for compute capability 9.0 are not used, the portable ones are: %s",
                    be->device, ec_error_last()->text);
            ec_error_clear();
            *right = false;
            /* A kernel that touched what is not its own takes the process's whole use of the GPU along. */
            const cudaError_t left = cudaStreamSynchronize(be->stream[0].queue);
            if (left == cudaSuccess) return EC_OK;
            (void)cudaGetLastError();
            return EC_ERROR(EC_ERR_ENV,
                            "GPU %d is lost to this process since it tried the SupCon kernels for compute capability "
                            "9.0 (%s): EMOCLIM_SUPCON=portable does without them",
                            be->device, cudaGetErrorName(left));
        }
        *right = sums <= SUM_MOST && gradients <= GRADIENT_MOST;
        if (!*right)
            EC_WARN("GPU %d: the SupCon kernels for compute capability 9.0 are not used, the portable ones are: at "
                    "width %d the logarithms of sums differ by %g (at most %g), the gradient by %g of its largest "
                    "value (at most %g)",
                    be->device, shape[i].dim, sums, SUM_MOST, gradients, GRADIENT_MOST);
    }
    return EC_OK;
}

/* EMOCLIM_SUPCON=portable|hopper decides, for tests. */
bool ec__supcon_hopper_expected(ec_math math) {
    const char *asked = getenv("EMOCLIM_SUPCON");
    return math == EC_MATH_BF16 && !(asked && strcmp(asked, "portable") == 0);
}

ec_status ec__supcon_choose(ec_cuda_backend *be) {
    const char *asked = getenv("EMOCLIM_SUPCON"), *gradient = getenv("EMOCLIM_SUPCON_GRADIENT");
    int major = 0, minor = 0;
    EC_RETURN_IF(EC_CUDA(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, be->device)));
    EC_RETURN_IF(EC_CUDA(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, be->device)));
    const bool possible = major == 9 && minor == 0 && be->base.math == EC_MATH_BF16;
    be->hopper = false;
    if (asked && strcmp(asked, "portable") != 0 && strcmp(asked, "hopper") != 0)
        return EC_ERROR(EC_ERR_ENV, "EMOCLIM_SUPCON=%s: it may be portable or hopper", asked);
    if (gradient && strcmp(gradient, "pieces") != 0)
        return EC_ERROR(EC_ERR_ENV, "EMOCLIM_SUPCON_GRADIENT=%s: it may be pieces", gradient);
    if (asked && strcmp(asked, "hopper") == 0 && be->base.math == EC_MATH_BF16 && !possible)
        return EC_ERROR(EC_ERR_ENV,
                        "EMOCLIM_SUPCON=hopper: GPU %d has compute capability %d.%d; those kernels need 9.0",
                        be->device, major, minor);
    if (!possible || (asked && strcmp(asked, "portable") == 0)) return EC_OK;
    bool right = true;
    if (!asked) EC_RETURN_IF(check(be, &right));
    be->hopper = right;
    return EC_OK;
}
