#!/usr/bin/env python3
"""Shows that clang refuses the planted offences of lock_misuse.cc, each on its line, and nothing else there. Prints
TAP; without clang it is skipped.

usage: lock_misuse.py SOURCE-DIRECTORY
"""
import os
import re
import shutil
import subprocess
import sys

SKIPPED = 77


def main():
    top = sys.argv[1]
    clang = shutil.which("clang++")
    if clang is None:
        print("1..0 # SKIP there is no clang++")
        return SKIPPED
    file = os.path.join(top, "tests/unit/base/lock_misuse.cc")
    with open(file, encoding="utf-8") as text:
        lines = text.read().splitlines()
    planted = {number for number, line in enumerate(lines, 1) if line.endswith("// refused")}
    done = subprocess.run([clang, "-std=c++20", "-fsyntax-only", "-Wthread-safety", "-I", top, file],
                          capture_output=True, text=True, check=False)
    refused = {int(n) for n in re.findall(r"lock_misuse\.cc:(\d+):\d+: warning: .*\[-Wthread-safety", done.stderr)}
    results = [("it compiles", done.returncode == 0), ("nothing that is right is refused", refused <= planted)]
    results += [(f"line {number} is refused", number in refused) for number in sorted(planted)]
    print(f"1..{len(results)}")
    for number, (name, good) in enumerate(results, 1):
        print(f"{'ok' if good else 'not ok'} {number} - {name}")
    if all(good for _, good in results):
        return 0
    print("# " + done.stderr.replace("\n", "\n# "))
    return 1


sys.exit(main())
