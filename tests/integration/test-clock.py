#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The wall clock is set back while services start: nothing waits for it, no time is invented."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness import *  # noqa: E402
from harness.world import BUILD  # noqa: E402

ERROR = "org.freedesktop.DBus.Error."


@case("set back by an hour")
def _(world):
    bus = world.bus(systemd_activation=True)
    back = world.mark("back")
    # The sanitizer wants to be loaded first and complains of anything before it.
    options = world.env.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
    activator = world.activator(bus, "--start-timeout", "15", env={
        **world.env, "LD_PRELOAD": str(BUILD / "tests/services/libclock-back.so"),
        "CLOCK_BACK": str(back), "ASAN_OPTIONS": options})
    world.service("test.Good", ["touch", str(world.mark("there")), "await", str(world.mark("go")),
                                "name", "test.Good"])
    world.service("test.Never", ["touch", str(world.mark("never")), "linger"])
    world.service("test.Later", "name test.Later")
    world.served(bus, "test.Good", "test.Never", "test.Later")
    good, never = bus.begin_start("test.Good"), bus.begin_start("test.Never")
    wait_for(lambda: world.mark("there").exists() and world.mark("never").exists(), "both")
    back.touch()
    world.set_mark("go")
    check_equal(good.error(), None, "a service that starts is started")
    wait_for(lambda: world.fields(bus, "test.Good")["MainPID"], "its main process")
    fields = world.fields(bus, "test.Good")
    check(fields["StartedUSec"] > 0 and fields["State"] == "running", "it is known", fields)
    check("StartLatencyUSec" not in fields, "how long it took is not invented", fields)
    check_error(never.error(), ERROR + "TimedOut", "did not take its name in time",
                "the start timeout goes by another clock")
    check_equal(bus.start("test.Later"), 1, "another one is started")
    latest = world.fields(bus, "test.Later")["RequestedUSec"]
    check(latest < fields["RequestedUSec"], "with the time that the clock shows now")
    rows = world.ctl(bus, "history").json
    check_equal([r["Name"] for r in rows if r.get("LatencyUSec", 0) > 10 ** 9], [],
                "the history invents nothing either")
    check_equal(activator.stop(), 0, "the activator leaves")

main()
