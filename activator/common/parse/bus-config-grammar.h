/* SPDX-License-Identifier: MIT */
/* Which elements a bus configuration may have, as dbus-daemon 1.14 checks it
 * (bus/config-parser.c): what it refuses is refused, for a file of an <includedir> that it refuses
 * counts as if it were not there. Left unchecked are the attributes of the policy, SELinux and
 * AppArmor elements, in which an activator has no interest. */
#pragma once

#include <stdbool.h>

enum element_id {
    ELEMENT_BUSCONFIG,
    ELEMENT_INCLUDE,
    ELEMENT_INCLUDEDIR,
    ELEMENT_LIMIT,
    ELEMENT_LISTEN,
    ELEMENT_SERVICEDIR,
    ELEMENT_SERVICEHELPER,
    ELEMENT_SESSION_DIRS,
    ELEMENT_SYSTEM_DIRS,
    ELEMENT_TYPE,
    ELEMENT_USER,
    ELEMENT_POLICY,
    ELEMENT_SELINUX,
    ELEMENT_OTHER,
};

struct element {
    const char *name;
    enum element_id parent; /* ELEMENT_OTHER: none, it is the outermost */
    enum element_id id;
    bool has_text; /* must have some; others may have blanks only */
    bool any_attributes;
};

/* The element name inside parent (NULL: as the outermost one), or NULL if it is not allowed
 * there. The result is static. */
const struct element *element_find(const struct element *parent, const char *name);

/* The first thing wrong with attributes (name, value, name, value, ..., NULL), or NULL. The result
 * is static. */
const char *element_check_attributes(const struct element *element, const char **attributes);

/* The value of one attribute or NULL. */
const char *element_attribute(const char **attributes, const char *name);

/* What is wrong with <limit name="name">value</limit>, or NULL, and then *number is its value. As
 * dbus-daemon does, takes octal and hexadecimal and ignores what follows the number. */
const char *element_check_limit(const char *name, const char *value, long *number);
