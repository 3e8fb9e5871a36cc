/* SPDX-License-Identifier: MIT */
/* What an activator has to know of a bus configuration, includes followed (expat), as dbus-daemon
 * 1.14 understands it (bus/config-parser.c): texts are taken with the blanks around them, relative
 * paths are below the folder of the file, an included file that is refused makes the whole refused,
 * one in an <includedir> counts as if it were not there, and so does what stands in it before the
 * error. Unlike dbus-daemon this does without a <listen>. bus-config-grammar.h says what is
 * checked.
 *
 * Returns: see read-file.h; the error's message names the file, its line is that in the file. */
#pragma once

#include "common/parse/parse-error.h"

#include <stdbool.h>
#include <stddef.h>

enum {
    BUS_CONFIG_E_MISSING = 1,
    BUS_CONFIG_E_UNREADABLE,
    BUS_CONFIG_E_INVALID,
};

enum bus_config_dir_kind {
    BUS_CONFIG_DIR,         /* <servicedir> */
    BUS_CONFIG_DIR_SESSION, /* <standard_session_servicedirs/> */
    BUS_CONFIG_DIR_SYSTEM,  /* <standard_system_servicedirs/> */
};

struct bus_config_dir {
    enum bus_config_dir_kind kind;
    char *path; /* of a <servicedir>, absolute; else NULL */
};

struct bus_config {
    char *type;          /* of the last <type>, or NULL */
    char *user;          /* of the last <user>, or NULL */
    char *servicehelper; /* a command line, absolute; or NULL */
    bool has_servicehelper;
    unsigned start_timeout_ms;   /* 25000 by default */
    struct bus_config_dir *dirs; /* in the order of the elements */
    size_t ndirs;
    char **listen;
    size_t nlisten;
    char **files; /* every file that was read, the refused ones of an <includedir> too */
    size_t nfiles;
};

/* Decides whether an included file may be read; NULL: all may. */
typedef bool (*bus_config_trust)(const char *path, void *data);

/* Reads the file at path. On success out owns its parts: bus_config_clear(). On failure out is
 * empty and error (may be NULL) set. Includes are followed to a depth of 32 and 4 MB in all (more
 * is an error, also in an <includedir>); a file that includes itself is an error, as for
 * dbus-daemon. */
int bus_config_load(const char *path, struct bus_config *out, bus_config_trust trust, void *data,
                    struct parse_error *error);

/* Parses a text as if it stood in the file at path, but reads no other file: <include> and
 * <includedir> are passed over. */
int bus_config_parse(const char *text, size_t length, const char *path, struct bus_config *out,
                     struct parse_error *error);

void bus_config_clear(struct bus_config *config);
