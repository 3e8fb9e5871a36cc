/* SPDX-License-Identifier: MIT */
#include "daemon/reapers.h"

#include "common/block.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* A peer that has connected and says nothing for this long is dropped. */
#define SILENCE_MS 30000
/* So many connections that have not spoken yet; the oldest are not known apart, so new ones are
 * refused while others are being served. */
#define PEERS_MAX 8192

static gboolean on_silence(gpointer data)
{
    struct peer *p = data;

    p->silence = 0;
    g_warning("pid %d connected and says nothing: dropped", (int)p->pid);
    peer_free(p);
    return G_SOURCE_REMOVE;
}

struct peer *peer_new(struct activator *a, int fd, const struct link_handler *handler,
                      enum peer_kind kind)
{
    if (g_hash_table_size(a->peers) >= PEERS_MAX) {
        g_warning("more than %d connections: refused", PEERS_MAX);
        close(fd);
        return NULL;
    }
    struct peer *p = g_new0(struct peer, 1);
    p->a = a;
    p->kind = kind;
    p->link = link_new(fd, handler, p);
    p->pid = p->link->pid;
    p->silence = g_timeout_add(SILENCE_MS, on_silence, p);
    g_hash_table_add(a->peers, p);
    if (p->link->uid != geteuid() && p->link->uid != 0) {
        g_warning("pid %d of user %u has no business here: dropped", (int)p->pid, p->link->uid);
        peer_free(p);
        return NULL;
    }
    return p;
}

void peer_free(struct peer *p)
{
    struct activator *a = p->a;

    if (p->silence)
        g_source_remove(p->silence);
    g_hash_table_remove(a->peers, p);
    g_queue_remove(a->idle_spares, p);
    spares_forget_mould(a, p);
    struct run *run = run_find(a, p->run_id);
    if (run && run->peer == p)
        run->peer = NULL;
    g_free(p->held_name);
    g_free(p->held_file);
    g_strfreev(p->held_env);
    link_free(p->link);
    g_free(p);
}

char *log_path(struct activator *a, const char *name)
{
    return g_strdup_printf("%s/log/%s", a->runtime_dir, name);
}

/* --- reports of a run ------------------------------------------------------------------- */

static gboolean report_spawned(struct run *run, struct message_reader *r)
{
    guint32 pid = message_get_u32(r);
    guint64 time = message_get_u64(r);

    if (!message_read_end(r))
        return FALSE;
    run_spawned(run, (pid_t)pid, time);
    return TRUE;
}

static gboolean report_spawn_failed(struct run *run, struct message_reader *r)
{
    guint8 stage = message_get_u8(r);
    guint32 number = message_get_u32(r);
    guint64 time = message_get_u64(r);

    if (!message_read_end(r))
        return FALSE;
    run_spawn_failed(run, stage, (gint32)number, time);
    return TRUE;
}

static gboolean report_exit(struct run *run, struct message_reader *r)
{
    struct run_exit e = {0};

    e.seq = message_get_u64(r);
    e.end.known = TRUE;
    e.end.pid = (pid_t)message_get_u32(r);
    e.end.how = message_get_u8(r);
    e.end.status = (gint32)message_get_u32(r);
    guint8 flags = message_get_u8(r);
    e.adopted = (flags & EXIT_ADOPTED) != 0;
    e.left = (flags & EXIT_LEFT) != 0;
    e.first = message_get_u8(r) != 0;
    e.end.time = message_get_u64(r);
    e.words = message_get_string(r);
    if (!message_read_end(r) || e.end.how > END_DUMPED || e.end.status < 0 || e.end.status > 255)
        return FALSE;
    run_exited(run, &e);
    return TRUE;
}

static gboolean report_empty(struct run *run, struct message_reader *r)
{
    guint64 seq = message_get_u64(r);
    guint64 time = message_get_u64(r);

    if (!message_read_end(r))
        return FALSE;
    run_emptied(run, seq, time);
    return TRUE;
}

gboolean reapers_report(struct activator *a, struct run *run, struct message_reader *r)
{
    /* No verdict could be given any more. Without a receipt the reaper tells it to the next
     * activator. */
    if (a->hand_over)
        return TRUE;
    switch (r->type) {
    case MESSAGE_SPAWNED:
        return report_spawned(run, r);
    case MESSAGE_SPAWN_FAILED:
        return report_spawn_failed(run, r);
    case MESSAGE_EXIT:
        return report_exit(run, r);
    case MESSAGE_EMPTY:
        return report_empty(run, r);
    default:
        return FALSE;
    }
}

static const struct link_handler handler;

/* --- a reaper's connection -------------------------------------------------------------- */

static void hello_spare(struct peer *p, int fds[MESSAGE_MAX_FDS])
{
    struct activator *a = p->a;

    p->kind = PEER_SPARE;
    if (fds[0] >= 0)
        top_tell_reaper(a, p->pid, NULL, "", "", fds[0]);
    spares_came(a, p);
}

static gboolean on_copied(struct peer *mould, struct message_reader *r, int fds[MESSAGE_MAX_FDS])
{
    struct activator *a = mould->a;
    guint32 pid = message_get_u32(r);
    guint32 number = message_get_u32(r);

    if (!message_read_end(r) || mould != a->mould)
        return FALSE;
    /* We are at our limit of descriptors; the copy finds its connection closed and leaves. */
    if (pid != 0 && fds[1] < 0) {
        pid = 0;
        number = EMFILE;
    }
    spares_copied(a, (int)number);
    /* A copy whose connection nobody takes leaves. */
    if (pid == 0 || a->leaving)
        return TRUE;
    struct peer *p = peer_new(a, fds[0], &handler, PEER_SPARE);
    fds[0] = -1;
    if (!p)
        return TRUE;
    /* The connection was made by the mould. */
    p->pid = p->link->pid = (pid_t)pid;
    p->copied = g_get_monotonic_time();
    g_clear_handle_id(&p->silence, g_source_remove);
    top_tell_reaper(a, p->pid, NULL, "", "", fds[1]);
    g_queue_push_tail(a->idle_spares, p);
    start_with_spare(a);
    return TRUE;
}

void reapers_tell_top(struct run *run, pid_t reaper, int pipe_fd)
{
    char *note = run_note(run);
    char *log = log_path(run->a, run->service->name);

    top_tell_reaper(run->a, reaper, run, note, log, pipe_fd);
    g_free(log);
    g_free(note);
}

/* A run that is known already: its reaper connected again; or one from a predecessor's time. */
static gboolean hello_run(struct peer *p, guint64 id, const char *note, pid_t spawned, guint64 time,
                          int pipe_fd)
{
    struct activator *a = p->a;
    struct run *run = run_from_note(a, id, note);

    if (!run)
        return FALSE;
    p->kind = PEER_RUN;
    p->run_id = id;
    /* Its last words before it was killed; the top was faster. */
    if (run->at_top)
        return TRUE;
    if (run->peer && run->peer != p)
        peer_free(run->peer);
    run->peer = p;
    run->reaper_pid = p->pid;
    g_hash_table_insert(a->by_pid, GINT_TO_POINTER(p->pid), run);
    reapers_tell_top(run, p->pid, pipe_fd);
    if (spawned)
        run_spawned(run, spawned, time);
    if (run->stopping)
        run_stop(run);
    names_recheck(a);
    return TRUE;
}

static gboolean on_hello(struct peer *p, struct message_reader *r, int fds[MESSAGE_MAX_FDS])
{
    guint8 role = message_get_u8(r);
    guint32 pid = message_get_u32(r);
    guint8 kind = message_get_u8(r);
    guint64 id = message_get_u64(r);
    const char *note = message_get_string(r);
    guint32 spawned = message_get_u32(r);
    guint64 time = message_get_u64(r);

    if (!message_read_end(r) || pid != (guint32)p->pid || p->kind != PEER_NEW)
        return FALSE;
    g_clear_handle_id(&p->silence, g_source_remove);
    if (kind)
        p->a->kind = kind;
    if (role == REAPER_SPARE && !spares_is_ours(p->a, p->pid))
        return FALSE;
    if (role == REAPER_SPARE) {
        hello_spare(p, fds);
        return TRUE;
    }
    return role == REAPER_RUN && id != 0 && hello_run(p, id, note, (pid_t)spawned, time, fds[0]);
}

static void on_replayed(struct peer *p)
{
    struct activator *a = p->a;

    g_hash_table_remove(a->expected, GINT_TO_POINTER(p->pid));
    activator_start_step(a);
}

static gboolean on_run_message(struct peer *p, struct message_reader *r)
{
    guint64 id = message_get_u64(r);
    struct run *run = run_find(p->a, id);

    if (p->kind != PEER_RUN || id != p->run_id)
        return FALSE;
    /* What was on its way when the run was found to be over. */
    if (!run)
        return TRUE;
    if (r->type == MESSAGE_SIGNALLED) {
        guint32 cookie = message_get_u32(r);
        guint32 signalled = message_get_u32(r);
        message_get_u32(r);
        if (!message_read_end(r))
            return FALSE;
        run_signalled(p->a, id, cookie, signalled);
        return TRUE;
    }
    return reapers_report(p->a, run, r);
}

static void on_message(struct link *l, struct message_reader *r, int fds[MESSAGE_MAX_FDS],
                       void *data)
{
    struct peer *p = data;
    gboolean good = TRUE;

    (void)l;
    if (r->type == MESSAGE_HELLO)
        good = on_hello(p, r, fds);
    else if (r->type == MESSAGE_COPIED)
        good = on_copied(p, r, fds);
    else if (r->type == MESSAGE_REPLAYED)
        on_replayed(p);
    else
        good = on_run_message(p, r);
    if (!good) {
        g_warning("pid %d sent a message that makes no sense: dropped", (int)p->pid);
        peer_free(p);
    }
}

static void on_closed(struct link *l, const char *why, void *data)
{
    struct peer *p = data;
    struct activator *a = p->a;
    pid_t pid = p->pid;
    struct run *run = run_find(a, p->run_id);

    (void)l;
    if (why)
        g_warning("connection of pid %d closed: %s", (int)pid, why);
    /* If it is dead, the top has to take over, also when it never heard of this run. */
    if (run && run->peer == p && !run->empty)
        reapers_tell_top(run, pid, -1);
    gboolean lost = spares_lost(a, p);
    peer_free(p);
    g_hash_table_remove(a->expected, GINT_TO_POINTER(pid));
    activator_start_step(a);
    if (lost)
        spares_died(a);
    else
        spares_want(a);
}

static const struct link_handler handler = {.message = on_message, .closed = on_closed};

static void on_accepted(int fd, void *data)
{
    peer_new(data, fd, &handler, PEER_NEW);
}

gboolean reapers_open(struct activator *a, GError **error)
{
    char *path = runtime_dir_path(a, "reapers");

    a->reapers = listener_new(path, on_accepted, a, error);
    g_free(path);
    return a->reapers != NULL;
}

void reapers_close(struct activator *a)
{
    listener_free(g_steal_pointer(&a->reapers), a->reexec || a->replaced);
}

/* --- giving a run to a spare ------------------------------------------------------------ */

/* argv and environment, one string after the other with its NUL. */
static GByteArray *spawn_block(struct run *run, guint32 *argc, guint32 *envc)
{
    GByteArray *block = g_byte_array_new();

    *argc = *envc = 0;
    for (char **word = run->command; *word; word++, (*argc)++)
        g_byte_array_append(block, (guint8 *)*word, (guint)strlen(*word) + 1);
    for (char **word = run->env; word && *word; word++, (*envc)++)
        g_byte_array_append(block, (guint8 *)*word, (guint)strlen(*word) + 1);
    return block;
}

static void put_user(struct message *m, struct run *run)
{
    message_put_u32(m, run->uid);
    message_put_u32(m, run->gid);
    message_put_u32(m, run->n_groups);
    for (guint i = 0; i < run->n_groups; i++)
        message_put_u32(m, run->groups[i]);
    message_put_u32(m, run->a->system ? 022 : SPAWN_KEEP_UMASK);
}

void reapers_dispatch(struct peer *spare, struct run *run)
{
    static struct message m;
    struct activator *a = run->a;
    char *note = run_note(run);
    char *log = log_path(a, run->service->name);
    guint32 argc = 0;
    guint32 envc = 0;
    GByteArray *block = spawn_block(run, &argc, &envc);
    int fd = block->len > MESSAGE_INLINE ? block_to_memfd(block->data, block->len) : -1;

    if (fd < 0 && block->len > MESSAGE_INLINE) {
        /* The spare is as good for the next one. */
        start_abandon(run);
        run_spawn_failed(run, SPAWN_STAGE_SETUP, -fd, now_usec());
        g_byte_array_unref(block);
        g_free(log);
        g_free(note);
        return;
    }
    g_queue_remove(a->idle_spares, spare);
    spare->kind = PEER_RUN;
    spare->run_id = run->id;
    run->peer = spare;
    run->reaper_pid = spare->pid;
    g_hash_table_insert(a->by_pid, GINT_TO_POINTER(spare->pid), run);
    /* First the top: when the reaper is killed, it has to know whose processes come to it. */
    top_tell_reaper(a, spare->pid, run, note, log, -1);
    message_begin(&m, MESSAGE_SPAWN);
    message_put_u64(&m, run->id);
    message_put_string(&m, run->service->name);
    message_put_string(&m, note);
    message_put_u32(&m, a->system ? SPAWN_SYSTEM | SPAWN_SYSLOG : 0);
    put_user(&m, run);
    message_put_string(&m, a->system ? "/" : (run->home ? run->home : ""));
    message_put_string(&m, log);
    message_put_u32(&m, (guint32)a->options->log_max);
    message_put_u32(&m, (guint32)(a->options->stop_timeout * 1000));
    message_put_u32(&m, argc);
    message_put_u32(&m, envc);
    message_put_u32(&m, block->len);
    message_put_bytes(&m, block->data, fd < 0 ? block->len : 0);
    link_send(spare->link, &m, &fd, fd < 0 ? 0 : 1);
    if (fd >= 0)
        close(fd);
    g_byte_array_unref(block);
    g_free(log);
    g_free(note);
}
