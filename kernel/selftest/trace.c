// SPDX-License-Identifier: GPL-2.0-only
/* Tracers are parents of a kind, but not of the kind that adopts; pidfds. */

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child_reaper.h"

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434	/* the same everywhere but on alpha */
#endif
#ifndef P_PIDFD
#define P_PIDFD 3
#endif

/* Yama would forbid a tracer that is no ancestor. */
static void allow_tracers(void)
{
	prctl(PR_SET_PTRACER, (unsigned long)PR_SET_PTRACER_ANY, 0, 0, 0);
}

struct traced {
	struct channel father_said;
	struct channel tracer_said;
	struct channel go;
	pid_t father;
	pid_t tracer;
	pid_t other_reaper;
};

static void traced_father(struct traced *traced)
{
	pid_t child;

	allow_tracers();
	channel_send(&traced->father_said, getpid());
	channel_receive(&traced->go);
	child = xfork();
	if (!child)
		park();
	channel_send(&traced->father_said, child);
	channel_receive(&traced->go);
	_exit(0);
}

static void tracer(struct traced *traced)
{
	int status;

	if (ptrace(PTRACE_SEIZE, traced->father, 0L, 0L)) {
		channel_send(&traced->tracer_said, -errno);
		park();
	}
	channel_send(&traced->tracer_said, getpid());
	/* the tracer has to take note first, then the parent can wait */
	while (waitpid(traced->father, &status, __WALL) == traced->father) {
		if (WIFEXITED(status) || WIFSIGNALED(status))
			break;
		ptrace(PTRACE_CONT, traced->father, 0L, 0L);
	}
	park();
}

/*
 *   us, reaper -- father -- child          after father's end: ours
 *         `------ other reaper -- tracer   never theirs, though ->parent of
 *                                          father is the tracer
 */
static void under_other_reaper(const struct pair *pair)
{
	struct traced traced;
	long answer;
	pid_t child;

	reaper_on(pair);
	channel_open(&traced.father_said);
	channel_open(&traced.tracer_said);
	channel_open(&traced.go);
	if (!xfork())
		traced_father(&traced);
	traced.father = channel_receive(&traced.father_said);
	traced.other_reaper = xfork();
	if (!traced.other_reaper) {
		reaper_on(pair);
		if (!xfork())
			tracer(&traced);
		park();
	}
	answer = channel_receive(&traced.tracer_said);
	if (answer < 0)
		skip("PTRACE_SEIZE: %s", strerror(-answer));
	channel_send(&traced.go, 1);
	child = channel_receive(&traced.father_said);
	channel_send(&traced.go, 1);
	reap_ok(traced.father);
	check_long(parent_of(child), getpid());
	reap_any(child);
	reap_any(traced.other_reaper);
	reap_any(answer);
}

static int pidfd_or_skip(pid_t pid)
{
	int fd = syscall(SYS_pidfd_open, pid, 0);

	if (fd < 0)
		skip("pidfd_open: %s", strerror(errno));
	return fd;
}

static void readable(int fd, int expected)
{
	struct pollfd wanted = { .fd = fd, .events = POLLIN };

	check_long(poll(&wanted, 1, expected ? -1 : 0), expected);
}

static void pidfd_case(const struct pair *pair, bool before)
{
	struct family family;
	siginfo_t info;
	int fd = -1;

	reaper_on(pair);
	family = make_family(FATHER_STAYS, NULL, NULL);
	if (before)
		fd = pidfd_or_skip(family.child);
	reap_any(family.father);
	if (!before)
		fd = pidfd_or_skip(family.child);
	readable(fd, 0);
	check_long(parent_of(family.child), getpid());
	kill(family.child, SIGTERM);
	readable(fd, 1);
	memset(&info, 0, sizeof(info));
	if (waitid(P_PIDFD, fd, &info, WEXITED)) {
		check_long(errno, EINVAL);	/* Linux before 5.4 */
		check_long(WTERMSIG(reap(family.child)), SIGTERM);
		return;
	}
	check_long(info.si_pid, family.child);
	check_long(info.si_status, SIGTERM);
}

static void pidfd_from_before(const struct pair *pair)
{
	pidfd_case(pair, true);
}

static void pidfd_from_after(const struct pair *pair)
{
	pidfd_case(pair, false);
}

const struct test_case trace_cases[] = {
	{ "father traced from below another reaper", under_other_reaper,
	  NEED_NOTHING, false },
	{ "pidfd from before the adoption", pidfd_from_before, NEED_NOTHING, false },
	{ "pidfd from after the adoption", pidfd_from_after, NEED_NOTHING, false },
	{ NULL, NULL, NEED_NOTHING, false },
};
