/* SPDX-License-Identifier: MIT */
#include "common/parse/bus-config-grammar.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define IN_BUSCONFIG(name, id, text, attributes)                                                   \
    {                                                                                              \
        name, ELEMENT_BUSCONFIG, id, text, attributes                                              \
    }

static const struct element elements[] = {
    {"busconfig", ELEMENT_OTHER, ELEMENT_BUSCONFIG, false, false},
    IN_BUSCONFIG("include", ELEMENT_INCLUDE, true, true),
    IN_BUSCONFIG("includedir", ELEMENT_INCLUDEDIR, true, false),
    IN_BUSCONFIG("limit", ELEMENT_LIMIT, true, true),
    IN_BUSCONFIG("listen", ELEMENT_LISTEN, true, false),
    IN_BUSCONFIG("servicedir", ELEMENT_SERVICEDIR, true, false),
    IN_BUSCONFIG("servicehelper", ELEMENT_SERVICEHELPER, true, false),
    IN_BUSCONFIG("standard_session_servicedirs", ELEMENT_SESSION_DIRS, false, false),
    IN_BUSCONFIG("standard_system_servicedirs", ELEMENT_SYSTEM_DIRS, false, false),
    IN_BUSCONFIG("type", ELEMENT_TYPE, true, false),
    IN_BUSCONFIG("user", ELEMENT_USER, true, false),
    IN_BUSCONFIG("policy", ELEMENT_POLICY, false, true),
    IN_BUSCONFIG("selinux", ELEMENT_SELINUX, false, false),
    IN_BUSCONFIG("apparmor", ELEMENT_OTHER, false, true),
    IN_BUSCONFIG("auth", ELEMENT_OTHER, true, false),
    IN_BUSCONFIG("pidfile", ELEMENT_OTHER, true, false),
    IN_BUSCONFIG("fork", ELEMENT_OTHER, false, false),
    IN_BUSCONFIG("syslog", ELEMENT_OTHER, false, false),
    IN_BUSCONFIG("keep_umask", ELEMENT_OTHER, false, false),
    IN_BUSCONFIG("allow_anonymous", ELEMENT_OTHER, false, false),
    {"allow", ELEMENT_POLICY, ELEMENT_OTHER, false, true},
    {"deny", ELEMENT_POLICY, ELEMENT_OTHER, false, true},
    {"associate", ELEMENT_SELINUX, ELEMENT_OTHER, false, true},
};

const struct element *element_find(const struct element *parent, const char *name)
{
    /* The other elements are all the same to us, and have no children. */
    if (parent && parent->id == ELEMENT_OTHER)
        return NULL;
    for (size_t i = 0; i < sizeof elements / sizeof *elements; i++) {
        if (elements[i].parent == (parent ? parent->id : ELEMENT_OTHER) &&
            strcmp(elements[i].name, name) == 0)
            return &elements[i];
    }
    return NULL;
}

const char *element_attribute(const char **attributes, const char *name)
{
    for (; *attributes; attributes += 2) {
        if (strcmp(attributes[0], name) == 0)
            return attributes[1];
    }
    return NULL;
}

static const char *check_include(const char **attributes)
{
    static const char *const known[] = {"ignore_missing", "if_selinux_enabled",
                                        "selinux_root_relative"};

    for (; *attributes; attributes += 2) {
        size_t i = 0;

        while (i < sizeof known / sizeof *known && strcmp(attributes[0], known[i]) != 0)
            i++;
        if (i == sizeof known / sizeof *known)
            return "<include> has an unknown attribute";
        if (strcmp(attributes[1], "yes") != 0 && strcmp(attributes[1], "no") != 0)
            return "an attribute of <include> is neither \"yes\" nor \"no\"";
    }
    return NULL;
}

const char *element_check_attributes(const struct element *element, const char **attributes)
{
    if (!element->any_attributes)
        return *attributes ? "an element has an attribute that is not allowed there" : NULL;
    if (element->id == ELEMENT_INCLUDE)
        return check_include(attributes);
    if (element->id == ELEMENT_LIMIT) {
        if (!element_attribute(attributes, "name"))
            return "<limit> has no name";
        if (attributes[2])
            return "<limit> has an unknown attribute";
    }
    return NULL;
}

const char *element_check_limit(const char *name, const char *value, long *number)
{
    /* The first six may be larger than an int. */
    static const char *const known[] = {
        "max_incoming_bytes",         "max_incoming_unix_fds",
        "max_outgoing_bytes",         "max_outgoing_unix_fds",
        "max_message_size",           "max_message_unix_fds",
        "service_start_timeout",      "auth_timeout",
        "pending_fd_timeout",         "reply_timeout",
        "max_completed_connections",  "max_incomplete_connections",
        "max_connections_per_user",   "max_pending_service_starts",
        "max_names_per_connection",   "max_match_rules_per_connection",
        "max_replies_per_connection",
    };
    size_t i = 0;
    char *end = NULL;

    errno = 0;
    *number = strtol(value, &end, 0);
    if (errno || end == value)
        return "a limit is not a number";
    while (i < sizeof known / sizeof *known && strcmp(known[i], name) != 0)
        i++;
    if (i == sizeof known / sizeof *known)
        return "there is no limit of that name";
    if (*number < 0)
        return "a limit is negative";
    return *number > INT_MAX && i > 5 ? "a limit is too large" : NULL;
}
