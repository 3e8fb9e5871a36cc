#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What one activator has begun, the next one brings to its end: stops, starts that failed, requests
on their way; and a next one that cannot serve just now is not the last."""
import os
import pathlib
import shutil
import signal
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness import *  # noqa: E402
from harness.base import read_text  # noqa: E402
from harness.world import BUILD  # noqa: E402

NAME, PATH = "org.dbusactivator.Activator1", "/org/dbusactivator/Activator1"
ERROR = "org.freedesktop.DBus.Error."
DOORS = ("signal", "helper")


def await_next(bus, pid=None):
    wait_for(lambda: bus.owner_pid(NAME) and pid in (None, bus.owner_pid(NAME)), "the next one")
    # It answers when it has failed the requests that died with its predecessor.
    bus.client.call(NAME, PATH, NAME, "ListServices")


def kill_activator(activator):
    old = activator.pid
    kill_pid(old)
    wait_for(lambda: activator.pid not in (0, old), "the next activator")
    await_next(activator.bus, activator.pid)


@case("no room for the next activator")
def _(world):
    bus, activator = world.both("signal")
    world.service("test.A", "children 1 name test.A")
    world.service("test.B", "name test.B")
    world.served(bus, "test.A", "test.B")
    bus.start("test.A")
    before = world.fields(bus, "test.A")
    folder = next(p for p in (world.path / "run/dbus-activator").iterdir() if not p.is_symlink())
    (folder / "reapers").unlink()
    (folder / "reapers").mkdir()
    kill_pid(activator.pid)
    wait_for(lambda: read_text(activator.errors).count("cannot serve now") > 1, "two tries")
    check(alive(activator.top) and alive(before["MainPID"]), "top reaper and service stay")
    pending = bus.begin_start("test.B")
    (folder / "reapers").rmdir()
    check_equal(pending.error(), None, "who asked meanwhile has an answer when there is room again")
    after = world.fields(bus, "test.A")
    keys = ("State", "Run", "MainPID", "ReaperPID", "NProcesses", "StartedUSec")
    check_equal([after[k] for k in keys], [before[k] for k in keys], "nothing was lost")
    bus.begin_start("test.B").error()
    check_equal(world.fields(bus, "test.B")["Managed"], True, "all is as ever")


for the_way in ("killed", "Reexec"):
    @case(f"the program is away for a while, {the_way}")
    def _(world, way=the_way):
        tree = world.path / "tree"
        for folder, program in (("daemon", "dbus-activatord"), ("reaper", "dbus-activator-reaper"),
                                ("helper", "dbus-activator-launch-helper-session")):
            (tree / "activator" / folder).mkdir(parents=True)
            shutil.copy(BUILD / "activator" / folder / program, tree / "activator" / folder)
        (tree / "build.ninja").touch()
        world.program = lambda name: tree / "activator" / name \
            if (tree / "activator" / name).exists() else BUILD / "activator" / name
        bus, activator = world.both("signal")
        world.service("test.A", "name test.A")
        world.service("test.B", "name test.B")
        world.served(bus, "test.A", "test.B")
        bus.start("test.A")
        before = world.fields(bus, "test.A")
        program = tree / "activator/daemon/dbus-activatord"
        program.rename(program.with_suffix(".away"))
        if way == "Reexec":
            world.member(bus, "Reexec")
        else:
            kill_pid(activator.pid)
        wait_for(lambda: read_text(activator.errors).count("cannot serve now") > 1, "two tries")
        program.with_suffix(".away").rename(program)
        await_next(bus)
        check_equal(bus.start("test.B"), 1, "it serves")
        check_equal([world.fields(bus, "test.A")[k] for k in ("Run", "MainPID", "State")],
                    [before[k] for k in ("Run", "MainPID", "State")], "nothing was lost")


for the_door in DOORS:
    @case(f"killed while the rest of a failed start is being ended, {the_door} door")
    def _(world, door=the_door):
        bus, activator = world.both(door, "--stop-timeout", "2")
        world.service("test.F", "ignore 15 children 2 exit 3")
        world.served(bus, "test.F")
        check_error(bus.begin_start("test.F").error(), ERROR + "Spawn.ChildExited", r"status 3\b",
                    "the start fails")
        kill_activator(activator)
        check_equal(world.fields(bus, "test.F")["State"], "failed", "the next one knows")
        wait_for(lambda: not pids_with("children 2 exit 3"), "the end of the rest")
        check_settles(lambda: world.fields(bus, "test.F")["NRuns"], 0, "and ends what is left")
        entries = [e for e in world.member(bus, "ListActivations", "(u)", 0)
                   if e["Name"] == "test.F"]
        check_equal([(e["Result"], e["ExitHow"], e["ExitStatus"]) for e in entries],
                    [("failed", "exited", 3)], "the history has it once")


@case("killed during a stop")
def _(world):
    bus, activator = world.both("signal", "--stop-timeout", "2")
    world.service("test.S", "ignore 15 orphans 2 name test.S")
    world.served(bus, "test.S")
    bus.start("test.S")
    stop = bus.client.begin(NAME, PATH, NAME, "StopService", "(s)", "test.S")
    wait_for(lambda: world.fields(bus, "test.S")["State"] == "stopping", "the stop")
    kill_activator(activator)
    check_error(stop.error(), ERROR + "NoReply", "", "who waited for it is told by the bus")
    wait_for(lambda: not pids_with("name test.S"), "SIGKILL")
    check_settles(lambda: world.fields(bus, "test.S")["State"], "inactive",
                  "the next one goes on with it")


for the_way in ("Reexec", "--replace"):
    @case(f"starts while the activator changes, helper door, {the_way}")
    def _(world, way=the_way):
        bus, activator = world.both("helper")
        names = [f"test.S{i}" for i in range(30)]
        for name in names:
            world.service(name, f"name {name}")
        world.served(bus, *names)
        first = bus.owner(NAME)
        socket = next((world.path / "run/dbus-activator").glob("*/requests"))
        looked = {"there": 0, "gone": 0}

        def look():
            while not looked.get("over"):
                looked["there" if socket.exists() else "gone"] += 1

        looking = threading.Thread(target=look, daemon=True)
        looking.start()
        if way == "Reexec":
            world.member(bus, "Reexec")
        else:
            successor = world.activator(bus, way, ready=False)
        pending = []
        for name in names:
            pending.append(bus.begin_start(name))
            # Some before it has left, some while nobody is there, some after.
            time.sleep(0.005)
        check_equal([p.result() for p in pending], [1] * len(names), "all are started")
        if way != "Reexec":
            activator.wait_end()
            successor.wait_ready()
        wait_for(lambda: bus.owner(NAME) not in ("", first), "the next one")
        check(looked["there"] > 0 and looked["gone"] == 0,
              "there is always something to connect to", looked)
        looked["over"] = True
        looking.join()
        check_settles(lambda: [n for n in names if not world.fields(bus, n)["Managed"]], [],
                      "by an activator")


@case("a helper that comes late to the second activator after its own")
def _(world):
    bus, activator = world.both("helper")
    world.service("test.F", f"pid {world.mark('pids')} await {world.mark('go')} exit 7")
    world.served(bus, "test.F")
    pending = bus.begin_start("test.F")
    wait_for(lambda: world.mark("pids").exists(), "the service")
    helper = pids_with("dbus-activator-launch-helper-session test.F")[0]
    signal_pid(helper, signal.SIGSTOP)
    kill_activator(activator)
    world.set_mark("go")
    wait_for(lambda: [e for e in world.member(bus, "ListActivations", "(u)", 0)
                      if e["Result"] == "failed"], "the end to be seen")
    kill_activator(activator)
    signal_pid(helper, signal.SIGCONT)
    check_error(pending.error(), ERROR + "Spawn.ChildExited", r"status 7\b", "it has the verdict")
    check_equal(len(world.mark("pids").read_text().split()), 1, "of the one start")
    check_error(bus.begin_start("test.F").error(), ERROR + "Spawn.ChildExited", r"status 7\b",
                "another one")
    check_equal(len(world.mark("pids").read_text().split()), 2, "is started anew")


@case("no regular files in the runtime directory")
def _(world):
    bus, activator = world.both("signal")
    world.service("test.A", "name test.A")
    world.served(bus, "test.A")
    folder = next(p for p in (world.path / "run/dbus-activator").iterdir() if not p.is_symlink())
    for name in ("asked", "environment", "history"):
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)
        kill_activator(activator)
        check_equal(bus.start("test.A"), 1, f"a fifo in the place of {name} holds up nobody")
        world.member(bus, "StopService", "(s)", "test.A")
        (folder / name).unlink(missing_ok=True)


main()
