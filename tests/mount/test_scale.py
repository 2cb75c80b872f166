#!/usr/bin/env python3
"""Large counts: a walk of 200,000 files, 30,000 files unlinked while open, bounds on the server's memory
and descriptors; 500 lower layers."""
import os
import resource
import time

from harness import case, check, equal, in_process, main, names, pattern, read, run, wait_until, write
from machine import Patience

trootfs = {"on": ("trootfs",)}
MEMORY_KIB = 100 * 1024
DESCRIPTORS = 1000


def many_files(bed):
    for d in range(200):
        directory = bed.in_lower(f"directory-{d:03}")
        os.mkdir(directory)
        handle = os.open(directory, os.O_RDONLY)
        for f in range(1000):
            os.mknod(f"file-number-{f:04}", 0o100644, dir_fd=handle)
        os.close(handle)


def instrumented(m):
    """Sanitizers multiply memory; bounds on it mean nothing then."""
    return b"libasan" in open(f"/proc/{m.server.pid}/maps", "rb").read() or b"libtsan" in open(
        f"/proc/{m.server.pid}/maps", "rb").read()


@case("200,000 files walk within 100 MB and 1,000 descriptors", modes=("user",), store="memory", lower=many_files,
      options=["size=1G"], hash_lowers=False, seconds=300, on=("trootfs", "fuse-overlayfs"))
def walk(m):
    out = run("find", m.mnt, "-printf", "%s %n %U\\n", seconds=200).stdout
    equal(out.count("\n"), 200_201, "objects found")
    if m.server:
        print(f"# walk: {m.memory_kib()} KiB, {m.descriptors()} descriptors", flush=True)
        check(instrumented(m) or m.memory_kib() <= MEMORY_KIB, f"{m.memory_kib()} KiB of memory after the walk")
        check(m.descriptors() <= DESCRIPTORS, f"{m.descriptors()} descriptors after the walk")
    out = run("find", m.mnt, "-printf", "%s %n %U\\n", seconds=200).stdout
    equal(out.count("\n"), 200_201, "objects found again")


CLIENTS, EACH = 4, 7500


@case("30,000 files unlinked while open by four processes stay readable and writable", modes=("user",), store="memory",
      options=["size=1G"], seconds=300, on=("trootfs", "native"))
def unlinked(m):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < EACH + 100:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    else:
        resource.setrlimit(resource.RLIMIT_NOFILE, (EACH + 100, hard))
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    clients = max(CLIENTS, -(-CLIENTS * EACH // (limit - 100)))
    each = CLIENTS * EACH // clients

    def client(number):
        def work():
            os.mkdir(m(f"c{number}"))
            held = []
            for i in range(each):
                path = m(f"c{number}/f{i}")
                held.append(os.open(path, os.O_CREAT | os.O_RDWR, 0o644))
                os.write(held[-1], f"{number}:{i}".encode())
                os.unlink(path)
            write(f"{m.base}/ready{number}")
            while not os.path.exists(m.base + "/go"):
                time.sleep(0.05)
            for i, descriptor in enumerate(held):
                equal(os.pread(descriptor, 100, 0), f"{number}:{i}".encode(), f"content of file {i}")
                os.pwrite(descriptor, b"more", 100)
            for i, descriptor in enumerate(held):
                equal(os.pread(descriptor, 10, 100), b"more", f"what was written to file {i}")
                equal(os.fstat(descriptor).st_size, 104, f"size of file {i}")
                os.close(descriptor)
        return work

    joins = [in_process(client(n)) for n in range(clients)]
    wait_until(lambda: all(os.path.exists(f"{m.base}/ready{n}") for n in range(clients)), 250, "all files unlinked")
    if m.server:
        print(f"# unlinked: {m.memory_kib()} KiB, {m.descriptors()} descriptors", flush=True)
        equal(m.status()["parked"], clients * each, "parked files")
        check(m.descriptors() <= DESCRIPTORS, f"{m.descriptors()} descriptors")
        check(instrumented(m) or m.memory_kib() <= MEMORY_KIB, f"{m.memory_kib()} KiB of memory")
    write(m.base + "/go")
    for join in joins:
        join()
    equal(names(m("")), [f"c{n}" for n in range(clients)], "names")
    if m.server:
        wait_until(lambda: m.status()["parked"] == 0, 5, "nothing parked after the last close")


@case("50,000 creates and unlinks leave nothing behind in the server", modes=("user",), store="memory",
      options=["size=1G"], seconds=300, **trootfs)
def churn(m):
    write(m("warm"), pattern(100))
    for i in range(5000):
        os.close(os.open(m("x"), os.O_CREAT | os.O_WRONLY, 0o644))
        os.unlink(m("x"))
    before = m.memory_kib()
    for i in range(45_000):
        os.close(os.open(m(f"churn-{i}"), os.O_CREAT | os.O_WRONLY, 0o644))
        os.unlink(m(f"churn-{i}"))
    wait_until(lambda: m.status()["parked"] == 0, 5, "nothing parked")
    grown = m.memory_kib() - before
    check(instrumented(m) or grown < 8192, f"the server grew by {grown} KiB over 45,000 creates and unlinks")


MOST_GONE = 9000


def dentries():
    with open("/proc/sys/fs/dentry-state", encoding="ascii") as file:
        return int(file.read().split()[0])


@case("20,000 names that came and went do not stay in the kernel", modes=("user",), store="memory", options=["size=1G"],
      **trootfs)
def removed_names(m):
    def attempt():
        os.mkdir(m("d"))
        before = dentries()
        for i in range(20_000):
            os.close(os.open(m(f"d/churn-{i}"), os.O_CREAT | os.O_WRONLY, 0o644))
            os.unlink(m(f"d/churn-{i}"))
        patience = Patience(10)
        while dentries() - before > MOST_GONE and not patience.over():
            time.sleep(0.2)
        grown = dentries() - before
        os.rmdir(m("d"))
        return grown
    # Others may fill the same cache meanwhile.
    grown = next((g for g in (attempt() for _ in range(3)) if g <= MOST_GONE), None)
    check(grown is not None, f"more than {MOST_GONE} dentries more than before, three times")


@case("names that are back keep what the kernel knows of them, and what is mounted there", modes=("root",), store="memory",
      options=["size=1G"], **trootfs)
def names_back(m):
    os.mkdir(m("point"))
    os.rmdir(m("point"))
    write(m("file"))
    os.unlink(m("file"))
    os.mkdir(m("point"))
    write(m("file"), "again")
    run("mount", "-t", "tmpfs", "none", m("point"))
    os.stat(m("file"))
    os.mkdir(m("d"))
    for i in range(12_000):
        os.mknod(m(f"d/{i}"))
        os.unlink(m(f"d/{i}"))
    time.sleep(2)
    os.mknod(m("d/last"))
    os.unlink(m("d/last"))
    time.sleep(0.5)
    before = [line for line in m.control("requests") if "lookup" in line]
    equal(read(m("file")), b"again", "the file that was made again")
    check(os.path.ismount(m("point")), "what was mounted on a name that had been removed before")
    equal([line for line in m.control("requests") if "lookup" in line], before, "lookups of names that are known")
    run("umount", m("point"))


LOWERS = 500


def a_stack(bed):
    """Each layer has a name of its own, one that all have, and hides what the one below added to a directory."""
    for number, lower in enumerate(bed.lowers):
        write(f"{lower}/own-{number}", f"{number}")
        write(f"{lower}/all", f"{number}")
        os.makedirs(f"{lower}/shared/deep")
        write(f"{lower}/shared/deep/f{number}", f"{number}")
        if number % 100 == 50:
            os.mknod(f"{lower}/own-{number + 1}", 0o020000)


@case("500 lowers merge, copy up, remount; 501 are refused", lower=a_stack, lowers=LOWERS, **trootfs)
def many_lowers(m):
    def look(what):
        hidden = {n + 1 for n in range(50, LOWERS, 100)}
        equal(set(names(m(""))) - {"new"}, {f"own-{n}" for n in range(LOWERS) if n not in hidden} | {"all", "shared"}, what)
        equal(len(names(m("shared/deep"))), LOWERS, what + ": names that come from every layer")
        for number in (0, 1, 250, 499):
            equal(read(m(f"own-{number}"))[:3].strip(), b"%d" % number, what)

    look("names of 500 layers")
    equal(read(m("all")), b"0", "the topmost layer's")
    equal(read(m("shared/deep/f499")), b"499", "the lowest layer's")
    write(m("own-499"), "499")
    os.unlink(m("shared/deep/f250"))
    write(m("shared/deep/f250"), "again")
    os.rename(m("shared"), m("new"))
    equal(len(names(m("new/deep"))), LOWERS, "names of the directory after its rename")
    os.rename(m("new"), m("shared"))
    m.kill()
    m.mount(*m.options)
    look("after kill -9")
    equal(read(m("shared/deep/f250")), b"again", "what was written")
    m.umount()
    m.lowers.append(m.lowers[0])
    done = run(*m.trootfs_command(), check_status=False)
    m.lowers.pop()
    check(done.returncode != 0 and "501 layers; at most 500" in done.stderr, f"501 lowers: {done.returncode}, {done.stderr!r}")


if __name__ == "__main__":
    main()
