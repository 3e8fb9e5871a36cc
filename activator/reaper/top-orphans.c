/* SPDX-License-Identifier: MIT */
/* Whose are the children that came to us by adoption? The kernel re-parents a dead process's
 * children before the dead one can be waited for, so everything that a dead reaper left is in
 * our list of children when its death shows; but that list does not say who left what. */
#include "reaper/top.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MANY     200
#define READ_ALL 1024
/* How long a program may take from fork to exec: less than a run without any is waited for. */
#define UNCLEAR_MS 500
/* Until there may be descriptors or memory again. */
#define TROUBLE_MS 100

/* --- dead reapers ----------------------------------------------------------------------- */

static void on_foreign_end(void *data, uint32_t events)
{
    struct top *t = data;

    (void)events;
    top_work(t);
}

/* One that is somebody else's child (its own top reaper was killed, or an activator that did not
 * clone it as a sibling): its end shows at a pidfd alone. How it ended is not for us to know. */
static bool foreign_has_died(struct top *t, struct top_reaper *r)
{
    char state = 0;

    if (r->watch.fd < 0) {
        int fd = (int)syscall(SYS_pidfd_open, r->pid, 0);
        if (fd < 0 && errno == ESRCH)
            return true;
        if (fd < 0 && process_trouble(errno))
            loop_arm(&t->loop, &t->again, TROUBLE_MS);
        r->watch = (struct loop_source){.fd = -1, .ready = on_foreign_end, .data = t};
        if (fd >= 0 && loop_add(&t->loop, &r->watch, fd, EPOLLIN) < 0)
            close(fd);
    }
    if (r->watch.fd >= 0)
        return poll(&(struct pollfd){.fd = r->watch.fd, .events = POLLIN}, 1, 0) > 0;
    return process_parent(r->pid, NULL, &state) == 0 || state == 'Z';
}

bool top_reaper_has_died(struct top *t, struct top_reaper *r)
{
    siginfo_t info = {0};

    if (waitid(P_PID, (id_t)r->pid, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0) {
        r->end = info;
        return info.si_pid == r->pid;
    }
    return errno == ECHILD && foreign_has_died(t, r);
}

/* True when there is one that was not marked before. */
static bool mark_dead(struct top *t)
{
    bool any = false;

    for (struct top_reaper *r = t->reapers; r; r = r->next) {
        if (r->dead || !top_reaper_has_died(t, r))
            continue;
        r->dead = true;
        loop_close(&t->loop, &r->watch);
        any = true;
    }
    return any;
}

/* --- whose is it? ----------------------------------------------------------------------- */

static bool read_text(struct top *t, pid_t pid, const char *name, char *text, size_t size)
{
    long length = process_file_read(pid, name, text, size);

    t->trouble |= length < 0 && process_trouble((int)-length);
    return length >= 0;
}

/* The program of a reaper that was killed between fork and exec looks like the reaper; so does what
 * only calls itself so, which is why this is believed for a moment only. */
static bool is_before_exec(struct top *t, pid_t pid)
{
    char path[48];
    char text[512];
    struct stat own;
    struct stat other;

    if (t->unclear && loop_now() - t->unclear >= UNCLEAR_MS)
        return false;
    snprintf(path, sizeof path, "/proc/%d/exe", (int)pid);
    if (stat(path, &other) < 0 || stat("/proc/self/exe", &own) < 0 || own.st_ino != other.st_ino ||
        own.st_dev != other.st_dev || !read_text(t, pid, "cmdline", text, sizeof text))
        return false;
    size_t length = strlen(text);
    return length >= 7 &&
           (strcmp(text + length - 7, ": spare") == 0 || strcmp(text + length - 7, ": mould") == 0);
}

/* A reaper that the activator has just cloned as our child and that it has not announced, or what
 * else is the activator's own. All that is in our session until it has a run, and nothing of a
 * service ever is. Not recorded: it will be looked at again. */
static bool is_coming(struct top *t, const struct process_stat *s, bool *unclear)
{
    if (s->session == getsid(0) || (t->activator > 0 && s->session == getsid(t->activator)))
        return true;
    if (s->zombie || !is_before_exec(t, s->pid))
        return false;
    *unclear = true;
    return true;
}

static struct top_run *run_of_reaper(const struct top *t, pid_t reaper)
{
    struct top_run *run = reaper > 0 ? t->runs : NULL;

    while (run && (run->reaper != reaper || run->empty))
        run = run->next;
    return run;
}

/* A kernel with this project's series says from which direct child of ours a process descends,
 * also after all its parents have died. */
static struct top_run *by_lineage(struct top *t, pid_t pid)
{
    char text[4096];
    const char *line = NULL;

    if (!read_text(t, pid, "status", text, sizeof text))
        return NULL;
    line = strstr(text, "\nLineage:\t");
    return line ? run_of_reaper(t, (pid_t)strtol(line + 10, NULL, 10)) : NULL;
}

/* What still writes into a run's log is of that run: each has a pipe of its own. */
static struct top_run *by_pipe(const struct top *t, pid_t pid)
{
    char path[48];
    struct stat own;
    struct stat other;

    for (int fd = 1; fd <= 2; fd++) {
        snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)pid, fd);
        if (stat(path, &other) < 0 || !S_ISFIFO(other.st_mode))
            continue;
        for (struct top_run *run = t->runs; run; run = run->next) {
            if (run->pipe.fd >= 0 && fstat(run->pipe.fd, &own) == 0 && own.st_ino == other.st_ino &&
                own.st_dev == other.st_dev)
                return run;
        }
    }
    return NULL;
}

/* Each service starts in a session of its own. */
static struct top_run *by_session(const struct top *t, const struct process_stat *s)
{
    for (size_t i = 0; i < t->nknown; i++) {
        const struct top_known *known = &t->known[i];
        struct top_run *run = known->run ? known->run : run_of_reaper(t, known->reaper);
        if (run && known->session == s->session)
            return run;
    }
    for (size_t i = 0; i < t->nknown; i++) {
        if (t->known[i].run && t->known[i].group == s->group)
            return t->known[i].run;
    }
    return NULL;
}

/* How likely it is that an orphan of which nothing is known belongs to this run: the reaper has
 * died just now, and it was no spare. */
static int likelihood(const struct top_run *run)
{
    return run->empty ? 0 : 1 + 2 * (run->id != 0) + run->fresh;
}

static struct top_run *best_guess(const struct top *t, size_t *candidates)
{
    struct top_run *best = NULL;

    for (struct top_run *run = t->runs; run; run = run->next) {
        *candidates += !run->empty;
        if (likelihood(run) > (best ? likelihood(best) : 0))
            best = run;
    }
    return best;
}

/* sure: only by what cannot err. */
static struct top_run *whose(struct top *t, const struct process_stat *s, bool sure)
{
    const struct top_known *seen = top_known_find(t, s->pid);
    struct top_run *run = NULL;
    size_t candidates = 0;

    if (seen && seen->start == s->start && seen->run && !seen->run->empty)
        return seen->run;
    if (seen && seen->start == s->start && run_of_reaper(t, seen->reaper))
        return run_of_reaper(t, seen->reaper);
    struct top_run *guess = best_guess(t, &candidates);
    if (candidates <= 1)
        return guess;
    run = by_lineage(t, s->pid);
    if (!run)
        run = by_pipe(t, s->pid);
    if (run || sure)
        return run;
    run = by_session(t, s);
    return run ? run : guess;
}

static void give(struct top *t, const struct process_stat *s, struct top_run *run)
{
    struct top_known new = {.pid = s->pid,
                            .session = s->session,
                            .group = s->group,
                            .child = true,
                            .left = s->zombie,
                            .start = s->start,
                            .run = run};

    top_known_add(t, &new);
}

/* Two rounds: those that are sure teach the sessions to the others. */
static void give_all(struct top *t, const struct process_tree *tree)
{
    bool unclear = false;

    for (int round = 0; round < 2; round++) {
        t->undecided = 0;
        for (size_t i = 0; i < tree->count; i++) {
            const struct top_known *old = top_known_find(t, tree->list[i].pid);
            struct process_stat s;
            if (old && old->child && old->start == tree->list[i].start)
                continue;
            if (!process_stat_read(tree->list[i].pid, &s)) {
                t->trouble |= process_trouble(errno);
                continue;
            }
            if (is_coming(t, &s, &unclear)) {
                t->undecided += !s.zombie;
                continue;
            }
            struct top_run *run = whose(t, &s, round == 0);
            if ((run || round == 1) && !t->trouble)
                give(t, &s, run);
        }
    }
    if (!unclear)
        t->unclear = 0;
    else if (!t->unclear)
        t->unclear = loop_now();
}

/* --- looking around --------------------------------------------------------------------- */

static bool is_known(pid_t pid, void *data)
{
    const struct top *t = data;
    const struct top_known *known = top_known_find(t, pid);

    /* A child that was not waited for keeps its number: no need to read its start time. */
    return pid == t->activator || (known && known->child) || top_reaper_find(t, pid);
}

/* The reapers that were found dead become runs of ours, those without a run are forgotten when
 * they are waited for. */
static void take_over(struct top *t)
{
    for (struct top_reaper *r = t->reapers; r; r = r->next) {
        if (!r->dead || (r->run == 0 && r->taken))
            continue;
        /* The ordinary end: it had waited for everything and was acknowledged. It cannot have
         * left what may have come to us meanwhile. */
        bool ordinary = r->end.si_code == CLD_EXITED && r->end.si_status == 0;
        struct top_run *nameless = top_run_nameless(t, r->pid);
        if (!ordinary && nameless && r->run != 0 && !top_run_find(t, r->run))
            top_run_name(nameless, r);
        else if (!ordinary && !top_run_find(t, r->run) && !top_run_new(t, r))
            complain("out of memory: run %llu is lost", (unsigned long long)r->run);
        r->run = 0;
        r->taken = true;
    }
}

/* Counts what the dead reapers left. */
static void settle(struct top *t)
{
    struct top_run *next = NULL;

    for (struct top_run *run = t->runs; run; run = next) {
        struct process_tree tree;
        next = run->next;
        if (!run->fresh)
            continue;
        run->fresh = false;
        /* An ordinary spare. */
        if (run->id == 0 && run->nchildren == 0 && t->undecided == 0) {
            top_run_forget(t, run);
            continue;
        }
        top_run_tree(t, run, &tree);
        for (size_t i = 0; i < tree.count; i++)
            run->left += !tree.list[i].zombie;
        process_tree_clear(&tree);
    }
}

/* Not our child (any more): nobody will wait for it here. */
static void forget_strangers(struct top *t)
{
    struct top_reaper *next = NULL;

    for (struct top_reaper *r = t->reapers; r; r = next) {
        next = r->next;
        if (r->dead && r->end.si_pid != r->pid)
            top_reaper_forget(t, r);
    }
}

bool top_scan(struct top *t)
{
    struct process_tree tree = {0};
    int result = 0;

    /* A reaper that dies between the look at the reapers and the list of children leaves orphans
     * in the list that would be given to others: then both are read again. */
    mark_dead(t);
    do {
        process_tree_clear(&tree);
        result = process_tree_children(&tree, is_known, t);
        /* What is in the list was spawned by a reaper that was announced before it was told to:
         * with what has arrived read, its run is known. */
        if (!t->scanning) {
            t->scanning = true;
            link_read(&t->link, READ_ALL);
            t->scanning = false;
        }
    } while (mark_dead(t));
    t->trouble = result < 0;
    if (!t->trouble) {
        take_over(t);
        give_all(t, &tree);
    }
    process_tree_clear(&tree);
    if (t->trouble) {
        loop_arm(&t->loop, &t->again, TROUBLE_MS);
        return false;
    }
    settle(t);
    forget_strangers(t);
    return true;
}

/* The activator has ended: what ends before the next one hears of it stays a zombie of its reaper,
 * and a zombie that comes to us has lost all that says whose it was. Once for each activator: what
 * lives then is what can end. */
static void look_below_reapers(struct top *t)
{
    for (const struct top_reaper *r = t->reapers; r; r = r->next) {
        struct process_tree tree = {0};
        if (r->run != 0 && !r->dead)
            process_tree_read(&tree, r->pid, NULL, 0);
        for (size_t i = 0; i < tree.count; i++) {
            const struct tree_process *p = &tree.list[i];
            struct top_known new = {
                .pid = p->pid, .session = p->session, .start = p->start, .reaper = r->pid};
            if (!top_known_find(t, p->pid) || !top_known_find(t, p->pid)->child)
                top_known_add(t, &new);
        }
        process_tree_clear(&tree);
    }
}

/* What is below a reaper is remembered as long as that lives. */
static bool is_kept(const struct top *t, const struct top_known *known)
{
    return known->child || (known->reaper && top_reaper_find(t, known->reaper));
}

void top_snapshot(struct top *t)
{
    uint64_t now = loop_now();
    size_t kept = 0;

    if (t->activator > 0) {
        t->looked_below = false;
    } else if (!t->looked_below) {
        t->looked_below = true;
        look_below_reapers(t);
    }

    /* With one run there is nothing to tell apart. */
    if (!t->runs || !t->runs->next || (t->nknown > MANY && now - t->snapshot < 100))
        return;
    t->snapshot = now;
    for (size_t i = 0; i < t->nknown; i++) {
        if (is_kept(t, &t->known[i]))
            t->known[kept++] = t->known[i];
    }
    t->nknown = kept;
    for (struct top_run *run = t->runs; run; run = run->next) {
        struct process_tree tree;
        top_run_tree(t, run, &tree);
        for (size_t i = 0; i < tree.count; i++) {
            const struct tree_process *p = &tree.list[i];
            struct top_known new = {
                .pid = p->pid, .session = p->session, .start = p->start, .run = run};
            if (!top_known_find(t, p->pid))
                top_known_add(t, &new);
        }
        process_tree_clear(&tree);
    }
}
