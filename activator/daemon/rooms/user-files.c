/* SPDX-License-Identifier: MIT */
#include "daemon/rooms/user-files.h"

#include <string.h>
#include <sys/stat.h>

/* A file that changed so shortly ago may change again without another time of change. */
#define SETTLED_NS (2 * G_GINT64_CONSTANT(1000000000))

static const char *const names[] = {"/etc/nsswitch.conf", "/etc/passwd", "/etc/group"};

/* Where nss-systemd finds accounts; one of these and it is asked each time. Without a systemd
 * and without these it knows root and nobody only, as every machine does. */
static const char *const records[] = {"/run/systemd/userdb",   "/run/userdb", "/run/host/userdb",
                                      "/usr/local/lib/userdb", "/etc/userdb", "/usr/lib/userdb"};

static gboolean exists(const char *root, const char *name)
{
    char *path = g_strconcat(root, name, NULL);
    struct stat s;
    gboolean found = stat(path, &s) == 0;

    g_free(path);
    return found;
}

/* One line of nsswitch.conf: TRUE unless it names another source of accounts. */
static gboolean line_is_local(char *line, gboolean *systemd)
{
    char *colon = NULL;
    char **words = NULL;
    gboolean local = TRUE;

    line[strcspn(line, "#")] = '\0';
    colon = strchr(line, ':');
    if (!colon)
        return TRUE;
    *colon = '\0';
    g_strstrip(line);
    if (strcmp(line, "passwd") != 0 && strcmp(line, "group") != 0 &&
        strcmp(line, "initgroups") != 0)
        return TRUE;
    words = g_strsplit_set(colon + 1, " \t", -1);
    for (char **word = words; *word; word++) {
        if (strcmp(*word, "systemd") == 0)
            *systemd = TRUE;
        else if (**word && strcmp(*word, "files") != 0)
            local = FALSE;
    }
    g_strfreev(words);
    return local;
}

static gboolean is_local(const char *root)
{
    char *path = g_strconcat(root, names[0], NULL);
    char *text = NULL;
    gboolean systemd = FALSE;
    gboolean local = g_file_get_contents(path, &text, NULL, NULL);
    char **lines = g_strsplit(local ? text : "", "\n", -1);

    for (char **line = lines; *line; line++)
        local = line_is_local(*line, &systemd) && local;
    for (gsize i = 0; systemd && local && i < G_N_ELEMENTS(records); i++)
        local = !exists(root, records[i]);
    g_strfreev(lines);
    g_free(text);
    g_free(path);
    return local;
}

void user_files_look(struct user_files *f, const char *root)
{
    gint64 now = g_get_real_time() * 1000;

    memset(f, 0, sizeof *f);
    f->alone = is_local(root);
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        char *path = g_strconcat(root, names[i], NULL);
        struct stat s;
        if (stat(path, &s) == 0) {
            f->file[i].device = s.st_dev;
            f->file[i].inode = s.st_ino;
            f->file[i].size = (guint64)s.st_size;
            f->file[i].changed = (gint64)s.st_ctim.tv_sec * 1000000000 + s.st_ctim.tv_nsec;
        }
        if (f->file[i].inode == 0 || now - f->file[i].changed < SETTLED_NS)
            f->alone = FALSE;
        g_free(path);
    }
}

gboolean user_files_same(const struct user_files *a, const struct user_files *b)
{
    if (!a->alone || !b->alone)
        return FALSE;
    for (gsize i = 0; i < G_N_ELEMENTS(a->file); i++) {
        if (a->file[i].device != b->file[i].device || a->file[i].inode != b->file[i].inode ||
            a->file[i].size != b->file[i].size || a->file[i].changed != b->file[i].changed)
            return FALSE;
    }
    return TRUE;
}
