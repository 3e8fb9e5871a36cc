#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What the reaper of a run keeps back: the dead, until their ends have reached the activator, and
descriptors."""
import ctypes
import os
import resource
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import *

# So many orphans that end at once.
FORK_MANY = '''
import os, sys, time
if os.fork() == 0:
    for i in range(int(sys.argv[1])):
        if os.fork() == 0:
            os._exit(0)
    os._exit(0)
time.sleep(1000)
'''


@test
def an_end_is_waited_for_when_it_has_reached_the_activator(a):
    """Whoever adopts the dead of a reaper that is killed before that learns how they ended."""
    p, c = a.sh('(exec sleep 1000) & exit 4')
    first = c.expect(SPAWNED).pid
    end = c.expect(EXIT)
    child, = set(below(p.pid)) - {first}
    assert end.pid == first and stat(first).state == 'Z'
    c.ack(1, end.seq)
    wait_for(lambda: stat(first) is None, 'its end to be waited for')
    # Nobody to tell it to; and it hides no other.
    a.vanish()
    os.kill(child, signal.SIGTERM)
    wait_for(lambda: not alive(child), 'its end')
    os.kill(p.pid, signal.SIGKILL)
    assert ended(p) == -signal.SIGKILL
    assert stat(child).parent == os.getpid()
    assert os.waitpid(child, 0)[1] == signal.SIGTERM


@test
def ends_without_a_receipt_hide_none(a):
    p, c = a.sh('(exit 1) & (exec sleep 1000) & exec sleep 1000')
    first = c.expect(SPAWNED).pid
    wait_for(lambda: len(below(p.pid)) == 3, 'three processes')
    members = set(below(p.pid)) - {first}
    os.kill(first, signal.SIGKILL)
    told = [c.expect(EXIT)]
    wait_for(lambda: {stat(q).parent for q in members} == {p.pid}, 'adoption')
    told.append(c.expect(EXIT))
    last, = members - {told[1].pid}
    os.kill(last, signal.SIGTERM)
    told.append(c.expect(EXIT))
    assert [m.pid for m in told] == [first, told[1].pid, last], told
    assert [m.status for m in told] == [9, 1, 15] and [m.seq for m in told] == [1, 2, 3]
    # It is not "not empty" by what is kept.
    assert c.expect(EMPTY).seq == 4
    assert all(stat(m.pid).state == 'Z' for m in told)
    c.signal(1, 0)
    assert c.expect(SIGNALLED).left == 0
    c.ack(1, 2)
    wait_for(lambda: stat(told[1].pid) is None, 'the second to be waited for')
    assert stat(last).state == 'Z' and p.poll() is None
    c.ack(1, 4)
    assert ended(p) == 0 and stat(last) is None


@test
def not_many_ends_are_kept(a):
    count = 600
    p, c = a.run([sys.executable, '-S', '-c', FORK_MANY, str(count)])
    first = c.expect(SPAWNED).pid
    got = [c.expect(EXIT) for _ in range(count)]
    kept = [m.pid for m in got if stat(m.pid)]
    # 256 at most (MESSAGE_KEPT_MAX), and those are the last that were told.
    assert len(kept) <= 256, len(kept)
    wait_for(lambda: not [m.pid for m in got if stat(m.pid)], 'all to be waited for')
    os.kill(first, signal.SIGKILL)
    # And the parent of them all, which nobody had waited for.
    got = c.until_empty()
    assert got[0].pid == first and got[-1].seq == count + 3, got
    assert ended(p) == 0


@test
def a_list_of_children_that_cannot_be_read(a):
    """Then nobody is taken for gone, and nothing is kept; another look comes with the next end."""
    def no_proc():
        # In a namespace of its own, with nothing below /proc.
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(0x00020000) or libc.mount(b'none', b'/', None, 0x44000, None) or \
                libc.mount(b'none', b'/proc', b'tmpfs', 0, None):
            os._exit(77)
    if os.geteuid() != 0 or subprocess.run(['true'], preexec_fn=no_proc).returncode != 0:
        raise Skip('no mounts for us')
    p, c = a.sh('(exec sleep 1000) & (exec sleep 1000) & exit 4', start={'preexec_fn': no_proc})
    first = c.expect(SPAWNED).pid
    assert (lambda m: (m.pid, m.status))(c.expect(EXIT)) == (first, 4)
    wait_for(lambda: stat(first) is None, 'its end to be waited for')
    one, other = below(p.pid)
    os.kill(one, signal.SIGTERM)
    assert c.expect(EXIT).pid == one
    assert p.poll() is None and alive(other)
    os.kill(other, signal.SIGTERM)
    assert c.until_empty()[0].pid == other
    assert ended(p) == 0


@test
def a_reaper_without_a_free_descriptor(a):
    """It sees to what it owns, and finds the next activator."""
    p, c = a.sh('sleep 1000 & sleep 1000 & wait')
    c.expect(SPAWNED)
    wait_for(lambda: len(below(p.pid)) == 3, 'three processes')
    number = len(os.listdir('/proc/%d/fd' % p.pid))
    resource.prlimit(p.pid, resource.RLIMIT_NOFILE, (number, number))
    c.signal(1, 0)
    assert c.expect(SIGNALLED).left == 3
    a.vanish()
    time.sleep(0.1)
    a.listen()
    c = a.accept()
    assert c.expect(HELLO).run == 1
    c.expect(REPLAYED)
    c.signal(1, signal.SIGKILL)
    answer = c.expect(SIGNALLED)
    assert answer.signalled == 3 and len(c.until_empty()) == 4
    assert ended(p) == 0


if __name__ == '__main__':
    main()
