/* SPDX-License-Identifier: MIT */
#include "common/parse/service-file.h"

#include <fcntl.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEAD "[D-BUS Service]\n"
#define GOOD HEAD "Name=a.b\nExec=/x\n"

static void accept(const char *text, const char *name, const char *exec)
{
    struct service_file file;
    struct parse_error error = {0};

    if (service_file_parse(text, strlen(text), &file, &error, NULL, NULL)) {
        g_autofree char *escaped = g_strescape(text, NULL);
        g_error("\"%s\" refused: line %u: %s", escaped, error.line, error.message);
    }
    g_assert_cmpstr(file.name, ==, name);
    g_assert_cmpstr(file.exec, ==, exec);
    service_file_clear(&file);
    g_assert_null(file.name);
}

static void refuse_bytes(const char *text, size_t length, unsigned line)
{
    struct service_file file;
    struct parse_error error = {.line = 99};
    int r = service_file_parse(text, length, &file, &error, NULL, NULL);

    if (r != SERVICE_FILE_E_INVALID || error.line != line) {
        g_autofree char *escaped = g_strescape(text, NULL);
        g_error("\"%s\": %d, line %u not %u", escaped, r, error.line, line);
    }
    g_assert_cmpstr(error.message, !=, "");
    g_assert_null(file.name);
    g_assert_null(file.exec);
}

static void refuse(const char *text, unsigned line)
{
    refuse_bytes(text, strlen(text), line);
}

static void test_accepted(void)
{
    accept(GOOD, "a.b", "/x");
    accept(HEAD "Name=a.b\nExec=/x", "a.b", "/x");
    accept("[D-BUS Service]\r\nName=a.b\r\nExec=/x\r\n", "a.b", "/x");
    accept("[D-BUS Service]\rName=a.b\rExec=/x\r", "a.b", "/x");
    accept("# c\n\n \t\f\n" HEAD "#Name=c.d\nName=a.b\n\nExec=/x\n", "a.b", "/x");
    accept(HEAD "Name  =  a.b\nExec= /x \n", "a.b", "/x ");
    accept(HEAD "Name=\ta.b\nExec=/x\t\n", "\ta.b", "/x\t");
    accept(HEAD "Name=\nExec=\n", "", "");
    accept(HEAD "Name=:1.99\nExec==\n", ":1.99", "=");
    accept(HEAD "Name=a\\s\\t\\n\\r\\\\b\nExec=/x\n", "a \t\n\r\\b", "/x");
    accept(HEAD "Name=a.b\nName=c.d\nExec=/x\nExec=/y\n", "a.b", "/x");
    accept("[Other]\nName=c.d\nA-1=\n" GOOD, "a.b", "/x");
    accept(GOOD "[Other]\nName=c.d\n" HEAD "Name=e.f\n", "a.b", "/x");
    accept(HEAD "Name[de]=c.d\nName[\\q\nName=a.b\nExec=/x\n", "a.b", "/x");
    accept(HEAD "Name=\xc3\xa4\xef\xbf\xbe\xf4\x8f\xbf\xbf\nExec=/x\n",
           "\xc3\xa4\xef\xbf\xbe\xf4\x8f\xbf\xbf", "/x");
    accept(HEAD "Name=a\x01\x0b\nExec=/x\n", "a\x01\x0b", "/x");
    accept(GOOD "\r\r", "a.b", "/x");
    accept(GOOD "[ !~]\n", "a.b", "/x");
}

static void test_refused(void)
{
    refuse("", 0);
    refuse("[D-Bus Service]\nName=a.b\nExec=/x\n", 0);
    refuse(HEAD "Name=a.b\n", 0);
    refuse(HEAD "Exec=/x\n", 0);
    refuse(HEAD "Name=a.b\n[Other]\nExec=/x\n", 0);
    refuse(HEAD "Name=a.b\n" HEAD "Exec=/x\n", 0);
    refuse("\xef\xbb\xbf" GOOD, 1);
    refuse("Name=a.b\n" GOOD, 1);
    refuse(GOOD "; c\n", 4);
    refuse(GOOD " # c\n", 4);
    refuse(GOOD " User=x\n", 4);
    refuse(GOOD "User_=x\n", 4);
    refuse(GOOD "User.x=x\n", 4);
    refuse(GOOD "User\t=x\n", 4);
    refuse(GOOD "User\n", 4);
    refuse(GOOD "User \n", 4);
    refuse(GOOD "=x\n", 4);
    refuse(GOOD "\v\n", 4);
    refuse(GOOD "User=x\\\n", 4);
    refuse(GOOD "[Other]\nKey=\\q\n", 5);
    refuse(GOOD "User=\\\"x\n", 4);
    refuse(GOOD "[]\n", 4);
    refuse(GOOD "[\n", 4);
    refuse(GOOD "[Other\n", 4);
    refuse(GOOD "[Other] \n", 4);
    refuse(GOOD "[Ot[her]\n", 4);
    refuse(GOOD "[Ot\ther]\n", 4);
    refuse(GOOD "[\xc3\xa4]\n", 4);
    /* A blank line ends at an LF, or the rest has to be blank too. */
    refuse("[D-BUS Service]\r\rName=a.b\rExec=/x\r", 2);
    refuse(GOOD " \rUser=x\n", 4);
}

static void test_utf8(void)
{
    static const char *const bad[] = {
        "\x80",
        "\xff",
        "\xc0\x80",
        "\xc1\xbf",
        "\xc3",
        "\xe0\x9f\xbf",
        "\xed\xa0\x80",
        "\xed\xbf\xbf",
        "\xe2\x82",
        "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80",
        "\xf8\x88\x80\x80\x80",
        "\xc3\n\xa4",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autofree char *in_comment = g_strconcat(GOOD "#", bad[i], "\n", NULL);
        g_autofree char *at_end = g_strconcat(GOOD "#", bad[i], NULL);

        refuse(in_comment, 4);
        refuse(at_end, 4);
    }
    refuse_bytes(GOOD "\0\n", strlen(GOOD) + 2, 4);
}

/* GOOD and a comment, filled up to size bytes. */
static char *filled(char with, size_t size)
{
    g_autofree char *fill = g_strnfill(size - strlen(GOOD "#"), with);

    return g_strconcat(GOOD "#", fill, NULL);
}

static void test_size(void)
{
    g_autofree char *most = filled('\n', SERVICE_FILE_MAX);
    g_autofree char *more = filled('\n', SERVICE_FILE_MAX + 1);
    /* Quadratic, were it not remembered what was blank. */
    g_autofree char *blank = filled('\r', SERVICE_FILE_MAX);

    accept(most, "a.b", "/x");
    accept(blank, "a.b", "/x");
    refuse(more, 0);
}

static void collect(const char *key, unsigned line, void *data)
{
    g_string_append_printf(data, "%s:%u ", key, line);
}

static void test_lines(void)
{
    static const char text[] = "[X]\nA=\n" HEAD "Name=a.b\nFoo=\nName=c\nName[de]=x\nExec=/x\n"
                               "User=u\nSystemdService=s\nAssumedAppArmorLabel=l\n" HEAD "Late=\n";
    g_autoptr(GString) keys = g_string_new(NULL);
    struct service_file file;

    g_assert_cmpint(service_file_parse(text, strlen(text), &file, NULL, collect, keys), ==, 0);
    g_assert_cmpstr(keys->str, ==,
                    "Name:4 Foo:5 Name:6 Exec:8 User:9 SystemdService:10 AssumedAppArmorLabel:11 ");
    g_assert_cmpuint(file.name_line, ==, 4);
    g_assert_cmpuint(file.exec_line, ==, 8);
    g_assert_cmpuint(file.user_line, ==, 9);
    g_assert_cmpuint(file.unit_line, ==, 10);
    g_assert_cmpstr(file.user, ==, "u");
    g_assert_cmpstr(file.systemd_service, ==, "s");
    g_assert_cmpstr(file.apparmor_label, ==, "l");
    service_file_clear(&file);
    g_assert_cmpint(service_file_parse(GOOD, strlen(GOOD), &file, NULL, NULL, NULL), ==, 0);
    g_assert_null(file.user);
    g_assert_cmpuint(file.user_line, ==, 0);
    service_file_clear(&file);
}

/* Control bytes of a hostile file do not reach a terminal. */
static void test_message(void)
{
    struct parse_error error;

    parse_error_set(&error, 7, "a%sb", "\x1b[2J\n\x7f");
    g_assert_cmpstr(error.message, ==, "a?[2J??b");
    g_assert_cmpuint(error.line, ==, 7);
    parse_error_set(NULL, 0, "x");
}

static void test_load(void)
{
    g_autofree char *folder = g_dir_make_tmp("parse-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(folder, "f", NULL);
    g_autofree char *link = g_build_filename(folder, "l", NULL);
    struct service_file file;
    struct parse_error error = {0};

    g_assert_cmpint(service_file_load(path, &file, &error), ==, SERVICE_FILE_E_MISSING);
    g_assert_true(g_file_set_contents(path, GOOD, -1, NULL));
    g_assert_cmpint(symlink("f", link), ==, 0);
    g_assert_cmpint(service_file_load(link, &file, &error), ==, 0);
    g_assert_cmpstr(file.name, ==, "a.b");
    service_file_clear(&file);
    g_assert_true(g_file_set_contents(path, "", 0, NULL));
    g_assert_cmpint(service_file_load(path, &file, &error), ==, SERVICE_FILE_E_INVALID);
    g_assert_cmpint(truncate(path, SERVICE_FILE_MAX + 1), ==, 0);
    g_assert_cmpint(service_file_load(path, &file, &error), ==, SERVICE_FILE_E_INVALID);
    g_assert_cmpint(g_unlink(path), ==, 0);
    g_assert_cmpint(mkfifo(path, 0600), ==, 0);
    g_assert_cmpint(service_file_load(path, &file, &error), ==, SERVICE_FILE_E_UNREADABLE);
    g_assert_cmpint(service_file_load(folder, &file, &error), ==, SERVICE_FILE_E_UNREADABLE);
    g_assert_cmpint(g_unlink(path), ==, 0);
    g_assert_cmpint(g_unlink(link), ==, 0);
    g_assert_cmpint(g_rmdir(folder), ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/service-file/accepted", test_accepted);
    g_test_add_func("/service-file/refused", test_refused);
    g_test_add_func("/service-file/utf8", test_utf8);
    g_test_add_func("/service-file/size", test_size);
    g_test_add_func("/service-file/lines", test_lines);
    g_test_add_func("/service-file/message", test_message);
    g_test_add_func("/service-file/load", test_load);
    return g_test_run();
}
