#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""dbus's own test services for its launch helper (Debian's package dbus-tests), through the
installed setuid one: the answers that dbus's bus/dispatch.c asks of its helper."""
import os
import pathlib
import re
import shutil
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import machine  # noqa: E402

machine.enter(__file__)

from harness import tap  # noqa: E402
from harness.base import wait_for  # noqa: E402
from harness.process import field_of, keeper, kill_pid  # noqa: E402
from harness.tap import case, check, check_equal, check_error  # noqa: E402
from systembus import (ERRORS, SystemBus, activators, ctl,  # noqa: E402
                       stop_everything)

SUITE = pathlib.Path("/usr/lib/dbus-1.0/installed-tests/dbus")
VALID, INVALID = (SUITE / f"data/{x}-service-files-system" for x in ("valid", "invalid"))
STANDARD = pathlib.Path("/usr/share/dbus-1/system-services")
USER = "anyrandomuser"  # so the files say
PREFIX = "org.freedesktop.DBus.TestSuite"
ECHO = "org.freedesktop.TestSuite"

# The package leaves two programs out that its files name; these do what dbus's do.
SEGFAULT = """#!/bin/sh
ulimit -c 0
kill -SEGV $$
"""
SHELL = """#!/usr/bin/python3 -I
import sys
from gi.repository import Gio, GLib
bus = Gio.DBusConnection.new_for_address_sync(
    "unix:path=/run/dbus/system_bus_socket", Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT |
    Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION, None, None)
def answer(_bus, message, incoming):
    if not incoming or message.get_member() != "Echo":
        return message
    reply = Gio.DBusMessage.new_method_reply(message)
    words = sys.argv[1:]
    reply.set_body(GLib.Variant("(" + "s" * len(words) + ")", words))
    bus.send_message(reply, Gio.DBusSendMessageFlags.NONE)
    return None
bus.add_filter(answer)
bus.call_sync("org.freedesktop.DBus", "/", "org.freedesktop.DBus", "RequestName",
              GLib.Variant("(su)", ("org.freedesktop.DBus.TestSuiteShellEchoServiceSuccess", 0)),
              None, 0, -1, None)
GLib.MainLoop().run()
"""


def prepare():
    if not VALID.is_dir():
        machine.skip_all("dbus-tests is not installed")
    machine.run("useradd", "-M", "-N", "-g", "nogroup", USER)
    for name, text in (("test-segfault", SEGFAULT), ("test-shell-service", SHELL)):
        if not (SUITE / name).exists():
            (SUITE / name).write_text(text)
            (SUITE / name).chmod(0o755)
    machine.allow_tests()
    own = "".join(f'<allow own="{PREFIX}{x}"/>' for x in ("EchoService",
                                                         "ShellEchoServiceSuccess"))
    pathlib.Path("/etc/dbus-1/system.d/dba-echo.conf").write_text(
        f'<busconfig><policy context="default">{own}<allow send_interface="{ECHO}"/></policy>'
        "</busconfig>")


def served_from(*folders):
    """By the bus's configuration: a file that the stock one includes."""
    lines = "".join(f"<servicedir>{f}</servicedir>" for f in folders)
    pathlib.Path("/etc/dbus-1/system.d/dba-folders.conf").write_text(
        f"<busconfig>{lines}</busconfig>")


def both_ways(bus, name):
    """The answers to a StartServiceByName and to a message that starts it."""
    return {"StartServiceByName": bus.begin(name),
            "a message": bus.client.begin(name, "/org/freedesktop/TestSuite", ECHO, "Echo", "(s)",
                                          "Test echo message")}


def fails(bus, short, error, pattern=""):
    for how, call in both_ways(bus, PREFIX + short).items():
        check_error(call.error(), ERRORS + error, pattern, f"{short}, {how}: {error}")


def echoes(bus, name, wanted):
    for how, call in both_ways(bus, name).items():
        result = call.result()
        check(result in ((1, 2) if how == "StartServiceByName" else wanted),
              f"{name[len(PREFIX):]}, {how}: answers", result)


@case("the valid ones")
def valid(world):
    served_from(VALID)
    bus = SystemBus(world)
    fails(bus, "DoesNotExist", "ServiceUnknown")
    for _ in range(2):  # a failure does not poison the next request
        fails(bus, "SegfaultService", "Spawn.ChildSignaled")
    fails(bus, "ShellEchoServiceFail", "InvalidArgs")
    echoes(bus, PREFIX + "EchoService", ["Test echo message"])
    echoes(bus, PREFIX + "ShellEchoServiceSuccess",
           [("-test", "that", "we get", "back", "--what", "we put in")])
    pid = bus.owner_pid(PREFIX + "EchoService")
    check_equal(field_of(pid, "Uid").split()[0], str(machine.uid_of(USER)), "as the user named")
    fields = bus.fields(PREFIX + "SegfaultService")
    check_equal((fields["ExitHow"], fields["ExitStatus"]), ("killed", 11),
                "the signal is in the status")
    check_equal(len(activators()), 1, "all of it through one activator")
    # Asked to leave as dbus's tests do.
    bus.client.begin(PREFIX + "EchoService", "/org/freedesktop/TestSuite", ECHO, "Exit")
    wait_for(lambda: not bus.owner_pid(PREFIX + "EchoService"), "it to leave")
    echoes(bus, PREFIX + "EchoService", ["Test echo message"])
    stop_everything(world, bus)


@case("the invalid ones")
def invalid(world):
    served_from(INVALID)
    bus = SystemBus(world)
    # The first two are not even loaded.
    fails(bus, "NoExec", "ServiceUnknown")
    fails(bus, "NoService", "ServiceUnknown")
    fails(bus, "NoUser", "Spawn.FileInvalid")
    check_equal(activators(), [], "the bus itself answers: no helper was asked")
    bus.stop()
    wait_for(lambda: not keeper.left(), "everything to be gone")


@case("files that change between the bus and the activator")
def changed(world):
    """What the helper alone can see, as the daemon read the file before."""
    served_from()
    wanted = {"Gone": (6, "Spawn.ServiceNotFound"), "NoExec": (6, "Spawn.ServiceNotFound"),
              "NoUser": (8, "Spawn.PermissionsInvalid"), "NoSuchUser": (4, "Spawn.FailedToSetup"),
              "NoProgram": (9, "Spawn.ExecFailed"), "Quote": (10, "InvalidArgs")}
    texts = {"NoExec": f"User={USER}\n", "NoUser": "Exec=/bin/true\n",
             "NoSuchUser": "Exec=/bin/true\nUser=nosuchuser\n",
             "NoProgram": "Exec=/no/such\nUser=root\n", "Quote": "Exec=/bin/true 'a\nUser=root\n"}
    for short, text in texts.items():
        (STANDARD / f"org.dba.{short}.service").write_text(
            f"[D-BUS Service]\nName=org.dba.{short}\n{text}")
    bus = SystemBus(world)
    for short, (code, error) in wanted.items():
        done = machine.as_user("messagebus", machine.HELPER, f"org.dba.{short}")
        check_equal(done.returncode, code, f"{short}: exit code {code}, {error}")
        check(re.search(rf"\[org\.dba\.{short}\] .+", done.stderr), f"{short}: and says why",
              done.stderr)
    stop_everything(world, bus)


@case("as the reference answers")
def reference(world):
    """The stock helper finds files in the standard folder alone. It is compared where it can
    know the truth; for a service that ends it has only the service's own status."""
    machine.uninstall()
    for path in VALID.glob("*.service"):
        shutil.copy(path, STANDARD)
    answers = []
    for _ in range(2):
        bus = SystemBus(world)
        found = {}
        for short in ("DoesNotExist", "ShellEchoServiceFail", "SegfaultService", "EchoService"):
            for how, call in both_ways(bus, PREFIX + short).items():
                error = call.error()
                found[short, how] = (error.name, error.message) if error else None
        found["activators"] = len(activators())
        answers.append(found)
        if activators():
            stop_everything(world, bus)
        else:
            kill_pid(bus.owner_pid(PREFIX + "EchoService"))
            bus.stop()
            wait_for(lambda: not keeper.left(), "everything to be gone")
            machine.install()
    stock, ours = answers
    check_equal((stock.pop("activators"), ours.pop("activators")), (0, 1), "theirs, then ours")
    for key, answer in stock.items():
        if key[0] != "SegfaultService":
            check_equal(ours[key], answer, f"{key[0]}, {key[1]}: the same name and message")
        else:
            check_equal(ours[key][0], ERRORS + "Spawn.ChildSignaled",
                        f"{key[0]}, {key[1]}: the signal (the reference: {answer})")
    check_equal(ctl("list").returncode, 5, "and all is gone")


prepare()
machine.install()
tap.main()
