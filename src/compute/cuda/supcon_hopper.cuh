/* What the SupCon kernels for compute capability 9.0 share (bfloat16 only: wgmma takes tf32 with depth along rows on
 * both sides, which the gradient's second product cannot give it).
 *
 * A block is one warpgroup of helpers and one or two that multiply. The first warp of the helpers copies: panels of Z
 * come into a ring of stages, each with two arrival barriers. "full": the copy warp and all bytes have come; "empty":
 * every multiplying warp has gone. All roles walk through the same tiles in the same order, so nothing is told between
 * them.
 *
 * Z lies in global memory as it will in shared memory: a panel is 128 rows of 128 bytes (64 columns of Z), 16-byte
 * units permuted by unit ^ row % 8, which is the 128-byte swizzle of wgmma.cuh. The panels of a tile of 128 rows follow
 * each other, and so do the tiles; a bulk copy takes any number of them. */
#ifndef EC_COMPUTE_CUDA_SUPCON_HOPPER_CUH
#define EC_COMPUTE_CUDA_SUPCON_HOPPER_CUH

#include "compute/cuda/launch.h"
#include "compute/cuda/mma.cuh"
#include "compute/cuda/supcon.h"
#include "compute/cuda/wgmma.cuh"

constexpr int TILE = EC_SUPCON_CUDA_TILE;
constexpr int ROW_BYTES = 128, PANEL_BYTES = TILE * ROW_BYTES, PANEL_DEPTH = 64;
constexpr int GROUP_THREADS = 128, GROUP_WARPS = 4, GROUP_ROWS = 64; /* rows: of a product */
constexpr int GROUP_BYTES = GROUP_ROWS * ROW_BYTES;                  /* of its rows of a panel */
constexpr int STEP = 16, STEP_BYTES = STEP * 2;                      /* depth of a product */
constexpr int SWIZZLE_ROWS = 8 * ROW_BYTES;                          /* what the permutation repeats after */
constexpr int WIDE = 64;                                             /* values a thread has of 64 rows by 128 columns */
constexpr int ALIGN = 1024;                                          /* of panels in shared memory */

/* Registers a thread: 65,536 are there, and a launch gives all warps the same number at first. */
constexpr int HELPER_REGISTERS = 40, PRODUCT_REGISTERS = 232;

/* ec__supcon_direction, for the device. */
static __device__ __forceinline__ int direction_of(int anchor, int candidate) {
    return anchor == candidate ? anchor : 2 + anchor;
}

/* Where a thread stands that multiplies: number of its warpgroup, and of its warp, lane l = 4 g + t. */
struct place {
    int group, warp, g, t;
};

static __device__ __forceinline__ place here() {
    const int thread = (int)threadIdx.x - GROUP_THREADS;
    return {thread / GROUP_THREADS, thread / EC_WARP, thread % EC_WARP / 4, thread % 4};
}

/* Row of the warpgroup's 64, and column of 128, of value 4 n + i. */
static __device__ __forceinline__ int value_row(const place &p, int i) {
    return 16 * (p.warp % GROUP_WARPS) + p.g + i / 2 * 8;
}
static __device__ __forceinline__ int value_column(const place &p, int n, int i) { return 8 * n + 2 * p.t + i % 2; }

/* How many slots of a ring a role has been through. */
template <int SLOTS> struct turn {
    static_assert((SLOTS & (SLOTS - 1)) == 0);
    uint32_t count;

    __device__ __forceinline__ int slot() const { return (int)(count % SLOTS); }
    __device__ __forceinline__ int slot_before() const { return (int)((count - 1) % SLOTS); }
    __device__ __forceinline__ uint32_t parity() const { return count / SLOTS % 2; }
};

/* The barriers of a ring. */
template <int SLOTS> struct ring_of {
    uint64_t full[SLOTS], empty[SLOTS];

    __device__ __forceinline__ void init(int filling, int emptying) {
        for (int s = 0; s < SLOTS; s++) {
            ec__arrival_init(&full[s], (uint32_t)filling);
            ec__arrival_init(&empty[s], (uint32_t)emptying);
        }
    }
    __device__ __forceinline__ void wait_full(const turn<SLOTS> &at) {
        ec__arrival_wait(&full[at.slot()], at.parity());
    }
    /* The first time round every slot is empty: the phase before the first one is past. */
    __device__ __forceinline__ void wait_empty(const turn<SLOTS> &at) {
        ec__arrival_wait(&empty[at.slot()], at.parity() ^ 1);
    }
};

/* An arrival of a warp: all its lanes have done what they had to. */
static __device__ __forceinline__ void warp_arrives(uint64_t *barrier) {
    __syncwarp();
    if (threadIdx.x % EC_WARP == 0) ec__arrive(barrier);
}

/* Dynamic shared memory from the first multiple of ALIGN on; a kernel asks for ALIGN bytes more than it uses. */
static __device__ __forceinline__ char *aligned(char *memory) {
    return memory + (ALIGN - ec__shared_address(memory) % ALIGN) % ALIGN;
}

/* Enqueues y += rows times columns over one panel's depth; y begins anew where first is set. rows: 64 of a panel;
 * columns: a panel, all 128 rows of it. */
static __device__ __forceinline__ void enqueue_scores(float (&y)[WIDE], const char *rows, const char *columns,
                                                      bool first) {
#pragma unroll
    for (int s = 0; s < PANEL_DEPTH / STEP; s++)
        ec__wgmma_rows(y, ec__wgmma_descriptor(rows + s * STEP_BYTES, 0, SWIZZLE_ROWS),
                       ec__wgmma_descriptor(columns + s * STEP_BYTES, 0, SWIZZLE_ROWS), !(first && s == 0));
}

/* Enqueues d = weights times z: 64 rows of weights towards the 128 rows of z, in registers, two values a word as they
 * came from scores; z: panels one after the other, 64 columns of the product each. */
template <int VALUES>
static __device__ __forceinline__ void enqueue_product(float (&d)[VALUES], const uint32_t (&weights)[WIDE / 2],
                                                       const char *z) {
#pragma unroll
    for (int s = 0; s < TILE / STEP; s++)
        ec__wgmma_columns(d, weights + 4 * s,
                          ec__wgmma_descriptor(z + s * STEP * ROW_BYTES, PANEL_BYTES, SWIZZLE_ROWS), s > 0);
}

/* The words of two neighbouring values i, i + 1 (i even) of group n of columns: where enqueue_product looks for
 * them. */
static __device__ __forceinline__ constexpr int weight_word(int n, int i) { return n / 2 * 4 + n % 2 * 2 + i / 2; }

#endif
