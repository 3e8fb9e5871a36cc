#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""clang-tidy and cppcheck have nothing to say. What is meant stands in a comment beside it:
NOLINT with the check's name, or cppcheck-suppress."""
import concurrent.futures
import json
import os
import shutil
import subprocess
import tempfile

from files import BUILD, ROOT, finish, point, skip


def compiled():
    """The entries of the build folder for C files of this project."""
    with open(BUILD / "compile_commands.json", encoding="utf-8") as f:
        entries = json.load(f)
    root = str(ROOT.resolve()) + "/"
    build = str(BUILD.resolve()) + "/"
    found = {}
    for entry in entries:
        path = os.path.realpath(os.path.join(entry["directory"], entry["file"]))
        if path.startswith(root) and not path.startswith((build, root + "kernel/")) and \
                path.endswith(".c"):
            found.setdefault(path, {**entry, "file": path})
    return found


def tidy(file):
    done = subprocess.run(["clang-tidy", "--quiet", f"--config-file={ROOT}/.clang-tidy", "-p",
                           str(BUILD), file], cwd=ROOT, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, check=False)
    return file, done.returncode, done.stdout.decode(errors="replace")


def cppcheck(entries):
    """With the defines and include folders of the build, without which it understands little."""
    with tempfile.TemporaryDirectory() as folder:
        project = os.path.join(folder, "compile_commands.json")
        with open(project, "w", encoding="utf-8") as f:
            json.dump(list(entries.values()), f)
        done = subprocess.run(
            ["cppcheck", f"--project={project}", "--enable=warning,performance,portability",
             "--inline-suppr", "--quiet", "--std=c11", "--error-exitcode=1", "--template=gcc",
             f"--suppressions-list={ROOT}/tests/style/cppcheck-suppressions",
             "--suppress=*:/usr/include/*", "--suppress=missingInclude",
             "--suppress=missingIncludeSystem", "--suppress=unmatchedSuppression",
             "--library=gnu,gtk,posix", f"-j{os.cpu_count()}"], stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, check=False)
    point(done.returncode == 0, "cppcheck", done.stdout.decode(errors="replace").splitlines())


files = compiled()
if shutil.which("clang-tidy"):
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, status, text in pool.map(tidy, sorted(files)):
            point(status == 0 and "warning:" not in text,
                  f"clang-tidy {os.path.relpath(path, ROOT)}", text.splitlines())
else:
    skip("clang-tidy", "not installed")
if shutil.which("cppcheck"):
    cppcheck(files)
else:
    skip("cppcheck", "not installed")
finish()
