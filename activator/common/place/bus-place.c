/* SPDX-License-Identifier: MIT */
#include "common/place/bus-place.h"

#include "config.h"

#include "common/parse/bus-config.h"
#include "common/parse/service-dirs.h"
#include "common/place/bus-process.h"
#include "common/place/trust.h"

#include <errno.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SESSION_BUS_CONFIG "/usr/share/dbus-1/session.conf"
#define ETC_BUS_CONFIGS    "/etc/dbus-1"
/* What dbus-daemon has in its code, for when there is no configuration. */
#define DEFAULT_TIMEOUT_MS 25000

static void add_problem(struct bus_place *place, const char *what, const struct parse_error *why)
{
    g_ptr_array_add(place->problems, g_strdup_printf("%s: %s", what, why->message));
}

static void dir_free(gpointer data)
{
    struct bus_dir *dir = data;

    g_free(dir->path);
    g_free(dir);
}

const char *bus_place_getenv(const struct bus_place *place, const char *name)
{
    return place->environment ? g_environ_getenv(place->environment, name) : g_getenv(name);
}

/* For HOME dbus-daemon asks the user database; the bus of a session is of
 * our own user. */
static const char *get_variable(const char *name, void *data)
{
    const struct passwd *pw = strcmp(name, "HOME") == 0 ? getpwuid(geteuid()) : NULL;

    if (pw && pw->pw_dir)
        return pw->pw_dir;
    return bus_place_getenv(data, name);
}

static bool may_read(const char *path, void *data)
{
    (void)data;
    return trust_path(path);
}

/* Takes over what the configuration says, its directories apart. */
static void take_settings(struct bus_place *place, const struct bus_config *config,
                          const char *path)
{
    place->start_timeout_ms = config->start_timeout_ms;
    place->has_servicehelper = config->has_servicehelper;
    place->type = g_strdup(config->type);
    place->config_file = g_strdup(path);
}

/* Returns 0, or a negative errno. */
static int add_dirs(struct bus_place *place, const struct bus_config *config,
                    struct service_dirs *dirs)
{
    int result = 0;

    for (gsize i = 0; i < config->ndirs && result == 0; i++) {
        const struct bus_config_dir *dir = &config->dirs[i];

        switch (dir->kind) {
        case BUS_CONFIG_DIR:
            result = service_dirs_add(dirs, dir->path, false);
            break;
        case BUS_CONFIG_DIR_SESSION:
            /* These come from the environment, which is nobody's on the system bus. */
            if (!place->system)
                result = service_dirs_add_session(dirs, get_variable, place);
            break;
        case BUS_CONFIG_DIR_SYSTEM:
            result = service_dirs_add_system(dirs);
            break;
        }
    }
    return result;
}

static int add_standard_dirs(struct bus_place *place, struct service_dirs *dirs)
{
    return place->system ? service_dirs_add_system(dirs)
                         : service_dirs_add_session(dirs, get_variable, place);
}

/* Reads one configuration. Returns as bus_config_load() does. */
static int read_config(struct bus_place *place, const char *path, bool doubtful,
                       struct service_dirs *dirs, struct parse_error *why)
{
    struct bus_config config;
    int result = bus_config_load(path, &config, doubtful ? may_read : NULL, NULL, why);

    if (result != 0) {
        if (result < 0)
            parse_error_set(why, 0, "%s: %s", path, g_strerror(-result));
        return result;
    }
    take_settings(place, &config, path);
    result = add_dirs(place, &config, dirs);
    bus_config_clear(&config);
    if (result < 0)
        parse_error_set(why, 0, "%s", g_strerror(-result));
    return result;
}

static bool is_below(const char *path, const char *folder)
{
    return g_str_has_prefix(path, folder) && path[strlen(folder)] == '/';
}

/* Whether to believe the system bus, by its own command line, that this is its configuration.
 * That command line is the bus user's to rewrite. A file being root's does not say that root wrote
 * its text: /proc/PID/environ of a setuid program is the caller's (in UTF-16, even its NULs fit),
 * and services of root keep copies of what users give them. Hence only where nothing but
 * configurations of a bus are kept; any other place root can name by --config-file. */
static bool is_kept_with_configurations(const char *path)
{
    char *own = g_path_get_dirname(SYSTEM_BUS_CONFIG);
    char *plain = g_canonicalize_filename(path, "/");
    bool is = is_below(plain, own) || is_below(plain, ETC_BUS_CONFIGS);

    g_free(plain);
    g_free(own);
    return is;
}

/* The option's configuration, else the one that the bus names, else the installed one, else the
 * standard directories. False with why set when the first cannot be read. */
static bool read_configs(struct bus_place *place, const struct bus_process *process,
                         const char *option, struct service_dirs *dirs, struct parse_error *why)
{
    const char *standard =
        place->system || process->says_system ? SYSTEM_BUS_CONFIG : SESSION_BUS_CONFIG;
    int result = 1;

    if (option)
        return read_config(place, option, false, dirs, why) == 0;
    if (process->config_file && place->system &&
        !is_kept_with_configurations(process->config_file)) {
        parse_error_set(why, 0,
                        "%s: not trusted: only what lies beside %s or in %s is, when it is the bus "
                        "that names it; tell the activator by --config-file",
                        process->config_file, SYSTEM_BUS_CONFIG, ETC_BUS_CONFIGS);
        add_problem(place, "The configuration of the bus is not used", why);
    } else if (process->config_file) {
        result = read_config(place, process->config_file, place->system, dirs, why);
        if (result > 0)
            add_problem(place, "The configuration of the bus is not used", why);
    }
    if (result > 0) {
        result = read_config(place, standard, false, dirs, why);
        if (result > 0) {
            add_problem(place, "Only the standard directories of service files are served", why);
            result = add_standard_dirs(place, dirs);
        }
    }
    return result == 0;
}

/* True when dbus-daemon reads the transient directory, or would if it were there already: of it
 * and the two above it, what exists is ours and nobody else's to write. */
static bool transient_counts(const char *path)
{
    char *at = g_strdup(path);
    bool ok = true;

    for (int level = 0; ok && level < 3; level++) {
        char *above = g_path_get_dirname(at);
        struct stat st;

        if (stat(at, &st) == 0)
            ok = S_ISDIR(st.st_mode) && st.st_uid == geteuid() &&
                 !(st.st_mode & (S_IWGRP | S_IWOTH));
        g_free(at);
        at = above;
    }
    g_free(at);
    return ok;
}

static void take_dirs(struct bus_place *place, const struct service_dirs *dirs)
{
    for (gsize i = 0; i < dirs->count; i++) {
        struct bus_dir *dir;

        if (dirs->list[i].transient && !transient_counts(dirs->list[i].path))
            continue;
        dir = g_new0(struct bus_dir, 1);
        dir->path = g_strdup(dirs->list[i].path);
        dir->transient = dirs->list[i].transient;
        g_ptr_array_add(place->dirs, dir);
    }
}

struct bus_place *bus_place_new(pid_t bus_pid, bool system, const char *config_file_option,
                                const char *const *extra_dirs, GError **error)
{
    struct bus_place *place = g_new0(struct bus_place, 1);
    struct bus_process process;
    struct service_dirs dirs = {0};
    struct parse_error why = {0, ""};
    bool ok = true;

    place->system = system;
    place->start_timeout_ms = DEFAULT_TIMEOUT_MS;
    place->dirs = g_ptr_array_new_with_free_func(dir_free);
    place->problems = g_ptr_array_new_with_free_func(g_free);
    bus_process_read(bus_pid, &process);
    if (!system)
        place->environment = g_steal_pointer(&process.environment);

    for (gsize i = 0; ok && extra_dirs && extra_dirs[i]; i++) {
        char *path = g_canonicalize_filename(extra_dirs[i], NULL);

        ok = service_dirs_add(&dirs, path, false) == 0;
        g_free(path);
    }
    ok = ok && read_configs(place, &process, config_file_option, &dirs, &why);
    if (ok)
        take_dirs(place, &dirs);
    service_dirs_clear(&dirs);
    bus_process_clear(&process);
    if (ok)
        return place;
    g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_FAILED,
                "The configuration of the bus cannot be read: %s",
                why.message[0] ? why.message : g_strerror(ENOMEM));
    bus_place_free(place);
    return NULL;
}

void bus_place_free(struct bus_place *place)
{
    if (!place)
        return;
    g_ptr_array_unref(place->dirs);
    g_ptr_array_unref(place->problems);
    g_strfreev(place->environment);
    g_free(place->config_file);
    g_free(place->type);
    g_free(place);
}
