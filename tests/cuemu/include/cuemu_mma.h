/* The instructions of compute/cuda/mma.cuh in the emulation, lane for lane; see there for what they do.
 *
 * A product's sum is truncated to float32 instead of rounded, which is not better than what the hardware does. A copy
 * happens when it is waited for and not before: what a missing wait leaves behind is the old contents. */
#ifndef CUEMU_MMA_H
#define CUEMU_MMA_H

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "cuemu.h"

namespace cuemu {

inline unsigned thread_number() {
    const Place &p = *place;
    return p.thread.x + p.block_size.x * (p.thread.y + p.block_size.y * p.thread.z);
}

/* What the lanes of a warp show each other. Two turns, because a lane that goes on may come to its next instruction
 * before the others have looked; to the one after that it cannot. */
template <class T> const T *show_warp(const T &mine) {
    static T shown[32][2][32];
    static uint8_t turn[1024];
    const unsigned thread = thread_number();
    T *here = shown[thread / 32][turn[thread] ^= 1];
    here[thread % 32] = mine;
    warp_operation(0xffffffffu, Warp::sync, 0, 0, 32);
    return here;
}

inline float truncated(double x) {
    float y = (float)x;
    if (std::fabs((double)y) > std::fabs(x)) y = __builtin_bit_cast(float, __builtin_bit_cast(uint32_t, y) - 1);
    return y;
}

inline float bf16_value(uint32_t pair, unsigned half) {
    const uint32_t bits = half ? pair & 0xffff0000u : pair << 16;
    return __builtin_bit_cast(float, bits);
}

inline float tf32_value(uint32_t word, unsigned) { return __builtin_bit_cast(float, word & 0xffffe000u); }

/* Sanitizers need not look at numbers that a lane shows: they are the emulation's own. */
#define CUEMU_OWN __attribute__((no_sanitize("address", "undefined")))

/* A 2 x 2 piece of a product: rows g and g + 8 (or as many more), each with both columns. */
typedef double Piece __attribute__((vector_size(32)));

/* A lane's words as the VALUES numbers along k that each of them holds: a[part of k][value][half] of row g + 8 half. */
template <unsigned VALUES> struct Factors {
    double a[2][VALUES][2], b[2][VALUES];
    bool a_is_zero, b_is_finite;
};

/* row, column: of the four lanes that hold them. */
template <unsigned VALUES>
CUEMU_OWN void add_product(float c[4], const Factors<VALUES> *row, const Factors<VALUES> *const column[2]) {
    bool idle = true; /* rows past the end of a matrix are many in small tests */
    for (unsigned k = 0; k < 4; k++) idle = idle && row[k].a_is_zero && column[0][k].b_is_finite && column[1][k].b_is_finite;
    if (idle) return;
    Piece sum = {c[0], c[1], c[2], c[3]};
    for (unsigned part = 0; part < 2; part++)
        for (unsigned k = 0; k < 4; k++)
            for (unsigned v = 0; v < VALUES; v++) {
                const double *a = row[k].a[part][v], b0 = column[0][k].b[part][v], b1 = column[1][k].b[part][v];
                sum += Piece{a[0], a[0], a[1], a[1]} * Piece{b0, b1, b0, b1};
            }
    for (unsigned i = 0; i < 4; i++) c[i] = truncated(sum[i]);
}

template <unsigned VALUES, float (*value)(uint32_t, unsigned)>
CUEMU_OWN void multiply(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1) {
    Factors<VALUES> mine;
    double size_a = 0, size_b = 0;
    for (unsigned v = 0; v < VALUES; v++)
        for (unsigned part = 0; part < 2; part++) {
            for (unsigned half = 0; half < 2; half++) {
                mine.a[part][v][half] = (double)value(a[half + 2 * part], v);
                size_a += std::fabs(mine.a[part][v][half]);
            }
            mine.b[part][v] = (double)value(part ? b1 : b0, v);
            size_b += std::fabs(mine.b[part][v]);
        }
    mine.a_is_zero = size_a == 0;
    mine.b_is_finite = std::isfinite(size_b);
    const Factors<VALUES> *lanes = show_warp(mine);
    const unsigned lane = thread_number() % 32, g = lane / 4, t = lane % 4;
    const Factors<VALUES> *row = lanes + g * 4, *column[2] = {lanes + 8 * t, lanes + 8 * t + 4};
    add_product<VALUES>(c, row, column);
}

inline uint64_t row_shown(const void *row) {
    if ((uintptr_t)row % 16 != 0) fail("a matrix's row is not aligned to 16 bytes");
    return (uint64_t)(uintptr_t)row;
}

/* What a thread starts in groups, and waits for in their order. Memory is kept from one to the next. */
template <class T> class Groups {
    std::vector<T> items;
    std::vector<size_t> ends; /* of the groups that are closed */

public:
    void add(const T &item) { items.push_back(item); }
    void close() { ends.push_back(items.size()); }

    /* Calls end for the items of all closed groups but the latest. */
    template <class F> void wait(size_t latest, F &&end) {
        if (ends.size() <= latest) return;
        const size_t groups = ends.size() - latest, count = ends[groups - 1];
        for (size_t i = 0; i < count; i++) end(items[i]);
        items.erase(items.begin(), items.begin() + (std::ptrdiff_t)count);
        ends.erase(ends.begin(), ends.begin() + (std::ptrdiff_t)groups);
        for (size_t &e : ends) e -= count;
    }
};

struct Copy {
    void *to;
    const void *from;
    size_t bytes;
};

/* The copies of the running thread. */
inline Groups<Copy> &copies_of_thread() {
    static Groups<Copy> copies[1024];
    return copies[thread_number()];
}

inline void start_copy(void *to, const void *from, size_t bytes) {
    if ((uintptr_t)to % bytes != 0 || (uintptr_t)from % bytes != 0) fail("a copy of %zu bytes is not aligned", bytes);
    copies_of_thread().add({to, from, bytes});
}

} // namespace cuemu

static inline void ec__mma_bf16(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1) {
    cuemu::multiply<2, cuemu::bf16_value>(c, a, b0, b1);
}

static inline void ec__mma_tf32(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1) {
    cuemu::multiply<1, cuemu::tf32_value>(c, a, b0, b1);
}

static inline void ec__load_matrices(uint32_t to[4], const void *row) {
    const uint64_t *rows = cuemu::show_warp(cuemu::row_shown(row));
    const unsigned lane = cuemu::thread_number() % 32;
    for (unsigned m = 0; m < 4; m++)
        std::memcpy(&to[m], (const char *)(uintptr_t)rows[8 * m + lane / 4] + lane % 4 * 4, 4);
}

static inline void ec__load_matrices_transposed(uint32_t to[4], const void *row) {
    const uint64_t *rows = cuemu::show_warp(cuemu::row_shown(row));
    const unsigned lane = cuemu::thread_number() % 32, g = lane / 4, t = lane % 4;
    for (unsigned m = 0; m < 4; m++) {
        uint16_t value[2];
        for (unsigned i = 0; i < 2; i++)
            std::memcpy(&value[i], (const char *)(uintptr_t)rows[8 * m + 2 * t + i] + 2 * g, 2);
        to[m] = (uint32_t)value[0] | (uint32_t)value[1] << 16;
    }
}

static inline void ec__copy16(void *to, const void *from) { cuemu::start_copy(to, from, 16); }
static inline void ec__copy4(void *to, const void *from) { cuemu::start_copy(to, from, 4); }
static inline void ec__copy_commit() { cuemu::copies_of_thread().close(); }

template <int GROUPS> static inline void ec__copy_wait() {
    cuemu::copies_of_thread().wait(GROUPS, [](const cuemu::Copy &copy) { std::memcpy(copy.to, copy.from, copy.bytes); });
}

static inline uint32_t ec__tf32(float x) { return (__builtin_bit_cast(uint32_t, x) + 0x1000u) & 0xffffe000u; }

static inline uint32_t ec__bf16_bits(float x) {
    const uint32_t bits = __builtin_bit_cast(uint32_t, x);
    return std::isnan(x) ? 0x7fffu : (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
}

static inline uint32_t ec__bf16_pair(float low, float high) { return ec__bf16_bits(low) | ec__bf16_bits(high) << 16; }

static inline float ec__exp2(float x) {
    const float y = std::exp2(x);
    return y < 0x1p-126f ? 0.f : y;
}

#endif
