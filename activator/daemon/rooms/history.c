/* SPDX-License-Identifier: MIT */
#include "daemon/rooms/history.h"

#include "daemon/rooms/read-end.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The file is written anew when it holds more lines than this. */
#define LINES_MAX (4 * HISTORY_KEEP)
/* More of a file than this is not read: HISTORY_KEEP runs need far less. */
#define LOAD_MAX (16u << 20)

struct history {
    char *path;
    GPtrArray *records; /* struct history_record *, ascending by run */
    guint64 last_run;
    guint lines;  /* in the file, those that do not count included */
    bool torn;    /* the file does not end with a newline */
    bool unsaved; /* something here is not in the file */
    bool warned;
};

static void record_free(gpointer data)
{
    history_record_clear(data);
    g_free(data);
}

/* The position of the run, or where it belongs. */
static guint position_of(const struct history *h, guint64 run)
{
    guint low = 0, high = h->records->len;

    while (low < high) {
        guint middle = low + (high - low) / 2;
        const struct history_record *r = g_ptr_array_index(h->records, middle);

        if (r->run < run)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Takes the record's texts. */
static void insert(struct history *h, const struct history_record *record)
{
    guint at = position_of(h, record->run);
    struct history_record *old = at < h->records->len ? g_ptr_array_index(h->records, at) : NULL;

    h->last_run = MAX(h->last_run, record->run);
    if (old && old->run == record->run) {
        history_record_clear(old);
        *old = *record;
        return;
    }
    g_ptr_array_insert(h->records, (int)at, g_memdup2(record, sizeof *record));
    if (h->records->len > HISTORY_KEEP)
        g_ptr_array_remove_index(h->records, 0);
}

static void load_text(struct history *h, const char *text, gsize length)
{
    const char *end = text + length;

    while (text < end) {
        const char *newline = memchr(text, '\n', (gsize)(end - text));
        const char *stop = newline ? newline : end;
        struct history_record record;

        h->torn = !newline;
        h->lines++;
        if (history_parse_line(text, (gsize)(stop - text), &record))
            insert(h, &record);
        text = stop + 1;
    }
}

/* Returns 0 or an errno. */
static int load(struct history *h)
{
    int fd = read_end_open(h->path);
    char *text;
    gsize length;

    if (fd < 0)
        return errno == ENOENT ? 0 : errno;
    text = read_end(fd, LOAD_MAX, &length, NULL);
    if (text)
        load_text(h, text, length);
    g_free(text);
    close(fd);
    return text ? 0 : EIO;
}

struct history *history_open(const char *path, GError **error)
{
    struct history *h = g_new0(struct history, 1);
    int result;

    h->path = g_strdup(path);
    h->records = g_ptr_array_new_with_free_func(record_free);
    result = load(h);
    if (result != 0) {
        g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(result),
                    "The history %s cannot be read: %s", path, g_strerror(result));
        history_free(h);
        return NULL;
    }
    return h;
}

void history_free(struct history *h)
{
    if (!h)
        return;
    g_ptr_array_unref(h->records);
    g_free(h->path);
    g_free(h);
}

static void warn(struct history *h, int number)
{
    if (!h->warned)
        g_warning("The history %s cannot be written: %s", h->path, g_strerror(number));
    h->warned = true;
}

/* One write. Returns 0 or an errno; *partly is set when some of it got there. */
static int write_once(int fd, const char *text, gsize length, bool *partly)
{
    ssize_t n;

    *partly = false;
    do
        n = write(fd, text, length);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno;
    *partly = (gsize)n < length && n > 0;
    return (gsize)n == length ? 0 : ENOSPC;
}

/* Writes the file anew, with one line for each run. Returns 0 or an errno. */
static int compact(struct history *h)
{
    char *fresh = g_strconcat(h->path, ".new", NULL);
    GString *text = g_string_new(NULL);
    bool partly;
    int result, fd;

    for (guint i = 0; i < h->records->len; i++) {
        char *line = history_format_line(g_ptr_array_index(h->records, i));

        g_string_append(text, line);
        g_free(line);
    }
    /* What lies there was left by a crash, or is somebody's link: never write into it. */
    unlink(fresh);
    fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    result = fd < 0 ? errno : 0;
    if (fd >= 0) {
        result = write_once(fd, text->str, text->len, &partly);
        if (close(fd) < 0 && result == 0)
            result = errno;
        if (result == 0 && rename(fresh, h->path) < 0)
            result = errno;
        if (result != 0)
            unlink(fresh);
    }
    if (result == 0) {
        h->lines = h->records->len;
        h->torn = h->unsaved = h->warned = false;
    }
    g_string_free(text, TRUE);
    g_free(fresh);
    /* That was the largest this process ever asks for, and it comes again after more than a
     * thousand runs: until then, and for what those have scattered, nobody needs the memory. */
    malloc_trim(0);
    return result;
}

/* Appends the line. Returns 0 or an errno; ENODATA when the file has to be written anew. */
static int append(struct history *h, const char *line)
{
    int fd =
        open(h->path, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC, 0600);
    struct stat st;
    char *text;
    bool partly;
    int result;

    if (fd < 0)
        return errno;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return EINVAL;
    }
    /* Somebody cleaned up behind our back. */
    if (st.st_size == 0 && h->lines > 0) {
        close(fd);
        return ENODATA;
    }
    text = g_strconcat(h->torn ? "\n" : "", line, NULL);
    result = write_once(fd, text, strlen(text), &partly);
    if (result == 0) {
        h->lines++;
        h->torn = false;
    } else if (partly) {
        h->torn = true;
    }
    g_free(text);
    close(fd);
    return result;
}

void history_put(struct history *h, const struct history_record *record)
{
    struct history_record copy = *record;
    char *line;
    int result = ENODATA;

    g_return_if_fail(record->run != 0 && record->name);
    copy.name = g_strdup(record->name);
    copy.error_name = g_strdup(record->error_name);
    copy.error_message = g_strdup(record->error_message);
    insert(h, &copy);

    if (!h->unsaved && h->lines < LINES_MAX) {
        line = history_format_line(record);
        result = append(h, line);
        g_free(line);
    }
    if (result == ENODATA)
        result = compact(h);
    if (result != 0) {
        h->unsaved = true;
        warn(h, result);
    }
}

const struct history_record *history_find(struct history *h, guint64 run)
{
    guint at = position_of(h, run);
    const struct history_record *r =
        at < h->records->len ? g_ptr_array_index(h->records, at) : NULL;

    return r && r->run == run ? r : NULL;
}

void history_foreach(struct history *h, guint n,
                     void (*each)(const struct history_record *record, void *data), void *data)
{
    guint first = n > 0 && n < h->records->len ? h->records->len - n : 0;

    for (guint i = first; i < h->records->len; i++)
        each(g_ptr_array_index(h->records, i), data);
}

guint64 history_last_run_id(const struct history *h)
{
    return h->last_run;
}
