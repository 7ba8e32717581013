/* "Did you mean ...?": the known word that a misspelt one is closest to. */
#ifndef EC_CORE_NEAREST_H
#define EC_CORE_NEAREST_H

#include <stddef.h>

enum { EC_NEAREST_LONGEST = 63 }; /* longer words are not compared */

/* Number of insertions, deletions, substitutions and swaps of neighbours that turn a into b (optimal string alignment;
 * Damerau, "A technique for computer detection and correction of spelling errors", CACM 1964). Upper and lower case are
 * the same. A word longer than EC_NEAREST_LONGEST is infinitely far: SIZE_MAX. */
size_t ec__edit_distance(const char *a, const char *b);

/* The first of the closest words, or NULL where even that one differs in more than a third of its letters. A word that
 * begins with the whole of the misspelt one (of three letters or more) counts as close. words may hold NULLs. */
const char *ec__nearest(const char *word, const char *const *words, size_t count);

#endif
