/* SPDX-License-Identifier: MIT */
/* dbus-activatorctl plot */
#include "ctl/bus.h"
#include "ctl/output.h"
#include "ctl/plot.h"
#include "ctl/query.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void run_free(void *data)
{
    struct plot_run *run = data;

    g_free(run->name);
    g_free(run->error);
    g_free(run);
}

static struct plot_run *run_of(const struct dict *dict)
{
    struct plot_run *run = g_new0(struct plot_run, 1);
    const char *name = dict_string(dict, "Name");
    const char *result = dict_string(dict, "Result");
    uint64_t latency = 0;

    run->name = g_strdup(name ? name : "?");
    run->error = g_strdup(dict_string(dict, "ErrorMessage"));
    run->failed = result && strcmp(result, "failed") == 0;
    run->requested = dict_count(dict, "RequestedUSec");
    run->spawned = dict_count(dict, "SpawnedUSec");
    run->connected = dict_count(dict, "ConnectedUSec");
    run->owned = dict_count(dict, "OwnedUSec");
    if (dict_number(dict, "LatencyUSec", &latency))
        run->ended = run->requested + latency;
    else if (run->failed)
        run->ended = dict_count(dict, "ExitUSec");
    else
        run->ended = (uint64_t)g_get_real_time();
    return run;
}

static gint by_request(gconstpointer a, gconstpointer b)
{
    const struct plot_run *one = *(struct plot_run *const *)a;
    const struct plot_run *two = *(struct plot_run *const *)b;

    return one->requested < two->requested ? -1 : one->requested > two->requested;
}

/* --- where it goes --------------------------------------------------------------------------- */

static int cannot_write(const char *file, int error)
{
    ctl_complain("plot: cannot write %s: %s", file, g_strerror(error));
    return CTL_FAILED;
}

static bool write_all(int fd, const char *text)
{
    size_t left = strlen(text);

    while (left > 0) {
        ssize_t written = write(fd, text, left);

        if (written < 0 && errno != EINTR)
            return false;
        if (written > 0) {
            text += written;
            left -= (size_t)written;
        }
    }
    return true;
}

/* A device, a fifo, a link to nothing: what it is stays what it is. */
static int write_through(const char *svg, const char *file)
{
    int make = access(file, F_OK) == 0 ? 0 : O_CREAT;
    int fd = open(file, O_WRONLY | O_TRUNC | O_CLOEXEC | O_NOCTTY | make, 0644);

    if (fd < 0)
        return cannot_write(file, errno);
    /* The reader of a fifo may leave. */
    signal(SIGPIPE, SIG_IGN);
    if (!write_all(fd, svg)) {
        int error = errno;

        close(fd);
        return cannot_write(file, error);
    }
    /* Some file systems tell of a full disk only now. */
    return close(fd) == 0 ? CTL_DONE : cannot_write(file, errno);
}

/* In one step, so that nobody ever sees half a picture. */
static int replace(const char *svg, const char *file)
{
    g_autoptr(GError) error = NULL;

    if (g_file_set_contents_full(file, svg, -1, G_FILE_SET_CONTENTS_CONSISTENT, 0644, &error))
        return CTL_DONE;
    ctl_complain("plot: %s", error->message);
    return CTL_FAILED;
}

/* The path of what may be replaced as a whole: a regular file or a free name, at the end of all
 * links. NULL: neither. */
static char *replaceable(const char *file)
{
    struct stat found;
    char *path = NULL;

    if (lstat(file, &found) < 0)
        return errno == ENOENT ? strdup(file) : NULL;
    path = S_ISLNK(found.st_mode) ? realpath(file, NULL) : strdup(file);
    if (path && lstat(path, &found) == 0 && S_ISREG(found.st_mode))
        return path;
    free(path);
    return NULL;
}

/* /dev/stdout is such a name. What was there before it and what comes after it belong to others. */
static bool is_stdout(const char *file)
{
    struct stat named;
    struct stat own;

    return stat(file, &named) == 0 && fstat(STDOUT_FILENO, &own) == 0 &&
           named.st_dev == own.st_dev && named.st_ino == own.st_ino;
}

static int write_svg(const char *svg, const char *file)
{
    char *path = NULL;
    int code;

    if (!file || strcmp(file, "-") == 0 || is_stdout(file)) {
        fputs(svg, stdout);
        return output_flush();
    }
    path = replaceable(file);
    code = path ? replace(svg, path) : write_through(svg, file);
    free(path);
    return code;
}

int cmd_plot(struct ctl *ctl, const struct command *command, char **argv)
{
    g_autofree char *file = NULL;
    const GOptionEntry options[] = {
        {"output", 'o', 0, G_OPTION_ARG_FILENAME, &file, "Write to FILE, not to stdout", "FILE"},
        {NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL},
    };
    g_autoptr(GPtrArray) activations = NULL;
    g_autoptr(GPtrArray) runs = g_ptr_array_new_with_free_func(run_free);
    g_autofree char *svg = NULL;
    int code = ctl_parse(ctl, command, options, &argv, 0, 1);

    if (code != CTL_DONE)
        return code;
    if (ctl->json) {
        ctl_complain("plot draws SVG; “history --json” has the same data as JSON");
        return CTL_USAGE;
    }
    if (file && !*file) {
        ctl_complain("plot: the file's name is empty");
        return CTL_USAGE;
    }
    if (!file && isatty(STDOUT_FILENO)) {
        ctl_complain("plot: SVG is nothing for a terminal; -o FILE writes it to a file");
        return CTL_USAGE;
    }
    code = bus_open(ctl);
    if (code == CTL_DONE)
        code = query_history(ctl, argv[1], G_MAXUINT32, &activations);
    if (code != CTL_DONE)
        return code;
    for (guint i = 0; i < activations->len; i++)
        g_ptr_array_add(runs, run_of(g_ptr_array_index(activations, i)));
    g_ptr_array_sort(runs, by_request);
    svg = plot_draw(runs);
    return write_svg(svg, file);
}
