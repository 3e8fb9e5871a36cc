/* SPDX-License-Identifier: MIT */
#include "daemon/rooms/dir-watch.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <limits.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

/* Creation counts too: a symbolic or hard link is never written to and closed. */
#define FILES_MASK                                                                                 \
    (IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ATTRIB)
/* The file is as it is meant to be. (Linked ones are not told from those that are begun.) */
#define COMPLETE_MASK (IN_CLOSE_WRITE | IN_MOVED_TO)
#define NAME_MASK     (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO)
#define SELF_MASK     (IN_DELETE_SELF | IN_MOVE_SELF)
/* As many links on one way as the kernel follows. */
#define LINKS_MAX 40

/* One watched inode. */
struct watched {
    bool files;       /* it is one of the directories: every *.service in it matters */
    GPtrArray *names; /* of what matters on the way to one of them, or NULL */
};

struct dir_watch {
    int fd; /* -1: none */
    GSource *source;
    GHashTable *watched; /* wd -> struct watched */
    GPtrArray *dirs;     /* char * */
    void (*news)(bool complete, void *data);
    void *data;
    bool dirty;
    bool complete; /* at least one file is */
    bool moved;    /* the ways to the directories may lead elsewhere now */
    bool blind;    /* something could not be watched */
    bool warned;
};

static void watched_free(gpointer data)
{
    struct watched *one = data;

    if (one->names)
        g_ptr_array_unref(one->names);
    g_free(one);
}

static void warn(struct dir_watch *w)
{
    if (!w->warned)
        g_message("Changes of service files are noticed by requests and by Reload only: %s",
                  g_strerror(errno));
    w->warned = true;
}

/* Adds to what is watched of path. name (or NULL) is what matters in it. False when it is not
 * there any more. */
static bool add(struct dir_watch *w, const char *path, uint32_t mask, const char *name)
{
    int wd = inotify_add_watch(w->fd, path, mask | IN_MASK_ADD | IN_ONLYDIR);
    struct watched *one;

    if (wd < 0) {
        if (errno == ENOENT || errno == ENOTDIR)
            return false;
        w->blind = true;
        if (errno != EACCES)
            warn(w);
        return true;
    }
    one = g_hash_table_lookup(w->watched, GINT_TO_POINTER(wd));
    if (!one) {
        one = g_new0(struct watched, 1);
        g_hash_table_insert(w->watched, GINT_TO_POINTER(wd), one);
    }
    if (name) {
        if (!one->names)
            one->names = g_ptr_array_new_with_free_func(g_free);
        g_ptr_array_add(one->names, g_strdup(name));
    } else if (mask & IN_CLOSE_WRITE) {
        one->files = true;
    }
    return true;
}

/* On the way: where we are, and what is still to go. */
struct walk {
    char *at;
    char *rest;
    guint links; /* followed so far */
};

/* Cuts the next component off the rest; NULL at the end. g_free(). */
static char *next_component(struct walk *walk)
{
    const char *start = walk->rest + strspn(walk->rest, "/");
    gsize length = strcspn(start, "/");
    char *component, *rest;

    if (length == 0)
        return NULL;
    component = g_strndup(start, length);
    rest = g_strdup(start + length);
    g_free(walk->rest);
    walk->rest = rest;
    return component;
}

static void move_to(struct walk *walk, char *path)
{
    g_free(walk->at);
    walk->at = path;
}

/* The component is a link: watches for its replacement and goes where it leads. False when it
 * leads in circles. */
static bool follow_link(struct dir_watch *w, struct walk *walk, const char *component,
                        const char *path)
{
    char target[PATH_MAX];
    ssize_t length;
    char *rest;

    add(w, walk->at, NAME_MASK | SELF_MASK, component);
    if (walk->links++ == LINKS_MAX)
        return false;
    length = readlink(path, target, sizeof target - 1);
    if (length <= 0)
        length = 0;
    target[length] = '\0';
    rest = g_strconcat(target, "/", walk->rest, NULL);
    g_free(walk->rest);
    walk->rest = rest;
    if (target[0] == '/')
        move_to(walk, g_strdup("/"));
    return true;
}

/* Goes one step. False when the way ends here. */
static bool step(struct dir_watch *w, struct walk *walk, const char *component)
{
    char *path;
    struct stat st;
    bool missing, on;

    if (strcmp(component, ".") == 0)
        return true;
    if (strcmp(component, "..") == 0) {
        move_to(walk, g_path_get_dirname(walk->at));
        return true;
    }
    path = g_strconcat(strcmp(walk->at, "/") == 0 ? "" : walk->at, "/", component, NULL);
    missing = lstat(path, &st) < 0;
    if (missing) {
        add(w, walk->at, NAME_MASK | SELF_MASK, component);
        /* It may have come before the watch did. */
        missing = lstat(path, &st) < 0;
    }
    if (!missing && S_ISLNK(st.st_mode)) {
        on = follow_link(w, walk, component, path);
        g_free(path);
        return on;
    }
    if (missing || !S_ISDIR(st.st_mode)) {
        add(w, walk->at, NAME_MASK | SELF_MASK, component);
        g_free(path);
        return false;
    }
    /* Gone between two looks: what happens there next is seen from its parent. */
    if (!add(w, path, SELF_MASK, NULL))
        add(w, walk->at, NAME_MASK | SELF_MASK, component);
    move_to(walk, path);
    return true;
}

static void watch_way(struct dir_watch *w, const char *dir)
{
    struct walk walk = {g_strdup("/"), g_strdup(dir), 0};
    char *component = NULL;
    bool arrived = dir[0] == '/';

    while (arrived && (component = next_component(&walk))) {
        arrived = step(w, &walk, component);
        g_free(component);
    }
    if (arrived)
        add(w, walk.at, FILES_MASK | SELF_MASK, NULL);
    g_free(walk.at);
    g_free(walk.rest);
}

/* Is the event of any interest? Notes when the ways changed. */
static bool matters(struct dir_watch *w, const struct inotify_event *event)
{
    const struct watched *one;

    if (event->mask & (IN_Q_OVERFLOW | IN_UNMOUNT | IN_DELETE_SELF | IN_MOVE_SELF)) {
        w->moved = true;
        return true;
    }
    one = g_hash_table_lookup(w->watched, GINT_TO_POINTER(event->wd));
    if (!one || event->mask & IN_IGNORED)
        return false;
    for (guint i = 0; one->names && event->len > 0 && i < one->names->len; i++) {
        if (strcmp(g_ptr_array_index(one->names, i), event->name) != 0)
            continue;
        w->moved = true;
        return true;
    }
    if (!one->files || (event->len > 0 && !g_str_has_suffix(event->name, ".service")))
        return false;
    if (event->mask & COMPLETE_MASK)
        w->complete = true;
    return true;
}

/* Takes in what the kernel has to tell. */
static void drain(struct dir_watch *w)
{
    char buffer[16384] __attribute__((aligned(__alignof__(struct inotify_event))));
    ssize_t n;

    while (w->fd >= 0 && ((n = read(w->fd, buffer, sizeof buffer)) > 0 || errno == EINTR)) {
        for (char *at = buffer; n > 0 && at < buffer + n;) {
            const struct inotify_event *event = (const void *)at;

            if (matters(w, event))
                w->dirty = true;
            at += sizeof *event + event->len;
        }
    }
}

static gboolean on_events(int fd, GIOCondition condition, gpointer data)
{
    struct dir_watch *w = data;

    (void)fd;
    (void)condition;
    drain(w);
    if (w->dirty)
        w->news(w->complete, w->data);
    return G_SOURCE_CONTINUE;
}

static void stop(struct dir_watch *w)
{
    if (w->source) {
        g_source_destroy(w->source);
        g_clear_pointer(&w->source, g_source_unref);
    }
    if (w->fd >= 0)
        close(w->fd);
    w->fd = -1;
    g_hash_table_remove_all(w->watched);
}

static void begin(struct dir_watch *w)
{
    stop(w);
    w->moved = w->blind = false;
    w->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (w->fd < 0) {
        warn(w);
        return;
    }
    for (guint i = 0; i < w->dirs->len; i++)
        watch_way(w, g_ptr_array_index(w->dirs, i));
    w->source = g_unix_fd_source_new(w->fd, G_IO_IN);
    g_source_set_callback(w->source, G_SOURCE_FUNC(on_events), w, NULL);
    g_source_attach(w->source, NULL);
}

struct dir_watch *dir_watch_new(void (*news)(bool complete, void *data), void *data)
{
    struct dir_watch *w = g_new0(struct dir_watch, 1);

    w->fd = -1;
    w->watched = g_hash_table_new_full(NULL, NULL, NULL, watched_free);
    w->dirs = g_ptr_array_new_with_free_func(g_free);
    w->news = news;
    w->data = data;
    return w;
}

void dir_watch_free(struct dir_watch *w)
{
    if (!w)
        return;
    stop(w);
    g_hash_table_unref(w->watched);
    g_ptr_array_unref(w->dirs);
    g_free(w);
}

void dir_watch_set(struct dir_watch *w, const GPtrArray *dirs)
{
    g_ptr_array_set_size(w->dirs, 0);
    for (guint i = 0; i < dirs->len; i++)
        g_ptr_array_add(w->dirs, g_strdup(g_ptr_array_index(dirs, i)));
    begin(w);
}

bool dir_watch_take(struct dir_watch *w)
{
    bool dirty;

    drain(w);
    dirty = w->dirty;
    w->dirty = w->complete = false;
    if (w->moved)
        begin(w);
    return dirty;
}

bool dir_watch_is_complete(const struct dir_watch *w)
{
    return w->fd >= 0 && !w->blind;
}
