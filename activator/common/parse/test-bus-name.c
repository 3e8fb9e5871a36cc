/* SPDX-License-Identifier: MIT */
#include "common/parse/bus-name.h"

#include <dbus/dbus.h>
#include <glib.h>
#include <string.h>

static void test_table(void)
{
    static const struct {
        const char *name;
        bool well_known, unique, error;
    } rows[] = {
        {NULL, false, false, false},
        {"", false, false, false},
        {"a", false, false, false},
        {"a.b", true, false, true},
        {"_._", true, false, true},
        {"a-b.c", true, false, false},
        {"-a.-b", true, false, false},
        {"a.1b", false, false, false},
        {"1a.b", false, false, false},
        {"a.b1", true, false, true},
        {"a..b", false, false, false},
        {".a.b", false, false, false},
        {"a.b.", false, false, false},
        {"a.b c", false, false, false},
        {"a.b\n", false, false, false},
        {"a/.b", false, false, false},
        {"a.\xc3\xa4", false, false, false},
        {":1.99", false, true, false},
        {":a.b-c", false, true, false},
        {":", false, false, false},
        {":a", false, false, false},
        {":.a", false, false, false},
        {":1.", false, false, false},
        {"::1.2", false, false, false},
        {"a:b.c", false, false, false},
        {"org.freedesktop.DBus.Error.Failed", true, false, true},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_assert_true(bus_name_is_well_known(rows[i].name) == rows[i].well_known);
        g_assert_true(bus_name_is_unique(rows[i].name) == rows[i].unique);
        g_assert_true(bus_name_is_valid(rows[i].name) == (rows[i].well_known || rows[i].unique));
        g_assert_true(error_name_is_valid(rows[i].name) == rows[i].error);
    }
}

static void test_length(void)
{
    char name[BUS_NAME_MAX + 2];

    memset(name, 'a', sizeof name);
    name[1] = '.';
    name[BUS_NAME_MAX + 1] = '\0';
    g_assert_false(bus_name_is_well_known(name));
    g_assert_false(error_name_is_valid(name));
    name[0] = ':';
    name[2] = '.';
    name[1] = '1';
    g_assert_false(bus_name_is_unique(name));
    name[BUS_NAME_MAX] = '\0';
    g_assert_true(bus_name_is_unique(name));
    name[0] = 'b';
    g_assert_true(bus_name_is_well_known(name));
    g_assert_true(error_name_is_valid(name));
}

/* Every string of up to six of these bytes, judged by libdbus too. */
static void test_against_libdbus(void)
{
    static const char alphabet[] = "aZ_0-.: ";
    unsigned count = 1;

    for (unsigned length = 1; length <= 6; length++) {
        count *= sizeof alphabet - 1;
        for (unsigned n = 0; n < count; n++) {
            char name[7] = "";
            unsigned rest = n;

            for (unsigned i = 0; i < length; i++, rest /= sizeof alphabet - 1)
                name[i] = alphabet[rest % (sizeof alphabet - 1)];
            if (error_name_is_valid(name) != dbus_validate_error_name(name, NULL))
                g_error("error name \"%s\"", name);
            /* libdbus wants no dot in a unique name. */
            if (name[0] != ':' && bus_name_is_valid(name) != dbus_validate_bus_name(name, NULL))
                g_error("bus name \"%s\"", name);
            if (name[0] == ':' && bus_name_is_valid(name) && !dbus_validate_bus_name(name, NULL))
                g_error("unique name \"%s\"", name);
        }
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/bus-name/table", test_table);
    g_test_add_func("/bus-name/length", test_length);
    g_test_add_func("/bus-name/against-libdbus", test_against_libdbus);
    return g_test_run();
}
