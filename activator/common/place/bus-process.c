/* SPDX-License-Identifier: MIT */
#include "common/place/bus-process.h"

#include <string.h>

static void set_config(struct bus_process *out, const char *path, const char *cwd)
{
    if (out->config_file || !*path)
        return;
    if (path[0] == '/')
        out->config_file = g_strdup(path);
    else if (cwd)
        out->config_file = g_canonicalize_filename(path, cwd);
}

void bus_process_take_command(struct bus_process *out, const char *command, gsize length,
                              const char *cwd)
{
    static const char option[] = "--config-file";
    const gsize option_length = sizeof option - 1;
    const char *end = command + length;
    const char *argument = memchr(command, '\0', length);
    bool value = false;

    /* A last argument without its NUL was cut off. */
    for (argument = argument ? argument + 1 : end; argument < end;) {
        const char *stop = memchr(argument, '\0', (gsize)(end - argument));

        if (!stop)
            break;
        if (value) {
            set_config(out, argument, cwd);
            value = false;
        } else if (strcmp(argument, option) == 0) {
            value = true;
        } else if (strncmp(argument, option, option_length) == 0 &&
                   argument[option_length] == '=') {
            set_config(out, argument + option_length + 1, cwd);
        } else if (strcmp(argument, "--session") == 0) {
            out->says_session = true;
        } else if (strcmp(argument, "--system") == 0) {
            out->says_system = true;
        }
        argument = stop + 1;
    }
}

/* The NUL-terminated strings of a block. */
static GStrv split_block(const char *block, gsize length)
{
    GPtrArray *strings = g_ptr_array_new();
    const char *end = block + length;

    while (block < end) {
        const char *stop = memchr(block, '\0', (gsize)(end - block));

        if (!stop)
            break;
        if (strchr(block, '='))
            g_ptr_array_add(strings, g_strdup(block));
        block = stop + 1;
    }
    g_ptr_array_add(strings, NULL);
    return (GStrv)g_ptr_array_free(strings, FALSE);
}

static char *read_proc(pid_t pid, const char *what, gsize *length)
{
    char *path = g_strdup_printf("/proc/%d/%s", (int)pid, what);
    char *text = NULL;

    g_file_get_contents(path, &text, length, NULL);
    g_free(path);
    return text;
}

void bus_process_read(pid_t pid, struct bus_process *out)
{
    char *text, *link, *cwd;
    gsize length;

    memset(out, 0, sizeof *out);
    if (pid <= 0)
        return;
    link = g_strdup_printf("/proc/%d/cwd", (int)pid);
    cwd = g_file_read_link(link, NULL);
    text = read_proc(pid, "cmdline", &length);
    if (text)
        bus_process_take_command(out, text, length, cwd);
    g_free(text);
    g_free(cwd);
    g_free(link);

    /* An empty one is what a process shows that has overwritten it, or is over. */
    text = read_proc(pid, "environ", &length);
    if (text && length > 0)
        out->environment = split_block(text, length);
    g_free(text);
}

void bus_process_clear(struct bus_process *process)
{
    g_free(process->config_file);
    g_strfreev(process->environment);
    memset(process, 0, sizeof *process);
}
