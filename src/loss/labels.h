/* The labels of a global batch in the order of their classes, in back end memory: what every loss over the batch needs,
 * and what is gathered, sorted and uploaded once for all of them. */
#ifndef EC_LOSS_LABELS_H
#define EC_LOSS_LABELS_H

#include <stddef.h>
#include <stdint.h>

#include "compute/backend.h"
#include "compute/ops_supcon.h"
#include "dist/comm.h"

typedef struct ec_labels ec_labels;

/* For global_rows rows of each modality with at most so many different labels; 0: as many as rows. be and comm are
 * borrowed and must outlive it. Not collective. */
ec_status ec__labels_new(ec_backend *be, ec_comm *comm, int64_t global_rows, int32_t classes, ec_labels **out);
void ec__labels_free(ec_labels *labels); /* accepts NULL */

/* Bytes of back end memory held, and of host memory. */
size_t ec__labels_bytes(const ec_labels *labels);

/* Collective; allocates nothing; not to be recorded. label[m] (B): any integers, of this rank's rows in modality m,
 * host memory, not needed any more when this returns; row b of rank r is global row r * B + b. Gathers and sorts them
 * and enqueues their upload. turn: 0 or 1, which of two places of the host's they are uploaded from; the step before
 * this one that used it must have ended. EC_ERR_DATA for more different ones than announced, on every rank. */
ec_status ec__labels_begin(ec_labels *labels, const int32_t *const label[2], int32_t turn);

/* Their classes, as long as the labels live; contents are those of the last begin that the back end has come to. */
const ec_supcon_classes *ec__labels_classes(const ec_labels *labels);

#endif
