#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The files of data/init at work: each init's own supervisor or init script starts, restarts and
stops the activator in the machine, as data/init/README.md says."""
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import machine  # noqa: E402

machine.enter(__file__)

from harness import tap  # noqa: E402
from harness.base import Skip, read_text, wait_for  # noqa: E402
from harness.bus import Connection  # noqa: E402
from harness.process import alive, comm_of, keeper, kill_pid, parent_of  # noqa: E402
from harness.tap import case, check, check_equal, check_settles  # noqa: E402
from systembus import NAME, SystemBus, activators, ctl, service  # noqa: E402

INIT = pathlib.Path("/usr/share/dbus-activator/init")
SERVICE = "org.dba.Init"


class OthersBus(SystemBus):
    """A system bus that an init has started."""

    def __init__(self, world):  # pylint: disable=super-init-not-called
        wait_for(lambda: os.path.exists(machine.SOCKET), "the bus's socket")
        wait_for(self._answers, "the bus")
        self.client = Connection(machine.ADDRESS)
        self.world = world

    def _answers(self):
        try:
            Connection(machine.ADDRESS).close()
            return True
        except Exception:  # pylint: disable=broad-except
            return False


def command(*argv):
    """Runs it to its end, while this process waits for orphans as a PID 1 does: init scripts wait
    for pids to vanish. Answers its exit status."""
    with open("/run/command.out", "ab") as out:
        popen = keeper.add(subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                            start_new_session=True, cwd="/"))

    def ended():
        keeper.reap()
        return popen.poll() is not None

    wait_for(ended, lambda: f"{argv}: {read_text('/run/command.out')[-2000:]}")
    return popen.returncode


def needs(*programs):
    for program in programs:
        if not shutil.which(program):
            raise Skip(f"{program} is not installed")


def activator_is_there(bus):
    keeper.reap()
    return bus.owner_pid(NAME)


def top():
    """0 while there is none."""
    found = activators()
    return parent_of(found[0]) if found else 0


def life(bus, start, stop, restart, status=None, reload=None, supervised=True):
    """start() has been called. Each is a function; status answers whether the init says it runs."""
    service(SERVICE, f"name {SERVICE}", "nobody")
    wait_for(lambda: activator_is_there(bus), "the activator")
    wait_for(lambda: len(activators()) == 1, "one activator")
    if status:
        check(status(), "the init says that it runs")
    check_equal(bus.start(SERVICE), 1, "a service starts")
    pid, run = bus.owner_pid(SERVICE), bus.fields(SERVICE)["Run"]
    check(bus.fields(SERVICE)["Managed"], "owned")

    def the_same(what):
        wait_for(lambda: activator_is_there(bus), "the activator")
        check(alive(pid), f"{what}: the service lives")
        check_settles(lambda: bus.known(SERVICE).get("Run"), run, f"{what}: and its run is known")

    if reload:
        check_equal(reload(), 0, "reload")
        the_same("reload")
    old = top()
    check_equal(restart(), 0, "restart")
    wait_for(lambda: activator_is_there(bus) and top() not in (0, old), "the next one")
    the_same("restart")
    if supervised:
        for victim in (top(), *activators()):
            kill_pid(victim)
        wait_for(lambda: not alive(victim), "the activator's end")
        the_same("killed, top reaper and all")
    check_equal(stop(), 0, "stop")
    wait_for(lambda: keeper.reap() or not activators(), "the activator's end")
    if status:
        check(not status(), "the init says that it does not run")
    check(alive(pid) and bus.owner_pid(SERVICE) == pid, "stop leaves the service alone")
    check_equal(start(), 0, "start")
    the_same("stop and start")
    check_equal(ctl("stop", "--all").returncode, 0, "stop --all")
    check(not alive(pid), "stops it")
    check_equal(stop(), 0, "stop")


def gone(bus):
    bus.client.close()
    wait_for(lambda: not keeper.left(), "everything to be gone")
    for path in (machine.SOCKET, "/run/dbus/pid"):
        pathlib.Path(path).unlink(missing_ok=True)


@case("sysvinit")
def sysvinit(world):
    needs("start-stop-daemon")
    script = "/etc/init.d/dbus-activator"
    shutil.copy(INIT / "sysvinit", script)

    def act(word):
        return lambda: command(script, word)

    check_equal(act("status")(), 3, "status before")
    check_equal(command("/etc/init.d/dbus", "start"), 0, "Debian's own script starts the bus")
    bus = OthersBus(world)
    check_equal(act("start")(), 0, "start")
    check_equal(act("start")(), 0, "a second start does no harm")
    life(bus, act("start"), act("stop"), act("restart"), lambda: act("status")() == 0,
         act("reload"), supervised=False)
    check_equal(act("stop")(), 0, "a second stop does no harm")
    check_equal(act("nonsense")(), 2, "anything else is refused")
    os.unlink(script)
    command("/etc/init.d/dbus", "stop")
    gone(bus)


@case("OpenRC")
def openrc(world):
    needs("openrc", "rc-service", "supervise-daemon")
    for entry in pathlib.Path("/etc/runlevels").glob("*/*"):
        entry.unlink()
    for entry in pathlib.Path("/etc/init.d").iterdir():
        if entry.name != "dbus":
            entry.unlink()
    shutil.copy(INIT / "openrc", "/etc/init.d/dbus-activator")
    command("rc-update", "add", "dbus", "default")
    check_equal(command("rc-update", "add", "dbus-activator", "default"), 0, "rc-update add")
    for level in ("sysinit", "boot", "default"):
        check_equal(command("openrc", level), 0, f"openrc {level}")
    bus = OthersBus(world)

    def act(word):
        return lambda: command("rc-service", "dbus-activator", word)

    life(bus, act("start"), act("stop"), act("restart"), lambda: act("status")() == 0,
         act("reload"))
    check_equal(command("rc-update", "del", "dbus-activator"), 0, "rc-update del")
    command("rc-service", "dbus", "stop")
    gone(bus)


def supervisor(*argv):
    with open("/run/supervisor.out", "ab") as out:
        return keeper.add(subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                           start_new_session=True))


def folder(path, run):
    path.mkdir(parents=True)
    (path / "run").write_text(run)
    (path / "run").chmod(0o755)


BUS_RUN = "#!/bin/sh\nexec dbus-daemon --system --nofork --nopidfile\n"


@case("runit")
def runit(world):
    needs("runsvdir", "sv")
    folder(pathlib.Path("/etc/sv/dbus"), BUS_RUN)
    own = pathlib.Path("/etc/sv/dbus-activator")
    own.mkdir()
    shutil.copy(INIT / "runit/run", own / "run")
    (own / "conf").write_text("DBUS_ACTIVATOR_ARGS='--log-level debug'\n")
    pathlib.Path("/etc/service").mkdir(exist_ok=True)
    for name in ("dbus-activator", "dbus"):
        os.symlink(f"/etc/sv/{name}", f"/etc/service/{name}")
    scan = supervisor("runsvdir", "-P", "/etc/service")
    bus = OthersBus(world)

    def act(word):
        return lambda: command("sv", "-w", "90", word, "dbus-activator")

    def runs():
        done = machine.run("sv", "status", "dbus-activator")
        return done.stdout.startswith("run:")

    wait_for(lambda: activator_is_there(bus), "the activator")
    check("--log-level\0debug" in read_text(f"/proc/{activators()[0]}/cmdline"),
          "its conf is read")
    check_equal(comm_of(parent_of(top())), "runsv", "runsv is above it")
    life(bus, act("start"), act("stop"), act("restart"), runs, act("hup"))
    scan.send_signal(signal.SIGHUP)  # it passes SIGTERM on to each
    gone(bus)


@case("s6")
def s6(world):
    needs("s6-svscan", "s6-svc", "s6-svwait")
    scan_folder = pathlib.Path("/run/service")
    folder(scan_folder / "dbus", BUS_RUN)
    own = pathlib.Path("/run/s6-dbus-activator")
    shutil.copytree(INIT / "s6", own)
    check_equal(read_text(own / "notification-fd").strip(), "3", "it is told of descriptor 3")
    scan = supervisor("s6-svscan", str(scan_folder))
    bus = OthersBus(world)
    os.symlink(own, scan_folder / "dbus-activator")
    check_equal(command("s6-svscanctl", "-a", str(scan_folder)), 0, "s6-svscanctl -a")
    place = str(scan_folder / "dbus-activator")
    wait_for(lambda: os.path.exists(f"{place}/supervise/status"), "its supervisor")

    def act(*words):
        return lambda: command("s6-svc", *words, place)

    def is_ready():
        """-U: when the program itself has said so."""
        check_equal(command("s6-svwait", "-U", "-t", "90000", place), 0, "s6 is told: ready")
        check(bus.owner_pid(NAME), "and it is")

    def up():
        status = command("s6-svc", "-u", place)
        is_ready()
        return status

    def restart():
        status = command("s6-svc", "-wR", "-T", "90000", "-r", place)
        is_ready()
        return status

    is_ready()
    check_equal(comm_of(parent_of(top())), "s6-supervise", "s6-supervise is above it")

    def runs():
        return machine.run("s6-svstat", "-o", "up,ready", place).stdout.strip() == "true true"

    life(bus, up, act("-wD", "-T", "90000", "-d"), restart, runs, act("-h"))
    command("s6-svscanctl", "-t", str(scan_folder))
    check_equal(scan.wait(90), 0, "s6-svscan leaves")
    gone(bus)


@case("dinit")
def dinit(world):
    """Debian 12 has no dinit: what the file says is done by hand."""
    text = (INIT / "dinit").read_text()
    keys = dict(re.findall(r"^([a-z-]+) = (.*)$", text, re.M))
    check_equal(keys["ready-notification"], "pipefd:3", "ready-notification")
    bus = SystemBus(world)
    ready, writer = os.pipe()
    log = open("/run/dinit.out", "wb")
    popen = keeper.add(subprocess.Popen(
        ["sh", "-c", f"exec {keys['command']} 3>&{writer} {writer}>&-"], pass_fds=[writer],
        stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True))
    os.close(writer)
    log.close()
    check_equal(os.read(ready, 10), b"\n", "it says that it is ready")
    check(bus.owner_pid(NAME), "and it is")
    check_equal(os.read(ready, 10), b"", "the descriptor is closed then")
    os.close(ready)
    check_equal(popen.pid, top(), "the process that dinit would know passes signals on")
    popen.terminate()
    popen.wait(90)
    bus.stop()
    wait_for(lambda: not keeper.left(), "everything to be gone")


machine.install()
machine.allow_tests()
tap.main()
