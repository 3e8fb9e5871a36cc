/* SPDX-License-Identifier: MIT */
/* dbus-activatorctl check: reads what the buses read. It asks a bus that runs which configuration
 * that is, and does without one. */
#include "ctl/bus.h"
#include "ctl/lint.h"
#include "ctl/output.h"

#include "common/parse/service-file.h"
#include "common/place/bus-place.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct check {
    struct ctl *ctl;
    struct lint *lint;
    const char *config_file; /* the option, or NULL */
    unsigned files;
};

/* Those that the activator writes stand for others, which are checked. */
static bool is_generated(const char *path)
{
    char line[sizeof(GENERATED_MARK)] = "";
    FILE *file = fopen(path, "re");

    if (!file)
        return false;
    if (!fgets(line, sizeof(line), file))
        line[0] = '\0';
    fclose(file);
    return g_str_has_prefix(line, GENERATED_MARK);
}

static gint by_text(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorted, so that two runs say the same. */
static void check_folder(struct check *check, const char *folder, enum lint_bus bus)
{
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    g_autoptr(GPtrArray) paths = g_ptr_array_new_with_free_func(g_free);
    const char *name;

    while (dir && (name = g_dir_read_name(dir)) != NULL) {
        if (g_str_has_suffix(name, ".service"))
            g_ptr_array_add(paths, g_build_filename(folder, name, NULL));
    }
    g_ptr_array_sort(paths, by_text);
    for (guint i = 0; i < paths->len; i++) {
        const char *path = g_ptr_array_index(paths, i);

        if (is_generated(path))
            continue;
        lint_file(check->lint, path, bus);
        check->files++;
    }
}

static void check_place(struct check *check, const struct bus_place *place)
{
    for (guint i = 0; i < place->problems->len; i++)
        lint_config(check->lint, place->config_file ? place->config_file : "",
                    g_ptr_array_index(place->problems, i));
    for (guint i = 0; i < place->dirs->len; i++) {
        const struct bus_dir *dir = g_ptr_array_index(place->dirs, i);
        enum lint_bus bus = dir->transient ? LINT_TRANSIENT : LINT_SESSION;

        check_folder(check, dir->path, place->system ? LINT_SYSTEM : bus);
    }
}

/* Without a bus (pid 0) it is what one would read that is started now. What kind of bus it is says
 * the configuration, where no option does. */
static int check_bus(struct check *check, dbus_uint32_t pid, bool system)
{
    g_autoptr(GError) error = NULL;
    struct bus_place *place = bus_place_new((pid_t)pid, system, check->config_file, NULL, &error);

    if (place && !system && !check->ctl->session && place->type &&
        strcmp(place->type, "system") == 0) {
        bus_place_free(place);
        place = bus_place_new((pid_t)pid, true, check->config_file, NULL, &error);
    }
    if (!place) {
        ctl_complain("check: %s", error->message);
        return CTL_FAILED;
    }
    /* No bus, no configuration either: the standard folders are what there is to look at. */
    if (pid == 0)
        g_ptr_array_set_size(place->problems, 0);
    check_place(check, place);
    bus_place_free(place);
    return CTL_DONE;
}

static int check_installed(struct check *check)
{
    struct ctl *ctl = check->ctl;
    bool session = !ctl->system;
    bool system = !ctl->session;
    int code = CTL_DONE;

    if (check->config_file)
        return check_bus(check, 0, ctl->system);
    if (ctl->address) {
        code = bus_open(ctl);
        return code == CTL_DONE ? check_bus(check, bus_daemon_pid(ctl), false) : code;
    }
    /* One option at a time, for both are wanted here. */
    if (session) {
        ctl->session = TRUE;
        ctl->system = FALSE;
        code = check_bus(check, bus_peek_daemon_pid(ctl), false);
    }
    if (system && code == CTL_DONE) {
        ctl->session = FALSE;
        ctl->system = TRUE;
        code = check_bus(check, bus_peek_daemon_pid(ctl), true);
    }
    return code;
}

/* Which bus reads a file that was named: the option says so, else the folder's name. */
static enum lint_bus bus_of(const struct ctl *ctl, const char *folder)
{
    g_autofree char *absolute = g_canonicalize_filename(folder, NULL);
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    g_autofree char *transient =
        runtime && *runtime ? g_build_filename(runtime, "dbus-1/services", NULL) : NULL;

    if (ctl->system || (!ctl->session && g_str_has_suffix(absolute, "/system-services")))
        return LINT_SYSTEM;
    if (transient && strcmp(absolute, transient) == 0)
        return LINT_TRANSIENT;
    return LINT_SESSION;
}

static void check_named(struct check *check, const char *path)
{
    g_autofree char *folder = g_path_get_dirname(path);

    if (g_file_test(path, G_FILE_TEST_IS_DIR)) {
        check_folder(check, path, bus_of(check->ctl, path));
        return;
    }
    lint_file(check->lint, path, bus_of(check->ctl, folder));
    check->files++;
}

int cmd_check(struct ctl *ctl, const struct command *command, char **argv)
{
    g_autofree char *config_file = NULL;
    const GOptionEntry options[] = {
        {"config-file", 0, 0, G_OPTION_ARG_FILENAME, &config_file,
         "What a bus with this configuration reads", "FILE"},
        {NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL},
    };
    int code = ctl_parse(ctl, command, options, &argv, 0, -1);
    struct check check = {.ctl = ctl, .config_file = config_file};

    if (code != CTL_DONE)
        return code;
    if (argv[1] && (ctl->address || config_file)) {
        ctl_complain("check: either files or a bus; --session or --system says which kind of bus "
                     "reads the files");
        return CTL_USAGE;
    }
    if (ctl->address && config_file) {
        ctl_complain("check: --address and --config-file exclude each other");
        return CTL_USAGE;
    }
    check.lint = lint_new();
    for (char **path = argv + 1; *path; path++)
        check_named(&check, *path);
    if (!argv[1])
        code = check_installed(&check);
    if (code == CTL_DONE) {
        lint_finish(check.lint);
        code = check_report(ctl, lint_findings(check.lint), check.files);
    }
    lint_free(check.lint);
    return code;
}
