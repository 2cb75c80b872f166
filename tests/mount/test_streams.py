#!/usr/bin/env python3
"""Files that are read or written in a stream are cached for the mount, not a second time below it; what
the host itself has cached of a lower file stays. On a disk, since tmpfs is nothing but cache."""
import os
import platform
import re

from harness import Skip, case, check, equal
from machine import cached_bytes

on_disk = {"on": ("trootfs",), "store": "disk", "automount": False, "hash_lowers": False}
MIB = 1 << 20
BIG = 96
MOST = 0.9 * BIG  # the kernel may take back some at any time
ATTEMPTS = 3  # or much, when the machine is short of memory or somebody drops the caches


def cached(path):
    """MiB of the file in the cache of its own file system."""
    return cached_bytes(path) / MIB


def make(path):
    with open(path, "wb") as file:
        for i in range(BIG):
            file.write(i.to_bytes(8, "little") + os.urandom(MIB - 8))
        os.fsync(file.fileno())
    if cached(path) < MOST:
        raise Skip("the machine is short of memory")


def drop(path):
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)
    if cached(path) > 1:
        raise Skip("the store is on a file system that keeps what it caches")


def read_all(path):
    with open(path, "rb", buffering=0) as file:
        for i in range(BIG):
            equal(file.read(MIB)[:8], i.to_bytes(8, "little"), f"MiB {i}")


def reads(m):
    return sum(int(line.get("read", 0)) for line in m.control("requests"))


@case("a big file that is read once is cached once, and read again from there", **on_disk)
def read_once(m):
    if tuple(int(n) for n in re.findall(r"\d+", platform.release())[:2]) < (6, 5):
        raise Skip("whether the host uses a lower file is known from Linux 6.5 on (cachestat)")
    make(m.in_lower("f"))
    drop(m.in_lower("f"))
    m.mount()
    read_all(m("f"))
    check(cached(m.in_lower("f")) < BIG / 2, f"{cached(m.in_lower('f'))} MiB cached below")
    for _ in range(ATTEMPTS):
        before = reads(m)
        read_all(m("f"))
        asked = reads(m) - before
        if not asked:
            break
    equal(asked, 0, f"reads asked of the server, the least of {ATTEMPTS} times")


@case("what the host has cached of a lower file stays cached", **on_disk)
def the_hosts(m):
    for _ in range(ATTEMPTS):
        make(m.in_lower("f"))
        m.mount()
        read_all(m("f"))
        left = cached(m.in_lower("f"))
        m.umount()
        if left >= MOST:
            break
    check(left >= MOST, f"{left} MiB cached below")


@case("a big file that is written in a stream is cached once", **on_disk)
def write_once(m):
    m.mount("size=1G")
    with open(m("f"), "wb", buffering=0) as file:
        for i in range(BIG):
            file.write(i.to_bytes(8, "little") + os.urandom(MIB - 8))
            if i % 16 == 15:
                os.fsync(file.fileno())  # else it may be that the disk is not so far yet
    check(cached(m.in_upper("f")) < BIG / 2, f"{cached(m.in_upper('f'))} MiB cached below")
    m.remount("size=1G")
    drop(m.in_upper("f"))
    read_all(m("f"))
    check(cached(m.in_upper("f")) < BIG / 2, f"{cached(m.in_upper('f'))} MiB cached below after reading")


if __name__ == "__main__":
    from harness import main
    main()
