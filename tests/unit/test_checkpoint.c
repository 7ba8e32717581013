/* Checkpoints: what is saved is loaded, bit for bit, or the reason is told; nothing half-written is ever taken for
 * one. ctest: clock */
#define _GNU_SOURCE
#include "support.h"

#include <fcntl.h>
#include <math.h>
#include <openssl/evp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xxhash.h>

#include "core/file.h"
#include "core/log.h"
#include "train/checkpoint_writer.h"

enum { ARRAYS = 9, WEIGHTS = 12 * 16 };

static float weight[WEIGHTS], moment[2][WEIGHTS], bias[12], running_mean[12];
static int64_t batches;
static const char config_text[] = "dataset:\n  image_cache: i.h5\n  audio_cache: m.h5\ntraining:\n  batch_size: 64\n";

static const ec_checkpoint_array arrays[ARRAYS] = {
    {"params/image_projector.0.weight", EC_H5_F32, 2, {12, 16}, weight},
    {"optimizer/exp_avg/image_projector.0.weight", EC_H5_F32, 2, {12, 16}, moment[0]},
    {"optimizer/exp_avg_sq/image_projector.0.weight", EC_H5_F32, 2, {12, 16}, moment[1]},
    {"params/image_projector.0.bias", EC_H5_F32, 1, {12}, bias},
    {"optimizer/exp_avg/image_projector.0.bias", EC_H5_F32, 1, {12}, bias},
    {"optimizer/exp_avg_sq/image_projector.0.bias", EC_H5_F32, 1, {12}, bias},
    {"buffers/image_projector.1.running_mean", EC_H5_F32, 1, {12}, running_mean},
    {"buffers/image_projector.1.num_batches_tracked", EC_H5_I64, 0, {0}, &batches},
    {"buffers/empty", EC_H5_U8, 2, {0, 5}, NULL},
};

static ec_checkpoint_meta make(int64_t step) {
    test_fill(weight, WEIGHTS, 1 + (uint64_t)step);
    test_fill(moment[0], WEIGHTS, 2 + (uint64_t)step);
    test_fill(moment[1], WEIGHTS, 3 + (uint64_t)step);
    test_fill(bias, 12, 4 + (uint64_t)step);
    test_fill(running_mean, 12, 5 + (uint64_t)step);
    batches = step;
    return (ec_checkpoint_meta){.step = step, .epoch = step / 10, .sampler_position = step % 10,
                                .seed = 0xfedcba9876543210u,
                                .ranks = 2, .shards = 8, .best_metric = 0.25, .config = config_text,
                                .features = {"{\"encoder\":\"a\"}", "{\"encoder\":\"b\"}"}};
}

static char *in_folder(const char *name) {
    char *path = NULL;
    CHECK_OK(ec__path_join(test_folder(), name, &path));
    return path;
}

static void save(const char *path, int64_t step) {
    ec_checkpoint_meta meta = make(step);
    CHECK_OK(ec__checkpoint_save(path, &meta, arrays, ARRAYS));
}

/* Is it what make(step) says, in every bit? */
static bool same_as_made(const ec_checkpoint *c, int64_t step) {
    ec_checkpoint_meta meta = make(step);
    bool same = c->count == ARRAYS && c->meta.step == step && c->meta.epoch == meta.epoch &&
                c->meta.seed == meta.seed &&
                c->meta.sampler_position == meta.sampler_position && c->meta.ranks == 2 && c->meta.shards == 8 &&
                c->meta.best_metric == 0.25 && strcmp(c->meta.config, config_text) == 0 &&
                c->meta.features[0] && strcmp(c->meta.features[0], meta.features[0]) == 0 &&
                c->meta.features[1] && strcmp(c->meta.features[1], meta.features[1]) == 0 &&
                strcmp(c->program, "emoclim " EMOCLIM_VERSION) == 0;
    for (int k = 0; k < ARRAYS && same; k++) {
        const ec_checkpoint_array *found = ec__checkpoint_find(c, arrays[k].name);
        same = found && found->type == arrays[k].type && found->rank == arrays[k].rank &&
               memcmp(found->dim, arrays[k].dim, sizeof found->dim[0] * (size_t)found->rank) == 0 &&
               (!arrays[k].data || memcmp(found->data, arrays[k].data, ec__checkpoint_array_bytes(found)) == 0);
    }
    return same;
}

static void check_loads(const char *path, int64_t step) {
    ec_checkpoint *c = NULL;
    CHECK_OK(ec__checkpoint_load(path, &c));
    assert_true(same_as_made(c, step));
    ec__checkpoint_free(c);
}

static void test_round_trip(void **state) {
    (void)state;
    char *path = in_folder("a.h5"), *again = in_folder("b.h5"), *one = NULL, *two = NULL;
    size_t n1 = 0, n2 = 0;
    ec_checkpoint *c = NULL;
    save(path, 123);
    check_loads(path, 123);
    CHECK_OK(ec__checkpoint_load(path, &c));
    CHECK_OK(ec__checkpoint_expect(c, arrays, ARRAYS));
    assert_null(ec__checkpoint_find(c, "params/image_projector"));
    /* Saved from what was loaded, in another order: the same bytes. */
    CHECK_OK(ec__checkpoint_save(again, &c->meta, c->array, c->count));
    CHECK_OK(ec__file_read(path, 1 << 20, &one, &n1));
    CHECK_OK(ec__file_read(again, 1 << 20, &two, &n2));
    assert_int_equal(n1, n2);
    assert_memory_equal(one, two, n1);
    json_t *json = NULL;
    CHECK_OK(ec__checkpoint_json(c, &json));
    assert_int_equal(json_integer_value(json_object_get(json, "step")), 123);
    assert_int_equal(json_array_size(json_object_get(json, "arrays")), ARRAYS);
    json_decref(json);
    ec__checkpoint_free(c);
    free(one);
    free(two);
    free(path);
    free(again);
}

/* The digest by its definition, over the arrays in the order of their names written out by hand. */
static void test_digest(void **state) {
    (void)state;
    static const int order[ARRAYS] = {8, 7, 6, 4, 1, 5, 2, 3, 0};
    char *path = in_folder("a.h5");
    ec_checkpoint *c = NULL;
    char hex[EC_SHA256_HEX], other[EC_SHA256_HEX], expected[EC_SHA256_HEX];
    save(path, 7);
    EVP_MD_CTX *hash = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestInit_ex(hash, EVP_sha256(), NULL), 1);
    for (int k = 0; k < ARRAYS; k++) {
        const ec_checkpoint_array *x = &arrays[order[k]];
        const char *type = x->type == EC_H5_F32 ? "float32" : x->type == EC_H5_I64 ? "int64" : "uint8";
        int64_t rank = x->rank;
        EVP_DigestUpdate(hash, x->name, strlen(x->name) + 1);
        EVP_DigestUpdate(hash, type, strlen(type) + 1);
        EVP_DigestUpdate(hash, &rank, 8);
        EVP_DigestUpdate(hash, x->dim, 8 * (size_t)rank);
        if (x->data) EVP_DigestUpdate(hash, x->data, ec__checkpoint_array_bytes(x));
    }
    unsigned char digest[32];
    EVP_DigestUpdate(hash, &(int64_t){7}, 8);
    EVP_DigestFinal_ex(hash, digest, NULL);
    EVP_MD_CTX_free(hash);
    for (int i = 0; i < 32; i++) snprintf(expected + 2 * i, 3, "%02x", digest[i]);
    CHECK_OK(ec__checkpoint_load(path, &c));
    CHECK_OK(ec__checkpoint_digest(c, hex));
    assert_string_equal(hex, expected);
    CHECK_OK(ec__checkpoint_digest_arrays(arrays, ARRAYS, 7, other));
    assert_string_equal(hex, other);
    CHECK_OK(ec__checkpoint_digest_arrays(arrays, ARRAYS, 8, other));
    assert_string_not_equal(hex, other);
    bias[3] = nextafterf(bias[3], 9);
    CHECK_OK(ec__checkpoint_digest_arrays(arrays, ARRAYS, 7, other));
    assert_string_not_equal(hex, other);
    ec__checkpoint_free(c);
    free(path);
}

static void test_other_model(void **state) {
    (void)state;
    char *path = in_folder("a.h5");
    ec_checkpoint *c = NULL;
    ec_checkpoint_array expected[ARRAYS + 1];
    memcpy(expected, arrays, sizeof arrays);
    save(path, 1);
    CHECK_OK(ec__checkpoint_load(path, &c));
    CHECK_ERROR(ec__checkpoint_expect(c, expected, ARRAYS - 1), EC_ERR_DATA,
                "a.h5: the array buffers/empty is not of this model");
    expected[ARRAYS] = (ec_checkpoint_array){"params/z", EC_H5_F32, 1, {1}, NULL};
    CHECK_ERROR(ec__checkpoint_expect(c, expected, ARRAYS + 1), EC_ERR_DATA, "the array params/z is missing");
    expected[0].dim[1] = 512;
    CHECK_ERROR(ec__checkpoint_expect(c, expected, ARRAYS), EC_ERR_DATA,
                "params/image_projector.0.weight: expected float32 (12,512), found float32 (12,16)");
    expected[0].dim[1] = 16;
    expected[7].type = EC_H5_I32;
    CHECK_ERROR(ec__checkpoint_expect(c, expected, ARRAYS), EC_ERR_DATA, "expected int32 (), found int64 ()");
    expected[7].name = expected[6].name;
    CHECK_ERROR(ec__checkpoint_expect(c, expected, ARRAYS), EC_ERR_BUG, "two arrays");
    ec__checkpoint_free(c);
    free(path);
}

static void test_other_configuration(void **state) {
    (void)state;
    char *path = in_folder("a.h5");
    ec_checkpoint *c = NULL;
    ec_config *same = NULL, *longer = NULL, *other = NULL;
    const char *epochs = "training.max_epochs=7", *batch = "training.batch_size=128";
    save(path, 1);
    CHECK_OK(ec__checkpoint_load(path, &c));
    CHECK_OK(ec__config_parse("a", test_folder(), config_text, strlen(config_text), NULL, 0, &same));
    CHECK_OK(ec__config_parse("b", test_folder(), config_text, strlen(config_text), &epochs, 1, &longer));
    CHECK_OK(ec__config_parse("c", test_folder(), config_text, strlen(config_text), &batch, 1, &other));
    CHECK_OK(ec__checkpoint_check_config(c, same));
    CHECK_OK(ec__checkpoint_check_config(c, longer));
    CHECK_ERROR(ec__checkpoint_check_config(c, other), EC_ERR_CONFIG, "batch_size");
    assert_non_null(strstr(ec_error_last()->text, "128"));
    assert_non_null(strstr(ec_error_last()->text, "a.h5"));
    ec__config_free(same);
    ec__config_free(longer);
    ec__config_free(other);
    ec__checkpoint_free(c);
    free(path);
}

/* One bit flipped at each of many places: an error, or exactly what was saved. */
static void test_flipped_and_truncated(void **state) {
    (void)state;
    char *path = in_folder("a.h5"), *bad = in_folder("bad.h5"), *bytes = NULL;
    size_t count = 0;
    int refused = 0, tried = 0;
    save(path, 55);
    CHECK_OK(ec__file_read(path, 1 << 20, &bytes, &count));
    for (size_t at = 0; at < count; at += 11, tried++) {
        ec_checkpoint *c = NULL;
        bytes[at] = (char)(bytes[at] ^ (1 << at % 8));
        test_write_file(bad, bytes, count);
        ec_status status = ec__checkpoint_load(bad, &c);
        if (status == EC_OK) assert_true(same_as_made(c, 55));
        else assert_int_equal(status, EC_ERR_DATA);
        refused += status != EC_OK;
        ec__checkpoint_free(c);
        bytes[at] = (char)(bytes[at] ^ (1 << at % 8));
    }
    assert_true(tried > 500 && refused > 300);
    for (size_t keep = 0; keep < count; keep += 1 + count / 97) {
        ec_checkpoint *c = NULL;
        test_write_file(bad, bytes, keep);
        CHECK_ERROR(ec__checkpoint_load(bad, &c), EC_ERR_DATA, "bad.h5");
    }
    free(bytes);
    free(bad);
    free(path);
}

/* A whole file with one thing about it wrong; HDF5's own checksums are right. */
static void write_wrong(const char *path, int kind) {
    ec_h5 *file = NULL;
    const char *names[] = {"params/a", kind == 3 ? "params/a" : kind == 4 ? "weights/b" : "params/b"};
    float x[4] = {1, 2, 3, 4};
    int64_t two = 2;
    const char *config = config_text;
    CHECK_OK(ec__h5_create(path, &file));
    CHECK_OK(ec__h5_set_text(file, "format", kind == 0 ? "emoclim feature cache" : EC_CHECKPOINT_FORMAT));
    CHECK_OK(ec__h5_set_i64(file, "format_version", kind == 1 ? 99 : EC_CHECKPOINT_VERSION));
    CHECK_OK(ec__h5_set_text(file, "program", "another"));
    CHECK_OK(ec__h5_set_i64(file, "step", kind == 2 ? -5 : 5));
    CHECK_OK(ec__h5_set_i64(file, "epoch", 0));
    CHECK_OK(ec__h5_set_i64(file, "sampler_position", 0));
    CHECK_OK(ec__h5_set_i64(file, "seed", 1));
    CHECK_OK(ec__h5_set_i64(file, "ranks", kind == 5 ? 0 : 1));
    CHECK_OK(ec__h5_set_i64(file, "shards", 8));
    CHECK_OK(ec__h5_set_f64(file, "best_metric", 0));
    CHECK_OK(ec__h5_set_text(file, "index_checksum", "0123456789abcdef"));
    CHECK_OK(ec__h5_group(file, "buffers"));
    CHECK_OK(ec__h5_group(file, "optimizer/exp_avg"));
    CHECK_OK(ec__h5_group(file, "optimizer/exp_avg_sq"));
    CHECK_OK(ec__h5_write(file, "params/a", EC_H5_F32, 1, (int64_t[]){4}, x));
    if (kind != 6)
        CHECK_OK(ec__h5_write(file, names[1][0] == 'w' ? names[1] : "params/b", kind == 7 ? EC_H5_I16 : EC_H5_F32,
                                         1, (int64_t[]){4}, x));
    if (kind == 8) CHECK_OK(ec__h5_write(file, "params/c", EC_H5_F32, 1, (int64_t[]){4}, x));
    if (kind == 9) CHECK_OK(ec__h5_write(file, "extra", EC_H5_F32, 1, (int64_t[]){4}, x));
    CHECK_OK(ec__h5_write_strings(file, "config", &config, 1));
    CHECK_OK(ec__h5_write_strings(file, "checksum/name", names, 2));
    uint64_t sum = XXH3_64bits(x, sizeof x), sums[2] = {sum, kind == 10 ? sum + 1 : sum};
    if (kind == 11) two = 1;
    CHECK_OK(ec__h5_write(file, "checksum/xxh3", EC_H5_U64, 1, &two, sums));
    CHECK_OK(ec__h5_finish(file));
}

static void test_wrong_files(void **state) {
    (void)state;
    static const char *const expected[] = {
        "not a checkpoint but of the format \"emoclim feature cache\"",
        "format version 99; this program reads version 1",
        "negative", "checksum/name[1] is not in order: params/a", "weights in / does not belong", "ranks is 0",
        "the array params/b is missing", "params/b is of type int16", "the array params/c has no checksum",
        "extra in / does not belong", "the checksum of params/b differs",
        "checksum/xxh3: shape expected (2), found (1)",
        "attributes, names or shapes have checksum",
    };
    char *path = in_folder("wrong.h5");
    ec_checkpoint *c = NULL;
    for (int kind = 0; kind < (int)(sizeof expected / sizeof *expected); kind++) {
        write_wrong(path, kind);
        CHECK_ERROR(ec__checkpoint_load(path, &c), EC_ERR_DATA, expected[kind]);
        assert_non_null(strstr(ec_error_last()->text, "wrong.h5"));
    }
    CHECK_ERROR(ec__checkpoint_load("/nonexistent/x.h5", &c), EC_ERR_DATA, "/nonexistent/x.h5");
    ec_checkpoint_meta meta = make(1);
    ec_checkpoint_array bad = {"params/a/b", EC_H5_F32, 1, {4}, weight};
    CHECK_ERROR(ec__checkpoint_save(path, &meta, &bad, 1), EC_ERR_BUG, "params/a/b");
    free(path);
}

/* A disk that is full at every size: the file of before stays, nothing else does. */
static void test_disk_full(void **state) {
    (void)state;
    char *folder = in_folder("full"), *path = in_folder("full/a.h5");
    int64_t size = 0;
    struct rlimit old, small;
    CHECK_OK(ec__make_folders(folder));
    save(path, 10);
    CHECK_OK(ec__file_size(path, &size));
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    for (int64_t limit = 0; limit < size; limit += 199) {
        ec_checkpoint_meta meta = make(11);
        small = (struct rlimit){(rlim_t)limit, old.rlim_max};
        setrlimit(RLIMIT_FSIZE, &small);
        ec_status status = ec__checkpoint_save(path, &meta, arrays, ARRAYS);
        setrlimit(RLIMIT_FSIZE, &old);
        assert_int_equal(status, EC_ERR_IO);
        assert_non_null(strstr(ec_error_last()->text, "File too large"));
    }
    check_loads(path, 10);
    unlink(path);
    assert_int_equal(rmdir(folder), 0); /* no temporary file was left */
    CHECK_ERROR(ec__checkpoint_save("/proc/x.h5", &(ec_checkpoint_meta){.config = ""}, arrays, ARRAYS), EC_ERR_IO,
                "/proc/x.h5");
    free(folder);
    free(path);
}

static int warnings;
static char warning[2048];

static void take_warning(void *arg, ec_log_level level, int rank, const char *text) {
    (void)arg, (void)rank;
    if (level < EC_LOG_WARN) return;
    warnings++;
    snprintf(warning, sizeof warning, "%s", text);
}

static void flip(const char *path, int64_t at) {
    int fd = open(path, O_RDWR);
    char byte;
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte = (char)(byte ^ 4);
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static void test_folder_of_checkpoints(void **state) {
    (void)state;
    char *folder = in_folder("run"), *path = NULL, *best = NULL;
    ec_checkpoint *c = (ec_checkpoint *)folder;
    int64_t *steps = NULL;
    int32_t count = -1;
    CHECK_OK(ec__checkpoint_latest(folder, &c));
    assert_null(c);
    CHECK_OK(ec__make_folders(folder));
    for (int64_t step = 0; step < 5; step++) {
        CHECK_OK(ec__checkpoint_step_path(folder, step * 1000, &path));
        save(path, step * 1000);
        if (step == 1) CHECK_OK(ec__checkpoint_mark_best(folder, path));
        free(path);
    }
    CHECK_OK(ec__format(&path, "%s/step-000000004000.h5.tmp.77", folder));
    CHECK_OK(ec__file_write(path, "x", 1));
    CHECK_OK(ec__checkpoint_prune(folder, &(ec_checkpoint_keep){.last = 3}, 4000));
    assert_false(ec__file_exists(path));
    free(path);
    CHECK_OK(ec__checkpoint_list(folder, &steps, &count));
    assert_int_equal(count, 3);
    for (int k = 0; k < 3; k++) assert_int_equal(steps[k], 1000 * (k + 2));
    free(steps);
    /* 4000 is not counted: 2000 stays, to be the best below */
    CHECK_OK(ec__checkpoint_prune(folder, &(ec_checkpoint_keep){.last = 2}, 3000));
    CHECK_OK(ec__checkpoint_best_path(folder, &best));
    check_loads(best, 1000);
    CHECK_OK(ec__checkpoint_step_path(folder, 2000, &path));
    CHECK_OK(ec__checkpoint_mark_best(folder, path));
    CHECK_OK(ec__checkpoint_mark_best(folder, path)); /* already is */
    free(path);
    check_loads(best, 2000);
    CHECK_OK(ec__checkpoint_step_path(folder, 1, &path));
    CHECK_ERROR(ec__checkpoint_mark_best(folder, path), EC_ERR_IO, "step-000000000001.h5");
    free(path);

    ec__log_set_sink(take_warning, NULL, EC_LOG_WARN);
    CHECK_OK(ec__checkpoint_latest(folder, &c));
    assert_true(same_as_made(c, 4000) && warnings == 0);
    ec__checkpoint_free(c);
    CHECK_OK(ec__checkpoint_step_path(folder, 4000, &path));
    assert_int_equal(truncate(path, 3000), 0);
    free(path);
    CHECK_OK(ec__checkpoint_step_path(folder, 3000, &path));
    flip(path, 60);
    CHECK_OK(ec__checkpoint_latest(folder, &c));
    assert_true(same_as_made(c, 2000) && warnings == 2);
    assert_non_null(strstr(warning, "step-000000003000.h5 cannot be used ("));
    ec__checkpoint_free(c);
    free(path);
    CHECK_OK(ec__checkpoint_step_path(folder, 2000, &path));
    assert_int_equal(truncate(path, 100), 0);
    CHECK_ERROR(ec__checkpoint_latest(folder, &c), EC_ERR_DATA, "none of the 3 checkpoints");
    ec__log_set_sink(NULL, NULL, EC_LOG_WARN);
    free(path);
    free(best);
    free(folder);
}

/* Steps 70, 140, ... are saved, one at a time, and after each the folder is pruned: of every 200 steps the first
 * stays. */
static void test_keep_every(void **state) {
    (void)state;
    static const int64_t expected[] = {210, 420, 630, 840, 910, 980};
    char *folder = in_folder("every");
    int64_t *steps = NULL;
    int32_t count = -1;
    CHECK_OK(ec__make_folders(folder));
    for (int64_t step = 70; step <= 980; step += 70) {
        ec_checkpoint_meta meta = make(step);
        CHECK_OK(ec__checkpoint_save_step(folder, &meta, arrays, ARRAYS, false));
        CHECK_OK(ec__checkpoint_prune(folder, &(ec_checkpoint_keep){.last = 2, .every = 200}, step));
    }
    CHECK_OK(ec__checkpoint_list(folder, &steps, &count));
    assert_int_equal(count, sizeof expected / sizeof *expected);
    assert_memory_equal(steps, expected, sizeof expected);
    free(steps);
    free(folder);
}

static ec_status fill(void *arg, int32_t k, const ec_checkpoint_array *array) {
    (void)arg;
    if (arrays[k].data) memcpy(array->data, arrays[k].data, ec__checkpoint_array_bytes(array));
    return EC_OK;
}

static ec_status fill_fails(void *arg, int32_t k, const ec_checkpoint_array *array) {
    (void)arg, (void)k;
    return EC_ERROR(EC_ERR_ENV, "the device lost %s", array->name);
}

/* What is saved is the state at the time of the call, whatever is done to the arrays afterwards. */
static void test_writer(void **state) {
    (void)state;
    char *folder = in_folder("async"), *path = NULL;
    ec_checkpoint_writer *writer = NULL;
    ec_checkpoint *c = NULL;
    ec_checkpoint_meta meta;
    CHECK_OK(ec__checkpoint_writer_new(folder, &(ec_checkpoint_keep){.last = 2}, false, arrays, ARRAYS, &writer));
    for (int64_t step = 1; step <= 6; step++) {
        meta = make(step);
        CHECK_OK(ec__checkpoint_writer_save(writer, &meta, step == 3, fill, NULL));
        memset(weight, 0xff, sizeof weight);
        batches = -1;
    }
    CHECK_OK(ec__checkpoint_writer_wait(writer));
    CHECK_OK(ec__checkpoint_latest(folder, &c));
    assert_true(same_as_made(c, 6));
    ec__checkpoint_free(c);
    CHECK_OK(ec__checkpoint_best_path(folder, &path));
    check_loads(path, 3);
    meta = make(7);
    CHECK_ERROR(ec__checkpoint_writer_save(writer, &meta, false, fill_fails, NULL), EC_ERR_ENV,
                "the device lost params/");
    CHECK_OK(ec__checkpoint_writer_wait(writer));

    /* An error in the background is told at the next call, and the writer goes on. */
    struct rlimit old, small;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    small = (struct rlimit){1000, old.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
    CHECK_OK(ec__checkpoint_writer_save(writer, &meta, false, fill, NULL));
    CHECK_ERROR(ec__checkpoint_writer_wait(writer), EC_ERR_IO, "step-000000000007");
    CHECK_OK(ec__checkpoint_writer_wait(writer));
    CHECK_OK(ec__checkpoint_writer_save(writer, &meta, false, fill, NULL));
    CHECK_ERROR(ec__checkpoint_writer_save(writer, &meta, false, fill, NULL), EC_ERR_IO, "File too large");
    setrlimit(RLIMIT_FSIZE, &old);
    CHECK_OK(ec__checkpoint_writer_save(writer, &meta, false, fill, NULL));
    ec__checkpoint_writer_free(writer); /* finishes what is pending */
    CHECK_OK(ec__checkpoint_latest(folder, &c));
    assert_true(same_as_made(c, 7));
    ec__checkpoint_free(c);
    CHECK_ERROR(ec__checkpoint_writer_new("/proc/nowhere", &(ec_checkpoint_keep){.last = 2}, false, arrays, ARRAYS,
                                          &writer),
                EC_ERR_IO, "/proc/nowhere");
    free(path);
    free(folder);
}

/* Killed while it saves, again and again: the newest file always loads. */
static void test_killed_while_saving(void **state) {
    (void)state;
    char *folder = in_folder("killed");
    CHECK_OK(ec__make_folders(folder));
    int64_t newest = 0;
    unsigned patience = 1; /* grows where nothing is finished in time: a busy machine, or valgrind */
    for (int attempt = 0; attempt < 25; attempt++) {
        pid_t child = fork();
        if (child == 0) {
            for (int64_t step = newest + 1;; step++) {
                char *path = NULL;
                CHECK_OK(ec__checkpoint_step_path(folder, step, &path));
                save(path, step);
                CHECK_OK(ec__checkpoint_prune(folder, &(ec_checkpoint_keep){.last = 2}, step));
                free(path);
            }
        }
        usleep((useconds_t)(3000 + attempt * 777) * patience);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        ec_checkpoint *c = NULL;
        warnings = 0;
        ec__log_set_sink(take_warning, NULL, EC_LOG_WARN);
        CHECK_OK(ec__checkpoint_latest(folder, &c));
        ec__log_set_sink(NULL, NULL, EC_LOG_WARN);
        assert_int_equal(warnings, 0);
        if (!c) {
            if (patience < 64) patience *= 2;
            continue;
        }
        assert_true(c->meta.step >= newest && same_as_made(c, c->meta.step));
        newest = c->meta.step;
        ec__checkpoint_free(c);
    }
    assert_true(newest > 0);
    free(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),          cmocka_unit_test(test_digest),
        cmocka_unit_test(test_other_model),         cmocka_unit_test(test_other_configuration),
        cmocka_unit_test(test_flipped_and_truncated), cmocka_unit_test(test_wrong_files),
        cmocka_unit_test(test_disk_full),           cmocka_unit_test(test_folder_of_checkpoints),
        cmocka_unit_test(test_keep_every),
        cmocka_unit_test(test_writer),              cmocka_unit_test(test_killed_while_saving),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
