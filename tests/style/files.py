# SPDX-License-Identifier: MIT
"""The project's files, and TAP for the checks of this folder."""
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(os.environ.get("DBA_SOURCE_ROOT",
                                   pathlib.Path(__file__).resolve().parents[2]))
BUILD = pathlib.Path(os.environ.get("DBA_BUILD_ROOT", ROOT / "build"))
_SUFFIXES = {".c", ".h", ".py", ".sh", ".build", ".xml", ".conf", ".scd", ".md", ".txt"}
_count = {"points": 0, "failed": 0}


def point(truth, name, details=()):
    _count["points"] += 1
    print(f"{'ok' if truth else 'not ok'} {_count['points']} - {name}", flush=True)
    if not truth:
        _count["failed"] += 1
        for line in list(details)[:200]:
            print(f"# {line}", flush=True)


def skip(name, reason):
    _count["points"] += 1
    print(f"ok {_count['points']} - {name} # SKIP {reason}", flush=True)


def finish():
    print(f"1..{_count['points']}")
    sys.exit(1 if _count["failed"] else 0)


def tracked():
    """Paths (relative) of what git has or would take; of all files where there is no git, as in
    an unpacked archive."""
    done = subprocess.run(
        ["git", "-c", "safe.directory=*", "-C", str(ROOT), "ls-files", "-z", "--cached",
         "--others", "--exclude-standard"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        check=False) if (ROOT / ".git").exists() else None
    if done is not None and done.returncode == 0:
        names = [n for n in done.stdout.decode().split("\0") if n]
    else:
        names = []
        for folder, folders, files in os.walk(ROOT):
            folders[:] = [f for f in folders if not f.startswith("build") and
                          f not in (".git", "__pycache__")]
            names += [os.path.relpath(os.path.join(folder, f), ROOT) for f in files]
    return sorted({n for n in names if (ROOT / n).is_file() and not (ROOT / n).is_symlink()})


def read(name):
    return (ROOT / name).read_text(errors="replace")


def is_shell(name):
    if name.endswith(".sh"):
        return True
    first = read(name).split("\n", 1)[0] if "." not in pathlib.PurePath(name).name.lstrip(".") \
        else ""
    return first.startswith("#!") and first.rstrip().endswith(("/sh", "/bash", "env bash",
                                                               "sh -e", "sh -eu"))


def c_files():
    return [n for n in tracked() if n.endswith((".c", ".h")) and not n.startswith("build")]


def exceptions():
    """Path or path:function -> reason."""
    found = {}
    for line in read("tests/style/long-files").splitlines():
        if line and not line.startswith("#"):
            key, _, reason = line.partition(" ")
            found[key] = reason.strip()
    return found
