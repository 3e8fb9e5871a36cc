#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What the services of the system bus write goes to syslog under their names, whoever holds the
other end of it."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import machine  # noqa: E402

machine.enter(__file__)

from harness import tap  # noqa: E402
from harness.base import wait_for  # noqa: E402
from harness.process import alive, kill_pid, parent_of  # noqa: E402
from harness.tap import case, check, check_equal, check_error, check_in  # noqa: E402
from systembus import (ERRORS, NAME, SystemBus, activators, ctl, service,  # noqa: E402
                       stop_everything)


def heard(log, line):
    wait_for(lambda: line in log.read(), lambda: f"{line!r} among {log.lines[-20:]}")
    check(True, f"syslog has {line!r}")


def say(bus, name, words):
    bus.client.call(name, "/test", "org.dbusactivator.Test", "Write", "(s)", words,
                    auto_start=False)


def logged(name, words):
    """The log that the activator shows has it too, once."""
    wait_for(lambda: words in ctl("log", name).stdout, f"{words!r} in the log of {name}")
    check_equal(ctl("log", name).stdout.count(words), 1, f"{words!r} is in the log, once")


@case("what services write")
def writes(world):
    log = machine.Syslog()
    service("org.dba.Says", "stdout to-stdout stderr to-stderr name org.dba.Says", "nobody")
    service("org.dba.Ends", "stderr last-words exit 3")
    bus = SystemBus(world)
    bus.start("org.dba.Says")
    heard(log, "<30>org.dba.Says: to-stdout")
    heard(log, "<30>org.dba.Says: to-stderr")
    check_error(bus.begin("org.dba.Ends").error(), ERRORS + "Spawn.ChildExited", "", "one fails")
    heard(log, "<30>org.dba.Ends: last-words")
    helper = [x for x in log.read() if x.startswith("<27>dbus-activator-launch-helper[")]
    check(len(helper) == 1 and "[org.dba.Ends]" in helper[0] and "status 3" in helper[0],
          "the helper says why, as an error", log.lines)
    check(any(f"dbus-activatord[{activators()[0]}]: " in x for x in log.read()),
          "the activator speaks there too", log.lines)
    say(bus, "org.dba.Says", "<3>no-priority\t\x1b[2J\x7f")
    heard(log, "<30>org.dba.Says: <3>no-priority\t?[2J?")
    stop_everything(world, bus)
    log.close()


@case("the log daemon comes late and is restarted")
def restarted(world):
    service("org.dba.Says", "stderr unheard name org.dba.Says")
    bus = SystemBus(world)
    bus.start("org.dba.Says")
    # Its next attempt comes with a line: not more than one a second.
    number = iter(range(10 ** 6))
    for when in ("late", "restarted"):
        log = machine.Syslog()
        wait_for(lambda when=when: say(bus, "org.dba.Says", f"{when} {next(number)}") or
                 any(x.startswith(f"<30>org.dba.Says: {when} ") for x in log.read()),
                 "a line")
        check(True, f"{when}: lines arrive")
        log.close()
    log = machine.Syslog()
    wait_for(lambda: say(bus, "org.dba.Says", f"again {next(number)}") or log.read(), "a line")
    stop_everything(world, bus)
    log.close()


@case("orphans that only the top reaper holds")
def orphans(world):
    log = machine.Syslog()
    for name in ("org.dba.First", "org.dba.Second"):
        service(name, f"daemonize name {name}", "nobody")
    bus = SystemBus(world)
    for name in ("org.dba.First", "org.dba.Second"):
        bus.start(name)
    fields = {n: bus.fields(n) for n in ("org.dba.First", "org.dba.Second")}
    top = parent_of(activators()[0])
    # One reaper alone, then the other together with the activator.
    for name, others in (("org.dba.First", []), ("org.dba.Second", activators())):
        pid, reaper = fields[name]["MainPID"], fields[name]["ReaperPID"]
        say(bus, name, f"before {name}")
        heard(log, f"<30>{name}: before {name}")
        for victim in (reaper, *others):
            kill_pid(victim)
        wait_for(lambda r=reaper: not alive(r), "the reaper to be gone")
        wait_for(lambda p=pid: parent_of(p) == top, "the top reaper to have the service")
        say(bus, name, f"after {name}")
        heard(log, f"<30>{name}: after {name}")
        wait_for(lambda o=others: bus.owner_pid(NAME) not in (0, *o), "the activator")
        say(bus, name, f"later {name}")
        heard(log, f"<30>{name}: later {name}")
        for words in (f"before {name}", f"after {name}", f"later {name}"):
            logged(name, words)
            check_equal(log.read().count(f"<30>{name}: {words}"), 1, "and in syslog, once")
    check_in("org.dba.First", ctl("list").stdout, "it is still known")
    stop_everything(world, bus)
    log.close()


machine.install()
machine.allow_tests()
tap.main()
