/* SPDX-License-Identifier: MIT */
/* What a reaper (of a run, or the top) hears from the activator: their handlers of messages, as
 * far as nothing but memory is touched. What they would do is checked and left undone. */
#include "fuzz-datagrams.h"
#include "reaper/run.h"
#include "reaper/top.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

static struct message out;
static struct run run;
static struct top top;
static struct event_store store;
static bool dropped;
static int null = -1; /* in the place of the socket: sending fails */

/* --- what lies behind the handlers -------------------------------------------------------- */

struct message *link_message(void)
{
    return &out;
}

void link_trim(void)
{
}

void link_refuse(struct link *l)
{
    l->refused = true;
    dropped = true;
}

int link_send(struct link *l, const struct message *m, const int *fds, size_t nfds)
{
    (void)l;
    (void)fds;
    must(!m->overflow && m->length >= MESSAGE_HEADER && nfds <= MESSAGE_MAX_FDS);
    return 0;
}

void link_drop(struct link *l)
{
    l->socket.fd = -1;
}

void link_proceed(struct link *l, int result)
{
    l->wants_out = result == 1 || result == -EAGAIN;
}

void complain(const char *format, ...)
{
    must(format[0] != '\0');
}

void loop_arm(struct loop *l, struct loop_timer *t, uint64_t ms)
{
    (void)l;
    t->at = ms + 1;
}

void loop_close(struct loop *l, struct loop_source *s)
{
    (void)l;
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
}

int loop_add(struct loop *l, struct loop_source *s, int fd, uint32_t events)
{
    (void)l;
    (void)events;
    s->fd = fd;
    return 0;
}

void loop_end(struct loop *l, int status)
{
    l->over = true;
    l->status = status;
}

uint64_t loop_now(void)
{
    return 1000000;
}

uint64_t time_now(void)
{
    return 1000000;
}

static void check_words(char **words)
{
    for (; *words; words++)
        must(strlen(*words) < (1u << 30));
}

void run_begin(struct run *r, const struct spawn_request *q)
{
    must(q->run != 0 && q->argv[0] && strlen(q->note) <= SPAWN_NOTE_MAX);
    must(strlen(q->name) + strlen(q->cwd) + strlen(q->log_path) < MESSAGE_MAX);
    check_words(q->argv);
    check_words(q->envp);
    for (uint32_t i = 0; i < q->ngroups; i++)
        out.data[0] ^= (unsigned char)q->groups[i];
    r->id = q->run;
    r->pid = 2;
    strcpy(r->note, q->note);
    events_init(&r->events, r->id, 1, &store);
    run_tell(r);
}

void run_acknowledge(struct run *r, uint64_t seq)
{
    events_ack(&r->events, seq);
}

void run_signal_all(void *data, int signal, bool and_continue, struct signalled *count)
{
    (void)data;
    (void)and_continue;
    must(signal >= 0 && signal <= 64);
    *count = (struct signalled){.sent = 1, .live = 1};
}

void run_leave_if_done(struct run *r)
{
    (void)r;
}

void spare_copy(struct run *r)
{
    r->is_mould = true;
}

bool top_scan(struct top *t)
{
    return t != NULL;
}

/* As for one that lives: what is found dead is the scan's to deal with. */
bool top_reaper_has_died(struct top *t, struct top_reaper *r)
{
    (void)t;
    (void)r;
    return false;
}

pid_t top_spare(struct top *t, const char *program, const char *folder)
{
    (void)t;
    must(program[0] == '/' && strlen(program) + strlen(folder) < MESSAGE_MAX);
    return strlen(folder) % 2 ? -EAGAIN : 2;
}

void tree_signal_read(int (*reader)(void *data, struct process_tree *tree), void *data, int signal,
                      bool and_continue, struct signalled *count)
{
    struct process_tree tree;

    must(reader(data, &tree) == 0);
    run_signal_all(data, signal, and_continue, count);
}

int process_tree_add(struct process_tree *tree, pid_t pid)
{
    (void)tree;
    (void)pid;
    return 0;
}

void log_init(struct log *log)
{
    log->pipe = -1;
}

int log_target(struct log *log, const char *name, const char *path, uint32_t limit, bool syslog)
{
    (void)log;
    (void)syslog;
    must(strlen(name) + strlen(path) + limit % 2 < 2 * MESSAGE_MAX);
    return 0;
}

bool log_drain(struct log *log, size_t most)
{
    return !log || most == 0;
}

void log_flush(struct log *log)
{
    (void)log;
}

void log_close(struct log *log)
{
    (void)log;
}

/* --- the conversation --------------------------------------------------------------------- */

/* Sealed as the activator does it. */
static int memfd_of(const unsigned char *bytes, size_t length)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    must(fd >= 0 && write(fd, bytes, length) == (ssize_t)length);
    must(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) == 0);
    return fd;
}

/* As link.c does it. A descriptor holds the datagram's own bytes. */
static void hear(const struct link_handler *handler, void *data, const struct datagram *d)
{
    int fds[MESSAGE_MAX_FDS] = {-1, -1};
    struct message_reader r;
    int result = message_read_begin(&r, d->bytes, d->length);

    if (result == 0) {
        if (d->kind & DATAGRAM_FD)
            fds[0] = memfd_of(d->bytes, d->length);
        handler->message(data, &r, fds);
        if (fds[0] >= 0)
            close(fds[0]);
    }
    dropped = dropped || result < 0 || r.bad;
}

static void with_run(const uint8_t *data, size_t size)
{
    struct datagram d;

    /* Its last member is large: only what is used of it. */
    memset(&run, 0, offsetof(struct run, log));
    run.note[0] = '\0';
    run.link.socket.fd = null;
    dropped = false;
    while (!dropped && next_datagram(&data, &size, &d)) {
        hear(&run_link_handler, &run, &d);
        free(d.bytes);
        must(run.nanswers <= ANSWERS_MAX);
    }
    run_link_handler.down(&run);
}

static void with_top(const uint8_t *data, size_t size)
{
    static const struct options options;
    struct datagram d;

    memset(&top, 0, sizeof top);
    top.options = &options;
    top.link.socket.fd = null;
    dropped = false;
    while (!dropped && next_datagram(&data, &size, &d)) {
        hear(&top_link_handler, &top, &d);
        /* Bit 2: the reaper that was announced last dies, and its run comes to the top. */
        if ((d.kind & 4) && top.reapers && !top.reapers->dead && top.reapers->run) {
            struct top_run *made = top_run_new(&top, top.reapers);
            must(made != NULL);
            made->empty = (d.kind & 8) != 0;
            top.reapers->dead = true;
            if (made->empty)
                events_empty(&made->events);
            top_tell(&top);
        }
        free(d.bytes);
    }
    while (top.runs) {
        /* Or its log would be kept until the last writer has left. */
        top.runs->foreign = false;
        top_run_forget(&top, top.runs);
    }
    while (top.reapers)
        top_reaper_forget(&top, top.reapers);
    free(top.known);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (null < 0)
        null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (data[0] & 1)
        with_top(data + 1, size - 1);
    else
        with_run(data + 1, size - 1);
    return 0;
}
