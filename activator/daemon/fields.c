/* SPDX-License-Identifier: MIT */
/* What the interface tells of services, processes and past runs. */
#include "daemon/reapers.h"

#include "common/process-tree.h"

#include <string.h>

static void add_basic(DBusMessageIter *dict, const char *key, int type, const void *value)
{
    DBusMessageIter entry;
    DBusMessageIter variant;
    const char signature[] = {(char)type, '\0'};

    if (!dbus_message_iter_open_container(dict, DBUS_TYPE_DICT_ENTRY, NULL, &entry) ||
        !dbus_message_iter_append_basic(&entry, DBUS_TYPE_STRING, &key) ||
        !dbus_message_iter_open_container(&entry, DBUS_TYPE_VARIANT, signature, &variant) ||
        !dbus_message_iter_append_basic(&variant, type, value) ||
        !dbus_message_iter_close_container(&entry, &variant) ||
        !dbus_message_iter_close_container(dict, &entry))
        g_error("out of memory");
}

static void add_string(DBusMessageIter *dict, const char *key, const char *value)
{
    if (!value)
        return;
    char *text = bus_text(value);
    add_basic(dict, key, DBUS_TYPE_STRING, &text);
    g_free(text);
}

static void add_u32(DBusMessageIter *dict, const char *key, guint64 value)
{
    dbus_uint32_t number = (dbus_uint32_t)value;

    add_basic(dict, key, DBUS_TYPE_UINT32, &number);
}

static void add_time(DBusMessageIter *dict, const char *key, guint64 value)
{
    dbus_uint64_t number = value;

    if (value)
        add_basic(dict, key, DBUS_TYPE_UINT64, &number);
}

static void add_strings(DBusMessageIter *dict, const char *key, char **words)
{
    DBusMessageIter entry;
    DBusMessageIter variant;
    DBusMessageIter array;

    if (!dbus_message_iter_open_container(dict, DBUS_TYPE_DICT_ENTRY, NULL, &entry) ||
        !dbus_message_iter_append_basic(&entry, DBUS_TYPE_STRING, &key) ||
        !dbus_message_iter_open_container(&entry, DBUS_TYPE_VARIANT, "as", &variant) ||
        !dbus_message_iter_open_container(&variant, DBUS_TYPE_ARRAY, "s", &array))
        g_error("out of memory");
    for (; *words; words++) {
        char *text = bus_text(*words);
        dbus_message_iter_append_basic(&array, DBUS_TYPE_STRING, &text);
        g_free(text);
    }
    dbus_message_iter_close_container(&variant, &array);
    dbus_message_iter_close_container(&entry, &variant);
    dbus_message_iter_close_container(dict, &entry);
}

/* --- processes -------------------------------------------------------------------------- */

/* The processes of a run as /proc shows them: below its reaper, or, when that died, what the top
 * has of it. */
static void run_tree(struct run *run, struct process_tree *tree)
{
    memset(tree, 0, sizeof *tree);
    if (run->reaper_pid)
        process_tree_read(tree, run->reaper_pid, NULL, 0);
    else if (run->at_top)
        top_orphans_tree(run, tree);
}

static gboolean is_adopted(const struct run *run, const struct tree_process *p)
{
    pid_t reaper = run->reaper_pid ? run->reaper_pid : (run->a->top ? run->a->top->pid : 0);

    return p->parent == reaper && p->pid != run->spawned_pid;
}

static char *command_line(pid_t pid)
{
    char *path = g_strdup_printf("/proc/%d/cmdline", (int)pid);
    char *text = NULL;
    gsize length = 0;

    if (g_file_get_contents(path, &text, &length, NULL) && length > 0) {
        for (gsize i = 0; i + 1 < length; i++) {
            if (text[i] == '\0')
                text[i] = ' ';
        }
        if (length > 4096)
            text[4096] = '\0';
    } else {
        g_free(text);
        g_free(path);
        path = g_strdup_printf("/proc/%d/comm", (int)pid);
        text = NULL;
        if (g_file_get_contents(path, &text, &length, NULL)) {
            char *name = g_strdup_printf("[%s]", g_strchomp(text));
            g_free(text);
            text = name;
        }
    }
    g_free(path);
    return text ? text : g_strdup("");
}

static void append_process(DBusMessageIter *array, const struct run *run,
                           const struct tree_process *p, gboolean all)
{
    DBusMessageIter item;
    dbus_uint32_t pid = (dbus_uint32_t)p->pid;
    dbus_uint32_t parent = (dbus_uint32_t)p->parent;
    dbus_bool_t adopted = is_adopted(run, p);
    char *raw = all ? command_line(p->pid) : g_strdup("");
    char *command = bus_text(raw);

    if (!dbus_message_iter_open_container(array, DBUS_TYPE_STRUCT, NULL, &item) ||
        !dbus_message_iter_append_basic(&item, DBUS_TYPE_UINT32, &pid) ||
        !dbus_message_iter_append_basic(&item, DBUS_TYPE_UINT32, &parent) ||
        !dbus_message_iter_append_basic(&item, DBUS_TYPE_STRING, &command) ||
        !dbus_message_iter_append_basic(&item, DBUS_TYPE_BOOLEAN, &adopted) ||
        !dbus_message_iter_close_container(array, &item))
        g_error("out of memory");
    g_free(raw);
    g_free(command);
}

/* The runs a service's processes are in: its own, and another's whose process owns its name. */
static GPtrArray *runs_of(struct service *s)
{
    GPtrArray *runs = g_ptr_array_new();

    for (guint i = 0; i < s->runs->len; i++)
        g_ptr_array_add(runs, g_ptr_array_index(s->runs, i));
    if (s->owner_run && !g_ptr_array_find(runs, s->owner_run, NULL))
        g_ptr_array_add(runs, s->owner_run);
    return runs;
}

void fields_processes(struct service *s, DBusMessageIter *array, gboolean all)
{
    GPtrArray *runs = runs_of(s);

    for (guint i = 0; i < runs->len; i++) {
        struct run *run = g_ptr_array_index(runs, i);
        struct process_tree tree;
        run_tree(run, &tree);
        for (size_t k = 0; k < tree.count; k++) {
            if (!tree.list[k].zombie)
                append_process(array, run, &tree.list[k], all);
        }
        process_tree_clear(&tree);
    }
    g_ptr_array_unref(runs);
}

void fields_survivors(struct run *run, GPtrArray *out)
{
    struct process_tree tree;

    run_tree(run, &tree);
    for (size_t i = 0; i < tree.count; i++) {
        if (tree.list[i].zombie)
            continue;
        char *command = command_line(tree.list[i].pid);
        g_ptr_array_add(out, g_strdup_printf("%d %s", (int)tree.list[i].pid, command));
        g_free(command);
    }
    process_tree_clear(&tree);
    if (out->len == 0)
        g_ptr_array_add(out, g_strdup_printf("processes of %s", run->service->name));
}

/* --- GetService ------------------------------------------------------------------------- */

static void add_counts(struct service *s, DBusMessageIter *dict)
{
    GPtrArray *runs = runs_of(s);
    guint processes = 0;
    guint adopted = 0;

    for (guint i = 0; i < runs->len; i++) {
        struct run *run = g_ptr_array_index(runs, i);
        struct process_tree tree;
        run_tree(run, &tree);
        for (size_t k = 0; k < tree.count; k++) {
            if (tree.list[k].zombie)
                continue;
            processes++;
            if (is_adopted(run, &tree.list[k]))
                adopted++;
        }
        process_tree_clear(&tree);
    }
    add_u32(dict, "NRuns", runs->len);
    add_u32(dict, "NProcesses", processes);
    add_u32(dict, "NAdopted", adopted);
    g_ptr_array_unref(runs);
}

guint32 service_main_pid(struct service *s)
{
    return s->owner ? (guint32)s->owner_pid : 0;
}

static void add_run(struct service *s, DBusMessageIter *dict)
{
    struct run *run = s->owner_run;
    dbus_bool_t managed = FALSE;
    dbus_uint64_t id = 0;

    if (!run && s->runs->len)
        run = g_ptr_array_index(s->runs, s->runs->len - 1);
    managed = s->owner ? s->owner_run != NULL : run != NULL;
    id = run ? run->id : s->run_id;
    add_basic(dict, "Managed", DBUS_TYPE_BOOLEAN, &managed);
    if (id)
        add_basic(dict, "Run", DBUS_TYPE_UINT64, &id);
    if (run && run->reaper_pid)
        add_u32(dict, "ReaperPID", (guint64)run->reaper_pid);
}

static void add_last_exit(struct service *s, DBusMessageIter *dict)
{
    if (!s->exit_known)
        return;
    dbus_int32_t status = s->exit_status;
    add_string(dict, "ExitHow", end_how_text(s->exit_how));
    if (s->exit_how != END_UNKNOWN)
        add_basic(dict, "ExitStatus", DBUS_TYPE_INT32, &status);
    add_time(dict, "ExitUSec", s->exited);
}

void fields_service(struct service *s, DBusMessageIter *dict, gboolean all)
{
    struct catalogue_entry *entry = catalogue_lookup(s->a->catalogue, s->name);
    /* What a live run was started from; else what the next one would be. */
    gboolean old = s->runs->len > 0 || !entry;
    char **command = old ? s->command : entry->argv;

    add_string(dict, "Name", s->name);
    add_string(dict, "State", s->state);
    add_run(s, dict);
    add_u32(dict, "MainPID", service_main_pid(s));
    add_string(dict, "Owner", s->owner);
    if (all && command)
        add_strings(dict, "Command", command);
    add_string(dict, "User", old ? s->user : entry->user);
    if (entry)
        add_string(dict, "ServiceFile", old ? s->file : entry->file);
    add_u32(dict, "ActivationCount", s->activations);
    add_counts(s, dict);
    add_time(dict, "RequestedUSec", s->requested);
    add_time(dict, "StartedUSec", s->started);
    add_time(dict, "StartLatencyUSec", s->latency);
    add_last_exit(s, dict);
    add_string(dict, "ErrorName", s->error_name);
    if (all)
        add_string(dict, "ErrorMessage", s->error_message);
    if (all && s->run_id) {
        char *log = log_path(s->a, s->name);
        add_string(dict, "LogFile", log);
        g_free(log);
    }
}

void fields_history(const struct history_record *r, DBusMessageIter *dict)
{
    static const char *const results[] = {"starting", "started", "failed"};
    dbus_uint64_t id = r->run;
    dbus_int32_t status = r->status;

    add_string(dict, "Name", r->name);
    add_basic(dict, "Run", DBUS_TYPE_UINT64, &id);
    add_string(dict, "Result", results[MIN(r->result, 2)]);
    add_time(dict, "RequestedUSec", r->requested);
    add_time(dict, "SpawnedUSec", r->spawned);
    add_time(dict, "ConnectedUSec", r->connected);
    add_time(dict, "OwnedUSec", r->owned);
    if (r->main_pid)
        add_u32(dict, "MainPID", r->main_pid);
    if (r->owned && r->requested && r->owned >= r->requested)
        add_time(dict, "LatencyUSec", r->owned - r->requested);
    if (r->ended) {
        add_time(dict, "ExitUSec", r->ended);
        add_string(dict, "ExitHow", end_how_text(r->how));
        if (r->how != END_UNKNOWN)
            add_basic(dict, "ExitStatus", DBUS_TYPE_INT32, &status);
    }
    add_string(dict, "ErrorName", r->error_name);
    add_string(dict, "ErrorMessage", r->error_message);
}
