#!/usr/bin/env python3
"""What clang says of the locks (-Wthread-safety) and clang-tidy of the rest (.clang-tidy), for every source whose rules
it knows, whatever compiler the build is made with. The sources of a folder are read eight at a time, since headers are
most of the work; where a group has an offence, or its files do not go together, each is read by itself. Prints TAP.

usage: clang_checks.py BUILD-DIRECTORY locks|tidy
"""
import concurrent.futures
import hashlib
import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile

import precompiled
from headers import MANY, Content, Texts, build_flags
from lint import tracked

GROUP = 8
LOCK_FOLDERS = ("fusefs/", "quota/")
TIDY_FOLDERS = ("fusefs/", "quota/", "tools/")
TIDY_MAJOR = 14  # versions differ in what they find; this one decides


def locks(compiler, flags, top, paths):
    """What clang complains of in the sources, read as one."""
    text = "".join(f'#include "{path}"\n' for path in paths)
    done = subprocess.run([compiler, *flags, "-fsyntax-only", "-Wthread-safety", "-Werror", "-x", "c++", "-"],
                          input=text, cwd=top, capture_output=True, text=True)
    lines = [line for line in done.stderr.splitlines() if re.search(r": (error|fatal error):", line)]
    return [] if done.returncode == 0 else lines or [done.stderr[-300:]]


def tidy(program, flags, top, paths):
    """What clang-tidy complains of in the sources, read as one."""
    with tempfile.NamedTemporaryFile("w", suffix=".cc", prefix="troot-lint-", encoding="utf-8") as file:
        file.write("".join(f'#include "{os.path.join(top, path)}"\n' for path in paths))
        file.flush()
        done = subprocess.run([program, "--quiet", f"--config-file={os.path.join(top, '.clang-tidy')}", file.name,
                               "--", *flags, "-w", "-x", "c++"], cwd=top, capture_output=True, text=True)
    found = [line for line in done.stdout.splitlines() if re.search(r": (warning|error|fatal error):", line)]
    return sorted({line.replace(top + "/", "") for line in found})


CHECKS = {"locks": (locks, LOCK_FOLDERS), "tidy": (tidy, TIDY_FOLDERS)}


def groups(paths):
    """Of the files of one folder, at most GROUP together."""
    for _, folder in itertools.groupby(paths, os.path.dirname):
        folder = list(folder)
        for at in range(0, len(folder), GROUP):
            yield folder[at:at + GROUP]


def read(check, program, flags, top, group):
    """{path: complaints} of the group."""
    if not check(program, flags, top, group):
        return {path: [] for path in group}
    return {path: check(program, flags, top, [path]) for path in group}


def program_of(name):
    """The path and the version of the program that the check needs, or why there is none."""
    names = ("clang++", "clang++-14") if name == "locks" else (f"clang-tidy-{TIDY_MAJOR}", "clang-tidy")
    path = next(filter(None, map(shutil.which, names)), None)
    if not path:
        return None, f"{names[0]} is not installed"
    said = subprocess.run([path, "--version"], capture_output=True, text=True).stdout
    version = re.search(r"version (\d+)[\d.]*", said)
    if name == "tidy" and version.group(1) != str(TIDY_MAJOR):
        return None, f"the checks are those of clang-tidy {TIDY_MAJOR}; here is {version.group()}"
    return path, version.group()


def read_all(name, program, flags, texts, paths, within):
    """{path: complaints} of all. For the locks, what their libraries have in common is precompiled."""
    check = CHECKS[name][0]
    with precompiled.Precompiled(program, True, flags, within) as libraries:
        if name == "locks" and len(paths) >= MANY:
            libraries.prepare_common({p: precompiled.atoms(texts, os.path.join(texts.top, p)) for p in paths})
        said = {}
        with concurrent.futures.ThreadPoolExecutor(precompiled.processors()) as pool:
            more = [*flags, *libraries.arguments(frozenset())]
            for each in pool.map(lambda group: read(check, program, more, texts.top, group), groups(paths)):
                said.update(each)
    return said


def main():
    if len(sys.argv) != 3 or sys.argv[2] not in CHECKS:
        sys.exit(__doc__)
    build, name = os.path.abspath(sys.argv[1]), sys.argv[2]
    top = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
    _, folders = CHECKS[name]
    program, version = program_of(name)
    if not program:
        print(f"1..0 # SKIP {version}")
        return 77
    flags, _ = build_flags(build)
    texts = Texts(top, [f[2:] for f in flags if f.startswith("-I")])
    paths = [p for p in tracked(top) if p.endswith(".cc") and p.startswith(folders)]
    rules = texts.text(os.path.join(top, ".clang-tidy")) if name == "tidy" else b""
    content = Content(os.path.join(build, f"{name}.content"))
    marks = {p: hashlib.sha256(f"{version} {flags} {rules} {p} {texts.digest(os.path.join(top, p))}".encode()).hexdigest()
             for p in paths}
    rest = [p for p in paths if marks[p] not in content.before]
    said = read_all(name, program, flags, texts, rest, build)
    wrong = {path: lines for path, lines in said.items() if lines}
    content.keep(marks[p] for p in paths if p not in wrong)
    print(f"1..1\n{'not ok' if wrong else 'ok'} 1 - {name}: {len(paths)} sources, {len(rest)} of them read anew")
    for line in sorted({line for lines in wrong.values() for line in lines}):
        print(f"# {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
