"""What documents and comments refer to is there: the rules of project quota by number, and the files of the project."""
import os
import re

RULES_PAGE = "docs/QUOTA-RULES.md"
CITED = re.compile(r"\brules? (\d+(?:(?:, | and | to )\d+)*)")
# A path from the top; whether a line, a pattern or a part follows it is another matter.
PATH = re.compile(r"(?<![\w/.$}~@-])((?:fusefs|quota|tools|tests|docs)/[\w./-]*\w)(?![\w*{<$/]|/[*{<])")
BARE = re.compile(r"(?<![\w/.*-])(\w+\.(?:cc|py))\b")
ENDINGS = ("", ".h", ".cc", ".py", ".c", ".md", ".h.in")
# Whole words in the place of a name: `tests/unit/ROOM`.
PLACEHOLDER = re.compile(r"/[A-Z]+\b(?!\.)")


def comments(source, path):
    """The text of a file with everything but its comments blanked, line numbers kept; all of a document."""
    text = source.text[path]
    if path.endswith("CMakeLists.txt"):
        return re.sub(r"^[^#\n]*", "", text, flags=re.MULTILINE)
    if not path.endswith((".cc", ".h")):
        return text
    code = source.code(path, True)
    return "".join(a if b == " " or a == "\n" else " " for a, b in zip(text, code))


def cited_rules(source):
    """each rule of quota that is cited has its heading"""
    there = set(re.findall(r"^## Rule (\d+):", source.text.get(RULES_PAGE, ""), re.MULTILINE))
    for path, text in source.text.items():
        if path.startswith("tests/lint/") or not path.startswith(("fusefs/", "quota/", "tools/", "tests/", "docs/")):
            continue
        # A citation may go on in the next line of a comment; as many letters take its place.
        joined = re.sub(r"\n[ \t]*(?:///?|#|\*)?[ \t]*", lambda gap: " " + "\0" * (len(gap.group()) - 1), text)
        for match in CITED.finditer(joined.replace("\0", "")):
            for number in re.findall(r"\d+", match.group(1)):
                if number not in there:
                    yield f"{path}: rule {number} is not in {RULES_PAGE}"


def named_files(source):
    """each file of the project that a document or a comment names is there"""
    folders = {os.path.dirname(path) for path in source.paths}
    folders |= {folder[:at.start()] for folder in folders for at in re.finditer("/", folder)}
    there = set(source.paths) | folders
    names = {os.path.basename(path) for path in source.paths}
    for path in source.text:
        if path.startswith("tests/lint/") or not path.endswith((".md", ".cc", ".h", ".py", ".c", "CMakeLists.txt")):
            continue
        text = comments(source, path)
        for match in PATH.finditer(text):
            name = match.group(1)
            if not PLACEHOLDER.search(name) and not any(name + ending in there for ending in ENDINGS):
                yield f"{path}:{text.count(chr(10), 0, match.start()) + 1}: {name} is not there"
        for match in BARE.finditer(text) if path.endswith((".md", ".cc", ".h")) else ():
            if match.group(1) not in names:
                yield f"{path}:{text.count(chr(10), 0, match.start()) + 1}: no file is named {match.group(1)}"


RULES = [cited_rules, named_files]
