/* SPDX-License-Identifier: MIT */
/* What the top reaper says to the activator, and hears from it. */
#include "reaper/top.h"

#include "reaper/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TELL_TURN 64
/* In one message. */
#define ORPHANS_MOST 1024

static int tell_gone(struct top *t, struct top_run *run)
{
    message_begin(link_message(), MESSAGE_REAPER_GONE);
    message_put_u64(link_message(), run->id);
    message_put_u32(link_message(), (uint32_t)run->reaper);
    message_put_u8(link_message(), end_how(&run->reaper_end));
    message_put_u32(link_message(), (uint32_t)run->reaper_end.si_status);
    message_put_u32(link_message(), run->left);
    message_put_u64(link_message(), 0);
    message_put_string(link_message(), run->note ? run->note : "");
    message_put_u32(link_message(), 0);
    int result = link_send(&t->link, link_message(), NULL, 0);
    run->gone_told = result == 0;
    return result;
}

/* The known from *at on that belong to the run and were not told, as many as one message takes.
 * mark: it has been sent. */
static size_t put_orphans(struct top *t, const struct top_run *run, size_t *at, bool mark)
{
    size_t count = 0;

    for (; *at < t->nknown && count < ORPHANS_MOST; ++*at) {
        struct top_known *known = &t->known[*at];
        if (!known->child || known->run != run || known->told)
            continue;
        count++;
        known->told = mark;
        if (mark)
            continue;
        message_put_u32(link_message(), (uint32_t)known->pid);
        message_put_u64(link_message(), known->start);
    }
    return count;
}

static int tell_orphans(struct top *t, struct top_run *run)
{
    size_t at = 0;

    while (run->news) {
        size_t from = at;
        message_begin(link_message(), MESSAGE_ORPHANS);
        message_put_u64(link_message(), run->id);
        size_t count_at = link_message()->length;
        message_put_u32(link_message(), 0);
        uint32_t count = (uint32_t)put_orphans(t, run, &at, false);
        memcpy(link_message()->data + count_at, &count, sizeof count);
        int result = count > 0 ? link_send(&t->link, link_message(), NULL, 0) : 0;
        if (result < 0)
            return result;
        put_orphans(t, run, &from, true);
        run->news = count == ORPHANS_MOST;
    }
    return 0;
}

static int tell_answers(struct top *t)
{
    while (t->nanswers > 0) {
        message_begin(link_message(), MESSAGE_SIGNALLED);
        message_put_u64(link_message(), t->answers[0].run);
        message_put_u32(link_message(), t->answers[0].cookie);
        message_put_u32(link_message(), t->answers[0].count.sent);
        message_put_u32(link_message(), t->answers[0].count.live);
        int result = link_send(&t->link, link_message(), NULL, 0);
        if (result < 0)
            return result;
        t->nanswers--;
        memmove(t->answers, t->answers + 1, t->nanswers * sizeof t->answers[0]);
    }
    return 0;
}

static int tell_spared(struct top *t)
{
    while (t->nspared > 0) {
        pid_t pid = t->spared[0];
        message_begin(link_message(), MESSAGE_SPARED);
        message_put_u32(link_message(), pid > 0 ? (uint32_t)pid : 0);
        message_put_u32(link_message(), pid > 0 ? 0 : (uint32_t)-pid);
        int result = link_send(&t->link, link_message(), NULL, 0);
        if (result < 0)
            return result;
        t->nspared--;
        memmove(t->spared, t->spared + 1, t->nspared * sizeof t->spared[0]);
    }
    return 0;
}

static int tell_all(struct top *t)
{
    int result = 0;

    for (struct top_run *run = t->runs; run && result == 0; run = run->next) {
        if (run->id == 0)
            continue;
        if (!run->gone_told)
            result = tell_gone(t, run);
        if (result == 0)
            result = tell_orphans(t, run);
        if (result == 0)
            result = events_send(&run->events, t->link.socket.fd, TELL_TURN);
    }
    if (result == 0 && t->replaying) {
        message_begin(link_message(), MESSAGE_REPLAYED);
        result = link_send(&t->link, link_message(), NULL, 0);
        t->replaying = result != 0;
    }
    if (result == 0)
        result = tell_spared(t);
    return result == 0 ? tell_answers(t) : result;
}

void top_tell(struct top *t)
{
    if (!link_is_up(&t->link))
        return;
    link_proceed(&t->link, tell_all(t));
}

static void on_up(void *data)
{
    struct top *t = data;

    message_begin(link_message(), MESSAGE_HELLO);
    message_put_u8(link_message(), REAPER_TOP);
    message_put_u32(link_message(), (uint32_t)getpid());
    message_put_u8(link_message(), (uint8_t)t->kind);
    message_put_u64(link_message(), 0);
    message_put_string(link_message(), "");
    message_put_u32(link_message(), 0);
    message_put_u64(link_message(), 0);
    /* Into an empty socket: it fits. */
    message_send(t->link.socket.fd, link_message(), NULL, 0);
    for (struct top_run *run = t->runs; run; run = run->next) {
        run->gone_told = false;
        run->news = true;
        events_rewind(&run->events);
    }
    for (size_t i = 0; i < t->nknown; i++)
        t->known[i].told = false;
    t->nanswers = 0;
    t->nspared = 0;
    t->replaying = true;
    top_tell(t);
}

static void replace(char **old, const char *new)
{
    /* The next activator may know less than the one that was killed. */
    char *copy = new[0] ? strdup(new) : NULL;

    if (!copy)
        return;
    free(*old);
    *old = copy;
}

static void take_reaper(struct top *t, struct message_reader *m, int fds[MESSAGE_MAX_FDS])
{
    uint64_t run = message_get_u64(m);
    pid_t pid = (pid_t)message_get_u32(m);
    const char *name = message_get_string(m);
    const char *note = message_get_string(m);
    const char *path = message_get_string(m);
    uint32_t limit = message_get_u32(m);
    bool to_syslog = message_get_u8(m) != 0;

    if (!message_read_end(m) || pid <= 1 || pid == getpid() || strlen(note) > SPAWN_NOTE_MAX) {
        m->bad = true;
        return;
    }
    t->session_bus = !to_syslog;
    /* We are its reaper already. */
    if (top_run_find(t, run))
        return;
    /* Taken for something else before it was announced. */
    top_known_remove(t, pid);
    struct top_reaper *r = top_reaper_get(t, pid);
    if (!r) {
        complain("out of memory: the log pipe of reaper %d is not kept", (int)pid);
        return;
    }
    if (fds[0] >= 0) {
        if (r->log_pipe >= 0)
            close(r->log_pipe);
        r->log_pipe = fds[0];
        fds[0] = -1;
    }
    if (run != 0) {
        r->run = run;
        r->log_limit = limit ? limit : r->log_limit;
        r->log_to_syslog = to_syslog;
        replace(&r->name, name);
        replace(&r->note, note);
        replace(&r->log_path, path);
    }
    /* It may have died on the way. Not asked for all the others too: there may be a thousand, and
     * somebody waits for a service. */
    if (r->dead || top_reaper_has_died(t, r))
        loop_arm(&t->loop, &t->again, 0);
}

struct of_run {
    struct top *top;
    uint64_t id;
};

/* What came to us by adoption a moment ago may not have been given to its run yet. */
static int read_run(void *data, struct process_tree *tree)
{
    const struct of_run *of = data;

    memset(tree, 0, sizeof *tree);
    bool seen = top_scan(of->top);
    const struct top_run *run = top_run_find(of->top, of->id);
    int result = run ? top_run_tree(of->top, run, tree) : 0;
    return seen ? result : -EAGAIN;
}

static void take_signal(struct top *t, struct message_reader *m)
{
    struct signalled count = {0};
    uint64_t id = message_get_u64(m);
    uint32_t cookie = message_get_u32(m);
    uint32_t number = message_get_u32(m);
    bool and_continue = message_get_u8(m) != 0;

    if (!message_read_end(m) || number > 64) {
        m->bad = true;
        return;
    }
    tree_signal_read(read_run, &(struct of_run){t, id}, (int)number, and_continue, &count);
    struct top_run *run = top_run_find(t, id);
    if (run && number == SIGKILL)
        run->kill_until = loop_now() + KILL_AGAIN;
    if (t->nanswers == sizeof t->answers / sizeof t->answers[0]) {
        t->nanswers--;
        memmove(t->answers, t->answers + 1, t->nanswers * sizeof t->answers[0]);
    }
    t->answers[t->nanswers].run = id;
    t->answers[t->nanswers].cookie = cookie;
    t->answers[t->nanswers++].count = count;
    top_tell(t);
}

static void take_spare(struct top *t, struct message_reader *m)
{
    const char *program = message_get_string(m);
    const char *folder = message_get_string(m);

    if (!message_read_end(m) || program[0] != '/' || folder[0] == '\0') {
        m->bad = true;
        return;
    }
    /* More answers that nobody took than an activator asks for at once. */
    if (t->nspared == sizeof t->spared / sizeof t->spared[0])
        return;
    t->spared[t->nspared++] = top_spare(t, program, folder);
    top_tell(t);
}

static void take_ack(struct top *t, struct message_reader *m)
{
    uint64_t id = message_get_u64(m);
    uint64_t seq = message_get_u64(m);

    if (!message_read_end(m)) {
        m->bad = true;
        return;
    }
    struct top_run *run = top_run_find(t, id);
    if (!run)
        return;
    events_ack(&run->events, seq);
    if (run->empty && run->events.count == 0)
        top_run_forget(t, run);
}

/* The numbers stay taken: a second activator is started with the same arguments, and what it
 * writes to "its" descriptor must not reach what happens to have got the number. */
static void close_passed(struct top *t)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    for (size_t i = 0; i < t->options->npass && null >= 0; i++)
        dup3(null, t->options->pass[i], O_CLOEXEC);
    if (null >= 0)
        close(null);
}

static void on_message(void *data, struct message_reader *m, int fds[MESSAGE_MAX_FDS])
{
    struct top *t = data;

    switch (m->type) {
    case MESSAGE_TOP_REAPER:
        take_reaper(t, m, fds);
        break;
    case MESSAGE_TOP_SERVING:
        if (!t->serving)
            close_passed(t);
        t->serving = true;
        break;
    case MESSAGE_TOP_STOP_ALL:
        t->stop_all = message_get_u32(m) != 0;
        break;
    case MESSAGE_SIGNAL:
        take_signal(t, m);
        break;
    case MESSAGE_TOP_SPARE:
        take_spare(t, m);
        break;
    case MESSAGE_ACK:
        take_ack(t, m);
        break;
    case MESSAGE_TOP_ASK:
        /* Another program at the other end, which knows nothing yet. */
        if (message_read_end(m))
            on_up(t);
        break;
    case MESSAGE_REFUSED:
        complain("refused by the activator: %.200s", message_get_string(m));
        break;
    default:
        break;
    }
}

static void on_writable(void *data)
{
    top_tell(data);
}

static void on_down(void *data)
{
    (void)data; /* the activator's end says what to do */
}

const struct link_handler top_link_handler = {
    .up = on_up, .message = on_message, .writable = on_writable, .down = on_down};
