/* SPDX-License-Identifier: MIT */
/* System calls, messages and the entry point for what early.h describes. x86-64 only. */
#pragma once

#include "common/message.h"
#include "helper/early.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* The first instruction of the program (-Wl,-e,early_entry). */
#define EARLY_ENTRY                                                                                \
    __asm__(".text\n"                                                                              \
            ".globl early_entry\n"                                                                 \
            ".hidden early_entry\n"                                                                \
            ".type early_entry, @function\n"                                                       \
            "early_entry:\n"                                                                       \
            "    endbr64\n"                                                                        \
            "    mov %rsp, %rbx\n"                                                                 \
            "    mov %rdx, %r12\n"                                                                 \
            "    mov %rsp, %rdi\n"                                                                 \
            "    and $-16, %rsp\n"                                                                 \
            "    call early\n"                                                                     \
            "    mov %rbx, %rsp\n"                                                                 \
            "    mov %r12, %rdx\n"                                                                 \
            "    jmp _start\n"                                                                     \
            ".size early_entry, . - early_entry\n")

/* The result of the kernel: negative errno for a failure. */
static inline long early_call6(long number, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long result = number;

    __asm__ volatile("syscall"
                     : "+a"(result)
                     : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

static inline long early_call(long number, long a, long b, long c, long d)
{
    return early_call6(number, a, b, c, d, 0, 0);
}

static inline int early_open(int dir, const char *path, int flags)
{
    return (int)early_call(SYS_openat, dir, (long)path, flags | O_CLOEXEC, 0);
}

static inline void early_close(int fd)
{
    early_call(SYS_close, fd, 0, 0, 0);
}

/* Connects a new socket of the activator's kind to the address (struct sockaddr_un) and sees that
 * the listener is of this user. Returns the descriptor or -1. */
static inline int early_connect(const char *address, unsigned length, uid_t user)
{
    struct ucred peer;
    unsigned size = sizeof peer;
    int fd = (int)early_call(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, 0);

    if (fd < 0)
        return -1;
    peer.uid = user + 1;
    if (early_call(SYS_connect, fd, (long)address, length, 0) == 0 &&
        early_call6(SYS_getsockopt, fd, SOL_SOCKET, SO_PEERCRED, (long)&peer, (long)&size, 0) ==
            0 &&
        peer.uid == user)
        return fd;
    early_close(fd);
    return -1;
}

/* --- messages, as common/message.h has them ----------------------------------------------- */

struct early_request {
    unsigned char *at, *end; /* at is NULL when it did not fit */
};

static inline void early_put(struct early_request *r, const void *data, unsigned long length)
{
    const unsigned char *from = data;

    if (!r->at || length > (unsigned long)(r->end - r->at)) {
        r->at = NULL;
        return;
    }
    /* A loop that the compiler does not take for memcpy(). */
    for (unsigned long i = 0; i < length; i++) {
        r->at[i] = from[i];
        __asm__ volatile("" ::: "memory");
    }
    r->at += length;
}

static inline void early_put_string(struct early_request *r, const char *text)
{
    uint32_t length = 0;

    while (text[length])
        length++;
    early_put(r, &length, sizeof length);
    early_put(r, text, length + 1ul);
}

/* Begins a request in the buffer. kind: see MESSAGE_REQUEST. */
static inline void early_begin(struct early_request *r, unsigned char *buffer, unsigned long size,
                               uint8_t kind)
{
    uint32_t magic = MESSAGE_MAGIC;
    uint16_t version = MESSAGE_VERSION;
    uint16_t type = MESSAGE_REQUEST;

    r->at = buffer;
    r->end = buffer + size;
    early_put(r, &magic, sizeof magic);
    early_put(r, &version, sizeof version);
    early_put(r, &type, sizeof type);
    early_put(r, &kind, sizeof kind);
}

/* Whether these are the bytes of the verdict that says no more than "owned". */
static inline bool early_is_owned(const unsigned char *message, long length)
{
    unsigned char wanted[MESSAGE_HEADER + 1 + 1 + 4 + 5 + 5];
    struct early_request r = {wanted, wanted + sizeof wanted};
    uint32_t magic = MESSAGE_MAGIC;
    uint16_t version = MESSAGE_VERSION;
    uint16_t type = MESSAGE_VERDICT;
    uint8_t verdict = VERDICT_OWNED;
    uint8_t how = 0;
    uint32_t status = 0;

    early_put(&r, &magic, sizeof magic);
    early_put(&r, &version, sizeof version);
    early_put(&r, &type, sizeof type);
    early_put(&r, &verdict, sizeof verdict);
    early_put(&r, &how, sizeof how);
    early_put(&r, &status, sizeof status);
    early_put_string(&r, "");
    early_put_string(&r, "");
    if (length != (long)sizeof wanted)
        return false;
    for (unsigned long i = 0; i < sizeof wanted; i++) {
        if (message[i] != wanted[i])
            return false;
    }
    return true;
}

/* Sends the finished request and waits. Ends the process when the name is owned, and when what
 * started us is gone. Returns true when there is anything else to be read, which main() is left to
 * do; false, with the connection closed, when nothing could be sent. */
static inline bool early_ask(int fd, const unsigned char *request, const struct early_request *r)
{
    struct pollfd activator = {.fd = fd, .events = POLLIN};
    static unsigned char answer[64];
    long parent = early_call(SYS_getppid, 0, 0, 0, 0);
    long got = 0;

    if (!r->at || early_call6(SYS_sendto, fd, (long)request, r->at - request, MSG_NOSIGNAL, 0, 0) !=
                      r->at - request) {
        early_close(fd);
        return false;
    }
    while ((got = early_call(SYS_poll, (long)&activator, 1, 2000, 0)) == 0 || got == -EINTR) {
        if (early_call(SYS_getppid, 0, 0, 0, 0) != parent)
            early_call(SYS_exit_group, 1, 0, 0, 0);
    }
    got = early_call6(SYS_recvfrom, fd, (long)answer, sizeof answer, MSG_PEEK | MSG_TRUNC, 0, 0);
    if (early_is_owned(answer, got))
        early_call(SYS_exit_group, 0, 0, 0, 0);
    return true;
}
