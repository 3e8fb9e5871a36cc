/* SPDX-License-Identifier: MIT */
#include "daemon/bus.h"

#include "daemon/fd-watch.h"

#include <glib-unix.h>
#include <stdarg.h>
#include <string.h>
#include <sys/epoll.h>

struct bus_call {
    struct bus *bus;
    DBusPendingCall *pending;
    bus_reply done;
    void *data;
};

/* Messages handed out in the turn of the loop that read them; others get their turn after so
 * many. */
#define DISPATCH_TURN 32
/* When there is no memory: how long until the next attempt, and how many of them. */
#define STARVED_MS  50
#define STARVED_MAX 20

static void dispatch_status(DBusConnection *connection, DBusDispatchStatus status, void *data);

/* --- watches -------------------------------------------------------------------------- */

/* libdbus has two watches for its descriptor: one for reading and one, enabled while something is
 * to be sent that the socket had no room for, for writing. */
struct watch {
    struct bus *bus;
    DBusWatch *watch;
    struct fd_watch *in;
    GSource *pause; /* instead of in, when there was no memory */
    GSource *out;
};

/* libdbus would have it tried again and again without a pause. When there is none for long, it is
 * as with GLib: this is the end, and the next activator takes over. */
static void need_memory(struct bus *b)
{
    if (++b->starved > STARVED_MAX)
        g_error("out of memory for messages of the bus");
}

static void on_readable(int fd, uint32_t events, void *data);

static gboolean on_read_again(gpointer data)
{
    struct watch *w = data;

    g_clear_pointer(&w->pause, g_source_unref);
    w->in = fd_watch_new(dbus_watch_get_unix_fd(w->watch), on_readable, w);
    return G_SOURCE_REMOVE;
}

/* libdbus keeps a watch for which it had no memory. */
static void pause_reading(struct watch *w)
{
    need_memory(w->bus);
    g_clear_pointer(&w->in, fd_watch_free);
    w->pause = g_timeout_source_new(STARVED_MS);
    g_source_set_callback(w->pause, on_read_again, w, NULL);
    g_source_attach(w->pause, NULL);
}

static void on_readable(int fd, uint32_t events, void *data)
{
    struct watch *w = data;
    struct bus *b = w->bus;
    unsigned flags = 0;

    (void)fd;
    if (events & EPOLLIN)
        flags |= DBUS_WATCH_READABLE;
    if (events & EPOLLHUP)
        flags |= DBUS_WATCH_HANGUP;
    if (events & EPOLLERR)
        flags |= DBUS_WATCH_ERROR;
    b->in_watch = TRUE;
    if (dbus_watch_handle(w->watch, flags))
        b->starved = 0;
    else
        pause_reading(w);
    /* What has arrived is handed out at once: an idle source would cost one more turn of the
     * loop before every start. The watch may be gone now, the bus is not. */
    for (int n = 0; n < DISPATCH_TURN; n++) {
        if (dbus_connection_dispatch(b->connection) != DBUS_DISPATCH_DATA_REMAINS)
            break;
    }
    b->in_watch = FALSE;
    dispatch_status(b->connection, dbus_connection_get_dispatch_status(b->connection), b);
}

static gboolean on_writable(gint fd, GIOCondition condition, gpointer data)
{
    struct watch *w = data;
    unsigned flags = 0;

    (void)fd;
    if (condition & G_IO_OUT)
        flags |= DBUS_WATCH_WRITABLE;
    if (condition & G_IO_HUP)
        flags |= DBUS_WATCH_HANGUP;
    if (condition & (G_IO_ERR | G_IO_NVAL))
        flags |= DBUS_WATCH_ERROR;
    if (!dbus_watch_handle(w->watch, flags))
        need_memory(w->bus);
    return G_SOURCE_CONTINUE;
}

static void watch_stop(DBusWatch *watch)
{
    struct watch *w = dbus_watch_get_data(watch);

    if (!w)
        return;
    dbus_watch_set_data(watch, NULL, NULL);
    fd_watch_free(w->in);
    if (w->pause) {
        g_source_destroy(w->pause);
        g_source_unref(w->pause);
    }
    if (w->out) {
        g_source_destroy(w->out);
        g_source_unref(w->out);
    }
    g_free(w);
}

static dbus_bool_t watch_add(DBusWatch *watch, void *data)
{
    int fd = dbus_watch_get_unix_fd(watch);

    if (!dbus_watch_get_enabled(watch))
        return TRUE;
    struct watch *w = g_new0(struct watch, 1);
    w->bus = data;
    w->watch = watch;
    if (dbus_watch_get_flags(watch) & DBUS_WATCH_READABLE)
        w->in = fd_watch_new(fd, on_readable, w);
    if (dbus_watch_get_flags(watch) & DBUS_WATCH_WRITABLE) {
        w->out = g_unix_fd_source_new(fd, G_IO_OUT | G_IO_HUP | G_IO_ERR);
        g_source_set_callback(w->out, G_SOURCE_FUNC(on_writable), w, NULL);
        g_source_attach(w->out, NULL);
    }
    dbus_watch_set_data(watch, w, NULL);
    return TRUE;
}

static void watch_remove(DBusWatch *watch, void *data)
{
    (void)data;
    watch_stop(watch);
}

static void watch_toggled(DBusWatch *watch, void *data)
{
    watch_stop(watch);
    watch_add(watch, data);
}

static gboolean on_timeout(gpointer data)
{
    dbus_timeout_handle(data);
    return G_SOURCE_CONTINUE;
}

static void timeout_remove(DBusTimeout *timeout, void *data)
{
    GSource *source = dbus_timeout_get_data(timeout);

    (void)data;
    if (!source)
        return;
    dbus_timeout_set_data(timeout, NULL, NULL);
    g_source_destroy(source);
    g_source_unref(source);
}

static dbus_bool_t timeout_add(DBusTimeout *timeout, void *data)
{
    (void)data;
    if (!dbus_timeout_get_enabled(timeout))
        return TRUE;
    GSource *source = g_timeout_source_new((guint)dbus_timeout_get_interval(timeout));
    g_source_set_callback(source, on_timeout, timeout, NULL);
    g_source_attach(source, NULL);
    dbus_timeout_set_data(timeout, source, NULL);
    return TRUE;
}

static void timeout_toggled(DBusTimeout *timeout, void *data)
{
    timeout_remove(timeout, data);
    timeout_add(timeout, data);
}

/* --- dispatching ------------------------------------------------------------------------ */

static gboolean on_dispatch(gpointer data)
{
    struct bus *b = data;

    /* Nobody frees the bus from within a handler: what must (its loss) does so from an idle
     * source of its own. */
    if (dbus_connection_dispatch(b->connection) == DBUS_DISPATCH_DATA_REMAINS)
        return G_SOURCE_CONTINUE;
    /* The status may have changed under the handlers, which then found a source still set. */
    if (dbus_connection_get_dispatch_status(b->connection) == DBUS_DISPATCH_DATA_REMAINS)
        return G_SOURCE_CONTINUE;
    g_clear_pointer(&b->dispatch, g_source_unref);
    dispatch_status(b->connection, dbus_connection_get_dispatch_status(b->connection), b);
    return G_SOURCE_REMOVE;
}

static void dispatch_status(DBusConnection *connection, DBusDispatchStatus status, void *data)
{
    struct bus *b = data;

    (void)connection;
    if (status == DBUS_DISPATCH_COMPLETE || b->dispatch || b->in_watch)
        return;
    if (status == DBUS_DISPATCH_NEED_MEMORY) {
        need_memory(b);
        b->dispatch = g_timeout_source_new(STARVED_MS);
    } else {
        b->dispatch = g_idle_source_new();
    }
    g_source_set_priority(b->dispatch, G_PRIORITY_DEFAULT);
    g_source_set_callback(b->dispatch, on_dispatch, b, NULL);
    g_source_attach(b->dispatch, NULL);
}

static DBusHandlerResult on_message(DBusConnection *connection, DBusMessage *message, void *data)
{
    struct bus *b = data;

    (void)connection;
    if (!dbus_message_is_signal(message, DBUS_INTERFACE_LOCAL, "Disconnected"))
        return DBUS_HANDLER_RESULT_NOT_YET_HANDLED;
    if (!b->is_lost) {
        b->is_lost = TRUE;
        b->lost(b->data);
    }
    return DBUS_HANDLER_RESULT_HANDLED;
}

/* --- life ------------------------------------------------------------------------------- */

static void call_free(gpointer data)
{
    struct bus_call *call = data;

    if (call->pending) {
        dbus_pending_call_cancel(call->pending);
        dbus_pending_call_unref(call->pending);
    }
    g_free(call);
}

static gboolean from_dbus_error(DBusError *problem, GError **error)
{
    gboolean none = dbus_error_has_name(problem, DBUS_ERROR_NO_SERVER) ||
                    dbus_error_has_name(problem, DBUS_ERROR_FILE_NOT_FOUND);

    g_set_error(error, G_FILE_ERROR, none ? G_FILE_ERROR_NOENT : G_FILE_ERROR_FAILED, "%s",
                problem->message ? problem->message : "unknown error");
    dbus_error_free(problem);
    return FALSE;
}

struct bus *bus_new(const char *address, void (*lost)(void *data), void *data, GError **error)
{
    DBusError problem = DBUS_ERROR_INIT;
    DBusConnection *connection = dbus_connection_open_private(address, &problem);

    if (!connection) {
        from_dbus_error(&problem, error);
        return NULL;
    }
    dbus_connection_set_exit_on_disconnect(connection, FALSE);
    if (!dbus_bus_register(connection, &problem)) {
        from_dbus_error(&problem, error);
        dbus_connection_close(connection);
        dbus_connection_unref(connection);
        return NULL;
    }
    struct bus *b = g_new0(struct bus, 1);
    b->connection = connection;
    b->calls = g_hash_table_new_full(NULL, NULL, call_free, NULL);
    b->lost = lost;
    b->data = data;
    dbus_connection_set_watch_functions(connection, watch_add, watch_remove, watch_toggled, b,
                                        NULL);
    dbus_connection_set_timeout_functions(connection, timeout_add, timeout_remove, timeout_toggled,
                                          b, NULL);
    dbus_connection_set_dispatch_status_function(connection, dispatch_status, b, NULL);
    dbus_connection_add_filter(connection, on_message, b, NULL);
    dispatch_status(connection, dbus_connection_get_dispatch_status(connection), b);
    return b;
}

void bus_free(struct bus *b)
{
    GHashTableIter iter;
    gpointer key = NULL;

    if (!b)
        return;
    /* A callback may make a call of its own; the connection still takes it, and it ends here
     * in the next turn. */
    for (int turn = 0; turn < 8 && g_hash_table_size(b->calls) > 0; turn++) {
        GHashTable *calls = b->calls;
        b->calls = g_hash_table_new_full(NULL, NULL, call_free, NULL);
        g_hash_table_iter_init(&iter, calls);
        while (g_hash_table_iter_next(&iter, &key, NULL)) {
            struct bus_call *call = key;
            if (call->done)
                call->done(NULL, call->data);
        }
        g_hash_table_destroy(calls);
    }
    g_hash_table_destroy(b->calls);
    dbus_connection_remove_filter(b->connection, on_message, b);
    dbus_connection_set_dispatch_status_function(b->connection, NULL, NULL, NULL);
    dbus_connection_set_watch_functions(b->connection, NULL, NULL, NULL, NULL, NULL);
    dbus_connection_set_timeout_functions(b->connection, NULL, NULL, NULL, NULL, NULL);
    if (b->dispatch) {
        g_source_destroy(b->dispatch);
        g_source_unref(b->dispatch);
    }
    dbus_connection_close(b->connection);
    dbus_connection_unref(b->connection);
    g_free(b);
}

/* --- calls ------------------------------------------------------------------------------ */

static void on_reply(DBusPendingCall *pending, void *data)
{
    struct bus_call *call = data;
    struct bus *b = call->bus;
    DBusMessage *reply = dbus_pending_call_steal_reply(pending);
    bus_reply done = call->done;
    void *user = call->data;

    g_hash_table_remove(b->calls, call);
    done(reply, user);
    if (reply)
        dbus_message_unref(reply);
}

static void start_call(struct bus *b, DBusMessage *message, bus_reply done, void *data)
{
    DBusPendingCall *pending = NULL;

    if (!done) {
        dbus_message_set_no_reply(message, TRUE);
        bus_send(b, message);
        return;
    }
    if (!dbus_connection_send_with_reply(b->connection, message, &pending, DBUS_TIMEOUT_INFINITE))
        g_error("out of memory");
    dbus_message_unref(message);
    if (!pending) {
        done(NULL, data);
        return;
    }
    struct bus_call *call = g_new0(struct bus_call, 1);
    call->bus = b;
    call->pending = pending;
    call->done = done;
    call->data = data;
    g_hash_table_add(b->calls, call);
    if (!dbus_pending_call_set_notify(pending, on_reply, call, NULL))
        g_error("out of memory");
}

static DBusMessage *new_call(const char *destination, const char *path, const char *interface,
                             const char *member, int first_type, va_list list)
{
    DBusMessage *message = dbus_message_new_method_call(destination, path, interface, member);

    if (!message || !dbus_message_append_args_valist(message, first_type, list))
        g_error("out of memory");
    dbus_message_set_auto_start(message, FALSE);
    return message;
}

void bus_call(struct bus *b, const char *destination, const char *path, const char *interface,
              const char *member, bus_reply done, void *data, int first_type, ...)
{
    va_list list;

    va_start(list, first_type);
    DBusMessage *message = new_call(destination, path, interface, member, first_type, list);
    va_end(list);
    start_call(b, message, done, data);
}

void bus_call_driver(struct bus *b, const char *member, bus_reply done, void *data, int first_type,
                     ...)
{
    va_list list;

    va_start(list, first_type);
    DBusMessage *message =
        new_call(DBUS_NAME_OF_BUS, DBUS_PATH_DBUS, DBUS_INTERFACE_DBUS, member, first_type, list);
    va_end(list);
    start_call(b, message, done, data);
}

DBusMessage *bus_ask(struct bus *b, const char *member, GError **error, int first_type, ...)
{
    DBusError problem = DBUS_ERROR_INIT;
    va_list list;

    va_start(list, first_type);
    DBusMessage *message =
        new_call(DBUS_NAME_OF_BUS, DBUS_PATH_DBUS, DBUS_INTERFACE_DBUS, member, first_type, list);
    va_end(list);
    DBusMessage *reply =
        dbus_connection_send_with_reply_and_block(b->connection, message, 30000, &problem);
    dbus_message_unref(message);
    if (!reply)
        from_dbus_error(&problem, error);
    return reply;
}

void bus_send(struct bus *b, DBusMessage *message)
{
    if (!dbus_connection_send(b->connection, message, NULL))
        g_error("out of memory");
    dbus_message_unref(message);
}

char *bus_text(const char *text)
{
    char *valid = g_utf8_make_valid(text ? text : "", -1);

    return valid;
}

void bus_send_error(struct bus *b, DBusMessage *call, const char *name, const char *text)
{
    if (dbus_message_get_no_reply(call))
        return;
    char *valid = bus_text(text);
    DBusMessage *reply = dbus_message_new_error(call, name, valid);
    g_free(valid);
    if (!reply)
        g_error("out of memory");
    bus_send(b, reply);
}

const char *bus_reply_string(DBusMessage *reply)
{
    const char *text = NULL;

    if (!reply || dbus_message_get_type(reply) != DBUS_MESSAGE_TYPE_METHOD_RETURN ||
        !dbus_message_get_args(reply, NULL, DBUS_TYPE_STRING, &text, DBUS_TYPE_INVALID))
        return NULL;
    return text;
}

dbus_uint32_t bus_reply_uint(DBusMessage *reply)
{
    dbus_uint32_t number = 0;

    if (!reply || dbus_message_get_type(reply) != DBUS_MESSAGE_TYPE_METHOD_RETURN ||
        !dbus_message_get_args(reply, NULL, DBUS_TYPE_UINT32, &number, DBUS_TYPE_INVALID))
        return 0;
    return number;
}

gboolean bus_reply_is_error(DBusMessage *reply, const char *name)
{
    return reply && dbus_message_is_error(reply, name);
}
