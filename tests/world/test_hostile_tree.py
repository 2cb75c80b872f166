#!/usr/bin/env python3
"""What a program inside, or whoever made a base, leaves in the tree for the next start of a world: it leads nowhere on
the host, and it keeps nobody out."""
import os
import shutil
import stat
import subprocess

from bed import case, check, equal, host_state, main

ALL = ("one", "range", "root")
#: Where a start mounts something, or keeps what it mounts.
PRIVATE = ("/.troot", "/.troot/tmp", "/.troot/shm")
PLACES = PRIVATE + ("/tmp", "/run", "/sys", "/dev", "/proc")

DETACH = r'''
import ctypes, os, sys, time
umount = lambda p: ctypes.CDLL(None).umount2(p.encode(), 2)
'''
REPLACE = DETACH + r'''
place, what, target = sys.argv[1:]
for p in ("/tmp", "/dev/shm") if place.startswith("/.troot") else ("/dev/mqueue", "/dev/shm", "/dev/pts", place): umount(p)
while umount(place) == 0: pass
os.rename(place, "/was")
if what == "link": os.symlink(target, place)
elif what == "fifo": os.mkfifo(place)
elif what == "file": open(place, "w").close()
'''
RESTORE = DETACH + r'''
place = sys.argv[1]
while umount(place) == 0: pass
if os.path.isdir(place) and not os.path.islink(place): os.rename(place, f"/made{time.time_ns()}")
else: os.unlink(place)
os.rename("/was", place)
'''
#: In whatever a start finds to write to.
WRITE = ("for d in /tmp /dev/shm /run /dev /sys /proc /.troot; do echo inside > $d/f; echo inside > $d/made; done "
         "2>/dev/null; echo entered")


def python(u, script, *words):
    u.troot("exec", "w", "--", "/usr/bin/python3", "-c", script, *words)


def host_directory(u, name):
    """A directory of the host's with what a world would write over."""
    path = f"{u.home}/{name}"
    for below in ("", "/tmp", "/shm", "/lock", "/pts", "/mqueue", "/.troot/bin"):
        os.makedirs(path + below, exist_ok=True)
        with open(f"{path}{below}/f", "w", encoding="utf-8") as file:
            file.write("host\n")
    for directory, _, files in os.walk(path):
        for one in [directory] + [f"{directory}/{f}" for f in files]:
            os.chmod(one, 0o777)
            os.chown(one, u.uid, u.gid)
    return path


def tree(path):
    """All that is below, with modes: a directory's, too."""
    return host_state(path), {d: (stat.S_IMODE(os.lstat(d).st_mode), sorted(names)) for d, names, _ in os.walk(path)}


@case("a symlink in the place of what a start mounts, or mounts at, leads nowhere on the host", ids=ALL)
def links(u):
    host = host_directory(u, "secret")
    before = tree(host)
    u.world()
    for place in PLACES:
        python(u, REPLACE, place, "link", host)
        said = u.run("troot", "exec", "w", "--", "sh", "-c", WRITE)
        equal(said[:2], (0, "entered\n"), f"{place}: {said[2]}")
        check(f"world 'w': " in said[2] and place in said[2], f"{place}: nothing is said of it: {said[2]!r}")
        equal(tree(host), before, f"the host's directory by {place}")
        python(u, RESTORE, place)


@case("a base that somebody hostile made leads nowhere on the host", ids=ALL)
def base(u):
    host = host_directory(u, "secret")
    before = tree(host)
    for number, place in enumerate(PLACES + ("/etc", "/etc/resolv.conf", "/etc/debian_chroot", "/etc/shadow")):
        root = f"{u.home}/base{number}"
        minimal_base(root)
        lie = root + place
        os.makedirs(os.path.dirname(lie), exist_ok=True)
        if os.path.isdir(lie):
            shutil.rmtree(lie)
        elif os.path.lexists(lie):
            os.unlink(lie)
        os.symlink(host + "/f" if place.startswith("/etc/") else host, lie)
        u.troot("create", "b", "--from", root)
        equal(u.run("troot", "exec", "b", "--", "/bin/sh", "-c", WRITE)[:2], (0, "entered\n"), place)
        equal(tree(host), before, f"the host's directory by {place} of a base")
        u.troot("rm", "-f", "b")
    fifo = u.home + "/base0/etc/debian_chroot"
    os.mkfifo(fifo)
    u.troot("create", "b", "--from", u.home + "/base0")
    equal(u.troot("exec", "b", "--", "/bin/sh", "-c", "echo entered"), "entered\n", "a base with a FIFO to write to")


def minimal_base(root):
    for name in ("etc", "proc", "sys", "dev", "run", "tmp", "bin", "usr/sbin"):
        os.makedirs(f"{root}/{name}")
    shutil.copy("/bin/sh", root + "/bin/sh")
    for word in subprocess.run(["ldd", "/bin/sh"], capture_output=True, text=True, check=True).stdout.split():
        if word.startswith("/"):
            os.makedirs(os.path.dirname(root + word), exist_ok=True)
            shutil.copy(word, root + word)
    with open(root + "/etc/passwd", "w", encoding="utf-8") as file:
        file.write("root:x:0:0::/:/bin/sh\n")


@case("a world is entered whatever lies where a start mounts", ids=ALL)
def entered(u):
    u.world()
    for place in PLACES:
        for what, target in (("file", ""), ("fifo", ""), ("link", "/nowhere"), ("link", place), ("nothing", "")):
            python(u, REPLACE, place, what, target)
            equal(u.shell("w", "echo entered"), "entered\n", f"{what} {target} at {place}")
            python(u, RESTORE, place)
    said = [line for line in u.run("troot", "exec", "w", "true")[2].splitlines() if "/proc is the host's" not in line]
    equal(said, [], "what is said when all is as it was")


@case("a world is entered whatever its passwd is", ids=ALL)
def passwd(u):
    for what in ("mkfifo", "ln -s /dev/zero", "ln -s /etc/passwd", "ln -s /proc/self/fd/0", "mkdir", "true"):
        u.world()
        u.shell("w", f"rm /etc/passwd; {what} /etc/passwd")
        equal(u.shell("w", "echo entered; echo $HOME"), "entered\n/root\n", f"after {what}")
        u.troot("rm", "-f", "w")


FILL = DETACH + r'''
for p in ("/dev/shm", "/tmp", "/run", "/sys", "/dev", "/proc"): umount(p)
for p in ("/.troot", "/tmp", "/run", "/sys", "/dev", "/proc"): os.rename(p, p + ".was")
try:
    with open("/big", "w") as f:
        while True: f.write("x" * 4096); f.flush()
except OSError: pass
try:
    for n in range(1 << 20): open(f"/etc/n{n}", "w").close()
except OSError: pass
'''


@case("a full world that lacks all that a start mounts at is entered, and can be cleaned up", ids=ALL)
def full(u):
    u.world("w", "--limit", "1M")
    python(u, FILL)
    equal(u.shell("w", "echo entered"), "entered\n", "a full world")
    u.shell("w", "rm -f /big /etc/n*")
    equal(u.shell("w", "echo x > /tmp/x; test -e /proc/self && cat /tmp/x"), "x\n", "the world after it was cleaned up")


if __name__ == "__main__":
    main()
