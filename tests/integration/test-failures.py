#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Services that fail: what the caller is told at each door, through StartServiceByName and
through a plain method call. All limits of bus and activator lie far beyond the bound of any wait
here, so an answer that comes is the end of the process and not a timeout."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness import *  # noqa: E402

SPAWN = "org.freedesktop.DBus.Error.Spawn."
# What is said of each: actions, then (error, text) at the signal door, then at the helper door.
# At the helper door dbus-daemon words it, from the exit status or signal of the helper.
EXITED, SIGNALED, EXEC = SPAWN + "ChildExited", SPAWN + "ChildSignaled", SPAWN + "ExecFailed"
FAILING = {
    "Exit0": ("exit 0", (EXITED, "without taking"), (EXITED, "status 1$")),
    "Exit1": ("exit 1", (EXITED, "status 1\\b"), (EXITED, "status 1$")),
    "Exit3": ("exit 3", (EXITED, "status 3\\b"), (EXITED, "status 3$")),
    "Exit255": ("exit 255", (EXITED, "status 255\\b"), (EXITED, "status 255$")),
    "Segv": ("kill 11", (SIGNALED, "signal 11\\b"), (SIGNALED, "signal 11$")),
    "Kill": ("kill 9", (SIGNALED, "signal 9\\b"), (SIGNALED, "signal 9$")),
    "Term": ("kill 15", (SIGNALED, "signal 15\\b"), (SIGNALED, "signal 15$")),
    "DaemonFails": ("daemonize exit 3", (EXITED, "status 3\\b"), (EXITED, "status 3$")),
    "DaemonCrashes": ("daemonize kill 6", (SIGNALED, "signal 6\\b"), (SIGNALED, "signal 6$")),
    "DaemonLeaves": ("daemonize exit 0", (EXITED, "without taking"), (EXITED, "status 1$")),
    "Bereft": ("orphans 12 exit 5", (EXITED, "status 5\\b"), (EXITED, "status 5$")),
    "Forked": ("fork-exit 6 linger", (EXITED, "status 6\\b"), (EXITED, "status 6$")),
    "Deaf": ("ignore 15 children 2 exit 7", (EXITED, "status 7\\b"), (EXITED, "status 7$")),
}


def failing_world(world, door):
    bus, activator = world.both(door, "--handover-grace", "0.5", "--start-limit", "0",
                                "--stop-timeout", "1")
    for name, (actions, _, _) in FAILING.items():
        world.service(f"test.{name}", ["stderr", "last words", *actions.split()])
    world.write_service("test.Missing", "/nonexistent/program --option")
    world.write_service("test.Folder", str(world.path))
    text = world.path / "text"
    text.write_text("no program\n")
    world.write_service("test.Text", str(text))
    world.served(bus, "test.Text", "test.Deaf")
    return bus, activator


def outcome(bus, kind, name):
    begin = bus.begin_start if kind == "StartServiceByName" else bus.begin_ping
    return begin(name)


def nothing_remains():
    return not pids_with("tests/services/test-service")


for the_door in ("signal", "helper"):
    @case(f"{the_door} door")
    def _(world, door=the_door):
        bus, _activator = failing_world(world, door)
        for kind in ("StartServiceByName", "a method call"):
            # All at once: each answer has to be its own.
            pending = {n: outcome(bus, kind, f"test.{n}") for n in FAILING}
            for name, (_, at_signal, at_helper) in FAILING.items():
                wanted, text = at_signal if door == "signal" else at_helper
                error = pending[name].error()
                check_error(error, wanted, text, f"{kind} of {name}")
                if door == "signal":
                    check_match("last words", error.message if error else "",
                                f"{kind} of {name}: with its last words")
        wait_for(nothing_remains, "the end of the failed services' processes")
        check(nothing_remains(), "no process of a failed service is left")

    @case(f"{the_door} door: cannot be executed")
    def _(world, door=the_door):
        bus, _activator = failing_world(world, door)
        for kind in ("StartServiceByName", "a method call"):
            for name, reason in (("Missing", "No such file or directory"),
                                 ("Folder", "Permission denied"), ("Text", "Permission denied")):
                error = outcome(bus, kind, f"test.{name}").error()
                if door == "signal":
                    check_error(error, EXEC, reason, f"{kind} of {name}")
                    check_match("/nonexistent/program|/dba-", error and error.message,
                                f"{kind} of {name}: names the path")
                else:
                    # Only an exit status can be handed on.
                    check_error(error, EXITED, "status", f"{kind} of {name}")
                known = world.status(bus, f"test.{name}")
                check_equal(known.get("ErrorName"), EXEC, f"{name}: the truth is in status")
                check_match(reason, known.get("ErrorMessage"), f"{name}: so is the reason")

    @case(f"{the_door} door: a failure poisons nothing")
    def _(world, door=the_door):
        bus, _activator = world.both(door, "--start-limit", "0")
        gate = world.mark("gate")
        world.write_service("test.Late", f'/bin/sh -c "test -e {gate} || exit 3; '
                                         f'exec {test_service()} name test.Late"')
        world.served(bus, "test.Late")
        for turn in range(8):
            check_error(bus.begin_start("test.Late").error(), EXITED, "status 3", f"turn {turn}")
        check_settles(lambda: world.fields(bus, "test.Late")["State"], "failed", "it has failed")
        state = world.status(bus, "test.Late")
        check_equal((state.get("ExitHow"), state.get("ExitStatus")), ("exited", 3), "with this end")
        gate.touch()
        check_equal(bus.start("test.Late"), 1, "the next request succeeds")
        check_equal(world.status(bus, "test.Late").get("State"), "running", "and it runs")

    @case(f"{the_door} door: the signals of a failure")
    def _(world, door=the_door):
        bus, _activator = world.both(door, "--start-limit", "0", "--handover-grace", "0.2")
        for name, actions in (("A", "exit 9"), ("B", "daemonize exit 0"), ("C", "kill 10")):
            world.service(f"test.{name}", actions)
        world.served(bus, "test.A", "test.B", "test.C")
        signals = world.recorder(bus)
        for name, wanted in (("A", EXITED), ("B", EXITED), ("C", SIGNALED)):
            check(bus.begin_start(f"test.{name}").error(), f"{name} fails")
            wait_for(lambda n=name: [s for s in signals if s[0] == "ActivationFailed" and
                                     s[1][0] == f"test.{n}"], "ActivationFailed")
            values = next(s[1] for s in signals if s[0] == "ActivationFailed" and
                          s[1][0] == f"test.{name}")
            check_equal(values[1], wanted, f"{name}: ActivationFailed says why")

            def states(n=name):
                return [s[1][1:] for s in signals if s[0] == "ServiceStateChanged" and
                        s[1][0] == f"test.{n}"]

            wait_for(lambda: states() and states()[-1][1] == "failed",
                     lambda: f"the state's change, after {states()}")
            check_in(states(), ([("inactive", "starting"), ("starting", "failed")],
                                [("inactive", "starting"), ("starting", "stopping"),
                                 ("stopping", "failed")]), f"{name}: its states")
        ends = [s[1] for s in signals if s[0] == "ProcessExited" and s[1][0] == "test.A"]
        check_equal([e[3:] for e in ends], [("exited", 9, False)], "ProcessExited of the one of A")
        ends = [s[1] for s in signals if s[0] == "ProcessExited" and s[1][0] == "test.B"]
        check_equal(len(ends), 3, "each process of B was waited for")
        check_equal(sorted(e[5] for e in ends), [False, True, True], "two of them were adopted")

main()
