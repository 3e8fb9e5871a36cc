/* SPDX-License-Identifier: MIT */
#include "common/parse/exec-line.h"
#include "common/parse/service-file.h"
#include "fuzz.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static void count_key(const char *key, unsigned line, void *data)
{
    unsigned *last = data;

    must(*key != '\0' && line > *last);
    *last = line;
}

static void write_value(FILE *out, const char *key, const char *value)
{
    static const char bytes[] = " \t\n\r\\";
    static const char codes[] = "stnr\\";

    if (!value)
        return;
    fprintf(out, "%s=", key);
    for (; *value; value++) {
        const char *special = strchr(bytes, *value);

        if (special)
            fprintf(out, "\\%c", codes[special - bytes]);
        else
            fputc(*value, out);
    }
    fputc('\n', out);
}

static bool equal(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

/* What was read, written by the rules of the format, reads the same. */
static void check_round_trip(const struct service_file *file)
{
    struct service_file again;
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    must(out != NULL);
    fputs("[D-BUS Service]\n", out);
    write_value(out, "Name", file->name);
    write_value(out, "Exec", file->exec);
    write_value(out, "User", file->user);
    write_value(out, "SystemdService", file->systemd_service);
    write_value(out, "AssumedAppArmorLabel", file->apparmor_label);
    fclose(out);
    /* Escapes make it longer, perhaps too long. */
    if (size <= SERVICE_FILE_MAX) {
        must(service_file_parse(text, size, &again, NULL, NULL, NULL) == 0);
        must(equal(again.name, file->name) && equal(again.exec, file->exec) &&
             equal(again.user, file->user) && equal(again.systemd_service, file->systemd_service) &&
             equal(again.apparmor_label, file->apparmor_label));
        service_file_clear(&again);
    }
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct service_file file;
    struct parse_error error = {0};
    unsigned last = 0;
    char **argv = NULL;
    int r = service_file_parse((const char *)data, size, &file, &error, count_key, &last);

    must(r == 0 || r == SERVICE_FILE_E_INVALID);
    if (r) {
        must(!file.name && !file.exec && error.message[0]);
        return 0;
    }
    must(file.name && file.exec && file.name_line && file.exec_line);
    must(!file.user == !file.user_line && !file.systemd_service == !file.unit_line);
    if (exec_line_parse(file.exec, &argv, NULL, NULL) == 0)
        exec_argv_free(argv);
    check_round_trip(&file);
    service_file_clear(&file);
    return 0;
}
