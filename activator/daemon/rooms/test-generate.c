/* SPDX-License-Identifier: MIT */
#include "daemon/rooms/generate.h"

#include "common/parse/exec-line.h"
#include "common/parse/service-file.h"
#include "common/test-util.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

struct fixture {
    char *dir;
    char *out;
    struct bus_place place;
    struct catalogue *c;
    struct generated *g;
};

static void dir_free(gpointer data)
{
    struct bus_dir *dir = data;

    g_free(dir->path);
    g_free(dir);
}

static void add_dir(struct fixture *f, const char *name, bool transient)
{
    struct bus_dir *dir = g_new0(struct bus_dir, 1);

    dir->path = g_build_filename(f->dir, name, NULL);
    dir->transient = transient;
    g_ptr_array_add(f->place.dirs, dir);
}

static void open_generated(struct fixture *f, const char *helper, const char *runtime_dir)
{
    GError *error = NULL;

    f->g = generated_new(f->out, helper, runtime_dir, &error);
    g_assert_no_error(error);
}

static void setup(struct fixture *f)
{
    memset(f, 0, sizeof *f);
    f->dir = test_dir_new();
    f->out = g_build_filename(f->dir, "run/services", NULL);
    f->place.dirs = g_ptr_array_new_with_free_func(dir_free);
    add_dir(f, "run/services", true);
    add_dir(f, "in 'dir' \\x", false);
    test_write(f->dir, "in 'dir' \\x/a.A.service",
               "[D-BUS Service]\nName=a.A\nExec=/a\nUser=joe\nSystemdService=u.service\n"
               "AssumedAppArmorLabel=\\slabel\\\\\n");
    test_write(f->dir, "in 'dir' \\x/odd.service", "[D-BUS Service]\nName=b.B\nExec=/b\n");
    open_generated(f, "/lib/helper", "/run/it's #1");
    f->c = catalogue_new(&f->place, f->out, NULL, NULL);
}

static void teardown(struct fixture *f)
{
    catalogue_free(f->c);
    generated_free(f->g);
    g_ptr_array_unref(f->place.dirs);
    test_dir_remove(f->dir);
    g_free(f->out);
}

static char *path_of(struct fixture *f, const char *name)
{
    return g_build_filename(f->out, name, NULL);
}

static void assert_exists(struct fixture *f, const char *name, bool exists)
{
    char *path = path_of(f, name);

    g_assert_cmpint(g_file_test(path, G_FILE_TEST_EXISTS), ==, exists);
    g_free(path);
}

static void test_text(void)
{
    struct fixture f;
    struct service_file sf;
    char *path, *text, *original;
    char **argv;
    size_t argc;

    setup(&f);
    g_assert_true(generated_update(f.g, f.c));
    text = test_read(f.out, "a.A.service");
    g_assert_true(g_str_has_prefix(text, GENERATED_MARK "\n[D-BUS Service]\n"));
    g_free(text);
    path = path_of(&f, "a.A.service");
    g_assert_cmpint(service_file_load(path, &sf, NULL), ==, 0);
    g_assert_cmpstr(sf.name, ==, "a.A");
    g_assert_cmpstr(sf.user, ==, "joe");
    g_assert_cmpstr(sf.systemd_service, ==, "a.A.service");
    g_assert_cmpstr(sf.apparmor_label, ==, " label\\");
    g_assert_cmpint(exec_line_parse(sf.exec, &argv, &argc, NULL), ==, 0);
    g_assert_cmpuint(argc, ==, 4);
    g_assert_cmpstr(argv[0], ==, "/lib/helper");
    g_assert_cmpstr(argv[1], ==, "a.A");
    original = g_build_filename(f.dir, "in 'dir' \\x", "a.A.service", NULL);
    g_assert_cmpstr(argv[2], ==, original);
    g_assert_cmpstr(argv[3], ==, "/run/it's #1");
    exec_argv_free(argv);
    service_file_clear(&sf);
    g_free(original);
    g_free(path);

    path = path_of(&f, "b.B.service");
    generated_set_unit(f.g, false);
    g_assert_true(generated_update(f.g, f.c));
    g_assert_cmpint(service_file_load(path, &sf, NULL), ==, 0);
    g_assert_cmpstr(sf.name, ==, "b.B");
    g_assert_null(sf.user);
    g_assert_null(sf.systemd_service);
    service_file_clear(&sf);
    g_free(path);
    teardown(&f);
}

static void test_update(void)
{
    struct fixture f;
    struct stat before, after;
    char *path;

    setup(&f);
    g_assert_false(catalogue_lookup(f.c, "a.A")->generated_original);
    g_assert_true(generated_update(f.g, f.c));
    g_assert_true(catalogue_lookup(f.c, "a.A")->generated_original);
    path = path_of(&f, "a.A.service");
    g_assert_cmpint(g_stat(path, &before), ==, 0);
    g_assert_false(generated_update(f.g, f.c));
    g_assert_cmpint(g_stat(path, &after), ==, 0);
    g_assert_cmpuint(before.st_ino, ==, after.st_ino);

    /* Ours are no originals. */
    g_assert_false(catalogue_reload(f.c));
    g_assert_cmpuint(catalogue_size(f.c), ==, 2);

    /* One that somebody removed, and one whose original went. */
    g_assert_cmpint(g_remove(path), ==, 0);
    g_assert_true(generated_update(f.g, f.c));
    assert_exists(&f, "a.A.service", true);
    char *original = g_strdup(catalogue_lookup(f.c, "a.A")->file);
    g_assert_cmpint(g_remove(original), ==, 0);
    g_assert_true(catalogue_reload(f.c));
    g_assert_true(generated_update(f.g, f.c));
    assert_exists(&f, "a.A.service", false);
    assert_exists(&f, "b.B.service", true);
    g_free(original);
    g_free(path);
    teardown(&f);
}

static void test_foreign(void)
{
    struct fixture f;
    char *text, *path;

    setup(&f);
    test_write(f.out, "a.A.service", "[D-BUS Service]\nName=a.A\nExec=/mine\n");
    path = path_of(&f, "b.B.service");
    g_assert_cmpint(symlink("nowhere", path), ==, 0);
    catalogue_reload(f.c);
    g_assert_cmpstr(catalogue_lookup(f.c, "a.A")->exec, ==, "/mine");
    g_assert_false(generated_update(f.g, f.c));
    g_assert_false(catalogue_lookup(f.c, "a.A")->generated_original);
    g_assert_false(catalogue_lookup(f.c, "b.B")->generated_original);
    text = test_read(f.out, "a.A.service");
    g_assert_nonnull(strstr(text, "/mine"));
    g_free(text);
    g_assert_true(g_file_test(path, G_FILE_TEST_IS_SYMLINK));

    /* It takes ours away and puts its own there. */
    g_assert_cmpint(g_remove(path), ==, 0);
    g_assert_true(generated_update(f.g, f.c));
    test_write(f.out, "b.B.service", "[D-BUS Service]\nName=b.X\nExec=/mine\n");
    g_assert_false(generated_update(f.g, f.c));
    g_assert_false(generated_spoil(f.g));
    g_assert_false(generated_remove(f.g));
    assert_exists(&f, "a.A.service", true);
    assert_exists(&f, "b.B.service", true);
    g_free(path);
    teardown(&f);
}

static void test_leave(void)
{
    struct fixture f;
    struct service_file sf;
    char *path;

    setup(&f);
    path = path_of(&f, "a.A.service");
    g_assert_false(generated_spoil(f.g));
    generated_update(f.g, f.c);
    g_assert_true(generated_spoil(f.g));
    g_assert_cmpint(service_file_load(path, &sf, NULL), ==, SERVICE_FILE_E_INVALID);
    /* A successor that finds spoiled files makes them anew. */
    generated_free(f.g);
    open_generated(&f, "/lib/helper", NULL);
    g_assert_true(generated_update(f.g, f.c));
    g_assert_cmpint(service_file_load(path, &sf, NULL), ==, 0);
    service_file_clear(&sf);
    /* What a killed predecessor left is swept. */
    test_write(f.out, "x.X.service", GENERATED_MARK "\nwhatever");
    test_write(f.out, ".dbus-activator.tmp", "half");
    generated_free(f.g);
    open_generated(&f, "/lib/helper", NULL);
    g_assert_true(generated_update(f.g, f.c));
    assert_exists(&f, "x.X.service", false);
    assert_exists(&f, ".dbus-activator.tmp", false);
    g_assert_true(generated_remove(f.g));
    g_assert_false(generated_remove(f.g));
    assert_exists(&f, "a.A.service", false);
    assert_exists(&f, "b.B.service", false);
    g_free(path);
    teardown(&f);
}

static void test_full(void)
{
    struct fixture f;
    struct rlimit before, small;

    setup(&f);
    signal(SIGXFSZ, SIG_IGN);
    g_assert_cmpint(getrlimit(RLIMIT_FSIZE, &before), ==, 0);
    small = before;
    small.rlim_cur = 20;
    g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &small), ==, 0);
    g_test_expect_message(NULL, G_LOG_LEVEL_WARNING, "*cannot be written*");
    g_assert_false(generated_update(f.g, f.c));
    g_assert_false(generated_update(f.g, f.c));
    g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &before), ==, 0);
    g_test_assert_expected_messages();
    assert_exists(&f, ".dbus-activator.tmp", false);
    g_assert_false(catalogue_lookup(f.c, "a.A")->generated_original);
    g_assert_true(generated_update(f.g, f.c));
    g_assert_true(catalogue_lookup(f.c, "a.A")->generated_original);
    teardown(&f);
}

static void test_directory(void)
{
    struct fixture f;
    GError *error = NULL;
    struct stat st;

    setup(&f);
    g_assert_cmpint(g_stat(f.out, &st), ==, 0);
    g_assert_cmpuint(st.st_mode & 07777, ==, 0700);
    g_assert_cmpint(g_chmod(f.out, 0777), ==, 0);
    g_assert_null(generated_new(f.out, "/h", NULL, &error));
    g_assert_nonnull(error);
    g_clear_error(&error);
    g_assert_null(generated_new("/dev/null/x", "/h", NULL, &error));
    g_clear_error(&error);
    teardown(&f);
}

static void test_unit_to_name(void)
{
    char *name = generated_unit_to_name("a.B-c.service");

    g_assert_cmpstr(name, ==, "a.B-c");
    g_free(name);
    g_assert_null(generated_unit_to_name("a.service"));
    g_assert_null(generated_unit_to_name("a.B"));
    g_assert_null(generated_unit_to_name(".service"));
    g_assert_null(generated_unit_to_name(""));
    g_assert_null(generated_unit_to_name("a/b.c.service"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/generate/text", test_text);
    g_test_add_func("/generate/update", test_update);
    g_test_add_func("/generate/foreign", test_foreign);
    g_test_add_func("/generate/leave", test_leave);
    g_test_add_func("/generate/full", test_full);
    g_test_add_func("/generate/directory", test_directory);
    g_test_add_func("/generate/unit-to-name", test_unit_to_name);
    return g_test_run();
}
