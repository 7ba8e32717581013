#include "pipeline/replace.h"

/* Draws before the candidates are gone through from the first on: enough for a class of one row in a thousand. */
enum { DRAWS = 1 << 14 };

/* Looking at a candidate's class costs nothing, asking whether it is good may read a block. */
static bool fits(const ec_row_source *from, int64_t row, int64_t wanted, bool any_class) {
    return (any_class || from->label[row] == from->label[wanted]) && from->good(from->arg, row);
}

ec_status ec__replacement(const ec_row_source *from, const int64_t *candidate, int64_t count, ec_rng *rng, int64_t row,
                          int64_t *out) {
    for (int any_class = 0; any_class < 2; any_class++) {
        for (int32_t k = 0; k < DRAWS; k++) {
            int64_t drawn = candidate[ec__rng_below(rng, (uint64_t)count)];
            if (!fits(from, drawn, row, any_class)) continue;
            *out = drawn;
            return EC_OK;
        }
        for (int64_t i = 0; i < count; i++) {
            if (!fits(from, candidate[i], row, any_class)) continue;
            *out = candidate[i];
            return EC_OK;
        }
    }
    return EC_ERROR(EC_ERR_DATA, "every one of the %lld rows that may be drawn is in a corrupt block",
                    (long long)count);
}
