/* Feature caches: built by any number of parts and through any interruption to the same bytes; read back exactly;
 * damage and lies are named. ctest: clock */
#define _GNU_SOURCE
#include "support.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cache/cache_writer.h"
#include "cache/feature_cache.h"
#include "core/half.h"
#include "core/clock.h"
#include "core/file.h"

enum { ROWS = 23, VIEWS = 2, WIDTH = 40, CLASSES = 3, ITEMS = VIEWS * WIDTH };

static const char *const classes[] = {"joy", "peur", "sadness"};
static char ids[4096][32];
static const char *id_list[4096];
static int32_t labels[4096];
static uint8_t splits[4096], tags[4096 * CLASSES];

#define SHA "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static ec_cache_spec make_spec(int64_t rows, ec_h5_type dtype) {
    for (int64_t i = 0; i < rows; i++) {
        snprintf(ids[i], sizeof ids[i], "dir/clip é %lld.wav", (long long)i);
        id_list[i] = ids[i];
        labels[i] = (int32_t)(i % CLASSES);
        splits[i] = (uint8_t)(i % EC_SPLITS);
        for (int c = 0; c < CLASSES; c++) tags[i * CLASSES + c] = (uint8_t)(i >> c & 1);
    }
    return (ec_cache_spec){
        .identity = {.modality = "music", .encoder = "shortchunk", .encoder_sha256 = SHA, .random_weights = true,
                     .preprocessing = "{\"sample_rate\": 16000, \"mel\": {\"n_fft\": 512, \"power\": 2.0}}",
                     .manifest_sha256 = SHA, .dtype = dtype, .views = VIEWS, .width = WIDTH},
        .rows = rows, .id = id_list, .label = labels, .split = splits, .class_names = classes, .class_count = CLASSES,
    };
}

static char *in_folder(const char *name) {
    char *path = NULL;
    CHECK_OK(ec__path_join(test_folder(), name, &path));
    return path;
}

static void values_of(int64_t row, float *values) { test_fill(values, ITEMS, 1000 + (uint64_t)row); }
static bool is_skipped(int64_t row) { return row % 7 == 3; }

/* One run of a build by `parts` ranks that ends after `limit` rows; true when it got to the end. */
static bool run(const char *path, const ec_cache_spec *spec, int parts, int64_t limit) {
    ec_cache_build *build = NULL;
    ec_cache_part *part = NULL;
    int64_t made = 0;
    CHECK_OK(ec__cache_build_begin(path, spec, &build));
    for (int rank = 0; rank < parts; rank++) {
        CHECK_OK(ec__cache_part_open(path, spec, rank, &part));
        for (int64_t row = rank; row < spec->rows && made < limit; row += parts) {
            if (ec__cache_part_has(part, row)) continue;
            float values[ITEMS];
            values_of(row, values);
            if (is_skipped(row)) CHECK_OK(ec__cache_part_skip(part, row, "cannot decode\nit"));
            else CHECK_OK(ec__cache_part_append(part, row, values));
            assert_true(ec__cache_part_has(part, row));
            made++;
        }
        CHECK_OK(ec__cache_part_close(part));
    }
    if (made == limit) {
        ec__cache_build_abandon(build);
        return false;
    }
    CHECK_OK(ec__cache_build_finish(build, NULL));
    return true;
}

static void build_whole(const char *path, const ec_cache_spec *spec) { assert_true(run(path, spec, 1, INT64_MAX)); }

static void check_same_bytes(const char *one, const char *two) {
    char *a = NULL, *b = NULL;
    size_t na = 0, nb = 0;
    CHECK_OK(ec__file_read(one, 1 << 24, &a, &na));
    CHECK_OK(ec__file_read(two, 1 << 24, &b, &nb));
    assert_int_equal(na, nb);
    assert_memory_equal(a, b, na);
    free(a);
    free(b);
}

static void check_contents(const char *path, const ec_cache_spec *spec) {
    ec_cache *cache = NULL;
    CHECK_OK(ec__cache_open(path, NULL, &cache));
    const ec_cache_info *info = ec__cache_info(cache);
    CHECK_OK(ec__cache_check_compatible(cache, &spec->identity));
    int64_t k = 0, skipped = 0;
    for (int64_t row = 0; row < spec->rows; row++) {
        float expected[ITEMS], found[ITEMS];
        if (is_skipped(row)) {
            assert_string_equal(ec__h5_string(&info->skipped_id, skipped), spec->id[row]);
            assert_string_equal(ec__h5_string(&info->skipped_reason, skipped++), "cannot decode it");
            continue;
        }
        assert_string_equal(ec__h5_string(&info->id, k), spec->id[row]);
        assert_int_equal(info->split[k], spec->split[row]);
        if (spec->label) assert_int_equal(info->label[k], spec->label[row]);
        else assert_memory_equal(info->tags + k * CLASSES, spec->tags + row * CLASSES, CLASSES);
        values_of(row, expected);
        uint16_t half[ITEMS], stored[ITEMS];
        if (spec->identity.dtype == EC_H5_F16) {
            ec__float_to_half_portable(expected, half, ITEMS);
            ec__half_to_float_portable(half, expected, ITEMS);
            CHECK_OK(ec__cache_rows_half(cache, (int64_t[]){k, k}, (int32_t[]){0, 1}, 2, stored));
            assert_memory_equal(stored, half, sizeof half);
        } else {
            CHECK_ERROR(ec__cache_rows_half(cache, &k, NULL, 1, stored), EC_ERR_USAGE, "float32, not of float16");
        }
        CHECK_OK(ec__cache_rows(cache, (int64_t[]){k, k}, (int32_t[]){0, 1}, 2, found));
        assert_memory_equal(found, expected, sizeof found);
        k++;
    }
    assert_int_equal(info->rows, k);
    assert_int_equal(info->skipped_id.count, skipped);
    ec__cache_close(cache);
    CHECK_OK(ec__cache_verify(path, NULL));
}

static void test_build_and_read(void **state) {
    (void)state;
    char *path = in_folder("whole.h5"), *work = NULL;
    const ec_h5_type dtype[] = {EC_H5_F32, EC_H5_F16};
    for (int t = 0; t < 4; t++) {
        ec_cache_spec spec = make_spec(ROWS, dtype[t % 2]);
        if (t >= 2) {
            spec.label = NULL;
            spec.tags = tags;
        }
        build_whole(path, &spec);
        check_contents(path, &spec);
    }
    CHECK_OK(ec__format(&work, "%s.building", path));
    assert_false(ec__file_exists(work));
    free(work);
    free(path);
}

static void test_interrupted_at_every_row(void **state) {
    (void)state;
    char *whole = in_folder("whole.h5"), *path = in_folder("pieces.h5");
    ec_cache_spec spec = make_spec(ROWS, EC_H5_F16);
    build_whole(whole, &spec);
    for (int64_t stop = 1; stop <= ROWS; stop++) {
        unlink(path);
        assert_false(run(path, &spec, 1 + (int)(stop % 3), stop));
        assert_false(ec__file_exists(path));
        assert_true(run(path, &spec, 1 + (int)(stop / 2 % 4), INT64_MAX));
        check_same_bytes(whole, path);
    }
    unlink(path);
    while (!run(path, &spec, 3, 1)) {} /* one row at a time */
    check_same_bytes(whole, path);
    free(whole);
    free(path);
}

/* Kills a builder for real at a random moment, many times. */
static void test_killed(void **state) {
    (void)state;
    enum { MANY = 3000 };
    char *whole = in_folder("whole.h5"), *path = in_folder("killed.h5");
    ec_cache_spec spec = make_spec(MANY, EC_H5_F32);
    build_whole(whole, &spec);
    int kills = 0;
    for (int attempt = 0; !ec__file_exists(path); attempt++) {
        assert_true(attempt < 200);
        pid_t child = fork();
        if (child == 0) _exit(run(path, &spec, 1 + attempt % 3, INT64_MAX) ? 0 : 1);
        /* Where rows are slow (a busy machine, valgrind) later attempts get the time that they need. */
        usleep((useconds_t)(1000 + attempt * 700 + (attempt > 50 ? (attempt - 50) * 20000 : 0)));
        kill(child, SIGKILL);
        int how = 0;
        waitpid(child, &how, 0);
        kills += WIFSIGNALED(how);
    }
    assert_true(kills > 0);
    check_same_bytes(whole, path);
    free(whole);
    free(path);
}

/* What a power loss may leave: files cut anywhere, zeros where data never arrived. */
static void test_torn_tails(void **state) {
    (void)state;
    char *whole = in_folder("whole.h5"), *path = in_folder("torn.h5"), *file = NULL;
    ec_cache_spec spec = make_spec(ROWS, EC_H5_F16);
    build_whole(whole, &spec);
    for (int damage = 0; damage < 40; damage++) {
        unlink(path);
        assert_false(run(path, &spec, 2, 15));
        CHECK_OK(ec__format(&file, "%s.building/part-%04d.%s", path, damage % 2, damage / 2 % 2 ? "rows" : "journal"));
        int64_t size = 0;
        CHECK_OK(ec__file_size(file, &size));
        if (size > 0 && damage < 20) assert_int_equal(truncate(file, size * damage / 20), 0);
        if (size > 0 && damage >= 20) {
            int fd = open(file, O_WRONLY);
            int64_t at = size * (damage - 20) / 20;
            assert_int_equal(pwrite(fd, "\0\0\0\0\0\0\0\0\0", 9, at), 9);
            close(fd);
        }
        free(file);
        assert_true(run(path, &spec, 1, INT64_MAX));
        check_same_bytes(whole, path);
    }
    free(whole);
    free(path);
}

static void test_builder_errors(void **state) {
    (void)state;
    char *path = in_folder("refused.h5");
    ec_cache_spec spec = make_spec(ROWS, EC_H5_F16), other = spec;
    ec_cache_build *build = NULL, *second = NULL;
    ec_cache_part *part = NULL;
    float values[ITEMS];
    values_of(0, values);
    CHECK_OK(ec__cache_build_begin(path, &spec, &build));
    CHECK_ERROR(ec__cache_build_begin(path, &spec, &second), EC_ERR_ENV, "another process is building");
    CHECK_OK(ec__cache_part_open(path, &spec, 0, &part));
    CHECK_OK(ec__cache_part_append(part, 4, values));
    CHECK_ERROR(ec__cache_part_append(part, 4, values), EC_ERR_USAGE, "finished already");
    CHECK_ERROR(ec__cache_part_append(part, ROWS, values), EC_ERR_USAGE, "row 23");
    values[WIDTH + 2] = 70000;
    CHECK_ERROR(ec__cache_part_append(part, 5, values), EC_ERR_DATA, "clip é 5.wav: feature 2 of view 1 is 70000");
    assert_false(ec__cache_part_has(part, 5));
    CHECK_OK(ec__cache_part_close(part));
    CHECK_ERROR(ec__cache_build_finish(build, NULL), EC_ERR_DATA,
                "22 of 23 samples are not built yet, the first is dir/clip é 0.wav");
    other.identity.preprocessing = "{\"sample_rate\": 22050, \"mel\": {\"n_fft\": 512, \"power\": 2}}";
    CHECK_ERROR(ec__cache_build_begin(path, &other, &build), EC_ERR_DATA,
                "preprocessing.sample_rate is 16000, expected 22050");
    assert_null(strstr(ec_error_last()->text, "power"));
    labels[3] = (labels[3] + 1) % CLASSES;
    CHECK_ERROR(ec__cache_build_begin(path, &spec, &build), EC_ERR_DATA, "samples_sha256");
    labels[3] = CLASSES;
    CHECK_ERROR(ec__cache_build_begin(path, &spec, &build), EC_ERR_DATA, "label 3 of dir/clip é 3.wav");
    spec = other = make_spec(ROWS, EC_H5_F16);
    other.identity.encoder_sha256 = "abc";
    CHECK_ERROR(ec__cache_build_begin(path, &other, &build), EC_ERR_DATA, "encoder_sha256");
    CHECK_ERROR(ec__cache_build_begin("/proc/nowhere/x.h5", &spec, &build), EC_ERR_IO, "/proc/nowhere");
    free(path);

    path = in_folder("all_skipped.h5");
    spec = make_spec(2, EC_H5_F32);
    CHECK_OK(ec__cache_build_begin(path, &spec, &build));
    CHECK_OK(ec__cache_part_open(path, &spec, 0, &part));
    for (int64_t row = 0; row < 2; row++) CHECK_OK(ec__cache_part_skip(part, row, "bad \xff bytes"));
    CHECK_OK(ec__cache_part_close(part));
    CHECK_ERROR(ec__cache_build_finish(build, NULL), EC_ERR_DATA,
                "every sample was left out, the first because of: bad ? bytes");
    free(path);
}

static void test_compatible(void **state) {
    (void)state;
    char *path = in_folder("whole.h5");
    ec_cache_spec spec = make_spec(ROWS, EC_H5_F16);
    ec_cache *cache = NULL;
    build_whole(path, &spec);
    CHECK_OK(ec__cache_open(path, NULL, &cache));
    ec_cache_identity expected = spec.identity;
    expected.manifest_sha256 = NULL;
    CHECK_OK(ec__cache_check_compatible(cache, &expected));
    expected.preprocessing = "{\"mel\": {\"n_fft\": 1024, \"power\": 2, \"window\": \"hann\"}}";
    CHECK_ERROR(ec__cache_check_compatible(cache, &expected), EC_ERR_DATA,
                "preprocessing.mel.n_fft is 512, expected 1024");
    assert_non_null(strstr(ec_error_last()->text, "preprocessing.mel.window is absent, expected \"hann\""));
    assert_non_null(strstr(ec_error_last()->text, "preprocessing.sample_rate is 16000, expected none"));
    expected = spec.identity;
    expected.encoder = "clip_vit";
    expected.dtype = EC_H5_F32;
    CHECK_ERROR(ec__cache_check_compatible(cache, &expected), EC_ERR_DATA,
                "encoder is \"shortchunk\", expected \"clip_vit\"");
    assert_non_null(strstr(ec_error_last()->text, "dtype is \"float16\", expected \"float32\""));
    ec__cache_close(cache);
    free(path);
}

static void test_reader_usage(void **state) {
    (void)state;
    char *path = in_folder("whole.h5");
    ec_cache_spec spec = make_spec(ROWS, EC_H5_U8);
    ec_cache_build *build = NULL;
    ec_cache_part *part = NULL;
    ec_cache *cache = NULL;
    uint8_t pixels[ITEMS];
    float out[WIDTH];
    const void *raw = NULL;
    spec.identity.encoder = "none";
    spec.identity.encoder_sha256 = "";
    CHECK_OK(ec__cache_build_begin(path, &spec, &build));
    CHECK_OK(ec__cache_part_open(path, &spec, 0, &part));
    for (int64_t row = 0; row < ROWS; row++) {
        memset(pixels, (int)row + 1, sizeof pixels);
        CHECK_OK(ec__cache_part_append(part, row, pixels));
    }
    CHECK_OK(ec__cache_part_close(part));
    CHECK_OK(ec__cache_build_finish(build, NULL));
    CHECK_OK(ec__cache_verify(path, NULL));
    CHECK_OK(ec__cache_open(path, NULL, &cache));
    ec__cache_will_need(cache, (int64_t[]){0, ROWS - 1, ROWS, -1}, 4);
    CHECK_OK(ec__cache_raw(cache, 7, 1, &raw));
    memset(pixels, 8, sizeof pixels);
    assert_memory_equal(raw, pixels, WIDTH);
    CHECK_ERROR(ec__cache_raw(cache, 7, 2, &raw), EC_ERR_USAGE, "no row 7, view 2");
    CHECK_ERROR(ec__cache_raw(cache, ROWS, 0, &raw), EC_ERR_USAGE, "no row 23");
    CHECK_ERROR(ec__cache_row(cache, 0, 0, out), EC_ERR_USAGE, "raw items (uint8)");
    json_t *json = NULL;
    CHECK_OK(ec__cache_json(ec__cache_info(cache), &json));
    assert_int_equal(json_integer_value(json_object_get(json, "rows")), ROWS);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(json, "classes"), "peur")), 8);
    json_decref(json);
    ec__cache_close(cache);
    free(path);
}

/* The smallest caches there are, and sizes around them: alignment must not depend on size. */
static void test_tiny(void **state) {
    (void)state;
    char *path = in_folder("tiny.h5");
    for (int64_t rows = 1; rows <= 4; rows++)
        for (int64_t width = 1; width <= WIDTH; width += 13) {
            ec_cache_spec spec = make_spec(rows, rows % 2 ? EC_H5_F32 : EC_H5_F16);
            ec_cache *cache = NULL;
            float out[WIDTH];
            spec.identity.views = 1;
            spec.identity.width = width;
            build_whole(path, &spec);
            CHECK_OK(ec__cache_verify(path, NULL));
            CHECK_OK(ec__cache_open(path, NULL, &cache));
            assert_int_equal(ec__cache_info(cache)->rows, rows < 4 ? rows : 3);
            CHECK_OK(ec__cache_row(cache, 0, 0, out));
            ec__cache_close(cache);
        }
    free(path);
}

/* Rows of several blocks; one number in the middle of block 2 is changed. */
static void test_corrupt_block_is_named(void **state) {
    (void)state;
    enum { MANY = 1200 };
    char *path = in_folder("blocks.h5");
    ec_cache_spec spec = make_spec(MANY, EC_H5_F32);
    ec_cache *cache = NULL;
    ec_h5 *file = NULL;
    ec_h5_info features;
    float out[WIDTH];
    build_whole(path, &spec);
    CHECK_OK(ec__h5_open(path, &file));
    CHECK_OK(ec__h5_info(file, "features", &features));
    ec__h5_close(file);
    int64_t row_bytes = ITEMS * 4, block_rows = ec__cache_block_rows(row_bytes);
    assert_int_equal(block_rows, 128);
    int fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, "?", 1, features.offset + (2 * block_rows + 5) * row_bytes + 17), 1);
    close(fd);
    CHECK_OK(ec__cache_open(path, NULL, &cache));
    CHECK_OK(ec__cache_row(cache, 2 * block_rows - 1, 0, out));
    CHECK_OK(ec__cache_row(cache, 3 * block_rows, 0, out));
    CHECK_ERROR(ec__cache_row(cache, 2 * block_rows, 0, out), EC_ERR_DATA, "block 2 (rows 256 to 383)");
    CHECK_ERROR(ec__cache_load(cache, NULL), EC_ERR_DATA, "blocks.h5 is corrupt: block 2");
    ec__cache_close(cache);
    CHECK_OK(ec__cache_open(path, &(ec_cache_options){.unchecked = true}, &cache));
    CHECK_OK(ec__cache_row(cache, 2 * block_rows, 0, out));
    ec__cache_close(cache);
    CHECK_ERROR(ec__cache_verify(path, NULL), EC_ERR_DATA, "block 2");
    free(path);
}

/* Any flipped byte is found, or lies where nothing is. */
static void test_flipped_bytes(void **state) {
    (void)state;
    char *path = in_folder("flip.h5"), *bad = in_folder("flipped.h5"), *bytes = NULL;
    size_t count = 0;
    int found = 0;
    ec_cache_spec spec = make_spec(ROWS, EC_H5_F16);
    build_whole(path, &spec);
    CHECK_OK(ec__file_read(path, 1 << 24, &bytes, &count));
    for (size_t at = 0; at < count; at += at < 4096 ? 5 : 13) {
        bytes[at] = (char)(bytes[at] ^ (1 << at % 8));
        test_write_file(bad, bytes, count);
        if (ec__cache_verify(bad, NULL) == EC_OK) check_contents(bad, &spec);
        else found++;
        bytes[at] = (char)(bytes[at] ^ (1 << at % 8));
    }
    assert_true(found > 300);
    for (size_t keep = 0; keep < count; keep += count / 40) {
        test_write_file(bad, bytes, keep);
        assert_int_equal(ec__cache_verify(bad, NULL), EC_ERR_DATA);
    }
    free(bytes);
    free(bad);
    free(path);
}

/* Files that are sound HDF5 and say what is not so, each in another way. */
static void write_lie(const char *path, int kind) {
    ec_h5 *file = NULL;
    int64_t rows = 4;
    float features[4 * 3] = {0};
    int32_t label[4] = {0, 1, kind == 3 ? 2 : 0, 0};
    uint8_t split[4] = {0, 0, 0, (uint8_t)(kind == 4 ? 9 : 0)};
    const char *id[] = {"a", "b", "c", "d"}, *names[] = {"joy", kind == 5 ? "joy" : "sadness"};
    CHECK_OK(ec__h5_create(path, &file));
    if (kind != 0) CHECK_OK(ec__h5_set_text(file, "format", kind == 1 ? "emoclim checkpoint" : EC_CACHE_FORMAT));
    CHECK_OK(ec__h5_set_i64(file, "format_version", kind == 2 ? 2 : EC_CACHE_VERSION));
    CHECK_OK(ec__h5_set_text(file, "created_by", "a liar"));
    CHECK_OK(ec__h5_set_text(file, "modality", kind == 6 ? "smell" : "image"));
    CHECK_OK(ec__h5_set_text(file, "encoder", "clip_vit"));
    CHECK_OK(ec__h5_set_text(file, "encoder_sha256", SHA));
    if (kind == 7) CHECK_OK(ec__h5_set_text(file, "random_weights", "yes"));
    else if (kind != 8) CHECK_OK(ec__h5_set_i64(file, "random_weights", 0));
    CHECK_OK(ec__h5_set_text(file, "preprocessing", kind == 9 ? "[" : "{}"));
    CHECK_OK(ec__h5_set_text(file, "manifest_sha256", SHA));
    CHECK_OK(ec__h5_set_i64(file, "block_rows", kind == 10 ? 0 : ec__cache_block_rows(12)));
    CHECK_OK(ec__h5_set_text(file, "index_checksum", "0000000000000000"));
    if (kind == 11) CHECK_OK(ec__h5_write(file, "features", EC_H5_F64, 3, (int64_t[]){1, 1, 3}, (double[3]){0}));
    else if (kind == 12) CHECK_OK(ec__h5_write(file, "features", EC_H5_F32, 2, (int64_t[]){4, 3}, features));
    else CHECK_OK(ec__h5_write(file, "features", EC_H5_F32, 3, (int64_t[]){kind == 13 ? 0 : 4, 1, 3}, features));
    CHECK_OK(ec__h5_write_strings(file, "class_names", names, 2));
    CHECK_OK(ec__h5_write_strings(file, "id", id, kind == 14 ? 3 : rows));
    CHECK_OK(ec__h5_write_strings(file, "skipped/id", NULL, 0));
    CHECK_OK(ec__h5_write_strings(file, "skipped/reason", id, kind == 15 ? 1 : 0));
    CHECK_OK(ec__h5_write(file, "split", EC_H5_U8, 1, &rows, split));
    CHECK_OK(ec__h5_write(file, "checksum", EC_H5_U64, 1, (int64_t[]){kind == 16 ? 4 : 1}, (uint64_t[4]){0}));
    if (kind == 17) CHECK_OK(ec__h5_write(file, "tags", EC_H5_U8, 2, (int64_t[]){4, 2}, (uint8_t[8]){0, 1, 2}));
    else if (kind != 18) CHECK_OK(ec__h5_write(file, "label", EC_H5_I32, 1, &rows, label));
    CHECK_OK(ec__h5_finish(file));
}

static void test_lying_headers(void **state) {
    (void)state;
    static const char *const expected[] = {
        "is not a feature cache", "of the format \"emoclim checkpoint\"",
        "format version 2; this program reads version 1",
        "label[2] is 2, expected 0 to 1 (c)", "split[3] is 9", "class_names[0] and [1] are both \"joy\"",
        "modality is \"smell\"", "random_weights is of type string", "attribute random_weights is missing",
        "preprocessing is not a JSON object", "blocks of 0 rows", "features of type float64",
        "features: shape expected (N,N,N), found (4,3)", "without rows", "id: shape expected (4), found (3)",
        "skipped/reason: shape expected (0), found (1)", "checksum: shape expected (1), found (4)",
        "tags[1,0] is 2, expected 0 or 1", "label", "labels, ids or attributes have checksum",
    };
    char *path = in_folder("lie.h5");
    for (int kind = 0; kind < (int)(sizeof expected / sizeof *expected); kind++) {
        ec_cache *cache = NULL;
        write_lie(path, kind);
        CHECK_ERROR(ec__cache_open(path, NULL, &cache), EC_ERR_DATA, expected[kind]);
        assert_non_null(strstr(ec_error_last()->text, "lie.h5"));
    }
    free(path);
}

/* Room for 0, 1, 2 ... KiB a file: the final file never appears half-written, and the build goes on when there is
 * room. */
static void test_disk_full(void **state) {
    (void)state;
    char *whole = in_folder("whole.h5"), *path = in_folder("full.h5");
    ec_cache_spec spec = make_spec(400, EC_H5_F32);
    struct rlimit old, small;
    build_whole(whole, &spec);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    for (rlim_t limit = 0; limit < 170000; limit += limit < 8192 ? 2048 : 20000) {
        ec_cache_build *build = NULL;
        ec_cache_part *part = NULL;
        small = (struct rlimit){limit, old.rlim_max};
        setrlimit(RLIMIT_FSIZE, &small);
        ec_status status = ec__cache_build_begin(path, &spec, &build);
        if (status == EC_OK) status = ec__cache_part_open(path, &spec, 0, &part);
        for (int64_t row = 0; row < spec.rows && status == EC_OK; row++) {
            float values[ITEMS];
            values_of(row, values);
            if (ec__cache_part_has(part, row)) continue;
            status = is_skipped(row) ? ec__cache_part_skip(part, row, "cannot decode it")
                                     : ec__cache_part_append(part, row, values);
        }
        if (status == EC_OK) status = ec__cache_part_close(part);
        else ec__cache_part_close(part);
        if (status == EC_OK) status = ec__cache_build_finish(build, NULL);
        else ec__cache_build_abandon(build);
        setrlimit(RLIMIT_FSIZE, &old);
        if (status != EC_OK) assert_int_equal(status, EC_ERR_IO);
        assert_int_equal(status == EC_OK, ec__file_exists(path));
        if (status == EC_OK) unlink(path);
    }
    assert_true(run(path, &spec, 1, INT64_MAX));
    check_contents(path, &spec);
    free(whole);
    free(path);
}

/* The processor's conversion and ours: all halves, and floats of every exponent around every rounding border. */
static void test_half(void **state) {
    (void)state;
    uint16_t *half = calloc(65536, sizeof *half), *back = calloc(65536, sizeof *back);
    float *fast = calloc(65536, sizeof *fast), *slow = calloc(65536, sizeof *slow);
    for (int i = 0; i < 65536; i++) half[i] = (uint16_t)i;
    ec__half_to_float(half, fast, 65536);
    ec__half_to_float_portable(half, slow, 65536);
    assert_memory_equal(fast, slow, 65536 * sizeof *fast);
    ec__float_to_half_portable(slow, back, 65536);
    for (int i = 0; i < 65536; i++) {
        bool nan = (i & 0x7c00) == 0x7c00 && (i & 0x3ff);
        assert_int_equal(back[i], nan ? (i | 0x200) : i);
    }
    for (uint32_t high = 0; high < 65536; high++) {
        static const uint32_t low[] = {0, 1, 0xfff, 0x1000, 0x1001, 0x1fff, 0x8000, 0xffff};
        uint32_t bits[8];
        float x[8];
        uint16_t one[8], two[8];
        for (int k = 0; k < 8; k++) bits[k] = high << 16 | low[k];
        memcpy(x, bits, sizeof x);
        ec__float_to_half(x, one, 8);
        ec__float_to_half_portable(x, two, 8);
        assert_memory_equal(one, two, sizeof one);
    }
    float known[] = {1, -2, 65504, 65520, 5.9604645e-8f, 2.9802322e-8f, 0.333333343f};
    uint16_t bits[7], expected[] = {0x3c00, 0xc000, 0x7bff, 0x7c00, 1, 0, 0x3555};
    ec__float_to_half_portable(known, bits, 7);
    assert_memory_equal(bits, expected, sizeof bits);
    free(half);
    free(back);
    free(fast);
    free(slow);
}

/* A call a row: choosing the instructions may not cost more than the row does, which asking the processor every time
 * would on a virtual machine. The fastest of some tries, whatever else the machine does. */
static void test_half_of_short_rows(void **state) {
    (void)state;
    enum { CALLS = 2000, TRIES = 20 };
    const uint16_t half[8] = {0x3c00};
    float x[8];
    int64_t least = INT64_MAX;
    for (int t = 0; t < TRIES; t++) {
        const int64_t start = ec__now_ns();
        for (int i = 0; i < CALLS; i++) ec__half_to_float(half, x, 8);
        const int64_t took = ec__now_ns() - start;
        least = took < least ? took : least;
    }
    assert_true(x[0] == 1);
    assert_true(least < CALLS * INT64_C(2000));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_half),
        cmocka_unit_test(test_half_of_short_rows),
        cmocka_unit_test(test_build_and_read),
        cmocka_unit_test(test_interrupted_at_every_row),
        cmocka_unit_test(test_killed),
        cmocka_unit_test(test_torn_tails),
        cmocka_unit_test(test_builder_errors),
        cmocka_unit_test(test_compatible),
        cmocka_unit_test(test_reader_usage),
        cmocka_unit_test(test_tiny),
        cmocka_unit_test(test_corrupt_block_is_named),
        cmocka_unit_test(test_flipped_bytes),
        cmocka_unit_test(test_lying_headers),
        cmocka_unit_test(test_disk_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
