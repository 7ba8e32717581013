/* Any bytes as a manifest: an error or a manifest whose promises hold, never a crash. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "media/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

static void require(int holds) {
    if (!holds) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
    ec_manifest *m = NULL;
    ec_status status = ec__manifest_parse(bytes, count, "fuzz.csv", "folder", &m);
    if (status != EC_OK) {
        require(status == EC_ERR_DATA && m == NULL && strncmp(ec_error_last()->text, "fuzz.csv:", 9) == 0);
        return 0;
    }
    require(m->count > 0 && m->classes > 0);
    for (int32_t c = 1; c < m->classes; c++) require(strcmp(m->class_name[c - 1], m->class_name[c]) < 0);
    for (int64_t i = 0; i < m->count; i++) {
        const ec_manifest_entry *e = &m->entry[i];
        require(e->label == m->class_name[e->label_index] && *e->label && *e->path);
        require(e->start_s >= 0 && e->end_s > e->start_s && (i == 0 || e->line > m->entry[i - 1].line));
    }
    ec__manifest_free(m);
    return 0;
}
