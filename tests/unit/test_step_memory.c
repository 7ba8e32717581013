/* A training step allocates nothing, from the second on, neither alone nor in a run with its loader thread. malloc and
 * its kin are replaced by versions that count and pass on to the C library's. Code of this program must not call them
 * at all; oneDNN makes a list of arguments for each call, which is small and gone when the call returns: of libraries
 * nothing large and nothing that outlives the step is let pass. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/cache_format.h"
#include "cache_files.h"
#include "support.h"
#include "train/trainer.h"

enum { SMALL_BYTES = 1024 };

static atomic_long own, large, alive; /* calls from this program; bytes above SMALL_BYTES; blocks not yet freed */

/* A sanitizer's own allocator must not be replaced: there nothing is counted. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { COUNTS = 0 };
#else
enum { COUNTS = 1 };

extern char __executable_start, etext; /* bounds of this program's code, from the linker */
extern void *__libc_malloc(size_t bytes);
extern void *__libc_calloc(size_t count, size_t bytes);
extern void *__libc_realloc(void *memory, size_t bytes);
extern void *__libc_memalign(size_t alignment, size_t bytes);
extern void __libc_free(void *memory);

static void count(const void *caller, size_t bytes) {
    atomic_fetch_add(&alive, 1);
    if ((const char *)caller >= &__executable_start && (const char *)caller < &etext) atomic_fetch_add(&own, 1);
    if (bytes > SMALL_BYTES) atomic_fetch_add(&large, 1);
}

void *malloc(size_t bytes) {
    count(__builtin_return_address(0), bytes);
    return __libc_malloc(bytes);
}

void *calloc(size_t number, size_t bytes) {
    count(__builtin_return_address(0), number * bytes);
    return __libc_calloc(number, bytes);
}

void *realloc(void *memory, size_t bytes) {
    count(__builtin_return_address(0), bytes);
    if (memory) atomic_fetch_sub(&alive, 1);
    return __libc_realloc(memory, bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes) {
    count(__builtin_return_address(0), bytes);
    return __libc_memalign(alignment, bytes);
}

int posix_memalign(void **out, size_t alignment, size_t bytes) {
    count(__builtin_return_address(0), bytes);
    void *memory = __libc_memalign(alignment, bytes);
    if (memory) *out = memory;
    return memory ? 0 : ENOMEM;
}

void free(void *memory) {
    if (memory) atomic_fetch_sub(&alive, 1);
    __libc_free(memory);
}
#endif

enum { ROWS = 61, STEPS = 6 };

static void count_steps(const ec_heads_config *shape, const ec_heads_plan *plan) {
    ec_backend *be = NULL;
    ec_comm *comm = NULL;
    ec_heads *heads = NULL;
    ec_trainer_core *core = NULL;
    ec_step_result r;
    long before = 0;
    const ec_train_config config = {.plan = *plan, .optimizer = ec__optimizer_defaults(), .temperature = 0.1f,
                                    .weight = {0.25f, 0.25f, 0.25f, 0.25f}};
    float *x[EC_MODALITIES];
    int32_t label[EC_MODALITIES][ROWS];
    CHECK_OK(ec__backend_open("cpu", 2, &be));
    CHECK_OK(ec__comm_open("self", &comm));
    CHECK_OK(ec__heads_new(be, shape, 1, &heads));
    CHECK_OK(ec__trainer_core_new(heads, comm, &config, &core));
    for (int m = 0; m < EC_MODALITIES; m++) {
        int32_t width = ec__heads_input_dim(shape, (ec_modality)m);
        x[m] = malloc(sizeof(float) * (size_t)(ROWS * width));
        test_fill(x[m], ROWS * width, (uint64_t)m);
        for (int32_t i = 0; i < ROWS; i++) label[m][i] = i % 5;
    }
    for (int64_t step = 0; step < STEPS; step++) {
        if (step == 1) {
            atomic_store(&own, 0);
            atomic_store(&large, 0);
            before = atomic_load(&alive);
        }
        CHECK_OK(ec__train_step(core, step, (const float *const *)x, (const int32_t *const[]){label[0], label[1]}, &r));
    }
    if (COUNTS) {
        assert_int_equal(atomic_load(&own), 0);
        assert_int_equal(atomic_load(&large), 0);
        assert_int_equal(atomic_load(&alive), before);
        void *volatile one = malloc(SMALL_BYTES + 1); /* the counters do count */
        assert_true(atomic_load(&own) == 1 && atomic_load(&large) == 1 && atomic_load(&alive) == before + 1);
        free(one);
    }
    for (int m = 0; m < EC_MODALITIES; m++) free(x[m]);
    ec__trainer_core_free(core);
    ec__heads_free(heads);
    ec__comm_close(comm);
    be->close(be);
}

static void test_no_allocation(void **state) {
    (void)state;
    const ec_heads_config single = {.image_dim = 48, .audio_dim = 32, .hidden_dim = 40, .output_dim = 24,
                                    .dropout = 0.1f, .normalize_inputs = true};
    ec_heads_config multi = single;
    multi.multi_task = true;
    multi.base_output_dim = 20;
    const ec_heads_plan plans[] = {
        {.reproducible = true, .shards = 8, .accumulate = 1}, {.reproducible = true, .shards = 7, .accumulate = 2},
        {.reproducible = false, .accumulate = 1},             {.reproducible = false, .accumulate = 3},
    };
    for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++) {
        ec_heads_plan plan = plans[i];
        plan.global_rows = ROWS;
        count_steps(&single, &plan);
        count_steps(&multi, &plan);
    }
}

enum { CACHE_ROWS = 64, WIDTH = 24, RUN_STEPS = 40 };

/* Checks the steps between the record of step 2 and that of the last. */
static void watch(void *arg, const ec_train_record *record) {
    long *before = arg;
    if (record->step == 2) {
        atomic_store(&own, 0);
        atomic_store(&large, 0);
        *before = atomic_load(&alive);
    } else if (COUNTS && record->step == RUN_STEPS) {
        assert_int_equal(atomic_load(&own), 0);
        assert_int_equal(atomic_load(&large), 0);
        assert_int_equal(atomic_load(&alive), *before);
        *before = -1;
    }
}

static void write_cache(const char *folder, const char *name, const char *modality) {
    char path[512];
    float x[CACHE_ROWS * WIDTH];
    int32_t label[CACHE_ROWS];
    const uint8_t split[CACHE_ROWS] = {0};
    const test_cache cache = {.modality = modality, .rows = CACHE_ROWS, .width = WIDTH, .classes = 4, .features = x,
                              .label = label, .split = split};
    test_fill(x, CACHE_ROWS * WIDTH, 1);
    for (int i = 0; i < CACHE_ROWS; i++) label[i] = i % 4;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    test_write_cache(path, &cache);
}

static void test_no_allocation_in_a_run(void **state) {
    (void)state;
    static const char *const sampling[] = {"class_balanced", "shuffled"};
    write_cache(test_folder(), "images.h5", "image");
    write_cache(test_folder(), "music.h5", "music");
    for (int s = 0; s < 2; s++) {
        ec_backend *be = NULL;
        ec_comm *comm = NULL;
        ec_config *config = NULL;
        long before = 0;
        char text[512];
        const ec_train_observer observer = {.arg = &before, .stepped = watch};
        snprintf(text, sizeof text,
                 "dataset: {image_cache: images.h5, audio_cache: music.h5}\nfull_model: {hidden_dim: 16, output_dim: 8}\n"
                 "training: {batch_size: 16, max_steps: %d, steps_per_epoch: 1000, validate_every: 0, sampling: %s}\n"
                 "logging: {folder: %s, every: 1}\n",
                 RUN_STEPS, sampling[s], sampling[s]);
        CHECK_OK(ec__backend_open("cpu", 2, &be));
        CHECK_OK(ec__comm_open("self", &comm));
        CHECK_OK(ec__config_parse("test", test_folder(), text, strlen(text), NULL, 0, &config));
        CHECK_OK(ec__train_run(config, be, comm, &(ec_train_options){0}, &observer));
        if (COUNTS) assert_int_equal(before, -1); /* it was looked at */
        ec__config_free(config);
        ec__comm_close(comm);
        be->close(be);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_no_allocation), cmocka_unit_test(test_no_allocation_in_a_run)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
