/* SPDX-License-Identifier: MIT */
/* From a request to a program that runs: the file, the user, the environment, a reaper. */
#include "daemon/reapers.h"
#include "daemon/rooms/user-lookup.h"

#include <string.h>
#include <unistd.h>

/* dbus-daemon gives up at its own limit; the answer through the signal door has to be there
 * before. */
#define MARGIN_MS 500
/* When the spare that was used up is replaced although its service still starts. */
#define REPLACE_MS 200
/* How long a reaper may take to spawn the program before it is looked at, and how many reapers
 * may die of one run before it spawned anything. */
#define WORD_MS     1000
#define REAPERS_MAX 3

static gboolean on_start_timeout(gpointer data)
{
    struct run *run = data;

    run->start_timer = 0;
    run_timed_out(run);
    return G_SOURCE_REMOVE;
}

static gboolean asked_by_signal(struct service *s)
{
    for (GList *at = s->requests->head; at; at = at->next) {
        struct request *request = at->data;
        if (request->door == REQUEST_SIGNAL)
            return TRUE;
    }
    return FALSE;
}

void run_arm_start_timer(struct run *run)
{
    struct activator *a = run->a;
    gint64 limit = a->place->start_timeout_ms;
    gint64 passed = ((gint64)now_usec() - (gint64)run->requested) / 1000;

    if (run->start_timer)
        return;
    /* A run that came over from a predecessor may have been asked for by signal. */
    if (asked_by_signal(run->service) || run->recovered)
        limit = MAX(limit - MARGIN_MS, limit / 2);
    else
        limit += MARGIN_MS;
    if (a->options->start_timeout >= 0)
        limit = MIN(limit, (gint64)(a->options->start_timeout * 1000));
    /* A clock that was set back or forward shortens or lengthens it once, within the limit. */
    limit -= CLAMP(passed, 0, limit);
    run->start_timer = g_timeout_add((guint)limit, on_start_timeout, run);
}

/* --- the environment ----------------------------------------------------------------------- */

static const char *const not_inherited[] = {"NOTIFY_SOCKET",  "LISTEN_FDS",     "LISTEN_PID",
                                            "LISTEN_FDNAMES", "JOURNAL_STREAM", "INVOCATION_ID",
                                            "LISTEN_PIDFDID"};

static gboolean is_inherited(const char *name, gsize length)
{
    for (gsize i = 0; i < G_N_ELEMENTS(not_inherited); i++) {
        if (strlen(not_inherited[i]) == length && strncmp(name, not_inherited[i], length) == 0)
            return FALSE;
    }
    return TRUE;
}

static void add_pair(GPtrArray *env, const char *name, const char *value)
{
    /* Half a hundred of them stand between a request and its program: no formatting. */
    g_ptr_array_add(env, g_strconcat(name, "=", value, NULL));
}

static void add_bus(struct activator *a, GPtrArray *env)
{
    add_pair(env, "DBUS_STARTER_ADDRESS", a->starter_address);
    if (a->system) {
        add_pair(env, "DBUS_STARTER_BUS_TYPE", "system");
        return;
    }
    if (a->place->type)
        add_pair(env, "DBUS_STARTER_BUS_TYPE", a->place->type);
    add_pair(env, "DBUS_SESSION_BUS_ADDRESS", a->starter_address);
}

static gboolean is_ours(const char *pair, gsize length)
{
    return (length == 20 && strncmp(pair, "DBUS_STARTER_ADDRESS", length) == 0) ||
           (length == 21 && strncmp(pair, "DBUS_STARTER_BUS_TYPE", length) == 0) ||
           (length == 24 && strncmp(pair, "DBUS_SESSION_BUS_ADDRESS", length) == 0);
}

/* What the service gets. from (the helper's own environment) is taken; NULL: the activator's. */
static char **build_environment(struct activator *a, char **from)
{
    GPtrArray *env = g_ptr_array_new();

    if (!a->system && from) {
        for (char **pair = from; *pair; pair++) {
            gsize length = strcspn(*pair, "=");
            if (is_inherited(*pair, length) && !is_ours(*pair, length))
                g_ptr_array_add(env, g_strdup(*pair));
        }
    } else if (!a->system) {
        GHashTableIter iter;
        gpointer name = NULL;
        gpointer value = NULL;
        g_hash_table_iter_init(&iter, a->environment);
        while (g_hash_table_iter_next(&iter, &name, &value)) {
            if (is_inherited(name, strlen(name)) && !is_ours(name, strlen(name)))
                add_pair(env, name, value);
        }
    }
    add_bus(a, env);
    g_ptr_array_add(env, NULL);
    g_strfreev(from);
    return (char **)g_ptr_array_free(env, FALSE);
}

/* --- a reaper for it ----------------------------------------------------------------------- */

static gboolean on_replace(gpointer data)
{
    struct activator *a = data;

    a->replace_timer = 0;
    spares_want(a);
    return G_SOURCE_REMOVE;
}

/* A reaper that is held cannot tell, and would spawn the program when it is continued, however
 * late. Its end is reported by the top reaper, and the run goes to another one. */
static gboolean on_no_word(gpointer data)
{
    struct run *run = data;

    run->word_timer = 0;
    if (!run->peer)
        return G_SOURCE_REMOVE;
    if (reaper_end_held(run->peer->link))
        g_warning("the reaper of %s (pid %d) is held: another one takes its place",
                  run->service->name, (int)run->reaper_pid);
    run->word_ms *= 2;
    run->word_timer = g_timeout_add(run->word_ms, on_no_word, run);
    return G_SOURCE_REMOVE;
}

void start_spawned(struct run *run)
{
    run->a->spares_failed = 0;
    if (run->peer)
        run->peer->copied = 0;
    g_clear_handle_id(&run->word_timer, g_source_remove);
    g_clear_pointer(&run->env, g_strfreev);
}

static gboolean on_again(gpointer data)
{
    start_with_spare(data);
    return G_SOURCE_REMOVE;
}

gboolean start_again(struct run *run)
{
    struct activator *a = run->a;
    char *record = g_strdup_printf("%s/runs/%" G_GUINT64_FORMAT, a->runtime_dir, run->id);

    if (!run->env || run->spawned_pid || run->reapers >= REAPERS_MAX || a->leaving) {
        g_free(record);
        return FALSE;
    }
    g_clear_handle_id(&run->word_timer, g_source_remove);
    unlink(record);
    g_free(record);
    run->empty = run->at_top = FALSE;
    run->ended = run->seq = run->top_seq = 0;
    run->reaper_pid = 0;
    run->unborn = TRUE;
    g_queue_push_head(a->waiting, run);
    /* Not before the receipt for the end of the old one has gone to the top reaper. */
    g_idle_add_full(G_PRIORITY_DEFAULT, on_again, a, NULL);
    return TRUE;
}

void start_with_spare(struct activator *a)
{
    while (!g_queue_is_empty(a->waiting) && !g_queue_is_empty(a->idle_spares)) {
        struct run *run = g_queue_pop_head(a->waiting);
        run->unborn = FALSE;
        reapers_dispatch(g_queue_peek_head(a->idle_spares), run);
        if (!run->peer)
            continue;
        run->reapers++;
        run->word_ms = WORD_MS;
        run->word_timer = g_timeout_add(run->word_ms, on_no_word, run);
    }
    if (!g_queue_is_empty(a->waiting))
        spares_want(a);
    else if (g_queue_is_empty(a->idle_spares) && !a->replace_timer)
        /* Its replacement would compete with the service for the processor just now. */
        a->replace_timer = g_timeout_add(REPLACE_MS, on_replace, a);
}

void start_abandon(struct run *run)
{
    g_queue_remove(run->a->waiting, run);
    run->unborn = FALSE;
    run->empty = TRUE;
    run->ended = now_usec();
    if (run->lookup) {
        user_lookup_cancel(run->lookup);
        run->lookup = NULL;
    }
}

void start_without_spare(struct activator *a, int number)
{
    struct run *run = NULL;

    while ((run = g_queue_pop_head(a->waiting))) {
        start_abandon(run);
        run_spawn_failed(run, SPAWN_STAGE_FORK, number, now_usec());
    }
}

void start_cancel(struct run *run)
{
    start_abandon(run);
    stop_note(run);
    run_judge(run);
}

static void enqueue(struct run *run)
{
    struct activator *a = run->a;

    g_queue_push_tail(a->waiting, run);
    start_with_spare(a);
}

static void become(struct run *run, const struct user_info *info)
{
    run->uid = info->uid;
    run->gid = info->gid;
    run->n_groups = info->ngroups;
    run->groups = g_memdup2(info->groups, info->ngroups * sizeof *info->groups);
}

static void on_user(void *data, const struct user_info *info, const char *error)
{
    struct run *run = data;

    run->lookup = NULL;
    if (!info) {
        char *text = g_strdup_printf("Cannot start service %s as user \"%s\": %s",
                                     run->service->name, run->user, error);
        struct verdict_text v = {.code = VERDICT_SETUP_FAILED,
                                 .error_name = ERROR_PREFIX "Spawn.FailedToSetup",
                                 .message = text};
        start_abandon(run);
        run_fail(run, &v);
        g_free(text);
        return;
    }
    become(run, info);
    enqueue(run);
}

/* --- the start ----------------------------------------------------------------------------- */

/* What is told of the newest run, of which nothing is known yet. */
static void begin_record(struct service *s, guint64 id, guint64 requested)
{
    s->run_id = id;
    s->requested = requested;
    s->started = s->latency = s->exited = 0;
    s->exit_known = FALSE;
}

static gboolean refuse(struct service *s, guint8 code, const char *error_name, char *message)
{
    struct verdict_text v = {.code = code, .error_name = error_name, .message = message};
    struct history_record r = {.run = s->refused_id ? s->refused_id : run_next_id(s->a),
                               .name = s->name,
                               .requested = now_usec(),
                               .error_name = (char *)error_name,
                               .error_message = message,
                               .result = HISTORY_FAILED};

    /* One entry for as long as it stays so: who asks every second is not to push out the rest. */
    s->refused_id = r.run;
    history_put(s->a->history, &r);
    if (s->runs->len == 0)
        begin_record(s, r.run, r.requested);
    service_fail(s, &v);
    g_free(message);
    return FALSE;
}

static gboolean is_startable(struct service *s, const struct catalogue_entry *entry)
{
    if (!entry)
        return refuse(
            s, VERDICT_NOT_FOUND, ERROR_PREFIX "ServiceUnknown",
            g_strdup_printf("The name %s was not provided by any .service files", s->name));
    if (entry->problem || !entry->argv || !entry->argv[0])
        return refuse(s, VERDICT_INVALID_ARGS, ERROR_PREFIX "InvalidArgs",
                      g_strdup_printf("Exec= of %s does not parse: %s", entry->file,
                                      entry->problem ? entry->problem : "it is empty"));
    if (s->a->system && !entry->user)
        return refuse(
            s, VERDICT_FILE_INVALID, ERROR_PREFIX "Spawn.FileInvalid",
            g_strdup_printf("%s has no User=, which a system service needs", entry->file));
    return TRUE;
}

static void describe(struct service *s, struct run *run)
{
    begin_record(s, run->id, run->requested);
    s->refused_id = 0;
    s->end_failed = FALSE;
    g_clear_pointer(&s->error_name, g_free);
    g_clear_pointer(&s->error_message, g_free);
    g_strfreev(s->command);
    s->command = g_strdupv(run->command);
    g_free(s->file);
    s->file = g_strdup(run->file);
    g_free(s->user);
    s->user = g_strdup(run->user);
}

void service_start(struct service *s, char **env, guint64 requested)
{
    struct activator *a = s->a;
    struct catalogue_entry *entry = catalogue_lookup_fresh(a->catalogue, s->name);

    if (!is_startable(s, entry)) {
        g_strfreev(env);
        return;
    }
    struct run *run = run_new(a, s, 0);
    run->requested = requested;
    run->unborn = TRUE;
    run->file = g_strdup(entry->file);
    run->command = g_strdupv(entry->argv);
    if (a->system)
        run->user = g_strdup(entry->user);
    run->env = build_environment(a, env);
    if (!a->system)
        run->home = g_strdup(g_environ_getenv(run->env, "HOME"));
    describe(s, run);
    run_arm_start_timer(run);
    const struct user_info *known = a->system ? user_lookup_known(run->user) : NULL;
    if (known)
        become(run, known);
    if (a->system && !known)
        run->lookup = user_lookup(run->user, on_user, run);
    else
        enqueue(run);
    service_update(s);
}
