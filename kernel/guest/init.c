// SPDX-License-Identifier: GPL-2.0-only
/*
 * PID 1 of the guest: mounts what the tests need, runs /test with the words
 * of the kernel command line after "--", and leaves the verdict in qemu's exit
 * status through the isa-debug-exit device: 33 when the test has exited 0, 5
 * otherwise. Any other end of the guest (a panic, an oops, a hang that the
 * caller cuts off) never writes to the port and so can be no 33.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DEBUG_EXIT_PORT = 0xf4, PASSED = 0x10, FAILED = 2 };

static void leave(int verdict) __attribute__((noreturn));

static void leave(int verdict)
{
	fflush(stdout);
	/* the port ends qemu at once; let the serial line drain */
	usleep(100 * 1000);
	if (ioperm(DEBUG_EXIT_PORT, 1, 1) == 0)
		outb(verdict, DEBUG_EXIT_PORT);
	/* without the device: PID 1 ends, the kernel panics, qemu says 0 */
	_exit(1);
}

static void need_mount(const char *type, const char *where, const char *options)
{
	mkdir(where, 0755);
	if (mount(type, where, type, 0, options) < 0) {
		printf("init: mount %s: %s\n", where, strerror(errno));
		leave(FAILED);
	}
}

/* A race that only one CPU runs is none: nothing would have been tested. */
static void need_cpus(void)
{
	const char *wanted = getenv("GUEST_CPUS");
	long online = sysconf(_SC_NPROCESSORS_ONLN);

	if (!wanted || atol(wanted) != online) {
		printf("init: %ld CPUs and not %s\n", online,
		       wanted ? wanted : "said how many");
		leave(FAILED);
	}
}

int main(int argc, char **argv)
{
	int status = -1;
	pid_t pid;

	(void)argc;
	putchar('\n');	/* the firmware leaves its last line open */
	need_mount("proc", "/proc", NULL);
	need_mount("sysfs", "/sys", NULL);
	need_cpus();
	mknod("/dev/null", S_IFCHR | 0666, makedev(1, 3));
	mknod("/dev/zero", S_IFCHR | 0666, makedev(1, 5));
	mknod("/dev/urandom", S_IFCHR | 0666, makedev(1, 9));
	need_mount("tmpfs", "/dev/shm", NULL);
	need_mount("tmpfs", "/tmp", "mode=1777");
	need_mount("tmpfs", "/run", "mode=0700");
	setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);

	pid = fork();
	if (pid == 0) {
		argv[0] = "/test";
		execv("/test", argv);
		printf("init: /test: %s\n", strerror(errno));
		_exit(127);
	}
	/* also reaps what the test leaves to init */
	while (pid > 0) {
		pid_t got = wait(&status);

		if (got == pid || (got < 0 && errno != EINTR))
			break;
	}
	printf("init: wait status of the test %#x\n", status);
	leave(status == 0 ? PASSED : FAILED);
}
