# SPDX-License-Identifier: MIT
"""What is measured on an arm. Each function answers a dictionary of numbers."""
import time

from arms import PREFIX
from harness.base import read_text, wait_for
from harness.process import comm_of

# The largest pid of most machines is 32768.
ORPHANS = 20000
PAUSE_US = 8000
WARM = 5


def percentile(values, part):
    """The nearest rank."""
    values = sorted(values)
    return values[min(len(values) - 1, max(0, -(-len(values) * part // 100) - 1))]


def quiet(arm, patience=5.0):
    """Waits until the arm's processes use no CPU: nothing is left over from what was before."""
    end = time.monotonic() + patience
    before = arm.cgroup.cpu_ns()
    while time.monotonic() < end:
        time.sleep(0.1)
        now = arm.cgroup.cpu_ns()
        if before is None or now - before < 2_000_000:
            return
        before = now


def latency(arm, count, names=50):
    arm.latency(names, WARM, PAUSE_US)
    quiet(arm)
    return arm.latency(names, count, PAUSE_US)


def memory_of(pid):
    """(Pss, Uss) in kB."""
    found = {}
    for line in read_text(f"/proc/{pid}/smaps_rollup").splitlines():
        words = line.split()
        if len(words) == 3 and words[2] == "kB":
            found[words[0].rstrip(":")] = int(words[1])
    return found.get("Pss", 0), found.get("Private_Clean", 0) + found.get("Private_Dirty", 0)


def memory(arm):
    """With 50 services known and 10 of them running."""
    found = {}
    pid = arm.activator_pid()
    if not pid:
        return found
    found["activator_pss"], found["activator_uss"] = memory_of(pid)
    reapers = arm.reapers()
    running = [memory_of(p) for title, p in reapers.items() if PREFIX in title]
    spare = [memory_of(p) for title, p in reapers.items() if "spare" in title]
    top = [memory_of(p) for title, p in reapers.items() if title.endswith(": activator")]
    mould = [memory_of(p) for title, p in reapers.items() if title.endswith(": mould")]
    for key, values in (("reaper", running), ("spare", spare), ("mould", mould),
                        ("top_reaper", top)):
        if values:
            found[f"{key}_pss"] = sum(v[0] for v in values) / len(values)
            found[f"{key}_uss"] = sum(v[1] for v in values) / len(values)
    found["spares"] = len(spare)
    return found


def cpu(arm, first, count):
    """CPU time of everything but the client for each activation, in ns."""
    quiet(arm)
    before = arm.cgroup.cpu_ns()
    arm.burst(first, count, 1)
    time.sleep(0.3)
    if before is None:
        return None
    return (arm.cgroup.cpu_ns() - before) / count


def basic(arm, count):
    """50 service files."""
    arm.start(50)
    found = {"start_up_s": arm.ready_seconds}
    try:
        arm.burst(0, 10, 1)
        quiet(arm)
        found.update(memory(arm))
        found["cpu_ns"] = cpu(arm, 10, 40)
        arm.end_services()
        found["latency_ns"] = latency(arm, count)
        if arm.activator_pid():
            lines = arm.client("death", PREFIX, 50, count, PAUSE_US)
            for key in ("exit", "name"):
                found[f"death_{key}_ns"] = [int(w[1]) for w in lines if w[0] == key]
    finally:
        arm.stop()
    return found


def many_files(arm, count):
    """2,000 service files."""
    arm.start(2000)
    found = {"start_up_2000_s": arm.ready_seconds}
    try:
        found["latency_2000_ns"] = latency(arm, count)
    finally:
        arm.stop()
    return found


def loaded(arm, count):
    """A burst of 200; the latency without and with 1,000 services that run already."""
    arm.start(1250)
    found = {}
    try:
        arm.burst(0, 5, 1)
        arm.end_services()
        quiet(arm)
        found["burst_ns"] = arm.burst(50, 200, 200)
        arm.end_services()
        quiet(arm)
        found["latency_0_ns"] = latency(arm, count)
        arm.burst(250, 1000, 8)
        quiet(arm)
        found["latency_1000_ns"] = latency(arm, count)
    finally:
        arm.stop()
    return found


def reap(arm):
    """20,000 orphans of one service; ns until all of them have been waited for."""
    arm.start(1, orphans=ORPHANS)
    try:
        took = int(arm.client("reap", "org.dba.Orphans", ORPHANS)[0][0])
        wait_for(lambda: comm_of(arm.activator_pid()) == "dbus-activatord", "the activator")
    finally:
        arm.stop()
    return took
