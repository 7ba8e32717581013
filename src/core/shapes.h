/* The letters that stand for sizes, everywhere in this code base.
 *
 *   G  rows of the global batch, per modality          B  rows of the global batch on this rank (G / ranks)
 *   V  virtual shards of the global batch              S  rows of one virtual shard (G / V)
 *   D  width of an embedding                           C  classes, or channels of a map (each use says which)
 *   T  time (frames or samples)                        H W  height and width
 *   M N K  rows, columns and inner size of a matrix product; K alone: number of items retrieved
 *
 * A count that one rank holds is int32_t; a count of the whole run is int64_t; a number of bytes is size_t. */
#ifndef EC_CORE_SHAPES_H
#define EC_CORE_SHAPES_H

#include <stdint.h>

#endif
