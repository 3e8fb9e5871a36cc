# SPDX-License-Identifier: MIT
"""The system bus of the machine, what is installed on it, and its end. After machine.enter()."""
import os
import pathlib
import signal
import subprocess

import machine
from harness.base import Failure, read_text, wait_for
from harness.bus import Connection, DBusError
from harness.process import below, comm_of, keeper, parent_of
from harness.tap import check_equal

TEST = str(machine.BUILD / "tests/services/test-service")
NAME, PATH = "org.dbusactivator.Activator1", "/org/dbusactivator/Activator1"
ERRORS = "org.freedesktop.DBus.Error."


class SystemBus:
    """The stock system bus."""

    def __init__(self, world, *options, config=None):
        self.world = world
        self.errors = world.path / "system-bus.stderr"
        # A service that runs as another user has to reach its files.
        os.chmod(world.path, 0o755)
        for name in ("pid", "system_bus_socket"):
            pathlib.Path("/run/dbus", name).unlink(missing_ok=True)
        which = [f"--config-file={config}"] if config else ["--system"]
        with open(self.errors, "ab") as errors:
            self.popen = keeper.add(subprocess.Popen(
                ["dbus-daemon", *which, "--nofork", "--nopidfile", "--nosyslog", *options],
                stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, cwd="/",
                start_new_session=True))
        wait_for(self._listens, lambda: f"the system bus: {read_text(self.errors)}")
        self.client = Connection(machine.ADDRESS)

    def _listens(self):
        if self.popen.poll() is not None:
            raise Failure(f"dbus-daemon ended: {read_text(self.errors)}")
        try:
            Connection(machine.ADDRESS).close()
            return True
        except Exception:  # pylint: disable=broad-except
            return False

    def begin(self, name):
        return self.client.begin("org.freedesktop.DBus", "/org/freedesktop/DBus",
                                 "org.freedesktop.DBus", "StartServiceByName", "(su)", name, 0)

    def start(self, name):
        """The bus's answer; waits until the activator, when there is one, knows the process. It
        has to ask the bus for that after it has heard of the owner."""
        result = self.begin(name).result()
        wait_for(lambda: self._is_settled(name), f"the activator to know the process of {name}")
        return result

    def _is_settled(self, name):
        if not self.owner_pid(NAME):
            return True
        return self.fields(name).get("MainPID", 0) == self.owner_pid(name)

    def owner_pid(self, name):
        try:
            return self.client.dbus("GetConnectionUnixProcessID", "(s)", name)
        except DBusError:
            return 0

    def fields(self, name):
        return self.client.call(NAME, PATH, NAME, "GetService", "(s)", name)

    def known(self, name):
        """fields(), or nothing while no activator answers."""
        try:
            return self.fields(name)
        except DBusError:
            return {}

    def stop(self):
        self.client.close()
        if self.popen.poll() is None:
            self.popen.terminate()
        self.popen.wait(90)


def ctl(*args):
    return machine.run("/usr/bin/dbus-activatorctl", "--system", *args)


def activators():
    """One below each top reaper: what it forks has its name for a moment, beside or below it."""
    named = [p for p in below() if comm_of(p) == "dbus-activatord"]
    oldest = {}
    for pid in named:
        parent = parent_of(pid)
        if parent and parent not in named:
            oldest.setdefault(parent, pid)
    return sorted(oldest.values())


def stop_everything(world, bus):
    """The end of a case: no service, no activator, no bus."""
    if activators():
        done = ctl("stop", "--all")
        check_equal(done.returncode, 0, f"stop --all ends them ({done.stderr.strip()})")
    for pid in activators():
        os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not activators(), "the activator to leave")
    bus.stop()
    wait_for(lambda: not keeper.left(), "everything to be gone")


def service(name, actions, user="root", **keys):
    words = " ".join(f'"{w}"' for w in [TEST, *(actions.split())])
    machine.system_service(name, words, user, **keys)
