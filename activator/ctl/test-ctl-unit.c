/* SPDX-License-Identifier: MIT */
/* Unit tests of dbus-activatorctl. With the argument `plot N` it prints a plot of N made-up runs
 * instead: for xmllint and for eyes. */
#include "ctl/json.h"
#include "ctl/lint.h"
#include "ctl/output.h"
#include "ctl/plot.h"
#include "ctl/query.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* main.c is not linked. */
void ctl_complain(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
}

static void test_json(void)
{
    struct json json;

    json_begin(&json, false);
    json_open(&json, '{');
    json_string_member(&json, "a\"b", "\x1b[31m\n\t\\ \xff \xc2\x85 \xf0\x9f\x98\x80");
    json_string_member(&json, "absent", NULL);
    json_unsigned_member(&json, "n", G_MAXUINT64);
    json_key(&json, "list");
    json_open(&json, '[');
    json_signed(&json, -5);
    json_bool(&json, true);
    json_open(&json, '{');
    json_close(&json, '}');
    json_close(&json, ']');
    json_close(&json, '}');
    g_assert_cmpstr(json.text->str, ==,
                    "{\"a\\\"b\":\"\\u001b[31m\\n\\t\\\\ \xef\xbf\xbd \\u0085 \xf0\x9f\x98\x80\","
                    "\"n\":18446744073709551615,\"list\":[-5,true,{}]}");
    g_string_free(json.text, TRUE);
}

static void assert_safe(const char *text, size_t length, const char *expected)
{
    g_autofree char *result = output_safe_line(text, length);

    g_assert_cmpstr(result, ==, expected);
    g_assert_true(g_utf8_validate(result, -1, NULL));
}

static void test_safe(void)
{
    assert_safe("plain ä\t", 9, "plain ä\t");
    assert_safe("\x1b]0;title\x07", 10, "\\x1b]0;title\\x07");
    assert_safe("\xff\xfe\x80", 3, "\\xff\\xfe\\x80");
    assert_safe("\xe2\x82", 2, "\\xe2\\x82");
    assert_safe("a\0b", 3, "a\\x00b");
    assert_safe("\xc2\x9b", 2, "\\u009b");
    assert_safe("\xe2\x80\xae", 3, "\\u202e");
    assert_safe("\r\b", 2, "\\x0d\\x08");
}

static void test_fitted(void)
{
    g_autofree char *cut = output_fitted("abcdefghij", 5);
    g_autofree char *wide = output_fitted("漢字漢字", 5);
    g_autofree char *whole = output_fitted("abcde", 5);

    g_assert_cmpstr(cut, ==, "abcd…");
    g_assert_cmpstr(wide, ==, "漢字…");
    g_assert_cmpstr(whole, ==, "abcde");
    g_assert_cmpuint(output_columns("漢a"), ==, 3);
}

static void test_signals(void)
{
    g_assert_cmpint(output_signal_number("TERM"), ==, SIGTERM);
    g_assert_cmpint(output_signal_number("sigusr1"), ==, SIGUSR1);
    g_assert_cmpint(output_signal_number("9"), ==, 9);
    g_assert_cmpint(output_signal_number("RTMIN+2"), ==, SIGRTMIN + 2);
    g_assert_cmpint(output_signal_number("SIGRTMAX"), ==, SIGRTMAX);
    g_assert_cmpint(output_signal_number("0"), ==, -1);
    g_assert_cmpint(output_signal_number("999"), ==, -1);
    g_assert_cmpint(output_signal_number("RTMIN-1"), ==, -1);
    g_assert_cmpint(output_signal_number(""), ==, -1);
}

static void test_tree(void)
{
    struct listed_process list[] = {
        {10, 1, (char *)"main", false}, {11, 10, (char *)"child\x1b", true},
        {12, 11, (char *)"deep", true}, {13, 10, (char *)"", false},
        {20, 21, (char *)"loop", true}, {21, 20, (char *)"loop", true},
    };
    g_autoptr(GArray) array = g_array_new(FALSE, FALSE, sizeof(list[0]));
    g_autofree char *text = NULL;

    g_array_append_vals(array, list, G_N_ELEMENTS(list));
    text = tree_draw(array, 2, 0);
    g_assert_cmpstr(text, ==,
                    "  └─10 main\n"
                    "    ├─11 child\\x1b (adopted)\n"
                    "    │ └─12 deep (adopted)\n"
                    "    └─13 (command line not shown)\n"
                    "  └─20 loop (adopted)\n"
                    "    └─21 loop (adopted)\n");
}

static void test_duration(void)
{
    static const struct {
        uint64_t usec;
        const char *text;
    } cases[] = {{0, "0.0 ms"},         {49, "0.0 ms"},        {50, "0.1 ms"},
                 {46850, "46.9 ms"},    {999949, "999.9 ms"},  {999950, "1.00 s"},
                 {12345000, "12.35 s"}, {99994999, "99.99 s"}, {99995000, "100 s"},
                 {100499999, "100 s"},  {100500000, "101 s"}};

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *text = output_duration(cases[i].usec);

        g_assert_cmpstr(text, ==, cases[i].text);
    }
}

static void test_log_time(void)
{
    const char *text;
    g_autofree char *time = output_log_time("2026-11-28T05:25:23.123456Z  words", &text);
    g_autofree char *none = output_log_time("2026-11-28T05:25:23.12345Z words", &text);

    g_assert_cmpstr(none, ==, "");
    g_assert_cmpstr(text, ==, "2026-11-28T05:25:23.12345Z words");
    g_clear_pointer(&none, g_free);
    none = output_log_time("", &text);
    g_assert_cmpstr(none, ==, "");
    g_clear_pointer(&none, g_free);
    none = output_log_time("2026-99-28T05:25:23.123456Z words", &text);
    g_assert_cmpstr(none, ==, "");
    g_clear_pointer(&none, g_free);
    none = output_log_time("2026-11-28T05:25:23.123456Z  words", &text);
    g_assert_cmpstr(text, ==, " words");
    g_assert_true(g_regex_match_simple("^[^ ]+ \\d\\d \\d\\d:\\d\\d:23 $", time, 0, 0));
}

static void test_exec_comment(void)
{
    g_assert_null(lint_exec_comment("/bin/a '#' \"\\\"#\" \\#"));
    g_assert_cmpstr(lint_exec_comment("/bin/a --c=#fff"), ==, "#fff");
}

static GPtrArray *made_up_runs(guint count)
{
    GPtrArray *runs = g_ptr_array_new();
    uint64_t time = UINT64_C(1795847351000000);

    for (uint64_t i = 0; i < count; i++) {
        struct plot_run *run = g_new0(struct plot_run, 1);

        run->name =
            g_strdup_printf("org.example.%s.Service%u",
                            i % 5 ? "Desktop" : "AVeryLongName.WithMany.Elements", (unsigned)i);
        run->requested = time;
        run->spawned = time + 700 + 331 * (i % 4);
        run->failed = i % 11 == 3;
        if (run->failed) {
            run->ended = run->spawned + 40000;
            run->error = g_strdup("exited with status 3: <no> & \x1b[31m\"why\"");
        } else {
            run->connected = run->spawned + 2000 + 9000 * (i % 7);
            run->owned = run->connected + 300 + 2000 * (i % 3);
        }
        g_ptr_array_add(runs, run);
        time += i % 40 == 39 ? 90000000 : 3000 + 2500 * (i % 6);
    }
    return runs;
}

static void test_plot(void)
{
    static const guint counts[] = {0, 1, 5, 512};

    for (size_t i = 0; i < G_N_ELEMENTS(counts); i++) {
        GPtrArray *runs = made_up_runs(counts[i]);
        g_autofree char *svg = plot_draw(runs);

        g_assert_cmpuint(strlen(svg), <, 1000000);
        g_assert_null(strstr(svg, "\x1b"));
        g_assert_null(strstr(svg, "nan"));
        g_assert_true(g_str_has_suffix(svg, "</svg>\n"));
        for (guint j = 0; j < runs->len; j++) {
            struct plot_run *run = g_ptr_array_index(runs, j);

            g_free(run->name);
            g_free(run->error);
            g_free(run);
        }
        g_ptr_array_free(runs, TRUE);
    }
}

int main(int argc, char **argv)
{
    if (argc > 2 && strcmp(argv[1], "plot") == 0) {
        g_autofree char *svg = plot_draw(made_up_runs((guint)atoi(argv[2])));

        fputs(svg, stdout);
        return 0;
    }
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ctl/json", test_json);
    g_test_add_func("/ctl/safe", test_safe);
    g_test_add_func("/ctl/fitted", test_fitted);
    g_test_add_func("/ctl/signals", test_signals);
    g_test_add_func("/ctl/tree", test_tree);
    g_test_add_func("/ctl/duration", test_duration);
    g_test_add_func("/ctl/log-time", test_log_time);
    g_test_add_func("/ctl/exec-comment", test_exec_comment);
    g_test_add_func("/ctl/plot", test_plot);
    return g_test_run();
}
