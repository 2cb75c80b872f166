#!/usr/bin/env python3
"""Project quota against its model (quota_model.py) on the real mount: random operations of eight
processes over twenty projects with tight limits, operations of different projects truly at once; errno, usage, peak
and failcnt are compared after each. The server is killed between operations and in the midst of them; an operation
under way then is done or not done, a write in part, and usage equals a recount.

TROOT_QUOTA_KILLS=N kills the server N times (200), TROOT_QUOTA_OPS=N makes N operations (10,000), TROOT_QUOTA_SEED=N
takes that seed (else the day's, which is printed)."""
import errno
import fcntl
import mmap
import os
import pickle
import random
import select
import stat
import struct
import time

from actors import Actor
from harness import (FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, PAGE, RENAME_EXCHANGE, Failure, Patience, case, check, equal,
                     fallocate, in_process, main, names, pattern, renameat2, wait_until, write)
from quota_model import Node, Project, Refused, World, pages

trootfs = {"on": ("trootfs",)}
WORKERS = 8
SINGLE = list(range(1001, 1013))
FAMILIES = {1013: [1014, 1015, 1016], 1017: [1018, 1019, 1020]}  # parent: children
PROJECTS = SINGLE + [n for parent, children in FAMILIES.items() for n in (parent, *children)]
LOWER_FILES, LOWER_SIZE = 2, 10_000
FS_IOC_FSGETXATTR, FS_IOC_FSSETXATTR, XFLAG_INHERIT = 0x801C581F, 0x401C5820, 0x200
# The last two are the kernel's for a request that was on its way to a dying server over io_uring.
SERVER_GONE = (errno.ENOTCONN, errno.ECONNABORTED, errno.EIO, errno.ENODEV, errno.ECANCELED, errno.EINTR)


def number_of(variable, otherwise):
    return int(os.environ.get(variable, otherwise))


def text(seed, length):
    return (b"%08x" % seed * (length // 8 + 1))[:length]


# ---- what a worker does -----------------------------------------------------------------------------------------

def get_project(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        value = bytearray(28)
        fcntl.ioctl(descriptor, FS_IOC_FSGETXATTR, value)
        flags, _, _, number = struct.unpack_from("4I", value)
        return number, bool(flags & XFLAG_INHERIT)
    finally:
        os.close(descriptor)


def set_project(path, number, inherit=None):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        value = bytearray(28)
        fcntl.ioctl(descriptor, FS_IOC_FSGETXATTR, value)
        flags = struct.unpack_from("I", value)[0]
        if inherit is not None:
            flags = flags & ~XFLAG_INHERIT | (XFLAG_INHERIT if inherit else 0)
        struct.pack_into("I", value, 0, flags)
        struct.pack_into("I", value, 12, number)
        fcntl.ioctl(descriptor, FS_IOC_FSSETXATTR, bytes(value))
    finally:
        os.close(descriptor)


class Hands:
    """The system calls behind the model's operations, in a process of its own."""

    def __init__(self, mnt, index):
        self.mnt, self.index, self.held = mnt, index, None

    def at(self, path):
        return os.path.join(self.mnt, path)

    def make(self, path, kind):
        if kind == "dir":
            os.mkdir(self.at(path))
        elif kind == "symlink":
            os.symlink("target", self.at(path))
        elif kind == "fifo":
            os.mkfifo(self.at(path))
        else:
            os.close(os.open(self.at(path), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))

    def open_tmpfile(self, directory, _worker):
        self.held = os.open(self.at(directory), os.O_TMPFILE | os.O_RDWR, 0o644)

    def hold(self, path, _worker):
        self.held = os.open(self.at(path), os.O_RDWR)

    def close(self, _worker):
        os.close(self.held)
        self.held = None

    def unlink(self, path):
        os.unlink(self.at(path))

    def rmdir(self, path):
        os.rmdir(self.at(path))

    def link(self, source, target):
        os.link(self.at(source), self.at(target), follow_symlinks=False)

    def rename(self, source, target, exchange=False):
        if exchange:
            renameat2(self.at(source), self.at(target), RENAME_EXCHANGE)
        else:
            os.rename(self.at(source), self.at(target))

    def with_file(self, path, work):
        descriptor = os.open(self.at(path), os.O_RDWR)
        try:
            return work(descriptor)
        finally:
            os.close(descriptor)

    def write(self, path, offset, data):
        return self.with_file(path, lambda descriptor: os.pwrite(descriptor, data, offset))

    def write_held(self, _worker, offset, data):
        return os.pwrite(self.held, data, offset)

    def map_store(self, path, offset, data):
        def store(descriptor):
            with mmap.mmap(descriptor, 0) as mapping:
                mapping[offset:offset + len(data)] = data
                mapping.flush()
        self.with_file(path, store)

    def copy_range(self, source, target, from_offset, to_offset, length):
        return self.with_file(source, lambda one: self.with_file(
            target, lambda other: os.copy_file_range(one, other, length, from_offset, to_offset)))

    def truncate(self, path, size):
        os.truncate(self.at(path), size)

    def fallocate(self, path, offset, length, keep_size):
        self.with_file(path, lambda descriptor: fallocate(descriptor, FALLOC_KEEP_SIZE if keep_size else 0, offset,
                                                          length))

    def punch(self, path, offset, length):
        self.with_file(path, lambda descriptor: fallocate(descriptor, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, offset,
                                                          length))

    def set_xattr(self, path, name, value):
        os.setxattr(self.at(path), name, value)

    def remove_xattr(self, path, name):
        os.removexattr(self.at(path), name)

    def set_project(self, path, number):
        set_project(self.at(path), number)


class Worker(Actor):
    """One of the processes, with what it does now."""

    def __init__(self, mnt, index):
        self.index, self.job = index, None
        super().__init__(lambda: Hands(mnt, index))


# ---- the driver -------------------------------------------------------------------------------------------------

class Job:
    def __init__(self, name, arguments, groups):
        self.name, self.arguments, self.groups = name, arguments, groups

    def apply(self, world, **more):
        """What the operation must answer; the world is as it is afterwards."""
        try:
            return "done", getattr(world, self.name)(*self.arguments, **more)
        except Refused as refused:
            return "refused", refused.number

    def tops(self):
        """The projects' directories that it names."""
        return {a.split("/")[0] for a in self.arguments if isinstance(a, str) and a.startswith("p")}

    def __str__(self):
        shown = [f"{a[:8]!r}…({len(a)})" if isinstance(a, bytes) and len(a) > 20 else repr(a) for a in self.arguments]
        return f"{self.name}({', '.join(shown)})"


def group_of(number):
    """Projects that are charged together: a family, or one by itself; "out" is what has no project."""
    for parent, children in FAMILIES.items():
        if number == parent or number in children:
            return parent
    return number or "out"


class Driver:
    def __init__(self, m, seed):
        self.m, self.random = m, random.Random(seed)
        self.world = World()
        self.world.charge(0, PAGE, 1)  # the root
        self.busy = set()
        self.history = []  # (groups, what was done), to tell how a failure came about
        self.count = self.kills = self.refusals = self.under_way = self.under_way_done = 0
        for number in (*PROJECTS, "out"):
            self.prepare(number)
        self.workers = [Worker(m.mnt, index) for index in range(WORKERS)]
        self.adopt(history_too=True)
        for number in PROJECTS:
            self.new_limit(number)

    def prepare(self, number):
        """A directory in the upper that hands down its project, with some lower files in it."""
        name = f"p{number}"
        os.chmod(self.m(name), 0o755 - 0o022)
        os.chmod(self.m(name), 0o755)
        node = Node("dir", 0)
        self.world.root.names[name] = node
        self.world.charge(0, PAGE, 1)
        if number != "out":
            parent = next((p for p, children in FAMILIES.items() if number in children), None)
            self.world.projects[number] = Project(number, parent)
            if parent:
                self.m.control(f"parent project={number} parent={parent}")
            set_project(self.m(name), number, inherit=True)
            self.world.set_project(name, number)
            node.inherit = True
        for i in range(LOWER_FILES):
            file = Node("file", 0)
            file.lower, file.data, file.pages = True, bytearray(pattern(LOWER_SIZE, i)), {0, 1, 2}
            node.names[f"l{i}"] = file

    # -- choosing

    def some(self, paths):
        return self.random.choice(paths) if paths else None

    def files(self, where, lower=False, kinds=("file",)):
        """Paths of a directory and of those below it."""
        found = []
        for name, node in self.world.find(where).names.items():
            if node.kind in kinds and (lower or not node.lower):
                found.append(f"{where}/{name}")
            if node.kind == "dir":
                found += self.files(f"{where}/{name}", lower, kinds)
        return found

    def choose(self, worker):
        """An operation whose projects nobody works in, or None."""
        free = [n for n in (*PROJECTS, "out") if group_of(n if n != "out" else 0) not in self.busy]
        if not free:
            return None
        number = self.some(free)
        job = self.invent(worker, f"p{number}")
        if job is None:
            return None
        name, arguments, touched = job
        groups = {group_of(number if number != "out" else 0)}
        for path in touched:
            groups.add(group_of(self.world.root.names[path.split("/")[0]].project))
            try:
                groups.add(group_of(self.world.find(path).project))
            except KeyError:
                pass
        if name == "set_project":
            groups.add(group_of(arguments[1]))
        if worker.index in self.world.orphans and name in ("write_held", "close"):
            groups = {group_of(self.world.orphans[worker.index].project)}
        return Job(name, arguments, groups) if not groups & self.busy else None

    def invent(self, worker, where):
        """(name, arguments, paths whose projects are concerned)."""
        r = self.random
        kind = r.choices(("make", "write", "truncate", "unlink", "rename", "link", "xattr", "fallocate", "punch", "map",
                          "copy", "project", "hold", "rmdir", "lower"),
                         (10, 22, 6, 12, 8, 3, 5, 5, 3, 5, 4, 5, 8, 2, 2))[0]
        directories = [where] + self.files(where, kinds=("dir",))
        new = f"{r.choice(directories)}/{r.choice('abcdef')}"
        if kind == "make":
            if r.random() < 0.15 and where.count("/") == 0:
                return "make", (f"{where}/s{r.randrange(2)}", "dir"), ()
            return "make", (new, r.choices(("file", "symlink", "fifo"), (8, 1, 1))[0]), ()
        if kind == "hold":
            if worker.index not in self.world.orphans:
                path = self.some(self.files(where))
                if r.random() < 0.3 or not path:
                    return "open_tmpfile", (r.choice(directories), worker.index), ()
                return "hold", (path, worker.index), (path,)
            if r.random() < 0.4:
                return "close", (worker.index,), ()
            size = len(self.world.orphans[worker.index].data)
            return "write_held", (worker.index, size, text(self.count, r.randrange(1, 20_000))), ()
        if kind == "rmdir":
            path = self.some(self.files(where, kinds=("dir",)))
            return path and ("rmdir", (path,), (path,))
        if kind == "unlink":
            path = self.some(self.files(where, lower=r.random() < 0.1, kinds=("file", "symlink", "fifo")))
            return path and ("unlink", (path,), (path,))
        if kind == "rename":
            path = self.some(self.files(where, kinds=("file", "symlink", "fifo")))
            if r.random() < 0.25:  # to another project's directory
                new = f"p{r.choice((*PROJECTS, 'out'))}/{r.choice('abcdef')}"
            if not path or path == new:
                return None
            return "rename", (path, new, r.random() < 0.2), (path, new)
        path = self.some(self.files(where, lower=kind == "lower"))
        if not path:
            return None
        node = self.world.find(path)
        size = len(node.data)
        if kind == "lower":
            if not node.lower:
                return None
            if r.random() < 0.3:
                return "truncate", (path, r.randrange(size)), (path,)
            kind = "write"
        if kind == "link":
            if r.random() < 0.2:
                new = f"p{r.choice((*PROJECTS, 'out'))}/{r.choice('abcdef')}"
            return "link", (path, new), (path, new)
        if kind == "write":
            offset = r.choices((size, r.randrange(size + 1), size + r.randrange(30_000)), (5, 3, 1))[0]
            return "write", (path, offset, text(self.count, r.randrange(1, r.choice((5000, 60_000))))), (path,)
        if kind == "truncate":
            return "truncate", (path, r.choice((0, r.randrange(size + 1), r.randrange(100_000)))), (path,)
        if kind == "xattr":
            if node.xattrs and r.random() < 0.4:
                return "remove_xattr", (path, r.choice(sorted(node.xattrs))), (path,)
            return "set_xattr", (path, r.choice(("user.a", "user.b")), text(self.count, r.randrange(1, 6000))), (path,)
        if kind == "fallocate":
            return "fallocate", (path, r.randrange(50_000), r.randrange(1, 40_000), r.random() < 0.5), (path,)
        if kind == "punch":
            return "punch", (path, r.randrange(50_000), r.randrange(1, 40_000)), (path,)
        if kind == "map":
            if size == 0:
                return None
            offset = r.randrange(size)
            end = min(size, (offset // PAGE + 1) * PAGE)
            return "map_store", (path, offset, text(self.count, r.randrange(1, end - offset + 1))), (path,)
        if kind == "copy":
            other = self.some(self.files(where))
            if other == path or self.world.find(other) is node or size == 0:
                return None
            return ("copy_range", (path, other, r.randrange(size), r.randrange(40_000), r.randrange(1, 30_000)),
                    (path, other))
        return "set_project", (path, r.choice((0, *PROJECTS))), (path,)

    # -- running

    def new_limit(self, number):
        size, inodes = self.random.randrange(3, 20) * PAGE, self.random.randrange(4, 12)
        if number in FAMILIES:
            size, inodes = size * 2, inodes * 2
        self.m.control(f"limit project={number} bhard={size} ihard={inodes}")
        self.world.limit(number, size, inodes)
        self.history.append(({group_of(number)}, f"limit {number}: {size} bytes, {inodes} inodes"))

    def compare(self, numbers, what):
        """Usage, peak and failcnt of these projects; a FORGET on its way is waited for."""
        patience = Patience(10)
        for number in sorted(numbers):
            project = self.world.projects[number]
            wanted = (project.bytes.used, project.inodes.used, project.bytes.peak, project.inodes.peak, project.failcnt,
                      project.bytes.margin)
            while True:
                line = self.m.control(f"report project={number}")[0]
                got = tuple(int(line[k]) for k in ("used_bytes", "used_inodes", "peak_bytes", "peak_inodes", "failcnt",
                                                   "margin_bytes"))
                if got == wanted:
                    break
                if got[:2] == wanted[:2] or patience.over():
                    raise Failure(f"operation {self.count}, {what}: project {number} has (bytes, inodes, peaks, failcnt, "
                                  f"margin) {got}, expected {wanted}, after{self.story({group_of(number)})}")

    def projects_of(self, groups):
        return [n for n in PROJECTS if group_of(n) in groups]

    def finish(self, worker, expected):
        got, job = worker.answer(), worker.job
        worker.job = None
        self.note(job, got)
        if got != expected:
            raise Failure(f"operation {self.count}, {job}: got {got}, expected {expected}, after{self.story(job.groups)}")
        self.refusals += got == ("refused", errno.EDQUOT)
        self.compare(self.projects_of(job.groups), job)
        self.busy -= job.groups

    def run(self, operations):
        """So many operations, as many at once as there are workers and projects."""
        started, expected = 0, {}
        while started < operations or expected:
            for worker in self.workers:
                if worker.job or started >= operations:
                    continue
                job = self.choose(worker)
                if job is None:
                    continue
                started += 1
                self.count += 1
                worker.job = job
                self.busy |= job.groups
                expected[worker] = job.apply(self.world)
                worker.ask(job.name, *job.arguments)
            if expected:
                ready, _, _ = select.select([w.answers for w in expected], [], [], 60)
                check(ready, f"no answer within 60 s: {[str(w.job) for w in expected]}")
                for worker in [w for w in expected if w.answers in ready]:
                    self.finish(worker, expected.pop(worker))
        if self.random.random() < 0.3:
            self.new_limit(self.some(PROJECTS))

    def kill(self, in_the_midst):
        """kill -9, with an operation under way in every worker that finds one."""
        jobs = []
        if in_the_midst:
            for worker in self.workers:
                job = self.choose(worker)
                if job is None or (job.name == "write_held" and self.world.orphans[worker.index].links):
                    continue  # which of the file's names would show it is not known here
                self.count += 1
                self.busy |= job.groups
                jobs.append((worker, job))
            for worker, job in jobs:
                worker.ask(job.name, *job.arguments)
            if self.random.random() < 0.5:  # when the first is done, the others are in the midst
                select.select([worker.answers for worker, _ in jobs], [], [], 5)
            else:
                time.sleep(self.random.random() * 0.0005)
        self.m.kill()
        self.kills += 1
        answers = [(job, *worker.answer()) for worker, job in jobs]
        self.history.append((set(map(group_of, PROJECTS)), "the server was killed"))
        for job, *answer in answers:
            self.note(job, ("under way", *answer))
        for worker in self.workers:
            worker.job = None
            if worker.index in self.world.orphans or any(w is worker and j.name in ("hold", "open_tmpfile")
                                                         for w, j in jobs):
                worker.end()  # the descriptor is of a mount that is gone
                worker.start()
        self.busy = set()
        self.m.mount(*self.m.options)
        for job, how, value in answers:
            self.settle(job, how, value)
        self.world.server_died()
        self.adopt(history_too=False)

    def note(self, job, got):
        self.history.append((job.groups, f"{job} {got}"))
        del self.history[:-400]

    def story(self, groups):
        """The last operations on these projects, one a line."""
        return "".join(f"\n  {text}" for touched, text in self.history if touched & groups)[-3000:]

    def settle(self, job, how, value):
        """What was under way is done if it was answered; else it may be, and the mount says whether."""
        # Below the mount that is gone there is nothing; a mapping of a file that has no size any more is EINVAL.
        gone = value in SERVER_GONE or value == errno.ENOENT or (job.name == "map_store" and value == errno.EINVAL)
        if how == "done" or (how == "refused" and not gone):
            before = pickle.dumps(self.world)
            wanted = job.apply(self.world)
            if wanted[0] == how == "done" and value and value < wanted[1]:
                # The kernel had split the write: what it was told of is done, and more may be.
                self.world = pickle.loads(before)
                return self.settle_in_part(job, value)
            if wanted != (how, value):
                raise Failure(f"answered before the kill: {job}: got {(how, value)}, expected {wanted}, after"
                              f"{self.story(job.groups)}")
            return
        if job.name in ("hold", "open_tmpfile", "close", "write_held"):
            return  # the file has no name, or had none that changed
        self.under_way += 1
        there = {top: self.seen(top) for top in job.tops()}
        before = pickle.dumps(self.world)
        if self.fits(there):
            self.copied_up(job)
            return
        self.under_way_done += 1
        job.apply(self.world)
        if self.fits(there):
            return
        if job.name in ("write", "copy_range"):
            self.world = pickle.loads(before)
            return self.settle_in_part(job, 1)
        if job.name == "fallocate":  # the record comes first, so that no page is there that is not charged
            self.world = pickle.loads(before)
            self.world.fallocate(*job.arguments[:3], keep_size=True)
            if self.fits(there):
                return
        if job.name in ("truncate", "punch"):  # the record goes last, for the same reason
            self.world = pickle.loads(before)
            path = job.arguments[0]
            held = self.world.find(path).pages & self.claimed(path)
            job.apply(self.world)
            node = self.world.find(path)
            left = held - node.pages
            for project in self.world.chain(node.project):
                project.bytes.take(len(left) * PAGE)
            node.pages |= left
            if self.fits(there):
                return
        self.world = pickle.loads(before)
        self.neither(job)

    def claimed(self, path):
        """The pages that the record of preallocated ranges claims (docs/FORMAT.md), without what was under way."""
        try:
            _, *ranges = os.getxattr(self.m.in_upper(path), "user.overlay.troot.alloc").split()
        except OSError:
            return set()
        pairs = ([int(number, 16) for number in one.split(b"+")] for one in ranges if not one.startswith(b"!"))
        return {page for first, count in pairs for page in range(first, first + count)}

    def copied_up(self, job):
        """What changes a lower file copies it up first, which shows in nothing but the charge."""
        for path in (a for a in job.arguments if isinstance(a, str) and "/" in a):
            node = self.world.root
            for name in path.split("/"):
                node = node.names.get(name) if node else None
            if node and node.lower and os.path.lexists(self.m.in_upper(path)):
                self.world.copy_up(node)

    def settle_in_part(self, job, least):
        """A write of which at least so many bytes are done, and the rest up to some page."""
        offset = job.arguments[{"write": 1, "write_held": 1, "copy_range": 3}[job.name]]
        before = pickle.dumps(self.world)
        for most in [least, *(end - offset for end in range(pages(offset + least) * PAGE, offset + 61_000, PAGE)), 61_000]:
            self.world = pickle.loads(before)
            job.apply(self.world, most=most)
            if job.name == "write_held" or self.fits({top: self.seen(top) for top in job.tops()}):
                return
        self.world = pickle.loads(before)
        self.neither(job)

    def neither(self, job):
        raise Failure(f"killed in the midst of {job}: neither before nor after: "
                      f"{[(self.seen(top), self.modelled(top)) for top in job.tops()]} (there, before)")

    # -- comparing trees

    def modelled(self, path):
        """What is shown of a directory: {name: facts}."""
        found = {}
        for name, node in self.world.find(path).names.items():
            blocks = node.charge() // 512
            facts = [node.kind, blocks, node.links]
            if node.kind == "file":
                facts += [len(node.data), hash(bytes(node.data)), node.xattrs]
            if node.kind in ("file", "dir"):
                facts += [node.project]
            if node.kind == "dir":
                facts[2] = 0
                facts += [self.modelled(f"{path}/{name}")]
            found[name] = facts
        return found

    def seen(self, path):
        found = {}
        kinds = {stat.S_IFDIR: "dir", stat.S_IFREG: "file", stat.S_IFLNK: "symlink", stat.S_IFIFO: "fifo"}
        for name in os.listdir(self.m(path)):
            at = self.m(path, name)
            status = os.lstat(at)
            kind = kinds[stat.S_IFMT(status.st_mode)]
            facts = [kind, status.st_blocks, status.st_nlink]
            if kind == "file":
                with open(at, "rb") as file:
                    data = file.read()
                facts += [status.st_size, hash(data), {n: os.getxattr(at, n) for n in os.listxattr(at)}]
            if kind in ("file", "dir"):
                facts += [get_project(at)[0]]
            if kind == "dir":
                facts[2] = 0
                facts += [self.seen(f"{path}/{name}")]
            found[name] = facts
        return found

    def fits(self, there):
        return all(self.modelled(top) == facts for top, facts in there.items())

    def compare_trees(self):
        for top in names(self.m("")):
            equal(self.seen(top), self.modelled(top), f"operation {self.count}: what is in {top}")

    def adopt(self, history_too):
        """After a kill: usage is exact; what is history may have lost its last moments, and is taken over."""
        for line in self.m.control("report"):
            number = int(line["project"])
            if number not in self.world.projects:
                continue
            project = self.world.projects[number]
            got = {k: int(v) for k, v in line.items() if v.isdigit()}
            equal((got["used_bytes"], got["used_inodes"]), (project.bytes.used, project.inodes.used),
                  f"operation {self.count}, kill {self.kills}: (bytes, inodes) used of project {number}, after "
                  f"{[text for _, text in self.history[-20:]]}")
            equal((got["bhard"], got["ihard"]), (project.bytes.hard, project.inodes.hard), f"limits of project {number}")
            if not history_too:
                check(project.bytes.used <= got["peak_bytes"] <= project.bytes.peak and
                      got["failcnt"] <= project.failcnt,
                      f"project {number}: peak {got['peak_bytes']} and failcnt {got['failcnt']} after a kill, "
                      f"{project.bytes.peak} and {project.failcnt} before, after{self.story({group_of(number)})}")
            project.bytes.peak, project.inodes.peak = got["peak_bytes"], got["peak_inodes"]
            project.failcnt, project.bytes.margin = got["failcnt"], got["margin_bytes"]

    def audit(self):
        """Memory, ledger and the tree agree."""
        self.compare_trees()
        differences = next(line for line in self.m.control("check") if "differences" in line)
        equal(differences["differences"], "0", "differences between usage and ledger")

    def end(self):
        for worker in self.workers:
            worker.end()


def lower_tree(bed):
    for number in (*PROJECTS, "out"):
        os.mkdir(bed.in_lower(f"p{number}"))
        for i in range(LOWER_FILES):
            write(bed.in_lower(f"p{number}/l{i}"), pattern(LOWER_SIZE, i))


def compare(m, seed, operations, kills):
    driver = Driver(m, seed)
    try:
        for kill in range(1, kills + 1):
            driver.run(operations // kills)
            driver.kill(in_the_midst=kill % 3 != 1)
            if kill % 20 == 0 or kill == kills:
                driver.audit()
    except Failure as failure:
        raise Failure(f"TROOT_QUOTA_SEED={seed}: {failure}") from None
    finally:
        driver.end()
    check(driver.refusals > operations // 50, f"only {driver.refusals} of {operations} operations met a limit")
    print(f"# seed {seed}: {driver.count} operations, {driver.refusals} refused, {driver.kills} kills, {driver.under_way} "
          f"operations under way, of which {driver.under_way_done} were done", flush=True)


# A seed, its operations and kills: the day's, and those that showed a difference once.
TODAY = number_of("TROOT_QUOTA_SEED", int(time.time()) // 86400)
for each in ((TODAY, number_of("TROOT_QUOTA_OPS", 10_000), number_of("TROOT_QUOTA_KILLS", 200)), (20779, 3000, 60)):
    case("rules 1 to 11: %d: %d random operations of eight processes over twenty projects, %d kills" % each, modes=("user",),
         lower=lower_tree, seconds=number_of("TROOT_QUOTA_SECONDS", 400), **trootfs)(lambda m, each=each: compare(m, *each))


@case("rule 5: eight processes at one project's limit: never a byte over, and their sum is exact", modes=("user",),
      **trootfs)
def race(m):
    limit, seconds = 200 * PAGE, 3
    os.mkdir(m("p"))
    set_project(m("p"), 77, inherit=True)
    m.control(f"limit project=77 bhard={limit} ihard=40")

    def hammer(index):
        generator = random.Random(index)
        taken, path, refused, made = 0, m(f"p/f{index}"), 0, []
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                choice = generator.random()
                if choice < 0.85:
                    taken += os.pwrite(descriptor, b"x" * generator.randrange(1, 5 * PAGE), taken)
                elif choice < 0.9:
                    made.append(f"{path}.{len(made)}")
                    os.close(os.open(made[-1], os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                elif choice < 0.95 and made:
                    os.unlink(made.pop())
                else:
                    taken = generator.randrange(taken + 1)
                    os.ftruncate(descriptor, taken)
            except OSError as error:
                equal(error.errno, errno.EDQUOT, "errno")
                refused += 1
                if made and not os.path.exists(made[-1]):
                    made.pop()
        return taken, refused, len(made)

    joins = [in_process(lambda i=i: hammer(i)) for i in range(8)]
    highest = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        highest = max(highest, m.project(77)["used_bytes"])
        time.sleep(0.01)
    results = [join() for join in joins]
    report = m.project(77)
    check(highest <= limit and report["peak_bytes"] <= limit, f"{highest} used, peak {report['peak_bytes']}: over {limit}")
    equal(report["peak_bytes"], limit, "the limit is reached to the byte")
    check(sum(refused for _, refused, _ in results) > 100, f"refused: {results}")
    wanted = (PAGE + sum(-(-taken // PAGE) * PAGE for taken, _, _ in results), 9 + sum(n for _, _, n in results))
    wait_until(lambda: (m.project(77)["used_bytes"], m.project(77)["used_inodes"]) == wanted, 5,
               f"used {(report['used_bytes'], report['used_inodes'])} is the sum of the successes {wanted}")
    m.check_recount()


if __name__ == "__main__":
    main()
