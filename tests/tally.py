#!/usr/bin/env python3
"""Counting test cases. Reads the JUnit files that ctest wrote, counts the cases inside each test
program (Catch2's summary, TAP lines of scripts), lists what failed and what was skipped, and prints the closing
line `N passed, N failed[, N skipped]`. Exit code 1 on any failure.

usage: tally.py [--leftovers TEXT] RESULTS.xml...
       tally.py --list BUILD-DIRECTORY
"""
import argparse
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

TAP = re.compile(r"^(ok|not ok)\b(?: +\d+)?(?: *-)? *(.*?)(?: *# *SKIP\b *(.*))?$", re.MULTILINE)
CATCH_ALL = re.compile(r"^All tests passed \(.* in (\d+) test cases?\)", re.MULTILINE)
CATCH_SOME = re.compile(r"^test cases: .*$", re.MULTILINE)
CATCH_FAILED = re.compile(r"^\S+:\d+: FAILED:\n(?:(?![-=.]{60}).*\n?)*", re.MULTILINE)
TAP_FAILED = re.compile(r"(?:^# .*\n)*^not ok\b.*\n?(?:^# .*\n?)*", re.MULTILINE)
# Where only the end of the output is kept, the reasons shall be in it: this much of them.
MOST_EXCERPTS, MOST_LINES = 3, 60
# Reasons that are no excuse where CI promises a machine that has them.
PROMISED = re.compile(r"needs (FUSE|root|user namespaces)", re.IGNORECASE)


class Tally:
    """The sums over all programs."""

    def __init__(self, strict):
        self.strict = strict
        self.passed = 0
        self.failures = []
        self.skips = []
        self.excerpts = []

    def skip(self, name, reason):
        if self.strict and PROMISED.search(reason):
            self.failures.append(f"{name}: skipped although CI promises it: {reason}")
        else:
            self.skips.append(f"{name}: {reason}")

    def program(self, name, status, output):
        """Adds one test program. A program that failed adds at least one failure, whatever it printed."""
        if status == "skipped":
            # A program without a reason is held to have wanted what CI promises.
            lines = [line for line in output.strip().splitlines() if line.strip()]
            self.skip(name, lines[-1] if lines else "needs FUSE, root or user namespaces (no reason given)")
            return
        failures_before = len(self.failures)
        tap = TAP.findall(output)
        for verdict, case, reason in tap:
            if verdict == "not ok":
                self.failures.append(f"{name}: {case}")
            elif reason:
                self.skip(f"{name}: {case}", reason)
            else:
                self.passed += 1
        counted = bool(tap)
        if match := CATCH_ALL.search(output):
            self.passed += int(match.group(1))
            counted = True
        elif match := CATCH_SOME.search(output):
            numbers = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|skipped)", match.group(0))}
            self.passed += numbers.get("passed", 0)
            self.failures += [f"{name}: a failed case"] * numbers.get("failed", 0)
            for _ in range(numbers.get("skipped", 0)):
                self.skip(name, "a case that the program skipped")
            counted = True
        for excerpt in (CATCH_FAILED.findall(output) + TAP_FAILED.findall(output))[:MOST_EXCERPTS]:
            self.excerpts.append(f"{name}: " + "\n".join(excerpt.rstrip().splitlines()[-MOST_LINES:]))
        if status == "failed" and len(self.failures) == failures_before:
            self.failures.append(f"{name}: crashed, timed out or ended with an error")
        elif status == "passed" and not counted:
            self.passed += 1


def status_of(case):
    if case.find("failure") is not None or case.get("status") == "fail":
        return "failed"
    if case.find("skipped") is not None or case.get("status") in ("notrun", "disabled"):
        return "skipped"
    return "passed"


def list_tests(build):
    answer = subprocess.run(["ctest", "--test-dir", build, "--show-only=json-v1"], check=True, capture_output=True)
    for test in json.loads(answer.stdout)["tests"]:
        labels = [p["value"] for p in test.get("properties", []) if p["name"] == "LABELS"]
        print(f"{','.join(labels[0]) if labels else '-':10} {test['name']}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", metavar="BUILD-DIRECTORY")
    parser.add_argument("--leftovers", default="")
    parser.add_argument("results", nargs="*")
    arguments = parser.parse_args()
    if arguments.list:
        list_tests(arguments.list)
        return 0
    tally = Tally(strict=os.environ.get("CI", "") == "true")
    for path in arguments.results:
        preset = os.path.basename(os.path.dirname(path))
        prefix = f"{preset}/" if len(arguments.results) > 1 else ""
        try:
            root = ElementTree.parse(path).getroot()
        except (OSError, ElementTree.ParseError) as error:
            tally.failures.append(f"{prefix}ctest left no results: {error}")
            continue
        for case in root.iter("testcase"):
            tally.program(prefix + case.get("name", "?"), status_of(case), case.findtext("system-out") or "")
    for line in arguments.leftovers.splitlines():
        tally.failures.append(f"left behind: {line}")
    if tally.passed == 0 and not tally.failures:
        tally.failures.append("no test ran")
    print()
    for line in tally.skips:
        print(f"skipped: {line}")
    for text in tally.excerpts:
        print(f"{text}\n")
    for line in tally.failures:
        print(f"FAILED: {line}")
    print()
    skipped = f", {len(tally.skips)} skipped" if tally.skips else ""
    print(f"{tally.passed} passed, {len(tally.failures)} failed{skipped}", flush=True)
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
