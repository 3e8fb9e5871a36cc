/* SPDX-License-Identifier: MIT */
/* The link to the top reaper, whose child the activator is. */
#include "daemon/reapers.h"

#include "common/process-tree.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

static gboolean on_reaper_gone(struct activator *a, guint64 id, struct message_reader *r)
{
    guint32 reaper = message_get_u32(r);
    guint8 how = message_get_u8(r);
    guint32 status = message_get_u32(r);
    guint32 left = message_get_u32(r);
    message_get_u64(r);
    const char *note = message_get_string(r);
    guint32 spawned = message_get_u32(r);

    if (!message_read_end(r))
        return FALSE;
    if (a->hand_over)
        return TRUE;
    struct run *run = run_from_note(a, id, note);
    if (!run)
        return TRUE;
    struct ending end = {.how = how, .status = (gint32)status};
    char *text = ending_text(&end);
    g_warning("the reaper of %s (pid %u) %s; the top reaper has its %u processes",
              run->service->name, reaper, text, left);
    g_free(text);
    if (spawned)
        run_spawned(run, (pid_t)spawned, 0);
    g_hash_table_remove(a->expected, GINT_TO_POINTER((pid_t)reaper));
    run_reaper_gone(run);
    return TRUE;
}

/* --- what dead reapers left --------------------------------------------------------------- */

struct orphan {
    guint64 run;
    guint64 start; /* time: with the pid it names a process for ever */
};

static gboolean on_orphans(struct activator *a, guint64 id, struct message_reader *r)
{
    guint32 count = message_get_u32(r);

    for (guint32 i = 0; i < count && !r->bad; i++) {
        guint32 pid = message_get_u32(r);
        guint64 start = message_get_u64(r);
        if (r->bad || !run_find(a, id))
            continue;
        struct orphan *o = g_new(struct orphan, 1);
        *o = (struct orphan){id, start};
        g_hash_table_insert(a->orphans, GINT_TO_POINTER((pid_t)pid), o);
    }
    if (!message_read_end(r))
        return FALSE;
    /* One of them may own a name. */
    names_recheck(a);
    return TRUE;
}

static gint by_number(gconstpointer x, gconstpointer y)
{
    pid_t left = *(const pid_t *)x;
    pid_t right = *(const pid_t *)y;

    return (left > right) - (left < right);
}

void top_orphans_tree(struct run *run, struct process_tree *tree)
{
    struct activator *a = run->a;
    GArray *pids = g_array_new(FALSE, FALSE, sizeof(pid_t));
    GHashTableIter iter;
    gpointer key = NULL;
    gpointer value = NULL;

    g_hash_table_iter_init(&iter, a->orphans);
    while (g_hash_table_iter_next(&iter, &key, &value)) {
        pid_t pid = GPOINTER_TO_INT(key);
        if (((struct orphan *)value)->run == run->id)
            g_array_append_val(pids, pid);
    }
    g_array_sort(pids, by_number);
    for (guint i = 0; i < pids->len; i++) {
        pid_t pid = g_array_index(pids, pid_t, i);
        const struct orphan *o = g_hash_table_lookup(a->orphans, GINT_TO_POINTER(pid));
        uint64_t start = 0;
        if (process_parent(pid, &start, NULL) != 0 && start == o->start)
            process_tree_add(tree, pid);
    }
    g_array_unref(pids);
}

struct run *top_orphan_run(struct activator *a, pid_t pid)
{
    const struct orphan *o = g_hash_table_lookup(a->orphans, GINT_TO_POINTER(pid));

    return o ? run_find(a, o->run) : NULL;
}

void top_orphan_ended(struct run *run, pid_t pid)
{
    if (top_orphan_run(run->a, pid) == run)
        g_hash_table_remove(run->a->orphans, GINT_TO_POINTER(pid));
}

static gboolean is_of(gpointer key, gpointer value, gpointer data)
{
    (void)key;
    return ((struct orphan *)value)->run == *(guint64 *)data;
}

void top_orphans_forget(struct run *run)
{
    g_hash_table_foreach_remove(run->a->orphans, is_of, &run->id);
}

/* --- the link ------------------------------------------------------------------------------- */

static gboolean on_report(struct activator *a, struct message_reader *r)
{
    guint64 id = message_get_u64(r);
    struct run *run = run_find(a, id);

    if (r->type == MESSAGE_REAPER_GONE)
        return on_reaper_gone(a, id, r);
    if (r->type == MESSAGE_ORPHANS)
        return on_orphans(a, id, r);
    if (r->type == MESSAGE_SIGNALLED) {
        guint32 cookie = message_get_u32(r);
        guint32 signalled = message_get_u32(r);
        message_get_u32(r);
        if (message_read_end(r))
            run_signalled(a, id, cookie, signalled);
        return TRUE;
    }
    if (run)
        return reapers_report(a, run, r);
    /* Over already, by what its reaper told before it died. */
    if (r->type == MESSAGE_EMPTY)
        run_ack(a->top, id, message_get_u64(r));
    return TRUE;
}

/* The handler of every link may take descriptors; this one does not. */
// NOLINTNEXTLINE(readability-non-const-parameter)
static void on_message(struct link *l, struct message_reader *r, int fds[MESSAGE_MAX_FDS],
                       void *data)
{
    struct activator *a = data;

    (void)fds;
    if (r->type == MESSAGE_HELLO) {
        guint8 role = message_get_u8(r);
        guint32 pid = message_get_u32(r);
        guint8 kind = message_get_u8(r);
        message_get_u64(r);
        message_get_string(r);
        message_get_u32(r);
        message_get_u64(r);
        if (message_read_end(r) && role == REAPER_TOP) {
            l->pid = (pid_t)pid;
            a->top_kind = kind;
            if (kind)
                a->kind = kind;
        }
    } else if (r->type == MESSAGE_REPLAYED) {
        g_hash_table_remove(a->expected, GINT_TO_POINTER(-1));
        activator_start_step(a);
    } else if (r->type == MESSAGE_SPARED) {
        guint32 pid = message_get_u32(r);
        guint32 number = message_get_u32(r);
        if (message_read_end(r))
            spares_answered(a, (pid_t)pid, (int)number);
    } else if (!on_report(a, r)) {
        g_warning("the top reaper sent a message that makes no sense");
    }
}

static void on_closed(struct link *l, const char *why, void *data)
{
    struct activator *a = data;

    (void)l;
    a->top = NULL;
    if (a->leaving)
        return;
    /* Above this process there is nobody now who would start the next activator. Executing
     * itself brings a new top reaper. */
    g_warning("the top reaper is gone (%s); starting another", why ? why : "it was killed");
    activator_leave(a, LEAVE_REEXEC);
}

static const struct link_handler handler = {.message = on_message, .closed = on_closed};

gboolean top_open(struct activator *a, int fd, GError **error)
{
    (void)error;
    const char *version = g_getenv("DBUS_ACTIVATOR_TOP_VERSION");

    a->top = link_new(fd, &handler, a);
    /* It may be told something before it has spoken. One of an unknown version is heard first of
     * all, and is over then. */
    if (version && atoi(version) >= message_oldest && atoi(version) <= message_version)
        a->top->version = (guint16)atoi(version);
    unsetenv("DBUS_ACTIVATOR_TOP_VERSION");
    g_hash_table_add(a->expected, GINT_TO_POINTER(-1));
    /* To an activator that it has just started the top speaks by itself. */
    if (g_getenv("DBUS_ACTIVATOR_TOP_ASK"))
        top_tell(a, MESSAGE_TOP_ASK);
    unsetenv("DBUS_ACTIVATOR_TOP_ASK");
    return TRUE;
}

void top_tell_reaper(struct activator *a, pid_t pid, struct run *run, const char *note,
                     const char *log, int pipe_fd)
{
    static struct message m;

    if (!a->top)
        return;
    message_begin(&m, MESSAGE_TOP_REAPER);
    message_put_u64(&m, run ? run->id : 0);
    message_put_u32(&m, (guint32)pid);
    message_put_string(&m, run ? run->service->name : "");
    message_put_string(&m, note);
    message_put_string(&m, log);
    message_put_u32(&m, (guint32)a->options->log_max);
    message_put_u8(&m, a->system);
    link_send(a->top, &m, &pipe_fd, pipe_fd < 0 ? 0 : 1);
}

void top_ask_spare(struct activator *a, const char *program)
{
    static struct message m;

    message_begin(&m, MESSAGE_TOP_SPARE);
    message_put_string(&m, program);
    message_put_string(&m, a->runtime_dir);
    link_send(a->top, &m, NULL, 0);
}

void top_tell(struct activator *a, enum message_type type)
{
    static struct message m;

    if (!a->top)
        return;
    message_begin(&m, type);
    if (type == MESSAGE_TOP_STOP_ALL)
        message_put_u32(&m, 1);
    link_send(a->top, &m, NULL, 0);
}
