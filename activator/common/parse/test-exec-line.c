/* SPDX-License-Identifier: MIT */
#include "common/parse/exec-line.h"

#include <glib.h>
#include <stdbool.h>
#include <string.h>

/* Arguments in <>, or the error. */
static char *shown(const char *line)
{
    GString *text = g_string_new(NULL);
    struct parse_error error = {0};
    char **argv = NULL;
    size_t argc = 99;
    int r = exec_line_parse(line, &argv, &argc, &error);

    if (r) {
        g_assert_cmpint(r, ==, EXEC_LINE_E_UNCLOSED);
        g_assert_null(argv);
        g_assert_cmpuint(argc, ==, 99);
        g_assert_cmpstr(error.message, !=, "");
        g_string_append(text, "error");
    } else {
        g_assert_cmpuint(argc, ==, g_strv_length(argv));
        for (size_t i = 0; i < argc; i++)
            g_string_append_printf(text, "<%s>", argv[i]);
    }
    exec_argv_free(argv);
    return g_string_free(text, FALSE);
}

/* The first group is what the stock daemon was seen to do (dbus 1.14.10). */
static void test_table(void)
{
    static const char *const rows[][2] = {
        {"", "<>"},
        {"  ", "<>"},
        {"/bin/true ", "</bin/true><>"},
        {"/bin/true\n\n", "</bin/true><><>"},
        {"x --color=#fff two", "<x><--color=>"},
        {"a#b\nc", "<ac>"},
        {"a #b\nc", "<a><c>"},
        {"a #", "error"},
        {"a #b", "<a><>"},
        {"a##", "<a>"},
        {"#\n", "<>"},
        {"a\tb  c", "<a><b><c>"},
        {"a \\\n", "<a><>"},
        {"a\\\nb", "<ab>"},
        {"\\ \\#\\'\\\"\\\\\\a", "< #'\"\\a>"},
        {"'a b'\"c d\"e", "<a bc de>"},
        {"'\\'", "<\\>"},
        {"'a'\\''b'", "<a'b>"},
        {"\"\\$\\`\\\"\\\\\\\n\\a\"", "<$`\"\\\n\\a>"},
        {"'' \"\"", "<><>"},
        {"'#' \"#\"", "<#><#>"},
        {"'\n'", "<\n>"},
        {"$HOME * ~ ; `x`", "<$HOME><*><~><;><`x`>"},
        {"'a", "error"},
        {"\"a", "error"},
        {"\"a\\\"", "error"},
        {"a\\", "error"},
        {"\xc3\xa4 b", "<\xc3\xa4><b>"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *result = shown(rows[i][0]);

        g_assert_cmpstr(result, ==, rows[i][1]);
    }
    exec_argv_free(NULL);
}

static void test_optional_outputs(void)
{
    char **argv = NULL;

    g_assert_cmpint(exec_line_parse("a b", &argv, NULL, NULL), ==, 0);
    g_assert_cmpstr(argv[1], ==, "b");
    exec_argv_free(argv);
    g_assert_cmpint(exec_line_parse("'", &argv, NULL, NULL), ==, EXEC_LINE_E_UNCLOSED);
}

/* Where the two dialects may differ: an unquoted newline or '#' anywhere, a blank at the end,
 * nothing at all. Follows the quotes only. */
static bool documented_difference(const char *line)
{
    char quote = '\0';
    bool blank_last = true;

    for (const char *c = line; *c; c++) {
        blank_last = false;
        if (quote) {
            if (quote == '"' && *c == '\\' && c[1])
                c++;
            else if (*c == quote)
                quote = '\0';
        } else if (*c == '\\' && c[1]) {
            /* A newline that is taken away leaves what was before it. */
            if (*++c == '\n')
                return true;
        } else if (*c == '\'' || *c == '"') {
            quote = *c;
        } else if (*c == '#' || *c == '\n') {
            return true;
        } else {
            blank_last = *c == ' ' || *c == '\t';
        }
    }
    return blank_last;
}

static bool same(const char *line)
{
    g_auto(GStrv) theirs = NULL;
    char **ours = NULL;
    bool they = g_shell_parse_argv(line, NULL, &theirs, NULL);
    bool we = exec_line_parse(line, &ours, NULL, NULL) == 0;
    bool equal =
        they == we && (!we || g_strv_equal((const char *const *)theirs, (const char *const *)ours));

    exec_argv_free(ours);
    return equal;
}

static unsigned compare_all(const char *alphabet, unsigned max)
{
    unsigned letters = (unsigned)strlen(alphabet), count = 1, compared = 0;

    for (unsigned length = 1; length <= max; length++) {
        count *= letters;
        for (unsigned n = 0; n < count; n++) {
            char line[16] = "";
            unsigned rest = n;

            for (unsigned i = 0; i < length; i++, rest /= letters)
                line[i] = alphabet[rest % letters];
            if (documented_difference(line))
                continue;
            compared++;
            if (!same(line)) {
                g_autofree char *escaped = g_strescape(line, NULL);
                g_error("\"%s\" is split in another way than by GLib", escaped);
            }
        }
    }
    return compared;
}

static void test_against_glib(void)
{
    g_assert_cmpuint(compare_all("a '\"\\", 7), >, 50000);
    g_assert_cmpuint(compare_all("a \t'\"\\\n#$`", 5), >, 20000);
}

/* A line of the largest service file, in the shapes that make careless code quadratic. The test
 * has no time limit of its own: it is the runner's that ends it. */
static void test_long(void)
{
    static const char *const pieces[] = {"a ", "\\", "'a'", "#\n", "\n", "\"\\\"\""};

    for (size_t i = 0; i < G_N_ELEMENTS(pieces); i++) {
        GString *line = g_string_new(NULL);
        char **argv = NULL;

        while (line->len + strlen(pieces[i]) < 131072)
            g_string_append(line, pieces[i]);
        if (exec_line_parse(line->str, &argv, NULL, NULL) == 0)
            exec_argv_free(argv);
        g_string_free(line, TRUE);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/exec-line/table", test_table);
    g_test_add_func("/exec-line/optional-outputs", test_optional_outputs);
    g_test_add_func("/exec-line/against-glib", test_against_glib);
    g_test_add_func("/exec-line/long", test_long);
    return g_test_run();
}
