/* The fixed binary tree in which sums over samples are made.
 *
 * Leaves are the virtual shards in order. A node over n > 1 leaves adds its left part, the first n/2 (rounded down), to
 * its right part. Where the number of ranks is a power of two that divides the number of leaves, every rank's leaves
 * are a whole subtree. */
#ifndef EC_DIST_TREE_H
#define EC_DIST_TREE_H

#include <stdbool.h>
#include <stdint.h>

/* Sums leaves (back to back, count floats each) into leaves[0 .. count). */
void ec__tree_sum(float *leaves, int32_t leaf_count, int64_t count);

/* The same over arrays that lie apart; the result is in leaf[0]. */
void ec__tree_sum_of(float *const leaf[], int32_t leaf_count, int64_t count);

/* The same, reading the leaves once: leaf l begins at leaves + l * stride. out (count) may be the first leaf but
 * overlaps no other. */
void ec__tree_sum_to(const float *leaves, int64_t stride, int32_t leaf_count, int64_t count, float *out);

/* Is cutting all leaves into parts equal runs the same as cutting the tree at one level? */
bool ec__tree_aligned(int32_t leaf_count, int32_t parts);

#endif
