# SPDX-License-Identifier: MIT
"""A cgroup for the processes of one arm: its clock counts the CPU time of all of them, also of
those that are gone."""
import os
import pathlib
import time


def _roots():
    """(mount point, kind) of what can tell CPU time, and of systemd's hierarchy."""
    found = {}
    for line in pathlib.Path("/proc/self/mounts").read_text().splitlines():
        _, point, kind, options, *_ = line.split()
        options = options.split(",")
        if kind == "cgroup2":
            found.setdefault("v2", pathlib.Path(point))
        elif kind == "cgroup" and "cpuacct" in options:
            found.setdefault("cpuacct", pathlib.Path(point))
        elif kind == "cgroup" and "name=systemd" in options:
            found.setdefault("systemd", pathlib.Path(point))
    return found


def _own():
    """hierarchy -> the path of this process in it."""
    own = {}
    for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        for name in (names or "v2").split(","):
            own[name.replace("name=", "")] = path.lstrip("/")
    return own


class Cgroup:
    def __init__(self, name):
        self.name = f"dba-bench-{os.urandom(4).hex()}-{name}"
        self.groups, self.homes = {}, {}
        own = _own()
        for kind, root in _roots().items():
            home = root / own.get(kind, "")
            try:
                (home / self.name).mkdir()
            except OSError:
                continue
            self.groups[kind] = home / self.name
            self.homes[kind] = home

    @staticmethod
    def usable():
        probe = Cgroup("probe")
        good = "v2" in probe.groups or "systemd" in probe.groups
        probe.remove()
        return good

    def __enter__(self):
        for group in self.groups.values():
            (group / "cgroup.procs").write_text("0")

    def __exit__(self, *_):
        for home in self.homes.values():
            (home / "cgroup.procs").write_text("0")

    def cpu_ns(self):
        """None: this machine does not tell."""
        if "cpuacct" in self.groups:
            return int((self.groups["cpuacct"] / "cpuacct.usage").read_text())
        if "v2" in self.groups:
            text = (self.groups["v2"] / "cpu.stat").read_text()
            return int(dict(line.split() for line in text.splitlines())["usage_usec"]) * 1000
        return None

    def remove(self):
        """The cgroups of what systemd made below as well."""
        for group in self.groups.values():
            for folder, _, _ in os.walk(group, topdown=False):
                for _ in range(50):
                    try:
                        os.rmdir(folder)
                        break
                    except FileNotFoundError:
                        break
                    except OSError:
                        time.sleep(0.02)
