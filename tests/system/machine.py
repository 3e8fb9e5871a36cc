# SPDX-License-Identifier: MIT
"""A machine of the test's own: mount, pid, network and IPC namespaces with fresh /run and /tmp,
and /usr, /etc and /var that forget what is written to them. Into it goes a real `meson install`,
so that the compiled-in paths, the setuid bit, the real bus user and real user switching are
exercised. Use: `machine.enter(__file__)` first, then the harness as everywhere."""
import ctypes
import json
import os
import pathlib
import pwd
import signal
import socket
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

BUILD = pathlib.Path(os.environ.get("DBA_BUILD_ROOT", "."))
SOURCE = pathlib.Path(os.environ.get("DBA_SOURCE_ROOT",
                                     pathlib.Path(__file__).resolve().parents[2]))
SOCKET = "/run/dbus/system_bus_socket"
ADDRESS = f"unix:path={SOCKET}"
RUNTIME = "/run/dbus-activator/system"
HELPER = "/usr/libexec/dbus-activator-launch-helper"
DAEMON = "/usr/libexec/dbus-activatord"
MESON = ["/usr/bin/python3", "/usr/bin/meson"]

_libc = ctypes.CDLL(None, use_errno=True)


def skip_all(reason):
    print(f"1..0 # SKIP {reason}", flush=True)
    sys.exit(0)


def run(*argv, **more):
    return subprocess.run(argv, check=False, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, **more)


def _mount(*argv):
    subprocess.run(["mount", *argv], check=True)


def _forgetful(path):
    """An overlay over path whose upper half lies in the machine's own /run."""
    upper = pathlib.Path("/run/upper") / path.strip("/")
    (upper / "up").mkdir(parents=True)
    (upper / "work").mkdir()
    _mount("-t", "overlay", "overlay", "-o",
           f"lowerdir={path},upperdir={upper}/up,workdir={upper}/work", path)


def _bind(fd, target):
    """What fd (which is closed) is open on appears at target. By the system call: mount(8) would
    look the link up and mount the new target on itself."""
    if _libc.mount(f"/proc/self/fd/{fd}".encode(), str(target).encode(), None, 4096, None):
        raise OSError(ctypes.get_errno(), f"cannot bind {target}")
    os.close(fd)


def _fresh(path):
    """An empty path; the build and source folders stay reachable when they lie below it."""
    held = [(p, os.open(p, os.O_PATH)) for p in (BUILD, SOURCE)
            if p.is_absolute() and p.is_relative_to(path)]
    _mount("-t", "tmpfs", "-o", "mode=1777" if path == "/tmp" else "mode=755", "tmpfs", path)
    for target, fd in held:
        target.mkdir(parents=True, exist_ok=True)
        _bind(fd, target)


def _own_dev():
    """A /dev of a few devices, so that a log daemon's socket of the test's own is nobody else's
    and no outer one is reached."""
    devices = ("null", "zero", "full", "random", "urandom", "tty", "ptmx")
    held = [(name, os.open(f"/dev/{name}", os.O_PATH)) for name in devices
            if os.path.exists(f"/dev/{name}")]
    _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", "/dev")
    for name, fd in held:
        open(f"/dev/{name}", "wb").close()
        _bind(fd, f"/dev/{name}")
    for name, target in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        os.symlink(f"/proc/self/{target}", f"/dev/{name}")
    os.mkdir("/dev/shm", 0o1777)


def _prefix():
    options = json.loads((BUILD / "meson-info/intro-buildoptions.json").read_text())
    return next(o["value"] for o in options if o["name"] == "prefix")


def _set_up():
    _fresh("/tmp")
    _fresh("/run")
    for path in ("/usr", "/etc", "/var"):
        _forgetful(path)
    os.makedirs("/run/dbus")
    _own_dev()
    subprocess.run(["ip", "link", "set", "lo", "up"], check=False, capture_output=True)
    os.umask(0o022)
    for name in [n for n in os.environ if n.startswith(("DBUS_", "XDG_"))]:
        del os.environ[name]


def enter(file):
    """Goes on in the machine; what called it runs there from its beginning."""
    if os.geteuid() != 0:
        skip_all("a machine of its own needs root")
    if "DBA_MACHINE" not in os.environ:
        env = dict(os.environ, DBA_MACHINE="1", PYTHONDONTWRITEBYTECODE="1")
        argv = ["unshare", "--mount", "--pid", "--net", "--ipc", "--fork", "--kill-child",
                "--mount-proc", "--propagation", "private", sys.executable, str(file),
                *sys.argv[1:]]
        os.execvpe("unshare", argv, env)
    if _prefix() != "/usr":
        skip_all("the build folder is not configured with --prefix=/usr")
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # The group it came with has no number in here: "0", to a program that signals groups.
    os.setsid()
    _set_up()


def install():
    done = run(*MESON, "install", "-C", str(BUILD), "--no-rebuild", "--quiet")
    if done.returncode != 0:
        raise SystemExit(f"meson install: {done.stdout}{done.stderr}")


def uninstall():
    done = run("ninja", "-C", str(BUILD), "uninstall")
    if done.returncode != 0:
        raise SystemExit(f"uninstall: {done.stdout}{done.stderr}")


POLICY = """<busconfig>
  <policy context="default">
    <allow own_prefix="org.dba"/>
    <allow send_destination_prefix="org.dba"/>
  </policy>
</busconfig>
"""


def allow_tests():
    pathlib.Path("/etc/dbus-1/system.d").mkdir(parents=True, exist_ok=True)
    pathlib.Path("/etc/dbus-1/system.d/dba-test.conf").write_text(POLICY)


def system_service(name, exec_line, user="root", **keys):
    more = "".join(f"{k}={v}\n" for k, v in keys.items())
    line = f"User={user}\n" if user else ""
    folder = pathlib.Path("/usr/share/dbus-1/system-services")
    new = folder / f"{name}.new"
    new.write_text(f"[D-BUS Service]\nName={name}\nExec={exec_line}\n{line}{more}")
    os.rename(new, folder / f"{name}.service")


class Syslog:
    """A log daemon's socket."""

    def __init__(self):
        self.socket = None
        self.lines = []
        self.open()

    def open(self):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind("/dev/log")
        os.chmod("/dev/log", 0o666)

    def close(self):
        self.read()
        self.socket.close()
        os.unlink("/dev/log")

    def read(self):
        """All that has come since the beginning."""
        while True:
            try:
                self.lines.append(self.socket.recv(65536).decode(errors="replace"))
            except BlockingIOError:
                return self.lines


def uid_of(user):
    return pwd.getpwnam(user).pw_uid


def as_user(user, *argv):
    """Runs a command as another user of the machine."""
    return run("setpriv", f"--reuid={user}", f"--regid={user}" if user == "messagebus"
               else "--regid=nogroup", "--clear-groups", "--reset-env", *argv)
