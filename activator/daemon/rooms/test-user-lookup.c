/* SPDX-License-Identifier: MIT */
#include "common/test-util.h"
#include "daemon/rooms/user-files.h"
#include "daemon/rooms/user-lookup.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* Stands in for the C library's: the children of the room find these. */
struct passwd *getpwnam(const char *name)
{
    static struct passwd pw;

    if (strcmp(name, "hangs") == 0) {
        pause();
    } else if (strcmp(name, "dies") == 0) {
        raise(SIGKILL);
    } else if (strcmp(name, "fails") == 0) {
        errno = EIO;
        return NULL;
    } else if (strcmp(name, "leaves") == 0 && fork() == 0) {
        /* Something of the directory service's that keeps the pipe open. */
        close(STDOUT_FILENO);
        close(STDERR_FILENO);
        sleep(5);
        _exit(0);
    } else if (strcmp(name, "none") == 0) {
        errno = 0;
        return NULL;
    }
    pw = (struct passwd){.pw_name = (char *)name,
                         .pw_uid = 4711,
                         .pw_gid = (gid_t)getpid(),
                         .pw_dir = (char *)"/home/x"};
    return &pw;
}

int getgrouplist(const char *name, gid_t gid, gid_t *groups, int *n)
{
    (void)name;
    groups[0] = gid;
    for (int i = 1; i < 3000; i++)
        groups[i] = (gid_t)i;
    *n = 3000;
    return *n;
}

/* Stands in for the other room. */
static struct user_files files;

void user_files_look(struct user_files *f, const char *root)
{
    g_assert_cmpstr(root, ==, "");
    *f = files;
}

gboolean user_files_same(const struct user_files *a, const struct user_files *b)
{
    return a->alone && b->alone && a->file[0].size == b->file[0].size;
}

struct answer {
    bool done;
    bool found;
    guint32 gid;
    char *error;
    struct user_lookup **cancel; /* when this one is done */
};

static void on_done(void *data, const struct user_info *info, const char *error)
{
    struct answer *a = data;

    g_assert_false(a->done);
    a->done = true;
    a->found = info != NULL;
    g_assert_true((info != NULL) != (error != NULL));
    a->error = g_strdup(error);
    if (info) {
        g_assert_cmpuint(info->uid, ==, 4711);
        g_assert_cmpuint(info->ngroups, ==, 3000);
        g_assert_cmpuint(info->groups[0], ==, info->gid);
        g_assert_cmpuint(info->groups[2999], ==, 2999);
        g_assert_cmpstr(info->home, ==, "/home/x");
        a->gid = info->gid;
    }
    if (a->cancel)
        user_lookup_cancel(*a->cancel);
}

/* No child is left: neither alive nor unwaited for. */
static void assert_no_children(void)
{
    siginfo_t info;

    for (int i = 0; i < 2000; i++) {
        g_main_context_iteration(NULL, FALSE);
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 && errno == ECHILD)
            return;
        g_usleep(1000);
    }
    g_assert_not_reached();
}

static void assert_error(const char *user, const char *pattern)
{
    struct answer a = {0};

    user_lookup(user, on_done, &a);
    test_wait(&a.done);
    g_assert_false(a.found);
    g_assert_true(g_pattern_match_simple(pattern, a.error));
    g_free(a.error);
    assert_no_children();
}

static void test_answers(void)
{
    struct answer a = {0};

    user_lookup("somebody", on_done, &a);
    g_assert_false(a.done);
    test_wait(&a.done);
    g_assert_true(a.found);
    assert_no_children();
    assert_error("none", "There is no user \"none\"");
    assert_error("fails", "*\"fails\"*Input/output error");
    assert_error("dies", "*\"dies\"*died");
}

static void test_known(void)
{
    struct answer first = {0}, second = {0}, third = {0};

    g_assert_null(user_lookup_known("known"));
    user_lookup("known", on_done, &first);
    test_wait(&first.done);
    g_assert_null(user_lookup_known("known")); /* from a directory service */
    files.alone = TRUE;
    user_lookup("known", on_done, &second);
    test_wait(&second.done);
    const struct user_info *info = user_lookup_known("known");
    g_assert_nonnull(info);
    g_assert_cmpuint(info->gid, ==, second.gid);
    g_assert_cmpuint(info->ngroups, ==, 3000);
    g_assert_cmpuint(info->groups[2999], ==, 2999);
    g_assert_cmpstr(info->home, ==, "/home/x");
    g_assert_null(user_lookup_known("other"));
    files.file[0].size++;
    g_assert_null(user_lookup_known("known"));
    user_lookup("known", on_done, &third);
    files.file[0].size++; /* while the child looks */
    test_wait(&third.done);
    g_assert_null(user_lookup_known("known"));
    files.alone = FALSE;
    assert_error("none", "There is no user \"none\"");
    g_assert_null(user_lookup_known("none"));
    assert_no_children();
}

static void test_shared(void)
{
    struct answer a[3] = {{0}, {0}, {0}};
    struct answer other = {0}, later = {0};

    for (int i = 0; i < 3; i++)
        user_lookup("same", on_done, &a[i]);
    user_lookup("other", on_done, &other);
    for (int i = 0; i < 3; i++)
        test_wait(&a[i].done);
    test_wait(&other.done);
    g_assert_cmpuint(a[0].gid, ==, a[1].gid);
    g_assert_cmpuint(a[0].gid, ==, a[2].gid);
    g_assert_cmpuint(a[0].gid, !=, other.gid);
    /* Nothing is remembered of a directory service. */
    user_lookup("same", on_done, &later);
    test_wait(&later.done);
    g_assert_cmpuint(a[0].gid, !=, later.gid);
    assert_no_children();
}

static void test_cancel(void)
{
    struct answer a = {0}, b = {0}, quick = {0};
    struct user_lookup *first = user_lookup("hangs", on_done, &a);
    struct user_lookup *second = user_lookup("hangs", on_done, &b);

    /* A lookup that hangs holds up nobody else. */
    user_lookup("quick", on_done, &quick);
    test_wait(&quick.done);
    user_lookup_cancel(first);
    test_spin(50);
    user_lookup_cancel(second);
    user_lookup_cancel(NULL);
    assert_no_children();
    g_assert_false(a.done || b.done);

    /* One that is told cancels the other. */
    a = b = (struct answer){0};
    user_lookup("same", on_done, &a);
    second = user_lookup("same", on_done, &b);
    a.cancel = &second;
    test_wait(&a.done);
    test_spin(20);
    g_assert_false(b.done);
    assert_no_children();
}

/* What the child leaves behind holds the pipe open: the answer does not wait for that. */
static void test_leaves(void)
{
    struct answer a = {0};
    gint64 begin = g_get_monotonic_time();

    user_lookup("leaves", on_done, &a);
    test_wait(&a.done);
    g_assert_true(a.found);
    g_assert_cmpint(g_get_monotonic_time() - begin, <, 4 * G_USEC_PER_SEC);
}

static void test_many(void)
{
    enum { N = 100 };
    static struct answer a[N];

    for (int i = 0; i < N; i++) {
        char *name = g_strdup_printf("user%d", i);

        user_lookup(name, on_done, &a[i]);
        g_free(name);
    }
    for (int i = 0; i < N; i++) {
        test_wait(&a[i].done);
        g_assert_true(a[i].found);
    }
    assert_no_children();
}

/* Nothing of ours is open in a child that hangs. */
static void test_descriptors(void)
{
    struct answer a = {0};
    int ends[2];
    char byte;
    struct user_lookup *lookup;

    g_assert_cmpint(pipe(ends), ==, 0);
    lookup = user_lookup("hangs", on_done, &a);
    close(ends[1]);
    g_assert_cmpint(read(ends[0], &byte, 1), ==, 0);
    close(ends[0]);
    user_lookup_cancel(lookup);
    assert_no_children();
}

/* The room gives up by itself. */
static void test_patience(void)
{
    struct answer a = {0};

    if (!g_test_slow()) {
        g_test_skip("takes 20 s");
        return;
    }
    user_lookup("hangs", on_done, &a);
    test_spin(19000);
    g_assert_false(a.done);
    test_wait(&a.done);
    g_assert_true(g_pattern_match_simple("*no answer within 20 s", a.error));
    g_free(a.error);
    assert_no_children();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/user-lookup/answers", test_answers);
    g_test_add_func("/user-lookup/known", test_known);
    g_test_add_func("/user-lookup/shared", test_shared);
    g_test_add_func("/user-lookup/cancel", test_cancel);
    g_test_add_func("/user-lookup/leaves", test_leaves);
    g_test_add_func("/user-lookup/many", test_many);
    g_test_add_func("/user-lookup/descriptors", test_descriptors);
    g_test_add_func("/user-lookup/patience", test_patience);
    return g_test_run();
}
