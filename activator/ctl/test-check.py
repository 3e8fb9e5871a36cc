#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""`check` on files with one mistake each, on configurations and on what is installed; the plot as
XML. Needs no bus."""
import json
import os
import shutil
import subprocess
import sys
import tempfile

ctl, unit = sys.argv[1:3]
number = 0
failed = 0


def ok(condition, text, seen=""):
    global number, failed
    number += 1
    print(f"{'ok' if condition else 'not ok'} {number} - {text}")
    if not condition:
        failed += 1
        print(f"# saw: {seen}")


def check(*args, env=None):
    run = subprocess.run([ctl, "--json", "check", *args], capture_output=True, text=True,
                         env=env, timeout=60)
    return run.returncode, json.loads(run.stdout)


HEAD = "[D-BUS Service]\n"
GOOD = HEAD + "Name=test.A\nExec=/bin/true\n"
CASES = [
    # text, option, code, severity, line
    (HEAD + "Name=test.A\nExec=/nonexistent/x\n", "--session", "program-missing", "error", 3),
    (HEAD + "Name=test.A\nExec=/etc/passwd\n", "--session", "program-not-executable", "error", 3),
    (HEAD + "Name=test.A\nExec=true\n", "--session", "program-not-absolute", "error", 3),
    (HEAD + "Name=test.A\nExec=\n", "--session", "exec-empty", "error", 3),
    (HEAD + "Name=test.A\nExec=/bin/true 'x\n", "--session", "exec-syntax", "error", 3),
    (HEAD + "Name=test.A\nExec=/bin/true  \n", "--session", "trailing-blank", "warning", 3),
    (HEAD + "Name=test.A\nExec=/bin/true --c=#f\n", "--session", "exec-comment", "warning", 3),
    (HEAD + "Name=:1.5\nExec=/bin/true\n", "--session", "invalid-name", "error", 2),
    (HEAD + "Name=test.B\nExec=/bin/true\n", "--session", "file-name-mismatch", "note", 2),
    (GOOD + "Color=red\n", "--session", "unknown-key", "note", 4),
    (GOOD + "Exec=/bin/false\n", "--session", "duplicate-key", "warning", 4),
    (GOOD + " x=1\n", "--session", "parse-error", "error", 4),
    (HEAD + "Name=test.A\n", "--session", "parse-error", "error", None),
    (GOOD, "--system", "user-missing", "warning", 0),
    (GOOD + "User=nobody-at-all\n", "--system", "unknown-user", "error", 4),
    (HEAD + "Name=test.A\nExec=/bin/false\nSystemdService=no-such-unit-x.service\n", "--session",
     "unit-missing", "warning", 4),
    (HEAD + "Name=test.A\nExec=/bin/false\n", "--session", "never-starts", "note", 3),
]

with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "test.A.service")

    def write(text, to=path):
        os.makedirs(os.path.dirname(to), exist_ok=True)
        with open(to, "w", encoding="utf-8") as file:
            file.write(text)

    for text, option, code, severity, line in CASES:
        write(text)
        rc, found = check(option, path)
        hit = [f for f in found if f["code"] == code]
        others = [f for f in found if f["code"] not in (code, "file-name-mismatch")]
        ok(not others and len(hit) == 1 and hit[0]["severity"] == severity and
           hit[0]["file"] == path and line in (None, hit[0]["line"]) and
           rc == (severity == "error"), f"{code}: {severity}, status", (rc, found))
    write(GOOD)
    rc, found = check(path)
    ok(rc == 0 and found == [], "a good file has nothing", found)
    write(GOOD + "User=root\n")
    rc, found = check("--system", path)
    ok(rc == 0 and found == [], "a good system file has nothing", found)
    rc, found = check(path + ".none")
    ok(rc == 1 and found[0]["code"] == "unreadable", "a missing file", found)

    env = {**os.environ, "XDG_DATA_HOME": f"{folder}/one", "XDG_DATA_DIRS": f"{folder}/two",
           "XDG_RUNTIME_DIR": f"{folder}/run", "HOME": folder}
    first = f"{folder}/one/dbus-1/services/test.A.service"
    second = f"{folder}/two/dbus-1/services/test.A.service"
    transient = f"{folder}/run/dbus-1/services/other.service"
    write(GOOD, first)
    write(GOOD, second)
    rc, found = check("--session", env=env)
    hit = [f for f in found if f["file"] == second]
    ok(len(hit) == 1 and hit[0]["code"] == "duplicate-name" and hit[0]["severity"] == "note" and
       first in hit[0]["message"], "a name that is claimed twice, and who wins", found)
    write(GOOD, f"{folder}/one/dbus-1/services/a.service")
    rc, found = check("--session", env=env)
    ok(any(f["code"] == "duplicate-name" and f["severity"] == "warning" for f in found),
       "a name that is claimed twice in one folder", found)
    write(GOOD, transient)
    for level in ("run", "run/dbus-1", "run/dbus-1/services"):
        os.chmod(f"{folder}/{level}", 0o700)
    rc, found = check("--session", env=env)
    ok(any(f["code"] == "file-name-mismatch" and f["severity"] == "error" and
           f["file"] == transient for f in found), "a wrong file name on the transient folder",
       found)
    ok(all(transient not in f["message"] for f in found) and
       [f["file"] for f in found if f["code"] == "duplicate-name" and f["severity"] == "note"] ==
       [second], "which dbus-daemon does not read: it makes no claim", found)
    os.rename(transient, f"{folder}/run/dbus-1/services/test.A.service")
    rc, found = check("--session", env=env)
    ok({f["file"] for f in found if f["code"] == "duplicate-name" and f["severity"] == "note" and
        "/run/dbus-1/services/test.A.service too, which wins" in f["message"]} >= {first, second},
       "under its proper name it wins", found)

    write("# generated by dbus-activator\nnonsense\n", f"{folder}/one/dbus-1/services/g.service")
    rc, found = check("--session", env=env)
    ok(not any("g.service" in f["file"] for f in found), "one of our own is passed over", found)

    # What the configuration of a bus says, includes and all.
    config = f"{folder}/conf/bus.conf"
    write("<busconfig><type>session</type><servicedir>near</servicedir>"
          "<include>more.conf</include><includedir>d</includedir></busconfig>\n", config)
    write(f"<busconfig><servicedir>{folder}/far</servicedir></busconfig>\n",
          f"{folder}/conf/more.conf")
    write("<busconfig><servicedir>third</servicedir></busconfig>\n", f"{folder}/conf/d/x.conf")
    for place in ("conf/near", "far", "conf/d/third"):
        write(HEAD + "Name=test.A\nExec=/nonexistent/x\n", f"{folder}/{place}/test.A.service")
    rc, found = check("--config-file", config, env=env)
    ok(rc == 1 and [f["file"] for f in found if f["code"] == "program-missing"] ==
       [f"{folder}/{p}/test.A.service" for p in ("conf/near", "far", "conf/d/third")],
       "each folder of a configuration, in its order, and no other", found)
    ok([f["code"] for f in found].count("duplicate-name") == 2 and
       all(f"{folder}/conf/near" in f["message"] for f in found if f["code"] == "duplicate-name"),
       "the first of them wins", found)
    write("<busconfig><type>system</type><servicedir>near</servicedir></busconfig>\n", config)
    rc, found = check("--config-file", config, env=env)
    ok(rc == 1 and {f["code"] for f in found} == {"program-missing", "user-missing"},
       "of a system bus's configuration too", found)
    write("<busconfig>\n<nonsense/></busconfig>\n", config)
    run = subprocess.run([ctl, "check", "--config-file", config], capture_output=True, text=True)
    ok(run.returncode == 1 and config in run.stderr and run.stdout == "",
       "a configuration that does not parse is named", run)
    rc, found = check(f"{folder}/far")
    ok(rc == 1 and [f["file"] for f in found] == [f"{folder}/far/test.A.service"],
       "a folder by its name", found)

    # On a terminal's width, and without one.
    narrow = subprocess.run([ctl, "check", f"{folder}/far", path], capture_output=True, text=True,
                            env={**os.environ, "COLUMNS": "50"}).stdout
    ok("test.A.service\n   3: error: " in narrow and
       all(len(line) <= 50 for line in narrow.splitlines() if folder not in line),
       "lines that fit 50 columns", narrow)
    wide = subprocess.run([ctl, "check", f"{folder}/far"], capture_output=True, text=True,
                          env={k: v for k, v in os.environ.items() if k != "COLUMNS"}).stdout
    ok(wide == f"{folder}/far/test.A.service:3: error: there is no /nonexistent/x "
       "[program-missing]\n1 file: 1 error, 0 warnings, 0 notes\n", "one line a finding", wide)
    for options in (["--address", "x", path], ["--config-file", config, path],
                    ["--address", "x", "--config-file", config]):
        run = subprocess.run([ctl, "check", *options], capture_output=True, text=True)
        ok(run.returncode == 2, f"check {options[0]} {options[-1]} is refused", run)

    def is_true(finding):
        """The alarms that can be seen to be right in another way."""
        words = finding["message"].split()
        if finding["code"] == "program-missing":
            return not os.path.exists(words[-1])
        return finding["code"] == "unit-missing" and not any(
            os.path.exists(f"{base}/systemd/{kind}/{words[4].rstrip(',')}")
            for base in ("/etc", "/usr/lib", "/lib") for kind in ("system", "user"))

    rc, found = check(env={**os.environ, "XDG_DATA_HOME": f"{folder}/none"})
    loud = [f for f in found if f["severity"] != "note"]
    false = [f for f in loud if not is_true(f)]
    ok(not false, "no false alarm on what is installed here", false)

    if shutil.which("xmllint"):
        for count in (0, 1, 5, 200, 512):
            svg = subprocess.run([unit, "plot", str(count)], capture_output=True).stdout
            lint = subprocess.run(["xmllint", "--noout", "-"], input=svg, capture_output=True)
            ok(lint.returncode == 0 and len(svg) < 1_000_000, f"plot of {count} runs is XML",
               lint.stderr)
    else:
        number += 1
        print(f"ok {number} - plot is XML # SKIP no xmllint")
print(f"1..{number}")
sys.exit(failed > 0)
