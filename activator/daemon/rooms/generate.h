/* SPDX-License-Identifier: MIT */
/* Generated service files: for each service one file in a directory that the bus reads before
 * the originals, which sends the start through our launch helper or the signal door. */
#pragma once

#include "daemon/rooms/catalogue.h"

struct generated;

/* dir is created (0700) when it is missing, one level of parents too. helper_path has to be
 * absolute. runtime_dir (or NULL) becomes the last argument of the helper. Returns NULL with
 * error set when the directory cannot be used. Files that a killed predecessor left there are
 * known as ours. */
struct generated *generated_new(const char *dir, const char *helper_path, const char *runtime_dir,
                                GError **error);

/* Frees; the files stay. Accepts NULL. */
void generated_free(struct generated *g);

/* The bus runs as another user, which has to be able to read the files. */
void generated_set_public(struct generated *g);

/* Whether the files carry SystemdService= (they do unless this says otherwise): a bus with
 * --systemd-activation whose systemd name is another's would send our requests there. */
void generated_set_unit(struct generated *g, bool on);

/* Makes the files as the catalogue says: writes what differs, leaves what is right, removes ours
 * that are no longer wanted, never touches files of others. Sets generated_original of each
 * entry. True when a file changed: the bus has to reload then. What cannot be written is warned
 * of once and tried again at the next call. */
bool generated_update(struct generated *g, struct catalogue *catalogue);

/* Overwrites each of ours with text that does not parse: the bus falls back to the originals at
 * its next reload, with no moment in which it knows neither. True when there was any. */
bool generated_spoil(struct generated *g);

/* Unlinks ours. True when there was any. */
bool generated_remove(struct generated *g);

/* The bus name that a unit of a generated file stands for (g_free()), or NULL when it cannot be
 * one of ours. */
char *generated_unit_to_name(const char *unit);
