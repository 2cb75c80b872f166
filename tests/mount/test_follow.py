#!/usr/bin/env python3
"""What owns it: a client that is served on its own processor (follow=): that it is, that it sees what it should, and that
nobody waits for a follower that does not get on. Who served is seen by the server's own counter."""
import contextlib
import os
import subprocess
import sys
import time

import test_slow
from harness import CASES, Skip, case, check, equal, in_process, names, pattern, read, write
from machine import slowness

CASES.clear()  # those of test_slow have a test of their own

both = {"on": ("trootfs",), "modes": ("user", "root"), "automount": False}
# Without rings: with these nobody is followed.
OPTIONS = "size=1G,io_uring=off"


def several_processors():
    if len(os.sched_getaffinity(0)) < 2:
        raise Skip("needs two processors")


def followed(m):
    return m.status()["followed_requests"]


def flow(m, seconds, name="flow"):
    """A steady flow of requests of one client; how many."""
    descriptor = os.open(m(name), os.O_CREAT | os.O_RDWR)
    until, count = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        for _ in range(100):
            equal(os.pwrite(descriptor, b"%08d" % count, 8 * (count % 1000)), 8, "bytes written")
            count += 1
    os.close(descriptor)
    return count


@contextlib.contextmanager
def hogs():
    """Beside programs that want all processors."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * len(os.sched_getaffinity(0)))]
    try:
        yield
    finally:
        for hog in running:
            hog.kill()
            hog.wait()


def crowd():
    """Threads that want a processor, more than there are."""
    with open("/proc/loadavg", encoding="ascii") as file:
        return int(file.read().split()[3].split("/")[0]) - len(os.sched_getaffinity(0))


def follow(m):
    """Until the client is followed. Where the machine is busy that may take a while, or be impossible."""
    crowds = []
    for _ in range(60):
        before = followed(m)
        flow(m, 0.5)
        if followed(m) - before > 100:
            return
        crowds.append(crowd())
    if sorted(crowds)[30] >= 2:
        raise Skip("others want the processors all the time")
    check(False, "a client in 30 s of steady requests was not followed")


@case("a client alone is served on its own processor, and sees what it should", **both)
def alone(m):
    several_processors()
    m.mount(OPTIONS, "follow=on")
    os.mkdir(m("d"))
    follow(m)
    for turn in range(20):
        for i in range(40):
            write(m(f"d/f{i}"), pattern(3000 + i, turn))
        for i in range(40):
            equal(read(m(f"d/f{i}")), pattern(3000 + i, turn), f"file {i} of turn {turn}")
            os.rename(m(f"d/f{i}"), m(f"d/r{i}"))
        equal(names(m("d")), sorted(f"r{i}" for i in range(40)), "names")
        for i in range(40):
            os.unlink(m(f"d/r{i}"))
    equal(names(m("d")), [], "names in the end")
    last = read(m("flow"))
    check(len(last) == 8000 and last.isdigit(), "what the flow wrote")


def small_files(m):
    for i in range(2000):
        write(m.in_lower(f"s{i}"), pattern(8000, i))


@case("who reads many small files is followed; who reads a big one is not", lower=small_files, on=("trootfs",),
      modes=("user",), automount=False)
def reads(m):
    several_processors()
    share, crowds = 0, []
    for _ in range(10):
        m.mount(OPTIONS, "follow=on")
        follow(m)
        for i in range(2000):
            os.stat(m(f"s{i}"))
        before = followed(m)
        for i in range(2000):  # nothing but a READ for each
            descriptor = os.open(m(f"s{i}"), os.O_RDONLY)
            os.read(descriptor, 10_000)
            os.close(descriptor)
        share = followed(m) - before
        if share > 1000:
            break
        crowds.append(crowd())
        m.umount()
    if share <= 1000 and sorted(crowds)[len(crowds) // 2] >= 2:
        raise Skip("others want the processors all the time")
    check(share > 1000, f"of the requests for 2,000 files {share} were followed")
    write(m("big"), bytes(64 << 20))
    m.remount()
    follow(m)
    before = followed(m)
    with open(m("big"), "rb") as file:
        while file.read(1 << 16):
            pass
    # Of 512 requests of 128 KiB.
    check(followed(m) - before < 100, f"of the requests for a big file {followed(m) - before} were followed")


@case("nobody is followed by follow=off or by threads=1", **both)
def never(m):
    for options in ("follow=off", "follow=on,threads=1"):
        m.mount(OPTIONS, options)
        flow(m, 0.5)
        equal(followed(m), 0, f"requests followed with {options}")
        m.umount()


@case("who asks now and then is not kept waiting by a thread that is behind everybody else", **both)
def now_and_then(m):
    several_processors()
    m.mount(OPTIONS, "follow=on")
    follow(m)
    descriptor = os.open(m("flow"), os.O_RDWR)
    time.sleep(0.2)
    before = followed(m)
    for _ in range(10):
        os.pwrite(descriptor, b"0", 0)
        time.sleep(0.1)
    os.close(descriptor)
    check(followed(m) - before < 5, f"{followed(m) - before} of 10 requests were followed")


@case("many clients at once, and a lone one between them", **both)
def many(m):
    several_processors()
    m.mount(OPTIONS, "follow=on")
    follow(m)
    for turn in range(3):
        joins = [in_process(lambda i=i: flow(m, 0.3, f"flow{i}")) for i in range(8)]
        counts = [join() for join in joins]
        check(all(counts), f"each of the clients got on: {counts}")
        flow(m, 0.3)
    for i in range(8):
        check(read(m(f"flow{i}")).isdigit(), f"what client {i} wrote")


@case("a follower that hangs in a lower keeps nobody else waiting", lowers=2, hash_lowers=False, on=("trootfs",),
      modes=("user",), automount=False)
def hung(m):
    several_processors()
    slow = test_slow.SlowLower(m)
    os.mkdir(m.in_lower("fast"))
    write(m.in_lower("fast/x"), pattern(9000))
    m.mount(OPTIONS, "follow=on")
    names(m.mnt), names(m("fast"))
    follow(m)
    slow.stop()
    try:
        def client():
            flow(m, 0.2)
            equal(read(m("slow/f0")), pattern(20_000, 0), "what came late")

        join = in_process(client)
        time.sleep(0.7)
        took = in_process(lambda: test_slow.busy_neighbour(m))()
    finally:
        slow.go_on()
    join()
    check(took < test_slow.PATIENCE * slowness(), f"a neighbour waited {took:.1f} s")
    m.umount()
    slow.end()


def come_and_go(m, count=40):
    for i in range(count):
        write(m(f"f{i}"), b"x")
    for i in range(count):
        os.unlink(m(f"f{i}"))


@case("usage that is told counts what was removed a moment ago, whoever has the processors", **both)
def removed(m):
    several_processors()
    m.mount(OPTIONS, "follow=on")
    follow(m)
    before = m.status()["used_inodes"]
    for turn in range(40):
        come_and_go(m)
        equal(m.status()["used_inodes"], before, f"inodes used, turn {turn}")
    with hogs():
        for turn in range(5):
            come_and_go(m)
            equal(m.status()["used_inodes"], before, f"inodes used beside others, turn {turn}")


@case("beside programs that want all processors a client gets on, followed or not", **both)
def crowded(m):
    several_processors()
    m.mount(OPTIONS, "follow=on")
    follow(m)
    with hogs():
        slowest, until = 0.0, time.monotonic() + 2
        descriptor = os.open(m("crowd"), os.O_CREAT | os.O_RDWR)
        while time.monotonic() < until:
            begin = time.monotonic()
            os.pwrite(descriptor, b"x", 0)
            slowest = max(slowest, time.monotonic() - begin)
        os.close(descriptor)
    print(f"# slowest write: {slowest * 1000:.0f} ms", flush=True)
    check(slowest < test_slow.PATIENCE * slowness(), f"a write waited {slowest:.1f} s")


if __name__ == "__main__":
    from harness import main
    main()
