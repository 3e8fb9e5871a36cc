#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Lengths of files and functions, licence headers, the direction of includes, and nothing that
only one machine has."""
import re

from files import c_files, exceptions, finish, is_shell, point, read, tracked

MAX_FILE, MAX_FUNCTION = 600, 60
LONG = exceptions()


def sources():
    """Everything that people write as a program."""
    return [n for n in tracked() if n.endswith((".c", ".h", ".py", ".build")) or
            n.endswith("meson_options.txt") or is_shell(n)]


def functions(name):
    """(name, lines) of each function of a C file in this project's format: a brace in the first
    column opens it, one in the first column ends it."""
    lines = read(name).split("\n")
    start, title = None, ""
    for number, line in enumerate(lines):
        if line == "{":
            start = number
            for before in range(number - 1, -1, -1):
                match = re.match(r"[A-Za-z_].*?(\w+)\(", lines[before])
                if match:
                    title = match.group(1)
                    break
        elif line.startswith("}") and start is not None:
            yield title, number - start - 1
            start = None


def check_lengths():
    long = [f"{n}: {read(n).count(chr(10))} lines" for n in sources()
            if read(n).count("\n") > MAX_FILE and n not in LONG]
    point(not long, f"no file has more than {MAX_FILE} lines", long)
    long = [f"{n}:{f}: {length} lines" for n in c_files() if n.endswith(".c")
            for f, length in functions(n) if length > MAX_FUNCTION and f"{n}:{f}" not in LONG]
    point(not long, f"no function has more than {MAX_FUNCTION} lines", long)
    point(all(LONG.values()), "each exception has a reason", LONG)
    known = set(tracked())
    stale = [k for k in LONG if k.split(":")[0] not in known]
    point(not stale, "no exception is for a file that is gone", stale)


def check_licences():
    missing = [n for n in sources()
               if "SPDX-License-Identifier:" not in "\n".join(read(n).split("\n")[:3])]
    point(not missing, "each source names its licence in the first lines", missing)
    wrong = []
    for name in sources():
        licence = re.search(r"SPDX-License-Identifier: *([\w.+-]+)", read(name))
        wanted = ("GPL-2.0-only", "GPL-2.0", "MIT") if name.startswith("kernel/") else ("MIT",)
        if licence and licence.group(1) not in wanted:
            wrong.append(f"{name}: {licence.group(1)}")
    point(not wrong, "which is the one of its folder", wrong)


def check_includes():
    """A program's folder includes common/ and itself; common/ itself alone."""
    wrong = []
    for name in c_files():
        parts = name.split("/")
        if parts[0] != "activator" or len(parts) < 3:
            continue
        for target in re.findall(r'^#\s*include\s+"([^"]+)"', read(name), re.M):
            first = target.split("/")[0]
            if "/" in target and ".." not in target and first in ("common", parts[1]):
                continue
            if "/" not in target:
                continue
            wrong.append(f"{name} includes {target}")
    point(not wrong, "includes run one way", wrong)


def check_machine():
    """Put together here, so that this file does not hold them itself."""
    alone = r"(?<![\w}])"
    words = [alone + "/wo" + "rk/", alone + "/ro" + "ot/", alone + "/ho" + "me/[a-z]+/", "pypi" + r"\.org",
             "files.python" + "hosted", "registry" + r"\.npmjs", "crates" + r"\.io",
             "deb" + r"\.debian\.org", "proxy" + r"\.golang", r"\bartifact" + "ory", "nex" + "us/"]
    pattern = re.compile("|".join(words))
    found = []
    for name in tracked():
        if name.startswith("LICENSES/"):
            continue
        for number, line in enumerate(read(name).split("\n"), 1):
            if pattern.search(line):
                found.append(f"{name}:{number}: {line.strip()[:150]}")
    point(not found, "no path of one machine, no host of a package registry", found)


check_lengths()
check_licences()
check_includes()
check_machine()
finish()
