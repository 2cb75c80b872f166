#!/usr/bin/env python3
"""Hard links of lower files: one inode with one number, a right count, one charge, through copy-up and remounts."""
import os

from harness import case, check, equal, main, read, run, write

NAMES = ("a", "b", "d/c")


def linked(bed):
    os.mkdir(bed.in_lower("d"))
    write(bed.in_lower("a"), b"x" * 100000)
    os.link(bed.in_lower("a"), bed.in_lower("b"))
    os.link(bed.in_lower("a"), bed.in_lower("d/c"))
    os.link(bed.in_lower("a"), bed.in_lower("d/last"))


def same(m, names, nlink, content):
    """All of `names` are one file, now and after a remount."""
    number = os.stat(m(names[0])).st_ino
    for _ in range(2):
        for name in names:
            status = os.stat(m(name))
            equal((status.st_nlink, status.st_ino), (nlink, number), f"st_nlink and st_ino of {name}")
            equal(read(m(name)), content, f"content of {name}")
        m.remount(*m.options)


@case("a change by one name is seen by all", lower=linked, on=("trootfs", "native"))
def one_inode(m):
    content = b"x" * 100000
    held = os.open(m("b"), os.O_RDONLY)
    with open(m("a"), "r+b") as file:
        file.write(b"new")
    content = b"new" + content[3:]
    equal(os.pread(held, 3, 0), b"new", "through a descriptor of another name")
    os.close(held)
    same(m, (*NAMES, "d/last"), 4, content)
    with open(m("d/c"), "ab") as file:
        file.write(b"!")
    os.chmod(m("b"), 0o600)
    same(m, (*NAMES, "d/last"), 4, content + b"!")


@case("unlink, link and rename keep the count", lower=linked, on=("trootfs", "native"))
def counts(m):
    content = b"x" * 100000
    os.unlink(m("a"))
    same(m, ("b", "d/c", "d/last"), 3, content)
    os.link(m("d/c"), m("e"))
    same(m, ("b", "d/c", "d/last", "e"), 4, content)
    os.rename(m("b"), m("moved"))
    write(m("other"), "o")
    os.rename(m("other"), m("d/c"))
    same(m, ("moved", "d/last", "e"), 3, content)
    descriptor = os.open(m("e"), os.O_RDWR)
    for name in ("moved", "d/last", "e"):
        os.unlink(m(name))
    equal(os.fstat(descriptor).st_nlink, 0, "links of what is open still")
    os.pwrite(descriptor, b"gone", 0)
    equal(os.pread(descriptor, 5, 0), b"gonex", "content of what is open still")
    os.close(descriptor)


@case("all names are charged once, and none after the last is gone", lower=linked, on=("trootfs",))
def charge(m):
    before = m.used()
    for name in NAMES:
        with open(m(name), "r+b") as file:
            file.write(b"new")
    check(m.used() - before <= 102400 + 8192, f"{m.used() - before} bytes are charged for one file and a directory")
    m.check_recount()
    for name in (*NAMES, "d/last"):
        os.unlink(m(name))
    m.remount()
    check(m.used() - before <= 4096, f"{m.used() - before} bytes are charged after the last name is gone")


@case("cp -a, tar and rsync -H see the links", lower=linked, on=("trootfs", "native"))
def tools(m):
    with open(m("b"), "ab") as file:
        file.write(b"!")
    os.mkdir(m("to"))
    run("cp", "-a", m("a"), m("b"), m("d"), m("to"))
    equal(os.stat(m("to/a")).st_nlink, 4, "links after cp -a")
    run("tar", "-C", m("to"), "-cf", m("links.tar"), "a", "b", "d")
    os.mkdir(m("from"))
    run("tar", "-C", m("from"), "-xf", m("links.tar"))
    equal(os.stat(m("from/d/last")).st_nlink, 4, "links after tar")
    run("cp", "-al", m("d"), m("farm"))
    equal(os.stat(m("a")).st_nlink, 6, "links after cp -al")
    equal(os.stat(m("farm/c")).st_ino, os.stat(m("a")).st_ino, "st_ino after cp -al")


if __name__ == "__main__":
    main()
