/* SPDX-License-Identifier: MIT */
/* What the reaper of a run says to the activator, and hears from it. */
#include "reaper/run.h"

#include <string.h>
#include <unistd.h>

#define TELL_TURN 64

static int tell_spawn(struct run *r)
{
    if (r->pid == 0) {
        if (r->failed_told)
            return 0;
        message_begin(link_message(), MESSAGE_SPAWN_FAILED);
        message_put_u64(link_message(), r->id);
        message_put_u8(link_message(), (uint8_t)r->failure.stage);
        message_put_u32(link_message(), r->failure.error);
        message_put_u64(link_message(), r->time);
        int result = link_send(&r->link, link_message(), NULL, 0);
        r->failed_told = result == 0;
        return result;
    }
    if (r->spawn_told)
        return 0;
    message_begin(link_message(), MESSAGE_SPAWNED);
    message_put_u64(link_message(), r->id);
    message_put_u32(link_message(), (uint32_t)r->pid);
    message_put_u64(link_message(), r->time);
    int result = link_send(&r->link, link_message(), NULL, 0);
    r->spawn_told = result == 0;
    return result;
}

static int tell_answers(struct run *r)
{
    while (r->nanswers > 0) {
        message_begin(link_message(), MESSAGE_SIGNALLED);
        message_put_u64(link_message(), r->id);
        message_put_u32(link_message(), r->answers[0].cookie);
        message_put_u32(link_message(), r->answers[0].signalled);
        message_put_u32(link_message(), r->answers[0].left);
        int result = link_send(&r->link, link_message(), NULL, 0);
        if (result < 0)
            return result;
        r->nanswers--;
        for (size_t i = 0; i < r->nanswers; i++)
            r->answers[i] = r->answers[i + 1];
    }
    return 0;
}

/* In the order in which it happened. 0: all told. */
static int tell_all(struct run *r)
{
    int result = tell_spawn(r);

    if (result == 0)
        result = events_send(&r->events, r->link.socket.fd, TELL_TURN);
    if (result == 0 && r->replaying) {
        message_begin(link_message(), MESSAGE_REPLAYED);
        result = link_send(&r->link, link_message(), NULL, 0);
        r->replaying = result != 0;
    }
    return result == 0 ? tell_answers(r) : result;
}

void run_tell(struct run *r)
{
    if (!link_is_up(&r->link) || r->id == 0)
        return;
    link_proceed(&r->link, tell_all(r));
}

static void on_up(void *data)
{
    struct run *r = data;
    int fd = r->log.pipe;

    /* It was announced by its mould. */
    if (r->is_copy && r->id == 0)
        return;

    message_begin(link_message(), MESSAGE_HELLO);
    message_put_u8(link_message(), r->id ? REAPER_RUN : REAPER_SPARE);
    message_put_u32(link_message(), (uint32_t)getpid());
    message_put_u8(link_message(), (uint8_t)r->kind);
    message_put_u64(link_message(), r->id);
    message_put_string(link_message(), r->note);
    message_put_u32(link_message(), (uint32_t)r->pid);
    message_put_u64(link_message(), r->time);
    /* The pipe again, too: a new top reaper does not have it. */
    int result = message_send(r->link.socket.fd, link_message(), &fd, fd >= 0);
    if (result < 0) {
        /* Nothing else would be understood. A spare is of no use, a run tries again later. */
        complain("cannot say hello to the activator: %s", strerror(-result));
        link_drop(&r->link);
        return;
    }
    if (r->id == 0)
        return;
    events_rewind(&r->events);
    r->failed_told = false;
    r->nanswers = 0;
    r->replaying = true;
    run_tell(r);
}

static void on_down(void *data)
{
    struct run *r = data;

    /* A spare belongs to the activator that started it. */
    if (r->id == 0)
        loop_end(&r->loop, EXIT_NO_RUN);
    else
        run_leave_if_done(r);
}

static void take_spawn(struct run *r, struct message_reader *m, int fds[MESSAGE_MAX_FDS])
{
    struct spawn_request q;

    if (r->id != 0)
        return;
    int result = spawn_read(&q, m, fds[0]);
    if (result < 0) {
        m->bad = true;
        spawn_forget();
        return;
    }
    run_begin(r, &q);
    spawn_forget();
    link_trim();
}

static void take_copy(struct run *r, const struct message_reader *m)
{
    if (message_read_end(m) && r->id == 0)
        spare_copy(r);
}

static void take_signal(struct run *r, struct message_reader *m)
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
    if (id != r->id || r->id == 0)
        return;
    run_signal_all(r, (int)number, and_continue, &count);
    if (number == SIGKILL)
        r->kill_until = loop_now() + KILL_AGAIN;
    /* Who asks faster than it reads loses the oldest answers. */
    if (r->nanswers == ANSWERS_MAX) {
        r->nanswers--;
        for (size_t i = 0; i < r->nanswers; i++)
            r->answers[i] = r->answers[i + 1];
    }
    r->answers[r->nanswers++] = (struct answer){cookie, count.sent, count.live};
    run_tell(r);
}

static void take_ack(struct run *r, struct message_reader *m)
{
    uint64_t id = message_get_u64(m);
    uint64_t seq = message_get_u64(m);

    if (!message_read_end(m))
        m->bad = true;
    else if (id == r->id && r->id != 0)
        run_acknowledge(r, seq);
}

static void on_message(void *data, struct message_reader *m, int fds[MESSAGE_MAX_FDS])
{
    struct run *r = data;

    switch (m->type) {
    case MESSAGE_SPAWN:
        take_spawn(r, m, fds);
        break;
    case MESSAGE_COPY:
        take_copy(r, m);
        break;
    case MESSAGE_SIGNAL:
        take_signal(r, m);
        break;
    case MESSAGE_ACK:
        take_ack(r, m);
        break;
    case MESSAGE_REFUSED:
        complain("refused by the activator: %.200s", message_get_string(m));
        link_refuse(&r->link);
        break;
    default:
        /* A later activator may know more than we do. */
        break;
    }
}

static void on_writable(void *data)
{
    run_tell(data);
}

const struct link_handler run_link_handler = {
    .up = on_up, .message = on_message, .writable = on_writable, .down = on_down};
