#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""No descriptors, no processes, no room on the disk, parts that are held: callers get an answer,
and when there is room again all is as before. Idle, nothing wakes up."""
import contextlib
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys

from peers import *
from harness import *

NAME, PATH = "org.dbusactivator.Activator1", "/org/dbusactivator/Activator1"
# A mount of our own needs a mount namespace of our own.
if os.geteuid() == 0 and "DBA_OWN_MOUNTS" not in os.environ:
    possible = subprocess.run(["unshare", "--mount", "--propagation", "private", "true"],
                              stderr=subprocess.DEVNULL, check=False).returncode == 0 \
        if shutil.which("unshare") else False
    os.environ["DBA_OWN_MOUNTS"] = "1" if possible else "0"
    if possible:
        os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", sys.executable,
                              *sys.argv])
OWN_MOUNTS = os.environ.get("DBA_OWN_MOUNTS") == "1"


def start_world(world, count=6):
    bus, activator = world.both("signal", "--start-limit", "0")
    names = [f"test.E{i}" for i in range(count)]
    for name in names:
        world.service(name, f"daemonize name {name}")
    world.service("test.Bad", "stderr oops exit 3")
    world.served(bus, *names, "test.Bad")
    check_equal(bus.start(names[0]), 1, "a service before")
    return bus, activator, names


def stop_all(world, bus, names):
    for name in names:
        error = bus.client.begin(NAME, PATH, NAME, "StopService", "(s)", name).error()
        if error is not None and not error.name.endswith("NotRunning"):
            check(False, f"{name} can be stopped", error)


def works(world, bus, names, when):
    stop_all(world, bus, names)
    check_equal([bus.start(n) for n in names], [1] * len(names), f"{when}: all are started")
    error = bus.begin_start("test.Bad").error()
    check_error(error, "org.freedesktop.DBus.Error.Spawn.ChildExited", r"status 3\b",
                f"{when}: one that fails says why")


@case("no descriptors for the activator")
def _(world):
    bus, activator, names = start_world(world)
    works(world, bus, names, "before")
    stop_all(world, bus, names)
    pid, before = activator.pid, settled(activator)
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    for spare in range(13):
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (len(before) + spare, limits[1]))
        pending = {n: bus.begin_start(n) for n in [*names, "test.Bad"]}
        # Whatever it can do with so few, it does; it stays, and the bus is served.
        check(stays_true(lambda: activator.pid == pid), f"{spare} left: the activator stays")
        check_equal(world.fields(bus, names[0])["Name"], names[0],
                    f"{spare} left: it answers its own calls")
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        errors = {n: p.error() for n, p in pending.items()}
        check(errors["test.Bad"] is not None, f"{spare} left: one that fails is told so")
        retried = [bus.start(n) for n in names if errors[n] is not None]
        check(all(r in (1, 2) for r in retried) and all(bus.has_owner(n) for n in names),
              f"{spare} left: all have an answer, and after one retry at most they run", errors)
        stop_all(world, bus, names)
    works(world, bus, names, "after it")
    stop_all(world, bus, names)
    check_equal(settled(activator), before, "no descriptor is left")


def as_nobody(name):
    """The case once more as a user without rights, where he can get at the build."""
    become = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]
    program = os.path.join(os.environ["DBA_BUILD_ROOT"], "activator/daemon/dbus-activatord")
    for needed in (program, __file__):
        if subprocess.run([*become, "test", "-r", needed], check=False).returncode:
            raise Skip(f"root has no such limit, and nobody cannot read {needed}")
    done = subprocess.run([*become, sys.executable, os.path.abspath(__file__), name],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    check(done.returncode == 0, "as nobody", done.stdout.decode(errors="replace"))


@case("no processes for the activator")
def _(world):
    if os.geteuid() == 0:
        as_nobody("no processes for the activator")
        return
    bus, activator, names = start_world(world)
    pid = activator.pid
    settled(activator)
    # Of all of it: spares are copies of one another, the service is its reaper's child.
    ours = [p for p in below() if comm_of(p).startswith("dbus-activator")]
    limits = resource.prlimit(pid, resource.RLIMIT_NPROC)
    for one in ours:
        resource.prlimit(one, resource.RLIMIT_NPROC, (1, limits[1]))
    errors = [bus.begin_start(n).error() for n in names[1:]]
    check(any(e is not None for e in errors), "it cannot start them all")
    check_equal({e.name for e in errors if e is not None} -
                {"org.freedesktop.DBus.Error.Spawn.ForkFailed"}, set(), "it says why")
    check_equal(activator.pid, pid, "the activator stays")
    for one in ours:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(one, resource.RLIMIT_NPROC, limits)
    works(world, bus, names, "after it")


@contextlib.contextmanager
def limit_address_space(pid):
    """As much as it has: what it asks for it does not get, and GLib ends the program."""
    resource.prlimit(pid, resource.RLIMIT_AS, (1 << 20, 1 << 20))
    yield


@contextlib.contextmanager
def limit_group(pid):
    """A control group with no room for what comes: the kernel kills it."""
    for parent, limit, events in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes",
                                   "memory.oom_control"),
                                  ("/sys/fs/cgroup", "memory.max", "memory.events")):
        group = pathlib.Path(parent) / f"dba-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        if (group / limit).exists():
            break
        group.rmdir()
    else:
        raise Skip("no memory control group can be made here")
    try:
        (group / "cgroup.procs").write_text(str(pid))
        (group / limit).write_text(str(256 * 1024))
        yield
        check_match(r"oom_kill [1-9]", (group / events).read_text(),
                    "the kernel has killed for lack of memory")
    finally:
        for left in (group / "cgroup.procs").read_text().split():
            (group.parent / "cgroup.procs").write_text(left)
        group.rmdir()


for what, limit_it in (("address space", limit_address_space), ("a control group", limit_group)):
    @case(f"no memory for the activator, {what}")
    def _(world, limit_it=limit_it):
        bus, activator, names = start_world(world)
        settled(activator)
        before = world.fields(bus, names[0])
        pid = activator.pid
        with limit_it(pid):
            pending = {n: bus.begin_start(n) for n in [*names[1:], "test.Bad"]}
            bus.client.dbus("UpdateActivationEnvironment", "(a{ss})", {"LARGE": "x" * (8 << 20)})
            bus.client.dbus("UpdateActivationEnvironment", "(a{ss})", {"LARGE": ""})
            wait_for(lambda: not alive(pid), "its end")
            errors = {n: p.error() for n, p in pending.items()}
            wait_for(lambda: activator.pid not in (0, pid) and bus.owner_pid(NAME) == activator.pid,
                     "the next activator")
            check(errors["test.Bad"] is not None, "one that fails is told so")
            retried = [bus.start(n) for n in names[1:] if errors[n] is not None]
            check(all(r in (1, 2) for r in retried) and all(bus.has_owner(n) for n in names),
                  "all have an answer, and after one retry at most they run", errors)
            check_settles(lambda: [world.fields(bus, names[0]).get(k) for k in ("Run", "MainPID")],
                          [before["Run"], before["MainPID"]], "what ran before runs on")
        works(world, bus, names, "after it")


@case("no room in the runtime directory")
def _(world):
    if not OWN_MOUNTS:
        raise Skip("needs root, and a mount namespace")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", world.runtime],
                   check=True)
    bus, activator, names = start_world(world)
    pid = activator.pid
    works(world, bus, names, "before")
    filler = world.runtime / "filler"
    with open(filler, "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError as error:
            check_match("No space", str(error), "it is full")
    works(world, bus, names, "full")
    activator_again = activator.pid
    check_equal(activator_again, pid, "full: the activator stays")
    runs = {world.fields(bus, n)["Run"] for n in names}
    filler.unlink()
    works(world, bus, names, "with room again")
    listed = {a["Run"] for a in world.member(bus, "ListActivations", "(u)", 0)}
    check(runs <= listed, "what happened meanwhile is known")
    kill_pid(pid)
    wait_for(lambda: activator.pid not in (0, pid) and bus.owner_pid(NAME) == activator.pid,
             "the next activator")
    listed = {a["Run"] for a in world.member(bus, "ListActivations", "(u)", 0)}
    check(runs <= listed, "it was written when there was room")
    stop_all(world, bus, names)
    activator.stop()
    subprocess.run(["umount", "--lazy", world.runtime], check=True)


@case("parts that are held")
def _(world):
    bus, activator, names = start_world(world)
    settled(activator)
    spare = spares(activator)[0]
    signal_pid(spare, signal.SIGSTOP)
    first = bus.begin_start(names[1])
    bus.client.barrier()
    wait_for(lambda: world.fields(bus, names[1])["State"] == "starting", "the first one")
    check_equal(bus.start(names[2]), 1, "a held reaper holds up nobody else")
    check_equal(first.result(), 1, "its own service goes to another one")
    check(not alive(spare), "the held one cannot start it later")
    check_equal(len([a for a in world.member(bus, "ListActivations", "(u)", 0)
                     if a["Name"] == names[1]]), 1, "that was one activation")
    # The one that makes the others: the next is executed.
    mould = pids_with("dbus-activator-reaper: mould")
    check_equal(len(mould), 1, "one reaper makes the others")
    signal_pid(mould[0], signal.SIGSTOP)
    kill_pid(spares(activator)[0])
    check_equal(bus.start(names[3]), 1, "a held mould holds up nobody")
    check_settles(lambda: alive(mould[0]) or len(pids_with("dbus-activator-reaper: mould")) != 1,
                  False, "and is replaced")
    for part, pid in (("activator", activator.pid), ("top reaper", activator.top)):
        stop_all(world, bus, names)
        signal_pid(pid, signal.SIGSTOP)
        pending = [bus.begin_start(n) for n in [*names, "test.Bad"]]
        bus.client.barrier()
        signal_pid(pid, signal.SIGCONT)
        errors = [p.error() for p in pending]
        check_equal(errors[:-1], [None] * len(names), f"{part}: all are started")
        check(errors[-1] is not None, f"{part}: the one that fails is told so")
    works(world, bus, names, "after it")


@case("copies of a reaper that all die at once")
def _(world):
    if not shutil.which("strace"):
        raise Skip("there is no strace")
    bus, activator, names = start_world(world)
    settled(activator)
    moulds = pids_with("dbus-activator-reaper: mould")
    check_equal(len(moulds), 1, "one reaper makes the others")
    log = world.path / "strace"
    with subprocess.Popen(["strace", "-f", "-qq", "-o", str(log), "-e", "trace=epoll_create1",
                           "-e", "inject=epoll_create1:error=ENOMEM", "-p", str(moulds[0])],
                          stderr=subprocess.PIPE, stdin=subprocess.DEVNULL) as strace:
        try:
            wait_for(lambda: strace.poll() is not None or
                     int(field_of(moulds[0], "TracerPid") or 0) == strace.pid, "strace")
            if strace.poll() is not None:
                raise Skip(f"strace: {strace.stderr.read().decode().strip()}")
            kill_pid(spares(activator)[0])
            wait_for(lambda: not alive(moulds[0]), "the copies to be given up")
        finally:
            strace.terminate()
    check(0 < log.read_text().count("INJECTED") < 20, "after a few", log.read_text()[:1000])
    works(world, bus, names, "without copies")
    check_equal(pids_with("dbus-activator-reaper: mould"), [], "each is executed")


@case("services that end at once")
def _(world):
    bus, activator, _names = start_world(world)
    bad = [f"test.Q{i}" for i in range(12)]
    for name in bad:
        world.service(name, "exit 3")
    world.served(bus, *bad)
    settled(activator)
    moulds = pids_with("dbus-activator-reaper: mould")
    for _ in range(3):
        pending = [bus.begin_start(n) for n in bad]
        check_equal({p.error().name for p in pending},
                    {"org.freedesktop.DBus.Error.Spawn.ChildExited"}, "each says so")
        settled(activator)
    check_equal(pids_with("dbus-activator-reaper: mould"), moulds,
                "their reapers are not taken for copies that fail")


@case("idle with 50 services")
def _(world):
    bus, activator, names = start_world(world, 50)
    check_equal(os.listdir(f"/proc/{activator.pid}/task"), [str(activator.pid)],
                "the activator has one thread")
    idle(world, bus, activator, names, 5)
    stop_all(world, bus, names)

main()
