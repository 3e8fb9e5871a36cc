# SPDX-License-Identifier: MIT
"""Counts test points in JUnit files that meson wrote.

Usage: count.py [--strict] MAY-SKIP FILE...

Prints what failed or was skipped and, last, "N passed, N failed, N skipped". With --strict a
skipped point is a failure unless a line of MAY-SKIP (a regular expression) matches its name.
The status is 1 when anything failed or nothing passed."""
import re
import sys
import xml.etree.ElementTree as ElementTree


def points(path):
    """(name, outcome, text) of each point; a file without any is one failure."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            # Meson copies what a program wrote as it is; XML has no place for some of it.
            text = re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?",
                          file.read())
        tree = ElementTree.ElementTree(ElementTree.fromstring(text.encode()))
    except (OSError, ElementTree.ParseError) as error:
        yield path, "failed", f"no results: {error}"
        return
    for suite in tree.iter("testsuite"):
        cases = list(suite.iter("testcase"))
        # A program that died, or was ended by its timeout, may have no failing point of its own.
        bad = any(c.find("failure") is not None or c.find("error") is not None for c in cases)
        for case in cases:
            name = f"{suite.get('name', '?')}: {case.get('name', '?')}"
            failure = case.find("failure")
            failure = case.find("error") if failure is None else failure
            skipped = case.find("skipped")
            if failure is not None:
                text = failure.get("message") or failure.text or ""
                output = case.find("system-out")
                yield name, "failed", text + (output.text or "" if output is not None else "")
            elif skipped is not None:
                yield name, "skipped", skipped.get("message") or skipped.text or ""
            else:
                yield name, "passed", ""
        if not bad and (int(suite.get("errors", 0)) or int(suite.get("failures", 0))):
            yield suite.get("name", "?"), "failed", "it ended badly"


def main():
    arguments = [a for a in sys.argv[1:] if a]
    strict = "--strict" in arguments
    files = [a for a in arguments if a != "--strict"]
    with open(files[0], encoding="utf-8") as lines:
        allowed = [re.compile(line.strip()) for line in lines
                   if line.strip() and not line.startswith("#")]
    count = {"passed": 0, "failed": 0, "skipped": 0}
    for path in files[1:]:
        for name, outcome, text in points(path):
            if outcome == "skipped" and strict and not any(a.search(name) for a in allowed):
                outcome, text = "failed", f"skipped, which is not allowed here: {text}"
            count[outcome] += 1
            if outcome != "passed":
                print(f"{outcome}: {name}")
                for line in text.strip().splitlines()[-40:]:
                    print(f"    {line[:300]}")
    print("{passed} passed, {failed} failed, {skipped} skipped".format(**count))
    sys.exit(1 if count["failed"] or not count["passed"] else 0)


main()
