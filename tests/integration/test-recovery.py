#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Parts are killed or held: no service dies of it, nothing is lost from sight or told twice, and
every caller gets an answer."""
import os
import pathlib
import shutil
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness import *  # noqa: E402

NAME, PATH = "org.dbusactivator.Activator1", "/org/dbusactivator/Activator1"
ERROR = "org.freedesktop.DBus.Error."
DOORS = ("signal", "helper")
NAMES = [f"test.N{i}" for i in range(5)]


def started_world(world, door, *options):
    bus, activator = world.both(door, *options)
    for name in NAMES:
        world.service(name, f"daemonize orphans 1 name {name}")
    world.served(bus, *NAMES)
    for name in NAMES:
        bus.start(name)
    # The parents of the daemons may leave after the names were taken.
    wait_for(lambda: all(world.fields(bus, n)["NProcesses"] == 2 for n in NAMES), "the parents")
    return bus, activator


def kill_activator(activator, number=signal.SIGKILL):
    """Answers the pid of the next one, which serves."""
    old = activator.pid
    signal_pid(old, number)
    signal_pid(old, signal.SIGCONT)
    wait_for(lambda: activator.pid not in (0, old), "the next activator")
    wait_for(lambda: activator.bus.owner_pid(NAME) == activator.pid, "the next one to serve")
    return activator.pid


def identity(world, bus, name):
    f = world.fields(bus, name)
    return (f["State"], f["Managed"], f["Run"], f["MainPID"], f["ReaperPID"], f["NProcesses"],
            f["StartedUSec"])


def short(world, bus, name):
    f = world.fields(bus, name)
    return f["State"], f["MainPID"], f["Run"]


def history_of(world, bus, name):
    return [a for a in world.member(bus, "ListActivations", "(u)", 0) if a["Name"] == name]


def ends_of(signals, name):
    return {(s[1][1], *s[1][2:]) for s in signals if s[0] == "ServiceExited" and s[1][0] == name}


for the_door in DOORS:
    @case(f"the activator is killed, {the_door} door")
    def _(world, door=the_door):
        bus, activator = started_world(world, door)
        before = {n: identity(world, bus, n) for n in NAMES}
        pids = sorted(pids_with("test-service"))
        for number in (signal.SIGKILL, signal.SIGSEGV):
            kill_activator(activator, number)
            check_equal(sorted(pids_with("test-service")), pids, f"{number.name}: services live")
            check_settles(lambda: {n: identity(world, bus, n) for n in NAMES}, before,
                          f"{number.name}: the next one knows them all")
        world.service("test.New", "name test.New")
        world.served(bus, "test.New")
        check_equal(bus.start("test.New"), 1, "new requests are served")
        check(world.fields(bus, "test.New")["Run"] not in {b[2] for b in before.values()},
              "with a run id of its own")
        signals = world.recorder(bus)
        kill_pid(before[NAMES[0]][3])
        wait_for(lambda: ends_of(signals, NAMES[0]), "ServiceExited")
        check_equal(ends_of(signals, NAMES[0]),
                    {(before[NAMES[0]][2], before[NAMES[0]][3], "killed", 9)},
                    "an end is reported with its run")
        world.member(bus, "StopService", "(s)", NAMES[1])
        check(not alive(before[NAMES[1]][3]), "one can be stopped")

    @case(f"callers that wait while the activator is killed, {the_door} door")
    def _(world, door=the_door):
        bus, activator = world.both(door, "--start-limit", "0")
        for name, end in (("Good", "name test.Good"), ("Bad", "exit 3")):
            world.service(f"test.{name}", ["touch", str(world.mark(f"{name}-is-there")), "await",
                                           str(world.mark("go")), *end.split()])
        world.served(bus, "test.Good", "test.Bad")
        good, bad = bus.begin_start("test.Good"), bus.begin_start("test.Bad")
        wait_for(lambda: world.mark("Good-is-there").exists() and
                 world.mark("Bad-is-there").exists(), "both services")
        kill_activator(activator)
        world.set_mark("go")
        check_equal(good.result(), 1, "one whose service comes up")
        check_error(bad.error(), ERROR + "Spawn.ChildExited", r"status 3\b",
                    "one whose service fails")
        wait_for(lambda: world.fields(bus, "test.Good")["MainPID"] == bus.owner_pid("test.Good"),
                 "the state")
        check(world.fields(bus, "test.Good")["Managed"], "the run is the activator's")
        wait_for(lambda: history_of(world, bus, "test.Bad"), "the history")
        check_equal(len(history_of(world, bus, "test.Bad")), 1, "it failed once")

    @case(f"an end that was told, and no verdict given, {the_door} door")
    def _(world, door=the_door):
        bus, activator = world.both(door, "--start-limit", "0")
        world.service("test.Bad", ["touch", str(world.mark("there")), "await",
                                   str(world.mark("go")), "exit", "3"])
        world.served(bus, "test.Bad")
        pending = bus.begin_start("test.Bad")
        wait_for(lambda: world.mark("there").exists(), "the service")
        reaper, held = world.fields(bus, "test.Bad")["ReaperPID"], activator.pid
        # The bus does not answer who owns the name: the verdict has to wait.
        signal_pid(bus.pid, signal.SIGSTOP)
        world.set_mark("go")
        wait_for(lambda: not pids_with("test-service"), "its end")
        check(stays_true(lambda: alive(reaper)), "the reaper keeps what is not judged")
        signal_pid(held, signal.SIGKILL)
        signal_pid(bus.pid, signal.SIGCONT)
        check_error(pending.error(), ERROR + "Spawn.ChildExited", r"status 3\b",
                    "the caller is told the reason")
        check_settles(lambda: [(e.get("ExitHow"), e.get("ExitStatus"))
                               for e in history_of(world, bus, "test.Bad")], [("exited", 3)],
                      "it stands in the history once")
        check_settles(lambda: alive(reaper), False, "then the reaper leaves")

    @case(f"requests that nobody read, {the_door} door")
    def _(world, door=the_door):
        bus, activator = world.both(door, "--start-limit", "0")
        names = [f"test.U{i}" for i in range(8)]
        for name in names:
            world.service(name, f"name {name}")
        world.served(bus, *names)
        held = activator.pid
        signal_pid(held, signal.SIGSTOP)
        pending = {n: bus.begin_start(n) for n in names}
        bus.client.barrier()
        kill_activator(activator)
        for name, p in pending.items():
            error = p.error()
            check(error is None or bus.begin_start(name).error() is None,
                  f"{name}: is answered, and started after one retry at most", error)
        check(all(bus.has_owner(n) for n in names), "all run")

    @case(f"an end while there is no activator, {the_door} door")
    def _(world, door=the_door):
        bus, activator = started_world(world, door)
        signals = world.recorder(bus)
        before = {n: world.fields(bus, n) for n in NAMES}
        held = activator.pid
        signal_pid(held, signal.SIGSTOP)
        for number, name in enumerate(NAMES):
            bus.ask(name, "Exit", "(i)", 40 + number)
        wait_for(lambda: not any(alive(b["MainPID"]) for b in before.values()), "the ends")
        kill_activator(activator)
        wait_for(lambda: all(ends_of(signals, n) for n in NAMES), "the reports")
        for number, name in enumerate(NAMES):
            wanted = (before[name]["Run"], before[name]["MainPID"], "exited", 40 + number)
            check_equal(ends_of(signals, name), {wanted}, f"{name}: the end, with its run")
            entries = history_of(world, bus, name)
            check_equal([(e.get("Run"), e.get("ExitHow"), e.get("ExitStatus")) for e in entries],
                        [(wanted[0], *wanted[2:])], f"{name}: once in the history")
            fields = world.fields(bus, name)
            check_equal((fields["NProcesses"], fields["NAdopted"]), (1, 1),
                        f"{name}: its orphan is still owned")


@case("killed again and again")
def _(world):
    bus, activator = started_world(world, "signal")
    before = {n: identity(world, bus, n) for n in NAMES}
    for turn in range(4):
        kill_activator(activator)
        check_settles(lambda: {n: identity(world, bus, n) for n in NAMES}, before,
                      f"turn {turn}")
    runs = [a["Run"] for a in world.member(bus, "ListActivations", "(u)", 0)]
    check_equal(sorted(runs), sorted(set(runs)), "the history has each run once")
    check_equal(sorted(runs), sorted(b[2] for b in before.values()), "and no other")


@case("away for long, helper door")
def _(world):
    bus, activator = started_world(world, "helper")
    world.service("test.New", "name test.New")
    world.served(bus, "test.New")
    top = activator.top
    # Each time that it lived for less than a second the next one comes later.
    for _ in range(5):
        pid = wait_for(lambda: bus.owner_pid(NAME), "an activator")
        kill_pid(pid)
        wait_for(lambda p=pid: not alive(p) and bus.owner_pid(NAME) != p, "its end")
    check_equal(bus.start("test.New"), 1, "a service is started")
    check_settles(lambda: world.fields(bus, "test.New").get("Managed"), True, "by the next one")
    check_equal(activator.top, top, "under the same top reaper")


@case("a reaper is killed")
def _(world):
    bus, activator = started_world(world, "signal")
    signals = world.recorder(bus)
    before = {n: world.fields(bus, n) for n in NAMES}
    name = NAMES[0]
    pids = {p[0] for p in world.member(bus, "ListProcesses", "(s)", name)}
    others = NAMES[3:]
    listed = {n: {p[0] for p in world.member(bus, "ListProcesses", "(s)", n)} for n in NAMES}
    kill_pid(before[name]["ReaperPID"])
    for other in others:
        kill_pid(before[other]["ReaperPID"])
    wait_for(lambda: parent_of(before[name]["MainPID"]) == activator.top,
             "the top reaper to have them")
    # Main process and orphan are children of the top now, beside those of other runs.
    check_settles(lambda: {n: {p[0] for p in world.member(bus, "ListProcesses", "(s)", n)}
                           for n in NAMES}, listed, "each run's processes are listed as its own")
    check_settles(lambda: [world.fields(bus, n)["NAdopted"] for n in (name, *others)], [2, 2, 2],
                  "as adopted")
    world.member(bus, "StopService", "(s)", others[0])
    check_equal({n: [p for p in listed[n] if alive(p)] != [] for n in NAMES},
                {n: n != others[0] for n in NAMES}, "stopping one ends all of it and no other")
    world.member(bus, "StopService", "(s)", others[1])
    check_equal({p for p in pids if alive(p)}, pids, "its processes live")
    wait_for(lambda: world.fields(bus, name).get("ReaperPID") != before[name]["ReaperPID"],
             "the activator to know")
    fields = world.fields(bus, name)
    check_equal((fields["State"], fields["MainPID"], fields["Run"]),
                ("running", before[name]["MainPID"], before[name]["Run"]), "as the same run")
    bus.ask(name, "Write", "(s)", "still here")
    check_equal(bus.ask(name, "Ping"), before[name]["MainPID"], "it can still write")
    bus.ask(name, "Exit", "(i)", 6)
    wait_for(lambda: ends_of(signals, name), "ServiceExited")
    check_equal(ends_of(signals, name), {(before[name]["Run"], before[name]["MainPID"], "exited",
                                          6)}, "its end is reported")
    check_equal(world.fields(bus, name)["State"], "running", "the orphan goes on")
    error = bus.client.begin(NAME, PATH, NAME, "StopService", "(s)", name).error()
    check_equal(error, None, "it can be stopped")
    check_equal({p for p in pids if alive(p)}, set(), "nothing is left of it")
    check_equal(bus.start(name), 1, "it can be started again")
    check(all(alive(before[n]["MainPID"]) for n in NAMES[1:3]), "others do not notice")


@case("a reaper is killed after the activator was")
def _(world):
    bus, activator = started_world(world, "signal")
    kill_activator(activator)
    signals = world.recorder(bus)
    before = {n: world.fields(bus, n) for n in NAMES}
    for name in NAMES[:3]:
        kill_pid(before[name]["ReaperPID"])
    for name in NAMES[:3]:
        wait_for(lambda n=name: parent_of(before[n]["MainPID"]) == activator.top, "the top")
    kill_activator(activator)
    for name in NAMES:
        check_settles(lambda n=name: short(world, bus, n),
                      ("running", before[name]["MainPID"], before[name]["Run"]),
                      f"{name}: as the same run")
    kill_pid(before[NAMES[0]]["MainPID"])
    wait_for(lambda: ends_of(signals, NAMES[0]), "ServiceExited")
    check_equal(ends_of(signals, NAMES[0]), {(before[NAMES[0]]["Run"],
                                              before[NAMES[0]]["MainPID"], "killed", 9)},
                "its end is reported")
    for name in NAMES:
        error = bus.client.begin(NAME, PATH, NAME, "StopService", "(s)", name).error()
        check_equal(error, None, f"{name} can be stopped")
    check_equal(pids_with("test-service"), [], "nothing is left")


@case("the spare reaper is killed")
def _(world):
    bus, activator = started_world(world, "signal")
    for turn in range(3):
        wait_for(lambda: [p for t, p in activator.reapers().items() if "spare" in t], "a spare")
        for title, pid in activator.reapers().items():
            if "spare" in title:
                kill_pid(pid)
        world.service(f"test.T{turn}", f"name test.T{turn}")
        world.served(bus, f"test.T{turn}")
        check_equal(bus.start(f"test.T{turn}"), 1, f"turn {turn}: the next start goes on")


@case("the reaper of a starting service is killed")
def _(world):
    bus, _activator = world.both("signal", "--start-limit", "0")
    world.service("test.A", ["touch", str(world.mark("there")), "await", str(world.mark("go")),
                             "name", "test.A"])
    world.served(bus, "test.A")
    pending = bus.begin_start("test.A")
    wait_for(lambda: world.mark("there").exists(), "the service")
    kill_pid(world.fields(bus, "test.A")["ReaperPID"])
    world.set_mark("go")
    check_equal(pending.error(), None, "the start goes on")
    pid = bus.owner_pid("test.A")
    wait_for(lambda: world.fields(bus, "test.A")["MainPID"] == pid, "the state")
    world.member(bus, "StopService", "(s)", "test.A")
    check(not alive(pid), "it can be stopped")


@case("a reaper is killed before it has started anything")
def _(world):
    bus, activator = world.both("signal", "--start-limit", "0")
    world.service("test.A", ["touch", str(world.mark("there")), "await", str(world.mark("go")),
                             "daemonize", "orphans", "1", "name", "test.A"])
    world.served(bus, "test.A")
    signals = world.recorder(bus)

    def hold(but=0):
        """The next warm reaper, which is held and will do nothing of what it is told."""
        spare = wait_for(lambda: [p for p in children(activator.top) if p != but and
                                  " ".join(argv_of(p)).rstrip().endswith(": spare")], "a spare")[0]
        signal_pid(spare, signal.SIGSTOP)
        return spare

    first = hold()
    pending = bus.begin_start("test.A")
    for turn in range(2):
        wait_for(lambda r=first: world.fields(bus, "test.A").get("ReaperPID") == r, "the run")
        run = world.fields(bus, "test.A")["Run"]
        second = hold(first) if turn == 0 else None
        kill_pid(first)
        first = second
    wait_for(lambda: world.mark("there").exists(), "the service")
    # While it starts and afterwards, its reaper is as any other.
    wait_for(lambda: world.fields(bus, "test.A").get("ReaperPID", 0) > 0, "its reaper")
    kill_pid(world.fields(bus, "test.A")["ReaperPID"])
    world.set_mark("go")
    check_equal(pending.error(), None, "the start goes on with another one")
    pid = bus.owner_pid("test.A")
    check_settles(lambda: [world.fields(bus, "test.A").get(k)
                           for k in ("Run", "Managed", "MainPID", "NProcesses", "State")],
                  [run, True, pid, 2, "running"], "as the same run")
    check_equal(len(history_of(world, bus, "test.A")), 1, "that was one activation")
    pids = [p[0] for p in world.member(bus, "ListProcesses", "(s)", "test.A")]
    bus.ask("test.A", "Exit", "(i)", 5)
    wait_for(lambda: ends_of(signals, "test.A"), "ServiceExited")
    check_equal(ends_of(signals, "test.A"), {(run, pid, "exited", 5)}, "its end is told once")
    world.member(bus, "StopService", "(s)", "test.A")
    check_equal([p for p in pids if alive(p)], [], "it can be stopped")


@case("services that call themselves as the reapers do")
def _(world):
    bus, activator = world.both("signal", "--start-limit", "0")
    # Zombie: only a name is left of it. Alive: the very program of the reapers, under the title of
    # one that waits.
    thing = world.path / "dbus-activator-thing"
    shutil.copy(test_service(), thing)
    world.write_service("test.Zombie", f"{thing} name test.Zombie")
    world.write_service("test.Alive", f"{program('reaper/dbus-activator-reaper')} --run spare -- "
                        f"{test_service()} name test.Alive")
    world.service("test.Other", "orphans 1 name test.Other")
    world.served(bus, "test.Zombie", "test.Alive", "test.Other")
    signals = world.recorder(bus)
    names = ("test.Zombie", "test.Alive", "test.Other")
    check_equal([bus.start(n) for n in names], [1, 1, 1], "all are started")
    owners = {n: bus.owner_pid(n) for n in names}
    wait_for(lambda: all(world.fields(bus, n)["MainPID"] == owners[n] for n in names), "the runs")
    before = {n: world.fields(bus, n) for n in names}
    listed = {n: sorted(p[0] for p in world.member(bus, "ListProcesses", "(s)", n)) for n in names}
    signal_pid(before["test.Zombie"]["ReaperPID"], signal.SIGSTOP)
    bus.ask("test.Zombie", "Exit", "(i)", 5)
    wait_for(lambda: field_of(owners["test.Zombie"], "State")[:1] == "Z", "the zombie")
    # One at a time: of several reapers that die at once nothing says whose a zombie was.
    kill_pid(before["test.Zombie"]["ReaperPID"])
    wait_for(lambda: ends_of(signals, "test.Zombie"), "ServiceExited")
    check_equal(ends_of(signals, "test.Zombie"),
                {(before["test.Zombie"]["Run"], owners["test.Zombie"], "exited", 5)},
                "the end of one that is a zombie is told")
    for name in names[1:]:
        reaper = before[name]["ReaperPID"]
        kill_pid(reaper)
        wait_for(lambda n=name, r=reaper: world.fields(bus, n).get("ReaperPID") != r,
                 "its end to be known")
        check_settles(lambda n=name: (sorted(p[0] for p in world.member(bus, "ListProcesses", "(s)",
                                                                        n)),
                                      world.fields(bus, n)["Run"]),
                      (listed[name], before[name]["Run"]), f"{name}: is its run's still")
        world.member(bus, "StopService", "(s)", name)
        check_equal([p for p in listed[name] if alive(p)], [], f"{name}: can be stopped")


@case("the top reaper is killed")
def _(world):
    bus, activator = started_world(world, "signal")
    activator.expected_status = (-9,)
    before = {n: world.fields(bus, n) for n in NAMES}
    pids = set(pids_with("test-service"))
    kill_pid(activator.top)
    activator.wait_end()
    check_equal(set(pids_with("test-service")), pids, "services live")
    successor = world.activator(bus, "--replace")
    check_equal(bus.owner_pid(NAME), successor.pid, "the next activator serves")
    for name in NAMES:
        check_settles(lambda n=name: short(world, bus, n),
                      ("running", before[name]["MainPID"], before[name]["Run"]),
                      f"{name}: as the same run")
    for name in NAMES:
        world.member(bus, "StopService", "(s)", name)
    check_equal(pids_with("test-service"), [], "all can be stopped")


def pipes_of(pid):
    return {t for t in links_of(f"/proc/{pid}/fd") if t.startswith("pipe:")}


def links_of(folder):
    found = []
    for name in os.listdir(folder):
        try:
            found.append(os.readlink(f"{folder}/{name}"))
        except FileNotFoundError:
            pass
    return found


@case("a reaper is killed after the top reaper was")
def _(world):
    bus, activator = started_world(world, "signal")
    activator.expected_status = (-9,)
    before = {n: world.fields(bus, n) for n in NAMES}
    logs = {n: pipes_of(before[n]["ReaperPID"]) for n in NAMES}
    kill_pid(activator.top)
    activator.wait_end()
    # The old activator becomes the top reaper of the next one.
    top = wait_for(lambda: bus.owner_pid(NAME) and parent_of(bus.owner_pid(NAME)) not in
                   (0, activator.top, os.getpid()) and parent_of(bus.owner_pid(NAME)),
                   "the next top reaper")
    for name in NAMES:
        check_settles(lambda n=name: short(world, bus, n),
                      ("running", before[name]["MainPID"], before[name]["Run"]),
                      f"{name}: as the same run")
        check_settles(lambda n=name: logs[n] <= pipes_of(top), True,
                      f"{name}: the new one keeps its log open")
    name = NAMES[0]
    pids = [p[0] for p in world.member(bus, "ListProcesses", "(s)", name)]
    kill_pid(before[name]["ReaperPID"])
    check_settles(lambda: [world.fields(bus, name).get(k) for k in ("State", "NRuns", "Managed")],
                  ["running", 0, False], "what nobody owns is not said to be owned")
    bus.ask(name, "Write", "(s)", "still here")
    check_equal(bus.ask(name, "Ping"), before[name]["MainPID"], "it can still write")
    # Documented: these have no owner any more.
    for pid in pids:
        kill_pid(pid)
    check_settles(lambda: world.fields(bus, name)["State"], "inactive", "its end is seen")
    for name in NAMES[1:]:
        world.member(bus, "StopService", "(s)", name)
    check_equal(pids_with("test-service"), [], "all others can be stopped")
    signal_pid(top, signal.SIGTERM)
    wait_for(lambda: not alive(top), "the activator to leave")


for the_end in (signal.SIGTERM, signal.SIGINT):
    @case(f"a session is ended while its activator is being restarted, {the_end.name}")
    def _(world, end=the_end):
        bus, activator = started_world(world, "signal")
        top = activator.top
        # The other when the top reaper has not seen yet that the last one is dead.
        activator.expected_status = (128 + end, 128 + signal.SIGKILL)
        # Each time that it lived for less than a second the next one comes later.
        for _ in range(4):
            pid = wait_for(lambda: bus.owner_pid(NAME), "an activator")
            kill_pid(pid)
            wait_for(lambda p=pid: not alive(p) and bus.owner_pid(NAME) != p, "its end")
        signal_pid(top, end)
        activator.wait_end()
        check_equal(pids_with("test-service"), [], "all services went with it")
        # Which sweeps what the dead one has left in the runtime directory.
        check(world.activator(bus).pid, "another one can be started")


for the_moment, the_sign in (("at once", lambda pid: True),
                             ("it is the next one", lambda pid: comm_of(pid) != "dbus-activatord"),
                             ("it starts an activator", children)):
    @case(f"the top reaper is killed and the session ended, {the_moment}")
    def _(world, sign=the_sign):
        bus, activator = started_world(world, "signal")
        activator.expected_status = (-9,)
        # The activator becomes the next top reaper and starts another activator.
        pid = activator.pid
        kill_pid(activator.top)
        wait_for(lambda: sign(pid), "the moment")
        signal_pid(pid, signal.SIGTERM)
        activator.wait_end()
        wait_for(lambda: not alive(pid), "its end")
        check_equal(pids_with("test-service"), [], "all services went with it")


@case("an activator that has been told to end is killed")
def _(world):
    bus, activator = started_world(world, "signal")
    # Held, it cannot see to its services any more; the top reaper has passed the signal on.
    activator.expected_status = (128 + signal.SIGKILL,)
    pid = activator.pid
    signal_pid(pid, signal.SIGSTOP)
    wait_for(lambda: field_of(pid, "State")[:1] == "T", "it to be held")
    signal_pid(activator.top, signal.SIGTERM)
    wait_for(lambda: int(field_of(pid, "ShdPnd"), 16) >> (signal.SIGTERM - 1) & 1, "the signal")
    signal_pid(pid, signal.SIGKILL)
    activator.wait_end()
    check_equal(pids_with("test-service"), [], "all services went with it")
    check(world.activator(bus).pid, "another one can be started")


@case("top reaper and activator are killed")
def _(world):
    bus, activator = started_world(world, "signal")
    activator.expected_status = (-9,)
    before = {n: world.fields(bus, n) for n in NAMES}
    pids = set(pids_with("test-service"))
    for pid in (activator.top, activator.pid):
        signal_pid(pid, signal.SIGSTOP)
    victims = (activator.pid, activator.top)
    for pid in victims:
        kill_pid(pid)
    activator.wait_end()
    wait_for(lambda: not alive(victims[0]), "the activator's end")
    # One that dies while nobody is there takes along who its processes were.
    lost = NAMES[0]
    kill_pid(before[lost]["ReaperPID"])
    check_equal(set(pids_with("test-service")), pids, "services live")
    world.activator(bus)
    check_settles(lambda: [(e.get("MainPID"), e.get("ExitHow"))
                           for e in history_of(world, bus, lost)],
                  [(before[lost]["MainPID"], "unknown")], "its run is said to be over")
    check_settles(lambda: [world.fields(bus, lost).get(k)
                           for k in ("State", "Managed", "NRuns", "MainPID")],
                  ["running", False, 0, before[lost]["MainPID"]], "and its service to be nobody's")
    for pid in pids_with(f"name {lost}"):
        kill_pid(pid)
    for name in NAMES[1:]:
        check_settles(lambda n=name: short(world, bus, n),
                      ("running", before[name]["MainPID"], before[name]["Run"]),
                      f"{name}: as the same run")


@case("parts are held by SIGSTOP")
def _(world):
    bus, activator = started_world(world, "signal", "--stop-timeout", "3600")
    before = {n: world.fields(bus, n) for n in NAMES}
    held = before[NAMES[0]]["ReaperPID"]
    signal_pid(held, signal.SIGSTOP)
    world.service("test.New", "name test.New")
    world.served(bus, "test.New")
    check_equal(bus.start("test.New"), 1, "a held reaper holds up nobody else")
    world.member(bus, "StopService", "(s)", NAMES[1])
    check(not alive(before[NAMES[1]]["MainPID"]), "another one can be stopped")
    stop = bus.connect().begin(NAME, PATH, NAME, "StopService", "(s)", NAMES[0])
    signal_pid(held, signal.SIGCONT)
    check_equal(stop.error(), None, "when it goes on, its service can be stopped")
    signal_pid(activator.pid, signal.SIGSTOP)
    pending = bus.begin_start(NAMES[0])
    bus.client.barrier()
    check(not pending.done(), "a held activator answers nothing")
    signal_pid(activator.pid, signal.SIGCONT)
    check_equal(pending.result(), 1, "when it goes on, it answers")
    signal_pid(activator.top, signal.SIGSTOP)
    check_equal(bus.start(NAMES[1]), 1, "a held top reaper holds up nobody")
    signal_pid(activator.top, signal.SIGCONT)


@case("bus and activator are killed")
def _(world):
    bus, activator = started_world(world, "signal")
    activator.expected_status = (1,)
    pid = activator.pid
    signal_pid(pid, signal.SIGSTOP)
    kill_pid(bus.pid)
    kill_pid(pid)
    activator.wait_end()
    wait_for(lambda: not pids_with("test-service"), "the services' end")
    check(not pids_with("test-service"), "the next activator finds that the session is over")
    # Logs and history stay readable; launch helpers know what to do without an activator.
    for name in ("dbus-activator", "dbus-1"):
        shutil.rmtree(world.path / "run" / name)


@case("the bus is killed")
def _(world):
    bus, activator = started_world(world, "signal")
    activator.expected_status = (0, 1)
    kill_pid(bus.pid)
    activator.wait_end()
    wait_for(lambda: not pids_with("test-service"), "the services' end")
    check(not pids_with("test-service"), "a session ends with its bus")

main()
