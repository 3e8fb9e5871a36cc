/* SPDX-License-Identifier: MIT */
/* What a generated service file says. */
#pragma once

#include "daemon/rooms/catalogue.h"

/* g_free(). NULL when it cannot be said in a service file: a path that is not UTF-8. */
char *generate_text(const struct catalogue_entry *entry, const char *helper,
                    const char *runtime_dir, bool with_unit);
