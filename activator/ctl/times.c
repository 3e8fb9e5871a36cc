/* SPDX-License-Identifier: MIT */
/* Times, durations, signals and ends of processes in words. */
#include "ctl/output.h"

#include <signal.h>
#include <string.h>

static const struct {
    const char *name;
    int number;
} signal_names[] = {
    {"HUP", SIGHUP},       {"INT", SIGINT},       {"QUIT", SIGQUIT}, {"ILL", SIGILL},
    {"TRAP", SIGTRAP},     {"ABRT", SIGABRT},     {"BUS", SIGBUS},   {"FPE", SIGFPE},
    {"KILL", SIGKILL},     {"USR1", SIGUSR1},     {"SEGV", SIGSEGV}, {"USR2", SIGUSR2},
    {"PIPE", SIGPIPE},     {"ALRM", SIGALRM},     {"TERM", SIGTERM}, {"CHLD", SIGCHLD},
    {"CONT", SIGCONT},     {"STOP", SIGSTOP},     {"TSTP", SIGTSTP}, {"TTIN", SIGTTIN},
    {"TTOU", SIGTTOU},     {"URG", SIGURG},       {"XCPU", SIGXCPU}, {"XFSZ", SIGXFSZ},
    {"PROF", SIGPROF},     {"VTALRM", SIGVTALRM}, {"IO", SIGIO},     {"WINCH", SIGWINCH},
    {"POLL", SIGPOLL},     {"IOT", SIGABRT},      {"SYS", SIGSYS},
#ifdef SIGPWR
    {"PWR", SIGPWR},
#endif
#ifdef SIGSTKFLT
    {"STKFLT", SIGSTKFLT},
#endif
};

static const char *signal_name(int64_t number)
{
    for (size_t i = 0; i < G_N_ELEMENTS(signal_names); i++) {
        if (signal_names[i].number == number)
            return signal_names[i].name;
    }
    return NULL;
}

static int realtime_signal(const char *name)
{
    gint64 offset = 0;
    bool from_max = g_str_has_prefix(name, "RTMAX");
    int number;

    if (!from_max && !g_str_has_prefix(name, "RTMIN"))
        return -1;
    name += 5;
    if (*name && !(*name == (from_max ? '-' : '+') &&
                   g_ascii_string_to_signed(name + 1, 10, 0, SIGRTMAX - SIGRTMIN, &offset, NULL)))
        return -1;
    number = from_max ? SIGRTMAX - (int)offset : SIGRTMIN + (int)offset;
    return number;
}

int output_signal_number(const char *name)
{
    g_autofree char *upper = g_ascii_strup(name, -1);
    const char *plain = g_str_has_prefix(upper, "SIG") ? upper + 3 : upper;
    guint64 number;

    if (g_ascii_string_to_unsigned(name, 10, 1, (guint64)SIGRTMAX, &number, NULL))
        return (int)number;
    for (size_t i = 0; i < G_N_ELEMENTS(signal_names); i++) {
        if (strcmp(signal_names[i].name, plain) == 0)
            return signal_names[i].number;
    }
    return realtime_signal(plain);
}

char *output_end_of_process(const char *how, int64_t status)
{
    const char *name = signal_name(status);

    if (!how)
        return g_strdup("unknown");
    if (strcmp(how, "exited") == 0)
        return g_strdup_printf("exited, status %" G_GINT64_FORMAT, status);
    if (strcmp(how, "killed") != 0 && strcmp(how, "dumped") != 0)
        return output_fitted(how, 20);
    return g_strdup_printf("killed by signal %" G_GINT64_FORMAT "%s%s%s%s", status,
                           name ? " (SIG" : "", name ? name : "", name ? ")" : "",
                           strcmp(how, "dumped") == 0 ? ", core dumped" : "");
}

static char *format_local(uint64_t usec, const char *format)
{
    g_autoptr(GDateTime) time = g_date_time_new_from_unix_local((gint64)(usec / 1000000));
    char *text = time ? g_date_time_format(time, format) : NULL;

    return text ? text : g_strdup("?");
}

char *output_time(uint64_t usec)
{
    return format_local(usec, "%a %Y-%m-%d %H:%M:%S %Z");
}

char *output_time_of_day(uint64_t usec)
{
    return format_local(usec, "%H:%M:%S");
}

char *output_date(uint64_t usec)
{
    return format_local(usec, "%b %d %H:%M:%S");
}

char *output_log_time(const char *line, const char **text)
{
    static const char shape[] = "dddd-dd-ddTdd:dd:dd.ddddddZ ";
    g_autofree char *stamp = NULL;
    g_autofree char *date = NULL;
    g_autoptr(GDateTime) time = NULL;

    *text = line;
    for (size_t i = 0; shape[i]; i++) {
        if (shape[i] == 'd' ? !g_ascii_isdigit(line[i]) : line[i] != shape[i])
            return g_strdup("");
    }
    stamp = g_strndup(line, sizeof(shape) - 2);
    time = g_date_time_new_from_iso8601(stamp, NULL);
    if (!time)
        return g_strdup("");
    *text = line + sizeof(shape) - 1;
    date = output_date((uint64_t)g_date_time_to_unix(time) * G_USEC_PER_SEC);
    return g_strconcat(date, " ", NULL);
}

char *output_ago(uint64_t usec)
{
    static const struct {
        uint64_t seconds;
        const char *unit;
    } units[] = {{86400, "d"}, {3600, "h"}, {60, "min"}, {1, "s"}};
    uint64_t now = (uint64_t)g_get_real_time();
    uint64_t left = now > usec ? (now - usec) / 1000000 : 0;
    GString *text = g_string_new(NULL);
    unsigned parts = 0;

    if (left == 0)
        g_string_append(text, "a moment");
    for (size_t i = 0; i < G_N_ELEMENTS(units) && parts < 2; i++) {
        if (left < units[i].seconds && parts == 0)
            continue;
        if (left >= units[i].seconds)
            g_string_append_printf(text, "%s%" G_GUINT64_FORMAT "%s", parts ? " " : "",
                                   left / units[i].seconds, units[i].unit);
        left %= units[i].seconds;
        parts++;
    }
    g_string_append(text, " ago");
    return g_string_free(text, FALSE);
}

char *output_duration(uint64_t usec)
{
    /* Rounded, as the plot does it: both have to say the same of one run. */
    uint64_t tenths = usec / 100 + (usec % 100 >= 50);
    uint64_t hundredths = usec / 10000 + (usec % 10000 >= 5000);

    if (tenths < 10000)
        return g_strdup_printf("%" G_GUINT64_FORMAT ".%01u ms", tenths / 10,
                               (unsigned)(tenths % 10));
    if (hundredths < 10000)
        return g_strdup_printf("%" G_GUINT64_FORMAT ".%02u s", hundredths / 100,
                               (unsigned)(hundredths % 100));
    return g_strdup_printf("%" G_GUINT64_FORMAT " s", usec / 1000000 + (usec % 1000000 >= 500000));
}
