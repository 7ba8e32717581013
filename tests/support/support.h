/* What tests share: running cases, comparing arrays, reading reference files. */
#ifndef EC_TEST_SUPPORT_H
#define EC_TEST_SUPPORT_H

/* cmocka wants these four before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <hdf5.h>
#include <stdbool.h>

#include "emoclim/status.h"

/* Fails the test with the whole error record when call does not return EC_OK. */
#define CHECK_OK(call) test_check_ok((call), #call, __FILE__, __LINE__)
/* Fails the test unless call returns code and the message contains text. */
#define CHECK_ERROR(call, code, text) test_check_error((call), (code), (text), #call, __FILE__, __LINE__)

void test_check_ok(ec_status status, const char *call, const char *file, int line);
void test_check_error(ec_status status, ec_status code, const char *text, const char *call, const char *file, int line);

/* Path of a reference file: folder EMOCLIM_GOLDEN, or the project's tests/golden. Static buffer. */
const char *test_golden_path(const char *name);

/* A data set of a reference file, converted to the wanted type. */
typedef struct test_array {
    int rank;
    int64_t dim[8];
    int64_t count; /* product of dim */
    float *f32;    /* exactly one of these is not NULL; owned by the caller, test_array_release */
    double *f64;
    int32_t *i32;
    uint8_t *u8;
} test_array;

hid_t test_h5_open(const char *path);                   /* fails the test where it can't */
bool test_h5_has(hid_t at, const char *name);           /* is there a link of that name (path with '/')? */
test_array test_h5_f32(hid_t at, const char *name);
test_array test_h5_f64(hid_t at, const char *name);
test_array test_h5_i32(hid_t at, const char *name);
test_array test_h5_u8(hid_t at, const char *name);
double test_h5_scalar(hid_t at, const char *name);      /* 0-dimensional data set */
double test_h5_attr(hid_t at, const char *name);        /* numeric attribute */
void test_h5_attr_text(hid_t at, const char *name, char *text, size_t size);
bool test_h5_has_attr(hid_t at, const char *name);
/* Calls visit for every member of a group, in name order. */
void test_h5_each(hid_t group, void (*visit)(hid_t group, const char *name, void *arg), void *arg);
void test_array_release(test_array *array);

/* How far a float32 result is from a float64 reference. */
typedef struct test_error {
    double abs;     /* largest absolute difference */
    double rel_max; /* abs / largest absolute reference value */
    double rel_l2;  /* |got - ref| / |ref| */
    double ref_max; /* largest absolute reference value */
} test_error;

test_error test_compare(const float *got, const double *ref, int64_t count);
/* Fails unless the figure (NaN fails too) is at most limit; names what. */
void test_limit(const char *what, double figure, double limit);

/* Repeatable test input: uniform in [-1, 1), from Philox with EC_RNG_TEST. */
void test_fill(float *x, int64_t count, uint64_t seed);

/* Writes a file quickly: neither atomic nor flushed to disk. */
void test_write_file(const char *path, const void *bytes, size_t count);

/* A fresh empty folder for a test's files, under $TMPDIR or /tmp; removed at exit. Static buffer. */
const char *test_folder(void);

#endif
