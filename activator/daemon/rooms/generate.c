/* SPDX-License-Identifier: MIT */
#include "daemon/rooms/generate.h"

#include "common/parse/bus-name.h"
#include "common/parse/service-file.h"
#include "daemon/rooms/catalogue-file.h"
#include "daemon/rooms/generate-text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SUFFIX ".service"
/* dbus-daemon reads names that end in .service only. */
#define TMP_NAME ".dbus-activator.tmp"
/* Largest file that dbus-daemon reads. */
#define TEXT_MAX 131072
/* Neither a group nor a comment: dbus-daemon drops the file at its next reload. */
#define SPOILED GENERATED_MARK "\nThe original serves again.\n"

/* One file of ours, as it was when it was last looked at. */
struct made {
    char *text;
    struct stamp stamp;
    bool wanted;
};

struct generated {
    char *dir;
    char *helper;
    char *runtime_dir;
    bool with_unit;   /* SystemdService= is written */
    int fd;           /* of dir */
    GHashTable *made; /* file name -> struct made */
    bool warned;
    bool is_public; /* others than the owner may read */
};

static void made_free(gpointer data)
{
    struct made *m = data;

    g_free(m->text);
    g_free(m);
}

static void warn(struct generated *g, const char *name, int number)
{
    if (!g->warned)
        g_warning("The service file %s/%s cannot be written: %s", g->dir, name, g_strerror(number));
    g->warned = true;
}

/* The text of a file in dir when it is one of ours, with its stamp; NULL when it is not, or not
 * there (errno ENOENT). Links are nobody's but their maker's. */
static char *read_ours(struct generated *g, const char *name, struct stamp *stamp)
{
    int fd = openat(g->fd, name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC);
    struct stat st;
    char *text;
    ssize_t n = -1;

    if (fd < 0)
        return NULL;
    text = g_malloc(TEXT_MAX + 1);
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        n = read(fd, text, TEXT_MAX);
    close(fd);
    if (n < 0 || !is_generated_text(text, (gsize)n)) {
        g_free(text);
        errno = EEXIST;
        return NULL;
    }
    text[n] = '\0';
    *stamp = stamp_of(&st);
    return g_realloc(text, (gsize)n + 1);
}

/* Remembers the file as ours when it is. Returns it, or NULL with errno as of read_ours(). */
static struct made *adopt(struct generated *g, const char *name)
{
    struct stamp stamp;
    char *text = read_ours(g, name, &stamp);
    struct made *m;

    if (!text)
        return NULL;
    m = g_new0(struct made, 1);
    m->text = text;
    m->stamp = stamp;
    g_hash_table_insert(g->made, g_strdup(name), m);
    return m;
}

/* What we know of the file is still so. */
static bool is_current(struct generated *g, const char *name, const struct made *m)
{
    struct stat st;
    struct stamp now;

    if (fstatat(g->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return false;
    now = stamp_of(&st);
    return stamp_equal(&m->stamp, &now);
}

/* The file if it is ours; NULL with errno ENOENT when there is none, EEXIST when it is
 * somebody's. */
static struct made *ours(struct generated *g, const char *name)
{
    struct made *m = g_hash_table_lookup(g->made, name);

    if (m && is_current(g, name, m))
        return m;
    g_hash_table_remove(g->made, name);
    return adopt(g, name);
}

static int write_tmp(struct generated *g, const char *text, struct stat *st)
{
    gsize length = strlen(text), done = 0;
    int fd, result = 0;

    unlinkat(g->fd, TMP_NAME, 0);
    fd = openat(g->fd, TMP_NAME, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                g->is_public ? 0644 : 0600);
    if (fd < 0)
        return errno;
    while (result == 0 && done < length) {
        ssize_t n = write(fd, text + done, length - done);

        if (n > 0)
            done += (gsize)n;
        else if (n == 0 || errno != EINTR)
            result = n == 0 ? ENOSPC : errno;
    }
    if (result == 0 && fstat(fd, st) < 0)
        result = errno;
    if (close(fd) < 0 && result == 0)
        result = errno;
    return result;
}

/* Puts the temporary file in place. A new one never replaces what came in between. */
static int move_tmp(struct generated *g, const char *name, bool replace)
{
    if (!replace) {
        if (renameat2(g->fd, TMP_NAME, g->fd, name, RENAME_NOREPLACE) == 0)
            return 0;
        /* Old kernels and some file systems do not know how. */
        if (errno != EINVAL && errno != ENOSYS)
            return errno;
        if (linkat(g->fd, TMP_NAME, g->fd, name, 0) == 0) {
            unlinkat(g->fd, TMP_NAME, 0);
            return 0;
        }
        return errno;
    }
    return renameat(g->fd, TMP_NAME, g->fd, name) == 0 ? 0 : errno;
}

/* Writes the file, new or in place of the one that m stands for. Returns it or NULL. */
static struct made *write_file(struct generated *g, const char *name, const char *text,
                               struct made *m)
{
    struct stat st;
    int result = write_tmp(g, text, &st);

    if (result == 0)
        result = move_tmp(g, name, m != NULL);
    /* The rename counts as a change of the file. */
    if (result == 0 && fstatat(g->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        result = errno;
    if (result != 0) {
        unlinkat(g->fd, TMP_NAME, 0);
        if (result != EEXIST)
            warn(g, name, result);
        return NULL;
    }
    if (!m) {
        m = g_new0(struct made, 1);
        g_hash_table_insert(g->made, g_strdup(name), m);
    }
    g_free(m->text);
    m->text = g_strdup(text);
    m->stamp = stamp_of(&st);
    return m;
}

struct updating {
    struct generated *g;
    bool changed;
    bool failed;
};

/* True when the entry itself lies where we write. */
static bool lies_here(const struct generated *g, const struct catalogue_entry *entry)
{
    gsize length = strlen(g->dir);

    return strncmp(entry->file, g->dir, length) == 0 && entry->file[length] == '/' &&
           !strchr(entry->file + length + 1, '/');
}

static void update_one(struct catalogue_entry *entry, void *data)
{
    struct updating *u = data;
    char *name = g_strconcat(entry->name, SUFFIX, NULL);
    char *text = generate_text(entry, u->g->helper, u->g->runtime_dir, u->g->with_unit);
    struct made *m = NULL;

    entry->generated_original = false;
    if (text && !lies_here(u->g, entry)) {
        m = ours(u->g, name);
        if (m ? !g_str_equal(m->text, text) : errno == ENOENT) {
            bool was = m != NULL;

            m = write_file(u->g, name, text, m);
            u->changed |= m != NULL;
            u->failed |= !m;
            /* What could not be renewed still sends the start to us. */
            if (!m && was)
                m = g_hash_table_lookup(u->g->made, name);
        }
    }
    if (m) {
        m->wanted = true;
        entry->generated_original = !g_str_equal(m->text, SPOILED);
    }
    g_free(text);
    g_free(name);
}

/* Calls each for every file of ours. Gone or no longer ours: forgotten. */
static bool for_ours(struct generated *g,
                     bool (*each)(struct generated *g, const char *name, struct made *m))
{
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    GHashTableIter iter;
    gpointer key;
    bool any = false;

    g_hash_table_iter_init(&iter, g->made);
    while (g_hash_table_iter_next(&iter, &key, NULL))
        g_ptr_array_add(names, g_strdup(key));
    for (guint i = 0; i < names->len; i++) {
        struct made *m = ours(g, g_ptr_array_index(names, i));

        if (m && each(g, g_ptr_array_index(names, i), m))
            any = true;
    }
    g_ptr_array_unref(names);
    return any;
}

static bool remove_one(struct generated *g, const char *name, struct made *m)
{
    (void)m;
    if (unlinkat(g->fd, name, 0) < 0) {
        if (errno != ENOENT)
            warn(g, name, errno);
        return false;
    }
    g_hash_table_remove(g->made, name);
    return true;
}

static bool remove_unwanted(struct generated *g, const char *name, struct made *m)
{
    return !m->wanted && remove_one(g, name, m);
}

static bool spoil_one(struct generated *g, const char *name, struct made *m)
{
    return g_str_equal(m->text, SPOILED) || write_file(g, name, SPOILED, m);
}

void generated_set_public(struct generated *g)
{
    g->is_public = true;
    if (fchmod(g->fd, 0755) < 0)
        g_warning("%s: %s; the bus may not be able to read it", g->dir, g_strerror(errno));
}

void generated_set_unit(struct generated *g, bool on)
{
    g->with_unit = on;
}

bool generated_update(struct generated *g, struct catalogue *catalogue)
{
    struct updating u = {g, false, false};
    GHashTableIter iter;
    gpointer value;

    g_hash_table_iter_init(&iter, g->made);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        ((struct made *)value)->wanted = false;
    catalogue_foreach(catalogue, update_one, &u);
    if (for_ours(g, remove_unwanted))
        u.changed = true;
    if (!u.failed)
        g->warned = false;
    return u.changed;
}

bool generated_spoil(struct generated *g)
{
    return for_ours(g, spoil_one);
}

bool generated_remove(struct generated *g)
{
    return for_ours(g, remove_one);
}

/* What a killed predecessor left. */
static void adopt_all(struct generated *g)
{
    int fd = openat(g->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *d;

    if (!stream) {
        if (fd >= 0)
            close(fd);
        return;
    }
    while ((d = readdir(stream))) {
        if (g_str_has_suffix(d->d_name, SUFFIX))
            adopt(g, d->d_name);
    }
    closedir(stream);
    unlinkat(g->fd, TMP_NAME, 0);
}

/* Opens the directory, making it first. Returns 0 or an errno. */
static int open_dir(struct generated *g)
{
    char *parent = g_path_get_dirname(g->dir);
    struct stat st;

    if (mkdir(parent, 0700) < 0 && errno != EEXIST) {
        int number = errno;

        g_free(parent);
        return number;
    }
    g_free(parent);
    if (mkdir(g->dir, 0700) < 0 && errno != EEXIST)
        return errno;
    g->fd = open(g->dir, O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_CLOEXEC);
    if (g->fd < 0 || fstat(g->fd, &st) < 0)
        return errno;
    /* dbus-daemon would not read there either. */
    if (st.st_uid != geteuid() || st.st_mode & (S_IWGRP | S_IWOTH))
        return EPERM;
    return 0;
}

struct generated *generated_new(const char *dir, const char *helper_path, const char *runtime_dir,
                                GError **error)
{
    struct generated *g = g_new0(struct generated, 1);
    int result;

    g->fd = -1;
    g->with_unit = true;
    g->dir = g_strdup(dir);
    g->helper = g_strdup(helper_path);
    g->runtime_dir = g_strdup(runtime_dir);
    g->made = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, made_free);
    /* A path with a slash at its end is the same directory. */
    for (gsize n = strlen(g->dir); n > 1 && g->dir[n - 1] == '/'; n--)
        g->dir[n - 1] = '\0';
    result = open_dir(g);
    if (result != 0) {
        g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(result),
                    "The directory %s cannot be used for service files: %s", dir,
                    result == EPERM ? "others than its owner can write there, or it is not ours"
                                    : g_strerror(result));
        generated_free(g);
        return NULL;
    }
    adopt_all(g);
    return g;
}

void generated_free(struct generated *g)
{
    if (!g)
        return;
    if (g->fd >= 0)
        close(g->fd);
    g_hash_table_unref(g->made);
    g_free(g->dir);
    g_free(g->helper);
    g_free(g->runtime_dir);
    g_free(g);
}

char *generated_unit_to_name(const char *unit)
{
    char *name;

    if (!g_str_has_suffix(unit, SUFFIX))
        return NULL;
    name = g_strndup(unit, strlen(unit) - strlen(SUFFIX));
    if (bus_name_is_well_known(name))
        return name;
    g_free(name);
    return NULL;
}
