/* Classes of the global batch: labels are any integers, classes are their equal values. */
#ifndef EC_LOSS_SUPCON_CLASSES_H
#define EC_LOSS_SUPCON_CLASSES_H

#include "compute/ops_supcon.h"
#include "core/arena.h"

typedef struct ec_class_sorter {
    int64_t global_rows;
    int32_t *order, *other; /* (2G) each: the permutation and the sort's second copy */
    int32_t *start, *music; /* (2G + 1), (2G): as many as there can be classes */
} ec_class_sorter;

ec_class_sorter ec__class_sorter(int64_t global_rows, ec_arena *arena);

/* label (2G): images, then music. The result points into the sorter. */
ec_supcon_classes ec__class_sort(ec_class_sorter *sorter, const int32_t *label);

#endif
