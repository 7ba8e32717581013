#include "loss/supcon_classes.h"

#include <stdbool.h>
#include <string.h>

ec_class_sorter ec__class_sorter(int64_t global_rows, int32_t most, ec_arena *arena) {
    const size_t all = 2 * (size_t)global_rows;
    ec_class_sorter sorter = {.global_rows = global_rows, .most = most};
    sorter.order = ec__arena_take(arena, all, sizeof(int32_t));
    sorter.other = ec__arena_take(arena, all, sizeof(int32_t));
    sorter.start = ec__arena_take(arena, (size_t)most + 1, sizeof(int32_t));
    sorter.music = ec__arena_take(arena, (size_t)most, sizeof(int32_t));
    sorter.count = ec__arena_take(arena, 1, sizeof(int32_t));
    return sorter;
}

/* Sorts the permutation from by one byte of its labels, stably, into to. False, and nothing done, where all bytes are
 * equal. */
static bool sort_by_byte(const int32_t *label, const int32_t *from, int32_t *to, int32_t count, int shift) {
    int32_t place[256] = {0};
    for (int32_t i = 0; i < count; i++) place[(uint32_t)label[i] >> shift & 0xff]++;
    if (place[(uint32_t)label[0] >> shift & 0xff] == count) return false;
    for (int32_t b = 0, before = 0; b < 256; b++) {
        const int32_t here = place[b];
        place[b] = before;
        before += here;
    }
    for (int32_t i = 0; i < count; i++) to[place[(uint32_t)label[from[i]] >> shift & 0xff]++] = from[i];
    return true;
}

ec_status ec__class_sort(ec_class_sorter *s, const int32_t *label) {
    const int32_t rows = (int32_t)s->global_rows, all = 2 * rows;
    for (int32_t i = 0; i < all; i++) s->order[i] = i;
    for (int shift = 0; shift < 32; shift += 8)
        if (sort_by_byte(label, s->order, s->other, all, shift)) {
            int32_t *sorted = s->other;
            s->other = s->order;
            s->order = sorted;
        }
    int32_t count = 0, i = 0;
    while (i < all) { /* the sort was stable: images of a class precede its music */
        const int32_t value = label[s->order[i]];
        if (count == s->most)
            return EC_ERROR(EC_ERR_DATA,
                            "SupCon: the labels of a batch have more than the %d values that were announced", s->most);
        s->start[count] = i;
        while (i < all && label[s->order[i]] == value && s->order[i] < rows) i++;
        s->music[count++] = i;
        while (i < all && label[s->order[i]] == value) i++;
    }
    s->start[count] = all;
    *s->count = count;
    return EC_OK;
}
