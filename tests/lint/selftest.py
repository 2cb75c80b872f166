#!/usr/bin/env python3
"""The proof that the lint's rules can fail: plants one offence for each rule in a small tree, and
innocent look-alikes beside it. Prints TAP."""
import os
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import calls
import clang_checks
import control_grammar
import headers
import lint
import precompiled
import references
import shapes

HEADER = "// A part of a planted tree.\n"
# A block of more than 60 lines: what opens it, its last lines.
LONG = "{}\n" + "    g();\n" * 60 + "{}\n{}\n"
# rule, path, offending text, innocent text (None: the file name alone offends)
CASES = [
    (lint.include_direction, "quota/a.cc", '#include "fusefs/overlay.h"\n', '// #include "fusefs/overlay.h"\n'),
    (lint.include_direction, "fusefs/a.cc", '#include "tools/version.h"\n', '#include "quota/quota.h"\n'),
    (lint.rooms, "fusefs/tree/a.cc", '#include "fusefs/upper/copy_up.h"\n', '#include "fusefs/disk/format.h"\n'),
    (lint.rooms, "fusefs/serve/a.h", '#include "fusefs/tree/inode.h"\n', '#include "fusefs/types.h"\n'),
    (lint.rooms, "fusefs/base/a.h", '#include "fusefs/overlay.h"\n', '#include "quota/base/result.h"\n'),
    (lint.rooms, "fusefs/kitchen/a.cc", "int f();\n", None),
    (lint.rooms, "quota/base/a.h", '#include "quota/types.h"\n', '#include "quota/base/fd.h"\n'),
    (lint.rooms, "tools/troot/sandbox/a.cc", '#include "tools/troot/world/store.h"\n', '#include "tools/troot/text/size.h"\n'),
    (lint.rooms, "tools/quota/text/a.cc", '#include "tools/quota/verbs/verbs.h"\n', '#include "tools/quota/client/mounts.h"\n'),
    (lint.rooms, "tools/troot/a.cc", "int f();\n", None),
    (lint.include_circles, "quota/a.h", '#include "quota/a.h"\n', '#include "quota/b.h"\n'),
    (lint.libraries_in_their_rooms, "fusefs/tree/inode.cc", "#include <fuse_lowlevel.h>\n", "#include <string>\n"),
    (lint.libraries_in_their_rooms, "quota/tree.cc", "#include <rocksdb/db.h>\n", '#include "quota/ledger.h"\n'),
    (lint.libraries_in_their_rooms, "fusefs/fuse/ops.cc", "#include <nlohmann/json.hpp>\n", "#include <fuse_lowlevel.h>\n"),
    (lint.libraries_in_their_rooms, "tools/archive/tree/pack.cc", "#include <archive.h>\n", '#include "tools/archive/tar/entry.h"\n'),
    (lint.rooms, "tools/archive/stream/a.cc", '#include "tools/archive/tar/entry.h"\n', '#include "tools/archive/stream/source.h"\n'),
    (lint.mutating_calls, "fusefs/verbs/create.cc", "int f() { return mkdirat(1, n, 0); }\n", "auto r = posix::mkdirat(d, n, 0);\n"),
    (lint.mutating_calls, "fusefs/verbs/create.cc", "x = ::renameat2(a, b, c, d, 0);\n", "Status fsetxattr(int fd);\n"),
    (lint.mutating_calls, "fusefs/verbs/create.cc", "fd = ::openat(d, n,\n  O_WRONLY | O_CREAT, 0);\n", "fd = ::openat(d, n, O_RDONLY);\n"),
    (lint.banned_calls, "quota/a.cc", 'void f() { system("x"); }\n', 'log("system(x)"); operating_system(1); // system(\n'),
    (lint.banned_calls, "fusefs/a.cc", "std::strcpy(a, b);\n", "my.system(1);\n"),
    (lint.sizes, "quota/long.cc", "\n" * 701, "\n" * 650),
    (lint.headers_guarded, "quota/a.h", "int f();\n", "#pragma once\n"),
    (lint.no_machine_paths, "README.md", "see /work/" + "main/x\n", "upper/work/index in /home/you/x\n"),
    (lint.shell_syntax, "tools/x", "#!/bin/bash\nif true; then\n", "#!/bin/bash\ntrue\n"),
    (lint.documents, "README.md", "# a\n\n" + "word " * 25 + "\n", "# a\n\n| " + "word " * 25 + "|\n"),
    (lint.documents, "README.md", "# a\n\n" + "a few words\n" * 41, "# a\n\n" + "a few words\n\n" * 41),
    (lint.documents, "README.md", "# a\n\n# b\n", "# a\n\n## b\n"),
    (shapes.function_lengths, "quota/a.cc", LONG.format("int f(int a,\n      int b) {", "", "}"), LONG.format("/*", "", "*/ int f();")),
    (shapes.function_lengths, "quota/a.h", LONG.format("struct A {\n  void f() const {", "  }", "};"),
     LONG.format("struct A {", "  int a;", "};")),
    (shapes.function_lengths, "quota/a.cc", LONG.format("auto f = [&] {", "", "};"), LONG.format("if (f()) {", "", "}")),
    (shapes.function_lengths, "fusefs/launch/options_help.cc", "int f();\n", None),
    (shapes.file_lengths, "tools/a.cc", "\n" * 400, "\n" * 399),
    (shapes.file_lengths, "fusefs/base/posix.cc", "\n" * 499, "\n" * 498),
    (shapes.parameter_lists, "quota/a.h", "int f(int a, int b, int c, A<int, int> d, int e, int g);\n",
     "int f(int a, int b, int c, A<int, int> d, B e = {1, 2});\n"),
    (shapes.parameter_lists, "quota/a.h", "struct A {\n  explicit A(int b, bool c = false);\n};\n", "int f(bool* a, std::vector<bool> b);\n"),
    (references.cited_rules, "docs/QUOTA-RULES.md", "## Rule 1: a\n\nSee rules 1 and\n2.\n", "## Rule 1: a\n\nSee rule 1, two of them.\n"),
    (references.named_files, "quota/a.cc", "int a;  // as quota/b.h says\n", "int a;  // as quota/a says\nf(\"quota/b.h\");\n"),
    (references.named_files, "README.md", "see `b.cc`\n", "see `b.h`, quota/*.cc, quota/<room>/a.h and docs/{a,b}.md, https://a.b/docs/c.md\n"),
    (lint.documented_pages, "README.md", "[a](docs/ABSENT.md)\n", "[a](README.md) [b](https://example.org)\n"),
]


def complaints(rule, path, text):
    with tempfile.TemporaryDirectory(prefix="troot-lint-") as top:
        os.makedirs(os.path.join(top, os.path.dirname(path)), exist_ok=True)
        with open(os.path.join(top, path), "w", encoding="utf-8") as file:
            file.write(text if text.startswith("#!") else HEADER + text)
        return list(rule(lint.Source(top)))


def planted_calls(number):
    """A call upwards and a circle of files among object files, and none among innocent ones."""
    low, high = ("tree", "tree/a", {"a"}, set()), ("upper", "upper/b", {"b"}, {"a", "printf"})
    upward = ("tree", "tree/a", {"a"}, {"b"})
    beside = [("upper", "upper/b", {"b"}, {"c"}), ("upper", "upper/c", {"c"}, {"d"}), ("upper", "upper/d", {"d"}, {"b"})]
    up, no_circle = calls.compare([low, high])
    good = not up and not no_circle and calls.compare([upward, high])[0] and calls.compare([("tree", None, {"a"}, {"b"}), high])[0]
    print(f"{'ok' if good else 'not ok'} {number} - calls: a call upwards is caught, one downwards spared")
    around = calls.compare(beside)[1]
    print(f"{'ok' if around else 'not ok'} {number + 1} - calls: a circle of three files is caught")
    return (not good) + (not around)


def planted_grammar(number):
    """A page beside another table, a table that cannot be read and a tool with a request of its own; and innocent ones."""
    header = ('inline constexpr int kVerbs{{\n    {Verb::kA, "ask", "[a=N | b]", "one, "\n     "two", Needs::kNothing, Pace::kWalk, "asks"},\n'
              '    {Verb::kB, "tell-it", "", "", Needs::kNothing, Pace::kWalk, "tells"}}};\n')
    marks = "# a\n" + control_grammar.BEGIN + control_grammar.END
    page, tool = control_grammar.compared(header, marks)[0], 'server.tell("tell-it a=1"); ask("ask" + x);\n'

    def found(header=header, page=page, tool=tool):
        with tempfile.TemporaryDirectory(prefix="troot-lint-") as top:
            for path, text in ((control_grammar.HEADER, header), (control_grammar.PAGE, page), ("tools/a.cc", tool)):
                os.makedirs(os.path.join(top, os.path.dirname(path)), exist_ok=True)
                with open(os.path.join(top, path), "w", encoding="utf-8") as file:
                    file.write(text)
            return list(lint.control_grammar(lint.Source(top)))
    offences = [found(page=page.replace("two", "three")), found(page=marks), found(page="# a\n"), found(tool='ask("shout");\n'),
                found(header=header.replace("kWalk", "kSoon", 1)), found(header=header.replace("Pace::kWalk, ", "", 1))]
    good = all(offences) and not found()
    print(f"{'ok' if good else 'not ok'} {number} - control_grammar: a page, a tool or a table that has drifted is caught")
    return not good


def planted_headers(number):
    """A header that forgot <string>, among others that have it precompiled; ways in which one may name what it needs."""
    texts = {f"good{i}.h": "#include <string>\n#include <vector>\nstd::vector<std::string> f();\n" for i in range(4)}
    texts["through.h"] = '#include "good1.h"\nstd::string g();\n'
    texts["late.h"] = "int a;\n#include <string>\nstd::string g();\n"
    texts["forgot.h"] = "#include <vector>\nstd::vector<std::string> h();\n"
    texts["order.h"] = "#include <vector>\nstd::string h();\n#include <string>\n"
    least, headers.MANY = headers.MANY, 1
    try:
        with tempfile.TemporaryDirectory(prefix="troot-lint-") as top:
            for name, text in texts.items():
                with open(os.path.join(top, name), "w", encoding="utf-8") as file:
                    file.write(text)
            read = headers.Texts(top, [])
            brings = {name: precompiled.atoms(read, os.path.join(top, name)) for name in texts}
            version, compiler = next(iter(headers.compilers("c++", []).items()))
            said = headers.compile_all(compiler, version, ["-std=c++20"], read, list(texts), top)
    finally:
        headers.MANY = least
    both = frozenset(("<string>", "<vector>"))
    good = (brings["through.h"], brings["late.h"], brings["forgot.h"]) == (both, frozenset(), frozenset(("<vector>",)))
    good = good and {name for name, text in said.items() if text} == {"forgot.h", "order.h"}
    print(f"{'ok' if good else 'not ok'} {number} - headers: one that forgot what others have precompiled is caught")
    return not good


def planted_locks(number):
    """A field that is read without its lock, and one that is read under it."""
    compiler, why = clang_checks.program_of("locks")
    if not compiler:
        print(f"ok {number} - locks # SKIP {why}")
        return False
    text = HEADER + """#include "quota/base/lock_guards.h"
#include "quota/base/mutex.h"
struct Counter {
  int read() { %s return count_; }
  troot::Mutex mutex_;
  int count_ GUARDED_BY(mutex_) = 0;
};
"""
    with tempfile.TemporaryDirectory(prefix="troot-lint-") as top:
        for name, lock in (("bare.cc", ""), ("held.cc", "troot::MutexLock lock(mutex_);")):
            with open(os.path.join(top, name), "w", encoding="utf-8") as file:
                file.write(text % lock)
        flags = ["-std=c++20", "-I", os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))]
        caught, accused = (clang_checks.locks(compiler, flags, top, [name]) for name in ("bare.cc", "held.cc"))
    good = any("requires holding mutex" in line for line in caught) and not accused
    print(f"{'ok' if good else 'not ok'} {number} - locks: a field that is read without its lock is caught")
    return not good


def planted_tidy(number):
    """A value that is used after it was moved, and one that is not."""
    program, why = clang_checks.program_of("tidy")
    if not program:
        print(f"ok {number} - tidy # SKIP {why}")
        return False
    text = HEADER + "#include <string>\n#include <utility>\nsize_t f(std::string a) { std::string b = std::move(a); return %s.size(); }\n"
    with tempfile.TemporaryDirectory(prefix="troot-lint-") as top:
        shutil.copy(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", ".clang-tidy"), top)
        os.mkdir(os.path.join(top, "quota"))
        for name in ("a", "b"):
            with open(os.path.join(top, "quota", name + ".cc"), "w", encoding="utf-8") as file:
                file.write(text % name)
        caught, accused = (clang_checks.tidy(program, ["-std=c++20"], top, [f"quota/{name}.cc"]) for name in ("a", "b"))
    good = any("bugprone-use-after-move" in line for line in caught) and not accused
    print(f"{'ok' if good else 'not ok'} {number} - tidy: a value that is used after it was moved is caught")
    return not good


def main():
    failed = 0
    print(f"1..{len(CASES) + 7}")
    for number, (rule, path, offence, innocent) in enumerate(CASES, 1):
        caught, spared = complaints(rule, path, offence), innocent is None or not complaints(rule, path, innocent)
        good = caught and spared
        print(f"{'ok' if good else 'not ok'} {number} - {rule.__name__} in {path}: "
              f"{'caught' if caught else 'offence missed'}, {'innocent spared' if spared else 'innocent accused'}")
        failed += not good
    failed += planted_calls(len(CASES) + 2)
    failed += planted_grammar(len(CASES) + 4) + planted_locks(len(CASES) + 5)
    failed += planted_tidy(len(CASES) + 6) + planted_headers(len(CASES) + 7)
    with tempfile.TemporaryDirectory(prefix="troot-lint-") as top:
        os.mkdir(os.path.join(top, "quota"))
        with open(os.path.join(top, "quota", "a.cc"), "w", encoding="utf-8") as file:
            file.write("int f();\n")
        good = bool(list(lint.top_comments(lint.Source(top))))
    print(f"{'ok' if good else 'not ok'} {len(CASES) + 1} - top_comments: a file without one is caught")
    return 1 if failed or not good else 0


if __name__ == "__main__":
    sys.exit(main())
