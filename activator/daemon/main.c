/* SPDX-License-Identifier: MIT */
/* dbus-activatord: options, and putting itself under the top reaper. */
#include "daemon/await.h"
#include "daemon/journal.h"
#include "daemon/reapers.h"

#include "common/programs.h"
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXIT_USAGE 2
#define LARGE      (64 * 1024)

guint64 now_usec(void)
{
    return (guint64)g_get_real_time();
}

/* --- options ------------------------------------------------------------------------------ */

static gboolean show_version;
static gboolean await_bus;
/* As they were given, NULL: not at all. No number can say that. */
static char *start_timeout_text;
static char *stop_timeout_text;
static char *handover_grace_text;
static char *ready_text;
static char *lifeline_text;

static int usage(const char *format, ...) G_GNUC_PRINTF(1, 2);

static int usage(const char *format, ...)
{
    va_list list;

    va_start(list, format);
    fprintf(stderr, "dbus-activatord: ");
    vfprintf(stderr, format, list);
    fprintf(stderr, "\nTry dbus-activatord --help.\n");
    va_end(list);
    return EXIT_USAGE;
}

static int check_door(struct options *o)
{
    const char *text = o->door_text;

    if (!text || strcmp(text, "auto") == 0)
        o->door = DOOR_AUTO;
    else if (strcmp(text, "signal") == 0)
        o->door = DOOR_SIGNAL;
    else if (strcmp(text, "helper") == 0)
        o->door = DOOR_HELPER;
    else
        return usage("--door %s: it is auto, signal or helper", text);
    return 0;
}

static int check_limit(struct options *o)
{
    char *rest = NULL;
    const char *text = o->start_limit_text;
    guint64 seconds = 0;

    o->limit_burst = 5;
    o->limit_seconds = 10;
    if (!text)
        return 0;
    guint64 burst = g_ascii_strtoull(text, &rest, 10);
    if (rest != text && *rest == '/') {
        const char *from = rest + 1;
        seconds = g_ascii_strtoull(from, &rest, 10);
        if (rest == from)
            rest = (char *)"?";
    } else if (rest != text && burst == 0) {
        seconds = 1;
    }
    if (rest == text || *rest || *text == '-' || burst > 100000 || seconds > 1000000 ||
        (burst > 0 && seconds == 0))
        return usage("--start-limit %s: it is BURST/SECONDS, or 0 for none", text);
    o->limit_burst = (guint)burst;
    o->limit_seconds = (guint)seconds;
    return 0;
}

static int check_seconds(const char *name, const char *text, double *seconds)
{
    char *rest = NULL;
    double value = 0;

    if (!text)
        return 0;
    value = g_ascii_strtod(text, &rest);
    if (rest == text || *rest || !isfinite(value) || value < 0 || value > 1000000)
        return usage("--%s %s: it is seconds, from 0 to 1000000", name, text);
    *seconds = value;
    return 0;
}

static int check_descriptor(const char *name, const char *text, gboolean written, int *fd)
{
    gint64 number = 0;
    int mode = 0;

    if (!text)
        return 0;
    if (!g_ascii_string_to_signed(text, 10, 0, INT_MAX, &number, NULL))
        return usage("--%s %s: it is the number of an open descriptor", name, text);
    mode = fcntl((int)number, F_GETFL);
    if (mode < 0)
        return usage("--%s %s: this descriptor is not open", name, text);
    if (written && (mode & O_ACCMODE) == O_RDONLY)
        return usage("--%s %s: this descriptor is not open for writing", name, text);
    *fd = (int)number;
    return 0;
}

static int check_options(struct options *o)
{
    int chosen = o->session + o->system + (o->address != NULL);
    int result = 0;

    if (chosen > 1)
        return usage("choose one of --session, --system and --address");
    if (chosen == 0)
        return usage("say which bus: --session, --system or --address ADDRESS");
    if ((result = check_door(o)) || (result = check_limit(o)) ||
        (result = check_seconds("start-timeout", start_timeout_text, &o->start_timeout)) ||
        (result = check_seconds("stop-timeout", stop_timeout_text, &o->stop_timeout)) ||
        (result = check_seconds("handover-grace", handover_grace_text, &o->handover_grace)) ||
        (result = check_descriptor("ready-fd", ready_text, TRUE, &o->ready_fd)) ||
        (result = check_descriptor("lifeline", lifeline_text, FALSE, &o->lifeline_fd)))
        return result;
    if (o->log_max < 4096)
        return usage("--log-max: at least 4096 bytes");
    if (!journal_open(o->system, o->log_level ? o->log_level : "warning"))
        return usage("--log-level %s: it is error, warning, info or debug", o->log_level);
    return 0;
}

static int parse_options(struct options *o, int argc, char **argv)
{
    GOptionEntry entries[] = {
        {"session", 0, 0, G_OPTION_ARG_NONE, &o->session, "Serve the session bus", NULL},
        {"system", 0, 0, G_OPTION_ARG_NONE, &o->system, "Serve the system bus, as root", NULL},
        {"address", 0, 0, G_OPTION_ARG_STRING, &o->address, "Serve the bus at ADDRESS", "ADDRESS"},
        {"config-file", 0, 0, G_OPTION_ARG_FILENAME, &o->config_file, "Configuration of the bus",
         "FILE"},
        {"service-dir", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &o->service_dirs,
         "A directory of service files, before all others", "DIR"},
        {"runtime-dir", 0, 0, G_OPTION_ARG_FILENAME, &o->runtime_dir, "Runtime directory", "DIR"},
        {"generated-dir", 0, G_OPTION_FLAG_HIDDEN, G_OPTION_ARG_FILENAME, &o->generated_dir, NULL,
         NULL},
        {"lifeline", 0, G_OPTION_FLAG_HIDDEN, G_OPTION_ARG_STRING, &lifeline_text, NULL, NULL},
        {"await-bus", 0, G_OPTION_FLAG_HIDDEN, G_OPTION_ARG_NONE, &await_bus, NULL, NULL},
        {"door", 0, 0, G_OPTION_ARG_STRING, &o->door_text,
         "How requests arrive: auto (default), "
         "signal or helper",
         "DOOR"},
        {"replace", 0, 0, G_OPTION_ARG_NONE, &o->replace,
         "Take over from the activator that serves the bus", NULL},
        {"ready-fd", 0, 0, G_OPTION_ARG_STRING, &ready_text, "Write a newline to N when ready",
         "N"},
        {"log-level", 0, 0, G_OPTION_ARG_STRING, &o->log_level,
         "error, warning (default), info or debug", "L"},
        {"log-max", 0, 0, G_OPTION_ARG_INT, &o->log_max,
         "Size of each of a service's two log files (default 262144)", "BYTES"},
        {"start-timeout", 0, 0, G_OPTION_ARG_STRING, &start_timeout_text,
         "Seconds a service may take for its name (default: as the bus)", "S"},
        {"stop-timeout", 0, 0, G_OPTION_ARG_STRING, &stop_timeout_text,
         "Seconds from SIGTERM to SIGKILL (default 5)", "S"},
        {"handover-grace", 0, 0, G_OPTION_ARG_STRING, &handover_grace_text,
         "Seconds another process may take for the name when all exited 0 (default 10)", "S"},
        {"start-limit", 0, 0, G_OPTION_ARG_STRING, &o->start_limit_text,
         "Failed starts before a pause (default 5/10; 0: off)", "B/S"},
        {"version", 0, 0, G_OPTION_ARG_NONE, &show_version, "Print the version", NULL},
        {NULL}};
    GError *error = NULL;
    GOptionContext *context = g_option_context_new("- start D-Bus services on demand and own them");

    o->ready_fd = o->lifeline_fd = -1;
    o->start_timeout = -1;
    o->stop_timeout = 5;
    o->handover_grace = 10;
    o->log_max = 262144;
    g_option_context_add_main_entries(context, entries, NULL);
    gboolean parsed = g_option_context_parse(context, &argc, &argv, &error);
    g_option_context_free(context);
    if (!parsed) {
        int result = usage("%s", error->message);
        g_error_free(error);
        return result;
    }
    if (argc > 1)
        return usage("unexpected argument %s", argv[1]);
    if (show_version)
        return 0;
    return check_options(o);
}

/* --- the top reaper --------------------------------------------------------------------------- */

/* How many words of a command line this option takes that begins with `word`; 0: it is another.
 * `option` ends in = when it has a value. */
static guint words_of(const char *option, const char *word)
{
    size_t length = strcspn(option, "=");

    if (strncmp(word, option, length) != 0)
        return 0;
    if (word[length] == '\0')
        return option[length] ? 2 : 1;
    return word[length] == '=' ? 1 : 0;
}

static void add_all(GPtrArray *argv, const char *const *words)
{
    while (*words)
        g_ptr_array_add(argv, (char *)*words++);
}

/* Adds what is in `words`, except for these options. */
static void add_words(GPtrArray *argv, char **words, const char *const *without)
{
    while (*words) {
        guint skip = 0;

        for (guint i = 0; without[i] && skip == 0; i++)
            skip = words_of(without[i], *words);
        if (skip == 0)
            g_ptr_array_add(argv, *words++);
        while (skip-- > 0 && *words)
            words++;
    }
}

/* The top reaper keeps 0, 1 and 2 for itself. FALSE: errno says why. */
static gboolean move_descriptors(struct options *o)
{
    int given = o->ready_fd;

    if (o->lifeline_fd >= 0 && o->lifeline_fd <= STDERR_FILENO)
        o->lifeline_fd = fcntl(o->lifeline_fd, F_DUPFD, STDERR_FILENO + 1);
    if (given >= 0 && given <= STDERR_FILENO)
        o->ready_fd = fcntl(given, F_DUPFD, STDERR_FILENO + 1);
    if ((lifeline_text && o->lifeline_fd < 0) || (ready_text && o->ready_fd < 0))
        return FALSE;
    /* Who waits there for the end of file, behind the newline, gets it. */
    if (given == STDIN_FILENO || given == STDOUT_FILENO) {
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);

        if (null < 0 || dup2(null, given) < 0)
            return FALSE;
    }
    return TRUE;
}

/* Becomes the top reaper, which starts this program again as its child. Returns only when that
 * fails. */
static int execute_top(struct options *o)
{
    static const char *const numbers[] = {"--lifeline=", "--ready-fd=", NULL};
    char reaper[PATH_MAX];
    char own[PATH_MAX];
    char lifeline[16];
    char ready[16];
    GPtrArray *argv = g_ptr_array_new();
    ssize_t length = readlink("/proc/self/exe", own, sizeof own - 1);

    if (length < 0 || program_path(PROGRAM_REAPER, reaper, sizeof reaper) < 0) {
        fprintf(stderr, "dbus-activatord: cannot find the reaper: %s\n", g_strerror(errno));
        return 1;
    }
    own[length] = '\0';
    if (!move_descriptors(o)) {
        fprintf(stderr, "dbus-activatord: cannot copy a descriptor: %s\n", g_strerror(errno));
        return 1;
    }
    snprintf(lifeline, sizeof lifeline, "%d", o->lifeline_fd);
    snprintf(ready, sizeof ready, "%d", o->ready_fd);
    add_all(argv, (const char *[]){reaper, "--top", NULL});
    if (o->lifeline_fd >= 0) {
        add_all(argv, (const char *[]){"--lifeline", lifeline, NULL});
        fcntl(o->lifeline_fd, F_SETFD, 0);
    }
    if (o->ready_fd >= 0) {
        add_all(argv, (const char *[]){"--pass-fd", ready, NULL});
        fcntl(o->ready_fd, F_SETFD, 0);
    }
    add_all(argv, (const char *[]){"--", own, NULL});
    if (o->lifeline_fd >= 0)
        add_all(argv, (const char *[]){"--lifeline", lifeline, NULL});
    if (o->ready_fd >= 0)
        add_all(argv, (const char *[]){"--ready-fd", ready, NULL});
    add_words(argv, o->argv + 1, numbers);
    g_ptr_array_add(argv, NULL);
    execv(reaper, (char **)argv->pdata);
    fprintf(stderr, "dbus-activatord: cannot execute %s: %s\n", reaper, g_strerror(errno));
    return 1;
}

/* Executes the installed program with the options of this one, at the same place. */
static void execute_again(struct activator *a)
{
    /* What was for the first start alone. */
    static const char *const first_alone[] = {"--replace", "--await-bus", "--ready-fd=", NULL};
    GPtrArray *argv = g_ptr_array_new();
    char number[16];
    char path[PATH_MAX];

    if (program_path(PROGRAM_ACTIVATORD, path, sizeof path) < 0)
        return;
    add_words(argv, a->options->argv, first_alone);
    if (a->await_bus)
        g_ptr_array_add(argv, (char *)"--await-bus");
    g_ptr_array_add(argv, NULL);
    if (a->top) {
        snprintf(number, sizeof number, "%d", a->top->fd);
        fcntl(a->top->fd, F_SETFD, 0);
        g_setenv("DBUS_ACTIVATOR_TOP_FD", number, TRUE);
        g_setenv("DBUS_ACTIVATOR_TOP_ASK", "1", TRUE);
        snprintf(number, sizeof number, "%u", a->top->version);
        g_setenv("DBUS_ACTIVATOR_TOP_VERSION", number, TRUE);
    }
    if (a->options->lifeline_fd >= 0)
        fcntl(a->options->lifeline_fd, F_SETFD, 0);
    setrlimit(RLIMIT_NOFILE, &a->options->descriptors);
    execv(path, (char **)argv->pdata);
    g_critical("cannot execute %s: %s", path, g_strerror(errno));
}

/* --- running -----------------------------------------------------------------------------------
 */

/* What libdbus and dbus-activatorctl take when no address is set: the user's own bus. */
static char *user_bus_address(void)
{
    const char *folder = g_getenv("XDG_RUNTIME_DIR");
    struct stat found;
    char *address = NULL;

    if (!folder || *folder != '/')
        return NULL;
    char *path = g_build_filename(folder, "bus", NULL);
    if (stat(path, &found) == 0 && S_ISSOCK(found.st_mode) && found.st_uid == geteuid()) {
        char *escaped = dbus_address_escape_value(path);
        address = g_strdup_printf("unix:path=%s", escaped);
        dbus_free(escaped);
    }
    g_free(path);
    return address;
}

/* NULL: there is no bus. */
static char *bus_address(struct options *o)
{
    const char *address = o->address;

    if (!address) {
        address = g_getenv(o->system ? "DBUS_SYSTEM_BUS_ADDRESS" : "DBUS_SESSION_BUS_ADDRESS");
        if (address && !*address)
            address = NULL;
    }
    if (!address && o->system)
        address = "unix:path=/run/dbus/system_bus_socket";
    return address ? g_strdup(address) : user_bus_address();
}

static struct activator *activator_new(struct options *o)
{
    struct activator *a = g_new0(struct activator, 1);

    a->options = o;
    a->system = o->system;
    a->lock_fd = -1;
    a->begun = now_usec();
    a->loop = g_main_loop_new(NULL, FALSE);
    a->connected = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    a->guid_links = g_ptr_array_new_with_free_func(g_free);
    environment_init(a);
    a->services = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, service_free);
    a->runs = g_hash_table_new(g_int64_hash, g_int64_equal);
    a->by_pid = g_hash_table_new(NULL, NULL);
    a->peers = g_hash_table_new(NULL, NULL);
    a->idle_spares = g_queue_new();
    a->waiting = g_queue_new();
    a->expected = g_hash_table_new(NULL, NULL);
    a->kills = g_hash_table_new(NULL, NULL);
    a->orphans = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    a->held_calls = g_queue_new();
    a->early_calls = g_queue_new();
    a->owned_names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    return a;
}

/* Takes the error. */
static int cannot_start(struct activator *a, GError *error)
{
    g_critical("%s", error->message);
    /* On the system bus that went to syslog; who starts the activator looks here. */
    if (a->system && !isatty(STDERR_FILENO))
        fprintf(stderr, "dbus-activatord: %s\n", error->message);
    g_error_free(error);
    return a->again ? ACTIVATOR_LATER : 1;
}

static int run_activator(struct activator *a)
{
    GError *error = NULL;

    a->address = bus_address(a->options);
    if (!a->address) {
        g_set_error(&error, G_FILE_ERROR, G_FILE_ERROR_NOENT,
                    "no bus: DBUS_SESSION_BUS_ADDRESS is not set and $XDG_RUNTIME_DIR/bus is no "
                    "socket of this user; --address names one");
        return cannot_start(a, error);
    }
    a->again = g_getenv("DBUS_ACTIVATOR_TOP_AGAIN") || g_getenv("DBUS_ACTIVATOR_TOP_ASK");
    if (await_bus || (a->system && g_getenv("DBUS_ACTIVATOR_TOP_AGAIN"))) {
        signals_hold(FALSE);
        await_bus_at(a->address);
    }
    if (!signals_watch(a, &error) || !activator_start(a, &error))
        return cannot_start(a, error);
    g_main_loop_run(a->loop);
    door_helper_close(a);
    spares_close(a);
    reapers_close(a);
    runtime_dir_close(a, !a->hand_over);
    if (a->bus) {
        dbus_connection_flush(a->bus->connection);
        a->leaving = TRUE;
        bus_free(g_steal_pointer(&a->bus));
    }
    if (a->reexec) {
        execute_again(a);
        return ACTIVATOR_LATER;
    }
    return a->exit_status;
}

/* Each run holds a connection: the usual soft limit is reached with a thousand services. */
static void raise_descriptors(struct options *o)
{
    getrlimit(RLIMIT_NOFILE, &o->descriptors);
    struct rlimit more = {o->descriptors.rlim_max, o->descriptors.rlim_max};
    setrlimit(RLIMIT_NOFILE, &more);
}

int main(int argc, char **argv)
{
    struct options *o = g_new0(struct options, 1);
    int result = 0;

    o->argv = g_strdupv(argv);
    result = parse_options(o, argc, argv);
    if (result)
        return result;
    if (show_version) {
        printf("dbus-activatord %s\n", VERSION);
        return 0;
    }
    /* Large and short-lived things are mapped and unmapped. Without a word the limit grows with the
     * first of them, and they leave holes in the heap. */
    mallopt(M_MMAP_THRESHOLD, LARGE);
    signal(SIGPIPE, SIG_IGN);
    if (o->system && geteuid() != 0 && !o->runtime_dir) {
        fprintf(stderr, "dbus-activatord: --system is for root\n");
        return 1;
    }
    if (!g_getenv("DBUS_ACTIVATOR_TOP_FD"))
        return execute_top(o);
    signals_hold(TRUE);
    raise_descriptors(o);
    if (o->lifeline_fd >= 0)
        fcntl(o->lifeline_fd, F_SETFD, FD_CLOEXEC);
    if (o->ready_fd >= 0)
        fcntl(o->ready_fd, F_SETFD, FD_CLOEXEC);
    fcntl(atoi(g_getenv("DBUS_ACTIVATOR_TOP_FD")), F_SETFD, FD_CLOEXEC);
    /* Options and activator live as long as the process. */
    return run_activator(activator_new(o)); // NOLINT(clang-analyzer-unix.Malloc)
}
