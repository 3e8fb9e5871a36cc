#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What runs before libc refers to nothing that would need it. Arguments: a launch helper and the
library of that code."""
import re
import subprocess
import sys

PROGRAM, LIBRARY = sys.argv[1:]
OUTSIDE = {"_start"}
number = 0


def point(good, what, detail=""):
    global number
    number += 1
    print(f"{'ok' if good else 'not ok'} {number} - {what}", flush=True)
    if not good:
        print(f"# {detail}", flush=True)


def tool(*argv):
    return subprocess.run(argv, stdout=subprocess.PIPE, check=True, text=True).stdout


found = re.findall(r"^(?:[0-9a-f]+)? *([A-Za-z]) (\S+)$", tool("nm", LIBRARY), re.M)
defined = {name for kind, name in found if kind not in "Uvw"}
wanted = {name for kind, name in found if kind in "Uvw"}
point(defined and wanted - defined == OUTSIDE, "nothing outside but libc's beginning is used",
      wanted - defined)
relocations = tool("readelf", "-rW", LIBRARY).split("Relocation section")
in_code = [r for r in relocations if not re.search(r"'\.rela?\.(eh_frame|debug)", r)]
kinds = set(re.findall(r"\bR_X86_64_\w+", "".join(in_code)))
point(kinds and kinds <= {"R_X86_64_PC32", "R_X86_64_PLT32"}, "every address is relative", kinds)
code = tool("objdump", "-d", LIBRARY)
point("%fs:" not in code, "nothing thread-local")
entry = re.search(r"Entry point address:\s+0x([0-9a-f]+)", tool("readelf", "-h", PROGRAM)).group(1)
address = re.search(r"^([0-9a-f]+) \w early_entry$", tool("nm", PROGRAM), re.M)
point(address and int(address.group(1), 16) == int(entry, 16), "the program begins there", entry)
print(f"1..{number}")
