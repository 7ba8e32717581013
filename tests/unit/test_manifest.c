/* Manifests: what a good one gives, and the exact message of every kind of bad one. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/log.h"
#include "media/csv.h"
#include "media/manifest.h"
#include "pipeline/samples.h"
#include "support.h"

/* Exact-size copy, so that the address sanitizer sees a read past the end. */
static ec_status parse(const char *text, size_t count, const char *folder, ec_manifest **out) {
    char *copy = malloc(count + (count == 0));
    assert_non_null(copy);
    if (count) memcpy(copy, text, count);
    ec_status status = ec__manifest_parse(copy, count, "m.csv", folder, out);
    free(copy);
    return status;
}

static void test_good(void **state) {
    (void)state;
    /* byte-order mark, CR LF and LF, columns in another order, quoting, an extra column, empty lines, no last line
     * end */
    const char text[] = "\xef\xbb\xbf" "label,note,path,end_s,split,start_s\r\n"
                        "joy,x,\"a, b.wav\",2.5,train,0.5\r\n"
                        "\r\n"
                        "\"say \"\"hi\"\"\",,\"two\nlines.wav\",,valid,\n"
                        "\xc3\xa9t\xc3\xa9,,/abs/c.wav,1e1,test,\n\n"
                        "joy,,d.wav,,test,7";
    ec_manifest *m = NULL;
    CHECK_OK(parse(text, sizeof text - 1, "folder", &m));
    assert_int_equal(m->count, 4);
    assert_int_equal(m->classes, 3);
    assert_string_equal(m->class_name[0], "joy");
    assert_string_equal(m->class_name[1], "say \"hi\"");
    assert_string_equal(m->class_name[2], "\xc3\xa9t\xc3\xa9");
    const ec_manifest_entry expected[] = {
        {.path = "folder/a, b.wav", .label_index = 0, .split = EC_MANIFEST_SPLIT_TRAIN, .start_s = 0.5, .end_s = 2.5, .line = 2},
        {.path = "folder/two\nlines.wav", .label_index = 1, .split = EC_MANIFEST_SPLIT_VALID, .end_s = INFINITY, .line = 4},
        {.path = "/abs/c.wav", .label_index = 2, .split = EC_MANIFEST_SPLIT_TEST, .end_s = 10, .line = 6},
        {.path = "folder/d.wav", .label_index = 0, .split = EC_MANIFEST_SPLIT_TEST, .start_s = 7, .end_s = INFINITY, .line = 8},
    };
    for (int i = 0; i < 4; i++) {
        const ec_manifest_entry *e = &m->entry[i], *x = &expected[i];
        assert_string_equal(e->path, x->path);
        assert_int_equal(e->label_index, x->label_index);
        assert_string_equal(e->label, m->class_name[x->label_index]);
        assert_int_equal(e->split, x->split);
        assert_true(e->start_s == x->start_s && e->end_s == x->end_s);
        assert_int_equal(e->line, x->line);
    }
    ec__manifest_free(m);
}

static void test_file(void **state) {
    (void)state;
    char path[4200], expected[4300];
    ec_manifest *m = NULL;
    snprintf(path, sizeof path, "%s/m.csv", test_folder());
    CHECK_OK(ec__file_write(path, "path,label\nabc,x\n", 17));
    CHECK_OK(ec__manifest_read(path, &m));
    snprintf(expected, sizeof expected, "%s/abc", test_folder());
    assert_string_equal(m->entry[0].path, expected);
    assert_int_equal(m->entry[0].split, EC_MANIFEST_SPLIT_NONE);
    /* by sha256sum */
    assert_string_equal(m->sha256, "1e18a3b00c117a55e61b1b9d2dd2ee3371e44f65798b603efa08b8834ae1114d");
    ec__manifest_free(m);
    m = NULL;
    CHECK_ERROR(ec__manifest_read("/nonexistent/m.csv", &m), EC_ERR_DATA, "/nonexistent/m.csv");
    CHECK_OK(parse("path,label\na,x\n", 15, NULL, &m));
    assert_string_equal(m->entry[0].path, "a");
    ec__manifest_free(m);
}

static void test_bad(void **state) {
    (void)state;
    const struct {
        const char *text, *message;
    } cases[] = {
        {"", "m.csv:1:1: the file is empty"},
        {"\n\r\n\n", "m.csv:1:1: the file is empty"},
        {"\xef\xbb\xbf", "m.csv:1:1: the file is empty"},
        {"path,label\n", "m.csv:2: there is a header, but no entry follows"},
        {"path,label", "m.csv:1: there is a header, but no entry follows"},
        {"path,emotion\na,x\n", "m.csv:1:1: the header has no column \"label\""},
        {"file,label\na,x\n", "m.csv:1:1: the header has no column \"path\""},
        {"Path,label\na,x\n", "m.csv:1:1: the header has no column \"path\""},
        {"path,label,path\na,x,b\n", "m.csv:1:12: column \"path\" is there twice (fields 1 and 3 of the header)"},
        {"path,label,n,n\na,x,1,1\n", "m.csv:1:14: column \"n\" is there twice"},
        {"path,label\n,x\n", "m.csv:2:1: path: empty"},
        {"path,label\na,\n", "m.csv:2:3: label: empty"},
        {"path,label\na, x\n", "m.csv:2:3: label: \" x\" has a blank"},
        {"path,label\na,\"x\t\"\n", "m.csv:2:3: label: \"x\t\" has a blank"},
        {"path,label\na,x\nb\n", "m.csv:3:1: too few fields: 1, and the header has 2"},
        {"path,label\na,x,y\n", "m.csv:2:5: too many fields: 3, and the header has 2"},
        {"path,label\na,x,\n", "m.csv:2:5: too many fields"},
        {"path,label,split\na,x,dev\n", "m.csv:2:5: split: \"dev\" is unknown; train, valid or test expected"},
        {"path,label,split\na,x,\n", "m.csv:2:5: split: \"\" is unknown"},
        {"path,label,split\na,x,none\n", "m.csv:2:5: split: \"none\" is unknown"},
        {"path,label,start_s\na,x,1;5\n", "m.csv:2:5: start_s: \"1;5\" is not a number of seconds"},
        {"path,label,start_s\na,x,-1\n", "m.csv:2:5: start_s: -1 is negative"},
        {"path,label,start_s\na,x, 1\n", "m.csv:2:5: start_s: \" 1\" is not a number"},
        {"path,label,end_s\na,x,nan\n", "m.csv:2:5: end_s: \"nan\" is not a number"},
        {"path,label,end_s\na,x,inf\n", "m.csv:2:5: end_s: \"inf\" is not a number"},
        {"path,label,end_s\na,x,0x10\n", "m.csv:2:5: end_s: \"0x10\" is not a number"},
        {"path,label,end_s\na,x,1e999\n", "m.csv:2:5: end_s: \"1e999\" is not a number"},
        {"path,label,end_s\na,x,1.2.3\n", "m.csv:2:5: end_s: \"1.2.3\" is not a number"},
        {"path,label,end_s\na,x,-\n", "m.csv:2:5: end_s: \"-\" is not a number"},
        {"path,label,end_s\na,x,0\n", "m.csv:2:5: end_s: 0 is not after start_s, 0"},
        {"path,label,start_s,end_s\na,x,3,3\n", "m.csv:2:7: end_s: 3 is not after start_s, 3"},
        {"path,label,end_s,start_s\na,x,1,2.5\n", "m.csv:2:5: end_s: 1 is not after start_s, 2.5"},
        {"path,label\n\"a,x\nb,y\n", "m.csv:2:1: this quote is never closed"},
        {"path,label\na,\"x", "m.csv:2:3: this quote is never closed"},
        {"path,label\na,\"x\"\"", "m.csv:2:3: this quote is never closed"},
        {"path,label\n\"a\"b,x\n", "m.csv:2:4: a closing quote must be followed by a comma"},
        {"path,label\na\"b\",x\n", "m.csv:2:2: a quote inside a field"},
        {"path,label\na\rb,x\n", "m.csv:2:2: a carriage return that is not part of a line end"},
        {"path,label\na,x\r", "m.csv:2:4: a carriage return"},
        {"path,label\n\xc3\xa9\xff,x\n", "m.csv:2:2: byte 0xff begins no UTF-8 character"},
        {"path,label\n\xc0\xaf,x\n", "m.csv:2:1: byte 0xc0 begins no UTF-8 character"},
        {"path,label\n\xe0\x80\x80,x\n", "m.csv:2:1: byte 0xe0"},
        {"path,label\n\xed\xa0\x80,x\n", "m.csv:2:1: byte 0xed"},
        {"path,label\n\xf0\x80\x80\x80,x\n", "m.csv:2:1: byte 0xf0"},
        {"path,label\n\xf4\x90\x80\x80,x\n", "m.csv:2:1: byte 0xf4"},
        {"path,label\na,x\xe2\x82", "m.csv:2:4: byte 0xe2"},
        {"\xff\xfep", "m.csv:1:1: byte 0xff begins no UTF-8 character"},
        /* a character counts once, whatever its bytes */
        {"path,label,end_s\n\xe2\x82\xac\xc3\xa9,x,?\n", "m.csv:2:6: end_s: \"?\""},
        /* lines inside quotes count */
        {"path,label\n\"a\nb\",x\nc\n", "m.csv:4:1: too few fields"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ec_manifest *m = NULL;
        CHECK_ERROR(parse(cases[i].text, strlen(cases[i].text), "f", &m), EC_ERR_DATA, cases[i].message);
        assert_null(m);
    }
}

static void test_nul_and_length(void **state) {
    (void)state;
    enum { N = EC_CSV_RECORD_MAX + 100 };
    static char text[N];
    ec_manifest *m = NULL;
    CHECK_ERROR(parse("path,label\na\0b,x\n", 17, "", &m), EC_ERR_DATA, "m.csv:2:2: a NUL byte");
    memset(text, 'a', N);
    CHECK_ERROR(parse(text, N, "", &m), EC_ERR_DATA, "a record of more than 65528 bytes");
    memset(text, ',', N);
    CHECK_ERROR(parse(text, N, "", &m), EC_ERR_DATA, "m.csv:1:1025: more than 1024 fields");
    memset(text, '\n', N);
    memcpy(text, "path,label\n\"", 12);
    CHECK_ERROR(parse(text, N, "", &m), EC_ERR_DATA, "m.csv:2:1: this quote is never closed within a reasonable length");
    memset(text, 'a', N);
    memcpy(text, "path,label\n", 11);
    memcpy(text + 60000, ",x\n", 3); /* long, but not too long */
    CHECK_OK(parse(text, 60003, "", &m));
    assert_int_equal(strlen(m->entry[0].path), 60000 - 11);
    ec__manifest_free(m);
}

/* Every cut of a good text is either good or an error that names the file. */
static void test_cuts(void **state) {
    (void)state;
    const char text[] = "path,label,split,start_s,end_s\r\n\"a \"\"q\"\"\",\xe2\x82\xac,train,1.5,2e3\r\nb,\"x,y\",test,,\r\n";
    for (size_t n = 0; n < sizeof text; n++) {
        ec_manifest *m = NULL;
        ec_status status = parse(text, n, "f", &m);
        if (status != EC_OK) CHECK_ERROR(status, EC_ERR_DATA, "m.csv:");
        ec__manifest_free(m);
    }
}

static void test_many(void **state) {
    (void)state;
    enum { N = 5000 };
    char *text = malloc(N * 32 + 32), *to = text;
    to += sprintf(to, "path,label\n");
    for (int i = 0; i < N; i++) to += sprintf(to, "%d.png,c%03d\n", i, i * 7 % 300);
    ec_manifest *m = NULL;
    CHECK_OK(parse(text, (size_t)(to - text), "d/", &m));
    assert_int_equal(m->count, N);
    assert_int_equal(m->classes, 300);
    for (int i = 0; i < N; i++) {
        char path[32];
        snprintf(path, sizeof path, "d/%d.png", i);
        assert_string_equal(m->entry[i].path, path);
        assert_int_equal(m->entry[i].label_index, i * 7 % 300);
        assert_int_equal(m->entry[i].line, i + 2);
    }
    ec__manifest_free(m);
    free(text);
}

static void test_map_labels(void **state) {
    (void)state;
    const char *const classes[] = {"sadness", "joy", "fear"};
    int32_t index[3] = {-7, -7, -7};
    ec_manifest *m = NULL;
    CHECK_OK(parse("path,label\na,joy\nb,fear\nc,joy\n", 30, "", &m));
    CHECK_OK(ec__manifest_map_labels(m, classes, 3, index));
    assert_int_equal(index[0], 1);
    assert_int_equal(index[1], 2);
    assert_int_equal(index[2], 1);
    ec__manifest_free(m);
    index[0] = -7;
    CHECK_OK(parse("path,label\na,joy\nb,saddness\nc,anger\n", 36, "", &m));
    CHECK_ERROR(ec__manifest_map_labels(m, classes, 3, index), EC_ERR_DATA,
                "m.csv:3: label \"saddness\" is not one of the 3 classes; the nearest is \"sadness\"");
    assert_int_equal(index[0], -7);
    ec__manifest_free(m);
    CHECK_OK(parse("path,label\na,disgust\n", 21, "", &m));
    CHECK_ERROR(ec__manifest_map_labels(m, classes, 3, index), EC_ERR_DATA, "m.csv:2: label \"disgust\" is not one of");
    CHECK_ERROR(ec__manifest_map_labels(m, NULL, 0, index), EC_ERR_DATA, "not one of the 0 classes");
    ec__manifest_free(m);
}

static void collect(void *arg, ec_log_level level, int rank, const char *text) {
    (void)rank;
    snprintf((char *)arg + strlen(arg), 1000 - strlen(arg), "%d %s\n", level, text);
}

static void test_ignored_columns_are_noted(void **state) {
    (void)state;
    char log[1000] = "";
    ec_manifest *m = NULL;
    ec__log_set_sink(collect, log, EC_LOG_INFO);
    CHECK_OK(parse("id,path,label,splt\n1,a,x,train\n", 31, "", &m));
    ec__log_set_sink(NULL, NULL, EC_LOG_INFO);
    assert_non_null(strstr(log, "1 m.csv:1:1: column \"id\" is ignored\n"));
    assert_non_null(strstr(log, "2 m.csv:1:15: column \"splt\" is ignored; did you mean \"split\"?\n"));
    assert_int_equal(m->entry[0].split, EC_MANIFEST_SPLIT_NONE);
    ec__manifest_free(m);
}

/* As many digits as it takes to tell two cuts apart, and no more. */
static void test_ids(void **state) {
    (void)state;
    static const struct {
        double start_s, end_s;
        const char *id;
    } cuts[] = {
        {0, INFINITY, "a.wav"},
        {0.1, INFINITY, "a.wav#t=0.1"},
        {10, 22.5, "a.wav#t=10,22.5"},
        {1.0000001, 1000000.5, "a.wav#t=1.0000001,1000000.5"},
        {0, 1.0 / 3, "a.wav#t=0,0.3333333333333333"},
    };
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        const ec_manifest_entry entry = {.path = "a.wav", .start_s = cuts[i].start_s, .end_s = cuts[i].end_s};
        char *id = NULL;
        CHECK_OK(ec__media_item_id(&entry, &id));
        assert_string_equal(id, cuts[i].id);
        free(id);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good), cmocka_unit_test(test_file),
        cmocka_unit_test(test_bad),  cmocka_unit_test(test_nul_and_length),
        cmocka_unit_test(test_cuts), cmocka_unit_test(test_many),
        cmocka_unit_test(test_map_labels), cmocka_unit_test(test_ignored_columns_are_noted),
        cmocka_unit_test(test_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
