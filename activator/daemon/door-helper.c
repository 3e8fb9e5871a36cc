/* SPDX-License-Identifier: MIT */
/* The front door of the launch helpers: one connection a request, open until the verdict. */
#include "daemon/reapers.h"

#include "common/block.h"
#include "common/parse/bus-name.h"

#include <string.h>
#include <sys/mman.h>

#define ENVIRONMENT_MAX (8u << 20)

/* The strings of a NUL-separated block; g_strfreev(). */
static char **split_block(const char *block, gsize length)
{
    GPtrArray *list = g_ptr_array_new();
    const char *end = block + length;

    for (const char *at = block; at < end;) {
        const char *stop = memchr(at, '\0', (gsize)(end - at));
        gsize size = (gsize)((stop ? stop : end) - at);
        if (memchr(at, '=', size) && *at != '=')
            g_ptr_array_add(list, g_strndup(at, size));
        at += size + 1;
    }
    g_ptr_array_add(list, NULL);
    return (char **)g_ptr_array_free(list, FALSE);
}

static char **environment_of(const char *block, gsize length, int fd)
{
    size_t size = 0;

    /* It lay in a descriptor that could not be received. */
    if (fd < 0 && length == 0)
        return NULL;
    if (fd < 0)
        return split_block(block, length);
    const void *memory = block_map(fd, 0, ENVIRONMENT_MAX, &size);
    if (!memory)
        return NULL;
    char **list = split_block(memory, size);
    munmap((void *)memory, size);
    return list;
}

static void send_verdict(struct peer *p, const struct verdict_text *v)
{
    static struct message m;
    char *text = g_strndup(v->message, 4000);

    message_begin(&m, MESSAGE_VERDICT);
    message_put_u8(&m, v->code);
    message_put_u8(&m, v->how);
    message_put_u32(&m, (guint32)v->status);
    message_put_string(&m, v->error_name);
    message_put_string(&m, text);
    link_send(p->link, &m, NULL, 0);
    g_free(text);
}

void door_helper_verdict(struct request *request, const struct verdict_text *v)
{
    struct verdict_text shown = *v;

    if (!request->peer)
        return;
    if (v->code == VERDICT_SHUTTING_DOWN && !request->peer->a->system)
        shown.code = VERDICT_NOT_SERVED;
    send_verdict(request->peer, &shown);
}

static void serve(struct peer *p)
{
    struct activator *a = p->a;
    struct request *request = g_new0(struct request, 1);

    request->door = REQUEST_HELPER;
    request->peer = p;
    request->env = g_steal_pointer(&p->held_env);
    request->time = now_usec();
    p->held = FALSE;
    p->asked = service_get(a, p->held_name);
    service_request(p->asked, request);
}

static const struct verdict_text no_descriptor = {
    .code = VERDICT_NO_MEMORY,
    .error_name = ERROR_PREFIX "LimitsExceeded",
    .message = "the activator has no descriptor left for the environment of this request"};

static gboolean on_request(struct peer *p, struct message_reader *r, int fd)
{
    gsize length = 0;
    guint8 kind = message_get_u8(r);
    const char *name = message_get_string(r);
    const char *file = message_get_string(r);
    const char *block = message_get_bytes(r, &length);

    if (!message_read_end(r) || p->held_name || !bus_name_is_well_known(name) ||
        (kind == 0) != p->a->system)
        return FALSE;
    g_clear_handle_id(&p->silence, g_source_remove);
    p->held_name = g_strdup(name);
    p->held_file = g_strdup(file);
    if (kind == 1) {
        p->held_env = environment_of(block, length, fd);
        if (!p->held_env && (fd >= 0 || length > 0))
            return FALSE;
        if (!p->held_env) {
            send_verdict(p, &no_descriptor);
            return TRUE;
        }
    }
    p->held = TRUE;
    if (p->a->serving)
        serve(p);
    return TRUE;
}

static void on_message(struct link *l, struct message_reader *r, int fds[MESSAGE_MAX_FDS],
                       void *data)
{
    struct peer *p = data;

    (void)l;
    if (r->type == MESSAGE_REQUEST && on_request(p, r, fds[0]))
        return;
    g_warning("pid %d sent a request that makes no sense: dropped", (int)p->pid);
    service_forget_peer(p->a, p);
    peer_free(p);
}

static void on_closed(struct link *l, const char *why, void *data)
{
    struct peer *p = data;

    (void)l;
    if (why)
        g_warning("request of pid %d dropped: %s", (int)p->pid, why);
    /* dbus-daemon killed the helper at its limit: the caller has given up. */
    service_forget_peer(p->a, p);
    peer_free(p);
}

static const struct link_handler handler = {.message = on_message, .closed = on_closed};

static void on_accepted(int fd, void *data)
{
    peer_new(data, fd, &handler, PEER_HELPER);
}

gboolean door_helper_open(struct activator *a, GError **error)
{
    char *path = runtime_dir_path(a, "requests");

    a->requests = listener_new(path, on_accepted, a, error);
    g_free(path);
    return a->requests != NULL;
}

void door_helper_close(struct activator *a)
{
    listener_free(g_steal_pointer(&a->requests), a->reexec || a->replaced);
}

void door_helper_serve_held(struct activator *a)
{
    GHashTableIter iter;
    gpointer key = NULL;
    GPtrArray *held = g_ptr_array_new();

    g_hash_table_iter_init(&iter, a->peers);
    while (g_hash_table_iter_next(&iter, &key, NULL)) {
        struct peer *p = key;
        if (p->held)
            g_ptr_array_add(held, p);
    }
    for (guint i = 0; i < held->len; i++)
        serve(g_ptr_array_index(held, i));
    g_ptr_array_unref(held);
}
