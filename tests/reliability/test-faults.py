#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Each system call on the way of a start is made to fail: the caller has an answer that says what
could not be done, or the service; the activator lives and serves the next one; nothing is left.

Here one call of each kind fails, and not of all kinds where a case takes long; tests/faults has all
calls, with each error that they can have."""
import os
import pathlib
import random
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from faulting import *  # noqa: E402
from harness import *  # noqa: E402

ALL = os.environ.get("DBA_FAULTS") == "all"
CALLS = os.environ.get("DBA_FAULTS_CALLS", "").split()
# The choice is the same each time, as far as a start makes the same calls each time.
CHOICE = random.Random(os.environ.get("DBA_FAULTS_SEED", "1"))


def choose(calls, most):
    """(call, error, number) of the cases."""
    kinds = [c for c in calls if not CALLS or c in CALLS]
    if not ALL and len(kinds) > most:
        kinds = sorted(CHOICE.sample(kinds, most))
    for call in kinds:
        for error in errors_of(call)[:None if ALL else 1]:
            for number in calls[call] if ALL else [CHOICE.choice(calls[call])]:
                yield call, error, number


def recorded(record, wanted):
    """The calls that a start has made; these have to be among them, or nothing was seen."""
    calls = calls_in(record)
    diagnose(f"it makes {', '.join(f'{len(numbers)} {call}' for call, numbers in calls.items())}")
    check(wanted <= set(calls), "it was seen", calls)
    return calls


def run_all(lab, calls, one, most=100):
    """one(inject, log) for each chosen case."""
    last = None
    hit = 0
    for call, error, number in choose(calls, most):
        if ALL and last not in (None, call):
            lab.compare(last)
        last = call
        log = lab.world.path / "strace.log"
        log.unlink(missing_ok=True)
        inject = f"{call}:error={error}:when={number}"
        lab.attempt(inject, lambda i=inject, f=log: one(i, f))
        hit += was_injected(log)
    lab.compare(last)
    diagnose(f"{lab.cases} cases, {hit} of them met the call; the activator died {lab.deaths} "
             f"times, {lab.unmanaged} services started without it")
    check_equal(lab.problems, [], "each caller has an answer, nothing is left")
    check(hit * 2 > lab.cases, "most of the failures happened", f"{hit} of {lab.cases}")
    lab.over()


@case("a warm reaper")
def _(world):
    need_strace()
    lab = Lab(world)

    def one(inject, log):
        with Strace(log, lab.spare(), inject):
            return lab.scenario()

    one(None, world.path / "record")
    run_all(lab, recorded(world.path / "record",
                          {"sendmsg", "recvmsg", "clone", "execve", "waitid"}), one)


@case("a reaper that comes")
def _(world):
    need_strace()
    program = "dbus-activator-reaper"
    lab = Lab(world, wrapped=program)

    def one(inject, log):
        lab.spare()
        lab.wish(program, log, inject)
        # Started at once, or, when several have died, by the request.
        lab.end_warm()
        error = lab.scenario()
        # Its copies would be traced, and fail, as well. The tracer has become a child of the top
        # reaper, which may take it for what this start left: then begin anew.
        lab.end_warm()
        try:
            lab.bus.begin_start(OTHER).error(5)
            lab.stop(OTHER)
        except Failure:
            lab.over()
        return error

    record = world.path / "record"
    lab.spare()
    lab.wish(program, record)
    lab.end_warm()
    wait_for(lambda: not (lab.tree / f"{program}.wish").exists(), "the next reaper")
    lab.spare()
    calls = recorded(record, {"connect", "sendmsg", "epoll_ctl", "prctl"})
    lab.scenario()
    run_all(lab, calls, one, 8)


@case("a reaper that is held before it is ready")
def _(world):
    program = "dbus-activator-reaper"
    lab = Lab(world, wrapped=program)
    for turn in range(2):
        # One that dies within a second counts as never ready, and after three of them callers are
        # told so.
        spare = lab.spare()
        wait_for(lambda p=spare: age_of(p) > 1.1, "it to be of age")
        # The shell in its place: it has the pid and will never say hello.
        (lab.tree / "wish.new").write_text("kill -STOP $$\n")
        os.rename(lab.tree / "wish.new", lab.tree / f"{program}.wish")
        lab.end_warm()
        held = wait_for(lambda: [p for p in children(lab.activator.top)
                                 if field_of(p, "State")[:1] == "T"], "a held one")
        check_equal(lab.bus.start(SERVICE), 1, f"turn {turn}: the start does not wait for it")
        check(not any(alive(p) for p in held), f"turn {turn}: it is gone", held)
        lab.stop(SERVICE)
    lab.over()


@case("a reaper that makes copies of itself")
def _(world):
    need_strace()
    lab = Lab(world)

    def one(inject, log):
        spare = lab.spare()
        mould = wait_for(lab.mould, "the mould")
        with Strace(log, mould, inject):
            kill_pid(spare)
            error = lab.scenario()
        if not lab.mould():
            # Each copy failed: the activator goes on without.
            lab.over()
        return error

    one(None, world.path / "record")
    run_all(lab, recorded(world.path / "record", {"socketpair", "pipe2", "clone3", "sendmsg"}),
            one, 10)


@case("the activator")
def _(world):
    need_strace()
    lab = Lab(world)

    def one(inject, log):
        lab.spare()
        # Without memory GLib ends the program, and the next one goes on. A connection that takes no
        # message is over; for the top reaper's it becomes another one.
        lab.may_die = bool(inject) and (inject.split(":")[0] in ("brk", "mmap", "mremap") or
                                        "EMSGSIZE" in inject)
        pid = lab.activator.pid
        with Strace(log, pid, inject):
            try:
                return lab.scenario()
            except (Failure, DBusError):
                if not met_the_bus(log):
                    raise
                lab.over()
                return "met the bus"

    # The second time: the first makes calls that are made once.
    for _ in range(2):
        one(None, world.path / "record")
    run_all(lab, recorded(world.path / "record", {"sendmsg", "recvmsg", "memfd_create"}), one)


@case("the launch helper of a session")
def _(world):
    need_strace()
    program = "dbus-activator-launch-helper-session"
    lab = Lab(world, "helper", program)

    def one(inject, log):
        lab.wish(program, log, inject)
        return lab.scenario()

    one(None, world.path / "record")
    run_all(lab, recorded(world.path / "record",
                          {"sendmsg", "recvmsg", "connect", "poll", "memfd_create"}), one)


main()
