// SPDX-License-Identifier: GPL-2.0-only
/* The calling convention: values in and out, faults, strangers. */

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child_reaper.h"

static long get_at(const struct pair *pair, void *where)
{
	return syscall(SYS_prctl, (long)pair->get, where, 0UL, 0UL, 0UL);
}

static void default_is_off(const struct pair *pair)
{
	check_long(reaper_get(pair), 0);
}

static void on_and_off(const struct pair *pair)
{
	reaper_on(pair);
	reaper_on(pair);
	reaper_off(pair);
	reaper_off(pair);
	reaper_on(pair);
}

static void any_true_value(const struct pair *pair)
{
	const unsigned long values[] = {
		2, -1UL, 1UL << 31,
		/* must not be cut to int on the way */
		sizeof(long) > 4 ? (1UL << 31) << 1 : 1,
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(values); i++) {
		check_long(reaper_set(pair, values[i]), 0);
		check_long(reaper_get(pair), 1);
		reaper_off(pair);
	}
}

static void check_faults(const struct pair *pair, void *where)
{
	int value;

	errno = 0;
	check_long(get_at(pair, where), -1);
	check_long(errno, EFAULT);
	value = reaper_get(pair);
	check_long(value, 1);
}

static void faults(const struct pair *pair)
{
	long page = sysconf(_SC_PAGESIZE);
	char *pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	check(pages != MAP_FAILED);
	check_long(munmap(pages + page, page), 0);
	reaper_on(pair);
	check_faults(pair, NULL);
	check_faults(pair, (void *)(-1UL << (sizeof(long) * 8 - 1)));
	check_faults(pair, (void *)-4096UL);
	check_faults(pair, pages + page - 2);
	check_long(mprotect(pages, page, PROT_READ), 0);
	check_faults(pair, pages);
}

static void four_bytes(const struct pair *pair)
{
	unsigned char buffer[16];
	int value, i;

	memset(buffer, 0x5a, sizeof(buffer));
	reaper_on(pair);
	check_long(get_at(pair, buffer + 4), 0);
	memcpy(&value, buffer + 4, sizeof(value));
	check_long(value, 1);
	for (i = 0; i < 16; i++) {
		if (i < 4 || i >= 8)
			check_long(buffer[i], 0x5a);
	}
}

/* A caller of a variadic prctl() with two arguments passes what lies about. */
static void junk_ignored(const struct pair *pair)
{
	int value = -1;

	check_long(syscall(SYS_prctl, (long)pair->set, 1UL, 0xdeadUL, -1UL,
			   0xbeefUL), 0);
	check_long(syscall(SYS_prctl, (long)pair->get, &value, -1UL, 0xdeadUL,
			   1UL), 0);
	check_long(value, 1);
	check_long(syscall(SYS_prctl, (long)pair->set, 0UL, 1UL, 1UL, 1UL), 0);
	check_long(reaper_get(pair), 0);
}

static void unprivileged(const struct pair *pair)
{
	if (!geteuid()) {
		check_long(setgid(65534), 0);
		check_long(setuid(65534), 0);
	}
	reaper_on(pair);
	check_long(make_family(FATHER_EXITS, NULL, NULL).child > 0, 1);
	reaper_off(pair);
}

/* A launcher probes with GET: it must work or say EINVAL, and change nothing */
static void probing(const struct pair *pair)
{
	int value = -2;
	long result = syscall(SYS_prctl, (long)OPT_GET_REAPER, &value, 0UL,
			      0UL, 0UL);

	if (result) {
		check_long(errno, EINVAL);
		check_long(value, -2);
		errno = 0;
		check_long(syscall(SYS_prctl, (long)OPT_SET_REAPER, 1UL, 0UL,
				   0UL, 0UL), -1);
		check_long(errno, EINVAL);
	} else {
		check_long(value, 0);
	}
	check_long(reaper_get(pair), 0);
}

static void neighbours_unused(const struct pair *pair)
{
	static const int offsets[] = { -1, 1 };
	int value = -2;
	size_t i;

	for (i = 0; i < 2; i++) {
		errno = 0;
		check_long(syscall(SYS_prctl, (long)pair->get + offsets[i],
				   &value, 0UL, 0UL, 0UL), -1);
		check_long(errno, EINVAL);
		errno = 0;
		check_long(syscall(SYS_prctl, (long)pair->set + offsets[i],
				   1UL, 0UL, 0UL, 0UL), -1);
		check_long(errno, EINVAL);
	}
	check_long(value, -2);
}

static const struct pair subreaper = { "", OPT_SET_SUBREAPER,
				       OPT_GET_SUBREAPER };

static void independent_switch(const struct pair *pair)
{
	reaper_on(pair);
	check_long(reaper_get(&subreaper), 0);
	reaper_on(&subreaper);
	reaper_off(&subreaper);
	check_long(reaper_get(pair), 1);
	/* a library that toggled 36 has not taken the role away */
	check_long(parent_of(make_family(FATHER_EXITS, NULL, NULL).child),
		   getpid());
	reaper_on(&subreaper);
	reaper_off(pair);
	check_long(reaper_get(&subreaper), 1);
	check_long(parent_of(make_family(FATHER_EXITS, NULL, NULL).child),
		   getpid());
}

static void nearest_of(const struct pair *outer, const struct pair *inner)
{
	pid_t pid;

	reaper_on(outer);
	pid = xfork();
	if (!pid) {
		reaper_on(inner);
		check_long(parent_of(make_family(FATHER_EXITS, NULL,
						 NULL).child), getpid());
		_exit(0);
	}
	reap_ok(pid);
}

static void nearest_of_either_kind(const struct pair *pair)
{
	nearest_of(pair, &subreaper);
	nearest_of(&subreaper, pair);
}

const struct test_case api_cases[] = {
	{ "default is off", default_is_off, NEED_NOTHING, false },
	{ "on and off, repeatedly", on_and_off, NEED_NOTHING, false },
	{ "any true value reads as 1", any_true_value, NEED_NOTHING, false },
	{ "EFAULT leaves it unchanged", faults, NEED_NOTHING, false },
	{ "exactly four bytes written", four_bytes, NEED_NOTHING, false },
	{ "arguments 3 to 5 ignored", junk_ignored, NEED_NOTHING, false },
	{ "needs no privilege", unprivileged, NEED_NOTHING, false },
	{ "probing is harmless", probing, NEED_NOTHING, false },
	{ "neighbouring numbers unused", neighbours_unused, NEED_REAPER, false },
	{ "independent of subreaper", independent_switch, NEED_REAPER, false },
	{ "nearest of either kind", nearest_of_either_kind, NEED_REAPER, false },
	{ NULL, NULL, NEED_NOTHING, false },
};
