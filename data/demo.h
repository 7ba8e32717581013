/* The demo data: a small labelled set of pictures and music, made from nothing but a seed.
 *
 * Labels are the six classes that the original Emo-CLIM trains on, under the names that it gives them: angry, exciting,
 * funny, happy, sad, scary (its picture labels anger, excitement, amusement, contentment, sadness and fear map to
 * these). Pictures carry an emotion by palette, shapes, texture and composition; music by scale, tempo, instruments,
 * register, articulation, percussion and loudness. Classes vary inside and overlap at their borders. Every item depends
 * on (seed, its own number) alone: the same seed gives the same bytes on the same build, with any number of threads. */
#ifndef EC_DATA_DEMO_H
#define EC_DATA_DEMO_H

#include <stdint.h>

#include "core/error.h"
#include "core/progress.h"

enum { EC_DEMO_EMOTIONS = 6 };

/* In alphabetical order, as class names are sorted elsewhere. */
typedef enum ec_demo_emotion {
    EC_DEMO_ANGRY,
    EC_DEMO_EXCITING,
    EC_DEMO_FUNNY,
    EC_DEMO_HAPPY,
    EC_DEMO_SAD,
    EC_DEMO_SCARY,
} ec_demo_emotion;

const char *ec__demo_emotion_name(ec_demo_emotion emotion);

typedef struct ec_demo_config {
    const char *folder; /* created; must not exist or be empty */
    int32_t images;     /* 0 to 100000; dealt out to the classes in turn */
    int32_t tracks;     /* 0 to 100000 */
    uint64_t seed;
    int32_t threads;    /* 0: all */
} ec_demo_config;

/* images 240, tracks 120, seed 1. */
ec_demo_config ec__demo_defaults(void);

/* Writes FOLDER/images/..., FOLDER/music/..., README.txt, and last images.csv and music.csv (path,label,split; paths
 * relative to FOLDER), so that a set that was interrupted has no manifest. progress may be NULL. EC_ERR_USAGE for
 * counts out of range or a folder with something in it, EC_ERR_IO where it cannot be written, EC_ERR_ENV where tracks
 * need FFmpeg's module and it cannot be loaded: nothing is written then. */
ec_status ec__demo_write(const ec_demo_config *config, const ec_progress *progress);

/* "train", "valid" or "test" of item number index within its class: 12, 3 and 5 of every 20. */
const char *ec__demo_split(int32_t index);

#endif
