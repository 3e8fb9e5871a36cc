/* SPDX-License-Identifier: MIT */
/* Dictionaries (a{sv}) as the activator sends them, kept in their order. */
#pragma once

#include "ctl/json.h"

#include <dbus/dbus.h>
#include <glib.h>

struct dict; /* free with dict_free() */

/* Reads the a{sv} that the iterator stands on. Values of other types than strings, numbers,
 * booleans and arrays of strings are left out. */
struct dict *dict_read(DBusMessageIter *array);
/* Reads the aa{sv} that is the only argument of the reply: an array of struct dict *. */
GPtrArray *dict_read_all(DBusMessage *reply);
void dict_free(struct dict *dict);

/* The value of a key, or NULL, false when it is absent or of another type. */
const char *dict_string(const struct dict *dict, const char *key);
const char *const *dict_strings(const struct dict *dict, const char *key);
bool dict_number(const struct dict *dict, const char *key, uint64_t *value);
/* As dict_number(), 0 when absent. */
uint64_t dict_count(const struct dict *dict, const char *key);
bool dict_bool(const struct dict *dict, const char *key);

/* Writes it as one JSON object with the same keys. */
void dict_json(const struct dict *dict, struct json *json);
/* Writes its members into an object that is open already. */
void dict_json_members(const struct dict *dict, struct json *json);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(DBusMessage, dbus_message_unref)
typedef struct dict Dict;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Dict, dict_free)
