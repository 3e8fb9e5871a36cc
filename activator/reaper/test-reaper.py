#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The reaper of one run: from spare to the acknowledged end."""
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import *

IS_ROOT = os.geteuid() == 0
NO_RUN = 112  # EXIT_NO_RUN: the top reaper tells that a run on its way was never had


@test
def spare_leaves_when_the_activator_does(a):
    p, c, _ = a.start()
    assert text_of('/proc/%d/cmdline' % p.pid).rstrip(b'\0') == b'dbus-activator-reaper: spare'
    a.vanish()
    assert ended(p) == NO_RUN


@test
def spare_without_an_activator_says_so(a):
    a.vanish()
    p = subprocess.run([REAPER, '--spare', a.folder], stderr=subprocess.PIPE)
    assert p.returncode == 111 and b'cannot connect' in p.stderr
    p = subprocess.run([REAPER, '--spare', '/' + 'x' * 120], stderr=subprocess.PIPE)
    assert p.returncode == 111, p


@test
def wrong_use(a):
    for args in (['--nonsense'], [], ['--spare', 'a', '--top', '--', 'b'], ['--top'],
                 ['--run', 'x', '--lifeline', '77', '--', 'true'], ['--run', 'x'],
                 ['--run', 'x', '--stop-timeout', '1x', '--', 'true'],
                 ['--top', '--foreground', '--', 'true']):
        p = subprocess.run([REAPER] + args, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert p.returncode == 100 and p.stderr.count(b'\n') == 1 and not p.stdout, (args, p)
    for option, words in ('--help', b'Usage:'), ('--version', b'dbus-activator-reaper'):
        p = subprocess.run([REAPER, option], stdout=subprocess.PIPE)
        assert p.returncode == 0 and p.stdout.startswith(words)


@test
def life_of_a_run(a):
    before = time.time() * 1e6
    p, c = a.sh('echo $$; exit 0', run=12345678901234567890, log=a.folder + '/log')
    spawned = c.expect(SPAWNED)
    record = os.readlink(a.folder + '/runs/12345678901234567890')
    assert record.startswith('%d.' % p.pid) and record.endswith(' a note'), record
    got = c.until_empty(ack=False)
    assert [m.type for m in got] == [EXIT, EMPTY] and [m.seq for m in got] == [1, 2]
    end = got[0]
    assert end.run == spawned.run == 12345678901234567890 and end.pid == spawned.pid
    assert (end.how, end.status, end.first, end.adopted) == (EXITED, 0, 1, 0)
    assert end.words == b'' and before <= spawned.time <= end.time <= time.time() * 1e6
    assert p.poll() is None
    c.ack(got[0].run, 1)
    time.sleep(0.05)
    assert p.poll() is None
    c.ack(got[0].run, 2)
    assert ended(p) == 0 and os.listdir(a.folder + '/runs') == []
    line = text_of(a.folder + '/log').decode()
    assert line[4] == '-' and line[10] == 'T' and line[26:28] == 'Z '
    assert line[28:] == '%d\n' % spawned.pid


@test
def stages_of_failure(a):
    cases = [(['/nonexistent/program'], {}, 4, 2), (['/etc/passwd'], {}, 4, 13),
             (['relative'], {}, 4, 2)]
    if not IS_ROOT:
        cases.append((['/bin/true'], {'flags': SYSTEM, 'uid': 0}, 3, 1))
    for argv, more, stage, number in cases:
        p, c = a.run(argv, **more)
        m = c.expect(SPAWN_FAILED)
        assert (m.stage, m.errno) == (stage, number), m
        m = c.expect(EMPTY)
        assert m.seq == 1
        c.ack(1, 1)
        assert ended(p) == 0


@test
def arguments_and_environment_inline_and_by_memfd(a):
    for memfd, size in (False, 1000), (True, 100), (True, 120000), (True, 2000000):
        args = ['a b', '', '\xe4\n'] + ['x' * 99999] * (size // 100000)
        env = {'A': '1', 'EMPTY': '', 'PATH': os.environ['PATH']}
        env.update(('V%d' % i, 'y' * 50) for i in range(size // 5000))
        out = a.folder + '/out'
        p, c = a.sh('f=$1; shift; { printf "%s|" "$@"; env; } >$f', out, *args, env=env,
                    memfd=memfd)
        c.expect(SPAWNED)
        c.until_empty()
        assert ended(p) == 0
        words = text_of(out).decode().split('|')
        assert words[:-1] == args
        lines = dict(e.split('=', 1) for e in words[-1].splitlines())
        assert {k: v for k, v in lines.items() if k in env} == env
        assert set(lines) - set(env) <= {'PWD', 'SHLVL', '_', 'OLDPWD'}, lines


def spoil():
    """What a careless ancestor may leave behind."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGTERM, signal.SIGCHLD})
    for number in (signal.SIGHUP, signal.SIGCHLD, signal.SIGINT, signal.SIGUSR2, signal.SIGRTMIN):
        signal.signal(number, signal.SIG_IGN)
    os.umask(0o27)


@test
def what_the_service_finds(a):
    stray = os.open('/etc/passwd', os.O_RDONLY)
    home = os.path.realpath(a.folder)
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    p, c = a.sh('exec >$1; cat /proc/self/status; ls -l /proc/self/fd; echo cwd $(pwd); umask; '
                'ulimit -n; cat /proc/$$/stat; sleep 100', a.folder + '/out', cwd=home,
                start={'pass_fds': (stray,), 'preexec_fn': spoil, 'cwd': '/'})
    pid = c.expect(SPAWNED).pid
    text = wait_for(lambda: os.path.exists(a.folder + '/out') and
                    (') S' in text_of(a.folder + '/out').decode() or
                     ') R' in text_of(a.folder + '/out').decode()) and
                    text_of(a.folder + '/out').decode(), 'its report')
    os.close(stray)
    status = dict(l.split(':\t', 1) for l in text.splitlines() if ':\t' in l)
    assert int(status['SigBlk'], 16) == 0 and int(status['SigIgn'], 16) == 1 << 12
    assert stat(pid).session == pid and stat(pid).parent == p.pid
    links = dict((int(l.split()[-3]), l.split()[-1]) for l in text.splitlines() if ' -> ' in l)
    own = [fd for fd in links if '/proc/' not in links[fd]]
    assert sorted(own) == [0, 1, 2] and links[0] == '/dev/null', links
    assert links[2].startswith('pipe:')
    assert 'cwd ' + home in text and '\n0027\n' in text and '\n%d\n' % soft in text
    c.signal(1, signal.SIGKILL)
    c.expect(SIGNALLED)
    assert c.until_empty()[0].status == signal.SIGKILL
    assert ended(p) == 0


@test
def a_missing_working_directory_is_no_failure(a):
    p, c = a.sh('pwd >$1', a.folder + '/out', cwd='/nonexistent/x')
    c.expect(SPAWNED)
    c.until_empty()
    assert text_of(a.folder + '/out') == b'/\n' and ended(p) == 0


@test
def another_user(a):
    if not IS_ROOT:
        raise Skip('needs root')
    os.chmod(a.folder, 0o755)
    out = a.folder + '/out'
    os.close(os.open(out, os.O_CREAT, 0o666))
    os.chmod(out, 0o666)
    p, c = a.sh('cat /proc/self/status >$1; cat /proc/self/oom_score_adj >>$1; umask >>$1; '
                'echo again >/dev/stderr; sleep 100', out, flags=SYSTEM, uid=4242, gid=4243,
                groups=(7, 4243, 99999), umask=0o22, log=a.folder + '/log',
                start={'preexec_fn': lambda: open('/proc/self/oom_score_adj', 'w').write('-500')})
    c.expect(SPAWNED)
    wait_for(lambda: os.path.exists(a.folder + '/log') and b'again' in text_of(a.folder + '/log'),
             'a re-opened stderr')
    text = text_of(out).decode()
    status = dict(l.split(':\t', 1) for l in text.splitlines() if ':\t' in l)
    assert status['Uid'].split() == ['4242'] * 4 and status['Gid'].split() == ['4243'] * 4
    assert status['Groups'].split() == ['7', '4243', '99999']
    for name in 'CapInh', 'CapPrm', 'CapEff', 'CapAmb':
        assert int(status[name], 16) == 0
    assert int(status['CapBnd'], 16) != 0 and status['NoNewPrivs'] == '0'
    assert text.splitlines()[-2:] == ['0', '0022'], text
    own = dict(l.split(':\t', 1) for l in text_of('/proc/%d/status' % p.pid).decode().splitlines()
               if ':\t' in l)
    assert int(own['CapEff'], 16) == int(own['CapPrm'], 16) == 1 << 5
    assert int(own['CapInh'], 16) == int(own['CapAmb'], 16) == 0 and own['NoNewPrivs'] == '1'
    c.signal(1, signal.SIGTERM, True)
    m = c.expect(SIGNALLED)
    assert m.signalled == m.left == 2, m
    c.until_empty()
    assert ended(p) == 0 and os.stat(a.folder + '/log').st_mode & 0o777 == 0o600


@test
def a_root_service_is_root(a):
    if not IS_ROOT:
        raise Skip('needs root')
    p, c = a.sh('cat /proc/self/status >$1', a.folder + '/out', flags=SYSTEM)
    c.expect(SPAWNED)
    c.until_empty()
    mine = [l for l in text_of('/proc/self/status').splitlines() if l.startswith(b'CapBnd')][0]
    text = text_of(a.folder + '/out')
    assert mine.replace(b'Bnd', b'Eff') in text and b'NoNewPrivs:\t0' in text
    assert ended(p) == 0


@test
def all_exit_statuses(a):
    for status in range(256):
        p, c = a.sh('echo words; exit $1', str(status), run=status + 1)
        c.expect(SPAWNED)
        got = c.until_empty()
        assert (got[0].how, got[0].status) == (EXITED, status), got
        assert got[0].words == (b'words' if status else b'')
        assert ended(p) == 0


@test
def all_terminating_signals(a):
    harmless = {signal.SIGCHLD, signal.SIGCONT, signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN,
                signal.SIGTTOU, signal.SIGURG, signal.SIGWINCH, signal.SIGPIPE}
    for number in set(range(1, 65)) - harmless - {32, 33}:
        p, c = a.sh('ulimit -c 0; kill -$1 $$; sleep 100', str(number), run=number)
        c.expect(SPAWNED)
        got = c.until_empty()
        assert (got[0].how, got[0].status) == (KILLED, number), got
        assert ended(p) == 0


@test
def what_a_daemon_leaves_is_owned(a):
    p, c = a.sh('(setsid sh -c "echo \\$\\$ >$1; sleep 100; exit 3" & exit 0) & exit 0',
                a.folder + '/pid')
    first = c.expect(SPAWNED).pid
    pid = number_in(a.folder + '/pid')
    got = [c.expect(EXIT)]
    while got[-1].pid != first:
        got.append(c.expect(EXIT))
    assert got[-1].first and not got[-1].adopted
    wait_for(lambda: stat(pid).parent == p.pid, 'adoption')
    for child in wait_for(lambda: below(pid), 'its child'):
        os.kill(child, signal.SIGKILL)
    got += c.until_empty()
    daemon = [m for m in got if m.type == EXIT and m.pid == pid][0]
    assert daemon.adopted and not daemon.first and daemon.how == EXITED
    assert ended(p) == 0


@test
def five_hundred_orphans(a):
    p, c = a.sh('i=0; while [ $i -lt 500 ]; do (exec 3<$1; read x <&3; exit $((i % 7))) & '
                'i=$((i+1)); done; exit 0', a.folder)
    # Opening a folder succeeds, reading it fails: each ends by itself.
    c.expect(SPAWNED)
    got = c.until_empty()
    exits = [m for m in got if m.type == EXIT]
    assert [m.seq for m in got] == list(range(1, len(got) + 1))
    assert len(set(m.pid for m in exits)) == len(exits)
    assert ended(p) == 0


@test
def orphans_beyond_the_queue_wait_as_zombies(a):
    count = 4500
    p, c = a.run([sys.executable, '-S', '-c',
                  'import os,sys\n'
                  'r,w=os.pipe()\n'
                  'for i in range(%d):\n'
                  '    if os.fork()==0:\n'
                  '        os.close(w); os.read(r,1); os._exit(i%%200)\n' % count])
    c.expect(SPAWNED)
    a.listener.settimeout(0)
    # Not a word read or acknowledged until the reaper holds all it can.
    wait_for(lambda: sum(1 for q in below(p.pid) if not alive(q)) >= count - 4200, 'zombies')
    got, pids = 0, set()
    while True:
        m = c.receive()
        if m.type == EMPTY:
            break
        got += 1
        assert m.seq == got and m.pid not in pids
        pids.add(m.pid)
        if got % 50 == 0 or got > 4000:
            c.ack(1, m.seq)
    c.ack(1, m.seq)
    assert got == count + 1 and ended(p) == 0


@test
def reconnects_and_tells_again(a):
    fifo = a.folder + '/fifo'
    os.mkfifo(fifo)
    p, c = a.sh('(read x <$1; echo late words; exit 4) & exit 0', fifo, note='opaque \xff')
    spawned = c.expect(SPAWNED)
    assert c.expect(EXIT).pid == spawned.pid
    a.vanish(keep_file=True)
    time.sleep(0.3)
    a.listen()
    c = a.accept()
    hello = c.expect(HELLO)
    assert (hello.role, hello.run, hello.pid) == (RUN, 1, p.pid) and len(c.fds) == 1
    assert hello.note == 'opaque \xff'.encode() and hello.spawned == spawned.pid
    assert hello.time == spawned.time
    assert c.expect(EXIT).seq == 1
    c.expect(REPLAYED)
    c.ack(1, 1)
    a.vanish()
    with open(fifo, 'w') as f:
        f.write('go\n')
    wait_for(lambda: not any(map(alive, below(p.pid))), 'the end of all')
    time.sleep(0.2)
    assert p.poll() is None
    a.listen()
    c = a.accept()
    c.expect(HELLO)
    got = [c.expect(EXIT), c.expect(EMPTY), c.expect(REPLAYED)]
    assert got[0].seq == 2 and got[0].status == 4 and got[0].words == b'late words'
    assert got[1].seq == 3
    c.ack(1, 3)
    assert ended(p) == 0 and os.listdir(a.folder + '/runs') == []


@test
def a_failed_spawn_is_told_again(a):
    p, c = a.run(['/nonexistent'])
    c.expect(SPAWN_FAILED)
    a.vanish()
    a.listen()
    c = a.accept()
    assert c.expect(HELLO).spawned == 0
    assert c.expect(SPAWN_FAILED).stage == 4
    c.expect(EMPTY)
    c.expect(REPLAYED)
    c.ack(1, 1)
    assert ended(p) == 0


@test
def no_wake_ups_while_it_waits(a):
    p, c = a.sh('sleep 100')
    c.expect(SPAWNED)
    a.vanish()
    time.sleep(0.5)

    def switches():
        return [l for l in text_of('/proc/%d/status' % p.pid).splitlines() if b'ctxt' in l]
    before = switches()
    time.sleep(1.5)
    assert switches() == before
    a.listen()
    a.accept().expect(HELLO)


@test
def refused(a):
    p, c = a.sh('sleep 100', start={'stderr': subprocess.PIPE})
    c.expect(SPAWNED)
    c.send(REFUSED, string('not today'))
    assert c.receive() is None
    a.connections.remove(c)
    c.close()
    time.sleep(0.3)
    assert not select.select([a.listener], [], [], 0)[0]
    a.vanish()
    a.listen()
    c = a.accept()
    c.expect(HELLO)
    c.expect(REPLAYED)
    c.send(REFUSED, string('again not'))
    assert c.receive() is None
    for pid in below(p.pid):
        os.kill(pid, signal.SIGKILL)
    assert ended(p) == 0
    assert b'not today' in p.stderr.read()
    p.stderr.close()


@test
def signals_reach_everything_and_are_counted(a):
    p, c = a.sh('trap "" TERM; sleep 100 & setsid sh -c "trap \\"\\" TERM; echo >$1; '
                'while :; do sleep 100; done" & echo >$2; wait; while :; do sleep 100; done',
                a.folder + '/1', a.folder + '/2')
    c.expect(SPAWNED)
    wait_for(lambda: len(below(p.pid)) == 4, 'four processes')
    c.signal(1, 0, cookie=77)
    m = c.expect(SIGNALLED)
    assert (m.run, m.cookie, m.signalled, m.left) == (1, 77, 0, 4)
    c.signal(1, signal.SIGTERM, True)
    m = c.expect(SIGNALLED)
    assert m.signalled == 4
    c.signal(2, signal.SIGKILL)
    time.sleep(0.1)
    assert below(p.pid)
    c.signal(1, signal.SIGKILL)
    got = c.until_empty()
    assert [m for m in got if m.type == SIGNALLED][0].signalled == 4
    assert ended(p) == 0


@test
def a_stopped_process_is_continued(a):
    p, c = a.sh('kill -STOP $$; exit 6')
    pid = c.expect(SPAWNED).pid
    wait_for(lambda: stat(pid).state == 'T', 'it stops')
    c.signal(1, signal.SIGCONT)
    c.expect(SIGNALLED)
    assert c.until_empty()[0].status == 6
    p2, c = a.sh('kill -STOP $$; exit 6')
    pid = c.expect(SPAWNED).pid
    wait_for(lambda: stat(pid).state == 'T', 'it stops')
    c.signal(1, signal.SIGTERM, True)
    c.expect(SIGNALLED)
    assert c.until_empty()[0].status == signal.SIGTERM
    assert ended(p) == 0 and ended(p2) == 0


@test
def a_deep_chain_is_signalled(a):
    depth = 250
    p, c = a.run([sys.executable, '-S', '-c',
                  'import os,time\n'
                  'for i in range(%d):\n'
                  '    if os.fork(): break\n'
                  'time.sleep(1000)\n' % depth])
    c.expect(SPAWNED)
    wait_for(lambda: len(below(p.pid)) == depth + 1, 'the chain')
    c.signal(1, signal.SIGKILL)
    assert c.expect(SIGNALLED).signalled == depth + 1
    assert len(c.until_empty()) == depth + 2
    assert ended(p) == 0


@test
def sigterm_to_the_reaper_stops_nothing(a):
    p, c = a.sh('sleep 100', start={'stderr': subprocess.PIPE})
    pid = c.expect(SPAWNED).pid
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGALRM,
                   signal.SIGPIPE, signal.SIGRTMIN):
        p.send_signal(number)
    assert b'SIGTERM' in p.stderr.readline()
    assert alive(pid) and p.poll() is None
    p.stderr.close()


@test
def end_of_the_session(a):
    r, w = os.pipe()
    spare, _, _ = a.start(lifeline=r)
    quiet, c1 = a.sh('sleep 100', start={'lifeline': r}, run=1)
    deaf, c2 = a.sh('trap "" TERM; echo >$1; while :; do sleep 100; done', a.folder + '/ready',
                    start={'lifeline': r}, run=2, stop=300)
    done, c3 = a.sh('exit 0', start={'lifeline': r}, run=3)
    for c in c1, c2, c3:
        c.expect(SPAWNED)
    c3.until_empty(ack=False)
    wait_for(lambda: os.path.exists(a.folder + '/ready'), 'the deaf one')
    os.close(r)
    os.close(w)
    assert ended(spare) == NO_RUN
    for p in quiet, deaf, done:
        assert ended(p) == 0
    assert below(os.getpid()) == [] and os.listdir(a.folder + '/runs') == []


@test
def titles_of_any_length(a):
    for name in 'a.b', 'org.example.' + 'x' * 243:
        p, c = a.sh('sleep 100', name=name)
        c.expect(SPAWNED)
        title = text_of('/proc/%d/cmdline' % p.pid).rstrip(b'\0').decode()
        assert title == 'dbus-activator-reaper: ' + name, title
        assert text_of('/proc/%d/comm' % p.pid) == b'dbus-activator-\n'


@test
def junk_from_the_peer(a):
    good, block = spawn_body(1, ['/bin/true'])
    junk = [b'', b'x', os.urandom(60000), struct.pack('=IHH', MAGIC, 2, SPAWN),
            encode(SPAWN), encode(SPAWN, good[:-1]), encode(SPAWN, good + b'x'),
            encode(SPAWN, spawn_body(0, ['/bin/true'])[0]), encode(SPAWN, spawn_body(1, [])[0]),
            encode(SPAWN, spawn_body(1, ['/bin/true'], note='n' * 5000)[0]),
            encode(SPAWN, spawn_body(1, ['/bin/true'], memfd=True)[0]),
            encode(ACK, b'1'), encode(SIGNAL, struct.pack('=QIIB', 1, 1, 999, 0))]
    for data in junk:
        p, c, _ = a.start(stderr=subprocess.DEVNULL)
        c.sock.send(data)
        assert ended(p) == NO_RUN, data[:30]
    p, c = a.sh('exec sleep 100', start={'stderr': subprocess.DEVNULL})
    pid = c.expect(SPAWNED).pid
    for data in junk[1:3] + junk[-2:]:
        c.sock.send(data)
        assert c.receive() is None
        a.connections.remove(c)
        c.close()
        c = a.accept()
        assert c.expect(HELLO).spawned == pid
        c.expect(REPLAYED)
    c.send(SPAWN, good)
    c.send(99, b'whatever')
    c.signal(1, 0)
    assert c.expect(SIGNALLED).left == 1


@test
def an_unsealed_block_is_refused(a):
    p, c, _ = a.start(stderr=subprocess.DEVNULL)
    body, block = spawn_body(1, ['/bin/true'], memfd=True)
    fd = os.memfd_create('block', os.MFD_ALLOW_SEALING)
    os.write(fd, block)
    c.send(SPAWN, body, [fd])
    os.close(fd)
    assert ended(p) == NO_RUN


@test
def an_activator_that_does_not_read(a):
    """The socket fills, nothing blocks, nothing is lost."""
    p, c = a.run([sys.executable, '-S', '-c',
                  'import os\n'
                  'for i in range(2000):\n'
                  '    if os.fork()==0: os._exit(1)\n'
                  'print("x"*100000)\n'], log=a.folder + '/log')
    c.expect(SPAWNED)
    wait_for(lambda: below(p.pid) == [], 'all are collected')
    got = c.until_empty()
    assert [m.seq for m in got] == list(range(1, 2003))
    assert ended(p) == 0


@test
def the_pipe_outlives_the_reaper(a):
    p, c = a.sh('trap "" PIPE; while sleep 0.05; do echo x || exit 9; done')
    pid = c.expect(SPAWNED).pid
    p.kill()
    ended(p)
    wait_for(lambda: stat(pid).parent == os.getpid(), 'adoption by the test')
    for _ in range(5):
        assert select.select([c.fds[0]], [], [], BOUND)[0] and os.read(c.fds[0], 10)
    assert alive(pid)


if __name__ == '__main__':
    main()
