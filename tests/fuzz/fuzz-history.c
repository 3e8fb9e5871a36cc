/* SPDX-License-Identifier: MIT */
#include "daemon/rooms/history.h"
#include "fuzz.h"

#include <string.h>

static bool equal(const struct history_record *a, const struct history_record *b)
{
    return a->run == b->run && a->how == b->how && a->status == b->status &&
           a->result == b->result && a->main_pid == b->main_pid && a->requested == b->requested &&
           a->spawned == b->spawned && a->connected == b->connected && a->owned == b->owned &&
           a->ended == b->ended && g_strcmp0(a->name, b->name) == 0 &&
           g_strcmp0(a->error_name, b->error_name) == 0 &&
           g_strcmp0(a->error_message, b->error_message) == 0;
}

static void check_record(const struct history_record *r)
{
    must(r->run != 0 && r->run <= G_MAXINT64 && r->name && *r->name);
    must(r->result <= HISTORY_FAILED);
    must(g_utf8_validate(r->name, -1, NULL));
    must(!r->error_name || g_utf8_validate(r->error_name, -1, NULL));
    must(!r->error_message || g_utf8_validate(r->error_message, -1, NULL));
}

/* What was read, written, is one line that reads the same; cut short anywhere, it is no line. */
static void check_round_trip(const struct history_record *r)
{
    struct history_record again;
    char *line = history_format_line(r);
    size_t length = strlen(line);

    must(length > 0 && strchr(line, '\n') == line + length - 1);
    must(history_parse_line(line, length - 1, &again));
    must(equal(r, &again));
    history_record_clear(&again);
    for (size_t cut = 0; cut + 1 < length; cut += 1 + length / 64)
        must(!history_parse_line(line, cut, &again));
    g_free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct history_record record;

    if (!history_parse_line((const char *)data, size, &record)) {
        must(!record.name && !record.error_name && !record.error_message);
        return 0;
    }
    check_record(&record);
    check_round_trip(&record);
    history_record_clear(&record);
    return 0;
}
