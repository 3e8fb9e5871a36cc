/* SPDX-License-Identifier: MIT */
#include "common/place/bus-place.h"

#include "common/place/bus-process.h"
#include "common/place/trust.h"
#include "common/test-util.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CONFIG(inner) "<busconfig>" inner "</busconfig>\n"

static char *dirs_of(const struct bus_place *place)
{
    GString *all = g_string_new(NULL);

    for (guint i = 0; i < place->dirs->len; i++) {
        const struct bus_dir *dir = g_ptr_array_index(place->dirs, i);

        g_string_append_printf(all, "%s%s ", dir->path, dir->transient ? "*" : "");
    }
    return g_string_free(all, FALSE);
}

static void assert_dirs(const struct bus_place *place, const char *want)
{
    char *dirs = dirs_of(place);

    g_assert_cmpstr(dirs, ==, want);
    g_free(dirs);
}

/* A process that calls itself as argv says and has this environment; it waits for its end. */
static pid_t stand_in(char **argv, char **envp)
{
    pid_t pid = fork();

    if (pid == 0) {
        execve("/bin/sleep", argv, envp);
        _exit(1);
    }
    /* Until it is the other program. */
    for (int i = 0; i < 2000; i++) {
        char *path = g_strdup_printf("/proc/%d/exe", (int)pid);
        char *exe = g_file_read_link(path, NULL);
        char *cmdline_path = g_strdup_printf("/proc/%d/cmdline", (int)pid);
        char *cmdline = NULL;
        gsize length = 0;
        /* Arguments and environment are there a moment after the program is. */
        bool there = exe && strstr(exe, "sleep") &&
                     g_file_get_contents(cmdline_path, &cmdline, &length, NULL) && length > 0;

        g_free(cmdline);
        g_free(cmdline_path);
        g_free(exe);
        g_free(path);
        if (there)
            return pid;
        g_usleep(1000);
    }
    g_assert_not_reached();
}

static void end(pid_t pid)
{
    kill(pid, SIGKILL);
    g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
}

static void test_command(void)
{
    static const struct {
        const char *command;
        gsize length;
        const char *config;
        bool session, system;
    } rows[] = {
#define ROW(text, ...) {text, sizeof text, __VA_ARGS__}
        ROW("dbus-daemon", NULL, false, false),
        ROW("dbus-daemon\0--session", NULL, true, false),
        ROW("dbus-daemon\0--system\0--nofork", NULL, false, true),
        ROW("dbus-daemon\0--config-file=/a b", "/a b", false, false),
        ROW("dbus-daemon\0--nofork\0--config-file\0/a\0--print-address", "/a", false, false),
        ROW("dbus-daemon\0--config-file\0--session", "/cwd/--session", false, false),
        ROW("dbus-daemon\0--config-file=x/../s.conf", "/cwd/s.conf", false, false),
        ROW("dbus-daemon\0--config-file", NULL, false, false),
        ROW("dbus-daemon\0--config-file=", NULL, false, false),
        ROW("dbus-daemon\0--config-files=/a", NULL, false, false),
        ROW("--config-file=/a", NULL, false, false),
        {"", 0, NULL, false, false},
        {"dbus-daemon\0--session", 21, NULL, false, false}, /* cut off */
        {"dbus", 4, NULL, false, false},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        struct bus_process process = {0};

        bus_process_take_command(&process, rows[i].command, rows[i].length, "/cwd");
        g_assert_cmpstr(process.config_file, ==, rows[i].config);
        g_assert_cmpint(process.says_session, ==, rows[i].session);
        g_assert_cmpint(process.says_system, ==, rows[i].system);
        bus_process_clear(&process);
    }
}

static void test_process(void)
{
    char *dir = test_dir_new();
    char *runtime = g_build_filename(dir, "run", NULL);
    char *variable = g_strconcat("XDG_RUNTIME_DIR=", runtime, NULL);
    char *argv[] = {(char *)"sleep", (char *)"60", NULL};
    char *envp[] = {variable, (char *)"XDG_DATA_HOME=/h", (char *)"XDG_DATA_DIRS=/x:/y/", NULL};
    char *want;
    pid_t pid;
    struct bus_place *place;
    GError *error = NULL;
    const char *extra[] = {"/extra/", "/x/dbus-1/services", NULL};

    g_assert_cmpint(g_mkdir(runtime, 0700), ==, 0);
    test_write(dir, "s.conf",
               CONFIG("<type>session</type><servicedir>/s</servicedir>"
                      "<standard_session_servicedirs/><include>more.conf</include>"));
    test_write(dir, "more.conf",
               CONFIG("<limit name='service_start_timeout'>1234</limit>"
                      "<servicedir>rel</servicedir><servicehelper>/h</servicehelper>"));
    pid = stand_in(argv, envp);
    char *config = g_build_filename(dir, "s.conf", NULL);
    place = bus_place_new(pid, false, config, extra, &error);
    g_assert_no_error(error);
    want = g_strdup_printf("/extra /x/dbus-1/services /s %s/dbus-1/services* "
                           "/h/dbus-1/services /y/dbus-1/services "
                           "/usr/share/dbus-1/services %s/rel ",
                           runtime, dir);
    assert_dirs(place, want);
    g_assert_cmpuint(place->start_timeout_ms, ==, 1234);
    g_assert_true(place->has_servicehelper);
    g_assert_cmpstr(place->type, ==, "session");
    g_assert_cmpstr(place->config_file, ==, config);
    g_assert_cmpstr(bus_place_getenv(place, "XDG_DATA_HOME"), ==, "/h");
    g_assert_null(bus_place_getenv(place, "PATH"));
    bus_place_free(place);
    g_free(want);
    /* A runtime directory that others can write to does not count, at each of its levels. */
    char *middle = g_build_filename(runtime, "dbus-1", NULL);
    g_assert_cmpint(g_mkdir(middle, 0700), ==, 0);
    g_assert_cmpint(g_chmod(middle, 0777), ==, 0);
    g_free(middle);
    place = bus_place_new(pid, false, config, NULL, &error);
    g_assert_no_error(error);
    want = g_strdup_printf("/s /h/dbus-1/services /x/dbus-1/services /y/dbus-1/services "
                           "/usr/share/dbus-1/services %s/rel ",
                           dir);
    assert_dirs(place, want);
    bus_place_free(place);
    g_free(want);
    end(pid);

    g_free(config);
    g_free(variable);
    g_free(runtime);
    test_dir_remove(dir);
}

/* A bus that names its own configuration, by a path that is relative. */
static void test_named(void)
{
    char *dir = test_dir_new();
    struct bus_place *place;
    GError *error = NULL;
    int ends[2];
    pid_t pid;

    test_write(dir, "s.conf", CONFIG("<servicedir>/named</servicedir>"));
    test_write(dir, "t.sh", "read x\n");
    char *script = g_build_filename(dir, "t.sh", NULL);
    g_assert_cmpint(pipe(ends), ==, 0);
    pid = fork();
    if (pid == 0) {
        /* It waits at its input until it is ended. */
        if (chdir(dir) < 0 || dup2(ends[0], STDIN_FILENO) < 0)
            _exit(1);
        execl("/bin/sh", "dbus-daemon", script, "--config-file=s.conf", (char *)NULL);
        _exit(1);
    }
    do {
        place = bus_place_new(pid, false, NULL, NULL, &error);
        g_assert_no_error(error);
        if (place->config_file && g_str_has_prefix(place->config_file, dir))
            break;
        bus_place_free(place);
        g_usleep(1000);
    } while (true);
    assert_dirs(place, "/named ");
    g_assert_cmpuint(place->start_timeout_ms, ==, 25000);
    bus_place_free(place);

    /* A system bus is not believed that it is this one, whosever the file. (That it is believed
     * within /etc/dbus-1 is shown by tests/system.) */
    char *config = g_build_filename(dir, "s.conf", NULL);
    place = bus_place_new(pid, true, NULL, NULL, &error);
    g_assert_null(place->environment);
    g_assert_cmpuint(place->problems->len, >=, 1);
    g_assert_nonnull(
        strstr(g_ptr_array_index(place->problems, 0), "configuration of the bus is not used"));
    g_assert_cmpstr(place->config_file, !=, config);
    bus_place_free(place);
    end(pid);
    close(ends[0]);
    close(ends[1]);
    g_free(config);
    g_free(script);
    test_dir_remove(dir);
}

static void test_defaults(void)
{
    struct bus_place *place;
    GError *error = NULL;

    place = bus_place_new(0, false, "/nowhere/x.conf", NULL, &error);
    g_assert_null(place);
    g_assert_nonnull(error);
    g_clear_error(&error);
    /* With the installed configurations or without: there is an answer. */
    for (int system = 0; system < 2; system++) {
        g_log_set_always_fatal(G_LOG_FATAL_MASK);
        place = bus_place_new(0, system == 1, NULL, NULL, &error);
        g_assert_no_error(error);
        g_assert_cmpuint(place->dirs->len, >, 0);
        g_assert_cmpuint(place->start_timeout_ms, >, 0);
        bus_place_free(place);
    }
    bus_place_free(NULL);
}

static void assert_trust(const char *dir, const char *name, bool want)
{
    char *path = g_build_filename(dir, name, NULL);

    g_assert_cmpint(trust_path(path), ==, want);
    g_free(path);
}

static void test_trust(void)
{
    char *dir = test_dir_new();
    char *open_dir = g_build_filename(dir, "open", NULL);
    char *good = g_build_filename(dir, "good", NULL);
    char *way = g_build_filename(dir, "way", NULL);
    char *loop = g_build_filename(dir, "loop", NULL);
    char *both = g_build_filename(open_dir, "both", NULL);

    test_write(dir, "good", "");
    test_write(dir, "bad", "");
    test_write(dir, "open/file", "");
    char *bad = g_build_filename(dir, "bad", NULL);
    g_assert_cmpint(g_chmod(bad, 0620), ==, 0);
    g_assert_cmpint(symlink("open/both", way), ==, 0);
    g_assert_cmpint(symlink("loop", loop), ==, 0);
    g_assert_cmpint(symlink(good, both), ==, 0);
    assert_trust(dir, "way", true);
    g_assert_cmpint(g_chmod(open_dir, 0777), ==, 0);
    assert_trust(dir, "good", true);
    assert_trust(dir, "//good", true);
    assert_trust(dir, "open/../good", false);
    assert_trust(dir, "missing", true);
    assert_trust(dir, "bad", false);
    assert_trust(dir, "open/file", false);
    assert_trust(dir, "open/missing", false);
    /* It leads to a good file, through a link that anybody can replace. */
    assert_trust(dir, "way", false);
    assert_trust(dir, "loop", false);
    g_assert_cmpint(g_chmod(open_dir, 01777), ==, 0);
    assert_trust(dir, "open/file", true);
    g_assert_false(trust_path("relative"));
    g_assert_false(trust_path(""));
    g_assert_true(trust_path("/"));
    if (geteuid() == 0) {
        g_assert_cmpint(chown(good, 1, 1), ==, 0);
        assert_trust(dir, "good", false);
    }
    g_free(bad);
    g_free(both);
    g_free(loop);
    g_free(way);
    g_free(good);
    g_free(open_dir);
    test_dir_remove(dir);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/bus-place/command", test_command);
    g_test_add_func("/bus-place/process", test_process);
    g_test_add_func("/bus-place/named", test_named);
    g_test_add_func("/bus-place/defaults", test_defaults);
    g_test_add_func("/bus-place/trust", test_trust);
    return g_test_run();
}
