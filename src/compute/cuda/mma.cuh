/* Instructions of compute capability 8.0 that C++ has no words for: matrix products on a warp's registers, the loads
 * that feed them, and copies to shared memory that run beside the arithmetic. Inline PTX is here and in wgmma.cuh only.
 *
 * Lane l of a warp has g = l / 4 and t = l % 4. Fragments, as the PTX manual (warp-level matrix instructions) lays them
 * out:
 *
 *   m16n8k16, bfloat16, two values a word, the lower k in the lower half; k, k + 1 below:
 *     a[0] (row g, k 2t)   a[1] (row g + 8, k 2t)   a[2] (row g, k 2t + 8)   a[3] (row g + 8, k 2t + 8)
 *     b0 (k 2t, column g)  b1 (k 2t + 8, column g)
 *   m16n8k8, tf32, a float's bits a word:
 *     a[0] (row g, k t)    a[1] (row g + 8, k t)    a[2] (row g, k t + 4)    a[3] (row g + 8, k t + 4)
 *     b0 (k t, column g)   b1 (k t + 4, column g)
 *   both, c: c[0] c[1] (row g, columns 2t, 2t + 1)  c[2] c[3] (row g + 8, the same columns)
 *
 * Products are exact and summed in float32, but not rounded to nearest: a chain of many steps on one accumulator leans
 * towards zero, so long sums are made in pieces that ordinary additions put together. */
#ifndef EC_COMPUTE_CUDA_MMA_CUH
#define EC_COMPUTE_CUDA_MMA_CUH

#include <stdint.h>

#ifdef EMOCLIM_CUEMU
#include <cuemu_mma.h>
#else

/* c += a b */
static __device__ __forceinline__ void ec__mma_bf16(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

static __device__ __forceinline__ void ec__mma_tf32(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* Four matrices of 8 rows of 16 bytes in shared memory. Lane 8 m + r brings the address of row r of matrix m; word m of
 * lane l becomes word t of row g of matrix m. */
static __device__ __forceinline__ void ec__load_matrices(uint32_t to[4], const void *row) {
    const uint32_t at = (uint32_t)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(at)
                 : "memory");
}

/* The same of matrices of 16 bit values, transposed: word m of lane l becomes the values (row 2t, column g) and
 * (row 2t + 1, column g) of matrix m. */
static __device__ __forceinline__ void ec__load_matrices_transposed(uint32_t to[4], const void *row) {
    const uint32_t at = (uint32_t)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(at)
                 : "memory");
}

/* Starts a copy of 16 (4) bytes, both ends aligned to as many, from global to shared memory. Copies started so far form
 * a group at ec__copy_commit; ec__copy_wait<N> waits until at most the N latest groups of this thread are still under
 * way. Other threads see what was copied after a barrier. */
static __device__ __forceinline__ void ec__copy16(void *to_shared, const void *from_global) {
    const uint32_t to = (uint32_t)__cvta_generic_to_shared(to_shared);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from_global) : "memory");
}

static __device__ __forceinline__ void ec__copy4(void *to_shared, const void *from_global) {
    const uint32_t to = (uint32_t)__cvta_generic_to_shared(to_shared);
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(to), "l"(from_global) : "memory");
}

static __device__ __forceinline__ void ec__copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

template <int GROUPS> static __device__ __forceinline__ void ec__copy_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(GROUPS) : "memory");
}

/* The bits of x rounded to tf32 (10 bits of mantissa, ties away from zero). */
static __device__ __forceinline__ uint32_t ec__tf32(float x) {
    uint32_t bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
    return bits;
}

/* Both rounded to bfloat16 (to nearest even), low in the lower half. */
static __device__ __forceinline__ uint32_t ec__bf16_pair(float low, float high) {
    uint32_t bits;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
    return bits;
}

/* 2^x within 2^-22 of it; 0 where that is below the normal numbers. */
static __device__ __forceinline__ float ec__exp2(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

#endif

#endif
