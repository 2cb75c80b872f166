#!/usr/bin/env python3
"""What lies in the upper: the kernel's format of whiteouts and opaque directories, nothing that gives a
host user anything in an ordinary user's store, uppers carried to and from the kernel's overlay."""
import errno
import os
import stat

from harness import (UNIONS, Bed, Skip, case, check, digest, equal, is_whiteout, libc, main, names, overlay_xattr, read,
                     refused, run, write)


def tree(bed):
    write(bed.in_lower("file"), "lower")
    os.makedirs(bed.in_lower("dir/sub"))
    write(bed.in_lower("dir/a"), "a")
    write(bed.in_lower("dir/sub/b"), "b")


@case("whiteouts are 0/0 devices, replaced directories are opaque", lower=tree, on=UNIONS)
def kernel_format(m):
    os.unlink(m("file"))
    check(is_whiteout(m.in_upper("file")), "a whiteout for the file")
    os.unlink(m("dir/sub/b"))
    os.rmdir(m("dir/sub"))
    check(is_whiteout(m.in_upper("dir/sub")), "a whiteout for the directory")
    os.mkdir(m("dir/sub"))
    equal(overlay_xattr(m.in_upper("dir/sub"), "opaque"), b"y", "opaque of the directory made over it")
    os.mkdir(m("fresh"))
    os.mkdir(m("fresh/inner"))
    check(overlay_xattr(m.in_upper("dir"), "opaque") != b"y", "a merged directory is not opaque")
    write(m("file"), "again")
    check(stat.S_ISREG(os.lstat(m.in_upper("file")).st_mode), "the file made over the whiteout")
    write(m("temporary"), "")
    os.unlink(m("temporary"))
    equal(names(m.upper), ["dir", "file", "fresh"], "names in the upper: no whiteout where nothing is below")


@case("in an ordinary user's store nothing acts on the host, and rm -rf removes it", modes=("user",), lower=tree,
      on=("trootfs",))
def harmless(m):
    write(m("setuid"), "#!/bin/sh\n")
    os.chmod(m("setuid"), 0o6755)
    os.mkdir(m("closed"))
    write(m("closed/f"), "x")
    os.chmod(m("closed/f"), 0o000)
    os.chmod(m("closed"), 0o000)
    os.mkdir(m("sticky"))
    os.chmod(m("sticky"), 0o3777)
    os.chmod(m("dir"), 0o2755)
    os.chmod(m("file"), 0o4555)
    os.mkfifo(m("fifo"))
    os.mknod(m("socket"), stat.S_IFSOCK | 0o600)
    os.symlink("target", m("symlink"))
    os.unlink(m("dir/a"))
    run("sh", "-c", 'command -v setfacl >/dev/null && setfacl -m u:12345:rwx "$0" "$1" && setfacl -d -m u:12345:rwx "$1" || true',
        m("setuid"), m("sticky"))
    equal(stat.S_IMODE(os.stat(m("setuid")).st_mode) & 0o7000, 0o6000, "setuid as the mount shows it")
    equal(stat.S_IMODE(os.stat(m("closed")).st_mode), 0, "a closed directory as the mount shows it")
    for directory, subdirectories, files in os.walk(m.upper):
        for name in subdirectories + files:
            path = os.path.join(directory, name)
            status = os.lstat(path)
            shown = os.path.relpath(path, m.upper)
            equal(status.st_uid, os.getuid(), f"owner of {shown}")
            if stat.S_ISCHR(status.st_mode):
                equal(status.st_rdev, 0, f"device number of {shown}")
                continue
            check(not stat.S_ISBLK(status.st_mode), f"{shown} is a device")
            if stat.S_ISLNK(status.st_mode):
                continue
            equal(status.st_mode & 0o7000, 0, f"setuid, setgid, sticky of {shown}")
            least = 0o700 if stat.S_ISDIR(status.st_mode) else 0o600
            equal(status.st_mode & least, least, f"the owner's own access to {shown}")
            bad = [n for n in os.listxattr(path) if not n.startswith("user.")]
            equal(bad, [], f"xattrs of {shown} that act on the host")
    m.umount()
    run("rm", "-rf", "--", m.upper, m.work)
    check(not os.path.exists(m.upper) and not os.path.exists(m.work), "rm -rf of the store")


@case("modes, owners and kinds come back from the store", modes=("user",), lower=tree, on=("trootfs",))
def presented(m):
    write(m("setuid"), "x")
    os.chmod(m("setuid"), 0o6751)
    write(m("unreadable"), "x")
    os.chmod(m("unreadable"), 0)
    os.mkfifo(m("fifo"), 0o604)
    m.remount()
    equal(os.stat(m("setuid")).st_mode, stat.S_IFREG | 0o6751, "a setuid file")
    equal(os.stat(m("unreadable")).st_mode, stat.S_IFREG, "a file of mode 0")
    equal(os.stat(m("fifo")).st_mode, stat.S_IFIFO | 0o604, "a fifo")


def kernel_overlay(m, path):
    """Mounts the bed's layers by the kernel at `path`; false where it cannot."""
    os.makedirs(m.base + "/kernel-work", exist_ok=True)
    os.makedirs(path, exist_ok=True)
    done = run("mount", "-t", "overlay", "overlay", "-o",
               f"lowerdir={m.lower},upperdir={m.upper},workdir={m.base}/kernel-work", path, check_status=False)
    return done.returncode == 0


@case("an upper written here is read by the kernel's overlay, and the other way round", modes=("root",), lower=tree,
      on=("trootfs",))
def carried_over(m):
    os.unlink(m("file"))
    os.unlink(m("dir/sub/b"))
    os.rmdir(m("dir/sub"))
    os.mkdir(m("dir/sub"))
    write(m("dir/sub/new"), "new")
    write(m("dir/a"), "changed")
    os.symlink("x", m("link"))
    os.mkfifo(m("fifo"))
    os.chown(m("dir/a"), 12, 34)
    os.setxattr(m("dir/a"), "user.colour", b"red")
    wanted = {n: digest(m(n)) for n in names(m(""))}
    m.umount()
    point = m.base + "/kernel"
    if not kernel_overlay(m, point):
        raise Skip("the kernel's overlay cannot be mounted here")
    try:
        equal({n: digest(os.path.join(point, n)) for n in names(point)}, wanted, "the tree as the kernel reads it")
        os.unlink(os.path.join(point, "dir/a"))
        write(os.path.join(point, "file"), "by the kernel")
        os.rename(os.path.join(point, "link"), os.path.join(point, "dir/link"))
        run("rm", "-rf", os.path.join(point, "dir/sub"))
        os.mkdir(os.path.join(point, "dir/sub"))
        wanted = {n: digest(os.path.join(point, n)) for n in names(point)}
    finally:
        libc.umount2(os.fsencode(point), 0)
    m.mount()
    equal({n: digest(m(n)) for n in names(m(""))}, wanted, "what the kernel wrote, as it is read here")


@case("a lower with the kernel's whiteouts and opaque directories", modes=("root",), lowers=2, on=UNIONS, lower=lambda bed: (
    write(bed.lowers[1] + "/hidden"), os.mkdir(bed.lowers[1] + "/d"), write(bed.lowers[1] + "/d/below"),
    os.mkdir(bed.lowers[0] + "/d"), write(bed.lowers[0] + "/d/above"),
    os.setxattr(bed.lowers[0] + "/d", "trusted.overlay.opaque", b"y"),
    os.mknod(bed.lowers[0] + "/hidden", stat.S_IFCHR, 0)))
def marked_lower(m):
    equal(names(m("")), ["d"], "names")
    equal(names(m("d")), ["above"], "names in the opaque directory")


@case("colons and commas in the layers' paths", on=("trootfs",), automount=False)
def odd_layer_paths(m):
    base = m.base + "/a:b,c"
    os.mkdir(base)
    odd = Bed(base, m.binaries, m.mode)
    write(odd.in_lower("f"), "f")
    odd.mount()
    write(odd("g"), "g")
    equal(names(odd("")), ["f", "g"], "names")
    odd.umount()


@case("a mount without upper and work is read-only", on=("trootfs",), lower=tree, automount=False)
def read_only(m):
    m.layer_options = lambda: f"lowerdir={m.lower}"
    m.mount()
    equal(read(m("dir/a")), b"a", "content")
    refused(errno.EROFS, open, m("new"), "w")
    refused(errno.EROFS, os.unlink, m("file"))
    refused(errno.EROFS, os.mkdir, m("d"))
    refused(errno.EROFS, os.chmod, m("file"), 0)
    m.umount()


if __name__ == "__main__":
    main()
