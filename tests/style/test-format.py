#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""clang-format has nothing to change; shellcheck has nothing to say."""
import shutil
import subprocess

from files import ROOT, c_files, finish, is_shell, point, skip, tracked


def run(label, argv):
    done = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          check=False)
    point(done.returncode == 0, label, done.stdout.decode(errors="replace").splitlines())


if shutil.which("clang-format"):
    # kernel/ is written as the kernel is.
    run("clang-format", ["clang-format", "--dry-run", "-Werror",
                         *[n for n in c_files() if not n.startswith("kernel/")]])
else:
    skip("clang-format", "not installed")
scripts = [n for n in tracked() if is_shell(n)]
if not scripts:
    skip("shellcheck", "there is no shell script")
elif shutil.which("shellcheck"):
    for script in scripts:
        run(f"shellcheck {script}", ["shellcheck", "-x", "-P", "SCRIPTDIR", script])
else:
    skip("shellcheck", "not installed")
finish()
