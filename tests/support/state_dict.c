#include "state_dict.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME = 256 };

typedef struct storage {
    char (*text)[NAME]; /* the names as read */
    char **name;
    test_array *array;
    int32_t count;
} storage;

static void count_one(hid_t group, const char *name, void *arg) {
    (void)group, (void)name;
    ++*(int32_t *)arg;
}

static void read_one(hid_t group, const char *name, void *arg) {
    storage *s = arg;
    snprintf(s->text[s->count], NAME, "%s", name);
    s->name[s->count] = s->text[s->count];
    s->array[s->count++] = test_h5_f32(group, name);
}

static ec_status info(void *arg, int32_t index, ec_tensor_info *out) {
    const storage *s = arg;
    const test_array *a = &s->array[index];
    *out = (ec_tensor_info){.name = s->name[index], .rank = a->rank};
    for (int i = 0; i < a->rank; i++) out->dim[i] = a->dim[i];
    return EC_OK;
}

static ec_status read_array(void *arg, int32_t index, float *into) {
    const test_array *a = &((const storage *)arg)->array[index];
    memcpy(into, a->f32, sizeof(float) * (size_t)a->count);
    return EC_OK;
}

test_state_dict test_state_dict_read(hid_t group) {
    int32_t count = 0;
    storage *s = calloc(1, sizeof *s);
    assert_non_null(s);
    test_h5_each(group, count_one, &count);
    s->text = calloc((size_t)count, sizeof *s->text);
    s->name = calloc((size_t)count, sizeof *s->name);
    s->array = calloc((size_t)count, sizeof *s->array);
    test_h5_each(group, read_one, s);
    return (test_state_dict){
        .source = {.origin = "state_dict", .count = count, .info = info, .read = read_array, .arg = s},
        .name = s->name, .array = s->array, .storage = s};
}

void test_state_dict_release(test_state_dict *dict) {
    storage *s = dict->storage;
    for (int32_t i = 0; i < s->count; i++) test_array_release(&s->array[i]);
    free(s->text);
    free(s->name);
    free(s->array);
    free(s);
}

void test_state_dict_prefix(test_state_dict *dict, const char *prefix) {
    storage *s = dict->storage;
    for (int32_t i = 0; i < s->count; i++) {
        char longer[2 * NAME];
        snprintf(longer, sizeof longer, "%s%s", prefix, s->text[i]);
        assert_true(strlen(longer) < NAME);
        memcpy(s->text[i], longer, strlen(longer) + 1);
    }
}

int32_t test_state_dict_find(const test_state_dict *dict, const char *name) {
    for (int32_t i = 0; i < dict->source.count; i++)
        if (strcmp(dict->name[i], name) == 0) return i;
    fail_msg("no tensor %s", name);
    return -1;
}
