#!/usr/bin/env python3
"""Every errno that POSIX and Linux name for chmod chown link mkdir mkfifo mknod open rename rmdir symlink
truncate unlink utimensat, as a table: on objects of a lower layer and of the upper, as owner, as root and as somebody
else. TROOT_TEST_FS=native runs the same table on a plain directory.

Left out are those that take a broken or a full machine: EIO, ENOMEM, ENFILE, EMFILE, ENOSPC, EDQUOT (the tests of faults
and of quota have them), EMLINK (no file system of ours has a bound that is reached), EOVERFLOW (64 bits)."""
import ctypes
import errno
import os
import shutil
import socket
import stat
import subprocess

from harness import FILE_SYSTEM, Failure, case, check, drop_to, equal, in_process, libc, main, renameat2, write

NOREPLACE, EXCHANGE, WHITEOUT = 1, 2, 4
CLOSED = {"no-search": 0o600, "no-write": 0o555, "sticky": 0o1777, "open": 0o777}
LONG, LONG_PATH = "n" * 256, "x/" * 2048 + "x"
SOMEBODY = 65531  # neither root nor the account of the run


def populate(base):
    """One of everything, below `base`."""
    def at(*parts):
        return os.path.join(base, *parts)
    os.makedirs(at("dir/sub"))
    os.mkdir(at("empty"))
    write(at("dir/f"), "f")
    write(at("file"), "content")
    write(at("other"), "other")
    os.symlink("file", at("to-file"))
    os.symlink("dir", at("to-dir"))
    os.symlink("nowhere", at("dangling"))
    os.symlink("loop2", at("loop"))
    os.symlink("loop", at("loop2"))
    os.mkfifo(at("fifo"))
    listener = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(base)  # a socket's path is short
    listener.bind("socket")
    os.chdir(here)
    listener.close()
    shutil.copy("/bin/sleep", at("program"))
    write(at("private"), "p", 0o600)
    write(at("readable"), "r", 0o644)
    for name in CLOSED:
        os.mkdir(at(name))
        write(at(name, "f"), "f", 0o666)
        os.mkdir(at(name, "d"))


def raw(name, *arguments):
    """A call by libc, for what Python would not let through."""
    if getattr(libc, name)(*arguments) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def opened(path, flags, mode=0o600):
    os.close(os.open(path, flags, mode))


def utime(path, times=None, **named):
    os.utime(path, times, **named)


class Timespec(ctypes.Structure):
    _fields_ = [("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long)]


def utimensat_raw(path, nanoseconds, flags=0):
    raw("utimensat", -100, os.fsencode(path), (Timespec * 2)(Timespec(1, nanoseconds), Timespec(1, nanoseconds)), flags)


# name, the call on a path; whether it follows the last symlink, and whether it makes what it names
CALLS = (
    ("chmod", lambda p: os.chmod(p, 0o600), "follows"),
    ("chown", lambda p: os.chown(p, -1, -1), "follows"),
    ("lchown", lambda p: os.lchown(p, -1, -1), ""),
    ("link from", lambda p: os.link(p, os.path.dirname(p.split("//")[0]) + "/fresh"), "source"),
    ("mkdir", lambda p: os.mkdir(p, 0o700), "makes"),
    ("mkfifo", lambda p: os.mkfifo(p, 0o600), "makes"),
    ("mknod", lambda p: os.mknod(p, stat.S_IFREG | 0o600), "makes"),
    ("open", lambda p: opened(p, os.O_RDONLY), "follows"),
    ("open for writing", lambda p: opened(p, os.O_WRONLY), "follows"),
    ("open O_CREAT", lambda p: opened(p, os.O_WRONLY | os.O_CREAT), "makes"),
    ("open O_CREAT|O_EXCL", lambda p: opened(p, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "makes"),
    ("rmdir", os.rmdir, ""),
    ("symlink", lambda p: os.symlink("target", p), "makes"),
    ("truncate", lambda p: os.truncate(p, 3), "follows"),
    ("unlink", os.unlink, ""),
    ("utimensat", lambda p: utime(p), "follows"),
    ("utimensat of a link", lambda p: utime(p, follow_symlinks=False), ""),
)
BAD_ADDRESS = {
    "chmod": lambda a: raw("chmod", a, 0o600), "chown": lambda a: raw("chown", a, -1, -1),
    "link": lambda a: raw("link", a, a), "mkdir": lambda a: raw("mkdir", a, 0o700),
    "mkfifo": lambda a: raw("mknod", a, stat.S_IFIFO | 0o600, 0), "open": lambda a: raw("open", a, 0),
    "rename": lambda a: raw("rename", a, a), "rmdir": lambda a: raw("rmdir", a),
    "symlink": lambda a: raw("symlink", b"x", a), "truncate": lambda a: raw("truncate", a, ctypes.c_long(0)),
    "unlink": lambda a: raw("unlink", a), "utimensat": lambda a: raw("utimensat", -100, a, None, 0),
}


def path_rows():
    """(title, errno, call on `at`) of what every call with a path has in common."""
    for name, call, kind in CALLS:
        def on(*parts, call=call):
            return lambda at: call(at(*parts))
        yield f"{name}: a component is missing", "ENOENT", on("absent/x")
        yield f"{name}: a component is a file", "ENOTDIR", on("file/x")
        yield f"{name}: a component is a fifo", "ENOTDIR", on("fifo/x")
        yield f"{name}: a component is a dangling symlink", "ENOENT", on("dangling/x")
        yield f"{name}: a component is a symlink to a file", "ENOTDIR", on("to-file/x")
        yield f"{name}: a component is a loop of symlinks", "ELOOP", on("loop/x")
        yield f"{name}: a name of 256 bytes", "ENAMETOOLONG", on(LONG)
        yield f"{name}: a component of 256 bytes", "ENAMETOOLONG", on(LONG, "x")
        yield f"{name}: a path of 4097 bytes", "ENAMETOOLONG", on(LONG_PATH)
        yield f"{name}: the empty path", "ENOENT", lambda at, call=call: call("")
        if kind == "follows":
            yield f"{name}: a dangling symlink", "ENOENT", on("dangling")
            yield f"{name}: a loop of symlinks", "ELOOP", on("loop")
        if kind != "makes":
            yield f"{name}: the name is missing", "ENOENT", on("absent")
            if "rmdir" not in name:
                yield f"{name}: a file with a slash behind it", "ENOTDIR", on("file/")
        elif name != "open O_CREAT":
            for what in ("file", "dir", "fifo", "to-file", "to-dir", "dangling", "loop"):
                yield f"{name}: there is {what}", "EEXIST", on(what)
    for name, call in BAD_ADDRESS.items():
        yield f"{name}: a bad address", "EFAULT", lambda at, call=call: call(ctypes.c_void_p(1))


def rename(a, b, flags=None):
    return (lambda at: os.rename(at(a), at(b))) if flags is None else (lambda at: renameat2(at(a), at(b), flags))


def busy(at, call):
    """`call` while the program runs."""
    running = subprocess.Popen([at("program"), "60"], stdin=subprocess.DEVNULL)
    try:
        call()
    finally:
        running.kill()
        running.wait()


def run_while_written(at):
    descriptor = os.open(at("program"), os.O_WRONLY)
    try:
        subprocess.run([at("program"), "0"], check=True)
    finally:
        os.close(descriptor)


OWN_ROWS = (
    ("link: the new name is there", "EEXIST", lambda at: os.link(at("file"), at("other"))),
    ("link: the new name is a dangling symlink", "EEXIST", lambda at: os.link(at("file"), at("dangling"))),
    ("link: of a directory", "EPERM", lambda at: os.link(at("dir"), at("fresh"))),
    ("link: into a missing directory", "ENOENT", lambda at: os.link(at("file"), at("absent/x"))),
    ("link: below a file", "ENOTDIR", lambda at: os.link(at("file"), at("other/x"))),
    ("link: from another file system", "EXDEV", lambda at: os.link("/proc/self/status", at("fresh"))),
    ("link: to a name of 256 bytes", "ENAMETOOLONG", lambda at: os.link(at("file"), at(LONG))),
    ("linkat: unknown flags", "EINVAL", lambda at: raw("linkat", -100, os.fsencode(at("file")), -100, os.fsencode(at("fresh")), 1)),
    ("mknod: of a directory", "EPERM", lambda at: os.mknod(at("fresh"), stat.S_IFDIR | 0o700)),
    ("mknod: of a symlink", "EINVAL", lambda at: os.mknod(at("fresh"), stat.S_IFLNK | 0o700)),
    ("mkdir: of .", "EEXIST", lambda at: os.mkdir(at("dir/."))),
    ("mkdir: of ..", "EEXIST", lambda at: os.mkdir(at("dir/.."))),
    ("mkfifo: with a slash behind it", "ENOENT", lambda at: os.mkfifo(at("fresh/"))),
    ("open: a directory for writing", "EISDIR", lambda at: opened(at("dir"), os.O_WRONLY)),
    ("open: a directory with O_CREAT", "EISDIR", lambda at: opened(at("dir"), os.O_RDONLY | os.O_CREAT)),
    ("open: a name with a slash behind it and O_CREAT", "EISDIR", lambda at: opened(at("fresh/"), os.O_RDWR | os.O_CREAT)),
    ("open: a directory with O_TRUNC", "EISDIR", lambda at: opened(at("dir"), os.O_RDWR | os.O_TRUNC)),
    ("open: O_CREAT and O_DIRECTORY on a directory", "EINVAL", lambda at: opened(at("dir"), os.O_CREAT | os.O_DIRECTORY)),
    ("open: O_DIRECTORY on a file", "ENOTDIR", lambda at: opened(at("file"), os.O_RDONLY | os.O_DIRECTORY)),
    ("open: O_NOFOLLOW on a symlink", "ELOOP", lambda at: opened(at("to-file"), os.O_RDONLY | os.O_NOFOLLOW)),
    ("open: O_NOFOLLOW|O_DIRECTORY on a symlink", "ENOTDIR", lambda at: opened(at("to-dir"), os.O_NOFOLLOW | os.O_DIRECTORY)),
    ("open: O_TMPFILE without a way to write", "EINVAL", lambda at: opened(at("dir"), os.O_TMPFILE | os.O_RDONLY)),
    ("open: O_TMPFILE in a file", "ENOTDIR", lambda at: opened(at("file"), os.O_TMPFILE | os.O_RDWR)),
    ("open: O_TMPFILE in what is missing", "ENOENT", lambda at: opened(at("absent"), os.O_TMPFILE | os.O_RDWR)),
    ("open: a fifo that nobody reads", "ENXIO", lambda at: opened(at("fifo"), os.O_WRONLY | os.O_NONBLOCK)),
    ("open: a socket", "ENXIO", lambda at: opened(at("socket"), os.O_RDONLY)),
    ("open: a running program for writing", "ETXTBSY", lambda at: busy(at, lambda: opened(at("program"), os.O_WRONLY))),
    ("open: a running program with O_TRUNC", "ETXTBSY", lambda at: busy(at, lambda: opened(at("program"), os.O_RDWR | os.O_TRUNC))),
    ("truncate: a running program", "ETXTBSY", lambda at: busy(at, lambda: os.truncate(at("program"), 0))),
    ("execve: a program that is open for writing", "ETXTBSY", run_while_written),
    ("rename: a missing name", "ENOENT", rename("absent", "fresh")),
    ("rename: into a missing directory", "ENOENT", rename("file", "absent/x")),
    ("rename: to the empty path", "ENOENT", lambda at: os.rename(at("file"), "")),
    ("rename: below a file", "ENOTDIR", rename("file", "other/x")),
    ("rename: a file over a directory", "EISDIR", rename("file", "empty")),
    ("rename: a symlink over a directory", "EISDIR", rename("to-dir", "empty")),
    ("rename: a directory over a file", "ENOTDIR", rename("empty", "file")),
    ("rename: a directory over a symlink to one", "ENOTDIR", rename("empty", "to-dir")),
    ("rename: a file to a name with a slash behind it", "ENOTDIR", rename("file", "fresh/")),
    ("rename: a directory over a full one", "ENOTEMPTY", rename("empty", "dir")),
    ("rename: a directory into itself", "EINVAL", rename("dir", "dir/sub/x")),
    ("rename: a directory to below itself", "EINVAL", rename("dir", "dir/x")),
    ("rename: a directory over one above it", "ENOTEMPTY", rename("dir/sub", "dir")),
    ("rename: .", "EBUSY", rename("dir/.", "fresh")),
    ("rename: ..", "EBUSY", rename("dir/..", "fresh")),
    ("rename: to .", "EBUSY", rename("empty", "dir/.")),
    ("rename: to a name of 256 bytes", "ENAMETOOLONG", rename("file", LONG)),
    ("rename: from a name of 256 bytes", "ENAMETOOLONG", rename(LONG, "file")),
    ("rename: through a loop of symlinks", "ELOOP", rename("loop/x", "fresh")),
    ("rename: from another file system", "EXDEV", lambda at: os.rename("/proc/self/status", at("fresh"))),
    ("renameat2: NOREPLACE over a file", "EEXIST", rename("file", "other", NOREPLACE)),
    ("renameat2: NOREPLACE over a full directory", "EEXIST", rename("empty", "dir", NOREPLACE)),
    ("renameat2: EXCHANGE with a missing name", "ENOENT", rename("file", "absent", EXCHANGE)),
    ("renameat2: EXCHANGE of a directory with one in it", "EINVAL", rename("dir", "dir/sub", EXCHANGE)),
    ("renameat2: NOREPLACE and EXCHANGE", "EINVAL", rename("file", "other", NOREPLACE | EXCHANGE)),
    ("renameat2: WHITEOUT and EXCHANGE", "EINVAL", rename("file", "other", WHITEOUT | EXCHANGE)),
    ("renameat2: unknown flags", "EINVAL", rename("file", "other", 64)),
    ("rmdir: a full directory", "ENOTEMPTY", lambda at: os.rmdir(at("dir"))),
    ("rmdir: a file", "ENOTDIR", lambda at: os.rmdir(at("file"))),
    ("rmdir: a symlink to a directory", "ENOTDIR", lambda at: os.rmdir(at("to-dir"))),
    ("rmdir: a symlink to a directory with a slash", "ENOTDIR", lambda at: os.rmdir(at("to-dir/"))),
    ("rmdir: .", "EINVAL", lambda at: os.rmdir(at("empty/."))),
    ("rmdir: ..", "ENOTEMPTY", lambda at: os.rmdir(at("empty/.."))),
    ("symlink: to nothing", "ENOENT", lambda at: os.symlink("", at("fresh"))),
    ("symlink: to 4096 bytes", "ENAMETOOLONG", lambda at: os.symlink("t" * 4096, at("fresh"))),
    ("symlink: with a slash behind it", "ENOENT", lambda at: os.symlink("t", at("fresh/"))),
    ("truncate: a directory", "EISDIR", lambda at: os.truncate(at("dir"), 0)),
    ("truncate: to less than nothing", "EINVAL", lambda at: raw("truncate", os.fsencode(at("file")), ctypes.c_long(-1))),
    ("truncate: a fifo", "EINVAL", lambda at: os.truncate(at("fifo"), 0)),
    ("unlink: a directory", "EISDIR", lambda at: os.unlink(at("dir"))),
    ("unlink: an empty directory", "EISDIR", lambda at: os.unlink(at("empty"))),
    ("unlink: .", "EISDIR", lambda at: os.unlink(at("dir/."))),
    ("unlink: a symlink to a directory with a slash", "ENOTDIR", lambda at: os.unlink(at("to-dir/"))),
    ("unlinkat: unknown flags", "EINVAL", lambda at: raw("unlinkat", -100, os.fsencode(at("file")), 1)),
    ("utimensat: nanoseconds that are none", "EINVAL", lambda at: utimensat_raw(at("file"), 1_000_000_000)),
    ("utimensat: less than no nanoseconds", "EINVAL", lambda at: utimensat_raw(at("file"), -3)),
    ("utimensat: unknown flags", "EINVAL", lambda at: utimensat_raw(at("file"), 0, 1)),
    ("fchmodat: unknown flags", "EINVAL", lambda at: raw("fchmodat", -100, os.fsencode(at("file")), 0o600, 1)),
    ("fchownat: unknown flags", "EINVAL", lambda at: raw("fchownat", -100, os.fsencode(at("file")), -1, -1, 1)),
)


def makers(where):
    yield "mkdir", lambda at: os.mkdir(at(where, "x"))
    yield "mkfifo", lambda at: os.mkfifo(at(where, "x"))
    yield "mknod", lambda at: os.mknod(at(where, "x"), stat.S_IFREG | 0o600)
    yield "symlink", lambda at: os.symlink("t", at(where, "x"))
    yield "open O_CREAT", lambda at: opened(at(where, "x"), os.O_CREAT | os.O_WRONLY)
    yield "open O_TMPFILE", lambda at: opened(at(where), os.O_TMPFILE | os.O_WRONLY)
    yield "link", lambda at: os.link(at("readable"), at(where, "x"))
    yield "rename into", lambda at: os.rename(at("open/f"), at(where, "x"))


def denied_rows():
    """What the permissions of directories forbid, to their owner too (but not to root)."""
    for name, call, _ in CALLS:
        yield f"{name}: a component may not be searched", "EACCES", lambda at, call=call: call(at("no-search/f"))
    for name, call in makers("no-write"):
        yield f"{name}: the directory may not be written", "EACCES", call
    yield "rename: out of a directory that may not be written", "EACCES", rename("no-write/f", "open/x")
    yield "rename: over a name of one", "EACCES", rename("open/f", "no-write/f")
    yield "unlink: in one", "EACCES", lambda at: os.unlink(at("no-write/f"))
    yield "rmdir: in one", "EACCES", lambda at: os.rmdir(at("no-write/d"))


def stranger_rows():
    """What somebody else may not do."""
    yield from (row for row in denied_rows() if "link: the directory" not in row[0])
    yield "chmod: another's file", "EPERM", lambda at: os.chmod(at("readable"), 0o777)
    yield "chown: another's file", "EPERM", lambda at: os.chown(at("readable"), SOMEBODY, -1)
    yield "chown: another's file to its group", "EPERM", lambda at: os.chown(at("readable"), -1, SOMEBODY)
    yield "open: O_NOATIME on another's file", "EPERM", lambda at: opened(at("readable"), os.O_RDONLY | os.O_NOATIME)
    yield "open: a private file", "EACCES", lambda at: opened(at("private"), os.O_RDONLY)
    yield "open: a file to be written that may be read", "EACCES", lambda at: opened(at("readable"), os.O_WRONLY)
    yield "open: O_TRUNC of one", "EACCES", lambda at: opened(at("readable"), os.O_RDONLY | os.O_TRUNC)
    yield "truncate: a file that may be read", "EACCES", lambda at: os.truncate(at("readable"), 0)
    yield "utimensat: now, of another's file", "EACCES", lambda at: utime(at("readable"))
    yield "utimensat: a time, of another's file", "EPERM", lambda at: utime(at("readable"), (1, 1))
    yield "utimensat: a time, of a file that may be written", "EPERM", lambda at: utime(at("open/f"), (1, 1))
    yield "unlink: in a sticky directory", "EPERM", lambda at: os.unlink(at("sticky/f"))
    yield "rmdir: in a sticky directory", "EPERM", lambda at: os.rmdir(at("sticky/d"))
    yield "rename: in a sticky directory", "EPERM", rename("sticky/f", "sticky/g")
    yield "rename: out of a sticky directory", "EPERM", rename("sticky/f", "open/g")
    yield "rename: over a name in a sticky directory", "EPERM", rename("open/f", "sticky/f")
    yield "mknod: a device", "EPERM", lambda at: os.mknod(at("open/null"), stat.S_IFCHR | 0o600, os.makedev(1, 3))


def read_only_rows():
    """What a mount without an upper, or one that says ro, answers."""
    for name, call, kind in CALLS:
        if kind == "makes":
            yield f"{name}: read-only", "EROFS", lambda at, call=call: call(at("fresh"))
        elif name not in ("open", "rmdir", "link from"):
            yield f"{name}: read-only", "EROFS", lambda at, call=call: call(at("file"))
    yield "rmdir: read-only", "EROFS", lambda at: os.rmdir(at("empty"))
    yield "link: read-only", "EROFS", lambda at: os.link(at("file"), at("fresh"))
    yield "rename: read-only", "EROFS", rename("file", "fresh")
    yield "open O_TRUNC: read-only", "EROFS", lambda at: opened(at("file"), os.O_RDWR | os.O_TRUNC)
    yield "open O_TMPFILE: read-only", "EROFS", lambda at: opened(at("dir"), os.O_TMPFILE | os.O_RDWR)


def try_rows(rows, base):
    """The rows that answered otherwise, in words."""
    wrong = []
    for title, wanted, call in rows:
        try:
            call(lambda *parts: os.path.join(base, *parts))
            got = "no error"
        except OSError as error:
            got = errno.errorcode[error.errno]
        if got != wanted:
            wrong.append(f"{title}: {got}, not {wanted}")
    return wrong


def listing(base):
    """What a refused call must leave alone."""
    found = []
    for directory, subdirectories, files in os.walk(base):
        for name in sorted(subdirectories + files):
            try:
                status = os.lstat(os.path.join(directory, name))
            except PermissionError:
                found.append((os.path.join(directory, name),))
                continue
            found.append((os.path.join(directory, name), status.st_mode, status.st_uid, status.st_nlink if files else 0,
                          0 if stat.S_ISDIR(status.st_mode) else status.st_size))
    return sorted(found)


def lower(m):
    populate(os.path.join(m.lower, "low"))


def places(m):
    """The same objects from a lower layer, and of the upper."""
    os.umask(0o022)
    populate(m("up"))
    for place in ("low", "up"):
        for name, mode in CLOSED.items():
            os.chmod(m(place, name), mode)
        yield m(place)
        os.chmod(m(place, "no-search"), 0o700)  # so that it can be removed


def answers(m, rows, who=None):
    rows = list(rows)
    for base in places(m):
        before = listing(base)
        if who is None:
            wrong = try_rows(rows, base)
        else:
            def somebody():
                drop_to(who, who)
                return try_rows(rows, base)
            wrong = in_process(somebody)()
        check(not wrong, f"{len(wrong)} of {len(rows)} in {os.path.basename(base)}: " + "; ".join(wrong[:12]))
        equal(listing(base), before, "the tree afterwards: a refused call changes nothing")


@case("every call with a path that leads nowhere", lower=lower, on=("trootfs", "native"))
def paths(m):
    answers(m, path_rows())


@case("every call on what it cannot be done to", lower=lower, on=("trootfs", "native"))
def kinds(m):
    answers(m, OWN_ROWS)


@case("the root of the mount", lower=lower, on=("trootfs",))
def root(m):
    rows = (("rmdir", "EBUSY", lambda at: os.rmdir(at())), ("rename from", "EBUSY", lambda at: os.rename(at(), m.base + "/x")),
            ("rename over", "EBUSY", lambda at: os.rename(m.upper, at())), ("unlink", "EISDIR", lambda at: os.unlink(at())),
            ("mkdir", "EEXIST", lambda at: os.mkdir(at())), ("symlink", "EEXIST", lambda at: os.symlink("x", at())),
            ("link out", "EXDEV", lambda at: os.link(at("low/file"), m.base + "/x")),
            ("rename out", "EXDEV", lambda at: os.rename(at("low/file"), m.base + "/x")))
    wrong = try_rows(rows, m.mnt)
    check(not wrong, "; ".join(wrong))


@case("what permissions forbid to the owner", lower=lower, modes=("user",), on=("trootfs", "native"))
def denied(m):
    answers(m, [*denied_rows(),
                ("chown: to somebody else", "EPERM", lambda at: os.chown(at("file"), SOMEBODY, -1)),
                ("chown: to a group of others", "EPERM", lambda at: os.chown(at("file"), -1, SOMEBODY)),
                ("mknod: a device", "EPERM", lambda at: os.mknod(at("fresh"), stat.S_IFBLK | 0o600, os.makedev(7, 0)))])


@case("what somebody else may not do", lower=lower, modes=("root",), on=("trootfs", "native"))
def strangers(m):
    answers(m, stranger_rows(), who=SOMEBODY)


@case("a read-only mount", lower=lower, on=("trootfs",), options=("ro",))
def read_only(m):
    wrong = try_rows(read_only_rows(), m("low"))
    check(not wrong, "; ".join(wrong))


if __name__ == "__main__":
    main()
