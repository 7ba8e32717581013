/* Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011).
 *
 * A number is a pure function of (seed, purpose, step, index, position): it depends neither on what was drawn before
 * nor on which rank or thread draws it. index is a global sample index (or a parameter's number), position counts the
 * draws inside it. */
#ifndef EC_CORE_RNG_H
#define EC_CORE_RNG_H

#include <stdint.h>

/* What a number is for. Values are part of the checkpoint format: append, never renumber. */
typedef enum ec_rng_purpose {
    EC_RNG_INIT = 1,          /* initial weights: index = number of the parameter */
    EC_RNG_SAMPLE_IMAGE = 2,  /* which image: step, index = position in the global batch */
    EC_RNG_SAMPLE_MUSIC = 3,
    EC_RNG_SHUFFLE_IMAGE = 4, /* order of an epoch: step = epoch */
    EC_RNG_SHUFFLE_MUSIC = 5,
    EC_RNG_DROPOUT = 6,       /* step, index = (layer << 32) + position in the global batch */
    EC_RNG_AUGMENT = 7,
    EC_RNG_CROP = 8,
    EC_RNG_DEMO = 9,
    EC_RNG_SPLIT = 10,
    EC_RNG_REPLACE = 11,      /* a row in place of a corrupt one: step, index = (modality << 40) + position */
    EC_RNG_TEST = 100,
} ec_rng_purpose;

typedef struct ec_rng {
    uint64_t seed;
    uint32_t purpose, step;
    uint64_t index;
    uint32_t block;     /* next block of four numbers */
    uint32_t buffer[4]; /* the current block */
    int left;           /* numbers of it not yet drawn */
} ec_rng;

/* Ten rounds of Philox4x32. */
void ec__philox(const uint32_t key[2], const uint32_t counter[4], uint32_t out[4]);

/* The four 32-bit numbers at positions 4*block .. 4*block+3. index < 2^48, step < 2^32. */
void ec__rng_block(uint64_t seed, ec_rng_purpose purpose, uint32_t step, uint64_t index, uint32_t block,
                   uint32_t out[4]);

/* A sequential reader of one (seed, purpose, step, index). */
ec_rng ec__rng_at(uint64_t seed, ec_rng_purpose purpose, uint32_t step, uint64_t index);
uint32_t ec__rng_u32(ec_rng *rng);
uint64_t ec__rng_below(ec_rng *rng, uint64_t bound); /* uniform in [0, bound), without modulo bias; bound > 0 */
double ec__rng_uniform(ec_rng *rng);                 /* uniform in [0, 1), 53 bits */
double ec__rng_normal(ec_rng *rng);                  /* mean 0, variance 1; Box-Muller */

#endif
