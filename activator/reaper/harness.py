# SPDX-License-Identifier: MIT
"""Plays the activator for the reaper's tests: real processes, a real socket, no bus.

Waits are on conditions with a generous bound, so that a slow machine changes nothing. The test
process is a child reaper itself: whatever a test leaves behind is found below it and killed."""
import array
import ctypes
import fcntl
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import traceback

BOUND = 60.0
MAGIC = 0x31414244
HELLO, REPLAYED, SPAWNED, SPAWN_FAILED, EXIT, EMPTY, SIGNALLED, REAPER_GONE, \
    ORPHANS = range(1, 10)
COPIED = 11
SPAWN, ACK, SIGNAL, COPY = 20, 21, 22, 23
TOP_REAPER, TOP_SERVING, TOP_STOP_ALL = 30, 31, 32
REFUSED = 50
SPARE, RUN, TOP = 0, 1, 2
EXITED, KILLED, DUMPED = 1, 2, 3
KEEP_UMASK = 0xffffffff
SYSTEM, SYSLOG = 1, 2
TOP_SEQ = 1 << 32

BUILD = os.environ.get('DBA_BUILD_ROOT', '')
REAPER = os.environ.get('DBA_REAPER') or os.path.join(
    BUILD, 'activator', 'reaper', 'dbus-activator-reaper')

FIELDS = {
    HELLO: 'role:B pid:I kind:B run:Q note:s spawned:I time:Q',
    REPLAYED: '',
    SPAWNED: 'run:Q pid:I time:Q',
    SPAWN_FAILED: 'run:Q stage:B errno:I time:Q',
    EXIT: 'run:Q seq:Q pid:I how:B status:I adopted:B first:B time:Q words:s',
    EMPTY: 'run:Q seq:Q time:Q',
    SIGNALLED: 'run:Q cookie:I signalled:I left:I',
    ORPHANS: 'run:Q orphans:o',
    COPIED: 'pid:I errno:I',
    REAPER_GONE: 'run:Q reaper:I how:B status:I left:I last:Q note:s spawned:I',
}


class Message(dict):
    __getattr__ = dict.__getitem__


def string(value):
    value = value.encode() if isinstance(value, str) else value
    return struct.pack('=I', len(value)) + value + b'\0'


def encode(kind, body=b''):
    return struct.pack('=IHH', MAGIC, 1, kind) + body


def decode(data):
    magic, version, kind = struct.unpack_from('=IHH', data)
    assert magic == MAGIC and version == 1, data
    m, at = Message(type=kind), 8
    for field in FIELDS[kind].split():
        name, code = field.split(':')
        if code == 's':
            length, = struct.unpack_from('=I', data, at)
            m[name] = data[at + 4:at + 4 + length]
            assert data[at + 4 + length] == 0
            at += 5 + length
        elif code == 'o':
            count, = struct.unpack_from('=I', data, at)
            m[name] = [struct.unpack_from('=IQ', data, at + 4 + 12 * i) for i in range(count)]
            at += 4 + 12 * count
        else:
            m[name], = struct.unpack_from('=' + code, data, at)
            at += struct.calcsize('=' + code)
    assert at == len(data), (kind, data)
    return m


def spawn_body(run, argv, env=None, name='org.example.Test', note='a note', flags=0, uid=0, gid=0,
               groups=(), umask=KEEP_UMASK, cwd='', log='', limit=0, stop=0, memfd=False):
    env = {'PATH': os.environ.get('PATH', '/usr/bin:/bin')} if env is None else env
    strings = list(argv) + ['%s=%s' % e for e in env.items()]
    block = b''.join((s if isinstance(s, bytes) else s.encode()) + b'\0' for s in strings)
    body = struct.pack('=Q', run) + string(name) + string(note)
    body += struct.pack('=IIII', flags, uid, gid, len(groups))
    body += b''.join(struct.pack('=I', g) for g in groups)
    body += struct.pack('=I', umask) + string(cwd) + string(log)
    body += struct.pack('=IIIII', limit, stop, len(argv), len(env), len(block))
    body += string(b'' if memfd else block)
    return body, block


def sealed(data):
    fd = os.memfd_create('block', os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, data) if len(data) < 1 << 20 else os.fdopen(os.dup(fd), 'wb').write(data)
    fcntl.fcntl(fd, 1033, 1 | 2 | 4 | 8)
    return fd


class Connection:
    def __init__(self, sock):
        self.sock = sock
        self.fds = []
        self.orphans = {}

    def send(self, kind, body=b'', fds=()):
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))] if fds else []
        self.sock.sendmsg([encode(kind, body)], rights)

    def receive(self, bound=BOUND):
        """The next message, None at the end of the connection. Orphans are only noted."""
        while True:
            m = self.receive_any(bound)
            if m is None or m.type != ORPHANS:
                return m
            self.orphans.setdefault(m.run, []).extend(m.orphans)

    def receive_any(self, bound):
        if not select.select([self.sock], [], [], bound)[0]:
            raise AssertionError('no message within %s s' % bound)
        try:
            data, rights, _, _ = self.sock.recvmsg(65536, 1024)
        except ConnectionResetError:
            return None
        for _, _, content in rights:
            got = array.array('i')
            got.frombytes(content[:len(content) - len(content) % 4])
            self.fds += got
        return decode(data) if data else None

    def expect(self, kind):
        m = self.receive()
        assert m is not None, 'connection ended, expected message %d' % kind
        assert m.type == kind, 'expected message %d, got %r' % (kind, m)
        return m

    def until_empty(self, ack=True):
        """All messages up to the EMPTY, which is acknowledged."""
        got = []
        while not got or got[-1].type != EMPTY:
            m = self.receive()
            assert m is not None, got
            got.append(m)
        if ack:
            self.ack(got[-1].run, got[-1].seq)
        return got

    def ack(self, run, seq):
        self.send(ACK, struct.pack('=QQ', run, seq))

    def signal(self, run, number, cont=False, cookie=1):
        self.send(SIGNAL, struct.pack('=QIIB', run, cookie, number, cont))

    def close(self):
        self.sock.close()
        for fd in self.fds:
            os.close(fd)
        self.fds = []


class Activator:
    """The socket DIR/reapers and the spares that belong to it."""
    def __init__(self, folder):
        self.folder = folder
        self.listener = None
        self.connections = []
        os.makedirs(folder + '/runs', exist_ok=True)
        self.listen()

    def listen(self):
        path = self.folder + '/reapers'
        if os.path.lexists(path):
            os.unlink(path)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(path)
        self.listener.listen(1000)

    def vanish(self, keep_file=False):
        """As if it was killed."""
        self.listener.close()
        for c in self.connections:
            c.close()
        self.connections = []
        if not keep_file:
            os.unlink(self.folder + '/reapers')

    def accept(self, bound=BOUND):
        assert select.select([self.listener], [], [], bound)[0], 'nobody connects'
        c = Connection(self.listener.accept()[0])
        self.connections.append(c)
        return c

    def start(self, lifeline=None, args=(), **kw):
        """A spare that has said hello: (process, connection, hello)."""
        argv = [REAPER, '--spare', self.folder]
        kw.setdefault('env', {'TITLE': 'x' * 320})
        if lifeline is not None:
            argv += ['--lifeline', str(lifeline)]
            kw['pass_fds'] = tuple(kw.get('pass_fds', ())) + (lifeline,)
        p = subprocess.Popen(argv + list(args), **kw)
        c = self.accept()
        hello = c.expect(HELLO)
        assert hello.role == SPARE and hello.pid == p.pid and hello.run == 0
        assert len(c.fds) == 1
        return p, c, hello

    def copy(self, mould):
        """One more spare, made by this one's connection: (pid, connection)."""
        mould.send(COPY)
        m = mould.expect(COPIED)
        assert m.errno == 0 and m.pid > 0, m
        fds, mould.fds = mould.fds[-2:], mould.fds[:-2]
        c = Connection(socket.socket(fileno=fds[0]))
        c.fds.append(fds[1])
        self.connections.append(c)
        return m.pid, c

    def run(self, argv, run=1, start=None, memfd=False, **kw):
        """A spare that was given a run: (process, connection)."""
        p, c, _ = self.start(**(start or {}))
        body, block = spawn_body(run, argv, memfd=memfd, **kw)
        fds = [sealed(block)] if memfd else []
        c.send(SPAWN, body, fds)
        for fd in fds:
            os.close(fd)
        return p, c

    def sh(self, script, *args, **kw):
        return self.run(['/bin/sh', '-c', script, 'sh'] + list(args), **kw)


# --- processes ------------------------------------------------------------------------------

def wait_for(condition, what, bound=BOUND):
    end = time.monotonic() + bound
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, 'still waiting: ' + what
        time.sleep(0.005)


def stat(pid):
    """parent, state, session, or None."""
    try:
        with open('/proc/%d/stat' % pid) as f:
            rest = f.read().rpartition(')')[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return Message(state=rest[0], parent=int(rest[1]), session=int(rest[3]))


def alive(pid):
    s = stat(pid)
    return s is not None and s.state not in 'ZX'


def below(root):
    """Pids below root, zombies included."""
    parents = {}
    for name in os.listdir('/proc'):
        if name.isdigit():
            s = stat(int(name))
            if s:
                parents.setdefault(s.parent, []).append(int(name))
    found, todo = [], [root]
    while todo:
        new = parents.get(todo.pop(), [])
        found += new
        todo += new
    return found


def kill_all_below():
    """Whatever is left below this process; everything ends as ours by adoption."""
    while True:
        for pid in below(os.getpid()):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.005)


def text_of(path):
    with open(path, 'rb') as f:
        return f.read()


def number_in(path):
    """The number that a test's process has written to a file, with a newline after it."""
    def look():
        try:
            text = text_of(path)
        except FileNotFoundError:
            return None
        return int(text) if text.endswith(b'\n') else None
    return wait_for(look, path)


def ended(process):
    """Its exit status, as subprocess counts."""
    return process.wait(BOUND)


# --- running ----------------------------------------------------------------------------------

TESTS = []


def test(function):
    TESTS.append(function)
    return function


def become_reaper():
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(36, 1, 0, 0, 0) == 0


class Skip(Exception):
    pass


def main():
    names = sys.argv[1:]
    if not os.access(REAPER, os.X_OK):
        print('Bail out! no %s: set DBA_BUILD_ROOT or DBA_REAPER' % REAPER)
        sys.exit(99)
    become_reaper()
    chosen = [t for t in TESTS if not names or t.__name__ in names]
    print('TAP version 13\n1..%d' % len(chosen), flush=True)
    failed = 0
    for number, function in enumerate(chosen, 1):
        folder = tempfile.mkdtemp(prefix='dba-')
        title = function.__name__.replace('_', ' ')
        began = time.monotonic()
        try:
            function(Activator(folder))
            print('ok %d - %s' % (number, title), flush=True)
        except Skip as reason:
            print('ok %d - %s # SKIP %s' % (number, title, reason), flush=True)
        except BaseException:
            failed += 1
            for line in traceback.format_exc().splitlines():
                print('# ' + line)
            print('not ok %d - %s' % (number, title), flush=True)
        print('# %.1f s' % (time.monotonic() - began), flush=True)
        kill_all_below()
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(1 if failed else 0)
