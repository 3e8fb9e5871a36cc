/* SPDX-License-Identifier: MIT */
#include "common/parse/bus-config.h"

#include "common/parse/bus-config-grammar.h"
#include "common/parse/read-file.h"

#include <dirent.h>
#include <errno.h>
#include <expat.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX  32
#define TOTAL_MAX  (4u << 20)
#define DEFAULT_MS 25000
#define TEXT_MAX   65536
#define LEVEL_MAX  3 /* <busconfig>, <policy>, <allow> */
#define PATH_SHOWN 140

/* What all files of one configuration share. */
struct whole {
    struct bus_config *out; /* of the file that is being read */
    struct parse_error *error;
    bus_config_trust trust;
    void *data;
    size_t total;
    bool alone;     /* nothing is included */
    bool exhausted; /* total is; no file of an <includedir> to be left out, but the end */
    const char *stack[DEPTH_MAX];
    unsigned depth;
};

/* One file. */
struct reading {
    struct whole *whole;
    const char *path;
    XML_Parser parser;
    const struct element *stack[LEVEL_MAX];
    unsigned level;
    char text[TEXT_MAX]; /* of the innermost element, if it may have one */
    size_t length;
    char limit[64]; /* name of the <limit> that is open; cut, the known ones are shorter */
    bool ignore_missing;
    bool skip;
    int result;
};

static int load(struct whole *w, const char *path, bool ignore_missing);

/* Of a path that is too long for a message the end is kept. */
static void blame(struct whole *w, unsigned line, const char *path, const char *reason)
{
    size_t length = strlen(path);
    bool cut = length > PATH_SHOWN;

    parse_error_set(w->error, line, "%s%s: %s", cut ? "..." : "",
                    cut ? path + length - PATH_SHOWN : path, reason);
}

static void refuse(struct reading *r, const char *reason)
{
    if (r->result)
        return;
    blame(r->whole, (unsigned)XML_GetCurrentLineNumber(r->parser), r->path, reason);
    r->result = BUS_CONFIG_E_INVALID;
    XML_StopParser(r->parser, XML_FALSE);
}

static int append(char ***list, size_t *count, const char *text)
{
    char **grown = reallocarray(*list, *count + 1, sizeof *grown);

    if (!grown)
        return -ENOMEM;
    *list = grown;
    grown[*count] = strdup(text);
    if (!grown[*count])
        return -ENOMEM;
    (*count)++;
    return 0;
}

static int append_dir(struct bus_config *c, enum bus_config_dir_kind kind, char *path)
{
    struct bus_config_dir *grown = reallocarray(c->dirs, c->ndirs + 1, sizeof *grown);

    if (!grown) {
        free(path);
        return -ENOMEM;
    }
    c->dirs = grown;
    grown[c->ndirs++] = (struct bus_config_dir){.kind = kind, .path = path};
    return 0;
}

/* Length bytes of folder, a '/' if it has none, and name; to be freed. NULL: no memory. */
static char *join(const char *folder, size_t length, const char *name)
{
    char *path = NULL;
    const char *slash = length > 0 && folder[length - 1] == '/' ? "" : "/";

    return asprintf(&path, "%.*s%s%s", (int)length, folder, slash, name) < 0 ? NULL : path;
}

/* Relative paths are relative to the folder of the file. */
static char *resolve(const char *file, const char *path)
{
    const char *slash = strrchr(file, '/');

    if (*path == '/' || !slash)
        return strdup(path);
    while (slash > file && slash[-1] == '/')
        slash--;
    return join(file, slash == file ? 1 : (size_t)(slash - file), path);
}

static void XMLCALL on_start(void *data, const XML_Char *name, const XML_Char **attributes)
{
    struct reading *r = data;
    const struct element *parent = r->level ? r->stack[r->level - 1] : NULL;
    const struct element *element = element_find(parent, name);
    const char *wrong = NULL;

    if (r->result)
        return;
    if (!element || r->level == LEVEL_MAX) {
        refuse(r, parent ? "an element stands where it is not allowed"
                         : "the outermost element is not <busconfig>");
        return;
    }
    r->stack[r->level++] = element;
    r->length = 0;
    wrong = element_check_attributes(element, attributes);
    if (wrong) {
        refuse(r, wrong);
    } else if (element->id == ELEMENT_LIMIT) {
        snprintf(r->limit, sizeof r->limit, "%s", element_attribute(attributes, "name"));
    } else if (element->id == ELEMENT_INCLUDE) {
        const char *missing = element_attribute(attributes, "ignore_missing");
        const char *selinux = element_attribute(attributes, "if_selinux_enabled");
        r->ignore_missing = missing && strcmp(missing, "yes") == 0;
        /* Contexts of SELinux: found below its own root, and nothing in them is for us. */
        r->skip = selinux && strcmp(selinux, "yes") == 0;
    }
}

static void XMLCALL on_text(void *data, const XML_Char *text, int length)
{
    struct reading *r = data;

    if (r->result || r->level == 0)
        return;
    if (!r->stack[r->level - 1]->has_text) {
        for (int i = 0; i < length; i++) {
            if (!strchr(" \t\r\n", text[i])) {
                refuse(r, "text stands where none is allowed");
                return;
            }
        }
        return;
    }
    if ((size_t)length >= sizeof r->text - r->length) {
        refuse(r, "the text of an element is too long");
        return;
    }
    memcpy(r->text + r->length, text, (size_t)length);
    r->length += (size_t)length;
}

static int is_config(const struct dirent *entry)
{
    size_t length = strlen(entry->d_name);

    return length > 5 && strcmp(entry->d_name + length - 5, ".conf") == 0;
}

static void move_string(char **to, char **from)
{
    if (!*from)
        return;
    free(*to);
    *to = *from;
    *from = NULL;
}

static int move_strings(char ***to, size_t *nto, char ***from, size_t *nfrom)
{
    char **grown = NULL;

    if (*nfrom == 0)
        return 0;
    grown = reallocarray(*to, *nto + *nfrom, sizeof *grown);
    if (!grown)
        return -ENOMEM;
    memcpy(grown + *nto, *from, *nfrom * sizeof *grown);
    *to = grown;
    *nto += *nfrom;
    *nfrom = 0;
    return 0;
}

static int move_dirs(struct bus_config *to, struct bus_config *from)
{
    struct bus_config_dir *grown = NULL;

    if (from->ndirs == 0)
        return 0;
    grown = reallocarray(to->dirs, to->ndirs + from->ndirs, sizeof *grown);
    if (!grown)
        return -ENOMEM;
    memcpy(grown + to->ndirs, from->dirs, from->ndirs * sizeof *grown);
    to->dirs = grown;
    to->ndirs += from->ndirs;
    from->ndirs = 0;
    return 0;
}

/* What an included file said goes behind what was said before; its files even when it is refused,
 * because a change of them may make it good. */
static int merge(struct bus_config *to, struct bus_config *from, bool good)
{
    int result = move_strings(&to->files, &to->nfiles, &from->files, &from->nfiles);

    if (result == 0 && good) {
        move_string(&to->type, &from->type);
        move_string(&to->user, &from->user);
        move_string(&to->servicehelper, &from->servicehelper);
        to->has_servicehelper = to->has_servicehelper || from->has_servicehelper;
        to->start_timeout_ms = from->start_timeout_ms;
        result = move_strings(&to->listen, &to->nlisten, &from->listen, &from->nlisten);
        if (result == 0)
            result = move_dirs(to, from);
    }
    bus_config_clear(from);
    return result;
}

/* One file of an <includedir>: when it is refused, nothing that stands in it counts. */
static int include_optional(struct whole *w, const char *path)
{
    struct bus_config part = {.start_timeout_ms = w->out->start_timeout_ms};
    struct bus_config *out = w->out;
    int result = 0, merged = 0;

    w->out = &part;
    result = load(w, path, true);
    w->out = out;
    merged = merge(out, &part, result == 0);
    if (result < 0 || w->exhausted)
        return result;
    return merged;
}

/* <includedir>: a directory that is not there is nothing. The files come in the order in which the
 * directory lists them, as for dbus-daemon: sorted, another one might have the last word. */
static int include_folder(struct whole *w, const char *folder)
{
    struct dirent **entries = NULL;
    int count = scandir(folder, &entries, is_config, NULL);
    int result = count < 0 && errno == ENOMEM ? -ENOMEM : 0;

    if (count < 0 && result == 0 && errno != ENOENT) {
        blame(w, 0, folder, strerror(errno));
        return BUS_CONFIG_E_UNREADABLE;
    }
    for (int i = 0; i < count; i++) {
        if (result == 0) {
            char *path = join(folder, strlen(folder), entries[i]->d_name);
            result = path ? include_optional(w, path) : -ENOMEM;
            free(path);
        }
        free(entries[i]);
    }
    free(entries);
    return result;
}

static int set(char **place, const char *text)
{
    char *copy = strdup(text);

    if (!copy)
        return -ENOMEM;
    free(*place);
    *place = copy;
    return 0;
}

static int take_limit(struct reading *r)
{
    long number = 0;
    const char *wrong = element_check_limit(r->limit, r->text, &number);

    if (wrong)
        refuse(r, wrong);
    else if (strcmp(r->limit, "service_start_timeout") == 0)
        r->whole->out->start_timeout_ms = (unsigned)number;
    return 0;
}

/* The elements whose text is a path. */
static int take_path(struct reading *r, enum element_id id)
{
    struct bus_config *c = r->whole->out;
    char *path = resolve(r->path, r->text);
    int result = 0;

    if (!path)
        return -ENOMEM;
    if (id == ELEMENT_SERVICEDIR)
        return append_dir(c, BUS_CONFIG_DIR, path);
    if (id == ELEMENT_SERVICEHELPER) {
        c->has_servicehelper = true;
        result = set(&c->servicehelper, path);
    } else if (id == ELEMENT_INCLUDEDIR) {
        result = include_folder(r->whole, path);
    } else {
        result = load(r->whole, path, r->ignore_missing);
    }
    free(path);
    return result;
}

/* An element is complete. */
static int take(struct reading *r, const struct element *element)
{
    struct bus_config *c = r->whole->out;

    switch (element->id) {
    case ELEMENT_TYPE:
        return set(&c->type, r->text);
    case ELEMENT_USER:
        return set(&c->user, r->text);
    case ELEMENT_LISTEN:
        return append(&c->listen, &c->nlisten, r->text);
    case ELEMENT_LIMIT:
        return take_limit(r);
    case ELEMENT_SESSION_DIRS:
        return append_dir(c, BUS_CONFIG_DIR_SESSION, NULL);
    case ELEMENT_SYSTEM_DIRS:
        return append_dir(c, BUS_CONFIG_DIR_SYSTEM, NULL);
    case ELEMENT_INCLUDE:
        return r->skip || r->whole->alone ? 0 : take_path(r, element->id);
    case ELEMENT_INCLUDEDIR:
        return r->whole->alone ? 0 : take_path(r, element->id);
    case ELEMENT_SERVICEDIR:
    case ELEMENT_SERVICEHELPER:
        return take_path(r, element->id);
    case ELEMENT_BUSCONFIG:
    case ELEMENT_POLICY:
    case ELEMENT_SELINUX:
    case ELEMENT_OTHER:
        break;
    }
    return 0;
}

static void XMLCALL on_end(void *data, const XML_Char *name)
{
    struct reading *r = data;
    const struct element *element = NULL;
    int result = 0;

    (void)name;
    if (r->result)
        return;
    element = r->stack[--r->level];
    if (element->has_text && r->length == 0) {
        refuse(r, "an element is empty");
        return;
    }
    r->text[r->length] = '\0';
    result = take(r, element);
    r->length = 0;
    if (result && r->result == 0) {
        r->result = result;
        XML_StopParser(r->parser, XML_FALSE);
    }
}

static int parse_one(struct whole *w, const char *path, const char *text, size_t length)
{
    struct reading *r = calloc(1, sizeof *r);
    int result = 0;

    if (!r)
        return -ENOMEM;
    r->whole = w;
    r->path = path;
    r->parser = XML_ParserCreate("UTF-8");
    if (!r->parser) {
        free(r);
        return -ENOMEM;
    }
    XML_SetUserData(r->parser, r);
    XML_SetElementHandler(r->parser, on_start, on_end);
    XML_SetCharacterDataHandler(r->parser, on_text);
    if (XML_Parse(r->parser, text, (int)length, 1) == XML_STATUS_ERROR && r->result == 0) {
        enum XML_Error code = XML_GetErrorCode(r->parser);

        blame(w, (unsigned)XML_GetCurrentLineNumber(r->parser), path, XML_ErrorString(code));
        r->result = code == XML_ERROR_NO_MEMORY ? -ENOMEM : BUS_CONFIG_E_INVALID;
    }
    result = r->result;
    XML_ParserFree(r->parser);
    free(r);
    return result;
}

static int load(struct whole *w, const char *path, bool ignore_missing)
{
    struct parse_error why = {0};
    char *text = NULL;
    size_t length = 0;
    int result = 0;

    for (unsigned i = 0; i < w->depth; i++) {
        if (strcmp(w->stack[i], path) == 0) {
            blame(w, 0, path, "includes itself");
            return BUS_CONFIG_E_INVALID;
        }
    }
    if (w->depth == DEPTH_MAX) {
        blame(w, 0, path, "included too deeply");
        return BUS_CONFIG_E_INVALID;
    }
    if (w->trust && !w->trust(path, w->data)) {
        blame(w, 0, path, "not trusted: others than root can write it");
        return BUS_CONFIG_E_UNREADABLE;
    }
    result = read_file(path, TOTAL_MAX - w->total, &text, &length, &why);
    if (result < 0)
        return result;
    if (result == READ_FILE_E_TOO_LARGE) {
        w->exhausted = true;
        blame(w, 0, path, "with it the configuration is larger than 4 MB");
        return BUS_CONFIG_E_INVALID;
    }
    if (result) {
        if (ignore_missing && result == READ_FILE_E_MISSING)
            return 0;
        blame(w, 0, path, why.message);
        return result == READ_FILE_E_MISSING ? BUS_CONFIG_E_MISSING : BUS_CONFIG_E_UNREADABLE;
    }
    w->total += length;
    w->stack[w->depth++] = path;
    result = append(&w->out->files, &w->out->nfiles, path);
    if (result == 0)
        result = parse_one(w, path, text, length);
    w->depth--;
    free(text);
    return result;
}

int bus_config_load(const char *path, struct bus_config *out, bus_config_trust trust, void *data,
                    struct parse_error *error)
{
    struct whole w = {.out = out, .error = error, .trust = trust, .data = data};
    int result = 0;

    memset(out, 0, sizeof *out);
    out->start_timeout_ms = DEFAULT_MS;
    result = load(&w, path, false);
    if (result)
        bus_config_clear(out);
    return result;
}

int bus_config_parse(const char *text, size_t length, const char *path, struct bus_config *out,
                     struct parse_error *error)
{
    struct whole w = {.out = out, .error = error, .alone = true};
    int result = 0;

    memset(out, 0, sizeof *out);
    out->start_timeout_ms = DEFAULT_MS;
    if (length > TOTAL_MAX) {
        blame(&w, 0, path, "larger than 4 MB");
        return BUS_CONFIG_E_INVALID;
    }
    w.total = length;
    w.stack[w.depth++] = path;
    result = parse_one(&w, path, text, length);
    if (result)
        bus_config_clear(out);
    return result;
}

void bus_config_clear(struct bus_config *c)
{
    for (size_t i = 0; i < c->ndirs; i++)
        free(c->dirs[i].path);
    for (size_t i = 0; i < c->nlisten; i++)
        free(c->listen[i]);
    for (size_t i = 0; i < c->nfiles; i++)
        free(c->files[i]);
    free(c->dirs);
    free(c->listen);
    free(c->files);
    free(c->type);
    free(c->user);
    free(c->servicehelper);
    memset(c, 0, sizeof *c);
}
