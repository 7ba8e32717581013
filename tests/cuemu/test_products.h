/* What can be wrong with the kernel of test_products.cpp. */
#ifndef CUEMU_TEST_PRODUCTS_H
#define CUEMU_TEST_PRODUCTS_H

#include "cuda_runtime_api.h"

enum class Mistake {
    none,
    not_made,          /* arrival barriers that nobody made */
    no_fence_barrier,  /* and no fence for asynchronous uses after making them */
    no_block_barrier,  /* other threads do not wait until they are made */
    arrives_twice,     /* one arrival more than the barrier counts */
    one_warp_for_all,  /* "empty" after the first of four warps */
    wrong_parity,
    no_wait_full,
    no_wait_empty,
    fewer_bytes,       /* announced than come */
    more_bytes,
    misaligned_copy,
    misaligned_panels, /* not at a multiple of 1024 in shared memory */
    no_fence_product,
    empty_before_wait, /* a stage is given back while products read it */
    waits_for_less,    /* for all groups but the one that reads the stage */
    reads_early,       /* sums before their products have ended */
    words_reused,      /* registers of factor A, while products read them */
    never_waits,
    wrong_step,        /* descriptors: 8 of depth onward instead of 16 */
    wrong_stride,
    wrong_stride_down, /* of an MN-major factor */
};

/* Runs it and compares all sums, which are whole numbers, with plain ones. */
bool products_are_right(cudaStream_t stream, Mistake mistake);

#endif
