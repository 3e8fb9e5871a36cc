# SPDX-License-Identifier: MIT
"""System calls that fail on purpose. strace makes the Nth call of a kind fail in one process:
attached to a warm reaper or to the activator, or put before a reaper or a launch helper by a copy
of the programs' folders in which these are scripts."""
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

from harness import (DBusError, Failure, Skip, alive, argv_of, below, children, comm_of, describe,
                     diagnose, field_of, kill_pid, parent_of, pids_with, wait_for)
from harness.base import read_text
from harness.process import keeper
from harness.world import BUILD
from peers import descriptors, spares

NAME, PATH = "org.dbusactivator.Activator1", "/org/dbusactivator/Activator1"
SPAWN = "org.freedesktop.DBus.Error.Spawn."
SERVICE, OTHER = "test.F", "test.G"
STATUS = 7
# What a caller may be told: each of these says what could not be done.
CLEAR = {SPAWN + e for e in ("ForkFailed", "ExecFailed", "FailedToSetup", "ChildExited",
                             "ChildSignaled", "Failed")} | \
    {"org.freedesktop.DBus.Error.NoMemory", "org.freedesktop.DBus.Error.ServiceUnknown"}
# The errors that a call can really have; the first is the one of the short run.
ERRORS = {
    "clone": ("EAGAIN", "ENOMEM"), "clone3": ("EAGAIN", "ENOMEM"), "vfork": ("EAGAIN",),
    "fork": ("EAGAIN",), "execve": ("EACCES", "ENOMEM", "E2BIG", "ETXTBSY"),
    "openat": ("EMFILE", "ENFILE", "EACCES", "ENOSPC"), "open": ("EMFILE", "EACCES"),
    "socket": ("EMFILE", "ENOBUFS"), "pipe2": ("EMFILE", "ENFILE"), "accept4": ("EMFILE", "ENOMEM"),
    "epoll_create1": ("EMFILE", "ENOMEM"), "epoll_ctl": ("ENOMEM", "ENOSPC"),
    "epoll_wait": ("EINTR", "EINVAL"), "signalfd4": ("EMFILE",), "inotify_init1": ("EMFILE",),
    "inotify_add_watch": ("ENOSPC",), "memfd_create": ("EMFILE", "ENOMEM"),
    "pidfd_open": ("EMFILE", "ESRCH"), "pidfd_send_signal": ("ESRCH", "EPERM"),
    "mmap": ("ENOMEM",), "munmap": ("ENOMEM",), "mprotect": ("ENOMEM",), "brk": ("ENOMEM",),
    "madvise": ("ENOMEM",), "connect": ("ECONNREFUSED", "EAGAIN", "ENOENT"),
    "sendmsg": ("ENOBUFS", "ETOOMANYREFS", "EMSGSIZE"), "sendto": ("ENOBUFS",),
    "recvmsg": ("ENOMEM", "EINTR"), "recvfrom": ("ENOMEM", "EINTR"),
    "read": ("EIO", "EINTR"), "write": ("ENOSPC", "EINTR", "EIO"), "pwrite64": ("ENOSPC",),
    "writev": ("ENOSPC",), "ftruncate": ("EIO",), "rename": ("ENOSPC",),
    "symlinkat": ("ENOSPC", "EEXIST"), "unlinkat": ("EROFS",), "unlink": ("EROFS",),
    "mkdir": ("ENOSPC",), "waitid": ("EINTR", "ENOMEM"), "wait4": ("EINTR",),
    "poll": ("EINTR", "ENOMEM"), "ppoll": ("EINTR", "ENOMEM"), "fcntl": ("EMFILE", "EINVAL"),
    "dup2": ("EMFILE", "EBUSY"), "dup3": ("EMFILE", "EBUSY"), "chdir": ("EACCES", "ENOENT"),
    "getsockopt": ("ENOBUFS",), "setsockopt": ("ENOMEM",), "prctl": ("EPERM", "EINVAL"),
    "setsid": ("EPERM",), "newfstatat": ("EACCES", "ENOENT"),
    "fstat": ("ENOMEM",), "stat": ("EACCES",), "lstat": ("EACCES",), "access": ("EACCES",),
    "readlink": ("EACCES",), "getdents64": ("EIO",), "close_range": ("ENOSYS",),
    "keyctl": ("ENOSYS",), "setgroups": ("EPERM",), "setresuid": ("EAGAIN",),
}
# These cannot fail, or nothing would be left that could tell. (close() is among them: one that
# strace makes fail has not closed anything.)
NEVER = {"close", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "exit", "exit_group",
         "restart_syscall", "arch_prctl", "set_tid_address", "set_robust_list", "rseq", "getpid",
         "getppid", "gettid", "geteuid", "getuid", "getegid", "getgid", "umask", "uname",
         "sched_yield", "clock_gettime"}
_CALL = re.compile(r"^(\d+) +(?:<\.\.\. )?(\w+)(?:\(| resumed)")


def need_strace():
    """Skips where strace cannot trace."""
    if not shutil.which("strace"):
        raise Skip("there is no strace")
    done = subprocess.run(["strace", "-qq", "-e", "inject=getppid:error=EPERM:when=1", "-o",
                           "/dev/null", "true"], check=False, stderr=subprocess.PIPE)
    if done.returncode != 0:
        raise Skip(f"strace cannot trace or inject: {done.stderr.decode()[:200]}")


def age_of(pid):
    """Seconds since the process was made, 0 when there is none."""
    stat = read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    uptime = float(read_text("/proc/uptime").split()[0])
    return uptime - int(stat[19]) / os.sysconf("SC_CLK_TCK") if stat else 0


def errors_of(call):
    return ERRORS.get(call, ("EIO",))


def calls_in(path):
    """Call -> which of a process's calls of this kind can be made to fail (all but those on the
    connection to the bus), from a log of strace."""
    counts, numbers = {}, {}
    for line in read_text(path).splitlines():
        found = _CALL.match(line)
        if not found or "resumed" in found.group(0):
            continue
        pid, call = found.groups()
        counts[pid, call] = counts.get((pid, call), 0) + 1
        if call not in NEVER and not _is_of_bus(line):
            numbers.setdefault(call, set()).add(counts[pid, call])
    return {call: sorted(found) for call, found in sorted(numbers.items())}


def _is_of_bus(line):
    """To wait for it among others is another matter."""
    return "<UNIX-STREAM:" in line and not re.search(r"\bp?poll\(", line)


def was_injected(path):
    return "(INJECTED)" in read_text(path)


def met_the_bus(path):
    """The call that failed was one on the connection to the bus: it is over then, as when the bus
    dies, which is another test's case."""
    return any(_is_of_bus(line) and ("(INJECTED)" in line or "<unfinished" in line)
               for line in read_text(path).splitlines())


class Strace:
    """strace attached to a process (and what it forks), until the with block ends."""

    def __init__(self, log, pid, inject=None, follow=True):
        # Not into what it executes: the service's own troubles are another matter.
        argv = ["strace", "-qq", "-yy", "-o", str(log), "-p", str(pid)]
        argv += ["-f", "-b", "execve"] if follow else []
        if inject:
            argv += ["-e", f"trace={inject.split(':')[0]}", "-e", f"inject={inject}"]
        self.popen = keeper.add(subprocess.Popen(argv, stdin=subprocess.DEVNULL,
                                                 stderr=subprocess.DEVNULL))
        try:
            wait_for(lambda: self.popen.poll() is not None or
                     field_of(pid, "TracerPid") == str(self.popen.pid), "strace to attach")
        except BaseException:
            self.popen.kill()
            raise
        if self.popen.poll() is not None:
            raise Failure(f"strace cannot attach to {pid}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGINT)
        self.popen.wait()


class Lab:
    """A bus with an activator, of which the reapers and launch helpers can be started under
    strace. Begun anew when something went wrong."""

    def __init__(self, world, door="signal", wrapped=None):
        self.world, self.door = world, door
        # Large: requests and runs travel with a memfd.
        world.env["DBA_LARGE"] = "x" * 40000
        world.env.pop("LD_LIBRARY_PATH", None)
        self.tree = world.path / "tree"
        for folder, name in (("daemon", "dbus-activatord"), ("reaper", "dbus-activator-reaper"),
                             ("helper", "dbus-activator-launch-helper-session")):
            target = self.tree / "activator" / folder / name
            target.parent.mkdir(parents=True)
            real = BUILD / "activator" / folder / name
            # Only where it is needed: the top reaper knows a reaper that comes by its program.
            if name == wrapped:
                self._script(target, real)
            else:
                shutil.copy(real, target)
        (self.tree / "build.ninja").touch()
        world.program = lambda name: self.tree / "activator" / name \
            if (self.tree / "activator" / name).exists() else BUILD / "activator" / name
        world.service(SERVICE, f"stderr hello daemonize orphans 1 name {SERVICE}")
        world.service(OTHER, f"name {OTHER}")
        self.bus = self.activator = None
        self.before = None
        self.may_die = False  # the activator, in this case
        self.cases = self.deaths = self.unmanaged = 0
        self.problems = []
        self.begin()

    def _script(self, target, real):
        """Executes the real program; once under strace when a file with a line for that is
        there."""
        what = "--spare" if "reaper" in target.name else "*"
        target.write_text(f"""#!/bin/sh
wish={self.tree}/{target.name}.wish
case $1 in {what}) /bin/mv $wish $wish.taken 2>/dev/null && . $wish.taken ;; esac
exec {real} "$@"
""")
        target.chmod(0o755)

    def wish(self, program, log, inject=None):
        """The next process of this program is traced from its beginning."""
        more = f"-e trace={inject.split(':')[0]} -e inject={inject}" if inject else ""
        new = self.tree / "wish.new"
        real = next((BUILD / "activator").glob(f"*/{program}"))
        new.write_text(f'exec {shutil.which("strace")} -D -f -b execve -qq -y -o {log} {more} {real} "$@"\n')
        os.rename(new, self.tree / f"{program}.wish")

    def unwish(self):
        for file in self.tree.glob("*.wish"):
            file.unlink(missing_ok=True)

    # --- the world

    def begin(self):
        number = len(self.world.buses)
        self.bus = self.world.bus(name=f"bus{number}",
                                  systemd_activation=self.door == "signal")
        self.activator = self.world.activator(self.bus, "--start-limit", "0",
                                              "--stop-timeout", "1")
        self.world.served(self.bus, SERVICE, OTHER)
        self.start_and_stop(OTHER)
        self.start_and_stop(SERVICE)
        self.before = self.rest()

    def over(self):
        """Ends it, in whatever state it is."""
        self.unwish()
        if self.activator:
            self.activator.expected_status = (0, 1, -9)
            self.activator.stop()
        if self.bus:
            self.bus.stop()
        self.bus = self.activator = None

    def member(self, member, signature="()", *args):
        """Waits for an activator that executes itself (it took its top reaper for dead)."""
        for _ in range(3):
            try:
                return self.world.member(self.bus, member, signature, *args)
            except DBusError as error:
                if not error.name.endswith((".ServiceUnknown", ".NameHasNoOwner", ".NoReply")):
                    raise
                trouble = error
                wait_for(lambda: self.bus.has_owner(NAME), "an activator")
        raise trouble

    def fields(self, name):
        return self.member("GetService", "(s)", name)

    def start_and_stop(self, name):
        result = self.bus.start(name)
        if result != 1:
            raise Failure(f"{name}: {result} instead of a start")
        self.stop(name)

    def stop(self, name):
        try:
            self.member("StopService", "(s)", name)
        except DBusError as error:
            if not error.name.endswith("NotRunning"):
                raise
        wait_for(lambda: not pids_with(f" {name}") and not self.bus.has_owner(name) and
                 not self.fields(name)["NRuns"], f"the end of {name}")

    def spare(self):
        """The pid of a warm reaper that waits."""
        seen = {}

        def look():
            found = spares(self.activator)
            if len(found) != 1 or field_of(found[0], "State")[:1] != "S":
                seen.clear()
                return 0
            seen[found[0]] = seen.get(found[0], 0) + 1
            return found[0] if seen[found[0]] >= 4 else 0

        return wait_for(look, "a warm reaper")

    def mould(self):
        """The pid of the reaper that makes copies of itself, 0: there is none."""
        return next((p for p in children(self.activator.top)
                     if " ".join(argv_of(p)).rstrip().endswith(": mould")), 0)

    def end_warm(self):
        """Kills the warm reapers: the next one is executed."""
        spare = self.spare()
        mould = self.mould()
        # The mould first, or it could make another copy yet.
        if mould:
            kill_pid(mould)
            wait_for(lambda: not alive(mould), "the mould's end")
        kill_pid(spare)

    def rest(self):
        """The activator's descriptors and the processes below the top, when all is quiet."""
        state = {"seen": None, "same": 0}

        def look():
            pid = self.activator.pid
            now = None
            if pid and len(spares(self.activator)) == 1:
                now = (descriptors(pid), len(descriptors(self.activator.top)),
                       sorted(" ".join(argv_of(p)) for p in below(self.activator.top)
                              if comm_of(p) != "strace"))
            state["same"] = state["same"] + 1 if now and now == state["seen"] else 0
            state["seen"] = now
            return state["same"] >= 6

        wait_for(look, "the activator to be at rest")
        return state["seen"]

    def reaper(self):
        return self.activator.reaper_of(SERVICE)

    # --- one case

    def scenario(self, patience=40):
        """A service is started, loses its parents, ends, and what it leaves is stopped. Raises
        Failure when anybody is left without an answer or anything without an owner."""
        pid = self.activator.pid
        pending = self.bus.begin_start(SERVICE)
        error = pending.error(patience)
        if error is None:
            self.end_of_good()
        elif self.may_die and "died with its predecessor" in error.message:
            pid = self.activator.pid
            again = self.bus.begin_start(SERVICE).error(patience)
            if again is not None:
                raise Failure(f"not started by the next activator either: {again}")
            self.deaths += 1
        elif error.name not in CLEAR:
            raise Failure(f"an error that says nothing: {error}")
        self.stop(SERVICE)
        if self.activator.pid != pid:
            if not self.may_die:
                raise Failure(f"the activator {pid} is {self.activator.pid} now")
            self.deaths += 1
            if not self.activator.pid:
                # It has become the top reaper of another one.
                self.over()
        return error

    def end_of_good(self):
        owner = self.bus.owner_pid(SERVICE)
        if self.door == "helper" and parent_of(owner) != self.reaper():
            # The helper became the service: nobody's but the bus's.
            self.unmanaged += 1
            self.bus.ask(SERVICE, "Exit", "(i)", STATUS)
            for pid in pids_with(f" {SERVICE}"):
                kill_pid(pid)
            return
        wait_for(lambda: self.fields(SERVICE).get("MainPID") == owner and owner, "the main process")
        run = self.fields(SERVICE)["Run"]
        self.bus.ask(SERVICE, "Exit", "(i)", STATUS)

        def told():
            entries = [e for e in self.member("ListActivations", "(u)", 0) if e["Run"] == run]
            return [(e.get("ExitHow"), e.get("ExitStatus")) for e in entries] == \
                [("exited", STATUS)]

        wait_for(told, f"the end of run {run} in the history", 40)

    def attempt(self, what, do):
        """do() is one case; its trouble is noted, and begun is anew after it."""
        self.cases += 1
        begin = time.monotonic()
        try:
            if self.activator is None:
                self.begin()
            error = do()
            if self.activator:
                self.start_and_stop(OTHER)
            if "DBA_FAULTS_SAY" in os.environ:
                diagnose(f"{what}: {error or 'no error'} ({time.monotonic() - begin:.1f} s)")
        except (Failure, DBusError) as trouble:
            self.problems.append(f"{what}: {trouble}")
            diagnose(f"{what}: {trouble}")
            for part in (self.bus, self.activator):
                if part:
                    diagnose("\n".join(read_text(part.errors).splitlines()[-6:]))
            diagnose(describe())
            self.over()

    def compare(self, what):
        """Nothing is left since the last look."""
        if self.activator is None:
            return
        if "copies of a reaper die at once" in read_text(self.activator.errors):
            # So many were killed; without a mould the rest is another one.
            self.over()
            return
        try:
            wait_for(lambda: self.rest() == self.before, "what there was before", 30)
        except Failure:
            self.problems.append(f"{what}: left over: {self.rest()} instead of {self.before}")
            diagnose(self.problems[-1])
            self.over()
