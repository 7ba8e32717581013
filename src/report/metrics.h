/* The metrics of a run as JSON lines: one object a line, in the order of events.
 *
 *     {"event":"start","step":0,"total_steps":200,...}    {"event":"step","step":10,"loss":...,...}
 *     {"event":"validation",...}                          {"event":"checkpoint","step":100,"path":"..."}
 *
 * A number that is not finite is written as null. After a resume, lines are appended behind a second "start": steps
 * after the checkpoint then occur twice, and the later line counts. Lines are buffered and reach the file with every
 * validation and checkpoint, and with the first step that is told two seconds after the last time. */
#ifndef EC_REPORT_METRICS_H
#define EC_REPORT_METRICS_H

#include "train/trainer.h"

typedef struct ec_metrics ec_metrics;

/* Opens path for appending, behind its last whole line; its folder must exist. EC_ERR_IO. */
ec_status ec__metrics_open(const char *path, ec_metrics **out);

/* EC_ERR_IO when something could not be written (a full disk) since opening. Frees the handle; accepts NULL. */
ec_status ec__metrics_close(ec_metrics *metrics);

void ec__metrics_start(ec_metrics *metrics, const ec_train_start *start);
void ec__metrics_step(ec_metrics *metrics, const ec_train_record *record);
void ec__metrics_validation(ec_metrics *metrics, const ec_validation_record *record);
void ec__metrics_checkpoint(ec_metrics *metrics, int64_t step, const char *path);

#endif
