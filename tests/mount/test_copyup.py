#!/usr/bin/env python3
"""What a copy-up of a big file costs: no more than the data that it has, nothing for a change of
metadata; nobody else waits; and who is killed in it is gone at once and leaves nothing half-made, while one who only
gets signals has it done. The layers lie on a disk without reflinks where the machine's is one."""
import os
import signal
import subprocess
import sys
import time

from harness import Skip, case, check, equal, names, pattern, read, wait_until, write
from machine import Child, slowness

on_disk = {"on": ("trootfs",), "store": "disk", "automount": False, "hash_lowers": False}
MIB = 1 << 20


def held(path):
    return os.stat(path).st_blocks * 512


def dense(path, mebibytes):
    block = os.urandom(MIB)
    with open(path, "wb") as file:
        for i in range(mebibytes):
            file.write(i.to_bytes(8, "little") + block[8:])


@case("a sparse file of 10 GB with 1 MB of data costs 1 MB, and chmod of it nothing", **on_disk)
def sparse(m):
    size, pieces = 10_000_000_000, 16
    for name in ("written", "changed"):
        with open(m.in_lower(name), "wb") as file:
            for i in range(pieces):
                file.seek(i * (size // pieces) // 4096 * 4096)
                file.write(pattern(64 << 10, i))
            file.truncate(size)
    m.mount("size=100M")
    begin = time.monotonic()
    os.chmod(m("changed"), 0o600)
    equal(os.stat(m("changed")).st_size, size, "the size")
    check(held(m.in_upper("changed")) <= 8192, f"chmod brought up {held(m.in_upper('changed'))} bytes")
    check(m.used() <= 8192, f"chmod cost {m.used()} bytes")
    with open(m("written"), "r+b", buffering=0) as file:
        file.write(b"new")
    took = time.monotonic() - begin
    check(MIB <= held(m.in_upper("written")) <= MIB + (64 << 10), f"{held(m.in_upper('written'))} bytes in the upper")
    equal(m.used(), MIB + 4096, "usage")
    check(took < 5 * slowness(), f"it took {took:.1f} s")
    with open(m("written"), "rb") as file:
        equal(file.read(4096), b"new" + pattern(4096, 0)[3:], "the beginning")
        file.seek(7 * (size // pieces) // 4096 * 4096)
        equal(file.read(64 << 10), pattern(64 << 10, 7), "data in the middle")
        file.seek(size // pieces // 2)
        equal(file.read(4096), bytes(4096), "a hole")


class Writer:
    """A program that writes one byte into a lower file, which copies it up first."""

    def __init__(self, path, before=""):
        code = f"import os, signal\nfd = os.open({path!r}, os.O_RDWR)\n{before}\nprint('begun', flush=True)\n" \
               "os.pwrite(fd, b'x', 0)\nprint('done', flush=True)\n"
        self.process = Child([sys.executable, "-c", code], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE)
        equal(self.process.stdout.readline(), b"begun\n", "the writer")


def staged(m):
    """Whether a copy-up is under way."""
    return bool(names(m.work + "/troot/stage"))


LEAST_NEIGHBOURS = 4


@case("others wait for nothing while a big file is copied up, and who is killed in it is gone at once", modes=("user",), **on_disk)
def killed(m):
    dense(m.in_lower("big"), 800)
    os.mkdir(m.in_lower("d"))
    for i in range(400):
        write(m.in_lower(f"d/f{i}"), pattern(9000, i))
    m.mount("size=3G")
    names(m("d"))
    writer = Writer(m("big"))
    wait_until(lambda: staged(m) or writer.process.poll() is not None, 20, "the copy-up begins")
    begin, slowest, neighbours = time.monotonic(), 0.0, 0
    while neighbours < LEAST_NEIGHBOURS or (time.monotonic() - begin < 0.1 and neighbours < 400):
        if writer.process.poll() is not None:
            raise Skip("the machine copies 800 MiB before anybody can be a neighbour of that")
        at = time.monotonic()
        with open(m(f"d/f{neighbours}"), "r+b", buffering=0) as file:
            file.write(b"n")
        os.stat(m(f"d/f{neighbours}"))
        slowest, neighbours = max(slowest, time.monotonic() - at), neighbours + 1
    kill = time.monotonic()
    writer.process.kill()
    writer.process.wait()
    died = time.monotonic() - kill
    if writer.process.stdout.read():
        raise Skip("the machine copies 800 MiB before anybody can be killed in that")
    print(f"# {neighbours} copy-ups beside it, the slowest {slowest * 1000:.0f} ms; it died in {died * 1000:.0f} ms",
          flush=True)
    check(slowest < 2 * slowness(), f"a neighbour waited {slowest:.1f} s")
    check(died < slowness(), f"the writer lived on for {died:.1f} s")
    wait_until(lambda: not names(m.work + "/troot/stage"), 5, "an empty stage")
    check(not os.path.exists(m.in_upper("big")), "half a file is in the upper")
    equal(m.used(), 4096 * 2 + neighbours * 12288, "usage")
    with open(m("big"), "rb") as file:
        equal(file.read(8), bytes(8), "the lower's data")


@case("signals that do not kill interrupt no copy-up", modes=("user",), **on_disk)
def signalled(m):
    dense(m.in_lower("big"), 200)
    m.mount("size=1G")
    writer = Writer(m("big"), "signal.signal(signal.SIGALRM, lambda *_: None)\n"
                              "signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)")
    out, err = writer.process.communicate(timeout=60)
    equal((out, err), (b"done\n", b""), "what the writer says")
    equal(os.stat(m.in_upper("big")).st_size, 200 * MIB, "the size in the upper")
    equal(read(m("big"))[:9], b"x" + bytes(7) + read(m.in_lower("big"))[8:9], "the beginning")


@case("a killed copy-up of data behind a change of metadata leaves that as it was",
      modes=("user",), **on_disk)
def metadata(m):
    dense(m.in_lower("big"), 400)
    m.mount("size=2G")
    os.chmod(m("big"), 0o600)
    writer = Writer(m("big"))
    wait_until(lambda: held(m.in_upper("big")) > 8192 or writer.process.poll() is not None, 20, "the copy-up begins")
    if writer.process.poll() is None:
        writer.process.send_signal(signal.SIGTERM)
    begin = time.monotonic()
    out = writer.process.communicate()[0]
    check(time.monotonic() - begin < slowness(), "the writer lived on")
    if b"done" in out:
        return  # the machine was faster than that
    equal(os.stat(m("big")).st_mode & 0o777, 0o600, "the mode")
    wait_until(lambda: held(m.in_upper("big")) <= 8192, 5, "no pages in the upper")
    equal(m.used(), 4096, "usage")
    with open(m("big"), "r+b", buffering=0) as file:
        file.seek(399 * MIB)
        equal(file.read(8), (399).to_bytes(8, "little"), "data from below")


if __name__ == "__main__":
    from harness import main
    main()
