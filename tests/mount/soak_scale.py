#!/usr/bin/env python3
"""Large counts, by hand: a walk of 1,000,000 files, 10,000,000 creates and unlinks, a directory of 1,000,000
names, mounts of an upper of 1,000,000 files, lookups beside the copy-up of 10 GB. Prints times, the server's memory, and what the kernel holds; exits 1 where
one is out of bounds.

usage: TROOT_BIN=build/release/bin soak_scale.py [--store DIRECTORY] [--files N] [--churn N] [--big BYTES] [PART...]
PART: walk, churn, names, mount, big (all of them without)
"""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time

import harness
from harness import Bed, write

# MiB, bytes, MiB, objects, ratio, seconds, seconds, ratio
WALK_MEMORY, INODE_BYTES, CHURN_GROWTH, KERNEL_GROWTH, SLOWER, MOUNT_CLEAN, MOUNT_KILLED, BESIDE_BIG = \
    250, 200, 8, 20_000, 1.5, 0.2, 1.0, 2.0
failed = []


def shown(what, value, bound=None, unit="s"):
    bad = bound is not None and value > bound
    if bad:
        failed.append(what)
    limit = "" if bound is None else f"  (bound {bound:g} {unit}{': MISSED' if bad else ''})"
    print(f"{what:<62} {value:12.5g} {unit}{limit}", flush=True)


def timed(work):
    start = time.monotonic()
    result = work()
    return time.monotonic() - start, result


def kernel():
    """(objects of fuse_inode, dentries) that the kernel holds; the first is for root to see."""
    inodes = 0
    if os.geteuid() == 0:
        with open("/proc/slabinfo", encoding="ascii") as file:
            inodes = sum(int(line.split()[1]) for line in file if line.startswith("fuse_inode"))
    with open("/proc/sys/fs/dentry-state", encoding="ascii") as file:
        return inodes, int(file.read().split()[0])


def drop_caches():
    if os.geteuid() == 0:
        subprocess.run(["sync"], check=True)
        with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
            file.write("2\n")
        time.sleep(1)


def fill(root, files):
    """1,000 names a directory."""
    for d in range(files // 1000):
        directory = f"{root}/directory-{d:04}"
        os.mkdir(directory)
        handle = os.open(directory, os.O_RDONLY)
        for f in range(1000):
            os.mknod(f"file-number-{f:04}", 0o100644, dir_fd=handle)
        os.close(handle)


def walk(bed, arguments):
    fill(bed.lower, arguments.files)
    bed.mount()
    before = bed.memory_kib()
    for what in ("cold", "warm"):
        seconds, out = timed(lambda: subprocess.run(["find", bed.mnt, "-printf", "%s\\n"], stdout=subprocess.PIPE, check=True))
        shown(f"walk of {out.stdout.count(10)} objects, {what}", seconds)
    inodes = bed.status()["inodes"]
    shown("the server's memory after the walk", bed.memory_kib() / 1024, WALK_MEMORY, "MiB")
    # Where somebody has the kernel drop its caches meanwhile, few are known, and the figure means nothing.
    shown(f"bytes for each of {inodes} known inodes", (bed.memory_kib() - before) * 1024 / max(inodes, 1),
          INODE_BYTES if inodes > arguments.files * 0.9 else None, "B")
    drop_caches()
    harness.wait_until(lambda: bed.status()["inodes"] < inodes // 10 or os.geteuid() != 0, 60, "FORGETs")
    shown(f"memory when the kernel has forgotten ({bed.status()['inodes']} inodes left)", bed.memory_kib() / 1024, None, "MiB")
    bed.umount()


def churn(bed, arguments):
    bed.mount()
    drop_caches()
    start = kernel()
    memory = first = None
    step = max(arguments.churn // 10, 1)
    for done in range(0, arguments.churn, step):
        seconds, _ = timed(lambda: churn_step(bed.mnt, done, step))
        harness.wait_until(lambda: bed.status()["parked"] == 0, 10, "nothing parked")
        now = kernel()
        print(f"# {done + step:>9}: {seconds / step * 1e6:6.1f} us each, server {bed.memory_kib()} KiB, fuse_inode "
              f"{now[0]}, dentries {now[1] - start[1]:+}", flush=True)
        if first is None:
            first, memory = now, bed.memory_kib()
    shown(f"growth of the server from {step} to {arguments.churn} creates and unlinks", (bed.memory_kib() - memory) / 1024,
          CHURN_GROWTH, "MiB")
    shown("growth of fuse_inode meanwhile", kernel()[0] - first[0], KERNEL_GROWTH, "objects")
    time.sleep(2)
    shown("dentries more than before, two seconds later", kernel()[1] - start[1], None, "objects")
    drop_caches()
    shown("dentries more than before, after drop_caches", kernel()[1] - start[1], KERNEL_GROWTH, "objects")
    bed.umount()


def churn_step(root, first, count):
    handle = os.open(root, os.O_RDONLY)
    for number in range(first, first + count):
        name = f"churn-{number}"
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=handle))
        os.unlink(name, dir_fd=handle)
    os.close(handle)


def many_names(bed, arguments):
    bed.mount()
    os.mkdir(bed("d"))
    handle = os.open(bed("d"), os.O_RDONLY)
    tenth = arguments.files // 10

    def all_of(what, each):
        times = [timed(lambda: [each(f"name-{n}") for n in range(p * tenth, (p + 1) * tenth)])[0] / tenth * 1e6
                 for p in range(10)]
        print(f"# {what}: us each, by tenths: {' '.join(f'{t:.1f}' for t in times)}", flush=True)
        shown(f"{what}: the slowest tenth against the median", max(times) / sorted(times)[5], SLOWER, "times")

    all_of("create", lambda n: os.mknod(n, 0o100644, dir_fd=handle))
    for what in ("cold", "warm"):
        seconds, found = timed(lambda: sum(1 for _ in os.scandir(bed("d"))))
        shown(f"ls of {found} names, {what}", seconds)
    all_of("stat", lambda n: os.stat(n, dir_fd=handle))
    shown("the server's memory", bed.memory_kib() / 1024, None, "MiB")
    all_of("unlink", lambda n: os.unlink(n, dir_fd=handle))
    os.close(handle)
    bed.umount()


def mounts(bed, arguments):
    harness.SERVER_SECONDS = 600
    fill(bed.upper, arguments.files)
    shown("the first mount counts the upper", timed(bed.mount)[0])
    bed.umount()
    times = []
    for _ in range(5):
        times.append(timed(bed.mount)[0])
        bed.umount()
    shown("mount of an upper that was closed, worst of 5", max(times), MOUNT_CLEAN)
    times = []
    for number in range(5):
        bed.mount()
        with subprocess.Popen(["sh", "-c", f"cd {bed.mnt}/directory-000{number}; i=0; while :; do echo x > new$i; "
                               "echo y >> file-number-0$i; rm -f file-number-1$i; i=$((i+1)); done"],
                              stderr=subprocess.DEVNULL) as client:
            time.sleep(1)
            bed.kill()
            client.kill()
        times.append(timed(bed.mount)[0])
        print("".join(f"# {line}\n" for line in bed.server_says().split("\n")[-2:]), end="")
        bed.umount()
    shown("mount after kill -9 under load, worst of 5", max(times), MOUNT_KILLED)


def big(bed, arguments):
    """A lookup of a name that nobody asked for before goes to the server each time. What a copy of that size costs a
    neighbour in any case shows beside cp(1) of the file, outside of the mount."""
    block = os.urandom(4 << 20)
    with open(bed.in_lower("big"), "wb") as file:
        for _ in range(arguments.big // len(block)):
            file.write(block)
        os.fsync(file.fileno())
    bed.mount()
    fresh = iter(range(1 << 60))

    def lookups(goes_on):
        times = []
        while goes_on():
            begin = time.perf_counter()
            os.path.lexists(bed(f"absent-{next(fresh)}"))
            times.append((time.perf_counter() - begin) * 1e6)
            time.sleep(0.001)
        return sorted(times)

    def beside(what, *command):
        with subprocess.Popen(command) as copier:
            seconds, times = timed(lambda: lookups(lambda: copier.poll() is None))
        middle, late = times[len(times) // 2], times[len(times) * 99 // 100]
        print(f"# {len(times)} lookups {what}, {seconds:.1f} s: median {middle:.0f} us, of a hundred the slowest "
              f"{late:.0f} us, the slowest of all {times[-1] / 1000:.1f} ms", flush=True)
        return middle, late

    beside("alone", "sleep", "10")
    copy = os.path.join(bed.base, "copy")
    native = beside("beside cp", "cp", "--reflink=never", bed.in_lower("big"), copy)
    os.unlink(copy)
    ours = beside("beside the copy-up", sys.executable, "-c", f"import os; os.pwrite(os.open({bed('big')!r}, os.O_RDWR), b'x', 0)")
    for what, one, other in zip(("the median", "the slowest of a hundred"), ours, native):
        shown(f"{what} lookup beside a copy-up, to that beside cp", one / other, BESIDE_BIG, "times")
    bed.umount()


PARTS = {"walk": walk, "churn": churn, "names": many_names, "mount": mounts, "big": big}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--store", default="/var/tmp")
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--churn", type=int, default=10_000_000)
    parser.add_argument("--big", type=int, default=10 << 30)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART")
    arguments = parser.parse_args()
    for part in arguments.parts or PARTS:
        base = tempfile.mkdtemp(prefix="troot-soak-", dir=arguments.store)
        bed = Bed(base, os.environ["TROOT_BIN"], "root" if os.geteuid() == 0 else "user")
        try:
            write(bed.in_lower("lower"), "x")
            PARTS[part](bed, arguments)
        finally:
            if bed.server:
                bed.kill()
            shutil.rmtree(base, ignore_errors=True)
    print("out of bounds: " + ", ".join(failed) if failed else "all within bounds")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
