// SPDX-License-Identifier: GPL-2.0-only
/* Lineage under fire. These cases need two CPUs to mean much. */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "child_reaper.h"
#include "lineage.h"

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

/*
 * Move to the @index'th of the CPUs we may use, if there are so many: two busy
 * processes may stay on one of them for long, and then nothing races.
 */
static void use_cpu(int index)
{
	cpu_set_t allowed, one;
	int cpu;

	check_long(sched_getaffinity(0, sizeof(allowed), &allowed), 0);
	for (cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &allowed) || index--)
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		check_long(sched_setaffinity(0, sizeof(one), &one), 0);
	}
}

enum { CHANGES = 2000 };

/* Many looks at the pair of @pid, until it was seen to change often enough. */
static void watch_pair(pid_t pid, const struct lineage *off,
		       const struct lineage *on)
{
	double end = now() + 20;
	struct lineage is;
	long last = -1;
	char path[64];
	int fd, changes;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	check(fd >= 0);
	for (changes = 0; changes < CHANGES && now() < end;) {
		check(lineage_read_at(fd, &is));
		if (!(is.reaper == off->reaper && is.lineage == off->lineage) &&
		    !(is.reaper == on->reaper && is.lineage == on->lineage))
			fail("mixed: Reaper %ld Lineage %ld", is.reaper,
			     is.lineage);
		changes += is.reaper != last;
		last = is.reaper;
	}
	check(changes > 2);
}

/*
 * A reader on one CPU while the reaper toggles on another: it may see the pair
 * of before or of after, but no mixture. It goes by what the reader has seen
 * and not by time: on a busy machine the two run at once but rarely.
 */
static void both_or_neither(const struct pair *pair)
{
	struct family family = make_family(FATHER_STAYS, NULL, NULL);
	struct lineage off = own_lineage();
	struct lineage on = { .reaper = getpid(), .lineage = family.father };
	pid_t reader = xfork();
	int status = -1;

	use_cpu(!reader);
	if (!reader) {
		watch_pair(family.child, &off, &on);
		_exit(0);
	}
	while (!waitpid(reader, &status, WNOHANG)) {
		check_long(reaper_set(pair, 1), 0);
		check_long(reaper_set(pair, 0), 0);
	}
	check_long(status, 0);
}

/*
 * Children born while the reaper above their father toggles: once it is off,
 * none may have slipped through with the old label.
 */
static void fork_against_clear(const struct pair *pair)
{
	struct lineage own = own_lineage();
	double end = now() + 1;

	while (now() < end) {
		struct channel said;
		pid_t forker, child;
		int i;

		channel_open(&said);
		forker = xfork();
		if (!forker) {
			for (i = 0; i < 8; i++) {
				child = xfork();
				if (!child)
					park();
				channel_send(&said, child);
			}
			park();
		}
		for (i = 0; i < 20; i++)
			check_long(reaper_set(pair, i & 1), 0);
		reaper_off(pair);
		for (i = 0; i < 8; i++) {
			child = channel_receive(&said);
			check_lineage(child, own.reaper, own.lineage);
			kill(child, SIGKILL);
		}
		reap_any(forker);
		close(said.in);
		close(said.out);
	}
}

struct fork_thread {
	bool stop;
	int count;
	pid_t pids[64];
};

static void *fork_until_stopped(void *argument)
{
	struct fork_thread *thread = argument;
	pid_t pid;

	while (!__atomic_load_n(&thread->stop, __ATOMIC_SEQ_CST) &&
	       thread->count < (int)ARRAY_SIZE(thread->pids)) {
		pid = xfork();
		if (!pid)
			park();
		thread->pids[thread->count++] = pid;
	}
	return NULL;
}

/*
 * The reaper's own children, born in another thread while it is switched on
 * and off: after that all are labelled as if they had been there before.
 */
static void thread_forks(const struct pair *pair)
{
	struct lineage own = own_lineage();
	double end = now() + 2;
	int round, i;

	for (round = 0; now() < end; round++) {
		struct fork_thread forks = { 0 };
		bool on = round & 1;
		pthread_t thread;

		check_long(pthread_create(&thread, NULL, fork_until_stopped,
					  &forks), 0);
		for (i = 0; i < 20; i++)
			check_long(reaper_set(pair, i & 1), 0);
		check_long(reaper_set(pair, on), 0);
		__atomic_store_n(&forks.stop, true, __ATOMIC_SEQ_CST);
		check_long(pthread_join(thread, NULL), 0);
		for (i = 0; i < forks.count; i++) {
			check_lineage(forks.pids[i], on ? getpid() : own.reaper,
				      on ? forks.pids[i] : own.lineage);
			reap_any(forks.pids[i]);
		}
		reaper_off(pair);
	}
}

static void *fork_and_park(void *count)
{
	if (!xfork())
		park();
	__atomic_add_fetch((int *)count, 1, __ATOMIC_SEQ_CST);
	park();
}

enum { THREADS = 6 };

static void threaded_reaper(const struct pair *pair)
{
	pthread_t thread;
	int count = 0, i;

	reaper_on(pair);
	for (i = 0; i < THREADS; i++)
		check_long(pthread_create(&thread, NULL, fork_and_park,
					  &count), 0);
	while (__atomic_load_n(&count, __ATOMIC_SEQ_CST) < THREADS)
		sched_yield();
	_exit(0);
}

/*
 * A reaper with children of several threads dies; its threads pass through
 * exit on all CPUs and the first that finds the others exiting gives away its
 * children. From the moment they are ours they must carry our pair. Each is
 * a zombie or alive, with a line PPid from the same read as the other two.
 */
static void threaded_reaper_dies(const struct pair *pair)
{
	double end = now() + 2;
	int orphans = 0;

	reaper_on(pair);
	/* a slow kernel is to have had its races too; the alarm bounds it */
	while (now() < end || orphans <= THREADS) {
		pid_t inner = xfork(), pid;

		if (!inner)
			threaded_reaper(pair);
		for (;;) {
			struct lineage is;

			for (pid = inner + 1; pid <= inner + 2 * THREADS + 2;
			     pid++) {
				/* /proc has threads of inner, too */
				if (!lineage_read("/proc", pid, &is) ||
				    is.parent != getpid() ||
				    status_number(pid, "Tgid") != pid)
					continue;
				if (is.reaper != getpid() ||
				    is.lineage != inner)
					fail("adopted with Reaper %ld Lineage %ld, inner is %d",
					     is.reaper, is.lineage, inner);
				kill(pid, SIGKILL);
				reap(pid);
				orphans++;
			}
			if (orphans && waitpid(inner, NULL, WNOHANG) == inner)
				break;
		}
		while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
			;
	}
}

/* --- the storm --- */

struct storm {
	const struct pair *pair;
	double end;
	unsigned int seed;
};

static unsigned int dice(struct storm *storm, unsigned int sides)
{
	return rand_r(&storm->seed) % sides;
}

static void *storm_thread(void *storm)
{
	struct storm own = *(struct storm *)storm;
	pid_t pid;

	own.seed ^= 0x9e3779b9;
	if (dice(&own, 2)) {
		pid = fork();
		if (!pid)
			_exit(0);
	}
	if (!dice(&own, 3))
		reaper_set(own.pair, dice(&own, 2));
	if (!dice(&own, 8))
		_exit(0);
	return NULL;
}

static void storm_exec(void)
{
	execl("/proc/self/exe", "child_reaper", "--helper", "get", "37",
	      (char *)NULL);
}

static void *storm_exec_thread(void *unused)
{
	storm_exec();
	return unused;
}

static void storm_step(struct storm *storm, int depth);

static void storm_process(struct storm storm, int depth)
{
	int steps = 1 + dice(&storm, 12);

	storm.seed ^= getpid() * 2654435761u;
	while (steps-- && now() < storm.end)
		storm_step(&storm, depth);
	_exit(0);
}

static void storm_step(struct storm *storm, int depth)
{
	struct lineage is;
	pthread_t thread;
	pid_t pid;

	switch (dice(storm, 12)) {
	case 0 ... 3:
		if (depth > 5)
			break;
		pid = fork();
		if (!pid)
			storm_process(*storm, depth + 1);
		break;
	case 4:
		pid = depth > 5 ? -1 : (pid_t)fork();
		if (!pid) {
			if (xclone(CLONE_PARENT | SIGCHLD) == 0)
				_exit(0);
			_exit(0);
		}
		break;
	case 5 ... 6:
		reaper_set(storm->pair, dice(storm, 2));
		break;
	case 7:
		lineage_read("/proc", getppid(), &is);
		break;
	case 8:
		if (!pthread_create(&thread, NULL, storm_thread, storm) &&
		    dice(storm, 2))
			pthread_join(thread, NULL);
		break;
	case 9:
		waitpid(-1, NULL, WNOHANG);
		break;
	case 10:
		if (depth && !dice(storm, 6)) {
			if (!pthread_create(&thread, NULL, storm_exec_thread,
					    NULL))
				park();
		}
		break;
	case 11:
		if (depth && !dice(storm, 4))
			raise(SIGKILL);
		break;
	}
}

/* Returns how many processes came back. */
static long run_storm(const struct pair *pair, double seconds)
{
	enum { WORKERS = 4 };
	struct storm storm = { .pair = pair, .end = now() + seconds };
	long forked = 0;
	int round, i;

	reaper_on(pair);
	for (round = 0; now() < storm.end; round++) {
		for (i = 0; i < WORKERS; i++) {
			storm.seed = round * WORKERS + i + 1;
			if (!xfork())
				storm_process(storm, 0);
		}
		while (waitpid(-1, NULL, __WALL) > 0)
			forked++;
	}
	check_long(errno, ECHILD);
	check(forked > WORKERS);
	/* all came back to us, and nobody is left on our list of members */
	reaper_off(pair);
	return forked;
}

static void short_storm(const struct pair *pair)
{
	run_storm(pair, 3);
}

int storm(int seconds)
{
	static const struct pair pair = { "reaper", OPT_SET_REAPER,
					  OPT_GET_REAPER };

	if (seconds <= 0) {
		fprintf(stderr, "child_reaper: how many seconds?\n");
		return 2;
	}
	printf("# %ld processes came back\n", run_storm(&pair, seconds));
	return 0;
}

const struct test_case lineage_race_cases[] = {
	{ "lineage: a reader sees both or neither", both_or_neither,
	  NEED_LINEAGE, false },
	{ "lineage: forks against SET and CLEAR", fork_against_clear,
	  NEED_LINEAGE, false },
	{ "lineage: a thread forks against SET and CLEAR", thread_forks,
	  NEED_LINEAGE, false },
	{ "lineage: a threaded reaper dies", threaded_reaper_dies,
	  NEED_LINEAGE, false },
	{ "lineage: storm", short_storm, NEED_LINEAGE, false },
	{ NULL, NULL, NEED_NOTHING, false },
};
