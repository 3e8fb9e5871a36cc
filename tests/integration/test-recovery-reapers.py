#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The reaper of a run is killed when nobody has heard yet what it knows: each exit is in the
history with its status, once."""
import pathlib
import resource
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness import *  # noqa: E402

NAME = "org.dbusactivator.Activator1"
DOORS = ("signal", "helper")


def kill_activator(activator):
    old = activator.pid
    kill_pid(old)
    wait_for(lambda: activator.pid not in (0, old), "the next activator")
    wait_for(lambda: activator.bus.owner_pid(NAME) == activator.pid, "the next one to serve")


def ends_of(signals, name, member="ServiceExited"):
    """(pid, how, status) of each signal."""
    return [s[1][2:5] for s in signals if s[0] == member and s[1][0] == name]


def history_of(world, bus, name):
    return [(a["MainPID"], a.get("ExitHow"), a.get("ExitStatus"))
            for a in world.member(bus, "ListActivations", "(u)", 0) if a["Name"] == name]


for the_door in DOORS:
    @case(f"services end while there is no activator, and their reapers are killed, {the_door} door")
    def _(world, door=the_door):
        bus, activator = world.both(door)
        names = {"test.Alone": "name test.Alone", "test.Daemon": "daemonize name test.Daemon",
                 "test.Others": "orphans 1 name test.Others", "test.Bad": "name test.Bad"}
        for name, actions in names.items():
            world.service(name, actions)
        world.served(bus, *names)
        for name in names:
            bus.start(name)
        # From now on the next one comes after a second.
        for _ in range(3):
            kill_activator(activator)
        signals = world.recorder(bus)
        fields = {name: world.fields(bus, name) for name in names}
        kill_pid(activator.pid)
        old = activator.pid
        for number, (name, f) in enumerate(fields.items(), signal.SIGINT):
            signal_pid(f["MainPID"], number)
        for f in fields.values():
            wait_for(lambda pid=f["MainPID"]: not alive(pid), "the ends of the services")
        for f in fields.values():
            signal_pid(f["ReaperPID"], signal.SIGKILL)
        wait_for(lambda: activator.pid not in (0, old), "the next activator")
        wait_for(lambda: activator.bus.owner_pid(NAME) == activator.pid, "the next one to serve")
        for number, (name, f) in enumerate(fields.items(), signal.SIGINT):
            end = (f["MainPID"], "killed", number)
            check_settles(lambda n=name: set(ends_of(signals, n)), {end}, f"ServiceExited {name}")
            check_equal(history_of(world, bus, name), [end], f"history of {name}")
            after = world.fields(bus, name)
            check_equal((after["ExitHow"], after["ExitStatus"]), end[1:], f"status of {name}")
            check_equal(after["NProcesses"], 1 if name == "test.Others" else 0,
                        f"what lives of {name}")
        check_equal(world.ctl(bus, "stop", "test.Others").rc, 0, "what was left is stopped")


@case("a reaper is killed between what it told and the receipt: it is told once")
def _(world):
    bus, activator = world.both("signal")
    world.service("test.A", "orphans 2 name test.A")
    world.served(bus, "test.A")
    bus.start("test.A")
    wait_for(lambda: world.fields(bus, "test.A")["NProcesses"] == 3, "the parents of its orphans")
    f = world.fields(bus, "test.A")
    signals = world.recorder(bus)
    signal_pid(activator.pid, signal.SIGSTOP)
    signal_pid(f["MainPID"], signal.SIGUSR1)
    wait_for(lambda: not alive(f["MainPID"]), "its end")
    # Told, as it waits for nothing but its next event.
    wait_for(lambda: field_of(f["ReaperPID"], "State").startswith("S"), "the reaper's word")
    signal_pid(f["ReaperPID"], signal.SIGKILL)
    wait_for(lambda: not alive(f["ReaperPID"]), "the end of the reaper")
    signal_pid(activator.pid, signal.SIGCONT)
    wait_for(lambda: ends_of(signals, "test.A"), "its end to be told")
    check_settles(lambda: world.fields(bus, "test.A").get("ReaperPID", 0), 0, "the top reaper has the rest")
    check_equal(world.ctl(bus, "stop", "test.A").rc, 0, "the rest is stopped")
    end = (f["MainPID"], "killed", int(signal.SIGUSR1))
    check_settles(lambda: len(ends_of(signals, "test.A", "ProcessExited")) >= 3, True,
                  "ProcessExited of each")
    told = ends_of(signals, "test.A", "ProcessExited")
    check_equal((told.count(end), len(told)), (1, 3), "ProcessExited once")
    check_equal(ends_of(signals, "test.A"), [end], "ServiceExited once")
    check_equal(history_of(world, bus, "test.A"), [end], "in the history")


@case("reapers are killed while top reaper and reaper have no descriptor left")
def _(world):
    bus, activator = world.both("signal")
    names = [f"test.N{i}" for i in range(4)]
    for name in names:
        world.service(name, f"children 2 name {name}")
    world.served(bus, *names)
    for name in names:
        bus.start(name)
    fields = {n: world.fields(bus, n) for n in names}

    def starve(pid):
        count = len(list(pathlib.Path(f"/proc/{pid}/fd").iterdir()))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (count, count))
    starve(activator.top)
    starve(fields["test.N3"]["ReaperPID"])
    signals = world.recorder(bus)
    for name in names[:3]:
        signal_pid(fields[name]["ReaperPID"], signal.SIGKILL)
        check_settles(lambda n=name: world.fields(bus, n).get("ReaperPID", 0), 0, f"{name}: the top")
    check_settles(lambda: [world.fields(bus, n)["NProcesses"] for n in names], [3] * 4,
                  "each has its own processes still")
    check_equal(world.ctl(bus, "stop", "test.N0").rc, 0, "one is stopped")
    check_equal(world.ctl(bus, "stop", "test.N3").rc, 0, "and the one with its own reaper")
    check_equal([world.fields(bus, n)["NProcesses"] for n in names], [0, 3, 3, 0],
                "the others go on")
    check_settles(lambda: [s[1][0] for s in signals if s[0] == "ServiceExited"],
                  ["test.N0", "test.N3"], "and nobody is said to have ended")


main()
