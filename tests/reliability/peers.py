# SPDX-License-Identifier: MIT
"""The messages between the programs, spoken by hand, and a closer look at processes."""
import array
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness import (Skip, check_equal, children, comm_of, field_of, stays_true,  # noqa: E402
                     wait_for)
from harness.world import SOURCE  # noqa: E402

_HEADER = (SOURCE / "activator/common/message.h").read_text()
_NUMBERS = {name: int(value, 0) for name, value in
            re.findall(r"\b(MESSAGE_\w+|REAPER_\w+|VERDICT_\w+)(?:\s*=\s*|[ \t]+)(0x[0-9a-fA-F]+|\d+)",
                       _HEADER)}
MAGIC, VERSION, MAX = (_NUMBERS[f"MESSAGE_{n}"] for n in ("MAGIC", "VERSION", "MAX"))
HEADER = 8


def kind(name):
    """The number of a message's type, a role or a verdict."""
    return _NUMBERS[name]


def u8(value):
    return struct.pack("=B", value)


def u32(value):
    return struct.pack("=I", value)


def u64(value):
    return struct.pack("=Q", value)


def text(value):
    data = value if isinstance(value, bytes) else value.encode()
    return u32(len(data)) + data + b"\0"


def message(name, *fields, version=VERSION, magic=MAGIC):
    number = name if isinstance(name, int) else kind(name)
    return struct.pack("=IHH", magic, version, number) + b"".join(fields)


def hello(role="REAPER_SPARE", run=0, note="", pid=None):
    return message("MESSAGE_HELLO", u8(kind(role)), u32(os.getpid() if pid is None else pid),
                   u8(1), u64(run), text(note), u32(0), u64(0))


def request(name, file="", env=b"", system=False):
    return message("MESSAGE_REQUEST", u8(0 if system else 1), text(name), text(file), text(env))


def note(name, requested=1):
    return f"1\t{name}\t{requested}\t\t\t/nowhere/at-all"


class Peer:
    """One connection to a socket of the activator."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        try:
            self.socket.connect(str(path))
        except OSError:
            self.socket.close()
            raise
        self.socket.setblocking(False)
        self.over = False
        self.heard = []

    def send(self, data, fds=()):
        """False when it could not be sent: the other side has closed, or has no room."""
        try:
            control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
            self.socket.sendmsg([data], control)
            return True
        except (BrokenPipeError, ConnectionError, BlockingIOError):
            return False

    def listen(self):
        """Takes what has arrived; whether the other side has closed."""
        while not self.over:
            try:
                data = self.socket.recv(MAX)
            except BlockingIOError:
                break
            except ConnectionError:
                data = b""
            if data:
                self.heard.append(data)
            else:
                self.over = True
        return self.over

    def wait_over(self, what="the connection to be closed"):
        wait_for(self.listen, what)

    def close(self):
        self.socket.close()


def type_of(data):
    return struct.unpack_from("=IHH", data)[2]


def first_text(data, at=HEADER):
    length, = struct.unpack_from("=I", data, at)
    return data[at + 4:at + 4 + length].decode()


def allow_descriptors(count):
    """So many for this process, as far as it may; how many it has."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        hard_count = count if hard == resource.RLIM_INFINITY else min(count, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard_count, hard))
        return hard_count
    return soft


# --- a look at the activator

def folder_of(world):
    """Its runtime directory."""
    found = [p for p in (world.runtime / "dbus-activator").iterdir()
             if p.is_dir() and not p.is_symlink()]
    return found[0]


def descriptors(pid):
    """What each of them is, sorted; the numbers in sockets' names left out."""
    found = []
    for entry in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(re.sub(r":\[\d+\]", "", os.readlink(f"/proc/{pid}/fd/{entry}")))
        except OSError:
            pass
    return sorted(found)


def spares(activator):
    return [p for title, p in activator.reapers().items() if title.endswith(": spare")]


def count_reapers(top):
    return len([p for p in children(top) if comm_of(p).startswith("dbus-activator-")])


def settled(activator):
    """Waits until the activator is at rest (a warm reaper waits, nothing else is new for some
    looks); answers its descriptors."""
    state = {"seen": None, "same": 0}

    def look():
        pid = activator.pid
        now = descriptors(pid) if pid and len(spares(activator)) == 1 else None
        state["same"] = state["same"] + 1 if now is not None and now == state["seen"] else 0
        state["seen"] = now
        return state["same"] >= 10

    wait_for(look, "the activator to be at rest")
    return state["seen"]


def traced(pids, output, seconds):
    """System calls that ended while these processes were watched; None when they cannot be."""
    argv = ["strace", "-f", "-qq", "-o", str(output)]
    for pid in pids:
        argv += ["-p", str(pid)]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL) as strace:
        def attached():
            return strace.poll() is not None or \
                all(int(field_of(p, "TracerPid") or 0) == strace.pid for p in pids)
        wait_for(attached, "strace")
        if strace.poll() is not None:
            return None
        # What the attaching itself brought about is over by then.
        stays_true(lambda: True, 25)
        begin = output.stat().st_size
        time.sleep(seconds)
        text = output.read_bytes()[begin:].decode(errors="replace")
        strace.send_signal(signal.SIGINT)
    return [line for line in text.splitlines() if not re.search(r"\+\+\+|resuming|detached", line)]


def idle(world, bus, activator, names, seconds):
    """Starts what does not run yet; then nothing makes a system call for so long."""
    if not shutil.which("strace"):
        raise Skip("there is no strace")
    for name in names:
        bus.start(name)
    settled(activator)
    parts = sorted({activator.top, activator.pid, *activator.reapers().values()})
    calls = traced(parts, world.path / "strace", seconds)
    if calls is None:
        raise Skip("strace cannot attach")
    check_equal(calls, [], f"{len(parts)} processes make no system call for {seconds} s")
