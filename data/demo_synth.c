#include "demo_synth.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CYCLE = 1024, LEVELS = 6 };

static const double pi = 3.14159265358979323846;

/* How an instrument sounds. Partial k has amplitude k^-rolloff (even ones scaled by even). */
typedef struct timbre {
    float rolloff, even;
    float attack, decay, sustain, release; /* seconds; sustain: level that decay falls to */
    float vibrato, tremolo;                /* semitones; part of the level; both at 5.5 Hz */
    float detune;                          /* semitones between two voices; 0: one voice */
    float overtone;                        /* frequency ratio of a second, inharmonic voice; 0: none */
    float drive;
    float loudness;
} timbre;

static const timbre timbres[DEMO_INSTRUMENTS] = {
    [DEMO_PIANO] = {1.6f, 1, .004f, .7f, .05f, .15f, 0, 0, .03f, 0, 0, 1},
    [DEMO_PLUCK] = {1.2f, .8f, .002f, .22f, 0, .06f, 0, 0, 0, 0, 0, 1},
    [DEMO_BELL] = {2.4f, .4f, .001f, .5f, 0, .3f, 0, 0, 0, 2.76f, 0, .8f},
    [DEMO_FLUTE] = {2.6f, .6f, .06f, .3f, .8f, .1f, .15f, .1f, 0, 0, 0, .9f},
    [DEMO_STRINGS] = {1.3f, .9f, .18f, .4f, .85f, .35f, .12f, .05f, .12f, 0, 0, .7f},
    [DEMO_REED] = {.9f, .25f, .015f, .15f, .6f, .04f, .05f, 0, 0, 0, 0, .8f},
    [DEMO_LEAD] = {1, 1, .005f, .2f, .7f, .08f, 0, 0, .2f, 0, 0, .6f},
    [DEMO_POWER] = {.8f, 1, .004f, .5f, .75f, .06f, 0, 0, .1f, 0, 6, .6f},
    [DEMO_SHRIEK] = {.7f, 1, .12f, .5f, .9f, .3f, .3f, .75f, .35f, 1.06f, 0, .4f},
    [DEMO_BASS] = {1.5f, .7f, .006f, .4f, .5f, .06f, 0, 0, 0, 0, 0, 1.1f},
};

ec_status demo_track_new(int32_t rate, double seconds, demo_track *out) {
    demo_track t = {.rate = rate, .count = (int64_t)(rate * seconds)};
    t.left = calloc((size_t)t.count, sizeof *t.left);
    t.right = calloc((size_t)t.count, sizeof *t.right);
    if (!t.left || !t.right) {
        demo_track_free(&t);
        return EC_ERROR(EC_ERR_MEMORY, "no memory for a track of %g s", seconds);
    }
    *out = t;
    return EC_OK;
}

void demo_track_free(demo_track *track) {
    free(track->left);
    free(track->right);
    for (int i = 0; i < DEMO_INSTRUMENTS; i++)
        for (int level = 0; level < LEVELS; level++) free(track->table[i][level]);
    *track = (demo_track){0};
}

/* One cycle and its first sample again, for interpolation. */
static float *make_table(const timbre *s, int partials) {
    float *table = calloc(CYCLE + 1, sizeof *table), power = 0;
    if (!table) return NULL;
    for (int k = 1; k <= partials; k++) {
        float amplitude = powf((float)k, -s->rolloff) * (k % 2 ? 1 : s->even);
        power += amplitude * amplitude;
        for (int i = 0; i <= CYCLE; i++) table[i] += amplitude * (float)sin(2 * pi * k * (i % CYCLE) / CYCLE);
    }
    for (int i = 0; i <= CYCLE; i++) table[i] /= sqrtf(power);
    return table;
}

/* The richest table whose partials stay below the Nyquist frequency, or the one of at most 2^most partials. */
static ec_status find_table(demo_track *t, demo_instrument instrument, double hz, int most, const float **out) {
    int level = 0;
    while (level < most && (double)(2 << level) * hz < 0.45 * t->rate) level++;
    float **table = &t->table[instrument][level];
    if (!*table) *table = make_table(&timbres[instrument], 1 << level);
    if (!*table) return EC_ERROR(EC_ERR_MEMORY, "no memory for a wave table");
    *out = *table;
    return EC_OK;
}

static float envelope(const timbre *s, double at, double length) {
    double level = at < s->attack ? at / s->attack : s->sustain + (1 - s->sustain) * exp(-(at - s->attack) / s->decay);
    if (at > length) level *= exp(-(at - length) / (s->release / 4));
    return (float)level;
}

typedef struct voice {
    const float *bright, *dull;
    double phase, hz;
} voice;

static float next_sample(voice *v, double bend, float brightness, int32_t rate) {
    v->phase += v->hz * bend / rate;
    v->phase -= floor(v->phase);
    double at = v->phase * CYCLE;
    int i = (int)at;
    float part = (float)(at - i);
    float bright = v->bright[i] + (v->bright[i + 1] - v->bright[i]) * part;
    float dull = v->dull[i] + (v->dull[i + 1] - v->dull[i]) * part;
    return dull + (bright - dull) * brightness;
}

ec_status demo_play(demo_track *track, const demo_note *note) {
    enum { CONTROL = 32 }; /* samples for which envelope and pitch stay the same */
    const timbre *s = &timbres[note->instrument];
    voice voices[3];
    int count = 0;
    double hz = 440 * pow(2, (note->pitch - 69) / 12);
    const double ratio[3] = {1, s->detune > 0 ? pow(2, s->detune / 12) : 0, s->overtone};
    for (int i = 0; i < 3; i++) {
        if (ratio[i] == 0 || hz * ratio[i] > 0.45 * track->rate) continue;
        voice *v = &voices[count];
        *v = (voice){.hz = hz * ratio[i], .phase = 0.37 * count};
        EC_RETURN_IF(find_table(track, note->instrument, v->hz, LEVELS - 1, &v->bright));
        EC_RETURN_IF(find_table(track, note->instrument, v->hz, 1, &v->dull));
        count++;
    }
    int64_t from = (int64_t)(note->start * track->rate),
            to = from + (int64_t)((note->length + s->release) * track->rate);
    if (to > track->count) to = track->count;
    float left = sqrtf(.5f * (1 - .8f * note->pan)), right = sqrtf(.5f * (1 + .8f * note->pan)), level = 0, bright = 0;
    double bend = 1;
    for (int64_t i = from; i < to; i++) {
        if ((i - from) % CONTROL == 0) {
            double at = (double)(i - from) / track->rate, wave = sin(2 * pi * 5.5 * at);
            float shape = envelope(s, at, note->length);
            level = shape * note->velocity * s->loudness * .25f *
                    (1 - s->tremolo * (float)(.5 + .5 * sin(2 * pi * 9 * at)));
            bright = shape * (.4f + .6f * note->velocity);
            bend = pow(2, (s->vibrato * wave * fmin(at * 3, 1) + note->slide * exp(-at * 14)) / 12);
        }
        float sum = 0;
        for (int v = 0; v < count; v++) sum += next_sample(&voices[v], bend, bright, track->rate);
        if (s->drive > 0) sum = tanhf(s->drive * sum);
        if (i < 0) continue;
        track->left[i] += sum * level * left;
        track->right[i] += sum * level * right;
    }
    return EC_OK;
}

/* A drum is a falling tone and a burst of noise, each with its own decay. */
typedef struct drum_sound {
    float tone, hz, fall, tone_decay;    /* level; Hz; part of the frequency that is lost; seconds */
    float noise, noise_decay, high_pass; /* high_pass: 0 keeps low noise, near 1 only the highest */
} drum_sound;

static const drum_sound drums[] = {
    [DEMO_KICK] = {.9f, 120, .65f, .12f, .08f, .01f, 0},   [DEMO_SNARE] = {.25f, 190, .2f, .07f, .5f, .1f, .4f},
    [DEMO_HAT] = {0, 0, 0, 1, .22f, .03f, .95f},           [DEMO_WOOD] = {.5f, 900, .1f, .03f, .05f, .005f, .5f},
    [DEMO_SHAKER] = {0, 0, 0, 1, .12f, .05f, .8f},         [DEMO_BOOM] = {.9f, 60, .4f, .6f, .25f, .4f, 0},
};

void demo_hit(demo_track *track, demo_drum drum, double start, float velocity, ec_rng *rng) {
    const drum_sound *d = &drums[drum];
    int64_t from = (int64_t)(start * track->rate);
    int64_t to = from + (int64_t)(5 * fmax(d->tone > 0 ? d->tone_decay : 0, d->noise_decay) * track->rate);
    if (to > track->count) to = track->count;
    double phase = 0;
    float last = 0, tone = d->tone * velocity, noise = d->noise * velocity;
    float tone_step = expf(-1 / (d->tone_decay * (float)track->rate)),
          noise_step = expf(-1 / (d->noise_decay * (float)track->rate));
    float pitch = 1, pitch_step = expf(-1 / (.03f * (float)track->rate));
    for (int64_t i = from; i < to; i++) {
        phase += d->hz * (1 - d->fall * (1 - pitch)) / track->rate;
        float white = (float)ec__rng_u32(rng) * 0x1p-31f - 1, high = white - d->high_pass * last;
        last = white;
        float sum = tone * (float)sin(2 * pi * phase) + noise * high;
        tone *= tone_step, noise *= noise_step, pitch *= pitch_step;
        track->left[i] += .5f * sum;
        track->right[i] += .5f * sum;
    }
}
