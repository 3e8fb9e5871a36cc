#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A FUSE server that answers nothing: mounts itself on its argument and waits to be killed."""
import ctypes
import os
import signal
import sys

libc = ctypes.CDLL(None, use_errno=True)
fd = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={fd},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
if libc.mount(b"test", sys.argv[1].encode(), b"fuse.test", 6, options.encode()) != 0:
    sys.exit(f"mount: {os.strerror(ctypes.get_errno())}")
signal.pause()
