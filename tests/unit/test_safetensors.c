/* The safetensors reader against hostile headers, every dtype, and what the writer wrote. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "nn/safetensors.h"
#include "support.h"

enum { FILE_BYTES = 4096 };

/* A file image: length prefix, header, data_bytes bytes of data. Returns its size. */
static size_t image(const char *header, size_t data_bytes, unsigned char *bytes) {
    const size_t length = strlen(header);
    memset(bytes, 0, FILE_BYTES);
    for (int i = 0; i < 8; i++) bytes[i] = (unsigned char)(length >> 8 * i);
    memcpy(bytes + 8, header, length);
    return 8 + length + data_bytes;
}

typedef struct hostile {
    const char *header;
    size_t data_bytes;
    const char *message;
} hostile;

#define T(dtype, shape, offsets) "{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static const hostile table[] = {
    {"", 0, "does not begin with '{'"},
    {"[]", 0, "does not begin with '{'"},
    {" {}", 0, "does not begin with '{'"},
    {"{", 0, "header, byte"},
    {"{} x", 0, "header, byte"},
    {"{\"a\":1}", 0, "a: found 1; expected an object"},
    {"{\"a\":" T("\"F32\"", "[1]", "[0,4]") ",\"a\":" T("\"F32\"", "[1]", "[0,4]") "}", 4, "duplicate"},
    {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "duplicate"},
    {"{\"a\":" T("\"F99\"", "[1]", "[0,4]") "}", 4, "a: dtype is \"F99\"; known are"},
    {"{\"a\":" T("7", "[1]", "[0,4]") "}", 4, "a: dtype is 7"},
    {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "a: dtype is nothing"},
    {"{\"a\":" T("\"F32\"", "\"x\"", "[0,4]") "}", 4, "a: shape is \"x\""},
    {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "a: shape is nothing"},
    {"{\"a\":" T("\"F32\"", "[-1]", "[0,4]") "}", 4, "a: shape is [-1]; expected integers >= 0"},
    {"{\"a\":" T("\"F32\"", "[1.0]", "[0,4]") "}", 4, "expected integers >= 0"},
    {"{\"a\":" T("\"F32\"", "[1,1,1,1,1,1,1,1,1]", "[0,4]") "}", 4, "at most 8 integers"},
    {"{\"a\":" T("\"F32\"", "[4294967296,4294967296]", "[0,4]") "}", 4, "more than 2^63 bytes"},
    {"{\"a\":" T("\"F32\"", "[99999999999999999999]", "[0,4]") "}", 4, "header, byte"},
    {"{\"a\":" T("\"F32\"", "[1]", "[0]") "}", 4, "a: data_offsets is [0]; expected [begin, end]"},
    {"{\"a\":" T("\"F32\"", "[1]", "[4,0]") "}", 4, "expected [begin, end] with"},
    {"{\"a\":" T("\"F32\"", "[1]", "[-4,0]") "}", 4, "expected [begin, end] with"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "a: data_offsets is nothing"},
    {"{\"a\":" T("\"F32\"", "[2]", "[0,8]") "}", 4, "a: data_offsets [0,8] reach behind the end: the file has 4 bytes"},
    {"{\"a\":" T("\"F32\"", "[2]", "[0,4]") "}", 4, "hold 4 bytes; F32 of shape (2) has 8"},
    {"{\"a\":" T("\"F32\"", "[1]", "[4,8]") "}", 8, "a: begins at byte 4 of the data, leaving a hole after the header"},
    {"{\"a\":" T("\"F32\"", "[2]", "[0,8]") ",\"b\":" T("\"F32\"", "[1]", "[4,8]") "}", 8,
     "b: begins at byte 4 of the data, inside a"},
    {"{\"a\":" T("\"F32\"", "[1]", "[0,4]") ",\"b\":" T("\"F32\"", "[1]", "[0,4]") "}", 4, "inside"},
    {"{\"a\":" T("\"F32\"", "[1]", "[0,4]") ",\"b\":" T("\"F32\"", "[1]", "[8,12]") "}", 12,
     "b: begins at byte 8 of the data, leaving a hole after a"},
    {"{\"a\":" T("\"F32\"", "[1]", "[0,4]") "}", 5, "1 bytes behind the last array (a)"},
    {"{}", 3, "3 bytes behind the last array"},
    {"{\"__metadata__\":3}", 0, "__metadata__ is not an object"},
    {"{\"__metadata__\":{\"a\":[]}}", 0, "__metadata__: a is not a text"},
};

static void test_hostile(void **state) {
    (void)state;
    unsigned char bytes[FILE_BYTES];
    ec_safetensors *file = NULL;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const size_t size = image(table[i].header, table[i].data_bytes, bytes);
        CHECK_ERROR(ec__safetensors_parse("x.safetensors", bytes, size, &file), EC_ERR_DATA, table[i].message);
        assert_non_null(strstr(ec_error_last()->text, "x.safetensors: "));
        assert_null(file);
    }
    CHECK_ERROR(ec__safetensors_parse("x", NULL, 0, &file), EC_ERR_DATA, "has 0 bytes");
    CHECK_ERROR(ec__safetensors_parse("x", bytes, 7, &file), EC_ERR_DATA, "has 7 bytes");
    memset(bytes, 0xff, 16);
    CHECK_ERROR(ec__safetensors_parse("x", bytes, 16, &file), EC_ERR_DATA, "at most 100000000 are allowed");
    image("{}", 0, bytes);
    CHECK_ERROR(ec__safetensors_parse("x", bytes, 9, &file), EC_ERR_DATA, "a header of 2 bytes in a file of 9");
    CHECK_ERROR(ec__safetensors_open("/nonexistent/a", &file), EC_ERR_DATA, "cannot open");
    CHECK_ERROR(ec__safetensors_open("/", &file), EC_ERR_DATA, "not a regular file");
}

/* Every truncation of a good file is refused. */
static void test_truncated(void **state) {
    (void)state;
    unsigned char bytes[FILE_BYTES];
    ec_safetensors *file = NULL;
    const size_t size = image("{\"a\":" T("\"F32\"", "[3]", "[0,12]") ",\"b\":" T("\"F16\"", "[]", "[12,14]") "}", 14,
                              bytes);
    for (size_t n = 0; n < size; n++) {
        unsigned char *exact = malloc(n + 1); /* so that a sanitizer sees a read behind the end */
        memcpy(exact, bytes, n);
        CHECK_ERROR(ec__safetensors_parse("x", exact, n, &file), EC_ERR_DATA, "x: ");
        free(exact);
    }
    CHECK_OK(ec__safetensors_parse("x", bytes, size, &file));
    assert_int_equal(ec__safetensors_count(file), 2);
    assert_int_equal(ec__safetensors_info(file, 1)->rank, 0);
    ec__safetensors_close(file);
}

static void test_dtypes(void **state) {
    (void)state;
    float to[6];
    ec__dtype_to_float(EC_DTYPE_F64, (double[]){1.5, -2e-3}, 2, to);
    assert_true(to[0] == 1.5f && to[1] == -2e-3f);
    ec__dtype_to_float(EC_DTYPE_F16, (uint16_t[]){0x3c00, 0xc000, 0x7bff, 0x0001, 0x8000, 0x7c00}, 6, to);
    assert_true(to[0] == 1 && to[1] == -2 && to[2] == 65504 && to[3] == 0x1p-24f && to[4] == 0 && signbit(to[4]) &&
                isinf(to[5]));
    ec__dtype_to_float(EC_DTYPE_F16, (uint16_t[]){0x7e00, 0x8001, 0x03ff}, 3, to);
    assert_true(isnan(to[0]) && to[1] == -0x1p-24f && to[2] == 1023 * 0x1p-24f);
    ec__dtype_to_float(EC_DTYPE_BF16, (uint16_t[]){0x3f80, 0xc040, 0x0001}, 3, to);
    assert_true(to[0] == 1 && to[1] == -3 && to[2] == 0x1p-133f);
    ec__dtype_to_float(EC_DTYPE_I64, (int64_t[]){-5, 1LL << 40}, 2, to);
    assert_true(to[0] == -5 && to[1] == 0x1p40f);
    ec__dtype_to_float(EC_DTYPE_I32, (int32_t[]){-7, INT32_MIN}, 2, to);
    assert_true(to[0] == -7 && to[1] == -0x1p31f);
    ec__dtype_to_float(EC_DTYPE_I16, (int16_t[]){-300}, 1, to);
    assert_true(to[0] == -300);
    ec__dtype_to_float(EC_DTYPE_I8, (int8_t[]){-3}, 1, to);
    assert_true(to[0] == -3);
    ec__dtype_to_float(EC_DTYPE_U8, (uint8_t[]){255}, 1, to);
    assert_true(to[0] == 255);
    ec__dtype_to_float(EC_DTYPE_BOOL, (uint8_t[]){0, 1}, 2, to);
    assert_true(to[0] == 0 && to[1] == 1);
}

static void test_round_trip(void **state) {
    (void)state;
    char path[512], again[512];
    float a[6] = {1, -2, 3.5f, 0, 1e-30f, 7}, read[6];
    const int64_t b[2] = {3, -4};
    const uint8_t c[3] = {1, 0, 1};
    const ec_safetensors_item items[] = {
        {"layer.weight", EC_DTYPE_F32, 2, {2, 3}, a},
        {"a \"quoted\" \xc3\xa9 name", EC_DTYPE_I64, 1, {2}, b},
        {"flags", EC_DTYPE_BOOL, 3, {3, 1, 1}, c},
        {"empty", EC_DTYPE_F32, 2, {0, 4}, NULL},
        {"scalar", EC_DTYPE_F32, 0, {0}, a},
    };
    const ec_safetensors_item turned[] = {items[4], items[2], items[0], items[3], items[1]};
    const char *const metadata[][2] = {{"format", "pt"}, {"made by", "a test"}};
    char *bytes[2];
    size_t count[2];
    ec_safetensors *file = NULL;
    snprintf(path, sizeof path, "%s/a.safetensors", test_folder());
    snprintf(again, sizeof again, "%s/b.safetensors", test_folder());
    CHECK_OK(ec__safetensors_write(path, items, 5, metadata, 2));
    CHECK_OK(ec__safetensors_write(again, turned, 5, metadata, 2));
    CHECK_OK(ec__file_read(path, 1 << 20, &bytes[0], &count[0]));
    CHECK_OK(ec__file_read(again, 1 << 20, &bytes[1], &count[1]));
    assert_true(count[0] == count[1] &&
                memcmp(bytes[0], bytes[1], count[0]) == 0); /* the order of items does not show */
    assert_int_equal((unsigned char)bytes[0][0] % 8, 0);
    free(bytes[0]), free(bytes[1]);
    CHECK_OK(ec__safetensors_open(path, &file));
    assert_int_equal(ec__safetensors_count(file), 5);
    assert_string_equal(ec__safetensors_metadata(file, "made by"), "a test");
    assert_null(ec__safetensors_metadata(file, "other"));
    for (int32_t i = 1; i < 5; i++)
        assert_true(strcmp(ec__safetensors_info(file, i - 1)->name, ec__safetensors_info(file, i)->name) < 0);
    const int32_t weight = ec__safetensors_find(file, "layer.weight"), name = ec__safetensors_find(file, items[1].name);
    assert_int_equal(ec__safetensors_find(file, "nothing"), -1);
    assert_int_equal(ec__safetensors_info(file, weight)->dim[1], 3);
    CHECK_OK(ec__safetensors_read(file, weight, read));
    assert_memory_equal(read, a, sizeof a);
    assert_int_equal(ec__safetensors_dtype(file, name), EC_DTYPE_I64);
    CHECK_OK(ec__safetensors_read(file, name, read));
    assert_true(read[0] == 3 && read[1] == -4);
    CHECK_OK(ec__safetensors_read(file, ec__safetensors_find(file, "flags"), read));
    assert_true(read[0] == 1 && read[1] == 0 && read[2] == 1);
    CHECK_OK(ec__safetensors_read(file, ec__safetensors_find(file, "empty"), read));
    ec__safetensors_close(file);
    CHECK_ERROR(ec__safetensors_write(path, (ec_safetensors_item[]){items[0], items[0]}, 2, NULL, 0), EC_ERR_USAGE,
                "two arrays");
    const ec_safetensors_item reserved = {.name = "__metadata__"};
    CHECK_ERROR(ec__safetensors_write(path, &reserved, 1, NULL, 0), EC_ERR_USAGE, "__metadata__");
    CHECK_ERROR(ec__safetensors_write("/nonexistent/x", items, 5, NULL, 0), EC_ERR_IO, "cannot create");
}

/* Arrays longer than the reader's piece, converted on the way. */
static void test_long_array(void **state) {
    (void)state;
    char path[512];
    const int32_t n = 1300001;
    int32_t *x = malloc(sizeof *x * (size_t)n);
    float *read = malloc(sizeof *read * (size_t)n);
    ec_safetensors *file = NULL;
    for (int32_t i = 0; i < n; i++) x[i] = i * 3 - 1000;
    const ec_safetensors_item item = {"x", EC_DTYPE_I32, 1, {n}, x};
    snprintf(path, sizeof path, "%s/long.safetensors", test_folder());
    CHECK_OK(ec__safetensors_write(path, &item, 1, NULL, 0));
    CHECK_OK(ec__safetensors_open(path, &file));
    CHECK_OK(ec__safetensors_read(file, 0, read));
    for (int32_t i = 0; i < n; i++) assert_true(read[i] == (float)x[i]);
    ec__safetensors_close(file);
    free(x), free(read);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hostile),    cmocka_unit_test(test_truncated),  cmocka_unit_test(test_dtypes),
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_long_array),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
