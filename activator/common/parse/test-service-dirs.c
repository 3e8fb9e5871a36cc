/* SPDX-License-Identifier: MIT */
#include "common/parse/service-dirs.h"

#include <glib.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>

/* data is an array of name, value, ..., NULL. */
static const char *get(const char *name, void *data)
{
    for (char **pair = data; *pair; pair += 2) {
        if (strcmp(pair[0], name) == 0)
            return pair[1];
    }
    return NULL;
}

static char *joined(struct service_dirs *dirs)
{
    GString *text = g_string_new(NULL);

    for (size_t i = 0; i < dirs->count; i++)
        g_string_append_printf(text, "%s%s\n", dirs->list[i].transient ? "!" : "",
                               dirs->list[i].path);
    service_dirs_clear(dirs);
    g_assert_cmpuint(dirs->count, ==, 0);
    return g_string_free(text, FALSE);
}

static void check(const char *const *environment, const char *wanted)
{
    struct service_dirs dirs = {0};
    g_autofree char *text = NULL;

    g_assert_cmpint(service_dirs_add_session(&dirs, get, (void *)environment), ==, 0);
    text = joined(&dirs);
    g_assert_cmpstr(text, ==, wanted);
}

#define S        "/dbus-1/services\n"
#define DEFAULTS "/usr/local/share" S "/usr/share" S

static void test_session(void)
{
    check((const char *[]){NULL}, DEFAULTS);
    check((const char *[]){"HOME", "/h", NULL}, "/h/.local/share" S DEFAULTS);
    check((const char *[]){"HOME", "/h/", NULL}, "/h/.local/share" S DEFAULTS);
    check((const char *[]){"HOME", "", NULL}, DEFAULTS);
    check((const char *[]){"HOME", "/h", "XDG_DATA_HOME", "/d", NULL}, "/d" S DEFAULTS);
    check((const char *[]){"HOME", "/h", "XDG_DATA_HOME", "", NULL}, DEFAULTS);
    check((const char *[]){"XDG_DATA_DIRS", "", NULL}, "/usr/share" S);
    check((const char *[]){"XDG_DATA_DIRS", "/a:/b", NULL}, "/a" S "/b" S "/usr/share" S);
    /* As the stock daemon was seen to take it. */
    check((const char *[]){"XDG_DATA_DIRS", " /w : /a/:rel::/a//:/", NULL},
          "/w" S "/a" S "rel" S "/a/" S S "/usr/share" S);
    check((const char *[]){"XDG_DATA_DIRS", "/usr/share:/a:/usr/share", NULL},
          "/usr/share" S "/a" S);
    check((const char *[]){"XDG_RUNTIME_DIR", "", NULL}, DEFAULTS);
    check((const char *[]){"XDG_RUNTIME_DIR", "/nonexistent", NULL}, DEFAULTS);
}

static void test_transient(void)
{
    g_autofree char *folder = g_dir_make_tmp("parse-XXXXXX", NULL);
    g_autofree char *middle = g_build_filename(folder, "dbus-1", NULL);
    g_autofree char *last = g_build_filename(middle, "services", NULL);
    g_autofree char *with = g_strdup_printf("!%s\n" DEFAULTS, last);
    const char *environment[] = {"XDG_RUNTIME_DIR", folder, NULL};

    check(environment, with);
    g_assert_cmpint(g_mkdir_with_parents(last, 0700), ==, 0);
    check(environment, with);
    g_assert_cmpint(chmod(last, 0755), ==, 0);
    check(environment, with);
    g_assert_cmpint(chmod(last, 0720), ==, 0);
    check(environment, DEFAULTS);
    g_assert_cmpint(chmod(last, 0700), ==, 0);
    g_assert_cmpint(chmod(middle, 0702), ==, 0);
    check(environment, DEFAULTS);
    g_assert_cmpint(chmod(middle, 0700), ==, 0);
    g_assert_cmpint(chmod(folder, 0770), ==, 0);
    check(environment, DEFAULTS);
    g_assert_cmpint(g_rmdir(last), ==, 0);
    g_assert_cmpint(g_rmdir(middle), ==, 0);
    g_assert_cmpint(g_rmdir(folder), ==, 0);
}

static void test_system(void)
{
    struct service_dirs dirs = {0};
    g_autofree char *text = NULL;

    g_assert_cmpint(service_dirs_add_system(&dirs), ==, 0);
    text = joined(&dirs);
    g_assert_cmpstr(text, ==,
                    "/usr/local/share/dbus-1/system-services\n/usr/share/dbus-1/system-services\n"
                    "/lib/dbus-1/system-services\n");
}

/* A directory that stands on the list for two reasons is watched, and strict only if both are. */
static void test_duplicates(void)
{
    struct service_dirs dirs = {0};
    g_autofree char *text = NULL;

    g_assert_cmpint(service_dirs_add(&dirs, "/a", true), ==, 0);
    g_assert_cmpint(service_dirs_add(&dirs, "/b", true), ==, 0);
    g_assert_cmpint(service_dirs_add(&dirs, "/c", false), ==, 0);
    g_assert_cmpint(service_dirs_add(&dirs, "/a", false), ==, 0);
    g_assert_cmpint(service_dirs_add(&dirs, "/b", true), ==, 0);
    g_assert_cmpint(service_dirs_add(&dirs, "/c", true), ==, 0);
    text = joined(&dirs);
    g_assert_cmpstr(text, ==, "/a\n!/b\n/c\n");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/service-dirs/session", test_session);
    g_test_add_func("/service-dirs/transient", test_transient);
    g_test_add_func("/service-dirs/system", test_system);
    g_test_add_func("/service-dirs/duplicates", test_duplicates);
    return g_test_run();
}
