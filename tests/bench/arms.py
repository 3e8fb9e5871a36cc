# SPDX-License-Identifier: MIT
"""The ways to start a service that are compared. Each arm, between start() and stop(), is a bus
on which the services PREFIX0 … PREFIXn-1 can be asked for; its processes are in a cgroup."""
import os
import pathlib
import select
import shutil
import signal
import subprocess
import time

from gi.repository import GLib

from cgroup import Cgroup
from harness.base import Failure, Skip, read_text, wait_for
from harness.bus import BusAt, DBusError
from harness.parts import NAME, PATH
from harness.process import argv_of, below, comm_of, keeper
from harness.world import BUILD, World, test_service

PREFIX = "org.dba.B"
CLIENT = BUILD / "tests/bench/bench-client"


def timed_ready(argv, **more):
    """Starts dbus-activatord; answers (Popen, seconds until its newline came)."""
    reader, writer = os.pipe()
    began = time.monotonic()
    popen = keeper.add(subprocess.Popen([*argv, "--ready-fd", str(writer)], pass_fds=[writer],
                                        stdin=subprocess.DEVNULL, start_new_session=True, **more))
    os.close(writer)
    try:
        if not select.select([reader], [], [], 60)[0] or os.read(reader, 10) != b"\n":
            raise Failure("the activator did not become ready")
        return popen, time.monotonic() - began
    finally:
        os.close(reader)


class Arm:
    door = None             # of the activator, None: there is none
    by_client = False       # posix_spawn by the client itself
    systemd_activation = False

    def __init__(self, key, **more):
        self.key = key
        self.ready_seconds = None
        self.activator = None
        self.orphans = None
        self.__dict__.update(more)

    def reason_to_skip(self):
        return None

    def start(self, count, orphans=0):
        """count service files; orphans: one more, which has this many when it runs."""
        self.world = World(self.key)
        self.cgroup = Cgroup(self.key)
        self.names = [f"{PREFIX}{i}" for i in range(count)]
        self.names += ["org.dba.Orphans"] if orphans else []
        try:
            with self.cgroup:
                for name in self.names:
                    self.write(name, ["orphans", str(orphans)] if name.endswith("Orphans") else [])
                self.up()
        except BaseException:
            # Not before the cgroup has been left: it could not be removed.
            self.stop()
            raise

    def write(self, name, actions):
        self.world.service(name, [*actions, "name", name])

    def up(self):
        self.bus = self.world.bus(systemd_activation=self.systemd_activation)
        self.address = self.bus.address
        if self.door:
            with open(self.world.path / "activator.stderr", "wb") as errors:
                self.activator, self.ready_seconds = timed_ready(
                    [str(self.world.program("daemon/dbus-activatord")), "--address",
                     self.address, "--door", self.door],
                    env=self.world.env, cwd=self.world.path, stderr=errors)
            self.world.served(self.bus, *self.names)

    def client(self, *args):
        """What the client prints, as lists of words. The floor's client is part of what is
        measured: it is what spawns."""
        mode, *rest = [str(a) for a in args]
        argv = [str(CLIENT), mode, self.address, *rest]
        if self.by_client:
            with self.cgroup:
                popen = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        else:
            popen = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        keeper.add(popen)
        out, errors = popen.communicate(timeout=120)
        if popen.returncode:
            raise Failure(f"{self.key}: {errors.decode().strip()}")
        return [line.split() for line in out.decode().splitlines()]

    def latency(self, names, count, pause):
        mode = ["spawn"] if self.by_client else ["start"]
        more = [test_service()] if self.by_client else []
        return [int(w[0]) for w in
                self.client(mode[0], PREFIX, names, count, pause, *more)]

    def burst(self, first, count, window):
        mode = "spawn-burst" if self.by_client else "burst"
        more = [test_service()] if self.by_client else []
        return int(self.client(mode, PREFIX, first, count, window, *more)[0][0])

    def services(self):
        return [p for p in below() if comm_of(p) == "test-service"]

    def end_services(self):
        for pid in self.services():
            os.kill(pid, signal.SIGTERM)
        wait_for(lambda: not self.services(), "the services to be gone")

    def activator_pid(self):
        return next((p for p in below() if comm_of(p) == "dbus-activatord"), 0)

    def reapers(self):
        """Title -> pid."""
        return {argv_of(p)[0] + " ".join(argv_of(p)[1:]): p for p in below()
                if "dbus-activator-reaper" in (argv_of(p) or [""])[0]}

    def status(self, name):
        return self.bus.client.call(NAME, PATH, NAME, "GetService", "(s)", name)

    def down(self):
        self.end_services()
        if self.activator:
            self.activator.terminate()
            self.activator.wait(90)
            self.activator = None
        self.bus.stop()

    def stop(self):
        try:
            self.down()
        finally:
            if keeper.left():
                time.sleep(0.2)
            left = keeper.end_all(60)
            keeper.reap()
            keeper.owned.clear()
            self.cgroup.remove()
            self.clean()
            self.world.remove()
        if left:
            raise Failure(f"{self.key}: processes are left: {left}")

    def clean(self):
        pass


class SystemdArm(Arm):
    """systemd --user with a bus of its own, units of Type=dbus."""
    systemd_activation = True
    # Without this folder it says that the machine has not been booted with systemd, and leaves.
    BOOTED = pathlib.Path("/run/systemd/system")

    def reason_to_skip(self):
        if not os.path.exists("/usr/lib/systemd/systemd"):
            return "systemd is not installed"
        if "DBA_MACHINE" not in os.environ and not self.BOOTED.exists():
            return f"it wants {self.BOOTED}, and only in a machine of its own may that be made"
        return None if Cgroup.usable() else "it needs a cgroup of its own"

    def unit(self, name, text):
        folder = self.world.path / "units"
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(text)

    def write(self, name, actions):
        self.world.service(name, ["name", name], SystemdService=f"{name}.service")
        socket = self.world.runtime / "bus"
        # SIGTERM is a clean end, as for the others; and no limit of starts.
        self.unit(f"{name}.service", "[Unit]\nStartLimitIntervalSec=0\n[Service]\nType=dbus\n"
                  f"BusName={name}\nEnvironment=DBUS_STARTER_ADDRESS=unix:path={socket}\n"
                  f"ExecStart={test_service()} {' '.join(actions)} name {name}\n")

    def up(self):
        from harness.bus import CONFIG
        config = self.world.path / "systemd-bus.conf"
        config.write_text(CONFIG.replace("unix:path={socket}", "systemd:")
                          .format(start_timeout=3600000))
        self.unit("dbus.socket", "[Socket]\nListenStream=%t/bus\n")
        self.unit("dbus.service", "[Unit]\nRequires=dbus.socket\n[Service]\nType=notify\n"
                  "NotifyAccess=main\n"
                  f"ExecStart=/usr/bin/dbus-daemon --config-file={config} --address=systemd: "
                  "--nofork --nopidfile --nosyslog --systemd-activation\n")
        self.unit("default.target", "[Unit]\nRequires=dbus.socket dbus.service\n"
                  "After=dbus.socket dbus.service\n[Install]\n")
        env = dict(self.world.env, SYSTEMD_UNIT_PATH=f"{self.world.path}/units:",
                   SYSTEMD_LOG_TARGET="console", SYSTEMD_LOG_LEVEL="warning")
        self.errors = self.world.path / "systemd.stderr"
        self.BOOTED.mkdir(parents=True, exist_ok=True)
        with open(self.errors, "wb") as errors:
            self.popen = keeper.add(subprocess.Popen(
                ["/usr/lib/systemd/systemd", "--user"], env=env, stdin=subprocess.DEVNULL,
                stdout=errors, stderr=errors, start_new_session=True))
        self.address = f"unix:path={self.world.runtime}/bus"
        self.bus = BusAt(self.world, self.address)
        try:
            wait_for(self._ready, "systemd --user", 20)
        except Failure as failure:
            said = read_text(self.errors).strip().splitlines()
            raise Skip(f"systemd --user does not start here: {said[-1:]}") from failure

    def _ready(self):
        if self.popen.poll() is not None:
            raise Failure("it ended")
        if not (self.world.runtime / "bus").exists():
            return False
        try:
            return self.bus.has_owner("org.freedesktop.systemd1")
        except (DBusError, GLib.Error):
            return False  # it has the socket and does not listen yet, or not the name

    def down(self):
        self.end_services()
        self.bus.stop()
        self.popen.terminate()
        try:
            self.popen.wait(10)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()

    def clean(self):
        if "DBA_MACHINE" in os.environ and self.BOOTED.exists():
            self.BOOTED.rmdir()


class SystemArm(Arm):
    """A real system bus in the machine of the test's own."""
    helper = None           # "reference" or "ours"
    FOLDER = pathlib.Path("/usr/share/dbus-1/system-services")
    DROP_IN = pathlib.Path("/usr/share/dbus-1/system.d/org.dbusactivator.Activator1.conf")
    SYSTEMLESS = "/usr/share/dbus-activator/init/dbus-activator-systemless.conf"

    def reason_to_skip(self):
        if "DBA_MACHINE" not in os.environ:
            return "needs root and a build folder configured with --prefix=/usr"
        return None

    def write(self, name, actions):
        words = " ".join([str(test_service()), *actions, "name", name])
        (self.FOLDER / f"{name}.service").write_text(
            f"[D-BUS Service]\nName={name}\nExec={words}\nUser=root\n")

    def clean(self):
        for file in self.FOLDER.glob("org.dba.*"):
            file.unlink()

    def up(self):
        import machine
        off = self.DROP_IN.with_suffix(".off")
        if self.helper == "reference":
            if self.DROP_IN.exists():
                self.DROP_IN.rename(off)
        elif off.exists():
            off.rename(self.DROP_IN)
        which = ["--system"]
        if self.systemd_activation:
            which = ["--systemd-activation", f"--config-file={self.SYSTEMLESS}"]
        pathlib.Path(machine.SOCKET).unlink(missing_ok=True)
        self.errors = self.world.path / "bus.stderr"
        with open(self.errors, "wb") as errors:
            self.popen = keeper.add(subprocess.Popen(
                ["dbus-daemon", *which, "--nofork", "--nopidfile", "--nosyslog"],
                stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, cwd="/",
                start_new_session=True))
        self.address = machine.ADDRESS
        self.bus = BusAt(self.world, self.address)
        wait_for(self._ready, lambda: f"the system bus: {read_text(self.errors)}")
        if self.door:
            self.activator, self.ready_seconds = timed_ready(
                [machine.DAEMON, "--system", "--door", self.door], cwd="/",
                stderr=subprocess.DEVNULL)
            folder = pathlib.Path("/run/dbus-activator/system/services")
            wait_for(lambda: {p.stem for p in folder.glob("*.service")} >= set(self.names),
                     "generated files")
            self.bus.client.dbus("ReloadConfig")

    def _ready(self):
        try:
            return bool(self.bus.client)
        except Exception:  # pylint: disable=broad-except
            return False

    def down(self):
        self.end_services()
        pid = self.activator_pid()
        if pid and not self.activator:
            # Started by the helper; its top reaper goes with it.
            os.kill(pid, signal.SIGTERM)
            wait_for(lambda: not self.activator_pid(), "the activator to leave")
        if self.activator:
            self.activator.terminate()
            self.activator.wait(90)
            self.activator = None
        self.bus.stop()
        self.popen.terminate()
        self.popen.wait(90)
        shutil.rmtree("/run/dbus-activator", ignore_errors=True)


POLICY = """<busconfig>
  <policy context="default">
    <allow own_prefix="org.dba"/><allow send_destination_prefix="org.dba"/>
  </policy>
  <limit name="max_connections_per_user">100000</limit>
  <limit name="max_completed_connections">100000</limit>
  <limit name="max_pending_service_starts">10000</limit>
</busconfig>
"""


def all_arms():
    return [
        Arm("floor", by_client=True),
        Arm("dbus-daemon"),
        Arm("signal", door="signal", systemd_activation=True),
        Arm("helper", door="helper"),
        SystemdArm("systemd-user"),
        SystemArm("reference", helper="reference"),
        SystemArm("setuid", helper="ours"),
        SystemArm("systemless", helper="ours", door="signal", systemd_activation=True),
    ]
