# SPDX-License-Identifier: MIT
"""How a session ends. Each case runs as first process of a pid namespace, with a World."""
import os
import pty
import re
import signal
import subprocess
import time

from world import HERE, PROGRAM, Failure, check, kill, picture, processes, read, reap, wait_for

CASES = {}
TERM, HUP, KILL = signal.SIGTERM, signal.SIGHUP, signal.SIGKILL


def case(name):
    def register(function):
        CASES[name] = function
        return function
    return register


# --- the command ends

@case("the command exits and its status is the session's")
def _(w):
    w.start("dbus-send --session --print-reply --dest=test.Daemon / "
            "org.freedesktop.DBus.Peer.Ping >/dev/null || exit 70; exit 42")
    w.end(42)
    w.check_files()


@case("every exit status arrives")
def _(w):
    for status in (0, 1, 2, 77, 126, 127, 128, 255):
        w.start(f"exit {status}")
        w.end(status)


@case("a command killed by a signal gives 128 + n")
def _(w):
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGINT):
        w.start(f"ulimit -c 0; kill -{int(number)} $$")
        w.end(128 + number)


@case("a command that is missing gives 127, one that cannot be executed 126")
def _(w):
    for command, status in (("no-such-command", 127), ("/etc/passwd", 126), ("/", 126)):
        w.session = subprocess.Popen([PROGRAM, command], env=w.environment,
                                     stderr=open(w.errors, "ab"))
        w.end(status)
        check(command in read(w.errors), f"{command} is named: {read(w.errors)}")


@case("background processes of the command are taken along")
def _(w):
    w.start("sleep 88881 & setsid sleep 88882 & (setsid sh -c 'trap \"\" TERM HUP; "
            "while :; do sleep 88883; done' &) ; until pgrep -fx 'sleep 88883' >/dev/null; "
            "do sleep 0.05; done; exit 5")
    w.end(5)


@case("--keep-detached spares what is in a session of its own, and only that")
def _(w):
    w.start("setsid sleep 88881 & sleep 88882 & "
            "until pgrep -fx 'sleep 88881' >/dev/null; do sleep 0.05; done; exit 6",
            "--keep-detached")
    status = w.session.wait(90)
    check(status == 6, f"status {status}")
    reap()
    left = [p[2] for p in processes().values() if p[1] != "Z"]
    check(left == ["sleep 88881"], f"left: {left}")
    for pid in processes():
        os.kill(pid, KILL)
    w.end()
    w.check_files()


@case("--keep-detached spares nothing when the session is ended from outside")
def _(w):
    w.start_with("Plain", script="setsid sleep 88881 &", options=["--keep-detached"])
    w.session.terminate()
    w.end()


# --- a part gets a signal

def signalled(which, number, status=None):
    def run(w):
        w.start_with("Plain", "Daemon")
        kill(w.part(which), number=number)
        w.end(status)
        w.check_files()
    return run


for part_name in ("wrapper", "keeper", "bus", "command"):
    for sent in (TERM, HUP, KILL):
        expected = None
        if (part_name, sent) == ("bus", HUP):
            continue  # dbus-daemon reads its configuration again
        if part_name == "command":
            expected = 128 + sent
        if part_name == "wrapper" and sent == KILL:
            expected = -KILL
        CASES[f"{part_name} gets {sent.name}"] = signalled(part_name, sent, expected)
CASES["activator gets SIGTERM"] = signalled("activator", TERM)
CASES["top reaper gets SIGTERM"] = signalled("top", TERM)


def killed_together(*parts):
    def run(w):
        w.start_with("Daemon")
        kill(*[w.part(p) for p in parts])
        w.end()
        if set(parts) != {"wrapper", "keeper"}:
            w.check_files()
    return run


for second in ("activator", "top", "bus reaper", "command reaper", "bus", "command", "keeper"):
    CASES[f"wrapper and {second} are killed together"] = killed_together("wrapper", second)
for second in ("top", "bus reaper", "command reaper"):
    CASES[f"keeper and {second} are killed together"] = killed_together("keeper", second)


# --- a part is killed and the session goes on

def ping(w, name):
    """A call to a service by way of the session's bus."""
    address = re.search(r"--address=(\S+)", processes()[w.part("bus")][2]).group(1)
    for _ in range(20):
        done = subprocess.run(["dbus-send", f"--bus={address}", "--print-reply",
                               "--reply-timeout=120000", f"--dest=test.{name}", "/",
                               "org.freedesktop.DBus.Peer.Ping"], env=w.environment,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
        # A request may meet the moment in which one activator follows another: it is answered,
        # and asked again.
        if b"died with its predecessor" not in done.stderr:
            break
        time.sleep(0.1)
    check(done.returncode == 0, f"test.{name}: {done.stderr.decode()}\n{picture()}")


def goes_on(*parts):
    def run(w):
        w.start_with("Daemon")
        victims = [w.part(p) for p in parts]
        old = set(processes())
        kill(*victims)
        if {"activator", "top"} & set(parts):
            wait_for(lambda: [p for p in w.find_all("dbus-activatord") if p not in old]
                     or (len(parts) == 1 and parts[0] == "top"), "the next activator")
        ping(w, "Plain")
        check(w.session.poll() is None, f"the session has ended: {read(w.errors)}")
        os.kill(w.part("command"), signal.SIGUSR1)
        w.end(128 + signal.SIGUSR1)
        w.check_files()
    return run


@case("bus gets SIGHUP: it reads its configuration, the session goes on")
def _(w):
    w.start_with("Daemon")
    kill(w.part("bus"), number=HUP)
    ping(w, "Plain")
    check(w.session.poll() is None, f"the session has ended: {read(w.errors)}")
    w.session.terminate()
    w.end((128 + TERM, 128 + HUP))
    w.check_files()


for alone in ("activator", "top", "bus reaper", "command reaper"):
    CASES[f"{alone} is killed alone: the session goes on"] = goes_on(alone)
CASES["activator and top are killed together: the session goes on"] = goes_on("top", "activator")


# --- processes that do not want to

@case("a service and its crowd that ignore SIGTERM are gone after the command")
def _(w):
    w.start_with("Stubborn")
    kill(w.part("command"), number=TERM)
    w.end(128 + TERM)
    w.check_files()


@case("a service and its crowd that ignore SIGTERM are gone after the wrapper was killed")
def _(w):
    w.start_with("Stubborn")
    kill(w.part("wrapper"))
    w.end()
    w.check_files()


@case("a command that ignores SIGTERM and SIGHUP is killed")
def _(w):
    w.start_with("Plain", script="trap '' TERM HUP;")
    w.session.terminate()
    w.end(128 + KILL)


@case("a stopped command ends with the session")
def _(w):
    w.start_with("Plain")
    command = w.part("command")
    os.kill(command, signal.SIGSTOP)
    wait_for(lambda: processes()[w.session.pid][1] == "T", "the wrapper to stop with it")
    os.kill(w.session.pid, TERM)
    os.kill(w.session.pid, signal.SIGCONT)
    w.end()


# --- the runtime directory

def private_runtime(prepare):
    def run(w):
        prepare(w)
        given = w.environment.get("XDG_RUNTIME_DIR")
        w.start(f"echo \"$DBUS_SESSION_BUS_ADDRESS\" > {w.folder}/address; "
                f"echo \"${{XDG_RUNTIME_DIR-none}}\" > {w.folder}/seen; "
                "dbus-send --session --print-reply --dest=test.Daemon / "
                "org.freedesktop.DBus.Peer.Ping >/dev/null || exit 70; "
                "tr '\\0' '\\n' < /proc/$(pgrep -f '[s]ervice.py test.Daemon')/environ | "
                f"sed -n 's/^XDG_RUNTIME_DIR=//p' > {w.folder}/service")
        w.end(0)
        folder = re.match(r"unix:path=(/tmp/dbus-activator-\w+)/", read(w.folder / "address"))
        check(folder, f"a private directory: {read(w.folder / 'address')}")
        check(not os.path.exists(folder.group(1)), "it is gone")
        check(read(w.folder / "seen").strip() == (given or "none"), "the command sees its own")
        check(read(w.folder / "service").strip() == (given or ""), "so does a service: "
              + read(w.folder / "service"))
    return run


@case("XDG_RUNTIME_DIR missing: a private directory")
@private_runtime
def _(w):
    del w.environment["XDG_RUNTIME_DIR"]


@case("XDG_RUNTIME_DIR that does not exist: a private directory")
@private_runtime
def _(w):
    w.environment["XDG_RUNTIME_DIR"] = str(w.folder / "nowhere")


@case("XDG_RUNTIME_DIR of another user: a private directory")
@private_runtime
def _(w):
    try:
        os.chown(w.runtime, 65534, 65534)
    except OSError:
        # In a user namespace everything of others belongs to the overflow user.
        w.environment["XDG_RUNTIME_DIR"] = "/usr"


@case("XDG_RUNTIME_DIR writable by others: a private directory")
@private_runtime
def _(w):
    w.runtime.chmod(0o777)


@case("XDG_RUNTIME_DIR too long for a socket: a private directory")
@private_runtime
def _(w):
    w.runtime = w.runtime / ("x" * 80)
    w.runtime.mkdir(mode=0o700)
    w.environment["XDG_RUNTIME_DIR"] = str(w.runtime)


@case("the folder of a session whose wrapper and keeper were killed is swept by the next")
def _(w):
    w.start_with("Plain")
    kill(w.part("wrapper"), w.part("keeper"))
    w.end()
    check(list(w.runtime.glob("dbus-activator/session-*")), "the killed session left its folder")
    w.start("exit 0")
    w.end(0)
    w.check_files()


# --- what the command and its caller see

@case("--print-address and the command's environment")
def _(w):
    w.environment.update(DBUS_SESSION_BUS_PID="1", DBUS_STARTER_ADDRESS="x",
                         DBUS_STARTER_BUS_TYPE="session", DBUS_SESSION_BUS_ADDRESS="unix:path=/x")
    w.start("env | grep ^DBUS_", "--print-address", stdout=subprocess.PIPE)
    lines = w.session.stdout.read().decode().splitlines()
    w.session.stdout.close()
    w.end(0)
    check(lines == [lines[0], f"DBUS_SESSION_BUS_ADDRESS={lines[0]}"], f"{lines}")
    check(re.fullmatch(r"unix:path=\S+,guid=[0-9a-f]{32}", lines[0]), lines[0])


@case("wrong usage and what cannot work: the status and a word about it")
def _(w):
    for arguments, status, word in (
            ([], 2, "no command"), (["--nonsense", "true"], 2, "nonsense"),
            (["--config-file", "/nonexistent", "true"], 1, "/nonexistent"),
            (["--dbus-daemon", "/nonexistent", "true"], 1, "/nonexistent"),
            (["--dbus-daemon", "/bin/false", "true"], 1, "bus did not start")):
        done = subprocess.run([PROGRAM, *arguments], env=w.environment, check=False,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        text = done.stderr.decode()
        check(done.returncode == status and word in text, f"{arguments}: {done.returncode} {text}")
    for option in ("--help", "--version"):
        done = subprocess.run([PROGRAM, option], stdout=subprocess.PIPE, check=False)
        check(done.returncode == 0 and b"dbus-activator-session" in done.stdout, option)
    reap()
    check(not processes(), f"left:\n{picture()}")
    w.check_files()


@case("two sessions at once keep apart")
def _(w):
    w.start_with("Plain")
    first = w.session
    mine = set(processes())
    w.mark.unlink()
    second = subprocess.run([PROGRAM, "dbus-send", "--session", "--print-reply",
                             "--dest=test.Plain", "/", "org.freedesktop.DBus.Peer.Ping"],
                            env=w.environment, stdout=subprocess.DEVNULL,
                            stderr=open(w.errors, "ab"), check=False)
    check(second.returncode == 0, f"the second: {read(w.errors)}")
    check(first.poll() is None and mine <= set(processes()), "the first is as it was")
    w.session = first
    first.terminate()
    w.end()
    w.check_files()


# --- FUSE

def fuse_mount(end, gvfs=False):
    """A session with a FUSE mount, whose server dies with it."""
    def run(w):
        point = w.runtime / "gvfs" if gvfs else w.folder / "mount"
        server = f"/usr/bin/python3 {HERE}/fuse-server.py {point}"
        if gvfs:
            if not os.path.exists("/usr/libexec/gvfsd-fuse"):
                return "gvfs-fuse is not installed"
            if not os.access("/dev/fuse", os.R_OK | os.W_OK):
                return "/dev/fuse cannot be used"
            # The service starts a server for its mounts by itself.
            server = ("dbus-send --session --print-reply --dest=org.gtk.vfs.Daemon "
                      "/org/gtk/vfs/Daemon org.freedesktop.DBus.Peer.Ping >/dev/null")
            w.environment["XDG_DATA_DIRS"] += ":/usr/share"
        else:
            point.mkdir()
        w.start_with("Plain", script=f"{server} 2>{w.folder}/fuse & ")

        def mounted():
            return f" {point} " in read("/proc/self/mountinfo")
        wait_for(lambda: mounted() or read(w.folder / "fuse"), "the mount")
        refused = read(w.folder / "fuse")
        end(w)
        w.end()
        wait_for(lambda: not mounted(), "the mount to be gone")
        w.check_files()
        return f"no FUSE mounts here: {refused.strip()}" if refused else None
    return run


CASES["a FUSE mount goes with the session"] = fuse_mount(lambda w: w.session.terminate())
CASES["the mount of gvfs goes with the session"] = fuse_mount(lambda w: w.session.terminate(),
                                                              gvfs=True)
CASES["the mount of gvfs goes when wrapper and activator are killed"] = fuse_mount(
    lambda w: kill(w.session.pid, w.part("activator")), gvfs=True)
CASES["a FUSE mount goes when the wrapper is killed"] = fuse_mount(lambda w: w.session.kill())
CASES["a FUSE mount goes when the keeper is killed"] = fuse_mount(
    lambda w: kill(w.part("keeper")))


# --- a terminal

class Terminal:
    """A shell with job control on a terminal of its own; it runs sessions."""

    def __init__(self, w):
        environment = dict(w.environment, PS1="outer$ ", PS2="", TERM="dumb",
                           INNER="inner$ ", SESSION=str(PROGRAM))
        self.text, self.seen = "", 0
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve("/bin/bash", ["bash", "--norc", "--noprofile", "--noediting", "-i"],
                      environment)
        os.set_blocking(self.fd, False)
        self.expect("outer$ ")

    def pull(self):
        try:
            self.text += os.read(self.fd, 65536).decode(errors="replace")
        except (BlockingIOError, OSError):
            pass

    def expect(self, what):
        def found():
            self.pull()
            return what in self.text[self.seen:]
        try:
            wait_for(found, f"{what!r} on the terminal")
        except Failure as failure:
            raise Failure(f"{failure}\nterminal: {self.text[-1500:]!r}") from None
        self.seen = self.text.index(what, self.seen) + len(what)

    def type(self, text):
        os.write(self.fd, text.encode())

    def leave(self, w):
        self.type("exit\n")

        def gone():
            self.pull()
            reap(keep={self.pid})
            return os.waitpid(self.pid, os.WNOHANG)[0]
        wait_for(gone, "the shell's end")
        os.close(self.fd)
        wait_for(lambda: (reap(), not processes())[1], "the namespace to be empty")
        w.check_files()


# bash writes its prompt to standard error.
INNER = "$SESSION -- env PS1='inner$ ' bash --norc --noprofile --noediting -i\n"
# Typed so that the echo of the input is not what is waited for.
SAY = "echo \"<\"\"{}>\"\n"


def inner_shell(w):
    t = Terminal(w)
    t.type(INNER)
    t.expect("inner$ ")
    return t


@case("terminal: an interactive shell has job control")
def _(w):
    t = inner_shell(w)
    t.type("sleep 88881\n")
    wait_for(lambda: w.find(lambda pid, p: p[2] == "sleep 88881"), "the job")
    t.type("\x1a")
    t.expect("Stopped")
    t.type("bg\n" + SAY.format("bg $(jobs -r | grep -c 88881)"))
    t.expect("<bg 1>")
    t.type("fg\n")
    wait_for(lambda: w.foreground("sleep 88881", t.fd), "the job in the foreground")
    t.type("\x03" + SAY.format("after $?"))
    t.expect("<after 130>")
    t.type("exit 9\n")
    t.expect("outer$ ")
    t.type(SAY.format("status $?"))
    t.expect("<status 9>")
    t.leave(w)


@case("terminal: Ctrl-C meets the command and not the session; Ctrl-\\ too")
def _(w):
    t = Terminal(w)
    t.type("$SESSION -- bash -c 'trap \"echo \\<int\\>; let n++\" INT; echo \"<\"\"up>\"; "
           "while [ ${n-0} -lt 2 ]; do sleep 0.1; done; ulimit -c 0; exec sleep 88881'\n")
    t.expect("<up>")
    t.type("\x03")
    t.expect("<int>")
    check(w.find_all("dbus-daemon") and w.find_all("dbus-activatord"), f"it lives:\n{picture()}")
    t.type("\x03")
    t.expect("<int>")
    # bash itself ignores SIGQUIT.
    wait_for(lambda: w.foreground("sleep 88881", t.fd), "sleep in the place of bash")
    t.type("\x1c")
    t.expect("outer$ ")
    t.type(SAY.format("status $?"))
    t.expect("<status 131>")
    t.leave(w)


@case("terminal: Ctrl-Z and fg")
def _(w):
    t = Terminal(w)
    t.type("$SESSION -- bash -c 'echo \"<\"\"up>\"; read x; echo \"<got $x>\"; exit 4'\n")
    t.expect("<up>")
    for _ in range(3):
        t.type("\x1a")
        t.expect("Stopped")
        t.expect("outer$ ")
        t.type("fg\n")
        wait_for(lambda: w.foreground("bash -c", t.fd), "the command in the foreground")
    t.type("word\n")
    t.expect("<got word>")
    t.expect("outer$ ")
    t.type(SAY.format("status $?"))
    t.expect("<status 4>")
    t.leave(w)


@case("terminal: Ctrl-Z is for the command, which may not want it")
def _(w):
    t = Terminal(w)
    t.type("$SESSION -- bash -c 'trap \"\" TSTP; echo \"<\"\"up>\"; while read x; do "
           "echo \"<got $x>\"; done; exit 4'\n")
    t.expect("<up>")
    for word in ("one", "two"):
        t.type("\x1a")
        t.type(f"{word}\n")
        t.expect(f"<got {word}>")
    t.type("\x04")
    t.expect("outer$ ")
    t.type(SAY.format("status $?"))
    t.expect("<status 4>")
    t.leave(w)


@case("terminal: `suspend` in the session's shell, and fg")
def _(w):
    t = inner_shell(w)
    for _ in range(2):
        t.type("suspend\n")
        t.expect("Stopped")
        t.expect("outer$ ")
        t.type("fg\n")
        t.expect("inner$ ")
    t.type("exit 3\n")
    t.expect("outer$ ")
    t.type(SAY.format("status $?"))
    t.expect("<status 3>")
    t.leave(w)


@case("terminal: hung up")
def _(w):
    t = inner_shell(w)
    t.type("sleep 88881 &\n" + SAY.format("on"))
    t.expect("<on>")
    os.close(t.fd)
    wait_for(lambda: (reap(), not processes())[1], "the namespace to be empty")
    w.check_files()
