// SPDX-License-Identifier: GPL-2.0-only
/*
 * Lineage, the single process: what its two numbers are and what leaves them
 * alone. A case may itself have a lineage (the program may have been started
 * by a reaper), hence own_lineage().
 */

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child_reaper.h"
#include "lineage.h"

#ifndef SYS_clone3
#define SYS_clone3 435
#endif

static bool find_number(const char *text, const char *key, long *out)
{
	const char *at = strstr(text, key);

	if (at)
		*out = strtol(at + strlen(key), NULL, 10);
	return at;
}

bool lineage_read_at(int fd, struct lineage *out)
{
	char text[4096];
	ssize_t got = pread(fd, text, sizeof(text) - 1, 0);

	if (got <= 0)
		return false;
	text[got] = '\0';
	return find_number(text, "\nPPid:\t", &out->parent) &&
	       find_number(text, "\nReaper:\t", &out->reaper) &&
	       find_number(text, "\nLineage:\t", &out->lineage);
}

bool lineage_read(const char *proc, pid_t pid, struct lineage *out)
{
	char path[128];
	bool found;
	int fd;

	snprintf(path, sizeof(path), "%s/%d/status", proc, pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	found = lineage_read_at(fd, out);
	close(fd);
	return found;
}

bool lineage_supported(void)
{
	struct lineage own;

	return lineage_read("/proc", getpid(), &own);
}

struct lineage own_lineage(void)
{
	struct lineage own;

	check(lineage_read("/proc", getpid(), &own));
	return own;
}

void check_lineage_at(const char *file, int line, const char *what, pid_t pid,
		      long reaper, long lineage)
{
	struct lineage is;

	if (!lineage_read("/proc", pid, &is))
		fail_at(file, line, "%s (%d) has no lineage to read", what,
			pid);
	if (is.reaper != reaper || is.lineage != lineage)
		fail_at(file, line, "%s (%d): Reaper %ld Lineage %ld, expected %ld %ld",
			what, pid, is.reaper, is.lineage, reaper, lineage);
}

static void none(const struct pair *pair)
{
	struct lineage own = own_lineage();
	struct family family = make_family(FATHER_STAYS, NULL, NULL);

	(void)pair;
	check_lineage(family.father, own.reaper, own.lineage);
	check_lineage(family.child, own.reaper, own.lineage);
	/* and none comes from the other kind of reaper */
	check_long(syscall(SYS_prctl, OPT_SET_SUBREAPER, 1UL, 0UL, 0UL, 0UL),
		   0);
	reap_any(family.father);
	check_lineage(family.child, own.reaper, own.lineage);
	family = make_family(FATHER_EXITS, NULL, NULL);
	check_lineage(family.child, own.reaper, own.lineage);
}

static void direct_child(const struct pair *pair)
{
	struct lineage own = own_lineage();
	pid_t pid;

	reaper_on(pair);
	check_lineage(getpid(), own.reaper, own.lineage);
	pid = xfork();
	if (!pid)
		park();
	check_lineage(pid, getpid(), pid);
	kill(pid, SIGKILL);
	await_zombie(pid);
	check_lineage(pid, getpid(), pid);
	reap(pid);
}

static void orphan(const struct pair *pair)
{
	struct family family;

	reaper_on(pair);
	family = make_family(FATHER_STAYS, body_setsid, NULL);
	check_lineage(family.child, getpid(), family.father);
	kill(family.father, SIGKILL);
	await_zombie(family.father);
	check_lineage(family.child, getpid(), family.father);
	reap(family.father);
	check_lineage(family.child, getpid(), family.father);
	kill(family.child, SIGKILL);
	await_zombie(family.child);
	check_lineage(family.child, getpid(), family.father);
	reap(family.child);
}

/* An orphan's own children, and theirs, born after the adoption. */
static void body_two_more(void *said)
{
	pid_t pid = xfork();

	if (!pid) {
		channel_send(said, getpid());
		if (!xfork()) {
			channel_send(said, getpid());
			park();
		}
	}
	park();
}

static void children_of_orphan(const struct pair *pair)
{
	struct family family;
	struct channel said;
	pid_t grandchild;

	reaper_on(pair);
	channel_open(&said);
	family = make_family(FATHER_EXITS, body_two_more, &said);
	check_lineage(channel_receive(&said), getpid(), family.father);
	grandchild = channel_receive(&said);
	check_lineage(grandchild, getpid(), family.father);
	reap_any(family.child);
	check_lineage(grandchild, getpid(), family.father);
}

/* As in <linux/sched.h> since 5.5; glibc has none. */
struct clone_arguments {
	uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack,
		 stack_size, tls, set_tid, set_tid_size;
};

/* A child with this number; -1 and errno EEXIST while it is taken. */
static pid_t fork_as(pid_t number)
{
	struct clone_arguments arguments = {
		.exit_signal = SIGCHLD,
		.set_tid = (uintptr_t)&number,
		.set_tid_size = 1,
	};
	pid_t pid = syscall(SYS_clone3, &arguments, sizeof(arguments));

	if (!pid)
		_exit(0);
	return pid;
}

static void in_own_pidns(void (*body)(const struct pair *),
			 const struct pair *pair)
{
	pid_t init = enter_pidns(0);

	if (!init) {
		alarm(30);
		body(pair);
		_exit(0);
	}
	reap_ok(init);
}

/*
 * The number of a dead founder is not given to anybody else while a member
 * lives, and is free again afterwards. Asked for by number, so that it does
 * not take a wrap-around of all numbers to find out.
 */
static void pinned_inside(const struct pair *pair)
{
	struct family family;
	pid_t pid;

	reaper_on(pair);
	family = make_family(FATHER_EXITS, NULL, NULL);
	pid = fork_as(family.father);
	if (pid < 0 && errno != EEXIST)
		skip("clone3 with set_tid: %s", strerror(errno));
	check_long(pid, -1);
	check_long(errno, EEXIST);
	reap_any(family.child);
	pid = fork_as(family.father);
	check_long(pid, family.father);
	reap(pid);

	/* likewise the number of a dead reaper, if anything kept it */
	reaper_off(pair);
	pid = fork_as(family.father);
	check_long(pid, family.father);
	reap(pid);
}

static void pinned_number(const struct pair *pair)
{
	in_own_pidns(pinned_inside, pair);
}

static void *exec_park(void *said)
{
	char number[16];

	snprintf(number, sizeof(number), "%d", ((struct channel *)said)->out);
	exec_helper("park", number);
}

/* Member and inner reaper in one: both kinds of links have to move. */
static void thread_exec(const struct pair *pair)
{
	struct channel said, child_said;
	pid_t pid, child;

	reaper_on(pair);
	channel_open(&said);
	channel_open(&child_said);
	pid = xfork();
	if (!pid) {
		reaper_on(pair);
		child = xfork();
		if (!child)
			park();
		channel_send(&child_said, child);
		run_in_thread(exec_park, &said);
	}
	child = channel_receive(&child_said);
	channel_receive(&said);
	check_lineage(pid, getpid(), pid);
	check_lineage(child, pid, child);
	kill(pid, SIGKILL);
	await_zombie(pid);
	check_lineage(pid, getpid(), pid);
	check_lineage(child, getpid(), pid);
	reap(pid);
	reap_any(child);
	/* the links are gone with them: nothing may follow them any more */
	reaper_off(pair);
	reaper_on(pair);
}

static void body_exec_park(void *said)
{
	exec_park(said);
}

static void *report_and_park(void *said)
{
	channel_send(said, syscall(SYS_gettid));
	park();
}

/* What a daemon does to get away. */
static void body_change_all(void *said)
{
	check(setsid() > 0);
	if (!geteuid())
		check_long(setuid(65534), 0);
	run_in_thread(report_and_park, said);
}

static void nothing_else_changes_it(const struct pair *pair)
{
	struct channel said;
	struct family family;
	char proc[64];
	struct lineage is;
	long tid;

	reaper_on(pair);
	channel_open(&said);
	family = make_family(FATHER_STAYS, body_change_all, &said);
	tid = channel_receive(&said);
	check_lineage(family.child, getpid(), family.father);
	/* threads say the same */
	snprintf(proc, sizeof(proc), "/proc/%d/task", family.child);
	check(lineage_read(proc, tid, &is));
	check_long(is.reaper, getpid());
	check_long(is.lineage, family.father);
	reap_any(family.father);
	reap_any(family.child);
	/* exec of a single-threaded member */
	family = make_family(FATHER_STAYS, body_exec_park, &said);
	channel_receive(&said);
	check_lineage(family.child, getpid(), family.father);
}

static void set_twice(const struct pair *pair)
{
	struct family family;

	reaper_on(pair);
	family = make_family(FATHER_EXITS, NULL, NULL);
	check_long(reaper_set(pair, 1), 0);
	check_lineage(family.child, getpid(), family.father);
}

const struct test_case lineage_cases[] = {
	{ "lineage: none without a reaper", none, NEED_LINEAGE, false },
	{ "lineage: direct child, alive and zombie", direct_child,
	  NEED_LINEAGE, false },
	{ "lineage: orphan of a reaped father", orphan, NEED_LINEAGE, false },
	{ "lineage: children of an orphan", children_of_orphan, NEED_LINEAGE, false },
	{ "lineage: number of a dead founder is pinned", pinned_number,
	  NEED_LINEAGE, false },
	{ "lineage: exec of a thread", thread_exec, NEED_LINEAGE, false },
	{ "lineage: setsid, setuid, threads, exec", nothing_else_changes_it,
	  NEED_LINEAGE, false },
	{ "lineage: SET when on changes nothing", set_twice, NEED_LINEAGE, false },
	{ NULL, NULL, NEED_NOTHING, false },
};
