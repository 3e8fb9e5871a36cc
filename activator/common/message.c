/* SPDX-License-Identifier: MIT */
#include "common/message.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void put(struct message *m, const void *data, size_t length)
{
    if (m->overflow || length > sizeof m->data - m->length) {
        m->overflow = true;
        return;
    }
    if (length > 0)
        memcpy(m->data + m->length, data, length);
    m->length += length;
}

const uint16_t message_version = MESSAGE_VERSION;
const uint16_t message_oldest = MESSAGE_OLDEST;

void message_begin(struct message *m, enum message_type type)
{
    uint32_t magic = MESSAGE_MAGIC;
    uint16_t version = MESSAGE_VERSION;
    uint16_t kind = (uint16_t)type;

    m->length = 0;
    m->overflow = false;
    put(m, &magic, sizeof magic);
    put(m, &version, sizeof version);
    put(m, &kind, sizeof kind);
}

void message_set_version(struct message *m, uint16_t version)
{
    memcpy(m->data + sizeof(uint32_t), &version, sizeof version);
}

void message_put_u8(struct message *m, uint8_t value)
{
    put(m, &value, sizeof value);
}

void message_put_u32(struct message *m, uint32_t value)
{
    put(m, &value, sizeof value);
}

void message_put_u64(struct message *m, uint64_t value)
{
    put(m, &value, sizeof value);
}

void message_put_string(struct message *m, const char *value)
{
    message_put_bytes(m, value, strlen(value));
}

void message_put_bytes(struct message *m, const void *data, size_t length)
{
    if (length >= MESSAGE_MAX) {
        m->overflow = true;
        return;
    }
    message_put_u32(m, (uint32_t)length);
    put(m, data, length);
    put(m, "", 1);
}

static const void *get(struct message_reader *r, size_t length)
{
    const unsigned char *at = r->data + r->position;

    if (r->bad || length > r->length - r->position) {
        r->bad = true;
        return NULL;
    }
    r->position += length;
    return at;
}

int message_read_begin(struct message_reader *r, const void *data, size_t length)
{
    uint32_t magic = 0;

    memset(r, 0, sizeof *r);
    r->data = data;
    r->length = length;
    magic = message_get_u32(r);
    if (r->bad || magic != MESSAGE_MAGIC)
        return -EBADMSG;
    const void *version = get(r, sizeof r->version);
    const void *type = get(r, sizeof r->type);
    if (!version || !type)
        return -EBADMSG;
    memcpy(&r->version, version, sizeof r->version);
    memcpy(&r->type, type, sizeof r->type);
    /* Variables: with the first version as the oldest, comparing constants is always true. */
    return r->version >= message_oldest && r->version <= message_version ? 0 : -EPROTONOSUPPORT;
}

uint8_t message_get_u8(struct message_reader *r)
{
    const uint8_t *at = get(r, 1);

    return at ? *at : 0;
}

uint32_t message_get_u32(struct message_reader *r)
{
    uint32_t value = 0;
    const void *at = get(r, sizeof value);

    if (at)
        memcpy(&value, at, sizeof value);
    return value;
}

uint64_t message_get_u64(struct message_reader *r)
{
    uint64_t value = 0;
    const void *at = get(r, sizeof value);

    if (at)
        memcpy(&value, at, sizeof value);
    return value;
}

const char *message_get_bytes(struct message_reader *r, size_t *length)
{
    uint32_t size = message_get_u32(r);
    const char *at = NULL;

    *length = 0;
    if (r->bad || size >= MESSAGE_MAX) {
        r->bad = true;
        return "";
    }
    at = get(r, (size_t)size + 1);
    if (!at || at[size] != '\0') {
        r->bad = true;
        return "";
    }
    *length = size;
    return at;
}

const char *message_get_string(struct message_reader *r)
{
    size_t length = 0;
    const char *text = message_get_bytes(r, &length);

    if (strlen(text) != length) {
        r->bad = true;
        return "";
    }
    return text;
}

bool message_read_end(const struct message_reader *r)
{
    return !r->bad && r->position == r->length;
}

/* Room for the descriptors of one message, aligned as the kernel wants it. */
union control {
    struct cmsghdr header;
    char room[CMSG_SPACE(MESSAGE_MAX_FDS * sizeof(int))];
};

int message_send(int socket, const struct message *m, const int *fds, size_t nfds)
{
    struct iovec part = {.iov_base = (void *)m->data, .iov_len = m->length};
    union control control;
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    ssize_t sent = 0;

    if (m->overflow || nfds > MESSAGE_MAX_FDS)
        return -EMSGSIZE;
    if (nfds > 0) {
        memset(&control, 0, sizeof control);
        header.msg_control = &control;
        header.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
        struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(nfds * sizeof(int));
        memcpy(CMSG_DATA(rights), fds, nfds * sizeof(int));
    }
    do
        sent = sendmsg(socket, &header, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : 0;
}

/* Moves the descriptors of a received message to fds[]; closes those beyond it. Returns how
 * many there were. */
static size_t take_descriptors(struct msghdr *header, int fds[MESSAGE_MAX_FDS])
{
    size_t found = 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd = -1;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
            if (found < MESSAGE_MAX_FDS)
                fds[found] = fd;
            else
                close(fd);
            found++;
        }
    }
    return found;
}

long message_receive(int socket, void *buffer, int fds[MESSAGE_MAX_FDS])
{
    struct iovec part = {.iov_base = buffer, .iov_len = MESSAGE_MAX};
    union control control;
    struct msghdr header = {.msg_iov = &part,
                            .msg_iovlen = 1,
                            .msg_control = &control,
                            .msg_controllen = sizeof control};
    ssize_t received = 0;
    bool reset = false;
    bool again = true;

    for (size_t i = 0; i < MESSAGE_MAX_FDS; i++)
        fds[i] = -1;
    while (again) {
        received = recvmsg(socket, &header, MSG_CMSG_CLOEXEC);
        /* A peer that died with messages unread: the kernel says so once, before it hands out
         * what that one had sent. (unix_release_sock(), __skb_try_recv_datagram().) */
        bool first = received < 0 && errno == ECONNRESET && !reset;
        reset |= first;
        again = first || (received < 0 && errno == EINTR);
    }
    if (received < 0)
        return -errno;
    size_t found = take_descriptors(&header, fds);
    /* Half of the descriptors are as good as none: which of them arrived is not said. */
    for (size_t i = 0; i < MESSAGE_MAX_FDS && header.msg_flags & (MSG_TRUNC | MSG_CTRUNC); i++) {
        if (fds[i] >= 0)
            close(fds[i]);
        fds[i] = -1;
    }
    if (found > MESSAGE_MAX_FDS || header.msg_flags & MSG_TRUNC)
        return -EMSGSIZE;
    return received;
}
