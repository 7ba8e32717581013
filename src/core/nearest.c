#include "core/nearest.h"

#include <stdint.h>
#include <string.h>
#include <strings.h>

static int lower(char c) { return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c; }

static size_t min_size(size_t a, size_t b) { return a < b ? a : b; }

size_t ec__edit_distance(const char *a, const char *b) {
    size_t length_a = strlen(a), length_b = strlen(b);
    if (length_a > EC_NEAREST_LONGEST || length_b > EC_NEAREST_LONGEST) return SIZE_MAX;
    /* row[i % 3][j] is the distance between the first i letters of a and the first j of b. */
    size_t row[3][EC_NEAREST_LONGEST + 1];
    for (size_t j = 0; j <= length_b; j++) row[0][j] = j;
    for (size_t i = 1; i <= length_a; i++) {
        size_t *now = row[i % 3], *last = row[(i + 2) % 3], *before = row[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= length_b; j++) {
            int x = lower(a[i - 1]), y = lower(b[j - 1]);
            now[j] = min_size(min_size(last[j] + 1, now[j - 1] + 1), last[j - 1] + (x != y));
            if (i > 1 && j > 1 && x == lower(b[j - 2]) && lower(a[i - 2]) == y)
                now[j] = min_size(now[j], before[j - 2] + 1);
        }
    }
    return row[length_a % 3][length_b];
}

const char *ec__nearest(const char *word, const char *const *words, size_t count) {
    const char *best = NULL;
    size_t best_distance = SIZE_MAX, length = strlen(word);
    for (size_t i = 0; i < count; i++) {
        if (!words[i]) continue;
        size_t distance = ec__edit_distance(word, words[i]);
        size_t limit = (strlen(words[i]) + 2) / 3;
        if (length >= 3 && strncasecmp(word, words[i], length) == 0) distance = min_size(distance, 1);
        if (distance <= limit && distance < best_distance) {
            best = words[i];
            best_distance = distance;
        }
    }
    return best;
}
