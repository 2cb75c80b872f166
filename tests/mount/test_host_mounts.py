#!/usr/bin/env python3
"""Mounts of the host below a lower: seen as they are, also when nobody has looked at them before; free to go when nobody uses
them; slow or dead ones in nobody's way but of those who ask."""
import os
import signal
import subprocess
import time

from harness import Failure, case, check, detach, equal, in_process, main, mounted, read, run, wait_until, write
from machine import Child, Patience

trootfs = {"on": ("trootfs",), "hash_lowers": False}


class Remote:
    """A FUSE mount below the lower: a trootfs of its own, which can be stopped and killed."""

    def __init__(self, m, name="remote", mode=0o751):
        self.source, self.point = f"{m.base}/{name}-source", m.in_lower(name)
        os.makedirs(self.source, exist_ok=True)
        write(self.source + "/f", "hi")
        os.chmod(self.source, mode)
        os.makedirs(self.point, exist_ok=True)
        self.server = subprocess.Popen([m.binaries + "/trootfs", "-f", "-o", f"lowerdir={self.source}", self.point],
                                       cwd="/", stdin=subprocess.DEVNULL)
        wait_until(lambda: mounted(self.point), 20, "the other mount")

    def end(self):
        self.server.send_signal(signal.SIGCONT)
        self.server.kill()
        self.server.wait()
        detach(self.point)


@case("the root of a FUSE mount that nobody has looked at is shown as it is", **trootfs)
def unseen(m):
    for name, look in (("a", lambda p: os.stat(p)), ("b", lambda p: run("ls", "-l", os.path.dirname(p))),
                       ("c", lambda p: os.listdir(p)), ("d", lambda p: run("find", os.path.dirname(p), "-ls"))):
        remote = Remote(m, name)
        if name != "a":
            m.remount()
        else:
            m.remount()
        look(m(name))
        got, wanted = os.stat(m(name)), os.stat(remote.source)
        equal((oct(got.st_mode), got.st_mtime_ns), (oct(wanted.st_mode), wanted.st_mtime_ns), f"attributes of {name}")
        equal(read(m(name, "f")), b"hi", f"a file in {name}")
        m.umount()
        remote.end()
        m.mount(*m.options)


@case("a FUSE mount as the layer itself", automount=False, **trootfs)
def as_layer(m):
    remote = Remote(m)
    m.lowers = [remote.point]
    m.mount()
    m.umount()
    m.lowers = [remote.point]
    os.rename(m.upper, m.upper + ".used")
    os.mkdir(m.upper)
    m.mount()
    equal(read(m("f")), b"hi", "a file")
    m.umount()
    remote.end()


@case("a FUSE mount that does not answer holds up only those who ask it", **trootfs)
def hung(m):
    remote = Remote(m)
    os.mkdir(m.in_lower("dir"))
    write(m.in_lower("dir/beside"), "beside")
    m.remount()
    os.kill(remote.server.pid, signal.SIGSTOP)
    askers = []
    try:
        for _ in range(6):
            askers.append(Child(["stat", m("remote")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        time.sleep(0.3)
        # The kernel lets nobody make names in the directory in which somebody waits for one; elsewhere all goes on.
        for number in range(50):
            write(m(f"dir/new{number}"), "new")
            equal(read(m("dir/beside")), b"beside", "a file beside it")
            os.unlink(m(f"dir/new{number}"))
        check("remote" in os.listdir(m.mnt), "its name is listed")
    finally:
        os.kill(remote.server.pid, signal.SIGCONT)
        for each in askers:
            equal(each.wait(20), 0, "the status of who asked")
        m.umount()
        remote.end()


@case("two mounts, each of which shows the other, look at each other", modes=("root",), **trootfs)
def circle(m):
    other = m.in_lower("other")
    os.mkdir(other)
    m.remount()
    server = subprocess.Popen([m.binaries + "/trootfs", "-f", "-o", f"allow_other,lowerdir={m.base}", other], cwd="/",
                              stdin=subprocess.DEVNULL)
    try:
        wait_until(lambda: mounted(other), 20, "the other mount")
        m.remount()

        def walk():
            return [os.stat(m("other")).st_mode, len(os.listdir(m("other"))), os.stat(other + "/mnt").st_mode]
        joins = [in_process(walk) for _ in range(4)]
        for join in joins:
            equal(join()[0] & 0o777, os.stat(m.base).st_mode & 0o777, "the mode of the other")
    finally:
        server.kill()
        server.wait()
        detach(other)


@case("a mount of the host can go a moment after the last use of what it shows", modes=("root",), **trootfs)
def not_busy(m):
    point = m.in_lower("stick")
    os.mkdir(point)
    for use in (lambda p: os.listdir(p), lambda p: read(p + "/f"), lambda p: read(p + "/d/g"),
                lambda p: os.stat(p + "/d/g"), lambda p: os.chmod(p + "/d/g", 0o600),
                lambda p: write(p + "/d/g", "new"), lambda p: run("find", p, "-ls")):
        run("mount", "-t", "tmpfs", "tmpfs", point)
        os.mkdir(point + "/d")
        write(point + "/f", "f")
        write(point + "/d/g", "g")
        m.remount()
        use(m("stick"))
        patience = Patience(2)
        while run("umount", point, check_status=False).returncode != 0:
            if patience.over():
                raise Failure("busy for more than two seconds of an idle machine")
            time.sleep(0.05)


@case("a server that nobody asks is not woken, also after it had such a mount in use", modes=("root",), **trootfs)
def not_woken(m):
    point = m.in_lower("stick")
    os.mkdir(point)
    run("mount", "-t", "tmpfs", "tmpfs", point)
    write(point + "/f", "f")
    m.remount()
    read(m("stick/f"))
    time.sleep(1.5)

    def switches():
        total = 0
        for task in os.listdir(f"/proc/{m.server.pid}/task"):
            with open(f"/proc/{m.server.pid}/task/{task}/status", encoding="ascii") as file:
                total += sum(int(line.split()[1]) for line in file if line.startswith("voluntary"))
        return total
    before = switches()
    time.sleep(2)
    check(switches() - before <= 20, f"{switches() - before} wake-ups in two idle seconds")
    m.umount()
    run("umount", point)


if __name__ == "__main__":
    main()
