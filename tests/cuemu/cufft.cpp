/* cuFFT's batched transforms of real numbers, in double precision, with plans and addresses looked at. A plan has no
 * memory of its own: work memory must have been given, is overwritten, and every other plan wants some. */
#include <cmath>
#include <complex>
#include <map>

#include "cufft.h"
#include "internal.h"

using namespace cuemu;

namespace {

using number = std::complex<double>;

struct Plan {
    bool made = false, own_memory = true;
    int n = 0, in_step = 0, out_step = 0, batch = 0;
    size_t work_bytes = 0;
    void *work = nullptr;
    cudaStream_t stream = nullptr;
};

std::map<cufftHandle, Plan> plans;
cufftHandle last_handle = 0;

Plan *find(cufftHandle handle) {
    const auto p = plans.find(handle);
    return p == plans.end() ? nullptr : &p->second;
}

/* Every `step`th of step * n numbers: by halves where that goes, else as the definition has it. turn[i] is
 * exp(-2 pi sqrt(-1) i / (step n)). */
void transform(const number *from, int n, int step, const number *turn, number *to) {
    if (n % 2 == 0) {
        transform(from, n / 2, 2 * step, turn, to);
        transform(from + step, n / 2, 2 * step, turn, to + n / 2);
        for (int k = 0; k < n / 2; k++) {
            const number even = to[k], odd = turn[k * step] * to[n / 2 + k];
            to[k] = even + odd;
            to[n / 2 + k] = even - odd;
        }
        return;
    }
    for (int k = 0; k < n; k++) {
        to[k] = 0;
        for (int j = 0; j < n; j++) to[k] += turn[(int64_t)j * k % n * step] * from[j * step];
    }
}

void run(const Plan &p, const cufftReal *in, cufftComplex *out) {
    std::vector<number> from((size_t)p.n), to((size_t)p.n), turn((size_t)p.n);
    for (int i = 0; i < p.n; i++) turn[(size_t)i] = std::polar(1.0, -2 * M_PI * i / p.n);
    if (p.work_bytes) memset(p.work, 0xa5, p.work_bytes);
    for (int b = 0; b < p.batch; b++) {
        for (int i = 0; i < p.n; i++) from[(size_t)i] = in[(size_t)b * (size_t)p.in_step + (size_t)i];
        transform(from.data(), p.n, 1, turn.data(), to.data());
        for (int k = 0; k <= p.n / 2; k++)
            out[(size_t)b * (size_t)p.out_step + (size_t)k] = {(float)to[(size_t)k].real(),
                                                               (float)to[(size_t)k].imag()};
    }
}

} // namespace

extern "C" cufftResult cufftCreate(cufftHandle *handle) {
    std::lock_guard<std::recursive_mutex> hold(lock());
    if (!handle) return CUFFT_INVALID_VALUE;
    if (device_count() <= 0 || recording()) return CUFFT_SETUP_FAILED;
    *handle = ++last_handle;
    plans[*handle] = Plan();
    return CUFFT_SUCCESS;
}

extern "C" cufftResult cufftDestroy(cufftHandle handle) {
    std::lock_guard<std::recursive_mutex> hold(lock());
    return plans.erase(handle) ? CUFFT_SUCCESS : CUFFT_INVALID_PLAN;
}

extern "C" cufftResult cufftSetAutoAllocation(cufftHandle handle, int automatic) {
    std::lock_guard<std::recursive_mutex> hold(lock());
    Plan *p = find(handle);
    if (!p || p->made) return CUFFT_INVALID_PLAN;
    p->own_memory = automatic != 0;
    return CUFFT_SUCCESS;
}

extern "C" cufftResult cufftMakePlanMany(cufftHandle handle, int rank, int *n, int *inembed, int istride, int idist,
                                         int *onembed, int ostride, int odist, cufftType type, int batch,
                                         size_t *bytes) {
    std::lock_guard<std::recursive_mutex> hold(lock());
    Plan *p = find(handle);
    if (!p || p->made) return CUFFT_INVALID_PLAN;
    if (p->own_memory || recording() || type != CUFFT_R2C || rank != 1) return CUFFT_NOT_SUPPORTED;
    if (!n || !inembed || !onembed || !bytes || *n < 2 || *n % 2 || batch < 1) return CUFFT_INVALID_SIZE;
    if (istride != 1 || ostride != 1 || idist < *n || odist < *n / 2 + 1) return CUFFT_INVALID_VALUE;
    p->made = true;
    p->n = *n;
    p->in_step = idist;
    p->out_step = odist;
    p->batch = batch;
    p->work_bytes = handle % 2 ? 0 : sizeof(cufftComplex) * (size_t)batch * (size_t)(*n / 2);
    *bytes = p->work_bytes;
    return CUFFT_SUCCESS;
}

extern "C" cufftResult cufftSetStream(cufftHandle handle, cudaStream_t stream) {
    std::lock_guard<std::recursive_mutex> hold(lock());
    Plan *p = find(handle);
    if (!p) return CUFFT_INVALID_PLAN;
    p->stream = stream;
    return CUFFT_SUCCESS;
}

extern "C" cufftResult cufftSetWorkArea(cufftHandle handle, void *memory) {
    std::lock_guard<std::recursive_mutex> hold(lock());
    Plan *p = find(handle);
    if (!p || !p->made) return CUFFT_INVALID_PLAN;
    p->work = memory;
    return CUFFT_SUCCESS;
}

extern "C" cufftResult cufftExecR2C(cufftHandle handle, cufftReal *in, cufftComplex *out) {
    std::lock_guard<std::recursive_mutex> hold(lock());
    const Plan *p = find(handle);
    if (!p || !p->made) return CUFFT_INVALID_PLAN;
    const size_t in_count = (size_t)(p->batch - 1) * (size_t)p->in_step + (size_t)p->n;
    const size_t out_count = (size_t)(p->batch - 1) * (size_t)p->out_step + (size_t)p->n / 2 + 1;
    if (!is_device(in, in_count * sizeof *in) || !is_device(out, out_count * sizeof *out)) return CUFFT_INVALID_VALUE;
    if ((uintptr_t)in % 8 || (uintptr_t)out % 8 || (const void *)in == (const void *)out) return CUFFT_INVALID_VALUE;
    if (p->work_bytes && (!is_device(p->work, p->work_bytes) || (uintptr_t)p->work % 256)) return CUFFT_EXEC_FAILED;
    const Plan now = *p;
    return enqueue(p->stream, "a transform of cuFFT", [now, in, out] { run(now, in, out); }) == cudaSuccess
               ? CUFFT_SUCCESS
               : CUFFT_EXEC_FAILED;
}
