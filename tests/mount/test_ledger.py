#!/usr/bin/env python3
"""What becomes of the ledger when it is lost, damaged, foreign, too new, on a disk that is full or
read-only: a line that says so, usage counted from the upper, limits and ids as they were, limits enforced; after a
kill nothing but what was being changed is looked at."""
import errno
import os
import shutil
import subprocess
import zlib

from harness import (PAGE, Skip, case, check, equal, main, mounted, names, pattern, read, refused, run, wait_until,
                     write)

MIB = 1 << 20
trootfs = {"on": ("trootfs",)}
HARD = 64 * PAGE


def populate(m):
    """A project of its own with a limit, and one below it; something lower that was copied up."""
    os.mkdir(m("p"))
    run("chattr", "-p", "1001", "+P", m("p"))
    for i in range(20):
        write(m(f"p/f{i}"), pattern(PAGE + 1, i))
    os.symlink("target", m("p/s"))
    os.mkfifo(m("p/fifo"))
    write(m("plain"), pattern(100_000))
    m.control(f"limit project=1001 bhard={HARD} ihard=100 isoft=90")
    m.control("grace project=1001 bytes=77 inodes=88")
    m.control("parent project=1001 parent=1000")
    m.control(f"limit bhard={200 * MIB}")


def ledger(m, *parts):
    return os.path.join(m.work, "troot", "ledger", *parts)


def said(m, text):
    log = m.server_says()
    check(text in log, f"the log does not say {text!r}: {log[-600:]!r}")


def forget_log(m):
    open(m.log, "wb").close()


def as_before(m, report, what):
    """Usage, limits, names and ids are what they were, and the limit is kept to the page."""
    now = m.project(1001)
    for key in ("used_bytes", "used_inodes", "bhard", "isoft", "ihard"):
        equal(now[key], report[key], f"{key} ({what})")
    line = next(l for l in m.control("report") if l.get("project") == "1001")
    equal([line.get(k) for k in ("bgrace", "igrace", "parent")], ["77", "88", "1000"], f"grace and parent ({what})")
    equal(m.status()["limit_bytes"], 200 * MIB, f"the total's limit ({what})")
    m.check_recount()
    with open(m("p/more"), "wb", buffering=0) as file:
        wrote = 0
        try:
            while True:
                wrote += file.write(pattern(PAGE))
        except OSError as error:
            equal(error.errno, errno.EDQUOT, f"the errno at the limit ({what})")
    equal(wrote, HARD - report["used_bytes"], f"bytes that fitted ({what})")
    os.unlink(m("p/more"))
    wait_until(lambda: m.status()["parked"] == 0, 10, "the unlinked file is forgotten")


def after(m, what, damage, text):
    report = m.project(1001)
    m.umount()
    damage()
    forget_log(m)
    m.mount()
    said(m, text)
    as_before(m, report, what)


@case("the database deleted, truncated, overwritten, not a directory: counted again, limits and ids as before",
      seconds=120, **trootfs)
def damaged(m):
    populate(m)
    db = ledger(m, "db")

    def of_every_file(change):
        def damage():
            for name in names(db):
                change(os.path.join(db, name))
        return damage

    def garbage(path):
        size = os.path.getsize(path)
        write(path, os.urandom(size))

    def a_file():
        shutil.rmtree(db)
        write(db, "not a database")

    after(m, "deleted", lambda: shutil.rmtree(db), "there was no ledger yet")
    after(m, "all of the ledger but limits.txt deleted",
          lambda: [shutil.rmtree(db), *map(os.unlink, (ledger(m, "journal"), ledger(m, "lock")))],
          "there was no ledger yet")
    after(m, "every file halved", of_every_file(lambda p: os.truncate(p, os.path.getsize(p) // 2)), "set aside")
    after(m, "every file empty", of_every_file(lambda p: os.truncate(p, 0)), "counted ")
    after(m, "every file random", of_every_file(garbage), "set aside")
    after(m, "a file in its place", a_file, "set aside")
    after(m, "CURRENT deleted", lambda: os.unlink(os.path.join(db, "CURRENT")), "counted ")
    check(any(n.startswith("db.damaged-") for n in names(ledger(m))), "a damaged one is kept for a person to look at")


@case("a ledger of another upper is not used, nor are its limits", **trootfs)
def foreign(m):
    populate(m)
    used = m.project(1001)["used_bytes"]
    m.umount()
    upper, work = m.upper, m.work
    m.upper, m.work = upper + "2", work + "2"
    os.mkdir(m.upper)
    os.mkdir(m.work)
    m.mount()
    write(m("other"), pattern(10 * PAGE))
    m.umount()
    shutil.rmtree(ledger(m))
    shutil.copytree(os.path.join(work, "troot/ledger"), ledger(m))
    forget_log(m)
    m.mount()
    said(m, "the ledger belonged to another upper")
    equal(m.project(1001)["used_bytes"], 0, "usage of a project that the other upper had")
    equal(m.status()["limit_bytes"], 0, "the total's limit")
    m.check_recount()
    m.umount()
    m.upper, m.work = upper, work
    m.mount()
    equal(m.project(1001)["used_bytes"], used, "the first one's usage, untouched")


@case("what a newer troot wrote is left alone, and the line says so", **trootfs)
def newer(m):
    populate(m)
    m.umount()
    shutil.rmtree(ledger(m, "db"))
    text = read(ledger(m, "limits.txt"))
    title = b"troot-limits 99"
    text = title + b" sum=%08x\n" % zlib.crc32(title) + text.split(b"\n", 1)[1]
    write(ledger(m, "limits.txt"), text)
    done = run(*m.trootfs_command(), check_status=False, seconds=20, cwd="/")
    equal(done.returncode, 1, "status")
    lines = [line for line in done.stderr.split("\n") if "newer" in line]
    equal(len(lines), 1, f"lines that name the cause ({done.stderr!r})")
    check(ledger(m) in lines[0] and "noquota" in lines[0], f"the thing and the cure: {lines[0]!r}")
    equal(read(ledger(m, "limits.txt")), text, "limits.txt")
    m.mount("noquota")
    check(os.path.exists(m("plain")), "a mount without quota goes on")


@case("a mount without quota in between is noticed: the upper is counted", **trootfs)
def bypassed(m):
    populate(m)
    report = m.project(1001)
    m.remount("noquota")
    write(m("behind its back"), pattern(50 * PAGE))
    os.unlink(m("plain"))
    m.umount()
    forget_log(m)
    m.mount()
    said(m, "mounted without quota")
    as_before(m, report, "after noquota")
    m.umount()
    forget_log(m)
    m.mount()
    check("counted" not in m.server_says(), "it is counted once only")


@case("troot quota check names what was changed behind the mount's back, --repair mends it, in use", **trootfs)
def checked(m):
    def tool(*words):
        return run(os.path.join(m.binaries, "troot"), "quota", "check", m.mnt, *words, check_status=False, seconds=30)

    populate(m)
    report = m.project(1001)
    done = tool()
    equal((done.returncode, "agree" in done.stdout), (0, True), f"a check of what is right ({done.stdout!r})")
    m.umount()
    write(m.in_upper("behind its back"), pattern(10 * PAGE))
    write(m.in_upper("p/f3"), pattern(5 * PAGE))
    os.unlink(m.in_upper("plain"))
    m.mount()
    for words, wanted in (((), "the upper"), (("--json",), '"upper_bytes": 40960'), (("--repair",), "mended 3 objects")):
        done = tool(*words)
        equal(done.returncode, 1, f"status of a check that finds something ({words}: {done.stdout!r}{done.stderr!r})")
        check(wanted in done.stdout, f"{words}: {done.stdout!r} does not say {wanted!r}")
        for name in ("/behind its back", "/p/f3", "no such object" if "--json" not in words else '"path": ""'):
            check(name in done.stdout, f"{words}: {done.stdout!r} does not name {name!r}")
    done = tool()
    equal(done.returncode, 0, f"status when it is mended ({done.stdout!r})")
    m.check_recount()
    write(m("p/f3"), pattern(1 * PAGE + 1))
    as_before(m, report, "after the repair")


class Small:
    """A tmpfs of its own for upper and work, where root is there to make one."""

    def __init__(self, m, size):
        self.m, self.path, self.size = m, m.base + "/small", size

    def __enter__(self):
        os.mkdir(self.path)
        if run("mount", "-t", "tmpfs", "-o", f"size={self.size}", "small", self.path, check_status=False).returncode:
            raise Skip("no tmpfs can be mounted here")
        self.m.upper, self.m.work = self.path + "/upper", self.path + "/work"
        os.mkdir(self.m.upper)
        os.mkdir(self.m.work)
        return self

    def remount(self, how):
        run("mount", "-o", f"remount,{how}", self.path)

    def fill(self):
        with open(self.path + "/filler", "ab", buffering=0) as file:
            for size in (65536, PAGE, 1):
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError as error:
                    equal(error.errno, errno.ENOSPC, "the disk is full")

    def empty(self):
        os.unlink(self.path + "/filler")

    def __exit__(self, *_):
        if self.m.server:
            self.m.umount()
        run("umount", "-l", self.path)


def one_line(m, *words):
    done = run(*m.trootfs_command("allow_other"), check_status=False, seconds=20, cwd="/")
    equal(done.returncode, 1, f"status ({done.stderr!r})")
    lines = [line for line in done.stderr.split("\n") if line.startswith("trootfs: ")]
    equal(len(lines), 1, f"lines for a person ({done.stderr!r})")
    for word in words:
        check(word in lines[0], f"{lines[0]!r} does not name {word!r}")
    check(not mounted(m.mnt), "nothing is mounted")


@case("a full disk below: the mount says so, and serves with the limits; with room again all is as before", modes=("root",),
      automount=False, **trootfs)
def full(m):
    with Small(m, "40M") as disk:
        m.mount()
        populate(m)
        report = m.project(1001)
        m.umount()
        shutil.rmtree(ledger(m, "db"))
        os.unlink(ledger(m, "journal"))
        disk.fill()
        m.mount()
        said(m, "there is no space for it")
        equal((m.project(1001)["used_bytes"], m.project(1001)["bhard"]), (report["used_bytes"], HARD), "usage and limit")
        m.umount()
        disk.empty()
        m.mount()
        as_before(m, report, "with room again")


@case("a disk that fills up under a mount: writes fail, limits hold, nothing is lost when there is room again",
      modes=("root",), automount=False, seconds=60, **trootfs)
def filling(m):
    with Small(m, "40M") as disk:
        m.mount()
        populate(m)
        report = m.project(1001)
        disk.fill()
        # Both take no data on the disk, but the ledger hears of them.
        for i in range(300):
            os.rename(m("plain"), m(f"plain{i}"))
            os.rename(m(f"plain{i}"), m("plain"))
        refused(errno.ENOSPC, lambda: write(m("big"), pattern(MIB)))
        os.unlink(m("big"))
        disk.empty()
        write(m("after"), pattern(3 * PAGE))
        m.control("sync")
        as_before(m, report, "with room again")
        os.unlink(m("after"))
        m.kill()
        m.mount()
        as_before(m, report, "after a kill")


@case("a disk that answers EIO under the ledger: said once, limits hold, usage is kept; written again when it does not",
      automount=False, seconds=60, **trootfs)
def failing(m):
    flag = os.path.join(m.base, "failing")
    m.environment = {"LD_PRELOAD": m.shim("eio_shim.c"), "SHIM_EIO_WHILE": flag}
    m.mount()
    populate(m)
    m.control("sync")
    write(flag, b"")
    for i in range(20):
        write(m(f"while{i}"), pattern(PAGE + 1, i))
    os.unlink(m("p/f0"))
    wait_until(lambda: "cannot be written" in m.server_says(), 10, "a line in the log")
    report = m.project(1001)
    os.unlink(flag)
    write(m("after"), pattern(3 * PAGE))
    m.control("sync")
    said(m, "written again")
    equal(m.server_says().count("cannot be written"), 1, "lines about it")
    as_before(m, report, "when the disk is well")
    # A server that dies while the disk fails: its journal knows, and nothing is lost.
    write(flag, b"")
    os.unlink(m("p/f1"))
    write(m("late"), pattern(5 * PAGE))
    report = m.project(1001)
    m.kill()
    os.unlink(flag)
    m.mount()
    as_before(m, report, "after a kill")
    check(os.path.getsize(m("late")) == 5 * PAGE, "what was written is there")


@case("a read-only disk below: one line, and its cure", modes=("root",), automount=False, **trootfs)
def read_only_disk(m):
    with Small(m, "40M") as disk:
        m.mount()
        populate(m)
        report = m.project(1001)
        m.umount()
        disk.remount("ro")
        one_line(m, m.upper, "read-only")
        disk.remount("rw")
        m.mount()
        as_before(m, report, "writable again")


@case("after kill -9 only what was being changed is looked at, whatever else the upper holds", seconds=120, **trootfs)
def killed(m):
    populate(m)
    for d in range(20):
        os.makedirs(m(f"many/d{d}"))
        for i in range(100):
            write(m(f"many/d{d}/f{i}"))
    m.control("sync")
    report = m.project(1001)
    write(m("many/d3/f3"), pattern(9 * PAGE))
    os.unlink(m("many/d4/f4"))
    os.rename(m("many/d5"), m("many/renamed"))
    write(m("many/renamed/new"), pattern(PAGE))
    m.kill()
    forget_log(m)
    m.mount()
    said(m, "recovered ")
    check("counted" not in m.server_says(), "nothing is counted")
    objects = int(m.server_says().split("recovered ")[1].split()[0])
    check(objects < 200, f"{objects} objects were looked at, of 2,000")
    as_before(m, report, "after the kill")
    # A ledger that was not closed, and whose journal is gone: counted.
    m.kill()
    os.unlink(ledger(m, "journal"))
    forget_log(m)
    m.mount()
    said(m, "its journal does not say all")
    as_before(m, report, "counted")


@case("ledger=memory keeps nothing on disk: limits hold, usage is counted by the next mount", options=["size=1M", "ledger=memory"],
      **trootfs)
def in_memory(m):
    check(not os.path.exists(ledger(m)), "no ledger is made")
    os.mkdir(m("p"))
    run("chattr", "-p", "1001", "+P", m("p"))
    m.control(f"limit project=1001 bhard={4 * PAGE}")
    write(m("p/f"), pattern(2 * PAGE))
    refused(errno.EDQUOT, write, m("p/g"), pattern(2 * PAGE))
    refused(errno.EDQUOT, write, m("big"), pattern(2 * MIB))
    os.unlink(m("big"))
    os.unlink(m("p/g"))
    wait_until(lambda: m.status()["parked"] == 0, 5, "nothing parked")
    m.check_recount()
    used = m.used()
    m.kill()
    m.mount("size=1M", "ledger=memory")
    equal((m.used(), m.project(1001)["used_bytes"]), (used, 3 * PAGE), "usage after kill -9")
    m.remount("size=1M", "ledger=disk")
    equal(m.used(), used, "usage with a ledger on disk")
    write(m("more"), pattern(PAGE))
    m.remount("size=1M", "ledger=memory")
    write(m("unseen"), pattern(PAGE))
    m.remount("size=1M", "ledger=disk")
    equal(m.used(), used + 2 * PAGE, "usage where a mount had passed the ledger by")
    m.check_recount()


if __name__ == "__main__":
    main()
