#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Services of Debian, started by a client's call through the bus."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness import *  # noqa: E402

FOLDER = pathlib.Path("/usr/share/dbus-1/services")
NAME = "org.dbusactivator.Activator1"
# Names that one process takes together -> package.
SERVICES = {
    ("ca.desrt.dconf",): "dconf-service",
    ("org.xfce.Xfconf",): "xfconf",
    ("org.freedesktop.impl.portal.PermissionStore",): "xdg-desktop-portal",
    ("org.mpris.MediaPlayer2.playerctld",): "playerctl",
    ("org.freedesktop.thumbnails.Thumbnailer1", "org.freedesktop.thumbnails.Manager1",
     "org.freedesktop.thumbnails.Cache1"): "tumbler",
    ("org.a11y.Bus",): "at-spi2-core",
}


def installed_names():
    found = set()
    for file in FOLDER.glob("*.service"):
        for line in file.read_text(errors="replace").splitlines():
            if line.startswith("Name="):
                found.add(line[5:].strip())
    return found


def prepare(world, names, package, door):
    if not set(names) <= installed_names():
        raise Skip(f"package {package} is not installed")
    world.env.update(XDG_DATA_DIRS="/usr/local/share:/usr/share", XDG_SESSION_TYPE="tty",
                     NO_AT_BRIDGE="1")
    return world.both(door)


def first_call(bus, name):
    """Any method call starts it; this one every service answers."""
    return bus.connect().begin(name, "/", "org.freedesktop.DBus.Peer", "Ping")


def settle(world, bus, name):
    """The main process, as soon as the activator knows the owner."""
    pid = bus.owner_pid(name)
    wait_for(lambda: world.fields(bus, name)["MainPID"] == pid, f"the state of {name}")
    return pid


def register(names, package, door):
    @case(f"{names[0]}, {door} door")
    def _(world):
        bus, activator = prepare(world, names, package, door)
        signals = world.recorder(bus)
        pending = [first_call(bus, n) for n in names]
        for name, p in zip(names, pending):
            error = p.error()
            check(error is None, f"{name}: the client's call is answered", error)
        pids = [settle(world, bus, n) for n in names]
        check_equal(len(set(pids)), 1, "one process has the names")
        check_in(pids[0], below(activator.top), "it lives below the top reaper")
        for name in names:
            fields = world.fields(bus, name)
            check_equal((fields["State"], fields["MainPID"]), ("running", pids[0]),
                        f"{name}: runs")
            check(pids[0] in [p[0] for p in world.member(bus, "ListProcesses", "(s)", name)],
                  f"{name}: its process is listed")
        owners = [n for n in names if world.fields(bus, n)["Managed"]]
        check(owners, "the activator has started it")
        stopped = [bus.client.begin(NAME, "/org/dbusactivator/Activator1", NAME, "StopService",
                                    "(s)", n).error() for n in owners]
        check_equal([e for e in stopped if e and not e.name.endswith("NotRunning")], [],
                    "it is stopped")
        check(not alive(pids[0]), "it is gone")
        wait_for(lambda: [s for s in signals if s[0] == "ServiceExited" and s[1][2] == pids[0]],
                 "its end to be reported")
        check_equal(activator.stop(), 0, "the activator leaves")
        if door == "helper":
            error = first_call(bus, names[0]).error()
            check(error is None, "the bus starts it as before", error)
            for pid in [p for p in below() if p != bus.pid]:
                kill_pid(pid)


for the_names, the_package in SERVICES.items():
    for the_door in ("signal", "helper"):
        register(the_names, the_package, the_door)


for the_door in ("signal", "helper"):
    @case(f"the bus that org.a11y.Bus starts, {the_door} door")
    def _(world, door=the_door):
        bus, activator = prepare(world, ("org.a11y.Bus",), "at-spi2-core", door)
        address = bus.client.call("org.a11y.Bus", "/org/a11y/bus", "org.a11y.Bus", "GetAddress")
        check_match("^unix:", address, "it answers with an address")
        listed = world.member(bus, "ListProcesses", "(s)", "org.a11y.Bus")
        inner = [p[0] for p in listed if "dbus-daemon" in p[2] or "dbus-broker" in p[2]]
        check_equal(len(inner), 1, "its bus is among its processes", )
        world.member(bus, "StopService", "(s)", "org.a11y.Bus")
        check_equal([p for p in inner if alive(p)], [], "and ends with it")
        check(alive(activator.pid), "the activator is there")


@case("in a session of the wrapper")
def _(world):
    names = [n[0] for n in SERVICES if set(n) <= installed_names()]
    if not names:
        raise Skip("none of the packages is installed")
    world.env.update(XDG_DATA_DIRS="/usr/local/share:/usr/share", NO_AT_BRIDGE="1")
    ctl = world.program("ctl/dbus-activatorctl")
    calls = " && ".join(
        f"dbus-send --session --print-reply --reply-timeout=2000000 --dest={n} / "
        f"org.freedesktop.DBus.Peer.Ping >/dev/null && {ctl} --session status {n}" for n in names)
    session = world.session("/bin/sh", "-c", calls)
    status = session.wait_end()
    check_equal(status, 0, "every service answers and has a status")
    text = session.output.read_text()
    check_equal([n for n in names if n not in text], [], "each is shown")
    check_equal(below(), [], "nothing is left")

main()
