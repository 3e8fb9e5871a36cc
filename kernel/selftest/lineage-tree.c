// SPDX-License-Identifier: GPL-2.0-only
/* Lineage in the tree: nesting, switching, creators, namespaces. */

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child_reaper.h"
#include "lineage.h"

/*
 *   us -- inner (if @on a reaper) -- founder -- member
 * with founder and member alive; @set_late: inner becomes a reaper last.
 */
struct nest {
	pid_t inner;
	pid_t founder;
	pid_t member;
};

static struct nest make_nest(const struct pair *pair, bool set_late)
{
	struct channel said;
	struct nest nest;

	channel_open(&said);
	nest.inner = xfork();
	if (!nest.inner) {
		struct family family;

		if (!set_late)
			reaper_on(pair);
		family = make_family(FATHER_STAYS, NULL, NULL);
		if (set_late)
			reaper_on(pair);
		channel_send(&said, family.father);
		channel_send(&said, family.child);
		park();
	}
	nest.founder = channel_receive(&said);
	nest.member = channel_receive(&said);
	return nest;
}

static void check_nest(const struct nest *nest)
{
	check_lineage(nest->inner, getpid(), nest->inner);
	check_lineage(nest->founder, nest->inner, nest->founder);
	check_lineage(nest->member, nest->inner, nest->founder);
}

static void nested(const struct pair *pair)
{
	struct nest nest;

	reaper_on(pair);
	nest = make_nest(pair, false);
	check_nest(&nest);
	kill(nest.founder, SIGKILL);
	while (parent_of(nest.member) == nest.founder)
		pause_ms(1);
	check_long(parent_of(nest.member), nest.inner);
	check_lineage(nest.member, nest.inner, nest.founder);
}

static void nested_dead(const struct pair *pair)
{
	struct nest nest;

	reaper_on(pair);
	nest = make_nest(pair, false);
	kill(nest.inner, SIGKILL);
	await_zombie(nest.inner);
	check_lineage(nest.founder, getpid(), nest.inner);
	check_lineage(nest.member, getpid(), nest.inner);
	check_lineage(nest.inner, getpid(), nest.inner);
	reap(nest.inner);
	check_lineage(nest.founder, getpid(), nest.inner);
	check_lineage(nest.member, getpid(), nest.inner);
}

static void dead_without_outer(const struct pair *pair)
{
	struct lineage own = own_lineage();
	struct nest nest = make_nest(pair, false);

	kill(nest.inner, SIGKILL);
	await_zombie(nest.inner);
	check_lineage(nest.founder, own.reaper, own.lineage);
	check_lineage(nest.member, own.reaper, own.lineage);
	reap(nest.inner);
}

static void clear_and_set(const struct pair *pair)
{
	struct lineage own = own_lineage();
	struct family family;

	reaper_on(pair);
	family = make_family(FATHER_EXITS, NULL, NULL);
	check_lineage(family.child, getpid(), family.father);
	reaper_off(pair);
	check_lineage(family.child, own.reaper, own.lineage);
	reaper_off(pair);
	reaper_on(pair);
	/* the tree as it stands now: the orphan is a direct child */
	check_lineage(family.child, getpid(), family.child);
}

static void clear_in_nest(const struct pair *pair)
{
	struct nest nest;

	reaper_on(pair);
	nest = make_nest(pair, false);
	reaper_off(pair);
	check_lineage(nest.member, nest.inner, nest.founder);
	reaper_on(pair);
	check_nest(&nest);	/* nothing below another reaper is touched */
}

static void set_late(const struct pair *pair)
{
	struct nest nest;

	nest = make_nest(pair, true);
	check_lineage(nest.founder, nest.inner, nest.founder);
	check_lineage(nest.member, nest.inner, nest.founder);
	reaper_on(pair);
	check_nest(&nest);
}

/* Three direct children with one child each, then SET. */
static void set_late_wide(const struct pair *pair)
{
	struct family families[3];
	int i;

	for (i = 0; i < 3; i++)
		families[i] = make_family(FATHER_STAYS, NULL, NULL);
	reaper_on(pair);
	for (i = 0; i < 3; i++) {
		check_lineage(families[i].father, getpid(),
			      families[i].father);
		check_lineage(families[i].child, getpid(), families[i].father);
	}
}

static void *set_on(void *pair)
{
	reaper_on(pair);
	return NULL;
}

/* Children of every thread are direct children, whichever thread sets. */
static void set_in_thread(const struct pair *pair)
{
	struct family family = make_family(FATHER_STAYS, NULL, NULL);

	run_in_thread(set_on, (void *)pair);
	check_lineage(family.child, getpid(), family.father);
	family = make_family(FATHER_STAYS, NULL, NULL);
	check_lineage(family.child, getpid(), family.father);
}

/* A member makes itself a sibling: our child, but of the member's lineage. */
static void clone_parent_of_member(const struct pair *pair)
{
	struct channel said;
	pid_t member, sibling;

	reaper_on(pair);
	channel_open(&said);
	member = xfork();
	if (!member) {
		sibling = xclone(CLONE_PARENT | SIGCHLD);
		if (!sibling)
			park();
		channel_send(&said, sibling);
		park();
	}
	sibling = channel_receive(&said);
	check_long(parent_of(sibling), getpid());
	check_lineage(sibling, getpid(), member);
	reap_any(member);
	check_lineage(sibling, getpid(), member);
	reap_any(sibling);
}

/* A reaper makes itself a sibling: that one is as the reaper, not below it. */
static void clone_parent_of_reaper(const struct pair *pair)
{
	struct channel said;
	pid_t inner, sibling;

	reaper_on(pair);
	channel_open(&said);
	inner = xfork();
	if (!inner) {
		reaper_on(pair);
		sibling = xclone(CLONE_PARENT | SIGCHLD);
		if (!sibling)
			park();
		channel_send(&said, sibling);
		park();
	}
	sibling = channel_receive(&said);
	check_lineage(sibling, getpid(), inner);
	reap_any(inner);
	check_lineage(sibling, getpid(), inner);
	reap_any(sibling);
}

/*
 *   us -- namespace init -- member     and the view of a procfs mounted inside
 */
static void seen_inside(const struct channel *said)
{
	struct lineage is;
	pid_t member = xfork();

	if (!member)
		park();
	if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("proc", "/proc", "proc", 0, NULL)) {
		channel_send(said, 0);
		skip("procfs in a namespace: %s", strerror(errno));
	}
	check(lineage_read("/proc", 1, &is));
	check_long(is.reaper, 0);	/* outside, not visible */
	check_long(is.lineage, 1);
	check(lineage_read("/proc", member, &is));
	check_long(is.reaper, 0);
	check_long(is.lineage, 1);
	channel_send(said, member);
	park();
}

static void container_view(const struct pair *pair)
{
	struct channel said;
	pid_t init, member;

	reaper_on(pair);
	channel_open(&said);
	init = enter_pidns(CLONE_NEWNS);
	if (!init)
		seen_inside(&said);
	member = channel_receive(&said);
	if (!member)
		reap_ok(init);
	check_lineage(init, getpid(), init);
	for (member = init + 1; parent_of(member) != init; member++)
		;
	check_lineage(member, getpid(), init);
	reap_any(init);
}

/* Its members die with the namespace; whoever pinned a number would hang it. */
static void namespace_init(const struct pair *pair)
{
	int round;

	for (round = 0; round < 8; round++) {
		pid_t init = enter_pidns(0);

		if (!init) {
			struct family family;

			reaper_on(pair);
			family = make_family(FATHER_EXITS, NULL, NULL);
			check_long(family.child > 1, 1);
			if (round & 1)
				reap_any(family.child);
			if (round & 2)
				reaper_off(pair);
			_exit(0);
		}
		reap_ok(init);
		if (round == 3)
			reaper_on(pair);
	}
}

/* As namespace_init(), with a reaper and founders that are dead by then. */
static void namespace_nested(const struct pair *pair)
{
	pid_t init;

	reaper_on(pair);
	init = enter_pidns(0);
	if (!init) {
		pid_t inner;

		reaper_on(pair);
		inner = xfork();
		if (!inner) {
			reaper_on(pair);
			make_family(FATHER_EXITS, NULL, NULL);
			_exit(0);
		}
		reap_ok(inner);
		_exit(0);
	}
	reap_ok(init);
}

/* The label comes from the creator outside, not from the tree inside. */
static void through_setns(const struct pair *pair)
{
	struct channel said;
	pid_t init, helper, child;
	char path[64];
	int user, pid;

	reaper_on(pair);
	channel_open(&said);
	init = enter_pidns(0);
	if (!init)
		park();
	snprintf(path, sizeof(path), "/proc/%d/ns/user", init);
	user = open(path, O_RDONLY);
	snprintf(path, sizeof(path), "/proc/%d/ns/pid", init);
	pid = open(path, O_RDONLY);
	helper = xfork();
	if (!helper) {
		if ((geteuid() && setns(user, 0)) || setns(pid, 0)) {
			channel_send(&said, 0);
			skip("setns: %s", strerror(errno));
		}
		child = xfork();
		if (!child)
			park();
		channel_send(&said, child);
		_exit(0);
	}
	child = channel_receive(&said);
	reap_ok(helper);
	/* the father died outside, so the child is not init's either */
	check_long(parent_of(child), getpid());
	check_lineage(child, getpid(), helper);
	reap_any(child);	/* init would wait for it */
	reap_any(init);
}

const struct test_case lineage_tree_cases[] = {
	{ "lineage: nested", nested, NEED_LINEAGE, false },
	{ "lineage: inner reaper dead", nested_dead, NEED_LINEAGE, false },
	{ "lineage: reaper dead without an outer", dead_without_outer,
	  NEED_LINEAGE, false },
	{ "lineage: cleared and set again", clear_and_set, NEED_LINEAGE, false },
	{ "lineage: outer cleared and set again", clear_in_nest,
	  NEED_LINEAGE, false },
	{ "lineage: set late, above another reaper", set_late, NEED_LINEAGE, false },
	{ "lineage: set late, several children", set_late_wide,
	  NEED_LINEAGE, false },
	{ "lineage: set in a thread", set_in_thread, NEED_LINEAGE, false },
	{ "lineage: CLONE_PARENT by a member", clone_parent_of_member,
	  NEED_LINEAGE, false },
	{ "lineage: CLONE_PARENT by a reaper", clone_parent_of_reaper,
	  NEED_LINEAGE, false },
	{ "lineage: seen from inside a pid namespace", container_view,
	  NEED_LINEAGE, false },
	{ "lineage: namespace init is the reaper", namespace_init,
	  NEED_LINEAGE, false },
	{ "lineage: nested reapers in a namespace", namespace_nested,
	  NEED_LINEAGE, false },
	{ "lineage: namespace entered with setns()", through_setns,
	  NEED_LINEAGE, false },
	{ NULL, NULL, NEED_NOTHING, false },
};
