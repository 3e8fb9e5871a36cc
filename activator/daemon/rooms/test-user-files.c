/* SPDX-License-Identifier: MIT */
#include "common/test-util.h"
#include "daemon/rooms/user-files.h"

#include <glib/gstdio.h>
#include <sys/stat.h>

static char *root;

static void write_file(const char *name, const char *text)
{
    char *path = g_strconcat(root, name, NULL);
    char *folder = g_path_get_dirname(path);

    g_assert_cmpint(g_mkdir_with_parents(folder, 0755), ==, 0);
    g_assert_true(g_file_set_contents(path, text, -1, NULL));
    g_free(folder);
    g_free(path);
}

/* A look at files that lie still. The time of change is nobody's to set: it has to pass. */
static struct user_files look(void)
{
    struct user_files f;

    g_usleep(2100000);
    user_files_look(&f, root);
    return f;
}

static void switch_to(const char *sources)
{
    char *text =
        g_strdup_printf("# passwd: nis\npasswd:\t%s # nis\ngroup: files\nhosts: dns\n", sources);

    write_file("/etc/nsswitch.conf", text);
    g_free(text);
}

static void test_files(void)
{
    struct user_files first, second;

    user_files_look(&first, root);
    g_assert_false(first.alone);
    write_file("/etc/passwd", "root:x:0:0::/root:/bin/sh\n");
    write_file("/etc/group", "root:x:0:\n");
    switch_to("files");
    first = look();
    user_files_look(&second, root);
    g_assert_true(first.alone);
    g_assert_true(user_files_same(&first, &second));
    gint64 before = g_get_monotonic_time();
    write_file("/etc/group", "root:x:1:\n");
    user_files_look(&second, root);
    if (g_get_monotonic_time() - before < 1900000)
        g_assert_false(second.alone); /* it may change once more within the clock's tick */
    g_assert_false(user_files_same(&first, &second));
    second = look();
    g_assert_true(second.alone);
    g_assert_false(user_files_same(&first, &second));
}

static void test_sources(void)
{
    struct user_files f;

    switch_to("files ldap");
    f = look();
    g_assert_false(f.alone);
    switch_to("files systemd");
    f = look();
    g_assert_true(f.alone);
    write_file("/etc/userdb/somebody.user", "{}");
    user_files_look(&f, root);
    g_assert_false(f.alone);
    switch_to("files");
    f = look();
    g_assert_true(f.alone);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    root = g_dir_make_tmp("dba-XXXXXX", NULL);
    g_assert_nonnull(root);
    g_test_add_func("/user-files/files", test_files);
    g_test_add_func("/user-files/sources", test_sources);
    int result = g_test_run();
    const char *const names[] = {"etc/userdb/somebody.user",
                                 "etc/userdb",
                                 "etc/passwd",
                                 "etc/group",
                                 "etc/nsswitch.conf",
                                 "etc",
                                 ""};
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        char *path = g_build_filename(root, names[i], NULL);
        g_remove(path);
        g_free(path);
    }
    g_free(root);
    return result;
}
