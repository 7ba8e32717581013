/* One allocation carved into many arrays.
 *
 * The same carving code runs twice: first over an arena without memory, which only counts, then over the real one:
 *
 *     ec_arena plan = ec__arena_counting();
 *     place_activations(&plan, shape, NULL);
 *     void *memory = allocate(ec__arena_used(&plan));
 *     ec_arena arena = ec__arena_over(memory, ec__arena_used(&plan));
 *     place_activations(&arena, shape, &activations);
 *
 * The memory may belong to any back end: the arena computes addresses and never dereferences them. */
#ifndef EC_CORE_ARENA_H
#define EC_CORE_ARENA_H

#include <stddef.h>

enum { EC_ARENA_ALIGN = 64 }; /* one cache line, one AVX-512 register */

typedef struct ec_arena {
    char *base; /* NULL: counts only */
    size_t size;
    size_t used;
} ec_arena;

ec_arena ec__arena_counting(void);
ec_arena ec__arena_over(void *base, size_t size);

/* Next aligned piece of count elements of element bytes each. A counting arena returns NULL. Running past the end, or a
 * product that overflows, is a bug of the caller and asserts. */
void *ec__arena_take(ec_arena *arena, size_t count, size_t element);

/* Bytes taken so far, alignment included. */
size_t ec__arena_used(const ec_arena *arena);

#endif
