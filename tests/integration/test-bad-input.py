#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What should not come: each gets a clear error, and what runs does not notice."""
import os
import pathlib
import re
import select
import socket
import struct
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness import *  # noqa: E402
from harness.bus import CONFIG  # noqa: E402
from harness.process import keeper  # noqa: E402

NAME, PATH = "org.dbusactivator.Activator1", "/org/dbusactivator/Activator1"
SYSTEMD, SYSTEMD_PATH = "org.freedesktop.systemd1", "/org/freedesktop/systemd1"
ERROR = "org.freedesktop.DBus.Error."
DOORS = ("signal", "helper")


def running_world(world, door="signal", *options):
    """With a service that has to notice nothing."""
    bus, activator = world.both(door, *options)
    world.service("test.Witness", "name test.Witness")
    world.service("test.Other", "name test.Other")
    world.served(bus, "test.Witness", "test.Other")
    bus.start("test.Witness")
    return bus, activator, bus.owner_pid("test.Witness"), activator.pid


def check_unmoved(world, bus, activator, witness, pid):
    """A request from end to end: everything that was sent before it has been dealt with."""
    check_equal(bus.ask("test.Witness", "Ping"), witness, "the service that runs does not notice")
    check_equal(bus.start("test.Other"), 1, "the next request is served")
    world.member(bus, "StopService", "(s)", "test.Other")
    check_equal(activator.pid, pid, "the activator is the same")


def run(world, name, *args, env=None, stdin=subprocess.DEVNULL):
    """(status, what it said)"""
    with open(world.path / "said", "wb") as said:
        popen = subprocess.Popen([world.program(name), *args], env=env or world.env,
                                 stdin=stdin, stdout=said, stderr=said)
        wait_for(lambda: popen.poll() is not None, f"the end of {name} {' '.join(args)}")
    return popen.returncode, (world.path / "said").read_text()


@case("options")
def _(world):
    bus = world.bus()
    for name, status in (("daemon/dbus-activatord", 2), ("ctl/dbus-activatorctl", 2),
                         ("session/dbus-activator-session", None),
                         ("reaper/dbus-activator-reaper", None)):
        rc, text = run(world, name, "--no-such-option")
        check(rc == status if status else rc not in (0, None), f"{name}: an unknown option",
              f"status {rc}")
        check_match("no-such-option|usage|Usage", text, f"{name}: says so")
    for words in (("--session", "--system"), ("--address",), ("--start-timeout", "x"),
                  ("--stop-timeout", "-4"), ("--start-limit", "x/y"), ("--door", "window"),
                  ("--ready-fd", "fd"), ("--log-level", "loud"), ("stray",), ()):
        rc, text = run(world, "daemon/dbus-activatord",
                       *(words if "--session" in words or words in ((), ("--address",))
                         else ("--address", bus.address, *words)))
        check(rc == 2 and text.strip(), f"dbus-activatord {' '.join(words)}",
              f"status {rc}: {text}")
    for option in ("--start-timeout", "--stop-timeout", "--handover-grace"):
        for value in ("-1", "-5", "-0.001", "nan", "inf", "1e999", "1000001", "", " ", "5s"):
            rc, text = run(world, "daemon/dbus-activatord", "--address", bus.address, option, value)
            check(rc == 2 and f"{option} {value}: " in text, f"{option} {value!r}", f"{rc}: {text}")
    for option in ("--ready-fd", "--lifeline"):
        for value in ("-1", "-2", "77", "99999999999", "", "fd", "1x"):
            rc, text = run(world, "daemon/dbus-activatord", "--address", bus.address, option, value)
            check(rc == 2 and f"{option} {value}: " in text, f"{option} {value!r}", f"{rc}: {text}")
    with open("/dev/null", "rb") as null:
        rc, text = run(world, "daemon/dbus-activatord", "--address", bus.address, "--ready-fd=0",
                       stdin=null)
    check(rc == 2 and "not open for writing" in text, "--ready-fd that cannot be written to", text)
    for name in ("daemon/dbus-activatord", "ctl/dbus-activatorctl",
                 "session/dbus-activator-session"):
        rc, text = run(world, name, "--version")
        check(rc == 0 and any(c.isdigit() for c in text), f"{name} --version", text)
        rc, text = run(world, name, "--help")
        check(rc == 0 and len(text) > 100, f"{name} --help", text)


@case("no bus")
def _(world):
    for address in (f"unix:path={world.path}/nothing", "nonsense", "unix:", "", "tcp:host="):
        rc, text = run(world, "daemon/dbus-activatord", "--address", address)
        check(rc in (1, 2), f"activator at {address!r}: leaves", f"status {rc}")
        check(text.count("dbus-activatord: ") == 1, f"activator at {address!r}: says why, once", text)
        rc, text = run(world, "ctl/dbus-activatorctl", "--address", address, "list")
        check(rc in (1, 2, 5) and text.strip(), f"ctl at {address!r}", f"status {rc}: {text}")
    silent = world.path / "silent"
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(silent))
        # Nobody listens.
        rc, text = run(world, "daemon/dbus-activatord", "--address", f"unix:path={silent}")
        check(rc == 1 and text.strip(), "a socket where nobody listens", f"{rc}: {text}")
    env = {k: v for k, v in world.env.items() if not k.startswith("DBUS")}
    (world.runtime / "bus").write_text("no socket")
    for more in ({}, {"XDG_RUNTIME_DIR": ""}, {"DBUS_SESSION_BUS_ADDRESS": ""}):
        rc, text = run(world, "daemon/dbus-activatord", "--session", env={**env, **more})
        check(rc == 1 and text.count("no bus") == 1 and "DBUS_SESSION_BUS_ADDRESS" in text,
              f"--session without an address, {more}", f"{rc}: {text}")
    rc, text = run(world, "daemon/dbus-activatord", "--system", "--runtime-dir",
                   str(world.path / "system"),
                   env={**env, "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={world.path}/nothing"})
    check(rc == 1 and text.count("dbus-activatord: ") == 1, "--system: syslog and here, once", text)


@case("the user's own bus")
def _(world):
    bus = world.bus()
    os.link(world.path / "bus", world.runtime / "bus")
    world.service("test.A", ["context", str(world.mark("context")), "name", "test.A"])
    world.activator(bus, bus_option=["--session"])
    world.served(bus, "test.A")
    bus.start("test.A")
    check_match(f"DBUS_SESSION_BUS_ADDRESS=unix:path={world.runtime}/bus",
                world.mark("context").read_text(), "its services find it")


@case("ready on a standard descriptor")
def _(world):
    for number in (0, 1, 2):
        bus = world.bus(name=f"bus{number}")
        ready, said = world.path / f"ready{number}", world.path / f"said{number}"
        os.mkfifo(ready)
        reader = os.open(ready, os.O_RDONLY | os.O_NONBLOCK)
        command = (f'exec "$0" --address "$1" --ready-fd={number} </dev/null >{said} 2>&1 '
                   f'{number}>{ready}')
        popen = keeper.add(subprocess.Popen(
            ["sh", "-c", command, str(world.program("daemon/dbus-activatord")), bus.address],
            env=world.env, start_new_session=True))
        readable = select.poll()
        readable.register(reader, select.POLLIN)
        wait_for(lambda: readable.poll(0) or popen.poll() is not None, "an answer")
        if not check(os.read(reader, 1000) == b"\n" and bus.has_owner(NAME),
                     f"--ready-fd {number}", said.read_text()):
            continue
        if number < 2:
            wait_for(lambda: readable.poll(0) == [(reader, select.POLLHUP)], "the end of file")
        # The next one is started with the same words.
        first = bus.owner_pid(NAME)
        kill_pid(first)
        wait_for(lambda: bus.owner_pid(NAME) not in (0, first), "the next activator")
        popen.terminate()
        wait_for(lambda: popen.poll() is not None, "its end")
        check_equal(popen.returncode, 0, "it leaves in good order")
        os.close(reader)


@case("a second activator")
def _(world):
    state = running_world(world)
    bus, first, witness, _pid = state
    second = world.activator(bus, ready=False)
    second.expected_status = (1,)
    check_equal(second.wait_end(), 1, "it leaves")
    check_match("(?i)already|another|second", second.errors.read_text(), "and says why")
    check_unmoved(world, *state)
    run_id = world.fields(bus, "test.Witness")["Run"]
    third = world.activator(bus, "--replace")
    check_equal(first.wait_end(), 0, "--replace: the first leaves")
    check_equal(bus.owner_pid(NAME), third.pid, "the other one serves")
    check_equal(bus.ask("test.Witness", "Ping"), witness, "the service does not notice")
    fields = world.fields(bus, "test.Witness")
    check_equal((fields["State"], fields["MainPID"], fields["Run"]), ("running", witness, run_id),
                "it is known as before")
    check_equal(bus.start("test.Other"), 1, "requests are served")
    world.member(bus, "StopService", "(s)", "test.Witness")
    check(not alive(witness), "the service of the predecessor can be stopped")


def junk():
    magic, version = 0x31414244, 1
    header = struct.Struct("=IHH")
    yield "empty", b""
    yield "a byte", b"x"
    yield "zeroes", bytes(4096)
    yield "text", b"GET / HTTP/1.0\r\n\r\n"
    yield "random", os.urandom(60000)
    yield "another version", header.pack(magic, 999, 1)
    yield "another version with fields", header.pack(magic, 2, 40) + b"abc" * 20
    for kind in list(range(0, 12)) + [20, 21, 22, 30, 31, 32, 40, 41, 50, 65535]:
        yield f"type {kind} without fields", header.pack(magic, version, kind)
        yield f"type {kind} with too much", header.pack(magic, version, kind) + b"\xff" * 300
    name = b"test.Other"
    for length in (0, len(name), 0x7fffffff, 0xffffffff):
        yield (f"a request whose string has {length} bytes", header.pack(magic, version, 40) +
               b"\x01" + struct.pack("=I", length) + name + b"\0")
    text = b"not a bus name/"
    empty = struct.pack("=I", 0) + b"\0"
    yield ("a request for what is no name", header.pack(magic, version, 40) + b"\x01" +
           struct.pack("=I", len(text)) + text + b"\0" + empty + empty)
    yield "larger than any message", bytes(70000)
    yield "as large as it can be", bytes(150000)


@case("junk on every socket")
def _(world):
    state = running_world(world)
    sockets = [p for p in (world.runtime / "dbus-activator").rglob("*") if p.is_socket()]
    check(len(sockets) >= 2, "there are sockets", sockets)
    for path in sockets:
        check_equal(oct(path.stat().st_mode & 0o077), "0o0", f"{path.name} is its user's alone")
        silent = []
        for _ in range(20):
            s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            s.connect(str(path))
            silent.append(s)
        for label, data in junk():
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
                s.connect(str(path))
                try:
                    s.send(data)
                    null = os.open("/dev/null", os.O_RDONLY)
                    socket.send_fds(s, [data[:100]], [null] * 20)
                    os.close(null)
                except OSError:
                    # It has been thrown out, or the message is beyond the kernel's own limit.
                    diagnose(f"{path.name}: {label}: refused while it was sent")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            check(s.connect_ex(str(path)) != 0, f"{path.name}: not a stream")
        check_equal(state[0].ask("test.Witness", "Ping"), state[2],
                    f"{path.name}: the service does not notice")
        check_equal(world.member(state[0], "ListServices")[-1][0] != "", True,
                    f"{path.name}: the activator answers while silent peers stay")
        for s in silent:
            s.close()
    check_unmoved(world, *state)
    descriptors = len(os.listdir(f"/proc/{state[1].pid}/fd"))
    wait_for(lambda: len(os.listdir(f"/proc/{state[1].pid}/fd")) < 60, "descriptors to be closed")
    check(descriptors < 200, "no descriptor is kept", str(descriptors))


@case("malformed calls to each member")
def _(world):
    from gi.repository import GLib
    state = running_world(world)
    bus = state[0]
    wrong = (("()",), ("(i)", 1), ("(ss)", "a", "b"), ("(as)", ["a"]),
             ("(v)", GLib.Variant("s", "x")), ("(sss)", "a", "b", "c"), ("(d)", 1.5))
    right = {"ListServices": "()", "GetService": "(s)", "ListProcesses": "(s)",
             "ListActivations": "(u)", "GetLog": "(su)", "StopService": "(s)",
             "KillService": "(si)", "Reload": "()", "DescribeServices": "()", "StopAll": "()",
             "Reexec": "()"}
    text = bus.client.call(NAME, PATH, "org.freedesktop.DBus.Introspectable", "Introspect")
    members = re.search(f'<interface name="{NAME}">.*?</interface>', text, re.S)[0]
    check_equal(set(re.findall('<method name="(.*?)"', members)), set(right), "each member")
    for member, signature in right.items():
        for args in wrong:
            if args[0] == signature:
                continue
            check_error(bus.client.begin(NAME, PATH, NAME, member, *args).error(),
                        ERROR + "InvalidArgs", ".", f"{member} with {args[0]}")
    elsewhere = [(path, NAME, member) for member in right
                 for path in ("/", "/no/such", PATH + "/x")]
    for path, interface, member in [(PATH, NAME, "NoSuchMember"), (PATH, "no.such", "Member"),
                                    *elsewhere]:
        error = bus.client.begin(NAME, path, interface, member).error()
        check(error and error.name.startswith(ERROR + "Unknown"),
              f"{interface}.{member} at {path}", error)
    check_error(bus.client.begin(NAME, PATH, None, "NoSuchMember").error(),
                ERROR + "UnknownMethod", ".", "a call without interface")
    for number in (0, 1, 2 ** 32 - 1):
        error = bus.client.begin(NAME, PATH, NAME, "GetLog", "(su)", "test.Witness",
                                 number).error()
        check(error is None, f"GetLog of {number} lines", error)
        error = bus.client.begin(NAME, PATH, NAME, "ListActivations", "(u)", number).error()
        check(error is None, f"ListActivations of {number}", error)
    check_unmoved(world, *state)


@case("forged requests")
def _(world):
    state = running_world(world)
    bus = state[0]
    world.service("test.Victim", ["touch", str(world.mark("victim")), "name", "test.Victim"])
    world.served(bus, "test.Victim")
    stranger = bus.connect()
    for path in ("/org/freedesktop/DBus", SYSTEMD_PATH, "/"):
        for destination in (SYSTEMD, NAME, None):
            stranger.send_signal(destination, path, "org.freedesktop.systemd1.Activator",
                                 "ActivationRequest", "(s)", "test.Victim.service")
    stranger.send_signal(SYSTEMD, "/org/freedesktop/DBus", "org.freedesktop.systemd1.Activator",
                         "ActivationRequest", "(ss)", "test.Victim.service", "more")
    stranger.send_signal(SYSTEMD, "/org/freedesktop/DBus", "org.freedesktop.systemd1.Activator",
                         "ActivationRequest")
    stranger.send_signal("org.freedesktop.DBus", "/org/freedesktop/DBus",
                         "org.freedesktop.systemd1.Activator", "ActivationFailure", "(sss)",
                         "test.Victim.service", "org.freedesktop.DBus.Error.Failed", "forged")
    for member, args in (("NameOwnerChanged", ("(sss)", "test.Witness", bus.client.name, "")),
                         ("NameLost", ("(s)", NAME)), ("NameLost", ("(s)", SYSTEMD))):
        for destination in (NAME, None):
            stranger.send_signal(destination, "/org/freedesktop/DBus", "org.freedesktop.DBus",
                                 member, *args)
    stranger.barrier()
    check_unmoved(world, *state)
    check(not world.mark("victim").exists(), "nothing was started")
    check_equal(world.fields(bus, "test.Witness")["State"], "running", "no name was lost")
    check_equal(bus.start("test.Victim"), 1, "a real request is served")


@case("the systemd name")
def _(world):
    state = running_world(world)
    bus = state[0]
    call = bus.client.begin
    for label, pending in (
            ("Properties.Get", call(SYSTEMD, SYSTEMD_PATH, "org.freedesktop.DBus.Properties",
                                    "Get", "(ss)", "org.freedesktop.systemd1.Manager",
                                    "Version")),
            ("Properties.GetAll", call(SYSTEMD, SYSTEMD_PATH, "org.freedesktop.DBus.Properties",
                                       "GetAll", "(s)", "org.freedesktop.systemd1.Manager")),
            ("StartUnit", call(SYSTEMD, SYSTEMD_PATH, "org.freedesktop.systemd1.Manager",
                               "StartUnit", "(ss)", "a.service", "replace")),
            ("StartTransientUnit", call(SYSTEMD, SYSTEMD_PATH, "org.freedesktop.systemd1.Manager",
                                        "StartTransientUnit", "(ssa(sv)a(sa(sv)))", "a.service",
                                        "fail", [], [])),
            ("Subscribe", call(SYSTEMD, SYSTEMD_PATH, "org.freedesktop.systemd1.Manager",
                               "Subscribe")),
            ("a call without interface", call(SYSTEMD, SYSTEMD_PATH, None, "Reload")),
            ("another path", call(SYSTEMD, "/x", "org.freedesktop.systemd1.Manager", "ListUnits")),
            ("SetEnvironment with a wrong type",
             call(SYSTEMD, SYSTEMD_PATH, "org.freedesktop.systemd1.Manager", "SetEnvironment",
                  "(s)", "A=b"))):
        error = pending.error()
        check(error is not None and error.name.startswith(ERROR), f"{label}: an error at once",
              error)
    check_unmoved(world, *state)
    quiet = world.bus(name="quiet")
    helper = world.activator(quiet, "--door", "helper")
    check(not quiet.has_owner(SYSTEMD), "--door helper does not own it")
    check(alive(helper.pid), "and serves")


@case("SetEnvironment by another user")
def _(world):
    if os.geteuid() != 0:
        raise Skip("needs root, to be somebody else for a moment")
    world.path.chmod(0o755)
    config = CONFIG.replace('<allow own="*"/>', '<allow own="*"/><allow user="*"/>')
    bus = world.bus(config=config)
    world.activator(bus)
    world.service("test.A", ["context", str(world.mark("context")), "name", "test.A"])
    world.served(bus, "test.A")
    # pylint: disable=subprocess-run-check
    done = subprocess.run(["dbus-send", f"--bus={bus.address}", "--print-reply",
                           "--reply-timeout=2000000", f"--dest={SYSTEMD}", SYSTEMD_PATH,
                           "org.freedesktop.systemd1.Manager.SetEnvironment",
                           "array:string:EVIL=1"], user=65534, group=65534, extra_groups=[],
                          env={"PATH": world.env["PATH"]}, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    check_match("AccessDenied", done.stdout.decode(), "is refused")
    bus.start("test.A")
    check("EVIL=" not in world.mark("context").read_text(), "and changes nothing")


@case("service files that are wrong")
def _(world):
    state = running_world(world)
    bus = state[0]
    bad = {"NoGroup": "Name=test.NoGroup\nExec=/bin/true\n",
           "NoExec": "[D-BUS Service]\nName=test.NoExec\n",
           "NoName": "[D-BUS Service]\nExec=/bin/true\n",
           "Binary": "\x01\x02\x03\n" * 50,
           "Empty": "",
           "Indented": "[D-BUS Service]\n Name=test.Indented\nExec=/bin/true\n",
           "BadEscape": "[D-BUS Service]\nName=test.BadEscape\nExec=/bin/true \\q\n"}
    for name, text in bad.items():
        (world.services / f"test.{name}.service").write_text(text)
    (world.services / "test.Folder.service").mkdir()
    (world.services / "test.Dangling.service").symlink_to("/nonexistent/file")
    (world.services / "test.Huge.service").write_text("[D-BUS Service]\nName=test.Huge\nExec=/x\n"
                                                      + "#" * 140000)
    quote = {"Quote": '/bin/sh -c "exit 3', "Single": "/bin/sh 'x", "Comment": "/bin/true #"}
    for name, line in quote.items():
        world.write_service(f"test.{name}", line)
    world.member(bus, "Reload")
    for name in [*bad, "Folder", "Dangling", "Huge"]:
        check_error(bus.begin_start(f"test.{name}").error(), ERROR + "ServiceUnknown",
                    f"test.{name}", f"{name}: dbus-daemon's own error")
    for name in quote:
        error = bus.begin_start(f"test.{name}").error()
        check(error and error.name in (ERROR + "InvalidArgs", ERROR + "Spawn.ExecFailed",
                                       ERROR + "Spawn.FileInvalid"),
              f"{name}: an Exec that does not parse", error)
    error = bus.begin_start("not a bus name").error()
    check(error and error.name.startswith(ERROR), "a name that is none", error)
    check_unmoved(world, *state)


@case("a folder that only the activator reads")
def _(world):
    # dbus-daemon itself would wait for ever for somebody to open the other end.
    extra = world.path / "extra"
    extra.mkdir()
    os.mkfifo(extra / "test.Fifo.service")
    (extra / "test.Zero.service").symlink_to("/dev/zero")
    (extra / "test.Loop.service").symlink_to("test.Loop.service")
    state = running_world(world, "signal", "--service-dir", str(extra))
    os.mkfifo(extra / "test.Later.service")
    world.member(state[0], "Reload")
    check_unmoved(world, *state)


@case("a unit that belongs to no service")
def _(world):
    extra = world.path / "extra"
    extra.mkdir()
    (extra / "test.X.service").write_text(
        "[D-BUS Service]\nName=test.X\nExec=/bin/true\nSystemdService=nobody.service\n")
    bus = world.bus(config=CONFIG.replace("<standard_session", f"<servicedir>{extra}</servicedir>"
                                                               "<standard_session"))
    other = world.path / "other.conf"
    other.write_text(CONFIG.format(socket="/nowhere", start_timeout=3600000))
    world.activator(bus, "--config-file", str(other))
    check_error(bus.begin_start("test.X").error(), ERROR + "ServiceUnknown", "nobody.service",
                "the caller is told")


@case("names that are hard to write down")
def _(world):
    bus, _activator = world.both("signal")
    long = "test." + "a" * 240
    world.service(long, f"name {long}")
    world.service("test._1-x.A_b", "name test._1-x.A_b")
    world.served(bus, long, "test._1-x.A_b")
    check_equal(bus.start("test._1-x.A_b"), 1, "odd letters")
    check_equal(bus.start(long), 1, "245 of them")
    check(world.fields(bus, long)["Managed"], "and owned")

main()
