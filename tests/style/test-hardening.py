#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The built programs are hardened, by what their ELF files say."""
import json
import re
import subprocess

from files import BUILD, finish, point, skip


def options():
    with open(BUILD / "meson-info/intro-buildoptions.json", encoding="utf-8") as f:
        return {o["name"]: o["value"] for o in json.load(f)}


def programs():
    with open(BUILD / "meson-info/intro-targets.json", encoding="utf-8") as f:
        return sorted(n for t in json.load(f)
                      if t["type"] == "executable" and t["installed"] for n in t["filename"])


def readelf(path, *args):
    return subprocess.run(["readelf", "-W", *args, path], stdout=subprocess.PIPE, check=True,
                          stderr=subprocess.DEVNULL).stdout.decode(errors="replace")


def examine(path):
    name = path.rsplit("/", 1)[-1]
    segments = readelf(path, "-l")
    dynamic = readelf(path, "-d")
    symbols = readelf(path, "-s")
    point(re.search(r"Type:\s+DYN", readelf(path, "-h")), f"{name}: position independent")
    point("GNU_RELRO" in segments, f"{name}: relocations read-only")
    point(re.search(r"BIND_NOW|FLAGS.*\bNOW\b", dynamic), f"{name}: all of them, bound at start",
          dynamic.splitlines())
    stack = re.search(r"GNU_STACK.*", segments)
    point(stack and " RWE" not in stack.group(0), f"{name}: stack not executable")
    point(not re.search(r"LOAD.* RWE ", segments), f"{name}: nothing writable is executable")
    point("__stack_chk_fail" in symbols, f"{name}: stack protector")
    checked = set(re.findall(r"\b__(?!stack_)\w+_chk\b", symbols))
    point(checked, f"{name}: fortified")
    point(not re.search(r"\((RPATH|RUNPATH)\)", dynamic), f"{name}: no search path of its own",
          dynamic.splitlines())


found = options()
if found.get("b_sanitize", "none") != "none":
    skip("hardening", "built with a sanitizer")
elif found.get("optimization") in ("0", "g", "plain") or found["buildtype"] in ("debug", "plain"):
    skip("hardening", f"built as {found['buildtype']}")
else:
    built = programs()
    point(len(built) >= 5, "all programs are built", built)
    for program in built:
        examine(program)
finish()
