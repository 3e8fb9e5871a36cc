/* SPDX-License-Identifier: MIT */
#include "context.h"

#include <dirent.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static void put_string(FILE *out, const char *text)
{
    fputc('"', out);
    for (const unsigned char *p = (const unsigned char *)text; *p != 0; p++) {
        if (*p < 0x20 || *p >= 0x7f || *p == '"' || *p == '\\')
            fprintf(out, "\\u%04x", *p);
        else
            fputc(*p, out);
    }
    fputc('"', out);
}

static void put_strings(FILE *out, const char *key, char **strings)
{
    fprintf(out, ",\"%s\":[", key);
    for (char **s = strings; s != NULL && *s != NULL; s++) {
        if (s != strings)
            fputc(',', out);
        put_string(out, *s);
    }
    fputc(']', out);
}

/* Number -> where it leads, without the one that reading the list takes. */
static void put_descriptors(FILE *out)
{
    DIR *dir = opendir("/proc/self/fd");
    const char *between = "";

    fputs(",\"fds\":{", out);
    if (dir != NULL) {
        for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
            char target[4096];
            if (e->d_name[0] == '.' || atoi(e->d_name) == dirfd(dir))
                continue;
            ssize_t length = readlinkat(dirfd(dir), e->d_name, target, sizeof target - 1);
            target[length < 0 ? 0 : length] = 0;
            fprintf(out, "%s\"%s\":", between, e->d_name);
            put_string(out, target);
            between = ",";
        }
        closedir(dir);
    }
    fputc('}', out);
}

/* Lines of /proc/self/status: signals, capabilities, no_new_privs. */
static void put_status(FILE *out)
{
    static const char *const wanted[] = {"SigBlk", "SigIgn", "SigCgt", "CapInh",     "CapPrm",
                                         "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Groups"};
    FILE *in = fopen("/proc/self/status", "re");
    char line[4096];

    while (in != NULL && fgets(line, sizeof line, in) != NULL) {
        char *colon = strchr(line, ':');
        if (colon == NULL)
            continue;
        *colon = 0;
        for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
            if (strcmp(line, wanted[i]) == 0) {
                char *value = colon + 1 + strspn(colon + 1, " \t");
                value[strcspn(value, "\n")] = 0;
                fprintf(out, ",\"%s\":", line);
                put_string(out, value);
            }
        }
    }
    if (in != NULL)
        fclose(in);
}

static void put_limits(FILE *out)
{
    static const struct {
        const char *name;
        int which;
    } limits[] = {{"nofile", RLIMIT_NOFILE},
                  {"core", RLIMIT_CORE},
                  {"nproc", RLIMIT_NPROC},
                  {"stack", RLIMIT_STACK}};

    fputs(",\"rlimits\":{", out);
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        struct rlimit limit = {0, 0};
        getrlimit((__rlimit_resource_t)limits[i].which, &limit);
        fprintf(out, "%s\"%s\":[%lld,%lld]", i == 0 ? "" : ",", limits[i].name,
                (long long)limit.rlim_cur, (long long)limit.rlim_max);
    }
    fputc('}', out);
}

static void put_ids(FILE *out)
{
    uid_t uid[3];
    gid_t gid[3];
    mode_t mask = umask(0);

    umask(mask);
    if (getresuid(&uid[0], &uid[1], &uid[2]) == 0)
        fprintf(out, ",\"uids\":[%u,%u,%u]", uid[0], uid[1], uid[2]);
    if (getresgid(&gid[0], &gid[1], &gid[2]) == 0)
        fprintf(out, ",\"gids\":[%u,%u,%u]", gid[0], gid[1], gid[2]);
    fprintf(out, ",\"umask\":%u", mask);
}

static void put_oom(FILE *out)
{
    FILE *in = fopen("/proc/self/oom_score_adj", "re");
    int score = 0;

    if (in != NULL && fscanf(in, "%d", &score) == 1)
        fprintf(out, ",\"oom_score_adj\":%d", score);
    if (in != NULL)
        fclose(in);
}

char *context_json(int argc, char **argv)
{
    char *text = NULL;
    size_t length = 0;
    char cwd[4096] = "";
    FILE *out = open_memstream(&text, &length);

    if (out == NULL)
        return NULL;
    if (getcwd(cwd, sizeof cwd) == NULL)
        cwd[0] = 0;
    fprintf(out, "{\"pid\":%d,\"ppid\":%d,\"sid\":%d,\"pgid\":%d,\"argc\":%d", getpid(), getppid(),
            getsid(0), getpgrp(), argc);
    put_strings(out, "argv", argv);
    put_strings(out, "environ", environ);
    fputs(",\"cwd\":", out);
    put_string(out, cwd);
    put_descriptors(out);
    put_status(out);
    put_limits(out);
    put_ids(out);
    put_oom(out);
    fputs("}\n", out);
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}
