#include "core/arena.h"

#include <assert.h>
#include <stdint.h>

ec_arena ec__arena_counting(void) { return (ec_arena){0}; }

ec_arena ec__arena_over(void *base, size_t size) { return (ec_arena){.base = base, .size = size}; }

void *ec__arena_take(ec_arena *arena, size_t count, size_t element) {
    assert(element == 0 || count <= (SIZE_MAX - EC_ARENA_ALIGN) / element);
    size_t bytes = (count * element + EC_ARENA_ALIGN - 1) / EC_ARENA_ALIGN * EC_ARENA_ALIGN;
    assert(arena->used <= SIZE_MAX - bytes);
    size_t offset = arena->used;
    arena->used += bytes;
    if (!arena->base) return NULL;
    assert(arena->used <= arena->size);
    return arena->base + offset;
}

size_t ec__arena_used(const ec_arena *arena) { return arena->used; }
