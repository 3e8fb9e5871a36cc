/* SPDX-License-Identifier: MIT */
/* One service file on the disk: what it said when it was read, and whether it still says so. */
#pragma once

#include "daemon/rooms/catalogue.h"

#include <sys/stat.h>

/* What tells one state of a file from another. */
struct stamp {
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec modified;
    struct timespec changed;
};

struct stamp stamp_of(const struct stat *st);
bool stamp_equal(const struct stamp *a, const struct stamp *b);
/* True while what was just read may change once more without a sign of it in its stamp. */
bool stamp_is_doubtful(const struct stamp *stamp);

struct service_on_disk {
    char *path;
    struct stamp stamp;
    /* To be read again whatever the stamp says: it was written so shortly before it was read
     * that a later change need not show, or it did not parse and an older entry was kept. */
    bool doubtful;
    struct catalogue_entry *entry; /* NULL: does not parse, or is one of our own */
    guint64 round;                 /* of the catalogue's reload that saw it last */
};

enum file_state {
    FILE_SAME,    /* the entry stays what it was */
    FILE_DIFFERS, /* another entry, or none any more */
    FILE_KEPT,    /* it cannot be read or parsed at the moment; the entry was kept */
};

/* Reads the file again unless st says that it is as it was. keep: an entry outlives a text that
 * does not parse. An entry that is replaced goes to old (of struct catalogue_entry *). */
enum file_state service_on_disk_read(struct service_on_disk *file, const struct stat *st, bool keep,
                                     GPtrArray *old);

struct service_on_disk *service_on_disk_new(const char *path);
/* Frees its entry too. */
void service_on_disk_free(gpointer file);
void catalogue_entry_free(gpointer entry);

/* True for a text that begins with GENERATED_MARK. */
bool is_generated_text(const char *text, gsize length);
