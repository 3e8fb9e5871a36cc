#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What the kernel has to offer is found out without harm, used, and told. 35 and 36, which the
patch of 2011 used, mean something else today: they are never called in that sense."""
import ctypes
import pathlib
import signal
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness import *  # noqa: E402

NAME, PATH = "org.dbusactivator.Activator1", "/org/dbusactivator/Activator1"
SET, GET, SET_SUB, GET_SUB = 0x53435250, 0x47435250, 36, 37

# Who calls them as the 2011 patch did, 35 with a boolean or 36 with an address, is killed at once.
SEED = ["35=kill", "36:pointer=kill"]


def kernel(*rules):
    """Arguments in front of a program that put it on such a kernel."""
    script = pathlib.Path(__file__).resolve().parents[1] / "harness/prctl-filter.py"
    return [sys.executable, str(script), *SEED, *rules, "--"]


def kind_of(bus):
    return bus.client.call(NAME, PATH, "org.freedesktop.DBus.Properties", "Get", "(ss)", NAME,
                           "ReaperKind")


def both(answer):
    return [f"{SET}={answer}", f"{GET}={answer}"]


def calls(*arguments):
    """The end of a program that makes one prctl() call on such a kernel: 0 when it succeeds."""
    script = ("import ctypes, sys; number = ctypes.c_int(); "
              f"sys.exit(ctypes.CDLL(None).prctl({', '.join(arguments)}) != 0)")
    return subprocess.run([*kernel(*both("EINVAL")), sys.executable, "-c", script],
                          check=False).returncode


@case("the kernel of these cases")
def _(_world):
    address = "ctypes.byref(number)"
    check_equal(calls("35", "1"), -signal.SIGSYS, "who sets as in 2011 is killed")
    check_equal(calls("36", address), -signal.SIGSYS, "who gets as in 2011 is killed")
    check_equal(calls("36", "1"), 0, "a subreaper may be set")
    check_equal(calls("37", address), 0, "and asked for")
    check_equal(calls(str(SET), "1"), 1, "the new number is refused")


@case("the running kernel as it is")
def _(world):
    answer = ctypes.CDLL(None).prctl(GET, ctypes.byref(ctypes.c_int()))
    wanted = "child-reaper" if answer == 0 else "child-subreaper"
    bus = world.bus()
    world.activator(bus)
    check_equal(kind_of(bus), wanted, f"ReaperKind is {wanted}")
    check_match(f"Reaper: +{wanted}\n", world.ctl(bus, "status", json_output=False).out,
                "so says status")


OLDER = {
    "a kernel that answers EINVAL": both("EINVAL"),
    "a seccomp filter that answers EPERM": both("EPERM"),
    "a seccomp filter that answers ENOSYS": both("ENOSYS"),
    "a kernel that says yes and does nothing": both("yes"),
    "a kernel that lets itself be asked but not told": [f"{SET}=EPERM"],
}
for the_kernel, the_rules in OLDER.items():
    for the_door in ("signal", "helper"):
        @case(f"{the_kernel}, {the_door} door")
        def _(world, rules=the_rules, door=the_door):
            bus = world.bus(systemd_activation=door == "signal")
            activator = world.activator(bus, wrap=kernel(*rules))
            check_equal(kind_of(bus), "child-subreaper",
                        "it says what it got")
            check_match(r"Reaper: +child-subreaper",
                        world.ctl(bus, "status", json_output=False).out, "so does status")
            world.service("test.A", "daemonize name test.A")
            world.served(bus, "test.A")
            signals = world.recorder(bus)
            check_equal(bus.start("test.A"), 1, "a daemonizing service starts")
            pid = bus.owner_pid("test.A")
            check_equal(parent_of(pid), activator.reaper_of("test.A"), "its reaper adopts it")
            bus.ask("test.A", "Exit", "(i)", 5)
            wait_for(lambda: [s for s in signals if s[0] == "ServiceExited"], "its end")
            check_equal([s[1][2:] for s in signals if s[0] == "ServiceExited"],
                        [(pid, "exited", 5)], "its end is reported")


NONE = {
    "nothing is to be had": ([*both("EINVAL"), f"{SET_SUB}=EINVAL", f"{GET_SUB}=EINVAL"],
                             "Invalid argument"),
    "a seccomp filter forbids all of it": ([*both("EPERM"), f"{SET_SUB}=EPERM",
                                            f"{GET_SUB}=EPERM"], "Operation not permitted"),
    "36 means something else": ([*both("EINVAL"), f"{SET_SUB}=yes", f"{GET_SUB}=EINVAL"],
                                "Invalid argument"),
    "36 is said to work and does not": ([*both("EINVAL"), f"{SET_SUB}=yes"],
                                        "Function not implemented"),
}
for the_kernel, (the_rules, the_reason) in NONE.items():
    @case(f"{the_kernel}: refused with the reason")
    def _(world, rules=the_rules, reason=the_reason):
        bus = world.bus()
        activator = world.activator(bus, ready=False, wrap=kernel(*rules))
        activator.expected_status = (111,)
        check_equal(activator.wait_end(), 111, "the activator leaves")
        check_match(f"cannot become a child reaper.*{reason}", activator.errors.read_text(),
                    "it says why")
        session = world.session("true", wrap=kernel(*rules))
        check_equal(session.wait_end(), 1, "the session leaves")
        check_match(f"cannot become a child reaper.*{reason}", session.errors.read_text(),
                    "so does that")
        check_equal(below(), [bus.pid], "nothing was started")


@case("a whole session never uses 35 and 36 in their old sense")
def _(world):
    world.service("test.A", "daemonize name test.A")
    script = ("dbus-send --session --print-reply --dest=test.A / org.dbusactivator.Test.Ping && "
              f"{program('ctl/dbus-activatorctl')} stop test.A")
    session = world.session("sh", "-c", script, wrap=kernel())
    check_equal(session.wait_end(), 0, "nobody was killed for it")
    check_equal(below(), [], "nothing is left")


main()
