#include "cuda_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

ec_backend *test_cpu, *test_cuda;

enum { SKIPPED = 77 };

int test_cuda_open(void **state) {
    (void)state;
    CHECK_OK(ec__backend_open("cpu", 2, &test_cpu));
    if (ec__backend_open("cuda", 2, &test_cuda) == EC_OK) return 0;
    printf("%s\n", ec_error_last()->text);
    exit(SKIPPED);
}

int test_cuda_close(void **state) {
    (void)state;
    test_cpu->close(test_cpu);
    test_cuda->close(test_cuda);
    return 0;
}

void *test_cuda_upload(const void *bytes, size_t count) {
    void *memory = NULL;
    CHECK_OK(test_cuda->memory->alloc(test_cuda, count, &memory));
    CHECK_OK(test_cuda->memory->upload(test_cuda, test_cuda->main_stream(test_cuda), memory, bytes, count));
    CHECK_OK(test_cuda->synchronize(test_cuda));
    return memory;
}

void test_cuda_download(void *to, const void *device, size_t count) {
    CHECK_OK(test_cuda->memory->download(test_cuda, test_cuda->main_stream(test_cuda), to, device, count));
    CHECK_OK(test_cuda->synchronize(test_cuda));
}

void test_cuda_free(void *memory) { test_cuda->memory->free(test_cuda, memory); }

test_pair test_pair_new(int64_t count, uint64_t seed) {
    const size_t bytes = sizeof(float) * (size_t)count;
    void *cpu = NULL, *cuda = NULL;
    CHECK_OK(test_cpu->memory->alloc(test_cpu, bytes, &cpu));
    CHECK_OK(test_cuda->memory->alloc(test_cuda, bytes, &cuda));
    test_pair pair = {.cpu = cpu, .cuda = cuda, .count = count};
    if (seed) {
        test_fill(pair.cpu, count, seed);
        test_pair_upload(&pair);
    } else
        for (int64_t i = 0; i < count; i++) pair.cpu[i] = NAN;
    return pair;
}

void test_pair_upload(test_pair *pair) {
    ec_stream *stream = test_cuda->main_stream(test_cuda);
    const size_t bytes = sizeof(float) * (size_t)pair->count;
    CHECK_OK(test_cuda->memory->upload(test_cuda, stream, pair->cuda, pair->cpu, bytes));
    CHECK_OK(test_cuda->synchronize(test_cuda));
}

void test_pair_free(test_pair *pair) {
    test_cpu->memory->free(test_cpu, pair->cpu);
    test_cuda->memory->free(test_cuda, pair->cuda);
    *pair = (test_pair){0};
}

static float *device_copy(const test_pair *pair) {
    float *copy = malloc(sizeof(float) * (size_t)pair->count);
    assert_non_null(copy);
    test_cuda_download(copy, pair->cuda, sizeof(float) * (size_t)pair->count);
    return copy;
}

void test_pair_check(const char *what, const test_pair *pair, double limit) {
    float *copy = device_copy(pair);
    double largest = 0, worst = 0;
    int64_t at = 0;
    for (int64_t i = 0; i < pair->count; i++) {
        const double ref = pair->cpu[i], difference = fabs((double)copy[i] - ref);
        if (memcmp(&copy[i], &pair->cpu[i], sizeof(float)) == 0) {
            if (isfinite(ref)) largest = fmax(largest, fabs(ref));
            continue;
        }
        if (!isfinite(difference)) fail_msg("%s: element %lld is %g, not %g", what, (long long)i, (double)copy[i], ref);
        largest = fmax(largest, fabs(ref));
        if (difference > worst) worst = difference, at = i;
    }
    if (worst > limit * largest)
        fail_msg("%s: element %lld is %.9g, not %.9g: off by %.3g of the largest, %.3g is allowed", what, (long long)at,
                 (double)copy[at], (double)pair->cpu[at], worst / largest, limit);
    free(copy);
}

void test_pair_check_each(const char *what, const test_pair *pair, double limit) {
    float *copy = device_copy(pair);
    for (int64_t i = 0; i < pair->count; i++) {
        const double ref = pair->cpu[i], difference = fabs((double)copy[i] - ref);
        if (memcmp(&copy[i], &pair->cpu[i], sizeof(float)) == 0 || difference <= limit * fabs(ref)) continue;
        fail_msg("%s: element %lld is %.9g, not %.9g: off by %.3g of it, %.3g is allowed", what, (long long)i,
                 (double)copy[i], ref, difference / fabs(ref), limit);
    }
    free(copy);
}

float *test_pair_in(const test_pair *pair, const ec_backend *be) { return be == test_cpu ? pair->cpu : pair->cuda; }

void test_pair_check_bits(const char *what, const test_pair *pair) {
    float *copy = device_copy(pair);
    for (int64_t i = 0; i < pair->count; i++)
        if (memcmp(&copy[i], &pair->cpu[i], sizeof(float)) != 0)
            fail_msg("%s: element %lld is %.9g, not %.9g", what, (long long)i, (double)copy[i], (double)pair->cpu[i]);
    free(copy);
}
