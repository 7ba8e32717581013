#include "demo_song.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

typedef enum backing { SUSTAINED, ARPEGGIO, STABS, OOMPAH, CLUSTER } backing;
typedef enum groove { NO_DRUMS, LIGHT, FOUR_TO_THE_FLOOR, ROCK, WOODEN, RARE } groove;

/* Numbers that can be mixed between two emotions, and choices that cannot. */
typedef struct style {
    float tempo[2];   /* quarter notes a minute, lowest and highest */
    float lead[2];    /* range of the melody, MIDI */
    float density;    /* probability that the melody plays on an eighth note */
    float legato;     /* length of a note as part of the way to the next */
    float leap;       /* typical step of the melody, in notes of the scale */
    float slide;      /* semitones */
    float rms_db, reverb, reverb_s, drive, lowpass, hiss;
    int scale[7];     /* semitones above the key note */
    int chords[2][4]; /* two progressions, degrees of the scale counted from 0 */
    int chord_octave; /* MIDI number of the key note's octave for chords; the bass is one or two below */
    demo_instrument lead_instrument[2], chord_instrument[2];
    backing backing;
    groove groove;
} style;

static const style styles[EC_DEMO_EMOTIONS] = {
    [EC_DEMO_ANGRY] = {{140, 178}, {50, 68}, .55f, .9f, 2.2f, 0, -9.5f, .15f, .4f, 2.5f, 6000, .004f,
                       {0, 1, 3, 5, 7, 8, 10}, {{0, 1, 0, 5}, {0, 0, 1, 6}}, 40,
                       {DEMO_POWER, DEMO_POWER}, {DEMO_POWER, DEMO_LEAD}, STABS, ROCK},
    [EC_DEMO_EXCITING] = {{138, 164}, {70, 93}, .85f, .7f, 2, 0, -12, .25f, .6f, 1.2f, 15000, .001f,
                          {0, 2, 4, 5, 7, 9, 10}, {{0, 4, 5, 3}, {5, 3, 0, 4}}, 57,
                          {DEMO_LEAD, DEMO_BELL}, {DEMO_LEAD, DEMO_STRINGS}, ARPEGGIO, FOUR_TO_THE_FLOOR},
    [EC_DEMO_FUNNY] = {{118, 160}, {58, 86}, .6f, .3f, 4.5f, 3, -19, .08f, .3f, .5f, 10000, .0005f,
                       {0, 2, 4, 6, 7, 9, 11}, {{0, 4, 0, 4}, {0, 1, 4, 0}}, 52,
                       {DEMO_REED, DEMO_BELL}, {DEMO_PLUCK, DEMO_REED}, OOMPAH, WOODEN},
    [EC_DEMO_HAPPY] = {{98, 124}, {66, 82}, .6f, .8f, 1.5f, 0, -16.5f, .15f, .5f, .5f, 11000, .0005f,
                       {0, 2, 4, 5, 7, 9, 11}, {{0, 4, 5, 3}, {0, 3, 0, 4}}, 55,
                       {DEMO_FLUTE, DEMO_PIANO}, {DEMO_PLUCK, DEMO_PIANO}, ARPEGGIO, LIGHT},
    [EC_DEMO_SAD] = {{52, 74}, {53, 70}, .32f, 1.1f, 1.2f, 0, -26, .7f, 2.2f, .5f, 2400, .0006f,
                     {0, 2, 3, 5, 7, 8, 10}, {{0, 5, 3, 4}, {0, 3, 5, 4}}, 48,
                     {DEMO_PIANO, DEMO_STRINGS}, {DEMO_STRINGS, DEMO_PIANO}, SUSTAINED, NO_DRUMS},
    [EC_DEMO_SCARY] = {{48, 72}, {76, 98}, .22f, 1.3f, 3.5f, -1.5f, -23, .9f, 3, 1, 9000, .0025f,
                       {0, 1, 3, 4, 6, 7, 9}, {{0, 1, 0, 4}, {0, 4, 1, 0}}, 36,
                       {DEMO_SHRIEK, DEMO_BELL}, {DEMO_STRINGS, DEMO_SHRIEK}, CLUSTER, RARE},
};

typedef struct song {
    style style;
    demo_track *track;
    ec_rng *rng;
    double beat;    /* seconds */
    int key;        /* 0 to 11 */
    int progression;
    demo_instrument lead, chord;
} song;

static float between(ec_rng *rng, float low, float high) { return low + (high - low) * (float)ec__rng_uniform(rng); }
static bool chance(ec_rng *rng, float probability) { return (float)ec__rng_uniform(rng) < probability; }
static int below(ec_rng *rng, int bound) { return (int)ec__rng_below(rng, (uint64_t)bound); }

/* MIDI number of a degree of the scale, any octave; degree 0 is the key note at or above base. */
static float pitch_of(const song *s, int degree, int base) {
    int octave = (degree >= 0 ? degree : degree - 6) / 7, step = degree - 7 * octave;
    int root = base + (s->key - base % 12 + 12) % 12;
    return (float)(root + 12 * octave + s->style.scale[step]);
}

static ec_status note(song *s, demo_instrument instrument, double start, double length, float pitch, float velocity,
                      float pan) {
    double early = between(s->rng, -.006f, .006f); /* nobody plays exactly on the beat */
    demo_note n = {instrument, fmax(start + early, 0), length, pitch, velocity * between(s->rng, .85f, 1.1f), pan, 0};
    if (s->style.slide != 0 && instrument == s->lead && chance(s->rng, .4f))
        n.slide = s->style.slide * between(s->rng, .5f, 2);
    EC_RETURN_IF(demo_play(s->track, &n));
    return EC_OK;
}

/* Four beats of chords and bass on a degree of the scale. */
static ec_status play_backing(song *s, double start, int degree) {
    static const int triad[4] = {0, 2, 4, 7};
    double beat = s->beat, eighth = beat / 2;
    int base = s->style.chord_octave;
    switch (s->style.backing) {
    case SUSTAINED:
        for (int i = 0; i < 3; i++)
            EC_RETURN_IF(
                note(s, s->chord, start, 3.9 * beat, pitch_of(s, degree + triad[i], base), .45f, .3f * (float)(i - 1)));
        EC_RETURN_IF(note(s, DEMO_BASS, start, 3.5 * beat, pitch_of(s, degree, base - 12), .5f, 0));
        break;
    case ARPEGGIO:
        for (int i = 0; i < 8; i++) {
            EC_RETURN_IF(note(s, s->chord, start + i * eighth, .8 * eighth,
                              pitch_of(s, degree + triad[i * 3 % 4], base), .55f, .4f));
            if (i % 4 == 0)
                EC_RETURN_IF(
                    note(s, DEMO_BASS, start + i * eighth, 1.6 * beat, pitch_of(s, degree, base - 24), .6f, 0));
        }
        break;
    case STABS: /* fifths, no thirds: power chords */
        for (int i = 0; i < 8; i++) {
            if (i % 2 && !chance(s->rng, .6f)) continue;
            float root = pitch_of(s, degree, base);
            EC_RETURN_IF(note(s, s->chord, start + i * eighth, .7 * eighth, root, .9f, -.5f));
            EC_RETURN_IF(note(s, s->chord, start + i * eighth, .7 * eighth, root + 7, .8f, .5f));
            EC_RETURN_IF(note(s, DEMO_BASS, start + i * eighth, .7 * eighth, root - 12, .8f, 0));
        }
        break;
    case OOMPAH:
        for (int i = 0; i < 4; i++) {
            if (i % 2 == 0) {
                EC_RETURN_IF(note(s, DEMO_REED, start + i * beat, .25 * beat, pitch_of(s, degree + 2 * i, base - 12),
                                  .7f, -.2f));
                continue;
            }
            for (int k = 0; k < 3; k++)
                EC_RETURN_IF(
                    note(s, s->chord, start + i * beat, .2 * beat, pitch_of(s, degree + triad[k], base), .5f, .3f));
        }
        break;
    case CLUSTER: /* neighbouring semitones, low, and a tritone above */
        for (int i = 0; i < 3; i++) {
            float pitch = pitch_of(s, degree, base) + (i == 2 ? 18.f : (float)i);
            EC_RETURN_IF(note(s, s->chord, start, 4 * beat, pitch, .5f, .5f * (float)(i - 1)));
        }
        break;
    }
    return EC_OK;
}

static ec_status play_melody(song *s, double start, int degree, int *at) {
    const style *t = &s->style;
    double eighth = s->beat / 2;
    int low = (int)lroundf(t->lead[0]);
    int span = (int)((t->lead[1] - t->lead[0]) * 7 / 12);
    for (int i = 0; i < 8; i++) {
        if (!chance(s->rng, i % 2 ? t->density * .8f : fminf(t->density * 1.25f, 1))) continue;
        int step = (int)lroundf(t->leap * (float)ec__rng_normal(s->rng));
        *at += step;
        if (i == 0) *at = *at / 7 * 7 + (degree + 2 * below(s->rng, 3)) % 7; /* begins on a note of the chord */
        if (*at < 0) *at = -*at;
        if (*at > span) *at = span - (*at - span) % (span + 1);
        if (*at < 0) *at = 0;
        int hold = chance(s->rng, t->density) ? 1 : 2;
        EC_RETURN_IF(
            note(s, s->lead, start + i * eighth, hold * eighth * t->legato, pitch_of(s, *at, low), .8f, -.15f));
        i += hold - 1;
    }
    return EC_OK;
}

static void play_drums(song *s, double start, int bar) {
    for (int i = 0; i < 8; i++) {
        double at = start + i * s->beat / 2;
        switch (s->style.groove) {
        case NO_DRUMS: break;
        case LIGHT:
            demo_hit(s->track, DEMO_SHAKER, at, i % 2 ? .9f : 1.4f, s->rng);
            if (i == 0) demo_hit(s->track, DEMO_KICK, at, .35f, s->rng);
            break;
        case FOUR_TO_THE_FLOOR:
            demo_hit(s->track, i % 2 ? DEMO_HAT : DEMO_KICK, at, .9f, s->rng);
            if (i == 2 || i == 6) demo_hit(s->track, DEMO_SNARE, at, .7f, s->rng);
            if (i == 7 && bar % 2) demo_hit(s->track, DEMO_SNARE, at + s->beat / 4, .7f, s->rng);
            break;
        case ROCK:
            demo_hit(s->track, DEMO_HAT, at, .8f, s->rng);
            if (i == 0 || i == 3 || i == 4 || chance(s->rng, .2f)) demo_hit(s->track, DEMO_KICK, at, 1, s->rng);
            if (i == 2 || i == 6) demo_hit(s->track, DEMO_SNARE, at, 1, s->rng);
            break;
        case WOODEN:
            if (chance(s->rng, .35f)) demo_hit(s->track, DEMO_WOOD, at, .8f, s->rng);
            break;
        case RARE:
            if (i == 0 && chance(s->rng, .5f)) demo_hit(s->track, DEMO_BOOM, at, .9f, s->rng);
            break;
        }
    }
}

static float mix(float own, float other, float part) { return own + (other - own) * part; }

/* The emotion's style with some of another's numbers, and sometimes its instruments: classes overlap. */
static style blend(const style *own, const style *other, float part, bool foreign) {
    style s = *own;
    for (int i = 0; i < 2; i++) {
        s.tempo[i] = mix(own->tempo[i], other->tempo[i], part);
        s.lead[i] = mix(own->lead[i], other->lead[i], part);
    }
    s.density = mix(own->density, other->density, part);
    s.legato = mix(own->legato, other->legato, part);
    s.leap = mix(own->leap, other->leap, part);
    s.rms_db = mix(own->rms_db, other->rms_db, part);
    s.reverb = mix(own->reverb, other->reverb, part);
    s.reverb_s = mix(own->reverb_s, other->reverb_s, part);
    s.lowpass = mix(own->lowpass, other->lowpass, part);
    s.hiss = mix(own->hiss, other->hiss, part);
    if (foreign) {
        memcpy(s.lead_instrument, other->lead_instrument, sizeof s.lead_instrument);
        s.groove = other->groove;
    }
    return s;
}

static ec_status play_bars(song *s, double seconds) {
    int at = below(s->rng, 7), bar = 0;
    for (double start = 0; start < seconds; start += 4 * s->beat, bar++) {
        int degree = s->style.chords[s->progression][bar % 4];
        EC_RETURN_IF(play_backing(s, start, degree));
        EC_RETURN_IF(play_melody(s, start, degree, &at));
        play_drums(s, start, bar);
    }
    return EC_OK;
}

static ec_status produce(song *s) {
    const style *t = &s->style;
    EC_RETURN_IF(demo_reverb(s->track, t->reverb * between(s->rng, .6f, 1.3f), t->reverb_s));
    if (t->drive > 0) demo_drive(s->track, t->drive);
    demo_lowpass(s->track, fminf(t->lowpass * between(s->rng, .7f, 1.3f), .45f * (float)s->track->rate));
    demo_level(s->track, t->rms_db + between(s->rng, -2.5f, 2.5f));
    demo_hiss(s->track, t->hiss * between(s->rng, .5f, 1.5f), s->rng);
    demo_fade(s->track, .01, .4);
    return EC_OK;
}

ec_status demo_song(ec_demo_emotion emotion, uint64_t seed, int32_t index, int32_t rate, demo_track *out) {
    ec_status status = EC_OK;
    demo_track track = {0};
    ec_rng rng = ec__rng_at(seed, EC_RNG_DEMO, 16 + (uint32_t)emotion, (uint64_t)index);
    double seconds = between(&rng, 8, 10);
    const style *other = &styles[((int)emotion + 1 + below(&rng, EC_DEMO_EMOTIONS - 1)) % EC_DEMO_EMOTIONS];
    float part = between(&rng, 0, .5f);
    song s = {
        .style = blend(&styles[emotion], other, part * part, chance(&rng, 1 / 12.f)), .track = &track, .rng = &rng};
    s.beat = 60 / between(&rng, s.style.tempo[0], s.style.tempo[1]);
    s.key = below(&rng, 12);
    s.progression = below(&rng, 2);
    s.lead = s.style.lead_instrument[chance(&rng, .3f)];
    s.chord = s.style.chord_instrument[chance(&rng, .3f)];
    EC_TRY(demo_track_new(rate, seconds, &track));
    EC_TRY(play_bars(&s, seconds));
    EC_TRY(produce(&s));
    *out = track;
    track = (demo_track){0};
done:
    demo_track_free(&track);
    return status;
}
