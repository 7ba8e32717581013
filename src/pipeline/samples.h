/* The samples of one modality as the configuration wants them: a manifest whose labels were translated and turned into
 * numbers in a list of classes that both modalities share. */
#ifndef EC_PIPELINE_SAMPLES_H
#define EC_PIPELINE_SAMPLES_H

#include "cache/cache_writer.h"
#include "config/config.h"
#include "media/manifest.h"
#include "nn/heads.h"
#include "pipeline/featurize.h"

typedef struct ec_samples {
    ec_manifest *manifest;
    int64_t count;          /* entries of the manifest whose label is a class */
    ec_media_item *item;    /* (count) paths borrowed from the manifest */
    char **id;              /* (count) path as it stands in the file system, with the cut of a recording */
    int32_t *label;         /* (count) */
    uint8_t *split;         /* (count) ec_split; train where the manifest has no such column */
    const char **class_name; /* (class_count) owned: owned_names of them */
    int32_t class_count, owned_names;
} ec_samples;

/* Classes are dataset.class_names, or where that is empty the sorted labels of both manifests, those of images after
 * dataset.image_label_map. EC_ERR_DATA for a label that is none of dataset.class_names (naming line and nearest class;
 * such samples are left out instead where dataset.ignore_other_labels is set), and for what ec__manifest_read says. */
ec_status ec__samples_read(const ec_config *config, ec_modality modality, ec_samples *out);
void ec__samples_release(ec_samples *samples);

/* Entry number index of a manifest as an item to read. Borrows its path. */
ec_media_item ec__media_item_of(const ec_manifest_entry *entry, int64_t index);

/* What an entry is called in caches and indices: its path, for a part of a recording with the cut behind it in the
 * notation of W3C media fragments ("song.ogg#t=10,22"). Owned by the caller. */
ec_status ec__media_item_id(const ec_manifest_entry *entry, char **out);

#endif
