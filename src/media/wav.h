/* RIFF WAV files without any library: integers of 8 to 32 bits and floats of 32 and 64 bits, any number of channels,
 * plain or WAVE_FORMAT_EXTENSIBLE, RIFF or RF64. (Microsoft, "Multimedia Programming Interface and Data Specifications
 * 1.0"; EBU Tech 3306 for RF64.) Always built: a build without FFmpeg reads with it, and tests compare the two. */
#ifndef EC_MEDIA_WAV_H
#define EC_MEDIA_WAV_H

#include "media/audio.h"

/* As ec__audio_decode. A file that is not RIFF WAV, or holds compressed samples, is EC_ERR_ENV. */
ec_status ec__wav_decode(const char *path, const ec_audio_options *options, ec_audio *out);

/* EC_ERR_DATA for a WAV file (of any sample format) that is shorter than its header says, which FFmpeg passes over in
 * silence; where damage is tolerated only a warning is logged. */
ec_status ec__wav_check_length(const char *path, bool tolerate_damage);

#endif
