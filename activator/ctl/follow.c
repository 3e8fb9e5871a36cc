/* SPDX-License-Identifier: MIT */
#include "ctl/follow.h"

#include "ctl/bus.h"
#include "ctl/output.h"
#include "ctl/value.h"

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define MATCH_NAME                                                                                 \
    "type='signal',sender='" DBUS_SERVICE_DBUS "',interface='" DBUS_INTERFACE_DBUS                 \
    "',member='NameOwnerChanged',arg0='" ACTIVATOR_NAME "'"
#define MATCH_EVENTS                                                                               \
    "type='signal',sender='" ACTIVATOR_NAME "',interface='" ACTIVATOR_INTERFACE                    \
    "',path='" ACTIVATOR_PATH "'"

static int open_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int add_match(struct ctl *ctl, const char *rule)
{
    DBusMessage *call = bus_driver_call("AddMatch");
    g_autoptr(DBusMessage) reply = NULL;

    bus_append_string(call, rule);
    return bus_call_report(ctl, call, NULL, NULL, &reply);
}

int follow_begin(struct follow *follow, struct ctl *ctl, bool with_signals)
{
    int code;

    *follow = (struct follow){.ctl = ctl, .signals = -1};
    code = add_match(ctl, MATCH_NAME);
    if (code == CTL_DONE && with_signals)
        code = add_match(ctl, MATCH_EVENTS);
    if (code != CTL_DONE)
        return code;
    follow->owner = bus_activator_owner(ctl);
    if (!follow->owner) {
        DBusError error = DBUS_ERROR_INIT;

        dbus_set_error_const(&error, DBUS_ERROR_NAME_HAS_NO_OWNER, "");
        code = bus_report(ctl, &error);
        dbus_error_free(&error);
        return code;
    }
    follow->signals = open_signals();
    return CTL_DONE;
}

void follow_end(struct follow *follow)
{
    if (follow->signals >= 0)
        close(follow->signals);
    g_clear_pointer(&follow->owner, g_free);
}

static enum follow_event finish(struct follow *follow, int code)
{
    follow->code = code;
    return FOLLOW_END;
}

/* True when the message says that the followed activator has left its name. */
static bool says_gone(const struct follow *follow, DBusMessage *message)
{
    const char *name;
    const char *old_owner;
    const char *new_owner;

    if (!dbus_message_is_signal(message, DBUS_INTERFACE_DBUS, "NameOwnerChanged") ||
        !dbus_message_has_sender(message, DBUS_SERVICE_DBUS) ||
        !dbus_message_get_args(message, NULL, DBUS_TYPE_STRING, &name, DBUS_TYPE_STRING, &old_owner,
                               DBUS_TYPE_STRING, &new_owner, DBUS_TYPE_INVALID))
        return false;
    return strcmp(name, ACTIVATOR_NAME) == 0 && strcmp(new_owner, follow->owner) != 0;
}

/* Takes what has arrived already. Returns FOLLOW_OTHER when there is nothing. */
static enum follow_event take_message(struct follow *follow, DBusMessage **message)
{
    DBusConnection *bus = follow->ctl->bus;
    DBusMessage *next;

    while ((next = dbus_connection_pop_message(bus)) != NULL) {
        if (dbus_message_is_signal(next, DBUS_INTERFACE_LOCAL, "Disconnected")) {
            dbus_message_unref(next);
            ctl_complain("the bus (%s) is gone", bus_title(follow->ctl));
            return finish(follow, CTL_NO_ACTIVATOR);
        }
        if (says_gone(follow, next)) {
            dbus_message_unref(next);
            ctl_complain("the activator has left the bus (%s)", bus_title(follow->ctl));
            return finish(follow, CTL_NO_ACTIVATOR);
        }
        /* Anybody can send a signal to us alone: only the activator's own count. */
        if (dbus_message_get_type(next) == DBUS_MESSAGE_TYPE_SIGNAL &&
            dbus_message_has_interface(next, ACTIVATOR_INTERFACE) &&
            dbus_message_has_sender(next, follow->owner)) {
            *message = next;
            return FOLLOW_MESSAGE;
        }
        dbus_message_unref(next);
    }
    return FOLLOW_OTHER;
}

enum follow_event follow_wait(struct follow *follow, int other, int timeout, DBusMessage **message)
{
    struct pollfd fds[4] = {
        {.fd = -1, .events = POLLIN},
        {.fd = follow->signals, .events = POLLIN},
        {.fd = STDOUT_FILENO, .events = 0},
        {.fd = other, .events = POLLIN},
    };

    for (;;) {
        enum follow_event event;
        int ready;

        dbus_connection_read_write(follow->ctl->bus, 0);
        event = take_message(follow, message);
        if (event != FOLLOW_OTHER)
            return event;
        if (!dbus_connection_get_unix_fd(follow->ctl->bus, &fds[0].fd))
            fds[0].fd = -1;
        ready = poll(fds, G_N_ELEMENTS(fds), timeout);
        if (ready == 0)
            return FOLLOW_OTHER;
        if (ready < 0)
            continue;
        /* No reader is left: the next write would only raise SIGPIPE. */
        if (fds[1].revents || fds[2].revents & (POLLERR | POLLNVAL))
            return finish(follow, CTL_DONE);
        if (fds[3].revents)
            return FOLLOW_OTHER;
    }
}
