/* SPDX-License-Identifier: MIT */
/* Shows what the parsers say, for tests/fuzz/differential. Strings come in hexadecimal, "-" is one
 * that is not there.
 *
 *   parse-probe files FILE...    a line for each: refused, or ok NAME EXEC
 *   parse-probe exec HEX...      a line for each: refused, or ok ARGUMENT...
 *   parse-probe config FILE      refused, or ok TYPE SERVICEHELPER, and a line for each directory
 *   parse-probe dump FILE...     not a parser: a service that writes its arguments to FILE, each
 *                                with a NUL behind it, and exits 1 */
#include "common/parse/bus-config.h"
#include "common/parse/exec-line.h"
#include "common/parse/service-dirs.h"
#include "common/parse/service-file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void show(const char *text)
{
    if (!text)
        printf(" -");
    else
        putchar(' ');
    for (; text && *text; text++)
        printf("%02x", (unsigned char)*text);
}

static int fail(const char *what)
{
    fprintf(stderr, "parse-probe: %s\n", what);
    return 111;
}

static int show_files(char **paths)
{
    for (; *paths; paths++) {
        struct service_file file;
        int r = service_file_load(*paths, &file, NULL);

        if (r < 0)
            return fail(strerror(-r));
        if (r) {
            puts("refused");
            continue;
        }
        printf("ok");
        show(file.name);
        show(file.exec);
        putchar('\n');
        service_file_clear(&file);
    }
    return 0;
}

/* The bytes that hex stands for, to be freed. */
static char *decode(const char *hex)
{
    size_t length = strlen(hex) / 2;
    char *text = calloc(1, length + 1);

    for (size_t i = 0; text && i < length; i++) {
        char digits[3] = {hex[2 * i], hex[2 * i + 1], '\0'};

        text[i] = (char)strtol(digits, NULL, 16);
    }
    return text;
}

static int show_exec(char **lines)
{
    for (; *lines; lines++) {
        char **argv = NULL, *line = decode(*lines);
        size_t argc = 0;
        int r = line ? exec_line_parse(line, &argv, &argc, NULL) : -1;

        free(line);
        if (r < 0)
            return fail("no memory");
        printf(r ? "refused" : "ok");
        for (size_t i = 0; i < argc; i++)
            show(argv[i]);
        putchar('\n');
        exec_argv_free(argv);
    }
    return 0;
}

static const char *get(const char *name, void *data)
{
    (void)data;
    return getenv(name);
}

static int add_dir(struct service_dirs *dirs, const struct bus_config_dir *dir)
{
    switch (dir->kind) {
    case BUS_CONFIG_DIR_SESSION:
        return service_dirs_add_session(dirs, get, NULL);
    case BUS_CONFIG_DIR_SYSTEM:
        return service_dirs_add_system(dirs);
    case BUS_CONFIG_DIR:
        break;
    }
    return service_dirs_add(dirs, dir->path, false);
}

static int show_config(const char *path)
{
    struct service_dirs dirs = {0};
    struct bus_config config;
    int r = bus_config_load(path, &config, NULL, NULL, NULL);

    if (r < 0)
        return fail(strerror(-r));
    if (r) {
        puts("refused");
        return 0;
    }
    printf("ok");
    show(config.type);
    show(config.servicehelper);
    putchar('\n');
    for (size_t i = 0; i < config.ndirs && r == 0; i++)
        r = add_dir(&dirs, &config.dirs[i]);
    for (size_t i = 0; i < dirs.count; i++) {
        show(dirs.list[i].path);
        putchar('\n');
    }
    service_dirs_clear(&dirs);
    bus_config_clear(&config);
    return r ? fail("no memory") : 0;
}

static int dump(const char *path, char **arguments)
{
    FILE *out = fopen(path, "wb");

    if (!out)
        return fail("cannot write");
    for (; *arguments; arguments++)
        fwrite(*arguments, 1, strlen(*arguments) + 1, out);
    return fclose(out) ? fail("cannot write") : 1;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "files") == 0)
        return show_files(argv + 2);
    if (argc > 1 && strcmp(argv[1], "exec") == 0)
        return show_exec(argv + 2);
    if (argc == 3 && strcmp(argv[1], "config") == 0)
        return show_config(argv[2]);
    if (argc > 2 && strcmp(argv[1], "dump") == 0)
        return dump(argv[2], argv + 3);
    fputs("usage: parse-probe files|exec|config|dump ...\n", stderr);
    return 100;
}
