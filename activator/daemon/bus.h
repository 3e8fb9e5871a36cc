/* SPDX-License-Identifier: MIT */
/* The connection to the bus in the daemon's main loop: libdbus driven by GLib sources, and
 * calls whose answers arrive as callbacks. After start-up nothing here waits. */
#pragma once

#include <dbus/dbus.h>
#include <glib.h>

#define DBUS_NAME_OF_BUS "org.freedesktop.DBus"

struct bus {
    DBusConnection *connection;
    GSource *dispatch; /* one idle source while libdbus has messages to hand out */
    GHashTable *calls; /* struct bus_call * outstanding, owned */
    void (*lost)(void *data);
    void *data;
    gboolean is_lost;
    guint starved;     /* times in a row that there was no memory */
    gboolean in_watch; /* messages are being handed out already */
};

/* Connects to address (blocking; start-up only) and registers with the bus. lost is called once,
 * from the main loop, when the connection goes. Returns NULL with error set. */
struct bus *bus_new(const char *address, void (*lost)(void *data), void *data, GError **error);

/* Ends all outstanding calls (their callbacks get a NULL reply), closes the connection. Accepts
 * NULL. */
void bus_free(struct bus *b);

/* What an answer is given to: reply is the method return or error message, or NULL when the
 * connection went first. Borrowed. */
typedef void (*bus_reply)(DBusMessage *reply, void *data);

/* Sends a call and returns at once. `done` is called exactly once unless it is NULL (then no
 * reply is asked for). The arguments are as of dbus_message_append_args(). */
void bus_call(struct bus *b, const char *destination, const char *path, const char *interface,
              const char *member, bus_reply done, void *data, int first_type, ...);

/* The same to the bus itself. */
void bus_call_driver(struct bus *b, const char *member, bus_reply done, void *data, int first_type,
                     ...);

/* A blocking call to the bus driver, for start-up alone. Returns the reply (owned) or NULL with
 * error set. */
DBusMessage *bus_ask(struct bus *b, const char *member, GError **error, int first_type, ...);

/* Queues a message and drops the reference. Out of memory ends the program as GLib does. */
void bus_send(struct bus *b, DBusMessage *message);

/* Answers a call with an error. Nothing is sent when the caller wants no reply. */
void bus_send_error(struct bus *b, DBusMessage *call, const char *name, const char *text);

/* The text as D-Bus wants a string: valid UTF-8; g_free(). */
char *bus_text(const char *text);

/* The string or unsigned number a reply carries; NULL / 0 when it is an error or no reply. */
const char *bus_reply_string(DBusMessage *reply);
dbus_uint32_t bus_reply_uint(DBusMessage *reply);
/* True when the reply is an error of this name. */
gboolean bus_reply_is_error(DBusMessage *reply, const char *name);
