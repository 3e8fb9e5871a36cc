#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The ends of a session, one TAP point a case. Arguments: words; only cases whose name holds one
of them run. Each case is run by this program again, as `--case NAME FOLDER`, in a pid namespace."""
import concurrent.futures
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import traceback

from cases import CASES
from world import BUILD, World, picture, read, run_in_namespace

SKIP = 77


def run_case(name, folder):
    world = World(folder)
    # The harness of a build may start us with signals ignored; a session is to find none.
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    try:
        reason = CASES[name](world)
    except Exception:  # pylint: disable=broad-except
        traceback.print_exc(file=sys.stdout)
        print(f"processes:\n{picture()}\nstandard error of the session:")
        print("\n".join(read(world.errors).splitlines()[-25:]))
        return 1
    if reason:
        print(reason)
        return SKIP
    return 0


def run_apart(name):
    folder = tempfile.mkdtemp(prefix="dbas-", dir="/tmp")
    try:
        return run_in_namespace([sys.executable, __file__, "--case", name, folder])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main():
    names = [n for n in CASES if len(sys.argv) < 2 or any(w in n for w in sys.argv[1:])]
    status, output = run_in_namespace(["/bin/true"])
    if status != 0:
        print(f"1..0 # SKIP no pid namespace: {output.strip()}")
        return 0
    if not (pathlib.Path(BUILD) / "activator/session/dbus-activator-session").exists():
        print(f"Bail out! nothing is built in {BUILD}")
        return 1
    print(f"1..{len(names)}", flush=True)
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(2 * (os.cpu_count() or 1)) as pool:
        for number, (name, done) in enumerate(zip(names, pool.map(run_apart, names)), 1):
            status, output = done
            bad = status not in (0, SKIP)
            failed += bad
            skip = f" # SKIP {output.strip().splitlines()[-1]}" if status == SKIP else ""
            print(f"{'not ok' if bad else 'ok'} {number} - {name}{skip}", flush=True)
            if bad:
                for line in output.splitlines():
                    print(f"# {line}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--case"]:
        sys.exit(run_case(sys.argv[2], sys.argv[3]))
    sys.exit(main())
