"""The sizes that a reader can hold in view: functions, files, lists of parameters. What was larger when a rule came is in
a table here with a reason or a count; a table may only shrink, so an entry that is not needed is a complaint as well."""
import re

MAX_FUNCTION_LINES = 60
MAX_FILE_LINES = 400
MAX_PARAMETERS = 5

# (file, function): its lines. Of the cases of a test file the longest counts.
LONG_FUNCTIONS = {
    ("fusefs/launch/options_help.cc", "help_text"): 68,  # the text of --help, as it is shown
    ("tests/fault/scenario.cc", "make"): 274,  # a table of scenarios
    ("tests/unit/mount/check_test.cc", "TEST_CASE"): 61,
    ("tests/unit/mount/layers_test.cc", "TEST_CASE"): 61,
    ("tests/unit/quota/quota_ledger_found.cc", "TEST_CASE"): 67,
}
# Files of fusefs, quota and tools: their lines, and why they are not cut.
LONG_FILES = {
    "fusefs/base/posix.cc": (499, "one short wrapper for each system call that changes files"),
}
# Functions that headers declare with more than MAX_PARAMETERS, file by file. What libfuse or a system call lays down, and
# what was there before the rule.
MANY_PARAMETERS = {
    "fusefs/fuse/ops_support.h": "rename setxattr ioctl write fallocate copy_file_range",  # libfuse's signatures
    "fusefs/overlay.h": "rename copy_file_range",
    "fusefs/tree/birth.h": "sketch",
    "fusefs/tree/lower_search.h": "find_lower_dirs find_lower_data",
    "fusefs/upper/owner.h": "set_owner",
    "fusefs/upper/settle.h": "settle_part settle_failed",
    "fusefs/upper/whiteout.h": "move_leaving_whiteout",
    "fusefs/upper/xattr_copy.h": "copy_xattrs",
    "fusefs/verbs/verbs.h": "mknod rename setxattr write fallocate copy_file_range",
    "tools/quota/text/report_text.h": "report_text",
}
# The same of boolean parameters.
BOOLEAN_PARAMETERS = {
    "fusefs/base/posix.h": "fsync",
    "fusefs/launch/daemon.h": "Daemon",
    "fusefs/launch/preflight.h": "apply_defaults",
    "fusefs/overlay.h": "fsync fsyncdir",
    "fusefs/serve/ring_workers.h": "nudge_locked",
    "fusefs/upper/owner.h": "set_owner",
    "fusefs/verbs/rename_parts.h": "commit move_in_memory",
    "fusefs/verbs/verbs.h": "fsync fsyncdir",
    "quota/quota.h": "set_enforcement",
    "quota/tree.h": "Tree set_enforcement",
    "tools/quota/client/server.h": "all_servers",
    "tools/quota/tools/options.h": "servers_of",
    "tools/troot/sandbox/beneath.h": "above",
    "tools/troot/sandbox/streams.h": "replace",
    "tools/troot/world/settings.h": "say_inodes",
}

# What opens a block that is no function.
BLOCK = re.compile(r"\s*(?:(?:namespace|class|struct|enum|union|extern|if|for|while|switch|do|else|try|case|default)\b|[}#])")


def is_here(source, path):
    """Whether an entry of a table is spoken of: its file is there, or the whole project is, which no longer has it."""
    return path in source.text or "tests/lint/shapes.py" in source.text


def functions(code):
    """(name, first line, lines) of each function, method and lambda of clang-format'd code without comments: its last line
    begins with a brace as far in as its first line does."""
    lines = code.split("\n")
    heads = {}  # indent: the last line that began so far in
    for number, line in enumerate(lines, 1):
        indent = len(line) - len(line.lstrip())
        if not line.strip() or line.startswith("#"):
            continue
        if line.lstrip().startswith("}") and indent in heads:
            begin = heads[indent]
            head = next((lines[begin - 1:end] for end in range(begin, number) if lines[end - 1].rstrip().endswith("{")), [""])
            name = re.search(r"([~\w]+)\s*\(|\]\s*\{", " ".join(head))
            if name and not BLOCK.match(head[0]):
                yield name.group(1) or "lambda", begin, number - begin + 1
        heads = {far: at for far, at in heads.items() if far < indent}
        heads[indent] = number


def function_lengths(source):
    """no function of more than 60 lines"""
    longest = {}
    for path in source.cpp:
        for name, line, count in functions(source.code(path)):
            longest[path, name] = max(longest.get((path, name), 0), count)
            if count > LONG_FUNCTIONS.get((path, name), MAX_FUNCTION_LINES):
                yield f"{path}:{line}: {name} has {count} lines"
    for path, name in LONG_FUNCTIONS:
        if is_here(source, path) and longest.get((path, name), 0) <= MAX_FUNCTION_LINES:
            yield f"{path}: {name} is not long: take it out of LONG_FUNCTIONS"


def file_lengths(source):
    """no file of fusefs, quota and tools above 400 lines, but where a table says why"""
    for path in source.cpp:
        lines = source.text[path].count("\n")
        if path.startswith(("fusefs/", "quota/", "tools/")) and lines > LONG_FILES.get(path, (MAX_FILE_LINES, ""))[0]:
            yield f"{path}: {lines} lines"
    for path in LONG_FILES:
        if is_here(source, path) and source.text.get(path, "").count("\n") <= MAX_FILE_LINES:
            yield f"{path}: is not long: take it out of LONG_FILES"


def parameters(code):
    """(name, line, [parameter]) of whatever looks like a declaration or a call of a function in the code of a header."""
    for match in re.finditer(r"(?<![\w.>])(~?\w+)\s*\(", code):
        depth, given, at = 1, [""], match.end()
        while at < len(code) and depth:
            letter = code[at]
            depth += (letter in "([{<") - (letter in ")]}>" and code[at - 1] != "-")
            if letter == "," and depth == 1:
                given.append("")
            else:
                given[-1] += letter
            at += 1
        yield match.group(1), code.count("\n", 0, match.start()) + 1, [" ".join(each.split()) for each in given]


def listed(source, table, name, found):
    """Complaints about what is found and not in the table, and what is in the table and not found."""
    for (path, function), line in found.items():
        if function not in table.get(path, "").split():
            yield f"{path}:{line}: {function} has {name}"
    for path, functions_ in table.items():
        for function in functions_.split():
            if is_here(source, path) and (path, function) not in found:
                yield f"{path}: {function} has not {name}: take it out of the table"


def parameter_lists(source):
    """no function in a header with more than five parameters, or a boolean one"""
    many, boolean = {}, {}
    for path in [p for p in source.cpp if p.endswith(".h") and p.startswith(("fusefs/", "quota/", "tools/"))]:
        for name, line, given in parameters(source.code(path)):
            if len(given) > MAX_PARAMETERS:
                many[path, name] = line
            if any(re.match(r"(const )?bool( \w+)?( = .*)?\)?$", each) for each in given):
                boolean[path, name] = line
    yield from listed(source, MANY_PARAMETERS, f"more than {MAX_PARAMETERS} parameters", many)
    yield from listed(source, BOOLEAN_PARAMETERS, "a boolean parameter", boolean)


RULES = [function_lengths, file_lengths, parameter_lists]
