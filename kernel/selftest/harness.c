// SPDX-License-Identifier: GPL-2.0-only
/* Verdicts of a case, and the pair of prctl() options it is about. */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "child_reaper.h"

/*
 * Shared with every process of a case: the exit status of a grandchild that
 * has found a fault may be lost, this is not.
 */
static int *failures;

void harness_init(void)
{
	failures = mmap(NULL, sizeof(*failures), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (failures == MAP_FAILED) {
		perror("mmap");
		exit(EXIT_FAILED);
	}
}

bool harness_failed(void)
{
	return __atomic_load_n(failures, __ATOMIC_SEQ_CST);
}

void harness_reset(void)
{
	__atomic_store_n(failures, 0, __ATOMIC_SEQ_CST);
}

/* One write(): lines of several processes must not mix. */
static void say(const char *prefix, const char *format, va_list arguments)
{
	char line[512];
	int length = snprintf(line, sizeof(line), "# %s", prefix);
	int more = vsnprintf(line + length, sizeof(line) - length - 1, format,
			     arguments);

	if (more < 0)
		more = 0;
	length += more;
	if (length > (int)sizeof(line) - 2)
		length = sizeof(line) - 2;
	line[length++] = '\n';
	if (write(STDOUT_FILENO, line, length) < 0)
		_exit(EXIT_FAILED);
}

void fail_at(const char *file, int line, const char *format, ...)
{
	char prefix[64];
	va_list arguments;

	__atomic_store_n(failures, 1, __ATOMIC_SEQ_CST);
	snprintf(prefix, sizeof(prefix), "%s:%d: ", file, line);
	va_start(arguments, format);
	say(prefix, format, arguments);
	va_end(arguments);
	_exit(EXIT_FAILED);
}

void skip(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	say("skipped: ", format, arguments);
	va_end(arguments);
	_exit(EXIT_SKIPPED);
}

void check_long_at(const char *file, int line, const char *what, long is,
		   long expected)
{
	if (is != expected)
		fail_at(file, line, "%s is %ld, expected %ld (errno: %s)",
			what, is, expected, strerror(errno));
}

int reaper_set(const struct pair *pair, unsigned long value)
{
	/* not prctl(): its prototype may narrow what is passed on */
	return syscall(SYS_prctl, (long)pair->set, value, 0UL, 0UL, 0UL);
}

int reaper_get(const struct pair *pair)
{
	int value = -2;

	if (syscall(SYS_prctl, (long)pair->get, &value, 0UL, 0UL, 0UL))
		return -1;
	return value;
}

void reaper_on(const struct pair *pair)
{
	check_long(reaper_set(pair, 1), 0);
	check_long(reaper_get(pair), 1);
}

void reaper_off(const struct pair *pair)
{
	check_long(reaper_set(pair, 0), 0);
	check_long(reaper_get(pair), 0);
}
