/* SPDX-License-Identifier: MIT */
#include "common/test-util.h"
#include "daemon/rooms/log-tail.h"

#include <sys/stat.h>

static void assert_tail(const char *dir, guint lines, gsize bytes, const char *want)
{
    char *path = g_build_filename(dir, "log", NULL);
    GPtrArray *tail = log_tail(path, lines, bytes);
    char *joined;

    g_ptr_array_add(tail, NULL);
    joined = g_strjoinv("|", (char **)tail->pdata);
    g_assert_cmpstr(joined, ==, want);
    g_free(joined);
    g_ptr_array_unref(tail);
    g_free(path);
}

static void test_lines(void)
{
    char *dir = test_dir_new();

    assert_tail(dir, 5, 1000, "");
    test_write(dir, "log", "");
    assert_tail(dir, 5, 1000, "");
    test_write(dir, "log", "a\nb\n\nc\n");
    assert_tail(dir, 0, 1000, "");
    assert_tail(dir, 1, 1000, "c");
    assert_tail(dir, 2, 1000, "|c");
    assert_tail(dir, 4, 1000, "a|b||c");
    assert_tail(dir, 100, 1000, "a|b||c");
    /* The last line has not ended yet. */
    test_write(dir, "log", "a\nb\nc");
    assert_tail(dir, 2, 1000, "b|c");
    test_write(dir, "log", "\n");
    assert_tail(dir, 2, 1000, "");
    test_dir_remove(dir);
}

static void test_rotated(void)
{
    char *dir = test_dir_new();

    test_write(dir, "log.1", "a\nb\nc\n");
    assert_tail(dir, 2, 1000, "b|c");
    test_write(dir, "log", "d\n");
    assert_tail(dir, 3, 1000, "b|c|d");
    assert_tail(dir, 1, 1000, "d");
    /* A line that lies in both files. */
    test_write(dir, "log.1", "a\nb\nlong li");
    test_write(dir, "log", "ne\nd\n");
    assert_tail(dir, 2, 1000, "long line|d");
    assert_tail(dir, 3, 1000, "b|long line|d");
    test_dir_remove(dir);
}

static void test_bound(void)
{
    char *dir = test_dir_new();

    test_write(dir, "log.1", "old\n");
    test_write(dir, "log", "first\nsecond\nthird\n");
    assert_tail(dir, 100, 9, "third");
    assert_tail(dir, 100, 13, "third");
    assert_tail(dir, 100, 19, "first|second|third");
    assert_tail(dir, 1, 13, "third");
    assert_tail(dir, 100, 3, "");
    assert_tail(dir, 100, 0, "");
    assert_tail(dir, 100, 21, "first|second|third");
    test_dir_remove(dir);
}

static void test_clean(void)
{
    char *dir = test_dir_new();
    char *path = g_build_filename(dir, "log", NULL);
    static const char raw[] =
        "gr\xc3\xbc\xc3\x9f\t\x1b[1mx\r\n\xff\xc3\ny\0z\x7f\n\xc2\x9b\xed\xa0\x80\n";

    g_assert_true(g_file_set_contents(path, raw, sizeof raw - 1, NULL));
    assert_tail(dir, 10, 1000,
                "gr\xc3\xbc\xc3\x9f\t\\x1b[1mx\\x0d|\xef\xbf\xbd\xef\xbf\xbd|y\\x00z\\x7f|"
                "\\x9b\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    g_free(path);
    test_dir_remove(dir);
}

/* Nothing that is not a plain file is waited for. */
static void test_odd_files(void)
{
    char *dir = test_dir_new();
    char *path = g_build_filename(dir, "log", NULL);

    g_assert_cmpint(mkfifo(path, 0600), ==, 0);
    assert_tail(dir, 10, 1000, "");
    g_assert_cmpint(g_remove(path), ==, 0);
    g_assert_cmpint(symlink("/etc/passwd", path), ==, 0);
    assert_tail(dir, 10, 1000, "");
    g_free(path);
    test_dir_remove(dir);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/log-tail/lines", test_lines);
    g_test_add_func("/log-tail/rotated", test_rotated);
    g_test_add_func("/log-tail/bound", test_bound);
    g_test_add_func("/log-tail/clean", test_clean);
    g_test_add_func("/log-tail/odd-files", test_odd_files);
    return g_test_run();
}
