/* Classes of the global batch: labels are any integers, classes are their equal values. */
#ifndef EC_LOSS_SUPCON_CLASSES_H
#define EC_LOSS_SUPCON_CLASSES_H

#include <stdint.h>

#include "core/arena.h"
#include "core/error.h"

typedef struct ec_class_sorter {
    int64_t global_rows;
    int32_t *order, *other; /* (2G) each: the permutation and the sort's second copy */
    int32_t *start, *music; /* (most + 1), (most) */
    int32_t *count;         /* (1) of classes */
    int32_t most;
} ec_class_sorter;

/* For labels with at most so many different values. */
ec_class_sorter ec__class_sorter(int64_t global_rows, int32_t most, ec_arena *arena);

/* label (2G): images, then music. Leaves order, start, music and count in the sorter as ec_supcon_classes describes
 * them. EC_ERR_DATA where there are more classes than the sorter is made for. */
ec_status ec__class_sort(ec_class_sorter *sorter, const int32_t *label);

#endif
