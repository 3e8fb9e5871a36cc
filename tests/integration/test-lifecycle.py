#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The life of a service: starting, running, stopping, and the odd ways between."""
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness import *  # noqa: E402

NAME, PATH = "org.dbusactivator.Activator1", "/org/dbusactivator/Activator1"
ERROR, OWN_ERROR = "org.freedesktop.DBus.Error.", "org.dbusactivator.Error."
DOORS = ("signal", "helper")


def begin_stop(bus, name):
    return bus.connect().begin(NAME, PATH, NAME, "StopService", "(s)", name)


def starts_of(world):
    """Pids that services have written."""
    file = world.mark("pids")
    return [int(p) for p in file.read_text().split()] if file.exists() else []


for the_door in DOORS:
    @case(f"start timeout, {the_door} door")
    def _(world, door=the_door):
        # At the helper door the limit is dbus-daemon's own.
        options = ("--start-timeout", "1") if door == "signal" else ()
        more = {} if door == "signal" else {"start_timeout": 2}
        bus, _activator = world.both(door, "--stop-timeout", "0.5", *options, **more)
        world.service("test.Never", "children 2 orphans 2 linger")
        world.service("test.NeverDaemon", "daemonize ignore 15 children 1 linger")
        world.served(bus, "test.Never", "test.NeverDaemon")
        pending = {n: bus.begin_start(n) for n in ("test.Never", "test.NeverDaemon")}
        for name, p in pending.items():
            check_error(p.error(), ERROR + "TimedOut", name, f"{name}: the error names it")
        wait_for(lambda: not pids_with("test-service"), "the end of all their processes")
        check(not pids_with("test-service"), "the whole trees are gone")
        wait_for(lambda: world.fields(bus, "test.Never")["State"] == "failed", "the state")
        if door == "signal":
            check_equal(world.status(bus, "test.Never").get("ErrorName"), ERROR + "TimedOut",
                        "the status knows why")

    @case(f"ten callers at once, {the_door} door")
    def _(world, door=the_door):
        bus, _activator = world.both(door)
        world.service("test.A", ["pid", str(world.mark("pids")), "await", str(world.mark("go")),
                                 "name", "test.A"])
        world.served(bus, "test.A")
        callers = [bus.connect() for _ in range(10)]
        pending = [bus.begin_start("test.A", c) for c in callers[:5]]
        pings = [bus.begin_ping("test.A", c) for c in callers[5:]]
        wait_for(lambda: starts_of(world), "the service")
        check_equal(world.fields(bus, "test.A")["State"], "starting", "it is starting")
        world.set_mark("go")
        check_equal([p.result() for p in pending], [1] * 5, "five StartServiceByName")
        check_equal([p.result() for p in pings], starts_of(world) * 5, "five method calls")
        check_equal(len(starts_of(world)), 1, "one process was started")
        check_equal(bus.start("test.A"), 2, "who comes later is told that it runs")

    @case(f"handover, {the_door} door")
    def _(world, door=the_door):
        bus, _activator = world.both(door, "--handover-grace", "3600")
        left = world.mark("left")
        world.service("test.A", ["touch", str(left), "exit", "0"])
        world.served(bus, "test.A")
        pending = bus.begin_start("test.A")
        wait_for(left.exists, "the service")
        wait_for(lambda: not pids_with("test-service"), "its end")
        check(not pending.done(), "the caller waits on")
        bus.client.own("test.A")
        check_equal(pending.result(), 1, "another process that takes the name is a success")
        wait_for(lambda: world.fields(bus, "test.A")["State"] == "running", "the state")
        check_settles(lambda: (world.fields(bus, "test.A")["Managed"],
                               world.fields(bus, "test.A")["MainPID"]), (False, os.getpid()),
                      "the owner is not ours, and is named")

    @case(f"the name is taken by another process while it starts, {the_door} door")
    def _(world, door=the_door):
        bus, _activator = world.both(door)
        world.service("test.A", ["pid", str(world.mark("pids")), "await", str(world.mark("go")),
                                 "name", "test.A"])
        world.served(bus, "test.A")
        signals = world.recorder(bus)
        pending = bus.begin_start("test.A")
        wait_for(lambda: starts_of(world), "the service")
        bus.client.own("test.A")
        check_equal(pending.result(), 1, "the caller has what it asked for")
        world.set_mark("go")
        wait_for(lambda: [s for s in signals if s[0] == "ProcessExited"], "its end")
        check_equal([s[1][3:5] for s in signals if s[0] == "ProcessExited"], [("exited", 4)],
                    "the service finds that the name is taken")
        check_settles(lambda: (world.fields(bus, "test.A")["State"],
                               world.fields(bus, "test.A")["MainPID"]),
                      ("running", os.getpid()), "which is no failure")
        check_equal([s for s in signals.sync() if s[0] == "ActivationFailed"], [], "nothing failed")

    @case(f"start limit, {the_door} door")
    def _(world, door=the_door):
        bus, _activator = world.both(door, "--start-limit", "3/3600")
        world.service("test.A", ["pid", str(world.mark("pids")), "exit", "9"])
        world.service("test.B", "name test.B")
        world.served(bus, "test.A", "test.B")
        for turn in range(3):
            check_error(bus.begin_start("test.A").error(), ERROR + "Spawn.ChildExited",
                        "status 9", f"failure {turn + 1}")
        check_equal(len(starts_of(world)), 3, "each was a start")
        for turn in range(4, 7):
            check_error(bus.begin_start("test.A").error(), ERROR + "Spawn.ChildExited",
                        "status 9", f"request {turn} fails alike")
        check_equal(len(starts_of(world)), 3, "without a start")
        check_equal(bus.start("test.B"), 1, "other services are not concerned")

    @case(f"the start limit ends, {the_door} door")
    def _(world, door=the_door):
        bus, _activator = world.both(door, "--start-limit", "2/1")
        world.service("test.A", ["pid", str(world.mark("pids")), "exit", "9"])
        world.served(bus, "test.A")

        def starts_again():
            bus.begin_start("test.A").error()
            return len(starts_of(world)) > 2

        wait_for(starts_again, "a start after the interval")
        check(len(starts_of(world)) > 2, "it is started again")

    @case(f"no start limit, {the_door} door")
    def _(world, door=the_door):
        bus, _activator = world.both(door, "--start-limit", "0")
        world.service("test.A", ["pid", str(world.mark("pids")), "exit", "9"])
        world.served(bus, "test.A")
        for _ in range(12):
            bus.begin_start("test.A").error()
        check_equal(len(starts_of(world)), 12, "every request is a start")

    @case(f"a second run beside one that lingers, {the_door} door")
    def _(world, door=the_door):
        bus, _activator = world.both(door)
        world.service("test.A", ["pid", str(world.mark("pids")), "name", "test.A"])
        world.served(bus, "test.A")
        bus.start("test.A")
        first = bus.owner_pid("test.A")
        bus.ask("test.A", "Release")
        wait_for(lambda: world.fields(bus, "test.A")["MainPID"] == 0, "the release to be known")
        fields = world.fields(bus, "test.A")
        check_equal((fields["State"], fields["NProcesses"]), ("running", 1),
                    "the process without the name is still owned")
        check_equal(bus.start("test.A"), 1, "a request starts it again")
        second = bus.owner_pid("test.A")
        check(second not in (0, first) and alive(first), "beside the first one")
        wait_for(lambda: world.fields(bus, "test.A")["MainPID"] == second, "the state")
        fields = world.fields(bus, "test.A")
        check_equal((fields["NRuns"], fields["NProcesses"], fields["State"]), (2, 2, "running"),
                    "both are known")
        check_equal(sorted(p[0] for p in world.member(bus, "ListProcesses", "(s)", "test.A")),
                    sorted((first, second)), "and listed")
        check_equal(begin_stop(bus, "test.A").error(), None, "it is stopped")
        check(not alive(first) and not alive(second), "both are gone")

    @case(f"from a grandchild, {the_door} door")
    def _(world, door=the_door):
        bus, _activator = world.both(door)
        world.service("test.A", "child child name test.A")
        world.served(bus, "test.A")
        check_equal(bus.start("test.A"), 1, "it is started")
        pid = bus.owner_pid("test.A")
        wait_for(lambda: world.fields(bus, "test.A")["MainPID"] == pid, "the state")
        fields = world.fields(bus, "test.A")
        check_equal((fields["NProcesses"], fields["NAdopted"]), (3, 0), "the three are known")
        check_equal(parent_of(parent_of(parent_of(pid))), fields["ReaperPID"],
                    "below their reaper")
        world.member(bus, "StopService", "(s)", "test.A")
        check_equal(pids_with("test-service"), [], "stop ends them all")

    @case(f"daemonizing, {the_door} door")
    def _(world, door=the_door):
        bus, activator = world.both(door)
        world.service("test.A", "daemonize clear-env name test.A")
        world.served(bus, "test.A")
        check_equal(bus.start("test.A"), 1, "it is started")
        pid = bus.owner_pid("test.A")
        wait_for(lambda: world.fields(bus, "test.A")["MainPID"] == pid, "the state")
        # The parents may leave after the name was taken.
        wait_for(lambda: world.fields(bus, "test.A")["NProcesses"] == 1, "the parents to leave")
        fields = world.fields(bus, "test.A")
        check_equal((fields["State"], fields["Managed"], fields["NAdopted"]),
                    ("running", True, 1), "it is owned")
        check_equal(parent_of(pid), fields["ReaperPID"], "by its reaper")
        check_in(fields["ReaperPID"], children(activator.top), "which the top reaper has")
        check_equal(world.status(bus, "test.A").get("Owner"),
                    bus.client.dbus("GetNameOwner", "(s)", "test.A"), "Owner is known")

    @case(f"one process, several names, {the_door} door")
    def _(world, door=the_door):
        bus, _activator = world.both(door, "--handover-grace", "3600")
        names = ["test.N1", "test.N2", "test.N3"]
        for name in names:
            world.service(name, ["touch", str(world.mark(f"{name}-is-there")), "await",
                                 str(world.mark("go")), *"try test.N1 try test.N2 try test.N3"
                                 .split()])
        world.served(bus, *names)
        pending = [bus.begin_start(n) for n in names]
        wait_for(lambda: all(world.mark(f"{n}-is-there").exists() for n in names), "all three")
        world.set_mark("go")
        check_equal([p.error() for p in pending], [None] * 3, "all callers succeed")
        pids = {bus.owner_pid(n) for n in names}
        check_equal(len(pids), 1, "one process has all names")
        pid = pids.pop()
        wait_for(lambda: all(world.fields(bus, n)["MainPID"] == pid for n in names), "the states")
        check_equal([world.fields(bus, n)["State"] for n in names], ["running"] * 3,
                    "each is running")
        wait_for(lambda: pids_with("test-service") == [pid], "the others to hand over")
        signals = world.recorder(bus)
        kill_pid(pid)
        wait_for(lambda: all(world.fields(bus, n)["MainPID"] == 0 for n in names), "its end")
        wait_for(lambda: [s for s in signals if s[0] == "ServiceExited"], "ServiceExited")
        check_equal(bus.start("test.N2"), 1, "it is started again")


@case("a name that another service takes before its own is spawned")
def _(world):
    bus, activator = world.both("signal")
    names = [f"test.N{i}" for i in range(60)]
    taken = [w for n in reversed(names) for w in ("try", n)]
    for name in names:
        world.service(name, ["pid", str(world.mark("pids")), *taken])
    world.served(bus, *names)

    def spawned():
        world.mark("pids").unlink(missing_ok=True)
        pending = [bus.begin_start(n) for n in names]
        check_equal([p.error() for p in pending], [None] * len(names), "all callers succeed")
        owners = {bus.owner_pid(n) for n in names}
        wait_for(lambda: set(pids_with("test-service")) == owners and
                 len(activator.reapers()) == len(owners) + 1, "the others to leave")
        for pid in owners:
            kill_pid(pid)
        wait_for(lambda: not any(bus.has_owner(n) for n in names), "the names to be free")
        return len(world.mark("pids").read_text().split())

    # One spare is warm: as a rule the first has the last name before that one has a reaper.
    check(any(spawned() < len(names) for _ in range(20)), "what nobody needs is not spawned")


@case("stop of one that ignores SIGTERM")
def _(world):
    bus, _activator = world.both("signal", "--stop-timeout", "0.5")
    world.service("test.A", "ignore 15 orphans 3 children 2 name test.A")
    world.served(bus, "test.A")
    signals = world.recorder(bus)
    bus.start("test.A")
    check_equal(begin_stop(bus, "test.A").error(), None, "it is stopped")
    check_equal(pids_with("test-service"), [], "with all its processes")
    wait_for(lambda: [s for s in signals if s[0] == "ServiceExited"], "ServiceExited")
    ends = [s[1][3:] for s in signals if s[0] == "ServiceExited"]
    check_equal(ends, [("killed", 9)], "by SIGKILL")
    wait_for(lambda: world.fields(bus, "test.A")["State"] == "inactive", "the state")
    check(True, "which is no failure")
    states = [s[1][1:] for s in signals.sync() if s[0] == "ServiceStateChanged"]
    check_equal(states, [("inactive", "starting"), ("starting", "running"),
                         ("running", "stopping"), ("stopping", "inactive")], "the states")


@case("stop of one that is stopped by SIGSTOP")
def _(world):
    bus, _activator = world.both("signal", "--stop-timeout", "3600")
    world.service("test.A", "children 1 name test.A")
    world.served(bus, "test.A")
    bus.start("test.A")
    for pid in pids_with("test-service"):
        signal_pid(pid, 19)
    check_equal(begin_stop(bus, "test.A").error(), None, "SIGTERM reaches it with SIGCONT")
    check_equal(pids_with("test-service"), [], "it is gone")


for the_way in ("Reexec", "--replace"):
    @case(f"stop during which the activator leaves, {the_way}")
    def _(world, way=the_way):
        bus, activator = world.both("signal", "--stop-timeout", "2")
        world.service("test.A", "ignore 15 name test.A")
        world.service("test.B", "name test.B")
        world.served(bus, "test.A", "test.B")
        bus.start("test.A")
        first = bus.owner(NAME)
        stop = begin_stop(bus, "test.A")
        wait_for(lambda: world.fields(bus, "test.A")["State"] == "stopping", "the state")
        if way == "Reexec":
            world.member(bus, "Reexec")
            check_equal(bus.start("test.B"), 1, "meanwhile it serves")
        else:
            world.activator(bus, way)
            activator.wait_end()
        check_equal(stop.error(), None, "the stop is answered")
        check_equal(pids_with("name test.A"), [], "it is over")
        check_settles(lambda: bus.owner(NAME) not in ("", first), True,
                      "then another one serves")
        check_settles(lambda: world.fields(bus, "test.A")["State"], "inactive", "and knows of it")


@case("a request during the stop")
def _(world):
    bus, _activator = world.both("signal", "--stop-timeout", "3600")
    world.service("test.A", "ignore 15 name test.A")
    world.served(bus, "test.A")
    bus.start("test.A")
    first = bus.owner_pid("test.A")
    bus.ask("test.A", "Release")
    stop = begin_stop(bus, "test.A")
    wait_for(lambda: world.fields(bus, "test.A")["State"] == "stopping", "the state")
    check_equal(bus.start("test.A"), 1, "it is started again")
    second = bus.owner_pid("test.A")
    check(alive(first) and second != first, "beside the one that is being stopped")
    check(not stop.done(), "the stop waits")
    kill_pid(first)
    check_equal(stop.error(), None, "for the run that was there at the call alone")
    check(alive(second), "the new one lives")
    kill_pid(second)


@case("stop of one that is starting")
def _(world):
    bus, _activator = world.both("signal")
    world.service("test.A", ["pid", str(world.mark("pids")), "linger"])
    world.served(bus, "test.A")
    pending = bus.begin_start("test.A")
    wait_for(lambda: starts_of(world), "the service")
    check_equal(begin_stop(bus, "test.A").error(), None, "it is stopped")
    check_error(pending.error(), ERROR + "Spawn.ChildExited", "stopped", "its caller is told")
    check_equal(pids_with("test-service"), [], "nothing is left of it")


@case("what is not managed")
def _(world):
    bus, _activator = world.both("signal")
    world.service("test.A", "name test.A")
    world.served(bus, "test.A")
    check_error(begin_stop(bus, "test.A").error(), OWN_ERROR + "NotRunning", "test.A",
                "one that does not run cannot be stopped")
    check_error(begin_stop(bus, "test.Unknown").error(), OWN_ERROR + "NoSuchService",
                "test.Unknown", "nor one that is not known")
    bus.client.own("test.A")
    wait_for(lambda: world.fields(bus, "test.A")["State"] == "running", "the state")
    check_settles(lambda: (world.fields(bus, "test.A")["Managed"],
                           world.fields(bus, "test.A")["MainPID"]), (False, os.getpid()),
                  "one that somebody else runs is shown")
    check_error(begin_stop(bus, "test.A").error(), OWN_ERROR + "NotRunning", "test.A",
                "but not stopped")
    check_equal(bus.start("test.A"), 2, "nor started")


@case("the main process ends, others remain")
def _(world):
    bus, _activator = world.both("signal")
    world.service("test.A", "orphans 2 children 1 name test.A")
    world.served(bus, "test.A")
    signals = world.recorder(bus)
    bus.start("test.A")
    pid = bus.owner_pid("test.A")
    bus.ask("test.A", "Exit", "(i)", 5)
    wait_for(lambda: [s for s in signals if s[0] == "ServiceExited"], "ServiceExited")
    check_equal([(s[1][0], *s[1][2:]) for s in signals if s[0] == "ServiceExited"],
                [("test.A", pid, "exited", 5)], "its end is reported")
    wait_for(lambda: world.fields(bus, "test.A")["MainPID"] == 0, "the state")
    fields = world.fields(bus, "test.A")
    check_equal((fields["State"], fields["NProcesses"], fields["NAdopted"]), ("running", 3, 3),
                "the others are still owned")
    check_equal(len(pids_with("test-service")), 3, "and have not been ended")
    check_equal(bus.start("test.A"), 1, "a request starts a second run")
    world.member(bus, "StopService", "(s)", "test.A")
    check_equal(pids_with("test-service"), [], "stop ends both")


@case("the states after an end")
def _(world):
    bus, _activator = world.both("signal")
    world.service("test.A", "name test.A")
    world.served(bus, "test.A")
    for member, number, state in (("Exit", 0, "inactive"), ("Exit", 3, "failed"),
                                  ("Kill", 11, "failed"), ("Exit", 0, "inactive")):
        check_equal(bus.start("test.A"), 1, "it is started")
        wait_for(lambda: world.fields(bus, "test.A")["State"] == "running", "the state")
        bus.ask("test.A", member, "(i)", number)
        wait_for(lambda: world.fields(bus, "test.A")["State"] != "running", "its end")
        check_equal(world.fields(bus, "test.A")["State"], state, f"after {member} {number}")

main()
