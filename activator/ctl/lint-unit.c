/* SPDX-License-Identifier: MIT */
/* Whether systemd would find a unit: by looking at files alone. */
#include "ctl/lint.h"

#include <string.h>

static const char *const bases[] = {"/etc/systemd",     "/run/systemd", "/usr/local/lib/systemd",
                                    "/usr/lib/systemd", "/lib/systemd", "/usr/share/systemd"};

static GPtrArray *folders(bool system)
{
    GPtrArray *list = g_ptr_array_new_with_free_func(g_free);

    for (size_t i = 0; i < G_N_ELEMENTS(bases); i++)
        g_ptr_array_add(list, g_build_filename(bases[i], system ? "system" : "user", NULL));
    if (!system)
        g_ptr_array_add(list, g_build_filename(g_get_user_config_dir(), "systemd/user", NULL));
    return list;
}

static bool is_in(const char *folder, const char *unit)
{
    g_autofree char *path = g_build_filename(folder, unit, NULL);

    return g_file_test(path, G_FILE_TEST_EXISTS);
}

bool lint_unit_exists(const char *unit, bool system)
{
    g_autoptr(GPtrArray) list = folders(system);
    const char *at = strchr(unit, '@');
    const char *dot = strrchr(unit, '.');
    g_autofree char *template = NULL;

    if (strchr(unit, '/') || *unit == '\0')
        return false;
    if (at && dot && dot > at)
        template = g_strdup_printf("%.*s%s", (int)(at - unit + 1), unit, dot);
    for (guint i = 0; i < list->len; i++) {
        const char *folder = g_ptr_array_index(list, i);

        if (is_in(folder, unit) || (template && is_in(folder, template)))
            return true;
    }
    return false;
}

static bool names_alias(const char *path, const char *unit)
{
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;

    if (!g_file_get_contents(path, &text, NULL, NULL))
        return false;
    lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line; line++) {
        g_auto(GStrv) names = NULL;

        if (!g_str_has_prefix(*line, "Alias="))
            continue;
        names = g_strsplit_set(*line + strlen("Alias="), " \t\r", -1);
        if (g_strv_contains((const char *const *)names, unit))
            return true;
    }
    return false;
}

bool lint_unit_is_alias(const char *unit, bool system)
{
    g_autoptr(GPtrArray) list = folders(system);

    for (guint i = 0; i < list->len; i++) {
        const char *folder = g_ptr_array_index(list, i);
        g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
        const char *name;

        while (dir && (name = g_dir_read_name(dir)) != NULL) {
            g_autofree char *path = g_build_filename(folder, name, NULL);

            if (g_str_has_suffix(name, ".service") && g_file_test(path, G_FILE_TEST_IS_REGULAR) &&
                names_alias(path, unit))
                return true;
        }
    }
    return false;
}
