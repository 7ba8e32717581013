/* A small synthesizer: notes and drums added onto a stereo track, and effects over the whole of it. */
#ifndef EC_DATA_DEMO_SYNTH_H
#define EC_DATA_DEMO_SYNTH_H

#include <stdint.h>

#include "core/error.h"
#include "core/rng.h"

typedef enum demo_instrument {
    DEMO_PIANO,
    DEMO_PLUCK,   /* guitar, pizzicato */
    DEMO_BELL,
    DEMO_FLUTE,
    DEMO_STRINGS,
    DEMO_REED,    /* bassoon, clarinet */
    DEMO_LEAD,    /* bright saw of electronic dance music */
    DEMO_POWER,   /* distorted guitar */
    DEMO_SHRIEK,  /* high dissonant strings */
    DEMO_BASS,
    DEMO_INSTRUMENTS,
} demo_instrument;

typedef enum demo_drum { DEMO_KICK, DEMO_SNARE, DEMO_HAT, DEMO_WOOD, DEMO_SHAKER, DEMO_BOOM } demo_drum;

typedef struct demo_track {
    int32_t rate;         /* samples a second */
    int64_t count;        /* samples a channel */
    float *left, *right;  /* owned */
    float *table[DEMO_INSTRUMENTS][6]; /* one cycle with up to 2^level partials; made when first used, owned */
} demo_track;

ec_status demo_track_new(int32_t rate, double seconds, demo_track *out);
void demo_track_free(demo_track *track); /* accepts a zeroed one */

typedef struct demo_note {
    demo_instrument instrument;
    double start, length; /* seconds; the sound may ring on after length */
    float pitch;          /* MIDI number: 69 is 440 Hz */
    float velocity;       /* 0 to 1 */
    float pan;            /* -1 left to 1 right */
    float slide;          /* semitones by which the note starts too high (or, negative, too low) */
} demo_note;

/* Parts that lie outside the track are left out. EC_ERR_MEMORY. */
ec_status demo_play(demo_track *track, const demo_note *note);
void demo_hit(demo_track *track, demo_drum drum, double start, float velocity, ec_rng *rng);

void demo_hiss(demo_track *track, float level, ec_rng *rng);
void demo_drive(demo_track *track, float gain);         /* soft clipping: more of it, more harmonics */
void demo_lowpass(demo_track *track, float hz);         /* 12 dB an octave */
ec_status demo_reverb(demo_track *track, float amount, float seconds);
void demo_fade(demo_track *track, double in_s, double out_s);
void demo_level(demo_track *track, float rms_db);       /* to this RMS level below full scale, peaks rounded off */

#endif
