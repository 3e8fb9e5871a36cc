#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The log of a run: stamped lines in bounded files, whatever the service writes."""
import ctypes
import os
import signal
import socket
import stat as stat_module
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import *


@test
def a_log_is_bounded_and_does_not_starve_reaping(a):
    log = a.folder + '/log'
    p, c = a.sh('yes "a line of forty characters, more or less" | head -c 100000000; '
                '(exit 9) & echo; echo end >&2; exit 5', log=log, limit=300000)
    c.expect(SPAWNED)
    got = c.until_empty()
    first = [m for m in got if m.type == EXIT and m.first]
    assert [(m.status, m.words) for m in first] == [(5, b'end')], got
    assert ended(p) == 0
    assert os.path.getsize(log) <= 300000 and os.path.getsize(log + '.1') <= 300000
    assert sorted(os.listdir(a.folder)) == ['log', 'log.1', 'reapers', 'runs']


@test
def endless_writer_and_exits(a):
    p, c = a.sh('yes & i=0; while [ $i -lt 50 ]; do (exit 3) & i=$((i+1)); done; exit 0',
                log=a.folder + '/log')
    c.expect(SPAWNED)
    assert c.expect(EXIT)
    c.signal(1, signal.SIGKILL)
    c.until_empty()
    assert ended(p) == 0


def logged(a, script, limit=0):
    log = a.folder + '/log'
    p, c = a.sh(script, log=log, limit=limit)
    c.expect(SPAWNED)
    got = c.until_empty()
    assert ended(p) == 0
    return [l[28:] for l in text_of(log).split(b'\n')], got


@test
def lines_of_all_kinds(a):
    lines, got = logged(a, 'printf "plain\\n\\nnul\\000byte\\nbin\\377\\001\\r\\nno newline"; exit 1')
    assert lines == [b'plain', b'', b'nul\\0byte', b'bin\xff\x01\r', b'no newline', b''], lines
    assert got[0].words == b'no newline'


@test
def long_lines_are_split(a):
    lines, got = logged(a, 'head -c 10000 /dev/zero | tr "\\0" x; echo; echo next; exit 1')
    assert [len(l) for l in lines] == [4096, 4096 + 4, 1808 + 4, 4, 0], [len(l) for l in lines]
    assert lines[1].startswith('… '.encode()) and got[-2].words == b'next'
    os.unlink(a.folder + '/log')
    lines, got = logged(a, 'i=0; while [ $i -lt 3000 ]; do printf "\\303\\244\\342\\202\\254"; '
                        'i=$((i+1)); done; echo; exit 1')
    text = ''.join(l.decode().replace('… ', '') for l in lines)
    assert text == 'ä€' * 3000 and max(len(l) for l in lines) <= 4100
    words = got[-2].words.decode()
    assert len(got[-2].words) <= 200 and set(words) == set('ä€')


@test
def words_are_the_last_that_are_not_blank(a):
    lines, got = logged(a, 'echo one; echo two "  "; echo; printf " \\t\\n"; kill -9 $$')
    assert got[0].words == b'two'


@test
def a_log_that_cannot_be_written(a):
    log = a.folder + '/no/such/log'
    p, c = a.sh('echo x; exit 3', log=log)
    c.expect(SPAWNED)
    assert c.until_empty()[0].words == b'x' and ended(p) == 0
    os.symlink('/dev/full', a.folder + '/link')
    p, c = a.sh('echo x; exit 3', log=a.folder + '/link')
    c.expect(SPAWNED)
    assert c.until_empty()[0].words == b'x' and ended(p) == 0
    p, c = a.sh('head -c 1000000 /dev/zero; echo; echo x; exit 3', log='/dev/full')
    c.expect(SPAWNED)
    assert c.until_empty()[-2].words == b'x' and ended(p) == 0


@test
def a_log_that_cannot_be_renamed_does_not_grow(a):
    log = a.folder + '/log'
    os.makedirs(log + '.1/x')
    p, c = a.sh('yes | head -c 1000000', log=log, limit=100000)
    c.expect(SPAWNED)
    c.until_empty()
    assert ended(p) == 0 and 0 < os.path.getsize(log) <= 100000


def own_dev(folder):
    """In the child: /dev is a folder of the test, for this process and what it starts only."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.unshare(0x20000) == 0
    assert libc.mount(b'none', b'/', None, 0x44000, None) == 0
    assert libc.mount(folder.encode(), b'/dev', None, 0x1000, None) == 0


@test
def lines_to_syslog(a):
    if os.geteuid() != 0:
        raise Skip('needs root')
    dev = a.folder + '/dev'
    os.mkdir(dev)
    try:
        os.mknod(dev + '/null', 0o666 | stat_module.S_IFCHR, os.makedev(1, 3))
        open(dev + '/null', 'w').close()
    except OSError as e:
        raise Skip('no device nodes here: %s' % e)
    os.mkfifo(a.folder + '/go')
    syslog = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    syslog.bind(dev + '/log')
    p, c = a.sh('echo one; echo; echo "<3>two"; read x <$1; echo three; '
                'i=0; while [ $i -lt 2000 ]; do echo flood; i=$((i+1)); done', a.folder + '/go',
                flags=SYSLOG, name='org.example.Log',
                start={'preexec_fn': lambda: own_dev(dev)})
    c.expect(SPAWNED)
    assert syslog.recv(1000) == b'<30>org.example.Log: one'
    assert syslog.recv(1000) == b'<30>org.example.Log: <3>two'
    # The receiver starts anew.
    syslog.close()
    os.unlink(dev + '/log')
    syslog = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    syslog.bind(dev + '/log')
    with open(a.folder + '/go', 'w') as f:
        f.write('\n')
    assert syslog.recv(1000) == b'<30>org.example.Log: three'
    # It does not read: nobody waits for it.
    c.until_empty()
    assert ended(p) == 0
    syslog.close()


if __name__ == '__main__':
    main()
