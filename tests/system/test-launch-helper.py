#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Attacks on the setuid launch helper: TAP on stdout. Needs root; works on a setuid copy of
DBA_BUILD_ROOT/activator/helper/dbus-activator-launch-helper in mount and pid namespaces of its
own, with its own /run, /tmp and /dev, and plays the activator itself."""

import ctypes
import os
import pwd
import re
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading

INSIDE = "DBA_TEST_LAUNCH_HELPER_INSIDE"
HELPER, EVERYBODY, PLAIN = "/run/helper", "/run/helper-4755", "/run/helper-plain"
NOBODY = 65534
VERDICT, REFUSED = 41, 50
EXITED, KILLED = 1, 2
RT_SIGACTION = {"x86_64": 13, "aarch64": 134, "riscv64": 134}.get(os.uname().machine, -1)
count = 0
failed = 0

# What the helper executes as activator. The shell part records what it finds, as python itself
# changes dispositions; mode and wishes come from files, as the environment is cleared.
FAKE_SH = """#!/bin/sh
exec 9>>/run/starts; echo $$ >&9; exec 9>&-
{ tr '\\0' '\\n' </proc/$$/environ | sed 's/^/Env: /'; cat /proc/self/status
  echo "Args: $*"; echo "Umask-is: $(umask)"; echo "Cwd: $(pwd -P)"
  echo "Oom: $(cat /proc/$$/oom_score_adj)"; echo "Slack: $(cat /proc/$$/timerslack_ns)"
  cut -d' ' -f19 /proc/$$/stat | sed 's/^/Nice: /'; cat /proc/$$/limits
  for fd in /proc/$$/fd/*; do printf 'Fd: %s ' ${fd##*/}; readlink $fd || echo; done; } >/run/found 2>&1
mode=$(cat /run/mode 2>/dev/null)
[ "$mode" = fail ] && exit 3
[ "$mode" = slow ] && sleep 0.5
exec @PYTHON@ -I /run/fake.py "$3"
"""


def check(what, good, detail=""):
    global count, failed
    count += 1
    failed += not good
    print(f"{'ok' if good else 'not ok'} {count} - {what}", flush=True)
    if not good:
        print(f"# {detail!r}"[:6000], flush=True)


def text(value):
    return struct.pack("=I", len(value)) + value.encode() + b"\0"


def message(kind, fields, version=1):
    return struct.pack("=IHH", 0x31414244, version, kind) + fields


def verdict(code, how=0, status=0, error="", words=""):
    return message(VERDICT, struct.pack("=BBI", code, how, status) + text(error) + text(words))


# name -> answer, exit code; the activator that plays itself reads it too (written to fake.py)
SPAWN = "org.freedesktop.DBus.Error.Spawn."
ANSWERS = {"a.Owned": (verdict(0), 0), "a.Exited": (verdict(12, EXITED, 3, SPAWN + "ChildExited"), 1),
           "a.Killed": (verdict(11, KILLED, 11, SPAWN + "ChildSignaled"), 11),
           "a.NoFork": (verdict(13), 2), "a.Leaving": (verdict(16), 4),
           "a.Limit1": (verdict(15, EXITED, 1, SPAWN + "ChildExited"), 1),
           "a.Limit11": (verdict(15, KILLED, 9, SPAWN + "ChildSignaled"), 11),
           "a.Limit9": (verdict(15, 0, 0, SPAWN + "ExecFailed"), 9),
           "a.Limit4": (verdict(15, 0, 0, SPAWN + "FailedToSetup"), 4),
           "a.NotServed": (verdict(17), 6), "a.Future": (verdict(200), 4),
           "a.Half": (verdict(0)[:-3], 4), "a.More": (verdict(0) + b"x", 4),
           "a.Junk": (b"\xff" * 60000, 4), "a.Byte": (b"x", 4), "a.TooMuch": (b"x" * 100000, 4),
           "a.OtherVersion": (message(VERDICT, b"", 2), 4),
           "a.OtherKind": (message(3, b""), 4), "a.Refused": (message(REFUSED, text("v9")), 4),
           "a.Escape": (verdict(9, 0, 0, "x.y", "words \x1b[2J\n<3>more"), 9)}
for number in range(2, 12):
    ANSWERS[f"a.Code{number}"] = (verdict(number), number)


class Syslog:
    def __init__(self):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind("/dev/log")
        os.chmod("/dev/log", 0o666)

    def lines(self):
        found = []
        while True:
            try:
                found.append(self.socket.recv(65536).decode())
            except BlockingIOError:
                return found


def start(*arguments, helper=HELPER, user="bus", **options):
    ids = {"bus": BUS, "root": 0}.get(user, user)
    options.setdefault("stdin", subprocess.DEVNULL)
    options.setdefault("stdout", subprocess.PIPE)
    options.setdefault("stderr", subprocess.PIPE)
    return subprocess.Popen([helper, *arguments], user=ids, group=BUS_GROUP if user == "bus" else
                            ids, extra_groups=[], cwd="/tmp", **options)


def run(*arguments, **options):
    process = start(*arguments, **options)
    out, err = process.communicate()
    return process.returncode, (out or b"").decode(), (err or b"").decode()


def refused(what, code, result):
    lines = LOG.lines()
    check(what, result[0] == code and result[1] == "" and result[2].count("\n") >= 1 and
          bool(lines), (result, lines))


def starts():
    try:
        with open("/run/starts") as file:
            return [int(line) for line in file]
    except FileNotFoundError:
        return []


def end_activators():
    for pid in starts():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    for path in ("/run/starts", "/run/mode"):
        if os.path.exists(path):
            os.unlink(path)


def clear_runtime():
    end_activators()
    subprocess.run(["rm", "-rf", os.path.dirname(RUNTIME)], check=True)


def mode(value):
    with open("/run/mode", "w") as file:
        file.write(value)


class Listener:
    """An activator in this process: answers connections from a list, None for silence."""

    def __init__(self, answers=(), uid=None, listen_as=0):
        os.makedirs(RUNTIME, 0o755, exist_ok=True)
        path = os.path.join(RUNTIME, "requests")
        if os.path.lexists(path):
            os.unlink(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.bind(path)
        os.chmod(path, 0o600)
        if uid is not None:
            os.chown(path, uid, uid)
        os.seteuid(listen_as)
        self.socket.listen(64)
        os.seteuid(0)
        self.asked = []
        self.held = []
        self.changed = threading.Condition()
        self.thread = threading.Thread(target=self.serve, args=(list(answers),), daemon=True)
        self.thread.start()

    def serve(self, answers):
        for answer in answers:
            try:
                peer, _ = self.socket.accept()
            except OSError:  # shut down by close()
                return
            data = peer.recv(65536)
            if not data:  # connected, looked at the peer and left
                peer.close()
                continue
            if answer is None:
                self.held.append(peer)
            # Before the answer: the helper ends with it, and is waited for.
            with self.changed:
                self.asked.append(data)
                self.changed.notify_all()
            if answer is not None:
                if answer != "close":
                    peer.send(answer)
                peer.close()

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.socket.close()

    def wait_asked(self, number):
        with self.changed:
            self.changed.wait_for(lambda: len(self.asked) >= number)


def kill_as_bus_user(pid):
    child = os.fork()
    if child == 0:
        os.setresuid(BUS, BUS, BUS)
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def test_callers():
    try:
        run("a.Owned", user=NOBODY)
        check("mode 4750: another user cannot execute it", False)
    except PermissionError:
        check("mode 4750: another user cannot execute it", True)
    refused("another user, were it executable", 7, run("a.Owned", user=NOBODY, helper=EVERYBODY))
    refused("not setuid", 7, run("a.Owned", helper=PLAIN))
    result = run("--no-new-privs", HELPER, "a.Owned", helper="/usr/bin/setpriv")
    refused("no_new_privs", 7, result)
    check("nothing was started", not starts() and not os.path.exists(RUNTIME))


def execve_nothing():
    null = (ctypes.c_char_p * 1)(None)
    ctypes.CDLL(None).execve(HELPER.encode(), null, null)
    os._exit(99)


def test_arguments():
    refused("no argument", 10, run())
    refused("argc 0", 10, run(preexec_fn=execve_nothing))
    refused("two arguments", 10, run("a.Owned", "a.Owned"))
    refused("ten thousand", 10, run(*["a.Owned"] * 10000))
    for name in ("../../etc/passwd", "", ".", "a", "a.", ".a", "a..b", "a.1b", ":1.5", "a.b\n",
                 "a.b\x1b[2J", "a b.c", "a.b/c", "%s.%n", "a." + "b" * 100000, "a." + "b" * 254,
                 "--help", "--version", "-h", "a.\xe9", "$(id).x"):
        result = run(name)
        refused("bad name " + ascii(name[:30]), 10, result)
        if "b" * 20 in result[2] or "\x1b" in result[2]:
            check("it is not repeated", False, result)
    check("nothing was started", not starts() and not os.path.exists(RUNTIME))


def can_raise():
    """Root in a container may lack CAP_SYS_RESOURCE: then hard limits bind the helper too."""
    with open("/proc/self/status") as file:
        return int(re.search(r"CapBnd:\t(\w+)", file.read()).group(1), 16) >> 24 & 1 == 1


def lower(what, value, hard):
    resource.setrlimit(what, (value, value if hard else resource.getrlimit(what)[1]))


def hostile():
    """What a hostile bus user may leave to the helper."""
    libc = ctypes.CDLL(None)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    for number in (32, 33):  # libc's own, which it lets nobody set
        libc.syscall(RT_SIGACTION, number, (ctypes.c_ulong * 8)(1), None, 8)
    os.umask(0o777)
    os.nice(10)
    libc.prctl(4, 1, 0, 0, 0)  # dumpable, or /proc/self would be root's after the change of user
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("900")
    libc.prctl(29, ctypes.c_ulong(5000000000), 0, 0, 0)  # timer slack
    libc.prctl(36, 1, 0, 0, 0)  # child subreaper
    for what, value in ((resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0),
                        (resource.RLIMIT_AS, 64 << 20), (resource.RLIMIT_CPU, 1),
                        (resource.RLIMIT_SIGPENDING, 0), (resource.RLIMIT_NOFILE, 40)):
        lower(what, value, CAN_RAISE)
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    resource.setrlimit(resource.RLIMIT_STACK, (hard, hard))


ENVIRONMENT = {"LD_PRELOAD": "/tmp/evil.so", "GCONV_PATH": "/tmp", "LD_LIBRARY_PATH": "/tmp",
               "LD_AUDIT": "/tmp/evil.so", "PATH": "/tmp", "IFS": "/", "TMPDIR": "/tmp",
               "GLIBC_TUNABLES": "glibc.malloc.check=3", "MALLOC_TRACE": "/tmp/trace",
               "DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/tmp/bus", "ENV": "/tmp/evil",
               "BASH_FUNC_id%%": "() { echo; }", "XDG_RUNTIME_DIR": "/tmp", "LANG": "../../tmp"}


def test_start():
    extra = os.open("/etc/passwd", os.O_RDONLY)
    os.set_inheritable(extra, True)
    helpers = [start("a.Owned", preexec_fn=hostile, env=ENVIRONMENT, close_fds=False)
               for _ in range(50)]
    codes = [helper.wait() for helper in helpers]
    words = [helper.stderr.read() for helper in helpers]
    for helper in helpers:
        helper.stdout.close()
        helper.stderr.close()
    os.close(extra)
    check("fifty at once: all served", codes == [0] * 50, (codes, words))
    check("fifty at once: one activator", len(starts()) == 1, starts())
    with open("/run/found") as file:
        found = file.read()

    def has(pattern):
        return re.search("^" + pattern + "$", found, re.M) is not None

    wanted = {"ids": r"Uid:\t0\t0\t0\t0", "group ids": r"Gid:\t0\t0\t0\t0", "groups": r"Groups:\t *",
              "signal mask": r"SigBlk:\t0{16}", "dispositions": r"SigIgn:\t0{16}",
              "inheritable capabilities": r"CapInh:\t0{16}",
              "ambient capabilities": r"CapAmb:\t0{16}", "umask": r"Umask-is: 0?022",
              "working directory": "Cwd: /", "oom score": "Oom: 0", "nice value": "Nice: 0",
              "timer slack": "Slack: 50000", "arguments": r"Args: --system --ready-fd \d+",
              "file size": r"Max file size +unlimited +unlimited.*",
              "address space": r"Max address space +unlimited.*",
              "cpu time": r"Max cpu time +unlimited.*",
              "stack size": r"Max stack size +8388608 .*",
              "open files": r"Max open files +1024 +\d{4,} .*"}
    for what, pattern in wanted.items():
        check("the activator finds: " + what, has(pattern), found)
    environment = re.findall("^Env: (.*)$", found, re.M)
    check("the activator finds: a PATH of its own and nothing else",
          len(environment) == 1 and environment[0].startswith("PATH=/usr/local/sbin:"), environment)
    files = dict(re.findall(r"^Fd: (\d+) (\S*)$", found, re.M))
    ready = re.search(r"--ready-fd (\d+)", found)
    # The shell keeps its script, and what it has redirected for the moment, at 10 and above.
    saved = [f for n, f in files.items() if int(n) >= 10 and not f.endswith("/dbus-activatord")]
    check("the activator finds: /dev/null three times",
          files.get("0") == "/dev/null" and saved == ["/dev/null"] * 2, files)
    check("the activator finds: no stray descriptor",
          {n for n, f in files.items() if f and 3 <= int(n) < 10} == {ready.group(1)}, files)
    with open(f"/proc/{starts()[0]}/status") as file:
        status = file.read()
    with open(f"/proc/{starts()[0]}/stat") as file:
        session = int(file.read().rsplit(")", 1)[1].split()[3])
    check("the activator is nobody's child but init's", re.search(r"^PPid:\t1$", status, re.M))
    check("the activator has a session of its own", session == starts()[0])
    check("what was made for it belongs to root alone",
          os.stat(os.path.dirname(RUNTIME)).st_mode & 0o7777 == 0o755)


def test_verdicts():
    for name, (_, code) in ANSWERS.items():
        result = run(name)
        lines = LOG.lines()
        check(f"{name}: exit {code}", result[0] == code and result[1] == "" and
              (code == 0 or (bool(result[2]) and bool(lines))), (result, lines))
        if name == "a.Escape":
            check("control characters of a message are masked",
                  result[2].count("\n") == 1 and "\x1b" not in result[2], result)
    check("root may ask too", run("a.Owned", user="root")[0] == 0)
    check("still the same activator", len(starts()) == 1)


def limit(what, value, hard):
    return lambda: lower(what, value, hard)


def test_surroundings():
    for closed in ((0,), (1,), (2,), (0, 1, 2)):
        result = run("a.Code9", stdin=None, stdout=None, stderr=None,
                     preexec_fn=lambda fds=closed: [os.close(fd) for fd in fds])
        check(f"closed descriptors {closed}", result[0] == 9 and LOG.lines(), result)
    reading, full = os.pipe()
    os.set_blocking(full, False)
    try:
        while True:
            os.write(full, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(full, True)
    check("full stderr does not hold it up", run("a.Code9", stderr=full)[0] == 9)
    check("all three full", run("a.Code9", stdin=full, stdout=full, stderr=full)[0] == 9)
    check("all three the wrong way round",
          run("a.Code9", stdin=full, stdout=reading, stderr=reading)[0] == 9)
    os.close(reading)
    check("stderr without a reader", run("a.Code9", stderr=full)[0] == 9)
    os.close(full)
    with open("/dev/full", "w") as device:
        check("stderr on /dev/full", run("a.Code9", stderr=device)[0] == 9)
    for what, name, value in ((resource.RLIMIT_NOFILE, "NOFILE", 3),
                              (resource.RLIMIT_NOFILE, "NOFILE", 0),
                              (resource.RLIMIT_FSIZE, "FSIZE", 0),
                              (resource.RLIMIT_AS, "AS", 16 << 20),
                              (resource.RLIMIT_DATA, "DATA", 0),
                              (resource.RLIMIT_CPU, "CPU", 1),
                              (resource.RLIMIT_MEMLOCK, "MEMLOCK", 0)):
        result = run("a.Owned", preexec_fn=limit(what, value, CAN_RAISE))
        check(f"RLIMIT_{name} {value}", result[0] == 0, result)
    result = run("a.Owned", preexec_fn=limit(resource.RLIMIT_NOFILE, 0, True))
    check("RLIMIT_NOFILE 0 for ever: served, or failed as such",
          result[0] in ((0,) if CAN_RAISE else (4, 7)), result)
    result = run("a.Owned", preexec_fn=limit(resource.RLIMIT_AS, 1 << 20, True))
    check("RLIMIT_AS too small for any program: served or dead, nothing else",
          result[0] in (0, -9, -11), result)


def test_restart():
    os.kill(starts()[0], signal.SIGKILL)
    result = run("a.Owned")
    check("the activator was killed: a second one is started", result[0] == 0 and
          len(starts()) == 2, (result, starts()))
    clear_runtime()
    mode("fail")
    refused("an activator that fails at its start", 4, run("a.Owned"))
    clear_runtime()
    os.rename(ACTIVATOR, ACTIVATOR + "-")
    refused("no activator installed", 4, run("a.Owned"))
    os.rename(ACTIVATOR + "-", ACTIVATOR)
    clear_runtime()
    mode("slow")
    first, second = start("a.Owned"), start("a.Owned")
    while not starts():
        pass
    first.send_signal(signal.SIGSTOP)
    second.kill()
    third = start("a.Owned")
    check("helpers stopped and killed during the start hold up nobody", third.wait() == 0)
    first.send_signal(signal.SIGCONT)
    check("the stopped one goes on", first.wait() == 0)
    second.wait()
    check("one activator all the same", len(starts()) == 1, starts())
    for process in (first, second, third):
        process.stdout.close()
        process.stderr.close()
    clear_runtime()


def test_peers():
    listener = Listener(["close", "close", verdict(0)])
    check("connection lost twice: asks again", run("a.Owned")[0] == 0 and len(listener.asked) == 3)
    listener.close()
    for what, answers in (("silence", [None]), ("a time-out", [verdict(14)])):
        listener = Listener(answers)
        helper = start("a.Owned")
        listener.wait_asked(1)
        check(f"{what}: it stays", helper.poll() is None)
        check(f"{what}: the bus user may kill it", kill_as_bus_user(helper.pid) and
              helper.wait() == -signal.SIGKILL)
        helper.stdout.close()
        helper.stderr.close()
        listener.close()
    clear_runtime()


def test_listening():
    """Whoever is refused is refused while an activator listens, too, and passes nothing on."""
    listener = Listener([verdict(9, 0, 0, SPAWN + "ExecFailed")] + [verdict(0)] * 9)
    check("a failure is answered by one request", run("a.Owned")[0] == 9 and
          len(listener.asked) == 1, listener.asked)
    refused("another user while one listens", 7, run("a.Owned", user=NOBODY, helper=EVERYBODY))
    for words in (("a",), ("a.b/c",), ("--help",), ("a." + "b" * 254,), ("a.b", "a.b"), ()):
        refused(f"{ascii(words)[:30]} while one listens", 10, run(*words))
    check("none of them was passed on", len(listener.asked) == 1, listener.asked)
    listener.close()
    listener = Listener([None, None])
    helper = start("a.Owned", stdin=None, pass_fds=[LOG.socket.fileno()],
                   preexec_fn=lambda: os.close(0))
    listener.wait_asked(1)
    check("nothing of the caller's is kept open",
          len(os.listdir(f"/proc/{helper.pid}/fd")) == 4, os.listdir(f"/proc/{helper.pid}/fd"))
    check("it waits in /", os.readlink(f"/proc/{helper.pid}/cwd") == "/")
    helper.kill()
    helper.communicate()
    shell = start("-c", f"{HELPER} a.Owned </dev/null >/dev/null 2>&1 & echo $!; read end",
                  helper="/bin/sh", stdin=subprocess.PIPE)
    listener.wait_asked(2)
    # This process is the first of its namespace: orphans become its children.
    orphan = int(shell.communicate(b"\n")[0])
    status = os.waitpid(orphan, 0)[1]
    check("it leaves after what had started it", os.waitstatus_to_exitcode(status) == 1, status)
    listener.close()
    clear_runtime()


def test_planted():
    parent = os.path.dirname(RUNTIME)

    def planted(what, listener=None):
        refused(what, 4, run("a.Owned"))
        if listener:
            check(what + ": was not asked", not listener.asked)
            listener.close()
        check(what + ": nothing was started", not starts(), starts())
        clear_runtime()

    planted("a socket of another user", Listener([verdict(0)], uid=NOBODY))
    planted("a socket of root on which another user listens",
            Listener([verdict(0)], listen_as=NOBODY))
    for path in (RUNTIME, parent):
        listener = Listener([verdict(0)])
        os.chown(path, NOBODY, NOBODY)
        planted(f"{os.path.basename(path)}/ of another user", listener)
        listener = Listener([verdict(0)])
        os.chmod(path, 0o775)
        planted(f"{os.path.basename(path)}/ that a group can write to", listener)
        listener = Listener([verdict(0)])
        os.rename(path, "/run/elsewhere")
        os.symlink("/run/elsewhere", path)
        planted(f"{os.path.basename(path)} is a symbolic link", listener)
        subprocess.run(["rm", "-rf", "/run/elsewhere"], check=True)
    os.makedirs(RUNTIME)
    open(os.path.join(RUNTIME, "requests"), "w").close()
    planted("a file in place of the socket")
    os.makedirs(parent)
    os.symlink("/etc/shadow", os.path.join(parent, "start.lock"))
    planted("a link in place of the lock")
    os.makedirs(parent)
    os.mkfifo(os.path.join(parent, "start.lock"))
    result = run("a.Owned")
    check("a FIFO in place of the lock", result[0] in (0, 4), result)
    clear_runtime()


def prepare(build):
    global BUS, BUS_GROUP, RUNTIME, ACTIVATOR, LOG, CAN_RAISE
    CAN_RAISE = can_raise()
    with open(os.path.join(build, "config.h")) as file:
        config = dict(re.findall(r'^#define (\w+) "(.*)"$', file.read(), re.M))
    with open(os.path.join(build, "activator/helper/dbus-activator-launch-helper"), "rb") as file:
        program = file.read()
    account = pwd.getpwnam(config["BUS_USER"])
    BUS, BUS_GROUP = account.pw_uid, account.pw_gid
    RUNTIME = config["SYSTEM_RUNTIME_DIR"]
    ACTIVATOR = os.path.join(config["LIBEXECDIR"], "dbus-activatord")
    for path, rights in (("/run", "755"), ("/tmp", "1777"), ("/dev", "755")):
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=" + rights, "tmpfs", path], check=True)
    for name, minor in (("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)):
        os.mknod("/dev/" + name, 0o20666, os.makedev(1, minor))
        os.chmod("/dev/" + name, 0o666)
    for path, rights in ((HELPER, 0o4750), (EVERYBODY, 0o4755), (PLAIN, 0o755)):
        with open(path, "wb") as file:
            file.write(program)
        os.chown(path, 0, BUS_GROUP)
        os.chmod(path, rights)
    # Over the deepest folder there is, so that nothing is written to the real one.
    folder = os.path.dirname(ACTIVATOR)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    os.makedirs("/run/upper")
    os.makedirs("/run/work")
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o",
                    f"lowerdir={folder},upperdir=/run/upper,workdir=/run/work", folder], check=True)
    os.makedirs(os.path.dirname(ACTIVATOR), exist_ok=True)
    with open(ACTIVATOR, "w") as file:
        file.write(FAKE_SH.replace("@PYTHON@", sys.executable))
    os.chmod(ACTIVATOR, 0o755)
    answers = {name: answer for name, (answer, _) in ANSWERS.items()}
    with open("/run/fake.py", "w") as file:
        file.write(f"""
import os, socket, sys
os.makedirs({RUNTIME!r}, 0o755, exist_ok=True)
path = {os.path.join(RUNTIME, "requests")!r}
if os.path.lexists(path):
    os.unlink(path)
listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
listener.bind(path)
os.chmod(path, 0o600)
listener.listen(128)
os.write(int(sys.argv[1]), b"\\n")
os.close(int(sys.argv[1]))
answers = {answers!r}
while True:
    peer, _ = listener.accept()
    data = peer.recv(65536)
    try:
        if data:
            peer.send(answers[data[13:].split(b"\\0")[0].decode()])
    except OSError:
        pass
    peer.close()
""")
    LOG = Syslog()


def main():
    build = os.environ.get("DBA_BUILD_ROOT")
    if os.geteuid() != 0 or not build:
        print("1..0 # SKIP needs root and DBA_BUILD_ROOT")
        return 0
    if INSIDE not in os.environ:
        return subprocess.run(["unshare", "-m", "-p", "-n", "--fork", "--kill-child",
                               "--mount-proc", sys.executable, os.path.abspath(__file__)],
                              env={**os.environ, INSIDE: "1"}, check=False).returncode
    # Orphans land here, PID 1 of the namespace; nobody waits for them but subprocess for its own.
    prepare(os.path.abspath(build))
    test_callers()
    test_arguments()
    test_start()
    test_verdicts()
    test_surroundings()
    test_restart()
    test_peers()
    test_listening()
    test_planted()
    print(f"1..{count}")
    sys.stdout.flush()
    return failed != 0


sys.exit(main())
