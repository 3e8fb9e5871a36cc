/* SPDX-License-Identifier: MIT */
/*
 * A service that does what its arguments say, one action after the other:
 *
 *   name NAME          own it (exits 4 when somebody else does), answer methods at the end
 *   try NAME           the same, but exits 0 when somebody else does: it hands over
 *   await FILE         go on when the file exists
 *   touch FILE         create it
 *   delay MS           sleep
 *   context FILE       write context_json() there, in one step
 *   pid FILE           append the own pid as a line
 *   stdout TEXT, stderr TEXT, stderr-lines BYTES, stderr-line BYTES, stderr-binary BYTES
 *   reopen TEXT        write the text through /dev/stderr
 *   daemonize          double fork with a session of its own in between; parents exit 0
 *   fork-exit STATUS   fork; the parent exits with the status, the child goes on
 *   child              fork; the child goes on, the parent stays and waits for signals
 *   children N         N children that do nothing
 *   orphans N          N processes in sessions of their own that have lost their parents
 *   clear-env          an empty environment, in /proc/PID/environ too
 *   ignore SIGNAL, block SIGNAL
 *   setsid
 *   exec PROGRAM       execute it without arguments
 *   exit STATUS, kill SIGNAL
 *   release            give all names back, drop the connection, go on
 *   linger             do nothing for ever
 *
 * After the last action: methods are answered when there is a name, else it ends with 0.
 * Methods of org.dbusactivator.Test at any path: Ping -> u pid, Exit(i), Kill(i), Release(),
 * Environment -> as (bytes beyond ASCII as \xNN), Context -> s, Write(s), Fork(i) -> u: a child
 * that exits with the status after the answer was sent (256: does not end).
 */
#include "context.h"
#include "write.h"

#include <dbus/dbus.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct state {
    int argc;
    char **argv;
    DBusConnection *bus;
    const char *names[16];
    int n_names;
    char address[4096]; /* kept: the environment may be emptied first */
};

static _Noreturn void die(int status, const char *what, const char *detail)
{
    fprintf(stderr, "test-service: %s: %s\n", what, detail);
    _exit(status);
}

static _Noreturn void linger(void)
{
    for (;;)
        pause();
}

/* Not raise(): it has to end the process whatever disposition it was started with, and it may
 * not leave a core file. */
static _Noreturn void end_by_signal(int number)
{
    struct rlimit none = {0, 0};
    sigset_t set;

    setrlimit(RLIMIT_CORE, &none);
    signal(number, SIG_DFL);
    sigemptyset(&set);
    sigaddset(&set, number);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    kill(getpid(), number);
    /* One that stops or is ignored by default. */
    linger();
}

static pid_t must_fork(void)
{
    pid_t pid = fork();

    if (pid < 0)
        die(71, "fork", strerror(errno));
    return pid;
}

static void daemonize(void)
{
    if (must_fork() > 0)
        _exit(0);
    setsid();
    if (must_fork() > 0)
        _exit(0);
}

static void make_children(int count)
{
    for (int i = 0; i < count; i++) {
        if (must_fork() == 0)
            linger();
    }
}

/* One process forks them all and exits: each is an orphan at once. */
static void make_orphans(int count)
{
    pid_t maker = must_fork();

    if (maker == 0) {
        for (int i = 0; i < count; i++) {
            if (must_fork() == 0) {
                setsid();
                linger();
            }
        }
        _exit(0);
    }
    while (waitpid(maker, NULL, 0) < 0 && errno == EINTR)
        ;
}

/* What /proc/PID/environ shows is the memory of the start, not the variable. */
static void clear_environment(void)
{
    for (char **e = environ; *e != NULL; e++)
        memset(*e, 0, strlen(*e));
    clearenv();
}

static void write_file(const char *path, const char *text, int flags)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0600);

    if (fd < 0)
        die(72, path, strerror(errno));
    write_all(fd, text, strlen(text));
    close(fd);
}

static void write_context(const struct state *s, const char *path)
{
    char *text = context_json(s->argc, s->argv);
    char new[4096];

    if (text == NULL || snprintf(new, sizeof new, "%s.new", path) >= (int)sizeof new)
        die(72, path, "no context");
    write_file(new, text, O_TRUNC);
    if (rename(new, path) < 0)
        die(72, path, strerror(errno));
    free(text);
}

static void own(struct state *s, const char *name, int status_when_owned)
{
    DBusError error = DBUS_ERROR_INIT;

    if (s->bus == NULL) {
        s->bus = dbus_connection_open_private(s->address, &error);
        if (s->bus == NULL || !dbus_bus_register(s->bus, &error))
            die(73, "bus", error.message);
        dbus_connection_set_exit_on_disconnect(s->bus, TRUE);
    }
    int got = dbus_bus_request_name(s->bus, name, DBUS_NAME_FLAG_DO_NOT_QUEUE, &error);
    if (dbus_error_is_set(&error))
        die(73, name, error.message);
    if (got != DBUS_REQUEST_NAME_REPLY_PRIMARY_OWNER &&
        got != DBUS_REQUEST_NAME_REPLY_ALREADY_OWNER)
        die(status_when_owned, name, "owned by somebody else");
    if (s->n_names < 16)
        s->names[s->n_names++] = name;
}

static void release(struct state *s)
{
    for (int i = 0; s->bus != NULL && i < s->n_names; i++)
        dbus_bus_release_name(s->bus, s->names[i], NULL);
    s->n_names = 0;
}

static void drop_bus(struct state *s)
{
    release(s);
    if (s->bus != NULL) {
        dbus_connection_set_exit_on_disconnect(s->bus, FALSE);
        dbus_connection_close(s->bus);
        dbus_connection_unref(s->bus);
        s->bus = NULL;
    }
}

static void await(const char *path)
{
    struct stat st;

    while (stat(path, &st) < 0)
        usleep(3000);
}

static void block_signal(int number)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, number);
    sigprocmask(SIG_BLOCK, &set, NULL);
}

/* Actions without an argument; false: it is none. */
static int act_alone(struct state *s, const char *action)
{
    if (strcmp(action, "daemonize") == 0)
        daemonize();
    else if (strcmp(action, "child") == 0) {
        if (must_fork() > 0)
            linger();
    } else if (strcmp(action, "clear-env") == 0)
        clear_environment();
    else if (strcmp(action, "setsid") == 0)
        setsid();
    else if (strcmp(action, "release") == 0)
        drop_bus(s);
    else if (strcmp(action, "linger") == 0)
        linger();
    else
        return 0;
    return 1;
}

static void act_on_numbers(const char *action, const char *value)
{
    int number = atoi(value);

    if (strcmp(action, "delay") == 0)
        usleep((useconds_t)number * 1000);
    else if (strcmp(action, "stderr-lines") == 0)
        write_lines((size_t)number);
    else if (strcmp(action, "stderr-line") == 0)
        write_one_line((size_t)number);
    else if (strcmp(action, "stderr-binary") == 0)
        write_binary((size_t)number);
    else if (strcmp(action, "children") == 0)
        make_children(number);
    else if (strcmp(action, "orphans") == 0)
        make_orphans(number);
    else if (strcmp(action, "ignore") == 0)
        signal(number, SIG_IGN);
    else if (strcmp(action, "block") == 0)
        block_signal(number);
    else if (strcmp(action, "exit") == 0)
        _exit(number);
    else if (strcmp(action, "kill") == 0)
        end_by_signal(number);
    else if (strcmp(action, "fork-exit") == 0) {
        if (must_fork() > 0)
            _exit(number);
    } else
        die(64, "unknown action", action);
}

static void act(struct state *s, const char *action, const char *value)
{
    if (strcmp(action, "name") == 0)
        own(s, value, 4);
    else if (strcmp(action, "try") == 0)
        own(s, value, 0);
    else if (strcmp(action, "await") == 0)
        await(value);
    else if (strcmp(action, "touch") == 0)
        write_file(value, "", 0);
    else if (strcmp(action, "context") == 0)
        write_context(s, value);
    else if (strcmp(action, "pid") == 0) {
        char line[32];
        snprintf(line, sizeof line, "%d\n", getpid());
        write_file(value, line, O_APPEND);
    } else if (strcmp(action, "stdout") == 0) {
        write_all(STDOUT_FILENO, value, strlen(value));
        write_all(STDOUT_FILENO, "\n", 1);
    } else if (strcmp(action, "stderr") == 0)
        write_text(value);
    else if (strcmp(action, "reopen") == 0) {
        int fd = open("/dev/stderr", O_WRONLY | O_APPEND | O_CLOEXEC);
        if (fd < 0)
            die(74, "/dev/stderr", strerror(errno));
        write_all(fd, value, strlen(value));
        write_all(fd, "\n", 1);
        close(fd);
    } else if (strcmp(action, "exec") == 0) {
        execl(value, value, (char *)NULL);
        die(127, value, strerror(errno));
    } else
        act_on_numbers(action, value);
}

static void reply_environment(DBusMessage *reply)
{
    DBusMessageIter top, array;

    dbus_message_iter_init_append(reply, &top);
    dbus_message_iter_open_container(&top, DBUS_TYPE_ARRAY, "s", &array);
    for (char **e = environ; *e != NULL; e++) {
        char *text = malloc(strlen(*e) * 4 + 1);
        size_t n = 0;
        for (const unsigned char *p = (const unsigned char *)*e; text != NULL && *p != 0; p++) {
            if (*p < 0x80)
                text[n++] = (char)*p;
            else
                n += (size_t)sprintf(text + n, "\\x%02x", *p);
        }
        if (text == NULL)
            _exit(75);
        text[n] = 0;
        dbus_message_iter_append_basic(&array, DBUS_TYPE_STRING, &text);
        free(text);
    }
    dbus_message_iter_close_container(&top, &array);
}

/* Sends the reply before what the caller asked for happens: it is to see the answer. */
static void send_now(DBusConnection *bus, DBusMessage *reply)
{
    dbus_connection_send(bus, reply, NULL);
    dbus_connection_flush(bus);
    dbus_message_unref(reply);
}

static int argument(DBusMessage *m)
{
    dbus_int32_t value = 0;

    dbus_message_get_args(m, NULL, DBUS_TYPE_INT32, &value, DBUS_TYPE_INVALID);
    return value;
}

static void fork_child(DBusConnection *bus, DBusMessage *m, DBusMessage *reply)
{
    int status = argument(m);
    int gate[2];

    if (pipe2(gate, O_CLOEXEC) < 0)
        _exit(71);
    dbus_uint32_t pid = (dbus_uint32_t)must_fork();
    if (pid == 0) {
        char byte;
        close(gate[1]);
        while (read(gate[0], &byte, 1) < 0 && errno == EINTR)
            ;
        if (status == 256)
            linger();
        _exit(status);
    }
    dbus_message_append_args(reply, DBUS_TYPE_UINT32, &pid, DBUS_TYPE_INVALID);
    send_now(bus, reply);
    close(gate[0]);
    close(gate[1]);
    if (status != 256)
        waitpid((pid_t)pid, NULL, 0);
}

static void answer(struct state *s, DBusMessage *m)
{
    const char *member = dbus_message_get_member(m);
    DBusMessage *reply = dbus_message_new_method_return(m);
    dbus_uint32_t pid = (dbus_uint32_t)getpid();

    if (strcmp(member, "Ping") == 0)
        dbus_message_append_args(reply, DBUS_TYPE_UINT32, &pid, DBUS_TYPE_INVALID);
    else if (strcmp(member, "Exit") == 0) {
        send_now(s->bus, reply);
        _exit(argument(m));
    } else if (strcmp(member, "Kill") == 0) {
        send_now(s->bus, reply);
        end_by_signal(argument(m));
    } else if (strcmp(member, "Release") == 0)
        release(s);
    else if (strcmp(member, "Environment") == 0)
        reply_environment(reply);
    else if (strcmp(member, "Context") == 0) {
        char *text = context_json(s->argc, s->argv);
        dbus_message_append_args(reply, DBUS_TYPE_STRING, &text, DBUS_TYPE_INVALID);
        free(text);
    } else if (strcmp(member, "Write") == 0) {
        const char *text = "";
        dbus_message_get_args(m, NULL, DBUS_TYPE_STRING, &text, DBUS_TYPE_INVALID);
        write_text(text);
    } else if (strcmp(member, "Fork") == 0) {
        fork_child(s->bus, m, reply);
        return;
    } else {
        dbus_message_unref(reply);
        reply = dbus_message_new_error(m, DBUS_ERROR_UNKNOWN_METHOD, member);
    }
    send_now(s->bus, reply);
}

/* What came while the name was requested is in the queue already: it is looked at first. */
static void serve(struct state *s)
{
    do {
        for (DBusMessage *m = dbus_connection_pop_message(s->bus); m != NULL;
             m = dbus_connection_pop_message(s->bus)) {
            const char *interface = dbus_message_get_interface(m);
            if (dbus_message_get_type(m) == DBUS_MESSAGE_TYPE_METHOD_CALL && interface != NULL &&
                strcmp(interface, "org.dbusactivator.Test") == 0)
                answer(s, m);
            dbus_message_unref(m);
        }
    } while (dbus_connection_read_write(s->bus, -1));
}

int main(int argc, char **argv)
{
    struct state s = {.argc = argc, .argv = argv};
    const char *address = getenv("DBUS_STARTER_ADDRESS");

    snprintf(s.address, sizeof s.address, "%s", address == NULL ? "" : address);
    for (int i = 1; i < argc; i++) {
        if (act_alone(&s, argv[i]))
            continue;
        if (i + 1 >= argc)
            die(64, "unknown action, or one without its argument", argv[i]);
        act(&s, argv[i], argv[i + 1]);
        i++;
    }
    if (s.bus != NULL)
        serve(&s);
    return 0;
}
