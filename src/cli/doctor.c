/* emoclim doctor: what is installed, and can the ranks talk? */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/about.h"
#include "cli/commands.h"
#include "cli/doctor.h"
#include "compute/about.h"
#include "compute/backend.h"
#include "dist/about.h"
#include "media/about.h"

enum { TEXT = 160, MOST_WARNINGS = 8 };

typedef struct report {
    doctor_machine machine;
    ec_compute_about compute;
    ec_gpu_about gpu;
    char files[TEXT], exchange[TEXT];
    const char *ffmpeg, *launcher; /* NULL: none */
    char backend[TEXT];
    int32_t width;
    char warning[MOST_WARNINGS][5 * TEXT]; /* one names two paths */
    int warnings;
    doctor_talk talk;
} report;

static void warn(report *r, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void warn(report *r, const char *format, ...) {
    va_list args;
    if (r->warnings == MOST_WARNINGS) return;
    va_start(args, format);
    vsnprintf(r->warning[r->warnings++], sizeof r->warning[0], format, args);
    va_end(args);
}

static ec_status look_at_build(report *r) {
    ec_status status = EC_OK;
    ec_backend *be = NULL;
    doctor_look_at_machine(&r->machine);
    ec__compute_about(&r->compute);
    ec__gpu_about(&r->gpu);
    ec__cache_about(r->files, sizeof r->files);
    ec__dist_about(r->exchange, sizeof r->exchange);
    if (ec__media_ffmpeg(&r->ffmpeg) != EC_OK) {
        warn(r, "%s", ec_error_last()->text);
        ec_error_clear();
    }
    r->launcher = ec__dist_launcher();
    EC_TRY(ec__backend_open("auto", 0, &be));
    snprintf(r->backend, sizeof r->backend, "%s", be->name);
    r->width = be->width(be);
done:
    if (be) be->close(be);
    return status;
}

/* Ranks of a host that share a processor take turns, and each waits for the others in every exchange. */
static void judge_ranks(report *r, const ec_comm *comm) {
    for (int32_t i = 0; i < comm->size; i++) {
        const doctor_rank *a = &r->talk.rank[i];
        cpu_set_t all;
        int32_t together = 0;
        bool first = true;
        CPU_ZERO(&all);
        for (int32_t k = 0; k < comm->size; k++) {
            if (strcmp(r->talk.rank[k].host, a->host) != 0) continue;
            first = first && k >= i;
            together++;
            CPU_OR(&all, &all, &r->talk.rank[k].set);
        }
        if (first && together > CPU_COUNT(&all))
            warn(r, "%d ranks of host %s share %d processors: they take turns", together, a->host, CPU_COUNT(&all));
    }
    if (!r->talk.sums_right) warn(r, "a sum over the ranks came out wrong");
}

static void judge(report *r, const ec_comm *comm) {
    const int64_t gib = 1 << 30;
    if (comm->size > 1) judge_ranks(r, comm);
    if (r->machine.available >= 0 && r->machine.available < gib) warn(r, "less than 1 GiB of memory is free");
    if (comm->node_size > 1 && r->machine.shared_free >= 0 && r->machine.shared_free < gib / 4)
        warn(r, "/dev/shm has %lld MiB free: ranks of this host may not be able to share memory",
             (long long)(r->machine.shared_free >> 20));
}

static void format_bytes(int64_t bytes, char into[32]) {
    if (bytes < 0) snprintf(into, 32, "unknown");
    else snprintf(into, 32, "%.1f GiB", (double)bytes / (double)(1 << 30));
}

static ec_status print_gpus(const report *r) {
    const ec_gpu_about *g = &r->gpu;
    if (g->count == 0) EC_RETURN_IF(cli_print("gpu         none: %s\n", g->missing));
    for (int32_t i = 0; i < g->count && i < EC_GPUS; i++)
        EC_RETURN_IF(cli_print("%s GPU %d: %s\n", i == 0 ? "gpu        " : "           ", i, g->gpu[i].text));
    if (g->count > EC_GPUS) EC_RETURN_IF(cli_print("            and %d more\n", g->count - EC_GPUS));
    if (!*g->module) return EC_OK;
    EC_RETURN_IF(cli_print("            %s\n", g->versions));
    return cli_print("            module %s%s\n", g->module,
                     g->emulated ? ", emulated: the CPU computes, for tests" : "");
}

static ec_status print_machine(const report *r) {
    char memory[32], available[32], shared[32];
    format_bytes(r->machine.memory, memory);
    format_bytes(r->machine.available, available);
    format_bytes(r->machine.shared_free, shared);
    EC_RETURN_IF(cli_print("emoclim     %s\n", EMOCLIM_VERSION));
    EC_RETURN_IF(cli_print("processors  %d of %d usable%s%s\n", r->machine.usable, r->machine.online,
                           *r->machine.processor ? ", " : "", r->machine.processor));
    EC_RETURN_IF(cli_print("memory      %s, %s free; /dev/shm %s free\n", memory, available, shared));
    EC_RETURN_IF(cli_print("arithmetic  back end %s, %d threads; %s, %s%s\n", r->backend, r->width, r->compute.library,
                           r->compute.instructions, r->compute.bf16 ? "" : ", no bf16"));
    EC_RETURN_IF(print_gpus(r));
    EC_RETURN_IF(cli_print("files       %s\n", r->files));
    EC_RETURN_IF(cli_print("media       JPEG, PNG%s%s%s\n", r->ffmpeg || !EMOCLIM_HAVE_FFMPEG ? ", WAV" : "",
                           r->ffmpeg ? ", and what FFmpeg reads: " : "", r->ffmpeg ? r->ffmpeg : ""));
    return cli_print("exchange    %s\n", r->exchange);
}

static ec_status print_ranks(const report *r, const ec_comm *comm) {
    if (comm->size == 1)
        return cli_print("ranks       1%s%s; \"mpirun -np N emoclim doctor\" tests several\n",
                         r->launcher ? ", started by " : "", r->launcher ? r->launcher : "");
    EC_RETURN_IF(
        cli_print("ranks       %d, started by %s\n", comm->size, r->launcher ? r->launcher : "an unknown launcher"));
    for (int32_t i = 0; i < comm->size; i++) {
        char set[128];
        doctor_format_set(&r->talk.rank[i].set, set, sizeof set);
        EC_RETURN_IF(cli_print("  %4d      host %s, process %lld, processors %s\n", i, r->talk.rank[i].host,
                               (long long)r->talk.rank[i].pid, set));
    }
    return cli_print("            barrier %.1f us, all-gather of 1 MiB a rank %.0f us, sums %s\n", r->talk.barrier_us,
                     r->talk.gather_us, r->talk.sums_right ? "right" : "WRONG");
}

static ec_status print_text(const report *r, const ec_comm *comm) {
    EC_RETURN_IF(print_machine(r));
    EC_RETURN_IF(print_ranks(r, comm));
    for (int i = 0; i < r->warnings; i++) EC_RETURN_IF(cli_print("warning: %s\n", r->warning[i]));
    return r->warnings ? EC_OK : cli_print("all is well\n");
}

static json_t *gpus_json(const ec_gpu_about *g) {
    json_t *list = json_array();
    for (int32_t i = 0; i < g->count && i < EC_GPUS && list; i++)
        json_array_append_new(list, json_pack("{s:i, s:s, s:b}", "gpu", i, "text", g->gpu[i].text, "usable",
                                              g->gpu[i].usable));
    return json_pack("{s:o, s:s, s:s, s:s, s:b}", "gpus", list, "gpu_missing", g->missing, "gpu_versions", g->versions,
                     "gpu_module", g->module, "gpu_emulated", g->emulated);
}

static json_t *ranks_json(const report *r, const ec_comm *comm) {
    json_t *list = json_array();
    for (int32_t i = 0; i < comm->size && list; i++) {
        char set[128];
        doctor_format_set(&r->talk.rank[i].set, set, sizeof set);
        json_array_append_new(list, json_pack("{s:i, s:s, s:I, s:s}", "rank", i, "host", r->talk.rank[i].host,
                                              "process", (json_int_t)r->talk.rank[i].pid, "processors", set));
    }
    return list;
}

static ec_status print_json(const report *r, const ec_comm *comm) {
    json_t *warnings = json_array();
    for (int i = 0; i < r->warnings && warnings; i++) json_array_append_new(warnings, json_string(r->warning[i]));
    const doctor_machine *m = &r->machine;
    json_t *root =
        json_pack("{s:s, s:s, s:i, s:i, s:I, s:I, s:I, s:s, s:i, s:s, s:s, s:b, s:s, s:s?, s:s, s:s?}", "version",
                  EMOCLIM_VERSION, "processor", m->processor, "processors_usable", m->usable, "processors_online",
                  m->online, "memory_bytes", (json_int_t)m->memory, "memory_available_bytes", (json_int_t)m->available,
                  "shared_memory_free_bytes", (json_int_t)m->shared_free, "backend", r->backend, "threads", r->width,
                  "arithmetic", r->compute.library, "instructions", r->compute.instructions, "bf16", r->compute.bf16,
                  "files", r->files, "ffmpeg", r->ffmpeg, "exchange", r->exchange, "launcher", r->launcher);
    json_t *talk = json_pack("{s:o, s:f, s:f, s:b}", "ranks", ranks_json(r, comm), "barrier_us", r->talk.barrier_us,
                             "all_gather_1mib_us", r->talk.gather_us, "sums_right", r->talk.sums_right);
    if (!root || !talk || json_object_update_new(root, talk) != 0 ||
        json_object_update_new(root, gpus_json(&r->gpu)) != 0 ||
        json_object_set_new(root, "warnings", warnings) != 0) {
        json_decref(root);
        return EC_ERROR(EC_ERR_MEMORY, "no memory for the JSON output");
    }
    return cli_print_json(root);
}

static ec_status run(const cli_context *cli, const void *values) {
    (void)values;
    ec_status status = EC_OK;
    ec_comm *comm = NULL;
    report *r = calloc(1, sizeof *r);
    if (!r) EC_FAIL(EC_ERR_MEMORY, "no memory for a report");
    EC_TRY(ec__comm_open("auto", &comm));
    cli_set_ranks(comm->rank, comm->size);
    EC_TRY(ec__comm_agree(comm, look_at_build(r)));
    EC_TRY(doctor_let_ranks_talk(comm, &r->talk));
    judge(r, comm);
    if (comm->rank == 0) EC_TRY(cli->json ? print_json(r, comm) : print_text(r, comm));
    if (!r->talk.sums_right) EC_FAIL(EC_ERR_DIST, "a sum over the ranks came out wrong");
done:
    if (r) free(r->talk.rank);
    free(r);
    ec__comm_close(comm);
    return status;
}

const cli_command cli_doctor = {
    .name = "doctor",
    .summary = "Tell what is installed, and under mpirun whether the ranks can talk.",
    .details = "\"mpirun -np 4 emoclim doctor\" opens the communicator of a run, exchanges data between all ranks, "
               "checks what "
               "arrives and takes the time. Include its output when you report a problem.",
    .run = run,
};
