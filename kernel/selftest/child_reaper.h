/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Conformance test of PR_SET_CHILD_SUBREAPER and PR_SET_CHILD_REAPER: what the
 * files of cases share.
 *
 * A case runs in a process of its own, with an alarm. Its parent, the monitor,
 * is a subreaper, so the process that adopts when the case itself does not is
 * known on every machine: it is getppid(). The monitor also ends whatever a
 * failed case leaves behind.
 */
#ifndef CHILD_REAPER_H
#define CHILD_REAPER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdnoreturn.h>
#include <sys/types.h>

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

/* Spelt out: the program must build against headers that lack them. */
#define OPT_SET_SUBREAPER	36
#define OPT_GET_SUBREAPER	37
#define OPT_SET_REAPER		0x53435250
#define OPT_GET_REAPER		0x47435250

enum {
	EXIT_SKIPPED = 77,
	EXIT_FAILED = 1,
};

struct pair {
	const char *name;
	int set;
	int get;
};

/* What the pair under test must have for a case to make sense. */
enum need {
	NEED_NOTHING,
	NEED_REAPER,	/* the case is about the new pair only */
	NEED_LINEAGE,	/* ... and about /proc/PID/status */
};

struct test_case {
	const char *name;
	void (*run)(const struct pair *pair);
	enum need need;
	/*
	 * The monitor is no subreaper: it would have every descendant look for
	 * an adopter, and so hide whether SET and fork() see to that.
	 */
	bool bare;
};

extern const struct test_case api_cases[];
extern const struct test_case scope_cases[];
extern const struct test_case adopt_cases[];
extern const struct test_case signal_cases[];
extern const struct test_case trace_cases[];
extern const struct test_case pidns_cases[];

/* harness.c: verdicts. A case that returns has passed. */
void harness_init(void);
bool harness_failed(void);
void harness_reset(void);
noreturn void fail_at(const char *file, int line, const char *format, ...);
noreturn void skip(const char *format, ...);

#define fail(...) fail_at(__FILE__, __LINE__, __VA_ARGS__)
#define check(condition)						\
	do {								\
		if (!(condition))					\
			fail("not so: %s", #condition);			\
	} while (0)
#define check_long(expression, expected)				\
	check_long_at(__FILE__, __LINE__, #expression,			\
		      (long)(expression), (long)(expected))
void check_long_at(const char *file, int line, const char *what, long is,
		   long expected);

/* harness.c: the pair */
int reaper_set(const struct pair *pair, unsigned long value);
int reaper_get(const struct pair *pair);	/* -1 and errno on error */
void reaper_on(const struct pair *pair);
void reaper_off(const struct pair *pair);

/* process.c: processes that say where they are. All of them end with fail(). */
pid_t xfork(void);
pid_t xclone(unsigned long flags);	/* fork() with flags of clone() */
noreturn void park(void);
int reap(pid_t pid);			/* wait status */
void reap_ok(pid_t pid);
void reap_any(pid_t pid);		/* end it, then wait for it */
void await_zombie(pid_t pid);		/* leaves it one */
void await_gone(pid_t pid);
void pause_ms(int ms);

struct channel {
	int in;
	int out;
};

void channel_open(struct channel *channel);
void channel_send(const struct channel *channel, long value);
long channel_receive(const struct channel *channel);

long status_number(pid_t pid, const char *field);	/* -1: no process */
pid_t parent_of(pid_t pid);

/*
 * A father forks a child and ends once the child has begun; returns the child
 * when the father has been reaped. @body may be NULL: the child parks.
 */
struct family {
	pid_t father;
	pid_t child;
};

enum father_end {
	FATHER_EXITS,
	FATHER_KILLED,
	FATHER_ZOMBIE,	/* stays for the caller to reap */
	FATHER_STAYS,
};

struct family make_family(enum father_end end, void (*body)(void *),
			  void *argument);
void body_setsid(void *unused);
void body_exit_7(void *unused);

/* Become a thread group whose calling thread is not the leader. */
void run_in_thread(void *(*start)(void *), void *argument);
int leave_leader(void *(*start)(void *), void *argument);

/* exec() this program again as one of the helpers below */
noreturn void exec_helper(const char *what, const char *argument);
int helper_main(const char *what, const char *argument);

/* pidns.c */
pid_t enter_pidns(unsigned long flags);	/* as fork(); skips if not allowed */

#endif /* CHILD_REAPER_H */
