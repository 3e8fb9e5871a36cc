/* SPDX-License-Identifier: MIT */
/* What the activator hears on its two sockets, from reapers and from launch helpers: the handlers
 * of reapers.c and door-helper.c and the runs of run.c, with the rest of the daemon left out. */
#include "daemon/reapers.h"
#include "fuzz-datagrams.h"

#include "common/parse/bus-name.h"
#include "daemon/rooms/user-lookup.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

static struct activator activator;
static struct options options = {.stop_timeout = 5, .log_max = 1000};
static struct service service;
static struct link the_link; /* of the one peer at a time */
static void (*accepted)(int fd, void *data);
static gboolean gone; /* the peer was dropped */

/* --- what lies around the handlers -------------------------------------------------------- */

struct link *link_new(int fd, const struct link_handler *handler, void *data)
{
    the_link = (struct link){
        .fd = fd, .pid = 4711, .uid = geteuid(), .handler = handler, .data = data, .in_handler = 1};
    return &the_link;
}

void link_free(struct link *l)
{
    must(l == &the_link && !l->doomed);
    l->doomed = TRUE;
    gone = TRUE;
}

void link_drain(struct link *l)
{
    must(l == &the_link);
}

void link_send(struct link *l, struct message *m, const int *fds, gsize nfds)
{
    must(!l || (l == &the_link && !l->doomed));
    must(!m->overflow && nfds <= MESSAGE_MAX_FDS && (nfds == 0 || fds[0] >= 0));
}

struct listener *listener_new(const char *path, void (*handler)(int fd, void *data), void *data,
                              GError **error)
{
    (void)path;
    (void)data;
    (void)error;
    accepted = handler;
    return (struct listener *)&activator;
}

void listener_free(struct listener *l, gboolean keep)
{
    (void)keep;
    must(l == (struct listener *)&activator);
}

char *runtime_dir_path(struct activator *a, const char *name)
{
    return g_strconcat(a->runtime_dir, "/", name, NULL);
}

guint64 now_usec(void)
{
    return 1000000;
}

struct service *service_get(struct activator *a, const char *name)
{
    must(a == &activator && bus_name_is_well_known(name));
    return &service;
}

void service_request(struct service *s, struct request *request)
{
    must(s == &service && request->peer && request->door == REQUEST_HELPER);
    for (char **pair = request->env; pair && *pair; pair++)
        must(strchr(*pair, '=') > *pair);
    g_strfreev(request->env);
    g_free(request);
}

void service_update(struct service *s)
{
    must(s == &service);
}

void service_forget_peer(struct activator *a, struct peer *peer)
{
    must(g_hash_table_contains(a->peers, peer));
}

void services_forget_run(struct activator *a, struct run *run)
{
    must(run->a == a);
}

void activator_start_step(struct activator *a)
{
    must(a == &activator);
}

void start_with_spare(struct activator *a)
{
    struct peer *spare = g_queue_peek_head(a->idle_spares);
    struct run *run = run_new(a, &service, 0);

    run->command = g_strsplit("/bin/true --an-option", " ", -1);
    run->env = g_strsplit("A=1 B=2", " ", -1);
    reapers_dispatch(spare, run);
}

void start_abandon(struct run *run)
{
    must(run->a == &activator);
}

void start_spawned(struct run *run)
{
    must(run->a == &activator);
    g_clear_pointer(&run->env, g_strfreev);
}

gboolean spares_is_ours(struct activator *a, pid_t pid)
{
    return a == &activator && pid == 4711;
}

void spares_came(struct activator *a, struct peer *p)
{
    must(a == &activator && p->pid == 4711);
    if (!a->mould) {
        a->mould = p;
        return;
    }
    g_queue_push_tail(a->idle_spares, p);
    start_with_spare(a);
}

gboolean spares_lost(struct activator *a, const struct peer *p)
{
    return a->mould == p;
}

void spares_died(struct activator *a)
{
    must(a == &activator && !a->mould);
}

void spares_copied(struct activator *a, int number)
{
    if (number != 0)
        a->mould = NULL;
}

void spares_forget_mould(struct activator *a, const struct peer *p)
{
    if (a->mould == p)
        a->mould = NULL;
}

void spares_want(struct activator *a)
{
    must(a == &activator);
}

void top_tell_reaper(struct activator *a, pid_t pid, struct run *run, const char *note,
                     const char *log, int pipe_fd)
{
    must(a == &activator && pid == 4711 && pipe_fd >= -1);
    must(run ? *note && *log : !*note && !*log);
}

void top_orphan_ended(struct run *run, pid_t pid)
{
    must(run->a == &activator && pid >= 0);
}

void top_orphans_forget(struct run *run)
{
    must(run->a == &activator);
}

void names_recheck(struct activator *a)
{
    must(a == &activator);
}

void interface_emit(struct activator *a, const char *member, int first_type, ...)
{
    must(a == &activator && *member && first_type);
}

void interface_emit_private(struct activator *a, const char *member, int first_type, ...)
{
    must(a == &activator && *member && first_type);
}

void run_judge(struct run *run)
{
    must(run->a == &activator);
}

void run_record(struct run *run)
{
    must(run->id != 0);
}

void run_recall(struct run *run)
{
    char *note = run_note(run);

    must(run->recovered && run->command && run->file && strlen(note) < 2 * MESSAGE_MAX);
    g_free(note);
}

void run_stop(struct run *run)
{
    must(run->stopping);
}

void run_signalled(struct activator *a, guint64 id, guint32 cookie, guint32 signalled)
{
    a->last_cookie = (guint32)id ^ cookie ^ signalled;
}

void run_signals_over(struct run *run)
{
    must(run->a == &activator);
}

void run_watch_over(struct run *run)
{
    must(run->main_watch == NULL);
}

void stop_note(struct run *run)
{
    must(run->empty);
}

void user_lookup_cancel(struct user_lookup *lookup)
{
    must(lookup == NULL);
}

/* --- the conversation --------------------------------------------------------------------- */

static void be_quiet(const char *domain, GLogLevelFlags level, const char *text, void *data)
{
    (void)domain;
    (void)data;
    /* What the daemon would call a mistake of its own is one. */
    must(!(level & (G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_ERROR)) && *text);
}

static void set_up(uint8_t flags)
{
    g_log_set_default_handler(be_quiet, NULL);
    activator = (struct activator){.options = &options,
                                   .runtime_dir = (char *)"/nowhere",
                                   .system = (flags & 2) != 0,
                                   .serving = (flags & 4) != 0,
                                   .peers = g_hash_table_new(NULL, NULL),
                                   .runs = g_hash_table_new(g_int64_hash, g_int64_equal),
                                   .by_pid = g_hash_table_new(NULL, NULL),
                                   .expected = g_hash_table_new(NULL, NULL),
                                   .idle_spares = g_queue_new(),
                                   .waiting = g_queue_new()};
    service = (struct service){.a = &activator, .name = (char *)"a.b", .runs = g_ptr_array_new()};
    must(flags & 1 ? door_helper_open(&activator, NULL) : reapers_open(&activator, NULL));
}

static void tear_down(void)
{
    while (service.runs->len > 0)
        run_free(g_ptr_array_index(service.runs, 0));
    must(g_hash_table_size(activator.runs) == 0 && g_hash_table_size(activator.by_pid) == 0);
    must(g_hash_table_size(activator.peers) == 0 && g_queue_is_empty(activator.idle_spares));
    g_ptr_array_unref(service.runs);
    g_hash_table_unref(activator.peers);
    g_hash_table_unref(activator.runs);
    g_hash_table_unref(activator.by_pid);
    g_hash_table_unref(activator.expected);
    g_queue_free(activator.idle_spares);
    g_queue_free(activator.waiting);
    if (activator.requests)
        door_helper_close(&activator);
    if (activator.reapers)
        reapers_close(&activator);
}

static int memfd_of(const struct datagram *d)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    must(fd >= 0 && write(fd, d->bytes, d->length) == (ssize_t)d->length);
    /* Bit 2: whether it is sealed as it has to be. */
    if (d->kind & 4)
        must(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) == 0);
    return fd;
}

/* As link.c does it. */
static void hear(const struct datagram *d)
{
    int fds[MESSAGE_MAX_FDS] = {-1, -1};
    struct message_reader r;
    int result = message_read_begin(&r, d->bytes, d->length);

    if (result == 0) {
        if (d->kind & DATAGRAM_FD)
            fds[0] = memfd_of(d);
        the_link.handler->message(&the_link, &r, fds, the_link.data);
        if (fds[0] >= 0)
            close(fds[0]);
    }
    if (!gone && (result < 0 || r.bad))
        the_link.handler->closed(&the_link, "it is bad", the_link.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct datagram d;

    if (size == 0)
        return 0;
    set_up(data[0]);
    data++;
    size--;
    for (int peers = 0; peers < 4 && size >= 4; peers++) {
        gone = FALSE;
        accepted(-1, &activator);
        while (!gone && next_datagram(&data, &size, &d)) {
            hear(&d);
            free(d.bytes);
        }
        if (!gone)
            the_link.handler->closed(&the_link, NULL, the_link.data);
        must(gone);
    }
    tear_down();
    return 0;
}
