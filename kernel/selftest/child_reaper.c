// SPDX-License-Identifier: GPL-2.0-only
/*
 * Runs every case on every pair of prctl() options, prints TAP.
 *
 *   child_reaper                 both pairs; what the kernel lacks is skipped
 *   child_reaper --no-skip       a skip is a failure: for a kernel of which it
 *                                is known that it has everything
 *   child_reaper --pair NAME     "subreaper" or "reaper" only
 *   child_reaper --only TEXT     cases whose name contains TEXT
 *   child_reaper --storm SECONDS only the random storm, for debug kernels
 *
 * Exit status: 0 all passed or skipped, 1 something failed, 2 usage.
 */

#include <errno.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child_reaper.h"
#include "lineage.h"

enum { CASE_SECONDS = 60 };

struct options {
	bool no_skip;
	const char *pair;
	const char *only;
};

struct tally {
	int number;
	int failed;
};

static const struct pair pairs[] = {
	{ "subreaper", OPT_SET_SUBREAPER, OPT_GET_SUBREAPER },
	{ "reaper", OPT_SET_REAPER, OPT_GET_REAPER },
};

static const struct test_case *const groups[] = {
	api_cases, scope_cases, adopt_cases, signal_cases, trace_cases,
	pidns_cases,
	lineage_cases, lineage_tree_cases, lineage_race_cases,
};

enum {
	PAIRS = ARRAY_SIZE(pairs),
	GROUPS = ARRAY_SIZE(groups),
};

static bool pair_supported(const struct pair *pair)
{
	return reaper_get(pair) >= 0;
}

static bool wanted(const struct options *options, const struct pair *pair,
		   const struct test_case *test)
{
	if (options->pair && strcmp(options->pair, pair->name))
		return false;
	if (options->only && !strstr(test->name, options->only))
		return false;
	return test->need == NEED_NOTHING || pair->set == OPT_SET_REAPER;
}

/* Returns how many there were. */
static int kill_children(void)
{
	struct dirent *entry;
	int count = 0;
	DIR *proc = opendir("/proc");

	if (!proc)
		return 0;
	while ((entry = readdir(proc))) {
		pid_t pid = atoi(entry->d_name);

		if (pid > 0 && parent_of(pid) == getpid()) {
			kill(pid, SIGKILL);
			count++;
		}
	}
	closedir(proc);
	return count;
}

/*
 * Whatever a case has left is ours by now or will be; end it all. Never waits
 * for one in particular: the init of a pid namespace may itself be waiting
 * until another of them is reaped.
 */
static void end_leftovers(void)
{
	while (kill_children()) {
		while (waitpid(-1, NULL, __WALL | WNOHANG) > 0)
			;
		pause_ms(1);
	}
}

static int monitor(const struct pair *pair, const struct test_case *test)
{
	pid_t pid;
	int status;

	if (!test->bare &&
	    syscall(SYS_prctl, OPT_SET_SUBREAPER, 1UL, 0UL, 0UL, 0UL))
		fail("no child subreaper: %s", strerror(errno));
	pid = xfork();
	if (!pid) {
		alarm(CASE_SECONDS);
		test->run(pair);
		_exit(0);
	}
	status = reap(pid);
	end_leftovers();
	if (WIFSIGNALED(status))
		fail("case ended by signal %d", WTERMSIG(status));
	return WEXITSTATUS(status);
}

/* 0, EXIT_SKIPPED or EXIT_FAILED */
static int run_case(const struct pair *pair, const struct test_case *test)
{
	pid_t pid;
	int status;

	harness_reset();
	pid = xfork();
	if (!pid)
		_exit(monitor(pair, test));
	status = reap(pid);
	if (!WIFEXITED(status) || harness_failed())
		return EXIT_FAILED;
	return WEXITSTATUS(status);
}

static void run_and_report(const struct options *options,
			   const struct pair *pair,
			   const struct test_case *test, struct tally *tally)
{
	const char *reason = NULL;
	int result = EXIT_SKIPPED;

	if (!pair_supported(pair))
		reason = "no such prctl in this kernel";
	else if (test->need == NEED_LINEAGE && !lineage_supported())
		reason = "no Reaper and Lineage in /proc"; /* lineage */
	else
		result = run_case(pair, test);
	if (result == EXIT_SKIPPED && !reason)
		reason = "see above";
	if (result == EXIT_SKIPPED && options->no_skip) {
		printf("# skipped, but --no-skip: %s\n", reason);
		result = EXIT_FAILED;
	}
	tally->number++;
	tally->failed += result && result != EXIT_SKIPPED;
	printf("%s %d - %s: %s%s%s\n",
	       result && result != EXIT_SKIPPED ? "not ok" : "ok",
	       tally->number, pair->name, test->name,
	       result == EXIT_SKIPPED ? " # SKIP " : "",
	       result == EXIT_SKIPPED ? reason : "");
}

/* With @tally NULL only counts. */
static int each_case(const struct options *options, struct tally *tally)
{
	const struct test_case *test;
	int pair, group, count = 0;

	for (pair = 0; pair < PAIRS; pair++) {
		for (group = 0; group < GROUPS; group++) {
			for (test = groups[group]; test->name; test++) {
				if (!wanted(options, &pairs[pair], test))
					continue;
				count++;
				if (tally)
					run_and_report(options, &pairs[pair],
						       test, tally);
			}
		}
	}
	return count;
}

static int print_usage(void)
{
	fprintf(stderr,
		"usage: child_reaper [--no-skip] [--pair subreaper|reaper] [--only TEXT]\n");
	return 2;
}

int main(int argc, char **argv)
{
	struct options options = { 0 };
	struct tally tally = { 0 };
	int i, count;

	if (argc == 4 && !strcmp(argv[1], "--helper"))
		return helper_main(argv[2], argv[3]);

	harness_init();
	if (argc == 3 && !strcmp(argv[1], "--storm"))	/* lineage */
		return storm(atoi(argv[2]));	/* lineage */

	for (i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--no-skip"))
			options.no_skip = true;
		else if (!strcmp(argv[i], "--pair") && i + 1 < argc)
			options.pair = argv[++i];
		else if (!strcmp(argv[i], "--only") && i + 1 < argc)
			options.only = argv[++i];
		else
			return print_usage();
	}
	setvbuf(stdout, NULL, _IONBF, 0);
	count = each_case(&options, NULL);
	if (!count) {
		/* a misspelt name must not look like a pass */
		fprintf(stderr, "child_reaper: there is no such case\n");
		return 2;
	}
	printf("TAP version 13\n1..%d\n", count);
	each_case(&options, &tally);
	if (tally.failed)
		printf("# %d of %d failed\n", tally.failed, tally.number);
	return tally.failed ? EXIT_FAILED : 0;
}
