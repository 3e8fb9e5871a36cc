#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""--run: exits as the command does and leaves nothing behind."""
import os
import pty
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import *


def start(script, *args, options=(), **kw):
    return subprocess.Popen([REAPER, '--run', 'command', *options, '--', '/bin/sh', '-c', script,
                             'sh', *args], **kw)


@test
def exit_statuses(a):
    for status in (0, 1, 2, 42, 125, 126, 127, 128, 255):
        assert ended(start('exit $1', str(status))) == status


@test
def signals_become_128_and_the_number(a):
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGHUP):
        assert ended(start('ulimit -c 0; kill -$1 $$', str(int(number)))) == 128 + number


@test
def not_found_and_not_executable(a):
    for path, status, words in (('no-such-program', 127, b'not found'),
                                ('/no/such/program', 127, b'not found'),
                                ('/etc/passwd', 126, b'Permission denied'), ('/', 126, b'')):
        p = subprocess.run([REAPER, '--run', 'x', '--', path], stderr=subprocess.PIPE)
        assert p.returncode == status and words in p.stderr, p
        assert p.stderr.count(b'\n') == 1
    os.mkdir(a.folder + '/closed', 0)
    os.environ['PATH'] += ':' + a.folder + '/closed'
    p = subprocess.run([REAPER, '--run', 'x', '--', 'no-such'], stderr=subprocess.DEVNULL)
    assert p.returncode == 127
    p = subprocess.run([REAPER, '--run', 'x', '--', 'true'])
    assert p.returncode == 0


@test
def everything_is_inherited(a):
    r, w = os.pipe()
    life, life_w = os.pipe()
    p = start('cat; echo $V; pwd; echo fd >&$1; ls /proc/self/fd; cat /proc/self/status', str(w),
              options=('--lifeline', str(life)), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
              cwd=a.folder, env={'V': 'value', 'PATH': os.environ['PATH']}, pass_fds=(w, life),
              preexec_fn=lambda: (signal.signal(signal.SIGHUP, signal.SIG_IGN),
                                  signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})))
    assert text_of('/proc/%d/cmdline' % p.pid)
    wait_for(lambda: text_of('/proc/%d/cmdline' % p.pid).rstrip(b'\0') ==
             b'dbus-activator-reaper: command', 'the title')
    out = p.communicate(b'input\n', timeout=BOUND)[0].decode()
    assert out.startswith('input\nvalue\n' + os.path.realpath(a.folder)) and p.returncode == 0
    assert os.read(r, 10) == b'fd\n'
    fds = set(int(l) for l in out.splitlines() if l.isdigit())
    assert w in fds and life not in fds, fds
    status = dict(l.split(':\t', 1) for l in out.splitlines() if ':\t' in l)
    assert int(status['SigIgn'], 16) & 1
    for fd in r, w, life, life_w:
        os.close(fd)


@test
def the_signal_mask_is_as_it_was(a):
    p = subprocess.run([REAPER, '--run', 'x', '--', 'cat', '/proc/self/status'],
                       stdout=subprocess.PIPE, preexec_fn=lambda: signal.pthread_sigmask(
                           signal.SIG_BLOCK, {signal.SIGUSR2}))
    status = dict(l.split(':\t', 1) for l in p.stdout.decode().splitlines() if ':\t' in l)
    assert int(status['SigBlk'], 16) == 1 << 11, status


@test
def what_it_leaves_is_stopped(a):
    p = start('sleep 100 & setsid sleep 100 & (setsid sh -c "trap \\"\\" TERM; echo >$1; '
              'while :; do sleep 100; done" &); while ! [ -e $1 ]; do sleep 0.01; done; exit 7',
              a.folder + '/1', options=('--stop-timeout', '300'))
    assert ended(p) == 7
    assert below(os.getpid()) == []


@test
def detached_ones_are_kept_on_demand(a):
    script = ('sleep 100 & echo $! >$1/same; setsid sleep 100 & echo $! >$1/other; '
              'sleep 0.2; exit $2')
    p = start(script, a.folder, '5', options=('--keep-detached',))
    assert ended(p) == 5
    same, other = number_in(a.folder + '/same'), number_in(a.folder + '/other')
    assert not alive(same) and alive(other)
    os.kill(other, signal.SIGKILL)


@test
def the_end_of_the_session_takes_detached_ones_too(a):
    r, w = os.pipe()
    p = start('setsid sleep 100 & sleep 100 & echo >$1; wait', a.folder + '/1',
              options=('--keep-detached', '--lifeline', str(r)), pass_fds=(r,))
    wait_for(lambda: len(below(p.pid)) == 3 and os.path.exists(a.folder + '/1'), 'its children')
    os.close(r)
    os.close(w)
    assert ended(p) == 128 + signal.SIGHUP
    assert below(os.getpid()) == []


@test
def the_end_of_the_session_does_not_wait_for_the_deaf(a):
    r, w = os.pipe()
    p = start('trap "" TERM HUP; echo >$1; while :; do sleep 100; done', a.folder + '/1',
              options=('--stop-timeout', '200', '--lifeline', str(r)), pass_fds=(r,))
    wait_for(lambda: os.path.exists(a.folder + '/1'), 'it is deaf')
    os.close(r)
    os.close(w)
    assert ended(p) == 128 + signal.SIGKILL


@test
def signals_are_passed_on(a):
    for foreground in ((), ('--foreground',)):
        for number, name in ((signal.SIGTERM, 'TERM'), (signal.SIGHUP, 'HUP')):
            ready = a.folder + '/ready'
            p = start('trap "exit 33" $1; echo >$2; while :; do sleep 0.02; done', name, ready,
                      options=foreground)
            wait_for(lambda: os.path.exists(ready), 'its trap')
            p.send_signal(number)
            assert ended(p) == 33
            os.unlink(ready)
    p = start('echo >$1; sleep 0.3; exit 4', ready, options=('--foreground',))
    wait_for(lambda: os.path.exists(ready), 'its start')
    p.send_signal(signal.SIGINT)
    p.send_signal(signal.SIGQUIT)
    assert ended(p) == 4


@test
def sessions_and_process_groups(a):
    p = start('sleep 100', options=('--foreground',))
    child = wait_for(lambda: below(p.pid), 'its child')[0]
    assert stat(p.pid).session == stat(child).session == os.getsid(0)
    assert os.getpgid(child) == os.getpgid(p.pid) == os.getpgid(0)
    q = start('sleep 100')
    child = wait_for(lambda: below(q.pid), 'its child')[0]
    assert stat(child).session == stat(q.pid).session == q.pid


@test
def stops_and_continues_with_the_command(a):
    p = start('kill -STOP $$; exit 8', options=('--foreground',))
    child = wait_for(lambda: below(p.pid), 'its child')[0]
    assert os.WIFSTOPPED(os.waitpid(p.pid, os.WUNTRACED)[1])
    assert stat(child).state == 'T' and stat(p.pid).state == 'T'
    os.kill(p.pid, signal.SIGCONT)
    assert ended(p) == 8
    # In the background it does not stop: nobody would continue it.
    p = start('kill -STOP $$; exit 9')
    child = wait_for(lambda: below(p.pid), 'its child')[0]
    wait_for(lambda: stat(child).state == 'T', 'it stops')
    assert stat(p.pid).state == 'S'
    os.kill(child, signal.SIGCONT)
    assert ended(p) == 9


@test
def on_a_terminal(a):
    pid, master = pty.fork()
    if pid == 0:
        os.execv(REAPER, [REAPER, '--run', 'x', '--foreground', '--', '/bin/sh', '-c',
                          'trap "echo caught; exit 12" INT; echo ready; '
                          'while :; do sleep 0.02; done'])
    text = b''
    while b'ready' not in text:
        text += os.read(master, 100)
    os.write(master, b'\x03')
    while b'caught' not in text:
        text += os.read(master, 100)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 12
    os.close(master)


@test
def a_reaper_of_a_reaper(a):
    p = subprocess.Popen([REAPER, '--run', 'outer', '--stop-timeout', '500', '--', REAPER, '--run',
                          'inner', '--', '/bin/sh', '-c', 'sleep 100 & sleep 100; :'])
    wait_for(lambda: len(below(p.pid)) == 4, 'all of them')
    inner = [q for q in below(p.pid) if stat(q).parent == p.pid][0]
    os.kill(inner, signal.SIGKILL)
    assert ended(p) == 128 + signal.SIGKILL
    assert below(os.getpid()) == []


if __name__ == '__main__':
    main()
