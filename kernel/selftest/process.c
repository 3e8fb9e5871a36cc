// SPDX-License-Identifier: GPL-2.0-only
/* Processes for the cases: made, watched and waited for. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child_reaper.h"

pid_t xfork(void)
{
	pid_t pid = fork();

	if (pid < 0)
		fail("fork: %s", strerror(errno));
	return pid;
}

pid_t xclone(unsigned long flags)
{
	/* no stack and no pointers: the order of arguments does not matter */
	pid_t pid = syscall(SYS_clone, flags, 0UL, 0UL, 0UL, 0UL);

	if (pid < 0)
		fail("clone %#lx: %s", flags, strerror(errno));
	return pid;
}

void park(void)
{
	/* if all else fails; longer than any case lasts */
	alarm(90);
	for (;;)
		pause();
}

void pause_ms(int ms)
{
	poll(NULL, 0, ms);
}

int reap(pid_t pid)
{
	int status;
	pid_t got;

	do {
		got = waitpid(pid, &status, 0);
	} while (got < 0 && errno == EINTR);
	if (got != pid)
		fail("waitpid(%d): %s", pid, strerror(errno));
	return status;
}

void reap_ok(pid_t pid)
{
	int status = reap(pid);

	if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIPPED)
		_exit(EXIT_SKIPPED);
	if (status)
		fail("child %d ended with wait status %#x", pid, status);
}

void reap_any(pid_t pid)
{
	kill(pid, SIGKILL);
	reap(pid);
}

void await_zombie(pid_t pid)
{
	siginfo_t info;

	if (waitid(P_PID, pid, &info, WEXITED | WNOWAIT))
		fail("waitid(%d): %s", pid, strerror(errno));
}

/* The waiter wakes before the process is released, hence polling; bounded by
 * the alarm of the case.
 */
void await_gone(pid_t pid)
{
	while (!kill(pid, 0))
		pause_ms(1);
	check_long(errno, ESRCH);
}

void channel_open(struct channel *channel)
{
	int fds[2];

	if (pipe(fds))
		fail("pipe: %s", strerror(errno));
	channel->in = fds[0];
	channel->out = fds[1];
}

void channel_send(const struct channel *channel, long value)
{
	check_long(write(channel->out, &value, sizeof(value)), sizeof(value));
}

long channel_receive(const struct channel *channel)
{
	long value;
	ssize_t got;

	do {
		got = read(channel->in, &value, sizeof(value));
	} while (got < 0 && errno == EINTR);
	check_long(got, sizeof(value));
	return value;
}

long status_number(pid_t pid, const char *field)
{
	char path[64], text[4096], key[64];
	ssize_t got;
	char *at;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	got = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (got <= 0)
		return -1;
	text[got] = '\0';
	snprintf(key, sizeof(key), "\n%s:", field);
	at = strstr(text, key);
	return at ? strtol(at + strlen(key), NULL, 10) : -1;
}

pid_t parent_of(pid_t pid)
{
	return status_number(pid, "PPid");
}

static void end_as(enum father_end end)
{
	if (end == FATHER_STAYS)
		park();
	if (end == FATHER_KILLED)
		raise(SIGKILL);
	_exit(0);
}

struct family make_family(enum father_end end, void (*body)(void *),
			  void *argument)
{
	struct family family;
	struct channel said;

	channel_open(&said);
	family.father = xfork();
	if (!family.father) {
		struct channel begun;

		channel_open(&begun);
		family.child = xfork();
		if (!family.child) {
			channel_send(&begun, 1);
			if (body)
				body(argument);
			park();
		}
		channel_receive(&begun);
		channel_send(&said, family.child);
		end_as(end);
	}
	family.child = channel_receive(&said);
	close(said.in);
	close(said.out);
	if (end == FATHER_ZOMBIE)
		await_zombie(family.father);
	else if (end != FATHER_STAYS)
		reap(family.father);
	return family;
}

void body_setsid(void *unused)
{
	(void)unused;
	check(setsid() > 0);
}

void body_exit_7(void *unused)
{
	(void)unused;
	_exit(7);
}

void run_in_thread(void *(*start)(void *), void *argument)
{
	pthread_t thread;

	check_long(pthread_create(&thread, NULL, start, argument), 0);
	check_long(pthread_join(thread, NULL), 0);
}

/*
 * Run @start in a process whose leader thread is gone, and return that
 * process's wait status. @start must end it with _exit().
 */
int leave_leader(void *(*start)(void *), void *argument)
{
	pid_t pid = xfork();

	if (!pid) {
		pthread_t thread;

		check_long(pthread_create(&thread, NULL, start, argument), 0);
		/* not pthread_exit(): only this task is to end, at once */
		syscall(SYS_exit, 0);
	}
	return reap(pid);
}

void exec_helper(const char *what, const char *argument)
{
	execl("/proc/self/exe", "child_reaper", "--helper", what, argument,
	      (char *)NULL);
	fail("exec: %s", strerror(errno));
}

/* "get": exit status is what the option given by its number reads as */
int helper_main(const char *what, const char *argument)
{
	if (!strcmp(what, "get")) {
		int value = -1;

		if (syscall(SYS_prctl, atol(argument), &value, 0UL, 0UL, 0UL))
			return 100;
		return value;
	}
	if (!strcmp(what, "park")) {
		/* a pipe tells that exec() is over */
		long one = 1;

		if (write(atoi(argument), &one, sizeof(one)) < 0)
			return 100;
		park();
	}
	return 101;
}
