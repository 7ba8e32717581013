/* Schedules, Adam and AdamW against double precision, clipping, bad settings. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"
#include "train/optimizer.h"

enum { COUNT = 40001, STEPS = 7 }; /* more than two chunks, with a tail */

static void test_schedules(void **state) {
    (void)state;
    ec_optimizer_config c = ec__optimizer_defaults();
    assert_true(ec__learning_rate(&c, 0) == 1e-3 && ec__learning_rate(&c, 1000000) == 1e-3);
    c.warmup_steps = 4;
    const double ramp[] = {0.25e-3, 0.5e-3, 0.75e-3, 1e-3, 1e-3};
    for (int i = 0; i < 5; i++) test_limit("warm-up", fabs(ec__learning_rate(&c, i) - ramp[i]), 1e-15);
    c.schedule = EC_SCHEDULE_COSINE;
    c.total_steps = 104;
    c.final_fraction = 0.1;
    test_limit("end of warm-up", fabs(ec__learning_rate(&c, 4) - 1e-3), 1e-15);
    test_limit("a quarter", fabs(ec__learning_rate(&c, 29) - (1e-4 + 9e-4 * (0.5 + sqrt(0.125)))), 1e-15);
    test_limit("half way", fabs(ec__learning_rate(&c, 54) - 5.5e-4), 1e-15);
    test_limit("floor", fabs(ec__learning_rate(&c, 104) - 1e-4), 1e-15);
    test_limit("beyond", fabs(ec__learning_rate(&c, 1000) - 1e-4), 1e-15);
    for (int64_t s = 4; s < 104; s++) assert_true(ec__learning_rate(&c, s + 1) < ec__learning_rate(&c, s));
}

/* torch.optim.Adam / AdamW in double precision, one parameter. */
typedef struct reference {
    double p, m, v;
} reference;

static void reference_step(const ec_optimizer_config *c, int64_t step, double clip_factor, double g, reference *r) {
    double t = (double)step + 1, lr = ec__learning_rate(c, step);
    g *= clip_factor;
    if (c->kind == EC_ADAMW) r->p *= 1 - lr * c->weight_decay;
    else g += c->weight_decay * r->p;
    r->m = c->beta1 * r->m + (1 - c->beta1) * g;
    r->v = c->beta2 * r->v + (1 - c->beta2) * g * g;
    r->p -= lr / (1 - pow(c->beta1, t)) * r->m / (sqrt(r->v) / sqrt(1 - pow(c->beta2, t)) + c->eps);
}

static double norm(const float *x) {
    double sum = 0;
    for (int i = 0; i < COUNT; i++) sum += (double)x[i] * x[i];
    return sqrt(sum);
}

static void compare(const ec_optimizer_config *c, int32_t threads) {
    ec_backend *be = NULL;
    ec_optimizer *o = NULL;
    float *p = malloc(COUNT * sizeof *p), *g = malloc(COUNT * sizeof *g);
    double *ref_p = malloc(COUNT * sizeof *ref_p), *ref_m = malloc(COUNT * sizeof *ref_m);
    reference *ref = calloc(COUNT, sizeof *ref);
    CHECK_OK(ec__backend_open("cpu", threads, &be));
    CHECK_OK(ec__optimizer_new(be, c, COUNT, &o));
    test_fill(p, COUNT, 1);
    for (int i = 0; i < COUNT; i++) ref[i].p = p[i];
    for (int64_t step = 0; step < STEPS; step++) {
        double got = 0;
        test_fill(g, COUNT, 10 + (uint64_t)step);
        g[5] = 0; /* a parameter without a gradient */
        double n = norm(g), factor = c->clip_norm > 0 && n > c->clip_norm ? c->clip_norm / n : 1;
        CHECK_OK(ec__optimizer_step(o, step, p, g, &got));
        test_limit("gradient norm", fabs(got - n) / n, 1e-12);
        for (int i = 0; i < COUNT; i++) reference_step(c, step, factor, g[i], &ref[i]);
    }
    for (int i = 0; i < COUNT; i++) ref_p[i] = ref[i].p, ref_m[i] = ref[i].m;
    test_limit("parameters", test_compare(p, ref_p, COUNT).abs, 1e-6);
    test_limit("first moment", test_compare(o->exp_avg, ref_m, COUNT).rel_l2, 1e-6);
    if (c->kind == EC_ADAMW) assert_true(o->exp_avg[5] == 0 && o->exp_avg_sq[5] == 0);
    ec__optimizer_free(o);
    be->close(be);
    free(p), free(g), free(ref), free(ref_p), free(ref_m);
}

static void test_updates(void **state) {
    (void)state;
    for (int kind = 0; kind < 2; kind++)
        for (int clip = 0; clip < 3; clip++) {
            ec_optimizer_config c = ec__optimizer_defaults();
            c.kind = (ec_optimizer_kind)kind;
            c.weight_decay = 0.05;
            c.warmup_steps = 3;
            c.clip_norm = clip == 0 ? 0 : clip == 1 ? 1.0 : 1e6; /* off, active, above the norm */
            compare(&c, 1 + clip);
        }
}

static void test_not_finite(void **state) {
    (void)state;
    ec_backend *be = NULL;
    ec_optimizer *o = NULL;
    ec_optimizer_config c = ec__optimizer_defaults();
    float p[3] = {1, 2, 3}, g[3] = {0, NAN, 0};
    CHECK_OK(ec__backend_open("cpu", 1, &be));
    CHECK_OK(ec__optimizer_new(be, &c, 3, &o));
    CHECK_ERROR(ec__optimizer_step(o, 4, p, g, NULL), EC_ERR_DATA, "gradient of step 4 is not finite");
    assert_true(p[0] == 1 && p[1] == 2 && p[2] == 3);
    assert_true(o->exp_avg[0] == 0 && o->exp_avg_sq[1] == 0);
    ec__optimizer_free(o);
    be->close(be);
}

typedef struct recorded_update {
    ec_optimizer *optimizer;
    float *p;
    const float *g;
} recorded_update;

static ec_status enqueue_update(void *arg) {
    const recorded_update *u = arg;
    return ec__optimizer_enqueue(u->optimizer, u->p, u->g);
}

/* Recorded once and replayed with other numbers: the same bits as by calls. */
static void test_recorded(void **state) {
    (void)state;
    enum { N = 1000 };
    ec_backend *be = NULL;
    ec_optimizer *called = NULL, *replayed = NULL;
    ec_recording *recording = NULL;
    ec_optimizer_config c = ec__optimizer_defaults();
    float p[2][N], g[N];
    c.warmup_steps = 5;
    c.clip_norm = 0.5;
    for (int i = 0; i < 2; i++) test_fill(p[i], N, 1);
    CHECK_OK(ec__backend_open("cpu", 2, &be));
    CHECK_OK(ec__optimizer_new(be, &c, N, &called));
    CHECK_OK(ec__optimizer_new(be, &c, N, &replayed));
    recorded_update u = {replayed, p[1], g};
    CHECK_OK(be->record(be, enqueue_update, &u, &recording));
    for (int64_t step = 0; step < 4; step++) {
        double norms[2];
        test_fill(g, N, 10 + (uint64_t)step);
        CHECK_OK(ec__optimizer_step(called, step, p[0], g, &norms[0]));
        CHECK_OK(ec__optimizer_begin(replayed, step, 0));
        CHECK_OK(be->replay(be, recording));
        CHECK_OK(ec__optimizer_tell(replayed, 0));
        CHECK_OK(be->synchronize(be));
        CHECK_OK(ec__optimizer_result(replayed, 0, &norms[1]));
        assert_true(norms[0] == norms[1]);
        assert_memory_equal(p[0], p[1], sizeof p[0]);
    }
    be->recording_free(be, recording);
    ec__optimizer_free(called);
    ec__optimizer_free(replayed);
    be->close(be);
}

static void test_bad_settings(void **state) {
    (void)state;
    ec_backend *be = NULL;
    ec_optimizer *o = NULL;
    CHECK_OK(ec__backend_open("cpu", 1, &be));
    const struct {
        const char *name;
        size_t offset;
        double value;
    } bad[] = {
        {"learning_rate", offsetof(ec_optimizer_config, learning_rate), 0},
        {"learning_rate", offsetof(ec_optimizer_config, learning_rate), NAN},
        {"beta1", offsetof(ec_optimizer_config, beta1), 1},
        {"beta2", offsetof(ec_optimizer_config, beta2), -0.1},
        {"eps", offsetof(ec_optimizer_config, eps), 0},
        {"weight_decay", offsetof(ec_optimizer_config, weight_decay), -1},
        {"clip_norm", offsetof(ec_optimizer_config, clip_norm), -1},
        {"final_fraction", offsetof(ec_optimizer_config, final_fraction), 2},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ec_optimizer_config c = ec__optimizer_defaults();
        memcpy((char *)&c + bad[i].offset, &bad[i].value, sizeof(double));
        CHECK_ERROR(ec__optimizer_new(be, &c, 8, &o), EC_ERR_CONFIG, bad[i].name);
    }
    ec_optimizer_config c = ec__optimizer_defaults();
    c.schedule = EC_SCHEDULE_COSINE;
    c.warmup_steps = c.total_steps = 10;
    CHECK_ERROR(ec__optimizer_new(be, &c, 8, &o), EC_ERR_CONFIG, "total_steps");
    assert_null(o);
    be->close(be);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_schedules), cmocka_unit_test(test_updates),
                                       cmocka_unit_test(test_not_finite), cmocka_unit_test(test_recorded),
                                       cmocka_unit_test(test_bad_settings)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
