/* A piece of music of an emotion. */
#ifndef EC_DATA_DEMO_SONG_H
#define EC_DATA_DEMO_SONG_H

#include "demo.h"
#include "demo_synth.h"

/* Composes and plays track number index of emotion, 8 to 10 seconds, into a new track that the caller frees. */
ec_status demo_song(ec_demo_emotion emotion, uint64_t seed, int32_t index, int32_t rate, demo_track *out);

#endif
