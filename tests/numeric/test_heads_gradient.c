/* Training forward and backward of the heads, with dropout, against an independent implementation in double precision:
 * embeddings directly, every single gradient by central differences of L = sum of c . z with random c. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "nn/heads_train.h"
#include "support.h"

enum { ROWS = 13, MOST = 16, STEP = 3, SEED = 21 }; /* MOST: no layer is wider */

typedef double matrix[ROWS][MOST];

typedef struct model {
    const ec_heads *heads;
    double *param; /* flat, state-dict layout of each tensor */
    float *x[EC_MODALITIES];
    float *c[EC_MODALITIES][EC_EMBEDDINGS];
} model;

static bool kept(float dropout, int32_t layer, int32_t row, int32_t column) {
    uint32_t four[4];
    ec__rng_block(SEED, EC_RNG_DROPOUT, STEP, (uint64_t)layer << 32 | (uint64_t)row, (uint32_t)column / 8, four);
    uint32_t number = four[column % 8 / 2] >> (column % 2 ? 16 : 0) & 0xffff;
    return number >= (uint32_t)lrint(65536.0 * dropout);
}

static void linear(const double *weight, const double *bias, int32_t in, int32_t out, const matrix x, matrix y) {
    for (int i = 0; i < ROWS; i++)
        for (int32_t o = 0; o < out; o++) {
            y[i][o] = bias[o];
            for (int32_t k = 0; k < in; k++) y[i][o] += weight[o * in + k] * x[i][k];
        }
}

static void batch_norm(const double *gamma, const double *beta, int32_t width, matrix h) {
    for (int32_t j = 0; j < width; j++) {
        double mean = 0, var = 0;
        for (int i = 0; i < ROWS; i++) mean += h[i][j] / ROWS;
        for (int i = 0; i < ROWS; i++) var += (h[i][j] - mean) * (h[i][j] - mean) / ROWS;
        for (int i = 0; i < ROWS; i++) h[i][j] = (h[i][j] - mean) / sqrt(var + 1e-5) * gamma[j] + beta[j];
    }
}

static void normalise(int32_t width, matrix z) {
    for (int i = 0; i < ROWS; i++) {
        double sum = 0;
        for (int32_t j = 0; j < width; j++) sum += z[i][j] * z[i][j];
        for (int32_t j = 0; j < width; j++) z[i][j] /= fmax(sqrt(sum), 1e-12);
    }
}

static void projector(const model *m, int32_t number, const matrix x, matrix y) {
    const ec_heads *heads = m->heads;
    const ec_projector *p = &heads->projector[number];
    const ec_param *item = heads->params.items;
    const double *at = m->param;
    float dropout = heads->config.dropout;
    double keep = 1 - lrint(65536.0 * dropout) / 65536.0;
    matrix h;
    linear(at + item[p->weight0].offset, at + item[p->bias0].offset, p->in, p->hidden, x, h);
    batch_norm(at + item[p->gamma].offset, at + item[p->beta].offset, p->hidden, h);
    for (int i = 0; i < ROWS; i++)
        for (int32_t j = 0; j < p->hidden; j++) h[i][j] = h[i][j] > 0 && kept(dropout, number, i, j) ? h[i][j] / keep : 0;
    linear(at + item[p->weight4].offset, at + item[p->bias4].offset, p->hidden, p->out, h, y);
}

/* Embedding e of a modality. */
static void embed(const model *m, ec_modality modality, int32_t e, matrix z) {
    const ec_heads_config *c = &m->heads->config;
    int32_t in = ec__heads_input_dim(c, modality);
    matrix x, base;
    for (int i = 0; i < ROWS; i++)
        for (int32_t j = 0; j < in; j++) x[i][j] = m->x[modality][i * in + j];
    if (c->normalize_inputs) normalise(in, x);
    if (c->multi_task) {
        projector(m, (int32_t)modality, x, base);
        projector(m, EC_MODALITIES + EC_EMBEDDINGS * (int32_t)modality + e, base, z);
    } else {
        projector(m, (int32_t)modality, x, z);
    }
    normalise(c->output_dim, z);
}

static double objective(const model *m) {
    double sum = 0;
    matrix z;
    int32_t width = m->heads->config.output_dim;
    for (ec_modality modality = 0; modality < EC_MODALITIES; modality++)
        for (int32_t e = 0; e < ec__heads_embeddings(&m->heads->config); e++) {
            embed(m, modality, e, z);
            for (int i = 0; i < ROWS; i++)
                for (int32_t j = 0; j < width; j++) sum += m->c[modality][e][i * width + j] * z[i][j];
        }
    return sum;
}

static void check_embeddings(const model *m, const ec_heads_pass *pass) {
    int32_t width = m->heads->config.output_dim;
    double ref[ROWS * MOST];
    matrix z;
    for (ec_modality modality = 0; modality < EC_MODALITIES; modality++)
        for (int32_t e = 0; e < ec__heads_embeddings(&m->heads->config); e++) {
            embed(m, modality, e, z);
            for (int i = 0; i < ROWS; i++) memcpy(ref + i * width, z[i], (size_t)width * sizeof *ref);
            test_limit("embedding", test_compare(ec__heads_z(pass, modality, e), ref, ROWS * width).abs, 1e-5);
        }
}

static void check_gradients(const model *m, const float *grad) {
    for (int32_t i = 0; i < m->heads->params.count; i++) {
        const ec_param *p = &m->heads->params.items[i];
        double ref[MOST * MOST];
        float got[MOST * MOST];
        ec__param_export(p, grad, got);
        for (int64_t j = 0; j < p->count; j++) {
            double *at = &m->param[p->offset + j], value = *at, h = 1e-6;
            *at = value + h;
            double up = objective(m);
            *at = value - h;
            double down = objective(m);
            *at = value;
            ref[j] = (up - down) / (2 * h);
        }
        test_error e = test_compare(got, ref, p->count);
        if (p->zero_gradient) {
            test_limit(p->name, e.ref_max, 1e-7);
            for (int64_t j = 0; j < p->count; j++) assert_true(got[j] == 0);
        } else {
            test_limit(p->name, e.rel_l2, 1e-5);
        }
    }
}

/* Random inputs, parameters and gradients of embeddings. */
static void fill_model(model *m, ec_heads *heads, ec_heads_pass *pass) {
    const ec_heads_config *c = &heads->config;
    float state[MOST * MOST];
    m->heads = heads;
    m->param = calloc((size_t)heads->params.total, sizeof *m->param);
    for (int32_t i = 0; i < heads->params.count; i++) {
        const ec_param *p = &heads->params.items[i];
        test_fill(state, p->count, 100 + (uint64_t)i);
        if (strstr(p->name, ".1.weight"))
            for (int64_t j = 0; j < p->count; j++) state[j] += 1.5f; /* a scale of either sign would do as well */
        CHECK_OK(ec__heads_import_param(heads, i, state));
        for (int64_t j = 0; j < p->count; j++) m->param[p->offset + j] = state[j];
    }
    for (ec_modality modality = 0; modality < EC_MODALITIES; modality++) {
        int32_t in = ec__heads_input_dim(c, modality);
        m->x[modality] = calloc(ROWS * (size_t)in, sizeof(float));
        test_fill(m->x[modality], ROWS * in, 50 + (uint64_t)modality);
        for (int32_t e = 0; e < ec__heads_embeddings(c); e++) {
            m->c[modality][e] = ec__heads_grad_z(pass, modality, e);
            test_fill(m->c[modality][e], ROWS * c->output_dim, 60 + (uint64_t)(2 * (int32_t)modality + e));
        }
    }
}

static void check(bool multi_task, bool normalize, float dropout, int32_t accumulate) {
    const ec_heads_config config = {.multi_task = multi_task, .image_dim = 9, .audio_dim = 7, .hidden_dim = 11,
                                    .base_output_dim = 6, .output_dim = 5, .dropout = dropout,
                                    .normalize_inputs = normalize};
    const ec_heads_plan plan = {.global_rows = ROWS, .reproducible = true, .shards = 3, .accumulate = accumulate,
                                .seed = SEED};
    ec_backend *be = NULL;
    ec_comm *comm = NULL;
    ec_heads *heads = NULL;
    ec_heads_pass *pass = NULL;
    model m = {0};
    CHECK_OK(ec__backend_open("cpu", 2, &be));
    CHECK_OK(ec__comm_open("self", &comm));
    CHECK_OK(ec__heads_new(be, &config, 1, &heads));
    CHECK_OK(ec__heads_pass_new(heads, comm, &plan, &pass));
    fill_model(&m, heads, pass);
    float *grad = malloc((size_t)heads->params.total * sizeof *grad);
    memset(grad, 0xff, (size_t)heads->params.total * sizeof *grad);
    CHECK_OK(ec__heads_begin(pass, STEP, 0));
    CHECK_OK(ec__heads_forward(pass, (const float *const *)m.x, NULL, NULL));
    check_embeddings(&m, pass);
    CHECK_OK(ec__heads_backward(pass, grad));
    check_gradients(&m, grad);
    for (int32_t i = 0; i + 1 < heads->params.count; i++) /* gaps */
        for (int64_t j = heads->params.items[i].offset + heads->params.items[i].count;
             j < heads->params.items[i + 1].offset; j++)
            assert_true(grad[j] == 0);
    free(grad), free(m.param), free(m.x[0]), free(m.x[1]);
    ec__heads_pass_free(pass);
    ec__heads_free(heads);
    ec__comm_close(comm);
    be->close(be);
}

static void test_gradients(void **state) {
    (void)state;
    for (int multi = 0; multi < 2; multi++)
        for (int normalize = 0; normalize < 2; normalize++)
            for (int32_t accumulate = 1; accumulate <= 3; accumulate += 2) {
                check(multi, normalize, 0.f, accumulate);
                check(multi, normalize, 0.3f, accumulate);
            }
}

/* Of many draws a share of the asked size is dropped, another in every row, step and layer. */
static void test_dropout_rate(void **state) {
    (void)state;
    int64_t dropped = 0, same = 0, count = 0;
    for (int32_t row = 0; row < 500; row++)
        for (int32_t j = 0; j < 64; j++, count++) {
            bool here = kept(0.1f, 0, row, j);
            dropped += !here;
            same += !here && !kept(0.1f, 1, row, j);
        }
    test_limit("share dropped", fabs((double)dropped / (double)count - 0.1), 0.006);
    test_limit("share dropped in two layers", fabs((double)same / (double)count - 0.01), 0.003);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_gradients), cmocka_unit_test(test_dropout_rate)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
