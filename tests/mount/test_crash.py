#!/usr/bin/env python3
"""Kill -9 of the server under load, then a remount: no half-made object, an empty work/, a ledger that
equals what lies in the upper, limits as before."""
import errno
import hashlib
import os
import random
import subprocess
import tarfile
import time

from harness import PAGE, Failure, case, check, equal, main, names, pattern, read, run, write
from machine import Child

trootfs = {"on": ("trootfs",)}
ROUNDS = 6


def source(bed):
    """A tar file outside the layers, and what is in it: [(name, content)] in its order."""
    members = []
    generator = random.Random(5)
    with tarfile.open(bed.base + "/source.tar", "w") as archive:
        for i in range(1500):
            directory = f"t/d{i // 100}"
            size = generator.choice([0, 10, 3000, 4096, 9000, 20_000, 70_000])
            path = write(bed.base + "/member", pattern(size, i))
            archive.add(path, f"{directory}/f{i}")
            members.append((f"{directory}/f{i}", hashlib.sha256(pattern(size, i)).hexdigest()))
    for i in range(400):
        write(bed.in_lower(f"low{i}"), pattern(50_000, i))
    return members


MEMBERS = []


def kill_during(m, command, reached):
    """Starts the command on the mount, kills the server when it has come so far; the command then fails or has ended."""
    client = Child(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                   cwd="/")
    while not reached() and client.poll() is None:
        time.sleep(0.001)
    m.kill()
    try:
        client.wait(30)
    except subprocess.TimeoutExpired:
        client.kill()
        raise Failure("the client hangs after the server's death") from None


def after_remount(m, limit):
    m.check_work_clean()
    m.check_recount()
    equal(m.status()["limit_bytes"], limit, "the limit")


@case("killed during untar: every file before the last is whole", lower=lambda bed: MEMBERS.extend(source(bed)),
      options=["size=200M"], seconds=240, **trootfs)
def untar(m):
    generator = random.Random(os.getpid())
    untar_command = ["tar", "-C", m.mnt, "--no-same-owner", "-xf", m.base + "/source.tar"]
    seen_partial_trees = 0
    for _ in range(ROUNDS):
        last = m(MEMBERS[int(generator.uniform(0.1, 0.9) * len(MEMBERS))][0])
        kill_during(m, untar_command, lambda: os.path.exists(last))
        m.mount(*m.options)
        there = [os.path.exists(m(name)) for name, _ in MEMBERS]
        count = there.index(False) if False in there else len(there)
        equal(there[count:].count(True), 0, "files after the first that is missing")
        seen_partial_trees += 0 < count < len(there)
        for name, wanted in MEMBERS[:max(0, count - 1)]:
            equal(hashlib.sha256(read(m(name))).hexdigest(), wanted, f"{name}, of {count} files")
        after_remount(m, 200 << 20)
        run("rm", "-rf", m("t"))
        m.check_recount()
    check(seen_partial_trees > 0, "no kill fell into an untar")


@case("killed during copy-ups: each file is the old one or the new one", lower=lambda bed: MEMBERS.extend(source(bed)),
      options=["size=200M"], seconds=240, **trootfs)
def copy_ups(m):
    generator = random.Random(os.getpid())
    in_order = sorted(names(m("")))
    for round_ in range(ROUNDS):
        last = m(in_order[int(generator.uniform(0.02, 0.98) * len(in_order))])
        size = os.stat(last).st_size
        kill_during(m, ["sh", "-c", f'cd {m.mnt} && for f in low*; do printf {round_} >> "$f"; done'],
                    lambda: os.stat(last).st_size > size)
        m.mount(*m.options)
        for i in range(400):
            content = read(m(f"low{i}"))
            equal(content[:50_000], pattern(50_000, i), f"the old content of low{i}")
            check(all(c in b"0123456789" for c in content[50_000:]), f"low{i} ends in {content[50_000:][:20]!r}")
        after_remount(m, 200 << 20)


@case("killed during renames and unlinks: each name is there or not, nothing twice", options=["size=200M"], seconds=240,
      **trootfs)
def renames(m):
    generator = random.Random(os.getpid())
    for _ in range(ROUNDS):
        for i in range(200):
            write(m(f"a{i}"), pattern(PAGE * (i % 5), i))
        os.makedirs(m("d"), exist_ok=True)
        last = m(sorted(f"a{i}" for i in range(200))[int(generator.uniform(0.02, 0.98) * 200)])
        kill_during(m, ["sh", "-c", f'cd {m.mnt} && for f in a*; do mv "$f" "d/$f"; ln "d/$f" "d/l$f"; rm "d/$f"; done'],
                    lambda: not os.path.exists(last))
        m.mount(*m.options)
        for i in range(200):
            found = [n for n in (f"a{i}", f"d/a{i}", f"d/la{i}") if os.path.lexists(m(n))]
            check(found in ([f"a{i}"], [f"d/a{i}"], [f"d/a{i}", f"d/la{i}"], [f"d/la{i}"]), f"file {i}: {found}")
            equal(read(m(found[0])), pattern(PAGE * (i % 5), i), found[0])
        after_remount(m, 200 << 20)
        run("rm", "-rf", m("d"), *[m(n) for n in names(m("")) if n != "d"])


@case("killed with unlinked files open: their space comes back", options=["size=64M"], **trootfs)
def parked(m):
    start = m.used()
    held = []
    for i in range(100):
        held.append(os.open(m(f"f{i}"), os.O_CREAT | os.O_RDWR, 0o644))
        os.write(held[-1], pattern(5 * PAGE))
        os.unlink(m(f"f{i}"))
    m.kill()
    for descriptor in held:
        try:
            os.close(descriptor)
        except OSError as error:
            # The second where the kernel was still taking the mount down (FUSE over io_uring).
            check(error.errno in (errno.ENOTCONN, errno.ECONNABORTED), f"close on the dead mount: {error}")
    m.mount(*m.options)
    equal(names(m("")), [], "names")
    equal(m.used(), start, "used")
    after_remount(m, 64 << 20)


@case("killed twice in a row, and killed when idle", options=["size=64M"], **trootfs)
def twice(m):
    write(m("f"), pattern(100_000))
    m.kill()
    m.mount(*m.options)
    m.kill()
    m.mount(*m.options)
    equal(read(m("f")), pattern(100_000), "content")
    after_remount(m, 64 << 20)


if __name__ == "__main__":
    main()
