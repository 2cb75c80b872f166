#!/usr/bin/env python3
"""Round trips with the kernel's overlayfs: an upper that one of them wrote, mounted by the other, shows the
same tree: names, kinds, modes, owners, times, bytes, xattrs, link counts, and which names are one file.

Not compared: st_ino (each has numbers of its own: the kernel's origin xattr is neither written nor followed), st_nlink of
directories, st_blocks, access times.

TROOT_KERNEL_SEED=N takes that seed for the random sequences (else the day's), TROOT_KERNEL_OPS=N makes N operations."""
import hashlib
import json
import os
import random
import shutil
import stat
import tempfile
import time

from harness import (RENAME_EXCHANGE, Failure, Skip, case, check, digest, equal, in_process, is_whiteout, libc, libc_call, main,
                     mounted, names, overlay_xattr, pattern, read, renameat2, run, write)

SEED = int(os.environ.get("TROOT_KERNEL_SEED", int(time.time()) // 86400))
OPERATIONS = int(os.environ.get("TROOT_KERNEL_OPS", 400))
FULL = ("redirect_dir=on", "metacopy=on")
INDEXED = (*FULL, "index=on")


# ---- the two sides ----------------------------------------------------------------------------------------------

def kernel_mount(m, *options, lowers=None, upper=True):
    lowers = ":".join(lowers or m.lowers)
    layers = [f"lowerdir={lowers}"] + ([f"upperdir={m.upper}", f"workdir={m.work}"] if upper else [])
    done = run("mount", "-t", "overlay", "overlay", "-o", ",".join([*layers, *options]), m.mnt, check_status=False)
    if done.returncode != 0:
        raise Skip(f"the kernel's overlayfs does not mount here: {done.stderr.strip()}")


def kernel_umount(m):
    run("umount", m.mnt)
    check(not mounted(m.mnt), "the kernel's mount is gone")


def facts(root):
    """The tree as one sees it: a dictionary from paths to what is there, and the groups of names that are one file."""
    found, inodes = {}, {}

    def look(path, name):
        status = os.lstat(path)
        kind = stat.S_IFMT(status.st_mode)
        one = {"mode": oct(status.st_mode), "owner": (status.st_uid, status.st_gid), "mtime": status.st_mtime_ns}
        if kind != stat.S_IFDIR:
            one["size"], one["nlink"] = status.st_size, status.st_nlink
            inodes.setdefault(status.st_ino, []).append(name)
        if kind in (stat.S_IFCHR, stat.S_IFBLK):
            one["rdev"] = status.st_rdev
        if kind == stat.S_IFLNK:
            one["target"] = os.readlink(path)
        listed = os.listxattr(path, follow_symlinks=False)
        one["xattrs"] = sorted((x, os.getxattr(path, x, follow_symlinks=False)) for x in listed)
        if kind == stat.S_IFREG:
            one["data"] = hashlib.sha256(read(path)).hexdigest()
        found[name] = one
        if kind == stat.S_IFDIR:
            for child in sorted(os.listdir(path)):
                look(os.path.join(path, child), name + "/" + child)

    look(root, "")
    return found, sorted(tuple(sorted(group)) for group in inodes.values() if len(group) > 1)


def same(got, wanted, what):
    """`got` and `wanted` are facts(); a difference is told by its path."""
    for name in sorted(set(got[0]) | set(wanted[0])):
        one, other = got[0].get(name), wanted[0].get(name)
        if one != other:
            keys = [k for k in {**(one or {}), **(other or {})} if (one or {}).get(k) != (other or {}).get(k)]
            raise Failure(f"{what}: {name!r} differs in {keys}: {one!r}, expected {other!r}")
    equal(got[1], wanted[1], f"{what}: names that are one file")


def carried_to_kernel(m, *options):
    """What the mount shows now, the kernel shows of the same layers; and the mount again after it."""
    before = facts(m(""))
    m.umount()
    for more in (options, (*options, "index=on")) if "userxattr" not in options else (options,):
        kernel_mount(m, *more)
        try:
            same(facts(m("")), before, f"the kernel's mount with {more}")
        finally:
            kernel_umount(m)
    m.mount(*m.options)
    same(facts(m("")), before, "the mount after the kernel's")
    check_usage(m)


def carried_from_kernel(m, *options):
    """What the kernel shows now, the mount shows of the same layers; the upper as a lower likewise."""
    before = facts(m(""))
    kernel_umount(m)
    upper, work, lowers = m.upper, m.work, list(m.lowers)
    m.mount(*m.options)
    same(facts(m("")), before, "the mount of an upper of the kernel's")
    check_usage(m)
    m.remount()
    same(facts(m("")), before, "the same after a remount")
    m.umount()
    # The kernel's own view of the layers, rotated, is the measure: hard links part there.
    stacked = [upper, *lowers]
    kernel_mount(m, *[o for o in options if o != "index=on"], lowers=stacked, upper=False)
    before = facts(m(""))
    kernel_umount(m)
    m.lowers = stacked
    m.upper, m.work = (tempfile.mkdtemp(dir=m.base) for _ in range(2))
    copy_root(upper, m.upper)
    m.mount(*m.options)
    same(facts(m("")), before, "the mount with an upper of the kernel's as a lower")
    m.umount()
    m.lowers, m.upper, m.work = lowers, upper, work


def copy_root(source, target):
    status = os.stat(source)
    os.chmod(target, stat.S_IMODE(status.st_mode))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def check_usage(m):
    checked = m.control("check objects")
    equal(checked[1].get("differences"), "0", f"differences of the ledger ({checked[2:4]})")


# ---- what happens on a side ---------------------------------------------------------------------------------------

def tree(bed):
    for directory in ("a/b/c", "d/e", "f", "z/deep/er", "gone"):
        os.makedirs(bed.in_lower(directory))
    for name in ("a/top", "a/b/file", "a/b/c/bottom", "d/e/x", "f/one", "f/two", "f/three", "z/deep/er/y", "gone/g", "root"):
        write(bed.in_lower(name), pattern(len(name) * 3000, name))
    os.symlink("b/file", bed.in_lower("a/link"))
    os.mkfifo(bed.in_lower("a/fifo"))
    os.mknod(bed.in_lower("a/null"), stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.setxattr(bed.in_lower("a/b/file"), "user.lower", b"l")
    os.setxattr(bed.in_lower("a"), "trusted.dir", b"d")
    os.chown(bed.in_lower("f/one"), 33, 44)
    os.chmod(bed.in_lower("f/two"), 0o4755)
    write(bed.in_lower("h1"), pattern(9000, "h"))
    os.link(bed.in_lower("h1"), bed.in_lower("h2"))
    os.link(bed.in_lower("h1"), bed.in_lower("d/h3"))


def scene(m):
    """Each thing that the format can say, once."""
    # Whiteouts and opaque directories.
    os.unlink(m("root"))
    os.unlink(m("gone/g"))
    os.rmdir(m("gone"))
    os.mkdir(m("gone"))
    write(m("gone/new"), "n")
    os.unlink(m("a/null"))
    # Redirects: a merged directory, one in one that moved, one that comes back, one over a whiteout.
    os.rename(m("a/b"), m("moved"))
    write(m("moved/c/added"), "added")
    os.rename(m("moved/c"), m("a/c2"))
    os.rename(m("z"), m("z2"))
    os.rename(m("z2/deep"), m("z2/deeper"))
    os.rename(m("z2"), m("a/z3"))
    os.rename(m("d"), m("d2"))
    os.rename(m("d2"), m("d"))
    os.mkdir(m("fresh"))
    os.rename(m("fresh"), m("root"))
    # Metadata alone; then renamed, linked, and the data brought.
    os.chmod(m("f/one"), 0o600)
    os.chown(m("moved/file"), 7, 8)
    os.rename(m("moved/file"), m("moved/renamed"))
    os.setxattr(m("f/three"), "user.new", b"v")
    os.link(m("f/three"), m("a/linked"))
    os.utime(m("f/two"), ns=(10**18, 10**18 + 1))
    with open(m("a/top"), "r+b") as file:
        file.write(b"changed")
    os.chmod(m("a/c2/bottom"), 0o640)
    with open(m("a/c2/bottom"), "ab") as file:
        file.write(b"more")
    os.truncate(m("d/e/x"), 100)
    # Xattrs: the users' own, one that looks like the file system's, a capability.
    os.setxattr(m("a/top"), "user.x", b"y" * 300)
    os.setxattr(m("a/top"), "trusted.overlay.opaque", b"y")
    os.setxattr(m("moved"), "trusted.overlay.overlay.redirect", b"/etc")
    os.setxattr(m("moved"), "user.overlay.opaque", b"y")
    os.removexattr(m("a/c2"), "trusted.none") if "trusted.none" in os.listxattr(m("a/c2")) else None
    os.setxattr(m("a/top"), "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))
    # Links, special files, odd names.
    write(m("new"), "new")
    os.link(m("new"), m("a/new2"))
    os.symlink("nowhere", m("sym"))
    os.chown(m("a/link"), 5, 6, follow_symlinks=False)
    os.mkfifo(m("pipe"), 0o640)
    os.mknod(m("dev"), stat.S_IFBLK | 0o600, os.makedev(7, 99))
    write(m(".wh.odd"), "odd")
    write(m("n" * 255), "long")
    # A lower file with three names: all of them come into the upper.
    with open(m("h1"), "r+b") as file:
        file.write(b"through one name")
    os.rename(m("h2"), m("h2b"))
    os.rename(m("d/h3"), m("h3"))


def tree_of_links(bed):
    write(bed.in_lower("h1"), "linked")
    os.link(bed.in_lower("h1"), bed.in_lower("h2"))


class Chance:
    """A seeded sequence of operations below one directory; what is refused is passed over."""

    NAMES = ["a", "b", "c", "d", "e", "f", "x.y"]

    def __init__(self, root, seed, count, prefix="trusted."):
        self.root, self.random, self.prefix = root, random.Random(seed), prefix
        self.dirs, self.files = [""], []
        for number in range(count):
            if number % 10 == 0:
                self.look()
            try:
                self.one()
            except OSError:
                pass

    def look(self):
        self.dirs, self.files = [""], []
        for directory, below, files in os.walk(self.root):
            below.sort()
            at = os.path.relpath(directory, self.root)
            self.dirs += [os.path.normpath(os.path.join(at, n)) for n in below]
            self.files += [os.path.normpath(os.path.join(at, n)) for n in sorted(files)]

    def at(self, path):
        return os.path.join(self.root, path)

    def some(self):
        return self.random.choice(self.dirs[1:] + self.files or ["a"])

    def fresh(self):
        return os.path.join(self.random.choice(self.dirs), self.random.choice(self.NAMES))

    def file(self):
        return self.random.choice(self.files or ["a"])

    def one(self):
        r = self.random
        what = r.choices(["make", "dir", "write", "truncate", "chmod", "chown", "xattr", "rename", "swap", "link", "sym",
                          "unlink", "rmdir", "utime", "node"], [6, 7, 8, 3, 8, 5, 4, 16, 3, 4, 2, 8, 4, 3, 1])[0]
        if what == "make":
            path, data = self.at(self.fresh()), pattern(r.randrange(9000), r.random())
            if not os.path.lexists(path):  # a fifo would wait for a reader
                write(path, data)
        elif what == "dir":
            os.mkdir(self.at(self.fresh()), 0o700 + r.randrange(64))
        elif what == "write":
            with open(self.at(self.file()), "r+b") as file:
                file.seek(r.randrange(5000))
                file.write(pattern(r.randrange(6000), r.random()))
        elif what == "truncate":
            os.truncate(self.at(self.file()), r.randrange(8000))
        elif what == "chmod":
            path, mode = self.some(), r.randrange(0o10000)
            if not os.path.islink(self.at(path)):
                os.chmod(self.at(path), mode)
        elif what == "chown":
            os.chown(self.at(self.some()), r.randrange(3), r.randrange(3), follow_symlinks=False)
        elif what == "xattr":
            name = r.choice(["user.a", self.prefix + "overlay.opaque", self.prefix + "overlay.metacopy", "user.b"])
            os.setxattr(self.at(self.some()), name, b"y" * r.randrange(1, 60), follow_symlinks=False)
        elif what == "rename":
            os.rename(self.at(self.some()), self.at(self.fresh()))
        elif what == "swap":
            renameat2(self.at(self.some()), self.at(self.some()), RENAME_EXCHANGE)
        elif what == "link":
            os.link(self.at(self.file()), self.at(self.fresh()), follow_symlinks=False)
        elif what == "sym":
            os.symlink("t" * r.randrange(1, 40), self.at(self.fresh()))
        elif what == "unlink":
            os.unlink(self.at(self.file()))
        elif what == "rmdir":
            os.rmdir(self.at(r.choice(self.dirs)))
        elif what == "utime":
            os.utime(self.at(self.some()), ns=(10**18, 10**18 + r.randrange(10**9)), follow_symlinks=False)
        elif what == "node":
            os.mknod(self.at(self.fresh()), r.choice([stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR]) | 0o600, os.makedev(1, 5))


def random_lowers(bed):
    """Two layers of plain files; the topmost hides and covers some of the other."""
    for number, layer in enumerate(bed.lowers):
        Chance(layer, number * 1000 + 7, 150)
        # A layer of plain files says nothing by accident.
        for directory, below, files in os.walk(layer):
            for name in [*below, *files]:
                path = os.path.join(directory, name)
                for xattr in os.listxattr(path, follow_symlinks=False):
                    if "overlay" in xattr:
                        os.removexattr(path, xattr, follow_symlinks=False)


# ---- cases --------------------------------------------------------------------------------------------------------

@case("an upper of ours, mounted by the kernel", modes=("root",), lower=tree, on=("trootfs",), seconds=120)
def ours_to_kernel(m):
    scene(m)
    check(is_whiteout(m.in_upper("a/b")), "there is a whiteout")
    equal(overlay_xattr(m.in_upper("gone"), "opaque"), b"y", "there is an opaque directory")
    equal(overlay_xattr(m.in_upper("moved"), "redirect"), b"/a/b", "there is a redirect")
    check(overlay_xattr(m.in_upper("f/one"), "metacopy") is not None, "there is a file whose data lies below")
    carried_to_kernel(m, *FULL)


@case("an upper of the kernel's, mounted here", modes=("root",), lower=tree, on=("trootfs",), automount=False, seconds=120)
def kernel_to_ours(m):
    kernel_mount(m, *INDEXED)
    scene(m)
    carried_from_kernel(m, *INDEXED)


@case("an upper that both wrote by turns", modes=("root",), lower=tree, on=("trootfs",), automount=False, seconds=120)
def by_turns(m):
    for turn in range(4):
        if turn % 2 == 0:
            kernel_mount(m, *FULL)
            Chance(m(""), SEED + turn, OPERATIONS // 2)
            carried_from_kernel(m, *FULL)
        else:
            m.mount()
            Chance(m(""), SEED + turn, OPERATIONS // 2)
            carried_to_kernel(m, *FULL)
            m.umount()


for SIDE in ("ours", "kernel"):
    for NUMBER in range(3):
        def sequence(m, side=SIDE, number=NUMBER):
            seed = SEED * 10 + number
            try:
                if side == "ours":
                    Chance(m(""), seed, OPERATIONS)
                    carried_to_kernel(m, *FULL)
                else:
                    kernel_mount(m, *FULL)
                    Chance(m(""), seed, OPERATIONS)
                    carried_from_kernel(m, *FULL)
            except Failure as failure:
                raise Failure(f"TROOT_KERNEL_SEED={SEED}: {failure}") from None
        case(f"random sequence {NUMBER} of {'ours' if SIDE == 'ours' else 'the kernel'}", modes=("root",),
             lower=random_lowers, lowers=2, on=("trootfs",), automount=SIDE == "ours", seconds=120)(sequence)


@case("user.overlay xattrs, which know no redirect and no metacopy", modes=("root",), lower=tree, on=("trootfs",),
      options=("userxattr", "redirect_dir=off", "metacopy=off"), seconds=120)
def user_xattrs(m):
    Chance(m(""), SEED, OPERATIONS, "user.")
    carried_to_kernel(m, "userxattr")


@case("the kernel's index of hard links is taken over", modes=("root",), lower=tree, on=("trootfs",), automount=False)
def kernel_index(m):
    kernel_mount(m, *INDEXED)
    with open(m("h1"), "r+b") as file:
        file.write(b"of all names")
    os.unlink(m("h2"))
    os.link(m("h1"), m("more"))
    before = facts(m(""))
    kernel_umount(m)
    m.mount()
    same(facts(m("")), before, "names that lie below")
    equal(os.stat(m("d/h3")).st_nlink, 3, "st_nlink")
    equal(os.stat(m("d/h3")).st_ino, os.stat(m("more")).st_ino, "st_ino of two names")
    with open(m("d/h3"), "r+b") as file:
        file.write(b"OF")
    equal(read(m("h1"))[:12], b"OF all names", "what another name shows")
    check_usage(m)
    for name in ("h1", "more", "d/h3"):
        os.unlink(m(name))
    m.remount()
    check(not [n for n in names(os.path.join(m.work, "index")) if os.path.isfile(os.path.join(m.work, "index", n))],
          "nothing of the removed file is left in the kernel's index")
    check_usage(m)


@case("an upper that the kernel mounted volatile is refused until somebody says that it is whole", modes=("root",), lower=tree,
      on=("trootfs",), automount=False)
def volatile_upper(m):
    kernel_mount(m, "volatile")
    write(m("new"), "new")
    kernel_umount(m)
    try:
        m.mount()
        check(False, "it was mounted")
    except Failure as failure:
        check("option volatile" in str(failure), str(failure))
    m.server = None
    write(m.log)
    shutil.rmtree(os.path.join(m.work, "work", "incompat"))
    m.mount()
    equal(read(m("new")), b"new", "what was written")


@case("a kernel's index that an ordinary user cannot follow is refused", modes=("user",), lower=tree_of_links, on=("trootfs",),
      automount=False)
def foreign_index(m):
    os.mkdir(os.path.join(m.work, "index"))
    entry = os.path.join(m.work, "index", bytes([0, 0xfb, 33, 0, 1, *range(28)]).hex())
    for nlink, starts in ((b"L+0", False), (b"U+1", False), (b"U-1", True)):
        write(entry, "linked")
        os.setxattr(entry, "user.overlay.nlink", nlink)
        try:
            m.mount()
            m.umount()
            check(starts, f"it was mounted with {nlink}")
        except Failure as failure:
            check(not starts and "mount it as root" in str(failure), f"{nlink}: {failure}")
        m.server = None
        write(m.log)


@case("a name of a lower file that lies below is the lower's to the kernel", modes=("root",), lower=tree, on=("trootfs",))
def links_part(m):
    # Our index of hard links is no format of the kernel's: what FORMAT.md says of it is true.
    with open(m("h1"), "r+b") as file:
        file.write(b"one name")
    equal(read(m("h2"))[:8], b"one name", "here all names are one file")
    m.umount()
    kernel_mount(m, *FULL)
    equal(read(m("h1"))[:8], b"one name", "the name that was written by")
    equal(read(m("h2")), read(m.in_lower("h2")), "a name that lies below")
    kernel_umount(m)
    m.mount()


def xattr_whiteouts(bed):
    """The middle layer hides by empty files with an xattr, as image composers make them."""
    top, middle, bottom = bed.lowers
    for layer in bed.lowers:
        os.makedirs(os.path.join(layer, "dir/sub"))
    for name in ("dir/hidden", "dir/kept", "dir/sub/hidden", "hidden"):
        os.makedirs(os.path.dirname(os.path.join(bottom, name)), exist_ok=True)
        write(os.path.join(bottom, name), name)
    for name in ("hidden", "dir/hidden", "dir/sub/hidden", "dir/absent"):
        os.setxattr(write(os.path.join(middle, name)), "trusted.overlay.whiteout", b"")
    for directory in ("", "dir", "dir/sub"):
        os.setxattr(os.path.join(middle, directory), "trusted.overlay.opaque", b"x")
    write(os.path.join(top, "dir/sub/above"), "above")


@case("whiteouts that are xattrs", modes=("root",), lower=xattr_whiteouts, lowers=3, on=("trootfs",), automount=False)
def read_xattr_whiteouts(m):
    kernel_mount(m, *FULL)
    before = facts(m(""))
    equal(names(m("dir")), ["kept", "sub"], "what the kernel shows")
    kernel_umount(m)
    m.mount()
    same(facts(m("")), before, "the mount")
    write(m("dir/hidden"), "again")
    os.rename(m("dir"), m("dir2"))
    carried_to_kernel(m, *FULL)


# ---- troot flatten ------------------------------------------------------------------------------------------------

def by_ordinary_kernel(m):
    """What the kernel's overlayfs shows of the layers to their owner, in a user namespace with one id."""
    work = os.path.join(m.base, "kernel-work")
    os.makedirs(work, exist_ok=True)
    uid, gid = os.getuid(), os.getgid()

    def inside():
        libc.prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: else /proc/self belongs to root after a change of ids
        libc_call("unshare", 0x10000000 | 0x00020000)  # CLONE_NEWUSER, CLONE_NEWNS
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            write(f"/proc/self/{name}", text)
        options = f"lowerdir={':'.join(m.lowers)},upperdir={m.upper},workdir={work},userxattr"
        libc_call("mount", b"overlay", os.fsencode(m.mnt), b"overlay", 0, os.fsencode(options))
        return repr(plainly(facts(m(""))))

    try:
        return in_process(inside)()
    finally:
        inner = os.path.join(work, "work")
        if os.path.isdir(inner):
            os.chmod(inner, 0o700)  # the kernel leaves it closed


def plainly(seen):
    """facts() without what a user namespace with one id, or the disk of an ordinary user, cannot say."""
    for one in seen[0].values():
        del one["owner"]
        one["xattrs"] = [x for x in one["xattrs"] if x[0] != "user.containers.override_stat"]
        mode = int(one["mode"], 8) | 0o600
        one["mode"] = oct(mode | 0o100 if stat.S_ISDIR(mode) else mode)
    return seen


def flatten(m, *words):
    options = ",".join([m.layer_options(), *m.options])
    done = run(os.path.join(m.binaries, "troot"), "flatten", "--json", *words, "-o", options)
    return json.loads(done.stdout)


def user_tree(bed):
    top, bottom = bed.lowers
    for directory in ("a/b/c", "d/e", "aufs/opaque/in", "aufs/d", "plain"):
        os.makedirs(os.path.join(bottom, directory))
    for name in ("a/b/file", "a/b/c/deep", "a/b/gone", "d/e/x", "meta", "meta2", "aufs/hidden", "aufs/opaque/in/below",
                 "aufs/opaque/below", "aufs/d/hidden", "plain/p"):
        write(os.path.join(bottom, name), pattern(len(name) * 2000, name))
    os.symlink("b/file", os.path.join(bottom, "a/link"))
    os.setxattr(os.path.join(bottom, "a/b/file"), "user.lower", b"l")
    write(os.path.join(bottom, "h1"), "linked")
    os.link(os.path.join(bottom, "h1"), os.path.join(bottom, "h2"))
    os.link(os.path.join(bottom, "h1"), os.path.join(bottom, "d/h3"))
    for directory in ("aufs/opaque/in", "aufs/d"):
        os.makedirs(os.path.join(top, directory))
    for name in ("aufs/.wh.hidden", "aufs/opaque/.wh..wh..opq", "aufs/d/.wh.hidden", ".wh..wh.plnk", ".wh.plain"):
        write(os.path.join(top, name))
    write(os.path.join(top, "aufs/opaque/in/above"), "above")


def user_scene(m):
    os.rename(m("a/b"), m("moved"))
    os.rename(m("moved/c"), m("c2"))
    os.unlink(m("moved/gone"))
    write(m("moved/added"), "added")
    os.mkdir(m("a/b"))
    os.rename(m("d"), m("d2"))
    os.chmod(m("meta"), 0o444)
    os.utime(m("meta"), ns=(10**18, 10**18 + 7))
    os.setxattr(m("meta2"), "user.x", b"y")
    os.rename(m("meta2"), m("meta3"))
    with open(m("h1"), "r+b") as file:
        file.write(b"LINKED")


@case("troot flatten makes an upper that the kernel shows to an ordinary user", modes=("user",), lower=user_tree, lowers=2,
      options=("aufs_whiteouts",), on=("trootfs",))
def flattened(m):
    user_scene(m)
    os.mkfifo(m("pipe"))
    before = facts(m(""))
    done = run(os.path.join(m.binaries, "troot"), "flatten", "-o", m.layer_options(), check_status=False)
    equal(done.returncode, 1, "flatten of an upper that is mounted")
    check("in use" in done.stderr, done.stderr)
    m.umount()
    disk = digest(m.upper)
    planned = flatten(m, "--dry-run")
    equal(digest(m.upper), disk, "the upper after a dry run")
    check("/pipe" in [s["path"] for s in planned["steps"] if s["step"] == "unsaid"], "a fifo is named as unsaid")
    told = flatten(m)
    equal(told["changes"], planned["changes"], f"changes, and what the dry run said: {told} {planned}")
    equal(flatten(m)["changes"], 0, "changes of a second run")
    m.mount(*m.options)
    same(facts(m("")), before, "the mount after flatten")
    check_usage(m)
    os.unlink(m("pipe"))  # a placeholder, a regular file to the kernel
    wanted = repr(plainly(facts(m(""))))
    m.umount()
    try:
        got = by_ordinary_kernel(m)
    except Failure as failure:
        raise Skip(f"needs user namespaces in which overlayfs mounts: {failure}") from None
    if got != wanted:
        same(eval(got), eval(wanted), "the kernel's mount")  # says where
    m.mount(*m.options)
    same(plainly(facts(m(""))), eval(wanted), "the mount after the kernel's")


if __name__ == "__main__":
    main()
