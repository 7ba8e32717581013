#include "compute/about.h"

#include <dnnl.h>
#include <stdio.h>

/* A name for each bit that oneDNN adds from one instruction set to the next; the newest first. */
static const struct {
    unsigned bits;
    const char *name;
} sets[] = {
    {dnnl_cpu_isa_avx512_core_amx, "avx512 with amx"},
    {dnnl_cpu_isa_avx512_core_bf16, "avx512 with bf16"},
    {dnnl_cpu_isa_avx512_core_vnni, "avx512 with vnni"},
    {dnnl_cpu_isa_avx512_core, "avx512"},
    {dnnl_cpu_isa_avx2, "avx2"},
    {dnnl_cpu_isa_avx, "avx"},
    {dnnl_cpu_isa_sse41, "sse4.1"},
};

void ec__compute_about(ec_compute_about *out) {
    const dnnl_version_t *version = dnnl_version();
    unsigned isa = (unsigned)dnnl_get_effective_cpu_isa();
    snprintf(out->library, sizeof out->library, "oneDNN %d.%d.%d", version->major, version->minor, version->patch);
    out->bf16 = (isa & dnnl_cpu_isa_avx512_core_bf16) == dnnl_cpu_isa_avx512_core_bf16;
    out->instructions = "no vector instructions that it knows";
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++)
        if ((isa & sets[i].bits) == sets[i].bits) {
            out->instructions = sets[i].name;
            break;
        }
}
