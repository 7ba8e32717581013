#include "demo_canvas.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

ec_status demo_canvas_new(int32_t width, int32_t height, float angle, demo_canvas *out) {
    demo_canvas c = {.width = width, .height = height, .cosine = cosf(angle), .sine = sinf(angle)};
    c.scale = (float)(width < height ? width : height);
    c.pixels = calloc((size_t)width * (size_t)height, sizeof *c.pixels);
    if (!c.pixels) return EC_ERROR(EC_ERR_MEMORY, "no memory for a picture of %d x %d", width, height);
    *out = c;
    return EC_OK;
}

void demo_canvas_free(demo_canvas *canvas) {
    free(canvas->pixels);
    canvas->pixels = NULL;
}

float demo_half_width(const demo_canvas *canvas) { return 0.5f * (float)canvas->width / canvas->scale; }
float demo_half_height(const demo_canvas *canvas) { return 0.5f * (float)canvas->height / canvas->scale; }

demo_color demo_hsv(float hue, float saturation, float value) {
    hue = fmodf(hue, 360);
    if (hue < 0) hue += 360;
    float part[3];
    for (int i = 0; i < 3; i++) {
        /* Distance from the channel's own hue (0, 120, 240), 60 degrees of full strength to both sides. */
        float distance = fabsf(fmodf(hue - 120.f * (float)i + 540, 360) - 180);
        float level = fminf(fmaxf(2 - distance / 60, 0), 1);
        part[i] = value * (1 - saturation * (1 - level));
    }
    return (demo_color){part[0], part[1], part[2]};
}

demo_color demo_mix(demo_color a, demo_color b, float part) {
    return (demo_color){a.r + (b.r - a.r) * part, a.g + (b.g - a.g) * part, a.b + (b.b - a.b) * part};
}

static demo_point to_pixels(const demo_canvas *c, demo_point p) {
    return (demo_point){(p.x * c->cosine - p.y * c->sine) * c->scale + 0.5f * (float)c->width,
                        (p.x * c->sine + p.y * c->cosine) * c->scale + 0.5f * (float)c->height};
}

static float clamp01(float x) { return fminf(fmaxf(x, 0), 1); }

static int32_t limit(float x, int32_t high) { return x < 0 ? 0 : x > (float)high ? high : (int32_t)x; }

typedef struct box {
    int32_t left, right, top, bottom; /* pixels; right and bottom are excluded */
} box;

static box box_around(const demo_canvas *c, demo_point low, demo_point high, float margin) {
    return (box){limit(floorf(low.x - margin), c->width), limit(ceilf(high.x + margin), c->width),
                 limit(floorf(low.y - margin), c->height), limit(ceilf(high.y + margin), c->height)};
}

/* Signed distance in pixels from a shape, negative inside, at the middle of a pixel. */
typedef float (*distance_fn)(const void *shape, float x, float y);

static void paint(demo_canvas *c, box b, distance_fn distance, const void *shape, float soft, demo_color color,
                  float alpha) {
    float edge = fmaxf(soft * c->scale, 1);
    for (int32_t y = b.top; y < b.bottom; y++)
        for (int32_t x = b.left; x < b.right; x++) {
            float cover = clamp01(0.5f - distance(shape, (float)x + 0.5f, (float)y + 0.5f) / edge);
            if (cover <= 0) continue;
            demo_color *pixel = &c->pixels[y * c->width + x];
            *pixel = demo_mix(*pixel, color, cover * cover * (3 - 2 * cover) * alpha);
        }
}

void demo_gradient(demo_canvas *c, demo_color top, demo_color bottom) {
    for (int32_t y = 0; y < c->height; y++)
        for (int32_t x = 0; x < c->width; x++) {
            float dx = (float)x + 0.5f - 0.5f * (float)c->width, dy = (float)y + 0.5f - 0.5f * (float)c->height;
            float down = (-dx * c->sine + dy * c->cosine) / (float)c->height + 0.5f;
            c->pixels[y * c->width + x] = demo_mix(top, bottom, clamp01(down));
        }
}

typedef struct round_shape {
    demo_point a, b;      /* ends of the middle line; equal for a disc */
    float radius, hollow; /* hollow > 0: a ring of that half width */
} round_shape;

static float round_distance(const void *shape, float x, float y) {
    const round_shape *s = shape;
    float dx = s->b.x - s->a.x, dy = s->b.y - s->a.y, length2 = dx * dx + dy * dy;
    float along = length2 > 0 ? clamp01(((x - s->a.x) * dx + (y - s->a.y) * dy) / length2) : 0;
    float d = hypotf(x - s->a.x - along * dx, y - s->a.y - along * dy) - s->radius;
    return s->hollow > 0 ? fabsf(d) - s->hollow : d;
}

static void paint_round(demo_canvas *c, const round_shape *s, float soft, demo_color color, float alpha) {
    demo_point low = {fminf(s->a.x, s->b.x), fminf(s->a.y, s->b.y)},
               high = {fmaxf(s->a.x, s->b.x), fmaxf(s->a.y, s->b.y)};
    paint(c, box_around(c, low, high, s->radius + s->hollow + soft * c->scale + 1), round_distance, s, soft, color,
          alpha);
}

void demo_disc(demo_canvas *c, demo_point center, float radius, float soft, demo_color color, float alpha) {
    demo_point p = to_pixels(c, center);
    paint_round(c, &(round_shape){.a = p, .b = p, .radius = radius * c->scale}, soft, color, alpha);
}

void demo_ring(demo_canvas *c, demo_point center, float radius, float width, demo_color color, float alpha) {
    demo_point p = to_pixels(c, center);
    paint_round(c, &(round_shape){p, p, radius * c->scale, 0.5f * width * c->scale}, 0, color, alpha);
}

void demo_line(demo_canvas *c, demo_point from, demo_point to, float width, float soft, demo_color color, float alpha) {
    round_shape s = {.a = to_pixels(c, from), .b = to_pixels(c, to), .radius = 0.5f * width * c->scale};
    paint_round(c, &s, soft, color, alpha);
}

enum { MAX_CORNERS = 64 };

typedef struct polygon {
    demo_point corner[MAX_CORNERS];
    int corners;
} polygon;

/* Distance to the nearest side; inside where a ray to the right crosses an odd number of sides. */
static float polygon_distance(const void *shape, float x, float y) {
    const polygon *p = shape;
    float nearest = 1e9f;
    int inside = 0;
    for (int i = 0, j = p->corners - 1; i < p->corners; j = i++) {
        demo_point a = p->corner[i], b = p->corner[j];
        nearest = fminf(nearest, round_distance(&(round_shape){.a = a, .b = b}, x, y));
        if ((a.y > y) != (b.y > y) && x < (b.x - a.x) * (y - a.y) / (b.y - a.y) + a.x) inside = !inside;
    }
    return inside ? -nearest : nearest;
}

void demo_polygon(demo_canvas *c, const demo_point *corner, int corners, demo_color color, float alpha) {
    polygon p = {.corners = corners < MAX_CORNERS ? corners : MAX_CORNERS};
    demo_point low = {1e9f, 1e9f}, high = {-1e9f, -1e9f};
    for (int i = 0; i < p.corners; i++) {
        p.corner[i] = to_pixels(c, corner[i]);
        low = (demo_point){fminf(low.x, p.corner[i].x), fminf(low.y, p.corner[i].y)};
        high = (demo_point){fmaxf(high.x, p.corner[i].x), fmaxf(high.y, p.corner[i].y)};
    }
    paint(c, box_around(c, low, high, 1), polygon_distance, &p, 0, color, alpha);
}

/* Box blur along one direction; three of them are close to a Gaussian. step: pixels from one sample to the next. */
static void blur_line(demo_color *line, int32_t count, int32_t step, int32_t radius, demo_color *copy) {
    for (int32_t i = 0; i < count; i++) copy[i] = line[(size_t)i * (size_t)step];
    for (int32_t i = 0; i < count; i++) {
        demo_color sum = {0, 0, 0};
        for (int32_t k = -radius; k <= radius; k++) {
            int32_t at = i + k < 0 ? 0 : i + k >= count ? count - 1 : i + k;
            sum = (demo_color){sum.r + copy[at].r, sum.g + copy[at].g, sum.b + copy[at].b};
        }
        float part = 1 / (float)(2 * radius + 1);
        line[(size_t)i * (size_t)step] = (demo_color){sum.r * part, sum.g * part, sum.b * part};
    }
}

void demo_blur(demo_canvas *c, float radius) {
    int32_t pixels = (int32_t)(radius * c->scale + 0.5f), longest = c->width > c->height ? c->width : c->height;
    demo_color *copy = malloc((size_t)longest * sizeof *copy);
    for (int pass = 0; copy && pixels > 0 && pass < 3; pass++) {
        for (int32_t y = 0; y < c->height; y++)
            blur_line(c->pixels + (size_t)y * (size_t)c->width, c->width, 1, pixels, copy);
        for (int32_t x = 0; x < c->width; x++) blur_line(c->pixels + x, c->height, c->width, pixels, copy);
    }
    free(copy);
}

void demo_vignette(demo_canvas *c, float strength) {
    for (int32_t y = 0; y < c->height; y++)
        for (int32_t x = 0; x < c->width; x++) {
            float u = 2 * ((float)x + 0.5f) / (float)c->width - 1, v = 2 * ((float)y + 0.5f) / (float)c->height - 1;
            float light = 1 - strength * clamp01(0.5f * (u * u + v * v));
            demo_color *p = &c->pixels[y * c->width + x];
            *p = (demo_color){p->r * light, p->g * light, p->b * light};
        }
}

/* Value noise: random levels on a grid, smoothly interpolated. */
void demo_cloud(demo_canvas *c, float size, float strength, ec_rng *rng) {
    enum { GRID = 32 };
    float level[GRID + 1][GRID + 1];
    for (int i = 0; i <= GRID; i++)
        for (int j = 0; j <= GRID; j++) level[i][j] = (float)(ec__rng_uniform(rng) * 2 - 1);
    for (int32_t y = 0; y < c->height; y++)
        for (int32_t x = 0; x < c->width; x++) {
            float u = fminf((float)x / (size * c->scale), GRID - 1), v = fminf((float)y / (size * c->scale), GRID - 1);
            int i = (int)v, j = (int)u;
            float a = v - (float)i, b = u - (float)j;
            a = a * a * (3 - 2 * a), b = b * b * (3 - 2 * b);
            float upper = level[i][j] + (level[i][j + 1] - level[i][j]) * b;
            float lower = level[i + 1][j] + (level[i + 1][j + 1] - level[i + 1][j]) * b;
            float light = 1 + strength * (upper + (lower - upper) * a);
            demo_color *p = &c->pixels[y * c->width + x];
            *p = (demo_color){p->r * light, p->g * light, p->b * light};
        }
}

void demo_grain(demo_canvas *c, float strength, ec_rng *rng) {
    int64_t count = (int64_t)c->width * c->height;
    for (int64_t i = 0; i < count; i++) {
        /* Sum of two bytes: a triangular distribution, near enough to film grain and much cheaper than a normal one. */
        uint32_t bits = ec__rng_u32(rng);
        float add = strength * ((float)(bits & 255) + (float)(bits >> 8 & 255) - 255) / 255;
        demo_color *p = &c->pixels[i];
        *p = (demo_color){p->r + add, p->g + add, p->b + add};
    }
}

void demo_tone(demo_canvas *c, float contrast, float saturation, float brightness) {
    int64_t count = (int64_t)c->width * c->height;
    for (int64_t i = 0; i < count; i++) {
        demo_color *p = &c->pixels[i];
        float gray = 0.299f * p->r + 0.587f * p->g + 0.114f * p->b;
        float *channel[3] = {&p->r, &p->g, &p->b};
        for (int k = 0; k < 3; k++) {
            float value = gray + (*channel[k] - gray) * saturation;
            *channel[k] = clamp01((value - 0.5f) * contrast + 0.5f + brightness);
        }
    }
}
