#!/usr/bin/env python3
"""The union as programs see it: merged trees, copy-up, names, links, special files."""
import errno
import os
import socket
import stat
import time

from harness import UNIONS, case, check, digest, equal, main, names, read, refused, run, write

OLD_NS = 1_000_000_000_123_456_789


def age(path):
    os.utime(path, ns=(OLD_NS, OLD_NS), follow_symlinks=False)


def simple(bed):
    write(bed.in_lower("file"), "lower")
    write(bed.in_lower("other"), "other")
    os.makedirs(bed.in_lower("dir/sub"))
    write(bed.in_lower("dir/a"), "a")
    write(bed.in_lower("dir/sub/b"), "b")
    os.symlink("dir/a", bed.in_lower("link"))


def stacked(bed):
    top, middle, bottom = bed.lowers
    for index, layer in enumerate((bottom, middle, top)):
        os.mkdir(os.path.join(layer, "dir"))
        write(os.path.join(layer, "dir", "all"), f"{index}")
        write(os.path.join(layer, "dir", f"only{index}"), f"{index}")
    write(os.path.join(bottom, "kind"), "a file below")
    os.mkdir(os.path.join(top, "kind"))
    os.mkdir(os.path.join(bottom, "turned"))
    write(os.path.join(bottom, "turned", "hidden"), "")
    write(os.path.join(middle, "turned"), "a file above")


@case("lookup and reads of a lower tree", lower=simple)
def lookup(m):
    equal(read(m("file")), b"lower", "a lower file")
    equal(read(m("dir/sub/b")), b"b", "a nested lower file")
    equal(os.readlink(m("link")), "dir/a", "a symlink")
    equal(read(m("link")), b"a", "what it leads to")
    refused(errno.ENOENT, os.stat, m("absent"))
    refused(errno.ENOENT, os.stat, m("dir/absent"))
    refused(errno.ENOTDIR, os.stat, m("file/x"))
    equal(names(m("")), ["dir", "file", "link", "other"], "the root's names")
    equal(names(m("dir")), ["a", "sub"], "a directory's names")


@case("three lowers merge, the topmost wins", lower=stacked, lowers=3, on=UNIONS)
def layers(m):
    equal(names(m("dir")), ["all", "only0", "only1", "only2"], "merged names")
    equal(read(m("dir/all")), b"2", "the topmost file")
    equal(read(m("dir/only0")), b"0", "the bottom's own file")


@case("a directory over a file, a file over a directory", lower=stacked, lowers=3, on=UNIONS)
def kinds(m):
    check(stat.S_ISDIR(os.stat(m("kind")).st_mode), "a directory covers the file below it")
    equal(names(m("kind")), [], "and is empty")
    equal(read(m("turned")), b"a file above", "a file covers the directory below it")


@case("readdir: no name twice, seekdir and d_type right", lower=simple)
def listing(m):
    write(m("dir/c"), "new")
    write(m("dir/a"), "changed")
    os.unlink(m("dir/c"))
    write(m("dir/d"), "d")
    with os.scandir(m("dir")) as entries:
        found = sorted((e.name, e.is_dir(follow_symlinks=False), e.is_file(follow_symlinks=False)) for e in entries)
    equal(found, [("a", False, True), ("d", False, True), ("sub", True, False)], "names and kinds")
    for entry in os.scandir(m("dir")):
        equal(entry.inode(), os.lstat(entry.path).st_ino, f"d_ino of {entry.name}")


@case("readdir of 20,000 names while they are removed", differs=("fuse-overlayfs",))
def big_directory(m):
    os.mkdir(m("big"))
    for i in range(20000):
        os.close(os.open(m("big", f"name-{i:06}"), os.O_CREAT | os.O_WRONLY, 0o644))
    equal(len(os.listdir(m("big"))), 20000, "names")
    seen = set()
    with os.scandir(m("big")) as entries:
        for entry in entries:
            check(entry.name not in seen, f"{entry.name} listed twice")
            seen.add(entry.name)
            os.unlink(entry.path)
    equal(len(seen), 20000, "names seen while removing")
    equal(os.listdir(m("big")), [], "what is left")
    os.rmdir(m("big"))


def attributed(bed):
    os.mkdir(bed.in_lower("d"))
    path = write(bed.in_lower("d/f"), "content")
    os.chmod(path, 0o640)
    os.setxattr(path, "user.colour", b"green")
    os.setxattr(path, "user.empty", b"")
    age(path)
    os.chmod(bed.in_lower("d"), 0o750)
    os.setxattr(bed.in_lower("d"), "user.dir", b"yes")
    age(bed.in_lower("d"))


@case("copy-up keeps mode, owner, times and xattrs; the parent's too", lower=attributed)
def copy_up_keeps(m):
    before, directory = os.stat(m("d/f")), os.stat(m("d"))
    os.setxattr(m("d/f"), "user.more", b"1")  # changes ctime alone
    after, now = os.stat(m("d/f")), os.stat(m("d"))
    for field in ("st_mode", "st_uid", "st_gid", "st_size", "st_mtime_ns", "st_nlink", "st_ino", "st_dev"):
        equal(getattr(after, field), getattr(before, field), field)
    found = {n: os.getxattr(m("d/f"), n) for n in os.listxattr(m("d/f")) if n.startswith("user.")}
    equal(found, {"user.colour": b"green", "user.empty": b"", "user.more": b"1"}, "xattrs")
    for field in ("st_mode", "st_uid", "st_gid", "st_mtime_ns", "st_ino"):
        equal(getattr(now, field), getattr(directory, field), f"the parent's {field}")
    equal(os.getxattr(m("d"), "user.dir"), b"yes", "the parent's xattr")
    equal(read(m("d/f")), b"content", "content")
    m.remount()
    again = os.stat(m("d/f"))
    for field in ("st_mode", "st_uid", "st_gid", "st_size", "st_mtime_ns", "st_nlink"):
        equal(getattr(again, field), getattr(before, field), f"{field} after a remount")


def with_holes(bed):
    with open(bed.in_lower("sparse"), "wb") as file:
        file.write(b"head")
        file.seek(8 << 20)
        file.write(b"tail")


@case("copy-up keeps holes", lower=with_holes, on=UNIONS, differs=("overlay", "fuse-overlayfs"))
def holes(m):
    with open(m("sparse"), "r+b") as file:
        file.seek(4 << 20)
        file.write(b"middle")
    check(os.stat(m.in_upper("sparse")).st_blocks * 512 < 1 << 20, "the copy in the upper is sparse")
    content = read(m("sparse"))
    equal(len(content), (8 << 20) + 4, "size")
    equal((content[:4], content[4 << 20:(4 << 20) + 6], content[-4:]), (b"head", b"middle", b"tail"), "content")
    equal(content.count(0), len(content) - 14, "zeros between")


@case("nothing is copied up by reading", lower=simple, on=UNIONS, differs=("overlay", "fuse-overlayfs"))
def reading_copies_nothing(m):
    read(m("file"))
    os.close(os.open(m("file"), os.O_RDWR))
    os.listdir(m("dir"))
    os.access(m("dir/a"), os.W_OK)
    equal(names(m.upper), [], "the upper after reads")


@case("mode, owner and times can be changed on lower files", lower=simple)
def attributes(m):
    os.chmod(m("file"), 0o600)
    equal(stat.S_IMODE(os.stat(m("file")).st_mode), 0o600, "mode")
    os.utime(m("file"), ns=(OLD_NS, OLD_NS + 1))
    equal(os.stat(m("file")).st_mtime_ns, OLD_NS + 1, "mtime to the nanosecond")
    equal(os.stat(m("file")).st_atime_ns, OLD_NS, "atime to the nanosecond")
    os.utime(m("link"), ns=(OLD_NS, OLD_NS), follow_symlinks=False)
    equal(os.lstat(m("link")).st_mtime_ns, OLD_NS, "a symlink's mtime")
    equal(read(m("file")), b"lower", "content")
    os.chmod(m("dir"), 0o700)
    equal(names(m("dir")), ["a", "sub"], "a directory's names after chmod")


@case("root gives files away", modes=("root",), lower=simple)
def owners(m):
    os.chown(m("file"), 1234, 2345)
    os.lchown(m("link"), 12, 13)
    os.chown(m("dir"), 5, 6)
    m.remount()
    for name, wanted in (("file", (1234, 2345)), ("link", (12, 13)), ("dir", (5, 6))):
        status = os.lstat(m(name))
        equal((status.st_uid, status.st_gid), wanted, f"owner of {name}")


@case("create, mkdir, unlink, rmdir and their errors", lower=simple)
def namespace(m):
    refused(errno.EEXIST, os.mkdir, m("dir"))
    refused(errno.EEXIST, os.mkdir, m("file"))
    refused(errno.EEXIST, os.open, m("file"), os.O_CREAT | os.O_EXCL)
    refused(errno.ENOTEMPTY, os.rmdir, m("dir"))
    refused(errno.ENOTDIR, os.rmdir, m("file"))
    refused(errno.EISDIR, os.unlink, m("dir"))
    refused(errno.ENOENT, os.unlink, m("absent"))
    refused(errno.ENOENT, os.open, m("absent/x"), os.O_CREAT)
    refused(errno.ENAMETOOLONG, os.mkdir, m("n" * 256))
    os.mkdir(m("new"), 0o750)
    equal(stat.S_IMODE(os.stat(m("new")).st_mode), 0o750, "mode of a new directory")
    equal(os.stat(m("new")).st_uid, os.getuid(), "owner of a new directory")
    write(m("new/f"), "x")
    os.unlink(m("new/f"))
    os.rmdir(m("new"))
    os.unlink(m("file"))
    refused(errno.ENOENT, os.stat, m("file"))
    write(m("file"), "again")
    equal(read(m("file")), b"again", "a file made over a whiteout")
    m.remount()
    equal(read(m("file")), b"again", "after a remount")
    equal(names(m("")), ["dir", "file", "link", "other"], "names after a remount")


@case("a removed lower directory stays removed, and its successor is empty", lower=simple)
def opaque(m):
    os.unlink(m("dir/a"))
    os.unlink(m("dir/sub/b"))
    os.rmdir(m("dir/sub"))
    os.rmdir(m("dir"))
    refused(errno.ENOENT, os.stat, m("dir"))
    os.mkdir(m("dir"))
    equal(names(m("dir")), [], "the new directory")
    m.remount()
    equal(names(m("dir")), [], "the new directory after a remount")
    refused(errno.ENOENT, os.stat, m("dir/a"))


@case("mtime of the parent moves with its names, and not by a child's copy-up", lower=simple)
def parent_times(m):
    age(m("dir"))
    with open(m("dir/a"), "ab") as file:
        file.write(b"!")
    equal(os.stat(m("dir")).st_mtime_ns, OLD_NS, "after the copy-up of a child")
    start = time.time_ns() - 50_000_000  # the kernel's clock of files ticks coarsely
    write(m("dir/new"))
    check(os.stat(m("dir")).st_mtime_ns >= start, "after a create")
    age(m("dir"))
    os.unlink(m("dir/a"))
    check(os.stat(m("dir")).st_mtime_ns >= start, "after an unlink")
    age(m("dir"))
    os.rename(m("dir/new"), m("dir/newer"))
    check(os.stat(m("dir")).st_mtime_ns >= start, "after a rename")


@case("hard links", lower=simple)
def hard_links(m):
    write(m("one"), "1")
    os.link(m("one"), m("two"))
    equal(os.stat(m("one")).st_nlink, 2, "st_nlink")
    equal(os.stat(m("one")).st_ino, os.stat(m("two")).st_ino, "st_ino")
    write(m("two"), "2")
    equal(read(m("one")), b"2", "the content through the other name")
    os.unlink(m("one"))
    equal(os.stat(m("two")).st_nlink, 1, "st_nlink after an unlink")
    os.link(m("file"), m("dir/hard"))
    equal(read(m("dir/hard")), b"lower", "a link to a lower file")
    equal(os.stat(m("file")).st_ino, os.stat(m("dir/hard")).st_ino, "its st_ino")
    refused(errno.EPERM, os.link, m("dir"), m("dirlink"))
    refused(errno.EEXIST, os.link, m("two"), m("other"))


@case("symlinks: short, long, dangling, with a line feed", lower=simple)
def symlinks(m):
    for name, target in (("short", "x"), ("long", "t" * 4000), ("dangling", "/nowhere/at/all"), ("odd", "a\nb c")):
        os.symlink(target, m(name))
        equal(os.readlink(m(name)), target, name)
        equal(os.lstat(m(name)).st_size, len(target), f"st_size of {name}")
    refused(errno.EEXIST, os.symlink, "x", m("short"))
    refused(errno.EINVAL, os.readlink, m("file"))
    os.unlink(m("link"))
    os.symlink("other", m("link"))
    m.remount()
    equal(os.readlink(m("link")), "other", "a lower symlink's successor after a remount")
    equal(os.readlink(m("long")), "t" * 4000, "a long symlink after a remount")


@case("fifos and sockets work")
def fifo_and_socket(m):
    os.mkfifo(m("fifo"), 0o640)
    check(stat.S_ISFIFO(os.stat(m("fifo")).st_mode), "a fifo")
    end = os.open(m("fifo"), os.O_RDWR | os.O_NONBLOCK)
    os.write(end, b"through")
    equal(os.read(end, 10), b"through", "what went through the fifo")
    os.close(end)
    here = os.getcwd()
    os.chdir(m.mnt)  # names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
            server.bind("socket")
            server.listen()
            client.connect("socket")
    finally:
        os.chdir(here)
    m.remount()
    check(stat.S_ISFIFO(os.stat(m("fifo")).st_mode), "a fifo after a remount")
    equal(stat.S_IMODE(os.stat(m("fifo")).st_mode), 0o640, "its mode")
    check(stat.S_ISSOCK(os.stat(m("socket")).st_mode), "a socket after a remount")


@case("devices made by root", modes=("root",))
def devices(m):
    os.mknod(m("null"), stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(m("disk"), stat.S_IFBLK | 0o600, os.makedev(7, 200))
    m.remount()
    equal(os.stat(m("null")).st_rdev, os.makedev(1, 3), "a character device's number")
    equal(os.stat(m("disk")).st_rdev, os.makedev(7, 200), "a block device's number")


ODD_NAMES = ["n" * 255, "ä" * 127, "line\nfeed", " ", "a b", "tab\t", ".wh.x", ".wh..wh..opq", "\\", "*", "-rf", "a:b",
             "a,b", "a=b", "...", "\udcff\udcfe", "\x01", "%s", "trusted.overlay.opaque"]


def odd(bed):
    for name in ODD_NAMES:
        write(bed.in_lower(name), name.encode("utf-8", "surrogateescape"))


@case("every legal name, below and above", lower=odd, differs=("fuse-overlayfs",))
def odd_names(m):
    os.mkdir(m("new"))
    for name in ODD_NAMES:
        raw = name.encode("utf-8", "surrogateescape")
        equal(read(m(name)), raw, f"lower {name!r}")
        write(m("new", name), raw)
        write(m(name), raw + b"2")
    equal(sorted(os.listdir(m(""))), sorted([*ODD_NAMES, "new"]), "names")
    m.remount()
    equal(sorted(os.listdir(m("new"))), sorted(ODD_NAMES), "new names after a remount")
    for name in ODD_NAMES:
        raw = name.encode("utf-8", "surrogateescape")
        equal(read(m("new", name)), raw, f"new {name!r}")
        equal(read(m(name)), raw + b"2", f"changed {name!r}")
        os.unlink(m(name))
    equal(os.listdir(m("")), ["new"], "names after their removal")


def deep(bed):
    path = bed.lower
    for i in range(60):
        path = os.path.join(path, f"level{i}")
        os.mkdir(path)
    write(os.path.join(path, "bottom"), "deep")


@case("a deep tree, copied up from its bottom", lower=deep)
def deep_tree(m):
    path = m(*[f"level{i}" for i in range(60)])
    with open(os.path.join(path, "bottom"), "ab") as file:
        file.write(b"er")
    equal(read(os.path.join(path, "bottom")), b"deeper", "content")
    write(os.path.join(path, "new"), "n")
    m.remount()
    equal(names(path), ["bottom", "new"], "names at the bottom")


@case("xattrs: set, list, replace, remove, sizes, errors", lower=simple)
def xattrs(m):
    for path in (m("file"), m("dir")):
        os.setxattr(path, "user.a", b"1")
        refused(errno.EEXIST, os.setxattr, path, "user.a", b"2", os.XATTR_CREATE)
        refused(errno.ENODATA, os.setxattr, path, "user.b", b"2", os.XATTR_REPLACE)
        os.setxattr(path, "user.a", b"2", os.XATTR_REPLACE)
        os.setxattr(path, "user.large", b"x" * 2000)
        equal(os.getxattr(path, "user.a"), b"2", "value")
        refused(errno.ENODATA, os.getxattr, path, "user.absent")
        os.removexattr(path, "user.large")
        refused(errno.ENODATA, os.removexattr, path, "user.large")
        equal([n for n in os.listxattr(path) if n.startswith("user.")], ["user.a"], "list")
    m.remount()
    equal(os.getxattr(m("file"), "user.a"), b"2", "value after a remount")


@case("the union's own xattrs are hidden, a user's of that name are kept", lower=simple, on=("trootfs",))
def own_xattrs(m):
    os.mkdir(m("fresh"))
    os.unlink(m("dir/a"))
    os.chmod(m("file"), 0o4711)
    for name in ("file", "dir", "fresh"):
        hidden = [n for n in os.listxattr(m(name)) if "overlay" in n or "containers" in n]
        equal(hidden, [], f"xattrs shown of {name}")
    os.setxattr(m("fresh"), "user.overlay.opaque", b"y")
    equal(os.getxattr(m("fresh"), "user.overlay.opaque"), b"y", "a user's own user.overlay.opaque")
    write(m("fresh/x"), "")
    m.remount()
    equal(os.getxattr(m("fresh"), "user.overlay.opaque"), b"y", "after a remount")
    equal(names(m("fresh")), ["x"], "which hides nothing")


@case("statfs", lower=simple, differs=("fuse-overlayfs",))
def statfs(m):
    answer = os.statvfs(m(""))
    check(answer.f_blocks > 0 and answer.f_bfree <= answer.f_blocks, "blocks")
    check(answer.f_namemax == 255, f"f_namemax {answer.f_namemax}")


@case("the mount shows the lower's tree as it is", lower=simple, on=UNIONS)
def whole_tree(m):
    for name in names(m.lower):
        equal(digest(m(name)), digest(m.in_lower(name)), f"digest of {name}")


@case("special permission bits: sticky, setgid inheritance, umask", modes=("root",), differs=("fuse-overlayfs",))
def special_bits(m):
    os.mkdir(m("shared"))
    os.chown(m("shared"), 0, 54)
    os.chmod(m("shared"), 0o2775)
    write(m("shared/f"))
    os.mkdir(m("shared/d"))
    equal(os.stat(m("shared/f")).st_gid, 54, "group of a file in a setgid directory")
    equal((os.stat(m("shared/d")).st_gid, stat.S_IMODE(os.stat(m("shared/d")).st_mode)), (54, 0o2755), "a directory there")
    os.umask(0o027)
    write(m("masked"))
    os.mkdir(m("masked.d"))
    equal(stat.S_IMODE(os.stat(m("masked")).st_mode), 0o640, "umask of a file")
    equal(stat.S_IMODE(os.stat(m("masked.d")).st_mode), 0o750, "umask of a directory")


if __name__ == "__main__":
    main()
