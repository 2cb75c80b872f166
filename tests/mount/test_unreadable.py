#!/usr/bin/env python3
"""Objects that lack their owner's own permissions, by the owner's server: what they hold comes along with every change, or
the change is refused; lowers stay as they are."""
import errno
import os
import stat

from harness import Skip, case, check, equal, main, names, read, run, write

FILES = (0o000, 0o200, 0o111, 0o300, 0o100, 0o044, 0o4111)
DIRECTORIES = (0o000, 0o300, 0o100, 0o600, 0o400)
trootfs = {"on": ("trootfs",), "modes": ("user",), "hash_lowers": False}


def tree(bed):
    for lower in bed.lowers:
        for mode in FILES:
            for work in ("chmod", "mv", "ln", "append", "trunc", "rm", "replace", "xattr"):
                path = write(f"{lower}/{work}-{mode:o}", "data")
                os.setxattr(path, "user.kept", b"value")
                os.chmod(path, mode)
        for mode in DIRECTORIES:
            for work in ("chmod", "mv"):
                top = f"{lower}/{work}-d{mode:o}"
                os.makedirs(top + "/sub/deep")
                for name in ("f", "sub/g", "sub/deep/h", "gone", "moves"):
                    write(f"{top}/{name}", name)
                os.symlink("f", top + "/link")
                os.mkdir(top + "/closed")
                write(top + "/closed/i", "i")
                os.chmod(top + "/closed", mode)
                os.chmod(top, mode)


def needs_namespaces():
    if run("unshare", "-U", "true", check_status=False).returncode != 0:
        raise Skip("needs user namespaces")


def modes(root):
    return {n: os.lstat(os.path.join(root, n)).st_mode for n in names(root)}


def has_data(path, wanted, what):
    os.chmod(path, 0o600)
    equal(read(path).decode(), wanted, f"the data of {what}")
    equal(os.getxattr(path, "user.kept"), b"value", f"an xattr of {what}")


@case("files of one's own without the owner's read bit bring their data along", lower=tree, **trootfs)
def files(m):
    needs_namespaces()
    before = [modes(lower) for lower in m.lowers]
    for mode in FILES:
        o = f"{mode:o}"
        equal(stat.S_IMODE(os.stat(m(f"chmod-{o}")).st_mode), mode, f"the mode of {o}")
        equal(os.stat(m(f"chmod-{o}")).st_size, 4, f"the size of {o}")
        os.rename(m(f"mv-{o}"), m(f"moved-{o}"))
        os.link(m(f"ln-{o}"), m(f"linked-{o}"))
        os.setxattr(m(f"xattr-{o}"), "user.more", b"1") if mode & 0o200 else None
        if mode & 0o200:
            with open(m(f"append-{o}"), "ab") as file:
                file.write(b"more")
        os.truncate(m(f"trunc-{o}"), 0) if mode & 0o200 else None
        os.unlink(m(f"rm-{o}"))
        os.rename(write(m(f"new-{o}"), "new"), m(f"replace-{o}"))
    m.remount()
    for mode in FILES:
        o = f"{mode:o}"
        has_data(m(f"chmod-{o}"), "data", f"{o} after chmod")
        has_data(m(f"moved-{o}"), "data", f"{o} after mv")
        has_data(m(f"linked-{o}"), "data", f"{o} after ln")
        has_data(m(f"xattr-{o}"), "data", f"{o} after setfattr")
        has_data(m(f"append-{o}"), "datamore" if mode & 0o200 else "data", f"{o} after a write")
        has_data(m(f"trunc-{o}"), "" if mode & 0o200 else "data", f"{o} after truncate")
        check(not os.path.lexists(m(f"rm-{o}")), f"{o} is gone")
        equal(read(m(f"replace-{o}")), b"new", f"what took the place of {o}")
    m.remount()
    for mode in FILES:
        equal(read(m(f"chmod-{mode:o}")), b"data", f"{mode:o} after a remount")
    equal([modes(lower) for lower in m.lowers], before, "modes below")


def look(m, top, what):
    os.chmod(m(top), 0o700)
    equal(names(m(top)), ["closed", "f", "gone", "link", "moves", "sub"], f"names in {what}")
    equal((read(m(top, "f")), read(m(top, "sub/g")), read(m(top, "sub/deep/h")), os.readlink(m(top, "link"))),
          (b"f", b"sub/g", b"sub/deep/h", "f"), f"what {what} holds")
    os.chmod(m(top, "closed"), 0o700)
    equal(read(m(top, "closed/i")), b"i", f"one within another: {what}")


def change(m, top):
    os.unlink(m(top, "gone"))
    os.rename(m(top, "moves"), m(top, "sub/moved"))
    write(m(top, "new"), "new")
    os.rename(m(top, "sub/deep"), m(top, "deeper"))
    with open(m(top, "f"), "ab") as file:
        file.write(b"more")


def changed(m, top, what):
    equal(names(m(top)), ["closed", "deeper", "f", "link", "new", "sub"], f"names in {what}")
    equal((read(m(top, "f")), read(m(top, "sub/moved")), read(m(top, "deeper/h"))),
          (b"fmore", b"moves", b"sub/deep/h"), f"what {what} holds")


def directories(m):
    needs_namespaces()
    before = [modes(lower) for lower in m.lowers]
    for mode in DIRECTORIES:
        os.rename(m(f"mv-d{mode:o}"), m(f"moved-d{mode:o}"))
    m.remount()
    tops = [f"{kind}-d{mode:o}" for mode in DIRECTORIES for kind in ("chmod", "moved")]
    for top in tops:
        look(m, top, top)
    m.remount()
    for top in tops:
        look(m, top, top + " after a remount")
        change(m, top)
        changed(m, top, top)
    m.remount()
    for top in tops:
        changed(m, top, top + ", changed, after a remount")
    equal([modes(lower) for lower in m.lowers], before, "modes below")


@case("directories of one's own without the owner's permissions show what they hold", lower=tree, **trootfs)
def one_layer(m):
    directories(m)


@case("the same merged of two layers", lower=tree, lowers=2, **trootfs)
def two_layers(m):
    directories(m)


@case("where no user namespace may be made, what cannot be read is refused, not emptied", lower=tree, automount=False,
      **trootfs)
def without_namespaces(m):
    # In a namespace that maps somebody else alone, the helper may make one but has no say over the files.
    library = m.shim("unshare_shim.c")
    m.environment = {"LD_PRELOAD": library}
    m.mount()
    for mode in FILES:
        for work in (lambda p: os.chmod(p, 0o600), lambda p: os.rename(p, p + "2"), lambda p: os.link(p, p + "3")):
            try:
                work(m(f"chmod-{mode:o}"))
            except OSError as error:
                equal(error.errno, errno.EACCES, f"the errno for {mode:o}")
                continue
            check(False, f"{mode:o} was changed, and its data cannot be there")


if __name__ == "__main__":
    main()
