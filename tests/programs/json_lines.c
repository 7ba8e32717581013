/* Is every line of the file an object in JSON, and the last one whole? usage: json_lines FILE */
#define _POSIX_C_SOURCE 200809L
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
    FILE *file = argc == 2 ? fopen(argv[1], "r") : NULL;
    char *line = NULL;
    size_t room = 0;
    int lines = 0, bad = 0;
    if (!file) return 2;
    for (ssize_t length; (length = getline(&line, &room, file)) > 0; lines++) {
        json_t *object = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
        if (!json_is_object(object) || line[length - 1] != '\n') {
            printf("line %d: %s\n", lines + 1, line);
            bad++;
        }
        json_decref(object);
    }
    free(line);
    fclose(file);
    return lines == 0 || bad > 0;
}
