/* SPDX-License-Identifier: MIT */
#include "common/message.h"

#include <glib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct message message;
static unsigned char buffer[MESSAGE_MAX];

static void send_number(int fd, guint32 number)
{
    message_begin(&message, MESSAGE_SIGNAL);
    message_put_u32(&message, number);
    g_assert_cmpint(message_send(fd, &message, NULL, 0), ==, 0);
}

static void expect_number(int fd, guint32 number)
{
    int fds[MESSAGE_MAX_FDS];
    struct message_reader r;
    long length = message_receive(fd, buffer, fds);

    g_assert_cmpint(length, >, 0);
    g_assert_cmpint(message_read_begin(&r, buffer, (size_t)length), ==, 0);
    g_assert_cmpuint(message_get_u32(&r), ==, number);
}

/* What a peer said last counts, also when it died without having read what was said to it. */
static void test_last_words(void)
{
    int fds[MESSAGE_MAX_FDS];
    int pair[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), ==, 0);
    send_number(pair[0], 1); /* never read */
    send_number(pair[1], 2);
    send_number(pair[1], 3);
    close(pair[1]);
    expect_number(pair[0], 2);
    expect_number(pair[0], 3);
    g_assert_cmpint(message_receive(pair[0], buffer, fds), ==, 0);
    close(pair[0]);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/message/last-words", test_last_words);
    return g_test_run();
}
