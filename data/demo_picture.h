/* A picture of an emotion. */
#ifndef EC_DATA_DEMO_PICTURE_H
#define EC_DATA_DEMO_PICTURE_H

#include "demo.h"
#include "demo_canvas.h"

/* The five colours that a picture is made of. */
typedef struct demo_palette {
    demo_color top, bottom; /* of the background */
    demo_color main, second, accent;
} demo_palette;

/* One way to fill a canvas. */
typedef void (*demo_motif_fn)(demo_canvas *canvas, const demo_palette *palette, ec_rng *rng);

enum { DEMO_MOTIFS = 3 }; /* of each emotion */

extern const demo_motif_fn demo_motifs[EC_DEMO_EMOTIONS][DEMO_MOTIFS];

/* Draws picture number index of emotion onto a new canvas, which the caller frees. */
ec_status demo_picture(ec_demo_emotion emotion, uint64_t seed, int32_t index, demo_canvas *out);

/* Helpers of the motifs. */
float demo_between(ec_rng *rng, float low, float high);
int demo_count(ec_rng *rng, int low, int high); /* both included */
demo_point demo_anywhere(const demo_canvas *canvas, ec_rng *rng);
demo_point demo_around(demo_point center, float angle, float distance);

#endif
