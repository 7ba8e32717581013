#include "dist/tree.h"

static void add(float *restrict to, const float *restrict from, int64_t count) {
    for (int64_t i = 0; i < count; i++) to[i] += from[i];
}

void ec__tree_sum(float *leaves, int32_t leaf_count, int64_t count) {
    if (leaf_count <= 1) return;
    int32_t left = leaf_count / 2;
    float *right = leaves + left * count;
    ec__tree_sum(leaves, left, count);
    ec__tree_sum(right, leaf_count - left, count);
    add(leaves, right, count);
}

void ec__tree_sum_of(float *const leaf[], int32_t leaf_count, int64_t count) {
    if (leaf_count <= 1) return;
    int32_t left = leaf_count / 2;
    ec__tree_sum_of(leaf, left, count);
    ec__tree_sum_of(leaf + left, leaf_count - left, count);
    add(leaf[0], leaf[left], count);
}

bool ec__tree_aligned(int32_t leaf_count, int32_t parts) {
    if (leaf_count % parts != 0) return false;
    while (parts > 1) {
        if (parts % 2 != 0 || leaf_count % 2 != 0) return false;
        parts /= 2;
        leaf_count /= 2;
    }
    return true;
}
