#!/usr/bin/env python3
"""A slow or hung lower, and long copy-ups: only those wait who touch it. The lower is a mount of a server
of its own, which is stopped by a signal."""
import os
import signal
import subprocess
import time

from harness import case, check, equal, in_process, mounted, names, pattern, read, run, wait_until, write
from machine import Child, slowness

trootfs = {"on": ("trootfs",), "modes": ("user",)}
CLIENTS = 24  # more than any small pool of threads
PATIENCE = 3.0


class SlowLower:
    """A second trootfs, whose mount is the lowest layer of the bed."""

    def __init__(self, bed):
        self.mnt = bed.lowers[1]
        source = os.path.join(bed.base, "slow-source")
        os.makedirs(source + "/slow")
        for i in range(CLIENTS):
            write(f"{source}/slow/f{i}", pattern(20_000, i))
        command = [os.path.join(bed.binaries, "trootfs"), "-f", "-o", f"lowerdir={source}", self.mnt]
        self.server = Child(command, stdin=subprocess.DEVNULL, cwd="/")
        wait_until(lambda: mounted(self.mnt), 10, "the lower's own mount")

    def stop(self):
        self.server.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.server.send_signal(signal.SIGCONT)

    def end(self):
        self.go_on()
        run("fusermount3", "-u", self.mnt)
        equal(self.server.wait(10), 0, "the lower's server")


def busy_neighbour(m):
    """Some of everything, none of it in the slow lower; returns the seconds of the slowest piece."""
    slowest = 0.0
    for i in range(20):
        pieces = (lambda: write(m(f"fast/n{i}"), pattern(5000)), lambda: equal(read(m("fast/x")), pattern(9000), "x"),
                  lambda: os.mkdir(m(f"fast/d{i}")), lambda: os.rename(m(f"fast/n{i}"), m(f"fast/d{i}/r")),
                  lambda: names(m("fast")), lambda: os.stat(m(f"fast/d{i}/r")), lambda: os.unlink(m(f"fast/d{i}/r")),
                  lambda: os.statvfs(m.mnt), lambda: check(not os.path.exists(m("fast/absent")), "absent"))
        for piece in pieces:
            begin = time.monotonic()
            piece()
            slowest = max(slowest, time.monotonic() - begin)
    return slowest


def hang(m, slow, work):
    """CLIENTS processes at `work(i)` while the lower is stopped; the neighbour goes on; in the end all have answers."""
    os.mkdir(m.in_lower("fast"))
    write(m.in_lower("fast/x"), pattern(9000))
    m.mount("size=1G")
    names(m.mnt), names(m("fast"))
    slow.stop()
    try:
        joins = [in_process(lambda i=i: work(i)) for i in range(CLIENTS)]
        time.sleep(0.5)
        took = in_process(lambda: busy_neighbour(m))()
    finally:
        slow.go_on()
    for join in joins:
        join()
    print(f"# slowest piece beside {CLIENTS} hanging clients: {took * 1000:.0f} ms", flush=True)
    check(took < PATIENCE * slowness(), f"a neighbour waited {took:.1f} s")
    m.umount()
    slow.end()


@case("readers of a hung lower keep nobody else waiting", lowers=2, automount=False, hash_lowers=False, **trootfs)
def hung_reads(m):
    hang(m, SlowLower(m), lambda i: equal(read(m(f"slow/f{i}")), pattern(20_000, i), f"file {i}"))


@case("copy-ups from a hung lower keep nobody else waiting", lowers=2, automount=False, hash_lowers=False, **trootfs)
def hung_copy_ups(m):
    slow = SlowLower(m)

    def append(i):
        with open(m(f"slow/f{i}"), "ab", buffering=0) as file:
            file.write(b"more")
        equal(read(m(f"slow/f{i}")), pattern(20_000, i) + b"more", f"file {i}")
    hang(m, slow, append)


@case("a file of 1 GiB that is copied up keeps nobody else waiting", store="disk", **trootfs,
      automount=False, hash_lowers=False)
def big_copy_up(m):
    write(m.in_lower("big"), b"")
    with open(m.in_lower("big"), "r+b") as file:
        for _ in range(1024):
            file.write(os.urandom(4096) * 256)
    os.mkdir(m.in_lower("fast"))
    write(m.in_lower("fast/x"), pattern(9000))
    m.mount("size=3G")
    names(m("fast"))
    done = m.base + "/done"

    def touch():
        with open(m("big"), "r+b", buffering=0) as file:
            file.write(b"x")
        write(done)
    join = in_process(touch)
    stats, slowest = 0, 0.0
    while not os.path.exists(done):
        begin = time.monotonic()
        write(m("fast/y"), b"y")
        os.unlink(m("fast/y"))
        slowest = max(slowest, time.monotonic() - begin)
        stats += 1
    join()
    print(f"# {stats} creates beside the copy-up, the slowest {slowest * 1000:.0f} ms", flush=True)
    check(slowest < PATIENCE * slowness(), f"a neighbour waited {slowest:.1f} s")


if __name__ == "__main__":
    from harness import main
    main()
