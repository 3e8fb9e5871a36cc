/* SPDX-License-Identifier: MIT */
/* What a process finds itself in, as text. */
#pragma once

/* A JSON object, to be freed; NULL when memory is out. Bytes that are not printable ASCII are
 * written as \u00XX, one for each byte. */
char *context_json(int argc, char **argv);
