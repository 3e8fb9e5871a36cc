/* SPDX-License-Identifier: MIT */
#include "daemon/rooms/generate-text.h"

#include "common/parse/service-file.h"

#include <string.h>

/* One argument as the shell rules of Exec= want it. */
static void put_argument(GString *line, const char *argument)
{
    if (line->len > 0)
        g_string_append_c(line, ' ');
    if (argument[0] && strspn(argument, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                        "0123456789_@%+=:,./-") == strlen(argument)) {
        g_string_append(line, argument);
        return;
    }
    g_string_append_c(line, '\'');
    for (; *argument; argument++) {
        if (*argument == '\'')
            g_string_append(line, "'\\''");
        else
            g_string_append_c(line, *argument);
    }
    g_string_append_c(line, '\'');
}

/* A key with the escapes that a value needs in a service file. */
static void put_key(GString *text, const char *key, const char *value)
{
    const char *at = value;

    if (!value)
        return;
    g_string_append_printf(text, "%s=", key);
    for (; *at; at++) {
        if (*at == ' ' && at == value)
            g_string_append(text, "\\s");
        else if (*at == '\t')
            g_string_append(text, "\\t");
        else if (*at == '\n')
            g_string_append(text, "\\n");
        else if (*at == '\r')
            g_string_append(text, "\\r");
        else if (*at == '\\')
            g_string_append(text, "\\\\");
        else
            g_string_append_c(text, *at);
    }
    g_string_append_c(text, '\n');
}

char *generate_text(const struct catalogue_entry *entry, const char *helper,
                    const char *runtime_dir, bool with_unit)
{
    GString *text = g_string_new(GENERATED_MARK "\n[D-BUS Service]\n");
    GString *exec = g_string_new(NULL);
    char *unit = g_strconcat(entry->name, ".service", NULL);

    put_argument(exec, helper);
    put_argument(exec, entry->name);
    put_argument(exec, entry->file);
    if (runtime_dir)
        put_argument(exec, runtime_dir);
    put_key(text, "Name", entry->name);
    put_key(text, "Exec", exec->str);
    if (with_unit)
        put_key(text, "SystemdService", unit);
    put_key(text, "User", entry->user);
    put_key(text, "AssumedAppArmorLabel", entry->apparmor);
    g_free(unit);
    g_string_free(exec, TRUE);
    if (g_utf8_validate(text->str, (gssize)text->len, NULL))
        return g_string_free(text, FALSE);
    g_string_free(text, TRUE);
    return NULL;
}
