// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pid namespaces: an orphan stays in the namespace it was born in. Inside,
 * everything is asked with getppid(), since /proc shows the outside.
 */

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child_reaper.h"

pid_t enter_pidns(unsigned long flags)
{
	pid_t pid;

	flags |= CLONE_NEWPID | SIGCHLD;
	if (geteuid())
		flags |= CLONE_NEWUSER;
	pid = syscall(SYS_clone, flags, 0UL, 0UL, 0UL, 0UL);
	if (pid < 0)
		skip("no pid namespace: %s", strerror(errno));
	return pid;
}

static void body_report_parent(void *channels)
{
	struct channel *ask = channels, *said = ask + 1;

	for (;;) {
		channel_receive(ask);
		channel_send(said, getppid());
	}
}

/* The parent of an orphan of the calling process, as the orphan sees it. */
static long orphans_parent(void)
{
	struct channel channels[2];
	pid_t father;
	long answer;

	channel_open(&channels[0]);
	channel_open(&channels[1]);
	father = xfork();
	if (!father) {
		if (!xfork())
			body_report_parent(channels);
		_exit(0);
	}
	reap_ok(father);
	channel_send(&channels[0], 1);
	answer = channel_receive(&channels[1]);
	return answer;
}

static void reaper_outside(const struct pair *pair)
{
	pid_t init;

	reaper_on(pair);
	init = enter_pidns(0);
	if (!init) {
		pid_t pid = xfork();

		if (!pid) {
			check_long(orphans_parent(), 1);
			_exit(0);
		}
		reap_ok(pid);
		_exit(0);
	}
	reap_ok(init);
}

static void reaper_inside(const struct pair *pair)
{
	pid_t init = enter_pidns(0);

	if (!init) {
		pid_t pid = xfork();

		if (!pid) {
			reaper_on(pair);
			check_long(orphans_parent(), getpid());
			_exit(0);
		}
		reap_ok(pid);
		_exit(0);
	}
	reap_ok(init);
}

static void reaper_is_init(const struct pair *pair)
{
	pid_t init = enter_pidns(0);

	if (!init) {
		pid_t pid;

		reaper_on(pair);
		pid = xfork();
		if (!pid) {
			check_long(orphans_parent(), 1);
			_exit(0);
		}
		reap_ok(pid);
		_exit(0);	/* with an orphan alive */
	}
	reap_ok(init);
}

struct injection {
	struct channel said;
	int user;
	int pid;
};

/* Its parent is outside (0); its child tells who became the father. */
static void injected(struct injection *injection)
{
	struct channel begun;
	pid_t before;

	check_long(getppid(), 0);
	channel_open(&begun);
	if (xfork()) {
		channel_receive(&begun);
		_exit(0);
	}
	before = getppid();
	channel_send(&begun, 1);
	while (getppid() == before)
		pause_ms(1);
	channel_send(&injection->said, getppid());
	park();
}

/*
 * A process put into a namespace with setns() + fork() has its parent outside.
 * Its orphans must not follow that parent out, even though an ancestor there
 * adopts.
 */
static void through_setns(const struct pair *pair)
{
	struct injection injection;
	pid_t init, helper;
	char path[64];

	reaper_on(pair);
	init = enter_pidns(0);
	if (!init)
		park();
	snprintf(path, sizeof(path), "/proc/%d/ns/user", init);
	injection.user = open(path, O_RDONLY);
	snprintf(path, sizeof(path), "/proc/%d/ns/pid", init);
	injection.pid = open(path, O_RDONLY);
	check(injection.user >= 0 && injection.pid >= 0);
	channel_open(&injection.said);
	helper = xfork();
	if (!helper) {
		pid_t pid;

		if (geteuid() && setns(injection.user, 0))
			skip("setns(user): %s", strerror(errno));
		if (setns(injection.pid, 0))
			skip("setns(pid): %s", strerror(errno));
		pid = xfork();
		if (!pid)
			injected(&injection);
		reap_ok(pid);
		_exit(0);
	}
	reap_ok(helper);
	check_long(channel_receive(&injection.said), 1);
	reap_any(init);
}

const struct test_case pidns_cases[] = {
	{ "pid namespace, reaper outside", reaper_outside, NEED_NOTHING, false },
	{ "pid namespace, reaper inside", reaper_inside, NEED_NOTHING, false },
	{ "pid namespace, reaper is init", reaper_is_init, NEED_NOTHING, false },
	{ "pid namespace entered with setns()", through_setns, NEED_NOTHING, false },
	{ NULL, NULL, NEED_NOTHING, false },
};
