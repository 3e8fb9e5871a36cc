# SPDX-License-Identifier: MIT
"""A session in a pid namespace of its own, whose first process is this one: what is left of a
session is what else is in the namespace."""
import os
import pathlib
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(os.environ.get("DBA_BUILD_ROOT", HERE.parents[1] / "build"))
PROGRAM = BUILD / "activator/session/dbus-activator-session"
PATIENCE = 90


class Failure(Exception):
    pass


def check(truth, text):
    if not truth:
        raise Failure(text)


def wait_for(condition, what, patience=PATIENCE):
    """Answers the first true value of condition()."""
    end = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failure(f"waited {patience} s in vain for {what}\n{picture()}")
        time.sleep(0.02)


def read(path):
    try:
        return pathlib.Path(path).read_bytes().decode(errors="replace")
    except OSError:
        return ""


def processes():
    """pid -> (parent, state, command line) of every process here but the first."""
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or entry == "1":
            continue
        stat = read(f"/proc/{entry}/stat").rpartition(")")[2].split()
        if stat:
            line = read(f"/proc/{entry}/cmdline").replace("\0", " ").strip()
            found[int(entry)] = (int(stat[1]), stat[0], line or read(f"/proc/{entry}/comm").strip())
    return found


def picture():
    return "\n".join(f"  {pid} {p[0]} {p[1]} {p[2]}" for pid, p in sorted(processes().items()))


def reap(keep=()):
    """Waits for what has ended among the orphans that came to this first process."""
    for pid, (parent, state, _) in processes().items():
        if parent == 1 and state == "Z" and pid not in keep:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass


def name_of(pid):
    return read(f"/proc/{pid}/comm").strip()


def kill(*pids, number=signal.SIGKILL):
    """All of them at once, as near as can be. (Stopping them first would be noticed: a session
    stops with its command.)"""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            if pid == pids[0]:
                raise


class World:
    """Folders and environment of one case."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.runtime = self.folder / "r"
        self.runtime.mkdir(mode=0o700)
        self.mark = self.folder / "mark"
        self.errors = self.folder / "stderr"
        services = self.folder / "share/dbus-1/services"
        services.mkdir(parents=True)
        for name, flags in (("Plain", ""), ("Daemon", "daemon crowd"),
                            ("Stubborn", "daemon stubborn crowd")):
            (services / f"test.{name}.service").write_text(
                f"[D-BUS Service]\nName=test.{name}\n"
                f"Exec=/usr/bin/python3 {HERE}/service.py test.{name} {flags}\n")
        self.environment = {
            k: v for k, v in os.environ.items()
            if not k.startswith(("DBUS_", "XDG_")) and k != "NOTIFY_SOCKET"}
        self.environment.update(
            # Folders of PATH that one may not search would make 126 of 127.
            PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            XDG_RUNTIME_DIR=str(self.runtime), HOME=str(self.folder), MARK=str(self.mark),
            XDG_DATA_DIRS=f"{self.folder}/share", XDG_DATA_HOME=f"{self.folder}/home")
        self.session = None

    def start(self, script, *options, **more):
        """Starts a session whose command is a shell with this script."""
        with open(self.errors, "ab") as errors:
            self.session = subprocess.Popen(
                [PROGRAM, *options, "--", "/bin/sh", "-c", script], env=self.environment,
                stderr=errors, **more)
        return self.session

    def start_with(self, *services, script="", options=()):
        """A session in which these services run, and a command that stays."""
        calls = "".join(
            "dbus-send --session --print-reply --reply-timeout=120000 "
            "--dest=org.freedesktop.DBus / org.freedesktop.DBus.StartServiceByName "
            f"string:test.{s} uint32:0 >/dev/null || exit 70; " for s in services)
        self.start(f"{calls} {script} echo ready > $MARK; exec sleep 99999", *options)
        wait_for(lambda: self.mark.exists() or self.session.poll() is not None,
                 "the session's start")
        check(self.session.poll() is None,
              f"the session ended early, status {self.session.poll()}: {read(self.errors)}")
        # The shell becomes `sleep`.
        wait_for(lambda: self.find(lambda pid, p: p[2] == "sleep 99999"), "the command")

    def find(self, test):
        return next((pid for pid, p in processes().items() if test(pid, p)), 0)

    def find_all(self, name):
        return [pid for pid in processes() if name_of(pid) == name]

    def foreground(self, start, terminal):
        """Whether a process whose command line starts so has the terminal, and runs."""
        group = os.tcgetpgrp(terminal)
        for pid, (_, state, line) in processes().items():
            if line.startswith(start) and state in "SR":
                try:
                    return os.getpgid(pid) == group
                except ProcessLookupError:
                    return False
        return False

    def part(self, which):
        """The pid of a part of the running session."""
        wrapper = self.session.pid
        programs = {"bus": "dbus-daemon", "activator": "dbus-activatord"}
        if which == "wrapper":
            return wrapper
        if which == "keeper":
            return self.find(lambda pid, p: p[0] == wrapper)
        if which == "command":
            return wait_for(lambda: self.find(lambda pid, p: p[2] == "sleep 99999"), which)
        if which in programs:
            return wait_for(lambda: self.find(lambda pid, p: name_of(pid) == programs[which]),
                            which)
        below = {"top": "activator", "bus reaper": "bus", "command reaper": "command"}[which]
        return processes()[self.part(below)][0]

    def end(self, status=None):
        """Waits for the wrapper and then until nothing is left; answers the exit status."""
        try:
            got = self.session.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise Failure(f"the wrapper did not end\n{picture()}\n{read(self.errors)}") from None

        def nothing():
            reap()
            return not processes()

        wait_for(nothing, "the namespace to be empty")
        check(status is None or got in (status if isinstance(status, tuple) else (status,)),
              f"exit status {got}, not {status}: {read(self.errors)}")
        return got

    def check_files(self, runtime=None):
        left = [str(p) for p in pathlib.Path(runtime or self.runtime).glob("dbus-activator/**/*")]
        check(not left, f"left in the runtime directory: {left}")


def run_in_namespace(argv):
    """Runs argv as first process of a pid namespace; (status, output)."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    done = subprocess.run(["unshare", *user, "--pid", "--fork", "--mount-proc", "--kill-child",
                           *argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          stdin=subprocess.DEVNULL, check=False)
    return done.returncode, done.stdout.decode(errors="replace")


if __name__ == "__main__":
    sys.exit("a module, not a program")
