#!/usr/bin/env python3
"""The exact gate on upcalls: what the kernel asks the server for one operation, warm and cold, by the
server's own counters; and the system calls that the server makes for it. Times cannot gate on a shared machine; these
numbers can. One more than the table says fails, and one fewer too, so that the table stays true."""
import collections
import os
import platform
import re
import shutil
import signal
import subprocess
import tempfile

from harness import Skip, case, check, equal, in_process, pattern, read, wait_until, write
from machine import Child

TIMES = 20
ATTEMPTS = 5
# The table is of these kernels; what others ask is printed, not judged.
KNOWN_KERNELS = ((6, 6), (7, 99))
# Without anybody waiting for them; when they come is the kernel's own affair.
UNCOUNTED = {"forget", "batch_forget", "interrupt", "init"}


def kernel():
    return tuple(int(n) for n in re.findall(r"\d+", platform.release())[:2])


def upcalls(m):
    answer = {}
    for line in m.control("requests"):
        answer.update({k: int(v) for k, v in line.items() if k not in UNCOUNTED})
    return answer


def cost(m, work):
    """The upcalls of `work`, by kind."""
    before = upcalls(m)
    work()
    after = upcalls(m)
    return {k: after[k] - before.get(k, 0) for k in after if after[k] != before.get(k, 0)}


def written(counts):
    return " + ".join(f"{n} {k}" if n != 1 else k for k, n in sorted(counts.items())) or "none"


class Table:
    """Collects what is not as the table has it, so that one run shows everything."""

    def __init__(self, m, uncounted=()):
        self.m, self.wrong, self.uncounted = m, [], uncounted

    def each(self, what, wanted, work):
        """`work(i)` costs exactly `wanted`, each of TIMES times."""
        for i in range(-3, 0):  # the first of a kind may see a request refused once for all
            work(i)
        total = cost(self.m, lambda: [work(i) for i in range(TIMES)])
        self.line(what, {k: n / TIMES for k, n in total.items()}, wanted)

    def once(self, what, wanted, work):
        self.line(what, cost(self.m, work), wanted)

    def line(self, what, got, wanted):
        got = {k: int(n) if n == int(n) else n for k, n in got.items() if k not in self.uncounted}
        print(f"# {what}: {written(got)}", flush=True)
        if got != wanted:
            self.wrong.append(f"{what}: {written(got)}, the table has {written(wanted)}")

    def done(self):
        if not KNOWN_KERNELS[0] <= kernel() <= KNOWN_KERNELS[1]:
            raise Skip(f"the table does not know Linux {'.'.join(map(str, kernel()))}")
        equal(self.wrong, [], "upcalls that differ from the table")


def settle(m):
    """Has the requests that the server refuses once for all refused: OPEN, OPENDIR, CREATE, FLUSH."""
    create(m("settled"), b"x")
    os.listdir(m.mnt)
    os.unlink(m("settled"))


def tree(bed):
    os.mkdir(bed.in_lower("d"))
    for i in range(-3, TIMES):
        write(bed.in_lower(f"d/f{i}"), pattern(4096))
        write(bed.in_lower(f"d/g{i}"), pattern(4096))
        write(bed.in_lower(f"d/h{i}"), pattern(4096))
    os.symlink("f0", bed.in_lower("d/s"))


# Python's own open() asks whether the file is a terminal, which is an upcall more.

def open_close(path):
    os.close(os.open(path, os.O_RDONLY))


def fetch(path):
    descriptor = os.open(path, os.O_RDONLY)
    while os.read(descriptor, 1 << 20):
        pass
    os.close(descriptor)


def create(path, data):
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    os.write(descriptor, data)
    os.close(descriptor)


def append(path):
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    os.write(descriptor, b"x")
    os.close(descriptor)


@case("what is known is answered by the kernel alone", modes=("user",), lower=tree, options=["size=1G"],
      on=("trootfs",))
def warm(m):
    settle(m)
    table = Table(m)
    for name in os.listdir(m("d")):
        os.lstat(m("d", name))
        if name.startswith("f"):
            fetch(m("d", name))
    os.readlink(m("d/s"))
    for _ in range(2):
        os.path.exists(m("d/absent"))
    table.each("stat", {}, lambda i: os.stat(m(f"d/g{i}")))
    table.each("negative stat", {}, lambda i: os.path.exists(m("d/absent")))
    table.each("open+close", {}, lambda i: open_close(m(f"d/f{i}")))
    table.each("open+read+close", {}, lambda i: fetch(m(f"d/f{i}")))
    # A read that the server answered made the kernel forget the time of access.
    table.once("stat after the first read", {"getattr": 1}, lambda: os.stat(m("d/f0")))
    table.once("stat again", {}, lambda: os.stat(m("d/f0")))
    table.each("readdir", {}, lambda i: os.listdir(m("d")))
    table.each("readlink", {}, lambda i: os.readlink(m("d/s")))
    table.done()


@case("an operation that changes something costs its upcalls and no more", modes=("user",), options=["size=1G"],
      on=("trootfs",))
def changes(m):
    settle(m)
    table = Table(m)
    body = pattern(4096)
    # A change of a directory makes the kernel forget its attributes, so most begin with a GETATTR of it. Since 7.0 the
    # kernel remembers across a change of attributes that a file has no security.capability.
    capability = {} if kernel() >= (7, 0) else {"getxattr": 1}
    os.mkdir(m("d"))
    table.each("create+write 4K+close", {"getattr": 1, "lookup": 1, "mknod": 1, "write": 1, **capability},
               lambda i: create(m(f"d/c{i}"), body))
    keep = os.open(m("d/keep"), os.O_CREAT | os.O_RDWR)
    os.write(keep, body * 2)
    table.each("rewrite 4K", {"write": 1}, lambda i: os.pwrite(keep, body, 0))
    table.each("write 1M", {"write": 1}, lambda i: os.pwrite(keep, body * 256, 0))
    os.close(keep)
    table.each("chmod", {"setattr": 1}, lambda i: os.chmod(m(f"d/c{i}"), 0o600 + (i & 1)))
    table.each("utimes", {"setattr": 1}, lambda i: os.utime(m(f"d/c{i}"), (1, i + 9)))
    table.each("truncate", {"setattr": 1, **capability}, lambda i: os.truncate(m(f"d/c{i}"), 100))
    table.each("setxattr", {"setxattr": 1}, lambda i: os.setxattr(m(f"d/c{i}"), "user.a", b"1"))
    table.each("rename", {"getattr": 1, "lookup": 1, "rename": 1},
               lambda i: os.rename(m(f"d/c{i}"), m(f"d/r{i}")))
    table.each("link", {"getattr": 1, "lookup": 1, "link": 1}, lambda i: os.link(m(f"d/r{i}"), m(f"d/l{i}")))
    table.each("symlink", {"getattr": 1, "lookup": 1, "symlink": 1}, lambda i: os.symlink("x", m(f"d/s{i}")))
    table.each("mkdir", {"getattr": 1, "lookup": 1, "mkdir": 1}, lambda i: os.mkdir(m(f"d/m{i}")))
    table.each("rmdir", {"getattr": 1, "rmdir": 1}, lambda i: os.rmdir(m(f"d/m{i}")))
    table.each("unlink", {"getattr": 1, "unlink": 1}, lambda i: os.unlink(m(f"d/r{i}")))
    table.done()


@case("what comes up from below costs no more than what is above", modes=("user",), lower=tree, options=["size=1G"],
      on=("trootfs",))
def from_below(m):
    settle(m)
    # The kernel is told of the parent's new ctime by and by: when it asks again is a matter of time.
    table = Table(m, uncounted={"getattr"})
    for name in os.listdir(m("d")):
        os.lstat(m("d", name))

    table.each("append to a lower file", {"write": 1, "getxattr": 1}, lambda i: append(m(f"d/f{i}")))
    table.each("chmod of a lower file", {"setattr": 1}, lambda i: os.chmod(m(f"d/g{i}"), 0o600))
    table.each("unlink of a lower file", {"unlink": 1}, lambda i: os.unlink(m(f"d/h{i}")))
    table.done()


@case("a cold tree is asked for once", modes=("user",), lower=tree, options=["size=1G"], on=("trootfs",))
def cold(m):
    settle(m)
    table = Table(m)
    table.once("stat of d/f0", {"getattr": 1, "lookup": 1}, lambda: os.stat(m("d/f0")))
    table.once("open+read+close", {"lookup": 1, "read": 1}, lambda: fetch(m("d/f1")))
    table.once("readdir of 70 names", {"readdirplus": 2}, lambda: os.listdir(m("d")))
    table.once("stat of all of them", {"getattr": 1}, lambda: [os.lstat(m("d", n)) for n in os.listdir(m("d"))])
    table.once("readlink", {"readlink": 1}, lambda: os.readlink(m("d/s")))
    table.done()


COPIERS = 8


@case("first copies at once are made by the server: none is read and written through the mount", modes=("user",),
      options=["size=1G"], on=("trootfs",))
def copies(m):
    for i in range(COPIERS):
        write(m(f"from{i}"), pattern(40_000, i))
    for attempt in range(5):
        m.remount()
        gate, start = os.pipe()

        def copy(i):
            os.close(start)
            with open(m(f"from{i}"), "rb") as source, open(m(f"to{attempt}.{i}"), "wb") as target:
                os.read(gate, 1)
                return os.copy_file_range(source.fileno(), target.fileno(), 40_000)

        joins = [in_process(lambda i=i: copy(i)) for i in range(COPIERS)]
        wait_until(lambda: len(os.listdir(m.mnt)) == COPIERS * (attempt + 2), 10, "the copiers stand ready")
        before = upcalls(m)
        os.close(start)
        equal([join() for join in joins], [40_000] * COPIERS, "bytes copied")
        os.close(gate)
        after = upcalls(m)
        asked = {k: n - before.get(k, 0) for k, n in after.items() if n != before.get(k, 0)}
        equal(asked.get("write", 0) + asked.get("read", 0), 0, f"reads and writes of the copies ({written(asked)})")
        equal(sum(n for k, n in asked.items() if k.startswith("copy_file_range")), COPIERS, "copies asked for")
        for i in range(COPIERS):
            equal(read(m(f"to{attempt}.{i}")), pattern(40_000, i), "the copy")


DIRECTORIES, FILES = 10, 10


def unpack(m):
    """What tar does for 10 directories of 10 files."""
    os.mkdir(m("t"))
    for d in range(DIRECTORIES):
        os.mkdir(m(f"t/{d}"))
        for f in range(FILES):
            descriptor = os.open(m(f"t/{d}/{f}"), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
            os.write(descriptor, pattern(10_000))
            os.utime(descriptor, (1, 1))
            os.close(descriptor)
        os.utime(m(f"t/{d}"), (1, 1))


@case("unpacking, walking and removing a fixed tree", modes=("user",), options=["size=1G"], on=("trootfs",))
def macro(m):
    settle(m)
    table = Table(m)
    files = DIRECTORIES * FILES
    capability = {} if kernel() >= (7, 0) else {"getxattr": files}
    table.once("unpack", {"getattr": files + 2, "lookup": files + DIRECTORIES + 1, "mknod": files, "write": files,
                          "setattr": files + DIRECTORIES, "mkdir": DIRECTORIES + 1, **capability}, lambda: unpack(m))
    table.once("walk", {"readdirplus": 2 * (DIRECTORIES + 1)}, lambda: list(os.walk(m("t"))))
    table.once("remove", {"getattr": files + DIRECTORIES, "unlink": files, "rmdir": DIRECTORIES + 1},
               lambda: shutil.rmtree(m("t")))
    table.done()


# What the boundary itself needs for each request, and waking and waiting: which of these are made depends on time.
OF_THE_BOUNDARY = {"read", "writev", "poll", "ppoll", "futex", "pread64", "clock_nanosleep", "restart_syscall",
                   "rt_sigreturn", "sched_yield", "clone3", "mprotect", "madvise", "set_robust_list", "rseq", "mmap",
                   "munmap", "rt_sigprocmask", "brk", "prlimit64", "exit", "clock_gettime", "sched_getaffinity",
                   "io_uring_enter", "sched_setaffinity", "getrusage", "sched_setscheduler", "ioprio_set", "eventfd2"}
# Of the ledger's and the control socket's threads.
OF_OTHERS = {"fdatasync", "fsync", "recvfrom", "sendto", "accept4", "getsockopt", "setsockopt", "getpid", "rename",
             "close", "connect", "socket", "write", "lseek", "unlink", "fallocate", "sync_file_range", "setpriority", "gettid"}


# The calls by descriptor and name are younger than some kernels and straces.
ONE_NAME = {"syscall_0x1cf": "setxattrat", "setxattr": "setxattrat", "lsetxattr": "setxattrat",
            "syscall_0x1d1": "listxattrat", "listxattr": "listxattrat", "llistxattr": "listxattrat"}


class Traced:
    """System calls of the server while it is looked at."""

    def __init__(self, m):
        self.m, self.log = m, os.path.join(m.base, "strace")
        try:
            self.strace = Child(["strace", "-f", "-qq", "-o", self.log, "-p", str(m.server.pid)],
                                stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        except FileNotFoundError:
            raise Skip("strace is not installed") from None
        # The first request that shows in the log says that every thread is attached.
        try:
            wait_until(self.attached, 5, "strace sees the server")
        except Exception:
            self.strace.kill()
            raise Skip("strace may not attach here") from None

    def attached(self):
        os.statvfs(self.m.mnt)
        return os.path.exists(self.log) and os.path.getsize(self.log) > 0

    def calls(self):
        counts = collections.Counter()
        with open(self.log, encoding="utf-8", errors="replace") as file:
            for line in file:
                if found := re.match(r"\d+ +(\w+)\(", line):
                    counts[ONE_NAME.get(found.group(1), found.group(1))] += 1
        return counts

    def mark(self):
        """A call that stands in the log behind all that were made before; strace writes a moment late."""
        marks = self.calls()["fstatfs"]
        os.statvfs(self.m.mnt)
        wait_until(lambda: self.calls()["fstatfs"] > marks, 10, "strace has written")

    def cost(self, work):
        self.mark()
        before = self.calls()
        work()
        self.mark()
        spent = self.calls() - before
        return {k: n for k, n in spent.items() if k not in OF_THE_BOUNDARY | OF_OTHERS | {"fstatfs"}}

    def end(self):
        self.strace.send_signal(signal.SIGINT)
        self.strace.wait(10)


def gate(m):
    """each(WHAT, WANTED, WORK) looks what WORK costs the server; done() judges."""
    traced = Traced(m)
    wrong = []

    def each(what, wanted, work):
        # The threads of the ledger make calls of their own now and then.
        for attempt in range(1, ATTEMPTS + 1):
            work(-attempt)
            first = TIMES * attempt
            asked = upcalls(m)["getattr"]
            got = traced.cost(lambda: [work(i) for i in range(first, first + TIMES)])
            if "lower" in what:
                # The kernel is told by and by that a directory's ctime moved, and asks for it: one statx each.
                got["statx"] -= upcalls(m)["getattr"] - asked
            got = {k: n / TIMES for k, n in got.items()}
            got = {k: int(n) if n == int(n) else n for k, n in got.items()}
            if got == wanted:
                break
        print(f"# {what}: {written(got)}", flush=True)
        if got != wanted:
            wrong.append(f"{what}: {written(got)}, the table has {written(wanted)}")

    def done():
        traced.end()
        equal(wrong, [], "system calls that differ from the table")

    return each, done


@case("the server makes no more system calls for an operation than it needs", modes=("root",), options=["size=1G"],
      on=("trootfs",))
def system_calls(m):
    settle(m)
    os.mkdir(m("d"))
    body = pattern(4096)
    os.mkdir(m("e"))
    for i in range(-ATTEMPTS, TIMES * (ATTEMPTS + 1)):
        for kind in "oru":
            create(m(f"e/{kind.replace('r', 'c')}{i}"), b"")
        os.mkdir(m(f"e/m{i}"))
    each, done = gate(m)
    try:
        each("create+write 4K+close", {"statx": 2, "openat": 1, "pwrite64": 1},
             lambda i: create(m(f"d/c{i}"), body))
        each("chmod", {"statx": 2, "fchmodat": 1}, lambda i: os.chmod(m(f"e/o{i}"), 0o600))
        each("rename", {"statx": 1, "renameat": 1}, lambda i: os.rename(m(f"e/c{i}"), m(f"e/r{i}")))
        each("unlink", {"statx": 1, "renameat": 1, "unlinkat": 1}, lambda i: os.unlink(m(f"e/u{i}")))
        each("mkdir", {"statx": 2, "mkdirat": 1}, lambda i: os.mkdir(m(f"d/m{i}")))
        each("rmdir", {"statx": 2, "openat": 1, "renameat": 1, "unlinkat": 2}, lambda i: os.rmdir(m(f"e/m{i}")))
    finally:
        done()


@case("the server makes no more system calls for a copy-up than it needs", modes=("root",), options=["size=1G"],
      lower=lambda bed: [write(bed.in_lower(f"{kind}{i}"), pattern(3000)) for kind in "acu"
                         for i in range(-ATTEMPTS, TIMES * (ATTEMPTS + 1))], on=("trootfs",))
def copy_up_calls(m):
    settle(m)
    for name in os.listdir(m.mnt):
        os.lstat(m(name))
    each, done = gate(m)
    # A change of attributes comes up with the object: it looks at the file below, at the directory, at what is built and
    # at what it has become, and changes what is built once. With its data a file is not opened a second time.
    comes_up = {"statx": 4, "openat": 1, "ftruncate": 1, "listxattrat": 1, "setxattrat": 2, "utimensat": 2, "renameat2": 1}
    try:
        each("chmod of a lower file", comes_up, lambda i: os.chmod(m(f"c{i}"), 0o600))
        each("utimes of a lower file", comes_up, lambda i: os.utime(m(f"u{i}"), (1, 1)))
        each("append to a lower file", {"statx": 3, "openat": 2, "copy_file_range": 1, "listxattrat": 1, "setxattrat": 1,
                                        "utimensat": 2, "renameat2": 1, "pwrite64": 1}, lambda i: append(m(f"a{i}")))
    finally:
        done()


if __name__ == "__main__":
    from harness import main
    main()
