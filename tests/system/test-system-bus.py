#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The system bus: a stock dbus-daemon, an installed setuid helper, real users."""
import grp
import json
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import machine  # noqa: E402

machine.enter(__file__)

from harness import tap  # noqa: E402
from harness.base import Skip, read_text, wait_for  # noqa: E402
from harness.process import (alive, argv_of, below, field_of, keeper, kill_pid,  # noqa: E402
                             parent_of, start_time)
from harness.tap import (case, check, check_equal, check_error, check_in,  # noqa: E402
                         check_settles, diagnose)
from systembus import (ERRORS, NAME, PATH, TEST, SystemBus, activators, ctl, service,  # noqa: E402
                       stop_everything)


@case("a stock machine")
def stock(world):
    service("org.dba.Stock", "name org.dba.Stock")
    bus = SystemBus(world)
    check_equal(bus.start("org.dba.Stock"), 1, "the reference starts it")
    check_equal(activators(), [], "and no activator is there")
    kill_pid(bus.owner_pid("org.dba.Stock"))
    bus.stop()
    wait_for(lambda: not keeper.left(), "everything to be gone")


@case("installed")
def installed(world):
    machine.install()
    mode = os.stat(machine.HELPER)
    check_equal(oct(mode.st_mode & 0o7777), "0o4750", "the helper's mode")
    check_equal(mode.st_gid, pwd.getpwnam("messagebus").pw_gid, "its group is the bus user's")
    service("org.dba.One", "name org.dba.One")
    bus = SystemBus(world)
    check_equal(bus.start("org.dba.One"), 1, "the next activation works")
    check_equal(len(activators()), 1, "through an activator")
    done = ctl("--json", "list")
    names = {s["Name"]: s for s in json.loads(done.stdout or "[]")}
    check_equal(names.get("org.dba.One", {}).get("State"), "running", "list shows it running")
    fields = bus.fields("org.dba.One")
    check_equal(fields["MainPID"], bus.owner_pid("org.dba.One"), "with its main pid")
    check(fields["Managed"], "as managed")
    stop_everything(world, bus)


@case("users")
def users(world):
    subprocess.run(["groupadd", "-f", "dba1"], check=True)
    subprocess.run(["groupadd", "-f", "dba2"], check=True)
    subprocess.run(["useradd", "-M", "-N", "-g", "nogroup", "-G", "dba1,dba2", "dbauser"],
                   check=False, capture_output=True)
    os.makedirs(world.path / "out", exist_ok=True)
    os.chmod(world.path / "out", 0o777)
    for user in ("nobody", "dbauser", "root"):
        service(f"org.dba.User.{user}", f"context {world.path}/out/{user} name "
                f"org.dba.User.{user}", user)
    bus = SystemBus(world)
    for user in ("nobody", "dbauser", "root"):
        check_equal(bus.start(f"org.dba.User.{user}"), 1, f"{user}: starts")
        pid = bus.owner_pid(f"org.dba.User.{user}")
        entry = pwd.getpwnam(user)
        check_equal(field_of(pid, "Uid").split(), [str(entry.pw_uid)] * 4, f"{user}: uids")
        check_equal(field_of(pid, "Gid").split(), [str(entry.pw_gid)] * 4, f"{user}: gids")
        wanted = sorted(os.getgrouplist(user, entry.pw_gid))
        check_equal(sorted(int(g) for g in field_of(pid, "Groups").split()), wanted,
                    f"{user}: groups")
        check_equal(field_of(pid, "CapInh"), "0" * 16, f"{user}: inheritable capabilities")
        check_equal(field_of(pid, "CapAmb"), "0" * 16, f"{user}: ambient capabilities")
        if user != "root":
            check_equal(field_of(pid, "CapEff"), "0" * 16, f"{user}: effective capabilities")
        context = json.loads(read_text(world.path / "out" / user))
        check_equal(sorted(e.split("=")[0] for e in context["environ"]),
                    ["DBUS_STARTER_ADDRESS", "DBUS_STARTER_BUS_TYPE"],
                    f"{user}: exactly two variables")
        check_equal(context["cwd"], "/", f"{user}: cwd")
        check_in(context["umask"], (18, "022", "0022", 0o22), f"{user}: umask")
        check_equal([f["fd"] if isinstance(f, dict) else f for f in context["fds"]]
                    if isinstance(context["fds"], list) else sorted(int(f) for f in
                                                                    context["fds"]),
                    [0, 1, 2], f"{user}: descriptors")
        reaper = bus.fields(f"org.dba.User.{user}")["ReaperPID"]
        check_equal(int(field_of(reaper, "CapEff"), 16), 1 << 5, f"{user}: its reaper keeps "
                    "CAP_KILL alone")
    stop_everything(world, bus)


@case("groups change")
def groups_change(world):
    """Who a user is, is remembered as long as the files that say so lie still."""
    for group in ("dba3", "dba4"):
        subprocess.run(["groupadd", "-f", group], check=True)
    subprocess.run(["useradd", "-M", "-N", "-g", "nogroup", "-G", "dba3", "dbamember"],
                   check=False, capture_output=True)
    last = max(os.stat(f"/etc/{name}").st_ctime for name in ("passwd", "group"))
    wait_for(lambda: time.time() > last + 2.5, "the files to lie still")
    for number in range(3):
        service(f"org.dba.Member{number}", f"name org.dba.Member{number}", "dbamember")
    bus = SystemBus(world)
    for number, groups in enumerate((("dba3",), ("dba3",), ("dba3", "dba4"))):
        if number == 2:
            subprocess.run(["usermod", "-G", ",".join(groups), "dbamember"], check=True)
        name = f"org.dba.Member{number}"
        check_equal(bus.start(name), 1, f"start {number}")
        found = {int(g) for g in field_of(bus.owner_pid(name), "Groups").split()}
        wanted = {grp.getgrnam(g).gr_gid for g in (*groups, "nogroup")}
        check_equal(found, wanted, f"start {number}: its groups are those of now")
    stop_everything(world, bus)


@case("failures")
def failures(world):
    bus = SystemBus(world)
    wanted = {
        "exit 3": (ERRORS + "Spawn.ChildExited", "exit 3"),
        "exit 1": (ERRORS + "Spawn.ChildExited", "exit 1"),
        "kill 11": (ERRORS + "Spawn.ChildSignaled", "kill 11"),
        "kill 9": (ERRORS + "Spawn.ChildSignaled", "kill 9"),
        "daemonize delay 50 exit 3": (ERRORS + "Spawn.ChildExited", "daemonized, then failed"),
    }
    for number, (actions, (name, title)) in enumerate(wanted.items()):
        service(f"org.dba.Fail{number}", actions)
        check_error(bus.begin(f"org.dba.Fail{number}").error(), name, "", title)
    machine.system_service("org.dba.NoProgram", "/no/such/program")
    check_error(bus.begin("org.dba.NoProgram").error(), ERRORS + "Spawn.ExecFailed", "",
                "a program that is missing")
    service("org.dba.NoUser", "name org.dba.NoUser", "nosuchuser")
    check_error(bus.begin("org.dba.NoUser").error(), ERRORS + "Spawn.FailedToSetup", "",
                "an unknown user")
    service("org.dba.WithoutUser", "name org.dba.WithoutUser", "")
    check_error(bus.begin("org.dba.WithoutUser").error(), ERRORS + "Spawn.FileInvalid", "",
                "no User=")
    machine.system_service("org.dba.Quote", "/bin/true 'open")
    check_error(bus.begin("org.dba.Quote").error(), ERRORS + "InvalidArgs", "",
                "an Exec that does not parse")
    check_equal(ctl("status", "org.dba.Fail0").returncode, 3, "status of a failed one exits 3")
    fields = bus.fields("org.dba.Fail0")
    check_equal((fields["ExitHow"], fields["ExitStatus"]), ("exited", 3),
                "the whole truth is in its status")
    stop_everything(world, bus)


@case("fifty at once")
def fifty(world):
    for i in range(50):
        service(f"org.dba.Many{i}", f"name org.dba.Many{i}")
    bus = SystemBus(world)
    check_equal(activators(), [], "nobody is there yet")
    calls = [bus.begin(f"org.dba.Many{i}") for i in range(50)]
    check_equal([c.result() for c in calls], [1] * 50, "fifty services")
    check_equal(len(activators()), 1, "one activator")
    stop_everything(world, bus)


def identity(bus, name):
    f = bus.known(name)
    return tuple(f.get(k) for k in ("State", "Run", "MainPID", "ReaperPID", "StartedUSec"))


@case("a restart of activator and bus")
def restart(world):
    service("org.dba.Stays", "name org.dba.Stays")
    # Does not hear of its bus's end.
    service("org.dba.Deaf", "name org.dba.Deaf linger")
    service("org.dba.Next", "name org.dba.Next")
    bus = SystemBus(world)
    bus.start("org.dba.Stays")
    bus.start("org.dba.Deaf")
    before = {n: identity(bus, n) for n in ("org.dba.Stays", "org.dba.Deaf")}
    pids = {n: bus.owner_pid(n) for n in before}
    top = parent_of(activators()[0])
    os.kill(activators()[0], signal.SIGTERM)
    wait_for(lambda: not activators() and not alive(top), "the activator to leave")
    check_equal({n: bus.owner_pid(n) for n in before}, pids,
                "SIGTERM to the activator stops nothing")
    bus.start("org.dba.Next")
    check_settles(lambda: {n: identity(bus, n) for n in before}, before,
                  "the next one knows the runs")
    old = activators()[0]
    bus.stop()
    wait_for(lambda: not alive(pids["org.dba.Stays"]), "one that leaves with its bus to leave")
    check(alive(pids["org.dba.Deaf"]), "a restart of the bus stops nothing")
    bus = SystemBus(world)
    check_in(bus.start("org.dba.Next"), (1, 2), "the new bus is served")
    check(alive(pids["org.dba.Deaf"]), "the other one lives on")
    check_settles(lambda: bus.known("org.dba.Deaf").get("Run"), before["org.dba.Deaf"][1],
                  "and is known by its run")
    # One that the helper started meanwhile leaves when it meets the other's lock.
    check_settles(lambda: len(activators()), 1, "by one activator")
    diagnose(f"activator {old} before, {activators()[0]} after")
    check_equal(ctl("stop", "--all").returncode, 0, "stop --all")
    check(not alive(pids["org.dba.Deaf"]), "stops it")
    stop_everything(world, bus)


@case("bus and activator are killed")
def both_killed(world):
    service("org.dba.Deaf", "name org.dba.Deaf linger")
    service("org.dba.Next", "name org.dba.Next")
    bus = SystemBus(world)
    bus.start("org.dba.Deaf")
    known = bus.known("org.dba.Deaf")
    activator = activators()[0]
    top = parent_of(activator)
    os.kill(activator, signal.SIGSTOP)
    bus.stop()
    os.kill(activator, signal.SIGKILL)
    wait_for(lambda: activators() not in ([], [activator]), "another activator")
    bus = SystemBus(world)
    check_in(bus.start("org.dba.Next"), (1, 2), "the next bus is served")
    check_settles(lambda: [parent_of(p) for p in activators()], [top], "by the next activator")
    check_settles(lambda: bus.known("org.dba.Deaf").get("Run"), known["Run"],
                  "which knows the one that stayed")
    stop_everything(world, bus)


@case("the activator is killed again and again")
def away(world):
    names = [f"org.dba.Away{i}" for i in range(6)]
    for name in names:
        service(name, f"daemonize name {name}")
    bus = SystemBus(world)
    bus.start(names[0])
    top = parent_of(activators()[0])
    os.kill(bus.known(names[0])["ReaperPID"], signal.SIGKILL)
    check_settles(lambda: "ReaperPID" in bus.known(names[0]), False, "the top reaper has a service")
    before = identity(bus, names[0])
    # Each time that it lived for less than a second the next one comes later.
    for name in names[1:]:
        pid = wait_for(activators, "an activator")[0]
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda p=pid: not alive(p), "its end")
        check_in(bus.start(name), (1, 2), f"{name} is started")
        check_equal([parent_of(p) for p in activators()], [top],
                    "by one activator, under the same top reaper")
    check_settles(lambda: identity(bus, names[0]), before, "which has what it had")
    stop_everything(world, bus)


@case("reexec under load")
def reexec(world):
    names = [f"org.dba.Load{i}" for i in range(20)]
    late = [f"org.dba.Late{i}" for i in range(20)]
    failing = [f"org.dba.LoadFail{i}" for i in range(5)]
    for name in names:
        service(name, f"await {world.path}/go name {name}")
    for name in late:
        service(name, f"name {name}")
    for name in failing:
        service(name, f"await {world.path}/go exit 3")
    bus = SystemBus(world)
    service("org.dba.Stays", "name org.dba.Stays")
    bus.start("org.dba.Stays")
    before = identity(bus, "org.dba.Stays")
    old, started = activators()[0], start_time(activators()[0])
    calls = [bus.begin(n) for n in names]
    bad = [bus.begin(n) for n in failing]
    wait_for(lambda: len([p for p in below() if "await" in argv_of(p)]) == 25, "all to wait")
    done = ctl("reexec")
    check_equal(done.returncode, 0, f"reexec {done.stderr}")
    more = [bus.begin(n) for n in late]
    (world.path / "go").touch()
    check_equal([c.result() for c in calls], [1] * 20, "those that were being started")
    check_equal([c.error().name if c.error() else None for c in bad],
                [ERRORS + "Spawn.ChildExited"] * 5, "those that failed meanwhile")
    check_equal([c.result() for c in more], [1] * 20, "those that were asked for meanwhile")
    check_equal(len(activators()), 1, "one activator")
    diagnose(f"it was {old} (started {started}), is {activators()[0]}")
    check_settles(lambda: identity(bus, "org.dba.Stays"), before, "which knows the run")
    check_settles(lambda: [bus.known(n).get("MainPID") for n in names + late],
                  [bus.owner_pid(n) for n in names + late], "and all of them")
    stop_everything(world, bus)


# The first wall taken away: what is left is what the activator finds out about its caller.
OPEN = f"""<busconfig><policy context="mandatory"><allow send_destination="{NAME}"/></policy>
</busconfig>"""


@case("who may do what")
def rights(world):
    service("org.dba.Secret", "stderr secret-words name org.dba.Secret")
    bus = SystemBus(world)
    bus.start("org.dba.Secret")

    def ask(member, *args, user="nobody"):
        return machine.as_user(user, "dbus-send", "--system", "--print-reply",
                               f"--dest={NAME}", PATH, f"{NAME}.{member}", *args)

    for wall in ("both walls", "the activator alone"):
        if wall == "the activator alone":
            pathlib.Path("/etc/dbus-1/system.d/zz-open.conf").write_text(OPEN)
            bus.client.dbus("ReloadConfig")
        done = ask("ListServices")
        check_in("org.dba.Secret", done.stdout, f"{wall}: anyone may list")
        done = ask("GetService", "string:org.dba.Secret")
        check_in("MainPID", done.stdout, f"{wall}: and see the state")
        check("test-service" not in done.stdout, f"{wall}: but no command line", done.stdout)
        done = ask("ListProcesses", "string:org.dba.Secret")
        check(done.returncode == 0 and "test-service" not in done.stdout,
              f"{wall}: also not in the list of processes", done.stdout + done.stderr)
        for member, args in (("GetLog", ("string:org.dba.Secret", "uint32:5")),
                             ("StopService", ("string:org.dba.Secret",)),
                             ("KillService", ("string:org.dba.Secret", "int32:9")),
                             ("Reload", ()), ("StopAll", ()), ("Reexec", ())):
            done = ask(member, *args)
            # dbus-daemon's own words are "Rejected send message".
            check(done.returncode != 0 and "AccessDenied" in done.stderr and
                  ("Rejected send" in done.stderr) == (wall == "both walls"),
                  f"{wall}: {member} is denied", done.stdout + done.stderr)
    os.unlink("/etc/dbus-1/system.d/zz-open.conf")
    bus.client.dbus("ReloadConfig")
    done = machine.run("dbus-send", "--system", "--print-reply", f"--dest={NAME}", PATH,
                       f"{NAME}.GetLog", "string:org.dba.Secret", "uint32:5")
    check_in("secret-words", done.stdout, "root reads the log")
    stop_everything(world, bus)


@case("who hears what")
def signals(world):
    for i in range(3):
        service(f"org.dba.Ends{i}", f"children 1 name org.dba.Ends{i}")
    bus = SystemBus(world)
    bus.start("org.dba.Ends0")
    heard = {}
    for user in ("root", "nobody"):
        heard[user] = world.path / f"heard-{user}"
        with open(heard[user], "wb") as out:
            keeper.add(subprocess.Popen(
                ["setpriv", f"--reuid={user}", "--clear-groups", "--reset-env", "gdbus", "monitor",
                 "--system", "--dest", NAME], stdin=subprocess.DEVNULL, stdout=out, stderr=out))

    def ended(i):
        bus.start(f"org.dba.Ends{i}")
        kill_pid(bus.owner_pid(f"org.dba.Ends{i}"))
        # Or the next start would find it running still.
        wait_for(lambda: not bus.owner_pid(f"org.dba.Ends{i}"), "its end")
        return all(f".ServiceExited ('org.dba.Ends{i}'" in read_text(h) for h in heard.values())

    # Until both listen.
    wait_for(lambda: ended(0), "both to hear of an end")
    ended(1)
    ctl("stop", "org.dba.Ends1")
    wait_for(lambda: ended(2), "a later one, behind which nothing earlier can come")
    check_in(".ProcessExited ('org.dba.Ends1'", read_text(heard["root"]),
             "root hears of each process that ends")
    check_in(".ServiceExited ('org.dba.Ends1'", read_text(heard["nobody"]),
             "anyone hears of a service that ends")
    check("ProcessExited" not in read_text(heard["nobody"]), "but not of processes",
          read_text(heard["nobody"]))
    for pid in [p for p in below() if "gdbus" in " ".join(argv_of(p))]:
        kill_pid(pid)
    stop_everything(world, bus)


@case("a start timeout")
def timeout(world):
    """By a configuration that the bus was told of, and the activator by the bus."""
    config = pathlib.Path("/etc/dbus-1/short.conf")
    config.write_text("<busconfig><include>/usr/share/dbus-1/system.conf</include>"
                      '<limit name="service_start_timeout">1500</limit>'
                      "<servicedir>/run/more-services</servicedir></busconfig>")
    service("org.dba.Never", "children 3 linger")
    pathlib.Path("/run/more-services").mkdir()
    shutil.move("/usr/share/dbus-1/system-services/org.dba.Never.service",
                "/run/more-services/org.dba.Never.service")
    bus = SystemBus(world, config=config)
    check_error(bus.begin("org.dba.Never").error(), ERRORS + "TimedOut", "", "the caller is told")
    check_equal(bus.fields("org.dba.Never")["ServiceFile"],
                "/run/more-services/org.dba.Never.service", "it was read where the bus said")
    wait_for(lambda: not any(TEST in " ".join(argv_of(p)) for p in below()),
             "the whole tree to be gone")
    check(True, "and the whole tree is gone")
    stop_everything(world, bus)
    config.unlink()


@case("real services")
def real(world):
    found = [n for n in ("org.freedesktop.UPower", "org.freedesktop.PolicyKit1")
             if os.path.exists(f"/usr/share/dbus-1/system-services/{n}.service")]
    if len(found) < 2:
        raise Skip("upower and polkitd are not installed")
    bus = SystemBus(world)
    for name in found:
        check_in(bus.start(name), (1, 2), f"{name} starts")
        check(bus.fields(name)["Managed"], f"{name} is owned")
    signals = bus.client.record(interface=NAME, member="ServiceExited")
    pid = bus.owner_pid("org.freedesktop.UPower")
    kill_pid(pid)
    wait_for(lambda: any(v[0] == "org.freedesktop.UPower" and v[2] == pid for _, v in signals),
             "ServiceExited of UPower")
    values = next(v for _, v in signals if v[2] == pid)
    check_equal(values[3:], ("killed", 9), "killed by 9")
    check_equal(bus.start("org.freedesktop.UPower"), 1, "the next call starts it again")
    stop_everything(world, bus)


@case("without setuid")
def without_setuid(world):
    config = shutil.copy("/usr/share/dbus-activator/init/dbus-activator-systemless.conf",
                         "/etc/dbus-1")
    service("org.dba.Direct", "name org.dba.Direct")
    service("org.dba.DirectFail", "stderr my-last-words exit 7")
    bus = SystemBus(world, "--systemd-activation", config=config)
    ready, writer = os.pipe()
    activator = keeper.add(subprocess.Popen(
        [machine.DAEMON, "--system", "--ready-fd", str(writer)], pass_fds=[writer],
        stdin=subprocess.DEVNULL, start_new_session=True))
    os.close(writer)
    check_equal(os.read(ready, 10), b"\n", "the activator that init started is ready")
    os.close(ready)
    check_equal(bus.start("org.dba.Direct"), 1, "a service starts")
    check_equal(field_of(bus.fields("org.dba.Direct")["MainPID"], "Uid").split()[0], "0",
                "as root")
    error = bus.begin("org.dba.DirectFail").error()
    check_error(error, ERRORS + "Spawn.ChildExited", "status 7", "the caller has the full message")
    check("my-last-words" not in (error.message if error else ""), "but not what it wrote")
    ctl("stop", "--all")
    activator.terminate()
    activator.wait(90)
    bus.stop()
    wait_for(lambda: not keeper.left(), "everything to be gone")


@case("uninstalled")
def uninstalled(world):
    machine.uninstall()
    service("org.dba.Stock", "name org.dba.Stock")
    bus = SystemBus(world)
    check_equal(bus.start("org.dba.Stock"), 1, "the reference starts it again")
    check_equal(activators(), [], "without an activator")
    kill_pid(bus.owner_pid("org.dba.Stock"))
    bus.stop()
    wait_for(lambda: not keeper.left(), "everything to be gone")


machine.allow_tests()
tap.main()
