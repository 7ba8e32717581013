/* emoclim import: encoder weights from other programs' files, under canonical names. */
#include <string.h>

#include "cache/json_text.h"
#include "cli/commands.h"
#include "cli/session.h"
#include "nn/encoder_weights.h"
#include "nn/safetensors.h"

typedef struct import_options {
    const char *weights, *out;
    int kind;
} import_options;

static const char *const kinds[] = {"auto", "clip_vit", "shortchunk", NULL};

static const cli_option options[] = {
    {.name = "weights", .letter = 'w', .type = CLI_TEXT, .argument = "FILE",
     .help = "safetensors file with an encoder's weights",
     .offset = offsetof(import_options, weights)},
    {.name = "kind", .type = CLI_CHOICE, .argument = "KIND", .choices = kinds, .offset = offsetof(import_options, kind),
     .help = "clip_vit or shortchunk (default: whichever the file has)"},
    {.name = "out", .letter = 'o', .type = CLI_TEXT, .argument = "FILE", .help = "safetensors file to write",
     .offset = offsetof(import_options, out)},
    {0},
};

static ec_status choose_kind(const import_options *o, const ec_tensor_source *source, ec_encoder_kind *out) {
    bool has[EC_ENCODERS];
    if (o->kind > 0) return ec__encoder_kind_parse(kinds[o->kind], out);
    EC_RETURN_IF(ec__encoder_weights_recognize(source, has));
    if (has[EC_ENCODER_CLIP_VIT] && has[EC_ENCODER_SHORTCHUNK])
        return EC_ERROR(EC_ERR_USAGE, "%s has both encoders; choose one with --kind clip_vit or --kind shortchunk",
                        o->weights);
    if (!has[EC_ENCODER_CLIP_VIT] && !has[EC_ENCODER_SHORTCHUNK])
        return EC_ERROR(EC_ERR_DATA,
                        "%s has neither a CLIP image encoder (names visual.* or vision_model.*) nor a "
                        "ShortChunkCNN_Res (names layer1.* or cnn_layers.0.*), with or without an Emo-CLIM prefix",
                        o->weights);
    *out = has[EC_ENCODER_CLIP_VIT] ? EC_ENCODER_CLIP_VIT : EC_ENCODER_SHORTCHUNK;
    return EC_OK;
}

static ec_status print(const cli_context *cli, const import_options *o, const ec_encoder_info *info) {
    if (cli->json)
        return cli_print_json(json_pack("{s:o, s:o, s:s, s:o?, s:I, s:i, s:s}", "path", ec__json_text(o->out), "from",
                                        ec__json_text(o->weights),
                                        "encoder", info->name, "architecture", json_loads(info->architecture, 0, NULL),
                                        "parameters", (json_int_t)info->parameters, "embedding", (int)info->embedding,
                                        "sha256", info->sha256));
    return cli_print("%s\nencoder: %s\narchitecture: %s\nparameters: %lld\nembedding width: %d\n"
                     "sha256 of the weights: %s\n",
                     o->out, info->name, info->architecture, (long long)info->parameters, (int)info->embedding,
                     info->sha256);
}

static ec_status run(const cli_context *cli, const void *values) {
    ec_status status = EC_OK;
    const import_options *o = values;
    cli_session session = {0};
    ec_safetensors *file = NULL;
    ec_encoder *encoder = NULL;
    ec_weights weights = {0};
    ec_encoder_options encoder_options = {0};
    if (!o->weights) EC_FAIL(EC_ERR_USAGE, "--weights is missing");
    if (!o->out) EC_FAIL(EC_ERR_USAGE, "--out is missing");
    EC_TRY(cli_session_open(&(cli_session_options){.comm = "self"}, &session));
    EC_TRY(ec__safetensors_open(o->weights, &file));
    const ec_tensor_source source = ec__safetensors_source(file);
    EC_TRY(choose_kind(o, &source, &encoder_options.kind));
    /* Opened as training would: what is written is known to work. */
    encoder_options.source = &source;
    EC_TRY(ec__encoder_open(session.be, &encoder_options, &encoder));
    const ec_encoder_info *info = ec__encoder_info(encoder);
    const char *const metadata[][2] = {{"encoder", info->name}, {"architecture", info->architecture},
                                       {"sha256", info->sha256}};
    EC_TRY(ec__encoder_weights_read(encoder_options.kind, &source, &weights));
    EC_TRY(ec__encoder_weights_write(&weights, o->out, metadata, 3));
    EC_TRY(print(cli, o, info));
done:
    ec__weights_release(&weights);
    ec__encoder_free(encoder);
    ec__safetensors_close(file);
    cli_session_close(&session, status);
    return status;
}

const cli_command cli_import = {
    .name = "import",
    .summary = "Bring encoder weights under canonical names and say what they are.",
    .details = "Understands the names of OpenAI's CLIP, of Hugging Face's CLIP, of ShortChunkCNN_Res, and of a whole "
               "Emo-CLIM model (prefixes image_backbone.model. and audio_backbone.). The SHA-256 is of the weights, "
               "not of the file: it is the same whatever names they came under. Conversion is not needed: "
               "image_backbone.weights and audio_backbone.weights take all of these names.",
    .options = options,
    .values_size = sizeof(import_options),
    .run = run,
};
