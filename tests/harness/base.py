# SPDX-License-Identifier: MIT
"""Waiting for conditions."""
import os
import time

from gi.repository import GLib

# Sanitizers and valgrind slow everything down by a factor that the caller knows best.
SLOW = float(os.environ.get("DBA_SLOW", "1"))
BOUND = 90 * SLOW


class Failure(Exception):
    """The case cannot go on."""


class Skip(Exception):
    """The case cannot be run here; the reason is its text."""


def pump():
    """Delivers what has arrived on the connections of this process."""
    context = GLib.MainContext.default()
    for _ in range(10000):
        if not context.iteration(False):
            return


def wait_for(condition, what="a condition", bound=None):
    """Answers the first true value of condition(); raises when the bound is over.

    condition is a function without arguments. The pause grows from half a millisecond to 20,
    so that a quick answer is seen quickly and a slow one costs the machine nothing."""
    bound = BOUND if bound is None else bound * SLOW
    end = time.monotonic() + bound
    pause = 0.0005
    while True:
        pump()
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            text = what() if callable(what) else what
            raise Failure(f"waited {bound:.0f} s in vain for {text}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.02)


def stays_true(condition, times=20, pause=0.02):
    """Whether condition() holds at each of some looks. A look at the absence of an event can
    only ever miss one, never invent one: a slow machine cannot make such a check fail."""
    for _ in range(times):
        pump()
        if not condition():
            return False
        time.sleep(pause)
    return True


def read_bytes(path):
    try:
        with open(path, "rb") as f:
            return f.read()
    except OSError:
        return b""


def read_text(path):
    return read_bytes(path).decode(errors="replace")
