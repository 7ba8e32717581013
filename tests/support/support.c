#define _GNU_SOURCE
#include "support.h"

#include <ftw.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/rng.h"

void test_check_ok(ec_status status, const char *call, const char *file, int line) {
    if (status == EC_OK) return;
    const ec_error *e = ec_error_last();
    print_error("%s\n  %s: %s\n", call, ec_status_name(status), e->text);
    for (int i = 0; i < e->frame_count; i++)
        print_error("  at %s (%s:%d)\n", e->frame[i].function, e->frame[i].file, e->frame[i].line);
    _fail(file, line);
}

void test_check_error(ec_status status, ec_status code, const char *text, const char *call, const char *file, int line) {
    const ec_error *e = ec_error_last();
    if (status == code && (!text || strstr(e->text, text))) return;
    print_error("%s\n  returned %s \"%s\", expected %s with \"%s\"\n", call, ec_status_name(status),
                status == EC_OK ? "" : e->text, ec_status_name(code), text ? text : "");
    _fail(file, line);
}

const char *test_golden_path(const char *name) {
    static char path[4096];
    const char *folder = getenv("EMOCLIM_GOLDEN");
    snprintf(path, sizeof path, "%s/%s", folder && *folder ? folder : EMOCLIM_SOURCE_DIR "/tests/golden", name);
    return path;
}

static void h5_quiet(void) { H5Eset_auto2(H5E_DEFAULT, NULL, NULL); }

hid_t test_h5_open(const char *path) {
    h5_quiet();
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (file < 0) fail_msg("cannot open %s", path);
    return file;
}

bool test_h5_has(hid_t at, const char *name) {
    char part[1024];
    h5_quiet();
    snprintf(part, sizeof part, "%s", name);
    for (char *slash = strchr(part, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (H5Lexists(at, part, H5P_DEFAULT) <= 0) return false;
        *slash = '/';
    }
    return H5Lexists(at, part, H5P_DEFAULT) > 0;
}

static test_array h5_read(hid_t at, const char *name, hid_t type, size_t size) {
    test_array array = {0};
    hsize_t dim[8];
    h5_quiet();
    hid_t set = H5Dopen2(at, name, H5P_DEFAULT);
    if (set < 0) fail_msg("no data set %s", name);
    hid_t space = H5Dget_space(set);
    array.rank = H5Sget_simple_extent_dims(space, dim, NULL);
    array.count = 1;
    for (int i = 0; i < array.rank; i++) array.count *= array.dim[i] = (int64_t)dim[i];
    void *data = calloc((size_t)array.count + 1, size);
    assert_non_null(data);
    if (array.count > 0 && H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0) fail_msg("cannot read %s", name);
    H5Sclose(space);
    H5Dclose(set);
    if (type == H5T_NATIVE_FLOAT) array.f32 = data;
    else if (type == H5T_NATIVE_DOUBLE) array.f64 = data;
    else if (type == H5T_NATIVE_INT32) array.i32 = data;
    else array.u8 = data;
    return array;
}

test_array test_h5_f32(hid_t at, const char *name) { return h5_read(at, name, H5T_NATIVE_FLOAT, sizeof(float)); }
test_array test_h5_f64(hid_t at, const char *name) { return h5_read(at, name, H5T_NATIVE_DOUBLE, sizeof(double)); }
test_array test_h5_i32(hid_t at, const char *name) { return h5_read(at, name, H5T_NATIVE_INT32, sizeof(int32_t)); }
test_array test_h5_u8(hid_t at, const char *name) { return h5_read(at, name, H5T_NATIVE_UINT8, sizeof(uint8_t)); }

double test_h5_scalar(hid_t at, const char *name) {
    test_array a = test_h5_f64(at, name);
    double value = a.f64[0];
    test_array_release(&a);
    return value;
}

bool test_h5_has_attr(hid_t at, const char *name) { return H5Aexists(at, name) > 0; }

double test_h5_attr(hid_t at, const char *name) {
    double value = 0;
    hid_t attr = H5Aopen(at, name, H5P_DEFAULT);
    if (attr < 0 || H5Aread(attr, H5T_NATIVE_DOUBLE, &value) < 0) fail_msg("no numeric attribute %s", name);
    H5Aclose(attr);
    return value;
}

void test_h5_attr_text(hid_t at, const char *name, char *text, size_t size) {
    hid_t attr = H5Aopen(at, name, H5P_DEFAULT);
    if (attr < 0) fail_msg("no attribute %s", name);
    hid_t type = H5Aget_type(attr);
    size_t length = H5Tget_size(type);
    char *raw = calloc(length + 1, 1);
    assert_non_null(raw);
    if (H5Tis_variable_str(type) > 0 || H5Aread(attr, type, raw) < 0) fail_msg("attribute %s is no fixed string", name);
    snprintf(text, size, "%s", raw);
    free(raw);
    H5Tclose(type);
    H5Aclose(attr);
}

void test_h5_each(hid_t group, void (*visit)(hid_t, const char *, void *), void *arg) {
    H5G_info_t info;
    if (H5Gget_info(group, &info) < 0) fail_msg("not a group");
    for (hsize_t i = 0; i < info.nlinks; i++) {
        char name[512];
        if (H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, i, name, sizeof name, H5P_DEFAULT) < 0)
            fail_msg("cannot list a group");
        visit(group, name, arg);
    }
}

void test_array_release(test_array *array) {
    free(array->f32);
    free(array->f64);
    free(array->i32);
    free(array->u8);
    memset(array, 0, sizeof *array);
}

test_error test_compare(const float *got, const double *ref, int64_t count) {
    test_error e = {0};
    double difference2 = 0, reference2 = 0;
    for (int64_t i = 0; i < count; i++) {
        double d = fabs((double)got[i] - ref[i]);
        if (!(d <= e.abs)) e.abs = d; /* a NaN stays */
        if (fabs(ref[i]) > e.ref_max) e.ref_max = fabs(ref[i]);
        difference2 += d * d;
        reference2 += ref[i] * ref[i];
    }
    e.rel_max = e.ref_max > 0 ? e.abs / e.ref_max : e.abs;
    e.rel_l2 = reference2 > 0 ? sqrt(difference2 / reference2) : sqrt(difference2);
    return e;
}

void test_limit(const char *what, double figure, double limit) {
    if (!(figure <= limit)) fail_msg("%s: %.3g, at most %.3g expected", what, figure, limit);
}

void test_fill(float *x, int64_t count, uint64_t seed) {
    for (int64_t i = 0; i < count; i += 4) {
        uint32_t bits[4];
        ec__rng_block(seed, EC_RNG_TEST, 0, 0, (uint32_t)(i / 4), bits);
        for (int64_t j = i; j < i + 4 && j < count; j++) x[j] = (float)((double)bits[j - i] * 0x1p-31 - 1.0);
    }
}

void test_write_file(const char *path, const void *bytes, size_t count) {
    FILE *stream = fopen(path, "wb");
    if (!stream || fwrite(bytes, 1, count, stream) != count || fclose(stream) != 0) fail_msg("cannot write %s", path);
}

static char folder[256];

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *at) {
    (void)info, (void)type, (void)at;
    return remove(path);
}

static void remove_folder(void) { nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS); }

const char *test_folder(void) {
    if (!folder[0]) {
        const char *base = getenv("TMPDIR");
        snprintf(folder, sizeof folder, "%s/emoclim-test-XXXXXX", base && *base ? base : "/tmp");
        if (!mkdtemp(folder)) fail_msg("cannot create %s", folder);
        atexit(remove_folder);
    }
    return folder;
}
