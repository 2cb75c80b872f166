"""Library headers, precompiled for the compilers of the lint: reading <string> and its like is most of what it costs to
read a file of ours. What is precompiled for a file is never more than what it includes itself, or a header of ours that
it includes, which has its own turn: so it cannot bring what the file forgot."""
import concurrent.futures
import os
import re
import subprocess
import tempfile

from lint import without_comments

LINE = re.compile(r'#\s*include\s*(<[^>]+>|"[^"]+")$')
# Of precompiled headers there are few: each costs about what reading it once or twice does.
MOST, WORTH = 16, 3
CANDIDATES = 400


def processors():
    return len(os.sched_getaffinity(0))


def top_includes(text):
    """What a file includes above its first line of anything else, and whether there is none below, or inside an #if."""
    found, plain = [], True
    for line in map(str.strip, without_comments(text, True).splitlines()):
        if match := LINE.match(line):
            if plain:
                found.append(match.group(1))
            else:
                return found, False
        elif line and line != "#pragma once":
            plain = False
    return found, True


def atoms(texts, path, seen=None):
    """What the file brings of libraries, as lines after #include; and headers of ours, by their paths, that bring theirs
    under conditions. `texts` is a headers.Texts."""
    seen = set() if seen is None else seen
    seen.add(path)
    names, plain = top_includes(texts.text(path).decode("utf-8", "replace"))
    found = set()
    if not plain and len(seen) > 1:
        found.add(f'"{path}"')
    for name in names:
        if name.startswith("<"):
            found.add(name)
        elif (inner := texts.resolve(path, name[1:-1])) and inner not in seen:
            found |= atoms(texts, inner, seen)
    return frozenset(found)


def source(names):
    """The libraries' first, since ours may define what theirs go by."""
    return "".join(f"#include {name}\n" for name in sorted(names, key=lambda name: (name.startswith('"'), name)))


def files_of(compiler, flags, name):
    """{file: bytes} of all that one include reads, empty if the compiler does not get through it."""
    done = subprocess.run([compiler, *flags, "-w", "-M", "-x", "c++", "-"], input=source([name]), capture_output=True, text=True)
    if done.returncode != 0:
        return {}
    words = done.stdout.replace("\\\n", " ").split()
    return {word: os.path.getsize(word) for word in words if os.path.isfile(word)}


def choose(sets, weight):
    """Of {path: names} a few sets of names, such that most of what the paths read is in one that is part of theirs.
    `weight` says what a set costs to read."""
    bits = {name: 1 << at for at, name in enumerate(sorted({name for names in sets.values() for name in names}))}
    masks = [sum(bits[name] for name in names) for names in sets.values()]
    count = {mask: masks.count(mask) for mask in masks if mask}
    cost = {}

    def read(mask):
        if mask not in cost:
            cost[mask] = weight([name for name, bit in bits.items() if mask & bit])
        return cost[mask]

    both = {}
    for one in count:
        for other in count:
            both[one & other] = both.get(one & other, 0) + count[one]
    both.pop(0, None)
    candidates = sorted(both, key=lambda mask: both[mask] * read(mask), reverse=True)[:CANDIDATES]
    served, chosen = dict.fromkeys(count, 0), []
    while len(chosen) < MOST:
        def gain(mask):
            return sum(max(0, read(mask) - served[each]) * times for each, times in count.items() if mask & ~each == 0)
        best = max(candidates, key=gain, default=None)
        if best is None or gain(best) < WORTH * read(best):
            break
        chosen.append(best)
        served.update({each: max(had, read(best)) for each, had in served.items() if best & ~each == 0})
    return [frozenset(name for name, bit in bits.items() if mask & bit) for mask in chosen]


class Precompiled:
    """Precompiled headers of one compiler, in a directory that is gone after `with`."""

    def __init__(self, compiler, clang, flags, within):
        self.command, self.clang, self.flags = [compiler, *flags], clang, flags
        self.within, self.made, self.weights = within, [], {}

    def __enter__(self):
        self.directory = tempfile.TemporaryDirectory(prefix="precompiled.", dir=self.within)
        return self

    def __exit__(self, *_):
        self.directory.cleanup()

    def prepare(self, sets):
        """Makes those that serve {path: atoms of it} best."""
        names = sorted({name for each in sets.values() for name in each})
        with concurrent.futures.ThreadPoolExecutor(processors()) as pool:
            files = dict(zip(names, pool.map(lambda name: files_of(self.command[0], self.flags, name), names)))
            sets = {path: frozenset(n for n in each if files[n]) for path, each in sets.items()}

            def weight(each):
                return sum({file: size for name in each for file, size in files[name].items()}.values())
            chosen = choose(sets, weight)
            good = list(pool.map(lambda each: self.make(*each), enumerate(chosen)))
        self.made = sorted(((weight(names), names, base) for names, base in zip(chosen, good) if base),
                           key=lambda made: made[0], reverse=True)

    def prepare_common(self, sets):
        """Makes one of all that several of {path: atoms of it} have, for who does not ask what a file forgot."""
        all_names = [name for each in sets.values() for name in each]
        names = frozenset(name for name in set(all_names) if all_names.count(name) >= WORTH)
        if base := self.make(0, names):
            self.made = [(0, frozenset(), base)]

    def make(self, number, names):
        """The path that is to be included for it, None if the compiler does not get through."""
        base = os.path.join(self.directory.name, f"{number}.h")
        with open(base, "w", encoding="utf-8") as file:
            file.write(source(names))
        done = subprocess.run([*self.command, "-w", "-x", "c++-header", "-o", base + (".pch" if self.clang else ".gch"), base],
                              capture_output=True)
        return base if done.returncode == 0 else None

    def arguments(self, names):
        """For a compiler that reads a file of these atoms: those of the dearest that is part of them."""
        base = next((base for _, made, base in self.made if made <= names), None)
        if not base:
            return []
        return ["-include-pch", base + ".pch"] if self.clang else ["-include", base]
