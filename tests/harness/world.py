# SPDX-License-Identifier: MIT
"""The surroundings of one case: folders, environment, what was started, and the look at what is
left when it is over."""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time

from .base import BOUND, Failure, pump, read_text, wait_for
from .bus import Bus
from .parts import NAME, PATH, Activator, Ctl, Session
from .process import describe, keeper

_HERE = pathlib.Path(__file__).resolve().parent
SOURCE = pathlib.Path(os.environ.get("DBA_SOURCE_ROOT", _HERE.parents[1]))
BUILD = pathlib.Path(os.environ.get("DBA_BUILD_ROOT", SOURCE / "build"))

# The words by which a sanitizer or valgrind speaks.
_FINDINGS = re.compile(r"(AddressSanitizer|LeakSanitizer|runtime error:|ThreadSanitizer|"
                       r"==\d+== (Invalid|Conditional|Use of|Syscall param|Process terminating)|"
                       r"definitely lost: [1-9]|GLib-CRITICAL|GLib-GObject-CRITICAL|"
                       r"Assertion .* failed|assertion .* failed)")


def program(name):
    return BUILD / "activator" / name


def test_service():
    return BUILD / "tests/services/test-service"


def quote(argument):
    """For an Exec line."""
    return '"' + re.sub(r'([$`"\\])', r'\\\1', str(argument)) + '"'


class World:
    def __init__(self, name, door=None):
        self.name = name
        self.door = door
        # Short: the path of a socket has to fit 108 bytes.
        base = os.environ.get("TMPDIR", "/tmp")
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="dba-",
                                                  dir=base if len(base) < 40 else "/tmp"))
        self.runtime = self.path / "run"
        self.runtime.mkdir(mode=0o700)
        self.data = self.path / "data"
        self.services = self.data / "dbus-1/services"
        self.services.mkdir(parents=True)
        (self.path / "share").mkdir()
        self.buses, self.activators, self.sessions = [], [], []
        self.expected_findings = None
        self.env = {k: v for k, v in os.environ.items()
                    if not re.match(r"(XDG_|DBUS_|DBA_|MESON|MALLOC_|LISTEN_|NOTIFY_|JOURNAL_|"
                                    r"INVOCATION_|DISPLAY|WAYLAND_|GIO_|GTK_|GSETTINGS_|LC_|LANG)",
                                    k)}
        self.env.update(HOME=str(self.path), XDG_RUNTIME_DIR=str(self.runtime),
                        XDG_DATA_HOME=str(self.data), XDG_DATA_DIRS=str(self.path / "share"),
                        XDG_CONFIG_HOME=str(self.path / "config"),
                        XDG_CACHE_HOME=str(self.path / "cache"), LC_ALL="C.UTF-8")
        self.fd_count = len(os.listdir("/proc/self/fd"))

    # --- what a case starts

    def program(self, name):
        return program(name)

    def bus(self, **more):
        bus = Bus(self, **more)
        self.buses.append(bus)
        return bus

    def activator(self, bus, *options, **more):
        return Activator(self, bus, *options, **more)

    def both(self, door, *options, **more):
        """A bus and an activator for this door, "signal" or "helper"."""
        bus = self.bus(systemd_activation=door == "signal", **more)
        return bus, self.activator(bus, *options)

    def session(self, *argv, **more):
        return Session(self, *argv, **more)

    def ctl(self, bus, *args, **more):
        return Ctl(self, bus.address if bus else None, *args, **more)

    def status(self, bus, name):
        """`status --json NAME`, whatever its exit status."""
        return self.ctl(bus, "status", name).json or {}

    def fields(self, bus, name):
        """GetService: the same by D-Bus, at a fraction of the cost."""
        return bus.client.call(NAME, PATH, NAME, "GetService", "(s)", name)

    def member(self, bus, member, signature="()", *args):
        return bus.client.call(NAME, PATH, NAME, member, signature, *args)

    def recorder(self, bus):
        """The activator's own signals, as they come."""
        return bus.connect().record(interface=NAME)

    # --- service files

    def service_text(self, name, exec_line, **keys):
        # Escapes of the file format, which are undone before the line is taken apart.
        value = exec_line.replace("\\", "\\\\").replace("\n", "\\n")
        more = "".join(f"{k}={v}\n" for k, v in keys.items())
        return f"[D-BUS Service]\nName={name}\nExec={value}\n{more}"

    def exec_line(self, actions):
        """actions: a list of arguments of test-service, or a string to be split at blanks."""
        words = actions.split() if isinstance(actions, str) else actions
        return " ".join(quote(w) for w in [test_service(), *words])

    def write_service(self, name, exec_line, file=None, **keys):
        """In one step: nobody may ever read half of it."""
        target = self.services / (file or f"{name}.service")
        new = self.path / f"{name}.new"
        new.write_text(self.service_text(name, exec_line, **keys))
        os.rename(new, target)
        return target

    def service(self, name, actions, **keys):
        """A service file that runs test-service with these actions."""
        return self.write_service(name, self.exec_line(actions), **keys)

    def generated(self):
        """Names of the services for which there is a generated file."""
        folder = self.runtime / "dbus-1/services"
        return {p.name[:-len(".service")] for p in folder.glob("*.service")
                if "generated by dbus-activator" in read_text(p)}

    def served(self, bus, *names):
        """Waits until the bus sends requests for these names to the activator. It may have read
        the originals a moment before the generated files were there, and starts services itself
        then; when it reads its folders again after they are there, it has them for certain."""
        wait_for(lambda: self.generated() >= set(names),
                 lambda: f"generated files for {sorted(set(names) - self.generated())}")
        bus.client.dbus("ReloadConfig")

    # --- small things that services and tests tell each other

    def mark(self, name):
        return self.path / f"mark-{name}"

    def set_mark(self, name):
        self.mark(name).touch()

    # --- the end

    def report(self):
        """What the programs said and which processes there are."""
        lines = []
        for part in self.buses + self.activators + self.sessions:
            # What dbus-daemon says of each start is of no use here.
            said = [line for line in read_text(part.errors).splitlines()
                    if not re.search(r"\] (Successfully|Activating|Reloaded)|fd limit|died with its predecessor", line)]
            if said:
                lines += [f"--- {part.errors.name}:", *said[-40:]]
        return "\n".join(lines + ["--- processes:", describe()])

    def _findings(self):
        problems = []
        files = [p.errors for p in self.buses + self.activators + self.sessions]
        for file in files:
            for line in read_text(file).splitlines():
                if _FINDINGS.search(line) and not (self.expected_findings and
                                                   re.search(self.expected_findings, line)):
                    problems.append(f"{file.name}: {line}")
        return problems[:20]

    def close(self):
        """Ends everything, the activators first; answers the problems."""
        problems = []
        pump()
        for part in self.sessions[::-1] + self.activators[::-1]:
            problems += part.close()
        problems += [p for bus in self.buses[::-1] for p in bus.stop()]
        # What was only told to go is given time; what stays after that has been lost.
        end = time.monotonic() + BOUND / 3
        while keeper.left() and time.monotonic() < end:
            time.sleep(0.01)
        if keeper.left():
            problems.append(f"processes are left:\n{describe()}")
            if keeper.end_all(BOUND):
                problems.append(f"which do not die:\n{describe()}")
        keeper.reap()
        keeper.owned.clear()
        for folder in (self.runtime / "dbus-1/services", self.runtime / "dbus-activator"):
            problems += self._files_left(folder)
        problems += self._findings()
        return problems

    def _files_left(self, folder):
        """Generated files and sockets. The history and the logs may stay."""
        found = []
        for path in sorted(folder.rglob("*")):
            if path.is_socket() or (path.suffix == ".service" and
                                    "generated by dbus-activator" in read_text(path)):
                found.append(f"left behind: {path.relative_to(self.path)}")
        return found if not self.leftovers_allowed else []

    leftovers_allowed = False

    def _unmount(self):
        """FUSE mounts whose server the case has killed (the real gvfs makes one)."""
        for line in read_text("/proc/self/mountinfo").splitlines():
            before, _, after = line.partition(" - ")
            point = before.split()[4]
            if point.startswith(f"{self.path}/") and after.startswith("fuse"):
                subprocess.run(["umount" if os.geteuid() == 0 else "fusermount3",
                                *(["-l"] if os.geteuid() == 0 else ["-uz"]), point], check=False)

    def remove(self, keep=False):
        self._unmount()
        if keep:
            print(f"# kept: {self.path}", flush=True)
            return
        shutil.rmtree(self.path, ignore_errors=True)
        if self.path.exists():
            raise Failure(f"{self.path} cannot be removed")
