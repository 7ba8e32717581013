/* The instructions of compute/cuda/wgmma.cuh in the emulation; see there for what they do.
 *
 * A product of a warpgroup reads its registers and shared memory, through its descriptors, as late as it may: when its
 * group is waited for. With seed 1 it does so at once, which is as early as it may. A bulk copy likewise: at once, or
 * when nothing else in the block can go on (async.cpp). */
#ifndef CUEMU_WGMMA_H
#define CUEMU_WGMMA_H

#include <utility>

#include "cuemu_mma.h"

namespace cuemu {

/* async.cpp */
void arrival_init(uint64_t *barrier, unsigned arrivals);
void arrival_expect(uint64_t *barrier, unsigned bytes);
void arrive(uint64_t *barrier);
void arrival_wait(uint64_t *barrier, unsigned parity);
void fence_async();
void bulk_copy(void *to, const void *from, unsigned bytes, uint64_t *barrier);
bool asynchronous_at_once();
/* Of products that no wait has covered: one more, or one less. */
void count_products(int more);

/* Shared memory as the window of 256 KiB that its addresses count. */
uint32_t shared_address(const void *at);
const char *shared_at(uint32_t address, size_t bytes);

/* One product. depth_down: B is MN-major. */
struct Product {
    float *d;
    const uint32_t *a_words; /* NULL: from shared memory */
    uint64_t a, b;
    unsigned columns;
    bool add, depth_down;
};

/* EMOCLIM_CUEMU_FAULT=wgmma plays hardware that understands a descriptor in another way than we do: the two offsets of
 * MN-major matrices the other way round. Asked for when a kernel begins. */
extern bool plays_fault;

/* What the fields of a descriptor say. */
struct Descriptor {
    uint32_t start, leading, stride;

    explicit Descriptor(uint64_t bits, bool depth_down = false)
        : start((uint32_t)(bits & 0x3fff) << 4), leading((uint32_t)(bits >> 16 & 0x3fff) << 4),
          stride((uint32_t)(bits >> 32 & 0x3fff) << 4) {
        if (depth_down && plays_fault) std::swap(leading, stride);
        if (bits >> 62 != 1) fail("a matrix descriptor of swizzle mode %u; only 128 bytes (1) is known", (unsigned)(bits >> 62));
        if (bits >> 49 & 7) fail("a matrix descriptor with a base offset");
        if (bits & 0xc000c000c000ull) fail("a matrix descriptor with bits between its fields");
    }

    /* The 16 bytes that hold the byte of that offset. */
    const char *unit(uint32_t offset) const {
        const uint32_t at = (start + offset) & ~15u;
        return shared_at(at ^ (at >> 7 & 7) << 4, 16);
    }
};

/* 16 values of depth of a row of a K-major matrix. */
inline void read_along(const Descriptor &m, unsigned row, double to[16]) {
    const uint32_t offset = row % 8 * 128 + row / 8 * m.stride;
    if ((m.start & 127) > 96) fail("a matrix descriptor begins at byte %u of a row, from where 32 do not fit", m.start & 127);
    for (unsigned u = 0; u < 2; u++) {
        uint32_t word[4];
        std::memcpy(word, m.unit(offset + 16 * u), 16);
        for (unsigned i = 0; i < 8; i++) to[8 * u + i] = (double)bf16_value(word[i / 2], i % 2);
    }
}

/* Two neighbouring columns of an MN-major matrix, all 16 of depth. */
inline void read_down(const Descriptor &m, unsigned column, double to[2][16]) {
    for (unsigned k = 0; k < 16; k++) {
        uint32_t word;
        const uint32_t offset = column % 64 * 2 + column / 64 * m.leading + k % 8 * 128 + k / 8 * m.stride;
        std::memcpy(&word, m.unit(offset) + column % 8 * 2, 4);
        for (unsigned i = 0; i < 2; i++) to[i][k] = (double)bf16_value(word, i);
    }
}

/* What a lane shows of its product to the others of its warp, and then its share of B, of which all need all. */
struct ShownProduct {
    uint64_t a, b;
    uint32_t words[4];
    bool add;
};
struct ShownColumns {
    double column[4][16];
};

/* d += (or =) a B, for a lane's rows and its two of each 8 columns. */
CUEMU_OWN inline void add_columns(const Product &p, const double a[2][16], const ShownColumns *lanes, unsigned t) {
    const unsigned share = p.columns / 32;
    for (unsigned n = 0; n < p.columns / 8; n++) {
        const unsigned first = 8 * n + 2 * t;
        const double *b0 = lanes[first / share].column[first % share], *b1 = b0 + 16;
        float *d = p.d + 4 * n;
        Piece sum = {};
        if (p.add) sum = Piece{d[0], d[1], d[2], d[3]};
        for (unsigned k = 0; k < 16; k++) sum += Piece{a[0][k], a[0][k], a[1][k], a[1][k]} * Piece{b0[k], b1[k], b0[k], b1[k]};
        for (unsigned i = 0; i < 4; i++) d[i] = truncated(sum[i]);
    }
}

inline void perform(const Product &p) {
    ShownProduct mine = {p.a, p.b, {}, p.add};
    if (p.a_words) std::memcpy(mine.words, p.a_words, sizeof mine.words);
    const ShownProduct *lanes = show_warp(mine);
    const unsigned thread = thread_number(), lane = thread % 32, warp = thread / 32 % 4, g = lane / 4, t = lane % 4;
    if (lanes[0].a != p.a || lanes[0].b != p.b || lanes[0].add != p.add) fail("lanes 0 and %u bring different products", lane);
    double a[2][16];
    for (unsigned half = 0; half < 2; half++) {
        if (!p.a_words) {
            read_along(Descriptor(p.a), 16 * warp + g + 8 * half, a[half]);
            continue;
        }
        for (unsigned k = 0; k < 16; k++)
            a[half][k] = (double)bf16_value(lanes[4 * g + k % 8 / 2].words[half + k / 8 * 2], k % 2);
    }
    const Descriptor columns(p.b, p.depth_down);
    const unsigned share = p.columns / 32; /* 4 or 2 */
    ShownColumns own;
    for (unsigned c = 0; c < share; c++) {
        if (!p.depth_down) read_along(columns, lane * share + c, own.column[c]);
        else if (c % 2 == 0) read_down(columns, lane * share + c, &own.column[c]);
    }
    add_columns(p, a, show_warp(own), t);
}

/* The products of the running thread. */
struct Products {
    Groups<Product> groups;
    bool fenced;
};

inline Products &products_of_thread() {
    static Products products[1024];
    return products[thread_number()];
}

inline void start_product(const Product &p) {
    Products &mine = products_of_thread();
    if (!mine.fenced) fail("the first product of a group without wgmma.fence before it");
    count_products(1);
    if (asynchronous_at_once()) perform(p);
    mine.groups.add(p);
}

inline void wait_products(size_t groups) {
    products_of_thread().groups.wait(groups, [](const Product &p) {
        if (!asynchronous_at_once()) perform(p);
        count_products(-1);
    });
}

} // namespace cuemu

static inline uint32_t ec__shared_address(const void *at) { return cuemu::shared_address(at); }
static inline void ec__arrival_init(uint64_t *barrier, uint32_t arrivals) { cuemu::arrival_init(barrier, arrivals); }
static inline void ec__fence_async() { cuemu::fence_async(); }
static inline void ec__arrival_expect(uint64_t *barrier, uint32_t bytes) { cuemu::arrival_expect(barrier, bytes); }
static inline void ec__arrive(uint64_t *barrier) { cuemu::arrive(barrier); }
static inline void ec__arrival_wait(uint64_t *barrier, uint32_t parity) { cuemu::arrival_wait(barrier, parity); }
static inline void ec__bulk_copy(void *to, const void *from, uint32_t bytes, uint64_t *barrier) {
    cuemu::bulk_copy(to, from, bytes, barrier);
}

template <int COUNT> static inline void ec__fewer_registers() { static_assert(COUNT >= 24 && COUNT <= 256 && COUNT % 8 == 0); }
template <int COUNT> static inline void ec__more_registers() { static_assert(COUNT >= 24 && COUNT <= 256 && COUNT % 8 == 0); }

static inline void ec__wgmma_fence() { cuemu::products_of_thread().fenced = true; }
static inline void ec__wgmma_commit() {
    cuemu::products_of_thread().groups.close();
    cuemu::products_of_thread().fenced = false;
}
template <int GROUPS> static inline void ec__wgmma_wait() { cuemu::wait_products(GROUPS); }
template <int COUNT> static inline void ec__wgmma_hold(float (&)[COUNT]) {}

static inline void ec__wgmma_rows(float (&d)[64], uint64_t a, uint64_t b, int32_t add) {
    cuemu::start_product({d, nullptr, a, b, 128, add != 0, false});
}
template <int COUNT>
static inline void ec__wgmma_columns(float (&d)[COUNT], const uint32_t *a, uint64_t b, int32_t add) {
    static_assert(COUNT == 64 || COUNT == 32, "128 columns or 64");
    cuemu::start_product({d, a, 0, b, 2 * COUNT, add != 0, true});
}

#endif
