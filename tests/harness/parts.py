# SPDX-License-Identifier: MIT
"""The programs under test."""
import json
import os
import shlex
import signal
import subprocess
import tempfile

from .base import BOUND, Failure, pump, read_text, wait_for
from .bus import ACTIVATOR as NAME
from .bus import ACTIVATOR_PATH as PATH
from .process import argv_of, below, children, comm_of, keeper



class Activator:
    """dbus-activatord, ready when the constructor returns. It puts itself under the top reaper,
    which is thus the process that was started."""

    def __init__(self, world, bus, *options, ready=True, env=None, bus_option=None, wrap=()):
        self.world = world
        self.bus = bus
        self.number = len(world.activators)
        self.errors = world.path / f"activator{self.number}.stderr"
        self.expected_status = (0,)
        read_end, write_end = os.pipe()
        argv = [*wrap, *shlex.split(os.environ.get("DBA_WRAP", ""))]
        argv += [str(world.program("daemon/dbus-activatord")),
                 *(bus_option or ["--address", bus.address]), "--ready-fd", str(write_end),
                 *options]
        with open(self.errors, "wb") as errors:
            self.popen = keeper.add(subprocess.Popen(
                argv, env=env or world.env, cwd=world.path, stdin=subprocess.DEVNULL,
                stdout=errors, stderr=errors, pass_fds=[write_end], start_new_session=True))
        os.close(write_end)
        os.set_blocking(read_end, False)
        self.ready_fd = read_end
        self.is_ready = False
        self.top = self.popen.pid
        world.activators.append(self)
        if ready:
            self.wait_ready()

    def _look(self):
        try:
            data = os.read(self.ready_fd, 100)
        except BlockingIOError:
            return self.popen.poll() is not None
        self.is_ready = data == b"\n"
        return True

    def wait_ready(self):
        wait_for(self._look, "the activator to be ready")
        if not self.is_ready:
            raise Failure(f"the activator did not become ready (status {self.popen.poll()}): "
                          f"{read_text(self.errors)}")

    @property
    def pid(self):
        """The activator itself, 0 when there is none at the moment. With the bus owner's word
        and not by its name alone: a fork of it has the same name for a moment."""
        found = [p for p in children(self.top) if comm_of(p) == "dbus-activatord"]
        if len(found) > 1:
            owner = self.bus.owner_pid(NAME)
            return owner if owner in found else 0
        return found[0] if found else 0

    def reapers(self):
        """Title -> pid of the reapers below the top reaper, without the one that only makes
        spares."""
        titles = {" ".join(argv_of(p)): p for p in below(self.top)}
        return {t: p for t, p in titles.items()
                if "dbus-activator-reaper" in t.split(" ")[0] and not t.endswith(": mould")}

    def reaper_of(self, name):
        """The pid of the reaper that serves this bus name, 0: none."""
        return next((pid for title, pid in sorted(self.reapers().items(), key=lambda r: -r[1])
                     if title.endswith(f": {name}")), 0)

    def wait_end(self, bound=None):
        wait_for(lambda: self.popen.poll() is not None, "the activator to leave", bound)
        return self.popen.returncode

    def stop(self, number=signal.SIGTERM):
        """Asks it to leave; answers its status."""
        if self.popen.poll() is None:
            self.popen.send_signal(number)
        return self.wait_end()

    def close(self):
        """For the end of a case: problems, as texts."""
        problems = []
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
            try:
                self.popen.wait(BOUND)
            except subprocess.TimeoutExpired:
                problems.append("the activator did not leave on SIGTERM")
                self.popen.kill()
                self.popen.wait()
        if not problems and self.popen.returncode not in self.expected_status:
            problems.append(f"activator {self.number} ended with {self.popen.returncode}")
        os.close(self.ready_fd)
        return problems


class Ctl:
    """The outcome of one dbus-activatorctl."""

    def __init__(self, world, address, *args, json_output=True, env=None, bus_option=None):
        argv = [str(world.program("ctl/dbus-activatorctl"))]
        argv += bus_option if bus_option is not None else ["--address", address]
        if json_output:
            argv.append("--json")
        argv += args
        # Into files: a pipe would be held open by whatever outlives the program.
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            with keeper.add(subprocess.Popen(argv, env=env or world.env, cwd=world.path,
                                             stdin=subprocess.DEVNULL, stdout=out,
                                             stderr=err)) as popen:
                wait_for(lambda: popen.poll() is not None, f"the end of {' '.join(argv)}")
            self.rc = popen.returncode
            out.seek(0)
            err.seek(0)
            self.out = out.read().decode(errors="replace")
            self.err = err.read().decode(errors="replace")
        self.json = None
        if json_output and self.out.strip():
            try:
                self.json = json.loads(self.out)
            except ValueError as error:
                raise Failure(f"{' '.join(args)}: no JSON ({error}): {self.out[:500]}") from error

    def __repr__(self):
        return f"status {self.rc}, output {self.out!r}, errors {self.err!r}"


class Session:
    """dbus-activator-session with a command."""

    def __init__(self, world, *argv, options=(), env=None, wrap=()):
        self.world = world
        self.errors = world.path / "session.stderr"
        self.output = world.path / "session.stdout"
        with open(self.errors, "ab") as errors, open(self.output, "wb") as output:
            self.popen = keeper.add(subprocess.Popen(
                [*wrap, str(world.program("session/dbus-activator-session")), *options, "--",
                 *argv],
                env=env or world.env, cwd=world.path, stdin=subprocess.DEVNULL, stdout=output,
                stderr=errors, start_new_session=True))
        self.pid = self.popen.pid
        world.sessions.append(self)

    def wait_end(self, bound=None):
        wait_for(lambda: self.popen.poll() is not None,
                 lambda: f"the end of the session: {read_text(self.errors)}", bound)
        return self.popen.returncode

    def close(self):
        if self.popen.poll() is not None:
            return []
        self.popen.send_signal(signal.SIGTERM)
        try:
            self.popen.wait(BOUND)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
            return ["the session did not end on SIGTERM"]
        pump()
        return []
