#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Peers on the activator's sockets that are silent, send garbage or come in thousands. They are
refused, nothing of theirs stays, and others are served meanwhile."""
import fcntl
import os
import random
import struct

from peers import *
from harness import *

SOCKETS = ("reapers", "requests")
MANY = 2000
F_ADD_SEALS = 1033


def start_world(world, *names):
    bus, activator = world.both("signal", "--start-limit", "0")
    for name in ("test.Good", *names):
        world.service(name, f"daemonize name {name}")
    world.served(bus, "test.Good", *names)
    check_equal(bus.start("test.Good"), 1, "a service before")
    return bus, activator, folder_of(world)


def still_serves(world, bus, when, name="test.Good"):
    """One is stopped and started as if nothing were."""
    world.member(bus, "StopService", "(s)", name)
    stopped = bus.owner_pid(name) == 0
    result = bus.start(name)
    check(stopped and result == 1, f"{when}: another service is stopped and started", result)


def same_descriptors(activator, before, when="afterwards"):
    """They come back to what they were. (One that has just been given up may still be there.)"""
    try:
        wait_for(lambda: descriptors(activator.pid) == before, "the descriptors")
        check(True, f"{when}: no descriptor is left")
    except Failure:
        check_equal(descriptors(activator.pid), before, f"{when}: no descriptor is left")


def dropped(world, socket, data, fds=()):
    """The activator closes a connection on which this was sent."""
    peer = Peer(folder_of(world) / socket)
    peer.send(data, fds)
    peer.wait_over(f"the end of a connection to {socket} after {data[:60]!r}")
    peer.close()
    return peer


def cut(data):
    """Beginnings of a message: each length once."""
    return [data[:n] for n in range(1, len(data))]


@case("silent ones")
def _(world):
    bus, activator, folder = start_world(world)
    pid, before = activator.pid, settled(activator)
    silent = [Peer(folder / s) for s in SOCKETS for _ in range(20)]
    still_serves(world, bus, "they are there")
    for peer in silent:
        peer.wait_over("a silent one to be sent away")
    check(True, "at last they are sent away")
    for peer in silent:
        peer.close()
    still_serves(world, bus, "they are gone")
    settled(activator)
    same_descriptors(activator, before)
    check_equal(activator.pid, pid, "the activator is the same")


@case("garbage")
def _(world):
    bus, activator, folder = start_world(world)
    pid, before = activator.pid, settled(activator)
    whole = {"reapers": hello("REAPER_RUN", 7, note("test.Nobody")),
             "requests": request("test.Nobody", "/nowhere", b"A=1\0B=2")}
    for socket in SOCKETS:
        for data in cut(whole[socket]):
            dropped(world, socket, data)
        check(True, f"{socket}: each beginning of a message ends the connection")
        still_serves(world, bus, f"{socket}, halves")
        for data in (os.urandom(1), os.urandom(500), b"\0" * 3000, whole[socket] + b"\0",
                     message(0), message(9999), message("MESSAGE_VERDICT", u8(0)),
                     message("MESSAGE_SPAWN", u64(1)), message(0, magic=MAGIC ^ 1),
                     whole[socket].replace(b"test.", b"te\0t."),
                     message("MESSAGE_EXIT", u64(1), u64(1)),
                     whole[socket][:HEADER] + b"\xff" * 60):
            dropped(world, socket, data)
        check(True, f"{socket}: so does each kind of garbage")
        for size in (MAX + 1, MAX + 1000, 150000):
            dropped(world, socket, whole[socket] + b"\0" * (size - len(whole[socket])))
        check(True, f"{socket}: so does what is too large")
        peer = Peer(folder / socket)
        peer.send(b"")
        peer.wait_over()
        peer.close()
        check(True, f"{socket}: so does an empty message")
        still_serves(world, bus, f"{socket}, garbage")
    for data in (hello(pid=1), hello(pid=os.getpid() + 1), hello("REAPER_TOP"),
                 hello("REAPER_RUN"), hello("REAPER_RUN", 7, "2\ttest.Nobody\t1\t\t"),
                 hello("REAPER_RUN", 7, note("no name"))):
        dropped(world, "reapers", data)
    check(True, "a hello that cannot be is none")
    for name in ("", ":1.5", "nodots", "a..b", "x." + "y" * 300, "test.Nobody\n"):
        dropped(world, "requests", request(name))
    dropped(world, "requests", request("test.Nobody", system=True))
    check(True, "a request that cannot be is none")
    settled(activator)
    same_descriptors(activator, before)
    check_equal(activator.pid, pid, "the activator is the same")


@case("another version")
def _(world):
    bus, activator, folder = start_world(world)
    before = settled(activator)
    for socket in SOCKETS:
        for version in (0, VERSION + 1, 65535):
            data = struct.pack("=IHH", MAGIC, version, kind("MESSAGE_HELLO"))
            peer = Peer(folder / socket)
            peer.send(data + os.urandom(20))
            peer.wait_over()
            peer.close()
            check_equal([type_of(d) for d in peer.heard], [kind("MESSAGE_REFUSED")],
                        f"{socket}, version {version}: is refused")
            said = first_text(peer.heard[0]) if peer.heard else ""
            check_match(rf"\b{version}\b.*\b{VERSION}\b", said,
                        f"{socket}, version {version}: with both versions named")
    still_serves(world, bus, "after them")
    settled(activator)
    same_descriptors(activator, before)


@case("another user")
def _(world):
    if os.geteuid() != 0:
        raise Skip("needs root, to be somebody else")
    bus, _activator, folder = start_world(world)
    for place in (folder, *folder.parents[:len(folder.parts) - len(world.path.parts)]):
        os.chmod(place, 0o755)
    for socket in SOCKETS:
        for mode in (None, 0o777):
            if mode:
                os.chmod(folder / socket, mode)
            child = os.fork()
            if child == 0:
                os.setresuid(65534, 65534, 65534)
                try:
                    peer = Peer(folder / socket)
                    peer.send(request("test.Good") if socket == "requests" else hello())
                    while not peer.listen():
                        pass
                    os._exit(0 if not peer.heard else 2)
                except PermissionError:
                    os._exit(0)
                except BaseException:  # pylint: disable=broad-except
                    os._exit(3)
            status = {}

            def ended(child=child, status=status):
                pid, status["is"] = os.waitpid(child, os.WNOHANG)
                return pid

            wait_for(ended, "somebody else")
            check_equal(status["is"], 0, f"{socket}, mode {mode}: is not let in")
    still_serves(world, bus, "after that")


def mutations(data, count, generator):
    for _ in range(count):
        new = bytearray(data)
        for _ in range(generator.randrange(1, 5)):
            at = generator.randrange(HEADER, len(new))
            how = generator.randrange(4)
            if how == 0:
                new[at] = generator.randrange(256)
            elif how == 1:
                new[at] ^= 1 << generator.randrange(8)
            elif how == 2:
                del new[at:at + generator.randrange(1, 9)]
            else:
                new[at:at] = generator.randbytes(generator.randrange(1, 9))
            if len(new) <= HEADER:
                break
        yield bytes(new)


@case("valid messages, changed at random")
def _(world):
    bus, activator, folder = start_world(world)
    pid, before = activator.pid, settled(activator)
    seed = int.from_bytes(os.urandom(4), "little")
    diagnose(f"seed {seed}")
    generator = random.Random(seed)
    # Not with our own pid: what comes out as valid would be a reaper of ours.
    whole = {"reapers": [hello(pid=1), hello("REAPER_RUN", 7, note("test.Nobody"), pid=1),
                         message("MESSAGE_REPLAYED"),
                         message("MESSAGE_SPAWNED", u64(7), u32(2), u64(9)),
                         message("MESSAGE_EXIT", u64(7), u64(1), u32(2), u8(1), u32(3), u8(0),
                                 u8(1), u64(9), text("last words")),
                         message("MESSAGE_EMPTY", u64(7), u64(2), u64(9)),
                         message("MESSAGE_SIGNALLED", u64(7), u32(1), u32(2), u32(3)),
                         message("MESSAGE_REAPER_GONE", u64(7), u32(2), u8(1), u32(3), u32(4),
                                 u64(0), text(note("test.Nobody")), u32(0))],
             "requests": [request("test.Nobody", "/nowhere", b"A=1\0B=2")]}
    for socket in SOCKETS:
        for data in whole[socket]:
            if len(data) == HEADER:
                continue
            peers = []
            for changed in mutations(data, 50 if socket == "reapers" else 400, generator):
                peer = Peer(folder / socket)
                peer.send(changed)
                peers.append(peer)
            for peer in peers:
                # Those that are valid still, and are held, go by themselves.
                peer.close()
        still_serves(world, bus, f"{socket}: after them")
    settled(activator)
    same_descriptors(activator, before)
    check_equal(activator.pid, pid, "the activator is the same")


@case("descriptors that nobody asked for")
def _(world):
    bus, activator, folder = start_world(world)
    before = settled(activator)
    for socket in SOCKETS:
        for count in (1, 2, 3, 16, 250):
            for data in (hello("REAPER_RUN", 7, note("no name")), message("MESSAGE_REPLAYED"),
                         b"x", message(0, version=VERSION + 1)):
                read_end, write_end = os.pipe()
                os.set_blocking(read_end, False)
                peer = Peer(folder / socket)
                peer.send(data, [write_end] * count)
                os.close(write_end)

                def at_end(read_end=read_end):
                    try:
                        return os.read(read_end, 1) == b""
                    except BlockingIOError:
                        return False

                wait_for(at_end, f"{count} descriptors to be closed")
                os.close(read_end)
                peer.close()
        check(True, f"{socket}: they are closed")
        still_serves(world, bus, f"{socket}: after them")
    settled(activator)
    same_descriptors(activator, before)


@case("environments that are no environments")
def _(world):
    bus, activator, folder = start_world(world)
    before = settled(activator)
    for seals in (0, 1, 2, 4, 8, 14, 15):
        for size in (0, 1, 100000):
            fd = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            os.write(fd, b"A=1\0" * (size // 4) or b"A"[:size])
            fcntl.fcntl(fd, F_ADD_SEALS, seals)
            peer = Peer(folder / "requests")
            peer.send(request("test.Nobody"), [fd])
            os.close(fd)
            wait_for(lambda p=peer: p.listen() or p.heard, "an answer")
            peer.close()
    for path in ("/dev/zero", "/dev/null", "/"):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        dropped(world, "requests", request("test.Nobody"), [fd])
        os.close(fd)
    check(True, "none is believed unless it is sealed")
    still_serves(world, bus, "after them")
    settled(activator)
    same_descriptors(activator, before)


@case(f"{MANY} connections at once")
def _(world):
    bus, activator, folder = start_world(world, "test.Other")
    pid, before = activator.pid, settled(activator)
    room = allow_descriptors(MANY + 300)
    count = min(MANY, room - 300)
    diagnose(f"{count} connections")
    for socket in SOCKETS:
        peers = [Peer(folder / socket) for _ in range(count)]
        still_serves(world, bus, f"{socket}: they are there")
        check_equal(bus.start("test.Other"), 1, f"{socket}: one is started for the first time")
        for number, peer in enumerate(peers):
            if number % 2:
                peer.send(request("test.Nobody") if number % 4 == 1 else os.urandom(30))
        still_serves(world, bus, f"{socket}: half of them speak")
        for peer in peers:
            peer.close()
        still_serves(world, bus, f"{socket}: they have left")
        world.member(bus, "StopService", "(s)", "test.Other")
    settled(activator)
    same_descriptors(activator, before)
    check_equal(activator.pid, pid, "the activator is the same")


@case("one that says it is a reaper and is not")
def _(world):
    bus, activator, folder = start_world(world, "test.Other", "test.Third")
    before = settled(activator)
    names = []
    for turn, leaves in enumerate((True, False)):
        for pid in spares(activator):
            kill_pid(pid)
        false = [Peer(folder / "reapers") for _ in range(3)]
        for peer in false:
            peer.send(hello())
        name = ("test.Other", "test.Third")[turn]
        names.append(name)
        pending = bus.begin_start(name)
        if leaves:
            wait_for(lambda f=false, p=pending: p.done() or any(peer.listen() or peer.heard
                                                                for peer in f), "somebody")
        for peer in false:
            peer.close()
        error = pending.error()
        check(error is None or bus.start(name) in (1, 2),
              f"turn {turn}: the caller has an answer, and after one retry the service", error)
    still_serves(world, bus, "after them")
    for name in names:
        world.member(bus, "StopService", "(s)", name)
    settled(activator)
    same_descriptors(activator, before)

main()
