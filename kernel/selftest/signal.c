// SPDX-License-Identifier: GPL-2.0-only
/* What the adopting process is told, and when it wishes not to be told. */

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child_reaper.h"

static void block_sigchld(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	check_long(sigprocmask(SIG_BLOCK, &set, NULL), 0);
}

static void drop_sigchld(void)
{
	struct timespec none = { 0, 0 };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	while (sigtimedwait(&set, NULL, &none) > 0)
		;
}

static siginfo_t next_sigchld(void)
{
	siginfo_t info;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	while (sigwaitinfo(&set, &info) < 0)
		check_long(errno, EINTR);
	return info;
}

static void body_wait_then_exit(void *go)
{
	_exit(channel_receive(go));
}

static void siginfo_of_exit(const struct pair *pair)
{
	struct channel go;
	siginfo_t info;
	pid_t child;

	reaper_on(pair);
	block_sigchld();
	channel_open(&go);
	child = make_family(FATHER_EXITS, body_wait_then_exit, &go).child;
	drop_sigchld();
	channel_send(&go, 42);
	info = next_sigchld();
	check_long(info.si_pid, child);
	check_long(info.si_uid, getuid());
	check_long(info.si_code, CLD_EXITED);
	check_long(info.si_status, 42);
	check_long(reap(child), 42 << 8);
}

static void siginfo_of_kill(const struct pair *pair)
{
	siginfo_t info;
	pid_t child;

	reaper_on(pair);
	block_sigchld();
	child = make_family(FATHER_EXITS, NULL, NULL).child;
	drop_sigchld();
	check_long(kill(child, SIGTERM), 0);
	info = next_sigchld();
	check_long(info.si_pid, child);
	check_long(info.si_uid, getuid());
	check_long(info.si_code, CLD_KILLED);
	check_long(info.si_status, SIGTERM);
	check_long(WTERMSIG(reap(child)), SIGTERM);
}

static void siginfo_by_waitid(const struct pair *pair)
{
	siginfo_t info;
	pid_t child;

	reaper_on(pair);
	child = make_family(FATHER_EXITS, body_exit_7, NULL).child;
	memset(&info, 0, sizeof(info));
	check_long(waitid(P_PID, child, &info, WEXITED), 0);
	check_long(info.si_pid, child);
	check_long(info.si_code, CLD_EXITED);
	check_long(info.si_status, 7);
}

static void nobody_waits(const struct pair *pair, int flags,
			 void (*handler)(int))
{
	struct sigaction action = { .sa_flags = flags };
	struct channel go, said;
	pid_t father, child;

	reaper_on(pair);
	action.sa_handler = handler;
	check_long(sigaction(SIGCHLD, &action, NULL), 0);
	channel_open(&go);
	channel_open(&said);
	father = xfork();
	if (!father) {
		child = xfork();
		if (!child)
			body_wait_then_exit(&go);
		channel_send(&said, child);
		_exit(0);
	}
	child = channel_receive(&said);
	await_gone(father);
	check_long(parent_of(child), getpid());
	channel_send(&go, 0);
	await_gone(child);
	check_long(waitpid(-1, NULL, WNOHANG), -1);
	check_long(errno, ECHILD);
}

static void ignored(const struct pair *pair)
{
	nobody_waits(pair, 0, SIG_IGN);
}

static void no_child_wait(const struct pair *pair)
{
	nobody_waits(pair, SA_NOCLDWAIT, SIG_DFL);
}

/* Returns the father, which holds a zombie, and the zombie. */
static struct family father_of_zombie(void)
{
	struct family family;
	struct channel said;

	channel_open(&said);
	family.father = xfork();
	if (!family.father) {
		pid_t child;

		signal(SIGCHLD, SIG_DFL);
		child = xfork();
		if (!child)
			_exit(9);
		await_zombie(child);
		channel_send(&said, child);
		park();
	}
	family.child = channel_receive(&said);
	return family;
}

static void zombie_adopted(const struct pair *pair)
{
	struct family family;
	siginfo_t info;

	reaper_on(pair);
	block_sigchld();
	family = father_of_zombie();
	kill(family.father, SIGKILL);
	await_zombie(family.father);
	check_long(parent_of(family.child), getpid());
	reap(family.father);
	info = next_sigchld();	/* one signal may stand for both */
	check(info.si_pid == family.child || info.si_pid == family.father);
	check_long(reap(family.child), 9 << 8);
}

static void zombie_adopted_by_ignorer(const struct pair *pair)
{
	struct family family;

	reaper_on(pair);
	check(signal(SIGCHLD, SIG_IGN) != SIG_ERR);
	family = father_of_zombie();
	kill(family.father, SIGKILL);
	await_gone(family.father);
	await_gone(family.child);
}

static void body_parent_death(void *said)
{
	sigset_t set;
	int number;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	check_long(sigprocmask(SIG_BLOCK, &set, NULL), 0);
	check_long(prctl(PR_SET_PDEATHSIG, SIGUSR1), 0);
	channel_send(said, 0);
	for (;;) {
		check_long(sigwait(&set, &number), 0);
		channel_send(said, getppid());
	}
}

/* PDEATHSIG at each change of parent; by then the new one is in place. */
static void parent_death_signal(const struct pair *pair)
{
	struct channel said;
	struct family family;
	pid_t inner;

	reaper_on(pair);
	channel_open(&said);
	inner = xfork();
	if (!inner) {
		reaper_on(pair);
		family = make_family(FATHER_STAYS, body_parent_death, &said);
		check_long(channel_receive(&said), 0);
		reap_any(family.father);
		check_long(channel_receive(&said), getpid());
		_exit(0);
	}
	reap_ok(inner);
	check_long(channel_receive(&said), getpid());
}

const struct test_case signal_cases[] = {
	{ "SIGCHLD of an orphan that exits", siginfo_of_exit, NEED_NOTHING, false },
	{ "SIGCHLD of an orphan that is killed", siginfo_of_kill,
	  NEED_NOTHING, false },
	{ "waitid tells the same", siginfo_by_waitid, NEED_NOTHING, false },
	{ "SIGCHLD ignored: nothing to wait for", ignored, NEED_NOTHING, false },
	{ "SA_NOCLDWAIT: nothing to wait for", no_child_wait, NEED_NOTHING, false },
	{ "zombie at the moment of adoption", zombie_adopted, NEED_NOTHING, false },
	{ "zombie adopted by one that ignores SIGCHLD",
	  zombie_adopted_by_ignorer, NEED_NOTHING, false },
	{ "PDEATHSIG", parent_death_signal, NEED_NOTHING, false },
	{ NULL, NULL, NEED_NOTHING, false },
};
