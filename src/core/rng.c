#include "core/rng.h"

#include <math.h>

void ec__philox(const uint32_t key[2], const uint32_t counter[4], uint32_t out[4]) {
    uint32_t k0 = key[0], k1 = key[1];
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u; /* golden ratio */
        k1 += 0xBB67AE85u; /* sqrt(3) - 1 */
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

void ec__rng_block(uint64_t seed, ec_rng_purpose purpose, uint32_t step, uint64_t index, uint32_t block,
                   uint32_t out[4]) {
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    const uint32_t counter[4] = {block, (uint32_t)index, step, ((uint32_t)(index >> 32) << 16) | (uint32_t)purpose};
    ec__philox(key, counter, out);
}

ec_rng ec__rng_at(uint64_t seed, ec_rng_purpose purpose, uint32_t step, uint64_t index) {
    return (ec_rng){.seed = seed, .purpose = (uint32_t)purpose, .step = step, .index = index};
}

uint32_t ec__rng_u32(ec_rng *rng) {
    if (rng->left == 0) {
        ec__rng_block(rng->seed, (ec_rng_purpose)rng->purpose, rng->step, rng->index, rng->block++, rng->buffer);
        rng->left = 4;
    }
    return rng->buffer[4 - rng->left--];
}

static uint64_t next_u64(ec_rng *rng) {
    uint64_t high = ec__rng_u32(rng);
    return high << 32 | ec__rng_u32(rng);
}

uint64_t ec__rng_below(ec_rng *rng, uint64_t bound) {
    /* Numbers from the last, incomplete run of bound values are drawn again. Where that run begins takes a division,
     * which most numbers do without: they are not among the last bound ones. */
    uint64_t x;
    do x = next_u64(rng);
    while (x > UINT64_MAX - bound && x >= UINT64_MAX - UINT64_MAX % bound);
    return x % bound;
}

double ec__rng_uniform(ec_rng *rng) { return (double)(next_u64(rng) >> 11) * 0x1p-53; }

double ec__rng_normal(ec_rng *rng) {
    double u = 1.0 - ec__rng_uniform(rng); /* in (0, 1]: the logarithm is finite */
    double v = ec__rng_uniform(rng);
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}
