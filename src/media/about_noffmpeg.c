#include "media/about.h"

const char *ec__media_ffmpeg(void) { return NULL; }
