#include "report/retrieval_json.h"

#include <stdlib.h>
#include <string.h>

#include "core/file.h"

/* Where each metric stands in the layout. */
static const struct {
    const char *name, *cutoff;
} places[EC_METRICS] = {
    [EC_P_AT_1] = {"precision", "k=1"}, [EC_P_AT_5] = {"precision", "k=5"}, [EC_P_AT_10] = {"precision", "k=10"},
    [EC_MRR] = {"MRR", "k=N/A"},        [EC_MAP] = {"MAP", "k=N/A"},
};

static void put(json_t *root, ec_metric metric, json_t *value) {
    json_t *group = json_object_get(root, places[metric].name);
    if (!group) {
        group = json_object();
        json_object_set_new(root, places[metric].name, group);
    }
    json_object_set_new(group, places[metric].cutoff, value);
}

json_t *ec__retrieval_macro_json(const ec_retrieval_result *r) {
    json_t *root = json_object();
    for (int m = 0; m < EC_METRICS; m++) put(root, (ec_metric)m, json_real(r->macro[m]));
    return root;
}

json_t *ec__retrieval_per_class_json(const ec_retrieval_result *r, const char *const *class_names) {
    json_t *root = json_object();
    for (int m = 0; m < EC_METRICS; m++) {
        json_t *classes = json_object();
        for (int32_t c = 0; c < r->classes; c++)
            json_object_set_new(classes, class_names[r->class_label[c]], json_real(r->per_class[c][m]));
        put(root, (ec_metric)m, classes);
    }
    return root;
}

/* FOLDER/KIND/TASK_retrieval.json; takes over the reference to root. */
static ec_status write_file(const char *folder, const char *kind, const char *task, json_t *root) {
    ec_status status = EC_OK;
    char *parent = NULL, *path = NULL, *text = root ? json_dumps(root, JSON_INDENT(3)) : NULL;
    if (!text) EC_FAIL(EC_ERR_MEMORY, "no memory for the metrics of %s", task);
    EC_TRY(ec__path_join(folder, kind, &parent));
    EC_TRY(ec__make_folders(parent));
    EC_TRY(ec__format(&path, "%s/%s_retrieval.json", parent, task));
    EC_TRY(ec__file_write(path, text, strlen(text)));
done:
    json_decref(root);
    free(text);
    free(path);
    free(parent);
    return status;
}

ec_status ec__retrieval_write(const char *folder, const char *task, const ec_retrieval_result *result,
                              const char *const *class_names) {
    EC_RETURN_IF(write_file(folder, "macro", task, ec__retrieval_macro_json(result)));
    EC_RETURN_IF(write_file(folder, "per_class", task, ec__retrieval_per_class_json(result, class_names)));
    return EC_OK;
}
