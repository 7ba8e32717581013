/* Which music goes with this picture? The public library in one page.
 *
 *     search CHECKPOINT INDEX PICTURE [K]
 *
 * CHECKPOINT comes from "emoclim train", INDEX from "emoclim embed --modality music". Build:
 *
 *     cc search.c $(pkg-config --cflags --libs emoclim) -o search
 */
#include <emoclim/emoclim.h>
#include <stdio.h>
#include <stdlib.h>

static ec_status search(const char *checkpoint, const char *music, const char *picture, int32_t k) {
    ec_status status;
    ec_model *model = NULL;
    ec_index *index = NULL;
    int32_t found = 0;
    float *query = NULL;
    ec_match *match = calloc((size_t)k, sizeof *match);
    if (!match) return EC_ERR_MEMORY;
    if ((status = ec_model_open(checkpoint, 0, &model)) != EC_OK) goto done;
    if ((status = ec_index_open(music, 0, &index)) != EC_OK) goto done;
    if ((status = ec_index_check_model(index, model)) != EC_OK) goto done;
    query = calloc((size_t)ec_model_width(model), sizeof *query);
    if (!query) status = EC_ERR_MEMORY;
    if (!query || (status = ec_model_embed_image(model, picture, query)) != EC_OK) goto done;
    if ((status = ec_index_search(index, query, k, match, &found)) != EC_OK) goto done;
    for (int32_t i = 0; i < found; i++) {
        const char *label = ec_index_label(index, match[i].item);
        printf("%4d  %7.4f  %-10s  %s\n", (int)i + 1, match[i].score, label ? label : "-",
               ec_index_id(index, match[i].item));
    }
done:
    ec_index_close(index);
    ec_model_close(model);
    free(query);
    free(match);
    return status;
}

int main(int argc, char **argv) {
    int k = argc == 5 ? atoi(argv[4]) : 10;
    if ((argc != 4 && argc != 5) || k < 1) {
        fprintf(stderr, "usage: %s CHECKPOINT INDEX PICTURE [K]\n", argv[0]);
        return 2;
    }
    ec_status status = search(argv[1], argv[2], argv[3], k);
    if (status == EC_OK) return 0;
    fprintf(stderr, "%s: %s\n", ec_status_name(status), ec_error_last()->text);
    return ec_status_exit_code(status);
}
