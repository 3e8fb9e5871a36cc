// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the series costs, in instructions of user and kernel together. Meant
 * for a guest of one CPU under qemu -icount shift=0: there the time stamp
 * counter advances by one with each instruction. Prints "name<TAB>count".
 * With the argument "stock" SUBREAPER stands in for the new pair.
 */

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <x86intrin.h>

enum { ROUNDS = 2000, DESCENDANTS = 256 };

static long set_option = 0x53435250;

static void set(unsigned long value)
{
	if (syscall(SYS_prctl, set_option, value, 0UL, 0UL, 0UL)) {
		perror("prctl");
		exit(1);
	}
}

static pid_t must_fork(void)
{
	pid_t pid = fork();

	if (pid < 0) {
		perror("fork");
		exit(1);
	}
	return pid;
}

/* The mean: ticks and deferred work belong to the price. */
static void report(const char *name, void (*round)(void))
{
	uint64_t begin;
	int i;

	for (i = 0; i < 100; i++)
		round();
	begin = __rdtsc();
	for (i = 0; i < ROUNDS; i++)
		round();
	printf("%s\t%llu\n", name,
	       (unsigned long long)(__rdtsc() - begin) / ROUNDS);
	fflush(stdout);
}

static void fork_and_exit(void)
{
	pid_t pid = must_fork();

	if (!pid)
		_exit(0);
	waitpid(pid, NULL, 0);
}

static void orphan_cycle(void)
{
	pid_t pid = must_fork();

	if (!pid) {
		if (!must_fork())
			_exit(0);
		_exit(0);
	}
	while (wait(NULL) > 0)
		;
}

/* In a process of its own: has_child_subreaper never goes away again. */
static void in_child(void (*body)(void))
{
	pid_t pid = must_fork();
	int status;

	if (!pid) {
		body();
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || status)
		exit(1);
}

static void outside(void)
{
	report("fork + exit, no reaper above", fork_and_exit);
}

static void member(void)
{
	report("fork + exit below a reaper", fork_and_exit);
}

static void inside(void)
{
	set(1);
	in_child(member);
	report("fork + exit by the reaper", fork_and_exit);
	report("orphan cycle (two forks, adoption)", orphan_cycle);
}

static uint64_t cost_of_set(unsigned long value)
{
	uint64_t begin = __rdtsc();

	set(value);
	return __rdtsc() - begin;
}

static void descendants(void)
{
	uint64_t none[2], many[2];
	pid_t pids[DESCENDANTS];
	int i;

	cost_of_set(1);		/* warm */
	cost_of_set(0);
	none[0] = cost_of_set(1);
	none[1] = cost_of_set(0);
	for (i = 0; i < DESCENDANTS; i++) {
		pids[i] = must_fork();
		if (!pids[i]) {
			for (;;)
				pause();
		}
	}
	many[0] = cost_of_set(1);
	many[1] = cost_of_set(0);
	printf("SET per descendant\t%llu\n",
	       (unsigned long long)(many[0] - none[0]) / DESCENDANTS);
	printf("CLEAR per descendant\t%llu\n",
	       (unsigned long long)(many[1] - none[1]) / DESCENDANTS);
	fflush(stdout);
	for (i = 0; i < DESCENDANTS; i++)
		kill(pids[i], SIGKILL);
	while (wait(NULL) > 0)
		;
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "stock"))
		set_option = 36;
	in_child(outside);
	in_child(inside);
	in_child(descendants);
	return 0;
}
