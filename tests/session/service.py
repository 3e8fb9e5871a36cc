#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A service for the tests of the session: takes its name and stays.

service.py NAME [daemon] [stubborn] [crowd]
  daemon    double fork and a session of its own first
  stubborn  SIGTERM and SIGHUP are ignored
  crowd     four processes beside it, each in a session of its own, each orphaned
"""
import os
import signal
import subprocess
import sys

NAME, FLAGS = sys.argv[1], sys.argv[2:]

if "daemon" in FLAGS:
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
if "stubborn" in FLAGS:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
if "crowd" in FLAGS:
    for _ in range(4):
        subprocess.Popen(["/bin/sh", "-c", "setsid sleep 100000 & exit 0"]).wait()

from gi.repository import Gio, GLib  # noqa: E402 (the forks come first)

bus = Gio.bus_get_sync(Gio.BusType.SESSION, None)
bus.set_exit_on_close(False)
Gio.bus_own_name_on_connection(bus, NAME, Gio.BusNameOwnerFlags.NONE, None, None)
GLib.MainLoop().run()
