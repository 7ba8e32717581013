/* The HDF5 wrapper: what is written is read back, also by another program's eyes (the library itself), and nothing in a
 * file can make it crash. */
#define _GNU_SOURCE
#include "support.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cache/h5.h"
#include "core/file.h"

static char *in_folder(const char *name) {
    char *path = NULL;
    CHECK_OK(ec__path_join(test_folder(), name, &path));
    return path;
}

static const int64_t shape_23[] = {2, 3};

static void write_sample(const char *path) {
    ec_h5 *file = NULL;
    const float f[6] = {0, 1, -2, 0.5f, 1e-30f, 3e38f};
    const int32_t i[6] = {1, -2, 3, 70000, 5, 6};
    const uint16_t half[6] = {0x3c00, 0, 0xc000, 0x7bff, 1, 0x8000};
    const char *names[] = {"joy", "peür", ""};
    CHECK_OK(ec__h5_create(path, &file));
    CHECK_OK(ec__h5_write(file, "params/head.0.weight", EC_H5_F32, 2, shape_23, f));
    CHECK_OK(ec__h5_write(file, "labels", EC_H5_I32, 1, (int64_t[]){6}, i));
    CHECK_OK(ec__h5_write(file, "half", EC_H5_F16, 2, shape_23, half));
    CHECK_OK(ec__h5_write(file, "scalar", EC_H5_F64, 0, NULL, &(double){2.5}));
    CHECK_OK(ec__h5_write(file, "nothing", EC_H5_F32, 2, (int64_t[]){0, 512}, NULL));
    CHECK_OK(ec__h5_write_strings(file, "names", names, 3));
    CHECK_OK(ec__h5_write_strings(file, "no_names", NULL, 0));
    CHECK_OK(ec__h5_group(file, "empty/group"));
    CHECK_OK(ec__h5_set_i64(file, "step", -7));
    CHECK_OK(ec__h5_set_f64(file, "best", 0.1));
    CHECK_OK(ec__h5_set_text(file, "note", "naïve \"text\""));
    CHECK_OK(ec__h5_set_text(file, "blank", ""));
    CHECK_OK(ec__h5_finish(file));
}

static void test_round_trip(void **state) {
    (void)state;
    char *path = in_folder("a.h5"), *text = NULL;
    write_sample(path);
    ec_h5 *file = NULL;
    ec_h5_strings names;
    float f[6];
    int32_t i[6];
    int64_t wide[6], integer;
    double number;
    CHECK_OK(ec__h5_open(path, &file));
    CHECK_OK(ec__h5_read(file, "params/head.0.weight", EC_H5_F32, 2, shape_23, f));
    assert_true(f[3] == 0.5f && f[5] == 3e38f);
    CHECK_OK(ec__h5_read(file, "labels", EC_H5_I32, 1, (int64_t[]){6}, i));
    CHECK_OK(ec__h5_read(file, "labels", EC_H5_I64, 1, (int64_t[]){6}, wide));
    CHECK_OK(ec__h5_read(file, "labels", EC_H5_F32, 1, (int64_t[]){6}, f));
    for (int k = 0; k < 6; k++) assert_true(i[k] == wide[k] && f[k] == (float)i[k]);
    CHECK_OK(ec__h5_read(file, "scalar", EC_H5_F64, 0, NULL, &number));
    assert_true(number == 2.5);
    CHECK_OK(ec__h5_read_strings(file, "names", &names));
    assert_int_equal(names.count, 3);
    assert_string_equal(ec__h5_string(&names, 1), "peür");
    assert_string_equal(ec__h5_string(&names, 2), "");
    ec__h5_strings_release(&names);
    CHECK_OK(ec__h5_read_strings(file, "no_names", &names));
    assert_int_equal(names.count, 0);
    ec__h5_strings_release(&names);
    CHECK_OK(ec__h5_list(file, "/", &names));
    assert_int_equal(names.count, 8);
    assert_string_equal(ec__h5_string(&names, 0), "empty");
    assert_string_equal(ec__h5_string(&names, 7), "scalar");
    ec__h5_strings_release(&names);
    assert_true(ec__h5_has(file, "params/head.0.weight") && ec__h5_is_group(file, "params"));
    assert_false(ec__h5_has(file, "params/head") || ec__h5_has(file, "labels/x") || ec__h5_is_group(file, "labels"));
    CHECK_OK(ec__h5_get_i64(file, "step", &integer));
    CHECK_OK(ec__h5_get_f64(file, "best", &number));
    assert_true(integer == -7 && number == 0.1);
    CHECK_OK(ec__h5_get_text(file, "note", &text));
    assert_string_equal(text, "naïve \"text\"");
    free(text);
    CHECK_OK(ec__h5_get_text(file, "blank", &text));
    assert_string_equal(text, "");
    free(text);
    ec__h5_close(file);
    free(path);
}

/* The offset is where the bytes are, aligned when the array is large; the same contents give the same bytes. */
static void test_offset_and_bytes(void **state) {
    (void)state;
    char *path = in_folder("b.h5"), *again = in_folder("c.h5"), *one = NULL, *two = NULL;
    ec_h5 *file = NULL;
    ec_h5_info info;
    float x[64 * 512];
    size_t count = 0, count_again = 0;
    test_fill(x, 64 * 512, 5);
    for (int k = 0; k < 2; k++) {
        CHECK_OK(ec__h5_create(k ? again : path, &file));
        if (k) usleep(1100000); /* a time stamp, in seconds, would now be another */
        CHECK_OK(ec__h5_group(file, "one/two"));
        CHECK_OK(ec__h5_write(file, "three/four/small", EC_H5_U8, 1, (int64_t[]){3}, "abc"));
        CHECK_OK(ec__h5_write(file, "features", EC_H5_F32, 3, (int64_t[]){64, 1, 512}, x));
        CHECK_OK(ec__h5_set_text(file, "note", "x"));
        CHECK_OK(ec__h5_finish(file));
    }
    CHECK_OK(ec__h5_open(path, &file));
    CHECK_OK(ec__h5_info(file, "features", &info));
    ec__h5_close(file);
    assert_int_equal(info.bytes, sizeof x);
    assert_int_equal(info.offset % EC_H5_ALIGN, 0);
    CHECK_OK(ec__file_read(path, 1 << 20, &one, &count));
    CHECK_OK(ec__file_read(again, 1 << 20, &two, &count_again));
    assert_memory_equal(one + info.offset, x, sizeof x);
    assert_int_equal(count, count_again);
    assert_memory_equal(one, two, count);
    free(one);
    free(two);
    free(path);
    free(again);
}

static void test_errors_name_place(void **state) {
    (void)state;
    char *path = in_folder("a.h5"), *text = in_folder("text.h5");
    ec_h5 *file = NULL;
    float f[6];
    int64_t any[2] = {-1, 512}, integer;
    uint8_t bytes[6];
    char *string = NULL;
    ec_h5_strings names;
    write_sample(path);
    CHECK_OK(ec__h5_open(path, &file));
    CHECK_ERROR(ec__h5_shape(file, "params/head.0.weight", 2, any), EC_ERR_DATA,
                "a.h5: params/head.0.weight: shape expected (N,512), found (2,3)");
    CHECK_ERROR(ec__h5_read(file, "scalar", EC_H5_F64, 1, any, f), EC_ERR_DATA, "expected (N), found ()");
    CHECK_ERROR(ec__h5_read(file, "labels", EC_H5_U8, 1, (int64_t[]){6}, bytes), EC_ERR_DATA, "not a uint8");
    CHECK_ERROR(ec__h5_read(file, "params/head.0.weight", EC_H5_I32, 2, shape_23, f), EC_ERR_DATA,
                "type expected int32, found float32");
    CHECK_ERROR(ec__h5_read(file, "half", EC_H5_F32, 2, shape_23, f), EC_ERR_DATA, "found float16");
    CHECK_ERROR(ec__h5_read(file, "absent", EC_H5_F32, 2, shape_23, f), EC_ERR_DATA,
                "a.h5: cannot open the data set absent");
    CHECK_ERROR(ec__h5_read(file, "params", EC_H5_F32, 2, shape_23, f), EC_ERR_DATA, "params");
    CHECK_ERROR(ec__h5_read_strings(file, "labels", &names), EC_ERR_DATA, "strings expected, found int32");
    CHECK_ERROR(ec__h5_list(file, "labels", &names), EC_ERR_DATA, "labels");
    CHECK_ERROR(ec__h5_get_i64(file, "absent", &integer), EC_ERR_DATA, "attribute absent is missing");
    CHECK_ERROR(ec__h5_get_i64(file, "note", &integer), EC_ERR_DATA, "of type string");
    CHECK_ERROR(ec__h5_get_i64(file, "best", &integer), EC_ERR_DATA, "of type float64");
    CHECK_ERROR(ec__h5_get_text(file, "step", &string), EC_ERR_DATA, "text expected");
    ec__h5_close(file);
    CHECK_ERROR(ec__h5_open("/nonexistent/x.h5", &file), EC_ERR_DATA, "/nonexistent/x.h5");
    CHECK_ERROR(ec__h5_open(test_folder(), &file), EC_ERR_DATA, "is not a regular file");
    CHECK_ERROR(ec__h5_create("/nonexistent/x.h5", &file), EC_ERR_IO, "/nonexistent/x.h5");
    CHECK_OK(ec__file_write(text, "This is not HDF5.", 17));
    CHECK_ERROR(ec__h5_open(text, &file), EC_ERR_DATA, "text.h5: cannot open it as HDF5");
    CHECK_OK(ec__h5_create(path, &file));
    CHECK_ERROR(ec__h5_set_text(file, "bad", "\xff"), EC_ERR_DATA, "UTF-8");
    CHECK_ERROR(ec__h5_set_text(file, "surrogate", "\xed\xa0\x80"), EC_ERR_DATA, "UTF-8");
    CHECK_ERROR(ec__h5_write_strings(file, "bad", (const char *[]){"a", "\xc0\x80"}, 2), EC_ERR_DATA, "bad[1]");
    ec__h5_close(file);
    free(path);
    free(text);
}

/* Every array and attribute, or an error. */
static ec_status read_all(const char *path) {
    ec_status status = EC_OK;
    ec_h5 *file = NULL;
    float f[6];
    int32_t i[6];
    uint16_t half[6];
    int64_t integer;
    ec_h5_strings names = {0};
    char *text = NULL;
    EC_TRY(ec__h5_open(path, &file));
    EC_TRY(ec__h5_read(file, "params/head.0.weight", EC_H5_F32, 2, shape_23, f));
    EC_TRY(ec__h5_read(file, "labels", EC_H5_I32, 1, (int64_t[]){6}, i));
    EC_TRY(ec__h5_read(file, "half", EC_H5_F16, 2, shape_23, half));
    EC_TRY(ec__h5_read_strings(file, "names", &names));
    EC_TRY(ec__h5_get_i64(file, "step", &integer));
    EC_TRY(ec__h5_get_text(file, "note", &text));
done:
    free(text);
    ec__h5_strings_release(&names);
    ec__h5_close(file);
    return status;
}

static void test_truncated_and_flipped(void **state) {
    (void)state;
    char *path = in_folder("a.h5"), *bad = in_folder("bad.h5"), *bytes = NULL;
    size_t count = 0;
    int refused = 0;
    write_sample(path);
    CHECK_OK(ec__file_read(path, 1 << 20, &bytes, &count));
    for (size_t keep = 0; keep < count; keep += keep < 200 ? 7 : count / 60) {
        test_write_file(bad, bytes, keep);
        assert_int_equal(read_all(bad), EC_ERR_DATA);
    }
    for (size_t at = 0; at < count; at += 3) {
        bytes[at] ^= 0x10;
        test_write_file(bad, bytes, count);
        refused += read_all(bad) != EC_OK;
        bytes[at] ^= 0x10;
    }
    assert_true(refused > 0);
    free(bytes);
    free(bad);
    free(path);
}

static void *many_reads(void *arg) {
    for (int k = 0; k < 20; k++)
        if (read_all(arg) != EC_OK) return arg;
    return NULL;
}

static void test_threads(void **state) {
    (void)state;
    char *path = in_folder("a.h5");
    pthread_t thread[4];
    void *failed = NULL;
    write_sample(path);
    for (int k = 0; k < 4; k++) assert_int_equal(pthread_create(&thread[k], NULL, many_reads, path), 0);
    for (int k = 0; k < 4; k++) {
        pthread_join(thread[k], &failed);
        assert_null(failed);
    }
    free(path);
}

/* A disk that is full, at every size it may be full at: an error each time, and the library goes on working. */
static void test_disk_full(void **state) {
    (void)state;
    char *path = in_folder("full.h5"), *good = in_folder("a.h5");
    float x[4096];
    test_fill(x, 4096, 1);
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit old, small;
    getrlimit(RLIMIT_FSIZE, &old);
    for (rlim_t limit = 0; limit <= 16384; limit += 512) {
        ec_h5 *file = NULL;
        small = (struct rlimit){limit, old.rlim_max};
        setrlimit(RLIMIT_FSIZE, &small);
        ec_status status = ec__h5_create(path, &file);
        if (status == EC_OK) status = ec__h5_write(file, "x", EC_H5_F32, 1, (int64_t[]){4096}, x);
        if (status == EC_OK) status = ec__h5_set_text(file, "note", "x");
        if (status == EC_OK) status = ec__h5_finish(file);
        else ec__h5_close(file);
        setrlimit(RLIMIT_FSIZE, &old);
        assert_int_equal(status, EC_ERR_IO);
        assert_non_null(strstr(ec_error_last()->text, "full.h5"));
        write_sample(good);
        CHECK_OK(read_all(good));
    }
    free(path);
    free(good);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),           cmocka_unit_test(test_offset_and_bytes),
        cmocka_unit_test(test_errors_name_place),    cmocka_unit_test(test_truncated_and_flipped),
        cmocka_unit_test(test_threads),              cmocka_unit_test(test_disk_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
