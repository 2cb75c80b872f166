#!/usr/bin/env python3
"""The table of the control socket's requests in docs/FORMAT.md, made from fusefs/control/protocol.h.
Without --write it says whether the page differs.

usage: control_grammar.py [--write] [SOURCE-DIRECTORY]
"""
import os
import re
import sys
import textwrap

HEADER = "fusefs/control/protocol.h"
PAGE = "docs/FORMAT.md"
BEGIN = "<!-- from fusefs/control/protocol.h by tests/lint/control_grammar.py --write -->\n"
END = "<!-- as far as here -->\n"
TEXT = r'((?:"(?:\\.|[^"\\])*"\s*)+)'
ROW = re.compile(rf"\{{Verb::k\w+,\s*{TEXT},\s*{TEXT},\s*{TEXT},\s*Needs::k(\w+),\s*Pace::k(\w+),\s*{TEXT}\}}")


def joined(literals):
    """Adjacent literals as one text."""
    return "".join(re.findall(r'"((?:\\.|[^"\\])*)"', literals)).replace('\\"', '"')


def verbs(header):
    """(name, words, reply, needs, pace, about) of each line of the header's table."""
    rows = [tuple(joined(part) if part.startswith('"') else part for part in match.groups())
            for match in ROW.finditer(header)]
    if len(rows) != header.count("{Verb::k"):
        raise ValueError(f"{HEADER}: {header.count('{Verb::k')} lines, of which {len(rows)} can be read")
    return rows


def cell(text):
    return f"`{text}`".replace("|", r"\|") if text else ""


def request(row):
    return f"{row[0]} {row[1]}".strip()


def sentence(start, rows, rest):
    names = [f"`{request(row)}`" for row in rows]
    return textwrap.fill(f"{start}{', '.join(names[:-1])} and {names[-1]}{rest}", 100,
                         break_on_hyphens=False, break_long_words=False) + "\n"


def page_part(rows):
    """What stands in the page between the two marks."""
    table = "".join(f"| {cell(request(row))} | {cell(row[2])} | {row[5]} |\n".replace("|  |", "| |") for row in rows)
    return ("\n| request | lines of the answer | what it does |\n|---|---|---|\n" + table + "\n" +
            sentence("With `noquota` ", [row for row in rows if row[3] == "Nothing"],
                     " are answered, and no other: `EOPNOTSUPP`.") + "\n" +
            sentence("", [row for row in rows if row[4] == "Walk"],
                     " take as long as a walk. Others are answered meanwhile, but for one more of these: `EBUSY`.") +
            "\n")


def compared(header, page):
    """(the page as it should be, what is wrong with it as it is)"""
    rows = verbs(header)
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        return None, f"{PAGE}: the marks of the table are not there"
    before, rest = page.split(BEGIN)
    old, after = rest.split(END)
    new = page_part(rows)
    lines = [line for line in old.splitlines() if line not in new.splitlines()]
    wrong = f"{PAGE}: not what {HEADER} says{': ' + lines[0][:60] if lines else ''}; control_grammar.py --write"
    return before + BEGIN + new + END + after, None if old == new else wrong


def main():
    words = [word for word in sys.argv[1:] if word != "--write"]
    top = words[0] if words else os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    with open(os.path.join(top, HEADER), encoding="utf-8") as file:
        header = file.read()
    with open(os.path.join(top, PAGE), encoding="utf-8") as file:
        page = file.read()
    new, wrong = compared(header, page)
    if wrong and new and "--write" in sys.argv:
        with open(os.path.join(top, PAGE), "w", encoding="utf-8") as file:
            file.write(new)
        wrong = None
    if wrong:
        print(wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
