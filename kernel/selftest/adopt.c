// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who adopts. Reparenting is over before the dying father can be waited for,
 * so the new parent is read at once: polling would hide a defect.
 */

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "child_reaper.h"

static void check_ours(pid_t child)
{
	check_long(parent_of(child), getpid());
	reap_any(child);
}

static void check_monitors(pid_t child)
{
	check_long(parent_of(child), getppid());
}

static void double_fork(const struct pair *pair)
{
	reaper_on(pair);
	check_ours(make_family(FATHER_EXITS, NULL, NULL).child);
}

static void double_fork_setsid(const struct pair *pair)
{
	reaper_on(pair);
	check_ours(make_family(FATHER_EXITS, body_setsid, NULL).child);
}

static void never_set(const struct pair *pair)
{
	check_long(reaper_get(pair), 0);
	check_monitors(make_family(FATHER_EXITS, NULL, NULL).child);
}

static void set_then_cleared(const struct pair *pair)
{
	struct family family;

	reaper_on(pair);
	family = make_family(FATHER_STAYS, NULL, NULL);
	reaper_off(pair);
	reap_any(family.father);
	check_monitors(family.child);
	reaper_on(pair);
	check_ours(make_family(FATHER_EXITS, NULL, NULL).child);
}

static void cleared_after_adoption(const struct pair *pair)
{
	struct family family;

	reaper_on(pair);
	family = make_family(FATHER_EXITS, NULL, NULL);
	reaper_off(pair);
	check_ours(family.child);
}

static void set_late(const struct pair *pair)
{
	struct family family = make_family(FATHER_STAYS, NULL, NULL);

	reaper_on(pair);
	reap_any(family.father);
	check_ours(family.child);
}

/* five generations, ended from the top down after a late SET */
static void set_late_deep(const struct pair *pair)
{
	struct channel said;
	pid_t line[5];
	int i;

	channel_open(&said);
	line[0] = xfork();
	if (!line[0]) {
		for (i = 0; i < 5; i++) {
			channel_send(&said, getpid());
			if (i == 4 || xfork())
				park();
		}
	}
	for (i = 0; i < 5; i++)
		line[i] = channel_receive(&said);
	reaper_on(pair);
	for (i = 0; i < 4; i++) {
		reap_any(line[i]);
		check_long(parent_of(line[i + 1]), getpid());
	}
	reap_any(line[4]);
}

static void nested_nearest(const struct pair *pair)
{
	pid_t pid;

	reaper_on(pair);
	pid = xfork();
	if (!pid) {
		reaper_on(pair);
		check_ours(make_family(FATHER_EXITS, NULL, NULL).child);
		_exit(0);
	}
	reap_ok(pid);
}

/* Returns the orphan that the inner reaper has adopted before it ended. */
static pid_t inner_dies_with_orphan(const struct pair *pair)
{
	struct channel said;
	pid_t pid, child;

	channel_open(&said);
	pid = xfork();
	if (!pid) {
		reaper_on(pair);
		child = make_family(FATHER_EXITS, NULL, NULL).child;
		check_long(parent_of(child), getpid());
		channel_send(&said, child);
		_exit(0);
	}
	child = channel_receive(&said);
	reap_ok(pid);
	return child;
}

static void inner_dies(const struct pair *pair)
{
	reaper_on(pair);
	check_ours(inner_dies_with_orphan(pair));
}

static void dies_without_outer(const struct pair *pair)
{
	check_monitors(inner_dies_with_orphan(pair));
}

static void father_killed(const struct pair *pair)
{
	reaper_on(pair);
	check_ours(make_family(FATHER_KILLED, NULL, NULL).child);
}

static void father_is_zombie(const struct pair *pair)
{
	struct family family;

	reaper_on(pair);
	family = make_family(FATHER_ZOMBIE, NULL, NULL);
	check_ours(family.child);
	reap(family.father);
}

static void every_status(const struct pair *pair)
{
	enum { FATHERS = 40, EACH = 5, ALL = FATHERS * EACH };
	int seen[ALL] = { 0 }, fathers = 0, i, j, status;

	reaper_on(pair);
	for (i = 0; i < FATHERS; i++) {
		if (xfork())
			continue;
		for (j = 0; j < EACH; j++) {
			if (!xfork()) {
				if (j & 1)
					sched_yield();
				_exit(1 + i * EACH + j);
			}
		}
		_exit(0);
	}
	for (i = 0; i < FATHERS + ALL; i++) {
		check(wait(&status) > 0);
		check(WIFEXITED(status));
		if (WEXITSTATUS(status))
			seen[WEXITSTATUS(status) - 1]++;
		else
			fathers++;
	}
	check_long(fathers, FATHERS);
	for (i = 0; i < ALL; i++)
		check_long(seen[i], 1);
	check_long(wait(&status), -1);
	check_long(errno, ECHILD);
}

static void *fork_from_thread(void *child)
{
	pid_t pid = xfork();

	if (!pid)
		park();
	*(pid_t *)child = pid;
	return NULL;
}

/* A thread of the father ends: that orphans nobody. */
static void father_thread_exits(const struct pair *pair)
{
	pid_t father;

	reaper_on(pair);
	father = xfork();
	if (!father) {
		pid_t child;

		run_in_thread(fork_from_thread, &child);
		check_long(parent_of(child), getpid());
		reap_any(child);
		_exit(0);
	}
	reap_ok(father);
}

/* A sibling made by a child is ours from the start, and adopted as any other */
static void clone_parent(const struct pair *pair)
{
	struct channel said;
	pid_t father, child;

	reaper_on(pair);
	channel_open(&said);
	father = xfork();
	if (!father) {
		pid_t middle = xfork();

		if (!middle) {
			child = xclone(CLONE_PARENT | SIGCHLD);
			if (!child)
				park();
			channel_send(&said, child);
			_exit(0);
		}
		reap(middle);
		park();
	}
	child = channel_receive(&said);
	check_long(parent_of(child), father);
	reap_any(father);
	check_ours(child);
}

/* A child that would have died silently reports to whoever adopts it. */
static void exit_signal_zero(const struct pair *pair)
{
	struct channel said;
	pid_t father, child;

	reaper_on(pair);
	channel_open(&said);
	father = xfork();
	if (!father) {
		child = xclone(0);
		if (!child)
			park();
		channel_send(&said, child);
		_exit(0);
	}
	child = channel_receive(&said);
	reap_ok(father);
	check_ours(child);	/* would need __WCLONE otherwise */
}

static void stop_and_continue(const struct pair *pair)
{
	pid_t child;
	int status;

	reaper_on(pair);
	child = make_family(FATHER_EXITS, NULL, NULL).child;
	check_long(kill(child, SIGSTOP), 0);
	check_long(waitpid(child, &status, WUNTRACED), child);
	check(WIFSTOPPED(status));
	check_long(kill(child, SIGCONT), 0);
	check_long(waitpid(child, &status, WCONTINUED), child);
	check(WIFCONTINUED(status));
	check_ours(child);
}

static void body_own_group(void *said)
{
	check_long(setpgid(0, 0), 0);
	channel_send(said, 1);
}

static void wait_by_group(const struct pair *pair)
{
	struct channel said;
	pid_t child, other;
	int status;

	reaper_on(pair);
	channel_open(&said);
	child = make_family(FATHER_EXITS, body_own_group, &said).child;
	channel_receive(&said);
	other = make_family(FATHER_EXITS, body_exit_7, NULL).child;
	await_zombie(other);
	check_long(kill(-child, SIGKILL), 0);
	check_long(waitpid(-child, &status, 0), child);
	check_long(reap(other), 7 << 8);
}

static void body_burn(void *unused)
{
	struct timespec now;

	(void)unused;
	do {
		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	} while (now.tv_nsec < 30 * 1000000 && !now.tv_sec);
	_exit(0);
}

static long used_us(const struct rusage *usage)
{
	return (usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) * 1000000 +
		usage->ru_utime.tv_usec + usage->ru_stime.tv_usec;
}

static void resource_usage(const struct pair *pair)
{
	struct rusage own, all;
	pid_t child;
	int status;

	reaper_on(pair);
	child = make_family(FATHER_EXITS, body_burn, NULL).child;
	check_long(wait4(child, &status, 0, &own), child);
	check(used_us(&own) >= 20 * 1000);
	check_long(getrusage(RUSAGE_CHILDREN, &all), 0);
	check(used_us(&all) >= used_us(&own));
}

const struct test_case adopt_cases[] = {
	{ "double fork", double_fork, NEED_NOTHING, false },
	{ "double fork, nothing above", double_fork, NEED_NOTHING, true },
	{ "double fork with setsid", double_fork_setsid, NEED_NOTHING, false },
	{ "never set", never_set, NEED_NOTHING, false },
	{ "set, then cleared", set_then_cleared, NEED_NOTHING, false },
	{ "cleared after adoption", cleared_after_adoption, NEED_NOTHING, false },
	{ "set late", set_late, NEED_NOTHING, false },
	{ "set late over five generations", set_late_deep, NEED_NOTHING, false },
	{ "set late, nothing above", set_late, NEED_NOTHING, true },
	{ "set late over five generations, nothing above", set_late_deep,
	  NEED_NOTHING, true },
	{ "nested: nearest wins", nested_nearest, NEED_NOTHING, false },
	{ "inner reaper dies holding an orphan", inner_dies, NEED_NOTHING, false },
	{ "reaper dies without an outer", dies_without_outer, NEED_NOTHING, false },
	{ "father killed", father_killed, NEED_NOTHING, false },
	{ "father still a zombie", father_is_zombie, NEED_NOTHING, false },
	{ "every status of many arrives once", every_status, NEED_NOTHING, false },
	{ "a thread of the father ends", father_thread_exits, NEED_NOTHING, false },
	{ "CLONE_PARENT", clone_parent, NEED_NOTHING, false },
	{ "exit signal 0", exit_signal_zero, NEED_NOTHING, false },
	{ "stop and continue", stop_and_continue, NEED_NOTHING, false },
	{ "waitpid by group", wait_by_group, NEED_NOTHING, false },
	{ "resource usage", resource_usage, NEED_NOTHING, false },
	{ NULL, NULL, NEED_NOTHING, false },
};
