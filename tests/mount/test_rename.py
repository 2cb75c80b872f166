#!/usr/bin/env python3
"""Rename in all its combinations: files over everything, upper and lower directories, flags, errors."""
import errno
import os

from harness import (RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT, UNIONS, case, equal, main, names, read,
                     refused, renameat2, run, write)


def tree(bed):
    for name in ("low1", "low2", "low3"):
        write(bed.in_lower(name), name)
    os.makedirs(bed.in_lower("ldir/sub"))
    write(bed.in_lower("ldir/f"), "f")
    os.mkdir(bed.in_lower("lempty"))
    os.symlink("low1", bed.in_lower("llink"))


def uppers(m):
    for name in ("up1", "up2"):
        write(m(name), name)
    os.makedirs(m("udir/sub"))
    write(m("udir/f"), "uf")


def gone(*paths):
    for path in paths:
        refused(errno.ENOENT, os.lstat, path)


@case("files: lower and upper over nothing, lower, upper and a whiteout", lower=tree)
def files_over_files(m):
    uppers(m)
    os.rename(m("low1"), m("moved"))
    equal(read(m("moved")), b"low1", "a lower file over nothing")
    os.rename(m("up1"), m("low2"))
    equal(read(m("low2")), b"up1", "an upper file over a lower one")
    os.rename(m("low3"), m("up2"))
    equal(read(m("up2")), b"low3", "a lower file over an upper one")
    os.rename(m("up2"), m("low1"))
    equal(read(m("low1")), b"low3", "over a whiteout")
    gone(m("low3"), m("up1"), m("up2"))
    m.remount()
    equal(names(m("")), ["ldir", "lempty", "llink", "low1", "low2", "moved", "udir"], "names after a remount")
    equal((read(m("low1")), read(m("low2")), read(m("moved"))), (b"low3", b"up1", b"low1"), "contents after a remount")


@case("inode numbers and open descriptors follow a rename", lower=tree)
def identity(m):
    uppers(m)
    number = os.stat(m("up1")).st_ino
    descriptor = os.open(m("up1"), os.O_RDWR)
    os.rename(m("up1"), m("udir/new"))
    equal(os.stat(m("udir/new")).st_ino, number, "st_ino")
    os.write(descriptor, b"UP")
    equal(read(m("udir/new")), b"UP1", "what was written through the old descriptor")
    os.close(descriptor)
    lower = os.open(m("low1"), os.O_RDONLY)
    os.rename(m("low1"), m("udir/lower"))
    equal(os.read(lower, 10), b"low1", "a lower file read after its rename")
    os.close(lower)


@case("an upper directory with content moves", lower=tree)
def upper_directory(m):
    uppers(m)
    os.rename(m("udir"), m("moved"))
    equal(names(m("moved")), ["f", "sub"], "names in it")
    gone(m("udir"), m("udir/f"))
    os.mkdir(m("udir"))
    equal(names(m("udir")), [], "its successor")
    os.rename(m("moved"), m("ldir/inside"))
    equal(read(m("ldir/inside/f")), b"uf", "content below a lower directory")
    os.rename(m("ldir/inside"), m("udir"))  # onto an empty one
    equal(read(m("udir/f")), b"uf", "onto an empty upper directory")
    m.remount()
    equal(names(m("udir")), ["f", "sub"], "names after a remount")
    equal(names(m("ldir")), ["f", "sub"], "names of the lower directory after a remount")


@case("an upper directory over a removed lower one shows nothing of it", lower=tree)
def over_whiteout(m):
    uppers(m)
    os.unlink(m("ldir/f"))
    os.rmdir(m("ldir/sub"))
    os.rmdir(m("ldir"))
    os.rename(m("udir"), m("ldir"))
    equal(read(m("ldir/f")), b"uf", "content")
    os.unlink(m("ldir/f"))
    equal(names(m("ldir")), ["sub"], "names")
    m.remount()
    equal(names(m("ldir")), ["sub"], "names after a remount")


@case("onto an empty lower directory; not onto a full one", lower=tree)
def onto_lower(m):
    uppers(m)
    refused(errno.ENOTEMPTY, os.rename, m("udir"), m("ldir"))
    os.rename(m("udir"), m("lempty"))
    equal(read(m("lempty/f")), b"uf", "content")
    os.unlink(m("ldir/f"))
    os.rmdir(m("ldir/sub"))
    os.mkdir(m("next"))
    write(m("next/x"), "x")
    os.rename(m("next"), m("ldir"))  # merged, but all in it is whited out
    equal(names(m("ldir")), ["x"], "names")
    m.remount()
    equal(names(m("ldir")), ["x"], "names after a remount")
    equal(names(m("lempty")), ["f", "sub"], "the other's names after a remount")


@case("a lower directory moves with all below it", lower=tree, on=("trootfs",))
def lower_directory_moves(m):
    os.rename(m("ldir"), m("moved"))
    gone(m("ldir"))
    equal(names(m("moved")), ["f", "sub"], "names")
    write(m("moved/f"), "changed")
    os.rename(m("moved/sub"), m("sub"))
    m.remount()
    gone(m("ldir"))
    equal(names(m("moved")), ["f"], "names after a remount")
    equal(read(m("moved/f")), b"changed", "content after a remount")
    equal(os.path.isdir(m("sub")), True, "the child that moved out")


@case("with redirect_dir=off a lower directory is EXDEV, so that mv copies", lower=tree, options=("redirect_dir=off",),
      on=("trootfs", "overlay"))
def lower_directory(m):
    refused(errno.EXDEV, os.rename, m("ldir"), m("moved"))
    write(m("ldir/new"), "new")
    refused(errno.EXDEV, os.rename, m("ldir"), m("moved"))
    refused(errno.EXDEV, os.rename, m("ldir/sub"), m("sub"))
    run("mv", m("ldir"), m("moved"))
    equal(names(m("moved")), ["f", "new", "sub"], "names after mv")
    gone(m("ldir"))


@case("NOREPLACE and EXCHANGE", lower=tree, differs=("fuse-overlayfs",))
def flags(m):
    uppers(m)
    refused(errno.EEXIST, renameat2, m("up1"), m("low1"), RENAME_NOREPLACE)
    renameat2(m("up1"), m("fresh"), RENAME_NOREPLACE)
    equal(read(m("fresh")), b"up1", "NOREPLACE onto nothing")
    renameat2(m("fresh"), m("low1"), RENAME_EXCHANGE)
    equal((read(m("fresh")), read(m("low1"))), (b"low1", b"up1"), "EXCHANGE of an upper and a lower file")
    renameat2(m("low2"), m("low3"), RENAME_EXCHANGE)
    equal((read(m("low2")), read(m("low3"))), (b"low3", b"low2"), "EXCHANGE of two lower files")
    renameat2(m("up2"), m("udir"), RENAME_EXCHANGE)
    equal((read(m("udir")), names(m("up2"))), (b"up2", ["f", "sub"]), "EXCHANGE of a file and a directory")
    refused(errno.ENOENT, renameat2, m("up2"), m("absent"), RENAME_EXCHANGE)
    refused(errno.EINVAL, renameat2, m("up2"), m("x"), RENAME_EXCHANGE | RENAME_NOREPLACE)
    m.remount()
    equal((read(m("fresh")), read(m("low1"))), (b"low1", b"up1"), "after a remount")


@case("RENAME_WHITEOUT is refused, as the kernel's overlayfs does", lower=tree, on=("trootfs", "overlay"))
def whiteout_flag(m):
    uppers(m)
    for other in (0, RENAME_NOREPLACE):
        for source in ("up1", "low1", "udir"):
            refused(errno.EINVAL, renameat2, m(source), m("x"), RENAME_WHITEOUT | other)
    refused(errno.EINVAL, renameat2, m("up1"), m("x"), 8)  # a flag of the future
    equal((read(m("up1")), read(m("low1")), os.path.exists(m("x"))), (b"up1", b"low1", False), "what was to move")


@case("errors", lower=tree)
def errors(m):
    uppers(m)
    refused(errno.ENOENT, os.rename, m("absent"), m("x"))
    refused(errno.EISDIR, os.rename, m("up1"), m("udir"))
    refused(errno.ENOTDIR, os.rename, m("udir"), m("up1"))
    refused(errno.EINVAL, os.rename, m("udir"), m("udir/sub/x"))
    refused(errno.ENOTEMPTY, os.rename, m("udir/sub"), m("udir"))
    refused(errno.ENOTDIR, os.rename, m("up1/x"), m("y"))
    os.rename(m("up1"), m("up1"))
    equal(read(m("up1")), b"up1", "onto itself")
    os.link(m("up1"), m("same"))
    os.rename(m("up1"), m("same"))
    equal(names(m(""))[-4:], ["same", "udir", "up1", "up2"], "onto a link of itself, which does nothing")


@case("symlinks and special files move", lower=tree)
def others(m):
    os.mkfifo(m("fifo"))
    os.rename(m("fifo"), m("fifo2"))
    os.rename(m("llink"), m("link2"))
    equal(os.readlink(m("link2")), "low1", "a lower symlink")
    gone(m("llink"), m("fifo"))
    os.rename(m("fifo2"), m("link2"))
    os.symlink("x", m("s"))
    os.rename(m("s"), m("low1"))
    m.remount()
    equal(os.readlink(m("low1")), "x", "a symlink over a lower file, after a remount")
    gone(m("llink"), m("s"))


@case("a rename leaves a whiteout only where something is below", lower=tree, on=UNIONS)
def whiteouts_left(m):
    uppers(m)
    os.rename(m("up1"), m("up3"))
    os.rename(m("low1"), m("low9"))
    equal(names(m.upper), ["low1", "low9", "udir", "up2", "up3"], "names in the upper")


if __name__ == "__main__":
    main()
