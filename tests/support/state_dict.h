/* A reference file's state dict as a source of weights. */
#ifndef EC_TEST_STATE_DICT_H
#define EC_TEST_STATE_DICT_H

#include "nn/tensor_source.h"
#include "support.h"

typedef struct test_state_dict {
    ec_tensor_source source; /* arg is the address of the arrays below, not of this struct: it may be copied */
    char **name;             /* a test may point an entry elsewhere */
    test_array *array;       /* f32; a test may change shapes */
    void *storage;           /* owns the names */
} test_state_dict;

test_state_dict test_state_dict_read(hid_t group);
void test_state_dict_release(test_state_dict *dict);
/* Puts prefix before every name. */
void test_state_dict_prefix(test_state_dict *dict, const char *prefix);
int32_t test_state_dict_find(const test_state_dict *dict, const char *name); /* fails the test where there is none */

#endif
