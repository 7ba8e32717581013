/* cuBLASLt's products as plain sums over k, with every argument looked at: layouts, places, alignment, and that
 * the workspace is there. Matrices are column-major. */
#include <cuda_bf16.h>

#include <cstdlib>

#include "cublasLt.h"
#include "internal.h"

using namespace cuemu;

struct cublasLtContext {
    int unused;
};
struct cublasLtMatmulDescOpaque_t {
    cublasComputeType_t compute;
    cublasOperation_t transpose_a = CUBLAS_OP_N, transpose_b = CUBLAS_OP_N;
    cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    const float *bias = nullptr;
};
struct cublasLtMatrixLayoutOpaque_t {
    cudaDataType type;
    uint64_t rows, columns;
    int64_t ld;
};
struct cublasLtMatmulPreferenceOpaque_t {
    uint64_t workspace = 0;
    uint32_t reduction = CUBLASLT_REDUCTION_SCHEME_MASK;
    uint32_t alignment[4] = {256, 256, 256, 256};
};

namespace {

/* For few columns the order of sums is another one, as other problems get other algorithms on a card. */
enum { FEW_COLUMNS = 32, LONG_SUM = 128, SPLIT_WORKSPACE = 64 << 10 };

/* What an algorithm of ours remembers, inside cublasLtMatmulAlgo_t: the problem it was chosen for. */
struct Chosen {
    uint64_t m, n, k, workspace;
    uint64_t backwards; /* over descending k */
    uint32_t alignment[4];
    uint64_t operations;
};
static_assert(sizeof(Chosen) <= sizeof(cublasLtMatmulAlgo_t));

struct Matrix {
    const cublasLtMatrixLayoutOpaque_t *layout;
    const void *memory;
    size_t element() const { return layout->type == CUDA_R_32F ? 4 : 2; }
    size_t bytes() const { return ((layout->columns - 1) * (uint64_t)layout->ld + layout->rows) * element(); }
};

float read(const void *memory, cudaDataType type, size_t at) {
    return type == CUDA_R_32F ? ((const float *)memory)[at] : (float)((const __nv_bfloat16 *)memory)[at];
}

/* What the units of a product make of a factor. */
float rounded(float x, cublasComputeType_t compute) {
    if (compute == CUBLAS_COMPUTE_32F_FAST_16BF) return (float)__nv_bfloat16(x);
    if (compute != CUBLAS_COMPUTE_32F_FAST_TF32 || !std::isfinite(x)) return x;
    const unsigned u = __float_as_uint(x);
    return __uint_as_float((u + 0xfffu + (u >> 13 & 1u)) & ~0x1fffu);
}

/* op(X) (rows, columns), dense, factors rounded. */
std::vector<float> take(const cublasLtMatrixLayoutOpaque_t &x, const void *memory, cublasOperation_t op,
                        cublasComputeType_t compute) {
    const uint64_t rows = op == CUBLAS_OP_N ? x.rows : x.columns, columns = op == CUBLAS_OP_N ? x.columns : x.rows;
    std::vector<float> out(rows * columns);
    for (uint64_t j = 0; j < x.columns; j++)
        for (uint64_t i = 0; i < x.rows; i++) {
            const float v = rounded(read(memory, x.type, j * (uint64_t)x.ld + i), compute);
            out[op == CUBLAS_OP_N ? j * rows + i : i * rows + j] = v;
        }
    return out;
}

struct Call {
    cublasLtMatmulDescOpaque_t desc;
    cublasLtMatrixLayoutOpaque_t a, b, d;
    float alpha, beta;
    const void *pa, *pb;
    void *pd;
    char *workspace;
    size_t workspace_bytes;
    bool backwards;
};

void multiply(const Call &c) {
    const std::vector<float> a = take(c.a, c.pa, c.desc.transpose_a, c.desc.compute);
    const std::vector<float> b = take(c.b, c.pb, c.desc.transpose_b, c.desc.compute);
    const uint64_t m = c.d.rows, n = c.d.columns, k = a.size() / m;
    std::vector<float> sum(m);
    if (c.workspace_bytes) memset(c.workspace, 0xa5, c.workspace_bytes);
    for (uint64_t j = 0; j < n; j++) {
        std::fill(sum.begin(), sum.end(), 0.f);
        for (uint64_t step = 0; step < k; step++) {
            const uint64_t l = c.backwards ? k - 1 - step : step;
            for (uint64_t i = 0; i < m; i++) sum[i] += a[l * m + i] * b[j * k + l];
        }
        for (uint64_t i = 0; i < m; i++) {
            const size_t at = j * (uint64_t)c.d.ld + i;
            float v = c.alpha * sum[i];
            if (c.beta != 0.f) v += c.beta * read(c.pd, c.d.type, at);
            if (c.desc.epilogue & CUBLASLT_EPILOGUE_BIAS) v += c.desc.bias[i];
            if (c.desc.epilogue & CUBLASLT_EPILOGUE_RELU) v = v > 0.f || std::isnan(v) ? v : 0.f;
            if (c.d.type == CUDA_R_32F) ((float *)c.pd)[at] = v;
            else ((__nv_bfloat16 *)c.pd)[at] = __nv_bfloat16(v);
        }
    }
}

/* m, n, k of a product whose shapes fit together. */
bool shape(const cublasLtMatmulDescOpaque_t &desc, const cublasLtMatrixLayoutOpaque_t &a,
           const cublasLtMatrixLayoutOpaque_t &b, const cublasLtMatrixLayoutOpaque_t &c,
           const cublasLtMatrixLayoutOpaque_t &d, Chosen &out) {
    out.m = desc.transpose_a == CUBLAS_OP_N ? a.rows : a.columns;
    out.k = desc.transpose_a == CUBLAS_OP_N ? a.columns : a.rows;
    out.n = desc.transpose_b == CUBLAS_OP_N ? b.columns : b.rows;
    const uint64_t k = desc.transpose_b == CUBLAS_OP_N ? b.rows : b.columns;
    out.operations = (uint64_t)desc.epilogue << 32 | (uint64_t)desc.transpose_a << 1 | (uint64_t)desc.transpose_b;
    return k == out.k && d.rows == out.m && d.columns == out.n && c.rows == d.rows && c.columns == d.columns &&
           c.ld == d.ld && c.type == d.type && a.type == b.type;
}

bool aligned(const void *p, uint32_t bytes) { return (uintptr_t)p % bytes == 0; }

template <class T> cublasStatus_t set(T &to, const void *value, size_t bytes) {
    if (!value || bytes != sizeof to) return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(&to, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

} // namespace

extern "C" cublasStatus_t cublasLtCreate(cublasLtHandle_t *out) {
    if (device_count() <= 0) return CUBLAS_STATUS_NOT_INITIALIZED;
    *out = new cublasLtContext{};
    return CUBLAS_STATUS_SUCCESS;
}

extern "C" cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}

extern "C" const char *cublasLtGetStatusName(cublasStatus_t status) {
    switch (status) {
    case CUBLAS_STATUS_SUCCESS: return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED: return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_ALLOC_FAILED: return "CUBLAS_STATUS_ALLOC_FAILED";
    case CUBLAS_STATUS_INVALID_VALUE: return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_ARCH_MISMATCH: return "CUBLAS_STATUS_ARCH_MISMATCH";
    case CUBLAS_STATUS_EXECUTION_FAILED: return "CUBLAS_STATUS_EXECUTION_FAILED";
    case CUBLAS_STATUS_INTERNAL_ERROR: return "CUBLAS_STATUS_INTERNAL_ERROR";
    case CUBLAS_STATUS_NOT_SUPPORTED: return "CUBLAS_STATUS_NOT_SUPPORTED";
    }
    return "unknown status";
}

extern "C" const char *cublasLtGetStatusString(cublasStatus_t status) { return cublasLtGetStatusName(status); }

extern "C" size_t cublasLtGetVersion(void) { return 130100; }

extern "C" cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *out, cublasComputeType_t compute,
                                                   cudaDataType scale) {
    if (scale != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
    *out = new cublasLtMatmulDescOpaque_t;
    (*out)->compute = compute;
    return CUBLAS_STATUS_SUCCESS;
}

extern "C" cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc,
                                                         cublasLtMatmulDescAttributes_t attribute, const void *value,
                                                         size_t bytes) {
    switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA: return set(desc->transpose_a, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB: return set(desc->transpose_b, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE: return set(desc->epilogue, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER: return set(desc->bias, value, bytes);
    }
    return CUBLAS_STATUS_NOT_SUPPORTED;
}

extern "C" cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc) {
    delete desc;
    return CUBLAS_STATUS_SUCCESS;
}

extern "C" cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *out, cudaDataType type, uint64_t rows,
                                                     uint64_t columns, int64_t ld) {
    if (rows == 0 || columns == 0 || ld < (int64_t)rows) return CUBLAS_STATUS_INVALID_VALUE;
    if (type != CUDA_R_32F && type != CUDA_R_16BF) return CUBLAS_STATUS_NOT_SUPPORTED;
    *out = new cublasLtMatrixLayoutOpaque_t{type, rows, columns, ld};
    return CUBLAS_STATUS_SUCCESS;
}

extern "C" cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                           cublasLtMatrixLayoutAttribute_t attribute,
                                                           const void *value, size_t bytes) {
    if (attribute != CUBLASLT_MATRIX_LAYOUT_COLS) return CUBLAS_STATUS_NOT_SUPPORTED;
    return set(layout->columns, value, bytes);
}

extern "C" cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
    delete layout;
    return CUBLAS_STATUS_SUCCESS;
}

extern "C" cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *out) {
    *out = new cublasLtMatmulPreferenceOpaque_t;
    return CUBLAS_STATUS_SUCCESS;
}

extern "C" cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                               cublasLtMatmulPreferenceAttributes_t attribute,
                                                               const void *value, size_t bytes) {
    switch (attribute) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES: return set(preference->workspace, value, bytes);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK: return set(preference->reduction, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES: return set(preference->alignment[0], value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES: return set(preference->alignment[1], value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES: return set(preference->alignment[2], value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES: return set(preference->alignment[3], value, bytes);
    }
    return CUBLAS_STATUS_NOT_SUPPORTED;
}

extern "C" cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
    delete preference;
    return CUBLAS_STATUS_SUCCESS;
}

extern "C" cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
                                                         cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                                         cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                                         cublasLtMatmulPreference_t preference, int wanted,
                                                         cublasLtMatmulHeuristicResult_t results[], int *found) {
    Chosen chosen = {};
    if (!handle || wanted < 1 || !shape(*desc, *a, *b, *c, *d, chosen)) return CUBLAS_STATUS_INVALID_VALUE;
    /* The table of the documentation: a bias has the type of a float32 result, and other results take none. */
    if ((desc->epilogue & CUBLASLT_EPILOGUE_BIAS) && (a->type != CUDA_R_32F || d->type != CUDA_R_32F)) {
        *found = 0;
        return CUBLAS_STATUS_NOT_SUPPORTED;
    }
    const bool split = preference->reduction != CUBLASLT_REDUCTION_SCHEME_NONE && chosen.k >= LONG_SUM;
    chosen.workspace = split && preference->workspace >= SPLIT_WORKSPACE ? (uint64_t)SPLIT_WORKSPACE : 0;
    memcpy(chosen.alignment, preference->alignment, sizeof chosen.alignment);
    chosen.backwards = chosen.n < FEW_COLUMNS;
    /* What it ranks first need not be usable: each says so itself. */
    const int unusable = wanted > 1 ? 1 : 0;
    for (int i = 0; i <= unusable; i++) {
        results[i] = {};
        results[i].state = CUBLAS_STATUS_NOT_SUPPORTED;
    }
    memcpy(&results[unusable].algo, &chosen, sizeof chosen);
    results[unusable].workspaceSize = chosen.workspace;
    results[unusable].state = CUBLAS_STATUS_SUCCESS;
    *found = unusable + 1;
    return CUBLAS_STATUS_SUCCESS;
}

extern "C" cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void *alpha,
                                         const void *a, cublasLtMatrixLayout_t a_layout, const void *b,
                                         cublasLtMatrixLayout_t b_layout, const void *beta, const void *c,
                                         cublasLtMatrixLayout_t c_layout, void *d, cublasLtMatrixLayout_t d_layout,
                                         const cublasLtMatmulAlgo_t *algo, void *workspace, size_t workspace_bytes,
                                         cudaStream_t stream) {
    std::lock_guard<std::recursive_mutex> hold(lock());
    Chosen now = {}, chosen;
    if (!handle || !algo || !shape(*desc, *a_layout, *b_layout, *c_layout, *d_layout, now))
        return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(&chosen, algo, sizeof chosen);
    const Matrix ma = {a_layout, a}, mb = {b_layout, b}, md = {d_layout, d};
    /* EMOCLIM_CUEMU_LT_COLUMNS=1: an algorithm is good for the number of columns that it was chosen for, and no
     * other. */
    if (chosen.n != now.n && getenv("EMOCLIM_CUEMU_LT_COLUMNS")) return CUBLAS_STATUS_NOT_SUPPORTED;
    /* Chosen for another problem? More or fewer columns are no matter to an algorithm that needs no workspace. */
    if (chosen.m != now.m || chosen.k != now.k || chosen.operations != now.operations ||
        (chosen.n != now.n && chosen.workspace != 0))
        return CUBLAS_STATUS_INVALID_VALUE;
    if (!is_device(a, ma.bytes()) || !is_device(b, mb.bytes()) || !is_device(d, md.bytes()) || c != d)
        return CUBLAS_STATUS_INVALID_VALUE;
    if (!aligned(a, chosen.alignment[0]) || !aligned(b, chosen.alignment[1]) || !aligned(d, chosen.alignment[3]))
        return CUBLAS_STATUS_INVALID_VALUE;
    if (chosen.workspace && (workspace_bytes < chosen.workspace || !is_device(workspace, chosen.workspace)))
        return CUBLAS_STATUS_INVALID_VALUE;
    if ((desc->epilogue & CUBLASLT_EPILOGUE_BIAS) && !is_device(desc->bias, 4 * now.m)) return CUBLAS_STATUS_INVALID_VALUE;
    const Call call = {*desc, *a_layout, *b_layout, *d_layout, *(const float *)alpha, *(const float *)beta,
                       a, b, d, (char *)workspace, chosen.workspace, chosen.backwards != 0};
    return enqueue(stream, "a product of cuBLASLt", [call] { multiply(call); }) == cudaSuccess
               ? CUBLAS_STATUS_SUCCESS
               : CUBLAS_STATUS_EXECUTION_FAILED;
}
