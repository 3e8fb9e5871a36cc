# SPDX-License-Identifier: MIT
"""A machine of the test's own: mount, pid, network and IPC namespaces with fresh /run and /tmp,
and /usr, /etc and /var that forget what is written to them. Into it goes a real `meson install`,
so that the compiled-in paths, the setuid bit, the real bus user and real user switching are
exercised. Use: `machine.enter(__file__)` first, then the harness as everywhere."""
import ctypes
import json
import os
import pathlib
import signal
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


def _fresh(path):
    """An empty path; the build and source folders stay reachable when they lie below it."""
    held = [(p, os.open(p, os.O_PATH)) for p in (BUILD, SOURCE)
            if p.is_absolute() and p.is_relative_to(path)]
    _mount("-t", "tmpfs", "-o", "mode=1777" if path == "/tmp" else "mode=755", "tmpfs", path)
    for target, fd in held:
        target.mkdir(parents=True, exist_ok=True)
        # By the system call: mount(8) would look the link up and mount the empty folder on
        # itself.
        if _libc.mount(f"/proc/self/fd/{fd}".encode(), str(target).encode(), None, 4096, None):
            raise OSError(ctypes.get_errno(), f"cannot bind {target}")
        os.close(fd)


def _prefix():
    options = json.loads((BUILD / "meson-info/intro-buildoptions.json").read_text())
    return next(o["value"] for o in options if o["name"] == "prefix")


def _set_up():
    _fresh("/tmp")
    _fresh("/run")
    for path in ("/usr", "/etc", "/var"):
        _forgetful(path)
    os.makedirs("/run/dbus")
    # No socket of the outer machine's log daemon.
    if os.path.exists("/dev/log"):
        _mount("--bind", "/dev/null", "/dev/log")
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
    <allow own_prefix="org.freedesktop.DBus.TestSuite"/>
    <allow send_destination_prefix="org.dba"/>
    <allow send_destination_prefix="org.freedesktop.DBus.TestSuite"/>
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


def as_user(user, *argv):
    """Runs a command as another user of the machine."""
    return run("setpriv", f"--reuid={user}", f"--regid={user}" if user == "messagebus"
               else "--regid=nogroup", "--clear-groups", "--reset-env", *argv)
