#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Another version is installed while services run: the programs of a later version of the protocol
(built for this) take the place of those that run, which are killed or asked to make room."""
import os
import pathlib
import shutil
import sys

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1]),
                str(pathlib.Path(__file__).resolve().parents[1] / "reliability")]
from harness import *  # noqa: E402
from harness.base import read_text  # noqa: E402
from harness.world import BUILD  # noqa: E402
from peers import Peer, VERSION, first_text, folder_of, kind, message, type_of  # noqa: E402

NAME = "org.dbusactivator.Activator1"
NAMES = [f"test.N{i}" for i in range(5)]
PROGRAMS = (("daemon", "dbus-activatord"), ("reaper", "dbus-activator-reaper"))


def install(world, which=""):
    """What is started from now on is of this version."""
    tree = world.path / "tree"
    for folder, name in PROGRAMS:
        target = tree / "activator" / folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        source = BUILD / f"tests/services/{name}-{which}" if which else program(f"{folder}/{name}")
        shutil.copy(source, tree / "new")
        os.rename(tree / "new", target)
    (tree / "build.ninja").touch()
    helper = "helper/dbus-activator-launch-helper-session"
    (tree / "activator/helper").mkdir(exist_ok=True)
    shutil.copy(program(helper), tree / "activator" / helper)


def started_world(world):
    install(world)
    world.program = lambda name: world.path / "tree/activator" / name
    bus, activator = world.both("signal", "--start-limit", "0")
    for name in NAMES:
        world.service(name, f"daemonize orphans 1 name {name}")
    world.service("test.New", "name test.New")
    world.served(bus, *NAMES, "test.New")
    for name in NAMES:
        bus.start(name)
    wait_for(lambda: all(world.fields(bus, n)["NProcesses"] == 2 for n in NAMES), "the parents")
    return bus, activator


def serving(bus, old):
    """The pid of another activator than that, which answers."""
    def look():
        pid = bus.owner_pid(NAME)
        return pid if pid and pid != old else 0
    return wait_for(look, "the next activator")


def is_of(pid, which):
    if not pid or not alive(pid):
        return False
    with open(f"/proc/{pid}/exe", "rb") as file:
        return file.read() == (BUILD / f"tests/services/dbus-activatord-{which}").read_bytes()


def identity(world, bus, name):
    try:
        f = world.fields(bus, name)
    except DBusError:
        return None  # the bus has not yet noticed that one program has become the next
    return [f.get(k) for k in ("State", "Managed", "Run", "MainPID", "ReaperPID", "NProcesses")]


def versions_said(world, version):
    """What one that speaks this version is told."""
    peer = Peer(folder_of(world) / "reapers")
    peer.send(message("MESSAGE_HELLO", version=version))
    peer.wait_over()
    peer.close()
    return first_text(peer.heard[0]) if peer.heard and \
        type_of(peer.heard[0]) == kind("MESSAGE_REFUSED") else None


def ends_of(signals, name):
    return {(s[1][1], *s[1][2:]) for s in signals if s[0] == "ServiceExited" and s[1][0] == name}


def check_taken_over(world, bus, before, when):
    check_settles(lambda: {n: identity(world, bus, n) for n in NAMES}, before,
                  f"{when}: it knows all services")
    check_match(rf"\b{VERSION + 2}\b.*\b{VERSION + 1}\b", versions_said(world, VERSION + 2),
                f"{when}: it speaks the next version")


@case("the next version takes over")
def _(world):
    bus, activator = started_world(world)
    before = {n: identity(world, bus, n) for n in NAMES}
    top, old = activator.top, activator.pid
    install(world, "next")
    kill_pid(old)
    new = serving(bus, old)
    check(is_of(new, "next"), "the next activator is of the next version")
    check_equal(parent_of(new), top, "under the top reaper that was there")
    check_taken_over(world, bus, before, "killed")
    check_equal(bus.start("test.New"), 1, "it starts services, with reapers of its own version")
    signals = world.recorder(bus)
    # Reports of the old reapers, of the old top reaper, and what they are told.
    kill_pid(before[NAMES[0]][3])
    wait_for(lambda: ends_of(signals, NAMES[0]), "ServiceExited")
    check_equal(ends_of(signals, NAMES[0]), {(before[NAMES[0]][2], before[NAMES[0]][3], "killed", 9)},
                "an old reaper's report is understood")
    kill_pid(before[NAMES[1]][4])
    check_settles(lambda: identity(world, bus, NAMES[1])[:4], before[NAMES[1]][:4],
                  "the old top reaper's, too")
    for name in NAMES[:3]:
        world.member(bus, "StopService", "(s)", name)
    check_equal([n for n in NAMES if world.fields(bus, n)["NProcesses"]], NAMES[3:],
                "they do what they are told")
    for name in NAMES[:3]:
        check_settles(lambda n=name: alive(before[n][4]), False, f"{name}: its reaper leaves")
    reaper = world.fields(bus, "test.New")["ReaperPID"]
    kill_pid(reaper)
    check_settles(lambda: [world.fields(bus, "test.New").get(k) for k in ("State", "NProcesses")],
                  ["running", 1], "the old top reaper has what a new reaper leaves")
    world.member(bus, "StopService", "(s)", "test.New")
    pid = bus.owner_pid(NAME)
    kill_pid(pid)
    serving(bus, pid)
    left = {n: before[n] for n in NAMES[3:]}
    check_settles(lambda: {n: identity(world, bus, n) for n in NAMES[3:]}, left, "once more")


@case("it is asked to make room for the next version")
def _(world):
    bus, _activator = started_world(world)
    before = {n: identity(world, bus, n) for n in NAMES}
    install(world, "next")
    world.member(bus, "Reexec")
    wait_for(lambda: is_of(bus.owner_pid(NAME), "next"), "the next version")
    check_taken_over(world, bus, before, "reexec")
    for name in NAMES:
        world.member(bus, "StopService", "(s)", name)
    check_equal(pids_with("/test-service"), [], "all can be stopped")


@case("a version that does not know the one before")
def _(world):
    bus, activator = started_world(world)
    activator.expected_status = (0, -9)
    before = {n: identity(world, bus, n) for n in NAMES}
    pids = sorted(pids_with("/test-service"))
    install(world, "far")
    old = activator.pid
    kill_pid(old)
    wait_for(lambda: bus.owner_pid(NAME) not in (0, old) and
             is_of(bus.owner_pid(NAME), "far"), "it to serve")
    # With a top reaper of its own, which the first one has not been.
    wait_for(lambda: parent_of(bus.owner_pid(NAME)) not in (0, activator.top), "its top reaper")
    check_equal(bus.start("test.New"), 1, "it starts services")
    check(world.fields(bus, "test.New")["Managed"], "and owns them")
    check_equal([p for p in pids if not alive(p)], [], "the old services live")
    said = read_text(activator.errors)
    check_match(r"version 1 of the protocol, this one speaks 3", said, "both versions are named")
    check_match(r"activator speaks version 3 of the protocol, this reaper speaks 1", said,
                "by the reapers as well")
    check_equal([world.fields(bus, n)["Managed"] for n in NAMES], [False] * len(NAMES),
                "what it cannot serve is not said to be its own")
    for name in NAMES:
        for pid in [before[name][3], *[p for p in pids_with(f" {name}")]]:
            kill_pid(pid)
    for name in NAMES:
        check_settles(lambda n=name: alive(before[n][4]), False,
                      f"{name}: its reaper has waited for it and leaves")
    check_settles(lambda: [world.fields(bus, n)["State"] for n in NAMES],
                  ["inactive"] * len(NAMES), "their end is seen")
    check_equal(bus.start(NAMES[0]), 1, "they can be started again")
    for name in (NAMES[0], "test.New"):
        world.member(bus, "StopService", "(s)", name)

main()
