#include "cli/verify.h"

#include "cache/json_text.h"

typedef struct tally {
    json_t *list; /* NULL without --json */
    int bad;
    ec_error first; /* of the first bad file */
} tally;

static ec_status note(tally *t, const char *path, ec_status found) {
    if (found != EC_OK && t->bad++ == 0) t->first = *ec_error_last();
    if (!t->list) return found == EC_OK ? cli_print("%s: good\n", path) : EC_OK;
    json_t *entry = json_pack("{s:o, s:b}", "path", ec__json_text(path), "good", found == EC_OK);
    if (entry && found != EC_OK) json_object_set_new(entry, "error", ec__json_text(ec_error_last()->text));
    if (json_array_append_new(t->list, entry) != 0) return EC_ERROR(EC_ERR_MEMORY, "no memory for a list of files");
    return EC_OK;
}

ec_status cli_verify_files(const cli_context *cli, const char *what,
                           ec_status (*check)(const char *path, const ec_progress *progress)) {
    ec_status status = EC_OK;
    tally t = {.list = cli->json ? json_array() : NULL};
    for (int i = 0; i < cli->argument_count; i++) {
        ec_status found = check(cli->argument[i], cli_progress(cli));
        cli_progress_end();
        EC_TRY(note(&t, cli->argument[i], found));
        /* The last error is main's to tell; those before it are told here, or they would be lost. */
        if (found != EC_OK && i + 1 < cli->argument_count) cli_print_error(cli->command, cli->verbose);
    }
    if (t.list) EC_TRY(cli_print_json(json_incref(t.list)));
    if (t.bad == 1 && cli->argument_count == 1) EC_TRY(ec__error_adopt(&t.first));
    if (t.bad > 0)
        EC_FAIL(t.first.code, "%d of %d %ss are bad; the first: %s", t.bad, cli->argument_count, what, t.first.text);
done:
    json_decref(t.list);
    return status;
}
