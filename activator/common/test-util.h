/* SPDX-License-Identifier: MIT */
/* What the unit tests of these rooms share. */
#pragma once

#include <glib.h>
#include <glib/gstdio.h>
#include <stdbool.h>
#include <string.h>

/* A fresh directory; test_dir_remove() also frees the path. */
static inline char *test_dir_new(void)
{
    char *dir = g_dir_make_tmp("dba-test-XXXXXX", NULL);

    g_assert_nonnull(dir);
    return dir;
}

static inline void test_remove(const char *path)
{
    GDir *list = g_file_test(path, G_FILE_TEST_IS_SYMLINK) ? NULL : g_dir_open(path, 0, NULL);
    const char *name;

    while (list && (name = g_dir_read_name(list))) {
        char *inside = g_build_filename(path, name, NULL);

        test_remove(inside);
        g_free(inside);
    }
    if (list)
        g_dir_close(list);
    g_assert_cmpint(g_remove(path), ==, 0);
}

static inline void test_dir_remove(char *dir)
{
    test_remove(dir);
    g_free(dir);
}

static inline void test_write(const char *dir, const char *name, const char *text)
{
    char *path = g_build_filename(dir, name, NULL);
    char *folder = g_path_get_dirname(path);
    FILE *f;

    g_assert_cmpint(g_mkdir_with_parents(folder, 0700), ==, 0);
    f = fopen(path, "w");
    g_assert_nonnull(f);
    g_assert_cmpint(fputs(text, f), >=, 0);
    g_assert_cmpint(fclose(f), ==, 0);
    g_free(folder);
    g_free(path);
}

static inline char *test_read(const char *dir, const char *name)
{
    char *path = g_build_filename(dir, name, NULL);
    char *text = NULL;

    g_file_get_contents(path, &text, NULL, NULL);
    g_free(path);
    return text;
}

/* Runs the main loop until the flag is set; the test fails when it is not within 10 s. */
static inline void test_wait(const bool *flag)
{
    gint64 end = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;

    while (!*flag) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        if (!g_main_context_iteration(NULL, FALSE))
            g_usleep(1000);
    }
}

/* Runs the main loop for that long. */
static inline void test_spin(guint ms)
{
    gint64 end = g_get_monotonic_time() + ms * 1000;

    while (g_get_monotonic_time() < end) {
        if (!g_main_context_iteration(NULL, FALSE))
            g_usleep(1000);
    }
}
