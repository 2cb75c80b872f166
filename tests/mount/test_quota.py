#!/usr/bin/env python3
"""The mount's total limit: exact to the page, short writes then EDQUOT, shrinking always allowed,
remembered, changed live, never passed by a race. Project ids are in test_project."""
import errno
import mmap
import os
import time

from harness import (FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, PAGE, Failure, case, check, equal, fallocate, fill, in_process,
                     main, name_pages, names, pages, pattern, read, refused, run, wait_until, write)

MIB = 1 << 20
trootfs = {"on": ("trootfs",)}


def lower_files(bed):
    write(bed.in_lower("file"), pattern(300_000))
    os.mkdir(bed.in_lower("dir"))
    for i in range(50):
        write(bed.in_lower(f"dir/f{i}"), f"{i}")


@case("rule 5: filled to the last byte of the limit, and not past it", options=["size=1M"], **trootfs)
def exact(m):
    start = m.used()
    taken = fill(m("f"))
    equal(taken, MIB - start, "bytes taken")
    equal(os.stat(m("f")).st_size, taken, "size of the file")
    equal(m.used(), MIB, "used at the limit")
    equal(m.status()["limit_bytes"], MIB, "limit")
    equal(read(m("f")), (pattern(256 << 10) * 5)[:taken], "content")
    refused(errno.EDQUOT, write, m("g"), "x")
    m.check_recount()


@case("rule 9: a write that fits in part is short, the next says EDQUOT", options=["size=1M"], **trootfs)
def short_write(m):
    room = MIB - m.used()
    descriptor = os.open(m("f"), os.O_CREAT | os.O_WRONLY, 0o644)
    equal(os.write(descriptor, pattern(2 * MIB)), room, "count of the write that fits in part")
    refused(errno.EDQUOT, os.write, descriptor, b"x" * PAGE)
    os.close(descriptor)
    equal(read(m("f")), pattern(2 * MIB)[:room], "content")


@case("rule 9: a write without room for a page takes the pages that are there, cached or not", options=["size=1M"],
      **trootfs)
def room_in_old_pages(m):
    for cached in (False, True):
        write(m("f"), pattern(100))
        fill(m("g"))
        m.remount("size=1M")  # the kernel's pages go
        if cached:
            read(m("f"))
        failcnt = m.status()["failcnt"]
        descriptor = os.open(m("f"), os.O_WRONLY)
        equal(os.pwrite(descriptor, pattern(5000), 100), PAGE - 100, f"count of the write, cached: {cached}")
        equal(m.status()["failcnt"], failcnt + 1, f"failcnt, cached: {cached}")
        os.close(descriptor)
        equal(read(m("f")), pattern(100) + pattern(5000)[:PAGE - 100], "content")
        os.unlink(m("g"))


@case("rule 5: at the limit an xattr gives way to one as large, not to a larger one", options=["size=1M"],
      **trootfs)
def xattr_replaced(m):
    write(m("f"), "x")
    os.setxattr(m("f"), "user.a", b"1" * 3000)
    fill(m("g"))
    os.setxattr(m("f"), "user.a", b"2" * 3000)
    refused(errno.EDQUOT, os.setxattr, m("f"), "user.a", b"3" * 9000)
    equal(os.getxattr(m("f"), "user.a"), b"2" * 3000, "the xattr")


@case("an O_DIRECT write trimmed by the limit returns the short count and keeps its data", options=["size=1M"], **trootfs)
def direct(m):
    room = MIB - m.used()
    buffer = mmap.mmap(-1, 2 * MIB)
    buffer[:] = pattern(2 * MIB)
    descriptor = os.open(m("f"), os.O_CREAT | os.O_WRONLY | os.O_DIRECT, 0o644)
    count = os.writev(descriptor, [buffer])
    check(0 < count <= room, f"count {count} of {room}")
    os.close(descriptor)
    equal(os.stat(m("f")).st_size, count, "size")
    equal(read(m("f")), pattern(2 * MIB)[:count], "content")
    equal(m.used(), MIB - room + pages(count), "used")


@case("rule 5: at the limit: overwrite, truncate up, chmod, rename, unlink and whiteouts work", options=["size=1M"],
      lower=lower_files, **trootfs)
def at_the_limit(m):
    fill(m("f"))
    with open(m("f"), "r+b") as file:
        file.write(b"overwritten")
    os.truncate(m("f"), 2 * MIB)
    descriptor = os.open(m("f"), os.O_WRONLY)
    refused(errno.EDQUOT, os.pwrite, descriptor, b"into the hole", 2 * MIB - 100)
    refused(errno.EDQUOT, fallocate, descriptor, 0, 0, 2 * MIB)
    os.close(descriptor)
    os.chmod(m("f"), 0o600)
    os.rename(m("f"), m("g"))
    refused(errno.EDQUOT, os.mkdir, m("new"))
    os.unlink(m("dir/f0"))  # a whiteout, for which the directory is copied up
    run("rm", "-rf", m("dir"))
    os.truncate(m("g"), 100)
    os.mkdir(m("new"))
    os.unlink(m("g"))
    equal(names(m("")), ["file", "new"], "names")


@case("rule 10: rm then an immediate rewrite at the limit, twenty times", options=["size=2M"], **trootfs)
def rewrite(m):
    for i in range(20):
        fill(m("f"))
        os.unlink(m("f"))
        descriptor = os.open(m("g"), os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
        written = os.write(descriptor, pattern(MIB))
        os.close(descriptor)
        equal(written, MIB, f"rewrite {i}")
        os.unlink(m("g"))


@case("used falls back within a second of rm", options=["size=8M"], **trootfs)
def falls_back(m):
    start = m.used()
    fill(m("f"), chunk=MIB)
    os.unlink(m("f"))
    wait_until(lambda: m.used() == start, 1, "used back to where it was")


@case("rule 10: an unlinked file is charged until its last close", options=["size=1M"], **trootfs)
def unlinked_open(m):
    descriptor = os.open(m("f"), os.O_CREAT | os.O_RDWR, 0o644)
    size = os.write(descriptor, pattern(MIB))
    os.unlink(m("f"))
    refused(errno.EDQUOT, write, m("g"), pattern(PAGE))
    equal(os.pread(descriptor, 100, size - 100), pattern(MIB)[size - 100:size], "content of the unlinked file")
    os.close(descriptor)
    write(m("g"), pattern(512 << 10))
    equal(read(m("g")), pattern(512 << 10), "content of the next")


@case("limit and usage are remembered over a remount", options=["size=1M", "inodes=100"], **trootfs)
def remembered(m):
    write(m("f"), pattern(500_000))
    os.mkdir(m("d"))
    before = m.status()
    m.umount()
    m.mount()
    after = m.status()
    for key in ("limit_bytes", "used_bytes", "limit_inodes", "used_inodes"):
        equal(after[key], before[key], key)
    equal(before["limit_inodes"], 100, "the inode limit")
    equal(fill(m("g")), MIB - before["used_bytes"], "room after the remount")
    m.remount("size=2M")
    equal(m.status()["limit_bytes"], 2 * MIB, "a new limit by the option")


@case("rule 14: the limit moves live, for open files too", options=["size=1M"], **trootfs)
def live(m):
    descriptor = os.open(m("f"), os.O_CREAT | os.O_WRONLY, 0o644)
    os.write(descriptor, pattern(2 * MIB))
    refused(errno.EDQUOT, os.write, descriptor, b"x" * PAGE)
    m.control(f"limit bhard={2 * MIB}")
    equal(os.write(descriptor, pattern(2 * MIB)), MIB, "the next write on the same descriptor")
    m.control(f"limit bhard={MIB}")  # below what is used: growth fails, shrinking works
    refused(errno.EDQUOT, os.write, descriptor, b"x" * PAGE)
    os.ftruncate(descriptor, 100)
    os.close(descriptor)
    write(m("g"), pattern(100_000))
    m.control("limit bhard=0")
    write(m("h"), pattern(4 * MIB))
    equal(m.status()["limit_bytes"], 0, "no limit")


@case("rule 5: inodes are limited", options=["inodes=10"], **trootfs)
def inodes(m):
    room = 10 - m.status()["used_inodes"]
    for i in range(room):
        write(m(f"f{i}"))
    refused(errno.EDQUOT, open, m("more"), "w")
    refused(errno.EDQUOT, os.mkdir, m("more"))
    refused(errno.EDQUOT, os.symlink, "x", m("more"))
    refused(errno.EDQUOT, os.mkfifo, m("more"))
    os.link(m("f0"), m("link"))  # no inode of its own
    os.unlink(m("f1"))
    os.mkdir(m("more"))
    os.rename(m("f2"), m("f3"))
    os.symlink("x", m("after-the-rename"))
    equal(m.status()["used_inodes"], 10, "used")


@case("rule 12: df shows the limit", options=["size=10M", "inodes=1000"], **trootfs)
def df(m):
    write(m("f"), pattern(MIB))
    status, answer = m.status(), os.statvfs(m(""))
    equal(answer.f_blocks * answer.f_frsize, 10 * MIB, "size")
    equal(answer.f_bfree * answer.f_frsize, 10 * MIB - status["used_bytes"], "free")
    equal(answer.f_bavail, answer.f_bfree, "available")
    equal((answer.f_files, answer.f_ffree), (1000, 1000 - status["used_inodes"]), "inodes")
    table = run("df", "--output=size,used", "-B4096", m("")).stdout.split("\n")[1].split()
    equal([int(n) for n in table], [2560, status["used_bytes"] // PAGE], "what df prints")


@case("the unit: what each kind of object is charged; du says the same", options=["size=100M"], lower=lower_files, **trootfs)
def unit(m):
    start = m.used()

    def costs(wanted, what, work):
        before = m.used()
        work()
        if wanted < 0:  # the server learns of the last close a moment later
            wait_until(lambda: m.used() - before == wanted, 1, f"the charge of {what} being {wanted}")
        equal(m.used() - before, wanted, f"the charge of {what}")

    costs(0, "an empty file", lambda: write(m("empty")))
    costs(PAGE, "one byte", lambda: write(m("one"), "x"))
    costs(2 * PAGE, "4097 bytes", lambda: write(m("two"), pattern(4097)))
    costs(PAGE, "a directory", lambda: os.mkdir(m("d")))
    costs(0, "a symlink that fits into an inode", lambda: os.symlink("x" * 59, m("s")))
    costs(PAGE, "a longer one", lambda: os.symlink("x" * 60, m("s2")))
    costs(-PAGE, "its end", lambda: os.unlink(m("s2")))
    costs(0, "128 bytes of xattrs", lambda: os.setxattr(m("one"), "user.a", b"v" * 122))
    costs(PAGE, "one more", lambda: os.setxattr(m("one"), "user.a", b"v" * 123))
    costs(-PAGE, "none", lambda: os.removexattr(m("one"), "user.a"))
    costs(0, "a fifo", lambda: os.mkfifo(m("p")))
    costs(0, "a hard link", lambda: os.link(m("two"), m("d/two")))
    costs(0, "a whiteout", lambda: os.unlink(m("file")))
    costs(0, "truncate up", lambda: os.truncate(m("empty"), 1 << 30))
    costs(PAGE + pages(2), "the copy-up of a file and its directory", lambda: write_at(m("dir/f49"), 0, b"x"))
    costs(PAGE, "a page into a hole", lambda: write_at(m("empty"), 1 << 20, b"x"))
    costs(0, "the same page again", lambda: write_at(m("empty"), (1 << 20) + 100, b"x"))
    costs(2 * PAGE, "two pages touched by two bytes", lambda: write_at(m("empty"), (2 << 20) - 1, b"xx"))
    costs(-PAGE, "a hole punched", lambda: punch(m("empty"), 1 << 20, PAGE))
    costs(10 * PAGE, "a preallocation", lambda: allocate(m("empty"), 3 << 20, 10 * PAGE))
    costs(0, "a write into it", lambda: write_at(m("empty"), 3 << 20, b"x" * PAGE))
    costs(-12 * PAGE, "the sparse file's truncate to nothing", lambda: os.truncate(m("empty"), 0))
    costs(-2 * PAGE, "rename over a file", lambda: (os.unlink(m("d/two")), os.rename(m("one"), m("two"))))
    top = sum(os.lstat(os.path.join(directory, n)).st_blocks * 512 for directory, d, f in os.walk(m("")) for n in d + f
              if os.path.lexists(os.path.join(m.upper, os.path.relpath(os.path.join(directory, n), m.mnt))))
    equal(top, m.used() - start, "the sum of st_blocks over upper objects")
    m.check_recount()


def many_lower(m):
    lower = m.lower
    os.mkdir(os.path.join(lower, "many"))
    for i in range(100):
        write(os.path.join(lower, "many", f"{i:03}" + "w" * 200), "x")
    os.symlink("y" * 100, os.path.join(lower, "link"))


@case("the unit: names count in their directory: files, links, whiteouts, copies, moves; and less when they go",
      options=["size=100M"], lower=many_lower, **trootfs)
def names_count(m):
    os.mkdir(m("d"))
    write(m("d/one"), "")

    def holds(what, *directories):
        for directory in directories:
            shown, wanted = os.lstat(m(directory)).st_blocks * 512, name_pages(os.path.join(m.upper, directory))
            equal(shown, wanted, f"{directory} after {what}")
        m.check_recount()

    for i in range(200):
        os.link(m("d/one"), m(f"d/{i:03}" + "n" * 250))
    check(os.lstat(m("d")).st_blocks > 100, "hard links are no tunnel")
    holds("hard links", "d")
    for i in range(100):
        os.unlink(m(f"many/{i:03}" + "w" * 200))
    holds("whiteouts", "many")
    os.mkdir(m("e"))
    for i in range(0, 200, 2):
        os.rename(m(f"d/{i:03}" + "n" * 250), m(f"e/{i:03}" + "m" * 100))
    holds("moves", "d", "e")
    for i in range(1, 200, 2):
        os.rename(m(f"d/{i:03}" + "n" * 250), m(f"d/{i:03}"))
    holds("shorter names", "d")
    os.chmod(m("e"), 0o755)
    os.lchown(m("link"), -1, os.getgid())
    holds("a symlink that was copied up", ".")
    for i in range(100):
        write(m(f"many/{i:03}" + "w" * 200), "")
    holds("files in the place of whiteouts", "many")
    for i in range(100):
        os.unlink(m(f"many/{i:03}" + "w" * 200))
        os.unlink(m(f"e/{2 * i:03}" + "m" * 100))
    holds("removals", "many", "e")
    os.rmdir(m("e"))
    os.rmdir(m("many"))
    holds("the end of directories", ".")


@case("rule 5: at the limit a directory takes no more names, and gives them back", options=["size=64K"], lower=many_lower,
      **trootfs)
def names_at_the_limit(m):
    os.mkdir(m("d"))
    made = 0
    try:
        for made in range(1000):
            os.mkfifo(m(f"d/{made:03}" + "n" * 250))
    except OSError as e:
        equal(e.errno, errno.EDQUOT, "at the limit")
    check(made < 300, f"{made} names of 253 bytes below a limit of 64K")
    for i in range(100):
        os.unlink(m(f"many/{i:03}" + "w" * 200))  # whiteouts: by force
    for i in range(made):
        os.unlink(m(f"d/{i:03}" + "n" * 250))
    m.check_recount()


def write_at(path, offset, data):
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.pwrite(descriptor, data, offset)
    finally:
        os.close(descriptor)


def punch(path, offset, length):
    descriptor = os.open(path, os.O_WRONLY)
    fallocate(descriptor, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, offset, length)
    os.close(descriptor)


def allocate(path, offset, length):
    descriptor = os.open(path, os.O_WRONLY)
    fallocate(descriptor, FALLOC_KEEP_SIZE, offset, length)
    os.close(descriptor)


@case("rule 9: a copy-up that does not fit says EDQUOT and leaves the lower file as it was", options=["size=256K"],
      lower=lower_files, **trootfs)
def copy_up_refused(m):
    before = m.used()
    refused(errno.EDQUOT, write_at, m("file"), 0, b"x")
    equal(read(m("file")), pattern(300_000), "content")
    equal(m.used(), before, "used")
    equal(names(m.upper), [], "names in the upper")
    os.truncate(m("file"), 1000)  # copies no more than it keeps
    equal(read(m("file")), pattern(300_000)[:1000], "after a truncate that fits")


@case("rule 9: fallocate is all or nothing", options=["size=1M"], **trootfs)
def allocation(m):
    descriptor = os.open(m("f"), os.O_CREAT | os.O_RDWR, 0o644)
    before = m.used()
    refused(errno.EDQUOT, fallocate, descriptor, 0, 0, 2 * MIB)
    equal((m.used(), os.fstat(descriptor).st_size), (before, 0), "used and size after the refusal")
    fallocate(descriptor, 0, 0, MIB - before)
    equal(m.used(), MIB, "used")
    equal(os.pwrite(descriptor, pattern(MIB - before), 0), MIB - before, "a write into what was allocated")
    os.close(descriptor)


@case("eight writers racing at the limit never pass it", options=["size=16M"], **trootfs)
def race(m):
    start = m.used()

    def writer(number):
        def work():
            taken = 0
            for part in range(8):
                try:
                    taken += fill(m(f"w{number}.{part}"), chunk=(3 + number) * PAGE)
                    if part % 2:
                        os.unlink(m(f"w{number}.{part - 1}"))
                except OSError as error:  # not even the empty file, or its directory, fits
                    equal(error.errno, errno.EDQUOT, "errno")
            return taken
        return work

    joins = [in_process(writer(n)) for n in range(8)]
    highest, end = 0, time.monotonic() + 5
    while time.monotonic() < end and len(names(m(""))) < 40:
        highest = max(highest, m.used())
    for join in joins:
        join()
    equal(fill(m("last"), chunk=PAGE, flags=os.O_CREAT | os.O_WRONLY) % PAGE, 0, "what was left, in whole pages")
    status = m.status()
    check(max(highest, status["peak_bytes"]) <= 16 * MIB, f"seen {highest}, peak {status['peak_bytes']}")
    equal(status["used_bytes"], 16 * MIB, "used in the end")
    check(start <= 16 * MIB, "start")
    m.check_recount()


@case("rule 11: stores through a mapping into holes at the limit are kept, within the margin", options=["size=1M"], **trootfs)
def mapping(m):
    fill(m("f"))
    os.unlink(m("f"))
    write(m("m"))
    os.truncate(m("m"), 64 * PAGE)
    fill(m("f"))
    descriptor = os.open(m("m"), os.O_RDWR)
    with mmap.mmap(descriptor, 64 * PAGE) as area:
        area[:] = pattern(64 * PAGE)
        area.flush()
    os.fsync(descriptor)
    os.close(descriptor)
    m.remount()
    equal(read(m("m")), pattern(64 * PAGE), "what was stored")
    equal(m.used(), MIB + 64 * PAGE, "used, over the limit by the margin taken")
    refused(errno.EDQUOT, write, m("more"), "x")


@case("rules 8 and 13: pqnoenforce accounts without refusing, noquota does neither, errno=enospc says so", automount=False, **trootfs)
def switches(m):
    m.mount("size=1M", "pqnoenforce")
    write(m("f"), pattern(2 * MIB))
    check(m.used() >= 2 * MIB, f"used {m.used()} without enforcement")
    m.control("enforce on")
    refused(errno.EDQUOT, write, m("g"), "x")
    m.remount("size=4M", "errno=enospc")
    try:
        write(m("g"), pattern(4 * MIB))
        raise Failure("a write past the limit succeeded")
    except OSError as error:
        equal(error.errno, errno.ENOSPC, "errno")
    m.remount("noquota")
    write(m("g"), pattern(4 * MIB))


@case("the recount after many kinds of changes", options=["size=64M"], lower=lower_files, **trootfs)
def recount(m):
    for i in range(200):
        write(m(f"dir/n{i}"), pattern(i * 137))
    for i in range(0, 200, 3):
        os.unlink(m(f"dir/n{i}"))
    for i in range(1, 200, 3):
        os.rename(m(f"dir/n{i}"), m(f"dir/m{i}"))
    for i in range(0, 50, 2):
        os.unlink(m(f"dir/f{i}"))
    for i in range(1, 50, 2):
        with open(m(f"dir/f{i}"), "ab") as file:
            file.write(pattern(5000))
    os.truncate(m("file"), 12345)
    m.check_recount()
    before = m.status()
    m.remount()
    after = m.status()
    equal((after["used_bytes"], after["used_inodes"]), (before["used_bytes"], before["used_inodes"]), "after a remount")


if __name__ == "__main__":
    main()
