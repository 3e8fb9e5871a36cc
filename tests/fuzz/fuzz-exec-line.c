/* SPDX-License-Identifier: MIT */
#include "common/parse/exec-line.h"
#include "fuzz.h"

#include <stdio.h>
#include <string.h>

/* The arguments, quoted as for a shell, come out as they went in. */
static void check_round_trip(char *const *argv, size_t argc)
{
    char *line = NULL, **again = NULL;
    size_t size = 0, count = 0;
    FILE *out = open_memstream(&line, &size);

    must(out != NULL);
    for (size_t i = 0; i < argc; i++) {
        fputs(i ? " '" : "'", out);
        for (const char *c = argv[i]; *c; c++) {
            if (*c == '\'')
                fputs("'\\''", out);
            else
                fputc(*c, out);
        }
        fputc('\'', out);
    }
    fclose(out);
    must(exec_line_parse(line, &again, &count, NULL) == 0);
    must(count == argc && again[count] == NULL);
    for (size_t i = 0; i < argc; i++)
        must(strcmp(argv[i], again[i]) == 0);
    exec_argv_free(again);
    free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *line = malloc(size + 1), **argv = NULL;
    struct parse_error error = {0};
    size_t argc = 0, total = 0;
    int r = 0;

    must(line != NULL);
    if (size)
        memcpy(line, data, size);
    line[size] = '\0';
    r = exec_line_parse(line, &argv, &argc, &error);
    must(r == 0 || r == EXEC_LINE_E_UNCLOSED);
    if (r) {
        must(!argv && error.message[0]);
    } else {
        must(argc >= 1 && argv[argc] == NULL);
        for (size_t i = 0; i < argc; i++)
            total += strlen(argv[i]) + 1;
        must(total <= strlen(line) + 1);
        check_round_trip(argv, argc);
        exec_argv_free(argv);
    }
    free(line);
    return 0;
}
