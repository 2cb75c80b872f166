#!/usr/bin/env python3
"""A disk that refuses half-way: full file systems that are small, below a limit that is large. Whatever a call got before
it was refused, ledger and upper agree at once, after what was left is removed, and after a remount."""
import errno
import os
import shutil

from harness import (FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE, PAGE, case, check, equal, fallocate, main, pattern,
                     run, wait_until)
from images import FILE_SYSTEMS, MIB, on_image

KINDS = [kind for kind in FILE_SYSTEMS if kind != "ext4 with bigalloc"]
FULL = (errno.ENOSPC, errno.EDQUOT)


def reserve(m):
    """Room for the ledger, which lies on the same disk, when it is asked."""
    return os.path.join(m.base, "fs", "reserve")


def make_reserve(m):
    with open(reserve(m), "wb") as file:
        refused_or_done(file.write, b"r" * 6 * MIB)
        refused_or_done(os.fsync, file.fileno())


def agrees(m, when):
    had = os.path.exists(reserve(m))
    if had:
        os.unlink(reserve(m))
        os.sync()
    try:
        compare(m, when)
    finally:
        if had:
            make_reserve(m)


def compare(m, when):
    lines = m.control("check objects")
    merged = {}
    for line in lines + m.control("check"):
        merged.update(line)
    equal(merged["differences"], "0", f"{when}: differences between ledger and sums")
    check({"differences": "0"} in lines, f"{when}: ledger and upper differ: {lines[:8]}")
    check(m.used() >= 0, f"{when}: usage below zero")


def free(m):
    status = os.statvfs(m.upper)
    return status.f_bavail * status.f_frsize


def fill(m, leave):
    """Takes the disk, past the mount, until about `leave` bytes are free."""
    descriptor = os.open(os.path.join(m.base, "fs", "ballast"), os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    while free(m) > leave:
        if not refused_or_done(os.write, descriptor, b"b" * min(MIB, max(PAGE, free(m) - leave))):
            break
        os.fsync(descriptor)
    os.close(descriptor)


def refused_or_done(work, *arguments):
    try:
        return work(*arguments)
    except OSError as error:
        check(error.errno in FULL + (errno.EOPNOTSUPP, errno.EFBIG), f"{work.__name__}: {str(error)[:200]}")
        return None


def opened(m, name):
    return os.open(m(name), os.O_RDWR | os.O_CREAT, 0o644)


def sparse(m, name):
    descriptor = opened(m, name)
    refused_or_done(os.pwrite, descriptor, pattern(PAGE), 3 * PAGE)
    refused_or_done(os.ftruncate, descriptor, 64 * PAGE + 100)
    return descriptor


def allocations(m):
    """Of each kind of file, beyond what the disk has."""
    big = 24 * MIB
    for mode in (0, FALLOC_KEEP_SIZE, FALLOC_ZERO_RANGE, FALLOC_ZERO_RANGE | FALLOC_KEEP_SIZE):
        dense = opened(m, f"dense-{mode}")
        refused_or_done(os.pwrite, dense, pattern(5 * PAGE + 7), 0)
        holes = sparse(m, f"sparse-{mode}")
        ahead = opened(m, f"ahead-{mode}")
        refused_or_done(fallocate, ahead, FALLOC_KEEP_SIZE, 8 * PAGE, 2 * PAGE)
        for descriptor in (dense, holes, ahead):
            size = os.fstat(descriptor).st_size
            for offset in (0, 2 * PAGE + 5, 40 * PAGE):
                if refused_or_done(fallocate, descriptor, mode, offset, big) is None:
                    equal(os.fstat(descriptor).st_size, size, f"size after a refused fallocate({mode}) at {offset}")
                    agrees(m, f"fallocate({mode}) at {offset}")
        for descriptor in (dense, holes, ahead):
            os.close(descriptor)


def writes(m):
    descriptor, holes = opened(m, "written"), sparse(m, "written-sparse")
    for i in range(24):
        refused_or_done(os.pwrite, descriptor, pattern(MIB), i * MIB)
        refused_or_done(os.pwrite, holes, pattern(MIB), (2 * i + 1) * MIB + 5)
    refused_or_done(os.copy_file_range, descriptor, holes, 8 * MIB, 0, MIB // 2)
    agrees(m, "writes")
    for each in (descriptor, holes):
        refused_or_done(fallocate, each, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, PAGE, MIB + 3)
        refused_or_done(os.ftruncate, each, os.fstat(each).st_size + 3 * PAGE + 1)
        refused_or_done(os.ftruncate, each, 10 * PAGE + 1)
        os.close(each)
    agrees(m, "cuts")


def names(m):
    """Everything that makes a name or an xattr, until the disk has no room for it."""
    os.makedirs(m("names"), exist_ok=True)
    long = "n" * 200

    def make(i):
        os.close(os.open(m("names", f"c{i}{long}"), os.O_CREAT | os.O_WRONLY, 0o644))
        os.mkdir(m("names", f"d{i}{long}"))
        os.symlink("x" * 800, m("names", f"s{i}{long}"))
        os.link(m("names", f"c{i}{long}"), m("names", f"l{i}{long}"))
        os.rename(m("names", f"s{i}{long}"), m("names", f"r{i}{long}"))
        os.setxattr(m("names", f"c{i}{long}"), "user.x", b"v" * 3000)
        return True
    for i in range(300):
        refused_or_done(make, i)
    agrees(m, "names and xattrs")


def copy_ups(m):
    for name in ("dense", "holes", "unwritten"):
        try:
            with open(m(name), "r+b") as file:
                file.write(b"changed")
        except OSError as error:
            check(error.errno in FULL, f"copy-up of {name}: {error}")
        agrees(m, f"copy-up of {name}")


def lower(bed):
    with open(bed.in_lower("dense"), "wb") as file:
        file.write(pattern(9 * MIB))
    with open(bed.in_lower("holes"), "wb") as file:
        for i in range(9):
            file.seek(2 * i * MIB)
            file.write(pattern(MIB))
    descriptor = os.open(bed.in_lower("unwritten"), os.O_CREAT | os.O_RDWR, 0o644)
    os.pwrite(descriptor, pattern(PAGE), 0)
    fallocate(descriptor, FALLOC_KEEP_SIZE, PAGE, 6 * MIB)
    os.ftruncate(descriptor, 8 * MIB)
    os.close(descriptor)


def on(kind):
    def body(m):
        with on_image(m, kind):
            if kind == "tmpfs":
                run("mount", "-o", "remount,size=96M", m.base + "/fs")
            for work in (allocations, writes, names, copy_ups):
                m.mount("size=2G")
                make_reserve(m)
                fill(m, 3 * MIB)
                work(m)
                used = m.used()
                os.unlink(reserve(m))
                os.sync()
                m.remount("size=2G")
                agrees(m, f"{work.__name__}, after a remount")
                equal(m.used(), used, f"{work.__name__}: usage over a remount")
                os.unlink(m.base + "/fs/ballast")
                for path in os.listdir(m.mnt):
                    if path not in ("dense", "holes", "unwritten"):
                        shutil.rmtree(m(path)) if os.path.isdir(m(path)) else os.unlink(m(path))
                agrees(m, f"{work.__name__}, after all was removed")
                m.umount()
    return body


for each in KINDS:
    case(f"calls that a full {each} refuses half-way: ledger and upper agree at once, and after a remount", modes=("root",),
         on=("trootfs",), lower=lower, store="disk", automount=False, seconds=200)(on(each))


def behind_the_end(kind):
    def body(m):
        """Space behind the end of a file, taken and punched again and again, is no way past the limit."""
        with on_image(m, kind):
            m.mount("size=10M")
            descriptor = opened(m, "f")
            os.pwrite(descriptor, b"x", 0)
            for i in range(1, 13):
                refused_or_done(fallocate, descriptor, FALLOC_KEEP_SIZE, i * 8 * MIB, 8 * MIB)
                refused_or_done(fallocate, descriptor, FALLOC_KEEP_SIZE | FALLOC_PUNCH_HOLE, i * 8 * MIB + PAGE, 4 * MIB)
                refused_or_done(fallocate, descriptor, FALLOC_KEEP_SIZE | FALLOC_PUNCH_HOLE, i * 8 * MIB, 8 * MIB)
            os.pwrite(descriptor, pattern(PAGE), 0)
            fallocate(descriptor, FALLOC_KEEP_SIZE | FALLOC_PUNCH_HOLE, 0, 2 * PAGE)
            held = os.stat(m.in_upper("f")).st_blocks * 512
            check(held <= 10 * MIB + 64 * 1024, f"{held} bytes on the disk below a limit of 10 MiB")
            check(abs(os.fstat(descriptor).st_blocks * 512 - held) <= 64 * 1024, "st_blocks shown, and the disk's")
            agrees(m, "behind the end")
            os.ftruncate(descriptor, 0)
            agrees(m, "cut")
            equal(os.fstat(descriptor).st_blocks, 0, "blocks of an empty file")
            # More ranges than the record holds.
            for i in range(400):
                fallocate(descriptor, FALLOC_KEEP_SIZE if i % 2 else 0, 3 * i * PAGE, PAGE)
            agrees(m, "400 ranges")
            equal(os.fstat(descriptor).st_blocks * 512, 400 * PAGE, "the charge of 400 ranges")
            # Truncations up through a hole in the last page take nothing.
            os.ftruncate(descriptor, 0)
            for i in range(50):
                os.ftruncate(descriptor, i * PAGE + 100)
            equal(os.fstat(descriptor).st_blocks, 0, "blocks of what is all hole")
            agrees(m, "truncations up")
            os.close(descriptor)
            m.umount()
    return body


for each in KINDS:
    case(f"space behind the end of a file on {each} stays within the limit, in any number of ranges", modes=("root",),
         on=("trootfs",), store="disk", automount=False)(behind_the_end(each))


def take_all(m):
    """Not one block is left, for root neither."""
    with open(os.path.join(m.base, "fs", "rest"), "ab", buffering=0) as file:
        for size in (MIB, PAGE, 1):
            while refused_or_done(file.write, b"r" * size):
                pass
        refused_or_done(os.fsync, file.fileno())


def mount_when_full(kind, killed):
    def body(m):
        """Who has filled the disk needs the mount to free space: it comes, its limits hold, and the next one is right."""
        with on_image(m, kind):
            m.mount("size=60M")
            os.mkdir(m("p"))
            run("chattr", "-p", "7", "+P", m("p"))
            m.control(f"limit project=7 bhard={8 * MIB}")
            for i in range(4):
                with open(m(f"p/{i}"), "wb") as file:
                    file.write(pattern(MIB))
            m.control("sync")
            used = m.used()
            (m.kill if killed else m.umount)()
            take_all(m)
            m.mount("size=60M")
            check("no space for it" in m.server_says(), f"said in the log: {m.server_says()!r}")
            equal((m.used(), m.project(7)["bhard"]), (used, 8 * MIB), "usage and limit, of a full disk")
            before = os.statvfs(m.upper)
            os.unlink(m("p/0"))
            wait_until(lambda: (os.statvfs(m.upper).f_bfree - before.f_bfree) * before.f_frsize >= MIB, 10, "room for a MiB")
            with open(m("p/more"), "wb", buffering=0) as file:
                refused_or_done(file.write, b"x" * 2 * MIB)
            os.unlink(m("p/more"))
            os.unlink(os.path.join(m.base, "fs", "rest"))
            with open(m("p/more"), "wb", buffering=0) as file:
                while refused_or_done(file.write, b"y" * MIB):
                    pass
            check(m.project(7)["used_bytes"] <= 8 * MIB, "the limit of the project held")
            used = m.used()
            m.umount()
            m.mount()
            equal((m.used(), m.project(7)["bhard"]), (used, 8 * MIB), "usage and limit, with room again")
            equal(m.status()["limit_bytes"], 60 * MIB, "the total's limit")
            compare(m, "with room again")
            m.umount()
            m.mount()
            check("no space for it" not in m.server_says().split("counted")[-1], "the ledger is in use again")
            equal(m.used(), used, "usage, from the ledger")
            m.umount()
    return body


for each in ("ext4", "xfs"):
    for how in (False, True):
        case(f"a full {each} is mounted, {'after a kill' if how else 'after a clean end'}, and emptied; limits hold, usage is right",
             modes=("root",), on=("trootfs",), store="disk", automount=False, seconds=60)(mount_when_full(each, how))


if __name__ == "__main__":
    main()
