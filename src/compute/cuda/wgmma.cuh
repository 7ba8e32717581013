/* Instructions of compute capability 9.0 with its own features (sm_90a): products that a warpgroup gives to the tensor
 * cores and forgets until it waits, bulk copies, and the arrival barriers in shared memory that both are ordered by.
 * Only the files that CMake compiles for sm_90a include it. Where a rule is not said to be ours, it is the PTX
 * manual's, chapters "Asynchronous Warpgroup Level Matrix Instructions", "Parallel Synchronization and Communication
 * Instructions: mbarrier" and "Data Movement and Conversion Instructions: cp.async.bulk".
 *
 * A warpgroup is 4 warps, the first of a number divisible by 4. A product D (64, N) += A (64, 16) B (16, N) takes B,
 * and A or not, from shared memory through a descriptor of 64 bits ("Matrix Descriptor Format"):
 *
 *     bits 0-13 start, 16-29 leading offset (LBO), 32-45 stride offset (SBO): bytes / 16
 *     bits 62-63 swizzle; 1: 128 bytes
 *
 * Swizzled by 128 bytes, the 16-byte unit u of a row of 128 bytes lies at u ^ (address / 128 % 8) ("Swizzling Modes").
 * With rows in steps of 128 bytes and a start at a multiple of 1024, that is u ^ row % 8, as in the panels of
 * supcon_hopper.cuh.
 *   depth runs along rows ("K-major"): 8 rows of the matrix, then the next 8 after SBO. LBO has no meaning. The next 16
 *     of depth begin 32 bytes further on.
 *   depth runs down the rows ("MN-major", 16-bit types only): 64 columns, the next 64 after LBO; 8 of depth, the next 8
 *     after SBO.
 *
 * Warp w of a warpgroup, lane l = 4 g + t. D: value 4 n + i is row 16 w + g + 8 (i / 2), column 8 n + 2 t + i % 2. A in
 * registers: as in mma.cuh, of rows 16 w on.
 *
 * Order. What products read and write, registers or shared memory, is theirs from the call until ec__wgmma_wait covers
 * their group. Before the first product of a group that uses registers which others have written: ec__wgmma_fence. */
#ifndef EC_COMPUTE_CUDA_WGMMA_CUH
#define EC_COMPUTE_CUDA_WGMMA_CUH

#include <stdint.h>

#ifdef EMOCLIM_CUEMU
#include <cuemu_wgmma.h>
#else

static __device__ __forceinline__ uint32_t ec__shared_address(const void *at) {
    return (uint32_t)__cvta_generic_to_shared(at);
}

/* An arrival barrier, 8 bytes of shared memory: a phase ends when so many arrivals have come and all bytes that were
 * announced; the next begins at once. Other threads may use it after the fence below and a barrier of the block. */
static __device__ __forceinline__ void ec__arrival_init(uint64_t *barrier, uint32_t arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(ec__shared_address(barrier)), "r"(arrivals)
                 : "memory");
}

/* Lets the copy engine and the tensor cores see what this thread wrote to shared memory by ordinary stores. */
static __device__ __forceinline__ void ec__fence_async() {
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

/* Announces bytes of the phase under way; not an arrival. */
static __device__ __forceinline__ void ec__arrival_expect(uint64_t *barrier, uint32_t bytes) {
    asm volatile("mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%0], %1;" ::"r"(ec__shared_address(barrier)),
                 "r"(bytes)
                 : "memory");
}

/* One arrival. What this thread did before is seen by those who wait. */
static __device__ __forceinline__ void ec__arrive(uint64_t *barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(ec__shared_address(barrier)) : "memory");
}

/* Waits for the end of the phase of that parity; the first phase has 0. On a new barrier parity 1 is past. */
static __device__ __forceinline__ void ec__arrival_wait(uint64_t *barrier, uint32_t parity) {
    uint32_t done = 0;
    while (!done)
        asm volatile("{\n"
                     ".reg .pred over;\n"
                     "mbarrier.try_wait.parity.shared::cta.b64 over, [%1], %2;\n"
                     "selp.b32 %0, 1, 0, over;\n"
                     "}\n"
                     : "=r"(done)
                     : "r"(ec__shared_address(barrier)), "r"(parity)
                     : "memory");
}

/* Starts a copy from global to shared memory whose bytes arrive at the barrier. Ends and bytes are multiples of 16. */
static __device__ __forceinline__ void ec__bulk_copy(void *to, const void *from, uint32_t bytes, uint64_t *barrier) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                     ec__shared_address(to)),
                 "l"(from), "r"(bytes), "r"(ec__shared_address(barrier))
                 : "memory");
}

/* Gives registers of the calling warpgroup back, or takes them: so many a thread from now on. */
template <int COUNT> static __device__ __forceinline__ void ec__fewer_registers() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(COUNT));
}

template <int COUNT> static __device__ __forceinline__ void ec__more_registers() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(COUNT));
}

static __device__ __forceinline__ void ec__wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }

/* Products so far form a group; ec__wgmma_wait<N> waits until at most the N latest groups are under way. */
static __device__ __forceinline__ void ec__wgmma_commit() {
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

template <int GROUPS> static __device__ __forceinline__ void ec__wgmma_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(GROUPS) : "memory");
}

/* Keeps the compiler from moving uses of d over this place: it takes d for written when the product is enqueued. */
template <int COUNT> static __device__ __forceinline__ void ec__wgmma_hold(float (&d)[COUNT]) {
#pragma unroll
    for (int i = 0; i < COUNT; i++) asm volatile("" : "+f"(d[i])::"memory");
}

#define EC_OUT_8(d, i)                                                                                            \
    "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), \
        "+f"(d[i + 7])
#define EC_OUT_32(d, i) EC_OUT_8(d, i), EC_OUT_8(d, i + 8), EC_OUT_8(d, i + 16), EC_OUT_8(d, i + 24)
#define EC_NAMES_32                                                                                             \
    "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28," \
    "%29,%30,%31"
#define EC_NAMES_64                                                                                                \
    EC_NAMES_32 ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55," \
                "%56,%57,%58,%59,%60,%61,%62,%63"

/* d = a b, added to d where add is set: 64 rows of depth 16 by 128; a and b both K-major. */
static __device__ __forceinline__ void ec__wgmma_rows(float (&d)[64], uint64_t a, uint64_t b, int32_t add) {
    asm volatile("{\n"
                 ".reg .pred add;\n"
                 "setp.ne.b32 add, %66, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" EC_NAMES_64 "}, %64, %65, add, 1, 1, 0, 0;\n"
                 "}\n"
                 : EC_OUT_32(d, 0), EC_OUT_32(d, 32)
                 : "l"(a), "l"(b), "r"(add));
}

/* The same with a in registers and b MN-major, 128 or 64 columns. */
static __device__ __forceinline__ void ec__wgmma_columns(float (&d)[64], const uint32_t *a, uint64_t b, int32_t add) {
    asm volatile("{\n"
                 ".reg .pred add;\n"
                 "setp.ne.b32 add, %69, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" EC_NAMES_64
                 "}, {%64,%65,%66,%67}, %68, add, 1, 1, 1;\n"
                 "}\n"
                 : EC_OUT_32(d, 0), EC_OUT_32(d, 32)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add));
}

static __device__ __forceinline__ void ec__wgmma_columns(float (&d)[32], const uint32_t *a, uint64_t b, int32_t add) {
    asm volatile("{\n"
                 ".reg .pred add;\n"
                 "setp.ne.b32 add, %37, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" EC_NAMES_32
                 "}, {%32,%33,%34,%35}, %36, add, 1, 1, 1;\n"
                 "}\n"
                 : EC_OUT_32(d, 0)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add));
}

#endif

/* A descriptor, swizzled by 128 bytes. start: in shared memory. */
static __device__ __forceinline__ uint64_t ec__wgmma_descriptor(const void *start, uint32_t leading, uint32_t stride) {
    const uint64_t at = (ec__shared_address(start) & 0x3ffffu) >> 4;
    return at | (uint64_t)(leading >> 4) << 16 | (uint64_t)(stride >> 4) << 32 | (uint64_t)1 << 62;
}

#endif
