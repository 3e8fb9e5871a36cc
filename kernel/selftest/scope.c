// SPDX-License-Identifier: GPL-2.0-only
/* Whose attribute it is: the process's, whatever its threads do. */

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child_reaper.h"

static void fork_clears(const struct pair *pair)
{
	pid_t pid;

	reaper_on(pair);
	pid = xfork();
	if (!pid) {
		check_long(reaper_get(pair), 0);
		_exit(0);
	}
	reap_ok(pid);
	check_long(reaper_get(pair), 1);
}

static void *exec_get(void *pair)
{
	char number[16];

	snprintf(number, sizeof(number), "%d", ((const struct pair *)pair)->get);
	exec_helper("get", number);
}

static void exec_keeps(const struct pair *pair)
{
	pid_t pid = xfork();

	if (!pid) {
		reaper_on(pair);
		exec_get((void *)pair);
	}
	check_long(reap(pid), 1 << 8);
}

static void thread_exec_keeps(const struct pair *pair)
{
	pid_t pid = xfork();

	if (!pid) {
		reaper_on(pair);
		run_in_thread(exec_get, (void *)pair);
		_exit(101);
	}
	check_long(reap(pid), 1 << 8);
}

/* ... even if the thread that execs is the one that had switched it on */
static void *set_and_exec(void *pair)
{
	reaper_on(pair);
	return exec_get(pair);
}

static void setting_thread_execs(const struct pair *pair)
{
	pid_t pid = xfork();

	if (!pid) {
		run_in_thread(set_and_exec, (void *)pair);
		_exit(101);
	}
	check_long(reap(pid), 1 << 8);
}

static void *just_set(void *pair)
{
	reaper_on(pair);
	return NULL;
}

static void *just_clear(void *pair)
{
	reaper_off(pair);
	return NULL;
}

static void *adopts(void *unused)
{
	(void)unused;
	check_long(parent_of(make_family(FATHER_EXITS, NULL, NULL).child),
		   getpid());
	return NULL;
}

/* The thread that set it has ended when the others are asked. */
static void one_for_all_threads(const struct pair *pair)
{
	run_in_thread(just_set, (void *)pair);
	check_long(reaper_get(pair), 1);
	adopts(NULL);
	run_in_thread(adopts, NULL);
	run_in_thread(just_clear, (void *)pair);
	check_long(reaper_get(pair), 0);
	check_long(parent_of(make_family(FATHER_EXITS, NULL, NULL).child),
		   getppid());
}

struct two_threads {
	const struct pair *pair;
	struct channel begun;
	struct channel leave;
};

static void *set_and_stay(void *argument)
{
	struct two_threads *two = argument;

	reaper_on(two->pair);
	channel_send(&two->begun, 1);
	channel_receive(&two->leave);
	return NULL;
}

static void seen_by_other_thread(const struct pair *pair)
{
	struct two_threads two = { .pair = pair };
	pthread_t thread;

	channel_open(&two.begun);
	channel_open(&two.leave);
	check_long(pthread_create(&thread, NULL, set_and_stay, &two), 0);
	channel_receive(&two.begun);
	check_long(reaper_get(pair), 1);
	adopts(NULL);
	channel_send(&two.leave, 1);
	pthread_join(thread, NULL);
	check_long(reaper_get(pair), 1);
}

/* Only the calling thread can adopt from here on. */
static void await_dead_leader(void)
{
	char path[64], text[512];
	size_t got;
	FILE *stat;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", getpid());
	do {
		stat = fopen(path, "r");
		check(stat);
		got = fread(text, 1, sizeof(text) - 1, stat);
		fclose(stat);
		text[got] = '\0';
	} while (!strstr(text, ") Z "));
}

static void *adopt_without_leader(void *pair)
{
	await_dead_leader();
	check_long(reaper_get(pair), 0);
	reaper_on(pair);
	adopts(NULL);
	_exit(0);
}

static void leader_gone_then_set(const struct pair *pair)
{
	check_long(leave_leader(adopt_without_leader, (void *)pair), 0);
}

static void *nested_without_leader(void *pair)
{
	pid_t pid;

	await_dead_leader();
	reaper_on(pair);
	pid = xfork();
	if (!pid) {
		struct family family = make_family(FATHER_STAYS, NULL, NULL);

		reap_any(family.father);
		check_long(parent_of(family.child), getppid());
		_exit(0);
	}
	reap_ok(pid);
	_exit(0);
}

static void leader_gone_grandchildren(const struct pair *pair)
{
	check_long(leave_leader(nested_without_leader, (void *)pair), 0);
}

const struct test_case scope_cases[] = {
	{ "cleared on fork", fork_clears, NEED_NOTHING, false },
	{ "kept over exec", exec_keeps, NEED_NOTHING, false },
	{ "kept over exec of a thread", thread_exec_keeps, NEED_NOTHING, false },
	{ "kept when the setting thread execs", setting_thread_execs,
	  NEED_NOTHING, false },
	{ "one attribute for all threads, the setting one ended",
	  one_for_all_threads, NEED_NOTHING, false },
	{ "set in one thread, seen in another", seen_by_other_thread,
	  NEED_NOTHING, false },
	{ "set and adopting after the leader has ended", leader_gone_then_set,
	  NEED_NOTHING, false },
	{ "adopting grandchildren without a leader",
	  leader_gone_grandchildren, NEED_NOTHING, false },
	{ NULL, NULL, NEED_NOTHING, false },
};
