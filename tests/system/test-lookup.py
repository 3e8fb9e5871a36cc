#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A name service that hangs or is slow, by a module of the test's own, holds up nobody but the
services that run as its users."""
import json
import os
import pathlib
import re
import shutil
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import machine  # noqa: E402

machine.enter(__file__)

from harness import tap  # noqa: E402
from harness.base import Failure, wait_for  # noqa: E402
from harness.process import below, comm_of, field_of  # noqa: E402
from harness.tap import case, check_equal, check_error, check_in, check_match  # noqa: E402
from systembus import (ERRORS, SystemBus, activators, ctl, service,  # noqa: E402
                       stop_everything)

MODULE = machine.BUILD / "tests/services/libnss_dbatest.so.2"
GO = pathlib.Path("/run/nss-go")
OTHERS = [f"org.dba.Other{i}" for i in range(12)]
# The limit is 20 s; a machine so slow that less of it is left has shown nothing.
LIMIT = 15


def prepare():
    if not MODULE.exists():
        machine.skip_all("no name service modules here")
    libc = re.search(r"(/\S+)/libc\.so\.6$", pathlib.Path("/proc/self/maps").read_text(), re.M)
    shutil.copy(MODULE, libc.group(1))
    pathlib.Path("/etc/nsswitch.conf").write_text("passwd: files dbatest\n"
                                                  "group: files\ninitgroups: files dbatest\n")


def lookups():
    return [p for p in below() if comm_of(p) == "user-lookup"]


def while_it_hangs(bus, tries=5):
    """One hangs, one is slow, twelve are started meanwhile. Answers the call that hangs."""
    for number in range(tries):
        GO.unlink(missing_ok=True)
        began = time.monotonic()
        hangs = bus.begin("org.dba.Hangs"), bus.begin("org.dba.Hangs")
        slow = bus.begin("org.dba.Slow")
        wait_for(lambda: len(lookups()) == 2, "both to be looked up")
        results = [bus.start(n) for n in OTHERS]
        listed = json.loads(ctl("--json", "list").stdout)
        passed = [hangs[0].done(), slow.done()]
        GO.touch()
        slow.wait()
        if time.monotonic() - began < LIMIT:
            check_equal(passed, [False, False], "both are looked up still, when")
            check_equal(results, [1] * 12, "twelve others have started")
            check_in(("org.dba.Hangs", "starting"), [(s["Name"], s["State"]) for s in listed],
                     "the list says who is starting")
            check_equal(slow.result(), 1, "the slow one starts when its user is known")
            return hangs
        tap.diagnose(f"attempt {number}: too slow a machine")
        for call in hangs:
            call.wait()
        ctl("stop", "--all")
    raise Failure("no attempt was fast enough to show anything")


@case("a user that hangs")
def hangs(world):
    service("org.dba.Hangs", "name org.dba.Hangs", "dba-hangs")
    service("org.dba.Slow", "name org.dba.Slow", "dba-slow")
    for i, name in enumerate(OTHERS):
        service(name, f"name {name}", ("root", "nobody")[i % 2])
    bus = SystemBus(world)
    calls = while_it_hangs(bus)
    pid = bus.owner_pid("org.dba.Slow")
    check_equal((field_of(pid, "Uid").split()[0], field_of(pid, "Gid").split()[0]),
                ("4242", "4243"), "as what the module said")
    check_equal(sorted(field_of(pid, "Groups").split()), ["4243", "4244"], "with its groups")
    for call in calls:
        check_error(call.error(), ERRORS + "Spawn.FailedToSetup", "",
                    "the one that hangs is failed")
    message = bus.fields("org.dba.Hangs")["ErrorMessage"]
    check_match("dba-hangs.*no answer within", message, "and its status says why")
    check_equal(lookups(), [], "nobody looks it up any more")
    check_equal(len(activators()), 1, "one activator")
    stop_everything(world, bus)


@case("the bus's own limit comes first")
def limit(world):
    config = pathlib.Path("/etc/dbus-1/short.conf")
    config.write_text("<busconfig><include>/usr/share/dbus-1/system.conf</include>"
                      '<limit name="service_start_timeout">1500</limit></busconfig>')
    service("org.dba.Hangs", "name org.dba.Hangs", "dba-hangs")
    service("org.dba.Other", "name org.dba.Other", "nobody")
    bus = SystemBus(world, config=config)
    check_error(bus.begin("org.dba.Hangs").error(), ERRORS + "TimedOut", "", "the caller is told")
    wait_for(lambda: not lookups(), "the lookup to be given up")
    check_equal(bus.start("org.dba.Other"), 1, "another one starts")
    stop_everything(world, bus)


prepare()
machine.install()
machine.allow_tests()
tap.main()
