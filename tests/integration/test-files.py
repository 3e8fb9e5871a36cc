#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Service files that come, change, break and go while the bus runs."""
import os
import pathlib
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness import *  # noqa: E402
from harness.bus import CONFIG  # noqa: E402

NAME, PATH = "org.dbusactivator.Activator1", "/org/dbusactivator/Activator1"
UNKNOWN = "org.freedesktop.DBus.Error.ServiceUnknown"
DOORS = ("signal", "helper")


def generated(world):
    folder = world.runtime / "dbus-1/services"
    return {p.name for p in folder.glob("*.service")} if folder.exists() else set()


def listed(world, bus):
    return {s[0] for s in world.member(bus, "ListServices")}


for the_door in DOORS:
    @case(f"comes, changes, goes, {the_door} door")
    def _(world, door=the_door):
        bus, _activator = world.both(door)
        check_error(bus.begin_start("test.A").error(), UNKNOWN, "test.A", "there is none yet")
        world.service("test.A", ["stderr", "first", "name", "test.A"])
        wait_for(lambda: "test.A" in listed(world, bus), "the activator to see it")
        world.served(bus, "test.A")
        check_equal(bus.start("test.A"), 1, "it is started")
        pid = bus.owner_pid("test.A")
        wait_for(lambda: world.fields(bus, "test.A").get("MainPID") == pid, "the state")
        check(world.fields(bus, "test.A")["Managed"], "by the activator")
        first = bus.owner_pid("test.A")
        file = world.service("test.A", ["stderr", "second", "name", "test.A"])
        world.member(bus, "Reload")
        check(alive(first), "a change does not disturb what runs")
        world.member(bus, "StopService", "(s)", "test.A")

        def runs_second():
            bus.start("test.A")
            found = "second" in argv_of(bus.owner_pid("test.A"))
            world.member(bus, "StopService", "(s)", "test.A")
            return found

        wait_for(runs_second, "a start with the new command")
        check(True, "the next start is by the new one")
        bus.start("test.A")
        pid = bus.owner_pid("test.A")
        file.unlink()
        wait_for(lambda: "test.A" not in bus.activatable(), "the bus to forget it")
        wait_for(lambda: "test.A.service" not in generated(world), "the generated file to go")
        check(alive(pid), "what runs goes on")
        check_in("test.A", listed(world, bus), "and is still listed")
        world.member(bus, "StopService", "(s)", "test.A")
        check(not alive(pid), "and can be stopped")
        wait_for(lambda: getattr(bus.begin_start("test.A").error(), "name", "") == UNKNOWN,
                 "the name to be unknown")
        check_error(bus.begin_start("test.A").error(), UNKNOWN, "test.A", "it is unknown again")

    @case(f"the bus is told without being asked to, {the_door} door")
    def _(world, door=the_door):
        bus, _activator = world.both(door)
        world.service("test.A", "name test.A")

        def is_managed():
            # Until then the bus may know the original alone, and start it itself.
            if bus.begin_start("test.A").error() is not None:
                return False
            pid = bus.owner_pid("test.A")
            wait_for(lambda: world.fields(bus, "test.A").get("MainPID") == pid, "the state")
            if world.fields(bus, "test.A")["Managed"]:
                return True
            kill_pid(pid)
            wait_for(lambda: not bus.has_owner("test.A"), "its end")
            return False

        wait_for(is_managed, "a start by the activator")
        check(True, "a new file leads to the activator")

    @case(f"who knows of it starts it by the activator, {the_door} door")
    def _(world, door=the_door):
        bus, _activator = world.both(door)
        world.served(bus)

        def is_managed(name):
            pid = bus.owner_pid(name)
            wait_for(lambda: world.fields(bus, name).get("MainPID") == pid, "the state")
            return world.fields(bus, name)["Managed"]

        missed = []
        for i in range(12):
            name = f"test.N{i}"
            world.service(name, f"name {name}")
            if i % 2:
                # The file is there: no second question.
                check_equal(world.fields(bus, name)["Name"], name, "it is known")
                bus.start(name)
            else:
                check_equal(world.ctl(bus, "start", name).rc, 0, "started from the shell")
            if not is_managed(name):
                missed.append(name)
                kill_pid(bus.owner_pid(name))
        check_equal(missed, [], "not started by the activator")

    @case(f"breaks, {the_door} door")
    def _(world, door=the_door):
        bus, activator = world.both(door)
        world.service("test.A", "name test.A")
        world.service("test.B", "name test.B")
        world.served(bus, "test.A", "test.B")
        bus.start("test.B")
        (world.services / "test.A.service").write_text("[D-BUS Service]\nName=test.A\nnonsense\n")
        world.member(bus, "Reload")
        wait_for(lambda: "test.A.service" not in generated(world), "the generated file to go")
        wait_for(lambda: "test.A" not in bus.activatable(), "the bus to forget it")
        check_error(bus.begin_start("test.A").error(), UNKNOWN, "test.A",
                    "the error is dbus-daemon's own")
        check(alive(bus.owner_pid("test.B")), "what runs does not notice")
        world.service("test.A", "name test.A")
        world.served(bus, "test.A")
        check_equal(bus.start("test.A"), 1, "once it is mended it is started")
        check(alive(activator.pid), "the activator is there")

    @case(f"many at once, {the_door} door")
    def _(world, door=the_door):
        bus, _activator = world.both(door)
        names = {f"test.M{i}" for i in range(60)}
        for name in names:
            world.service(name, f"name {name}")
        world.served(bus, *names)
        check_equal(bus.start("test.M59"), 1, "one of them is started")
        for name in names:
            (world.services / f"{name}.service").unlink()
        wait_for(lambda: not bus.activatable() & names, "their end")
        wait_for(lambda: not {g for g in generated(world) if g.startswith("test.M")},
                 "the end of the generated ones")
        check(True, "they go as they came")


@case("a file goes: the service stays while there is something of it")
def _(world):
    bus, _activator = world.both("signal")
    names = {"test.Over", "test.Never", "test.Runs", "test.Left", "test.Other"}
    files = {n: world.service(n, f"{'orphans 1 ' if n == 'test.Left' else ''}name {n}")
             for n in names}
    world.served(bus, *names)
    other = bus.connect()
    other.own("test.Other")
    for name in ("test.Over", "test.Runs", "test.Left"):
        bus.start(name)
    world.member(bus, "StopService", "(s)", "test.Over")
    pid = bus.owner_pid("test.Left")
    wait_for(lambda: world.fields(bus, "test.Left").get("MainPID") == pid, "the main process")
    kill_pid(pid)
    wait_for(lambda: world.fields(bus, "test.Left")["NProcesses"] == 1, "what is left of it")
    for file in files.values():
        file.unlink()
    world.member(bus, "Reload")
    rest = {"test.Runs", "test.Left", "test.Other"}
    wait_for(lambda: listed(world, bus) & names == rest, "those of which something is there")
    for name in sorted(rest):
        check("ServiceFile" not in world.fields(bus, name), f"{name} has no file")
        check_equal(world.fields(bus, name)["State"], "running", f"{name} runs on")
    for name in ("test.Over", "test.Never"):
        check_equal([world.ctl(bus, command, name).rc for command in ("status", "stop", "start")],
                    [4, 4, 4], f"{name} is not there, whatever is asked")
    check_in("test.Over", [r["Name"] for r in world.member(bus, "ListActivations", "(u)", 100)],
             "the history keeps it")
    for name in ("test.Runs", "test.Left"):
        world.member(bus, "StopService", "(s)", name)
    other.close()
    wait_for(lambda: not listed(world, bus) & names, "the others to leave")
    world.service("test.Over", "name test.Over")
    world.served(bus, "test.Over")
    check_equal(bus.start("test.Over"), 1, "a file that comes back is served")
    pid = bus.owner_pid("test.Over")
    wait_for(lambda: world.fields(bus, "test.Over")["MainPID"] == pid, "the state")
    check_equal(world.fields(bus, "test.Over")["ServiceFile"], str(files["test.Over"]),
                "and named")


@case("a folder that comes later")
def _(world):
    import shutil
    shutil.rmtree(world.data)
    bus, _activator = world.both("signal")
    world.services.mkdir(parents=True)
    world.service("test.A", "name test.A")

    def started():
        world.member(bus, "Reload")
        return bus.begin_start("test.A").error() is None

    wait_for(started, "the start")
    check(world.fields(bus, "test.A")["Managed"], "a service in it is started by the activator")


@case("SIGHUP")
def _(world):
    bus, activator = world.both("signal")
    world.service("test.A", "name test.A")
    signal_pid(activator.top, signal.SIGHUP)
    wait_for(lambda: "test.A" in listed(world, bus), "the service")
    check_equal(bus.start("test.A"), 1, "files are read again")
    check(alive(activator.top) and alive(activator.pid), "and nobody leaves")


@case("the generated files")
def _(world):
    folder = world.runtime / "dbus-1/services"
    bus, _activator = world.both("signal")
    world.service("test.A", "name test.A", AssumedAppArmorLabel="label", SystemdService="my.service")
    world.write_service("test.B", "/bin/true", file="odd-file-name.service")
    wait_for(lambda: generated(world) >= {"test.A.service", "test.B.service"}, "the files")
    text = (folder / "test.A.service").read_text()
    check_match(r"^# generated by dbus-activator", text, "they say what they are")
    check_match(r"\nName=test\.A\n", text, "the name")
    check_match(r"\nExec=\S*dbus-activator-launch-helper-session .*test\.A", text, "the helper")
    check_match(r"\nSystemdService=test\.A\.service\n", text, "a unit of their own")
    check_match(r"\nAssumedAppArmorLabel=label\n", text, "the label is kept")
    check_equal(oct(os.stat(folder).st_mode & 0o777), "0o700", "the folder is the user's")
    foreign = folder / "test.C.service"
    foreign.write_text(world.service_text("test.C", "/bin/false"))
    world.service("test.C", "name test.C")
    world.service("test.D", "name test.D")
    wait_for(lambda: "test.D.service" in generated(world), "the next file")
    check_equal(foreign.read_text(), world.service_text("test.C", "/bin/false"),
                "a file that is not ours is left alone")
    check_equal(bus.start("test.D"), 1, "others are served")


@case("which file counts")
def _(world):
    second = world.path / "share/dbus-1/services"
    second.mkdir(parents=True)
    (second / "test.A.service").write_text(
        world.service_text("test.A", world.exec_line("stderr second name test.A")))
    first = world.service("test.A", "stderr first name test.A")
    bus, _activator = world.both("signal")
    world.served(bus, "test.A")
    check_equal(world.fields(bus, "test.A")["ServiceFile"], str(first), "the first one")
    bus.start("test.A")
    check_in("first", argv_of(bus.owner_pid("test.A")), "is the one that is started")
    world.member(bus, "StopService", "(s)", "test.A")
    first.unlink()
    # dbus-daemon itself answers one request with ServiceUnknown when a file that it knew is gone.
    wait_for(lambda: bus.begin_start("test.A").error() is None, "a start by the second")
    check_in("second", argv_of(bus.owner_pid("test.A")), "then the second counts")
    pid = bus.owner_pid("test.A")
    wait_for(lambda: world.fields(bus, "test.A")["MainPID"] == pid, "the state")
    check_equal(world.fields(bus, "test.A")["ServiceFile"], str(second / "test.A.service"),
                "and is named")


@case("one unit for several names")
def _(world):
    # The bus reads the originals, with their unit, before anything that the activator generates.
    names = [f"test.U{i}" for i in range(6)]
    bus = world.bus(systemd_activation=True, config=CONFIG.replace(
        "<standard_session", f"<servicedir>{world.services}</servicedir><standard_session"))
    for name in names:
        world.service(name, ["touch", str(world.mark(f"{name}-is-there")), "await",
                             str(world.mark(name)), "name", name], SystemdService="shared.service")
    world.service("test.Z", "name test.Z")
    activator = world.activator(bus)
    world.served(bus, *names, "test.Z")
    first = bus.begin_start(names[2])
    wait_for(lambda: all(world.mark(f"{n}-is-there").exists() for n in names),
             "the unit's services, of which the bus does not say which it wants")
    for name in names:
        if name != names[2]:
            world.set_mark(name)
    wait_for(lambda: all(bus.has_owner(n) for n in names if n != names[2]), "the others")
    check_equal(len({bus.owner_pid(n) for n in names if n != names[2]}), 5, "each by itself")
    for name in names:
        if name != names[2]:
            world.member(bus, "StopService", "(s)", name)
    old = activator.pid
    kill_pid(old)
    wait_for(lambda: activator.pid not in (0, old) and bus.owner_pid(NAME) == activator.pid,
             "the next activator")
    # While a service starts, the activator is idle, and has looked at what was lost before.
    check_equal(bus.start("test.Z"), 1, "which serves")
    check(not first.done(), "a unit with one name that starts is not given up")
    world.set_mark(names[2])
    check_equal(first.result(), 1, "it is started")

main()
