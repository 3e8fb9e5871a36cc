#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Runs a program on another kernel, as far as prctl() tells: under a seccomp filter, inherited by
everything below, that answers for the kernel.

Usage: prctl-filter.py RULE... -- PROGRAM [ARG...]

RULE is OPTION=ANSWER, or OPTION:pointer=ANSWER for calls whose second argument is neither 0 nor
1. ANSWER is the name of an errno, "yes" (success, and nothing done) or "kill"."""
import ctypes
import errno
import os
import platform
import struct
import sys

PRCTL = {"x86_64": 157, "aarch64": 167, "riscv64": 167}
PR_SET_SECCOMP, SECCOMP_MODE_FILTER, PR_SET_NO_NEW_PRIVS = 22, 2, 38
LOAD, EQUAL, GREATER, RETURN = 0x20, 0x15, 0x25, 0x06
ALLOW, KILL_PROCESS, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
# In struct seccomp_data; the low half of an argument comes first on these machines.
NUMBER, FIRST, SECOND, SECOND_HIGH = 0, 16, 24, 28


def op(code, k, when_true=0, when_false=0):
    return struct.pack("HBBI", code, when_true, when_false, k)


def action(answer):
    if answer == "kill":
        return KILL_PROCESS
    return ERRNO | (0 if answer == "yes" else getattr(errno, answer))


def compiled(rule):
    """Instructions for one rule; those after it follow when it does not apply."""
    option, _, answer = rule.partition("=")
    option, _, condition = option.partition(":")
    verdict = op(RETURN, action(answer))
    if not condition:
        return op(LOAD, FIRST) + op(EQUAL, int(option, 0), 0, 1) + verdict
    return (op(LOAD, FIRST) + op(EQUAL, int(option, 0), 0, 5) + op(LOAD, SECOND) +
            op(GREATER, 1, 2, 0) + op(LOAD, SECOND_HIGH) + op(EQUAL, 0, 1, 0) + verdict)


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_char_p)]


def main():
    split = sys.argv.index("--")
    rules, argv = sys.argv[1:split], sys.argv[split + 1:]
    number = PRCTL.get(platform.machine())
    if number is None:
        sys.exit(f"prctl-filter: not written for {platform.machine()}")
    code = op(LOAD, NUMBER) + op(EQUAL, number, 1, 0) + op(RETURN, ALLOW)
    code += b"".join(compiled(rule) for rule in rules) + op(RETURN, ALLOW)
    libc = ctypes.CDLL(None, use_errno=True)
    program = Program(len(code) // 8, code)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 or \
            libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program)) != 0:
        sys.exit(f"prctl-filter: {os.strerror(ctypes.get_errno())}")
    os.execvp(argv[0], argv)


main()
