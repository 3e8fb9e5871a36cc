#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Many at once."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness import *  # noqa: E402

COUNT = 100
ORPHANS = 1000

for the_door in ("signal", "helper"):
    @case(f"{COUNT} services at once, {the_door} door")
    def _(world, door=the_door):
        bus, activator = world.both(door)
        names = [f"test.N{i}" for i in range(COUNT)]
        for name in names:
            world.service(name, f"daemonize name {name}")
        world.served(bus, *names)
        signals = world.recorder(bus)
        pending = [bus.begin_start(name) for name in names]
        check_equal([p.result() for p in pending], [1] * COUNT, "all are started")
        wanted = {n: ("running", bus.owner_pid(n)) for n in names}
        wait_for(lambda: {n: (s, p) for n, s, p in world.member(bus, "ListServices")
                          if n in names} == wanted, "all to be listed as running")
        check(True, "all are listed as running, with their main process")
        owned = below(activator.top)
        check_equal([n for n in names if bus.owner_pid(n) not in owned], [],
                    "all live below the top reaper")
        stops = [bus.client.begin("org.dbusactivator.Activator1", "/org/dbusactivator/Activator1",
                                  "org.dbusactivator.Activator1", "StopService", "(s)", n)
                 for n in names]
        check_equal([s.error() for s in stops], [None] * COUNT, "all are stopped")
        check_equal(pids_with("test-service"), [], "and none is left")
        wait_for(lambda: len([s for s in signals if s[0] == "ServiceExited"]) >= COUNT,
                 "the reports")
        ends = [s[1] for s in signals if s[0] == "ServiceExited"]
        check_equal(sorted(e[0] for e in ends), sorted(names), "each end was reported once")
        check_equal({e[3:] for e in ends}, {("killed", 15)}, "as it was")
        starts = [s[1] for s in signals if s[0] == "ServiceStateChanged"]
        check_equal(len([1 for s in starts if s[1:] == ("starting", "running")]), COUNT,
                    "each state was told")


@case(f"a service that leaves {ORPHANS} orphans")
def _(world):
    bus, activator = world.both("signal")
    world.service("test.Mother", f"orphans {ORPHANS} name test.Mother")
    world.served(bus, "test.Mother")
    bus.start("test.Mother")
    fields = world.fields(bus, "test.Mother")
    check_equal((fields["NProcesses"], fields["NAdopted"]), (ORPHANS + 1, ORPHANS),
                "all of them are owned")
    listed = world.member(bus, "ListProcesses", "(s)", "test.Mother")
    reaper = fields["ReaperPID"]
    check_equal(len(listed), ORPHANS + 1, "all of them are listed")
    check_equal(len([p for p in listed if p[3] and p[1] == reaper]), ORPHANS,
                "as adopted children of the reaper")
    kill_pid(fields["MainPID"])
    wait_for(lambda: world.fields(bus, "test.Mother")["MainPID"] == 0, "the end of the main one")
    fields = world.fields(bus, "test.Mother")
    check_equal((fields["State"], fields["NProcesses"]), ("running", ORPHANS),
                "they go on without the main process")
    world.member(bus, "StopService", "(s)", "test.Mother")
    check_equal(pids_with("test-service"), [], "stop ends them all")
    check_equal(world.fields(bus, "test.Mother")["NProcesses"], 0, "and says so")
    check(alive(activator.pid), "the activator is there")


@case("services that write a lot")
def _(world):
    bus, activator = world.both("signal")
    for name, actions in (("Lines", "stderr-lines 100000000"), ("Line", "stderr-line 20000000"),
                          ("Binary", "stderr-binary 20000000")):
        world.service(f"test.{name}", f"{actions} stderr end name test.{name}")
    world.service("test.Quiet", "name test.Quiet")
    world.served(bus, "test.Lines", "test.Quiet")
    pending = [bus.begin_start(f"test.{n}") for n in ("Lines", "Line", "Binary")]
    check_equal(bus.start("test.Quiet"), 1, "another one is served meanwhile")
    check_equal([p.result() for p in pending], [1, 1, 1], "they are not held up")
    for name in ("Lines", "Line", "Binary"):
        wait_for(lambda n=name: (world.member(bus, "GetLog", "(su)", f"test.{n}",
                                             1) or [""])[0].endswith("end"),
                 "the last line")
        lines = world.member(bus, "GetLog", "(su)", f"test.{name}", 100000)
        check(sum(len(line.encode()) for line in lines) < 4000000, f"{name}: the log is bounded")
    logs = list((world.runtime / "dbus-activator").glob("*/log/*"))
    check(logs and sum(f.stat().st_size for f in logs) < 4 * 3 * 262144,
          "so are the files", [f"{f.name} {f.stat().st_size}" for f in logs])
    check_equal([oct(f.stat().st_mode & 0o777) for f in logs], ["0o600"] * len(logs),
                "they are their user's alone")
    check(alive(activator.pid), "the activator is there")

main()
