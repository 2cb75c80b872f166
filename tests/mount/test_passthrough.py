#!/usr/bin/env python3
"""Mounts that pass files through to the kernel (the option passthrough): that reads and writes do not come
to the server, how open files of lowers and of the upper mix, what the server must not believe to know of a file that
the kernel writes to; and the mounts that cannot. That all else is as on any mount is shown by the other tests, run with
TROOT_TEST_OPTIONS=noquota,passthrough."""
import ctypes
import errno
import mmap
import os
import random
import shutil
import struct
import subprocess
import time

from harness import (FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, PAGE, Skip, case, check, detach, drop_to, equal, fallocate,
                     in_process, libc, libc_call, main, pattern, read, refused, run, wait_until, write)
from images import on_image

OPTIONS = ["noquota", "passthrough"]
AT_EMPTY_PATH = 0x1000
SERVED = ("read", "write")
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)  # cap_net_bind_service, effective


def passes_or_skip(m):
    # The kernel is asked after the mount is there.
    wait_until(lambda: m.status()["passthrough"] == "on" or m.server_says(), 10, "the kernel is asked")
    if m.status()["passthrough"] != "on":
        raise Skip(f"the kernel passes nothing through: {m.server_says()}")


def passing(title, lower=None, **named):
    """A case on a mount that passes files through, skipped where the kernel cannot."""
    def register(work):
        def body(m):
            passes_or_skip(m)
            work(m)
        return case(title, modes=("root",), on=("trootfs",), options=OPTIONS, lower=lower, **named)(body)
    return register


def requests(m):
    counts = {}
    for line in m.control("requests"):
        counts.update({k: int(v) for k, v in line.items()})
    return counts


def asked(m, work, kinds=SERVED):
    """The requests of these kinds that `work` costs."""
    before = requests(m)
    work()
    after = requests(m)
    return {k: after[k] - before.get(k, 0) for k in kinds if after.get(k, 0) != before.get(k, 0)}


def by_other(work):
    """In a process of another user, in the end."""
    def body():
        drop_to(1234, 1234)
        return work()
    return in_process(body)()


class BareMapping:
    """A shared writable mapping that holds no descriptor, as those of Python's mmap do."""

    def __init__(self, descriptor, size):
        libc.mmap.restype = ctypes.c_void_p
        self.size = size
        self.at = libc.mmap(None, ctypes.c_size_t(size), mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, descriptor,
                            ctypes.c_long(0))
        check(self.at != ctypes.c_void_p(-1).value, "mmap")
        self.bytes = (ctypes.c_char * size).from_address(self.at)

    def store(self, offset, data):
        self.bytes[offset:offset + len(data)] = data

    def end(self):
        libc.munmap(ctypes.c_void_p(self.at), ctypes.c_size_t(self.size))


def lower_files(bed):
    write(bed.in_lower("file"), pattern(100_000))
    write(bed.in_lower("small"), "0123456789")
    write(bed.in_lower("log"), "")


def upper_file(m, name="new", size=100_000):
    write(m(name), pattern(size))
    return m(name)


# ---- what it is for -------------------------------------------------------------------------------------------

@passing("what is read and written, by call or mapping, is not asked of the server")
def no_upcalls(m):
    path = upper_file(m)
    descriptor = os.open(path, os.O_RDWR)

    def work():
        for i in range(1000):
            os.pwrite(descriptor, pattern(PAGE, i), i * PAGE)
        for i in range(1000):
            equal(os.pread(descriptor, PAGE, i * PAGE), pattern(PAGE, i), f"page {i}")
        with mmap.mmap(descriptor, 1000 * PAGE) as mapping:
            mapping[5 * PAGE:6 * PAGE] = pattern(PAGE, 5555)
            mapping.flush()
            equal(mapping[7 * PAGE:8 * PAGE], pattern(PAGE, 7), "through the mapping")
        equal(os.sendfile(os.open(os.devnull, os.O_WRONLY), descriptor, 0, PAGE), PAGE, "sendfile")

    equal(asked(m, work), {}, "requests for 2,000 calls")
    wanted = b"".join(pattern(PAGE, 5555 if i == 5 else i) for i in range(1000))
    equal(read(m.in_upper("new")), wanted, "what lies in the upper")
    equal(asked(m, lambda: equal(read(path), wanted, "read again")), {}, "of an open of its own")
    os.close(descriptor)
    equal(os.stat(path).st_size, 1000 * PAGE, "st_size")


@passing("a new file is made and opened by one request")
def one_request(m):
    os.mkdir(m("d"))
    write(m("d/first"))  # what is refused once for all is refused here
    counts = asked(m, lambda: [write(m(f"d/{i}"), b"x" * 5000) for i in range(20)],
                   ("mknod", "create", "open", "write", "flush", "release"))
    wait_until(lambda: requests(m)["release"] >= 21, 5, "releases")
    counts.pop("release", None)  # comes after close(2) has returned
    equal(counts, {"create": 20}, "requests")


# ---- how they mix ---------------------------------------------------------------------------------------------

@passing("a file of a lower is served while it is open, and passed through when it is opened again after its copy-up",
         lower=lower_files)
def lower_then_upper(m):
    early = os.open(m("file"), os.O_RDONLY)
    mapping = mmap.mmap(early, 100_000, mmap.MAP_SHARED, mmap.PROT_READ)
    equal(mapping[5000:5010], pattern(100_000)[5000:5010], "before")
    late = os.open(m("file"), os.O_RDWR)
    equal(asked(m, lambda: os.pwrite(late, b"NEW", 5000)), {"write": 1}, "requests of a write after the copy-up")
    equal(mapping[5000:5003], b"NEW", "through the mapping made before")
    equal(os.pread(early, 3, 5000), b"NEW", "through the descriptor opened before")
    third = os.open(m("file"), os.O_WRONLY)  # of an upper file by now, but the inode is served
    equal(asked(m, lambda: os.pwrite(third, b"TOO", 5010)), {"write": 1}, "requests of a third one's write")
    equal(mapping[5010:5013], b"TOO", "what the third one wrote")
    for descriptor in (early, late, third):
        os.close(descriptor)
    again = os.open(m("file"), os.O_RDWR)
    equal(asked(m, lambda: os.pwrite(again, b"AND", 5020)), {"write": 1}, "while a mapping is left")
    equal(mapping[5020:5023], b"AND", "through that mapping")
    mapping.close()
    os.close(again)
    wait_until(lambda: requests(m).get("release", 0) >= 4, 5, "all are closed")
    again = os.open(m("file"), os.O_RDWR)
    equal(asked(m, lambda: os.pwrite(again, b"PASSED", 5030)), {}, "requests once nobody had it open")
    os.close(again)
    wanted = bytearray(pattern(100_000))
    for offset, data in ((5000, b"NEW"), (5010, b"TOO"), (5020, b"AND"), (5030, b"PASSED")):
        wanted[offset:offset + len(data)] = data
    equal(read(m("file")), bytes(wanted), "content")
    equal(read(m.in_upper("file")), bytes(wanted), "content in the upper")


@passing("a file whose data lies below is served until the data comes up", lower=lower_files)
def metacopy(m):
    os.chmod(m("file"), 0o600)
    check(os.path.exists(m.in_upper("file")), "the change of mode brought it into the upper")
    descriptor = os.open(m("file"), os.O_RDWR)
    equal(os.pread(descriptor, 100, 50_000), pattern(100_000)[50_000:50_100], "its data")
    equal(asked(m, lambda: os.pwrite(descriptor, b"x", 50_000)), {"write": 1}, "requests of its first write")
    os.close(descriptor)
    wait_until(lambda: requests(m).get("release", 0) >= 1, 5, "it is closed")
    descriptor = os.open(m("file"), os.O_RDWR)
    equal(asked(m, lambda: os.pwrite(descriptor, b"y", 50_001)), {}, "requests afterwards")
    os.close(descriptor)
    equal(read(m("file")), pattern(100_000)[:50_000] + b"xy" + pattern(100_000)[50_002:], "content")


@passing("opens of both kinds at once, by processes that race: each succeeds, nothing is lost", lower=lower_files)
def race(m):
    """Records appended to a file that begins in a lower and to one that begins in the upper, each by an open of its own,
    with readers that keep one of the two open for a while."""
    write(m("upper"))
    writers, records = 6, 150

    def writer(number):
        def work():
            generator = random.Random(number)
            for i in range(records):
                for name in ("log", "upper"):
                    descriptor = os.open(m(name), generator.choice((os.O_WRONLY, os.O_RDWR)) | os.O_APPEND)
                    os.write(descriptor, b"%d:%03d\n" % (number, i))
                    os.close(descriptor)
        return work

    def reader(number):
        def work():
            generator, end = random.Random(number), time.monotonic() + 60
            seen = {"log": b"", "upper": b""}
            while time.monotonic() < end and sum(map(len, seen.values())) < writers * records * 6 * 2:
                name = generator.choice(("log", "upper"))
                descriptor = os.open(m(name), os.O_RDONLY)
                data = os.pread(descriptor, 1 << 20, 0)
                if generator.random() < 0.2 and data:
                    with mmap.mmap(descriptor, 0, mmap.MAP_SHARED, mmap.PROT_READ) as mapping:
                        equal(mapping[:len(data)], data, f"mapped beside read of {name}")
                os.close(descriptor)
                check(data.startswith(seen[name]), f"{name}: {len(seen[name])} bytes were read before, now {len(data)}")
                seen[name] = data
        return work

    for join in [in_process(w) for w in [*(writer(n) for n in range(writers)), reader(97), reader(98)]]:
        join()
    wanted = sorted(b"%d:%03d" % (n, i) for n in range(writers) for i in range(records))
    for name in ("log", "upper"):
        equal(sorted(read(m(name)).split()), wanted, f"records of {name}")
        equal(read(m.in_upper(name)), read(m(name)), f"{name} in the upper")


@passing("names come and go while a file is passed through", lower=lower_files)
def names_change(m):
    path = upper_file(m)
    descriptor = os.open(path, os.O_RDWR)
    os.rename(path, m("renamed"))
    os.link(m("renamed"), m("second"))
    other = os.open(m("second"), os.O_RDWR)
    os.pwrite(descriptor, b"ONE", 0)
    equal(os.pread(other, 3, 0), b"ONE", "by another name")
    os.unlink(m("renamed"))
    os.unlink(m("second"))
    equal(asked(m, lambda: os.pwrite(other, b"TWO", 3)), {}, "requests of a write without a name")
    equal(os.pread(descriptor, 6, 0), b"ONETWO", "without a name")
    write(path, b"another")
    third = os.open(path, os.O_RDWR)
    os.pwrite(third, b"ANOTHER", 0)
    equal(os.pread(descriptor, 6, 0), b"ONETWO", "beside a new file of the name")
    equal((os.fstat(descriptor).st_nlink, os.fstat(third).st_nlink), (0, 1), "st_nlink")
    back = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY)
    equal(os.read(back, 6), b"ONETWO", "opened again without a name")
    mapping = BareMapping(descriptor, PAGE)
    for each in (descriptor, other, third, back):
        os.close(each)
    mapping.store(0, b"MAP")
    equal(mapping.bytes[0:6], b"MAPTWO", "a mapping that outlives the last descriptor")
    mapping.end()
    wait_until(lambda: m.status()["parked"] == 0, 5, "the file without a name is let go of")
    equal(read(path), b"ANOTHER", "content of the new file")


def by_turns(m):
    """The kernel and the server change a file by turns, beside a plain one with the same calls."""
    plain = os.path.join(m.base, "plain")
    descriptors = [os.open(path, os.O_RDWR | os.O_CREAT, 0o644) for path in (m("new"), plain)]
    copies = [os.open(path, os.O_RDWR | os.O_CREAT, 0o644) for path in (m("copy"), plain + "2")]
    generator = random.Random(7)
    for step in range(400):
        kind = generator.randrange(7)
        offset, length = generator.randrange(300_000), generator.randrange(1, 60_000)
        data = bytes([step % 255 + 1]) * length
        for descriptor, copy, path in zip(descriptors, copies, (m("new"), plain)):
            if kind <= 1:
                os.pwrite(descriptor, data, offset)
            elif kind == 2:
                os.ftruncate(descriptor, offset)
            elif kind == 3:
                os.truncate(path, offset)
            elif kind == 4:
                fallocate(descriptor, FALLOC_KEEP_SIZE | FALLOC_PUNCH_HOLE, offset, length)
            elif kind == 5:
                fallocate(descriptor, 0, offset, length)
            else:
                os.copy_file_range(descriptor, copy, length, offset // 2, offset)
        for pair in (descriptors, copies):
            equal(os.fstat(pair[0]).st_size, os.fstat(pair[1]).st_size, f"size after step {step}")
            equal(os.pread(pair[0], 1 << 20, 0), os.pread(pair[1], 1 << 20, 0), f"content after step {step}")
    for descriptor in (*descriptors, *copies):
        os.close(descriptor)


def by_turns_on(kind):
    def body(m):
        with on_image(m, kind):
            m.mount(*OPTIONS)
            passes_or_skip(m)
            by_turns(m)
            m.umount()
            m.check_work_clean()
    return body


for each in ("ext4", "xfs", "btrfs", "tmpfs"):
    case(f"what the server changes on {each}: truncate, holes, preallocation, copies, with writes of the kernel in between",
         modes=("root",), on=("trootfs",), automount=False)(by_turns_on(each))


@passing("O_TRUNC, O_APPEND, O_DIRECT, O_TMPFILE, private mappings, and programs that run from it", store="disk")
def flags(m):
    path = upper_file(m)
    os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))
    equal((os.stat(path).st_size, os.stat(m.in_upper("new")).st_size), (0, 0), "sizes after O_TRUNC")
    ends = [os.open(path, os.O_WRONLY | os.O_APPEND) for _ in range(2)]
    for i in range(10):
        os.write(ends[i % 2], b"%d" % i)
    equal(read(path), b"0123456789", "appended by two")
    direct = os.open(path, os.O_RDWR | os.O_DIRECT)
    with mmap.mmap(-1, 2 * PAGE) as buffer:
        buffer.write(pattern(2 * PAGE))
        equal(asked(m, lambda: os.pwritev(direct, [buffer], 0)), {}, "requests of a direct write")
        equal(read(path), pattern(2 * PAGE), "written directly")
        os.pwrite(ends[0], b"tail", 0)  # O_APPEND: at the end whatever the offset
        os.posix_fadvise(direct, 0, 0, os.POSIX_FADV_DONTNEED)
        equal(os.preadv(direct, [buffer], 0), 2 * PAGE, "read directly")
        equal(buffer[:], pattern(2 * PAGE), "what was read")
    equal(read(path), pattern(2 * PAGE) + b"tail", "at the end")
    nameless = os.open(m.mnt, os.O_TMPFILE | os.O_RDWR, 0o600)
    equal(asked(m, lambda: os.write(nameless, b"made")), {}, "requests of a write to O_TMPFILE")
    libc_call("linkat", nameless, b"", -100, os.fsencode(m("named")), AT_EMPTY_PATH)
    equal(read(m("named")), b"made", "given a name")
    reader = os.open(path, os.O_RDONLY)
    with mmap.mmap(reader, PAGE, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE) as private:
        private[0:4] = b"mine"
        equal(read(path)[:4], pattern(4), "beside a private mapping")
    refused(errno.EBADF, os.write, reader, b"x")
    shutil.copy("/bin/sleep", m("program"))
    running = subprocess.Popen([m("program"), "30"])
    wait_until(lambda: os.readlink(f"/proc/{running.pid}/exe") == m("program"), 5, "it runs")
    refused(errno.ETXTBSY, os.open, m("program"), os.O_WRONLY)
    running.kill()
    running.wait()
    for descriptor in (*ends, direct, nameless, reader):
        os.close(descriptor)


# ---- what a write does besides --------------------------------------------------------------------------------

@passing("a write takes set-id bits and file capabilities away exactly where a plain file loses them")
def privileges(m):
    plain = os.path.join(m.base, "plain")
    for who, how in (("other", by_other), ("root", lambda work: work())):
        for when in ("before the open", "after it"):
            for mode in (0o4777, 0o2777, 0o6777):
                name = f"{mode:o} {who} {when}"
                modes = []
                for path in (m(name), plain):
                    write(path, b"content", 0o777)
                    if when == "before the open":
                        os.chmod(path, mode)
                    descriptor = os.open(path, os.O_RDWR)
                    if when == "after it":
                        os.chmod(path, mode)
                    how(lambda: os.write(descriptor, b"C"))
                    modes += [oct(os.stat(path).st_mode), oct(os.fstat(descriptor).st_mode)]
                    os.close(descriptor)
                modes.append(oct(os.stat(m.in_upper(name)).st_mode))
                equal(len(set(modes)), 1, f"{mode:o}, set {when}, written by {who}: kinds of modes in {modes}")
    for how in (by_other, lambda work: work()):
        path = write(m("capable"), b"content", 0o777)
        descriptor = os.open(path, os.O_RDWR)
        os.write(descriptor, b"before")
        os.setxattr(path, "security.capability", CAPABILITY)
        how(lambda: os.write(descriptor, b"after"))
        refused(errno.ENODATA, os.getxattr, path, "security.capability")
        refused(errno.ENODATA, os.getxattr, m.in_upper("capable"), "security.capability")
        os.close(descriptor)


@passing("stat tells of writes and of stores through a mapping, the mapping alone left included", store="disk")
def attributes(m):
    size = 16 << 20
    path = upper_file(m, size=size)
    long_ago = 1_000_000_000 * 10**9

    def reset():
        os.utime(path, ns=(long_ago, long_ago))
        equal(os.stat(path).st_mtime_ns, long_ago, "the time that was set")

    def moved(what):
        status = os.stat(path)
        check(status.st_mtime_ns > long_ago, f"mtime stands still after {what}")
        equal((status.st_size, status.st_mtime_ns, status.st_ctime_ns),
              (lambda s: (s.st_size, s.st_mtime_ns, s.st_ctime_ns))(os.stat(m.in_upper("new"))), f"after {what}")

    descriptor = os.open(path, os.O_WRONLY)
    reset()
    os.pwrite(descriptor, b"x", size)
    moved("a write")
    os.close(descriptor)
    reset()  # the last look at it before it may be mapped
    descriptor = os.open(path, os.O_RDWR)
    mapping = BareMapping(descriptor, size)
    mapping.store(0, b"y")
    # Of statx(2) this asks for the mtime alone: that a mapping moves the atime the kernel sees by itself.
    check(int(run("stat", "-c", "%Y", path).stdout) > long_ago // 10**9, "mtime by itself stands still after a store")
    moved("a store")
    os.close(descriptor)
    wait_until(lambda: requests(m)["release"] >= 3, 5, "all are closed")
    reset()
    mapping.store(size - PAGE, b"z")  # far away: a large folio is one to the file system
    moved("a store after the last close")
    equal(read(path)[size - PAGE:size - PAGE + 1], b"z", "what was stored")
    mapping.end()


@passing("holes that the kernel leaves are no data, and not charged by a later mount with quota", store="disk")
def holes(m):
    descriptor = os.open(m("sparse"), os.O_WRONLY | os.O_CREAT)
    os.pwrite(descriptor, pattern(PAGE), 0)
    os.pwrite(descriptor, pattern(PAGE), 1000 * PAGE)
    os.fsync(descriptor)
    check(os.stat(m("sparse")).st_blocks * 512 < 100 * PAGE, "st_blocks while it is open")
    os.close(descriptor)
    write(m("dense"), pattern(10 * PAGE))
    wait_until(lambda: requests(m).get("release", 0) >= 2, 5, "both are closed")
    equal(os.stat(m("sparse")).st_blocks * 512, 2 * PAGE, "st_blocks")
    m.umount()
    m.mount("size=100M")
    equal(os.stat(m("sparse")).st_blocks * 512, 2 * PAGE, "st_blocks with quota")
    check(m.used() <= 14 * PAGE, f"charged are {m.used()} bytes")
    equal(m.control("check objects")[1], {"differences": "0"}, "of the ledger")
    descriptor = os.open(m("sparse"), os.O_WRONLY)
    used = m.used()
    os.pwrite(descriptor, pattern(PAGE), 500 * PAGE)
    equal(m.used() - used, PAGE, "charged for a page of the hole")
    os.close(descriptor)


# ---- what it takes --------------------------------------------------------------------------------------------

@passing("open files cost the server no descriptors, and the kernel gets nothing that it does not give back")
def descriptors(m):
    os.mkdir(m("d"))
    kept = [os.open(m(f"d/{i}"), os.O_RDWR | os.O_CREAT) for i in range(900)]
    check(m.descriptors() < 700, f"the server has {m.descriptors()} descriptors for 900 open files")
    for i, descriptor in enumerate(kept):
        os.write(descriptor, b"%d" % i)
    for i, descriptor in enumerate(kept):
        equal(os.pread(descriptor, 10, 0), b"%d" % i, f"content of file {i}")
        os.close(descriptor)
    before = int(read("/proc/sys/fs/file-nr").split()[0])
    for _ in range(20):
        for i in range(0, 900, 3):
            os.close(os.open(m(f"d/{i}"), os.O_RDWR))
    wait_until(lambda: requests(m)["release"] >= 900 + 20 * 300, 10, "all are closed")
    grown = int(read("/proc/sys/fs/file-nr").split()[0]) - before
    check(grown < 3000, f"6,000 opens and closes left {grown} open files in the system")


@passing("a server that is killed: what was written is there, and the next one goes on", lower=lower_files)
def killed(m):
    path = upper_file(m)
    descriptor = os.open(path, os.O_RDWR)
    os.pwrite(descriptor, b"WRITTEN", 0)
    orphan = os.open(m("orphan"), os.O_RDWR | os.O_CREAT)
    os.unlink(m("orphan"))
    m.kill()
    os.close(descriptor)
    os.close(orphan)
    m.mount(*m.options)
    equal(read(path), b"WRITTEN" + pattern(100_000)[7:], "content")
    check(not os.path.exists(m("orphan")), "the file that had no name")


# ---- where it cannot be ---------------------------------------------------------------------------------------

@case("it is refused beside quota and without an upper that is written to", modes=("root",), on=("trootfs",),
      automount=False)
def wrong_options(m):
    for options, words in ((["passthrough"], "noquota"), (["passthrough", "noquota", "ro"], "upperdir")):
        done = run(*m.trootfs_command(*options), check_status=False)
        equal(done.returncode, 2, f"exit status of {options}")
        check(words in done.stderr and len(done.stderr.splitlines()) == 1, f"what it says: {done.stderr}")


@case("an ordinary user's mount serves without it and says so", modes=("user",), on=("trootfs",), automount=False)
def ordinary_user(m):
    m.mount("noquota", "passthrough")
    wait_until(m.server_says, 10, "it says something")
    check("only real root" in m.server_says(), f"what it says: {m.server_says()}")
    write(m("new"), pattern(5000))
    equal(read(m("new")), pattern(5000), "content")
    check("passthrough" not in m.status(), "the state")


@case("an upper on a stacked file system is served without it, and the mount says so", modes=("root",),
      on=("trootfs",), automount=False, store="disk")
def stacked(m):
    stack, under = os.path.join(m.base, "stack"), os.path.join(m.base, "under")
    for path in (stack, f"{under}/l", f"{under}/u", f"{under}/w"):
        os.makedirs(path)
    if run("mount", "-t", "overlay", "overlay", "-o", f"lowerdir={under}/l,upperdir={under}/u,workdir={under}/w", stack,
           check_status=False).returncode != 0:
        raise Skip("the kernel's overlayfs cannot be mounted here")
    try:
        m.upper, m.work = f"{stack}/upper", f"{stack}/work"
        os.mkdir(m.upper)
        os.mkdir(m.work)
        m.mount("noquota", "passthrough", "userxattr")
        wait_until(m.server_says, 10, "it says something")
        check("stacked" in m.server_says() or "does not have it" in m.server_says(), f"it says: {m.server_says()}")
        equal(m.status()["passthrough"], "off", "the state")
        write(m("new"), pattern(5000))
        equal(read(m("new")), pattern(5000), "content")
        equal(asked(m, lambda: write(m("new"), b"x")), {"write": 1}, "requests of a write")
        m.umount()
        m.check_work_clean()
    finally:
        detach(stack)


if __name__ == "__main__":
    main()
