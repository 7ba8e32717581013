#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/config.h"
#include "core/file.h"
#include "support.h"

/* The least that a configuration must say. */
#define CACHES "dataset: {image_cache: i.h5, audio_cache: a.h5}\n"

static ec_status parse(const char *text, ec_config **out) {
    return ec__config_parse("t.yaml", "/", text, strlen(text), NULL, 0, out);
}

static ec_status parse_with(const char *text, const char *override, ec_config **out) {
    return ec__config_parse("t.yaml", "/", text, strlen(text), &override, 1, out);
}

static ec_config *parsed(const char *text) {
    ec_config *config = NULL;
    CHECK_OK(parse(text, &config));
    return config;
}

static void test_defaults_are_those_of_the_paper(void **state) {
    (void)state;
    ec_config *c = parsed(CACHES);
    assert_string_equal(c->dataset.image_cache, "/i.h5");
    assert_null(c->dataset.image_manifest);
    assert_int_equal(c->dataset.class_names.count, 0);
    assert_int_equal(c->training.batch_size, 64);
    assert_int_equal(c->training.max_epochs, 30);
    assert_int_equal(c->training.optimizer, EC_CONFIG_ADAMW);
    assert_true(c->training.learning_rate == 1e-4);
    assert_true(c->training.eps == 1e-8);
    assert_true(c->training.weight_decay == 0.01);
    assert_true(c->training.loss_temperature == 0.07);
    assert_true(c->training.loss_weights.audio2image == 0.25);
    assert_int_equal(c->full_model.hidden_dim, 256);
    assert_int_equal(c->full_model.output_dim, 128);
    assert_true(c->full_model.dropout == 0.2);
    assert_true(c->full_model.normalize_inputs);
    assert_false(c->full_model.multi_task);
    assert_int_equal(c->image_backbone.width, 768);
    assert_int_equal(c->audio_backbone.clip_length, 59049);
    assert_int_equal(c->distributed.shards, 8);
    assert_int_equal(c->distributed.reduction, EC_CONFIG_REPRODUCIBLE);
    assert_int_equal(c->logging.level, EC_LOG_INFO);
    assert_true(c->checkpoint.best);
    assert_non_null(strstr(c->checkpoint.folder, "/runs/emoclim/checkpoints"));
    ec__config_free(c);
    ec__config_free(NULL);
}

static void test_every_type_is_read(void **state) {
    (void)state;
    ec_config *c =
        parsed(CACHES "audio_augment: {crop: random, views: 8, overlap: .5}\n"
                      "full_model:\n  multi_task: True # a comment\n"
                      "training:\n"
                      "  learning_rate: 3E-3\n  weight_decay: 1\n  batch_size: +128\n  seed: 9007199254740991\n"
                      "  loss_weights:\n    image2image: 0\n  init: 'it''s.h5'\n"
                      "checkpoint:\n  best_metric: \"map\"\n"
                      "logging:\n  # all commented out\n");
    assert_int_equal(c->audio_augment.crop, EC_CONFIG_CROP_RANDOM);
    assert_true(c->audio_augment.overlap == 0.5);
    assert_true(c->full_model.multi_task);
    assert_true(c->training.learning_rate == 3e-3);
    assert_true(c->training.weight_decay == 1);
    assert_int_equal(c->training.batch_size, 128);
    assert_true(c->training.seed == 9007199254740991);
    assert_true(c->training.loss_weights.image2image == 0);
    assert_true(c->training.loss_weights.audio2audio == 0.25);
    assert_string_equal(c->training.init, "/it's.h5");
    assert_int_equal(c->checkpoint.best_metric, EC_CONFIG_BEST_MAP);
    ec__config_free(c);
    c = parsed("\xEF\xBB\xBF" CACHES); /* a byte order mark */
    ec__config_free(c);
    c = parsed("dataset:\n  image_cache: i\n  audio_cache: a\n  class_names: [happy, \"no\", 7, a b]\n");
    assert_int_equal(c->dataset.class_names.count, 4);
    assert_string_equal(c->dataset.class_names.item[1], "no");
    assert_string_equal(c->dataset.class_names.item[3], "a b");
    ec__config_free(c);
}

/* YAML text and what the message must say: place, what was found, what is legal. */
static const struct {
    const char *yaml, *message;
} wrong[] = {
    /* names */
    {CACHES "full_model:\n  ouput_dim: 3\n", "t.yaml:3:3: unknown key full_model.ouput_dim; did you mean output_dim?"},
    {CACHES "trainin: {}\n", "t.yaml:2:1: unknown section trainin; did you mean training?"},
    {CACHES "training:\n  learn_rate: 1\n", "t.yaml:3:3: unknown key training.learn_rate; Emo-CLIM's name for what is "
                                            "training.learning_rate here"},
    {CACHES "training:\n  views: 1\n",
     "unknown key training.views; did you mean image_augment.views or audio_augment.views?"},
    {CACHES "training:\n  loss_weights:\n    audio2imge: 1\n",
     "t.yaml:4:5: unknown key training.loss_weights.audio2imge; "
     "did you mean audio2image?"},
    {CACHES "training:\n  qqqqqqqq: 1\n", "unknown key training.qqqqqqqq; \"emoclim config print --schema\" lists all"},
    {CACHES "training.seed: 1\n", "unknown section training.seed"},
    {CACHES "training:\n  loss_weights.image2image: 1\n", "unknown key training.loss_weights.image2image"},
    {CACHES "training:\n  [a]: 1\n", "t.yaml:3:3: found a list as a key, expected a name"},
    {CACHES "training:\n  ? {a: 1}\n  : 1\n", "found a mapping as a key"},
    {CACHES "training:\n  \"\": 1\n", "unknown key training."},
    {CACHES "training:\n  \"a\\0b\": 1\n", "found a NUL byte in a key"},
    {CACHES "training:\n  <<: {seed: 1}\n", "unknown key training.<<"},
    /* twice */
    {CACHES "training:\n  seed: 1\n  seed: 2\n", "t.yaml:4:3: training.seed is given twice; the first time in line 3"},
    {CACHES "training:\n  seed: 1\ntraining:\n  eps: 1\n",
     "t.yaml:4:1: training is given twice; the first time in line 2"},
    {CACHES "training:\n  loss_weights: {}\n  loss_weights: {}\n", "training.loss_weights is given twice"},
    {CACHES "audio_augment:\n  views: 1\n  views: 1\n", "t.yaml:4:3: audio_augment.views is given twice"},
    /* whole numbers */
    {CACHES "training:\n  batch_size: many\n",
     "t.yaml:3:15: training.batch_size: found \"many\", expected a whole number"},
    {CACHES "training:\n  batch_size: \"64\"\n",
     "training.batch_size: found the quoted text \"64\", expected a whole number"},
    {CACHES "training:\n  batch_size: 64.0\n", "found \"64.0\", expected a whole number of at least 2"},
    {CACHES "training:\n  batch_size: 1\n", "found \"1\", expected a whole number of at least 2"},
    {CACHES "training:\n  batch_size: 016\n", "found \"016\""},
    {CACHES "training:\n  batch_size: 0x10\n", "found \"0x10\""},
    {CACHES "training:\n  batch_size: 1_000\n", "found \"1_000\""},
    {CACHES "training:\n  batch_size: 1e3\n", "found \"1e3\""},
    {CACHES "training:\n  batch_size: -64\n", "found \"-64\""},
    {CACHES "training:\n  batch_size: 99999999999999999999999\n", "found \"99999999999999999999999\""},
    {CACHES "training:\n  batch_size:\n", "training.batch_size: found \"\", expected a whole number"},
    {CACHES "training:\n  batch_size: true\n", "found \"true\", expected a whole number"},
    {CACHES "training:\n  batch_size: [64]\n",
     "t.yaml:3:15: training.batch_size: found a list, expected a whole number"},
    {CACHES "training:\n  batch_size: {a: 1}\n", "training.batch_size: found a mapping, expected a whole number"},
    {CACHES "image_backbone: {layers: 65}\n", "found \"65\", expected a whole number from 1 to 64"},
    {CACHES "training:\n  seed: 9007199254740992\n", "training.seed: found \"9007199254740992\""},
    /* numbers */
    {CACHES "training:\n  learning_rate: .nan\n",
     "t.yaml:3:18: training.learning_rate: found \".nan\", expected a number"},
    {CACHES "training:\n  learning_rate: nan\n", "found \"nan\""},
    {CACHES "training:\n  learning_rate: .inf\n", "found \".inf\""},
    {CACHES "training:\n  learning_rate: inf\n", "found \"inf\""},
    {CACHES "training:\n  learning_rate: 1e999\n", "found \"1e999\""},
    {CACHES "training:\n  learning_rate: 0x1p-3\n", "found \"0x1p-3\""},
    {CACHES "training:\n  learning_rate: 0\n", "found \"0\", expected a number above 0 and at most 100"},
    {CACHES "training:\n  learning_rate: -1e-3\n", "found \"-1e-3\""},
    {CACHES "training:\n  learning_rate: 1e\n", "found \"1e\""},
    {CACHES "training:\n  learning_rate: 1.2.3\n", "found \"1.2.3\""},
    {CACHES "training:\n  learning_rate: '0.1'\n", "found the quoted text \"0.1\""},
    {CACHES "training:\n  loss_temperature: 0\n", "training.loss_temperature: found \"0\", expected a number above 0"},
    {CACHES "full_model:\n  dropout: 1\n", "full_model.dropout: found \"1\", expected a number at least 0 and below 1"},
    {CACHES "full_model:\n  dropout: -0.1\n", "full_model.dropout: found \"-0.1\""},
    {CACHES "training:\n  beta1: 1.0\n", "training.beta1: found \"1.0\""},
    {CACHES "training:\n  beta1: 0.99999999\n", "below 1; float32 rounds it to that limit"},
    {CACHES "training:\n  eps: 1e-50\n", "training.eps: found \"1e-50\", expected a number above 0 and at most 1; "
     "float32 has nothing so near to 0"},
    {CACHES "training:\n  gradient_clip: 1e-45\n", "training.gradient_clip: found \"1e-45\", expected a number of at "
     "least 0; float32 has nothing so near to 0"},
    {CACHES "training:\n  gradient_clip: 1e39\n", "training.gradient_clip: found \"1e39\", expected a number of at "
     "least 0 and at most "},
    {CACHES "training:\n  gradient_clip: 1e400\n", "expected a number of at least 0 and at most "},
    {CACHES "training:\n  loss_weights: {image2image: -1}\n", "training.loss_weights.image2image: found \"-1\""},
    {CACHES "distributed: {deadline_s: 0}\n", "distributed.deadline_s: found \"0\""},
    /* truth values, choices, texts, lists */
    {CACHES "full_model:\n  multi_task: yes\n",
     "t.yaml:3:15: full_model.multi_task: found \"yes\", expected true or false"},
    {CACHES "full_model:\n  multi_task: 1\n", "found \"1\", expected true or false"},
    {CACHES "full_model:\n  multi_task: \"true\"\n", "found the quoted text \"true\", expected true or false"},
    {CACHES "training:\n  optimizer: adamv\n",
     "training.optimizer: found \"adamv\", expected one of adam, adamw; did you mean adam?"},
    {CACHES "training:\n  schedule: zzz\n", "training.schedule: found \"zzz\", expected one of constant, cosine"},
    {CACHES "distributed: {device: gpu}\n", "distributed.device: found \"gpu\", expected one of auto, cpu, cuda"},
    {CACHES "audio_backbone: {name: vgg}\n", "audio_backbone.name: found \"vgg\", expected shortchunk"},
    {CACHES "training:\n  init: \"\"\n", "training.init: found an empty text"},
    {CACHES "training:\n  init: \"a\\0b\"\n", "training.init: found a NUL byte"},
    {CACHES "training:\n  init: \"a\\nb\"\n", "training.init: found a control character at byte 2"},
    {CACHES "training:\n  init: \"a\\x85\"\n", "training.init: found a control character at byte 2"},
    {CACHES "training:\n  init: [a, b]\n", "training.init: found a list, expected a path or null"},
    {"dataset: {image_cache: i, audio_cache: null}", "dataset.audio_cache: found \"null\", expected a path"},
    {"dataset: {image_cache: i, audio_cache: a, class_names: happy}",
     "dataset.class_names: found \"happy\", expected a list"},
    {"dataset: {image_cache: i, audio_cache: a, class_names: [a, [b]]}",
     "dataset.class_names: found a list in the list"},
    {"dataset: {image_cache: i, audio_cache: a, class_names: [a, b, a]}", "dataset.class_names: found \"a\" twice"},
    {"dataset: {image_cache: i, audio_cache: a, class_names: [a, null]}",
     "dataset.class_names: found \"null\" in the list"},
    {"dataset: {image_cache: i, audio_cache: a, class_names: [a, '']}", "dataset.class_names: found an empty text"},
    {"dataset: {image_cache: i, audio_cache: a, class_names: {a: b}}", "dataset.class_names: found a mapping"},
    /* the document */
    {"", "t.yaml:1:1: nothing stands here"},
    {"# nothing\n", "nothing stands here"},
    {"---\n", "t.yaml:2:1: found nothing, expected sections"},
    {"[1, 2]\n", "t.yaml:1:1: found a list, expected sections"},
    {"text\n", "t.yaml:1:1: found \"text\", expected sections"},
    {CACHES "training: 3\n", "t.yaml:2:11: training: found \"3\", expected keys with values"},
    {CACHES "training: [seed]\n", "training: found a list, expected keys with values"},
    {CACHES "---\ntraining: {seed: 1}\n", "t.yaml:2:1: a second document begins here"},
    {CACHES "training:\n\tseed: 1\n",
     "t.yaml:3:1: not YAML: while scanning for the next token, found character that cannot "
     "start any token; there is a tab here"},
    {CACHES "training: {seed: 1\n", "t.yaml:3:1: not YAML: "},
    {CACHES "training:\n  seed: 1\n eps: 2\n", "t.yaml:4:2: not YAML: "},
    {CACHES "training: &a {seed: 1}\n", "t.yaml:2:11: found the anchor &a; anchors are not used here"},
    {CACHES "training: *a\n", "t.yaml:2:11: found the alias *a; aliases are not used here"},
    {CACHES "training:\n  seed: &b 1\n", "t.yaml:3:9: found the anchor &b"},
    {CACHES "training:\n  seed: !!int 1\n", "t.yaml:3:9: found the tag tag:yaml.org,2002:int; tags are not used here"},
    {CACHES "training: !x {seed: 1}\n", "found the tag !x"},
    {CACHES "training:\n  &k seed: 1\n", "found the anchor &k"},
    {"a: &a [x, x]\nb: &b [*a, *a]\n", "t.yaml:1:1: unknown section a"},
    {CACHES "training:\n  init: a\xFF.h5\n",
     "t.yaml:3:10: invalid leading UTF-8 octet (byte 67, value 0xFF); a configuration is UTF-8"},
    {CACHES "training:\n  init: a\x01.h5\n", "t.yaml:3:10: control characters are not allowed"},
    {"\xFF\xFE"
     "d\0a\0",
     "t.yaml:1:1: invalid leading UTF-8 octet"},
    /* required keys, and rules between keys */
    {"training: {seed: 1}\n", "t.yaml: dataset.image_cache is missing: HDF5 file of picture features"},
    {"dataset: {image_cache: i}\n", "t.yaml: dataset.audio_cache is missing"},
    {"dataset: {image_cache: x, audio_cache: ./x}\n",
     "t.yaml:1:24: dataset.image_cache and dataset.audio_cache are the same file, /x"},
    {CACHES "training:\n  batch_size: 60\n",
     "t.yaml:3:15: training.batch_size = 60 must be a multiple of distributed.shards = 8, as "
     "56 or 64 would be"},
    {CACHES "training:\n  batch_size: 4\n", "distributed.shards = 8, as 8 would be"},
    {CACHES "distributed:\n  shards: 7\n",
     "t.yaml:3:11: training.batch_size = 64 must be a multiple of distributed.shards = 7, as 63 "
     "or 70 would be"},
    {CACHES "training:\n  accumulate: 9\n", "t.yaml:3:15: training.accumulate = 9 is more than the 8 pieces"},
    {CACHES "training: {loss_weights: {image2image: 0, audio2audio: 0, image2audio: 0, audio2image: 0}}\n",
     "t.yaml:2:40: all four training.loss_weights are 0"},
    {CACHES "training: {max_epochs: 0}\n", "t.yaml:2:24: training.max_epochs and training.max_steps are both 0"},
    {CACHES "training: {schedule: cosine, warmup_steps: 50, max_steps: 50}\n",
     "training.warmup_steps = 50 leaves nothing of the 50 "
     "steps"},
    {CACHES "training: {validate_every: 0}\ncheckpoint: {best: true}\n",
     "t.yaml:3:20: checkpoint.best needs validation"},
    {CACHES "image_backbone: {heads: 8}\n",
     "t.yaml:2:25: image_backbone.width = 768 must be 64 * image_backbone.heads = 512"},
    {CACHES "image_backbone: {patch: 33}\n", "image_backbone.patch = 33 must divide image_backbone.resolution = 224"},
    {CACHES "audio_augment: {views: 2}\n", "t.yaml:2:24: audio_augment.views = 2 needs audio_augment.crop: random"},
};

static void test_wrong_texts(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        ec_config *config = NULL;
        CHECK_ERROR(parse(wrong[i].yaml, &config), EC_ERR_CONFIG, wrong[i].message);
        assert_null(config);
    }
}

static const struct {
    const char *override, *message;
} wrong_overrides[] = {
    {"training.seeed=1", "command line: unknown key training.seeed; did you mean seed?"},
    {"trianing.seed=1", "command line: unknown section trianing.seed"},
    {"seed=1",
     "command line: unknown section seed; did you mean image_backbone.seed or audio_backbone.seed or training.seed?"},
    {"training.seed", "command line: found \"training.seed\", expected section.key=value"},
    {"=1", "command line: found \"=1\", expected section.key=value"},
    {"training.seed=", "command line: training.seed: found \"~\", expected a whole number"},
    {"training.seed=x", "command line: training.seed: found \"x\", expected a whole number"},
    {"training.seed=[1", "command line: training.seed: found a list"},
    {"training.optimizer=adamm", "command line: training.optimizer: found \"adamm\""},
    {"training.loss_weights={audio2imge: 1}", "command line: unknown key training.loss_weights.audio2imge"},
    {"training.init={a", "command line: training.init: found a mapping"},
    {"training.init='a", "command line: not YAML: "},
    {"training.init=a: b: c", "command line: "},
    {"training.seed=1\n--- 2", "command line: a second document"},
    {"training.batch_size=60", "command line: training.batch_size = 60 must be a multiple"},
    {"distributed.shards=7", "command line: training.batch_size = 64 must be a multiple of distributed.shards = 7"},
    {"training.loss_weights.image2image=-1", "command line: training.loss_weights.image2image: found \"-1\""},
};

static void test_overrides(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof wrong_overrides / sizeof wrong_overrides[0]; i++) {
        ec_config *config = NULL;
        CHECK_ERROR(parse_with(CACHES "training:\n  batch_size: 64\n", wrong_overrides[i].override, &config),
                    EC_ERR_CONFIG, wrong_overrides[i].message);
        assert_null(config);
    }
    const char *const right[] = {"training.seed=5",
                                 "training.seed=6",
                                 "dataset.class_names=[a, b]",
                                 "training.loss_weights={image2image: 2, audio2audio: 0}",
                                 "training.init=",
                                 "dataset.class_names=[c]",
                                 "logging.folder=run"};
    ec_config *c = NULL;
    const char *text = CACHES "training: {seed: 1, init: x}\n";
    CHECK_OK(ec__config_parse("t.yaml", "/", text, strlen(text), right, sizeof right / sizeof right[0], &c));
    assert_int_equal(c->training.seed, 6);
    assert_int_equal(c->dataset.class_names.count, 1);
    assert_string_equal(c->dataset.class_names.item[0], "c");
    assert_true(c->training.loss_weights.image2image == 2);
    assert_true(c->training.loss_weights.audio2audio == 0);
    assert_null(c->training.init);
    /* A path of the command line belongs to the working directory, one of the file to the file's folder. */
    char here[4096], *expected = NULL;
    assert_non_null(getcwd(here, sizeof here));
    CHECK_OK(ec__format(&expected, "%s/run", here));
    assert_string_equal(c->logging.folder, expected);
    free(expected);
    CHECK_OK(ec__format(&expected, "%s/run/checkpoints", here));
    assert_string_equal(c->checkpoint.folder, expected);
    free(expected);
    ec__config_free(c);
}

static void test_files(void **state) {
    (void)state;
    char *path = NULL, *folder = NULL, *expected = NULL;
    ec_config *c = NULL;
    const char *text = "dataset: {image_cache: ../i.h5, audio_cache: ./.././../a.h5, image_manifest: /abs/x.csv}\n";
    CHECK_OK(ec__format(&folder, "%s/sub", test_folder()));
    CHECK_OK(ec__make_folders(folder));
    CHECK_OK(ec__format(&path, "%s/c.yaml", folder));
    CHECK_OK(ec__file_write(path, text, strlen(text)));
    CHECK_OK(ec__config_load(path, NULL, 0, &c));
    CHECK_OK(ec__format(&expected, "%s/i.h5", test_folder()));
    assert_string_equal(c->dataset.image_cache, expected);
    assert_string_equal(c->dataset.image_manifest, "/abs/x.csv");
    CHECK_OK(ec__config_require(c, "dataset.image_manifest", "a test"));
    CHECK_ERROR(ec__config_require(c, "dataset.audio_manifest", "emoclim cache build"), EC_ERR_CONFIG,
                "emoclim cache build needs dataset.audio_manifest: CSV of recordings");
    ec__config_free(c);
    c = NULL;
    CHECK_ERROR(ec__config_load(folder, NULL, 0, &c), EC_ERR_CONFIG, "is not a regular file");
    CHECK_ERROR(ec__config_load("/nonexistent/c.yaml", NULL, 0, &c), EC_ERR_CONFIG,
                "/nonexistent/c.yaml: No such file");
    char *large = malloc(EC_CONFIG_LARGEST + 1);
    memset(large, '#', EC_CONFIG_LARGEST + 1);
    CHECK_OK(ec__file_write(path, large, EC_CONFIG_LARGEST + 1));
    CHECK_ERROR(ec__config_load(path, NULL, 0, &c), EC_ERR_CONFIG, "1048577 bytes");
    CHECK_ERROR(ec__config_parse("t", "/", large, EC_CONFIG_LARGEST + 1, NULL, 0, &c), EC_ERR_CONFIG, "1048577 bytes");
    assert_null(c);
    free(large);
    free(expected);
    free(folder);
    free(path);
}

static void test_print_reads_back(void **state) {
    (void)state;
    const char *texts[] = {
        CACHES,
        "dataset:\n  image_cache: \"q\\\"\\\\ #: '\xC3\xA9\\u2028\\uFEFF\"\n  audio_cache: 'null'\n"
        "  class_names: [\"yes\", '~', '1', -, 'a: b', \"[x\", '\xE6\xAD\x8C', ' lead', 'trail ']\n"
        "training: {learning_rate: 0.1000000000000000055, eps: 1.1e-30, weight_decay: 0.3, gradient_clip: 1e11}\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        char *once = NULL, *twice = NULL, first[EC_SHA256_HEX], second[EC_SHA256_HEX];
        ec_config *c = parsed(texts[i]), *again = NULL;
        CHECK_OK(ec__config_print(c, &once));
        CHECK_OK(ec__config_parse("again", "/tmp", once, strlen(once), NULL, 0, &again));
        CHECK_OK(ec__config_print(again, &twice));
        assert_string_equal(once, twice);
        CHECK_OK(ec__config_hash(c, first));
        CHECK_OK(ec__config_hash(again, second));
        assert_string_equal(first, second);
        assert_true(memcmp(&c->training.learning_rate, &again->training.learning_rate, sizeof(double)) == 0);
        assert_string_equal(c->dataset.image_cache, again->dataset.image_cache);
        assert_int_equal(c->dataset.class_names.count, again->dataset.class_names.count);
        for (int32_t k = 0; k < c->dataset.class_names.count; k++)
            assert_string_equal(c->dataset.class_names.item[k], again->dataset.class_names.item[k]);
        ec__config_free(again);
        ec__config_free(c);
        free(twice);
        free(once);
    }
}

static void test_values_that_depend(void **state) {
    (void)state;
    ec_config *c = parsed(CACHES "training: {optimizer: adam}\n");
    assert_true(c->training.weight_decay == 0);
    ec__config_free(c);
    c = parsed(CACHES "training: {optimizer: adam, weight_decay: 0.5, validate_every: 0}\n");
    assert_true(c->training.weight_decay == 0.5);
    assert_false(c->checkpoint.best);
    ec__config_free(c);
}

static void test_ranks(void **state) {
    (void)state;
    ec_config *c = parsed(CACHES "distributed:\n  shards: 12\ntraining: {batch_size: 24, accumulate: 3}\n");
    for (int32_t ranks = 1; ranks <= 4; ranks++) CHECK_OK(ec__config_check_ranks(c, ranks));
    CHECK_ERROR(ec__config_check_ranks(c, 5), EC_ERR_CONFIG,
                "t.yaml:3:11: 5 ranks cannot share distributed.shards = 12");
    CHECK_ERROR(ec__config_check_ranks(c, 6), EC_ERR_CONFIG,
                "training.accumulate = 3; legal numbers of ranks: 1, 2, 3, 4");
    CHECK_ERROR(ec__config_check_ranks(c, 0), EC_ERR_CONFIG, "legal numbers of ranks: 1, 2, 3, 4");
    ec__config_free(c);
    c = parsed(CACHES "distributed: {reduction: fast}\ntraining: {batch_size: 15}\n");
    CHECK_OK(ec__config_check_ranks(c, 5));
    CHECK_ERROR(ec__config_check_ranks(c, 2), EC_ERR_CONFIG,
                "cannot share training.batch_size = 15 evenly with "
                "training.accumulate = 1; legal numbers of ranks: 1, 3, 5, 15");
    ec__config_free(c);
}

typedef struct change_count {
    int refused, allowed;
} change_count;

static void count_change(void *arg, const char *key, const char *then_value, const char *now_value,
                         ec_config_change change) {
    change_count *count = arg;
    assert_non_null(strchr(key, '.'));
    assert_string_not_equal(then_value, now_value);
    if (change == EC_CHANGE_REFUSED) count->refused++;
    else count->allowed++;
}

static void test_what_a_resumed_run_may_change(void **state) {
    (void)state;
    const struct {
        const char *then, *now;
        change_count expected;
        bool same_hash;
    } cases[] = {
        {"training.seed=1", "training.seed=1", {0, 0}, true},
        {"training.seed=1", "training.seed=2", {1, 0}, false},
        {"distributed.threads=1", "distributed.threads=4", {0, 1}, true},
        {"dataset.image_cache=x.h5", "dataset.image_cache=y.h5", {0, 1}, true},
        {"training.init=x.h5", "training.init=y.h5", {0, 1}, true},
        {"training.init=x.h5", "training.init=null", {1, 0}, false},
        {"logging={every: 3, folder: r}", "logging={every: 4, folder: s}", {0, 3}, true}, /* and checkpoint.folder */
        {"training.max_steps=10", "training.max_steps=20", {0, 1}, true},
        {"training={max_steps: 10, schedule: cosine}", "training={max_steps: 20, schedule: cosine}", {1, 0}, false},
        {"training={batch_size: 64, loss_temperature: 0.1}",
         "training={batch_size: 128, loss_temperature: 0.2}",
         {2, 0},
         false},
        {"dataset.class_names=[a, b]", "dataset.class_names=[b, a]", {1, 0}, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ec_config *then = NULL, *now = NULL;
        char a[EC_SHA256_HEX], b[EC_SHA256_HEX];
        change_count count = {0, 0};
        CHECK_OK(parse_with(CACHES, cases[i].then, &then));
        CHECK_OK(parse_with(CACHES, cases[i].now, &now));
        CHECK_OK(ec__config_compare(then, now, count_change, &count));
        assert_int_equal(count.refused, cases[i].expected.refused);
        assert_int_equal(count.allowed, cases[i].expected.allowed);
        CHECK_OK(ec__config_hash(then, a));
        CHECK_OK(ec__config_hash(now, b));
        assert_int_equal(strcmp(a, b) == 0, cases[i].same_hash);
        if (count.refused == 0) CHECK_OK(ec__config_check_resume(then, now));
        else
            CHECK_ERROR(ec__config_check_resume(then, now), EC_ERR_CONFIG, "t.yaml: cannot go on from this checkpoint");
        ec__config_free(now);
        ec__config_free(then);
    }
    ec_config *then = NULL, *now = NULL;
    CHECK_OK(parse_with(CACHES, "training.seed=1", &then));
    CHECK_OK(parse_with(CACHES, "training.seed=2", &now));
    CHECK_ERROR(ec__config_check_resume(then, now), EC_ERR_CONFIG, "training.seed was 1 and is 2");
    ec__config_free(now);
    ec__config_free(then);
}

static void test_examples(void **state) {
    (void)state;
    glob_t found;
    assert_int_equal(glob(EMOCLIM_SOURCE_DIR "/configs/*.yaml", 0, NULL, &found), 0);
    assert_true(found.gl_pathc >= 4);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        ec_config *c = NULL;
        CHECK_OK(ec__config_load(found.gl_pathv[i], NULL, 0, &c));
        for (int32_t ranks = 1; ranks <= 8; ranks *= 2) CHECK_OK(ec__config_check_ranks(c, ranks));
        ec__config_free(c);
    }
    globfree(&found);
}

static void test_reference_page_is_up_to_date(void **state) {
    (void)state;
    char *page = NULL, *committed = NULL;
    CHECK_OK(ec__config_document(&page));
    CHECK_OK(ec__file_read(EMOCLIM_SOURCE_DIR "/docs/configuration.md", 1 << 20, &committed, NULL));
    if (strcmp(page, committed) != 0) fail_msg("run: emoclim config print --schema >docs/configuration.md");
    free(committed);
    free(page);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_are_those_of_the_paper),
        cmocka_unit_test(test_every_type_is_read),
        cmocka_unit_test(test_wrong_texts),
        cmocka_unit_test(test_overrides),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_print_reads_back),
        cmocka_unit_test(test_values_that_depend),
        cmocka_unit_test(test_ranks),
        cmocka_unit_test(test_what_a_resumed_run_may_change),
        cmocka_unit_test(test_examples),
        cmocka_unit_test(test_reference_page_is_up_to_date),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
