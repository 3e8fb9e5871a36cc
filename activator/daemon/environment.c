/* SPDX-License-Identifier: MIT */
/* What services find in their environment: what the activator was started with and what clients of
 * a session bus have set since (dbus-update-activation-environment at login: DISPLAY and the like).
 * The bus tells of the latter once; the next activator, after a crash or a reexec, has it from a
 * file. */
#include "daemon/activator.h"
#include "daemon/rooms/read-end.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FILE_NAME "environment"
/* More than a bus lets through in one message. */
#define ENVIRONMENT_MAX (128u << 20)

static void insert(GHashTable *table, const char *pair)
{
    const char *equals = strchr(pair, '=');

    if (equals && equals != pair)
        g_hash_table_insert(table, g_strndup(pair, (gsize)(equals - pair)), g_strdup(equals + 1));
}

void environment_init(struct activator *a)
{
    char **list = g_get_environ();

    a->environment = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    a->environment_set = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    for (char **pair = list; *pair; pair++) {
        if (!g_str_has_prefix(*pair, "DBUS_ACTIVATOR_TOP_"))
            insert(a->environment, *pair);
    }
    g_strfreev(list);
}

void environment_recall(struct activator *a)
{
    char *path = runtime_dir_path(a, FILE_NAME);
    char *text = NULL;
    gsize length = 0;

    /* One NUL after each pair; read_end() puts another one behind the last. */
    int fd = a->system ? -1 : read_end_open(path);
    text = fd < 0 ? NULL : read_end(fd, ENVIRONMENT_MAX, &length, NULL);
    if (fd >= 0)
        close(fd);
    if (text) {
        for (const char *pair = text; pair < text + length; pair += strlen(pair) + 1) {
            insert(a->environment, pair);
            insert(a->environment_set, pair);
        }
    }
    g_free(text);
    g_free(path);
}

/* GLib's own would wait for the disk, where there is one. Returns 0 or a negative errno. */
static int write_all(const char *path, const GString *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    int result = fd < 0 ? -errno : 0;

    for (gsize at = 0; fd >= 0 && result == 0 && at < text->len;) {
        ssize_t written = write(fd, text->str + at, text->len - at);
        if (written >= 0)
            at += (gsize)written;
        else if (errno != EINTR)
            result = -errno;
    }
    if (fd >= 0)
        close(fd);
    return result;
}

static void save(struct activator *a)
{
    GString *text = g_string_new(NULL);
    char *path = runtime_dir_path(a, FILE_NAME);
    char *fresh = g_strconcat(path, "~", NULL);
    GHashTableIter iter;
    gpointer name = NULL;
    gpointer value = NULL;

    g_hash_table_iter_init(&iter, a->environment_set);
    while (g_hash_table_iter_next(&iter, &name, &value)) {
        g_string_append_printf(text, "%s=%s", (char *)name, (char *)value);
        g_string_append_c(text, '\0');
    }
    int result = write_all(fresh, text);
    if (result == 0 && rename(fresh, path) < 0)
        result = -errno;
    if (result < 0) {
        unlink(fresh);
        g_warning("cannot write %s: %s; an activator that is restarted will not know what clients "
                  "have set",
                  path, g_strerror(-result));
    }
    g_free(fresh);
    g_free(path);
    g_string_free(text, TRUE);
}

void environment_set(struct activator *a, char **pairs)
{
    for (; *pairs; pairs++) {
        insert(a->environment, *pairs);
        insert(a->environment_set, *pairs);
    }
    save(a);
}
