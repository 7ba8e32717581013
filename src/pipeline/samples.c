#include "pipeline/samples.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/log.h"
#include "core/nearest.h"

static int compare_text(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The class that an image's label stands for: "from=to" in the map, else the label itself. */
static const char *translate(const ec_text_list *map, const char *label) {
    size_t length = strlen(label);
    for (int32_t i = 0; i < map->count; i++)
        if (strncmp(map->item[i], label, length) == 0 && map->item[i][length] == '=') return map->item[i] + length + 1;
    return label;
}

static const char *class_of(const ec_config *config, ec_modality modality, const char *label) {
    return modality == EC_IMAGE ? translate(&config->dataset.image_label_map, label) : label;
}

/* Appends the classes of a manifest to names (count so far). */
static void collect(const ec_config *config, ec_modality modality, const ec_manifest *manifest, const char **names,
                    int32_t *count) {
    for (int32_t c = 0; c < manifest->classes; c++)
        names[(*count)++] = class_of(config, modality, manifest->class_name[c]);
}

/* The shared list of classes, sorted and without doubles. Its strings are those of config, own or other. */
static ec_status list_classes(const ec_config *config, ec_modality modality, const ec_manifest *own,
                              const ec_manifest *other, ec_samples *s) {
    const ec_text_list *given = &config->dataset.class_names;
    int32_t most = given->count + own->classes + (other ? other->classes : 0), count = 0;
    const char **names = malloc(sizeof *names * (size_t)most);
    if (!names) return EC_ERROR(EC_ERR_MEMORY, "no memory for %d class names", most);
    if (given->count > 0) {
        for (; count < given->count; count++) names[count] = given->item[count];
    } else {
        collect(config, modality, own, names, &count);
        if (other) collect(config, modality == EC_IMAGE ? EC_MUSIC : EC_IMAGE, other, names, &count);
        qsort(names, (size_t)count, sizeof *names, compare_text);
        int32_t kept = 0;
        for (int32_t i = 0; i < count; i++)
            if (kept == 0 || strcmp(names[i], names[kept - 1]) != 0) names[kept++] = names[i];
        count = kept;
    }
    s->class_name = names;
    s->class_count = count;
    return EC_OK;
}

static int32_t find_class(const ec_samples *s, const char *name) {
    for (int32_t c = 0; c < s->class_count; c++)
        if (strcmp(s->class_name[c], name) == 0) return c;
    return -1;
}

ec_media_item ec__media_item_of(const ec_manifest_entry *entry, int64_t index) {
    return (ec_media_item){.path = entry->path,
                           .start_s = entry->start_s,
                           .end_s = isinf(entry->end_s) ? 0 : entry->end_s,
                           .index = index};
}

/* As few digits as tell the number from all others: two cuts must not have one name. */
static void format_seconds(double seconds, char *text, size_t size) {
    int digits = 15;
    do snprintf(text, size, "%.*g", digits, seconds);
    while (strtod(text, NULL) != seconds && digits++ < 17);
}

ec_status ec__media_item_id(const ec_manifest_entry *entry, char **out) {
    char start[32], end[32];
    const bool open_end = isinf(entry->end_s);
    if (entry->start_s == 0 && open_end) return ec__format(out, "%s", entry->path);
    format_seconds(entry->start_s, start, sizeof start);
    if (open_end) return ec__format(out, "%s#t=%s", entry->path, start);
    format_seconds(entry->end_s, end, sizeof end);
    return ec__format(out, "%s#t=%s,%s", entry->path, start, end);
}

static ec_status add_sample(ec_samples *s, const ec_manifest_entry *entry, int64_t index, int32_t label) {
    static const uint8_t splits[] = {[EC_MANIFEST_SPLIT_NONE] = EC_SPLIT_TRAIN,
                                     [EC_MANIFEST_SPLIT_TRAIN] = EC_SPLIT_TRAIN,
                                     [EC_MANIFEST_SPLIT_VALID] = EC_SPLIT_VALID,
                                     [EC_MANIFEST_SPLIT_TEST] = EC_SPLIT_TEST};
    s->item[s->count] = ec__media_item_of(entry, index);
    EC_RETURN_IF(ec__media_item_id(entry, &s->id[s->count]));
    s->label[s->count] = label;
    s->split[s->count] = splits[entry->split];
    s->count++;
    return EC_OK;
}

static ec_status unknown_label(const ec_samples *s, const ec_manifest_entry *entry, const char *name) {
    const char *nearest = ec__nearest(name, s->class_name, (size_t)s->class_count);
    return EC_ERROR(EC_ERR_DATA, "%s:%lld: label \"%s\" is none of dataset.class_names%s%s%s", s->manifest->name,
                    (long long)entry->line, name, nearest ? "; did you mean \"" : "", nearest ? nearest : "",
                    nearest ? "\"?" : "");
}

static ec_status fill(const ec_config *config, ec_modality modality, ec_samples *s) {
    int64_t left_out = 0;
    for (int64_t i = 0; i < s->manifest->count; i++) {
        const ec_manifest_entry *entry = &s->manifest->entry[i];
        const char *name = class_of(config, modality, entry->label);
        int32_t label = find_class(s, name);
        if (label >= 0)
            EC_RETURN_IF(add_sample(s, entry, i, label));
        else if (config->dataset.ignore_other_labels)
            left_out++;
        else
            return unknown_label(s, entry, name);
    }
    if (left_out > 0)
        EC_INFO("%s: %lld samples with labels that are none of dataset.class_names are left out", s->manifest->name,
                (long long)left_out);
    if (s->count == 0)
        return EC_ERROR(EC_ERR_DATA, "%s: no sample has a label of dataset.class_names", s->manifest->name);
    return EC_OK;
}

ec_status ec__samples_read(const ec_config *config, ec_modality modality, ec_samples *out) {
    ec_status status = EC_OK;
    ec_samples s = {0};
    ec_manifest *other = NULL;
    const char *paths[] = {[EC_IMAGE] = config->dataset.image_manifest, [EC_MUSIC] = config->dataset.audio_manifest};
    const char *other_path = paths[modality == EC_IMAGE ? EC_MUSIC : EC_IMAGE];
    EC_TRY(ec__config_require(config, modality == EC_IMAGE ? "dataset.image_manifest" : "dataset.audio_manifest",
                              "reading samples"));
    EC_TRY(ec__manifest_read(paths[modality], &s.manifest));
    if (config->dataset.class_names.count == 0 && other_path) EC_TRY(ec__manifest_read(other_path, &other));
    EC_TRY(list_classes(config, modality, s.manifest, other, &s));
    size_t count = (size_t)s.manifest->count;
    s.item = calloc(count, sizeof *s.item);
    s.id = calloc(count, sizeof *s.id);
    s.label = calloc(count, sizeof *s.label);
    s.split = calloc(count, sizeof *s.split);
    if (!s.item || !s.id || !s.label || !s.split) EC_FAIL(EC_ERR_MEMORY, "no memory for %zu samples", count);
    EC_TRY(fill(config, modality, &s));
    /* Class names may be strings of the other manifest, which goes away. */
    for (int32_t c = 0; c < s.class_count; c++) {
        char *copy = NULL;
        EC_TRY(ec__format(&copy, "%s", s.class_name[c]));
        s.class_name[c] = copy;
        s.owned_names = c + 1;
    }
    *out = s;
    memset(&s, 0, sizeof s);
done:
    ec__manifest_free(other);
    ec__samples_release(&s);
    return status;
}

void ec__samples_release(ec_samples *s) {
    for (int32_t c = 0; c < s->owned_names; c++) free((char *)s->class_name[c]);
    for (int64_t i = 0; i < s->count; i++) free(s->id[i]);
    free(s->class_name);
    free(s->item);
    free(s->id);
    free(s->label);
    free(s->split);
    ec__manifest_free(s->manifest);
    memset(s, 0, sizeof *s);
}
