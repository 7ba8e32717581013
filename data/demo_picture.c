#include "demo_picture.h"

#include <math.h>
#include <stdbool.h>

/* How an emotion looks, whatever is drawn: hue (degrees), saturation and value of its five colours, and the finish. */
typedef struct look {
    float color[5][3];
    float hue_spread;  /* degrees to both sides, one draw a picture */
    float contrast, saturation, brightness;
    float blur, vignette, cloud, grain, tilt; /* tilt: radians to both sides */
} look;

static const look looks[EC_DEMO_EMOTIONS] = {
    [EC_DEMO_ANGRY] = {{{355, .95f, .30f}, {8, .95f, .75f}, {0, 1, .88f}, {0, .2f, .05f}, {22, 1, 1}},
                       12, 1.25f, 1.1f, .03f, 0, .45f, .3f, .1f, .5f},
    [EC_DEMO_EXCITING] = {{{262, .85f, .40f}, {318, .90f, .75f}, {30, 1, 1}, {55, 1, 1}, {186, .9f, 1}},
                          25, 1.2f, 1.25f, .03f, 0, .1f, .1f, .03f, .4f},
    [EC_DEMO_FUNNY] = {{{300, .22f, 1}, {180, .25f, 1}, {20, .75f, 1}, {190, .70f, .95f}, {320, .65f, 1}},
                       180, 1, 1.05f, .03f, 0, 0, .05f, .02f, .2f},
    [EC_DEMO_HAPPY] = {{{205, .38f, .98f}, {52, .35f, 1}, {105, .55f, .80f}, {47, .75f, 1}, {345, .35f, 1}},
                       14, .95f, 1, .04f, .003f, 0, .12f, .02f, .08f},
    [EC_DEMO_SAD] = {{{212, .25f, .55f}, {215, .22f, .38f}, {218, .30f, .26f}, {210, .12f, .68f}, {205, .10f, .80f}},
                     15, .85f, .75f, -.03f, .008f, .3f, .2f, .03f, .06f},
    [EC_DEMO_SCARY] = {{{205, .55f, .06f}, {165, .45f, .27f}, {0, 0, .02f}, {140, .30f, .42f}, {68, .40f, .88f}},
                       25, 1.1f, .9f, -.04f, .002f, .85f, .5f, .07f, .2f},
};

float demo_between(ec_rng *rng, float low, float high) { return low + (high - low) * (float)ec__rng_uniform(rng); }

int demo_count(ec_rng *rng, int low, int high) { return low + (int)ec__rng_below(rng, (uint64_t)(high - low + 1)); }

demo_point demo_anywhere(const demo_canvas *canvas, ec_rng *rng) {
    float x = demo_between(rng, -demo_half_width(canvas), demo_half_width(canvas));
    return (demo_point){x, demo_between(rng, -demo_half_height(canvas), demo_half_height(canvas))};
}

demo_point demo_around(demo_point center, float angle, float distance) {
    return (demo_point){center.x + distance * cosf(angle), center.y + distance * sinf(angle)};
}

static demo_color draw_color(const float hsv[3], float turn, ec_rng *rng) {
    float saturation = hsv[1] * demo_between(rng, .85f, 1.1f), value = hsv[2] * demo_between(rng, .85f, 1.1f);
    return demo_hsv(hsv[0] + turn + demo_between(rng, -6, 6), fminf(saturation, 1), fminf(value, 1));
}

/* The emotion's colours with one common turn of the hue, mixed with some of another emotion's: classes overlap. */
static demo_palette draw_palette(const look *own, const look *other, float part, ec_rng *rng) {
    float turn = demo_between(rng, -own->hue_spread, own->hue_spread);
    demo_color c[5];
    for (int i = 0; i < 5; i++) {
        demo_color mine = draw_color(own->color[i], turn, rng), foreign = draw_color(other->color[i], 0, rng);
        c[i] = demo_mix(mine, foreign, part);
    }
    return (demo_palette){c[0], c[1], c[2], c[3], c[4]};
}

static void finish(demo_canvas *canvas, const look *l, ec_rng *rng) {
    demo_blur(canvas, l->blur * demo_between(rng, .5f, 1.5f));
    demo_cloud(canvas, demo_between(rng, .08f, .3f), l->cloud * demo_between(rng, .5f, 1.2f), rng);
    demo_vignette(canvas, l->vignette * demo_between(rng, .7f, 1.15f));
    demo_grain(canvas, l->grain * demo_between(rng, .5f, 1.5f), rng);
    demo_tone(canvas, l->contrast * demo_between(rng, .9f, 1.1f), l->saturation * demo_between(rng, .8f, 1.1f),
              l->brightness + demo_between(rng, -.05f, .05f));
}

ec_status demo_picture(ec_demo_emotion emotion, uint64_t seed, int32_t index, demo_canvas *out) {
    ec_rng rng = ec__rng_at(seed, EC_RNG_DEMO, (uint32_t)emotion, (uint64_t)index);
    const look *own = &looks[emotion];
    /* A sibling among the other five; mostly little of its palette, and one picture in twelve wears another's motif. */
    int other = (emotion + demo_count(&rng, 1, EC_DEMO_EMOTIONS - 1)) % EC_DEMO_EMOTIONS;
    float part = demo_between(&rng, 0, .7f);
    int motif_owner = demo_count(&rng, 1, 12) == 1 ? other : (int)emotion;
    int32_t side = demo_count(&rng, 176, 256), longer = (int32_t)((float)side * demo_between(&rng, 1, 1.4f));
    bool upright = demo_count(&rng, 0, 2) == 0;
    demo_canvas canvas;
    EC_RETURN_IF(demo_canvas_new(upright ? side : longer, upright ? longer : side,
                                 demo_between(&rng, -own->tilt, own->tilt), &canvas));
    demo_palette palette = draw_palette(own, &looks[other], part * part, &rng);
    demo_gradient(&canvas, palette.top, palette.bottom);
    demo_motifs[motif_owner][demo_count(&rng, 0, DEMO_MOTIFS - 1)](&canvas, &palette, &rng);
    finish(&canvas, own, &rng);
    *out = canvas;
    return EC_OK;
}
