/* A kernel of wgmma.cuh's instructions, right or with one mistake, for test_emulation.cpp: a warp copies panels into a
 * ring of two stages, a warpgroup multiplies them, rounds the sums to bfloat16 and multiplies these with the last
 * panel. */
#include "test_products.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include <cuda_runtime.h>

#include "compute/cuda/wgmma.cuh"

namespace {

enum { STEPS = 5, STAGES = 2, ROWS = 64, COLUMNS = 128, DEPTH = 64 }; /* of a panel; the second product: depth 128 */
enum { A_BYTES = ROWS * 128, B_BYTES = COLUMNS * 128, ALIGN = 1024 };

struct Shared {
    char a[STAGES][A_BYTES], b[STAGES][B_BYTES];
    uint64_t full[STAGES], empty[STAGES];
};

void produce(const char *a, const char *b, Shared *shared, Mistake m) {
    for (int s = 0; s < STEPS; s++) {
        const int slot = s % STAGES, turn = s / STAGES;
        uint64_t *full = &shared->full[slot];
        if (m != Mistake::no_wait_empty) ec__arrival_wait(&shared->empty[slot], (uint32_t)((turn & 1) ^ 1));
        const uint32_t bytes = A_BYTES + B_BYTES;
        ec__arrival_expect(full, m == Mistake::fewer_bytes ? bytes - 16 : m == Mistake::more_bytes ? bytes + 16 : bytes);
        ec__bulk_copy(shared->a[slot], a + s * A_BYTES, A_BYTES, full);
        ec__bulk_copy(shared->b[slot], b + s * B_BYTES + (m == Mistake::misaligned_copy ? 8 : 0), B_BYTES, full);
        ec__arrive(full);
        if (m == Mistake::arrives_twice) ec__arrive(full);
    }
}

void multiply(const Shared *shared_read, float *d, float *e, Mistake m) {
    Shared *shared = (Shared *)shared_read;
    const unsigned thread = threadIdx.x, lane = thread % 32, row = thread / 32 * 16 + lane / 4;
    float sums[64] = {}, second[32] = {};
    uint32_t words[32];
    for (int s = 0; s < STEPS; s++) {
        const int slot = s % STAGES;
        const char *a = shared->a[slot], *b = shared->b[slot];
        if (m != Mistake::no_wait_full)
            ec__arrival_wait(&shared->full[slot], (uint32_t)((s / STAGES & 1) ^ (m == Mistake::wrong_parity)));
        if (m != Mistake::no_fence_product) ec__wgmma_fence();
        for (int k = 0; k < DEPTH / 16; k++)
            ec__wgmma_rows(sums, ec__wgmma_descriptor(a + k * (m == Mistake::wrong_step ? 16 : 32), 0, 1024),
                           ec__wgmma_descriptor(b + k * 32, 0, m == Mistake::wrong_stride ? 512 : 1024), s > 0 || k > 0);
        ec__wgmma_commit();
        if (s == STEPS - 1) break;
        if (m != Mistake::empty_before_wait && m != Mistake::waits_for_less) ec__wgmma_wait<0>();
        if (m == Mistake::waits_for_less) ec__wgmma_wait<1>();
        __syncwarp();
        if (lane == 0) ec__arrive(&shared->empty[slot]);
    }
    if (m != Mistake::reads_early) ec__wgmma_wait<0>();
    for (int i = 0; i < 32; i++) words[i] = ec__bf16_pair(sums[2 * i], sums[2 * i + 1]);
    ec__wgmma_wait<0>();
    ec__wgmma_fence();
    for (int k = 0; k < COLUMNS / 16; k++) {
        uint32_t own[4], *word = words + 4 * k;
        if (m == Mistake::words_reused) word = (uint32_t *)memcpy(words, memcpy(own, word, sizeof own), sizeof own);
        ec__wgmma_columns(second, word,
                          ec__wgmma_descriptor(shared->b[(STEPS - 1) % STAGES] + k * 2048, 0,
                                               m == Mistake::wrong_stride_down ? 2048 : 1024),
                          k > 0);
    }
    ec__wgmma_commit();
    if (m != Mistake::never_waits) ec__wgmma_wait<0>();
    for (int i = 0; i < 64; i++) d[(row + i % 4 / 2 * 8) * COLUMNS + i / 4 * 8 + lane % 4 * 2 + i % 2] = sums[i];
    for (int i = 0; i < 32; i++) e[(row + i % 4 / 2 * 8) * DEPTH + i / 4 * 8 + lane % 4 * 2 + i % 2] = second[i];
}

void kernel(const char *a, const char *b, float *d, float *e, Mistake m) {
    char *memory = (char *)cuemu::dynamic_shared();
    if (m != Mistake::misaligned_panels) memory += (ALIGN - ec__shared_address(memory) % ALIGN) % ALIGN;
    Shared *shared = (Shared *)memory;
    if (threadIdx.x == 128) {
        for (int s = 0; s < STAGES; s++) {
            if (m != Mistake::not_made) ec__arrival_init(&shared->full[s], 1);
            ec__arrival_init(&shared->empty[s], m == Mistake::one_warp_for_all ? 1 : 4);
        }
        if (m != Mistake::no_fence_barrier) ec__fence_async();
    }
    if (m != Mistake::no_block_barrier) __syncthreads();
    if (threadIdx.x < 128) multiply(shared, d, e, m);
    else if (threadIdx.x == 128)
        produce(a, b, shared, m);
}

float value(int seed, int i) { return (float)((i * 7 + seed * 13 + i / 11) % 3 - 1); }

/* Rows of 64 numbers as a panel. */
void put_panel(std::vector<char> &to, int rows, int seed) {
    const size_t at = to.size();
    to.resize(at + (size_t)rows * 128);
    for (int r = 0; r < rows; r++)
        for (int k = 0; k < DEPTH; k++) {
            const uint16_t bits = (uint16_t)(__builtin_bit_cast(uint32_t, value(seed, r * DEPTH + k)) >> 16);
            memcpy(&to[at + (size_t)(r * 128 + ((k / 8) ^ (r % 8)) * 16 + k % 8 * 2)], &bits, 2);
        }
}

template <class T> T *device(const T *from, size_t count) {
    T *p;
    if (cudaMalloc(&p, count * sizeof(T) + 16) != cudaSuccess) abort();
    if (from && cudaMemcpy(p, from, count * sizeof(T), cudaMemcpyHostToDevice) != cudaSuccess) abort();
    return p;
}

} // namespace

bool products_are_right(cudaStream_t stream, Mistake mistake) {
    std::vector<char> a, b;
    std::vector<float> d(ROWS * COLUMNS), e(ROWS * DEPTH);
    for (int s = 0; s < STEPS; s++) {
        put_panel(a, ROWS, s);
        put_panel(b, COLUMNS, 10 + s);
    }
    char *a_device = device(a.data(), a.size()), *b_device = device(b.data(), b.size());
    float *d_device = device<float>(nullptr, d.size()), *e_device = device<float>(nullptr, e.size());
    const size_t shared = sizeof(Shared) + ALIGN;
    if (cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared) != cudaSuccess ||
        cuemu::launch("products", kernel, dim3(1), dim3(160), shared, stream, a_device, b_device, d_device, e_device,
                      mistake) != cudaSuccess)
        return false;
    if (cudaMemcpyAsync(d.data(), d_device, d.size() * sizeof(float), cudaMemcpyDeviceToHost, stream) != cudaSuccess ||
        cudaMemcpyAsync(e.data(), e_device, e.size() * sizeof(float), cudaMemcpyDeviceToHost, stream) != cudaSuccess ||
        cudaStreamSynchronize(stream) != cudaSuccess)
        return false;
    for (int r = 0; r < ROWS; r++) {
        std::vector<float> second(DEPTH);
        for (int c = 0; c < COLUMNS; c++) {
            float sum = 0;
            for (int s = 0; s < STEPS; s++)
                for (int k = 0; k < DEPTH; k++) sum += value(s, r * DEPTH + k) * value(10 + s, c * DEPTH + k);
            if (d[(size_t)(r * COLUMNS + c)] != sum) return false;
            for (int k = 0; k < DEPTH; k++) second[(size_t)k] += sum * value(10 + STEPS - 1, c * DEPTH + k);
        }
        for (int k = 0; k < DEPTH; k++)
            if (e[(size_t)(r * DEPTH + k)] != second[(size_t)k]) return false;
    }
    return true;
}
