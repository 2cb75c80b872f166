#!/usr/bin/env python3
"""The server under limits of its process, and its end with its own mount: an errno for who asked, never its death."""
import errno
import os
import resource
import subprocess

from harness import case, check, equal, main, pattern, read, refused, run, wait_until, write
from machine import Child
from mount_table import mounted

MIB = 1 << 20
trootfs = {"on": ("trootfs",), "automount": False}


def limited(m, which, value, *options):
    """Mounts with the server under a limit, soft and hard; ours comes back."""
    m.trootfs_command = lambda *o: ["prlimit", f"--{which}={value}:{value}", "--", *type(m).trootfs_command(m, *o)]
    m.mount(*options)


def many(m, count=400):
    """Directories with a file each, kept open, so that caches and readers want many descriptors."""
    for i in range(count):
        os.mkdir(m(f"d{i}"))
        write(m(f"d{i}", "f"), pattern(5000, i))
    for i in range(count):
        equal(read(m(f"d{i}", "f")), pattern(5000, i), "what was written")


@case("a write past the limit of file sizes is EFBIG, and the server lives", **trootfs)
def fsize(m):
    limited(m, "fsize", 20 * MIB)
    descriptor = os.open(m("f"), os.O_CREAT | os.O_WRONLY, 0o644)
    os.pwrite(descriptor, b"x" * MIB, 0)
    refused(errno.EFBIG, os.pwrite, descriptor, b"y", 30 * MIB)
    refused(errno.EFBIG, os.ftruncate, descriptor, 30 * MIB)
    refused(errno.EFBIG, os.posix_fallocate, descriptor, 0, 30 * MIB)
    os.close(descriptor)
    equal(os.stat(m("f")).st_size, MIB, "the size")
    write(m("g"), b"it lives")
    run(os.path.join(m.binaries, "troot"), "quota", "check", m.mnt)


for descriptors in (64, 256, 1024):
    @case(f"{descriptors} descriptors are enough for many files", **trootfs)
    def nofile(m, descriptors=descriptors):
        limited(m, "nofile", descriptors)
        many(m)


@case("limits that nothing can be served under are refused by a line that names them", **trootfs)
def refusals(m):
    for which, value, name in (("nofile", 32, "ulimit -n"), ("fsize", MIB, "ulimit -f")):
        done = subprocess.run(["prlimit", f"--{which}={value}:{value}", "--", *m.trootfs_command()],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)
        equal(done.returncode, 1, f"the exit code under {which}")
        check(name in done.stderr and done.stderr.count("\n") == 1, f"what it says: {done.stderr}")


def served_or_refused(m, which, value):
    """A server under a limit: either it says why it does not serve, or who asks gets an answer, and it lives. True:
    it served."""
    write(m.log, "")
    with open(m.log, "ab") as log:
        server = Child(["prlimit", f"--{which}={value}:{value}", "--", *m.trootfs_command()], stdin=subprocess.DEVNULL,
                       stdout=log, stderr=log, cwd="/")
    wait_until(lambda: mounted(m.mnt) or server.poll() is not None, 20, f"{which}={value}: neither served nor refused")
    # It may find out after its mount stands that it cannot serve.
    answers = (errno.ENOMEM, errno.EIO, errno.EAGAIN, errno.ENOSPC, errno.ENOTCONN, errno.ECONNABORTED)
    for i in range(20):
        for call in (lambda: read(m(f"f{i}")), lambda: write(m(f"g{i}"), pattern(9000, i)), lambda: os.listdir(m(""))):
            try:
                if mounted(m.mnt):
                    call()
            except OSError as error:
                check(error.errno in answers, f"{which}={value}: {error}")
    if mounted(m.mnt):
        run(*(["umount"] if os.getuid() == 0 else ["fusermount3", "-u"]), m.mnt, check_status=False)
    server.wait(20)
    said = m.server_says()
    check("terminate called" not in said and server.returncode in (0, 1), f"{which}={value}: {server.returncode}: {said}")
    check(server.returncode == 0 or said, f"{which}={value}: refused without a word")
    return server.returncode == 0


def some_files(bed):
    for i in range(20):
        write(bed.in_lower(f"f{i}"), pattern(5000, i))


@case("too little address space is a refusal, or an errno for who asked", lower=some_files, **trootfs)
def address_space(m):
    served = [value for value in range(60, 420, 20) if served_or_refused(m, "as", value * 1_000_000)]
    check(served, "no server under 400 MB of address space")


@case("too few processes are a refusal, or an errno for who asked", lower=some_files, modes=("user",),
      **trootfs)
def processes(m):
    for value in (1, 2, 3, 5, 8, 13, 21, 200):
        served_or_refused(m, "nproc", value)


@case("the server ends with its own mount, though a foreign namespace has a copy", modes=("root",), **trootfs)
def pinned(m):
    m.mount()
    write(m("f"), b"kept")
    other = subprocess.Popen(["unshare", "-m", "--propagation", "private", "sh", "-c", "echo; exec sleep 60"],
                             stdout=subprocess.PIPE, cwd="/")
    try:
        other.stdout.readline()
        run("umount", m.mnt)
        wait_until(lambda: m.server.poll() is not None, 20, "the end of the server")
        equal(m.server.returncode, 0, "its exit code")
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    equal(read(m.in_upper("f")), b"kept", "what was written")


@case("what was detached serves who uses it still, and ends with him", modes=("root",), **trootfs)
def detached(m):
    m.mount()
    descriptor = os.open(m("f"), os.O_CREAT | os.O_RDWR, 0o644)
    run("umount", "-l", m.mnt)
    for i in range(5):
        os.pwrite(descriptor, b"still", 0)
        check(m.server.poll() is None, "the server ended under a user")
        try:
            m.server.wait(0.6)
        except subprocess.TimeoutExpired:
            pass
    os.close(descriptor)
    wait_until(lambda: m.server.poll() is not None, 20, "the end of the server")


@case("reading with noatime leaves the access time alone, without it the time moves", **trootfs)
def noatime(m):
    m.mount()
    write(m("f"), b"read me")
    os.utime(m("f"), (1000, 2000))
    for option, moves in (("noatime", False), ("atime", True)):
        m.remount(option)
        equal(read(m("f")), b"read me", "the file")
        equal(os.stat(m.in_upper("f")).st_atime > 1000, moves, f"whether the access time moved with {option}")


if __name__ == "__main__":
    main()
