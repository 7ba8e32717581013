/* The whole public interface: use a trained model to embed images and music, and search in what was embedded.
 *
 * Functions return an ec_status and leave results in out-parameters, which stay untouched on error; the message is in
 * ec_error_last(). Nothing prints or exits. No function here needs or starts MPI. */
#ifndef EMOCLIM_H
#define EMOCLIM_H

#include "emoclim/index.h"
#include "emoclim/model.h"
#include "emoclim/status.h"
#include "emoclim/version.h"

#endif
