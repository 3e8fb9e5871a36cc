/* SPDX-License-Identifier: MIT */
/*
 * The clock of the benchmark: asks for services and writes one line of nanoseconds for each
 * measurement. Names are PREFIX0 … PREFIXn.
 *
 *   start ADDRESS PREFIX NAMES COUNT PAUSE     StartServiceByName, one after the other; each
 *                                              service is ended by SIGTERM before the next
 *   spawn ADDRESS PREFIX NAMES COUNT PAUSE PROGRAM
 *                                              the same with posix_spawn by the client itself
 *   burst ADDRESS PREFIX FIRST COUNT WINDOW    COUNT names asked for, WINDOW at once; they go on
 *   spawn-burst ADDRESS PREFIX FIRST COUNT WINDOW PROGRAM
 *   death ADDRESS PREFIX NAMES COUNT PAUSE     SIGKILL to ServiceExited, and to NameOwnerChanged
 *   reap ADDRESS NAME COUNT                    SIGKILL to COUNT orphans of the service, until its
 *                                              parent has waited for all of them
 *   bare-reap COUNT                            the same with a parent that does nothing else
 *
 * PAUSE is in microseconds.
 */
#include "reap.h"

#include <dbus/dbus.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct client {
    DBusConnection *bus;
    const char *address;
    const char *prefix;
    const char *program; /* NULL: by the bus */
    int first, names, count, pause;
};

uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

_Noreturn void give_up(const char *what, const char *detail)
{
    fprintf(stderr, "client: %s: %s\n", what, detail == NULL ? "" : detail);
    exit(1);
}

static const char *name_of(const struct client *c, int number)
{
    static char name[256];

    snprintf(name, sizeof name, "%s%d", c->prefix, number);
    return name;
}

static void join(struct client *c, const char *address)
{
    DBusError error = DBUS_ERROR_INIT;

    c->address = address;
    c->bus = dbus_connection_open_private(address, &error);
    if (c->bus == NULL || !dbus_bus_register(c->bus, &error))
        give_up(address, error.message);
}

static void add_match(struct client *c, const char *rule)
{
    DBusError error = DBUS_ERROR_INIT;

    dbus_bus_add_match(c->bus, rule, &error);
    if (dbus_error_is_set(&error))
        give_up(rule, error.message);
}

static DBusMessage *bus_call(const char *member, const char *name)
{
    DBusMessage *m = dbus_message_new_method_call(DBUS_SERVICE_DBUS, DBUS_PATH_DBUS,
                                                  DBUS_INTERFACE_DBUS, member);
    dbus_message_append_args(m, DBUS_TYPE_STRING, &name, DBUS_TYPE_INVALID);
    return m;
}

static DBusMessage *start_message(const char *name)
{
    DBusMessage *m = bus_call("StartServiceByName", name);
    dbus_uint32_t flags = 0;

    dbus_message_append_args(m, DBUS_TYPE_UINT32, &flags, DBUS_TYPE_INVALID);
    return m;
}

/* Calls and answers the number of the reply. */
static unsigned ask(struct client *c, DBusMessage *m, int type)
{
    DBusError error = DBUS_ERROR_INIT;
    dbus_uint32_t value = 0;
    DBusMessage *reply = dbus_connection_send_with_reply_and_block(c->bus, m, 120000, &error);

    if (reply == NULL)
        give_up(dbus_message_get_member(m), error.message);
    dbus_message_get_args(reply, NULL, type, &value, DBUS_TYPE_INVALID);
    dbus_message_unref(reply);
    dbus_message_unref(m);
    return value;
}

/* Waits for a signal of this member whose first argument is the name; answers when it came. */
static uint64_t await_signal(struct client *c, const char *member, const char *name)
{
    for (;;) {
        DBusMessage *m;
        while ((m = dbus_connection_pop_message(c->bus)) != NULL) {
            const char *first = NULL, *old = NULL, *new = NULL;
            int found = dbus_message_get_type(m) == DBUS_MESSAGE_TYPE_SIGNAL &&
                        strcmp(dbus_message_get_member(m), member) == 0;
            if (found)
                dbus_message_get_args(m, NULL, DBUS_TYPE_STRING, &first, DBUS_TYPE_STRING, &old,
                                      DBUS_TYPE_STRING, &new, DBUS_TYPE_INVALID);
            DBusMessageIter i;
            if (found && first == NULL && dbus_message_iter_init(m, &i))
                dbus_message_iter_get_basic(&i, &first);
            found = found && first != NULL && strcmp(first, name) == 0;
            dbus_message_unref(m);
            if (found)
                return now_ns();
        }
        if (!dbus_connection_read_write(c->bus, 60000))
            give_up("bus", "gone");
    }
}

static pid_t spawn(const struct client *c, const char *name)
{
    char *argv[] = {(char *)c->program, (char *)"name", (char *)name, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    pid_t pid;

    /* Not the client's output: what reads it waits for its end. */
    posix_spawn_file_actions_init(&actions);
    for (int fd = 0; fd < 3; fd++)
        posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR, 0);

    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
    if (!c->program || posix_spawn(&pid, c->program, &actions, &attributes, argv, environ) != 0)
        give_up("posix_spawn", strerror(errno));
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return pid;
}

static void end_service(struct client *c, const char *name)
{
    pid_t pid = (pid_t)ask(c, bus_call("GetConnectionUnixProcessID", name), DBUS_TYPE_UINT32);

    kill(pid, SIGTERM);
    while (ask(c, bus_call("NameHasOwner", name), DBUS_TYPE_BOOLEAN))
        usleep(200);
    if (c->program != NULL)
        waitpid(pid, NULL, 0);
}

static void one_after_the_other(struct client *c)
{
    if (c->program != NULL)
        add_match(c, "type='signal',interface='org.freedesktop.DBus',member='NameOwnerChanged'");
    for (int i = 0; i < c->count; i++) {
        const char *name = name_of(c, i % c->names);
        uint64_t start = now_ns(), end;
        if (c->program != NULL) {
            spawn(c, name);
            end = await_signal(c, "NameOwnerChanged", name);
        } else {
            if (ask(c, start_message(name), DBUS_TYPE_UINT32) != 1)
                give_up(name, "ran already");
            end = now_ns();
        }
        printf("%llu\n", (unsigned long long)(end - start));
        end_service(c, name);
        if (c->program != NULL) /* the signal of its end */
            await_signal(c, "NameOwnerChanged", name);
        usleep((useconds_t)c->pause);
    }
}

/* names is the window here. */
static void burst(struct client *c)
{
    DBusPendingCall **calls = calloc((size_t)c->count, sizeof *calls);
    uint64_t start = now_ns();
    int sent = 0;

    if (calls == NULL)
        give_up("memory", NULL);
    for (int done = 0; done < c->count; done++) {
        for (; sent < c->count && sent < done + c->names; sent++) {
            DBusMessage *m = start_message(name_of(c, c->first + sent));
            if (!dbus_connection_send_with_reply(c->bus, m, &calls[sent], 120000))
                give_up("memory", NULL);
            dbus_message_unref(m);
        }
        dbus_pending_call_block(calls[done]);
        DBusMessage *reply = dbus_pending_call_steal_reply(calls[done]);
        if (dbus_message_get_type(reply) == DBUS_MESSAGE_TYPE_ERROR)
            give_up(name_of(c, c->first + done), dbus_message_get_error_name(reply));
        dbus_message_unref(reply);
        dbus_pending_call_unref(calls[done]);
    }
    printf("%llu\n", (unsigned long long)(now_ns() - start));
    free(calls);
}

static void spawn_burst(struct client *c)
{
    add_match(c, "type='signal',interface='org.freedesktop.DBus',member='NameOwnerChanged'");
    uint64_t start = now_ns();

    for (int i = 0; i < c->count; i++)
        spawn(c, name_of(c, c->first + i));
    for (int seen = 0; seen < c->count;) {
        DBusMessage *m;
        while ((m = dbus_connection_pop_message(c->bus)) != NULL) {
            const char *first = NULL;
            if (dbus_message_is_signal(m, DBUS_INTERFACE_DBUS, "NameOwnerChanged") &&
                dbus_message_get_args(m, NULL, DBUS_TYPE_STRING, &first, DBUS_TYPE_INVALID) &&
                strncmp(first, c->prefix, strlen(c->prefix)) == 0)
                seen++;
            dbus_message_unref(m);
        }
        if (seen < c->count && !dbus_connection_read_write(c->bus, 60000))
            give_up("bus", "gone");
    }
    printf("%llu\n", (unsigned long long)(now_ns() - start));
}

/* Two numbers a line: until ServiceExited, until NameOwnerChanged. */
static void death(struct client *c)
{
    DBusConnection *main_bus = c->bus;
    struct client second = *c;

    add_match(c, "type='signal',interface='org.dbusactivator.Activator1',"
                 "member='ServiceExited'");
    join(&second, c->address);
    add_match(&second, "type='signal',interface='org.freedesktop.DBus',"
                       "member='NameOwnerChanged'");
    for (int i = 0; i < c->count; i++) {
        const char *name = name_of(c, i % c->names);
        c->bus = main_bus;
        ask(c, start_message(name), DBUS_TYPE_UINT32);
        pid_t pid = (pid_t)ask(c, bus_call("GetConnectionUnixProcessID", name), DBUS_TYPE_UINT32);
        await_signal(&second, "NameOwnerChanged", name);
        usleep((useconds_t)c->pause);
        uint64_t start = now_ns();
        kill(pid, SIGKILL);
        /* In turn: a process waits for one of the two. */
        if (i % 2 == 0) {
            printf("exit %llu\n",
                   (unsigned long long)(await_signal(c, "ServiceExited", name) - start));
            await_signal(&second, "NameOwnerChanged", name);
        } else {
            printf("name %llu\n",
                   (unsigned long long)(await_signal(&second, "NameOwnerChanged", name) - start));
            await_signal(c, "ServiceExited", name);
        }
        usleep((useconds_t)c->pause);
    }
}

static void reap_service(struct client *c, const char *name, int count)
{
    ask(c, start_message(name), DBUS_TYPE_UINT32);
    pid_t pid = (pid_t)ask(c, bus_call("GetConnectionUnixProcessID", name), DBUS_TYPE_UINT32);
    pid_t parent = parent_of(pid);

    printf("%llu\n", (unsigned long long)end_orphans(parent, pid, count));
}

int main(int argc, char **argv)
{
    struct client c = {0};
    const char *mode = argc > 1 ? argv[1] : "";

    if (strcmp(mode, "bare-reap") == 0 && argc == 3) {
        printf("%llu\n", (unsigned long long)bare_reap(atoi(argv[2])));
        return 0;
    }
    if (argc < 5)
        give_up("usage", "see the head of client.c");
    join(&c, argv[2]);
    setenv("DBUS_STARTER_ADDRESS", argv[2], 1);
    if (strcmp(mode, "reap") == 0) {
        reap_service(&c, argv[3], atoi(argv[4]));
        return 0;
    }
    if (argc < 7)
        give_up("usage", "see the head of client.c");
    c.prefix = argv[3];
    c.names = c.first = atoi(argv[4]);
    c.count = atoi(argv[5]);
    c.pause = atoi(argv[6]);
    c.program = argc > 7 ? argv[7] : NULL;
    if (strcmp(mode, "start") == 0 || strcmp(mode, "spawn") == 0)
        one_after_the_other(&c);
    else if (strcmp(mode, "death") == 0)
        death(&c);
    else {
        c.names = c.pause; /* the window */
        if (strcmp(mode, "burst") == 0)
            burst(&c);
        else if (strcmp(mode, "spawn-burst") == 0)
            spawn_burst(&c);
        else
            give_up(mode, "unknown");
    }
    return 0;
}
