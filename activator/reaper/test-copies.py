#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Spares that are copies of one that is warm."""
import os
import signal
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import *

NO_RUN = 112  # EXIT_NO_RUN


def title(pid):
    return text_of('/proc/%d/cmdline' % pid).rstrip(b'\0').rpartition(b': ')[2]


@test
def copies_of_a_spare(a):
    """A copy is as any spare: a sibling, with a log pipe and signals and, once it has a run, a
    session of its own."""
    p, mould, _ = a.start()
    before = sorted(os.listdir('/proc/%d/fd' % p.pid))
    copies = [a.copy(mould) for _ in range(3)]
    wait_for(lambda: sorted(os.listdir('/proc/%d/fd' % p.pid)) == before,
             'its descriptors to be those of before')
    assert title(p.pid) == b'mould'
    for run, (pid, c) in enumerate(copies, 1):
        wait_for(lambda: title(pid) == b'spare', 'its title')
        assert stat(pid).parent == os.getpid() and stat(pid).session == os.getsid(0)
        # What one reaper adopts is its own to wait for.
        body, _ = spawn_body(run, ['/bin/sh', '-c', 'echo words; (exec sleep 1000) & exit 3'])
        c.send(SPAWN, body)
        spawned = c.expect(SPAWNED)
        assert stat(pid).session == pid
        end = c.expect(EXIT)
        assert (end.run, end.pid, end.how, end.status) == (run, spawned.pid, EXITED, 3)
        assert end.words == b'words'
        assert [alive(q) for q in below(pid)].count(True) == 1
        c.signal(run, signal.SIGKILL)
    for run, (pid, c) in enumerate(copies, 1):
        assert c.expect(SIGNALLED).run == run
        got = c.until_empty()
        assert [m.how for m in got[:-1]] == [KILLED]
        assert os.waitpid(pid, 0)[1] == 0
    # A failure to start is told by the page that only reaper and child share.
    (one, c), (other, d) = a.copy(mould), a.copy(mould)
    c.send(SPAWN, spawn_body(7, ['/nonexistent'])[0])
    d.send(SPAWN, spawn_body(8, ['/bin/true'])[0])
    assert c.expect(SPAWN_FAILED).run == 7 and d.expect(SPAWNED).run == 8
    c.until_empty()
    d.until_empty()
    assert [os.waitpid(pid, 0)[1] for pid in (one, other)] == [0, 0]


@test
def a_copy_outlives_its_mould_and_leaves_with_the_activator(a):
    p, mould, _ = a.start()
    idle, _ = a.copy(mould)
    pid, c = a.copy(mould)
    c.send(SPAWN, spawn_body(1, ['/bin/sleep', '1000'])[0])
    child = c.expect(SPAWNED).pid
    os.kill(p.pid, signal.SIGKILL)
    assert ended(p) == -signal.SIGKILL
    a.vanish(keep_file=True)
    assert os.waitstatus_to_exitcode(os.waitpid(idle, 0)[1]) == NO_RUN
    a.listen()
    c = a.accept()
    hello = c.expect(HELLO)
    assert (hello.role, hello.run, hello.pid, hello.spawned) == (RUN, 1, pid, child)
    c.expect(REPLAYED)
    os.kill(child, signal.SIGKILL)
    c.until_empty()
    assert os.waitpid(pid, 0)[1] == 0


@test
def a_copy_knows_the_end_of_the_session(a):
    r, w = os.pipe()
    p, mould, _ = a.start(lifeline=r)
    os.close(r)
    idle, _ = a.copy(mould)
    pid, c = a.copy(mould)
    c.send(SPAWN, spawn_body(1, ['/bin/sleep', '1000'])[0])
    child = c.expect(SPAWNED).pid
    os.close(w)
    assert ended(p) == NO_RUN and os.waitpid(pid, 0)[1] == 0
    assert os.waitstatus_to_exitcode(os.waitpid(idle, 0)[1]) == NO_RUN
    assert not alive(child)


main()
