#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A FUSE server that takes every request and answers none but the first: whoever looks at its mount
point (the argument) waits, deaf to SIGKILL, until this program ends. Writes a line once it is
mounted and another one when somebody waits."""
import ctypes
import os
import struct
import sys

libc = ctypes.CDLL(None, use_errno=True)
fd = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={fd},rootmode=40000,user_id=0,group_id=0"
if libc.mount(b"test", sys.argv[1].encode(), b"fuse.test", 6, options.encode()) != 0:
    sys.exit(f"mount: {os.strerror(ctypes.get_errno())}")
# FUSE_INIT, the only request that has to be answered: version 7.8, whose answer is the shortest.
unique = struct.unpack_from("=Q", os.read(fd, 1 << 17), 8)[0]
body = struct.pack("=6I", 7, 8, 0, 0, 0, 4096)
os.write(fd, struct.pack("=IiQ", 16 + len(body), 0, unique) + body)
print("mounted", flush=True)
os.read(fd, 1 << 17)
print("held", flush=True)
while os.read(fd, 1 << 17):
    pass
