#!/usr/bin/env python3
"""Snapshots of a mount in use: a build that goes on meanwhile makes what it makes anywhere; inotify watches, working
directories and locks stay; usage is that of a count; a server that is killed leaves a world that goes on."""
import ctypes
import fcntl
import os
import shutil
import struct
import subprocess
import time

from beside import need
from harness import Failure, case, check, equal, libc, main, names, read, write

trootfs = {"on": ("trootfs",), "hash_lowers": False}
FILES = 60
SNAPSHOTS = 100


def sources(directory):
    os.makedirs(directory)
    for i in range(FILES):
        write(os.path.join(directory, f"f{i}.c"), f'#include "f.h"\nint f{i}(int x) {{ return x * {i} + 1; }}\n')
    write(os.path.join(directory, "f.h"), "".join(f"int f{i}(int);\n" for i in range(FILES)))
    write(os.path.join(directory, "Makefile"), """
OBJECTS = $(patsubst %.c,%.o,$(wildcard *.c))
lib.a: $(OBJECTS)
\trm -f $@ && ar rcD $@ $(OBJECTS)
%.o: %.c f.h
\tcc -O1 -frandom-seed=x -c -o $@.tmp $< && mv $@.tmp $@
""")


def make(directory):
    return subprocess.Popen(["make", "-s", "-j2", "-C", directory], stdin=subprocess.DEVNULL)


@case(f"a build goes on while {SNAPSHOTS} snapshots are taken", lower=lambda bed: sources(bed.in_lower("src")), seconds=300,
      **trootfs)
def build(m):
    need("make", "cc", "ar")
    plain = os.path.join(m.base, "plain")
    shutil.copytree(m.in_lower("src"), plain)
    equal(make(plain).wait(), 0, "make beside the mount")
    builds, pauses = 0, []
    running = make(m("src"))
    while len(pauses) < SNAPSHOTS or running.poll() is None:
        if len(pauses) < SNAPSHOTS:
            pauses.append(m.snapshot())
            time.sleep(0.03)
        if running.poll() is None:
            continue
        equal(running.returncode, 0, "make in the mount")
        builds += 1
        if len(pauses) < SNAPSHOTS:
            for name in names(m("src")):
                if name.endswith((".o", ".a")):
                    os.unlink(m("src", name))
            running = make(m("src"))
    print(f"# {builds} builds, pauses of {sum(pauses) / len(pauses) / 1000:.1f} ms, {max(pauses) / 1000:.1f} at most")
    for name in [f"f{i}.o" for i in range(FILES)] + ["lib.a"]:
        equal(read(m("src", name)), read(os.path.join(plain, name)), name)
    used = m.status()["used_bytes"], m.status()["used_inodes"]
    equal(m.control("check")[1]["differences"], "0", "differences")
    m.umount()
    shutil.rmtree(os.path.join(m.work, "troot", "ledger"))
    m.mount(*m.options)
    equal((m.status()["used_bytes"], m.status()["used_inodes"]), used, "usage, counted again")
    equal(read(m("src/lib.a")), read(os.path.join(plain, "lib.a")), "lib.a after a remount")


def watch(path):
    """An inotify descriptor that hears of writes to a file."""
    descriptor = libc.inotify_init1(os.O_NONBLOCK)
    check(descriptor >= 0, "inotify_init1")
    check(libc.inotify_add_watch(descriptor, os.fsencode(path), ctypes.c_uint32(2)) >= 0, "inotify_add_watch")
    return descriptor


@case("what a program holds stays through a snapshot", **trootfs)
def held(m):
    os.makedirs(m("d/e"))
    write(m("d/file"), "text")
    heard = watch(m("d/file"))
    file = open(m("d/file"), "r+b", buffering=0)
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    here = os.open(m("d/e"), os.O_RDONLY | os.O_DIRECTORY)
    before = os.fstat(file.fileno())
    m.snapshot()
    file.write(b"TEXT")
    equal(struct.unpack("iIII", os.read(heard, 16))[1], 2, "what inotify heard")
    after = os.fstat(file.fileno())
    equal((after.st_ino, after.st_nlink, after.st_mode), (before.st_ino, before.st_nlink, before.st_mode), "the file")
    write(m("d/e/one"), "1")
    os.mkdir("two", dir_fd=here)
    equal(sorted(os.listdir(here)), ["one", "two"], "a directory that is open")
    child = os.fork()
    if child == 0:
        try:
            fcntl.lockf(open(m("d/file"), "r+b"), fcntl.LOCK_EX | fcntl.LOCK_NB)
            os._exit(1)
        except OSError:
            os._exit(0)
    equal(os.waitpid(child, 0)[1], 0, "the lock of another process")
    os.rename(m("d"), m("moved"))
    m.snapshot()
    equal(read(m("moved/file")), b"TEXT", "a file below a directory that was renamed")
    file.close()
    os.close(here)
    os.close(heard)
    m.remount()
    equal(names(m("moved/e")), ["one", "two"], "names after a remount")


@case("a server that is killed after a snapshot is recovered from", **trootfs)
def killed(m):
    write(m("kept"), "x" * 10_000)
    m.snapshot()
    write(m("kept"), "y" * 5_000)
    write(m("more"), "z" * 20_000)
    used = m.status()["used_bytes"], m.status()["used_inodes"]
    m.kill()
    m.mount(*m.options)
    equal((m.status()["used_bytes"], m.status()["used_inodes"]), used, "usage after a kill")
    equal((read(m("kept")), read(m("more"))), (b"y" * 5_000, b"z" * 20_000), "files")
    equal(m.control("check objects")[1]["differences"], "0", "differences")


@case("a limit holds over snapshots", options=("size=1M",), **trootfs)
def limited(m):
    for i in range(8):
        write(m(f"f{i}"), "x" * 100_000)
        m.snapshot()
    try:
        for i in range(8):
            write(m(f"f{i}"), "y" * 100_000)
        raise Failure("two copies of all files fit into the limit")
    except OSError as error:
        equal(error.errno, 122, "the errno")
    check(m.status()["used_bytes"] <= 1 << 20, "usage passed the limit")


if __name__ == "__main__":
    main()
