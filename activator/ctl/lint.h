/* SPDX-License-Identifier: MIT */
/* Mistakes in service files. Codes are stable: scripts and people's exceptions name them. */
#pragma once

#include "ctl/ctl.h"

#include <glib.h>
#include <stdbool.h>

enum severity {
    SEVERITY_ERROR,   /* the service cannot be started, or not as it stands there */
    SEVERITY_WARNING, /* it does something else than its author will have meant */
    SEVERITY_NOTE,    /* worth knowing; common and harmless */
};

struct finding {
    char *file;
    unsigned line; /* 0: the file as a whole */
    enum severity severity;
    const char *code;
    char *message;
};

enum lint_bus {
    LINT_SESSION,
    LINT_TRANSIENT, /* a session's $XDG_RUNTIME_DIR/dbus-1/services */
    LINT_SYSTEM,
};

struct lint;

struct lint *lint_new(void);
void lint_free(struct lint *lint);
/* Checks a file that a bus of this kind reads. Of two files with one name the one that is added
 * first wins, as long as they lie in different folders. */
void lint_file(struct lint *lint, const char *path, enum lint_bus bus);
/* Reports that a bus cannot use this configuration ("": one that it names nowhere). */
void lint_config(struct lint *lint, const char *file, const char *problem);
/* Checks what concerns several files. After the last lint_file(). */
void lint_finish(struct lint *lint);
/* struct finding *, in the order of the files and their lines; borrowed. */
const GPtrArray *lint_findings(const struct lint *lint);

/* Prints the findings of so many files as the options and the terminal want it. Returns CTL_FAILED
 * when there is an error among them. */
int check_report(const struct ctl *ctl, const GPtrArray *findings, unsigned files);

const char *severity_name(enum severity severity);
/* Where an unquoted '#' stands in an Exec line, or NULL. */
const char *lint_exec_comment(const char *exec);
/* True when a unit of this name could be started: it is installed for that kind of systemd. */
bool lint_unit_exists(const char *unit, bool system);
/* True when some installed unit would take this name if it were enabled. */
bool lint_unit_is_alias(const char *unit, bool system);
