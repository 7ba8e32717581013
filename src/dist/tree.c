#include "dist/tree.h"

#include <string.h>

/* Floats that ec__tree_sum_to takes through the whole tree at a time: the partial sums of a path stay in the
 * first-level cache. */
enum { BLOCK = 512 };

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

static void sum_block(const float *leaves, int64_t stride, int32_t leaf_count, int64_t count, float *restrict out) {
    float sum[BLOCK];
    int32_t left = leaf_count / 2;
    const float *right = leaves + left * stride;
    if (leaf_count == 1) {
        if (out != leaves) memcpy(out, leaves, (size_t)count * sizeof *out);
        return;
    }
    sum_block(leaves, stride, left, count, out);
    if (leaf_count - left > 1) {
        sum_block(right, stride, leaf_count - left, count, sum);
        right = sum;
    }
    add(out, right, count);
}

void ec__tree_sum_to(const float *leaves, int64_t stride, int32_t leaf_count, int64_t count, float *out) {
    for (int64_t at = 0; at < count; at += BLOCK)
        sum_block(leaves + at, stride, leaf_count, count - at < BLOCK ? count - at : BLOCK, out + at);
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
