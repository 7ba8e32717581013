/* Retrieval metrics as JSON in the layout of the original's result files:
 *
 *     macro:      {"precision": {"k=1": x, "k=5": x, "k=10": x}, "MRR": {"k=N/A": x}, "MAP": {"k=N/A": x}}
 *     per_class:  the same with {"happy": x, "sad": x, ...} in place of each x
 *
 * MAP is an addition, and numbers are not rounded. */
#ifndef EC_REPORT_RETRIEVAL_JSON_H
#define EC_REPORT_RETRIEVAL_JSON_H

#include <jansson.h>

#include "eval/retrieval.h"

/* New references, NULL when memory is short. class_names[label] names a label; it has more entries than any label. */
json_t *ec__retrieval_macro_json(const ec_retrieval_result *result);
json_t *ec__retrieval_per_class_json(const ec_retrieval_result *result, const char *const *class_names);

/* Writes FOLDER/macro/TASK_retrieval.json and FOLDER/per_class/TASK_retrieval.json; task is "image2music" and the like.
 * Creates folders, replaces files atomically. */
ec_status ec__retrieval_write(const char *folder, const char *task, const ec_retrieval_result *result,
                              const char *const *class_names);

#endif
