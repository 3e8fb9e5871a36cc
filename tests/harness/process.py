# SPDX-License-Identifier: MIT
"""Processes, by /proc. The harness is the child subreaper of everything that a test starts, so
that whatever escapes from the programs under test ends up as its child, is seen and ended."""
import ctypes
import os
import signal
import time

from .base import read_bytes, read_text

PR_SET_CHILD_SUBREAPER = 36


def become_subreaper():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def reset_signals():
    """What this process was started with must not colour what it starts."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGPIPE,
                   signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTSTP,
                   signal.SIGTTIN, signal.SIGTTOU):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _stat(pid):
    """The fields of /proc/PID/stat from the state on, or None."""
    text = read_text(f"/proc/{pid}/stat")
    return text.rpartition(")")[2].split() or None


def processes():
    """pid -> (parent, state) of every process."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            fields = _stat(entry)
            if fields:
                found[int(entry)] = (int(fields[1]), fields[0])
    return found


def _tree(root, table):
    kids = {}
    for pid, (parent, _) in table.items():
        kids.setdefault(parent, []).append(pid)
    found, todo = [], [root]
    while todo:
        for pid in kids.get(todo.pop(), ()):
            found.append(pid)
            todo.append(pid)
    return found


def below(root=None, zombies=False):
    """Pids of everything below root (this process), however deep."""
    table = processes()
    return sorted(p for p in _tree(root or os.getpid(), table)
                  if zombies or table[p][1] not in "ZX")


def children(pid):
    return sorted(p for p, (parent, state) in processes().items()
                  if parent == pid and state not in "ZX")


def alive(pid):
    """Whether it exists and is no zombie."""
    fields = _stat(pid)
    return fields is not None and fields[0] not in "ZX"


def start_time(pid):
    """Ticks since boot: together with the pid it names a process for good. 0: gone."""
    fields = _stat(pid)
    return int(fields[19]) if fields else 0


def parent_of(pid):
    fields = _stat(pid)
    return int(fields[1]) if fields else 0


def comm_of(pid):
    return read_text(f"/proc/{pid}/comm").rstrip("\n")


def argv_of(pid):
    data = read_bytes(f"/proc/{pid}/cmdline")
    return [a.decode(errors="replace") for a in data.rstrip(b"\0").split(b"\0")] if data else []


def field_of(pid, name):
    """A line of /proc/PID/status."""
    for line in read_text(f"/proc/{pid}/status").splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return value.strip()
    return ""


def pids_with(text, root=None):
    """Pids below root whose command line holds the text."""
    return [p for p in below(root) if text in " ".join(argv_of(p))]


def describe(root=None):
    """The tree below root, for people."""
    table = processes()
    lines = []

    def walk(pid, depth):
        for child in sorted(p for p, (parent, _) in table.items() if parent == pid):
            text = " ".join(argv_of(child)) or f"[{comm_of(child)}]"
            lines.append(f"{'  ' * depth}{child} {table[child][1]} {text[:150]}")
            walk(child, depth + 1)

    walk(root or os.getpid(), 0)
    return "\n".join(lines[:80])


def signal_pid(pid, number):
    """True when the signal was sent. 0 and less would be whole groups, this process's own too."""
    if pid <= 0:
        raise ValueError(f"no process to send signal {number} to: {pid}")
    # 0 is what a service without a process answers, and would end the test's own group.
    assert pid > 1, f"no process {pid} to send {number} to"
    try:
        os.kill(pid, number)
        return True
    except ProcessLookupError:
        return False


def kill_pid(pid):
    return signal_pid(pid, signal.SIGKILL)


class Keeper:
    """Knows which children are Popen objects' (those wait for their own), waits for all others
    that come to this process, and ends what should not be there any more."""

    def __init__(self):
        self.owned = {}

    def add(self, popen):
        self.owned[popen.pid] = popen
        return popen

    def reap(self):
        me = os.getpid()
        for pid, (parent, state) in processes().items():
            if parent != me or state != "Z":
                continue
            popen = self.owned.get(pid)
            if popen is not None:
                popen.poll()
                continue
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass

    def left(self):
        """What lives below this process. A tree that changes while it is read can hide a
        process from one look, not from a second one after a look that saw nothing change."""
        self.reap()
        found = below()
        return found or below()

    def end_all(self, patience):
        """Ends everything below, whatever it takes; answers what it could not end."""
        end = time.monotonic() + patience
        while True:
            left = self.left()
            if not left or time.monotonic() > end:
                return left
            for pid in left:
                kill_pid(pid)
            time.sleep(0.02)


keeper = Keeper()
