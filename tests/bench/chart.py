# SPDX-License-Identifier: MIT
"""The chart: latencies of StartServiceByName relative to what the bus does by itself."""
from xml.sax.saxutils import escape

from report import summary, value

SESSION = ("Session bus", "dbus-daemon", [
    ("floor", "posix_spawn by the client"), ("signal", "dbus-activator, signal door"),
    ("dbus-daemon", "dbus-daemon's own spawning"), ("helper", "dbus-activator, helper door"),
    ("systemd-user", "systemd --user")])
SYSTEM = ("System bus", "reference", [
    ("systemless", "dbus-activator, without setuid"),
    ("setuid", "dbus-activator, setuid helper"),
    ("reference", "dbus-daemon-launch-helper")])
LEFT, WIDTH, ROW, OURS = 250, 760, 28, ("signal", "helper", "systemless", "setuid")


def _relative(results, arm, base):
    found = []
    for number in range(results["rounds"]):
        a = value(results, f"{arm}/latency_ns", number)
        b = value(results, f"{base}/latency_ns", number)
        if a and b:
            found.append(a / b)
    return summary(found) if found else None


def _bar(y, label, s, scale, ours):
    def x(v):
        return LEFT + v * scale

    middle = y + ROW / 2
    colour = "#2a6fb0" if ours else "#9aa3ad"
    return [f'<text x="{LEFT - 8}" y="{middle + 4:.1f}" text-anchor="end">{escape(label)}</text>',
            f'<rect x="{LEFT}" y="{y + 5}" width="{s["median"] * scale:.1f}" '
            f'height="{ROW - 10}" fill="{colour}"/>',
            f'<path d="M{x(s["min"]):.1f} {middle:.1f}H{x(s["max"]):.1f}" stroke="#222" '
            'stroke-width="1.5"/>',
            f'<text x="{x(max(s["max"], s["median"])) + 6:.1f}" y="{middle + 4:.1f}">'
            f'{s["median"]:.2f}</text>']


def svg(results):
    groups = []
    for title, base, arms in (SESSION, SYSTEM):
        rows = [(arm, label, _relative(results, arm, base)) for arm, label in arms]
        rows = [r for r in rows if r[2]]
        if rows:
            groups.append((title, base, rows))
    top = max([s["max"] for _, _, rows in groups for _, _, s in rows], default=1)
    scale = (WIDTH - LEFT - 60) / top
    lines, y = [], 34
    for title, base, rows in groups:
        name = "dbus-daemon" if base == "dbus-daemon" else "the reference helper"
        lines.append(f'<text x="8" y="{y + 16}" font-weight="bold">{title}: p50 relative to '
                     f'{name}</text>')
        y += ROW
        for arm, label, s in rows:
            lines += _bar(y, label, s, scale, arm in OURS)
            y += ROW
        y += 10
    head = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + 24}" '
            f'viewBox="0 0 {WIDTH} {y + 24}" font-family="sans-serif" font-size="13">',
            f'<rect width="{WIDTH}" height="{y + 24}" fill="#fff"/>',
            '<text x="8" y="22" font-size="15" font-weight="bold">Time until '
            'StartServiceByName answers (shorter is better)</text>']
    foot = [f'<text x="8" y="{y + 12}" fill="#555" font-size="11">Medians of '
            f'{results["rounds"]} rounds of {results["count"]} activations; the line is the '
            'smallest and the largest round.</text>', "</svg>"]
    return "\n".join(head + lines + foot) + "\n"
