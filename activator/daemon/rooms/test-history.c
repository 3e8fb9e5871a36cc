/* SPDX-License-Identifier: MIT */
#include "common/test-util.h"
#include "daemon/rooms/history.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

static struct history_record record_of(guint64 run)
{
    return (struct history_record){.run = run, .name = (char *)"org.example.A"};
}

static void assert_same(const struct history_record *a, const struct history_record *b)
{
    g_assert_cmpuint(a->run, ==, b->run);
    g_assert_cmpstr(a->name, ==, b->name);
    g_assert_cmpuint(a->requested, ==, b->requested);
    g_assert_cmpuint(a->spawned, ==, b->spawned);
    g_assert_cmpuint(a->connected, ==, b->connected);
    g_assert_cmpuint(a->owned, ==, b->owned);
    g_assert_cmpuint(a->ended, ==, b->ended);
    g_assert_cmpuint(a->main_pid, ==, b->main_pid);
    g_assert_cmpuint(a->how, ==, b->how);
    g_assert_cmpint(a->status, ==, b->status);
    g_assert_cmpstr(a->error_name, ==, b->error_name);
    g_assert_cmpstr(a->error_message, ==, b->error_message);
    g_assert_cmpuint(a->result, ==, b->result);
    g_assert_cmpint(a->stopped, ==, b->stopped);
}

static void assert_round_trip(const struct history_record *r)
{
    char *line = history_format_line(r);
    gsize length = strlen(line);
    struct history_record back;

    g_assert_cmpint(line[length - 1], ==, '\n');
    g_assert_null(memchr(line, '\n', length - 1));
    g_assert_true(history_parse_line(line, length - 1, &back));
    assert_same(r, &back);
    history_record_clear(&back);
    g_free(line);
}

static void test_line(void)
{
    struct history_record r = {.run = G_MAXINT64,
                               .name = (char *)"org.example.B",
                               .requested = 1,
                               .spawned = 2,
                               .connected = 3,
                               .owned = 4,
                               .ended = G_MAXUINT64,
                               .main_pid = G_MAXUINT32,
                               .how = 3,
                               .status = G_MININT32,
                               .error_name = (char *)"a\tb\nc\rd\\e\x01\x7f",
                               .error_message = (char *)"-",
                               .result = HISTORY_FAILED};

    assert_round_trip(&r);
    r.status = G_MAXINT32;
    r.error_name = (char *)"";
    r.error_message = NULL;
    assert_round_trip(&r);
    r.stopped = true;
    assert_round_trip(&r);
    r.result = HISTORY_STARTED;
    assert_round_trip(&r);
    r.error_message = (char *)"\\x2d h\xc3\xb6rt \\";
    assert_round_trip(&r);
}

static void test_junk_lines(void)
{
    static const char good[] = "dba1\t7\t1\t2\t0\t0\t1\t2\t3\t4\t5\ta.b\t-\t-\t.";
    static const char with_nul[] = "dba1\t7\t1\t2\t0\t0\t1\t2\t3\t4\t5\ta.b\t-\t\0\t.";
    static const char *const bad[] = {
        "",
        "dba1",
        "dba2\t7\t1\t2\t0\t0\t1\t2\t3\t4\t5\ta.b\t-\t-\t.",
        "dba1\t0\t1\t2\t0\t0\t1\t2\t3\t4\t5\ta.b\t-\t-\t.",
        "dba1\t9223372036854775808\t1\t2\t0\t0\t1\t2\t3\t4\t5\ta.b\t-\t-\t.",
        "dba1\t7\t256\t2\t0\t0\t1\t2\t3\t4\t5\ta.b\t-\t-\t.",
        "dba1\t7\t1\t6\t0\t0\t1\t2\t3\t4\t5\ta.b\t-\t-\t.",
        "dba1\t7\t1\t9\t0\t0\t1\t2\t3\t4\t5\ta.b\t-\t-\t.",
        "dba1\t7\t1\t2\t-2147483649\t0\t1\t2\t3\t4\t5\ta.b\t-\t-\t.",
        "dba1\t7\t1\t2\t\t0\t1\t2\t3\t4\t5\ta.b\t-\t-\t.",
        "dba1\t7\t1\t2\t-\t0\t1\t2\t3\t4\t5\ta.b\t-\t-\t.",
        "dba1\t7\t1\t2\t0\t0\t1\t2\t3\t4\t18446744073709551616\ta.b\t-\t-\t.",
        "dba1\t7\t1\t2\t0\t0\t1\t2\t3\t4\t5\t-\t-\t-\t.",
        "dba1\t7\t1\t2\t0\t0\t1\t2\t3\t4\t5\t\t-\t-\t.",
        "dba1\t7\t1\t2\t0\t0\t1\t2\t3\t4\t5\ta.b\t-\t.",
        "dba1\t7\t1\t2\t0\t0\t1\t2\t3\t4\t5\ta.b\t-\t-\t\t.",
        "dba1\t7\t1\t2\t0\t0\t1\t2\t3\t4\t5\ta.b\t\\q\t-\t.",
        "dba1\t7\t1\t2\t0\t0\t1\t2\t3\t4\t5\ta.b\t-\t\\x0\t.",
        "dba1\t7\t1\t2\t0\t0\t1\t2\t3\t4\t5\ta.b\t-\t\\x00\t.",
        "dba1\t7\t1\t2\t0\t0\t1\t2\t3\t4\t5\ta.b\t-\t\\\t.",
        "dba1\t7\t1\t2\t0\t0\t1\t2\t3\t4\t5\ta.b\t-\t\x02\t.",
    };
    struct history_record r;

    g_assert_true(history_parse_line(good, sizeof good - 1, &r));
    g_assert_null(r.error_name);
    history_record_clear(&r);
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++)
        g_assert_false(history_parse_line(bad[i], strlen(bad[i]), &r));
    /* Every line that was cut off somewhere. */
    for (gsize i = 0; i < sizeof good - 1; i++)
        g_assert_false(history_parse_line(good, i, &r));
    /* A NUL is no text. */
    g_assert_false(history_parse_line(with_nul, sizeof with_nul - 1, &r));
}

static struct history *open_at(const char *path)
{
    GError *error = NULL;
    struct history *h = history_open(path, &error);

    g_assert_no_error(error);
    g_assert_nonnull(h);
    return h;
}

struct seen {
    guint n;
    guint64 first, last;
};

static void count(const struct history_record *r, void *data)
{
    struct seen *seen = data;

    if (seen->n++ == 0)
        seen->first = r->run;
    else
        g_assert_cmpuint(r->run, >, seen->last);
    seen->last = r->run;
}

static void test_keep(void)
{
    char *dir = test_dir_new();
    char *path = g_build_filename(dir, "history", NULL);
    struct history *h = open_at(path);
    struct seen seen = {0, 0, 0};
    struct stat st;

    g_assert_cmpuint(history_last_run_id(h), ==, 0);
    history_foreach(h, 0, count, &seen);
    g_assert_cmpuint(seen.n, ==, 0);
    for (guint64 run = 1; run <= 3000; run++) {
        struct history_record r = record_of(run);

        history_put(h, &r);
        r.result = HISTORY_STARTED;
        history_put(h, &r);
    }
    history_free(h);
    g_assert_cmpint(g_stat(path, &st), ==, 0);
    g_assert_cmpuint(st.st_mode & 0777, ==, 0600);
    g_assert_cmpint(st.st_size, <, 4 * HISTORY_KEEP * 80);

    h = open_at(path);
    g_assert_cmpuint(history_last_run_id(h), ==, 3000);
    history_foreach(h, 0, count, &seen);
    g_assert_cmpuint(seen.n, ==, HISTORY_KEEP);
    g_assert_cmpuint(seen.first, ==, 3000 - HISTORY_KEEP + 1);
    seen.n = 0;
    history_foreach(h, 3, count, &seen);
    g_assert_cmpuint(seen.n, ==, 3);
    g_assert_cmpuint(seen.first, ==, 2998);
    g_assert_null(history_find(h, 1));
    g_assert_cmpuint(history_find(h, 3000)->result, ==, HISTORY_STARTED);
    /* One that is older than all that are kept is not kept. */
    struct history_record old = record_of(5);
    history_put(h, &old);
    g_assert_null(history_find(h, 5));
    g_assert_cmpuint(history_last_run_id(h), ==, 3000);
    history_free(h);
    g_free(path);
    test_dir_remove(dir);
}

static void test_torn(void)
{
    char *dir = test_dir_new();
    char *path = g_build_filename(dir, "history", NULL);
    struct history_record r = record_of(3);
    struct history *h;

    test_write(dir, "history",
               "junk\n\ndba1\t1\t0\t0\t0\t0\t0\t0\t0\t0\t0\ta.b\t-\t-\t.\n"
               "dba1\t2\t0\t0\t0\t0\t0\t0\t0\t0\t0\ta.b\t-\thal");
    h = open_at(path);
    g_assert_nonnull(history_find(h, 1));
    g_assert_null(history_find(h, 2));
    history_put(h, &r);
    history_free(h);
    h = open_at(path);
    g_assert_nonnull(history_find(h, 1));
    g_assert_null(history_find(h, 2));
    g_assert_nonnull(history_find(h, 3));
    history_free(h);

    /* Somebody removed the file: nothing is lost while we live. */
    h = open_at(path);
    g_assert_cmpint(g_remove(path), ==, 0);
    r.run = 4;
    history_put(h, &r);
    history_free(h);
    h = open_at(path);
    g_assert_nonnull(history_find(h, 1));
    g_assert_nonnull(history_find(h, 4));
    history_free(h);
    g_free(path);
    test_dir_remove(dir);
}

static void test_odd_files(void)
{
    char *dir = test_dir_new();
    char *fifo = g_build_filename(dir, "fifo", NULL);
    char *path = g_build_filename(dir, "link", NULL);
    GError *error = NULL;

    g_assert_null(history_open(dir, &error));
    g_assert_nonnull(error);
    g_clear_error(&error);
    g_assert_cmpint(mkfifo(fifo, 0600), ==, 0);
    g_assert_null(history_open(fifo, &error));
    g_clear_error(&error);
    g_assert_cmpint(symlink("/etc/passwd", path), ==, 0);
    g_assert_null(history_open(path, &error));
    g_clear_error(&error);
    g_free(path);
    g_free(fifo);
    test_dir_remove(dir);
}

/* A disk that is full: one warning, and all of it is there when there is room again. */
static void test_full(void)
{
    char *dir = test_dir_new();
    char *path = g_build_filename(dir, "history", NULL);
    struct history *h = open_at(path);
    struct rlimit before, small;
    struct history_record r = record_of(1);

    signal(SIGXFSZ, SIG_IGN);
    history_put(h, &r);
    g_assert_cmpint(getrlimit(RLIMIT_FSIZE, &before), ==, 0);
    small = before;
    small.rlim_cur = 50;
    g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &small), ==, 0);
    g_test_expect_message(NULL, G_LOG_LEVEL_WARNING, "*history*cannot be written*");
    for (r.run = 2; r.run < 20; r.run++)
        history_put(h, &r);
    g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &before), ==, 0);
    g_test_assert_expected_messages();
    history_put(h, &r);
    history_free(h);
    h = open_at(path);
    for (guint64 run = 1; run <= 20; run++)
        g_assert_nonnull(history_find(h, run));
    history_free(h);
    g_free(path);
    test_dir_remove(dir);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/history/line", test_line);
    g_test_add_func("/history/junk-lines", test_junk_lines);
    g_test_add_func("/history/keep", test_keep);
    g_test_add_func("/history/torn", test_torn);
    g_test_add_func("/history/odd-files", test_odd_files);
    g_test_add_func("/history/full", test_full);
    return g_test_run();
}
