#!/usr/bin/env python3
"""Whether a room of fusefs calls only what lies below it, and no two files call each other: read from the symbols of the
object files (nm). It does not see calls through pointers and virtual functions, nor inline functions and templates,
which the table of includes in lint.py sees. Files of one class that is defined over several files count as one. A unity
build hides which file calls: then only rooms are compared. Prints TAP.

usage: calls.py BUILD-DIRECTORY
"""
import collections
import glob
import os
import re
import shutil
import subprocess
import sys

from lint import BELOW, ROOF

# One class, or one table of functions, over several files.
ONE = [r"fuse/ops(_\w+)?$", r"serve/ring(_plan)?$", r"verbs/rename(_prepare)?$"]


def parts_of(build):
    """[(room, file or None, defined, needed)] of each object file in the rooms' libraries. `file` is None in a unity
    build. Libraries, since objects of files that moved away stay behind in a build directory."""
    parts = []
    for path in sorted(glob.glob(os.path.join(build, "fusefs", "libfusefs_*.a"))):
        library = re.search(r"libfusefs_(\w+)\.a$", path).group(1)
        room = ROOF if library == "union" else library
        if room not in BELOW:
            continue
        for block in subprocess.run(["nm", path], capture_output=True, text=True, check=True).stdout.split("\n\n"):
            title, *lines = block.strip().splitlines()
            defined, needed = set(), set()
            for kind, name in (line.split()[-2:] for line in lines):
                if kind in "TDBR":
                    defined.add(name)
                elif kind == "U":
                    needed.add(name)
            parts.append((room, None if title.startswith("unity_") else f"{room}/{title.split('.')[0]}", defined, needed))
    return parts


def name_of(file):
    """The file, or the class that it is a part of."""
    return next((pattern for pattern in ONE if re.match(pattern, file)), file)


def circles(edges):
    """Sets of nodes that reach each other (Tarjan), as sorted lists."""
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(edges.get(node, ())):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            at = stack.index(node)
            if len(stack) - at > 1:
                found.append(sorted(stack[at:]))
            del stack[at:]

    for node in sorted(edges):
        if node not in index:
            visit(node)
    return found


def compare(parts):
    """Complaints about [(room, file or None, defined, needed)]."""
    home = {symbol: (room, file) for room, file, defined, _ in parts for symbol in defined}
    edges, upward = collections.defaultdict(set), set()
    for room, file, _, needed in parts:
        for symbol in needed & home.keys():
            to_room, to_file = home[symbol]
            if to_room != room and to_room not in BELOW[room]:
                upward.add(f"{file or room} calls {to_file or to_room}, which does not lie below it: {symbol}")
            if file and to_file and name_of(file) != name_of(to_file):
                edges[name_of(file)].add(name_of(to_file))
    return sorted(upward), [f"a circle of files: {' '.join(circle)}" for circle in circles(edges)]


def main():
    if not shutil.which("nm"):
        print("1..0 # SKIP nm (binutils) is not installed")
        return 77
    parts = parts_of(sys.argv[1])
    if {room for room, *_ in parts} != BELOW.keys() - {"words"}:
        print(f"1..1\nnot ok 1 - a library for each room in {sys.argv[1]}")
        return 1
    upward, round_ = compare(parts)
    unity = any(file is None for _, file, _, _ in parts)
    print("1..2")
    print(f"{'not ok' if upward else 'ok'} 1 - no room calls upwards")
    print("".join(f"# {line}\n" for line in upward), end="")
    if unity:
        print("ok 2 - no circle of files # SKIP a unity build does not tell files apart")
    else:
        print(f"{'not ok' if round_ else 'ok'} 2 - no circle of files")
        print("".join(f"# {line}\n" for line in round_), end="")
    return 1 if upward or round_ else 0


if __name__ == "__main__":
    sys.exit(main())
