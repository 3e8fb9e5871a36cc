/* SPDX-License-Identifier: MIT */
#include "common/parse/exec-line.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Which text the next byte belongs to. */
enum state {
    PLAIN,
    BACKSLASH, /* behind a backslash outside quotes */
    SINGLE,
    DOUBLE,
    DOUBLE_BACKSLASH,
    HASH,    /* behind '#': the end of the line is an error only here */
    COMMENT, /* in a comment that has at least one byte or its newline */
};

struct splitter {
    enum state state;
    char *word; /* room for the whole line: no word is longer */
    size_t length;
    bool begun; /* word was given something, be it an empty pair of quotes */
    char **argv;
    size_t argc;
    size_t room;
};

static void put(struct splitter *s, char c)
{
    s->word[s->length++] = c;
    s->begun = true;
}

static int end_word(struct splitter *s)
{
    char *copy;

    if (s->argc + 1 >= s->room) {
        size_t room = s->room ? s->room * 2 : 8;
        char **argv = reallocarray(s->argv, room, sizeof(*argv));

        if (!argv)
            return -ENOMEM;
        s->argv = argv;
        s->argv[s->argc] = NULL;
        s->room = room;
    }
    copy = malloc(s->length + 1);
    if (!copy)
        return -ENOMEM;
    memcpy(copy, s->word, s->length);
    copy[s->length] = '\0';
    s->argv[s->argc++] = copy;
    s->argv[s->argc] = NULL;
    s->length = 0;
    s->begun = false;
    return 0;
}

static int step_plain(struct splitter *s, char c)
{
    switch (c) {
    case '\n':
        return end_word(s);
    case ' ':
    case '\t':
        return s->begun ? end_word(s) : 0;
    case '\'':
        s->begun = true;
        s->state = SINGLE;
        return 0;
    case '"':
        s->begun = true;
        s->state = DOUBLE;
        return 0;
    case '\\':
        s->state = BACKSLASH;
        return 0;
    case '#':
        s->state = HASH;
        return 0;
    default:
        put(s, c);
        return 0;
    }
}

static void step_double(struct splitter *s, char c)
{
    if (s->state == DOUBLE_BACKSLASH) {
        if (!strchr("\"\\`$\n", c))
            put(s, '\\');
        put(s, c);
        s->state = DOUBLE;
    } else if (c == '"') {
        s->state = PLAIN;
    } else if (c == '\\') {
        s->state = DOUBLE_BACKSLASH;
    } else {
        put(s, c);
    }
}

static int step(struct splitter *s, char c)
{
    switch (s->state) {
    case PLAIN:
        return step_plain(s, c);
    case BACKSLASH:
        if (c != '\n')
            put(s, c);
        s->state = PLAIN;
        return 0;
    case SINGLE:
        if (c == '\'')
            s->state = PLAIN;
        else
            put(s, c);
        return 0;
    case DOUBLE:
    case DOUBLE_BACKSLASH:
        step_double(s, c);
        return 0;
    case HASH:
    case COMMENT:
        s->state = c == '\n' ? PLAIN : COMMENT;
        return 0;
    }
    return 0;
}

static const char *unclosed(enum state state)
{
    switch (state) {
    case BACKSLASH:
        return "a backslash ends the command line";
    case SINGLE:
        return "single quote without its end";
    case DOUBLE:
    case DOUBLE_BACKSLASH:
        return "double quote without its end";
    case HASH:
        return "a '#' ends the command line";
    case PLAIN:
    case COMMENT:
        break;
    }
    return NULL;
}

int exec_line_parse(const char *line, char ***argv_out, size_t *argc_out, struct parse_error *error)
{
    struct splitter s = {.state = PLAIN};
    const char *reason;
    int r = 0;

    s.word = malloc(strlen(line) + 1);
    if (!s.word)
        return -ENOMEM;
    for (const char *c = line; *c && r == 0; c++)
        r = step(&s, *c);
    if (r)
        goto out;
    reason = unclosed(s.state);
    if (reason) {
        parse_error_set(error, 0, "%s", reason);
        r = EXEC_LINE_E_UNCLOSED;
        goto out;
    }
    /* The last word counts even when nothing is in it. */
    r = end_word(&s);
    if (r)
        goto out;
    *argv_out = s.argv;
    if (argc_out)
        *argc_out = s.argc;
    s.argv = NULL;
out:
    exec_argv_free(s.argv);
    free(s.word);
    return r;
}

void exec_argv_free(char **argv)
{
    if (!argv)
        return;
    for (char **arg = argv; *arg; arg++)
        free(*arg);
    free(argv);
}
