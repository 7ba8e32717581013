/* A picture being drawn: shapes with smooth edges on a canvas of linear RGB floats. */
#ifndef EC_DATA_DEMO_CANVAS_H
#define EC_DATA_DEMO_CANVAS_H

#include <stdint.h>

#include "core/error.h"
#include "core/rng.h"

typedef struct demo_color {
    float r, g, b; /* 0 to 1 */
} demo_color;

/* Points are in units of the canvas's shorter side, the origin in the middle, y downward; drawing turns them by the
 * canvas's angle. */
typedef struct demo_point {
    float x, y;
} demo_point;

typedef struct demo_canvas {
    int32_t width, height;
    float scale;          /* pixels a unit */
    float cosine, sine;   /* of the angle by which everything is turned */
    demo_color *pixels;   /* [height][width], owned */
} demo_canvas;

ec_status demo_canvas_new(int32_t width, int32_t height, float angle, demo_canvas *out);
void demo_canvas_free(demo_canvas *canvas); /* accepts a zeroed one */

float demo_half_width(const demo_canvas *canvas);  /* in units: 0.5 or more */
float demo_half_height(const demo_canvas *canvas);

demo_color demo_hsv(float hue, float saturation, float value); /* hue in degrees, any */
demo_color demo_mix(demo_color a, demo_color b, float part);   /* part 0: a, 1: b */

/* Vertical gradient over the whole canvas. */
void demo_gradient(demo_canvas *canvas, demo_color top, demo_color bottom);
/* soft: width of the edge in units; 0 for one pixel. alpha: 0 invisible, 1 opaque. */
void demo_disc(demo_canvas *canvas, demo_point center, float radius, float soft, demo_color color, float alpha);
void demo_ring(demo_canvas *canvas, demo_point center, float radius, float width, demo_color color, float alpha);
void demo_line(demo_canvas *canvas, demo_point from, demo_point to, float width, float soft, demo_color color,
               float alpha);
void demo_polygon(demo_canvas *canvas, const demo_point *corner, int corners, demo_color color, float alpha);

/* What happens to the whole picture at the end. */
void demo_blur(demo_canvas *canvas, float radius);                     /* units */
void demo_vignette(demo_canvas *canvas, float strength);               /* 1: black corners */
/* Patches of brightness, of size in units. */
void demo_cloud(demo_canvas *canvas, float size, float strength, ec_rng *rng);
void demo_grain(demo_canvas *canvas, float strength, ec_rng *rng);
void demo_tone(demo_canvas *canvas, float contrast, float saturation, float brightness);

#endif
