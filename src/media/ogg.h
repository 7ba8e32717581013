/* Is an Ogg file whole? (RFC 3533.) FFmpeg takes the end of the file for the end of the music, wherever it comes. */
#ifndef EC_MEDIA_OGG_H
#define EC_MEDIA_OGG_H

#include "core/error.h"

/* EC_ERR_DATA for a file whose last page is cut off or does not carry the end-of-stream mark. */
ec_status ec__ogg_check_end(const char *path);

#endif
