/* SPDX-License-Identifier: MIT */
#include "common/parse/bus-config.h"

#include <ftw.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>

/* A folder of its own for each test, in which all paths are relative. */
struct place {
    char *folder;
};

static void set_up(struct place *place, gconstpointer data)
{
    (void)data;
    place->folder = g_dir_make_tmp("parse-XXXXXX", NULL);
    g_assert_nonnull(place->folder);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static void tear_down(struct place *place, gconstpointer data)
{
    (void)data;
    g_assert_cmpint(nftw(place->folder, remove_one, 8, FTW_DEPTH | FTW_PHYS), ==, 0);
    g_free(place->folder);
}

/* Writes a file of that content inside <busconfig>. */
static void put(struct place *place, const char *name, const char *content)
{
    g_autofree char *path = g_build_filename(place->folder, name, NULL);
    g_autofree char *folder = g_path_get_dirname(path);
    g_autofree char *text = g_strdup_printf("<busconfig>%s</busconfig>\n", content);

    g_assert_cmpint(g_mkdir_with_parents(folder, 0700), ==, 0);
    g_assert_true(g_file_set_contents(path, text, -1, NULL));
}

static int load(struct place *place, struct bus_config *config, struct parse_error *error)
{
    g_autofree char *path = g_build_filename(place->folder, "top.conf", NULL);

    return bus_config_load(path, config, NULL, NULL, error);
}

static void load_well(struct place *place, struct bus_config *config)
{
    struct parse_error error = {0};

    if (load(place, config, &error))
        g_error("line %u: %s", error.line, error.message);
}

/* Dirs, without the folder, S and Y for the standard ones. */
static char *dirs_of(struct place *place, struct bus_config *config)
{
    GString *text = g_string_new(NULL);

    for (size_t i = 0; i < config->ndirs; i++) {
        const char *path = config->dirs[i].path;

        if (config->dirs[i].kind != BUS_CONFIG_DIR)
            path = config->dirs[i].kind == BUS_CONFIG_DIR_SESSION ? "S" : "Y";
        else if (g_str_has_prefix(path, place->folder))
            path += strlen(place->folder) + 1;
        g_string_append_printf(text, "%s ", path);
    }
    return g_string_free(text, FALSE);
}

static void check_dirs(struct place *place, const char *wanted)
{
    struct bus_config config;
    g_autofree char *text = NULL;

    load_well(place, &config);
    text = dirs_of(place, &config);
    g_assert_cmpstr(text, ==, wanted);
    bus_config_clear(&config);
}

static void check_refused(struct place *place, const char *content, int wanted)
{
    struct bus_config config;
    struct parse_error error = {0};
    int result = 0;

    put(place, "top.conf", content);
    result = load(place, &config, &error);
    if (result != wanted)
        g_error("%s: %d", content, result);
    g_assert_cmpstr(error.message, !=, "");
    g_assert_null(config.dirs);
    g_assert_null(config.files);
}

static void test_everything(struct place *place, gconstpointer data)
{
    struct bus_config config;
    g_autofree char *text = NULL, *helper = NULL;

    (void)data;
    put(place, "top.conf",
        "<!-- c --> <type>system</type><user>a</user><user>messagebus</user><fork/>"
        "<listen>unix:path=/a</listen><listen>unix:path=/b&amp;c</listen>"
        "<auth>EXTERNAL</auth><keep_umask/><syslog/><allow_anonymous/><pidfile>/p</pidfile>"
        "<standard_session_servicedirs /><servicedir>/one</servicedir>"
        "<standard_system_servicedirs/><servicedir>two</servicedir>"
        "<servicehelper>h --flag</servicehelper>"
        "<limit name=\"service_start_timeout\">1</limit><limit name='max_replies_per_connection'>2"
        "</limit><limit name='service_start_timeout'>120000</limit>"
        "<policy user='root'><allow own='*'/><deny send_type='x'/></policy>"
        "<selinux><associate own='a' context='b'/></selinux><apparmor mode='enabled'/>");
    load_well(place, &config);
    helper = g_build_filename(place->folder, "h --flag", NULL);
    text = dirs_of(place, &config);
    g_assert_cmpstr(text, ==, "S /one Y two ");
    g_assert_cmpstr(config.type, ==, "system");
    g_assert_cmpstr(config.user, ==, "messagebus");
    g_assert_true(config.has_servicehelper);
    g_assert_cmpstr(config.servicehelper, ==, helper);
    g_assert_cmpuint(config.start_timeout_ms, ==, 120000);
    g_assert_cmpuint(config.nlisten, ==, 2);
    g_assert_cmpstr(config.listen[1], ==, "unix:path=/b&c");
    g_assert_cmpuint(config.nfiles, ==, 1);
    bus_config_clear(&config);
}

static void test_defaults(struct place *place, gconstpointer data)
{
    struct bus_config config;

    (void)data;
    put(place, "top.conf", "");
    load_well(place, &config);
    g_assert_null(config.type);
    g_assert_null(config.user);
    g_assert_false(config.has_servicehelper);
    g_assert_cmpuint(config.start_timeout_ms, ==, 25000);
    g_assert_cmpuint(config.nlisten, ==, 0);
    bus_config_clear(&config);
}

static void test_refused(struct place *place, gconstpointer data)
{
    static const char *const contents[] = {
        "<busconfig/>",
        "<unknown/>",
        "<type/>",
        "<type></type>",
        "<type x='y'>a</type>",
        "text",
        "<type>a<user>b</user></type>",
        "<allow own='*'/>",
        "<policy><type>a</type></policy>",
        "<policy user='a'><allow><deny/></allow></policy>",
        "<fork>x</fork>",
        "<fork><servicedir>/a</servicedir></fork>",
        "<limit>1</limit>",
        "<limit name='service_start_timeout'>x</limit>",
        "<limit name='service_start_timeout'>-1</limit>",
        "<limit name='service_start_timeout'>2147483648</limit>",
        "<limit name='service_start_timeout'>99999999999999999999</limit>",
        "<limit name='unheard_of'>1</limit>",
        "<limit name='auth_timeout' x='y'>1</limit>",
        "<include ignore_missing='maybe'>a</include>",
        "<include x='yes'>a</include>",
        "<include/>",
        "<type>a",
        "&unknown;",
        "<include>.</include>",
        "<include>top.conf</include>",
    };

    (void)data;
    for (size_t i = 0; i < G_N_ELEMENTS(contents) - 2; i++)
        check_refused(place, contents[i], BUS_CONFIG_E_INVALID);
    check_refused(place, "<include>.</include>", BUS_CONFIG_E_UNREADABLE);
    check_refused(place, "<include>top.conf</include>", BUS_CONFIG_E_INVALID);
    check_refused(place, "<include>none</include>", BUS_CONFIG_E_MISSING);
}

static void test_numbers(struct place *place, gconstpointer data)
{
    static const struct {
        const char *text;
        unsigned value;
    } rows[] = {{"0", 0},   {"0x10", 16}, {"010", 8},
                {" 7 ", 7}, {"5s", 5},    {"2147483647", 2147483647}};
    struct bus_config config;

    (void)data;
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *content =
            g_strdup_printf("<limit name='service_start_timeout'>%s</limit>", rows[i].text);

        put(place, "top.conf", content);
        load_well(place, &config);
        g_assert_cmpuint(config.start_timeout_ms, ==, rows[i].value);
        bus_config_clear(&config);
    }
    put(place, "top.conf", "<limit name='max_message_size'>2147483648</limit>");
    load_well(place, &config);
    bus_config_clear(&config);
}

static void test_includes(struct place *place, gconstpointer data)
{
    struct bus_config config;

    (void)data;
    put(place, "top.conf",
        "<type>a</type><servicedir>1</servicedir><include>sub/in.conf</include>"
        "<include ignore_missing='yes'>none</include>"
        "<include if_selinux_enabled='yes' selinux_root_relative='yes'>none</include>"
        "<include>sub/in.conf</include><servicedir>4</servicedir>");
    put(place, "sub/in.conf",
        "<type>b</type><servicedir>2</servicedir><include>deep.conf</include>"
        "<limit name='service_start_timeout'>9</limit>");
    put(place, "sub/deep.conf", "<servicedir>3</servicedir>");
    check_dirs(place, "1 sub/2 sub/3 sub/2 sub/3 4 ");
    load_well(place, &config);
    g_assert_cmpstr(config.type, ==, "b");
    g_assert_cmpuint(config.start_timeout_ms, ==, 9);
    bus_config_clear(&config);
    put(place, "sub/deep.conf", "<servicedir>3</servicedir><bad/>");
    check_refused(place, "<include>sub/in.conf</include>", BUS_CONFIG_E_INVALID);
}

/* A file of the directory that is refused leaves no trace; the others count. */
static void test_includedir(struct place *place, gconstpointer data)
{
    struct bus_config config;

    (void)data;
    put(place, "top.conf", "<type>a</type><includedir>none</includedir><includedir>d</includedir>");
    put(place, "d/good.conf", "<servicedir>1</servicedir>");
    put(place, "d/bad.conf",
        "<type>b</type><servicedir>2</servicedir><limit name='service_start_timeout'>9</limit>"
        "<servicehelper>/h</servicehelper><include ignore_missing='yes'>good.conf</include><bad/>");
    put(place, "d/other.txt", "<servicedir>3</servicedir>");
    check_dirs(place, "d/1 ");
    load_well(place, &config);
    g_assert_cmpstr(config.type, ==, "a");
    g_assert_false(config.has_servicehelper);
    g_assert_cmpuint(config.start_timeout_ms, ==, 25000);
    g_assert_cmpuint(config.nfiles, ==, 4);
    bus_config_clear(&config);
    check_refused(place, "<includedir>top.conf</includedir>", BUS_CONFIG_E_UNREADABLE);
}

static void test_cycles(struct place *place, gconstpointer data)
{
    struct bus_config config;

    (void)data;
    put(place, "top.conf", "<include>b.conf</include>");
    put(place, "b.conf", "<include>top.conf</include>");
    check_refused(place, "<include>b.conf</include>", BUS_CONFIG_E_INVALID);
    /* The same file by ever longer names. */
    check_refused(place, "<include>./top.conf</include>", BUS_CONFIG_E_INVALID);
    /* In an <includedir> a circle is left out; the longer names end at the depth. */
    put(place, "top.conf", "<includedir>d</includedir>");
    put(place, "d/c.conf", "<servicedir>x</servicedir><includedir>../d</includedir>");
    load_well(place, &config);
    g_assert_cmpuint(config.ndirs, ==, 31);
    bus_config_clear(&config);
}

/* Ten files that each include all of them would be read ten factorial times. */
static void test_explosion(struct place *place, gconstpointer data)
{
    g_autofree char *blanks = g_strnfill(65536, ' ');

    (void)data;
    for (int i = 0; i < 10; i++) {
        g_autofree char *name = g_strdup_printf("d/%d.conf", i);
        g_autofree char *content = g_strdup_printf("%s<includedir>.</includedir>", blanks);

        put(place, name, content);
    }
    check_refused(place, "<includedir>d</includedir>", BUS_CONFIG_E_INVALID);
}

static void test_error(struct place *place, gconstpointer data)
{
    struct bus_config config;
    struct parse_error error = {0};
    g_autofree char *wanted = g_build_filename(place->folder, "in.conf", NULL);

    (void)data;
    put(place, "top.conf", "\n\n<include>in.conf</include>");
    put(place, "in.conf", "\n\n\n<bad/>");
    g_assert_cmpint(load(place, &config, &error), ==, BUS_CONFIG_E_INVALID);
    g_assert_cmpuint(error.line, ==, 4);
    g_assert_true(g_str_has_prefix(error.message, wanted));
}

static bool not_in(const char *path, void *data)
{
    return !strstr(path, data);
}

static void test_trust(struct place *place, gconstpointer data)
{
    struct bus_config config;
    struct parse_error error = {0};
    g_autofree char *path = g_build_filename(place->folder, "top.conf", NULL);
    char word[] = "secret";

    (void)data;
    put(place, "secret.conf", "");
    put(place, "top.conf", "<include ignore_missing='yes'>secret.conf</include>");
    g_assert_cmpint(bus_config_load(path, &config, not_in, word, &error), ==,
                    BUS_CONFIG_E_UNREADABLE);
    g_assert_nonnull(strstr(error.message, word));
}

static void test_text(struct place *place, gconstpointer data)
{
    static const char text[] = "<?xml version='1.0' encoding='x-unknown'?><busconfig>"
                               "<include>/none</include><servicedir>a</servicedir></busconfig>";
    struct bus_config config;
    struct parse_error error = {0};

    (void)place, (void)data;
    g_assert_cmpint(bus_config_parse(text, strlen(text), "//b.conf", &config, &error), ==, 0);
    g_assert_cmpstr(config.dirs[0].path, ==, "/a");
    bus_config_clear(&config);
    g_assert_cmpint(bus_config_parse("", 0, "/b.conf", &config, &error), ==, BUS_CONFIG_E_INVALID);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*function)(struct place *, gconstpointer);
    } tests[] = {
        {"/bus-config/everything", test_everything},
        {"/bus-config/defaults", test_defaults},
        {"/bus-config/refused", test_refused},
        {"/bus-config/numbers", test_numbers},
        {"/bus-config/includes", test_includes},
        {"/bus-config/includedir", test_includedir},
        {"/bus-config/cycles", test_cycles},
        {"/bus-config/explosion", test_explosion},
        {"/bus-config/error", test_error},
        {"/bus-config/trust", test_trust},
        {"/bus-config/text", test_text},
    };

    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].name, struct place, NULL, set_up, tests[i].function, tear_down);
    return g_test_run();
}
