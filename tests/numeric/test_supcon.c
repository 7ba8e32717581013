/* The streaming loss against the reference file, against a dense evaluation in double precision, and against itself on
 * other numbers of threads. */
#define _POSIX_C_SOURCE 200112L /* setenv */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "loss/supcon.h"
#include "support.h"

static ec_backend *be;
static ec_comm *comm;

/* One problem: inputs, and room for the results of the loss and of the reference. */
typedef struct supcon_case {
    ec_supcon_config config;
    float *z[2];
    int32_t *label[2];
    float *grad[2];
    double losses[EC_DIRECTIONS];
    double *ref_grad[2];
    double *ref_pull[2]; /* the positives' part of ref_grad, which the softmax's part may cancel almost wholly */
    double ref_losses[EC_DIRECTIONS];
} supcon_case;

static void *take(size_t count, size_t size) {
    void *p = calloc(count + 1, size);
    assert_non_null(p);
    return p;
}

static supcon_case case_new(int64_t rows, int32_t dim, double temperature, const double weight[EC_DIRECTIONS]) {
    supcon_case c = {.config = {.global_rows = rows, .dim = dim, .temperature = (float)temperature}};
    const size_t count = (size_t)rows * (size_t)dim;
    for (int d = 0; d < EC_DIRECTIONS; d++) c.config.weight[d] = (float)weight[d];
    for (int m = 0; m < 2; m++) {
        c.z[m] = take(count, sizeof(float));
        c.label[m] = take((size_t)rows, sizeof(int32_t));
        c.grad[m] = take(count, sizeof(float));
        c.ref_grad[m] = take(count, sizeof(double));
        c.ref_pull[m] = take(count, sizeof(double));
    }
    return c;
}

static void case_release(supcon_case *c) {
    for (int m = 0; m < 2; m++) {
        free(c->z[m]), free(c->label[m]), free(c->grad[m]);
        free(c->ref_grad[m]), free(c->ref_pull[m]);
    }
}

static void run_case(supcon_case *c) {
    ec_supcon *loss = NULL;
    const size_t bytes = (size_t)c->config.global_rows * (size_t)c->config.dim * sizeof(float);
    for (int m = 0; m < 2; m++) memset(c->grad[m], 0xff, bytes); /* NaN: every element has to be written */
    CHECK_OK(ec__supcon_new(be, comm, &c->config, &loss));
    for (int repeat = 0; repeat < 2; repeat++) /* the second run finds used memory */
        CHECK_OK(ec__supcon_run(loss, c->z[0], c->z[1], c->label[0], c->label[1], c->grad[0], c->grad[1], c->losses));
    ec__supcon_free(loss);
}

static double dot(const double *a, const double *b, int32_t n) {
    double sum = 0;
    for (int32_t k = 0; k < n; k++) sum += a[k] * b[k];
    return sum;
}

/* x[k] += by * y[k] */
static void add(double *x, double by, const double *y, int32_t n) {
    for (int32_t k = 0; k < n; k++) x[k] += by * y[k];
}

/* A direction's anchors and candidates. */
typedef struct sides {
    int a, b;
} sides;

static const sides side_of[EC_DIRECTIONS] = {{0, 0}, {1, 1}, {0, 1}, {1, 0}};

/* One anchor of one direction by the definition in loss/supcon.h. s: room for (G). Adds factor times the anchor's
 * gradient to both sides of grad, the positives' part also to pull, and returns its loss. */
static double anchor(const ec_supcon_config *c, sides side, int64_t i, double *const z[2], int32_t *const label[2],
                     double factor, double *const grad[2], double *const pull[2], double *s) {
    const double t = (double)c->temperature, *zi = z[side.a] + i * c->dim;
    const int64_t left_out = side.a == side.b ? i : -1;
    double largest = -INFINITY, sum = 0, positives = 0, mean = 0;
    for (int64_t j = 0; j < c->global_rows; j++) {
        if (j == left_out) continue;
        s[j] = dot(zi, z[side.b] + j * c->dim, c->dim) / t;
        if (s[j] > largest) largest = s[j];
        if (label[side.a][i] == label[side.b][j]) positives += 1, mean += s[j];
    }
    if (positives == 0) return 0;
    for (int64_t j = 0; j < c->global_rows; j++)
        if (j != left_out) sum += exp(s[j] - largest);
    for (int64_t j = 0; j < c->global_rows; j++) {
        if (j == left_out) continue;
        const double pulled = label[side.a][i] == label[side.b][j] ? -factor / t / positives : 0;
        const double by = factor / t * exp(s[j] - largest) / sum + pulled;
        const double *zj = z[side.b] + j * c->dim;
        add(grad[side.a] + i * c->dim, by, zj, c->dim);
        add(grad[side.b] + j * c->dim, by, zi, c->dim);
        add(pull[side.a] + i * c->dim, pulled, zj, c->dim);
        add(pull[side.b] + j * c->dim, pulled, zi, c->dim);
    }
    return largest + log(sum) - mean / positives;
}

/* Losses of all directions with a weight, and the gradient of their weighted sum. z in double precision. */
static void reference(const ec_supcon_config *c, double *const z[2], int32_t *const label[2], double *const grad[2],
                      double *const pull[2], double losses[EC_DIRECTIONS]) {
    const int64_t rows = c->global_rows;
    const size_t bytes = (size_t)rows * (size_t)c->dim * sizeof(double);
    double *s = take((size_t)rows, sizeof *s);
    for (int m = 0; m < 2; m++) memset(grad[m], 0, bytes), memset(pull[m], 0, bytes);
    for (int d = 0; d < EC_DIRECTIONS; d++) {
        losses[d] = 0;
        if (c->weight[d] == 0.f) continue;
        for (int64_t i = 0; i < rows; i++)
            losses[d] += anchor(c, side_of[d], i, z, label, (double)c->weight[d] / (double)rows, grad, pull, s) /
                         (double)rows;
    }
    free(s);
}

static void run_reference(supcon_case *c) {
    double *z[2];
    const size_t count = (size_t)c->config.global_rows * (size_t)c->config.dim;
    for (int m = 0; m < 2; m++) {
        z[m] = take(count, sizeof(double));
        for (size_t i = 0; i < count; i++) z[m][i] = (double)c->z[m][i];
    }
    reference(&c->config, z, c->label, c->ref_grad, c->ref_pull, c->ref_losses);
    free(z[0]), free(z[1]);
}

/* Tolerances of the reference file's README. */
static void check_losses(const char *what, const supcon_case *c) {
    char text[512];
    for (int d = 0; d < EC_DIRECTIONS; d++) {
        const double ref = c->ref_losses[d], size = c->config.temperature < 0.07f && ref > 1 ? ref : 1;
        snprintf(text, sizeof text, "%s: loss %d = %.9g, reference %.9g", what, d, c->losses[d], ref);
        test_limit(text, fabs(c->losses[d] - ref) / size, 1e-5);
    }
}

static void check_grads(const char *what, const supcon_case *c) {
    char text[512];
    for (int m = 0; m < 2; m++) {
        const test_error e = test_compare(c->grad[m], c->ref_grad[m], c->config.global_rows * c->config.dim);
        snprintf(text, sizeof text, "%s: gradient of modality %d", what, m);
        if (e.ref_max == 0) test_limit(text, e.abs, 1e-6);
        else test_limit(text, e.rel_l2, c->config.temperature < 0.07f ? 5e-5 : 2e-5);
    }
}

static double norm(const double *x, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i] * x[i];
    return sqrt(sum);
}

/* The same, where the gradient may be almost nothing beside its two parts (well separated classes: p - 1 with p close
 * to 1): single precision then owes accuracy to the larger of gradient and part. */
static void check_grads_by_part(const char *what, const supcon_case *c) {
    char text[512];
    const int64_t count = c->config.global_rows * c->config.dim;
    for (int m = 0; m < 2; m++) {
        const double whole = norm(c->ref_grad[m], count), part = norm(c->ref_pull[m], count);
        const double error = test_compare(c->grad[m], c->ref_grad[m], count).rel_l2 * (whole > 0 ? whole : 1);
        const double size = part > whole ? part : whole;
        snprintf(text, sizeof text, "%s: gradient of modality %d", what, m);
        test_limit(text, size > 0 ? error / size : error, c->config.temperature < 0.07f ? 5e-5 : 2e-5);
    }
}

static void copy_in(supcon_case *c, const test_array z[2], const test_array label[2]) {
    for (int m = 0; m < 2; m++) {
        memcpy(c->z[m], z[m].f32, (size_t)z[m].count * sizeof(float));
        memcpy(c->label[m], label[m].i32, (size_t)label[m].count * sizeof(int32_t));
    }
}

/* One direction alone, which the file gives the loss of; its gradient comes from the dense evaluation. */
static void check_alone(const char *what, const ec_supcon_config *config, int d, const test_array z[2],
                        const test_array label[2], double ref_loss) {
    double weight[EC_DIRECTIONS] = {0};
    weight[d] = 1;
    supcon_case c = case_new(config->global_rows, config->dim, (double)config->temperature, weight);
    copy_in(&c, z, label);
    run_case(&c);
    run_reference(&c);
    test_limit(what, fabs(c.ref_losses[d] - ref_loss) / (1 + fabs(ref_loss)), 1e-6); /* the evaluation itself is right */
    c.ref_losses[d] = ref_loss;
    check_losses(what, &c);
    check_grads_by_part(what, &c);
    case_release(&c);
}

static void check_golden_case(hid_t file, const char *group_name, void *arg) {
    static const char *const loss_name[EC_DIRECTIONS] = {"loss_image2image", "loss_audio2audio", "loss_image2audio",
                                                         "loss_audio2image"};
    static const char *const weight_name[EC_DIRECTIONS] = {"weight_image2image", "weight_audio2audio",
                                                           "weight_image2audio", "weight_audio2image"};
    char name[128], what[320];
    double weight[EC_DIRECTIONS];
    hid_t group = H5Gopen2(file, group_name, H5P_DEFAULT);
    if (group < 0) fail_msg("cannot open group %s", group_name);
    test_h5_attr_text(group, "name", name, sizeof name);
    test_array z[2] = {test_h5_f32(group, "z_image"), test_h5_f32(group, "z_music")};
    test_array label[2] = {test_h5_i32(group, "labels_image"), test_h5_i32(group, "labels_music")};
    test_array grad[2] = {test_h5_f64(group, "grad_image"), test_h5_f64(group, "grad_music")};
    for (int d = 0; d < EC_DIRECTIONS; d++) weight[d] = test_h5_attr(group, weight_name[d]);
    supcon_case c = case_new(z[0].dim[0], (int32_t)z[0].dim[1], test_h5_attr(group, "temperature"), weight);
    copy_in(&c, z, label);
    run_case(&c);
    double total = 0;
    for (int d = 0; d < EC_DIRECTIONS; d++) {
        const double ref = test_h5_scalar(group, loss_name[d]);
        snprintf(what, sizeof what, "%s (%s)", group_name, name);
        c.ref_losses[d] = weight[d] > 0 ? ref : 0;
        total += weight[d] * c.losses[d];
        snprintf(what, sizeof what, "%s (%s), direction %d alone", group_name, name, d);
        if (d >= EC_IMAGE_TO_MUSIC || c.config.global_rows > 1) check_alone(what, &c.config, d, z, label, ref);
    }
    snprintf(what, sizeof what, "%s (%s)", group_name, name);
    for (int m = 0; m < 2; m++) memcpy(c.ref_grad[m], grad[m].f64, (size_t)grad[m].count * sizeof(double));
    check_losses(what, &c);
    check_grads(what, &c);
    const double ref_total = test_h5_scalar(group, "loss_total");
    test_limit(what, fabs(total - ref_total) / (fabs(ref_total) > 1 ? fabs(ref_total) : 1), 1e-5);
    for (int m = 0; m < 2; m++) test_array_release(&z[m]), test_array_release(&label[m]), test_array_release(&grad[m]);
    case_release(&c);
    H5Gclose(group);
    ++*(int *)arg;
}

static void test_golden(void **state) {
    (void)state;
    int cases = 0;
    hid_t file = test_h5_open(test_golden_path("supcon.h5"));
    test_h5_each(file, check_golden_case, &cases);
    assert_int_equal(cases, (int)test_h5_attr(file, "n_cases"));
    assert_true(cases > 0);
    H5Fclose(file);
}

static void normalise(float *z, int64_t rows, int32_t dim) {
    for (int64_t i = 0; i < rows; i++) {
        double norm = 0;
        for (int32_t k = 0; k < dim; k++) norm += (double)z[i * dim + k] * (double)z[i * dim + k];
        for (int32_t k = 0; k < dim; k++) z[i * dim + k] = (float)((double)z[i * dim + k] / sqrt(norm));
    }
}

static const double ALL_FOUR[EC_DIRECTIONS] = {0.4, 0.7, 0.25, 1.5};

/* Unit rows; classes <= 0: every label occurs once. Labels are spread over all integers. */
static supcon_case random_case(int64_t rows, int32_t dim, double t, int32_t classes, const double weight[EC_DIRECTIONS]) {
    supcon_case c = case_new(rows, dim, t, weight);
    for (int m = 0; m < 2; m++) {
        ec_rng rng = ec__rng_at(7, EC_RNG_TEST, (uint32_t)m, (uint64_t)(rows * 1000 + dim));
        test_fill(c.z[m], rows * dim, (uint64_t)(rows + 31 * dim + m));
        normalise(c.z[m], rows, dim);
        for (int64_t i = 0; i < rows; i++)
            c.label[m][i] = classes > 0 ? (int32_t)((uint32_t)ec__rng_below(&rng, (uint64_t)classes) * 0x9e3779b9u)
                                        : (int32_t)(2 * i + m) - (int32_t)rows;
    }
    return c;
}

static void check_random(int64_t rows, int32_t dim, double t, int32_t classes, const double weight[EC_DIRECTIONS]) {
    char what[160];
    snprintf(what, sizeof what, "G %lld, D %d, t %g, %d classes", (long long)rows, dim, t, classes);
    supcon_case c = random_case(rows, dim, t, classes, weight);
    run_case(&c);
    run_reference(&c);
    check_losses(what, &c);
    check_grads(what, &c);
    case_release(&c);
}

static void test_widths_and_temperatures(void **state) {
    (void)state;
    static const int32_t dims[] = {1, 3, 7, 16, 33, 128, 200, 768};
    static const double temperatures[] = {0.01, 0.02, 0.03, 0.07, 1};
    for (size_t d = 0; d < sizeof dims / sizeof dims[0]; d++)
        for (size_t t = 0; t < sizeof temperatures / sizeof temperatures[0]; t++)
            check_random(37, dims[d], temperatures[t], 4, ALL_FOUR);
}

static void test_row_counts(void **state) {
    (void)state;
    static const int64_t rows[] = {2, 3, 5, 31, 32, 33, 64, 96, 127, 129, 160, 257, 300};
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        check_random(rows[r], 24, 0.07, 5, ALL_FOUR);
        check_random(rows[r], 24, 0.01, 5, ALL_FOUR);
    }
    check_random(700, 8, 0.1, 6, ALL_FOUR); /* several tiles a block */
    check_random(700, 8, 0.02, 6, ALL_FOUR);
}

static void test_classes(void **state) {
    (void)state;
    const double cross[EC_DIRECTIONS] = {0, 0, 0.5, 0.5}, intra[EC_DIRECTIONS] = {0.5, 0.5, 0, 0};
    check_random(50, 12, 0.07, 1, ALL_FOUR);
    check_random(50, 12, 0.07, 1000000, ALL_FOUR);
    check_random(50, 12, 0.07, 0, ALL_FOUR); /* nobody has a positive */
    check_random(150, 12, 0.07, 3, cross);
    check_random(150, 12, 0.07, 3, intra);
    check_random(1, 12, 0.07, 1, cross);
    check_random(1, 12, 0.01, 0, cross);
}

/* Rows far from unit length: the shift has to follow. */
static void test_long_rows(void **state) {
    (void)state;
    supcon_case c = random_case(40, 16, 0.5, 3, ALL_FOUR);
    for (int m = 0; m < 2; m++)
        for (int i = 0; i < 40 * 16; i++) c.z[m][i] *= (float)(1 + i % 7);
    c.config.norm2_most = 49.f * 1.01f;
    run_case(&c);
    run_reference(&c);
    check_losses("long rows", &c);
    check_grads("long rows", &c);
    case_release(&c);
}

static double weighted(const ec_supcon_config *config, const double losses[EC_DIRECTIONS]) {
    double total = 0;
    for (int d = 0; d < EC_DIRECTIONS; d++) total += (double)config->weight[d] * losses[d];
    return total;
}

/* The reference's gradient is that of its losses: central differences in double precision. */
static void test_reference_by_differences(void **state) {
    (void)state;
    enum { ROWS = 6, DIM = 5 };
    supcon_case c = random_case(ROWS, DIM, 0.1, 2, ALL_FOUR);
    double *z[2], *unused[2], losses[EC_DIRECTIONS];
    for (int m = 0; m < 2; m++) {
        z[m] = take(ROWS * DIM, sizeof(double));
        unused[m] = take(ROWS * DIM, sizeof(double));
        for (int i = 0; i < ROWS * DIM; i++) z[m][i] = (double)c.z[m][i];
    }
    reference(&c.config, z, c.label, c.ref_grad, c.ref_pull, c.ref_losses);
    for (int m = 0; m < 2; m++)
        for (int i = 0; i < ROWS * DIM; i++) {
            const double step = 1e-5, at = z[m][i];
            z[m][i] = at + step;
            reference(&c.config, z, c.label, unused, c.ref_pull, losses);
            const double up = weighted(&c.config, losses);
            z[m][i] = at - step;
            reference(&c.config, z, c.label, unused, c.ref_pull, losses);
            const double down = weighted(&c.config, losses);
            z[m][i] = at;
            test_limit("difference quotient", fabs((up - down) / (2 * step) - c.ref_grad[m][i]), 1e-6);
        }
    for (int m = 0; m < 2; m++) free(z[m]), free(unused[m]);
    case_release(&c);
}

static void test_threads(void **state) {
    (void)state;
    static const int64_t rows[] = {64, 333, 1100};
    static const double temperatures[] = {0.07, 0.01};
    ec_backend *usual = be;
    for (int n = 0; n < 6; n++) {
        supcon_case one = random_case(rows[n / 2], 40, temperatures[n % 2], 5, ALL_FOUR);
        supcon_case more = random_case(rows[n / 2], 40, temperatures[n % 2], 5, ALL_FOUR);
        const size_t bytes = (size_t)rows[n / 2] * 40 * sizeof(float);
        CHECK_OK(ec__backend_open("cpu", 1, &be));
        run_case(&one);
        be->close(be);
        for (int32_t threads = 2; threads <= 3; threads++) {
            CHECK_OK(ec__backend_open("cpu", threads, &be));
            run_case(&more);
            be->close(be);
            assert_memory_equal(one.losses, more.losses, sizeof one.losses);
            for (int m = 0; m < 2; m++) assert_memory_equal(one.grad[m], more.grad[m], bytes);
        }
        case_release(&one);
        case_release(&more);
    }
    be = usual;
}

/* Every kernel this processor can run gives the losses of the reference. */
static void test_kernels(void **state) {
    (void)state;
    static const char *const name[] = {"generic", "avx2", "avx512"};
    for (size_t i = 0; i < sizeof name / sizeof name[0]; i++) {
        setenv("EMOCLIM_SUPCON_KERNEL", name[i], 1);
        check_random(45, 37, 0.07, 3, ALL_FOUR);
        check_random(45, 37, 0.01, 3, ALL_FOUR);
        check_random(290, 50, 0.05, 3, ALL_FOUR);
        check_random(290, 50, 0.02, 3, ALL_FOUR);
    }
    unsetenv("EMOCLIM_SUPCON_KERNEL");
}

static void test_bad_values(void **state) {
    (void)state;
    ec_supcon *loss = NULL;
    supcon_case c = random_case(10, 4, 0.07, 2, ALL_FOUR);
    c.z[1][7 * 4 + 2] = NAN;
    CHECK_OK(ec__supcon_new(be, comm, &c.config, &loss));
    CHECK_ERROR(ec__supcon_run(loss, c.z[0], c.z[1], c.label[0], c.label[1], c.grad[0], c.grad[1], c.losses), EC_ERR_DATA,
                "music embedding in row 7");
    c.z[0][0] = INFINITY;
    CHECK_ERROR(ec__supcon_run(loss, c.z[0], c.z[1], c.label[0], c.label[1], c.grad[0], c.grad[1], c.losses), EC_ERR_DATA,
                "image embedding in row 0");
    c.z[0][0] = 2;
    CHECK_ERROR(ec__supcon_run(loss, c.z[0], c.z[1], c.label[0], c.label[1], c.grad[0], c.grad[1], c.losses), EC_ERR_DATA,
                "image embedding in row 0 of the global batch (row 0 of rank 0) has length");
    ec__supcon_free(loss);
    c.config.classes = 1;
    CHECK_OK(ec__supcon_new(be, comm, &c.config, &loss));
    CHECK_ERROR(ec__supcon_run(loss, c.z[0], c.z[1], c.label[0], c.label[1], c.grad[0], c.grad[1], c.losses), EC_ERR_DATA,
                "more than the 1 values");
    ec__supcon_free(loss);
    c.config.classes = 0;
    loss = NULL;
    ec_supcon_config bad = c.config;
    bad.temperature = 0;
    CHECK_ERROR(ec__supcon_new(be, comm, &bad, &loss), EC_ERR_CONFIG, "temperature");
    bad = c.config;
    bad.weight[2] = -1;
    CHECK_ERROR(ec__supcon_new(be, comm, &bad, &loss), EC_ERR_CONFIG, "weight");
    bad = c.config;
    bad.global_rows = 1;
    CHECK_ERROR(ec__supcon_new(be, comm, &bad, &loss), EC_ERR_CONFIG, "one row");
    bad.global_rows = 0;
    CHECK_ERROR(ec__supcon_new(be, comm, &bad, &loss), EC_ERR_CONFIG, "0 rows");
    bad = c.config;
    bad.dim = 0;
    CHECK_ERROR(ec__supcon_new(be, comm, &bad, &loss), EC_ERR_CONFIG, "width 0");
    assert_null(loss);
    case_release(&c);
}

static int open_all(void **state) {
    (void)state;
    return ec__backend_open("cpu", 2, &be) != EC_OK || ec__comm_open("self", &comm) != EC_OK;
}

static int close_all(void **state) {
    (void)state;
    ec__comm_close(comm);
    be->close(be);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference_by_differences),
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_widths_and_temperatures),
        cmocka_unit_test(test_row_counts),
        cmocka_unit_test(test_classes),
        cmocka_unit_test(test_long_rows),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_kernels),
        cmocka_unit_test(test_bad_values),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
