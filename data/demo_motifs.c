/* What the pictures show: three motifs an emotion, each a handful of shapes with random places and sizes. */
#include <math.h>

#include "demo_picture.h"

static const float pi = 3.14159265f;

/* A shape with points: corners alternate between two radii, each moved at random by up to rough of its distance. */
static void star(demo_canvas *c, demo_point at, float inner, float outer, int points, float rough, demo_color color,
                 ec_rng *rng) {
    demo_point corner[48];
    if (points > 24) points = 24;
    float turn = demo_between(rng, 0, 2 * pi);
    for (int i = 0; i < 2 * points; i++) {
        float radius = (i % 2 ? inner : outer) * demo_between(rng, 1 - rough, 1 + rough);
        corner[i] = demo_around(at, turn + pi * (float)i / (float)points, radius);
    }
    demo_polygon(c, corner, 2 * points, color, 1);
}

static demo_color any_bright(ec_rng *rng) {
    return demo_hsv(demo_between(rng, 0, 360), demo_between(rng, .55f, .85f), 1);
}

/* --- angry: jagged, crossing, crowded --- */

static void shards(demo_canvas *c, const demo_palette *p, ec_rng *rng) {
    int count = demo_count(rng, 14, 26);
    for (int i = 0; i < count; i++) {
        demo_point tip = demo_anywhere(c, rng);
        float angle = demo_between(rng, 0, 2 * pi), length = demo_between(rng, .3f, .8f),
              width = demo_between(rng, .03f, .16f);
        demo_point base = demo_around(tip, angle, length);
        demo_point corner[3] = {tip, demo_around(base, angle + pi / 2, width),
                                demo_around(base, angle - pi / 2, width)};
        const demo_color colors[] = {p->main, p->second, p->second, p->accent};
        demo_polygon(c, corner, 3, colors[demo_count(rng, 0, 3)], demo_between(rng, .75f, 1));
    }
}

static void explosion(demo_canvas *c, const demo_palette *p, ec_rng *rng) {
    demo_point at = {demo_between(rng, -.15f, .15f), demo_between(rng, -.15f, .15f)};
    int points = demo_count(rng, 9, 16);
    star(c, at, .32f, .75f, points, .35f, p->second, rng);
    star(c, at, .24f, .52f, points, .35f, p->main, rng);
    star(c, at, .10f, .28f, points, .35f, p->accent, rng);
}

static void scratches(demo_canvas *c, const demo_palette *p, ec_rng *rng) {
    int count = demo_count(rng, 25, 50);
    for (int i = 0; i < count; i++) {
        demo_point at = demo_anywhere(c, rng);
        float angle = demo_between(rng, -1, -.3f) + (demo_count(rng, 0, 3) == 0 ? pi / 2 : 0);
        for (int zig = 0; zig < 4; zig++) {
            demo_point next = demo_around(at, angle + (zig % 2 ? 2.6f : 0), demo_between(rng, .15f, .45f));
            demo_color color = i % 3 ? p->second : i % 2 ? p->main : p->accent;
            demo_line(c, at, next, demo_between(rng, .008f, .03f), 0, color, .95f);
            at = next;
        }
    }
}

/* --- exciting: rays from a point, sparks, speed --- */

static void fireworks(demo_canvas *c, const demo_palette *p, ec_rng *rng) {
    int bursts = demo_count(rng, 3, 6);
    for (int b = 0; b < bursts; b++) {
        demo_point at = demo_anywhere(c, rng);
        const demo_color colors[] = {p->main, p->second, p->accent};
        demo_color color = colors[demo_count(rng, 0, 2)];
        int rays = demo_count(rng, 14, 26);
        float reach = demo_between(rng, .15f, .4f);
        demo_disc(c, at, reach * .3f, reach, color, .35f);
        for (int r = 0; r < rays; r++) {
            float angle = 2 * pi * (float)r / (float)rays, length = reach * demo_between(rng, .8f, 1.15f);
            demo_line(c, demo_around(at, angle, reach * .2f), demo_around(at, angle, length), .009f, 0, color, .95f);
            demo_disc(c, demo_around(at, angle, length), .014f, 0, (demo_color){1, 1, 1}, .9f);
        }
    }
}

static void rays(demo_canvas *c, const demo_palette *p, ec_rng *rng) {
    demo_point at = {demo_between(rng, -.35f, .35f), demo_between(rng, -.3f, .3f)};
    int count = demo_count(rng, 9, 18);
    float turn = demo_between(rng, 0, pi);
    for (int i = 0; i < count; i++) {
        float angle = turn + 2 * pi * (float)i / (float)count, half = .45f * pi / (float)count;
        demo_point corner[3] = {at, demo_around(at, angle - half, 2), demo_around(at, angle + half, 2)};
        demo_polygon(c, corner, 3, i % 3 == 0 ? p->accent : i % 2 ? p->main : p->second, .9f);
    }
    demo_disc(c, at, .12f, .1f, (demo_color){1, 1, .9f}, 1);
}

static void speed(demo_canvas *c, const demo_palette *p, ec_rng *rng) {
    int count = demo_count(rng, 18, 34);
    float angle = demo_between(rng, -.5f, -.2f);
    for (int i = 0; i < count; i++) {
        demo_point at = demo_anywhere(c, rng);
        const demo_color colors[] = {p->main, p->second, p->accent, {1, 1, 1}};
        float length = demo_between(rng, .2f, .8f), width = demo_between(rng, .008f, .05f);
        demo_line(c, at, demo_around(at, angle, length), width, 0, colors[demo_count(rng, 0, 3)], .95f);
    }
    star(c, demo_anywhere(c, rng), .06f, .17f, 5, .05f, p->second, rng);
}

/* --- funny: round, many colours, faces --- */

static void face(demo_canvas *c, demo_point at, float r, demo_color color, ec_rng *rng) {
    const demo_color ink = {.15f, .1f, .1f}, white = {1, 1, 1};
    demo_disc(c, at, r, 0, color, 1);
    for (int side = -1; side <= 1; side += 2) {
        demo_point eye = {at.x + .36f * r * (float)side, at.y - .25f * r};
        demo_disc(c, eye, .24f * r, 0, white, 1);
        demo_disc(c, demo_around(eye, demo_between(rng, 0, 2 * pi), .09f * r), .12f * r, 0, ink, 1);
    }
    for (int i = 0; i < 12; i++) { /* a wide smile out of short strokes */
        float a = .15f * pi + .7f * pi * (float)i / 12, b = .15f * pi + .7f * pi * (float)(i + 1) / 12;
        demo_line(c, demo_around(at, a, .62f * r), demo_around(at, b, .62f * r), .1f * r, 0, ink, 1);
    }
    if (demo_count(rng, 0, 1)) demo_disc(c, at, .14f * r, 0, demo_hsv(0, .8f, 1), 1); /* a clown's nose */
}

static void faces(demo_canvas *c, const demo_palette *p, ec_rng *rng) {
    int count = demo_count(rng, 1, 4);
    for (int i = 0; i < 14; i++)
        demo_disc(c, demo_anywhere(c, rng), demo_between(rng, .02f, .05f), 0, any_bright(rng), .8f);
    for (int i = 0; i < count; i++)
        face(c, demo_anywhere(c, rng), demo_between(rng, .16f, count > 1 ? .24f : .36f),
             i % 2 ? p->main : demo_hsv(48, .8f, 1), rng);
}

static void balloons(demo_canvas *c, const demo_palette *p, ec_rng *rng) {
    int count = demo_count(rng, 6, 12);
    for (int i = 0; i < count; i++) {
        demo_point at = demo_anywhere(c, rng);
        float r = demo_between(rng, .08f, .17f);
        for (int k = 0; k < 6; k++) { /* a wavy string */
            float y = at.y + r + .06f * (float)k;
            demo_line(c, (demo_point){at.x + .012f * sinf(2.f * (float)k), y},
                      (demo_point){at.x + .012f * sinf(2.f * (float)(k + 1)), y + .06f}, .006f, 0,
                      (demo_color){.4f, .4f, .4f}, 1);
        }
        demo_disc(c, at, r, 0, i % 4 == 0 ? p->main : any_bright(rng), 1);
        demo_disc(c, (demo_point){at.x - .35f * r, at.y - .35f * r}, .2f * r, .2f * r, (demo_color){1, 1, 1}, .8f);
    }
}

static void confetti(demo_canvas *c, const demo_palette *p, ec_rng *rng) {
    int count = demo_count(rng, 50, 110);
    for (int i = 0; i < count; i++) {
        demo_point at = demo_anywhere(c, rng);
        demo_color color = i % 5 == 0 ? p->main : any_bright(rng);
        float size = demo_between(rng, .015f, .045f), angle = demo_between(rng, 0, pi);
        if (i % 3 == 0) demo_disc(c, at, size, 0, color, 1);
        else if (i % 3 == 1) demo_line(c, at, demo_around(at, angle, 2 * size), size, 0, color, 1);
        else demo_ring(c, at, size * 1.3f, size * .6f, color, 1);
    }
}

/* --- happy: sun, meadows, soft round light --- */

static void sun(demo_canvas *c, demo_point at, float r, demo_color color) {
    demo_disc(c, at, 1.3f * r, 1.6f * r, color, .55f);
    demo_disc(c, at, r, .02f, demo_mix(color, (demo_color){1, 1, 1}, .35f), 1);
}

static void flower(demo_canvas *c, demo_point at, float r, demo_color petal, demo_color middle) {
    for (int i = 0; i < 5; i++) demo_disc(c, demo_around(at, 2 * pi * (float)i / 5, r), .75f * r, 0, petal, 1);
    demo_disc(c, at, .55f * r, 0, middle, 1);
}

static void hill(demo_canvas *c, float level, float height, demo_color color, ec_rng *rng) {
    demo_point corner[40];
    float phase = demo_between(rng, 0, 2 * pi), waves = demo_between(rng, 1, 2.5f);
    for (int i = 0; i < 38; i++) {
        float x = -1.2f + 2.4f * (float)i / 37;
        corner[i] = (demo_point){x, level - height * sinf(phase + waves * x * 2)};
    }
    corner[38] = (demo_point){1.3f, 1.3f};
    corner[39] = (demo_point){-1.3f, 1.3f};
    demo_polygon(c, corner, 40, color, 1);
}

static void hills(demo_canvas *c, const demo_palette *p, ec_rng *rng) {
    sun(c, (demo_point){demo_between(rng, -.4f, .4f), demo_between(rng, -.35f, -.15f)}, demo_between(rng, .08f, .14f),
        p->second);
    hill(c, .08f, .06f, demo_mix(p->main, p->top, .35f), rng);
    hill(c, .22f, .08f, p->main, rng);
    int flowers = demo_count(rng, 5, 18);
    for (int i = 0; i < flowers; i++) {
        demo_point at = demo_anywhere(c, rng);
        at.y = demo_between(rng, .3f, demo_half_height(c));
        flower(c, at, demo_between(rng, .012f, .028f), i % 2 ? p->accent : (demo_color){1, 1, 1}, p->second);
    }
}

static void light(demo_canvas *c, const demo_palette *p, ec_rng *rng) {
    int count = demo_count(rng, 12, 26);
    for (int i = 0; i < count; i++) {
        const demo_color colors[] = {p->second, p->accent, p->main, {1, 1, 1}};
        demo_disc(c, demo_anywhere(c, rng), demo_between(rng, .05f, .18f), .05f, colors[demo_count(rng, 0, 3)],
                  demo_between(rng, .25f, .55f));
    }
}

static void bouquet(demo_canvas *c, const demo_palette *p, ec_rng *rng) {
    int count = demo_count(rng, 5, 11);
    for (int i = 0; i < count; i++) {
        demo_point root = {demo_between(rng, -.2f, .2f), .7f}, head = demo_anywhere(c, rng);
        head.y = demo_between(rng, -.35f, .2f);
        demo_line(c, root, head, .015f, 0, p->main, 1);
        flower(c, head, demo_between(rng, .05f, .09f),
               i % 3 == 0   ? p->second
               : i % 3 == 1 ? p->accent
                            : (demo_color){1, 1, 1},
               i % 3 == 0 ? p->accent : p->second);
    }
}

/* --- sad: emptiness, rain, things that hang --- */

static void rain(demo_canvas *c, const demo_palette *p, ec_rng *rng) {
    int count = demo_count(rng, 70, 160);
    float slant = demo_between(rng, -.15f, .15f), horizon = demo_between(rng, .15f, .35f);
    demo_polygon(c, (demo_point[]){{-1.3f, horizon}, {1.3f, horizon}, {1.3f, 1.3f}, {-1.3f, 1.3f}}, 4, p->main, .8f);
    for (int i = 0; i < count; i++) {
        demo_point at = demo_anywhere(c, rng);
        demo_line(c, at, demo_around(at, pi / 2 + slant, demo_between(rng, .04f, .12f)), .005f, 0, p->second,
                  demo_between(rng, .3f, .7f));
    }
}

static void alone(demo_canvas *c, const demo_palette *p, ec_rng *rng) {
    float horizon = demo_between(rng, .2f, .35f), x = demo_between(rng, -.4f, .4f),
          size = demo_between(rng, .05f, .09f);
    demo_color dark = demo_mix(p->main, (demo_color){0, 0, 0}, .5f);
    /* A dim sun. */
    demo_disc(c, (demo_point){demo_between(rng, -.3f, .3f), horizon - .45f}, .07f, .06f, p->accent, .5f);
    demo_polygon(c, (demo_point[]){{-1.3f, horizon}, {1.3f, horizon}, {1.3f, 1.3f}, {-1.3f, 1.3f}}, 4, p->main, 1);
    demo_line(c, (demo_point){x, horizon - size}, (demo_point){x, horizon + .02f}, size * .55f, 0, dark, 1);
    demo_disc(c, (demo_point){x + size * .15f, horizon - 1.55f * size}, size * .32f, 0, dark, 1); /* the head hangs */
    demo_line(c, (demo_point){x, horizon + .03f}, (demo_point){x + .3f, horizon + .14f}, size * .5f, .05f, dark, .35f);
}

static void wilted(demo_canvas *c, const demo_palette *p, ec_rng *rng) {
    int count = demo_count(rng, 1, 3);
    for (int i = 0; i < count; i++) {
        demo_point at = {demo_between(rng, -.35f, .35f), .55f};
        float lean = demo_between(rng, .6f, 1.1f) * (demo_count(rng, 0, 1) ? 1.f : -1.f), angle = -pi / 2;
        for (int k = 0; k < 16; k++) { /* a stem that bends over */
            demo_point next = demo_around(at, angle, .055f);
            demo_line(c, at, next, .016f, 0, p->main, 1);
            at = next;
            angle += lean * .018f * (float)k;
        }
        for (int k = -1; k <= 1; k++)
            demo_line(c, at, demo_around(at, pi / 2 + .4f * (float)k, .12f), .045f, 0, p->second, .9f);
        demo_disc(c, (demo_point){at.x + .05f, .45f}, .03f, 0, p->second, .8f); /* a fallen petal */
    }
}

/* --- scary: darkness, bare trees, eyes --- */

static void branch(demo_canvas *c, demo_point at, float angle, float length, float width, int depth, demo_color color,
                   ec_rng *rng) {
    demo_point end = demo_around(at, angle, length);
    demo_line(c, at, end, width, 0, color, 1);
    if (depth == 0) return;
    int twigs = demo_count(rng, 2, 3);
    for (int i = 0; i < twigs; i++)
        branch(c, end, angle + demo_between(rng, -.9f, .9f), length * demo_between(rng, .55f, .85f), width * .62f,
               depth - 1, color, rng);
}

static void moon(demo_canvas *c, const demo_palette *p, ec_rng *rng) {
    demo_point at = {demo_between(rng, -.4f, .4f), demo_between(rng, -.4f, -.1f)};
    float r = demo_between(rng, .05f, .1f);
    demo_disc(c, at, 2 * r, 3 * r, p->second, .6f);
    demo_disc(c, at, r, .01f, demo_mix(p->accent, p->second, .4f), .9f);
}

static void trees(demo_canvas *c, const demo_palette *p, ec_rng *rng) {
    moon(c, p, rng);
    int count = demo_count(rng, 2, 5);
    for (int i = 0; i < count; i++)
        branch(c, (demo_point){demo_between(rng, -.6f, .6f), .7f}, -pi / 2 + demo_between(rng, -.2f, .2f),
               demo_between(rng, .25f, .4f), demo_between(rng, .04f, .07f), 5, p->main, rng);
}

static void eyes(demo_canvas *c, const demo_palette *p, ec_rng *rng) {
    int pairs = demo_count(rng, 2, 7);
    for (int i = 0; i < 4; i++) demo_disc(c, demo_anywhere(c, rng), .15f, .3f, p->second, .25f); /* fog */
    for (int i = 0; i < pairs; i++) {
        demo_point at = demo_anywhere(c, rng);
        float r = demo_between(rng, .018f, .045f);
        for (int side = -1; side <= 1; side += 2) {
            demo_point eye = {at.x + 1.5f * r * (float)side, at.y};
            demo_disc(c, eye, r, 2 * r, p->accent, .3f);
            demo_disc(c, eye, r, 0, p->accent, 1);
            demo_line(c, (demo_point){eye.x, eye.y - .8f * r}, (demo_point){eye.x, eye.y + .8f * r}, .4f * r, 0,
                      p->main, 1);
        }
    }
}

static void corridor(demo_canvas *c, const demo_palette *p, ec_rng *rng) {
    demo_point at = {demo_between(rng, -.15f, .15f), demo_between(rng, -.1f, .1f)};
    demo_disc(c, at, .1f, .25f, p->second, .9f);
    for (int i = 1; i <= 7; i++) {
        float h = .09f * powf(1.45f, (float)i), w = h * .7f;
        demo_point corner[4] = {{at.x - w, at.y - h}, {at.x + w, at.y - h}, {at.x + w, at.y + h}, {at.x - w, at.y + h}};
        for (int k = 0; k < 4; k++)
            demo_line(c, corner[k], corner[(k + 1) % 4], .012f * (float)i, .01f, p->main, .9f);
    }
    /* Somebody waits. */
    demo_line(c, (demo_point){at.x, at.y - .03f}, (demo_point){at.x, at.y + .09f}, .04f, .01f, p->main, 1);
    demo_disc(c, (demo_point){at.x, at.y - .07f}, .022f, .005f, p->main, 1);
}

const demo_motif_fn demo_motifs[EC_DEMO_EMOTIONS][DEMO_MOTIFS] = {
    [EC_DEMO_ANGRY] = {shards, explosion, scratches}, [EC_DEMO_EXCITING] = {fireworks, rays, speed},
    [EC_DEMO_FUNNY] = {faces, balloons, confetti},    [EC_DEMO_HAPPY] = {hills, light, bouquet},
    [EC_DEMO_SAD] = {rain, alone, wilted},            [EC_DEMO_SCARY] = {trees, eyes, corridor},
};
