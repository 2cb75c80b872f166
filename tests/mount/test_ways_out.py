#!/usr/bin/env python3
"""Ways out of a layer, or past a limit, that an attacker found: a lower object of an ordinary user's that leads to what
only root may read; a second mount inside the upper of the first; names that are removed and leave inodes."""
import os

from harness import case, check, equal, main, names, read, run, write

trootfs = {"on": ("trootfs",)}
SECRET = b"nobody in the mount may read this"


def of_a_user(m):
    """The upper one of two lowers belongs to an ordinary user; the other has what only root may read."""
    user, root = m.lowers
    os.makedirs(f"{root}/private")
    for path in (f"{root}/secret", f"{root}/private/s"):
        write(path, SECRET)
        os.chmod(path, 0o600)
    os.chmod(f"{root}/private", 0o700)
    write(f"{user}/mine", "")
    os.truncate(f"{user}/mine", len(SECRET))
    os.mkdir(f"{user}/dir")
    os.setxattr(f"{user}/mine", "user.overlay.metacopy", b"")
    os.setxattr(f"{user}/mine", "user.overlay.redirect", b"/secret")
    os.setxattr(f"{user}/dir", "user.overlay.redirect", b"/private")
    for path in (user, f"{user}/mine", f"{user}/dir"):
        os.chown(path, 12345, 12345)


@case("where root serves, an ordinary user's lower object leads nowhere", lower=of_a_user, lowers=2, modes=("root",),
      automount=False, **trootfs)
def astray(m):
    for options in (("userxattr",), ("ownership=presented",)):
        m.mount(*options)
        equal(read(m("mine")), bytes(len(SECRET)), f"{options}: a file of the user's")
        equal(names(m("dir")), [], f"{options}: a directory of his")
        m.umount()
        # What root's own server wrote is followed.
        for path in ("mine", "dir"):
            os.chown(f"{m.lowers[0]}/{path}", 0, 0)
        m.mount(*options)
        equal((read(m("mine")), names(m("dir"))), (SECRET, ["s"]), f"{options}: of root's")
        m.umount()
        for path in ("mine", "dir"):
            os.chown(f"{m.lowers[0]}/{path}", 12345, 12345)


@case("where root serves, the upper of an ordinary user leads nowhere, and what it has is charged", lower=of_a_user,
      lowers=2, modes=("root",), automount=False, **trootfs)
def upper_astray(m):
    for name in ("up-file", "up-dir"):
        path = m.in_upper(name)
        if name == "up-file":
            write(path, b"x" * 9000)
            os.setxattr(path, "user.overlay.metacopy", b"")
        else:
            os.mkdir(path)
        os.setxattr(path, "user.overlay.redirect", b"/secret" if name == "up-file" else b"/private")
        os.chown(path, 12345, 12345)
    os.chown(m.upper, 12345, 12345)
    for options in (("userxattr",), ("ownership=presented",)):
        m.mount(*options)
        equal((read(m("up-file")), names(m("up-dir"))), (b"x" * 9000, []), f"{options}: what his own upper shows")
        equal(os.stat(m("up-file")).st_blocks, 24, f"{options}: what his file is charged")
        m.umount()


@case("an upper inside the upper, or the work directory, of a mount that is alive is refused",
      automount=False, **trootfs)
def nested(m):
    outer = (m.upper, m.work)
    m.mount("size=1M")
    os.makedirs(m("sub/dir"))
    os.mkdir(m("work2"))
    other = f"{m.base}/other"
    for name in ("mnt", "up", "work"):
        os.makedirs(f"{other}/{name}")
    for upper, work in ((f"{m.upper}/sub/dir", f"{m.upper}/work2"), (f"{m.work}/troot/stage", f"{other}/work")):
        program = m.trootfs_command()[0]
        done = run(program, "-o", f"lowerdir={m.lower},upperdir={upper},workdir={work}", f"{other}/mnt", check_status=False)
        check(done.returncode != 0 and "in use by another mount" in done.stderr + done.stdout, f"{upper}: {done}")
    m.umount()
    # One of a mount that is gone is a directory like any other.
    run(m.trootfs_command()[0], "-o", f"lowerdir={m.lower},upperdir={outer[0]}/sub/dir,workdir={outer[0]}/work2", f"{other}/mnt")
    run("fusermount3", "-u", f"{other}/mnt")


def many_names(m):
    for i in range(300):
        write(m.in_lower(f"f{i}"), "x")


@case("what is removed takes no inode of the host's", lower=many_names, automount=False, **trootfs)
def whiteouts(m):
    m.mount("inodes=20")
    for i in range(300):
        if i % 3 == 0:
            os.chmod(m(f"f{i}"), 0o600)  # in the upper, when it goes
        if i % 3 == 1:
            os.rename(m(f"f{i}"), m("moved"))
            os.unlink(m("moved"))
        else:
            os.unlink(m(f"f{i}"))
    equal(names(m("")), [], "names")
    inodes = {os.lstat(m.in_upper(name)).st_ino for name in os.listdir(m.upper)}
    equal((len(os.listdir(m.upper)), len(inodes)), (300, 1), "whiteouts, and their inodes")
    m.kill()
    m.mount("inodes=20")
    equal(names(m("")), [], "names after a kill")
    m.check_recount()
    write(m("f7"), "again")
    os.unlink(m("f7"))
    m.umount()
    equal(os.listdir(f"{m.work}/troot/stage"), [], "what is left in the stage")


if __name__ == "__main__":
    main()
