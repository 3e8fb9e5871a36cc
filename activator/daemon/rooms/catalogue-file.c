/* SPDX-License-Identifier: MIT */
#include "daemon/rooms/catalogue-file.h"

#include "common/parse/exec-line.h"
#include "common/parse/read-file.h"
#include "common/parse/service-file.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* As long as a clock of the kernel may stand still: a file that changes twice within it shows
 * the same time. */
#define TICK_NS 100000000
/* The same for file systems that count whole seconds or two. */
#define COARSE_S 2

struct stamp stamp_of(const struct stat *st)
{
    return (struct stamp){st->st_dev, st->st_ino, st->st_size, st->st_mtim, st->st_ctim};
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

bool stamp_equal(const struct stamp *a, const struct stamp *b)
{
    return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
           same_time(&a->modified, &b->modified) && same_time(&a->changed, &b->changed);
}

bool stamp_is_doubtful(const struct stamp *stamp)
{
    struct timespec now;
    gint64 age;

    clock_gettime(CLOCK_REALTIME, &now);
    if (now.tv_sec - stamp->changed.tv_sec > COARSE_S)
        return false;
    age = (gint64)(now.tv_sec - stamp->changed.tv_sec) * 1000000000 + now.tv_nsec -
          stamp->changed.tv_nsec;
    return age < TICK_NS || stamp->changed.tv_nsec == 0;
}

bool is_generated_text(const char *text, gsize length)
{
    const gsize mark = strlen(GENERATED_MARK);

    return length > mark && memcmp(text, GENERATED_MARK, mark) == 0 && text[mark] == '\n';
}

void catalogue_entry_free(gpointer data)
{
    struct catalogue_entry *entry = data;

    if (!entry)
        return;
    exec_argv_free(entry->argv);
    g_free(entry->name);
    g_free(entry->file);
    g_free(entry->exec);
    g_free(entry->user);
    g_free(entry->unit);
    g_free(entry->apparmor);
    g_free(entry->problem);
    g_free(entry);
}

static bool same_entry(const struct catalogue_entry *a, const struct catalogue_entry *b)
{
    if (!a || !b)
        return a == b;
    /* Argv and problem follow from exec. */
    return g_str_equal(a->name, b->name) && g_str_equal(a->exec, b->exec) &&
           g_strcmp0(a->user, b->user) == 0 && g_strcmp0(a->unit, b->unit) == 0 &&
           g_strcmp0(a->apparmor, b->apparmor) == 0;
}

static struct catalogue_entry *entry_new(const char *path, const struct service_file *sf)
{
    struct catalogue_entry *entry = g_new0(struct catalogue_entry, 1);
    struct parse_error why = {0, ""};

    entry->file = g_strdup(path);
    entry->name = g_strdup(sf->name);
    entry->exec = g_strdup(sf->exec);
    entry->user = g_strdup(sf->user);
    entry->unit = g_strdup(sf->systemd_service);
    entry->apparmor = g_strdup(sf->apparmor_label);
    if (exec_line_parse(sf->exec, &entry->argv, NULL, &why) != 0)
        entry->problem = g_strdup(why.message[0] ? why.message : "it cannot be parsed");
    return entry;
}

/* The entry of the file's text, or NULL. Negative: no memory or descriptor left; positive: it
 * cannot be read or parsed. */
static int read_entry(const char *path, struct catalogue_entry **entry)
{
    struct service_file sf = {0};
    char *text = NULL;
    size_t length = 0;
    int result = read_file(path, SERVICE_FILE_MAX, &text, &length, NULL);

    *entry = NULL;
    if (result == 0 && !is_generated_text(text, length)) {
        result = service_file_parse(text, length, &sf, NULL, NULL, NULL);
        if (result == 0)
            *entry = entry_new(path, &sf);
        service_file_clear(&sf);
    }
    free(text);
    return result;
}

enum file_state service_on_disk_read(struct service_on_disk *file, const struct stat *st, bool keep,
                                     GPtrArray *old)
{
    struct stamp stamp = stamp_of(st);
    struct catalogue_entry *entry;
    int result;

    if (!file->doubtful && stamp_equal(&file->stamp, &stamp))
        return FILE_SAME;
    result = read_entry(file->path, &entry);
    /* Nothing is known about the file when we have no descriptor left for it. */
    if (result < 0 || (result > 0 && keep && file->entry)) {
        file->doubtful = true;
        return FILE_KEPT;
    }
    file->stamp = stamp;
    file->doubtful = stamp_is_doubtful(&stamp);
    if (same_entry(file->entry, entry)) {
        catalogue_entry_free(entry);
        return FILE_SAME;
    }
    if (file->entry)
        g_ptr_array_add(old, file->entry);
    file->entry = entry;
    return FILE_DIFFERS;
}

struct service_on_disk *service_on_disk_new(const char *path)
{
    struct service_on_disk *file = g_new0(struct service_on_disk, 1);

    file->path = g_strdup(path);
    file->doubtful = true;
    return file;
}

void service_on_disk_free(gpointer data)
{
    struct service_on_disk *file = data;

    catalogue_entry_free(file->entry);
    g_free(file->path);
    g_free(file);
}
