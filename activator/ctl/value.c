/* SPDX-License-Identifier: MIT */
#include "ctl/value.h"

#include <string.h>

struct entry {
    char *key;
    int type; /* DBUS_TYPE_STRING, _UINT64, _INT64, _BOOLEAN; _ARRAY: of strings */
    union {
        char *string;
        char **strings;
        uint64_t number;
        int64_t signed_number;
        bool boolean;
    };
};

struct dict {
    GArray *entries;
};

static void entry_clear(void *data)
{
    struct entry *entry = data;

    g_free(entry->key);
    if (entry->type == DBUS_TYPE_STRING)
        g_free(entry->string);
    else if (entry->type == DBUS_TYPE_ARRAY)
        g_strfreev(entry->strings);
}

static char **read_strings(DBusMessageIter *variant)
{
    DBusMessageIter item;
    GPtrArray *strings = g_ptr_array_new();

    dbus_message_iter_recurse(variant, &item);
    while (dbus_message_iter_get_arg_type(&item) == DBUS_TYPE_STRING) {
        const char *text;

        dbus_message_iter_get_basic(&item, &text);
        g_ptr_array_add(strings, g_strdup(text));
        dbus_message_iter_next(&item);
    }
    g_ptr_array_add(strings, NULL);
    return (char **)g_ptr_array_free(strings, FALSE);
}

/* Fills type and value of the entry; false when the type is none that is understood. */
static bool read_value(DBusMessageIter *value, struct entry *entry)
{
    DBusBasicValue basic;
    int type = dbus_message_iter_get_arg_type(value);

    if (type == DBUS_TYPE_ARRAY && dbus_message_iter_get_element_type(value) == DBUS_TYPE_STRING) {
        entry->type = DBUS_TYPE_ARRAY;
        entry->strings = read_strings(value);
        return true;
    }
    if (!dbus_type_is_basic(type) || type == DBUS_TYPE_UNIX_FD)
        return false;
    dbus_message_iter_get_basic(value, &basic);
    entry->type = DBUS_TYPE_UINT64;
    switch (type) {
    case DBUS_TYPE_STRING:
    case DBUS_TYPE_OBJECT_PATH:
    case DBUS_TYPE_SIGNATURE:
        entry->type = DBUS_TYPE_STRING;
        entry->string = g_strdup(basic.str);
        return true;
    case DBUS_TYPE_BOOLEAN:
        entry->type = DBUS_TYPE_BOOLEAN;
        entry->boolean = basic.bool_val;
        return true;
    case DBUS_TYPE_BYTE:
        entry->number = basic.byt;
        return true;
    case DBUS_TYPE_UINT16:
        entry->number = basic.u16;
        return true;
    case DBUS_TYPE_UINT32:
        entry->number = basic.u32;
        return true;
    case DBUS_TYPE_UINT64:
        entry->number = basic.u64;
        return true;
    default:
        break;
    }
    entry->type = DBUS_TYPE_INT64;
    if (type == DBUS_TYPE_INT16)
        entry->signed_number = basic.i16;
    else if (type == DBUS_TYPE_INT32)
        entry->signed_number = basic.i32;
    else if (type == DBUS_TYPE_INT64)
        entry->signed_number = basic.i64;
    else
        return false;
    return true;
}

struct dict *dict_read(DBusMessageIter *array)
{
    struct dict *dict = g_new0(struct dict, 1);
    DBusMessageIter pair;

    dict->entries = g_array_new(FALSE, TRUE, sizeof(struct entry));
    g_array_set_clear_func(dict->entries, entry_clear);
    dbus_message_iter_recurse(array, &pair);
    while (dbus_message_iter_get_arg_type(&pair) == DBUS_TYPE_DICT_ENTRY) {
        DBusMessageIter inner;
        DBusMessageIter variant;
        struct entry entry = {0};
        const char *key;

        dbus_message_iter_recurse(&pair, &inner);
        dbus_message_iter_get_basic(&inner, &key);
        dbus_message_iter_next(&inner);
        dbus_message_iter_recurse(&inner, &variant);
        if (read_value(&variant, &entry)) {
            entry.key = g_strdup(key);
            g_array_append_val(dict->entries, entry);
        }
        dbus_message_iter_next(&pair);
    }
    return dict;
}

GPtrArray *dict_read_all(DBusMessage *reply)
{
    GPtrArray *all = g_ptr_array_new_with_free_func((GDestroyNotify)dict_free);
    DBusMessageIter arguments;
    DBusMessageIter item;

    dbus_message_iter_init(reply, &arguments);
    dbus_message_iter_recurse(&arguments, &item);
    while (dbus_message_iter_get_arg_type(&item) == DBUS_TYPE_ARRAY) {
        g_ptr_array_add(all, dict_read(&item));
        dbus_message_iter_next(&item);
    }
    return all;
}

void dict_free(struct dict *dict)
{
    if (!dict)
        return;
    g_array_free(dict->entries, TRUE);
    g_free(dict);
}

static const struct entry *find(const struct dict *dict, const char *key, int type)
{
    for (guint i = 0; i < dict->entries->len; i++) {
        const struct entry *entry = &g_array_index(dict->entries, struct entry, i);

        if (strcmp(entry->key, key) == 0)
            return entry->type == type ? entry : NULL;
    }
    return NULL;
}

const char *dict_string(const struct dict *dict, const char *key)
{
    const struct entry *entry = find(dict, key, DBUS_TYPE_STRING);

    return entry ? entry->string : NULL;
}

const char *const *dict_strings(const struct dict *dict, const char *key)
{
    const struct entry *entry = find(dict, key, DBUS_TYPE_ARRAY);

    return entry ? (const char *const *)entry->strings : NULL;
}

bool dict_number(const struct dict *dict, const char *key, uint64_t *value)
{
    const struct entry *entry = find(dict, key, DBUS_TYPE_UINT64);

    if (!entry) {
        entry = find(dict, key, DBUS_TYPE_INT64);
        if (!entry || entry->signed_number < 0)
            return false;
    }
    *value = entry->number;
    return true;
}

uint64_t dict_count(const struct dict *dict, const char *key)
{
    uint64_t value = 0;

    return dict_number(dict, key, &value) ? value : 0;
}

bool dict_bool(const struct dict *dict, const char *key)
{
    const struct entry *entry = find(dict, key, DBUS_TYPE_BOOLEAN);

    return entry && entry->boolean;
}

static void entry_json(const struct entry *entry, struct json *json)
{
    json_key(json, entry->key);
    if (entry->type == DBUS_TYPE_STRING) {
        json_string(json, entry->string);
    } else if (entry->type == DBUS_TYPE_BOOLEAN) {
        json_bool(json, entry->boolean);
    } else if (entry->type == DBUS_TYPE_UINT64) {
        json_unsigned(json, entry->number);
    } else if (entry->type == DBUS_TYPE_INT64) {
        json_signed(json, entry->signed_number);
    } else {
        json_open(json, '[');
        for (char **s = entry->strings; *s; s++)
            json_string(json, *s);
        json_close(json, ']');
    }
}

void dict_json_members(const struct dict *dict, struct json *json)
{
    for (guint i = 0; i < dict->entries->len; i++)
        entry_json(&g_array_index(dict->entries, struct entry, i), json);
}

void dict_json(const struct dict *dict, struct json *json)
{
    json_open(json, '{');
    dict_json_members(dict, json);
    json_close(json, '}');
}
