#include "compute/cuda/matmul.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/cuda/encoder.h"
#include "core/log.h"

/* cuBLASLt thinks in columns: a row-major matrix is the transpose of a column-major one, and C = A B is C^T = B^T A^T.
 * So b is its first factor and a its second, and the bias, which runs along our rows, along its columns, as it wants.
 *
 * A product's algorithm, and so its bits, are chosen once from its shape and options alone: not from where it is in
 * memory, nor how many ranks there are. Two variants exist for pointers with the alignment that fast algorithms want
 * and for others. */

enum { ALIGNED = 16, UNALIGNED = 4, LEVELS = 2, CANDIDATES = 8 };

/* Where rows must be alike whatever their number, the algorithm is chosen for so many (those of a large task of an
 * encoder), and it may have neither a workspace nor parts of a sum that are put together: an element of c is then made
 * by one block of threads in one chain over k. That this chain is the same for every m follows from there being one
 * algorithm; cuBLAS does not promise it in so many words. */
enum { CHOSEN_ROWS = 8192 };

/* Workspaces grow by adding, never by moving: a recording has the address of the one that it used. */
static const size_t level_bytes[LEVELS] = {(size_t)4 << 20, (size_t)32 << 20};

typedef struct product {
    ec_cuda_matmul key; /* cleared bytes between the members */
    uint32_t alignment;
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t a, b, c;
    cublasLtMatmulAlgo_t algo;
    int32_t level; /* of the workspace; -1: needs none */
} product;

struct ec_cuda_dense {
    cublasLtHandle_t handle;
    product *product; /* (count), room for capacity */
    int32_t count, capacity;
    void *workspace[LEVELS][EC_CUDA_STREAMS];
    bool warned; /* that rows are not alike */
};

ec_status ec__cuda_cublas_status(cublasStatus_t outcome, const char *call, const char *file, int line,
                                 const char *function) {
    if (outcome == CUBLAS_STATUS_SUCCESS) return EC_OK;
    const ec_status code = outcome == CUBLAS_STATUS_ALLOC_FAILED ? EC_ERR_MEMORY : EC_ERR_ENV;
    return ec__error_raise(code, file, line, function, "%.*s: %s", (int)strcspn(call, "("), call,
                           cublasLtGetStatusName(outcome));
}

void ec__cuda_matmul_about(char *text, size_t size) {
    const size_t version = cublasLtGetVersion();
    snprintf(text, size, "cuBLASLt %zu.%zu.%zu", version / 10000, version / 100 % 100, version % 100);
}

ec_status ec__cuda_matmul_open(ec_cuda_backend *be) {
    be->dense = calloc(1, sizeof *be->dense);
    if (!be->dense) return EC_ERROR(EC_ERR_MEMORY, "no memory for matrix products");
    return EC_CUBLAS(cublasLtCreate(&be->dense->handle));
}

static void release(product *p) {
    if (p->desc) (void)cublasLtMatmulDescDestroy(p->desc);
    if (p->a) (void)cublasLtMatrixLayoutDestroy(p->a);
    if (p->b) (void)cublasLtMatrixLayoutDestroy(p->b);
    if (p->c) (void)cublasLtMatrixLayoutDestroy(p->c);
}

void ec__cuda_matmul_close(ec_cuda_backend *be) {
    ec_cuda_dense *d = be->dense;
    if (!d) return;
    for (int32_t i = 0; i < d->count; i++) release(&d->product[i]);
    for (int32_t l = 0; l < LEVELS; l++)
        for (int32_t s = 0; s < EC_CUDA_STREAMS; s++) (void)cudaFree(d->workspace[l][s]);
    if (d->handle) (void)cublasLtDestroy(d->handle);
    free(d->product);
    free(d);
    be->dense = NULL;
}

static ec_cuda_matmul clean_key(const ec_cuda_backend *be, const ec_cuda_matmul *from) {
    const ec_gemm *g = &from->gemm;
    ec_cuda_matmul key;
    memset(&key, 0, sizeof key); /* keys are compared byte by byte */
    key.gemm.m = g->m, key.gemm.n = g->n, key.gemm.k = g->k;
    key.gemm.lda = g->lda, key.gemm.ldb = g->ldb, key.gemm.ldc = g->ldc;
    key.gemm.transpose_a = g->transpose_a, key.gemm.transpose_b = g->transpose_b;
    key.gemm.bias = g->bias, key.gemm.accumulate = g->accumulate, key.gemm.activation = g->activation;
    key.input = from->input, key.output = from->output;
    key.gemm.rows_alike = g->rows_alike && be->deterministic;
    if (key.gemm.rows_alike) key.gemm.m = CHOSEN_ROWS;
    return key;
}

static bool in_float32(const ec_cuda_matmul *m) {
    return m->input == EC_PRECISION_FLOAT32 && m->output == EC_PRECISION_FLOAT32;
}

static cudaDataType type_of(ec_precision precision) {
    return precision == EC_PRECISION_BF16 ? CUDA_R_16BF : CUDA_R_32F;
}

static cublasComputeType_t compute_of(const ec_cuda_backend *be, const ec_cuda_matmul *m) {
    if (m->input == EC_PRECISION_BF16) return CUBLAS_COMPUTE_32F;
    switch (be->base.math) {
    case EC_MATH_TF32: return CUBLAS_COMPUTE_32F_FAST_TF32;
    case EC_MATH_BF16: return CUBLAS_COMPUTE_32F_FAST_16BF;
    case EC_MATH_FLOAT32: break;
    }
    return CUBLAS_COMPUTE_32F;
}

/* GELU there is an approximation by tanh; ours is exact and a kernel of its own. */
static cublasLtEpilogue_t epilogue_of(const ec_gemm *g) {
    const bool relu = g->activation == EC_ACT_RELU;
    if (g->bias) return relu ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_BIAS;
    return relu ? CUBLASLT_EPILOGUE_RELU : CUBLASLT_EPILOGUE_DEFAULT;
}

static ec_status describe(const ec_cuda_backend *be, product *p) {
    const ec_gemm *g = &p->key.gemm;
    const cudaDataType input = type_of(p->key.input);
    const cublasOperation_t op_b = g->transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasOperation_t op_a = g->transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasLtEpilogue_t epilogue = epilogue_of(g);
    const uint64_t m = (uint64_t)g->m, n = (uint64_t)g->n, k = (uint64_t)g->k;
    EC_RETURN_IF(EC_CUBLAS(cublasLtMatmulDescCreate(&p->desc, compute_of(be, &p->key), CUDA_R_32F)));
    EC_RETURN_IF(EC_CUBLAS(cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_TRANSA, &op_b, sizeof op_b)));
    EC_RETURN_IF(EC_CUBLAS(cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_TRANSB, &op_a, sizeof op_a)));
    EC_RETURN_IF(
        EC_CUBLAS(cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue)));
    if (g->bias) { /* the choice of an algorithm looks at the alignment of this address, not behind it */
        const void *bias = (const void *)(uintptr_t)p->alignment;
        EC_RETURN_IF(
            EC_CUBLAS(cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias)));
    }
    if (g->transpose_b) EC_RETURN_IF(EC_CUBLAS(cublasLtMatrixLayoutCreate(&p->b, input, k, n, g->ldb)));
    else EC_RETURN_IF(EC_CUBLAS(cublasLtMatrixLayoutCreate(&p->b, input, n, k, g->ldb)));
    if (g->transpose_a) EC_RETURN_IF(EC_CUBLAS(cublasLtMatrixLayoutCreate(&p->a, input, m, k, g->lda)));
    else EC_RETURN_IF(EC_CUBLAS(cublasLtMatrixLayoutCreate(&p->a, input, k, m, g->lda)));
    return EC_CUBLAS(cublasLtMatrixLayoutCreate(&p->c, type_of(p->key.output), n, m, g->ldc));
}

static ec_status prefer(const ec_cuda_backend *be, const product *p, cublasLtMatmulPreference_t preference) {
    static const cublasLtMatmulPreferenceAttributes_t sides[] = {
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
    const uint64_t bytes = p->key.gemm.rows_alike ? 0 : level_bytes[LEVELS - 1];
    const uint32_t alignment = p->alignment;
    /* Deterministic: the sum over k is made in one sequence, not in parts that are added up. */
    const uint32_t reduction = be->deterministic ? CUBLASLT_REDUCTION_SCHEME_NONE : CUBLASLT_REDUCTION_SCHEME_MASK;
    EC_RETURN_IF(EC_CUBLAS(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                                &bytes, sizeof bytes)));
    EC_RETURN_IF(EC_CUBLAS(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                                                &reduction, sizeof reduction)));
    for (size_t i = 0; i < sizeof sides / sizeof sides[0]; i++)
        EC_RETURN_IF(
            EC_CUBLAS(cublasLtMatmulPreferenceSetAttribute(preference, sides[i], &alignment, sizeof alignment)));
    return EC_OK;
}

static ec_status reserve_workspace(ec_cuda_dense *d, int32_t level) {
    for (int32_t s = 0; s < EC_CUDA_STREAMS; s++)
        if (!d->workspace[level][s]) EC_RETURN_IF(EC_CUDA(cudaMalloc(&d->workspace[level][s], level_bytes[level])));
    return EC_OK;
}

static ec_status choose(const ec_cuda_backend *be, product *p) {
    ec_status status = EC_OK;
    cublasLtMatmulPreference_t preference = NULL;
    cublasLtMatmulHeuristicResult_t candidate[CANDIDATES];
    int found = 0, best = 0;
    const ec_gemm *g = &p->key.gemm;
    EC_TRY(EC_CUBLAS(cublasLtMatmulPreferenceCreate(&preference)));
    EC_TRY(prefer(be, p, preference));
    const cublasStatus_t outcome = cublasLtMatmulAlgoGetHeuristic(be->dense->handle, p->desc, p->b, p->a, p->c, p->c,
                                                                  preference, CANDIDATES, candidate, &found);
    if (outcome != CUBLAS_STATUS_SUCCESS) found = 0;
    while (best < found && candidate[best].state != CUBLAS_STATUS_SUCCESS) best++;
    if (best == found)
        EC_FAIL(EC_ERR_ENV, "cuBLASLt has no algorithm for a product of %d x %d by %d x %d (%s)", g->m, g->k, g->k,
                g->n, cublasLtGetStatusName(outcome == CUBLAS_STATUS_SUCCESS ? CUBLAS_STATUS_NOT_SUPPORTED : outcome));
    p->algo = candidate[best].algo;
    p->level = candidate[best].workspaceSize == 0 ? -1 : 0;
    while (p->level >= 0 && candidate[best].workspaceSize > level_bytes[p->level]) p->level++;
    if (p->level >= 0) EC_TRY(reserve_workspace(be->dense, p->level));
done:
    if (preference) (void)cublasLtMatmulPreferenceDestroy(preference);
    return status;
}

static ec_status find(ec_cuda_backend *be, const ec_cuda_matmul *key, uint32_t alignment, product **out) {
    ec_status status = EC_OK;
    ec_cuda_dense *d = be->dense;
    product made = {.key = *key, .alignment = alignment};
    for (int32_t i = 0; i < d->count; i++) {
        *out = &d->product[i];
        if (memcmp(&(*out)->key, key, sizeof *key) == 0 && (*out)->alignment == alignment) return EC_OK;
    }
    if (d->count == d->capacity) {
        const int32_t capacity = d->capacity ? 2 * d->capacity : 64;
        product *grown = realloc(d->product, sizeof *grown * (size_t)capacity);
        if (!grown) EC_FAIL(EC_ERR_MEMORY, "no memory for matrix products");
        d->product = grown;
        d->capacity = capacity;
    }
    EC_TRY(describe(be, &made));
    EC_TRY(choose(be, &made));
    memcpy(&made.key, key, sizeof *key); /* the bytes between the members, too */
    d->product[d->count] = made;
    *out = &d->product[d->count++];
done:
    if (status != EC_OK) release(&made);
    return status;
}

/* Rows of such matrices begin at multiples of 16 bytes where their first one does. */
static uint32_t best_alignment(const ec_cuda_matmul *m) {
    const size_t in = ec__precision_size(m->input), out = ec__precision_size(m->output);
    const ec_gemm *g = &m->gemm;
    const bool fits = (size_t)g->lda * in % ALIGNED == 0 && (size_t)g->ldb * in % ALIGNED == 0 &&
                      (size_t)g->ldc * out % ALIGNED == 0;
    return fits ? ALIGNED : UNALIGNED;
}

ec_status ec__cuda_matmul_prepare(ec_cuda_backend *be, const ec_cuda_matmul *desc) {
    product *unused;
    const ec_cuda_matmul key = clean_key(be, desc);
    return find(be, &key, best_alignment(&key), &unused);
}

static bool needs_kernel(const ec_gemm *g) {
    return g->activation == EC_ACT_GELU || g->activation == EC_ACT_QUICK_GELU;
}

/* Says to a plan that serves every m how many rows there are this time. */
static ec_status tell_rows(product *p, int32_t m) {
    const uint64_t rows = (uint64_t)m;
    if (!p->key.gemm.rows_alike) return EC_OK;
    EC_RETURN_IF(EC_CUBLAS(cublasLtMatrixLayoutSetAttribute(p->a, CUBLASLT_MATRIX_LAYOUT_COLS, &rows, sizeof rows)));
    return EC_CUBLAS(cublasLtMatrixLayoutSetAttribute(p->c, CUBLASLT_MATRIX_LAYOUT_COLS, &rows, sizeof rows));
}

/* Where a product's factors are. */
typedef struct operands {
    const void *a, *b;
    const float *bias;
    void *c;
} operands;

static cublasStatus_t multiply(const ec_cuda_backend *be, const ec_stream *stream, const product *p,
                               const operands *x) {
    const float one = 1.f, beta = p->key.gemm.accumulate ? 1.f : 0.f;
    void *workspace = p->level < 0 ? NULL : be->dense->workspace[p->level][stream->index];
    if (p->key.gemm.bias) {
        const cublasStatus_t told = cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &x->bias,
                                                                   sizeof x->bias);
        if (told != CUBLAS_STATUS_SUCCESS) return told;
    }
    return cublasLtMatmul(be->dense->handle, p->desc, &one, x->b, p->b, x->a, p->a, &beta, x->c, p->c, x->c, p->c,
                          &p->algo, workspace, p->level < 0 ? 0 : level_bytes[p->level], stream->queue);
}

/* cuBLASLt would not take another number of rows than the algorithm was chosen for: one is chosen for this number, and
 * a row's bits then depend on it. */
static ec_status multiply_anyway(ec_cuda_backend *be, const ec_stream *stream, const ec_cuda_matmul *desc,
                                 uint32_t alignment, const operands *x) {
    product *p;
    ec_cuda_matmul exact = *desc;
    exact.gemm.rows_alike = false;
    const ec_cuda_matmul key = clean_key(be, &exact);
    if (!be->dense->warned)
        EC_WARN("cuBLASLt takes no algorithm for all numbers of rows (%d x %d by %d x %d): embeddings may depend, in "
                "their last bits, on how many are made together", key.gemm.m, key.gemm.k, key.gemm.k, key.gemm.n);
    be->dense->warned = true;
    EC_RETURN_IF(find(be, &key, alignment, &p));
    return EC_CUBLAS(multiply(be, stream, p, x));
}

ec_status ec__cuda_matmul(ec_cuda_backend *be, ec_stream *stream, const ec_cuda_matmul *desc, const void *a,
                          const void *b, const float *bias, void *c) {
    product *p;
    const ec_gemm *g = &desc->gemm;
    const ec_cuda_matmul key = clean_key(be, desc);
    const operands x = {.a = a, .b = b, .bias = bias, .c = c};
    uint32_t alignment = best_alignment(&key);
    if (!in_float32(desc) && (g->bias || g->activation != EC_ACT_NONE))
        return EC_ERROR(EC_ERR_BUG, "a product of other types than float32 has neither bias nor activation");
    if (((uintptr_t)a | (uintptr_t)b | (uintptr_t)c | (g->bias ? (uintptr_t)bias : 0)) % ALIGNED) alignment = UNALIGNED;
    EC_RETURN_IF(find(be, &key, alignment, &p));
    EC_RETURN_IF(tell_rows(p, g->m));
    const cublasStatus_t outcome = multiply(be, stream, p, &x);
    if (key.gemm.rows_alike && (outcome == CUBLAS_STATUS_NOT_SUPPORTED || outcome == CUBLAS_STATUS_INVALID_VALUE))
        EC_RETURN_IF(multiply_anyway(be, stream, desc, alignment, &x));
    else
        EC_RETURN_IF(ec__cuda_cublas_status(outcome, "cublasLtMatmul", __FILE__, __LINE__, __func__));
    if (!needs_kernel(g)) return EC_OK;
    return ec__cuda_bias_activation(stream, g->m, g->n, g->ldc, NULL, g->activation, EC_PRECISION_FLOAT32, c);
}

static ec_status gemm(ec_backend *be, ec_stream *stream, const ec_gemm *desc, const float *a, const float *b,
                      const float *bias, float *c) {
    const ec_cuda_matmul m = {.gemm = *desc, .input = EC_PRECISION_FLOAT32, .output = EC_PRECISION_FLOAT32};
    EC_RETURN_IF(ec__cuda_matmul(ec__cuda(be), stream, &m, a, b, bias, c));
    return EC_OK;
}

static ec_status prepare(ec_backend *be, const ec_gemm *desc) {
    const ec_cuda_matmul m = {.gemm = *desc, .input = EC_PRECISION_FLOAT32, .output = EC_PRECISION_FLOAT32};
    EC_RETURN_IF(ec__cuda_matmul_prepare(ec__cuda(be), &m));
    return EC_OK;
}

const ec_dense_ops ec__cuda_dense_ops = {.gemm = gemm, .prepare = prepare};
