/* SPDX-License-Identifier: MIT */
/* The connection to the bus and calls to the activator on it. */
#pragma once

#include "ctl/ctl.h"

#define ACTIVATOR_NAME      "org.dbusactivator.Activator1"
#define ACTIVATOR_INTERFACE "org.dbusactivator.Activator1"
#define ACTIVATOR_PATH      "/org/dbusactivator/Activator1"

#define ERROR_NO_SUCH_SERVICE "org.dbusactivator.Error.NoSuchService"
#define ERROR_NOT_RUNNING     "org.dbusactivator.Error.NotRunning"
#define ERROR_STILL_RUNNING   "org.dbusactivator.Error.StillRunning"

/* Connects to the bus that the options ask for: without one the session bus if
 * DBUS_SESSION_BUS_ADDRESS is set, else the system bus. Returns CTL_DONE, or after a message
 * CTL_NO_ACTIVATOR. */
int bus_open(struct ctl *ctl);
void bus_close(struct ctl *ctl);
/* The process of the bus that is open; 0 when it does not say. */
dbus_uint32_t bus_daemon_pid(struct ctl *ctl);
/* The same of the bus that the options ask for: it is opened and closed again, and one that cannot
 * be reached is 0 without a word. */
dbus_uint32_t bus_peek_daemon_pid(struct ctl *ctl);
/* "session", "system" or the address: for messages. */
const char *bus_title(const struct ctl *ctl);

/* A method call to the activator. It never starts an activator. */
DBusMessage *bus_activator_call(const char *method);
/* A method call to the bus itself. */
DBusMessage *bus_driver_call(const char *method);
/* Appends a string; false (and nothing appended) when it is not UTF-8. */
bool bus_append_string(DBusMessage *call, const char *text);

/* Sends the call (whose reference it takes) and waits as long as it takes for the answer. On a
 * terminal `progress` (may be NULL) and the seconds gone by are shown from the first second on.
 * Returns the reply or NULL with *error set. */
DBusMessage *bus_call(struct ctl *ctl, DBusMessage *call, const char *progress, DBusError *error);

/* As bus_call(), and reports what went wrong. signature (may be NULL) is what the answer must
 * have. Returns CTL_DONE and the reply, or the exit code that the error stands for. */
int bus_call_report(struct ctl *ctl, DBusMessage *call, const char *progress, const char *signature,
                    DBusMessage **reply);

/* Says on stderr what the error of a call to the activator means; returns its exit code. */
int bus_report(const struct ctl *ctl, const DBusError *error);

/* The unique name of the activator, newly allocated, or NULL when nobody owns its name. */
char *bus_activator_owner(struct ctl *ctl);
