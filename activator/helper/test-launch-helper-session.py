#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The session launch helper against an activator that this test plays itself: TAP on stdout.
usage: test-launch-helper-session.py PATH-OF-HELPER"""

import os
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile

HELPER = os.path.abspath(sys.argv[1])
GUID = "0123456789abcdef0123456789abcdef"
NAME = "org.example.Test"
REQUEST, VERDICT, REFUSED = 40, 41, 50
EXITED, KILLED = 1, 2
count = 0
failed = 0


def check(what, good, detail=""):
    global count, failed
    count += 1
    failed += not good
    print(f"{'ok' if good else 'not ok'} {count} - {what}", flush=True)
    if not good:
        print(f"# {detail!r}", flush=True)


def text(value):
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack("=I", len(data)) + data + b"\0"


def message(kind, fields, version=1):
    return struct.pack("=IHH", 0x31414244, version, kind) + fields


def verdict(code, how=0, status=0, error="", words=""):
    return message(VERDICT, struct.pack("=BBI", code, how, status) + text(error) + text(words))


class Activator:
    """Listens where the activator of GUID would; hands out connections."""

    def __init__(self, base):
        self.base = os.path.join(base, "dbus-activator")
        self.directory = os.path.join(self.base, "f" * 32)
        os.makedirs(self.directory, 0o700, exist_ok=True)
        os.chmod(self.base, 0o700)
        link = os.path.join(self.base, GUID)
        if not os.path.lexists(link):
            os.symlink("f" * 32, link)
        self.path = os.path.join(self.directory, "requests")
        self.listen()

    def listen(self):
        if os.path.lexists(self.path):
            os.unlink(self.path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.bind(self.path)
        os.chmod(self.path, 0o600)
        self.socket.listen(8)

    def accept(self):
        peer, _ = self.socket.accept()
        data, fds, _, _ = socket.recv_fds(peer, 65536, 4)
        return peer, data, fds


def environment(base, **more):
    result = {"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": base, "MARK": "kept",
              "DBUS_STARTER_ADDRESS": f"unix:path=/nowhere/bus,guid={GUID}"}
    result.update(more)
    return result


def start(base, *arguments, env=None, **options):
    return subprocess.Popen([HELPER, *arguments], env=environment(base) if env is None else env,
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, **options)


def ended(process):
    out, err = process.communicate()
    return process.returncode, out.decode(), err.decode()


def original(base, script, name=NAME):
    program = os.path.join(base, "original")
    with open(program, "w") as file:
        file.write("#!/bin/sh\n" + script + "\n")
    os.chmod(program, 0o755)
    path = os.path.join(base, "original.service")
    with open(path, "w") as file:
        file.write(f"[D-BUS Service]\nName={name}\nExec={program} 'one two' three\n")
    return path


def fields(data):
    kind = struct.unpack_from("=H", data, 6)[0]
    position, values = 9, [kind, data[8]]
    for _ in range(3):
        size = struct.unpack_from("=I", data, position)[0]
        values.append(data[position + 4:position + 4 + size])
        position += 4 + size + 1
    return values if position == len(data) else None


def ask(activator, base, file, *answers, **options):
    helper = start(base, NAME, file, **options)
    peer, data, fds = activator.accept()
    for answer in answers:
        peer.send(answer)
    return helper, peer, data, fds


def test_verdicts(base, activator, file):
    prefix = "org.freedesktop.DBus.Error.Spawn."
    cases = [("owned", verdict(0), 0), ("exited 3", verdict(12, EXITED, 3, prefix + "ChildExited"), 3),
             ("exited 0 without the name", verdict(12, EXITED, 0, prefix + "ChildExited"), 1),
             ("status 255", verdict(12, EXITED, 255, prefix + "ChildExited"), 255),
             ("killed by SIGSEGV", verdict(11, KILLED, signal.SIGSEGV, prefix + "ChildSignaled"),
              -signal.SIGSEGV),
             ("killed by SIGKILL", verdict(11, KILLED, signal.SIGKILL, prefix + "ChildSignaled"),
              -signal.SIGKILL),
             ("a signal that there is not", verdict(11, KILLED, 4000, prefix + "ChildSignaled"), 1),
             ("exec failed", verdict(9, 0, 0, prefix + "ExecFailed", "no such file"), 1),
             ("start limit", verdict(15, EXITED, 7, prefix + "ChildExited"), 7),
             ("shutting down", verdict(16), 1),
             ("a verdict of the future", verdict(99), 1),
             ("refused", message(REFUSED, text("version 9")), 1),
             ("another version", message(VERDICT, b"", version=2), 1),
             ("half a verdict", verdict(0)[:-3], 1),
             ("a verdict and more", verdict(0) + b"x", 1),
             ("junk", b"\xff" * 60000, 1), ("one byte", b"x", 1)]
    for what, answer, wanted in cases:
        helper, peer, _, _ = ask(activator, base, file, answer)
        code, out, err = ended(helper)
        peer.close()
        check(what, code == wanted and not out and bool(err) == (code != 0), (code, out, err))
    helper, peer, _, _ = ask(activator, base, file, verdict(9, 0, 0, "a.b", "esc \x1b[2J nl \n"))
    check("control characters of a message are masked", "esc ?[2J nl ?" in ended(helper)[2])
    peer.close()


def test_request(base, activator, file):
    helper, peer, data, fds = ask(activator, base, file, verdict(0))
    ended(helper)
    values = fields(data)
    check("the request: kind, name, file", values and
          values[:4] == [REQUEST, 1, NAME.encode(), file.encode()], values)
    entries = values[4].split(b"\0") if values else []
    check("the whole environment goes along", b"MARK=kept" in entries and not fds, entries)
    peer.close()
    big = environment(base, BIG="x" * 100000, DBUS_ACTIVATOR_RUNTIME_DIR="/nowhere")
    helper, peer, data, fds = ask(activator, base, file, verdict(0), env=big)
    ended(helper)
    block = b""
    if fds:
        block = os.pread(fds[0], 1 << 20, 0)
        os.close(fds[0])
    check("a large one as memfd", fields(data)[4] == b"" and b"BIG=" + b"x" * 100000 in
          block.split(b"\0"))
    peer.close()


def test_again(base, activator, file):
    helper, peer, _, _ = ask(activator, base, file)
    peer.close()
    peer, data, _ = activator.accept()
    peer.send(verdict(0))
    check("connection lost: asks again", ended(helper)[0] == 0 and fields(data)[2] == NAME.encode())
    peer.close()
    helper, peer, _, _ = ask(activator, base, file)
    activator.socket.close()
    os.unlink(activator.path)
    peer.close()
    activator.listen()
    peer, _, _ = activator.accept()
    peer.send(verdict(12, EXITED, 9, "a.b"))
    check("socket gone meanwhile: asks the next activator", ended(helper)[0] == 9)
    peer.close()


def became_original(result):
    return result[0] == 5 and result[1] == "one two|three|kept\n"


def test_original(base, activator, file):
    helper, peer, _, _ = ask(activator, base, file, verdict(17))
    check("not served: becomes the original", became_original(ended(helper)))
    peer.close()
    helper, peer, _, _ = ask(activator, base, file)
    activator.socket.close()
    shutil.rmtree(activator.base)
    peer.close()
    check("directory gone: becomes the original", became_original(ended(helper)))
    check("no directory", became_original(ended(start(base, NAME, file))))
    for what, env in (("no guid", environment(base, DBUS_STARTER_ADDRESS="unix:path=/x")),
                      ("a guid that climbs", environment(
                          base, DBUS_STARTER_ADDRESS="unix:path=/x,guid=../../../../../etc")),
                      ("no XDG_RUNTIME_DIR", environment("")),
                      ("empty environment", {})):
        code, out, _ = ended(start(base, NAME, file, env=env))
        check(what + ": becomes the original", code == 5 and out.startswith("one two|three|"))
    again = Activator(base)
    again.socket.close()
    check("a socket that refuses", became_original(ended(start(base, NAME, file))))
    again.listen()
    os.chmod(again.directory, 0o777)
    code, _, err = result = ended(start(base, NAME, file))
    check("a directory that others can write to is not used",
          code == 5 and "not used" in err, result)
    os.chmod(again.directory, 0o700)
    env = environment(base, DBUS_STARTER_ADDRESS=f"unix:path=/x,guid={GUID}0")
    check("a guid that is too long", became_original(ended(start(base, NAME, file, env=env))))
    path = os.path.relpath(again.directory, base)
    check("a relative runtime directory", became_original(ended(
        start(base, NAME, file, path, cwd=base))))
    env = environment("", DBUS_STARTER_ADDRESS="")
    helper = start(base, NAME, file, again.directory, env=env)
    peer, _, _ = again.accept()
    peer.send(verdict(0))
    check("runtime directory as third argument", ended(helper)[0] == 0)
    peer.close()
    again.socket.close()
    shutil.rmtree(again.base)


def test_wrong_original(base):
    for what, content in (("missing", None), ("not a service file", "hello\n"),
                          ("another name", "[D-BUS Service]\nName=a.b\nExec=/bin/true\n"),
                          ("unclosed quote", f"[D-BUS Service]\nName={NAME}\nExec=/bin/sh 'x\n"),
                          ("no such program", f"[D-BUS Service]\nName={NAME}\nExec=/nowhere/x\n")):
        path = os.path.join(base, "wrong.service")
        if content is not None:
            with open(path, "w") as file:
                file.write(content)
        code, _, err = ended(start(base, NAME, path))
        check(f"original {what}: fails with a line", code > 0 and NAME in err, (code, err))
    for what, arguments in (("no argument", []), ("one", [NAME]), ("five", [NAME] * 5),
                            ("no bus name", ["../../etc/passwd", "/x"]),
                            ("a name of 100 kB", ["a." + "b" * 100000, "/x"]),
                            ("a name with a newline", [NAME + "\n", "/x"])):
        code, _, err = ended(start(base, *arguments))
        check(f"arguments: {what}", code == 1 and "usage" in err, (code, err))


def test_other_user(base, file):
    """As root only: a listener of another user, in a directory of ours."""
    if os.geteuid() != 0:
        check("listener of another user # SKIP needs root", True)
        return
    activator = Activator(base)
    activator.socket.close()
    os.unlink(activator.path)
    ready, tell = os.pipe()
    os.chmod(base, 0o755)
    os.chmod(activator.base, 0o777)
    os.chown(activator.directory, 65534, 65534)
    child = os.fork()
    if child == 0:
        os.setresuid(65534, 65534, 65534)
        planted = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        planted.bind(activator.path)
        planted.listen(8)
        os.write(tell, b"x")
        signal.pause()
    os.read(ready, 1)
    os.close(ready)
    os.close(tell)
    result = ended(start(base, NAME, file))
    check("directory of another user is not used", result[0] == 5 and "not used" in result[2], result)
    os.chown(activator.directory, 0, 0)
    result = ended(start(base, NAME, file))
    check("listener of another user is not used", result[0] == 5 and "not used" in result[2], result)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def main():
    with tempfile.TemporaryDirectory() as base:
        os.chmod(base, 0o700)
        file = original(base, 'echo "$1|$2|$MARK"; exit 5')
        activator = Activator(base)
        test_verdicts(base, activator, file)
        test_request(base, activator, file)
        test_again(base, activator, file)
        test_original(base, activator, file)
        test_wrong_original(base)
        test_other_user(base, file)
    print(f"1..{count}")
    return failed != 0


sys.exit(main())
