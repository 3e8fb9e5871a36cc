# SPDX-License-Identifier: MIT
"""What storm and soak are made of: services that are started and ended in crowds while parts are
killed, and the books that are kept about them."""
import os
import random
import signal
import time

from harness import (DBusError, Failure, alive, argv_of, below, check, check_equal, comm_of,
                     diagnose, kill_pid, parent_of, pids_with, processes, signal_pid, wait_for)

NAME, PATH = "org.dbusactivator.Activator1", "/org/dbusactivator/Activator1"
SHAPES = ("name {0}", "daemonize name {0}", "fork-exit 0 name {0}", "children 1 name {0}",
          "daemonize orphans 1 name {0}")
SIZES = (1, 1, 1, 2, 2)


class Storm:
    """The world of a storm: a bus, an activator, and who is killed how often."""

    def __init__(self, world, crowd):
        self.world = world
        self.random = random.Random()
        self.bus, self.part = world.both("signal", "--start-limit", "0")
        self.first_top = self.part.top
        self.names = [f"test.S{i}" for i in range(crowd)]
        for number, name in enumerate(self.names):
            world.service(name, SHAPES[number % len(SHAPES)].format(name))
        world.service("test.Bad", "stderr oops exit 3")
        world.served(self.bus, *self.names, "test.Bad")
        self.signals = world.recorder(self.bus)
        self.kills = {"activator": 0, "top": 0, "reaper": 0}
        self.retries = self.starts = self.failures = 0
        self.runs = {}     # run -> (name, main pid) as it was when it was started
        self.ends = {}     # run -> (how, status) that its main process was given; None: not told
        self.history = {}  # run -> entry, the last that was seen
        self.problems = []
    def trouble(self, text):
        self.problems.append(text)
        diagnose(text)
        if len(self.problems) > 20:
            raise Failure("too many problems")

    # --- parts

    def activators(self):
        """Pids of what is an activator or is about to be one."""
        return [p for p in below() if comm_of(p) == "dbus-activatord"]

    def serving(self):
        """The pid of an activator that answers, after a kill of the one before too."""
        def look():
            pid = self.bus.owner_pid(NAME)
            if not pid or not alive(pid):
                return 0
            try:
                self.bus.client.call(NAME, PATH, NAME, "ListServices")
            except DBusError:
                return 0
            return pid if self.bus.owner_pid(NAME) == pid else 0
        return wait_for(look, "an activator that serves")

    def top(self):
        return parent_of(self.serving())

    def reapers(self):
        """Those of runs and spares: not what stands above the activator, and not a program that is
        not executed yet, which looks like its reaper."""
        argvs = {p: argv_of(p) or [""] for p in below()}
        found = {p for p, argv in argvs.items() if "dbus-activator-reaper" in argv[0] and
                 not " ".join(argv).endswith(": activator") and "--top" not in argv}
        return [p for p in found if parent_of(p) not in found]

    def kill(self, what):
        """One of them, whatever it does at the moment."""
        if what == "top":
            self.kill_top()
            return
        found = self.activators() if what == "activator" else self.reapers()
        if found and kill_pid(self.random.choice(found)):
            self.kills[what] += 1

    def kill_top(self):
        """Nobody is left who would start another activator when this one dies as well before it
        has brought a new top reaper: only one of the two is killed at a time."""
        old = self.top()
        if not alive(old) or comm_of(old).startswith("dbus-activatord"):
            return
        kill_pid(old)
        self.kills["top"] += 1

        def renewed():
            pid = self.bus.owner_pid(NAME)
            return pid and parent_of(pid) not in (0, old, os.getpid())

        wait_for(renewed, "the next top reaper")
        self.serving()

    def moment(self):
        """A random one, soon: what is to come is hit in the middle."""
        time.sleep(self.random.random() ** 3 * 0.03)

    def ask(self, member, signature="()", *args):
        """A call that is repeated when the activator was killed under it."""
        while True:
            try:
                return self.world.member(self.bus, member, signature, *args)
            except DBusError as error:
                if not error.name.endswith((".NoReply", ".ServiceUnknown", ".NameHasNoOwner")):
                    raise
                self.serving()

    def fields(self, name):
        return self.ask("GetService", "(s)", name)

    # --- starts and ends

    def start_all(self, names, disturb):
        """Starts them all at once while disturb(i) does what it likes."""
        pending = {}
        for number, name in enumerate(names):
            pending[name] = self.bus.begin_start(name)
            disturb(number)
        bad = self.bus.begin_start("test.Bad")
        for name, call in pending.items():
            error = call.error()
            self.starts += 1
            if error is not None:
                self.retry(name, error)
        self.starts += 1
        self.failures += 1
        if bad.error() is None:
            self.trouble("one that fails is said to be started")

    def retry(self, name, error):
        """Nothing is killed meanwhile (each request has been sent), so one is enough when the
        activator is back. What needs it is a request that the bus had sent and the activator had not
        read: the bus takes it for delivered, tells nobody, and does not say what it waits for."""
        if "died with its predecessor" not in error.message:
            self.trouble(f"{name}: is not started for another reason than the activator's death: "
                         f"{error}")
        self.serving()
        self.retries += 1
        error = self.bus.begin_start(name).error()
        if error is not None:
            self.trouble(f"{name}: is not started after one retry: {error}")

    def note_runs(self, names):
        """Each has one run, whose main process owns its name."""
        found = {}
        for name in names:
            owner = self.bus.owner_pid(name)
            fields = {}

            def known(name=name, owner=owner, fields=fields):
                fields.update(self.fields(name))
                return fields.get("MainPID") == owner and fields.get("Run")

            if not owner:
                self.trouble(f"{name}: nobody owns it")
                continue
            wait_for(known, lambda n=name, f=fields, o=owner: f"{n} of pid {o} to be known: {f}")
            if not fields["Managed"] or fields["State"] != "running":
                self.trouble(f"{name}: {fields}")
            found[name] = (fields["Run"], owner)
            self.runs[fields["Run"]] = (name, owner)
        return found

    def pids_of(self, name):
        return {p[0] for p in self.ask("ListProcesses", "(s)", name)}

    def all_of(self, names):
        """The processes of each, as many as it is to have: parents of daemons may leave after the
        names were taken."""
        found = {}
        wanted = {n: SIZES[self.names.index(n) % len(SIZES)] for n in names}

        def complete():
            found.update((n, self.pids_of(n)) for n in names)
            return {n: len(p) for n, p in found.items()} == wanted

        wait_for(complete, lambda: f"{wanted} processes: {found}")
        return found

    def all_owned(self, names, when):
        """Every process of a test service belongs to a run of a service."""
        def lost():
            """Those of nobody; a process that is gone by now is of no interest."""
            listed = set().union(*(self.pids_of(n) for n in names), self.pids_of("test.Bad"))
            return set(pids_with("/test-service")) - listed

        try:
            wait_for(lambda: not lost(), "every process to be somebody's")
        except Failure:
            table = processes()
            self.trouble(f"{when}: lost from sight: " + ", ".join(
                f"{p} (parent {table.get(p)}) {' '.join(argv_of(p))}" for p in sorted(lost())))
            raise

    def end_one(self, name, run, owner):
        """Ends a main process in one of three ways; what is left of the run is stopped later."""
        how = self.random.randrange(3)
        if how == 0:
            status = self.random.randrange(256)
            self.ends[run] = ("exited", status)
            self.bus.client.begin(name, "/test", "org.dbusactivator.Test", "Exit", "(i)", status,
                                  auto_start=False)
        elif how == 1:
            self.ends[run] = ("killed", signal.SIGKILL)
            kill_pid(owner)
        else:
            self.ends[run] = ("stopped", signal.SIGTERM)
            self.bus.client.begin(NAME, PATH, NAME, "StopService", "(s)", name)

    def stop(self, name):
        try:
            self.ask("StopService", "(s)", name)
        except DBusError as error:
            if not error.name.endswith("NotRunning"):
                self.trouble(f"{name}: cannot be stopped: {error}")

    def end_all(self, found, disturb):
        for number, (name, (run, owner)) in enumerate(found.items()):
            self.end_one(name, run, owner)
            disturb(number)
        for name, (run, owner) in found.items():
            # A stop may have died with the activator that was asked; then it is asked again.
            wait_for(lambda o=owner, r=run: self.ends[r][0] == "stopped" or not alive(o),
                     f"the end of {name}")
            self.stop(name)
            wait_for(lambda o=owner: not alive(o), f"the end of {name}")

    def read_history(self):
        seen = {}
        for entry in self.ask("ListActivations", "(u)", 0):
            run = entry["Run"]
            if run in seen:
                self.trouble(f"run {run} is in the history twice")
            seen[run] = entry
            old = self.history.get(run, {})
            if "ExitUSec" in old and [old.get(k) for k in ("ExitHow", "ExitStatus")] != \
                    [entry.get(k) for k in ("ExitHow", "ExitStatus")]:
                self.trouble(f"run {run} ended twice: {old} {entry}")
        self.history.update(seen)

    def check_ends(self, found):
        """The end of each run stands in the history as it was, and was signalled with its run."""
        def told():
            self.read_history()
            return all("ExitUSec" in self.history.get(run, {}) for run, _ in found.values())

        wait_for(told, lambda: "the history to have " + str(
            {n: self.history.get(r) for n, (r, _) in found.items()
             if "ExitUSec" not in self.history.get(r, {})}))
        signalled = {(s[1][0], *s[1][1:]) for s in self.signals if s[0] == "ServiceExited"}
        for name, (run, owner) in found.items():
            entry = self.history[run]
            how, status = self.ends[run]
            got = (entry.get("ExitHow"), entry.get("ExitStatus"))
            if got != ("killed" if how == "stopped" else how, status):
                self.trouble(f"{name}: run {run} of {owner}: {how} {status} is in the history as "
                             f"{entry}")
            if not any(s[:3] == (name, run, owner) for s in signalled):
                self.trouble(f"{name}: the end of run {run} was not signalled")
        invented = {r: e for r, e in self.history.items()
                    if e["Name"] in self.names and e["Result"] == "started" and
                    r not in self.runs}
        for run, entry in invented.items():
            self.trouble(f"run {run} is invented: {entry}")
        del self.signals[:]

    def nothing_left(self):
        try:
            wait_for(lambda: not pids_with("/test-service"), "the services' end")
        except Failure:
            self.trouble("left: " + ", ".join(" ".join(argv_of(p))
                                              for p in pids_with("/test-service")))

    # --- the end of all

    def finish(self):
        self.nothing_left()
        pid = self.serving()
        top = parent_of(pid)
        if top != self.first_top:
            self.part.expected_status = (0, -9)
            signal_pid(top, signal.SIGTERM)
            wait_for(lambda: not alive(top) and not self.activators(), "the activator to leave")
        diagnose(f"{self.starts} activations, {self.failures} of them of a service that fails; "
                 f"{self.retries} retries; killed: " +
                 ", ".join(f"{k} {n} times" for k, n in self.kills.items()))
        check_equal(self.problems, [], "nothing was lost, doubled or left without an answer")
        check(self.starts > 0 and sum(self.kills.values()) > 0, "and there was a storm")


def storm_activator(world, count, crowd=20):
    """count activations while the activator, and now and then the top reaper, is killed."""
    storm = Storm(world, crowd)

    def disturb(_number):
        storm.moment()
        if storm.random.randrange(8) == 0:
            storm.kill("top" if storm.random.randrange(8) == 0 else "activator")

    while storm.starts < count:
        names = storm.random.sample(storm.names, crowd)
        storm.start_all(names, disturb)
        found = storm.note_runs(names)
        storm.all_owned(names, f"after {storm.starts} activations")
        storm.end_all(found, disturb)
        storm.check_ends(found)
        storm.nothing_left()
    if not storm.kills["activator"]:
        storm.kill("activator")
    storm.finish()


def storm_early(world, count):
    """As storm_reapers(), and reapers are killed while their services start, too."""
    storm_reapers(world, count, early=True)


def storm_reapers(world, count, crowd=10, early=False):
    """count kills of reapers, of runs and warm ones, while services run and end; the activator is
    killed as well now and then."""
    storm = Storm(world, crowd)

    def disturb(number):
        storm.moment()
        storm.kill("reaper")
        if storm.random.randrange(20) == 0 and number:
            storm.kill("activator")

    def disturb_starts(number):
        storm.moment()
        if early and number % 3 == 0:
            storm.kill("reaper")

    def only_activator(_number):
        storm.moment()
        if storm.random.randrange(20) == 0:
            storm.kill("activator")

    while storm.kills["reaper"] < count:
        names = storm.random.sample(storm.names, crowd)
        storm.start_all(names, disturb_starts)
        found = storm.note_runs(names)
        before = storm.all_of(names)
        for number in range(crowd):
            disturb(number)
        storm.serving()
        storm.all_owned(names, f"after {storm.kills['reaper']} kills")
        for name in names:
            if not all(alive(p) for p in before[name]):
                storm.trouble(f"{name}: something of it died with its reaper")
            if storm.fields(name).get("Run") != found[name][0]:
                storm.trouble(f"{name}: is another run: {storm.fields(name)}")
        storm.end_all(found, only_activator)
        storm.check_ends(found)
        storm.nothing_left()
    storm.finish()
