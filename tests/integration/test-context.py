#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What a service finds itself in."""
import json
import os
import pathlib
import resource
import signal
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness import *  # noqa: E402

NAME = "org.dbusactivator.Activator1"
DOORS = ("signal", "helper")


def context_of(world, bus, name):
    """Of a service that wrote it before it did anything else."""
    bus.start(name)
    return json.loads(world.mark(f"context-{name}").read_text())


def write_dumper(world, name, more=()):
    world.service(name, ["context", str(world.mark(f"context-{name}")), *more, "name", name])


def environment_of(context):
    return dict(pair.split("=", 1) for pair in context["environ"])


def owner_of(bus, name):
    """The connection; None: there is none."""
    try:
        return bus.client.dbus("GetNameOwner", "(s)", name)
    except DBusError:
        return None


def bit(mask, number):
    return bool(int(mask, 16) >> (number - 1) & 1)


for the_door in DOORS:
    @case(f"process, {the_door} door")
    def _(world, door=the_door):
        bus, activator = world.both(door)
        write_dumper(world, "test.A")
        world.served(bus, "test.A")
        c = context_of(world, bus, "test.A")
        check_equal(sorted(c["fds"]), ["0", "1", "2"], "three descriptors")
        check_equal(c["fds"]["0"], "/dev/null", "stdin is /dev/null")
        check("/dev/null" not in (c["fds"]["1"], c["fds"]["2"]), "stdout and stderr are not",
              c["fds"])
        check_equal(int(c["SigBlk"], 16), 0, "no signal is blocked")
        ignored = [n for n in range(1, 65) if bit(c["SigIgn"], n)]
        check_equal(ignored, [13], "SIGPIPE alone is ignored")
        check_equal(int(c["SigCgt"], 16) & ((1 << 31) - 1), 0, "nothing is caught")
        check_equal((c["sid"], c["pgid"]), (c["pid"], c["pid"]), "it leads a session of its own")
        check_equal(c["cwd"], str(world.path), "it lives in $HOME")
        check_equal(c["NoNewPrivs"], "0", "no_new_privs is not set")
        subprocess.run([test_service(), "context", str(world.mark("mine"))], check=True,
                       env=world.env)
        mine = json.loads(world.mark("mine").read_text())
        check_equal(c["rlimits"]["nofile"], mine["rlimits"]["nofile"],
                    "the limit of descriptors is what it was")
        check_equal(c["umask"], mine["umask"], "the umask is the user's")
        check_equal((c["uids"], c["gids"]), (mine["uids"], mine["gids"]), "so are uid and gid")
        check_equal(sorted(c["Groups"].split()), sorted(mine["Groups"].split()), "and groups")
        check(c["oom_score_adj"] >= 0, "no negative oom score")
        check_in(c["ppid"], below(activator.top), "its parent is a reaper")
        check_equal(c["argv"][1:], ["context", str(world.mark("context-test.A")), "name",
                                    "test.A"], "the arguments are those of the file")

    @case(f"environment, {the_door} door")
    def _(world, door=the_door):
        world.env.update(COLOUR="green", NOTIFY_SOCKET="/x", LISTEN_FDS="3", LISTEN_PID="1",
                         LISTEN_FDNAMES="a", JOURNAL_STREAM="1:2", INVOCATION_ID="b")
        bus, _activator = world.both(door)
        write_dumper(world, "test.A")
        world.served(bus, "test.A")
        c = environment_of(context_of(world, bus, "test.A"))
        for name in ("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES",
                     "JOURNAL_STREAM", "INVOCATION_ID"):
            check(name not in c, f"{name} is not there")
        check_equal(c.get("DBUS_STARTER_BUS_TYPE"), "session", "the type of the bus")
        for name in ("DBUS_STARTER_ADDRESS", "DBUS_SESSION_BUS_ADDRESS"):
            check(c.get(name, "").startswith(bus.address.split(",")[0]), name, c.get(name))
        for name in ("COLOUR", "HOME", "PATH", "XDG_RUNTIME_DIR", "XDG_DATA_HOME"):
            check_equal(c.get(name), world.env[name], f"{name} is what the session has")
        ours = [n for n in c if n.startswith("DBUS_ACTIVATOR") or n.startswith("DBA_")]
        check_equal(ours, [], "nothing of our own")

    @case(f"environment changed by clients, {the_door} door")
    def _(world, door=the_door):
        bus = world.bus(systemd_activation=door == "signal")
        big = "x" * 100000
        before = {"BEFORE": "1", "BEFORE_LINES": "a\nb\n\nc=d", "BEFORE_BIG": big,
                  "BEFORE_CHANGED": "old", "PATH": world.env["PATH"] + ":/before"}
        bus.client.dbus("UpdateActivationEnvironment", "(a{ss})", before)
        activator = world.activator(bus)
        for name in ("test.A", "test.B", "test.C"):
            write_dumper(world, name)
        world.served(bus, "test.A", "test.B", "test.C")
        c = environment_of(context_of(world, bus, "test.A"))
        wrong = [n for n, v in before.items() if c.get(n) != v]
        check_equal(wrong, [], "what was set before the activator came")
        after = {"AFTER": "2", "AFTER_LINES": "\n=\n", "AFTER_BIG": big[:-1] + "y",
                 "BEFORE_CHANGED": "new", "AFTER_EMPTY": "", "AFTER_UTF": "grün"}
        bus.client.dbus("UpdateActivationEnvironment", "(a{ss})", after)
        c = environment_of(context_of(world, bus, "test.B"))
        after["AFTER_UTF"] = "grün".encode().decode("latin-1")
        wrong = [n for n, v in {**before, **after}.items() if c.get(n) != v]
        check_equal(wrong, [], "what was set after it")
        env = dict(world.env, DBUS_SESSION_BUS_ADDRESS=bus.address, TOOL="a b\nc")
        done = subprocess.run(["dbus-update-activation-environment", "TOOL", "TOOL_TWO=2"],
                              env=env, check=False, stderr=subprocess.PIPE)
        check_equal(done.returncode, 0, "the usual tool works")
        c = environment_of(context_of(world, bus, "test.C"))
        check_equal((c.get("TOOL"), c.get("TOOL_TWO")), ("a b\nc", "2"), "and counts")
        for number, name in enumerate(("test.D", "test.E")):
            write_dumper(world, name)
            world.served(bus, name)
            old = owner_of(bus, NAME)
            if number == 0:
                kill_pid(activator.pid)
            else:
                world.member(bus, "Reexec")
            wait_for(lambda o=old: owner_of(bus, NAME) not in (None, o), "the next activator")
            # It answers when the requests that died with the last one are failed: ours is none.
            world.member(bus, "ListServices")
            c = environment_of(context_of(world, bus, name))
            wrong = [n for n, v in {**before, **after, "TOOL_TWO": "2"}.items() if c.get(n) != v]
            check_equal(wrong, [], ("killed", "reexec")[number] + ": the next activator knows it")

    @case(f"arguments, {the_door} door")
    def _(world, door=the_door):
        bus, _activator = world.both(door)
        mark = world.mark("context-test.A")
        odd = ["stdout", "two words", "stdout", "$HOME `x` \\ \"", "stdout", "#no comment",
               "stdout", "", "stdout", "x" * 20000]
        world.service("test.A", ["context", str(mark), *odd, "name", "test.A"])
        world.served(bus, "test.A")
        c = context_of(world, bus, "test.A")
        check_equal(c["argv"][1:], ["context", str(mark), *odd, "name", "test.A"],
                    "they arrive as they are written")

    @case(f"output, {the_door} door")
    def _(world, door=the_door):
        bus, _activator = world.both(door)
        world.service("test.A", ["stdout", "to stdout", "stderr", "to stderr", "reopen",
                                 "by /dev/stderr", "name", "test.A"])
        world.served(bus, "test.A")
        bus.start("test.A")

        def log(lines):
            """Without the time in front of each line."""
            return [line.split(" ", 1)[1] for line in
                    world.member(bus, "GetLog", "(su)", "test.A", lines)]

        wait_for(lambda: len(log(10)) == 3, "the log")
        check_equal(log(10), ["to stdout", "to stderr", "by /dev/stderr"],
                    "all of it is in the log")
        bus.ask("test.A", "Write", "(s)", "one more")
        wait_for(lambda: log(1) == ["one more"], "the last line")
        check_match(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z one more$",
                    world.member(bus, "GetLog", "(su)", "test.A", 1)[0],
                    "the last line alone can be had, with its time")


@case("what dbus-daemon and activator were started with does not leak")
def _(world):
    script = ("import os, resource, signal, sys\n"
              "os.dup2(os.open('/dev/zero', os.O_RDONLY), 77, inheritable=True)\n"
              "signal.signal(signal.SIGUSR1, signal.SIG_IGN)\n"
              "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2, signal.SIGCHLD])\n"
              "os.umask(0o027)\n"
              "hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n"
              "resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))\n"
              "os.execv(sys.argv[1], sys.argv[1:])\n")
    wrapper = world.path / "untidy.py"
    wrapper.write_text(script)
    real = world.program
    launcher = world.path / "launcher"
    launcher.write_text(f"#!/bin/sh\nexec {sys.executable} {wrapper} "
                        f"{real('daemon/dbus-activatord')} \"$@\"\n")
    launcher.chmod(0o755)
    world.program = lambda name: launcher if "activatord" in name else real(name)
    bus, activator = world.both("signal")
    write_dumper(world, "test.A")
    world.served(bus, "test.A")
    c = context_of(world, bus, "test.A")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    check_equal(c["rlimits"]["nofile"][0], 200, "the soft limit of descriptors is the session's")
    check_equal(resource.prlimit(activator.pid, resource.RLIMIT_NOFILE)[0], hard,
                "the activator itself has the hard one, for as many services as may come")
    check_equal(sorted(c["fds"]), ["0", "1", "2"], "no stray descriptor")
    check_equal(int(c["SigBlk"], 16), 0, "no blocked signal")
    check_equal([n for n in range(1, 65) if bit(c["SigIgn"], n)], [13], "no ignored signal")
    check_equal(c["umask"], 0o027, "the umask is the session's")
    # One that has executed itself does not take its own limit for the session's.
    activator.expected_status = (-9,)
    old = activator.top
    kill_pid(old)
    top = wait_for(lambda: parent_of(bus.owner_pid(NAME)) not in (0, old, os.getpid()) and
                   parent_of(bus.owner_pid(NAME)), "the next top reaper")
    write_dumper(world, "test.B")
    world.served(bus, "test.B")
    check_equal(context_of(world, bus, "test.B")["rlimits"]["nofile"][0], 200, "so it stays")
    signal_pid(top, signal.SIGTERM)
    wait_for(lambda: not alive(top), "the activator to leave")

main()
