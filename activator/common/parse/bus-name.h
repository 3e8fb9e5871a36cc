/* SPDX-License-Identifier: MIT */
/* The names of the D-Bus specification, "Message Protocol", section "Valid Names". All take a
 * NUL-terminated string or NULL (never valid) and own nothing. */
#pragma once

#include <stdbool.h>

#define BUS_NAME_MAX 255

/* A well-known name such as org.example.Service: two elements or more of [A-Za-z0-9_-], none
 * empty, none beginning with a digit, BUS_NAME_MAX bytes at most. Contains no '/', so it is safe
 * as a file name apart from a leading '-'. */
bool bus_name_is_well_known(const char *name);

/* A unique connection name such as :1.42: as above behind the ':', and digits may begin an
 * element. (dbus-daemon is laxer and takes ":a"; no bus ever gives out such a name.) */
bool bus_name_is_unique(const char *name);

/* Either of the two. */
bool bus_name_is_valid(const char *name);

/* An error name: the rules of interface names, which have no '-'. dbus-daemon 1.14 aborts when
 * it is given an ActivationFailure with another (dbus-message.c, dbus_message_new_error). */
bool error_name_is_valid(const char *name);
