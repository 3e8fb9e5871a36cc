# SPDX-License-Identifier: MIT
"""What the tests of dbus-activator stand on: a real dbus-daemon, the activator of the build
folder, services of the tests' own, and a close look at what is left afterwards.

    from harness import *

    @case("a service that is started")
    def _(world):
        bus = world.bus()
        world.service("test.A", "name test.A")
        world.activator(bus)
        check_equal(bus.start("test.A"), 1, "it is started")

    main()

Every wait is for a condition. The bounds are there so that a test that hangs says so: no test
may pass or fail by how fast the machine is today."""
from .base import BOUND, SLOW, Failure, Skip, wait_for, stays_true
from .bus import Bus, BusAt, Connection, DBusError, Pending
from .parts import Activator, Ctl, Session
from .process import (alive, argv_of, below, children, comm_of, describe, field_of, kill_pid,
                      parent_of, pids_with, processes, signal_pid, start_time)
from .tap import (case, check, check_equal, check_error, check_in, check_match,
                  check_settles, diagnose, main)
from .world import World, program, test_service

__all__ = [
    "BOUND", "SLOW", "Failure", "Skip", "wait_for", "stays_true", "Bus", "BusAt", "Connection",
    "DBusError", "Pending", "Activator", "Ctl", "Session", "alive", "argv_of", "below",
    "children", "comm_of", "describe", "field_of", "kill_pid", "parent_of", "pids_with",
    "processes", "signal_pid", "start_time", "case", "check", "check_equal", "check_error",
    "check_in", "check_match", "check_settles", "diagnose", "main", "World", "program", "test_service",
]
