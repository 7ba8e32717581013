/* cuDNN's convolutions as plain sums, with every descriptor and address looked at. Maps and weights are float32 in NCHW
 * order. Unless a convolution asks for CUDNN_FMA_MATH its factors are rounded to tf32, as on a real card. */
#include <cmath>
#include <cstring>

#include "cudnn.h"
#include "internal.h"

using namespace cuemu;

struct cudnnContext {
    cudaStream_t stream;
    bool odd_call;
};
struct cudnnTensorStruct {
    bool set;
    int n, c, h, w;
};
struct cudnnFilterStruct {
    bool set;
    int k, c, h, w;
};
struct cudnnConvolutionStruct {
    bool set;
    int pad_h, pad_w, step_h, step_w;
    cudnnMathType_t math;
};

namespace {

/* Offered are one that does not exist for the shape, one that is too hungry, one that is not reproducible (its sums run
 * forward one time and backward the next) and a good one. */
enum : size_t { HUNGRY = (size_t)1 << 30, PRECOMPUTED = 48 << 10 };

size_t count(const cudnnTensorStruct &t) { return (size_t)t.n * (size_t)t.c * (size_t)t.h * (size_t)t.w; }
size_t count(const cudnnFilterStruct &f) { return (size_t)f.k * (size_t)f.c * (size_t)f.h * (size_t)f.w; }

bool is_floats(const void *memory, size_t floats) {
    return (uintptr_t)memory % sizeof(float) == 0 && is_device(memory, floats * sizeof(float));
}

int output_size(int size, int pad, int kernel, int step) { return (size + 2 * pad - kernel) / step + 1; }

bool fit(const cudnnTensorStruct *x, const cudnnFilterStruct *w, const cudnnConvolutionStruct *c,
         const cudnnTensorStruct *y) {
    return x && w && c && y && x->set && w->set && c->set && y->set && x->c == w->c && y->c == w->k && x->n == y->n &&
           y->h == output_size(x->h, c->pad_h, w->h, c->step_h) && y->w == output_size(x->w, c->pad_w, w->w, c->step_w);
}

bool workspace_of(cudnnConvolutionFwdAlgo_t algo, size_t *bytes) {
    switch (algo) {
    case CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM: *bytes = 0; return true;
    case CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM: *bytes = PRECOMPUTED; return true;
    case CUDNN_CONVOLUTION_FWD_ALGO_FFT: *bytes = HUNGRY; return true;
    default: return false;
    }
}

float rounded(float x, cudnnMathType_t math) {
    if (math == CUDNN_FMA_MATH || !std::isfinite(x)) return x;
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    u = (u + 0xfffu + (u >> 13 & 1u)) & ~0x1fffu;
    memcpy(&x, &u, sizeof x);
    return x;
}

struct Call {
    cudnnTensorStruct xd, yd;
    cudnnFilterStruct wd;
    cudnnConvolutionStruct convolution;
    const float *x, *w;
    float *y;
    float alpha, beta; /* y = alpha * convolution + beta * y */
    char *workspace;
    size_t workspace_bytes;
    bool backward; /* over the channels */
};

float one_output(const Call &c, int n, int k, int top, int left) {
    float sum = 0;
    for (int channel = 0; channel < c.wd.c; channel++) {
        const int i = c.backward ? c.wd.c - 1 - channel : channel;
        for (int row = 0; row < c.wd.h; row++)
            for (int column = 0; column < c.wd.w; column++) {
                const int h = top + row, w = left + column;
                if (h < 0 || h >= c.xd.h || w < 0 || w >= c.xd.w) continue;
                const float x = c.x[(((size_t)n * c.xd.c + i) * c.xd.h + h) * c.xd.w + w];
                const float weight = c.w[(((size_t)k * c.wd.c + i) * c.wd.h + row) * c.wd.w + column];
                sum += rounded(x, c.convolution.math) * rounded(weight, c.convolution.math);
            }
    }
    return sum;
}

void convolve(const Call &c) {
    size_t at = 0;
    if (c.workspace_bytes) memset(c.workspace, 0xa5, c.workspace_bytes);
    for (int n = 0; n < c.yd.n; n++)
        for (int k = 0; k < c.yd.c; k++)
            for (int h = 0; h < c.yd.h; h++)
                for (int w = 0; w < c.yd.w; w++, at++) {
                    float v = c.alpha * one_output(c, n, k, h * c.convolution.step_h - c.convolution.pad_h,
                                                   w * c.convolution.step_w - c.convolution.pad_w);
                    if (c.beta != 0.f) v += c.beta * c.y[at];
                    c.y[at] = v;
                }
}

cudnnStatus_t run(cudnnHandle_t handle, Call &call, const cudnnTensorStruct *x, const cudnnFilterStruct *w,
                  const cudnnConvolutionStruct *convolution, const cudnnTensorStruct *y, cudnnConvolutionFwdAlgo_t algo,
                  size_t workspace_bytes) {
    std::lock_guard<std::recursive_mutex> hold(lock());
    size_t needed = 0;
    if (!handle || !fit(x, w, convolution, y) || !workspace_of(algo, &needed)) return CUDNN_STATUS_BAD_PARAM;
    if (needed > workspace_bytes || (needed && !is_device(call.workspace, needed))) return CUDNN_STATUS_BAD_PARAM;
    if (!is_floats(call.x, count(*x)) || !is_floats(call.w, count(*w)) || !is_floats(call.y, count(*y)))
        return CUDNN_STATUS_BAD_PARAM;
    if (call.x == call.y) return CUDNN_STATUS_BAD_PARAM;
    call.workspace_bytes = needed;
    call.xd = *x;
    call.wd = *w;
    call.yd = *y;
    call.convolution = *convolution;
    if (algo == CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM) call.backward = handle->odd_call = !handle->odd_call;
    const Call now = call;
    return enqueue(handle->stream, "a convolution of cuDNN", [now] { convolve(now); }) == cudaSuccess
               ? CUDNN_STATUS_SUCCESS
               : CUDNN_STATUS_EXECUTION_FAILED;
}

template <class T> cudnnStatus_t make(T **out) {
    *out = new T{};
    return CUDNN_STATUS_SUCCESS;
}

template <class T> cudnnStatus_t drop(T *descriptor) {
    delete descriptor;
    return CUDNN_STATUS_SUCCESS;
}

} // namespace

extern "C" const char *cudnnGetErrorString(cudnnStatus_t status) {
    switch (status) {
    case CUDNN_STATUS_SUCCESS: return "CUDNN_STATUS_SUCCESS";
    case CUDNN_STATUS_NOT_INITIALIZED: return "CUDNN_STATUS_NOT_INITIALIZED";
    case CUDNN_STATUS_BAD_PARAM: return "CUDNN_STATUS_BAD_PARAM";
    case CUDNN_STATUS_NOT_SUPPORTED: return "CUDNN_STATUS_NOT_SUPPORTED";
    case CUDNN_STATUS_INTERNAL_ERROR: return "CUDNN_STATUS_INTERNAL_ERROR";
    case CUDNN_STATUS_EXECUTION_FAILED: return "CUDNN_STATUS_EXECUTION_FAILED";
    }
    return "unknown status";
}

extern "C" size_t cudnnGetVersion(void) { return 91900; }

extern "C" cudnnStatus_t cudnnCreate(cudnnHandle_t *handle) {
    if (device_count() <= 0) return CUDNN_STATUS_NOT_INITIALIZED;
    return make(handle);
}
extern "C" cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) { return drop(handle); }

extern "C" cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
    if (!handle) return CUDNN_STATUS_BAD_PARAM;
    handle->stream = stream;
    return CUDNN_STATUS_SUCCESS;
}

extern "C" cudnnStatus_t cudnnCreateTensorDescriptor(cudnnTensorDescriptor_t *out) { return make(out); }
extern "C" cudnnStatus_t cudnnDestroyTensorDescriptor(cudnnTensorDescriptor_t tensor) { return drop(tensor); }

extern "C" cudnnStatus_t cudnnSetTensor4dDescriptor(cudnnTensorDescriptor_t tensor, cudnnTensorFormat_t format,
                                                    cudnnDataType_t type, int n, int c, int h, int w) {
    if (!tensor || n < 1 || c < 1 || h < 1 || w < 1) return CUDNN_STATUS_BAD_PARAM;
    if (format != CUDNN_TENSOR_NCHW || type != CUDNN_DATA_FLOAT) return CUDNN_STATUS_NOT_SUPPORTED;
    *tensor = {true, n, c, h, w};
    return CUDNN_STATUS_SUCCESS;
}

extern "C" cudnnStatus_t cudnnCreateFilterDescriptor(cudnnFilterDescriptor_t *out) { return make(out); }
extern "C" cudnnStatus_t cudnnDestroyFilterDescriptor(cudnnFilterDescriptor_t filter) { return drop(filter); }

extern "C" cudnnStatus_t cudnnSetFilter4dDescriptor(cudnnFilterDescriptor_t filter, cudnnDataType_t type,
                                                    cudnnTensorFormat_t format, int k, int c, int h, int w) {
    if (!filter || k < 1 || c < 1 || h < 1 || w < 1) return CUDNN_STATUS_BAD_PARAM;
    if (format != CUDNN_TENSOR_NCHW || type != CUDNN_DATA_FLOAT) return CUDNN_STATUS_NOT_SUPPORTED;
    *filter = {true, k, c, h, w};
    return CUDNN_STATUS_SUCCESS;
}

extern "C" cudnnStatus_t cudnnCreateConvolutionDescriptor(cudnnConvolutionDescriptor_t *out) { return make(out); }
extern "C" cudnnStatus_t cudnnDestroyConvolutionDescriptor(cudnnConvolutionDescriptor_t convolution) {
    return drop(convolution);
}

extern "C" cudnnStatus_t cudnnSetConvolution2dDescriptor(cudnnConvolutionDescriptor_t convolution, int pad_h, int pad_w,
                                                         int u, int v, int dilation_h, int dilation_w,
                                                         cudnnConvolutionMode_t mode, cudnnDataType_t type) {
    if (!convolution || pad_h < 0 || pad_w < 0 || u < 1 || v < 1) return CUDNN_STATUS_BAD_PARAM;
    if (dilation_h != 1 || dilation_w != 1 || mode != CUDNN_CROSS_CORRELATION || type != CUDNN_DATA_FLOAT)
        return CUDNN_STATUS_NOT_SUPPORTED;
    *convolution = {true, pad_h, pad_w, u, v, CUDNN_DEFAULT_MATH};
    return CUDNN_STATUS_SUCCESS;
}

extern "C" cudnnStatus_t cudnnSetConvolutionMathType(cudnnConvolutionDescriptor_t convolution, cudnnMathType_t math) {
    if (!convolution || !convolution->set) return CUDNN_STATUS_BAD_PARAM;
    convolution->math = math;
    return CUDNN_STATUS_SUCCESS;
}

extern "C" cudnnStatus_t cudnnGetConvolutionForwardAlgorithm_v7(
    cudnnHandle_t handle, const cudnnTensorDescriptor_t x, const cudnnFilterDescriptor_t w,
    const cudnnConvolutionDescriptor_t convolution, const cudnnTensorDescriptor_t y, const int wanted, int *found,
    cudnnConvolutionFwdAlgoPerf_t *results) {
    if (!handle || !fit(x, w, convolution, y) || wanted < 1 || !found || !results) return CUDNN_STATUS_BAD_PARAM;
    const cudnnMathType_t math = convolution->math;
    const cudnnConvolutionFwdAlgoPerf_t all[] = {
        {CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD_NONFUSED, CUDNN_STATUS_NOT_SUPPORTED, -1, 0, CUDNN_DETERMINISTIC, math,
         {}},
        /* to be refused */
        {CUDNN_CONVOLUTION_FWD_ALGO_GEMM, CUDNN_STATUS_SUCCESS, -1, 0, CUDNN_DETERMINISTIC, math, {}},
        {CUDNN_CONVOLUTION_FWD_ALGO_FFT, CUDNN_STATUS_SUCCESS, -1, HUNGRY, CUDNN_DETERMINISTIC, math, {}},
        {CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM, CUDNN_STATUS_SUCCESS, -1, 0, CUDNN_NON_DETERMINISTIC, math, {}},
        {CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM, CUDNN_STATUS_SUCCESS, -1, PRECOMPUTED, CUDNN_DETERMINISTIC,
         math, {}},
    };
    *found = 0;
    for (const auto &one : all)
        if (*found < wanted) results[(*found)++] = one;
    return CUDNN_STATUS_SUCCESS;
}

extern "C" cudnnStatus_t cudnnGetConvolutionForwardWorkspaceSize(cudnnHandle_t handle, const cudnnTensorDescriptor_t x,
                                                                 const cudnnFilterDescriptor_t w,
                                                                 const cudnnConvolutionDescriptor_t convolution,
                                                                 const cudnnTensorDescriptor_t y,
                                                                 cudnnConvolutionFwdAlgo_t algo, size_t *bytes) {
    if (!handle || !fit(x, w, convolution, y)) return CUDNN_STATUS_BAD_PARAM;
    return workspace_of(algo, bytes) ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_NOT_SUPPORTED;
}

extern "C" cudnnStatus_t cudnnConvolutionForward(cudnnHandle_t handle, const void *alpha,
                                                 const cudnnTensorDescriptor_t x_desc, const void *x,
                                                 const cudnnFilterDescriptor_t w_desc, const void *w,
                                                 const cudnnConvolutionDescriptor_t convolution,
                                                 cudnnConvolutionFwdAlgo_t algo, void *workspace,
                                                 size_t workspace_bytes, const void *beta,
                                                 const cudnnTensorDescriptor_t y_desc, void *y) {
    Call call = {};
    call.x = (const float *)x;
    call.w = (const float *)w;
    call.y = (float *)y;
    call.alpha = *(const float *)alpha;
    call.beta = *(const float *)beta;
    call.workspace = (char *)workspace;
    return run(handle, call, x_desc, w_desc, convolution, y_desc, algo, workspace_bytes);
}
