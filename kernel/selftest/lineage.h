/* SPDX-License-Identifier: GPL-2.0-only */
/* The lines Reaper and Lineage of /proc/PID/status. */
#ifndef LINEAGE_H
#define LINEAGE_H

#include <stdbool.h>
#include <sys/types.h>

extern const struct test_case lineage_cases[];
extern const struct test_case lineage_tree_cases[];
extern const struct test_case lineage_race_cases[];

/* All three from one read(), or they need not belong together. */
struct lineage {
	long parent;
	long reaper;
	long lineage;
};

/* @fd: of an open status file */
bool lineage_read_at(int fd, struct lineage *out);
bool lineage_read(const char *proc, pid_t pid, struct lineage *out);
/* whether this kernel shows one at all: what is none is shown as 0 */
bool lineage_supported(void);
struct lineage own_lineage(void);

#define check_lineage(pid, reaper, lineage)				\
	check_lineage_at(__FILE__, __LINE__, #pid, pid, reaper, lineage)
void check_lineage_at(const char *file, int line, const char *what, pid_t pid,
		      long reaper, long lineage);

/* lineage-race.c: random fork, SET, CLEAR, exec and exit on every CPU */
int storm(int seconds);

#endif /* LINEAGE_H */
