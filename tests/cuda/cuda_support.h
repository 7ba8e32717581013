/* What tests of the CUDA back end share. They run against whichever module EMOCLIM_MODULE_PATH names: the emulated one
 * in every test run (label cuemu), the real one on a machine with a GPU (label gpu). */
#ifndef EC_TEST_CUDA_SUPPORT_H
#define EC_TEST_CUDA_SUPPORT_H

#include "compute/backend.h"
#include "support.h"

/* The two back ends to compare. */
extern ec_backend *test_cpu, *test_cuda;

/* cmocka's set-up and tear-down of a group; a test program without a usable GPU ends with 77 (skipped) and says why. */
int test_cuda_open(void **state);
int test_cuda_close(void **state);

/* An array in both memories. Contents: uniform in [-1, 1) of that seed; seed 0: undefined on the device, NaN on the
 * CPU. */
typedef struct test_pair {
    float *cpu;  /* CPU back end's memory, which is the host's */
    float *cuda; /* device memory */
    int64_t count;
} test_pair;

test_pair test_pair_new(int64_t count, uint64_t seed);
void test_pair_upload(test_pair *pair); /* after writing pair->cpu: the device gets the same */
void test_pair_free(test_pair *pair);

/* Fails unless every element of both is finite or equal, and |cuda - cpu| <= limit * largest |cpu|. */
void test_pair_check(const char *what, const test_pair *pair, double limit);
/* The same with |cuda - cpu| <= limit * |cpu| for each element. */
void test_pair_check_each(const char *what, const test_pair *pair, double limit);
/* Fails unless both have the same bits. */
void test_pair_check_bits(const char *what, const test_pair *pair);

/* The array in that back end's memory. */
float *test_pair_in(const test_pair *pair, const ec_backend *be);

/* for TEST_EACH(be): first the CPU, then CUDA. */
#define TEST_EACH(be) (ec_backend *be = test_cpu; be; be = be == test_cpu ? test_cuda : NULL)

/* Any memory of the device: made from host bytes, and read back. */
void *test_cuda_upload(const void *bytes, size_t count);
void test_cuda_download(void *to, const void *device, size_t count);
void test_cuda_free(void *memory);

#endif
