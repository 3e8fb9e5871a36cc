#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Every exit status and every terminating signal arrives unaltered, in ServiceExited, in
ProcessExited and in the status."""
import pathlib
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness import *  # noqa: E402

CORE = {signal.SIGQUIT, signal.SIGILL, signal.SIGTRAP, signal.SIGABRT, signal.SIGBUS,
        signal.SIGFPE, signal.SIGSEGV, signal.SIGXCPU, signal.SIGXFSZ, signal.SIGSYS}
HARMLESS = {signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH, signal.SIGSTOP,
            signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
BATCH = 16


def ends_of(signals, member, name):
    return [s[1] for s in signals if s[0] == member and s[1][0] == name]


def run_batch(world, bus, signals, batch):
    """batch: list of (name, member, argument). All are started, told how to end, and looked at.
    Answers name -> (pid, ServiceExited, ProcessExited, status)."""
    pending = [bus.begin_start(name) for name, _, _ in batch]
    for p in pending:
        p.result()
    pids = {name: bus.owner_pid(name) for name, _, _ in batch}
    for name, member, argument in batch:
        bus.ask(name, member, "(i)", argument)
    wait_for(lambda: all(ends_of(signals, "ServiceExited", n) and
                         ends_of(signals, "ProcessExited", n) for n, _, _ in batch),
             lambda: f"the reports of {[n for n, _, _ in batch]}")
    return {name: (pids[name], ends_of(signals, "ServiceExited", name),
                   ends_of(signals, "ProcessExited", name), world.fields(bus, name))
            for name, _, _ in batch}


def examine(world, bus, label, pid, reports, hows, status):
    service, process, state = reports
    good = (len(service) == 1 and len(process) == 1 and service[0][2] == pid and
            service[0][3] in hows and service[0][4] == status and process[0][2] == pid and
            process[0][3] in hows and process[0][4] == status and process[0][5] is False and
            service[0][1] == process[0][1] and service[0][1] > 0)
    check(good, f"{label}: the signals", f"pid {pid}\n{service}\n{process}")
    check(state.get("ExitHow") in hows and state.get("ExitStatus") == status and
          state.get("Run") == service[0][1], f"{label}: the status", f"{state}")


@case("all exit statuses")
def _(world):
    bus, _activator = world.both("signal", "--start-limit", "0")
    for i in range(256):
        world.service(f"test.E{i}", f"name test.E{i}")
    world.served(bus, *[f"test.E{i}" for i in range(256)])
    signals = world.recorder(bus)
    for first in range(0, 256, BATCH):
        batch = [(f"test.E{i}", "Exit", i) for i in range(first, first + BATCH)]
        results = run_batch(world, bus, signals, batch)
        for i in range(first, first + BATCH):
            pid, *reports = results[f"test.E{i}"]
            examine(world, bus, f"exit {i}", pid, reports, ("exited",), i)
    # The main process' end is reported before that of the run.
    wait_for(lambda: not [s for s in world.member(bus, "ListServices")
                          if s[0].startswith("test.E") and s[1] not in ("inactive", "failed")],
             "the end of all runs")
    listed = {s["Name"]: s for s in world.ctl(bus, "list").json}
    wrong = [i for i in range(256) if (listed[f"test.E{i}"].get("ExitHow"),
                                       listed[f"test.E{i}"].get("ExitStatus")) != ("exited", i)]
    check_equal(wrong, [], "`list --json` has them all")
    for i in (0, 1, 2, 3, 4, 5, 127, 128, 255):
        got = world.ctl(bus, "status", f"test.E{i}")
        check_equal((got.rc, got.json.get("ExitHow"), got.json.get("ExitStatus")),
                    (3, "exited", i), f"`status --json` has {i}, and says that nothing runs")
    check_equal(len({r[1][1] for r in signals if r[0] == "ServiceExited"}), 256,
                "no run id was used twice")


@case("all terminating signals")
def _(world):
    bus, _activator = world.both("signal", "--start-limit", "0")
    numbers = [n for n in range(1, signal.SIGRTMAX + 1) if n not in HARMLESS]
    for n in numbers:
        world.service(f"test.S{n}", f"name test.S{n}")
    world.served(bus, *[f"test.S{n}" for n in numbers])
    signals = world.recorder(bus)
    for first in range(0, len(numbers), BATCH):
        part = numbers[first:first + BATCH]
        results = run_batch(world, bus, signals, [(f"test.S{n}", "Kill", n) for n in part])
        for n in part:
            pid, *reports = results[f"test.S{n}"]
            # Whether there is a core is the machine's setting.
            examine(world, bus, f"signal {n}", pid, reports,
                    ("killed", "dumped") if n in CORE else ("killed",), n)


@case("the ends of processes that are not the main one")
def _(world):
    bus, _activator = world.both("signal")
    world.service("test.A", "orphans 5 name test.A")
    world.served(bus, "test.A")
    signals = world.recorder(bus)
    bus.start("test.A")
    main_pid = bus.owner_pid("test.A")
    # The forker of the orphans is waited for by the service itself.
    for status in (0, 1, 17, 255):
        bus.ask("test.A", "Fork", "(i)", status)
    # It answers one call after the other: the children have been waited for.
    bus.ask("test.A", "Ping")
    orphans = [p for p in pids_with("test-service") if p != main_pid]
    check_equal(len(orphans), 5, "there are five orphans")
    for number, pid in zip((9, 15, 1, 2, 64), orphans):
        kill_it = signal_pid(pid, number)
        wait_for(lambda p=pid: [s for s in signals if s[0] == "ProcessExited" and s[1][2] == p],
                 "ProcessExited")
        values = next(s[1] for s in signals if s[0] == "ProcessExited" and s[1][2] == pid)
        check_equal((kill_it, values[0], values[3:]), (True, "test.A", ("killed", number, True)),
                    f"signal {number} to an orphan")
    check_equal(ends_of(signals, "ServiceExited", "test.A"), [], "the service did not end")
    check_equal(len(ends_of(signals, "ProcessExited", "test.A")), 5,
                "what the service waited for itself is not reported")
    check_equal(world.fields(bus, "test.A")["NProcesses"], 1, "one process is left")
    kill_pid(main_pid)
    wait_for(lambda: ends_of(signals, "ServiceExited", "test.A"), "ServiceExited")
    wait_for(lambda: world.fields(bus, "test.A")["NProcesses"] == 0, "the end of the run")
    check_equal(len(ends_of(signals, "ServiceExited", "test.A")), 1, "ServiceExited came once")

main()
