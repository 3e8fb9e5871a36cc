/* SPDX-License-Identifier: MIT */
#include "ctl/lint.h"

#include "common/parse/bus-name.h"
#include "common/parse/exec-line.h"
#include "common/parse/read-file.h"
#include "common/parse/service-file.h"

#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct claim {
    char *name;
    char *file;
    unsigned line;
    bool system;
};

struct lint {
    GPtrArray *findings;
    GPtrArray *claims; /* struct claim *, in the order of the files */
};

static void finding_free(void *data)
{
    struct finding *finding = data;

    g_free(finding->file);
    g_free(finding->message);
    g_free(finding);
}

static void claim_free(void *data)
{
    struct claim *claim = data;

    g_free(claim->name);
    g_free(claim->file);
    g_free(claim);
}

struct lint *lint_new(void)
{
    struct lint *lint = g_new0(struct lint, 1);

    lint->findings = g_ptr_array_new_with_free_func(finding_free);
    lint->claims = g_ptr_array_new_with_free_func(claim_free);
    return lint;
}

void lint_free(struct lint *lint)
{
    if (!lint)
        return;
    g_ptr_array_free(lint->findings, TRUE);
    g_ptr_array_free(lint->claims, TRUE);
    g_free(lint);
}

const GPtrArray *lint_findings(const struct lint *lint)
{
    return lint->findings;
}

const char *severity_name(enum severity severity)
{
    static const char *const names[] = {"error", "warning", "note"};

    return names[severity];
}

static void add(struct lint *lint, const char *file, unsigned line, enum severity severity,
                const char *code, const char *format, ...) G_GNUC_PRINTF(6, 7);

static void add(struct lint *lint, const char *file, unsigned line, enum severity severity,
                const char *code, const char *format, ...)
{
    struct finding *finding = g_new0(struct finding, 1);
    va_list arguments;

    va_start(arguments, format);
    finding->message = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    finding->file = g_strdup(file);
    finding->line = line;
    finding->severity = severity;
    finding->code = code;
    g_ptr_array_add(lint->findings, finding);
}

void lint_config(struct lint *lint, const char *file, const char *problem)
{
    add(lint, file, 0, SEVERITY_WARNING, "bus-config", "%s", problem);
}

const char *lint_exec_comment(const char *exec)
{
    char quote = '\0';

    for (const char *c = exec; *c; c++) {
        if (quote) {
            if (quote == '"' && *c == '\\' && c[1])
                c++;
            else if (*c == quote)
                quote = '\0';
        } else if (*c == '\\' && c[1]) {
            c++;
        } else if (*c == '\'' || *c == '"') {
            quote = *c;
        } else if (*c == '#') {
            return c;
        }
    }
    return NULL;
}

struct keys {
    struct lint *lint;
    const char *file;
    GHashTable *seen;
};

static void check_key(const char *key, unsigned line, void *data)
{
    static const char *const known[] = {"Name", "Exec", "User", "SystemdService",
                                        "AssumedAppArmorLabel"};
    struct keys *keys = data;
    bool is_known = g_str_has_prefix(key, "X-");

    for (size_t i = 0; i < G_N_ELEMENTS(known); i++)
        is_known |= strcmp(key, known[i]) == 0;
    if (!is_known)
        add(keys->lint, keys->file, line, SEVERITY_NOTE, "unknown-key",
            "%s is no key of the specification; it is ignored", key);
    if (!g_hash_table_add(keys->seen, g_strdup(key)))
        add(keys->lint, keys->file, line, SEVERITY_WARNING, "duplicate-key",
            "%s stands here again; only the first one counts", key);
}

static void check_program(struct lint *lint, const char *path, unsigned line, const char *program)
{
    struct stat info;

    if (*program == '\0')
        add(lint, path, line, SEVERITY_ERROR, "exec-empty", "Exec names no program");
    else if (*program != '/')
        add(lint, path, line, SEVERITY_ERROR, "program-not-absolute",
            "“%s” is no absolute path, and PATH is not searched", program);
    else if (stat(program, &info) != 0)
        add(lint, path, line, SEVERITY_ERROR, "program-missing", "there is no %s", program);
    else if (!S_ISREG(info.st_mode) || !(info.st_mode & 0111))
        add(lint, path, line, SEVERITY_ERROR, "program-not-executable", "%s cannot be executed",
            program);
}

static bool is_false(const char *program)
{
    return strcmp(program, "/bin/false") == 0 || strcmp(program, "/usr/bin/false") == 0;
}

/* Exec=/bin/false says: only systemd can start this. */
static void check_unit_only(struct lint *lint, const char *path, const struct service_file *file,
                            bool system)
{
    const char *unit = file->systemd_service;

    if (!unit) {
        add(lint, path, file->exec_line, SEVERITY_NOTE, "never-starts",
            "Exec is /bin/false and no SystemdService is set: only a process that is started "
            "otherwise can own the name");
    } else if (lint_unit_exists(unit, system)) {
        return;
    } else if (lint_unit_is_alias(unit, system)) {
        add(lint, path, file->unit_line, SEVERITY_NOTE, "unit-not-enabled",
            "%s is the alias of a unit that is not enabled, and Exec is /bin/false", unit);
    } else {
        add(lint, path, file->unit_line, SEVERITY_WARNING, "unit-missing",
            "there is no unit %s, and Exec is /bin/false: it cannot start", unit);
    }
}

static void check_exec(struct lint *lint, const char *path, const struct service_file *file,
                       bool system)
{
    struct parse_error error;
    size_t length = strlen(file->exec);
    size_t argc;
    char **argv;

    if (lint_exec_comment(file->exec))
        add(lint, path, file->exec_line, SEVERITY_WARNING, "exec-comment",
            "an unquoted “#” begins a comment, also inside a word: “%s” is not passed on",
            lint_exec_comment(file->exec));
    if (exec_line_parse(file->exec, &argv, &argc, &error) != 0) {
        add(lint, path, file->exec_line, SEVERITY_ERROR, "exec-syntax", "Exec: %s", error.message);
        return;
    }
    check_program(lint, path, file->exec_line, argv[0]);
    if (argc > 1 && *argv[argc - 1] == '\0' && strchr(" \t", file->exec[length - 1]))
        add(lint, path, file->exec_line, SEVERITY_WARNING, "trailing-blank",
            "the blank at the end of Exec becomes an empty argument");
    if (is_false(argv[0]))
        check_unit_only(lint, path, file, system);
    exec_argv_free(argv);
}

static bool starts_by_unit_only(const struct service_file *file)
{
    g_autofree char *program = g_strndup(file->exec, strcspn(file->exec, " "));

    return file->systemd_service && is_false(program);
}

static void check_user(struct lint *lint, const char *path, const struct service_file *file)
{
    if (!file->user) {
        if (!starts_by_unit_only(file))
            add(lint, path, 0, SEVERITY_WARNING, "user-missing",
                "a system service needs User= unless systemd starts it");
    } else if (!getpwnam(file->user)) {
        add(lint, path, file->user_line, SEVERITY_ERROR, "unknown-user", "there is no user “%s”",
            file->user);
    }
}

/* Returns whether dbus-daemon goes by this file at all. */
static bool check_name(struct lint *lint, const char *path, const struct service_file *file,
                       enum lint_bus bus)
{
    g_autofree char *base = g_path_get_basename(path);
    g_autofree char *expected = g_strconcat(file->name, ".service", NULL);

    if (!bus_name_is_well_known(file->name))
        add(lint, path, file->name_line, SEVERITY_ERROR, "invalid-name",
            "“%s” is no well-known bus name: nobody can own it", file->name);
    if (strcmp(base, expected) == 0)
        return true;
    if (bus == LINT_TRANSIENT) {
        add(lint, path, file->name_line, SEVERITY_ERROR, "file-name-mismatch",
            "in this folder a file has to be named after its Name: %s", expected);
        return false;
    }
    add(lint, path, file->name_line, SEVERITY_NOTE, "file-name-mismatch",
        "the file is not named after its Name (%s)", expected);
    return true;
}

static void check_parsed(struct lint *lint, const char *path, const struct service_file *file,
                         enum lint_bus bus)
{
    struct claim *claim = NULL;
    bool read = check_name(lint, path, file, bus);

    check_exec(lint, path, file, bus == LINT_SYSTEM);
    if (bus == LINT_SYSTEM)
        check_user(lint, path, file);
    if (!read)
        return;
    claim = g_new0(struct claim, 1);
    claim->name = g_strdup(file->name);
    claim->file = g_strdup(path);
    claim->line = file->name_line;
    claim->system = bus == LINT_SYSTEM;
    g_ptr_array_add(lint->claims, claim);
}

static gint by_line(gconstpointer a, gconstpointer b)
{
    const struct finding *one = *(struct finding *const *)a;
    const struct finding *two = *(struct finding *const *)b;

    return one->line < two->line ? -1 : one->line > two->line;
}

void lint_file(struct lint *lint, const char *path, enum lint_bus bus)
{
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    struct keys keys = {lint, path, seen};
    struct service_file file = {0};
    struct parse_error error = {0};
    guint first = lint->findings->len;
    char *text = NULL;
    size_t length = 0;
    int result = read_file(path, SERVICE_FILE_MAX, &text, &length, &error);

    if (result != 0) {
        bool large = result == READ_FILE_E_TOO_LARGE;

        add(lint, path, 0, SEVERITY_ERROR, large ? "parse-error" : "unreadable", "%s",
            result > 0 ? error.message : g_strerror(-result));
        return;
    }
    result = service_file_parse(text, length, &file, &error, check_key, &keys);
    if (result != 0)
        add(lint, path, error.line, SEVERITY_ERROR, "parse-error", "%s",
            result > 0 ? error.message : g_strerror(-result));
    else
        check_parsed(lint, path, &file, bus);
    service_file_clear(&file);
    free(text);
    if (lint->findings->len > first + 1)
        qsort(lint->findings->pdata + first, lint->findings->len - first, sizeof(gpointer),
              by_line);
}

static void check_claim(struct lint *lint, const struct claim *winner, const struct claim *claim)
{
    g_autofree char *of_winner = g_path_get_dirname(winner->file);
    g_autofree char *own = g_path_get_dirname(claim->file);

    if (strcmp(of_winner, own) == 0)
        add(lint, claim->file, claim->line, SEVERITY_WARNING, "duplicate-name",
            "%s is claimed by %s too; which one counts is left to chance", claim->name,
            winner->file);
    else
        add(lint, claim->file, claim->line, SEVERITY_NOTE, "duplicate-name",
            "%s is claimed by %s too, which wins", claim->name, winner->file);
}

void lint_finish(struct lint *lint)
{
    g_autoptr(GHashTable) session = g_hash_table_new(g_str_hash, g_str_equal);
    g_autoptr(GHashTable) system = g_hash_table_new(g_str_hash, g_str_equal);

    for (guint i = 0; i < lint->claims->len; i++) {
        struct claim *claim = g_ptr_array_index(lint->claims, i);
        GHashTable *winners = claim->system ? system : session;
        struct claim *winner = g_hash_table_lookup(winners, claim->name);

        if (winner)
            check_claim(lint, winner, claim);
        else
            g_hash_table_insert(winners, claim->name, claim);
    }
}
