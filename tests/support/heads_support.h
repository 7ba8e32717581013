/* Reading projection heads and training settings from reference files. */
#ifndef EC_TEST_HEADS_SUPPORT_H
#define EC_TEST_HEADS_SUPPORT_H

#include "nn/heads.h"
#include "support.h"
#include "train/step.h"

/* Settings from the attributes of a group. */
ec_heads_config test_heads_config(hid_t at);
/* plan.global_rows, temperature, weights and, where the group has them, the optimizer's; reproducible, one shard. */
ec_train_config test_train_config(hid_t at, int64_t global_rows);

/* Loads every tensor of the group that the heads know; parameters must all be there. */
void test_heads_load(ec_heads *heads, hid_t group);

/* Names of losses in reference files, in the order of ec_direction: "loss_image2image", ... */
extern const char *const test_loss_name[EC_DIRECTIONS];

/* Rows `index` (count of them) of x (.., width), into a new array. */
float *test_gather_rows(const float *x, int64_t width, const int32_t *index, int64_t count);

/* SHA-256 over parameters, moments, buffers and counters. */
void test_state_digest(const ec_trainer_core *core, char hex[65]);

#endif
