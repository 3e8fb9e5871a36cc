# SPDX-License-Identifier: MIT
"""Ratios of what was measured in the same round, and their spread over the rounds."""
import statistics

from measure import ORPHANS, percentile

# (title, (arm, key), (arm, key), at most). A list of latencies counts by its median.
RATIOS = [
    ("signal door : dbus-daemon's own spawning", "signal/latency_ns",
     "dbus-daemon/latency_ns", 0.72),
    ("signal door : floor", "signal/latency_ns", "floor/latency_ns", 1.10),
    ("setuid helper : reference launch helper", "setuid/latency_ns", "reference/latency_ns", 0.65),
    ("without setuid : reference launch helper", "systemless/latency_ns",
     "reference/latency_ns", 0.45),
    ("session helper door : dbus-daemon's own spawning", "helper/latency_ns",
     "dbus-daemon/latency_ns", 1.20),
    ("signal door : systemd --user", "signal/latency_ns", "systemd-user/latency_ns", 0.30),
    ("signal door: p99 : p50", "signal/latency_ns/99", "signal/latency_ns", 2.0),
    ("signal door: 1,000 services running : none", "signal/latency_1000_ns",
     "signal/latency_0_ns", 1.10),
    ("signal door: 2,000 service files : 50", "signal/latency_2000_ns", "signal/latency_ns", 1.05),
    ("CPU per activation, signal door : dbus-daemon", "signal/cpu_ns", "dbus-daemon/cpu_ns", 1.00),
    ("burst of 200, signal door : dbus-daemon", "signal/burst_ns", "dbus-daemon/burst_ns", 0.80),
    # Without a figure to reach, for comparison.
    ("dbus-daemon's own spawning : floor", "dbus-daemon/latency_ns", "floor/latency_ns", None),
    ("dbus-daemon: p99 : p50", "dbus-daemon/latency_ns/99", "dbus-daemon/latency_ns", None),
    ("dbus-daemon: 1,000 services running : none", "dbus-daemon/latency_1000_ns",
     "dbus-daemon/latency_0_ns", None),
    ("dbus-daemon: 2,000 service files : 50", "dbus-daemon/latency_2000_ns",
     "dbus-daemon/latency_ns", None),
    ("burst of 200, floor : dbus-daemon", "floor/burst_ns", "dbus-daemon/burst_ns", None),
    ("CPU per activation, setuid helper : reference", "setuid/cpu_ns", "reference/cpu_ns", None),
    ("CPU per activation, without setuid : reference", "systemless/cpu_ns", "reference/cpu_ns",
     None),
    ("start-up, signal door: 2,000 service files : 50", "signal/start_up_2000_s",
     "signal/start_up_s", None),
    ("death to ServiceExited : to NameOwnerChanged", "signal/death_exit_ns",
     "signal/death_name_ns", None),
]
MEMORY = [
    ("private memory per running service, reaper", "reaper_uss", 64),
    ("private memory of the activator, 50 known, 10 running", "activator_uss", 1536),
    ("private memory of a spare", "spare_uss", None),
    ("private memory of the spare that makes the others", "mould_uss", None),
    ("private memory of the top reaper", "top_reaper_uss", None),
    ("Pss per running service, reaper", "reaper_pss", None),
    ("Pss of the activator", "activator_pss", None),
]


def value(results, path, number):
    arm, key, *rank = path.split("/")
    found = results["arms"].get(arm, [{}] * results["rounds"])[number].get(key)
    if isinstance(found, list):
        return percentile(found, int(rank[0]) if rank else 50) if found else None
    return found


def summary(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def ratios(results):
    rows = []
    for title, above, below, target in RATIOS:
        found = []
        for number in range(results["rounds"]):
            a, b = value(results, above, number), value(results, below, number)
            if a is not None and b:
                found.append(a / b)
        if found:
            rows.append(dict(summary(found), title=title, at_most=target))
    reap = results["reap"]
    found = [a / b for a, b in zip(reap.get("reaper_ns", ()), reap.get("bare_ns", ()))]
    if found:
        rows.append(dict(summary(found), title=f"reaping {ORPHANS:,} orphans, run reaper : bare "
                         "loop", at_most=None))
    return rows


def verdict(row):
    if row["at_most"] is None:
        return ""
    return "reached" if row["median"] <= row["at_most"] else "NOT reached"


def _latencies(results):
    lines = [f"{'ms':<16}{'min':>8}{'p50':>8}{'p90':>8}{'p99':>8}{'1000 run':>10}"
             f"{'2000 files':>11}{'burst 200':>11}{'CPU':>8}{'start-up':>10}{'2000':>8}"]

    def pooled(rounds, key):
        return [v for r in rounds for v in r.get(key, ())]

    def number(values, width, scale=1e6):
        values = [v for v in values if v is not None]
        return f"{statistics.median(values) / scale:>{width}.2f}" if values else " " * (width - 1) \
            + "-"

    for arm, rounds in results["arms"].items():
        all_values = pooled(rounds, "latency_ns")
        line = f"{arm:<16}"
        if all_values:
            line += "".join(f"{v / 1e6:>8.2f}" for v in
                            [min(all_values)] + [percentile(all_values, p) for p in (50, 90, 99)])
        else:
            line += f"{'-':>8}" * 4
        line += number(pooled(rounds, "latency_1000_ns"), 10)
        line += number(pooled(rounds, "latency_2000_ns"), 11)
        line += number([r.get("burst_ns") for r in rounds], 11)
        line += number([r.get("cpu_ns") for r in rounds], 8)
        line += number([r.get("start_up_s") for r in rounds], 10, 1e-3)
        line += number([r.get("start_up_2000_s") for r in rounds], 8, 1e-3)
        lines.append(line)
    return lines


def _more(results):
    lines = []
    signal = results["arms"].get("signal", [])
    for key, title in (("death_exit_ns", "ServiceExited"), ("death_name_ns", "NameOwnerChanged")):
        values = [v for r in signal for v in r.get(key, ())]
        if values:
            lines.append(f"from SIGKILL to {title}: p50 {percentile(values, 50) / 1e6:.2f} ms, "
                         f"p99 {percentile(values, 99) / 1e6:.2f} ms")
    for key, who in (("reaper_ns", "the run reaper"), ("bare_ns", "a bare loop")):
        values = results["reap"].get(key)
        if values:
            rate = ORPHANS / (statistics.median(values) / 1e9)
            lines.append(f"{ORPHANS:,} orphans: {who} waits for {rate:,.0f} a second")
    return lines


def table(results, rows):
    title = f"{'ratio of medians, same round':<52}{'median':>8}{'min':>7}{'max':>7}{'at most':>9}"
    lines = [title]
    for row in rows:
        most = f"{row['at_most']:>9.2f}" if row["at_most"] is not None else " " * 9
        lines.append(f"{row['title']:<52}{row['median']:>8.2f}{row['min']:>7.2f}"
                     f"{row['max']:>7.2f}{most}  {verdict(row)}".rstrip())
    lines += ["", f"{'kB, signal door':<52}{'median':>8}{'min':>7}{'max':>7}{'at most':>9}"]
    for title, key, target in MEMORY:
        values = [r[key] for r in results["arms"].get("signal", []) if key in r]
        if values:
            s = dict(summary(values), at_most=target)
            most = f"{target:>9}" if target is not None else " " * 9
            lines.append(f"{title:<52}{s['median']:>8.0f}{s['min']:>7.0f}{s['max']:>7.0f}{most}"
                         f"  {verdict(s)}".rstrip())
    lines += ["", "Absolute times, of this machine at this hour; no claim:"]
    lines += _latencies(results) + [""] + _more(results)
    for arm, reason in results["skipped"].items():
        lines.append(f"{arm}: not measured: {reason}")
    loads = ", ".join(str(v) for v in results["load"])
    lines.append(f"{results['rounds']} rounds of {results['count']} activations; "
                 f"{results['cpus']} CPUs; load average at the rounds' beginning: {loads}")
    return "\n".join(lines) + "\n"
