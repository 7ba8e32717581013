/* The positives of the SupCon loss: one task a class, sums in double precision over the class's rows in ascending
 * order. */
#include <string.h>

#include "compute/cpu/supcon.h"

typedef struct job {
    ec_supcon_plan plan;
    const ec_supcon_problem *problem;
    const ec_supcon_classes *classes;
    const double *coefficient; /* (4) */
    double *positive;          /* (4, B) */
    float *const *grad;
} job;

/* The rows of one class in one modality. */
typedef struct members {
    const int32_t *order; /* as stored: music rows have G added */
    int32_t count;
} members;

static bool any_owned(const ec_supcon_problem *p, const members *m, int64_t base) {
    const int64_t first = base + p->first;
    return m->count > 0 && m->order[0] < first + p->rows && m->order[m->count - 1] >= first;
}

static void sum_rows(const job *j, const members *m, int32_t modality, double *sum) {
    const ec_supcon_problem *p = j->problem;
    memset(sum, 0, (size_t)p->dim * sizeof *sum);
    for (int32_t i = 0; i < m->count; i++)
        j->plan.kernel->add_to_sum(sum, p->z[modality] + (m->order[i] - modality * p->global_rows) * p->dim, p->dim);
}

/* Own rows of one modality: mine are the rows of its class there, own_sum their sum; others those of the other one. */
static void do_rows(const job *j, int32_t modality, const members *mine, const double *own_sum, const members *others,
                    const double *other_sum, float *towards) {
    const ec_supcon_problem *p = j->problem;
    const int32_t dim = p->dim;
    const int32_t intra = ec__supcon_direction(modality, modality);
    const int32_t cross = ec__supcon_direction(modality, 1 - modality),
                  back = ec__supcon_direction(1 - modality, modality);
    const bool has_intra = mine->count > 1, has_cross = others->count > 0;
    /* As an anchor z_i pulls towards the mean of its positives; as a positive it is pulled by every anchor of its
     * class. */
    const double by_intra = has_intra ? 2 * j->coefficient[intra] / (mine->count - 1) : 0;
    const double by_cross =
        mine->count > 0 && has_cross ? j->coefficient[cross] / others->count + j->coefficient[back] / mine->count : 0;
    for (int32_t k = 0; k < dim; k++) towards[k] = (float)(by_intra * own_sum[k] + by_cross * other_sum[k]);
    for (int32_t i = 0; i < mine->count; i++) {
        const int64_t row = mine->order[i] - modality * p->global_rows, own = row - p->first;
        if (own < 0 || own >= p->rows) continue;
        const float *z = p->z[modality] + row * dim;
        double dots[3];
        j->plan.kernel->class_dots(z, own_sum, other_sum, dim, dots);
        j->plan.kernel->pull(j->grad[modality] + own * dim, z, (float)by_intra, towards, dim);
        j->positive[intra * (ptrdiff_t)p->rows + own] = has_intra ? (dots[0] - dots[2]) / (mine->count - 1) : 0;
        j->positive[cross * (ptrdiff_t)p->rows + own] = has_cross ? dots[1] / others->count : 0;
    }
}

static ec_status class_task(void *arg, int32_t c, ec_stream *stream) {
    const job *j = arg;
    const ec_supcon_problem *p = j->problem;
    const ec_supcon_classes *classes = j->classes;
    const members image = {classes->order + classes->start[c], classes->music[c] - classes->start[c]};
    const members music = {classes->order + classes->music[c], classes->start[c + 1] - classes->music[c]};
    if (!any_owned(p, &image, 0) && !any_owned(p, &music, p->global_rows)) return EC_OK;
    const ec_supcon_work *work = &j->plan.work[stream->worker];
    double *image_sum = work->class_sum, *music_sum = image_sum + p->dim;
    sum_rows(j, &image, 0, image_sum);
    sum_rows(j, &music, 1, music_sum);
    do_rows(j, 0, &image, image_sum, &music, music_sum, work->towards);
    do_rows(j, 1, &music, music_sum, &image, image_sum, work->towards);
    return EC_OK;
}

ec_status ec__cpu_supcon_positives(ec_backend *be, const ec_supcon_problem *problem, const ec_supcon_classes *classes,
                                   const double coefficient[EC_SUPCON_DIRECTIONS], const ec_supcon_rows *own,
                                   float *const grad[2]) {
    job j = {.plan = ec__supcon_plan_of(be, problem),
             .problem = problem,
             .classes = classes,
             .coefficient = coefficient,
             .positive = own->positive,
             .grad = grad};
    EC_RETURN_IF(be->for_each(be, *classes->count, class_task, &j));
    return EC_OK;
}
