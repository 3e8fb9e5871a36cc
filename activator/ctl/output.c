/* SPDX-License-Identifier: MIT */
#include "ctl/output.h"

#include <errno.h>
#include <langinfo.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct signs unicode_signs = {"●", "├─", "└─", "│ ", "…"};
static const struct signs ascii_signs = {"*", "|-", "`-", "| ", "..."};

/* Properties of the terminal, asked once. */
static struct {
    bool colours;
    bool terminal;
    unsigned width;
    const struct signs *signs;
    GPid pager;
    bool progress_shown;
} out = {.signs = &unicode_signs};

static unsigned find_width(void)
{
    const char *columns = getenv("COLUMNS");
    struct winsize size;
    guint64 number;

    if (columns && g_ascii_string_to_unsigned(columns, 10, 20, 10000, &number, NULL))
        return (unsigned)number;
    if (!out.terminal)
        return 0;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20)
        return size.ws_col;
    return 80;
}

void output_init(void)
{
    const char *no_color = getenv("NO_COLOR");
    const char *term = getenv("TERM");
    const char *codeset = nl_langinfo(CODESET);

    out.terminal = isatty(STDOUT_FILENO);
    out.colours = out.terminal && !(no_color && *no_color) && term && strcmp(term, "dumb") != 0;
    out.width = find_width();
    /* The C locale says nothing about the terminal; one with an 8-bit set of its own does. */
    if (strcmp(codeset, "UTF-8") != 0 && strcmp(codeset, "ANSI_X3.4-1968") != 0 &&
        strcmp(codeset, "US-ASCII") != 0 && strcmp(codeset, "ASCII") != 0)
        out.signs = &ascii_signs;
}

const struct signs *output_signs(void)
{
    return out.signs;
}

const char *output_colour(enum colour colour)
{
    static const char *const sequences[] = {
        [COLOUR_NONE] = "\033[0m",   [COLOUR_BOLD] = "\033[1m",    [COLOUR_DIM] = "\033[2m",
        [COLOUR_GREEN] = "\033[32m", [COLOUR_YELLOW] = "\033[33m", [COLOUR_RED] = "\033[1;31m",
    };

    return out.colours ? sequences[colour] : "";
}

char *output_coloured(enum colour colour, const char *text)
{
    if (colour == COLOUR_NONE)
        return g_strdup(text);
    return g_strconcat(output_colour(colour), text, output_colour(COLOUR_NONE), NULL);
}

enum colour output_state_colour(const char *state)
{
    if (!state)
        return COLOUR_NONE;
    if (strcmp(state, "running") == 0)
        return COLOUR_GREEN;
    if (strcmp(state, "failed") == 0)
        return COLOUR_RED;
    if (strcmp(state, "starting") == 0 || strcmp(state, "stopping") == 0)
        return COLOUR_YELLOW;
    return COLOUR_NONE;
}

unsigned output_width(void)
{
    return out.width;
}

bool output_character_is_safe(gunichar c)
{
    if (c < 0x20 || (c >= 0x7f && c < 0xa0))
        return false;
    if (c >= 0x200b && c <= 0x200f) /* zero width, marks of direction */
        return false;
    if (c >= 0x2028 && c <= 0x202e) /* separators, embeddings, overrides */
        return false;
    if (c >= 0x2060 && c <= 0x206f)
        return false;
    if ((c & 0xfffe) == 0xfffe) /* no characters, and no XML */
        return false;
    return c != 0x061c && c != 0xfeff && !(c >= 0xe0000 && c <= 0xe0fff);
}

static void append_safe(GString *text, gunichar c, bool keep_tabs)
{
    if (c == '\t')
        g_string_append_c(text, keep_tabs ? '\t' : ' ');
    else if (output_character_is_safe(c))
        g_string_append_unichar(text, c);
    else if (c < 0x80)
        g_string_append_printf(text, "\\x%02x", c);
    else
        g_string_append_printf(text, "\\u%04x", c);
}

static char *safe(const char *text, size_t length, bool keep_tabs)
{
    GString *result = g_string_sized_new(length);
    const char *end = text + length;

    while (text < end) {
        gunichar c = g_utf8_get_char_validated(text, end - text);

        /* A NUL counts as -2, "incomplete", for GLib. */
        if (c == (gunichar)-1 || c == (gunichar)-2) {
            g_string_append_printf(result, "\\x%02x", (unsigned char)*text);
            text++;
        } else {
            append_safe(result, c, keep_tabs);
            text = g_utf8_next_char(text);
        }
    }
    return g_string_free(result, FALSE);
}

char *output_safe(const char *text)
{
    return safe(text, strlen(text), true);
}

char *output_safe_line(const char *text, size_t length)
{
    return safe(text, length, true);
}

static unsigned width_of(gunichar c)
{
    if (g_unichar_iszerowidth(c))
        return 0;
    return g_unichar_iswide(c) ? 2 : 1;
}

unsigned output_columns(const char *text)
{
    unsigned columns = 0;

    for (; *text; text = g_utf8_next_char(text))
        columns += width_of(g_utf8_get_char(text));
    return columns;
}

char *output_fitted(const char *text, unsigned columns)
{
    g_autofree char *whole = safe(text, strlen(text), false);
    unsigned mark = output_columns(out.signs->ellipsis);
    unsigned used = 0;
    const char *at;

    if (columns == 0 || output_columns(whole) <= columns)
        return g_steal_pointer(&whole);
    if (columns < mark)
        return g_strdup("");
    for (at = whole; *at; at = g_utf8_next_char(at)) {
        unsigned width = width_of(g_utf8_get_char(at));

        if (used + width > columns - mark)
            break;
        used += width;
    }
    *(whole + (at - whole)) = '\0';
    return g_strconcat(whole, out.signs->ellipsis, NULL);
}

char *output_wrapped(const char *text, unsigned indent, unsigned first)
{
    g_autofree char *whole = safe(text, strlen(text), false);
    g_auto(GStrv) words = g_strsplit(whole, " ", -1);
    GString *result = g_string_new(NULL);
    unsigned column = first;

    for (char **word = words; *word; word++) {
        unsigned columns = output_columns(*word);

        if (word == words) {
            column += columns;
        } else if (out.width && column + 1 + columns > out.width) {
            g_string_append_printf(result, "\n%*s", (int)indent, "");
            column = indent + columns;
        } else {
            g_string_append_c(result, ' ');
            column += 1 + columns;
        }
        g_string_append(result, *word);
    }
    return g_string_free(result, FALSE);
}

void output_pager_begin(const struct ctl *ctl)
{
    const char *pager = getenv("DBUS_ACTIVATOR_PAGER");
    g_auto(GStrv) argv = NULL;
    g_auto(GStrv) environment = NULL;
    int input;

    if (ctl->no_pager || ctl->json || !out.terminal)
        return;
    if (!pager)
        pager = getenv("PAGER");
    if (!pager)
        pager = "less";
    if (!*pager || strcmp(pager, "cat") == 0 || !g_shell_parse_argv(pager, NULL, &argv, NULL))
        return;
    environment = g_get_environ();
    environment = g_environ_setenv(environment, "LESS", "FRSXMK", TRUE);
    /* Whoever reaches root by sudo may not be meant to reach a shell through the pager. */
    if (getenv("SUDO_UID") || getenv("DOAS_USER") || getuid() != geteuid())
        environment = g_environ_setenv(environment, "LESSSECURE", "1", TRUE);
    fflush(stdout);
    if (!g_spawn_async_with_pipes(NULL, argv, environment,
                                  G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD, NULL, NULL,
                                  &out.pager, &input, NULL, NULL, NULL)) {
        out.pager = 0; /* no pager installed: do without */
        return;
    }
    dup2(input, STDOUT_FILENO);
    close(input);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, SIG_IGN);
}

int output_flush(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return CTL_DONE;
    /* A reader that has seen enough is no failure. */
    if (errno == EPIPE)
        return CTL_DONE;
    ctl_complain("cannot write the output: %s", g_strerror(errno));
    clearerr(stdout);
    return CTL_FAILED;
}

int output_end(void)
{
    int code = output_flush();

    if (out.pager > 0) {
        close(STDOUT_FILENO);
        while (waitpid(out.pager, NULL, 0) < 0 && errno == EINTR)
            ;
        out.pager = 0;
    }
    return code;
}

void output_nothing(const char *text)
{
    if (out.terminal)
        printf("%s(%s)%s\n", output_colour(COLOUR_DIM), text, output_colour(COLOUR_NONE));
}

void output_progress(const char *text, gint64 elapsed_usec)
{
    g_autofree char *safe_text = NULL;

    if (!text || elapsed_usec < G_USEC_PER_SEC || !isatty(STDERR_FILENO))
        return;
    safe_text = output_fitted(text, 60);
    fprintf(stderr, "\r%s (%d s)", safe_text, (int)(elapsed_usec / G_USEC_PER_SEC));
    fflush(stderr);
    out.progress_shown = true;
}

void output_progress_end(void)
{
    if (!out.progress_shown)
        return;
    fprintf(stderr, "\r%*s\r", 75, "");
    fflush(stderr);
    out.progress_shown = false;
}
