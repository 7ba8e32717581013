/* Processors and memory of this host. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "cli/doctor.h"
#include "core/pool.h"

/* The number after "name" at the start of a line of a small system file; -1 where there is none. */
static int64_t number_in(const char *path, const char *name) {
    char line[256];
    int64_t value = -1;
    FILE *stream = fopen(path, "re");
    if (!stream) return -1;
    while (value < 0 && fgets(line, sizeof line, stream))
        if (strncmp(line, name, strlen(name)) == 0) {
            char *end = NULL;
            long long number = strtoll(line + strlen(name), &end, 10);
            if (end != line + strlen(name)) value = number;
        }
    fclose(stream);
    return value;
}

static void read_processor_name(char *into, size_t size) {
    char line[256];
    FILE *stream = fopen("/proc/cpuinfo", "re");
    into[0] = '\0';
    if (!stream) return;
    while (!*into && fgets(line, sizeof line, stream)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) == 0 && colon)
            snprintf(into, size, "%s", colon + 1 + strspn(colon + 1, " "));
    }
    into[strcspn(into, "\n")] = '\0';
    fclose(stream);
}

static int64_t smaller(int64_t a, int64_t b) {
    if (a < 0) return b;
    if (b < 0) return a;
    return a < b ? a : b;
}

/* A container may have less memory than the host: its control group tells. */
static void read_memory(doctor_machine *m) {
    int64_t total = number_in("/proc/meminfo", "MemTotal:"), available = number_in("/proc/meminfo", "MemAvailable:");
    int64_t limit = number_in("/sys/fs/cgroup/memory.max", ""), used = number_in("/sys/fs/cgroup/memory.current", "");
    if (limit < 0) {
        limit = number_in("/sys/fs/cgroup/memory/memory.limit_in_bytes", "");
        used = number_in("/sys/fs/cgroup/memory/memory.usage_in_bytes", "");
    }
    m->memory = smaller(total < 0 ? -1 : total * 1024, limit);
    m->available = smaller(available < 0 ? -1 : available * 1024, limit >= 0 && used >= 0 ? limit - used : -1);
}

void doctor_look_at_machine(doctor_machine *out) {
    struct statvfs shared;
    *out = (doctor_machine){.shared = -1, .shared_free = -1};
    read_processor_name(out->processor, sizeof out->processor);
    out->usable = ec__processor_count();
    out->online = (int32_t)sysconf(_SC_NPROCESSORS_ONLN);
    read_memory(out);
    if (statvfs("/dev/shm", &shared) == 0) {
        out->shared = (int64_t)shared.f_blocks * (int64_t)shared.f_frsize;
        out->shared_free = (int64_t)shared.f_bavail * (int64_t)shared.f_frsize;
    }
}

void doctor_format_set(const cpu_set_t *set, char *into, size_t size) {
    size_t used = 0;
    into[0] = '\0';
    for (int first = 0; first < CPU_SETSIZE && used < size; first++) {
        if (!CPU_ISSET(first, set)) continue;
        int last = first;
        while (last + 1 < CPU_SETSIZE && CPU_ISSET(last + 1, set)) last++;
        used += (size_t)snprintf(into + used, size - used, "%s%d", used ? "," : "", first);
        if (last > first && used < size) used += (size_t)snprintf(into + used, size - used, "-%d", last);
        first = last;
    }
}
