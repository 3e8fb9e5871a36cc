#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What cannot be killed: the error names it, and nothing waits for ever."""
import ctypes
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from harness import *  # noqa: E402

NAME = "org.dbusactivator.Activator1"


class Mount:
    """A folder that holds whoever looks into it, until end()."""

    def __init__(self, world):
        self.point = world.path / "held"
        self.point.mkdir()
        errors = world.path / "fuse.stderr"
        with open(errors, "wb") as err:
            self.server = subprocess.Popen(["/usr/bin/python3", str(HERE / "unanswered.py"),
                                            str(self.point)], stdout=subprocess.PIPE, stderr=err)
        if not self.server.stdout.readline():
            self.server.wait()
            raise Skip(f"no FUSE mounts here: {errors.read_text().strip()[-200:]}")

    def end(self):
        """Its requests fail then, and who waited goes on (and dies)."""
        if self.server.poll() is None:
            self.server.kill()
        self.server.wait()
        self.server.stdout.close()
        ctypes.CDLL(None).umount2(str(self.point).encode(), 2)


@case("a process that survives SIGKILL")
def _(world):
    mount = Mount(world)
    try:
        stuck = f"{test_service()} await {mount.point}/x"
        world.write_service("test.Held", f"/bin/sh -c '{stuck} & exec {test_service()} "
                            "name test.Held'")
        world.service("test.Other", "name test.Other")
        bus, activator = world.both("signal", "--stop-timeout", "0.5")
        bus.start("test.Held")
        bus.start("test.Other")
        check_equal(mount.server.stdout.readline(), b"held\n", "a process waits for the mount")
        pid = wait_for(lambda: next(iter(pids_with(" await ")), 0), "its pid")
        main = bus.owner_pid("test.Held")

        def check_text(text, title):
            check(f"test.Held: still running after SIGKILL: {pid} {stuck}" in text and
                  f"{main} " not in text, title, text)

        asked = bus.client.begin(NAME, "/org/dbusactivator/Activator1", NAME, "StopService",
                                 "(s)", "test.Held")
        wait_for(lambda: not alive(main), "the end of the main process")
        check_equal(world.fields(bus, "test.Held")["State"], "stopping", "while it is tried")
        check_equal(world.ctl(bus, "stop", "test.Other").rc, 0, "another one is stopped meanwhile")
        error = asked.error()
        check_equal(error and error.name, "org.dbusactivator.Error.StillRunning", "StopService")
        check_text(error.message, "it names who survives, and nobody else")
        got = world.ctl(bus, "stop", "test.Held", json_output=False)
        check_equal(got.rc, 1, "ctl stop fails")
        check_text(got.err, "and says the same")
        got = world.ctl(bus, "stop", "--all", json_output=False)
        check(got.rc == 1 and f"still running: {pid} {stuck}" in got.err, "stop --all", repr(got))
        got = world.ctl(bus, "processes", "test.Held")
        check_equal([p["pid"] for p in got.json], [pid], "it is owned still")
        check(f"{pid} " in world.ctl(bus, "status", "test.Held", json_output=False).out,
              "status shows it")
        check_equal(bus.start("test.Held"), 1, "a new start is served beside it")
        check_equal(world.fields(bus, "test.Held")["NRuns"], 2, "as a run of its own")
        mount.end()
        wait_for(lambda: not alive(pid), "its end")
        check_settles(lambda: world.fields(bus, "test.Held")["NRuns"], 1, "which is noticed")
        check_equal(world.ctl(bus, "stop", "test.Held").rc, 0, "now it can be stopped")
        check(alive(activator.pid), "the activator is there")
    finally:
        mount.end()


main()
