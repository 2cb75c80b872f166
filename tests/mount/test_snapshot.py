#!/usr/bin/env python3
"""Snapshots of a mount in use: a build that goes on meanwhile makes what it makes anywhere; inotify watches, working
directories and locks stay; usage is that of a count; a server that is killed leaves a world that goes on."""
import ctypes
import errno
import fcntl
import os
import random
import shutil
import stat
import struct
import subprocess
import threading
import time

from beside import need
from harness import Failure, case, check, equal, libc, main, names, read, write

trootfs = {"on": ("trootfs",), "hash_lowers": False}
FILES = 60
SNAPSHOTS = 100
KILLS = int(os.environ.get("TROOT_SNAPSHOT_KILLS", 5))


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
    equal(m.control("check")[1]["differences"], "0", "differences")
    m.check_counted_anew()
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


class Twice:
    """Calls in the mount and on a plain directory. What a kill cut off may be done or not: those names go, then."""

    def __init__(self, m, seed):
        self.m, self.random, self.plain = m, random.Random(seed), os.path.join(m.base, "plain")
        os.mkdir(self.plain)

    def some(self):
        name = f"n{self.random.randrange(14)}"
        inside = os.path.isdir(os.path.join(self.plain, name)) and self.random.random() < 0.6
        return f"{name}/x{self.random.randrange(4)}" if inside else name

    def run(self):
        """Until the mount is gone. The names that the last call was about."""
        while True:
            one, other = self.some(), self.some()
            # Several names of a symlink part at a snapshot.
            links = () if os.path.islink(os.path.join(self.plain, one)) else ("link",)
            do = self.random.choice((*links, "write", "write", "unlink", "rename", "chmod", "mkdir", "rmdir", "xattr", "symlink"))
            data = self.random.randbytes(self.random.choice((10, 5000, 20000)))
            answers = []
            for top in (self.m.mnt, self.plain):
                try:
                    self.call(do, os.path.join(top, one), os.path.join(top, other), data)
                    answers.append(0)
                except OSError as error:
                    if error.errno in (errno.ENOTCONN, errno.ECONNABORTED, errno.EIO):
                        return one, other
                    answers.append(error.errno)
            equal(answers[0], answers[1], f"{do} {one} {other}")

    @staticmethod
    def call(do, one, other, data):
        if do == "write":
            with open(one, "r+b" if os.path.lexists(one) else "wb", buffering=0) as f:
                f.write(data)
        elif do == "xattr":
            os.setxattr(one, "user.a", data[:3000], follow_symlinks=False)
        elif do == "chmod":
            os.chmod(one, 0o700 | len(data) % 64)
        elif do == "symlink":
            os.symlink(data[:9].hex(), one)
        elif do in ("rename", "link"):
            getattr(os, do)(one, other, **({"follow_symlinks": False} if do == "link" else {}))
        else:
            getattr(os, do)(one)

    def compare(self, unsure):
        same = {os.lstat(p).st_ino for name in unsure if os.path.lexists(p := os.path.join(self.plain, name))}
        tops = {name.split("/")[0] for name in unsure}
        for top, directories, files in os.walk(self.plain):
            for name in directories + files:
                path = os.path.relpath(os.path.join(top, name), self.plain)
                if path.split("/")[0] in tops or os.lstat(os.path.join(top, name)).st_ino in same:
                    tops.add(path.split("/")[0])
        for top in tops:
            for root in (self.m.mnt, self.plain):
                path = os.path.join(root, top)
                shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.path.lexists(path) and os.unlink(path)
        equal(self.print_of(self.m.mnt), self.print_of(self.plain), "the tree after a kill")

    @staticmethod
    def print_of(root):
        found = []
        for top, directories, files in os.walk(root):
            for name in directories + files:
                path = os.path.join(top, name)
                status = os.lstat(path)
                what = (os.path.relpath(path, root), status.st_mode)
                if stat.S_ISLNK(status.st_mode):
                    what += (os.readlink(path),)
                elif stat.S_ISREG(status.st_mode):
                    what += (status.st_nlink, read(path), [os.getxattr(path, n) for n in sorted(os.listxattr(path)) if n == "user.a"])
                found.append(what)
        return sorted(found)


def snapshots_until_gone(m):
    while True:
        layer = os.path.join(m.base, f"sealed{len(m.sealed)}")
        os.makedirs(layer, 0o700, exist_ok=True)
        try:
            m.control(f"snapshot dir={layer}")
        except (Failure, OSError, IndexError, KeyError, ValueError):
            return
        m.sealed.insert(0, layer)
        time.sleep(0.05)


def take_up(m):
    """Mounts what a kill left: with the layer that was under way, if it was taken."""
    layer = os.path.join(m.base, f"sealed{len(m.sealed)}")
    record = os.path.join(m.work, "troot", "sealing")
    tree = os.path.join(layer, "tree")
    if os.path.exists(record):
        inode = int(read(record).decode().split("\n")[1].split("-")[0], 16)
        taken = os.stat(m.upper).st_ino != inode
    else:
        taken = os.path.exists(tree)
    if taken:
        m.sealed.insert(0, layer)
    m.mount(*m.options)


@case(f"killed {KILLS} times under load while snapshots are taken", seconds=60 + 10 * KILLS, **trootfs)
def killed_under_load(m):
    seed = int(os.environ.get("TROOT_MOUNT_SEED", os.getpid()))
    print(f"# TROOT_MOUNT_SEED={seed}", flush=True)
    os.umask(0o022)
    both = Twice(m, seed)
    for _ in range(KILLS):
        snapshots = threading.Thread(target=snapshots_until_gone, args=(m,))
        killer = threading.Timer(random.uniform(0.05, 0.9), m.server.kill)
        killer.start()
        snapshots.start()
        unsure = both.run()
        snapshots.join()
        m.kill()
        take_up(m)
        both.compare(unsure)
        m.check_counted_anew()


if __name__ == "__main__":
    main()
