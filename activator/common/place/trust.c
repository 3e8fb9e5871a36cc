/* SPDX-License-Identifier: MIT */
#include "common/place/trust.h"

#include <errno.h>
#include <glib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINKS_MAX 40

static bool is_safe(const struct stat *st)
{
    if (st->st_uid != 0 && st->st_uid != geteuid())
        return false;
    if (S_ISLNK(st->st_mode) || !(st->st_mode & (S_IWGRP | S_IWOTH)))
        return true;
    return S_ISDIR(st->st_mode) && st->st_mode & S_ISVTX;
}

static bool trust(const char *path, guint links);

/* Goes on where the link at `link`, with `rest` behind it, leads. */
static bool trust_link(const char *link, const char *rest, guint links)
{
    char *target = g_file_read_link(link, NULL);
    char *folder = g_path_get_dirname(link);
    char *whole = NULL;
    bool ok = false;

    if (target && target[0] == '/')
        whole = g_strconcat(target, rest, NULL);
    else if (target)
        whole = g_strconcat(folder, "/", target, rest, NULL);
    if (whole && links < LINKS_MAX)
        ok = trust(whole, links + 1);
    g_free(whole);
    g_free(folder);
    g_free(target);
    return ok;
}

static bool trust(const char *path, guint links)
{
    char *way = g_strdup(path);
    gsize length = strlen(way);
    bool ok = path[0] == '/';
    gsize at = 1;

    /* Each prefix in turn, "/" the first. */
    while (ok) {
        char after = way[at];
        struct stat st;

        way[at] = '\0';
        if (lstat(way, &st) < 0) {
            ok = errno == ENOENT;
            break;
        }
        ok = is_safe(&st);
        if (ok && S_ISLNK(st.st_mode)) {
            ok = trust_link(way, path + at, links);
            break;
        }
        way[at] = after;
        while (at < length && way[at] == '/')
            at++;
        if (at >= length)
            break;
        at += strcspn(way + at, "/");
    }
    g_free(way);
    return ok;
}

bool trust_path(const char *path)
{
    return trust(path, 0);
}
