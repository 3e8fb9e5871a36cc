#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What is written about the programs is true: the commands of README.md and of the man pages work,
the pages render, and man page, --help and completions know the same commands and options."""
import os
import pathlib
import re
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness import *  # noqa: E402

SOURCE = pathlib.Path(__file__).resolve().parents[2]
PAGES = sorted((SOURCE / "data/man").glob("*.scd"))
TOOLS = ("dbus-send", "gdbus", "busctl", "dbus-activatorctl")
# They go on until they are told to stop.
ENDLESS = re.compile(r"\b(log -f|monitor)\b")


def shell_env(world, bus):
    folders = [str(world.program("ctl")), str(world.program("session")), os.environ["PATH"]]
    return {**world.env, "PATH": ":".join(folders), "DBUS_SESSION_BUS_ADDRESS": bus.address,
            "DBUS_SYSTEM_BUS_ADDRESS": bus.address}


def session_for_examples(world):
    """A session with what the examples name, the real ones where they are installed."""
    world.env.update(XDG_DATA_DIRS="/usr/local/share:/usr/share", NO_AT_BRIDGE="1")
    for name in ("ca.desrt.dconf", "org.xfce.Xfconf"):
        if not pathlib.Path(f"/usr/share/dbus-1/services/{name}.service").exists():
            world.service(name, f"name {name}")
    bus, activator = world.both("signal")
    for name in ("ca.desrt.dconf", "org.xfce.Xfconf"):
        bus.begin_start(name).result()
    return bus, activator


def sh(world, bus, text, what):
    """Runs it in a shell, answers (status, output); one that is endless is interrupted as soon as
    it has connected and said what there was."""
    output = world.path / "example"
    with open(output, "wb") as out:
        popen = subprocess.Popen(["sh", "-c", text], env=shell_env(world, bus), cwd=world.path,
                                 stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
    if ENDLESS.search(text):
        running = stays_true(lambda: popen.poll() is None)
        for pid in [popen.pid, *below(popen.pid)]:
            signal_pid(pid, 2)
        wait_for(lambda: popen.poll() is not None, f"the end of {what}")
        return 0 if running else popen.returncode, output.read_text(errors="replace")
    wait_for(lambda: popen.poll() is not None, f"the end of {what}")
    return popen.returncode, output.read_text(errors="replace")


def commands(block):
    """(settings, [command]) of an indented or fenced block."""
    joined = re.sub(r"\\+\n\s*", "", "\n".join(block))
    lines = [re.sub(r"^\$ ", "", line.strip()) for line in joined.split("\n")]
    settings = " ".join(line for line in lines if re.fullmatch(r"(\w+=\S+ ?)+", line))
    return settings, [line for line in lines if line.split(" ")[0] in TOOLS]


def run_all(world, bus, settings, lines):
    for line in lines:
        if not shutil.which(line.split()[0], path=shell_env(world, bus)["PATH"]):
            raise Skip(f"{line.split()[0]} is not installed")
        status, text = sh(world, bus, f"{settings}\n{line}", line)
        # What check finds and what runs is this machine's business: both are answers.
        also = 1 if " check" in line else 3 if " status " in line else 0
        check(status in (0, also), line, text)


@case("the commands of README.md")
def _(world):
    bus, _activator = session_for_examples(world)
    blocks, block = [], []
    for line in (SOURCE / "README.md").read_text().splitlines() + ["end"]:
        if line.startswith("    "):
            block.append(line)
        elif line and block:
            blocks.append(block)
            block = []
    count = 0
    for block in blocks:
        settings, lines = commands(block)
        run_all(world, bus, settings, lines)
        count += len(lines)
    check(count >= 15, "all of them were found", count)
    wanted = {"ListServices", "GetService", "ListProcesses", "ListActivations", "GetLog"}
    queries = set(re.findall(r"^    dbus-send .*\$A\.(\w+)", (SOURCE / "README.md").read_text(),
                             re.M))
    check_equal(queries, wanted, "each status query is shown with dbus-send")


@case("the commands of the man pages")
def _(world):
    bus, _activator = session_for_examples(world)
    # What the example of `check` looks at.
    (world.path / ".local/share/dbus-1/services").mkdir(parents=True)
    shutil.copy(next(world.services.glob("*.service"), "/usr/share/dbus-1/services/"
                     "ca.desrt.dconf.service"), world.path / ".local/share/dbus-1/services")
    seen = set()
    for page in PAGES:
        settings = ""
        for block in re.findall(r"^```\n(.*?)^```$", page.read_text(), re.M | re.S):
            more, lines = commands(block.splitlines())
            settings = more or settings
            lines = [line for line in lines if "jq" not in line or shutil.which("jq")]
            run_all(world, bus, settings, lines)
            seen |= {line.split()[0] for line in lines}
    check_equal(seen, set(TOOLS), "with each of the tools")


@case("the man pages render")
def _(world):
    if not shutil.which("scdoc") or not shutil.which("man"):
        raise Skip("scdoc or man is not installed")
    for page in PAGES:
        out = world.path / page.stem
        with open(page, "rb") as text, open(out, "wb") as roff:
            check_equal(subprocess.run(["scdoc"], stdin=text, stdout=roff, check=False).returncode,
                        0, f"scdoc {page.name}")
        done = subprocess.run(["man", "--warnings", "-l", str(out)], capture_output=True,
                              env={**world.env, "MANWIDTH": "80", "MANPAGER": "cat"}, check=False)
        lines = done.stdout.decode().splitlines()
        check(done.returncode == 0 and not done.stderr and len(lines) > 20,
              f"man {page.stem}: no warnings", done.stderr.decode())
        check(max(map(len, lines)) <= 80, f"man {page.stem}: 80 columns",
              [line for line in lines if len(line) > 80])
    programs = {p.stem.rsplit(".", 1)[0] for p in PAGES}
    installed = {"dbus-activatord", "dbus-activator-reaper", "dbus-activator-launch-helper",
                 "dbus-activator-session", "dbus-activatorctl"}
    check_equal(programs, installed | {"dbus-activator"}, "a page for every program")


def ctl_help(world, *args):
    got = subprocess.run([str(world.program("ctl/dbus-activatorctl")), *args, "--help"],
                         capture_output=True, env=world.env, check=False)
    return got.stdout.decode()


@case("every command and option is documented and completed")
def _(world):
    page = (SOURCE / "data/man/dbus-activatorctl.1.scd").read_text()
    texts = {shell: (SOURCE / f"data/completions/{shell}").read_text()
             for shell in ("bash", "zsh", "fish")}
    names = re.findall(r"^  ([a-z]+) ", ctl_help(world).split("Commands:")[1], re.M)
    check(len(names) >= 13, "the commands", names)
    for name in names:
        check(re.search(rf"^\*{name}\b", page, re.M), f"man page: {name}")
        options = re.findall(r"^ +(?:-\w, )?--([a-z-]+)", ctl_help(world, name), re.M)
        for option in options:
            if option.startswith("help"):
                continue
            check(f"--{option}" in page, f"man page: {name} --{option}")
            for shell, text in texts.items():
                mark = f"-l {option}" if shell == "fish" else f"--{option}"
                check(mark in text, f"{shell}: {name} --{option}")
        for shell, text in texts.items():
            check(re.search(rf"\b{name}\b", text), f"{shell}: {name}")


BASH = """. {file}
COMP_WORDS=({words}); COMP_CWORD=$(({count} - 1)); COMPREPLY=()
_dbus_activatorctl
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
# A terminal of its own, on which the completion is asked for as by a person: not before the line
# editor has that terminal, for until then it is the kernel that reads what is typed.
ZSH = """zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "PS1= ; BAUD=0; fpath=({folder} \\$fpath); autoload -U compinit; compinit -u -D"
zpty -w shell "zstyle ':completion:*' list-separator ''; LISTMAX=999; bindkey '^I' complete-word"
zpty -w shell "zstyle ':completion:*:default' list-prompt ''; unsetopt ALWAYS_LAST_PROMPT"
zpty -w shell "tell() {{ print -rn -- TO''LD \\$BUFFER END }}; zle -N tell; bindkey '^T' tell"
zpty -w shell "zle-line-init() {{ print -n REA''DY }}; zle -N zle-line-init"
zpty -r -m shell line '*READY*'
zpty -w -n shell '{words}'$'\\t'$'\\x14'
zpty -r -m shell line '*TOLD*END*'
print -r -- "$line"
"""


def ask_bash(world, bus, words):
    done = subprocess.run(["bash", "-c", BASH.format(
        file=SOURCE / "data/completions/bash", words=" ".join(f"'{w}'" for w in words),
        count=len(words))], env=shell_env(world, bus), capture_output=True, check=False)
    return done.stdout.decode().split(), done.stderr.decode()


def ask_fish(world, bus, words):
    script = f"source {SOURCE}/data/completions/fish; complete -C '{' '.join(words)}'"
    done = subprocess.run(["fish", "--no-config", "-c", script], capture_output=True,
                          env=shell_env(world, bus), check=False)
    return [line.split("\t")[0] for line in done.stdout.decode().splitlines()], \
        done.stderr.decode()


def ask_zsh(world, bus, words):
    folder = world.path / "zsh"
    folder.mkdir(exist_ok=True)
    shutil.copy(SOURCE / "data/completions/zsh", folder / "_dbus-activatorctl")
    done = subprocess.run(["zsh", "-f", "-c", ZSH.format(folder=folder, words=" ".join(words))],
                          env={**shell_env(world, bus), "TERM": "dumb"}, capture_output=True,
                          stdin=subprocess.DEVNULL, timeout=BOUND, check=False)
    return re.findall(r"[\w.-]+", done.stdout.decode(errors="replace")), done.stderr.decode()


for the_shell, the_ask in (("bash", ask_bash), ("fish", ask_fish), ("zsh", ask_zsh)):
    @case(f"completions of {the_shell}")
    def _(world, shell=the_shell, ask=the_ask):
        if not shutil.which(shell):
            raise Skip(f"{shell} is not installed")
        world.service("test.Alpha", "name test.Alpha")
        world.service("test.Beta", "name test.Beta")
        bus, _activator = world.both("signal")
        for words, wanted, unwanted in (
                (("status", "test."), {"test.Alpha", "test.Beta"}, {"list"}),
                (("stop", "test.Al"), {"test.Alpha"}, {"test.Beta"}),
                (("mon",), {"monitor"}, {"list"}), (("history", "--s"), {"--slowest"}, {"--all"}),
                (("check", "--config"), {"--config-file"}, {"--names"})):
            found, errors = ask(world, bus, ("dbus-activatorctl", *words))
            check(wanted <= set(found) and not unwanted & set(found) and not errors,
                  " ".join(words), f"{found}\n{errors}")


main()
