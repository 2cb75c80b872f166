#!/usr/bin/env python3
"""Layers made by somebody who means ill: xattrs that are none, redirects that lead astray, names, kinds and
depths that nobody expects, trees that change while they are looked at, garbage where the server keeps its own things.
Each case: a clear errno, a line in the log that names the object, the server lives, and nothing outside the layers is
touched or shown."""
import errno
import os
import signal
import stat
import sys
import time

from harness import RENAME_EXCHANGE, Failure, case, check, digest, equal, main, names, read, refused, renameat2, run, write

SECRET = b"nobody in the mount may read this"
sys.setrecursionlimit(20000)  # a deep tree is hashed


def outside(m, *parts):
    """A place that no layer holds."""
    return os.path.join(m.base, "outside", *parts)


def xattr(m, key):
    return ("trusted.overlay." if m.mode == "root" else "user.overlay.") + key


def mark(m, path, key, value):
    os.setxattr(path, xattr(m, key), value, follow_symlinks=False)


def complaints(m, *words):
    """The lines of the log that hold all these words."""
    with open(m.log, encoding="utf-8", errors="replace") as log:
        return [line for line in log if all(word in line for word in words)]


def once(m, *words):
    equal(len(complaints(m, *words)), 1, f"lines of the log with {words}")


def outcome(call, *arguments, **named):
    """What a call returns; the name of its errno where it is refused."""
    try:
        return call(*arguments, **named)
    except OSError as error:
        return errno.errorcode[error.errno]


def hostile(title, lowers=2, fill=None, **named):
    """A case over hostile layers. The canary outside of them must be what it was, and the server alive."""
    def register(work):
        def prepare(m):
            os.makedirs(outside(m, "dir"))
            write(outside(m, "dir", "f"), SECRET)
            write(outside(m, "f"), SECRET)
            if fill:
                fill(m)

        def body(m):
            before = digest(outside(m))
            work(m)
            equal(digest(outside(m)), before, "what lies outside of the layers")
            if m.server:
                check(m.status()["inodes"] >= 1 and m.server.poll() is None, "the server lives")
                write(m("still works"), "x")
                equal(read(m("still works")), b"x", "a file made afterwards")
        named.setdefault("on", ("trootfs",))
        case(title, lower=prepare, lowers=lowers, **named)(body)
        return work
    return register


# ---- redirects ------------------------------------------------------------------------------------------------

CORRUPT = (b"", b".", b"..", b"/", b"/..", b"/a/../b", b"/a/", b"//a", b"a/b", b"/a\0b", b"a\0", b"/" + b"x" * 300,
           b"/" + b"x/" * 2047, b"../outside/dir")


def corrupt_layers(m):
    for layer, place in (("low", m.lowers[0]), ("up", m.upper)):
        for i, value in enumerate(CORRUPT):
            directory = f"{place}/{layer}{i}"
            os.mkdir(directory)
            mark(m, directory, "redirect", value)
            write(directory + "/own", "x")
            os.makedirs(f"{m.lowers[-1]}/{layer}{i}/below")
        write(f"{place}/file-{layer}", "")
        mark(m, f"{place}/file-{layer}", "metacopy", b"")
        mark(m, f"{place}/file-{layer}", "redirect", b"../../outside/f")


@hostile("a corrupt redirect is EIO, said once, and hurts nothing beside it", fill=corrupt_layers)
def corrupt(m):
    wanted = [f"{layer}{i}" for layer in ("low", "up") for i in range(len(CORRUPT))] + ["file-low", "file-up"]
    equal(names(m("")), sorted(wanted), "names")
    for name in wanted:
        for _ in range(3):
            refused(errno.EIO, os.lstat, m(name))
        once(m, f" {name} ", "redirect", "remove")
    refused(errno.EIO, os.rename, m("low0"), m("moved"))
    os.mkdir(m("good"))


def looping_layers(m):
    for lower in m.lowers:
        for name, value in (("a", b"/b"), ("b", b"/a"), ("self", b"/self"), ("deep", b"/deep/deep"), ("side", b"side"),
                            ("root", b"/a/b/self")):
            os.makedirs(f"{lower}/{name}/deep", exist_ok=True)
            mark(m, f"{lower}/{name}", "redirect", value)
        write(f"{lower}/a/f{os.path.basename(lower)}", lower)
        for i in range(8):
            os.mkdir(f"{lower}/chain{i}")
            mark(m, f"{lower}/chain{i}", "redirect", b"/chain%d" % ((i + 1) % 8))
            write(f"{lower}/chain{i}/at{i}", "x")


@hostile("redirects in circles end at the last layer", lowers=12, fill=looping_layers)
def loops(m):
    for name in ("a", "b", "self", "deep", "side", "root", *(f"chain{i}" for i in range(8))):
        os.listdir(m(name))
    equal(names(m("chain0")), [f"at{i}" for i in range(8)], "a chain is one directory with all of its parts")
    run("find", m(""), "-ls")
    os.rename(m("a"), m("c"))
    os.rename(m("b"), m("a"))
    write(m("a/new"), "x")
    m.remount()
    equal(read(m("a/new")), b"x", "written into a renamed loop")
    run("rm", "-rf", *(m(name) for name in os.listdir(m(""))))
    equal(names(m("")), [], "after rm -rf")


def symlinked_layers(m):
    upper_most, lowest = m.lowers[0], m.lowers[-1]
    os.symlink(outside(m), lowest + "/link")
    os.symlink("../outside", lowest + "/relative")
    for name, value in (("d", b"/link/dir"), ("e", b"/relative/dir"), ("g", b"/link"), ("h", b"relative")):
        os.mkdir(f"{upper_most}/{name}")
        mark(m, f"{upper_most}/{name}", "redirect", value)
        write(f"{upper_most}/{name}/own", "x")
    for name in ("merged", "sub"):  # a directory above, a symlink to one below
        os.mkdir(f"{upper_most}/{name}")
        os.symlink(outside(m), f"{lowest}/{name}")
    for i, value in enumerate((b"/link/f", b"/relative/f", b"/link/dir/f")):
        write(f"{upper_most}/data{i}", "")
        os.truncate(f"{upper_most}/data{i}", len(SECRET))
        mark(m, f"{upper_most}/data{i}", "metacopy", b"")
        mark(m, f"{upper_most}/data{i}", "redirect", value)


@hostile("no redirect is followed through a symlink", fill=symlinked_layers)
def through_symlinks(m):
    for name in ("d", "e", "g", "h"):
        equal(names(m(name)), ["own"], f"names of {name}")
        once(m, f" {name} ", "gone")
    for name in ("merged", "sub"):
        equal(names(m(name)), [], f"names of {name}")
        write(m(name, "f"), "mine")
        equal(read(m(name, "f")), b"mine", "a file where the symlink below leads")
    for i in range(3):
        refused(errno.EIO, os.open, m(f"data{i}"), os.O_RDONLY)
        once(m, f" data{i} ", "metacopy")
    os.rename(m("d"), m("d2"))
    m.remount()
    equal(names(m("d2")), ["own"], "names after a rename and a remount")


def misleading_layers(m):
    top, low = m.lowers
    os.mkdir(low + "/dir")
    os.mkfifo(low + "/fifo")
    write(low + "/file", SECRET)
    os.symlink("file", low + "/symlink")
    os.mknod(low + "/whiteout", 0o020000, 0)
    kinds = ["dir", "fifo", "symlink", "whiteout", "absent"]
    if m.mode == "root":
        os.mknod(low + "/null", 0o020666, os.makedev(1, 3))
        kinds.append("null")
    for kind in kinds:
        write(f"{top}/to-{kind}", "")
        os.truncate(f"{top}/to-{kind}", 10000)
        mark(m, f"{top}/to-{kind}", "metacopy", b"")
        mark(m, f"{top}/to-{kind}", "redirect", b"/" + kind.encode())
    for kind in [*kinds, "file"]:
        if kind != "dir":
            os.mkdir(f"{top}/dir-{kind}")
            mark(m, f"{top}/dir-{kind}", "redirect", b"/" + kind.encode())
    os.mkdir(top + "/with-metacopy")
    mark(m, top + "/with-metacopy", "metacopy", b"")
    os.mkdir(low + "/with-metacopy")
    write(top + "/huge", "")  # says to be longer than what it stands for
    os.truncate(top + "/huge", 1 << 28)
    mark(m, top + "/huge", "metacopy", b"")
    mark(m, top + "/huge", "redirect", b"/file")


@hostile("redirects to something of another kind", fill=misleading_layers)
def other_kinds(m):
    for name in names(m("")):
        if name.startswith("to-"):
            refused(errno.EIO, os.stat, m(name))
            once(m, f" {name} ", "metacopy")
        if name.startswith("dir-"):
            equal(names(m(name)), [], f"names of {name}")
    equal(names(m("with-metacopy")), [], "a directory with metacopy")
    descriptor = os.open(m("huge"), os.O_RDWR)
    before = m.used()
    refused(errno.EIO, os.pread, descriptor, len(SECRET), 0)
    refused(errno.EIO, os.pread, descriptor, 10, 1 << 27)
    refused(errno.EIO, os.pwrite, descriptor, b"x", 0)
    once(m, "file is shorter", "metacopy")
    equal(m.used(), before, "bytes charged")
    os.ftruncate(descriptor, len(SECRET))
    equal(os.pread(descriptor, len(SECRET), 0), SECRET, "what a truncation leaves")
    os.close(descriptor)


# ---- xattrs ---------------------------------------------------------------------------------------------------

KEYS = ("redirect", "metacopy", "opaque", "whiteout", "origin", "impure", "nlink", "protattr", "troot.origin",
        "troot.index", "troot.project", "troot.alloc", "troot.uuid", "troot.unknown", "troot.x.security.capability",
        "troot.x.system.posix_acl_access", "troot.x.system.posix_acl_default", "overlay.overlay.x", "overlay.", "")
VALUES = (b"", b"y", b"x", b"A" * 65000, bytes(65000), b"\xff" * 40, b"-1", b"0", b"4294967296 P", b"18446744073709551616",
          b"f" * 40, b"1 0+1 0+1", b"1 3ffffffffffff+3ffffffffffff", b"1 0+ffffffff 100000000+ffffffff", b"1 -1+5",
          b"../x =1", b"a =2147483647", b"a U-2147483647", b"a =-5", b"2\0\0\0" + b"\xff" * 80,
          b"\2\0\0\0" + b"\1\0\7\0\xff\xff\xff\xff" * 3, b"\2\0\0\0\1\0\7\0\xff\xff\xff\xff\4\0\7\0\xff\xff\xff\xff\x20\0\7\0\xff\xff\xff\xff")
OWNERS = (b"", b"0:0:0777:dir", b"0:0:0777:file", b"0:0:0777:symlink", b"0:0:0777:pipe", b"0:0:0777:block-8-0",
          b"0:0:0777:char-99999999-99999999", b"4294967295:4294967295:7777", b"4294967296:0:0", b"0:0:0777777:file",
          b"0:0:", b":::", b"-1:-1:-1", b"0:0:0777:char-0-0", b"1:2:0644:socket\n\n\0", b"A" * 65000)


def marked_layers(m):
    number = 0
    for place in (m.upper, m.lowers[0]):
        for full, values in [(xattr(m, key), VALUES) for key in KEYS] + [("user.containers.override_stat", OWNERS)]:
            for value in values:
                number += 1
                for kind in ("f", "d"):
                    path = f"{place}/{kind}{number}"
                    if kind == "d":
                        os.mkdir(path)
                    else:
                        write(path, b"own" * 3000)
                    try:
                        os.setxattr(path, full, value)
                    except OSError as error:  # the file system has a bound of its own
                        check(error.errno in (errno.ENOSPC, errno.E2BIG, errno.ERANGE, errno.EOPNOTSUPP, errno.EINVAL),
                              f"{full} of {len(value)} bytes: {error}")


ALLOWED = {"EIO", "ENOTSUP", "EOPNOTSUPP", "ENXIO", "EACCES", "EPERM", "ENODATA", "ELOOP", "EINVAL", "ENOTEMPTY",
           "ENOTDIR", "EISDIR", "ERANGE", "EXDEV"}


@hostile("xattrs of every format of ours, malformed or of 64 KB, on every kind of object", lowers=2, fill=marked_layers,
         seconds=180)
def malformed(m):
    def use(name):
        path = m(name)
        status = outcome(os.lstat, path)
        yield status if isinstance(status, str) else None
        if isinstance(status, str):
            return
        for key in outcome(os.listxattr, path, follow_symlinks=False):
            yield outcome(os.getxattr, path, key, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            yield outcome(os.listdir, path)
            made = outcome(os.mkdir, path + "/made")
            yield made
            if made is None:
                yield outcome(os.rename, path + "/made", path + "/moved")
        elif stat.S_ISREG(status.st_mode):
            for flags in (os.O_RDONLY, os.O_RDWR | os.O_APPEND):
                descriptor = outcome(os.open, path, flags)
                if isinstance(descriptor, int):
                    yield outcome(os.pread, descriptor, 5000, 0)
                    if flags != os.O_RDONLY:
                        yield outcome(os.write, descriptor, b"more")
                        yield outcome(os.ftruncate, descriptor, 7)
                    os.close(descriptor)
        yield outcome(os.chmod, path, 0o700, follow_symlinks=True) if not stat.S_ISLNK(status.st_mode) else None
        yield outcome(os.rename, path, path + "-moved")
    seen = 0
    for _ in range(2):
        for name in names(m("")):
            for answer in use(name):
                seen += 1
                check(not isinstance(answer, str) or answer in ALLOWED, f"{name}: {answer}")
        for label, line in m.status().items():
            check(not isinstance(line, int) or 0 <= line < 1 << 62, f"status says {label}={line}")
        m.remount()
    check(seen > 2000, f"only {seen} answers")


# ---- names ----------------------------------------------------------------------------------------------------

NAMES = [b"new\nline", b"[warning] forged\n[2026-01-01] a line of the log", b"\xff\xfe\x80", b"n" * 255, b"\xc3" * 255, b".wh.x",
         b".wh..wh..opq", b".wh..wh.plnk", b".fuse_hidden0000000100000001", b"work", b"upper", b"troot", b"index", b"stage",
         b"#1", b"\\", b":", b",", b"\1\2\3\x7f", b" ", b"...", b"\xe2\x80\xae"]


def named_layers(m):
    for lower in map(os.fsencode, m.lowers):
        for name in NAMES:
            write(lower + b"/" + name, name)
            os.mkdir(lower + b"/" + b"d" + name[:254])
            write(lower + b"/d" + name[:254] + b"/" + name, name)
    bad = os.fsencode(m.lowers[0]) + b"/bad" + NAMES[1]
    os.mkdir(bad)
    mark(m, bad, "redirect", b"..")


@hostile("names with newlines, without an encoding, of 255 bytes, and like our own", fill=named_layers)
def odd_names(m):
    root = os.fsencode(m(""))
    wanted = sorted(set(NAMES + [b"d" + n[:254] for n in NAMES] + [b"bad" + NAMES[1]]))
    equal(sorted(os.listdir(root)), wanted, "names")
    refused(errno.EIO, os.lstat, root + b"bad" + NAMES[1])
    check(all("a line of the log" not in line or "redirect" in line for line in m.server_says().split("\n")),
          f"a name forged a line of the log: {m.server_says()}")
    for name in NAMES:
        equal(read(root + name), name, "content")
        with open(root + name, "ab") as file:
            file.write(b"!")
        directory = root + b"d" + name[:254]
        equal(os.listdir(directory), [name], "names of a directory")
        os.rename(directory + b"/" + name, directory + b"/moved")
        outcome(os.rename, directory, directory[:-1] + b"~")  # EXDEV where a redirect would be too long
    m.remount()
    for name in NAMES:
        equal(read(root + name), name + b"!", "content after a remount")
        os.unlink(root + name)
    run("rm", "-rf", *(root + name for name in os.listdir(root) if not name.startswith(b"bad")))
    equal(os.listdir(root), [b"bad" + NAMES[1]], "names after rm -rf")


# ---- kinds ----------------------------------------------------------------------------------------------------

def whiteout(path):
    os.mknod(path, 0o020000, 0)


def whited_layers(m):
    top, middle, low = m.lowers
    for name in ("gone", "back", "opaque", "only"):
        os.mkdir(f"{low}/{name}")
        write(f"{low}/{name}/f", "low")
    whiteout(low + "/lowest")  # of nothing
    whiteout(middle + "/gone")
    whiteout(middle + "/opaque")
    os.mkdir(top + "/back")  # a directory over a whiteout over a directory
    whiteout(middle + "/back")
    os.mkdir(top + "/opaque")  # opaque over a whiteout
    mark(m, top + "/opaque", "opaque", b"y")
    whiteout(top + "/opaque/f")
    for value in (b"x", b"Y", b"yes", b"", b"y" * 1000):  # none of these is opaque
        name = f"not{len(value)}{value[:1].decode()}"
        os.mkdir(f"{top}/{name}")
        mark(m, f"{top}/{name}", "opaque", value)
        os.mkdir(f"{low}/{name}")
        write(f"{low}/{name}/f", "low")
    os.link(middle + "/gone", top + "/linked")  # one whiteout with several names
    os.chmod(middle + "/gone", 0)
    whiteout(m.upper + "/nothing")
    os.mkdir(m.upper + "/new")
    whiteout(m.upper + "/new/f")


@hostile("whiteouts in odd places hide what they name and are never shown", lowers=3, fill=whited_layers)
def whiteouts(m):
    nots = [n for n in os.listdir(m.lowers[0]) if n.startswith("not")]
    equal(names(m("")), sorted(["back", "new", "only", "opaque", *nots]), "names")
    for name in ("gone", "lowest", "linked", "nothing", "new/f", "opaque/f", "back/f"):
        refused(errno.ENOENT, os.lstat, m(name))
    for name in nots:
        equal(names(m(name)), ["f"], f"names of {name}")
    for name in ("back", "opaque", "new"):
        os.rmdir(m(name))
        os.mkdir(m(name))
    for name in ("gone", "lowest", "linked", "nothing", "new/f"):
        write(m(name), "here")
        os.unlink(m(name))
        refused(errno.ENOENT, os.lstat, m(name))
    os.rename(m("only"), m("gone"))
    equal(read(m("gone/f")), b"low", "a directory moved over a whiteout")
    m.remount()
    equal(names(m("")), sorted(["back", "gone", "new", "opaque", *nots]), "names")
    m.check_recount()


def special_layers(m):
    for lower in m.lowers:
        os.mkfifo(lower + "/fifo")
        os.mkdir(lower + "/d")
        os.mkfifo(lower + "/d/file")  # of another kind than in the other layer
        run("/usr/bin/python3", "-c", "import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])", lower + "/socket")
        if m.mode == "root":
            os.mknod(lower + "/null", 0o020666, os.makedev(1, 3))
            os.mknod(lower + "/tty", 0o020666, os.makedev(5, 0))
            os.mknod(lower + "/block", 0o060600, os.makedev(7, 250))
            os.mknod(lower + "/zero-block", 0o060600, 0)
    os.mkdir(m.lowers[1] + "/e")
    write(m.lowers[1] + "/e/f", "x")
    os.mkfifo(m.lowers[0] + "/e")
    write(m.upper + "/d", "a file over a directory")


@hostile("fifos, sockets and devices are never opened by the server", fill=special_layers)
def specials(m):
    equal(read(m("d")), b"a file over a directory", "content")
    for name in names(m("")):
        status = os.lstat(m(name))
        check(name == "d" or not stat.S_ISREG(status.st_mode), f"the kind of {name}")
        os.chmod(m(name), 0o640)
        os.rename(m(name), m(name + "2"))
        equal(os.lstat(m(name + "2")).st_rdev, status.st_rdev, f"the device of {name}")
        os.link(m(name + "2"), m(name))
        os.listxattr(m(name))
    reader = os.open(m("fifo"), os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(m("fifo"), os.O_WRONLY | os.O_NONBLOCK)
    os.write(writer, b"through")
    equal(os.read(reader, 7), b"through", "through a fifo")
    os.close(reader)
    os.close(writer)
    m.remount()
    run("rm", "-rf", *(m(name) for name in os.listdir(m(""))))


# ---- while it changes -----------------------------------------------------------------------------------------

def disturb(work):
    """A process that does `work` until it is told to end."""
    pid = os.fork()
    if pid == 0:
        try:
            while True:
                work()
        finally:
            os._exit(0)

    def end():
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return end


DIRECTORIES = 150


def swapped_layers(m):
    for i in range(DIRECTORIES):
        os.makedirs(f"{m.lower}/d{i}/dir")
        write(f"{m.lower}/d{i}/f", "good")
        write(f"{m.lower}/d{i}/dir/f", "good")
        os.symlink(outside(m), f"{m.lower}/s{i}")


@hostile("directories of a lower that turn into symlinks and back while they are looked at", lowers=1, fill=swapped_layers,
         hash_lowers=False, seconds=120)
def swapped(m):
    def swap():
        for i in range(DIRECTORIES):
            renameat2(f"{m.lower}/d{i}", f"{m.lower}/s{i}", RENAME_EXCHANGE)
    seen = {}

    def look(path):
        for work in (lambda: read(path), lambda: os.chmod(path, 0o600), lambda: read(path),
                     lambda: os.listdir(os.path.dirname(path))):
            answer = outcome(work)
            seen[str(answer)[:20]] = seen.get(str(answer)[:20], 0) + 1
            check(answer != SECRET, f"{path}: what lies outside was read")
    end = disturb(swap)
    try:
        stop = time.monotonic() + 4
        while time.monotonic() < stop:
            for i in range(DIRECTORIES):
                # By a symlink the client itself would go outside.
                if outcome(lambda: stat.S_ISDIR(os.lstat(m(f"d{i}")).st_mode)) is True:
                    descriptor = outcome(os.open, m(f"d{i}"), os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
                    if isinstance(descriptor, int):
                        look(f"/proc/self/fd/{descriptor}/f")
                        look(f"/proc/self/fd/{descriptor}/dir/f")
                        os.close(descriptor)
            m.remount()
    finally:
        end()
    m.umount()
    for directory, _, files in os.walk(m.upper):
        for name in files:
            path = os.path.join(directory, name)
            check(os.path.islink(path) or SECRET not in read(path), f"{path}: what lies outside was copied up")
    check(len(seen) > 1, f"answers: {seen}")
    m.mount()


def crowded_layers(m):
    for directory, content in (("d", "x"), ("other", "y")):
        os.mkdir(f"{m.lower}/{directory}")
        for i in range(2000):
            write(f"{m.lower}/{directory}/{content}{i}", content)


@hostile("a directory of a lower that is replaced, filled and emptied while it is listed", lowers=1, fill=crowded_layers,
         hash_lowers=False)
def replaced(m):
    def churn():
        renameat2(f"{m.lower}/d", f"{m.lower}/other", RENAME_EXCHANGE)
        for i in range(50):
            write(f"{m.lower}/d/h{i}", "z")
        for i in range(50):
            for place in ("d", "other"):
                outcome(os.unlink, f"{m.lower}/{place}/h{i}")
    end = disturb(churn)
    try:
        stop = time.monotonic() + 3
        while time.monotonic() < stop:
            found = outcome(os.listdir, m("d"))
            check(isinstance(found, str) or len(found) == len(set(found)), "a name twice")
            for name in found[:200] if isinstance(found, list) else ():
                answer = outcome(read, m("d", name))
                check(answer in (b"x", b"y", b"z", b"", "ENOENT", "EIO", "ESTALE"), f"{name}: {answer!r}")
            outcome(write, m("d/new"), "x")
            outcome(os.unlink, m("d/new"))
            m.remount()
    finally:
        end()


LEVELS = 2000


def deep_layers(m):
    before = os.getcwd()
    os.chdir(m.lower)
    for _ in range(LEVELS):
        os.mkdir("d")
        os.chdir("d")
    write("f", "bottom")
    os.chdir(before)


@hostile(f"a tree of {LEVELS} levels: walked, copied up from its end, moved, removed", lowers=1, fill=deep_layers, seconds=180)
def deep(m):
    def bottom(top):
        os.chdir(m(top))
        for _ in range(LEVELS - 1):
            os.chdir("d")
    bottom("d")
    equal(read("f"), b"bottom", "content")
    os.chmod("f", 0o600)
    with open("f", "ab") as file:
        file.write(b"!")
    os.rename("f", "g")
    os.chdir("/")
    os.rename(m("d"), m("e"))
    m.remount()
    bottom("e")
    equal(read("g"), b"bottom!", "content after a rename and a remount")
    os.chdir("/")
    m.check_recount()
    run("rm", "-rf", m("e"))
    equal(names(m("")), [], "names after rm -rf")


# ---- where the server keeps its own things --------------------------------------------------------------------

def litter(directory):
    """Things of every kind that nobody expects there."""
    os.makedirs(directory, exist_ok=True)
    write(directory + "/file", "x")
    write(directory + "/" + "f" * 255, "x")
    write(directory + "/1-1", "troot-link 1\nstat garbage\n")
    write(directory + "/0", bytes(100000))
    write(directory + "/new\nline", "x")
    os.symlink("../../../../outside/f", directory + "/symlink")
    os.symlink("/nowhere", directory + "/2-2")
    os.mkfifo(directory + "/fifo")
    os.mkfifo(directory + "/3-3")
    os.makedirs(directory + "/4-4/full/of")
    write(directory + "/4-4/full/of/it", "x")
    whiteout(directory + "/5-5")
    os.link(directory + "/file", directory + "/link")
    os.mkdir(directory + "/closed")
    write(directory + "/closed/f", "x")


@hostile("garbage in every directory of work/troot is swept or passed over", automount=False, hash_lowers=False)
def littered(m):
    m.mount()
    write(m("kept"), "kept")
    os.symlink("x", m("symlink"))
    m.umount()
    for place in ("stage", "parked", "links", "index", "foreign", "ledger"):
        litter(f"{m.work}/troot/{place}")
    deepest = f"{m.work}/troot/stage"
    os.chdir(deepest)
    for _ in range(3000):
        os.mkdir("d")
        os.chdir("d")
    os.chdir("/")
    for _ in range(2):
        m.mount()
        equal(read(m("kept")), b"kept", "content")
        equal(os.readlink(m("symlink")), "x", "a symlink")
        m.check_recount()
        m.umount()
        m.check_work_clean()
    for place in ("links", "index"):
        left = names(f"{m.work}/troot/{place}")
        check(not [n for n in left if n in ("file", "1-1", "3-3", "symlink")], f"left in {place}: {left}")


def replace(path, make):
    run("rm", "-rf", path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    make(path)


@hostile("things of another kind in the places of work/troot: one clear line, or a mount that works", automount=False)
def misplaced(m):
    m.mount()
    write(m("kept"), "kept")
    m.umount()
    kinds = {"a symlink to outside": lambda p: os.symlink(outside(m, "dir"), p), "a file": lambda p: write(p, "x"),
             "a fifo": os.mkfifo, "an endless link": lambda p: os.symlink(os.path.basename(p), p)}
    places = ("stage", "parked", "links", "index", "ledger", "ledger/db", "ledger/journal", "ledger/limits.txt",
              "ledger/lock", "ledger/bypassed", "ledger/limits.txt.tmp", "")
    for place in places:
        for kind, make in kinds.items():
            path = f"{m.work}/troot/{place}".rstrip("/")
            replace(path, make)
            done = None
            try:
                m.mount()
            except Failure as failure:
                done = str(failure)
            if done is None:
                equal(read(m("kept")), b"kept", f"{kind} as {place}: content")
                write(m("more"), "x")
                m.umount()
            else:
                lines = [line for line in done.split("\n") if line]
                check("ended with 1" in done and (m.work in done or m.upper in done), f"{kind} as {place}: {lines}")
            write(m.log, "")
            run("rm", "-rf", path)
    m.mount()
    equal(read(m("kept")), b"kept", "content in the end")


def linked_layers(m):
    write(m.lower + "/a", "linked")
    os.link(m.lower + "/a", m.lower + "/b")
    os.link(m.lower + "/a", m.lower + "/c")


@hostile("an index of hard links that says what is not so", lowers=1, fill=linked_layers)
def index(m):
    with open(m("a"), "ab") as file:
        file.write(b"!")
    m.umount()
    directory = f"{m.work}/troot/index"
    (entry,) = names(directory)
    good = os.getxattr(f"{directory}/{entry}", xattr(m, "troot.index"))
    for value in (b"", b"x", b"other =3", entry.encode() + b" =9999999999", entry.encode() + b" =-1", b"../x =3",
                  entry.encode() + b" =0", entry.encode() + b" U-100", b"A" * 60000, entry.encode() + b" =1"):
        write(m.log, "")
        if entry in names(directory):
            outcome(os.setxattr, f"{directory}/{entry}", xattr(m, "troot.index"), value)
        m.mount()
        for name in ("a", "b", "c"):
            check(outcome(read, m(name)) in (b"linked!", b"linked"), f"{value[:30]}: content of {name}")
            check(1 <= os.stat(m(name)).st_nlink < 1 << 31 or value != good, f"{value[:30]}: links of {name}")
            os.chmod(m(name), 0o640)
        outcome(os.link, m("b"), m("d"))
        outcome(os.unlink, m("d"))
        m.umount()
    m.mount()
    for name in ("a", "b", "c"):
        os.unlink(m(name))
    equal(names(m("")), [], "names")


if __name__ == "__main__":
    main()
