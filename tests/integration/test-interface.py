#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""org.dbusactivator.Activator1: members, signals, types, and that dbus-send is enough."""
import pathlib
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness import *  # noqa: E402

SOURCE = pathlib.Path(__file__).resolve().parents[2]
NAME, PATH = "org.dbusactivator.Activator1", "/org/dbusactivator/Activator1"
PROPERTIES = "org.freedesktop.DBus.Properties"
OWN_ERROR, ERROR = "org.dbusactivator.Error.", "org.freedesktop.DBus.Error."
METHODS = {"ListServices": ("", "a(ssu)"), "GetService": ("s", "a{sv}"),
           "ListProcesses": ("s", "a(uusb)"), "ListActivations": ("u", "aa{sv}"),
           "GetLog": ("su", "as"), "StopService": ("s", ""), "KillService": ("si", ""),
           "Reload": ("", "")}
SIGNALS = {"ServiceStateChanged": "sss", "ServiceExited": "stusi", "ProcessExited": "stusib",
           "ActivationFailed": "sss"}
PROPERTY_TYPES = {"Version": "s", "BusType": "s", "ReaperKind": "s", "NServices": "u",
                  "NRunning": "u"}
FIELDS = {"Name": "s", "State": "s", "Managed": "b", "Run": "t", "MainPID": "u", "Owner": "s",
          "Command": "as", "ServiceFile": "s", "ActivationCount": "u", "NRuns": "u",
          "NProcesses": "u", "NAdopted": "u", "ReaperPID": "u", "RequestedUSec": "t",
          "StartedUSec": "t", "StartLatencyUSec": "t"}


def start_some(world, door="signal"):
    bus, activator = world.both(door)
    for name, actions in (("A", "orphans 1 name test.A"), ("B", "name test.B"),
                          ("Bad", "exit 3")):
        world.service(f"test.{name}", actions)
    world.served(bus, "test.A", "test.B", "test.Bad")
    return bus, activator


def raw(bus, member, signature="()", *args, interface=NAME):
    """The reply's body with its types."""
    return bus.client.begin(NAME, PATH, interface, member, signature, *args).wait().get_body()


@case("introspection")
def _(world):
    bus, _activator = start_some(world)
    text = bus.client.call(NAME, PATH, "org.freedesktop.DBus.Introspectable", "Introspect")
    installed = (SOURCE / "data/org.dbusactivator.Activator1.xml").read_text()
    check_equal(ET.canonicalize(text, strip_text=True),
                ET.canonicalize(installed, strip_text=True), "what is installed says the same")
    found = {i.get("name"): i for i in ET.fromstring(text).findall("interface")}
    for name in (NAME, "org.freedesktop.DBus.Introspectable", PROPERTIES,
                 "org.freedesktop.DBus.Peer"):
        check_in(name, found, f"{name} is there")
    ours = found[NAME]

    def types(element, direction):
        return "".join(a.get("type") for a in element.findall("arg")
                       if (a.get("direction") or "in") == direction)

    methods = {m.get("name"): (types(m, "in"), types(m, "out")) for m in ours.findall("method")}
    for name, wanted in METHODS.items():
        check_equal(methods.get(name), wanted, f"method {name}")
    signals = {s.get("name"): "".join(a.get("type") for a in s.findall("arg"))
               for s in ours.findall("signal")}
    check_equal(signals, SIGNALS, "signals")
    properties = {p.get("name"): (p.get("type"), p.get("access")) for p in
                  ours.findall("property")}
    check_equal(properties, {n: (t, "read") for n, t in PROPERTY_TYPES.items()}, "properties")
    text = bus.client.call(NAME, "/", "org.freedesktop.DBus.Introspectable", "Introspect")
    check_in("org", [n.get("name") for n in ET.fromstring(text).findall("node")],
             "the path is found from /")


@case("methods")
def _(world):
    bus, activator = start_some(world)
    bus.start("test.A")
    pid = bus.owner_pid("test.A")
    wait_for(lambda: world.fields(bus, "test.A")["MainPID"] == pid, "the state")
    body = raw(bus, "ListServices")
    check_equal(body.get_type_string(), "(a(ssu))", "ListServices: type")
    services = body.unpack()[0]
    check_equal([s[0] for s in services], sorted(s[0] for s in services), "sorted by name")
    check_equal([s for s in services if s[0].startswith("test.")],
                [("test.A", "running", pid), ("test.B", "inactive", 0),
                 ("test.Bad", "inactive", 0)], "with state and pid")
    body = raw(bus, "GetService", "(s)", "test.A")
    check_equal(body.get_type_string(), "(a{sv})", "GetService: type")
    fields = {k: v.get_type_string() for k, v in
              ((body.get_child_value(0).get_child_value(i).get_child_value(0).unpack(),
                body.get_child_value(0).get_child_value(i).get_child_value(1).get_variant())
               for i in range(body.get_child_value(0).n_children()))}
    for name, wanted in FIELDS.items():
        check_equal(fields.get(name), wanted, f"field {name}")
    values = body.unpack()[0]
    check_equal((values["Name"], values["State"], values["Managed"], values["MainPID"]),
                ("test.A", "running", True, pid), "what it is")
    check(values["RequestedUSec"] <= values["StartedUSec"], "it was requested, then started")
    check_equal(values["Command"][0], str(test_service()), "by this command")
    for name in ("ExitHow", "ExitStatus", "ErrorName", "ErrorMessage"):
        check(name not in values, f"{name} is absent rather than invented")
    body = raw(bus, "ListProcesses", "(s)", "test.A")
    check_equal(body.get_type_string(), "(a(uusb))", "ListProcesses: type")
    processes_ = {p[0]: p for p in body.unpack()[0]}
    check_equal(processes_[pid][3], False, "the main process is not adopted")
    check_in("name test.A", processes_[pid][2], "its command line")
    check_equal([p[3] for p in processes_.values() if p[0] != pid], [True], "the orphan is")
    body = raw(bus, "KillService", "(si)", "test.A", 9)
    check_equal(body, None, "KillService: no value")
    wait_for(lambda: not pids_with("test-service"), "the end")
    check_settles(lambda: [world.fields(bus, "test.A").get(k)
                           for k in ("State", "ExitHow", "ExitStatus", "NRuns")],
                  ["failed", "killed", 9, 0], "it was killed by that signal")
    values = world.fields(bus, "test.A")
    check(values["ExitUSec"] >= values["StartedUSec"], "at a time")
    bus.begin_start("test.Bad").error()
    check_settles(lambda: world.fields(bus, "test.Bad")["State"], "failed", "one that failed")
    check_equal(world.fields(bus, "test.Bad")["ErrorName"], ERROR + "Spawn.ChildExited",
                "says how")
    body = raw(bus, "ListActivations", "(u)", 10)
    check_equal(body.get_type_string(), "(aa{sv})", "ListActivations: type")
    names = [a.get("Name") for a in body.unpack()[0]]
    check_equal(names, ["test.A", "test.Bad"], "ListActivations: newest last")
    check_equal(len(raw(bus, "ListActivations", "(u)", 1).unpack()[0]), 1, "as many as asked for")
    bus.start("test.B")
    check_equal(raw(bus, "StopService", "(s)", "test.B"), None, "StopService: no value")
    check(alive(activator.pid), "the activator is there")


@case("errors")
def _(world):
    bus, _activator = start_some(world)
    call = bus.client.begin
    for member, args in (("GetService", ("(s)", "test.None")),
                         ("ListProcesses", ("(s)", "test.None")),
                         ("StopService", ("(s)", "test.None")),
                         ("KillService", ("(si)", "test.None", 15)),
                         ("GetLog", ("(su)", "test.None", 5))):
        check_error(call(NAME, PATH, NAME, member, *args).error(), OWN_ERROR + "NoSuchService",
                    "test.None", f"{member} of a name that is not known")
    for member, args in (("StopService", ("(s)", "test.A")),
                         ("KillService", ("(si)", "test.A", 15))):
        check_error(call(NAME, PATH, NAME, member, *args).error(), OWN_ERROR + "NotRunning",
                    "test.A", f"{member} of one that does not run")
    bus.start("test.A")
    for number in (-1, 0, 65, 1000):
        check_error(call(NAME, PATH, NAME, "KillService", "(si)", "test.A", number).error(),
                    ERROR + "InvalidArgs", ".", f"KillService with signal {number}")
    check_equal(bus.ask("test.A", "Ping"), bus.owner_pid("test.A"), "the service did not notice")
    for member in ("GetService", "StopService"):
        error = call(NAME, PATH, NAME, member, "(s)", "not a bus name").error()
        check(error and error.name in (ERROR + "InvalidArgs", OWN_ERROR + "NoSuchService"),
              f"{member} of what is no bus name", error)


@case("properties")
def _(world):
    bus, _activator = start_some(world)
    bus.start("test.A")
    wait_for(lambda: world.fields(bus, "test.A")["State"] == "running", "the state")
    body = raw(bus, "GetAll", "(s)", NAME, interface=PROPERTIES)
    values = body.unpack()[0]
    check_equal(set(values), set(PROPERTY_TYPES), "GetAll")
    for name, wanted in PROPERTY_TYPES.items():
        value = raw(bus, "Get", "(ss)", NAME, name, interface=PROPERTIES)
        check_equal(value.get_child_value(0).get_variant().get_type_string(), wanted,
                    f"{name}: type")
        check_equal(value.unpack()[0], values[name], f"{name}: value")
    check_equal(values["BusType"], "session", "BusType")
    check_equal(values["NRunning"],
                len([s for s in world.member(bus, "ListServices") if s[1] == "running"]),
                "NRunning")
    check_in(values["ReaperKind"], ("child-reaper", "child-subreaper"), "ReaperKind")
    check_equal(values["NServices"], len(world.member(bus, "ListServices")), "NServices")
    from gi.repository import GLib
    for member, args in (("Get", ("(ss)", NAME, "Nothing")), ("Get", ("(ss)", "a.b", "Version")),
                         ("Set", ("(ssv)", NAME, "Version", GLib.Variant("s", "9"))),
                         ("GetAll", ("(s)", "no.such.interface"))):
        error = bus.client.begin(NAME, PATH, PROPERTIES, member, *args).error()
        check(error and error.name.startswith(ERROR), f"{member}{args[1:]} is refused", error)
    check_equal(bus.client.call(NAME, PATH, "org.freedesktop.DBus.Peer", "Ping"), (), "Ping")
    check(bus.client.call(NAME, PATH, "org.freedesktop.DBus.Peer", "GetMachineId"),
          "GetMachineId")


@case("signals and their types")
def _(world):
    bus, _activator = start_some(world)
    found = []
    connection = bus.connect()

    def arrived(_c, _sender, path, _interface, member, values):
        found.append((path, member, values.get_type_string()))

    connection.gio.signal_subscribe(None, NAME, None, None, None, 0, arrived)
    connection.barrier()
    bus.start("test.A")
    world.member(bus, "StopService", "(s)", "test.A")
    bus.begin_start("test.Bad").error()
    wait_for(lambda: {f[1] for f in found} == set(SIGNALS), "each signal")
    check_equal({f[0] for f in found}, {PATH}, "from the object")
    for name, wanted in SIGNALS.items():
        check_equal({f[2] for f in found if f[1] == name}, {f"({wanted})"}, f"{name}: type")


for the_door in ("signal", "helper"):
    @case(f"asked just after a start, {the_door} door")
    def _(world, door=the_door):
        bus, activator = world.both(door)
        world.service("test.S", f"await {world.path}/go name test.S")
        world.served(bus, "test.S")
        pending = bus.begin_start("test.S")
        wait_for(lambda: pids_with("name test.S"), "the service")
        # It finds the new owner and the questions in its socket, one behind the other.
        signal_pid(activator.pid, signal.SIGSTOP)
        (world.path / "go").touch()
        wait_for(lambda: bus.has_owner("test.S"), "the name")
        asked = [bus.client.begin(NAME, PATH, NAME, member, signature, *args)
                 for member, signature, args in (("GetService", "(s)", ("test.S",)),
                                                 ("ListServices", "()", ()))]
        bus.client.barrier()
        signal_pid(activator.pid, signal.SIGCONT)
        pid = bus.owner_pid("test.S")
        f = asked[0].result()
        check_equal([f.get(k) for k in ("State", "Managed", "MainPID", "NProcesses")],
                    ["running", True, pid, 1], "GetService tells what is so")
        check_equal([s for s in asked[1].result() if s[0] == "test.S"],
                    [("test.S", "running", pid)], "so does ListServices")
        check_equal(pending.error(), None, "it is started")


LASTING = ("State", "Run", "RequestedUSec", "StartedUSec", "ExitHow", "ExitStatus", "ExitUSec",
           "ErrorName", "ErrorMessage", "ActivationCount", "ServiceFile", "Command")


@case("what the next activator says")
def _(world):
    bus, _activator = world.both("signal", "--start-limit", "0")
    world.service("test.Runs", "name test.Runs")
    world.service("test.Fails", "exit 3")
    world.service("test.Crashed", "name test.Crashed")
    world.service("test.Stopped", "ignore 15 name test.Stopped")
    world.service("test.Starting", "await never")
    world.service("test.Never", "name test.Never")
    folder = world.service("test.Refused", "x").parent
    (folder / "test.Refused.service").write_text(
        '[D-BUS Service]\nName=test.Refused\nExec=/bin/true "open\n')
    names = [f"test.{n}" for n in ("Runs", "Fails", "Crashed", "Stopped", "Starting", "Never",
                                   "Refused")]
    world.served(bus, *names)
    pending = bus.begin_start("test.Starting")
    wait_for(lambda: world.fields(bus, "test.Starting")["State"] == "starting", "the start")
    states = world.recorder(bus)
    for name in ("test.Runs", "test.Crashed", "test.Stopped"):
        bus.start(name)
    bus.begin_start("test.Fails").error()
    for _ in range(3):
        bus.begin_start("test.Refused").error()
    world.member(bus, "KillService", "(si)", "test.Crashed", 11)
    for name in ("test.Stopped", "test.Starting"):
        world.member(bus, "StopService", "(s)", name)
    pending.error()
    wait_for(lambda: not world.fields(bus, "test.Crashed")["NRuns"], "the crash")

    def told():
        return {n: {k: v for k, v in world.fields(bus, n).items() if k in LASTING} for n in names}

    before = told()
    check_equal([before[n]["State"] for n in names],
                ["running", "failed", "failed", "inactive", "inactive", "inactive", "failed"],
                "the states")
    check_equal([s[1][1:] for s in states.sync() if s[0] == "ServiceStateChanged" and
                 s[1][0] == "test.Starting"],
                [("starting", "stopping"), ("stopping", "inactive")], "a stop is no failure")
    check_equal([e["ErrorName"] for e in world.member(bus, "ListActivations", "(u)", 0)
                 if e["Name"] == "test.Refused"], [ERROR + "InvalidArgs"],
                "what was not even tried is in the history, once")
    first = bus.owner(NAME)
    states = world.recorder(bus)
    world.member(bus, "Reexec")
    wait_for(lambda: bus.owner(NAME) not in ("", first), "the next one")
    after = told()
    before["test.Refused"]["ActivationCount"] = 1  # as the history has it
    for name in names:
        check_equal(after[name], before[name], f"{name}: the same")
    check_equal([s for s in states.sync() if s[0] == "ServiceStateChanged"], [],
                "nothing is said to have changed")


@case("dbus-send is enough")
def _(world):
    bus, _activator = start_some(world)
    bus.start("test.B")
    for words, wanted in (
            (("ListServices",), "test.B"), (("GetService", "string:test.B"), "running"),
            (("ListProcesses", "string:test.B"), "uint32"),
            (("ListActivations", "uint32:5"), "test.B"),
            (("GetLog", "string:test.B", "uint32:5"), "array"), (("Reload",), "method return"),
            (("KillService", "string:test.B", "int32:18"), "method return"),
            (("StopService", "string:test.B"), "method return")):
        done = subprocess.run(
            ["dbus-send", f"--bus={bus.address}", "--print-reply", "--reply-timeout=2000000",
             f"--dest={NAME}", PATH, f"{NAME}.{words[0]}", *words[1:]], stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, check=False)
        text = done.stdout.decode(errors="replace")
        check(done.returncode == 0 and wanted in text, f"dbus-send {' '.join(words)}", text[:800])


@case("ctl: what people type")
def _(world):
    bus, _activator = start_some(world)
    bus.start("test.A")
    pid = bus.owner_pid("test.A")
    got = world.ctl(bus, "list")
    mine = {s["Name"]: s for s in got.json}
    check_equal((got.rc, mine["test.A"]["State"], mine["test.A"]["MainPID"]), (0, "running", pid),
                "list")
    got = world.ctl(bus, "status", "test.A")
    check_equal((got.rc, got.json.get("MainPID")), (0, pid), "status of one that runs")
    check_equal(world.ctl(bus, "status", "test.B").rc, 3, "status of one that does not")
    check_equal(world.ctl(bus, "status", "test.None").rc, 4, "status of one that is not known")
    got = world.ctl(bus, "processes", "test.A")
    check_equal((got.rc, len(got.json), {"pid", "ppid", "command", "adopted"} <= set(got.json[0])),
                (0, 2, True), "processes")
    check_equal(world.ctl(bus, "start", "test.B").rc, 0, "start")
    check(bus.has_owner("test.B"), "it runs")
    check_equal(world.ctl(bus, "stop", "test.B").rc, 0, "stop")
    check(not bus.has_owner("test.B"), "it is stopped")
    got = world.ctl(bus, "start", "test.Bad", json_output=False)
    check_equal(got.rc, 1, "start of one that fails")
    check_match("status 3", got.err + got.out, "and why")
    check_equal(world.ctl(bus, "kill", "-s", "KILL", "test.A").rc, 0, "kill")
    wait_for(lambda: not alive(pid), "its end")
    check_equal(world.ctl(bus, "frobnicate", json_output=False).rc, 2, "an unknown command")
    check_equal(world.ctl(bus, "status", "a", "b", "c", json_output=False).rc, 2,
                "too many arguments")
    lonely = world.bus(name="lonely", systemd_activation=False)
    check_equal(world.ctl(lonely, "list").rc, 5, "a bus without activator")
    got = world.ctl(bus, "list", json_output=False)
    check("\033" not in got.out and "test.A" in got.out, "no colours where there is no terminal")

main()
