/* SPDX-License-Identifier: MIT */
/* The service files of a bus: which names it can start and how, kept up to date. */
#pragma once

#include "common/place/bus-place.h"

struct catalogue_entry {
    char *name;
    char *file;              /* its path */
    char *exec;              /* as written, escapes of the file undone */
    char **argv;             /* NULL when exec does not parse */
    char *user;              /* NULL: none */
    char *unit;              /* SystemdService, NULL: none */
    char *apparmor;          /* AssumedAppArmorLabel, NULL: none */
    char *problem;           /* NULL, or why exec does not parse */
    bool generated_original; /* our generated file stands for it; set by generated_update() */
};

struct catalogue;

/* Reads all directories of place (borrowed: it has to outlive the catalogue). skip_dir (or NULL)
 * is where our own files are generated: it is not watched. Files marked as ours are in no
 * directory taken for originals.
 *
 * changed is called from the main loop, never from within a call of this interface, after a
 * reload that the catalogue did by itself (files changed, or catalogue_lookup_fresh() noticed
 * something) and that made a difference. NULL: nothing is watched. */
struct catalogue *catalogue_new(struct bus_place *place, const char *skip_dir,
                                void (*changed)(void *data), void *data);
void catalogue_free(struct catalogue *c);

/* Reads again what changed. True when an entry came, went or differs. Entries that differ or
 * went are freed; all others stay where they are. */
bool catalogue_reload(struct catalogue *c);

/* Continues with another place (borrowed) for the bus, after its configuration was read again;
 * the old one may be freed afterwards. Otherwise as catalogue_reload(). */
bool catalogue_set_place(struct catalogue *c, struct bus_place *place);

/* The entry or NULL; borrowed, valid until the next reload, that is at most until the main loop
 * is entered again or catalogue_lookup_fresh() is called. */
struct catalogue_entry *catalogue_lookup(struct catalogue *c, const char *name);

/* The same after a look at the disk: one stat() when nothing changed (one for each directory when
 * there is no such name); a reload when the file or a directory differs, or news of changes is
 * waiting. A file that was good and does not parse
 * at the moment (it is being edited) keeps its entry here, as dbus-daemon does it. */
struct catalogue_entry *catalogue_lookup_fresh(struct catalogue *c, const char *name);

/* True when catalogue_lookup_fresh() found a difference that changed has not been called for. It
 * will not be called for it: that is the caller's from now on. */
bool catalogue_take_untold(struct catalogue *c);

/* Entries with this SystemdService (struct catalogue_entry *, at least one), or NULL. Borrowed as
 * above. A hash look-up. */
const GPtrArray *catalogue_by_unit(struct catalogue *c, const char *unit);

/* Every entry, sorted by name. each must not reload. */
void catalogue_foreach(struct catalogue *c, void (*each)(struct catalogue_entry *entry, void *data),
                       void *data);
guint catalogue_size(const struct catalogue *c);
