#!/usr/bin/env python3
"""Whether each header compiles by itself, and on demand each source without its neighbours, with every compiler that is
here: a unity build, or an older library's headers, may bring what a file has forgotten to include. Prints TAP.

usage: headers.py BUILD-DIRECTORY [--sources] [COMPILER... | others]
"""
import concurrent.futures
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import precompiled
from lint import tracked

COMPILERS = ("clang++", "g++", "g++-12", "g++-14")
MANY = 20
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)


def build_flags(build):
    """What the build's own commands say of language, macros and directories, all targets together; its compiler."""
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as file:
        commands = json.load(file)
    flags = {}
    for entry in commands:
        words = shlex.split(entry["command"])
        for word, following in zip(words, words[1:] + [""]):
            if word == "-isystem":
                flags[(word, following)] = True
            elif word.startswith(("-I", "-D", "-std=")):
                flags[(word,)] = True
    own = next(w for w in shlex.split(commands[0]["command"]) if re.search(r"(\+\+|/cc|/gcc)(-[\d.]+)?$", w))
    return [word for words in flags for word in words], own


def compilers(own, wanted):
    """{"g++ 12.2.0": path}: those that are named, or the build's own; `others` stands for those of COMPILERS that are
    installed beside it."""
    def version(path):
        said = subprocess.run([path, "--version"], capture_output=True, text=True).stdout
        number = re.search(r"\d+\.\d+\.\d+", said)
        return ("clang " if "clang" in said else "g++ ") + (number.group() if number else said)

    if wanted == ["others"]:
        paths = [path for path in map(shutil.which, COMPILERS) if path and version(path) != version(own)]
    else:
        paths = [shutil.which(name) or sys.exit(f"there is no compiler {name}") for name in wanted or [own]]
    return {version(path): path for path in reversed(paths)}


class Texts:
    """The project's files, and what of the project each includes, by itself or through others."""

    def __init__(self, top, more):
        self.top, self.roots = top, [top, os.path.join(top, "tests"), *more]
        self.read, self.digests = {}, {}

    def text(self, path):
        if path not in self.read:
            with open(path, "rb") as file:
                self.read[path] = file.read()
        return self.read[path]

    def resolve(self, path, name):
        """The file of the project that an include of the path means, None if there is none."""
        candidates = (os.path.normpath(os.path.join(root, name)) for root in (os.path.dirname(path), *self.roots))
        return next(filter(os.path.isfile, candidates), None)

    def digest(self, path):
        """Of the file and all that it includes."""
        seen, rest = set(), [path]
        while rest:
            each = rest.pop()
            if each in seen:
                continue
            seen.add(each)
            names = INCLUDE.findall(self.text(each).decode("utf-8", "replace"))
            rest.extend(filter(None, (self.resolve(each, name) for name in names)))
        whole = hashlib.sha256()
        for each in sorted(seen):
            whole.update(each.encode() + b"\0" + self.text(each))
        return whole.hexdigest()


class Content:
    """Marks of what a compiler was content with: so it stays while the file, what it includes, compiler and flags do."""

    def __init__(self, path):
        self.path = path
        try:
            with open(path, encoding="ascii") as file:
                self.before = set(file.read().split())
        except OSError:
            self.before = set()

    def keep(self, marks):
        with open(self.path + ".new", "w", encoding="ascii") as file:
            file.write("\n".join(sorted(marks)))
        os.replace(self.path + ".new", self.path)


def compile_one(compiler, flags, top, path):
    """What the compiler says, empty if it is content."""
    source = f'#include "{path}"\n' if path.endswith(".h") else None
    command = [compiler, *flags, "-w", "-fsyntax-only", "-x", "c++", "-" if source else os.path.join(top, path)]
    done = subprocess.run(command, input=source, cwd=top, capture_output=True, text=True)
    return "" if done.returncode == 0 else next((l for l in done.stderr.splitlines() if "error" in l), done.stderr[-300:])


def compile_all(compiler, version, flags, texts, paths, within):
    """{path: what the compiler says}. A few precompiled headers spare most of the work, where there is much."""
    sets = {p: precompiled.atoms(texts, os.path.join(texts.top, p)) for p in paths}
    with precompiled.Precompiled(compiler, version.startswith("clang"), flags, within) as libraries:
        if len(paths) >= MANY:
            libraries.prepare(sets)
        with concurrent.futures.ThreadPoolExecutor(precompiled.processors()) as pool:
            return dict(zip(paths, pool.map(
                lambda p: compile_one(compiler, [*flags, *libraries.arguments(sets[p])], texts.top, p), paths)))


def main():
    words = [w for w in sys.argv[1:] if w != "--sources"]
    if not words:
        sys.exit(__doc__)
    build, named = os.path.abspath(words[0]), words[1:]
    top = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
    kinds = (".h", ".cc") if "--sources" in sys.argv else (".h",)
    flags, own = build_flags(build)
    texts = Texts(top, [f[2:] for f in flags if f.startswith("-I")])
    paths = [p for p in tracked(top) if p.endswith(kinds)]
    here = compilers(own, named)
    if not here:
        print("1..0 # SKIP no other compiler is installed")
        return 77
    content = Content(os.path.join(build, "headers.content"))
    good = set()
    failed = 0
    print(f"1..{len(here)}")
    for number, (version, compiler) in enumerate(here.items(), 1):
        marks = {p: hashlib.sha256(f"{version} {flags} {p} {texts.digest(os.path.join(top, p))}".encode()).hexdigest()
                 for p in paths}
        rest = [p for p in paths if marks[p] not in content.before]
        said = compile_all(compiler, version, flags, texts, rest, build)
        good.update(marks[p] for p in paths if not said.get(p))
        wrong = {p: text for p, text in said.items() if text}
        failed += bool(wrong)
        print(f"{'not ok' if wrong else 'ok'} {number} - {len(paths)} files compile by themselves with {version}"
              f" ({len(rest)} of them anew)", flush=True)
        for path, text in sorted(wrong.items()):
            print(f"# {path}: {text}")
    content.keep(content.before | good)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
