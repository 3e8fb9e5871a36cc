#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The README's table: each case is a row, run with dbus-daemon alone and with dbus-activator."""
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness import *  # noqa: E402

ERROR = "org.freedesktop.DBus.Error."
# Of dbus-daemon, in seconds, where it is what the caller is left to wait for.
LIMIT = 2


def alone(world, **more):
    return world.bus(name="alone", systemd_activation=False, **more)


def with_activator(world, *options, **more):
    bus = world.bus(**more)
    return bus, world.activator(bus, *options)


@case("who owns a service that daemonizes")
def _(world):
    world.service("test.A", "daemonize name test.A")
    bus = alone(world)
    bus.start("test.A")
    pid = bus.owner_pid("test.A")
    # The harness is the child subreaper here; on a machine without one it is PID 1.
    check_equal(parent_of(pid), os.getpid(), "dbus-daemon: whoever takes what is lost")
    kill_pid(pid)
    bus, activator = with_activator(world)
    bus.start("test.A")
    check_equal(parent_of(bus.owner_pid("test.A")), activator.reaper_of("test.A"),
                "dbus-activator: the service's reaper")


@case("a daemonized service that fails at start")
def _(world):
    world.service("test.A", ["daemonize", "stderr", "no such display", "exit", "3"])
    error = alone(world, start_timeout=LIMIT).begin_start("test.A").error()
    check_error(error, ERROR + "TimedOut", "timed out", "dbus-daemon: the limit has to pass")
    check("display" not in error.message, "and no reason is told", error.message)
    bus, _activator = with_activator(world)
    check_error(bus.begin_start("test.A").error(), ERROR + "Spawn.ChildExited",
                "status 3.*no such display",
                "dbus-activator: an error at once, with status and last words")


@case("the reason that a caller gets")
def _(world):
    world.service("test.A", ["stderr", "no such display", "exit", "3"])
    error = alone(world).begin_start("test.A").error()
    check_error(error, ERROR + "Spawn.ChildExited", "exited with status 3$",
                "dbus-daemon: the status")
    bus, _activator = with_activator(world)
    check_error(bus.begin_start("test.A").error(), ERROR + "Spawn.ChildExited",
                "status 3.*no such display", "dbus-activator: status and last words")


@case("what a start timeout leaves behind")
def _(world):
    world.service("test.A", "children 2 linger")
    bus = alone(world, start_timeout=LIMIT)
    check_error(bus.begin_start("test.A").error(), ERROR + "TimedOut", ".",
                "dbus-daemon: times out")
    left = pids_with("test-service")
    check_equal(len(left), 2, "dbus-daemon: the children stay")
    for pid in left:
        kill_pid(pid)
    bus, _activator = with_activator(world, "--start-timeout", "1", "--stop-timeout", "1")
    check_error(bus.begin_start("test.A").error(), ERROR + "TimedOut", ".",
                "dbus-activator: times out")
    wait_for(lambda: not pids_with("test-service"), "the end of all of them")
    check(True, "dbus-activator: nothing stays")


@case("what SIGKILL to the session's wrapper leaves behind")
def _(world):
    if not shutil.which("dbus-run-session"):
        raise Skip("dbus-run-session is not installed")
    world.service("test.A", "name test.A")
    script = ("dbus-send --print-reply --dest=org.freedesktop.DBus / "
              "org.freedesktop.DBus.StartServiceByName string:test.A uint32:0 >/dev/null && "
              f"touch {world.path}/ready; exec sleep 1000")
    for wrapper in ("dbus-run-session",
                    str(world.program("session/dbus-activator-session"))):
        popen = subprocess.Popen([wrapper, "--", "sh", "-c", script], env=world.env,
                                 stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL, start_new_session=True)
        wait_for((world.path / "ready").exists, "the service")
        (world.path / "ready").unlink()
        popen.send_signal(signal.SIGKILL)
        popen.wait()
        if wrapper == "dbus-run-session":
            check(stays_true(lambda: len(below()) >= 3),
                  "dbus-run-session: bus, command and service stay", describe())
            for pid in below():
                kill_pid(pid)
            wait_for(lambda: not below(), "their end")
        else:
            wait_for(lambda: not below(), "the end of everything")
            check(True, "dbus-activator-session: nothing stays")


@case("a service that ends after its start")
def _(world):
    world.service("test.A", "name test.A")
    bus = alone(world)
    bus.start("test.A")
    heard = bus.connect().record()
    bus.ask("test.A", "Exit", "(i)", 7)
    wait_for(lambda: not bus.has_owner("test.A"), "its end")
    heard.sync()
    check(heard and {member for member, _ in heard} <= {"NameOwnerChanged", "NameAcquired"} and
          not any(7 in values for _, values in heard), "dbus-daemon: that the name is free", heard)
    bus, _activator = with_activator(world)
    bus.start("test.A")
    pid, recorder = bus.owner_pid("test.A"), world.recorder(bus)
    bus.ask("test.A", "Exit", "(i)", 7)
    found = wait_for(lambda: [v for m, v in recorder if m == "ServiceExited"], "the signal")
    check_equal((found[0][0], *found[0][2:]), ("test.A", pid, "exited", 7),
                "dbus-activator: which process ended, and how")


def run_to_end(argv, **more):
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=BOUND, check=False, **more)
    return done.returncode, done.stdout.decode(errors="replace")


def booted_with_systemd():
    if os.path.exists("/run/systemd/system"):
        raise Skip("this machine has been booted with systemd")


@case("a machine without systemd")
def _(world):
    world.service("test.A", "name test.A")
    check_equal(alone(world).start("test.A"), 1, "dbus-daemon starts the service")
    for pid in pids_with("test-service"):
        kill_pid(pid)
    bus, _activator = with_activator(world)
    check_equal(bus.start("test.A"), 1, "dbus-activator starts the service")


@case("systemd, on a machine without it")
def _(world):
    booted_with_systemd()
    if not os.path.exists("/usr/lib/systemd/systemd"):
        raise Skip("systemd is not installed")
    # Not as root, whose --user instance runs where it is given a cgroup (tests/bench does that).
    user = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    status, text = run_to_end(["/usr/lib/systemd/systemd", "--user"], env=world.env, cwd="/",
                              **user)
    check_equal(status, 1, "systemd --user does not run")
    check("has not been booted with systemd" in text, "it says why", text)


@case("dbus-broker-launch, on a machine without systemd")
def _(world):
    booted_with_systemd()
    if not shutil.which("dbus-broker-launch"):
        raise Skip("dbus-broker is not installed")
    # A socket as descriptor 3, as systemd would hand it over; sh knows its own pid.
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(world.path / "broker"))
        listener.listen()
        status, text = run_to_end(
            ["sh", "-c", f"LISTEN_PID=$$ LISTEN_FDS=1 exec dbus-broker-launch --scope user "
             f"3<&{listener.fileno()}"], env=world.env, pass_fds=[listener.fileno()])
    check(status != 0, "it does not run", f"{status}: {text}")


main()
