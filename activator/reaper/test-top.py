#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""--top: the activator is its service. The activator's part is played by a small program that
forwards what the test says (fake_activator), so that it can be killed and started again."""
import array
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import *

# Connects to the test, hands over its end of the top reaper's socket and waits for orders: the
# test itself then speaks to the top reaper. "exit N" leaves, "spare" clones nothing: spares are
# started as siblings by the order of the test.
FAKE = r'''
import array, ctypes, os, signal, socket, sys
signal.signal(signal.SIGTERM, lambda *x: os._exit(44))
signal.pthread_sigmask(signal.SIG_SETMASK, [])
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.connect(sys.argv[1])
top = int(os.environ['DBUS_ACTIVATOR_TOP_FD'])
s.sendmsg([b'%d' % os.getpid()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
                                   array.array('i', [top]))])
for fd in sys.argv[2:]:
    os.write(int(fd), b'\n')
os.close(top)
libc = ctypes.CDLL(None, use_errno=True)
while True:
    order = s.recv(1000).decode()
    if not order:
        os._exit(0)
    if order.startswith('exit '):
        os._exit(int(order[5:]))
    if order.startswith('spare '):
        # A sibling: clone(CLONE_PARENT) as the activator does it, without the shared memory.
        pid = libc.syscall(56 if os.uname().machine == 'x86_64' else 220, 0x8000, 0, 0, 0, 0)
        if pid == 0:
            args = order.split(' ')[1:]
            os.execve(args[0], args, {'TITLE': 'x' * 320})
        s.send(b'%d' % pid)
'''


class Top:
    def __init__(self, a, options=(), extra=(), **kw):
        self.a = a
        path = a.folder + '/fake'
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if os.path.exists(path):
            os.unlink(path)
        self.listener.bind(path)
        self.listener.listen(10)
        self.process = subprocess.Popen(
            [REAPER, '--top', *options, '--', sys.executable, '-S', '-c', FAKE, path, *extra],
            **kw)
        self.link = None
        self.next()

    def next(self):
        """The next activator has started."""
        if self.link:
            self.link.close()
            self.orders.close()
        assert select.select([self.listener], [], [], BOUND)[0], 'no activator'
        self.orders = self.listener.accept()[0]
        data, rights, _, _ = self.orders.recvmsg(100, 100)
        self.activator = int(data)
        fds = array.array('i')
        fds.frombytes(rights[0][2])
        self.link = Connection(socket.socket(fileno=fds[0]))
        self.hello = self.link.expect(HELLO)

    def spare(self):
        argv = [REAPER, '--spare', self.a.folder]
        self.orders.send(('spare ' + ' '.join(argv)).encode())
        pid = int(self.orders.recv(100))
        c = self.a.accept()
        c.expect(HELLO)
        self.announce(pid, 0, fds=[c.fds[0]])
        return pid, c

    def announce(self, pid, run, name='', note='', log='', limit=0, fds=()):
        self.link.send(TOP_REAPER, struct.pack('=QI', run, pid) + string(name) + string(note) +
                       string(log) + struct.pack('=IB', limit, 0), fds)

    def run(self, run, script, *args, **kw):
        """(pid of the reaper, its connection, pid of the service)."""
        pid, c = self.spare()
        self.announce(pid, run, 'org.example.Test', 'note %d' % run, kw.get('log', ''))
        body, _ = spawn_body(run, ['/bin/sh', '-c', script, 'sh'] + list(args), **kw)
        c.send(SPAWN, body)
        return pid, c, c.expect(SPAWNED).pid

    def until_empty(self, run):
        got = []
        while not got or got[-1].type != EMPTY or got[-1].run != run:
            m = self.link.receive()
            assert m is not None, got
            got.append(m)
        return got


def parent(pid):
    s = stat(pid)
    return s.parent if s else 0


def killed(pid):
    os.kill(pid, signal.SIGKILL)


@test
def exit_status_of_the_activator(a):
    t = Top(a)
    assert t.hello.role == TOP and t.hello.pid == t.process.pid
    assert stat(t.activator).parent == t.process.pid
    assert text_of('/proc/%d/cmdline' % t.process.pid).rstrip(b'\0') == \
        b'dbus-activator-reaper: activator'
    t.link.expect(REPLAYED)
    t.orders.send(b'exit 17')
    assert ended(t.process) == 17


@test
def an_activator_that_cannot_be_executed(a):
    p = subprocess.run([REAPER, '--top', '--', '/no/such'], stderr=subprocess.PIPE)
    assert p.returncode == 127 and b'/no/such' in p.stderr


@test
def restarts_a_killed_activator(a):
    t = Top(a, stderr=subprocess.DEVNULL)
    for number in (signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM + 1):
        before = t.activator
        t.link.send(TOP_SERVING)
        os.kill(before, number)
        t.next()
        assert t.activator != before and t.hello.pid == t.process.pid
        t.link.expect(REPLAYED)
    t.orders.send(b'exit 0')
    assert ended(t.process) == 0


@test
def signals_are_passed_on(a):
    t = Top(a)
    t.process.terminate()
    status = ended(t.process)
    assert status == 44, status
    p = subprocess.Popen([REAPER, '--top', '--', '/bin/sh', '-c', 'kill -9 $$'],
                         stderr=subprocess.PIPE)
    assert b'killed by signal 9' in p.stderr.readline()
    p.stderr.close()
    p.terminate()
    assert ended(p) in (128 + signal.SIGTERM, 137)
    # Held until it is ready for them.
    q = subprocess.Popen([REAPER, '--top', '--', sys.executable, '-S', '-c', '''
import signal, sys
open(sys.argv[1], "w").close()
while signal.SIGTERM not in signal.sigpending():
    signal.sigtimedwait([signal.SIGCHLD], 0.01)
signal.pthread_sigmask(signal.SIG_SETMASK, [])
''', a.folder + '/up'])
    wait_for(lambda: os.path.exists(a.folder + '/up'), 'its start')
    q.terminate()
    assert ended(q) == 128 + signal.SIGTERM


@test
def descriptors_are_passed_and_kept_taken(a):
    r, w = os.pipe()
    life, life_w = os.pipe()
    t = Top(a, ('--pass-fd', str(w), '--lifeline', str(life)), (str(w),), pass_fds=(w, life),
            stderr=subprocess.DEVNULL)
    os.close(w)
    assert os.read(r, 10) == b'\n'
    assert str(life) in os.listdir('/proc/%d/fd' % t.activator)
    t.link.send(TOP_SERVING)
    wait_for(lambda: os.readlink('/proc/%d/fd/%d' % (t.process.pid, w)) == '/dev/null', 'closing')
    # The second one writes its newline to the same number: it reaches nobody.
    killed(t.activator)
    t.next()
    t.link.expect(REPLAYED)
    os.set_blocking(r, False)
    assert os.read(r, 10) == b''
    for fd in r, life, life_w:
        os.close(fd)
    status = ended(t.process)
    assert status == 44, status


@test
def a_killed_reaper_of_a_run(a):
    t = Top(a)
    log = a.folder + '/log'
    reaper, c, first = t.run(9, 'trap "" PIPE; echo before; while ! [ -e $1 ]; do sleep 0.02; '
                             'done; echo after; (exit 0); exit 6', a.folder + '/go', log=log)
    assert stat(reaper).parent == t.process.pid
    wait_for(lambda: os.path.exists(log), 'its log')
    t.link.expect(REPLAYED)
    killed(reaper)
    gone = t.link.expect(REAPER_GONE)
    assert (gone.run, gone.reaper, gone.how, gone.status) == (9, reaper, KILLED, signal.SIGKILL)
    assert gone.left >= 1 and gone.note == b'note 9' and gone.last == 0
    assert stat(first).parent == t.process.pid
    t.link.signal(9, 0, cookie=5)
    m = t.link.expect(SIGNALLED)
    assert m.run == 9 and m.cookie == 5 and m.left >= 1
    open(a.folder + '/go', 'w').close()
    got = t.until_empty(9)
    end = [m for m in got if m.type == EXIT and m.pid == first][0]
    assert (end.how, end.status, end.words) == (EXITED, 6, b'after')
    assert got[0].seq == TOP_SEQ + 1
    assert [l[28:] for l in text_of(log).splitlines()] == [b'before', b'after']
    t.link.ack(9, got[-1].seq)
    t.link.signal(9, 0)
    assert t.link.expect(SIGNALLED).left == 0
    t.orders.send(b'exit 0')
    assert ended(t.process) == 0


@test
def a_new_activator_is_told_of_orphan_runs(a):
    t = Top(a, stderr=subprocess.DEVNULL)
    reaper, c, first = t.run(3, 'exec sleep 100')
    t.link.expect(REPLAYED)
    killed(reaper)
    t.link.expect(REAPER_GONE)
    killed(t.activator)
    t.next()
    assert t.link.expect(REAPER_GONE).run == 3
    t.link.expect(REPLAYED)
    start = int(text_of('/proc/%d/stat' % first).rpartition(b')')[2].split()[19])
    assert t.link.orphans == {3: [(first, start)]}
    killed(t.activator)
    killed(first)
    t.next()
    got = [t.link.expect(REAPER_GONE)] + t.until_empty(3)
    assert [m.type for m in got if m.type != REPLAYED] == [REAPER_GONE, EXIT, EMPTY]
    t.link.ack(3, got[-1].seq)
    t.orders.send(b'exit 0')
    assert ended(t.process) == 0


@test
def reaper_and_activator_are_killed_together(a):
    t = Top(a, stderr=subprocess.DEVNULL)
    reaper, c, first = t.run(4, 'sleep 100 & sleep 100; :')
    wait_for(lambda: len(below(reaper)) == 3, 'the service')
    killed(t.activator)
    killed(reaper)
    t.next()
    assert t.link.expect(REAPER_GONE).left == 3
    t.link.expect(REPLAYED)
    t.link.signal(4, signal.SIGKILL)
    # A shell that is being killed may still wait for a child that died before it.
    got = t.until_empty(4)
    assert 1 <= len([m for m in got if m.type == EXIT]) <= 3, got


@test
def two_reapers_killed_at_once(a):
    t = Top(a)
    script = ('sh -c "exec >/dev/null 2>&1; while :; do sleep 100; done" & '
              '(sleep 100 & sleep 100; :) & sleep 100; :')
    runs = {}
    for run in 1, 2, 3:
        reaper, c, first = t.run(run, script)
        runs[run] = reaper
    t.link.expect(REPLAYED)
    for reaper in runs.values():
        wait_for(lambda: len(below(reaper)) == 7, 'seven processes')
    members = {run: set(below(reaper)) for run, reaper in runs.items()}
    os.kill(t.process.pid, signal.SIGSTOP)
    for run in 1, 2, 3:
        killed(runs[run])
    for reaper in runs.values():
        wait_for(lambda: stat(reaper).state == 'Z', 'their death')
    os.kill(t.process.pid, signal.SIGCONT)
    gone = [t.link.expect(REAPER_GONE) for _ in runs]
    assert sorted(m.run for m in gone) == [1, 2, 3] and [m.left for m in gone] == [7] * 3, gone
    t.link.signal(1, 0)
    t.link.expect(SIGNALLED)

    def told(run):
        return [pid for pid, start in t.link.orphans[run]]
    for run in runs:
        assert set(told(run)) == {p for p in members[run] if parent(p) == t.process.pid}, run
    # What loses its parent later still belongs to the right run.
    for run in runs:
        for pid in sorted(members[run]):
            if alive(pid) and any(parent(q) == pid for q in members[run]):
                below_it = {q for q in members[run] if parent(q) == pid}
                killed(pid)
                wait_for(lambda: not alive(pid) and pid not in below(t.process.pid), 'its end')
                t.link.signal(run, 0)
                while t.link.receive().type != SIGNALLED:
                    pass
                assert below_it <= set(told(run)), (run, below_it, t.link.orphans)
    t.link.signal(2, signal.SIGKILL)
    ends = []
    while not ends or ends[-1].type != EMPTY:
        ends.append(t.link.receive())
    assert ends[-1].run == 2
    t.link.signal(1, signal.SIGKILL)
    t.link.signal(3, signal.SIGKILL)
    empty = 1
    while empty < 3:
        ends.append(t.link.receive())
        empty += ends[-1].type == EMPTY
    for run in runs:
        # A shell that is being killed may still wait for a child that died before it.
        pids = set(m.pid for m in ends if m.type == EXIT and m.run == run)
        assert len(pids) >= 3 and pids <= members[run], (run, pids, members)


@test
def a_reaper_with_nothing_left(a):
    t = Top(a)
    reaper, c, first = t.run(5, 'exit 0')
    t.link.expect(REPLAYED)
    c.expect(EXIT)
    c.expect(EMPTY)
    killed(reaper)
    gone = t.link.expect(REAPER_GONE)
    assert gone.run == 5 and gone.left == 0
    end = t.link.expect(EXIT)
    # By the reaper as well, perhaps: bit 1.
    assert (end.pid, end.status, end.adopted) == (first, 0, 3), end
    assert t.link.expect(EMPTY).run == 5


@test
def ends_that_a_killed_reaper_knew(a):
    """While there is no activator, services end, and then their reapers are killed."""
    t = Top(a, stderr=subprocess.DEVNULL)
    runs = {run: t.run(run, script) for run, script in
            enumerate(('exec sleep 1000', 'sleep 1000 & exec sleep 1000',
                       'setsid sleep 1000 & exec sleep 1000'), 1)}
    t.link.expect(REPLAYED)
    a.vanish()
    killed(t.activator)
    wait_for(lambda: stat(t.activator) is None and stat(t.process.pid).state == 'S',
             'the end of the activator')
    os.kill(t.process.pid, signal.SIGSTOP)
    for number, (reaper, c, first) in runs.items():
        os.kill(first, number)
        wait_for(lambda: not alive(first), 'the end of the service')
    for reaper, c, first in runs.values():
        killed(reaper)
        wait_for(lambda: parent(first) == t.process.pid, 'the top')
    os.kill(t.process.pid, signal.SIGCONT)
    t.next()
    got = []
    while not got or got[-1].type != REPLAYED:
        got.append(t.link.receive())
    ends = {(m.run, m.pid, m.how, m.status, m.adopted) for m in got if m.type == EXIT}
    assert ends == {(run, first, KILLED, run, 3) for run, (_, _, first) in runs.items()}, got
    assert {m.run for m in got if m.type == REAPER_GONE} == set(runs)
    # What is alive still is told as its own, by nobody else.
    assert {m.run for m in got if m.type == EMPTY} == {1}, got
    t.link.signal(2, signal.SIGKILL)
    t.link.signal(3, signal.SIGKILL)
    empty = set()
    while len(empty) < 2:
        m = t.link.receive()
        assert m.type != EXIT or m.adopted == 1, m
        if m.type == EMPTY:
            empty.add(m.run)


@test
def the_top_without_a_free_descriptor(a):
    """What it cannot see has not ended, and is nobody else's."""
    for extra in 0, 1, 2:
        t = Top(a, stderr=subprocess.DEVNULL)
        runs = {run: t.run(run, 'sleep 1000 & sleep 1000 & wait') for run in (1, 2, 3)}
        t.link.expect(REPLAYED)
        for reaper, c, first in runs.values():
            wait_for(lambda: len(below(reaper)) == 3, 'three processes')
        number = len(os.listdir('/proc/%d/fd' % t.process.pid)) + extra
        resource.prlimit(t.process.pid, resource.RLIMIT_NOFILE, (number, number))
        for run, (reaper, c, first) in runs.items():
            killed(reaper)
            gone = t.link.expect(REAPER_GONE)
            assert (gone.run, gone.left) == (run, 3), gone
            t.link.signal(run, 0)
            assert t.link.expect(SIGNALLED).left == 3
            assert [pid for pid, start in t.link.orphans[run]] == [first]
        t.link.signal(2, signal.SIGKILL)
        got = t.until_empty(2)
        assert {m.run for m in got} == {2}, got
        assert alive(runs[1][2]) and alive(runs[3][2])
        killed(t.process.pid)
        ended(t.process)
        kill_all_below()


@test
def a_reaper_killed_before_its_run_was_told(a):
    t = Top(a)
    t.link.expect(REPLAYED)
    other, c, _ = t.run(1, 'exec sleep 100')
    killed(other)
    assert t.link.expect(REAPER_GONE).run == 1
    reaper, c = t.spare()
    body, _ = spawn_body(7, ['/bin/sh', '-c', 'sleep 100 & sleep 100; :'])
    c.send(SPAWN, body)
    first = c.expect(SPAWNED).pid
    wait_for(lambda: len(below(first)) == 2, 'three processes')
    killed(reaper)
    wait_for(lambda: parent(first) == t.process.pid and stat(reaper) is None, 'the top')
    t.announce(reaper, 7, 'org.example.Test', 'note 7')
    gone = t.link.expect(REAPER_GONE)
    assert (gone.run, gone.reaper, gone.left, gone.how) == (7, reaper, 3, KILLED), gone
    assert gone.note == b'note 7'
    t.announce(reaper, 7, 'org.example.Test', 'note 7')
    t.link.signal(7, signal.SIGKILL)
    got = [m for m in t.until_empty(7) if m.type != SIGNALLED]
    assert {m.run for m in got} == {7} and first in {m.pid for m in got[:-1]}, got


@test
def a_reaper_that_was_never_heard_of(a):
    t = Top(a)
    t.link.expect(REPLAYED)
    spare, c = t.spare()
    killed(spare)
    wait_for(lambda: stat(spare) is None, 'its end')
    for run in 7, 8:
        t.announce(spare, run, 'org.example.Test', 'note')
        gone = t.link.expect(REAPER_GONE)
        assert (gone.run, gone.left, gone.note) == (run, 0, b'note')
        end = t.link.expect(EMPTY)
        assert end.run == run
        t.link.ack(run, end.seq)


@test
def a_reaper_of_another_top(a):
    p, c = a.run(['/bin/sleep', '100'], run=3)
    c.expect(SPAWNED)
    t = Top(a)
    t.link.expect(REPLAYED)
    t.announce(p.pid, 3, 'org.example.Test', 'note 3', fds=[c.fds[0]])
    t.link.signal(1, 0)
    t.link.expect(SIGNALLED)
    t.announce(p.pid, 3, 'org.example.Test', 'note 3', fds=[c.fds[0]])
    t.link.signal(1, 0)
    t.link.expect(SIGNALLED)
    # Nobody waits for it, as a busy init might not: its end is seen all the same.
    killed(p.pid)
    gone = t.link.expect(REAPER_GONE)
    assert (gone.run, gone.reaper, gone.left) == (3, p.pid, 0)
    assert t.link.expect(EMPTY).run == 3
    p.wait()


@test
def ordinary_ends_are_not_told(a):
    t = Top(a)
    for run in range(1, 20):
        reaper, c, first = t.run(run, 'exit 0')
        c.until_empty()
        wait_for(lambda: stat(reaper) is None, 'its end')
    spare, c = t.spare()
    killed(spare)
    wait_for(lambda: stat(spare) is None, 'the end of a spare')
    t.link.expect(REPLAYED)
    t.link.signal(1, 0, cookie=8)
    assert t.link.expect(SIGNALLED).cookie == 8


@test
def a_storm_of_orphans(a):
    t = Top(a)
    count = 1100 # more than fit one message
    reaper, c, first = t.run(6, 'exec "$@"', sys.executable, '-S', '-c',
                             'import os,time\n'
                             'for i in range(%d):\n'
                             '    if os.fork()==0: time.sleep(1000)\n'
                             'print("forked",flush=True)' % count,
                             log=a.folder + '/log')
    t.link.expect(REPLAYED)
    assert c.expect(EXIT).pid == first
    orphans = below(reaper)
    killed(reaper)
    gone = t.link.expect(REAPER_GONE)
    assert gone.left == count, gone
    t.link.signal(6, 0)
    assert t.link.expect(SIGNALLED).left == count
    assert sorted(pid for pid, start in t.link.orphans[6]) == sorted(orphans)
    t.link.signal(6, signal.SIGKILL)
    got = t.until_empty(6)
    assert sorted(m.pid for m in got if m.type == EXIT) == sorted(orphans)


@test
def stop_all(a):
    t = Top(a)
    t.run(1, 'exec sleep 100')
    t.run(2, 'trap "" TERM; while :; do sleep 100; done')
    t.spare()
    t.link.send(TOP_STOP_ALL, struct.pack('=I', 1))
    t.orders.send(b'exit 3')
    assert ended(t.process) == 3
    assert below(os.getpid()) == []


@test
def without_stop_all_the_runs_live_on(a):
    t = Top(a)
    reaper, c, first = t.run(1, 'exec sleep 100')
    t.orders.send(b'exit 0')
    assert ended(t.process) == 0
    assert alive(first) and alive(reaper)
    c.signal(1, signal.SIGTERM)
    c.expect(SIGNALLED)
    c.until_empty()


@test
def end_of_the_session(a):
    r, w = os.pipe()
    t = Top(a, ('--lifeline', str(r)), pass_fds=(r,))
    reaper, c, first = t.run(1, 'exec sleep 100')
    killed(reaper)
    os.close(r)
    os.close(w)
    status = ended(t.process)
    assert status == 44, status
    assert below(os.getpid()) == []


@test
def no_wake_ups_while_it_waits(a):
    t = Top(a)
    t.run(1, 'exec sleep 100')
    time.sleep(0.5)

    def switches():
        return [l for l in text_of('/proc/%d/status' % t.process.pid).splitlines() if b'ctxt' in l]
    before = switches()
    time.sleep(1.5)
    assert switches() == before


@test
def junk_from_the_activator(a):
    t = Top(a, stderr=subprocess.DEVNULL)
    t.link.expect(REPLAYED)
    t.link.sock.send(b'junk')
    assert t.link.receive() is None
    t.orders.send(b'exit 5')
    assert ended(t.process) == 5


if __name__ == '__main__':
    main()
