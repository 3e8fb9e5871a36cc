# SPDX-License-Identifier: MIT
"""Test Anything Protocol: each check is a point with a name, each case adds one for its end."""
import os
import re
import sys
import traceback

from . import process
from .base import Failure, Skip, wait_for
from .world import World

_cases = []
_state = {"points": 0, "failed": 0, "case": "", "world": None}


def case(name, **options):
    """Registers a function of one argument, the world of the case. Options go to World()."""
    def register(function):
        _cases.append((name, function, options))
        return function
    return register


def _point(truth, name, diagnostics=""):
    _state["points"] += 1
    title = f"{_state['case']}: {name}".replace("#", "no.").replace("\n", " ")
    print(f"{'ok' if truth else 'not ok'} {_state['points']} - {title}", flush=True)
    if not truth:
        _state["failed"] += 1
        diagnose(diagnostics)
        if _state["world"] is not None and _state["failed"] <= 20:
            diagnose(_state["world"].report())
    return bool(truth)


def diagnose(text):
    for line in str(text).splitlines():
        print(f"# {line[:1500]}", flush=True)


def check(truth, name, diagnostics=""):
    return _point(truth, name, diagnostics)


def check_equal(got, wanted, name):
    return _point(got == wanted, name, f"got    {_short(got)}\nwanted {_short(wanted)}")


def check_settles(get, wanted, name):
    """get() becomes what is wanted, sooner or later."""
    try:
        wait_for(lambda: get() == wanted)
    except Failure:
        pass
    return check_equal(get(), wanted, name)


def check_in(member, container, name):
    return _point(member in container, name, f"{_short(member)} is not in {_short(container)}")


def check_match(pattern, text, name):
    return _point(re.search(pattern, text or "", re.S), name,
                  f"{pattern!r} does not match {_short(text)}")


def check_error(error, error_name, pattern, name):
    """error is the outcome of Pending.error(): a DBusError or None."""
    if error is None:
        return _point(False, name, "there was no error")
    truth = error.name == error_name and re.search(pattern, error.message, re.S)
    return _point(truth, name, f"got    {error.name}: {_short(error.message)}\n"
                               f"wanted {error_name}: {pattern!r}")


def _short(value):
    text = repr(value)
    return text if len(text) < 2000 else text[:1000] + " ... " + text[-900:]


def _run(name, function, options):
    _state["case"] = name
    world = _state["world"] = World(name, **options)
    trouble = None
    try:
        function(world)
    except Skip as skip:
        _state["points"] += 1
        print(f"ok {_state['points']} - {name} # SKIP {skip}", flush=True)
    except Failure as failure:
        trouble = f"{failure}\n{traceback.format_exc(limit=-3)}"
    except Exception:  # pylint: disable=broad-except
        trouble = traceback.format_exc()
    if trouble is not None:
        _point(False, "goes through", trouble)
    problems = world.close()
    _point(not problems, "nothing is left and every program ended well", "\n".join(problems))
    world.remove(keep=bool(problems or trouble) and "DBA_KEEP" in os.environ)
    _state["world"] = None


def main():
    """Runs the cases; those whose name holds one of the arguments when there are any."""
    process.reset_signals()
    process.become_subreaper()
    wanted = sys.argv[1:]
    for name, function, options in _cases:
        if not wanted or any(w in name for w in wanted):
            _run(name, function, options)
    print(f"1..{_state['points']}", flush=True)
    sys.stdout.flush()
    sys.exit(1 if _state["failed"] else 0)
