/* SPDX-License-Identifier: MIT */
/* From the options to serving, in this order: the bus, the runtime directory and its lock, what
 * can be started, the reapers that predecessors left, who owns which name; only then the doors. */
#include "daemon/reapers.h"

#include "common/process-tree.h"
#include "common/programs.h"

#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* Reapers of a predecessor's runs that have not spoken by then (stopped by somebody) are served
 * when they do. */
#define WAIT_MS 3000

static gboolean on_start_wait(gpointer data)
{
    struct activator *a = data;

    a->start_wait = 0;
    g_warning("%u reapers have not reported yet; going on without them",
              g_hash_table_size(a->expected));
    g_hash_table_remove_all(a->expected);
    activator_start_step(a);
    return G_SOURCE_REMOVE;
}

/* Its reaper died while there was no activator, and perhaps no top reaper either: the top says what
 * there is of it, if only that nothing is known. */
static void ask_for_dead(struct activator *a, guint64 id, pid_t pid, const char *note)
{
    const struct history_record *known = history_find(a->history, id);

    if (!a->top || (known && known->ended))
        return;
    struct run *run = run_from_note(a, id, note);
    if (run)
        reapers_tell_top(run, pid, -1);
}

/* Each run reaper left a link runs/<id> -> "<pid>.<start time> <note>". */
static void expect_reapers(struct activator *a)
{
    char *path = runtime_dir_path(a, "runs");
    GDir *folder = g_dir_open(path, 0, NULL);
    const char *name = NULL;

    while (folder && (name = g_dir_read_name(folder))) {
        char *link = g_build_filename(path, name, NULL);
        char target[PATH_MAX] = "";
        guint64 start = 0;
        guint64 wanted = 0;
        char *rest = NULL;
        ssize_t length = readlink(link, target, sizeof target - 1);
        guint64 id = g_ascii_strtoull(name, NULL, 10);
        a->last_run_id = MAX(a->last_run_id, id);
        long pid = length > 0 ? strtol(target, &rest, 10) : 0;
        if (rest && *rest == '.')
            wanted = g_ascii_strtoull(rest + 1, &rest, 10);
        char state = 0;
        pid_t parent = pid > 1 ? process_parent((pid_t)pid, &start, &state) : 0;
        if (parent != 0 && state != 'Z' && (parent < 0 || wanted == 0 || wanted == start))
            g_hash_table_add(a->expected, GINT_TO_POINTER((pid_t)pid));
        else if (unlink(link) == 0 && pid > 1 && rest && *rest == ' ')
            ask_for_dead(a, id, (pid_t)pid, rest + 1);
        g_free(link);
    }
    if (folder)
        g_dir_close(folder);
    g_free(path);
}

/* --- the bus ------------------------------------------------------------------------------ */

static gboolean connect_bus(struct activator *a, GError **error)
{
    GError *problem = NULL;

    a->bus = bus_new(a->address, activator_bus_lost, a, &problem);
    if (!a->bus) {
        g_set_error(error, G_FILE_ERROR, problem->code,
                    "cannot connect to the bus at %s: %s; is it running?", a->address,
                    problem->message);
        g_error_free(problem);
        return FALSE;
    }
    DBusMessage *reply = bus_ask(a->bus, "GetId", error, DBUS_TYPE_INVALID);
    const char *id = bus_reply_string(reply);
    if (id && *id && strspn(id, "0123456789abcdef") == strlen(id))
        a->bus_id = g_strdup(id);
    else if (reply)
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_FAILED, "the bus has no proper id");
    if (reply)
        dbus_message_unref(reply);
    return a->bus_id != NULL;
}

static pid_t ask_bus_pid(struct activator *a)
{
    const char *name = DBUS_NAME_OF_BUS;
    DBusMessage *reply = bus_ask(a->bus, "GetConnectionUnixProcessID", NULL, DBUS_TYPE_STRING,
                                 &name, DBUS_TYPE_INVALID);
    pid_t pid = (pid_t)bus_reply_uint(reply);

    if (reply)
        dbus_message_unref(reply);
    return pid;
}

/* The guid of each address that somebody may reach this bus by: of the one we used (the
 * connection knows it) and of those in the environment that mean the same socket. */
static void link_guids(struct activator *a)
{
    char *guid = dbus_connection_get_server_id(a->bus->connection);
    char *with = NULL;

    if (guid) {
        runtime_dir_link(a, guid);
        with = strstr(a->address, "guid=") ? g_strdup(a->address)
                                           : g_strdup_printf("%s,guid=%s", a->address, guid);
        dbus_free(guid);
    }
    a->starter_address = with ? with : g_strdup(a->address);
    if (a->system) {
        /* As the reference helper has it, without a guid. */
        g_free(a->starter_address);
        a->starter_address = g_strdup(a->address);
    }
    for (const char *at = a->address; (at = strstr(at, "guid=")); at += 5) {
        char *one = g_strndup(at + 5, strcspn(at + 5, ",;"));
        runtime_dir_link(a, one);
        g_free(one);
    }
}

/* --- generated files ------------------------------------------------------------------------ */

static char *generated_path(struct activator *a)
{
    const char *base = g_getenv("XDG_RUNTIME_DIR");

    if (a->options->generated_dir)
        return g_strdup(a->options->generated_dir);
    if (a->system)
        return runtime_dir_path(a, "services");
    for (guint i = 0; i < a->place->dirs->len; i++) {
        struct bus_dir *dir = g_ptr_array_index(a->place->dirs, i);
        if (dir->transient)
            return g_strdup(dir->path);
    }
    return base ? g_strdup_printf("%s/dbus-1/services", base) : NULL;
}

static gboolean open_generated(struct activator *a, GError **error)
{
    char helper[PATH_MAX];
    char *path = generated_path(a);

    if (!path)
        return TRUE;
    if (program_path(PROGRAM_LAUNCH_HELPER_SESSION, helper, sizeof helper) < 0) {
        g_free(path);
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_FAILED, "the launch helper is not found");
        return FALSE;
    }
    a->generated = generated_new(path, helper, a->options->runtime_dir, error);
    a->generated_path = path;
    if (a->generated && a->system)
        generated_set_public(a->generated);
    return a->generated != NULL;
}

struct publish {
    void (*done)(void *data);
    void *data;
};

static void on_bus_reloaded(DBusMessage *reply, void *data)
{
    struct publish *p = data;

    if (p->done)
        p->done(p->data);
    g_free(p);
    if (reply && dbus_message_get_type(reply) == DBUS_MESSAGE_TYPE_ERROR)
        g_warning("the bus does not reload its configuration: %s",
                  dbus_message_get_error_name(reply));
}

void activator_publish(struct activator *a, void (*done)(void *data), void *data)
{
    struct publish *p = NULL;
    gboolean changed = a->generated && a->bus && generated_update(a->generated, a->catalogue);

    if (!changed && (!done || !a->bus)) {
        if (done)
            done(data);
        return;
    }
    p = g_new0(struct publish, 1);
    p->done = done;
    p->data = data;
    bus_call_driver(a->bus, "ReloadConfig", on_bus_reloaded, p, DBUS_TYPE_INVALID);
}

void activator_catalogue_changed(struct activator *a)
{
    g_info("service files changed: %u known", catalogue_size(a->catalogue));
    if (a->bus && !a->leaving)
        names_of_catalogue(a);
    if (a->serving && !a->leaving)
        activator_publish(a, NULL, NULL);
}

static void on_changed(void *data)
{
    activator_catalogue_changed(data);
}

void activator_reload(struct activator *a, void (*done)(void *data), void *data)
{
    if (!a->serving) {
        a->reload_asked = TRUE;
        return;
    }
    catalogue_reload(a->catalogue);
    if (!a->leaving && a->bus)
        names_of_catalogue(a);
    if (!a->leaving)
        activator_publish(a, done, data);
    else if (done)
        done(data);
}

/* --- the steps ------------------------------------------------------------------------------ */

static gboolean open_files(struct activator *a, GError **error)
{
    struct options *o = a->options;

    a->place = bus_place_new(ask_bus_pid(a), a->system, o->config_file,
                             (const char *const *)o->service_dirs, error);
    if (!a->place)
        return FALSE;
    for (guint i = 0; i < a->place->problems->len; i++)
        g_warning("%s", (char *)g_ptr_array_index(a->place->problems, i));
    char *path = runtime_dir_path(a, "history");
    a->history = history_open(path, error);
    if (!a->history) {
        g_clear_error(error);
        g_warning("%s cannot be read; the history starts anew", path);
        unlink(path);
        a->history = history_open(path, error);
    }
    g_free(path);
    if (!a->history)
        return FALSE;
    a->last_run_id = MAX(a->last_run_id, history_last_run_id(a->history));
    if (!open_generated(a, error))
        return FALSE;
    services_recall(a);
    a->catalogue = catalogue_new(a->place, a->generated_path, on_changed, a);
    return TRUE;
}

/* The one that made the socket: it is the top reaper, whoever our parent is by now. */
static pid_t peer_pid(const char *fd)
{
    struct ucred peer = {.pid = 0};
    socklen_t size = sizeof peer;

    if (!fd || getsockopt(atoi(fd), SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
        return 0;
    return peer.pid;
}

gboolean activator_start(struct activator *a, GError **error)
{
    const char *top = g_getenv("DBUS_ACTIVATOR_TOP_FD");

    if (!connect_bus(a, error)) {
        /* The bus went with our predecessor, and the session with it. */
        if (a->again && !a->system && top &&
            g_error_matches(*error, G_FILE_ERROR, G_FILE_ERROR_NOENT)) {
            top_open(a, atoi(top), NULL);
            top_tell(a, MESSAGE_TOP_STOP_ALL);
            a->again = FALSE;
        }
        return FALSE;
    }
    if (!runtime_dir_open(a, peer_pid(top), error)) {
        /* That one serves. */
        a->again = a->again && !g_error_matches(*error, G_FILE_ERROR, G_FILE_ERROR_EXIST);
        return FALSE;
    }
    environment_recall(a);
    link_guids(a);
    if (!open_files(a, error) || !names_watch(a, error))
        return FALSE;
    if (top)
        top_open(a, atoi(top), error);
    unsetenv("DBUS_ACTIVATOR_TOP_FD");
    expect_reapers(a);
    if (!reapers_open(a, error) || !door_helper_open(a, error) || !names_ask_all(a, error))
        return FALSE;
    a->start_wait = g_timeout_add(WAIT_MS, on_start_wait, a);
    activator_start_step(a);
    return TRUE;
}

/* By another spelling of its path too. */
static gboolean bus_reads(const struct activator *a, const char *path)
{
    struct stat wanted;
    struct stat st;

    if (stat(path, &wanted) < 0)
        return FALSE;
    for (guint i = 0; i < a->place->dirs->len; i++) {
        const struct bus_dir *dir = g_ptr_array_index(a->place->dirs, i);
        if (stat(dir->path, &st) == 0 && st.st_dev == wanted.st_dev && st.st_ino == wanted.st_ino)
            return TRUE;
    }
    return FALSE;
}

static void note_without_unit(struct catalogue_entry *entry, void *data)
{
    gboolean *any = data;

    *any = *any || !entry->unit;
}

/* The bus would start services itself, and nothing else would show it. */
static void warn_unread(struct activator *a)
{
    gboolean missed = !a->has_systemd_door;

    if (a->system || a->options->generated_dir)
        return;
    if (!a->generated_path) {
        g_warning("there is no folder for the activator's service files: the bus starts services "
                  "itself; start bus and activator with XDG_RUNTIME_DIR set");
        return;
    }
    /* Services whose own file names a unit are asked for by signal all the same. */
    if (!missed)
        catalogue_foreach(a->catalogue, note_without_unit, &missed);
    if (missed && !bus_reads(a, a->generated_path))
        g_warning("the bus does not read %s, where the activator's service files are: it starts "
                  "services%s itself; add <standard_session_servicedirs/> or "
                  "<servicedir>%s</servicedir> to its configuration before its other folders, or "
                  "start it with the XDG_RUNTIME_DIR that the activator has",
                  a->generated_path, a->has_systemd_door ? " that name no SystemdService" : "",
                  a->generated_path);
}

/* Only now is everything known that a request's answer depends on. */
static gboolean open_doors(struct activator *a, GError **error)
{
    if (!door_signal_open(a, error))
        return FALSE;
    if (a->system && !a->has_systemd_door && !a->options->generated_dir)
        g_clear_pointer(&a->generated, generated_free);
    warn_unread(a);
    if (a->generated)
        generated_set_unit(a->generated, a->has_systemd_door || !a->bus_asks_systemd);
    if (a->generated && generated_update(a->generated, a->catalogue)) {
        DBusMessage *reply = bus_ask(a->bus, "ReloadConfig", error, DBUS_TYPE_INVALID);
        if (!reply) {
            g_warning("the bus does not reload its configuration: %s", (*error)->message);
            g_clear_error(error);
        } else {
            dbus_message_unref(reply);
        }
    }
    return interface_open(a, error);
}

static gboolean on_swept(gpointer data)
{
    struct activator *a = data;

    /* Requests that were queued at the bus have been handed out by now (they came before the
     * reply to RequestName, and this source has a lower priority). */
    if (a->leaving) {
        interface_serve_held(a);
        return G_SOURCE_REMOVE; /* the mark stays: the next one sweeps */
    }
    if (a->crashed_before)
        door_signal_sweep(a);
    a->crashed_before = FALSE;
    interface_serve_held(a);
    runtime_dir_mark(a, a->has_systemd_door);
    if (a->options->ready_fd >= 0) {
        if (write(a->options->ready_fd, "\n", 1) < 0)
            g_warning("nobody reads --ready-fd");
        close(a->options->ready_fd);
        a->options->ready_fd = -1;
    }
    top_tell(a, MESSAGE_TOP_SERVING);
    if (a->leave_asked)
        activator_leave(a, a->leave_how);
    return G_SOURCE_REMOVE;
}

static void begin_serving(struct activator *a)
{
    GHashTableIter iter;
    gpointer value = NULL;

    a->serving = TRUE;
    g_hash_table_iter_init(&iter, a->runs);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        struct run *run = value;
        if (!run->settled && !run->failed && !run->service->owner)
            run_arm_start_timer(run);
    }
    spares_want(a);
    verdicts_give_held(a);
    door_helper_serve_held(a);
    if (a->reload_asked)
        activator_reload(a, NULL, NULL);
    g_idle_add(on_swept, a);
    g_info("serving %s: %u service files, %u runs taken over", a->address,
           catalogue_size(a->catalogue), g_hash_table_size(a->runs));
}

void activator_start_step(struct activator *a)
{
    GError *error = NULL;

    if (a->serving || a->leaving || g_hash_table_size(a->expected) > 0 || a->owners_asked > 0 ||
        !a->reapers || !a->requests)
        return;
    g_clear_handle_id(&a->start_wait, g_source_remove);
    if (!open_doors(a, &error)) {
        g_critical("%s", error->message);
        g_error_free(error);
        a->exit_status = a->again ? ACTIVATOR_LATER : 1;
        activator_leave(a, LEAVE_HAND_OVER);
        return;
    }
    begin_serving(a);
}
