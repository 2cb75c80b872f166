#!/usr/bin/env python3
"""The rules of the house that a machine can check in the source: who may include what, where raw
system calls live, sizes, banned calls, comments at the top, formatting. Prints TAP, one line a rule.

usage: lint.py [SOURCE-DIRECTORY]
"""
import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import control_grammar as grammar
import references
import shapes

MAX_LINES = 700
CLANG_FORMAT_MAJOR = 14  # versions differ in what they find well formatted; this one decides

# Calls that change a file system. In fusefs they go through fusefs/base/posix, which is where tests inject faults
# and crashes; a call around it would be a hole in what those tests prove.
MUTATING_ALWAYS = (
    "mkdirat mknodat symlinkat linkat unlinkat renameat renameat2 fchmodat fchownat utimensat futimens fchmod fchown"
    " fsetxattr lsetxattr fremovexattr lremovexattr ftruncate pwrite pwritev pwritev2"
).split()
# Names that methods of ours bear as well: only the qualified form `::name(` is surely the system's.
MUTATING_QUALIFIED = "write fallocate copy_file_range setxattr removexattr mkdir rmdir unlink rename link symlink".split()
BANNED = {
    "strcpy": "std::string", "strcat": "std::string", "sprintf": "snprintf", "vsprintf": "vsnprintf", "gets": "getline",
    "system": "posix_spawn", "popen": "posix_spawn", "strtok": "string_view", "mktemp": "mkstemp", "tmpnam": "mkstemp",
    "atoi": "from_chars", "atol": "from_chars", "alloca": "std::vector",
}
# The control socket's file is no object of the union; it is bound and removed by its own code.
MUTATING_EXEMPT = re.compile(r"^fusefs/(base/posix|control/(server|socket))\.")

# The rooms of fusefs (docs/OVERVIEW.md), and what each may include and call beside itself. `words`: types.h and
# config.h, which everybody may include.
ROOF = "overlay"
BELOW = {room: set(below.split()) for room, below in {
    "words": "",
    "base": "words",
    "disk": "base words",
    "tree": "disk base words",
    "upper": "tree disk base words",
    "verbs": "upper tree disk base words",
    "mount": "verbs upper tree disk base words",
    ROOF: "mount verbs upper tree disk base words",
    "serve": "base words",
    "launch": "base words",
    "fuse": f"{ROOF} serve launch base words",
    "control": f"fuse {ROOF} serve launch base words",
}.items()}
# Every folder that has rooms, with what each room may include beside itself; and the files that lie in none of its
# folders, with the room that they are.
ROOMS = {
    "fusefs": BELOW,
    "quota": {"base": set(), "house": {"base"}},
    "tools/troot": {"text": set(), "sandbox": {"text"}, "world": {"sandbox", "text"},
                    "image": {"world", "sandbox", "text"}, "commands": {"image", "world", "sandbox", "text"}},
    "tools/archive": {"stream": set(), "tar": {"stream"}, "tree": {"tar", "stream"}, "oci": {"tree", "tar", "stream"}},
    "tools/quota": {"client": set(), "text": {"client"}, "tools": {"text", "client"},
                    "verbs": {"tools", "text", "client"}, "roof": {"verbs", "tools", "text", "client"}},
}
ALONE = {
    "fusefs": {"overlay": ROOF, "types": "words", "config": "words"},
    "quota": {},  # whatever is in none is the house
    "tools/troot": {},
    "tools/archive": {},
    "tools/quota": {"tool": "roof"},
}


def tracked(top):
    """Paths of the project's files, relative to `top`: git's list, else (a tarball) everything but the build."""
    git = subprocess.run(["git", "-c", "safe.directory=*", "-C", top, "ls-files", "-z", "--cached", "--others",
                          "--exclude-standard"], capture_output=True)
    if git.returncode == 0:
        return sorted({p for p in git.stdout.decode().split("\0") if p and os.path.isfile(os.path.join(top, p))})
    found = []
    for directory, names, files in os.walk(top):
        names[:] = [n for n in names if n not in ("build", ".git", "__pycache__")]
        found += [os.path.relpath(os.path.join(directory, f), top) for f in files]
    return sorted(found)


def without_comments(text, keep_strings):
    """C++ source with comments (and the insides of strings) blanked, line numbers kept."""
    def blank(match):
        token = match.group(0)
        if token.startswith("/"):
            return re.sub(r"[^\n]", " ", token)
        return token if keep_strings else token[0] + re.sub(r"[^\n]", " ", token[1:-1]) + token[-1]
    pattern = r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\''
    return re.sub(pattern, blank, text, flags=re.DOTALL)


class Source:
    """The files, read once."""

    def __init__(self, top):
        self.top = top
        self.paths = tracked(top)
        self.text = {}
        for path in self.paths:
            with open(os.path.join(top, path), "rb") as file:
                data = file.read()
            if b"\0" not in data:
                self.text[path] = data.decode("utf-8", "replace")
        self.cpp = [p for p in self.text if p.endswith((".cc", ".h"))]

    def code(self, path, keep_strings=False):
        return without_comments(self.text[path], keep_strings)

    def matches(self, paths, pattern, keep_strings=False):
        """(path, line number, match) of every match in code."""
        for path in paths:
            code = self.code(path, keep_strings)
            for match in re.finditer(pattern, code, re.MULTILINE | re.DOTALL):
                yield path, code.count("\n", 0, match.start()) + 1, match

    def includes(self):
        for path, line, match in self.matches(self.cpp, r'^[ \t]*#[ \t]*include[ \t]*[<"]([^">\n]+)[>"]', True):
            yield path, line, match.group(1)

    def programs(self, *interpreters):
        """Files that are scripts of one of the interpreters, by their first line or their name."""
        for path, text in self.text.items():
            first = text.split("\n", 1)[0]
            if any(re.search(rf"^#!.*\b{i}\b|shellcheck shell={i}\b", first) for i in interpreters):
                yield path


class Skip(Exception):
    """The rule cannot be checked here."""


def include_direction(source):
    """includes go tools to fusefs to quota"""
    below = {"quota": ("fusefs", "tools", "tests"), "fusefs": ("tools", "tests"), "tools": ("tests",)}
    for path, line, name in source.includes():
        folder, target = path.split("/")[0], name.split("/")[0]
        if target in below.get(folder, ()):
            yield f"{path}:{line}: {folder} must not include {name}"


def room_of(path):
    """The folder of rooms that a file lies in, and its room; (None, None): no folder of rooms, (folder, None): no room."""
    folder = next((f for f in ROOMS if path.startswith(f + "/")), None)
    if folder is None:
        return None, None
    parts = path[len(folder) + 1:].split("/")
    if len(parts) == 1:
        return folder, ALONE[folder].get(parts[0].rsplit(".", 1)[0], "house" if folder == "quota" else None)
    return folder, parts[0] if len(parts) == 2 and parts[0] in ROOMS[folder] else None


def rooms(source):
    """a room includes only what lies below it"""
    for path in source.cpp:
        folder, room = room_of(path)
        if folder and room is None:
            yield f"{path}: lies in no room"
    for path, line, name in source.includes():
        (folder, room), (target_folder, target) = room_of(path), room_of(name)
        if folder == target_folder and room and target and target != room and target not in ROOMS[folder][room]:
            yield f"{path}:{line}: {room} must not include {name}, which does not lie below it"


def include_circles(source):
    """no circle of headers"""
    edges = {}
    for path, _, name in source.includes():
        edges.setdefault(path, set()).add(name)
    done = set()
    for start in sorted(edges):
        way, stack = [], [(start, iter(sorted(edges[start])))]
        while stack and start not in done:
            node, rest = stack[-1]
            following = next((n for n in rest if n in edges and n not in done), None)
            if following is None:
                done.add(node)
                stack.pop()
            elif following in (way := [n for n, _ in stack]):
                yield f"{following}: includes itself by {' '.join(way[way.index(following) + 1:])}"
                done.add(following)
            else:
                stack.append((following, iter(sorted(edges[following]))))


def libraries_in_their_rooms(source):
    """FUSE, RocksDB, libarchive, JSON and command-line headers only where they belong"""
    rooms = [
        (r"^fuse(3/fuse)?_lowlevel\.h$|^fuse3?/", r"^fusefs/(fuse|serve)/"),
        (r"^rocksdb/", r"^quota/ledger[a-z_]*\.cc$|^quota/ledger_db\.h$|^tests/"),
        (r"^nlohmann/|^CLI/", r"^(tools|tests)/"),
        (r"^boost/filesystem", r"^(tools|tests)/|^fusefs/(launch|control|fuse)/"),
        (r"^archive(_entry)?\.h$", r"^tools/archive/(stream|tar)/"),
        (r"^openssl/", r"^tools/archive/stream/"),
        (r"^seccomp\.h$|^termios\.h$", r"^(tools|tests)/"),
    ]
    for path, line, name in source.includes():
        for header, room in rooms:
            if re.search(header, name) and not re.search(room, path):
                yield f"{path}:{line}: {name} is not for this file"


def mutating_calls(source):
    """system calls that change files only in fusefs/base/posix"""
    paths = [p for p in source.cpp if p.startswith("fusefs/") and not MUTATING_EXEMPT.match(p)]
    always, qualified = "|".join(MUTATING_ALWAYS), "|".join(MUTATING_QUALIFIED)
    # Not a method, not a name of a namespace of ours, not a declaration (which a type precedes).
    raw = rf"(?:(?<![\w.:>])(?:{always})|(?<![\w>])::(?:{always}|{qualified}))\s*\("
    for path, line, match in source.matches(paths, raw):
        before = source.code(path)[:match.start()].rsplit("\n", 1)[-1]
        if re.search(r"[\w>&*\]]\s+$", before) and not re.search(r"\b(return|else|case|and|or|not)\s+$", before):
            continue  # `Status fsetxattr(`: a declaration
        yield f"{path}:{line}: {match.group(0).strip()}...) belongs in fusefs/base/posix"
    for path, line, match in source.matches(paths, r"(?<![\w.>])(?:::)?open(?:at2?)?\s*\([^;{]*?\bO_(?:CREAT|TMPFILE|TRUNC)\b"):
        if "posix::" not in source.code(path)[max(0, match.start() - 7):match.start() + 2]:
            yield f"{path}:{line}: an open that creates or truncates belongs in fusefs/base/posix"


def banned_calls(source):
    """no banned calls in fusefs and quota"""
    paths = [p for p in source.cpp if p.startswith(("fusefs/", "quota/", "tools/"))]
    for path, line, match in source.matches(paths, rf"(?<![\w.>])(?:std::|::)?\b({'|'.join(BANNED)})\s*\("):
        yield f"{path}:{line}: {match.group(1)}: use {BANNED[match.group(1)]}"


def sizes(source):
    """no source file above the size limit"""
    for path in source.cpp + list(source.programs("bash", "sh", "python3")):
        lines = source.text[path].count("\n")
        if lines > MAX_LINES:
            yield f"{path}: {lines} lines, the limit is {MAX_LINES}"


def top_comments(source):
    """every source file says at its top what it owns"""
    for path, text in source.text.items():
        body = re.sub(r"\A#!.*\n", "", text)
        if path.endswith((".cc", ".h", ".c", ".h.in")):
            good = re.match(r"\s*(?:#pragma once\s*)?(?://|/\*)", body)
        elif path.endswith(".py") or path in source.programs("bash", "sh", "python3"):
            good = re.match(r'\s*(?:"""|#(?! *shellcheck)|# *shellcheck[^\n]*\n#)', body)
        elif path.endswith(("CMakeLists.txt", ".cmake")) and "/" in path:
            good = re.match(r"\s*#", body) or text.count("\n") < 15
        else:
            continue
        if not good:
            yield f"{path}:1: no comment at the top"


def headers_guarded(source):
    """every header has #pragma once"""
    for path in source.cpp:
        if path.endswith(".h") and "#pragma once" not in source.text[path]:
            yield f"{path}:1: no #pragma once"


def no_machine_paths(source):
    """no path of a developer's machine in the files"""
    pattern = re.compile(r"/work/(?:shared|main|wt-|\.)|/home/(?!you\b|USER\b|user\b|\$)[a-z]\w*/|/root/[\w.]")
    for path, text in source.text.items():
        if path == "tests/lint/lint.py":
            continue
        for number, line in enumerate(text.split("\n"), 1):
            if match := pattern.search(line):
                yield f"{path}:{number}: {match.group(0)}..."


def shell_syntax(source):
    """shell scripts parse"""
    for path in source.programs("bash", "sh"):
        shell = "sh" if re.match(r"#!.*[/ ]sh\b", source.text[path]) else "bash"
        run = subprocess.run([shell, "-n", os.path.join(source.top, path)], capture_output=True, text=True)
        if run.returncode != 0:
            yield f"{path}: {run.stderr.strip()}"


def shellcheck(source):
    """shellcheck finds nothing"""
    if not shutil.which("shellcheck"):
        raise Skip("shellcheck is not installed")
    paths = list(source.programs("bash", "sh"))
    run = subprocess.run(["shellcheck", "-x", "-f", "gcc", *paths], cwd=source.top, capture_output=True, text=True)
    yield from run.stdout.splitlines()


def clang_format(source):
    """clang-format would change nothing"""
    tool = shutil.which(f"clang-format-{CLANG_FORMAT_MAJOR}") or shutil.which("clang-format")
    if not tool:
        raise Skip(f"clang-format {CLANG_FORMAT_MAJOR} is not installed")
    version = subprocess.run([tool, "--version"], capture_output=True, text=True).stdout
    if f"version {CLANG_FORMAT_MAJOR}." not in version:
        raise Skip(f"the format is that of clang-format {CLANG_FORMAT_MAJOR}; here is {version.strip()}")
    run = subprocess.run([tool, "--dry-run", *source.cpp], cwd=source.top, capture_output=True, text=True)
    for path in sorted({line.split(":")[0] for line in run.stderr.splitlines() if "warning:" in line}):
        yield f"{path}: not formatted; run: clang-format -i {path}"


def documented_pages(source):
    """README's and the documents' links to files lead somewhere"""
    for path in [p for p in source.text if p.endswith(".md")]:
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", source.text[path]):
            full = os.path.normpath(os.path.join(source.top, os.path.dirname(path), target))
            if not os.path.exists(full):
                yield f"{path}: {target} is not there"


def documents(source):
    """a document has one title, lines of 100 columns and paragraphs of 120 words"""
    for path in [p for p in source.text if p.endswith(".md")]:
        titles, words, code = 0, 0, False
        for number, line in enumerate(source.text[path].split("\n") + [""], 1):
            if line.startswith("```"):
                code = not code
            shown = code or line.startswith(("    ", "|", "```"))
            titles += not shown and line.startswith("# ")
            if len(line) > 100 and not shown:
                yield f"{path}:{number}: {len(line)} columns"
            starts = shown or not line.strip() or line.startswith("#") or re.match(r"\s*([-*]|\d+\.)\s", line)
            if starts and words > 120:
                yield f"{path}:{number - 1}: a paragraph of {words} words ends here"
            words = 0 if shown or not line.strip() else (0 if starts else words) + len(line.split())
        if titles != 1:
            yield f"{path}: {titles} titles"


def control_grammar(source):
    """the page's requests of the control socket are those of the server's table, and tools send no others"""
    header, page = source.text.get(grammar.HEADER), source.text.get(grammar.PAGE)
    if header is None or page is None:
        yield f"{grammar.HEADER if header is None else grammar.PAGE}: not there"
        return
    try:
        known = {row[0] for row in grammar.verbs(header)}
        wrong = grammar.compared(header, page)[1]
    except ValueError as problem:
        known, wrong = None, str(problem)
    if wrong:
        yield wrong
    tools = [p for p in source.cpp if p.startswith("tools/")]
    asked = r'\b(?:ask|tell|control_request)\((?:[^;"]*,)?\s*"([a-z-]+)'
    for path, line, match in source.matches(tools, asked, True):
        if known is not None and match.group(1) not in known:
            yield f"{path}:{line}: {match.group(1)} is no request of {grammar.HEADER}"


RULES = [include_direction, rooms, include_circles, libraries_in_their_rooms, mutating_calls, banned_calls, sizes, top_comments, headers_guarded,
         no_machine_paths, shell_syntax, shellcheck, clang_format, documented_pages, documents,
         control_grammar, *shapes.RULES, *references.RULES]


def main():
    top = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "..", ".."))
    source = Source(top)
    failed = 0
    print(f"1..{len(RULES)}")
    for number, rule in enumerate(RULES, 1):
        title = rule.__doc__.strip()
        try:
            complaints = list(rule(source))
        except Skip as reason:
            print(f"ok {number} - {title} # SKIP {reason}")
            continue
        print(f"{'not ok' if complaints else 'ok'} {number} - {title}")
        for complaint in complaints:
            print(f"# {complaint}")
        failed += bool(complaints)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
