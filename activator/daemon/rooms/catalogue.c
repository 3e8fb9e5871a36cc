/* SPDX-License-Identifier: MIT */
#include "daemon/rooms/catalogue.h"

#include "common/parse/bus-name.h"
#include "daemon/rooms/catalogue-file.h"
#include "daemon/rooms/dir-watch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define SUFFIX ".service"
/* A new file is read at once: the bus has seen it too, and would start the service itself. What
 * comes within so long after it waits until nothing came for so long, but not longer than that
 * after the first. */
#define SETTLE_MS     50
#define SETTLE_MAX_MS 1000

struct dir_state {
    bool there;
    bool doubtful;
    struct stamp stamp;
};

struct catalogue {
    struct bus_place *place;
    char *skip_dir;
    GHashTable *files; /* path -> struct service_on_disk, owned */
    GHashTable *names; /* name -> struct catalogue_entry, of a file */
    GHashTable *units; /* unit -> GPtrArray of struct catalogue_entry */
    GPtrArray *sorted; /* struct catalogue_entry * */
    guint64 round;
    GArray *dirs; /* struct dir_state, as the last reload found the place's directories */
    struct dir_watch *watch;
    void (*changed)(void *data);
    void *data;
    guint timer;
    gint64 first_news; /* monotonic ms, while the timer runs */
    gint64 due;        /* of the timer */
    bool calm;         /* it will have calmed down by then */
    gint64 busy;       /* when there was something to be read at once last, or the timer came */
    bool stale;        /* there was news since the last reload */
    bool incomplete;   /* the last reload could not read all of it */
    bool untold;       /* something changed that nobody has been told of */
};

static int by_name(gconstpointer a, gconstpointer b)
{
    const struct catalogue_entry *const *x = a, *const *y = b;

    return strcmp((*x)->name, (*y)->name);
}

/* Where one reload puts what it finds. */
struct reading {
    struct catalogue *c;
    GHashTable *names;
    GPtrArray *old;
    bool keep;
};

/* True when the file is called as dbus-daemon wants it in the directory. */
static bool name_fits(const struct catalogue_entry *entry, const char *file_name, bool strict)
{
    gsize length = strlen(entry->name);

    /* The bus itself, and the name of our own front door (or of a real systemd, which needs no
     * starting by us): the files of Debian's systemd package name it. */
    if (!bus_name_is_well_known(entry->name) || strcmp(entry->name, "org.freedesktop.DBus") == 0 ||
        strcmp(entry->name, "org.freedesktop.systemd1") == 0)
        return false;
    return !strict || (strncmp(file_name, entry->name, length) == 0 &&
                       strcmp(file_name + length, SUFFIX) == 0);
}

static void read_one(struct reading *r, const struct bus_dir *dir, int fd, const char *file_name)
{
    char *path = g_strconcat(dir->path, "/", file_name, NULL);
    struct service_on_disk *file = g_hash_table_lookup(r->c->files, path);
    struct stat st;

    if (fstatat(fd, file_name, &st, 0) < 0 || !S_ISREG(st.st_mode)) {
        g_free(path);
        return;
    }
    if (!file) {
        file = service_on_disk_new(path);
        g_hash_table_insert(r->c->files, file->path, file);
    }
    g_free(path);
    /* The same directory by two spellings of its path is two directories, but one path is one
     * file. */
    if (file->round != r->c->round) {
        file->round = r->c->round;
        if (service_on_disk_read(file, &st, r->keep, r->old) == FILE_KEPT)
            r->c->incomplete = true;
    }
    if (file->entry && name_fits(file->entry, file_name, dir->transient) &&
        !g_hash_table_contains(r->names, file->entry->name))
        g_hash_table_insert(r->names, file->entry->name, file->entry);
}

/* What is known of the directory stays: it cannot be listed at the moment. */
static void keep_dir(struct reading *r, const struct bus_dir *dir)
{
    GHashTableIter iter;
    gpointer value;
    gsize length = strlen(dir->path);

    g_hash_table_iter_init(&iter, r->c->files);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        struct service_on_disk *file = value;
        const char *file_name = file->path + length + 1;

        if (strncmp(file->path, dir->path, length) != 0 || file->path[length] != '/' ||
            strchr(file_name, '/'))
            continue;
        file->round = r->c->round;
        if (file->entry && name_fits(file->entry, file_name, dir->transient) &&
            !g_hash_table_contains(r->names, file->entry->name))
            g_hash_table_insert(r->names, file->entry->name, file->entry);
    }
}

/* In the order of the directory, which decides between two files of one name for dbus-daemon
 * too. */
static void read_dir(struct reading *r, const struct bus_dir *dir)
{
    int fd = open(dir->path, O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_CLOEXEC);
    DIR *stream = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *d;

    if (!stream) {
        int number = errno;

        if (fd >= 0)
            close(fd);
        /* All others say that there is no such directory for us. */
        if (number != EMFILE && number != ENFILE && number != ENOMEM && number != EIO)
            return;
        g_warning("The directory %s cannot be read: %s", dir->path, g_strerror(number));
        keep_dir(r, dir);
        r->c->incomplete = true;
        return;
    }
    while ((d = readdir(stream))) {
        if (g_str_has_suffix(d->d_name, SUFFIX))
            read_one(r, dir, dirfd(stream), d->d_name);
    }
    closedir(stream);
}

/* Forgets the files that this round did not see. Their entries live on until the new names have
 * been compared with the old ones. */
static void forget_unseen(struct reading *r)
{
    GHashTableIter iter;
    gpointer value;

    g_hash_table_iter_init(&iter, r->c->files);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        struct service_on_disk *file = value;

        if (file->round == r->c->round)
            continue;
        if (file->entry)
            g_ptr_array_add(r->old, g_steal_pointer(&file->entry));
        g_hash_table_iter_remove(&iter);
    }
}

/* Entries that did not change are the same structures as before. */
static bool same_names(GHashTable *a, GHashTable *b)
{
    GHashTableIter iter;
    gpointer key, value;

    if (g_hash_table_size(a) != g_hash_table_size(b))
        return false;
    g_hash_table_iter_init(&iter, a);
    while (g_hash_table_iter_next(&iter, &key, &value)) {
        if (g_hash_table_lookup(b, key) != value)
            return false;
    }
    return true;
}

static void array_free(gpointer data)
{
    g_ptr_array_unref(data);
}

static GHashTable *new_units(void)
{
    return g_hash_table_new_full(g_str_hash, g_str_equal, NULL, array_free);
}

/* Sorts what was found, and by units. */
static void arrange(struct catalogue *c)
{
    GHashTableIter iter;
    gpointer value;

    g_ptr_array_set_size(c->sorted, 0);
    g_hash_table_iter_init(&iter, c->names);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        g_ptr_array_add(c->sorted, value);
    g_ptr_array_sort(c->sorted, by_name);

    for (guint i = 0; i < c->sorted->len; i++) {
        struct catalogue_entry *entry = g_ptr_array_index(c->sorted, i);
        GPtrArray *list;

        if (!entry->unit)
            continue;
        list = g_hash_table_lookup(c->units, entry->unit);
        if (!list) {
            list = g_ptr_array_new();
            g_hash_table_insert(c->units, entry->unit, list);
        }
        g_ptr_array_add(list, entry);
    }
}

static struct dir_state look_at_dir(const struct bus_dir *dir)
{
    struct dir_state state = {0};
    struct stat st;

    state.there = stat(dir->path, &st) == 0;
    if (state.there) {
        state.stamp = stamp_of(&st);
        state.doubtful = stamp_is_doubtful(&state.stamp);
    }
    return state;
}

/* True when no file can have come or gone. */
static bool dirs_are_current(struct catalogue *c)
{
    for (guint i = 0; i < c->place->dirs->len; i++) {
        const struct dir_state *then = &g_array_index(c->dirs, struct dir_state, i);
        struct dir_state now = look_at_dir(g_ptr_array_index(c->place->dirs, i));

        if (then->doubtful || then->there != now.there ||
            (now.there && !stamp_equal(&then->stamp, &now.stamp)))
            return false;
    }
    return true;
}

static bool reload(struct catalogue *c, bool keep)
{
    struct reading r = {c, g_hash_table_new(g_str_hash, g_str_equal),
                        g_ptr_array_new_with_free_func(catalogue_entry_free), keep};
    bool differs;

    /* Before the first look, so that nothing happens unseen in between. */
    if (c->watch)
        dir_watch_take(c->watch);
    c->stale = c->incomplete = false;
    c->round++;
    g_array_set_size(c->dirs, 0);
    for (guint i = 0; i < c->place->dirs->len; i++) {
        const struct bus_dir *dir = g_ptr_array_index(c->place->dirs, i);
        struct dir_state state = look_at_dir(dir);

        g_array_append_val(c->dirs, state);
        if (state.there)
            read_dir(&r, dir);
    }
    forget_unseen(&r);

    differs = !same_names(c->names, r.names);
    if (differs) {
        /* The keys of both tables lie in the entries. */
        g_hash_table_remove_all(c->units);
        g_hash_table_unref(c->names);
        c->names = r.names;
        arrange(c);
    } else {
        g_hash_table_unref(r.names);
    }
    g_ptr_array_unref(r.old);
    return differs;
}

static gint64 now_ms(void)
{
    return g_get_monotonic_time() / 1000;
}

static gboolean on_due(gpointer data);

/* A reload is to come: at once, unless it is one of many. */
static void plan_reload(struct catalogue *c, bool at_once)
{
    gint64 now = now_ms();
    bool calm = !at_once || now - c->busy < SETTLE_MS;

    if (at_once)
        c->busy = now;
    if (c->timer && c->due <= now)
        return;
    if (c->timer)
        g_source_remove(c->timer);
    else
        c->first_news = now;
    c->calm = calm;
    c->due = calm ? MIN(now + SETTLE_MS, MAX(now, c->first_news + SETTLE_MAX_MS)) : now;
    c->timer = g_timeout_add((guint)(c->due - now), on_due, c);
}

/* What does not parse any more is given up only when it has calmed down: in the midst of a file
 * that is written in several steps, the bus would be left with the original alone. */
static gboolean on_due(gpointer data)
{
    struct catalogue *c = data;
    bool differs = reload(c, !c->calm) || c->untold;

    c->timer = 0;
    c->untold = false;
    c->busy = now_ms();
    if (c->incomplete && !c->calm)
        plan_reload(c, false);
    if (differs && c->changed)
        c->changed(c->data);
    return G_SOURCE_REMOVE;
}

static void on_news(bool complete, void *data)
{
    struct catalogue *c = data;

    c->stale = true;
    plan_reload(c, complete);
    /* Taken: the next event calls again. */
    dir_watch_take(c->watch);
}

static void watch_place(struct catalogue *c)
{
    GPtrArray *paths;

    if (!c->watch)
        return;
    paths = g_ptr_array_new();
    for (guint i = 0; i < c->place->dirs->len; i++) {
        struct bus_dir *dir = g_ptr_array_index(c->place->dirs, i);

        if (!c->skip_dir || strcmp(dir->path, c->skip_dir) != 0)
            g_ptr_array_add(paths, dir->path);
    }
    dir_watch_set(c->watch, paths);
    g_ptr_array_unref(paths);
}

struct catalogue *catalogue_new(struct bus_place *place, const char *skip_dir,
                                void (*changed)(void *data), void *data)
{
    struct catalogue *c = g_new0(struct catalogue, 1);

    c->place = place;
    c->skip_dir = g_strdup(skip_dir);
    c->files = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, service_on_disk_free);
    c->names = g_hash_table_new(g_str_hash, g_str_equal);
    c->units = new_units();
    c->sorted = g_ptr_array_new();
    c->dirs = g_array_new(FALSE, FALSE, sizeof(struct dir_state));
    c->changed = changed;
    c->data = data;
    if (changed)
        c->watch = dir_watch_new(on_news, c);
    watch_place(c);
    reload(c, false);
    return c;
}

void catalogue_free(struct catalogue *c)
{
    if (!c)
        return;
    if (c->timer)
        g_source_remove(c->timer);
    dir_watch_free(c->watch);
    g_hash_table_unref(c->units);
    g_hash_table_unref(c->names);
    g_ptr_array_unref(c->sorted);
    g_array_unref(c->dirs);
    g_hash_table_unref(c->files);
    g_free(c->skip_dir);
    g_free(c);
}

bool catalogue_reload(struct catalogue *c)
{
    bool differs = reload(c, false) || c->untold;

    c->untold = false;
    return differs;
}

bool catalogue_set_place(struct catalogue *c, struct bus_place *place)
{
    c->place = place;
    watch_place(c);
    return catalogue_reload(c);
}

struct catalogue_entry *catalogue_lookup(struct catalogue *c, const char *name)
{
    return g_hash_table_lookup(c->names, name);
}

/* True when the file is as it was when the entry was made. */
static bool is_current(struct catalogue *c, const struct catalogue_entry *entry)
{
    const struct service_on_disk *file = g_hash_table_lookup(c->files, entry->file);
    struct stat st;
    struct stamp now;

    if (!file || file->doubtful || stat(entry->file, &st) < 0)
        return false;
    now = stamp_of(&st);
    return stamp_equal(&file->stamp, &now);
}

struct catalogue_entry *catalogue_lookup_fresh(struct catalogue *c, const char *name)
{
    struct catalogue_entry *entry = catalogue_lookup(c, name);

    if (c->watch && dir_watch_take(c->watch)) {
        c->stale = true;
        plan_reload(c, true);
    }
    if (entry && !c->stale && is_current(c, entry))
        return entry;
    /* Anybody may ask for names that do not exist: that must not cost a reload each time. */
    if (!entry && !c->stale && !c->incomplete && c->watch && dir_watch_is_complete(c->watch) &&
        dirs_are_current(c))
        return NULL;
    if (reload(c, true))
        c->untold = true;
    /* A full reload tells of the difference, and ends what is kept for a moment only. */
    if (c->watch && c->untold && !c->timer)
        plan_reload(c, true);
    return catalogue_lookup(c, name);
}

bool catalogue_take_untold(struct catalogue *c)
{
    bool untold = c->untold;

    c->untold = false;
    return untold;
}

const GPtrArray *catalogue_by_unit(struct catalogue *c, const char *unit)
{
    return g_hash_table_lookup(c->units, unit);
}

void catalogue_foreach(struct catalogue *c, void (*each)(struct catalogue_entry *entry, void *data),
                       void *data)
{
    for (guint i = 0; i < c->sorted->len; i++)
        each(g_ptr_array_index(c->sorted, i), data);
}

guint catalogue_size(const struct catalogue *c)
{
    return c->sorted->len;
}
