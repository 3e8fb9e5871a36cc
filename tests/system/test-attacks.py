#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What the bus user, other users and odd peers can do to the installed helper and the activator
that it has started. (The helper's arguments, limits, descriptors and signals, and what may be
planted in the runtime directory, are in test-launch-helper.py.)"""
import ctypes
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import machine  # noqa: E402

machine.enter(__file__)

sys.path.insert(0, str(machine.SOURCE / "tests/reliability"))
from harness import tap  # noqa: E402
from harness.base import Skip, read_bytes, read_text, wait_for  # noqa: E402
from harness.process import (alive, below, children, comm_of, keeper, kill_pid,  # noqa: E402
                             parent_of, signal_pid)
from harness.tap import case, check, check_equal  # noqa: E402
from peers import MAX, Peer, hello, message, request  # noqa: E402
from systembus import SystemBus, activators, service, stop_everything  # noqa: E402

LIBRARY = machine.BUILD / "tests/services/libnss_dbatest.so.2"
SOCKETS = ("requests", "reapers")


def ask(name="org.dba.There"):
    """As dbus-daemon does it; the exit code."""
    return machine.as_user("messagebus", machine.HELPER, name).returncode


def end_activator():
    pids = activators()
    tops = [parent_of(p) for p in pids]
    for pid in pids:
        signal_pid(pid, signal.SIGTERM)
    wait_for(lambda: keeper.reap() or not any(alive(p) for p in pids + tops), "its end")


# --- the bus user signals its helper at any moment

def traced(*options, output="/dev/null"):
    """The helper alone, not what it forks: that is root's, and out of the bus user's reach."""
    return ["strace", "-u", "messagebus", "-o", output, *options, machine.HELPER, "org.dba.There"]


def calls_of():
    """The names of its system calls, in order, from the first after execve()."""
    machine.run(*traced(output="/run/calls"))
    names = [re.match(r"\w+", x).group() for x in read_text("/run/calls").splitlines()
             if re.match(r"\w+\(", x)]
    return names[1:]


def interrupted(number, names, step):
    """A tracer whose helper gets the signal at that call: the tracer counts by name."""
    pathlib.Path("/run/trace").unlink(missing_ok=True)
    count = names[:step + 1].count(names[step])
    return keeper.add(subprocess.Popen(
        traced("-e", f"inject={names[step]}:signal={number}:when={count}", output="/run/trace"),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))


@case("helpers killed at each step")
def killed(world):
    if not shutil.which("strace"):
        raise Skip("strace is not installed")
    service("org.dba.There", "name org.dba.There")
    bus = SystemBus(world)
    check_equal(ask(), 0, "a request")
    names = calls_of()
    pid = activators()[0]
    codes, deaths = set(), set()
    for step in range(len(names)):
        deaths.add(interrupted("SIGKILL", names, step).wait(90))
        codes.add(ask())
    check_equal((codes, deaths), ({0}, {-9}), f"{len(names)} steps, "
                "an activator there: the next one is served")
    check_equal(activators(), [pid], "by the same activator")
    # What comes before the first look at the socket is the same as above.
    end_activator()
    names = calls_of()
    first = names.index("socket")
    codes, counts, deaths = set(), set(), set()
    for step in range(first, len(names)):
        end_activator()
        deaths.add(interrupted("SIGKILL", names, step).wait(90))
        codes.add(ask())
        counts.add(len(activators()))
    check_equal((codes, deaths), ({0}, {-9}), f"{len(names) - first} "
                "steps, nobody there: the next one is served")
    check_equal(counts, {1}, "by one activator")
    stop_everything(world, bus)


@case("helpers stopped at each step")
def stopped(world):
    if not shutil.which("strace"):
        raise Skip("strace is not installed")
    service("org.dba.There", "name org.dba.There")
    bus = SystemBus(world)
    codes, counts, ends, stops = set(), set(), set(), set()

    def stop_at(names, step):
        tracer = interrupted("SIGSTOP", names, step)
        wait_for(lambda: "stopped by SIGSTOP" in read_text("/run/trace") or
                 tracer.poll() is not None, "it to stop")
        stops.add(tracer.poll() is None)
        codes.add(ask())
        counts.add(len(activators()))

        def over():
            # Once would not do: the tracer may not have let it stop yet.
            for pid in children(tracer.pid):
                signal_pid(pid, signal.SIGCONT)
            return tracer.poll() is not None

        wait_for(over, "the one that was stopped")
        ends.add(tracer.returncode)

    check_equal(ask(), 0, "a request")
    names = calls_of()
    # The last one is exit_group(), which it does not survive.
    for step in range(0, len(names) - 1, 3):
        stop_at(names, step)
    check_equal((codes, counts, ends, stops), ({0}, {1}, {0}, {True}), f"{len(names) // 3} steps, "
                "an activator there: another is served meanwhile, then the one that was stopped")
    end_activator()
    names = calls_of()
    first = names.index("socket")
    for step in range(first, len(names) - 1):
        end_activator()
        stop_at(names, step)
    check_equal((codes, counts, ends, stops), ({0}, {1}, {0}, {True}),
                f"{len(names) - first} steps, nobody there: the same")
    stop_everything(world, bus)


# --- what the bus user hands over

@case("a library to load")
def preload(world):
    if not LIBRARY.exists():
        raise Skip("there is no library to load")
    service("org.dba.Waits", f"await {world.path}/go name org.dba.Waits", "nobody")
    library = "/run/evil.so"
    shutil.copy(LIBRARY, library)
    pathlib.Path("/run/gconv-modules").write_text(f"module INTERNAL X// {library} 1\n")
    more = {"LD_PRELOAD": library, "LD_AUDIT": library, "LD_LIBRARY_PATH": "/run",
            "GCONV_PATH": "/run", "LOCPATH": "/run", "GIO_EXTRA_MODULES": "/run", "PATH": "/run",
            "DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/run/nobody", "G_MESSAGES_DEBUG": "all",
            "DBUS_ACTIVATOR_TOP_FD": "0"}
    child = subprocess.Popen(["/usr/bin/sleep", "1000"], env=more)
    wait_for(lambda: "sleep" in comm_of(child.pid) and
             library in read_text(f"/proc/{child.pid}/maps"), "another program to load it")
    child.kill()
    child.wait()
    bus = SystemBus(world)
    helper = keeper.add(subprocess.Popen(
        [machine.HELPER, "org.dba.Waits"], env=more, user="messagebus", group="messagebus",
        extra_groups=[], stdin=subprocess.DEVNULL))
    wait_for(lambda: any("await" in read_text(f"/proc/{p}/cmdline") for p in below()),
             "the service")
    found = [p for p in below() if p != bus.popen.pid]
    check(len(found) >= 5 and helper.pid in found,
          "helper, top reaper, activator, reaper and service are there", found)
    check_equal([p for p in found if library in read_text(f"/proc/{p}/maps")], [],
                "none has loaded it")
    check_equal([p for p in found if p != helper.pid and b"/run" in
                 read_bytes(f"/proc/{p}/environ").replace(b"unix:path=/run/dbus/", b"")], [],
                "and none has such a variable")
    (world.path / "go").touch()
    check_equal(helper.wait(90), 0, "it is served")
    stop_everything(world, bus)


# --- peers

def heard(log, pattern):
    wait_for(lambda: any(re.search(pattern, x) for x in log.read()),
             lambda: f"{pattern} in syslog: {log.lines[-5:]}")
    return True


def refused_to(user, path):
    child = os.fork()
    if child == 0:
        entry = machine.uid_of(user)
        os.setgroups([])
        os.setresuid(entry, entry, entry)
        try:
            socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).connect(path)
        except PermissionError:
            os._exit(0)
        except OSError:
            os._exit(2)
        os._exit(1)
    return os.waitpid(child, 0)[1] == 0


@case("odd peers")
def peers(world):
    log = machine.Syslog()
    service("org.dba.There", "name org.dba.There")
    bus = SystemBus(world)
    check_equal(bus.start("org.dba.There"), 1, "a service")
    pid = activators()[0]
    for name in SOCKETS:
        path = f"{machine.RUNTIME}/{name}"
        for user in ("nobody", "messagebus"):
            check(refused_to(user, path), f"{name}: {user} cannot connect")
        silent = Peer(path)
        whole = request("org.dba.There", system=True) if name == "requests" else hello()
        for what, data, pattern in (
                ("half a message", whole[:-3], "malformed|no sense"),
                ("half a header", whole[:5], "no message"),
                ("too much", whole + b"\0" * (MAX + 1), "too much"),
                ("a message of another kind", message(9999), "no sense"),
                ("another version", message(9999, version=77), "version 77")):
            peer = Peer(path)
            peer.send(data)
            peer.wait_over(f"{what} to end the connection")
            peer.close()
            check(heard(log, rf"<28>dbus-activatord\[\d+\]: .*pid {os.getpid()}\b.*({pattern})"),
                  f"{name}, {what}: it is closed, and the log says so")
            log.lines.clear()
        silent.wait_over("a silent one to be sent away")
        silent.close()
        check(heard(log, rf"<28>.*pid {os.getpid()} .*says nothing"), f"{name}, silence: so, too")
        kill_pid(bus.owner_pid("org.dba.There"))
        wait_for(lambda: not bus.owner_pid("org.dba.There"), "its end")
        check_equal(bus.start("org.dba.There"), 1, f"{name}: others are served")
    for name in ("../../etc/passwd", "a.b\n", "a." + "b" * 300, ":1.1", ""):
        peer = Peer(f"{machine.RUNTIME}/requests")
        peer.send(request(name, system=True))
        peer.wait_over("a name that is none")
        peer.close()
        check(heard(log, "no sense"), f"the name {name[:20]!r}: dropped")
        log.lines.clear()
    check_equal(activators(), [pid], "it is the same activator")
    stop_everything(world, bus)
    log.close()


# --- a bus that has been taken over

def execute(path, argv, env):
    """Of strings that need not be variables."""
    def array(strings):
        return (ctypes.c_char_p * (len(strings) + 1))(*strings, None)

    ctypes.CDLL(None).execve(path, array(argv), array(env))
    os._exit(99)


def as_strings(text):
    """What the kernel joins with a NUL behind each: UTF-16."""
    return [b"\xff\xfe" + text[:1].encode(), *(c.encode() for c in text[1:])]


def rewrite_command(pid, argv):
    """As the process itself could: in its own memory."""
    fields = read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    start, end = int(fields[45]), int(fields[46])
    data = b"\0".join(a.encode() for a in argv) + b"\0"
    assert len(data) <= end - start, "there is room"
    with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
        memory.seek(start)
        memory.write(data.ljust(end - start, b"\0"))


@case("a bus that names a configuration of its own")
def taken_over(world):
    """The activator takes the configuration from the bus's command line, which is the bus
    user's: no text of his may be read for root's."""
    log = machine.Syslog()
    evil = pathlib.Path("/run/evil")
    evil.mkdir()
    os.chown(evil, machine.uid_of("messagebus"), 0)
    (evil / "org.dba.Evil.service").write_text("[D-BUS Service]\nName=org.dba.Evil\nUser=root\n"
                                               "Exec=/usr/bin/touch /run/owned\n")
    text = f"<busconfig><servicedir>{evil}</servicedir></busconfig>"
    service("org.dba.Waits", f"await {world.path}/go name org.dba.Waits")
    bus = SystemBus(world, *["--nopidfile"] * 10)
    # A process of root, by the setuid bit, whose environment is his.
    helper = keeper.add(subprocess.Popen(
        ["helper"], user="messagebus", group="messagebus", extra_groups=[],
        stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        preexec_fn=lambda: execute(machine.HELPER.encode(), [b"helper", b"org.dba.Waits"],
                                   as_strings(text))))
    wait_for(lambda: any("await" in read_text(f"/proc/{p}/cmdline") for p in below()),
             "the service")
    helper.send_signal(signal.SIGSTOP)
    his = pathlib.Path(f"/proc/{helper.pid}/environ")
    check_equal((his.read_bytes().decode("utf-16"), his.stat().st_uid), (text, 0),
                "there is a file of root with his text")
    pathlib.Path("/tmp/his.conf").write_text(text)
    os.chown("/tmp/his.conf", machine.uid_of("messagebus"), 0)
    for path in (his, "/tmp/his.conf", "/tmp/not-there-yet.conf"):
        rewrite_command(bus.popen.pid, ["dbus-daemon", f"--config-file={path}"])
        end_activator()
        check_equal(ask("org.dba.Evil"), 6, f"{path}: is not believed")
        check(heard(log, "<28>dbus-activatord.*is not used: .*not trusted.*--config-file"), "and the log says so")
        log.lines.clear()
        (world.path / "go").touch()
        check_equal(ask("org.dba.Waits"), 0, "what the stock configuration has is served")
    check(not os.path.exists("/run/owned"), "nothing of his was executed")
    helper.send_signal(signal.SIGCONT)
    check_equal(helper.wait(90), 0, "the helper ends as any")
    stop_everything(world, bus)
    log.close()


@case("a runtime directory that is not root's alone")
def directory(world):
    bus = SystemBus(world)
    parent = pathlib.Path(machine.RUNTIME).parent

    def starts():
        return machine.run(machine.DAEMON, "--system", timeout=90)

    shutil.rmtree(parent, ignore_errors=True)
    elsewhere = pathlib.Path("/run/elsewhere")
    for what, path in (("the runtime directory", machine.RUNTIME), ("its parent", parent)):
        for how in ("a link", "another user's", "writable by a group"):
            elsewhere.mkdir()
            if how == "a link":
                pathlib.Path(path).parent.mkdir(exist_ok=True)
                os.symlink(elsewhere, path)
            else:
                os.makedirs(path)
                if how == "another user's":
                    os.chown(path, 65534, 65534)
                else:
                    os.chmod(path, 0o775)
            done = starts()
            check(done.returncode not in (0, None) and str(path) in done.stderr,
                  f"{what} is {how}: the activator refuses, naming it", done)
            check_equal(ask(), 4, "and so does the helper")
            check_equal(list(elsewhere.iterdir()), [], "nothing was written elsewhere")
            if parent.is_symlink():
                parent.unlink()
            shutil.rmtree(parent, ignore_errors=True)
            elsewhere.rmdir()
    check_equal(activators(), [], "none is there")
    bus.stop()
    wait_for(lambda: not keeper.left(), "everything to be gone")


machine.install()
machine.allow_tests()
tap.main()
