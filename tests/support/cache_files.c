#include "cache_files.h"

#include <stdio.h>
#include <stdlib.h>

#include "cache/cache_writer.h"
#include "support.h"

enum { NAME = 40 };

/* count texts "what-<number>" in one allocation: the pointers, then the texts. */
static char **numbered(const char *what, int digits, int64_t count) {
    char **list = malloc((size_t)count * (sizeof *list + NAME));
    assert_non_null(list);
    char *text = (char *)(list + count);
    for (int64_t i = 0; i < count; i++, text += NAME) {
        snprintf(text, NAME, "%s-%0*lld", what, digits, (long long)i);
        list[i] = text;
    }
    return list;
}

void test_write_cache(const char *path, const test_cache *c) {
    static const char sum[] = "00000000000000000000000000000000000000000000000000000000000000aa";
    char **id = numbered(c->modality, 7, c->rows), **name = numbered("class", 1, c->classes);
    ec_cache_build *build = NULL;
    ec_cache_part *part = NULL;
    const ec_cache_spec spec = {
        .identity = {.modality = c->modality, .encoder = "test", .encoder_sha256 = sum, .preprocessing = "{}",
                     .manifest_sha256 = sum, .dtype = c->half ? EC_H5_F16 : EC_H5_F32, .views = 1, .width = c->width},
        .rows = c->rows,
        .id = (const char *const *)id,
        .label = c->label,
        .split = c->split,
        .class_names = (const char *const *)name,
        .class_count = c->classes,
    };
    remove(path);
    CHECK_OK(ec__cache_build_begin(path, &spec, &build));
    CHECK_OK(ec__cache_part_open(path, &spec, 0, &part));
    for (int64_t r = 0; r < c->rows; r++) CHECK_OK(ec__cache_part_append(part, r, c->features + r * c->width));
    CHECK_OK(ec__cache_part_close(part));
    CHECK_OK(ec__cache_build_finish(build, NULL));
    free(id);
    free(name);
}
