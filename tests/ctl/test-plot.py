#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""`dbus-activatorctl plot`: the picture, and whatever its -o may name."""
import errno
import os
import pathlib
import pty
import select
import shutil
import stat
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness import *  # noqa: E402


def plain(world, bus, *args, **more):
    return world.ctl(bus, *args, json_output=False, **more)


@case("plot")
def _(world):
    for i in range(6):
        world.service(f"test.P{i}", f"delay {i * 20} name test.P{i}")
    world.service("test.Bad", ["stderr", "<no> & \x1b \"why\"", "exit", "3"])
    bus, _activator = world.both("signal")
    plain(world, bus, "start", "test.Bad", *(f"test.P{i}" for i in range(6)))
    target = world.path / "out.svg"
    check_equal(plain(world, bus, "plot", "-o", str(target)).rc, 0, "it is written")
    text = target.read_text()
    check("7 activations, 1 failed" in text and "\x1b" not in text, "its words", text[:1500])
    if shutil.which("xmllint"):
        done = subprocess.run(["xmllint", "--noout", str(target)], capture_output=True)
        check_equal(done.returncode, 0, "xmllint")
    check_equal(plain(world, bus, "plot").out, text, "the same on standard output")
    got = plain(world, bus, "plot", "-o", "/nonexistent/x.svg")
    check(got.rc == 1 and "/nonexistent" in got.err, "a folder that is not there", repr(got))


def started_world(world):
    world.service("test.A", "name test.A")
    bus, _activator = world.both("signal")
    check_equal(plain(world, bus, "start", "test.A").rc, 0, "start")
    return bus


@case("links stay links")
def _(world):
    bus = started_world(world)
    real, link, chain = (world.path / name for name in ("real.svg", "link.svg", "chain.svg"))
    link.symlink_to("real.svg")
    chain.symlink_to("link.svg")
    for name in (link, chain):
        real.write_text("before")
        got = plain(world, bus, "plot", "-o", str(name))
        check(got.rc == 0 and name.is_symlink() and link.is_symlink(), f"{name.name} stays a link", repr(got))
        check_match("^<[?]xml.*</svg>\n$", real.read_text(), f"what {name.name} names is written")
    dangling = world.path / "dangling.svg"
    dangling.symlink_to("new.svg")
    got = plain(world, bus, "plot", "-o", str(dangling))
    check(got.rc == 0 and dangling.is_symlink() and (world.path / "new.svg").exists(),
          "what it names is made where there is none", repr(got))
    loop = world.path / "loop.svg"
    loop.symlink_to("loop.svg")
    got = plain(world, bus, "plot", "-o", str(loop))
    check(got.rc == 1 and f"{loop}: " in got.err and loop.is_symlink(), "a link to itself",
          repr(got))
    check_equal(list(world.path.glob("*.svg.*")), [], "nothing else was left")


@case("standard output by its name")
def _(world):
    bus = started_world(world)
    argv = [str(world.program("ctl/dbus-activatorctl")), "--address", bus.address, "plot", "-o",
            "/proc/self/fd/1"]
    target = world.path / "log"
    target.write_text("before\n")
    with open(target, "ab") as out:
        check_equal(subprocess.run(argv, env=world.env, stdout=out).returncode, 0, "to a file")
    check_match("^before\n<[?]xml.*</svg>\n$", target.read_text(), "which was appended to")
    done = subprocess.run(argv, env=world.env, stdout=subprocess.PIPE)
    check(done.returncode == 0 and done.stdout.endswith(b"</svg>\n"), "to a pipe", done)


@case("fifos, terminals and what cannot be written to")
def _(world):
    bus = started_world(world)
    fifo = world.path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    got = plain(world, bus, "plot", "-o", str(fifo))
    check(got.rc == 0 and stat.S_ISFIFO(fifo.lstat().st_mode), "a fifo stays one", repr(got))
    check_match("^<[?]xml.*</svg>\n$", os.read(reader, 65536).decode(), "its reader has the picture")
    check_equal(os.read(reader, 1), b"", "and its end")
    os.close(reader)
    # Nothing can be put in the place of a terminal, whoever tries.
    master, slave = pty.openpty()
    got = plain(world, bus, "plot", "-o", os.ttyname(slave))
    check_equal((got.rc, got.err), (0, ""), "a terminal that is named")
    check(select.select([master], [], [], 0)[0] and os.read(master, 5) == b"<?xml", "shows it")
    os.close(master)
    os.close(slave)
    got = plain(world, bus, "plot", "-o", str(world.path))
    check(got.rc == 1 and f"{world.path}: {os.strerror(errno.EISDIR)}" in got.err, "a folder",
          repr(got))


@case("a device that is full")
def _(world):
    bus = started_world(world)
    full = pathlib.Path("/dev/full")
    if os.geteuid() == 0:
        # Root could replace the machine's own.
        full = world.path / "full"
        try:
            os.mknod(full, 0o600 | stat.S_IFCHR, os.makedev(1, 7))
            os.close(os.open(full, os.O_WRONLY))
        except PermissionError as error:
            raise Skip("no device nodes here") from error
    got = plain(world, bus, "plot", "-o", str(full))
    check(got.rc == 1 and f"{full}: {os.strerror(errno.ENOSPC)}" in got.err, "is reported",
          repr(got))
    check(stat.S_ISCHR(full.lstat().st_mode), "and stays what it is")


main()
