#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "media/image_resize.h"

/* Keys' cubic convolution kernel with a = -0.5. The bits of the weights depend on this order of operations. */
static double cubic(double x) {
    const double a = -0.5;
    x = fabs(x);
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
    return 0;
}

static int32_t to_fixed(double weight) {
    double scaled = weight * (1 << 22);
    return (int32_t)(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
}

ec_status ec__resize_axis_init(ec_resize_axis *axis, int64_t in, int64_t out, int64_t offset, int32_t count) {
    ec_status status = EC_OK;
    ec_resize_axis a = {.count = count, .begin = in};
    double scale = (double)in / (double)out, f = scale < 1 ? 1 : scale, support = 2 * f, per_f = 1 / f;
    double widest = 2 * ceil(support) + 1;
    a.stride = (int32_t)(widest < (double)in ? widest : (double)in);
    size_t n = (size_t)count, cells = n * (size_t)a.stride;
    a.first = calloc(n, sizeof *a.first);
    a.taps = calloc(n, sizeof *a.taps);
    a.weight = calloc(cells, sizeof *a.weight);
    a.fixed = calloc(cells, sizeof *a.fixed);
    if (!a.first || !a.taps || !a.weight || !a.fixed) EC_FAIL(EC_ERR_MEMORY, "no memory for the weights of a resize");
    for (int32_t o = 0; o < count; o++) {
        double centre = ((double)(offset + o) + 0.5) * scale, sum = 0;
        int64_t from = (int64_t)(centre - support + 0.5), to = (int64_t)(centre + support + 0.5);
        if (from < 0) from = 0;
        if (to > in) to = in;
        double *w = a.weight + (size_t)o * (size_t)a.stride;
        for (int64_t x = from; x < to; x++) sum += w[x - from] = cubic(((double)x - centre + 0.5) * per_f);
        for (int64_t x = 0; x < to - from; x++) {
            if (sum != 0) w[x] /= sum;
            a.fixed[(size_t)o * (size_t)a.stride + (size_t)x] = to_fixed(w[x]);
        }
        a.first[o] = from;
        a.taps[o] = (int32_t)(to - from);
        if (from < a.begin) a.begin = from;
        if (to > a.end) a.end = to;
    }
    *axis = a;
    memset(&a, 0, sizeof a);
done:
    ec__resize_axis_release(&a);
    return status;
}

void ec__resize_axis_release(ec_resize_axis *axis) {
    free(axis->first);
    free(axis->taps);
    free(axis->weight);
    free(axis->fixed);
    memset(axis, 0, sizeof *axis);
}
