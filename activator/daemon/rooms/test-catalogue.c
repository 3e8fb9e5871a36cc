/* SPDX-License-Identifier: MIT */
#include "daemon/rooms/catalogue.h"

#include "common/parse/service-file.h"
#include "common/test-util.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <utime.h>

/* A bus with the directories transient, first and second below a fresh one. */
struct fixture {
    char *dir;
    struct bus_place place;
    struct catalogue *c;
    bool changed;
    guint changes;
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

static void on_changed(void *data)
{
    struct fixture *f = data;

    f->changed = true;
    f->changes++;
}

static void setup(struct fixture *f)
{
    memset(f, 0, sizeof *f);
    f->dir = test_dir_new();
    f->place.dirs = g_ptr_array_new_with_free_func(dir_free);
    add_dir(f, "transient", true);
    add_dir(f, "first", false);
    add_dir(f, "deep/er/second", false);
}

static void begin(struct fixture *f)
{
    f->c = catalogue_new(&f->place, NULL, on_changed, f);
}

static void teardown(struct fixture *f)
{
    catalogue_free(f->c);
    g_ptr_array_unref(f->place.dirs);
    test_dir_remove(f->dir);
}

static void write_service(struct fixture *f, const char *file, const char *name, const char *exec)
{
    char *text = g_strdup_printf("[D-BUS Service]\nName=%s\nExec=%s\n", name, exec);

    test_write(f->dir, file, text);
    g_free(text);
}

static void assert_exec(struct catalogue_entry *entry, const char *exec)
{
    if (exec)
        g_assert_nonnull(entry);
    g_assert_cmpstr(entry ? entry->exec : NULL, ==, exec);
}

static void collect(struct catalogue_entry *entry, void *data)
{
    g_string_append_printf(data, "%s=%s ", entry->name, entry->exec);
}

static void assert_all(struct fixture *f, const char *want)
{
    GString *all = g_string_new(NULL);

    catalogue_foreach(f->c, collect, all);
    g_assert_cmpstr(all->str, ==, want);
    g_string_free(all, TRUE);
}

static void test_order(void)
{
    struct fixture f;

    setup(&f);
    write_service(&f, "transient/a.T.service", "a.T", "/t");
    write_service(&f, "transient/odd.service", "a.Odd", "/t");
    write_service(&f, "first/a.T.service", "a.T", "/1");
    write_service(&f, "first/odd.service", "a.Odd", "/1");
    write_service(&f, "first/z.Z.service", "z.Z", "/1");
    write_service(&f, "deep/er/second/z.Z.service", "z.Z", "/2");
    write_service(&f, "deep/er/second/b.B.service", "b.B", "/2 x 'y z'");
    write_service(&f, "first/not-a-name.service", "nothing", "/1");
    write_service(&f, "first/unique.service", ":1.5", "/1");
    write_service(&f, "first/org.freedesktop.DBus.service", "org.freedesktop.DBus", "/1");
    write_service(&f, "first/c.C.txt", "c.C", "/1");
    test_write(f.dir, "first/d.D.service", "Exec=/1\n");
    test_write(f.dir, "first/e.E.service",
               GENERATED_MARK "\n[D-BUS Service]\nName=e.E\nExec=/ours\n");
    test_write(f.dir, "first/f.F.service/x", "");
    begin(&f);
    assert_all(&f, "a.Odd=/1 a.T=/t b.B=/2 x 'y z' z.Z=/1 ");
    g_assert_cmpuint(catalogue_size(f.c), ==, 4);
    g_assert_cmpstr(catalogue_lookup(f.c, "b.B")->argv[2], ==, "y z");
    g_assert_null(catalogue_lookup(f.c, "b.B")->argv[3]);
    g_assert_null(catalogue_lookup(f.c, "e.E"));
    g_assert_null(catalogue_lookup_fresh(f.c, "d.D"));
    teardown(&f);
}

static void test_keys(void)
{
    struct fixture f;
    const GPtrArray *list;

    setup(&f);
    test_write(f.dir, "first/a.A.service",
               "[D-BUS Service]\nName=a.A\nExec=/a '\nUser=joe\nSystemdService=u.service\n"
               "AssumedAppArmorLabel=label\n");
    test_write(f.dir, "first/b.B.service",
               "[D-BUS Service]\nName=b.B\nExec=/b\nSystemdService=u.service\n");
    write_service(&f, "first/c.C.service", "c.C", "/c");
    begin(&f);
    struct catalogue_entry *a = catalogue_lookup(f.c, "a.A");
    g_assert_cmpstr(a->user, ==, "joe");
    g_assert_cmpstr(a->unit, ==, "u.service");
    g_assert_cmpstr(a->apparmor, ==, "label");
    g_assert_null(a->argv);
    g_assert_nonnull(a->problem);
    g_assert_true(g_str_has_suffix(a->file, "/first/a.A.service"));
    list = catalogue_by_unit(f.c, "u.service");
    g_assert_cmpuint(list->len, ==, 2);
    g_assert_true(g_ptr_array_index(list, 0) == a);
    g_assert_null(catalogue_by_unit(f.c, "v.service"));
    test_remove(a->file);
    g_assert_true(catalogue_reload(f.c));
    g_assert_cmpuint(catalogue_by_unit(f.c, "u.service")->len, ==, 1);
    g_assert_null(catalogue_lookup(f.c, "a.A"));
    teardown(&f);
}

static void test_reload(void)
{
    struct fixture f;
    struct catalogue_entry *a;

    setup(&f);
    write_service(&f, "first/a.A.service", "a.A", "/1");
    write_service(&f, "first/b.B.service", "b.B", "/1");
    begin(&f);
    a = catalogue_lookup(f.c, "a.A");
    g_assert_false(catalogue_reload(f.c));
    /* Rewritten with the same text: the entry stays. */
    write_service(&f, "first/a.A.service", "a.A", "/1");
    write_service(&f, "first/b.B.service", "b.B", "/2");
    g_assert_true(catalogue_reload(f.c));
    g_assert_true(catalogue_lookup(f.c, "a.A") == a);
    assert_all(&f, "a.A=/1 b.B=/2 ");
    /* As many files, another name. */
    write_service(&f, "first/b.B.service", "b.C", "/2");
    g_assert_true(catalogue_reload(f.c));
    assert_all(&f, "a.A=/1 b.C=/2 ");
    /* Behind the first one: no difference. */
    write_service(&f, "deep/er/second/a.A.service", "a.A", "/3");
    g_assert_false(catalogue_reload(f.c));
    /* A text that does not parse is dropped by a reload, and uncovers the next file. */
    test_write(f.dir, "first/a.A.service", "junk");
    g_assert_true(catalogue_reload(f.c));
    assert_all(&f, "a.A=/3 b.C=/2 ");
    teardown(&f);
}

/* Two changes within one tick of the clock, same size, same inode. */
static void test_racy(void)
{
    struct fixture f;

    setup(&f);
    write_service(&f, "first/a.A.service", "a.A", "/0");
    begin(&f);
    for (int i = 1; i < 10; i++) {
        char *exec = g_strdup_printf("/%d", i);

        write_service(&f, "first/a.A.service", "a.A", exec);
        assert_exec(catalogue_lookup_fresh(f.c, "a.A"), exec);
        g_free(exec);
    }
    teardown(&f);
}

static void test_fresh(void)
{
    struct fixture f;

    setup(&f);
    write_service(&f, "first/a.A.service", "a.A", "/1");
    begin(&f);
    test_spin(200);
    g_assert_cmpuint(f.changes, ==, 0);
    g_assert_null(catalogue_lookup_fresh(f.c, "b.B"));
    write_service(&f, "first/b.B.service", "b.B", "/1");
    assert_exec(catalogue_lookup_fresh(f.c, "b.B"), "/1");
    g_assert_cmpuint(f.changes, ==, 0);
    test_wait(&f.changed);

    /* One that is put before it. */
    write_service(&f, "transient/b.B.service", "b.B", "/t");
    assert_exec(catalogue_lookup_fresh(f.c, "b.B"), "/t");

    /* Being edited: the old entry serves until a full reload. */
    test_write(f.dir, "first/a.A.service", "");
    assert_exec(catalogue_lookup_fresh(f.c, "a.A"), "/1");
    write_service(&f, "first/a.A.service", "a.A", "/2");
    assert_exec(catalogue_lookup_fresh(f.c, "a.A"), "/2");
    test_write(f.dir, "first/a.A.service", "junk");
    assert_exec(catalogue_lookup_fresh(f.c, "a.A"), "/2");
    g_assert_true(catalogue_reload(f.c));
    g_assert_null(catalogue_lookup_fresh(f.c, "a.A"));
    teardown(&f);
}

/* The same without news from the kernel. */
static void test_unwatched(void)
{
    struct fixture f;

    setup(&f);
    write_service(&f, "first/a.A.service", "a.A", "/1");
    f.c = catalogue_new(&f.place, NULL, NULL, NULL);
    write_service(&f, "first/a.A.service", "a.A", "/long");
    assert_exec(catalogue_lookup_fresh(f.c, "a.A"), "/long");
    write_service(&f, "deep/er/second/b.B.service", "b.B", "/1");
    g_assert_null(catalogue_lookup(f.c, "b.B"));
    assert_exec(catalogue_lookup_fresh(f.c, "b.B"), "/1");
    /* What a lookup noticed is told by the next reload. */
    g_assert_true(catalogue_reload(f.c));
    g_assert_false(catalogue_reload(f.c));
    teardown(&f);
}

static void await(struct fixture *f, const char *want)
{
    test_wait(&f->changed);
    f->changed = false;
    assert_all(f, want);
}

static void test_watch(void)
{
    struct fixture f;
    char *second;

    setup(&f);
    write_service(&f, "first/a.A.service", "a.A", "/1");
    begin(&f);
    second = g_build_filename(f.dir, "deep", NULL);
    write_service(&f, "first/b.B.service", "b.B", "/1");
    await(&f, "a.A=/1 b.B=/1 ");
    /* Directories that do not exist yet, one after the other. */
    g_assert_cmpint(g_mkdir(second, 0700), ==, 0);
    test_spin(100);
    write_service(&f, "deep/er/second/c.C.service", "c.C", "/2");
    await(&f, "a.A=/1 b.B=/1 c.C=/2 ");
    test_remove(second);
    await(&f, "a.A=/1 b.B=/1 ");
    write_service(&f, "deep/er/second/d.D.service", "d.D", "/2");
    await(&f, "a.A=/1 b.B=/1 d.D=/2 ");
    /* Renamed away, one level up. */
    char *away = g_build_filename(f.dir, "away", NULL);
    g_assert_cmpint(g_rename(second, away), ==, 0);
    await(&f, "a.A=/1 b.B=/1 ");
    g_assert_cmpint(g_rename(away, second), ==, 0);
    await(&f, "a.A=/1 b.B=/1 d.D=/2 ");
    /* Many changes, one reload. */
    f.changes = 0;
    for (int i = 0; i < 100; i++) {
        char *file = g_strdup_printf("first/n.N%d.service", i);

        write_service(&f, file, "n.N", "/n");
        g_free(file);
    }
    await(&f, "a.A=/1 b.B=/1 d.D=/2 n.N=/n ");
    test_spin(150);
    g_assert_cmpuint(f.changes, ==, 1);
    /* Other files in there are no news. */
    f.changes = 0;
    test_write(f.dir, "first/readme", "");
    test_spin(150);
    g_assert_cmpuint(f.changes, ==, 0);
    g_free(away);
    g_free(second);
    teardown(&f);
}

/* Serves what is there to be served, without waiting for anything. */
static void serve_ready(void)
{
    for (int i = 0; i < 20; i++)
        g_main_context_iteration(NULL, FALSE);
}

/* True when everything since then happened before anything could calm down. */
static bool was_quick(gint64 began)
{
    return g_get_monotonic_time() - began < 40000;
}

static void test_at_once(void)
{
    struct fixture f;
    char *path;
    FILE *half;
    gint64 began;

    setup(&f);
    write_service(&f, "first/a.A.service", "a.A", "/1");
    begin(&f);
    write_service(&f, "first/b.B.service", "b.B", "/1");
    serve_ready();
    g_assert_cmpuint(f.changes, ==, 1);
    assert_all(&f, "a.A=/1 b.B=/1 ");
    /* That a file is begun does not put off the moment at which it is there. */
    test_spin(200);
    path = g_build_filename(f.dir, "first/c.C.service", NULL);
    began = g_get_monotonic_time();
    half = g_fopen(path, "we");
    g_assert_nonnull(half);
    serve_ready();
    g_assert_cmpint(fputs("[D-BUS Service]\nName=c.C\nExec=/1\n", half), >=, 0);
    g_assert_cmpint(fclose(half), ==, 0);
    serve_ready();
    if (was_quick(began))
        assert_all(&f, "a.A=/1 b.B=/1 c.C=/1 ");
    /* Written in two steps: what was there stays until it calms down. */
    test_spin(200);
    f.changes = 0;
    began = g_get_monotonic_time();
    test_write(f.dir, "first/a.A.service", "");
    serve_ready();
    if (was_quick(began))
        assert_all(&f, "a.A=/1 b.B=/1 c.C=/1 ");
    while (f.changes == 0)
        g_main_context_iteration(NULL, TRUE);
    assert_all(&f, "b.B=/1 c.C=/1 ");
    g_free(path);
    teardown(&f);
}

/* One reload at once and one when it has calmed down, again whenever we were too slow to keep it
 * busy, and one each second. */
static void test_burst(void)
{
    struct fixture f;
    gint64 began;
    gint64 before;
    guint most = 2;

    setup(&f);
    write_service(&f, "first/a.A.service", "a.A", "/1");
    begin(&f);
    began = before = g_get_monotonic_time();
    for (int i = 0; i < 300; i++) {
        char *name = g_strdup_printf("n.N%d", i);
        char *file = g_strdup_printf("first/%s.service", name);

        write_service(&f, file, name, "/n");
        g_usleep(1000); /* to last for longer than it takes to settle once */
        serve_ready();
        most += g_get_monotonic_time() - before < 20000 ? 0 : 2;
        before = g_get_monotonic_time();
        g_free(file);
        g_free(name);
    }
    while (catalogue_size(f.c) < 301)
        g_main_context_iteration(NULL, TRUE);
    most += (guint)((g_get_monotonic_time() - began) / G_USEC_PER_SEC);
    g_test_message("%u reloads, %u at most", f.changes, most);
    g_assert_cmpuint(f.changes, <=, most);
    teardown(&f);
}

/* A profile that is switched by a link, as Guix and Nix do it: two links on the way. */
static void test_links(void)
{
    struct fixture f;
    char *outer, *inner, *fresh;

    setup(&f);
    outer = g_build_filename(f.dir, "outer", NULL);
    inner = g_build_filename(f.dir, "inner", NULL);
    fresh = g_build_filename(f.dir, "fresh", NULL);
    add_dir(&f, "outer/share", false);
    write_service(&f, "p1/share/a.A.service", "a.A", "/1");
    write_service(&f, "p2/share/a.A.service", "a.A", "/2");
    g_assert_cmpint(symlink("inner", outer), ==, 0);
    g_assert_cmpint(symlink("p1", inner), ==, 0);
    begin(&f);
    assert_all(&f, "a.A=/1 ");
    g_assert_cmpint(symlink("p2", fresh), ==, 0);
    g_assert_cmpint(g_rename(fresh, inner), ==, 0);
    await(&f, "a.A=/2 ");
    write_service(&f, "p2/share/b.B.service", "b.B", "/2");
    await(&f, "a.A=/2 b.B=/2 ");
    g_assert_cmpint(g_remove(outer), ==, 0);
    await(&f, "");
    g_assert_cmpint(symlink("outer", outer), ==, 0);
    test_spin(100);
    assert_all(&f, "");
    g_free(fresh);
    g_free(inner);
    g_free(outer);
    teardown(&f);
}

/* No descriptor is left: what was known stays, what is new is found later. */
static void test_no_descriptors(void)
{
    struct fixture f;
    struct rlimit before, none;

    setup(&f);
    write_service(&f, "first/a.A.service", "a.A", "/1");
    begin(&f);
    write_service(&f, "first/b.B.service", "b.B", "/1");
    g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &before), ==, 0);
    none = before;
    none.rlim_cur = 3;
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &none), ==, 0);
    g_test_expect_message(NULL, G_LOG_LEVEL_WARNING, "*first*cannot be read*");
    g_test_expect_message(NULL, G_LOG_LEVEL_WARNING, "*first*cannot be read*");
    g_assert_false(catalogue_reload(f.c));
    g_assert_null(catalogue_lookup_fresh(f.c, "b.B"));
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &before), ==, 0);
    g_test_assert_expected_messages();
    assert_all(&f, "a.A=/1 ");
    assert_exec(catalogue_lookup_fresh(f.c, "b.B"), "/1");
    teardown(&f);
}

static void test_set_place(void)
{
    struct fixture f, g;

    setup(&f);
    setup(&g);
    write_service(&f, "first/a.A.service", "a.A", "/1");
    write_service(&g, "first/b.B.service", "b.B", "/1");
    begin(&f);
    g_assert_true(catalogue_set_place(f.c, &g.place));
    assert_all(&f, "b.B=/1 ");
    write_service(&g, "first/b.B.service", "b.B", "/2");
    await(&f, "b.B=/2 ");
    teardown(&f);
    teardown(&g);
}

static void test_many(void)
{
    struct fixture f;
    gint64 time;
    enum { N = 2000 };

    setup(&f);
    for (int i = 0; i < N; i++) {
        char *name = g_strdup_printf("org.example.N%d", i);
        char *file = g_strdup_printf("first/%s.service", name);

        write_service(&f, file, name, "/usr/bin/program --option");
        g_free(file);
        g_free(name);
    }
    time = g_get_monotonic_time();
    begin(&f);
    g_test_message("load %" G_GINT64_FORMAT " us", g_get_monotonic_time() - time);
    g_assert_cmpuint(catalogue_size(f.c), ==, N);
    test_spin(200);
    catalogue_reload(f.c);
    time = g_get_monotonic_time();
    g_assert_false(catalogue_reload(f.c));
    g_test_message("reload %" G_GINT64_FORMAT " us", g_get_monotonic_time() - time);
    time = g_get_monotonic_time();
    for (int i = 0; i < 1000; i++)
        catalogue_lookup_fresh(f.c, "org.example.N77");
    g_test_message("lookup %" G_GINT64_FORMAT " ns", g_get_monotonic_time() - time);
    time = g_get_monotonic_time();
    for (int i = 0; i < 1000; i++)
        g_assert_null(catalogue_lookup_fresh(f.c, "org.example.none"));
    g_test_message("missing %" G_GINT64_FORMAT " ns", g_get_monotonic_time() - time);
    /* 1000 reloads of so many files would take several seconds. */
    g_assert_cmpint(g_get_monotonic_time() - time, <, 2 * G_USEC_PER_SEC);
    teardown(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/catalogue/order", test_order);
    g_test_add_func("/catalogue/keys", test_keys);
    g_test_add_func("/catalogue/reload", test_reload);
    g_test_add_func("/catalogue/racy", test_racy);
    g_test_add_func("/catalogue/fresh", test_fresh);
    g_test_add_func("/catalogue/unwatched", test_unwatched);
    g_test_add_func("/catalogue/watch", test_watch);
    g_test_add_func("/catalogue/at-once", test_at_once);
    g_test_add_func("/catalogue/burst", test_burst);
    g_test_add_func("/catalogue/links", test_links);
    g_test_add_func("/catalogue/no-descriptors", test_no_descriptors);
    g_test_add_func("/catalogue/set-place", test_set_place);
    g_test_add_func("/catalogue/many", test_many);
    return g_test_run();
}
