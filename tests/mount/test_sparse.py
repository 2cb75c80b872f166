#!/usr/bin/env python3
"""The charging unit as tools and file systems see it: tar, cp and rsync of sparse, preallocated, lower and
copied-up files give the right bytes; du over upper objects is what the report says and what the ledger sums up to, on
ext4 (with bigalloc too), XFS, btrfs and tmpfs."""
import errno
import os
import shutil
import sys

from harness import (FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, PAGE, Skip, case, check, equal, fallocate, main,
                     pattern, read, run, write)
from images import FILE_SYSTEMS, MIB, needs, on_image

trootfs = {"on": ("trootfs",)}


def make_sparse(path, data=4):
    """Holes between pages of data, and a hole at the end."""
    with open(path, "wb") as file:
        for i in range(data):
            file.seek(i * 10 * PAGE)
            file.write(pattern(PAGE, seed=i))
        file.truncate(data * 10 * PAGE + 100)
    return path


def lower_files(bed):
    write(bed.in_lower("dense"), pattern(50 * PAGE + 17))
    make_sparse(bed.in_lower("sparse"))
    write(bed.in_lower("zeros"), bytes(8 * PAGE))
    os.mkdir(bed.in_lower("dir"))
    write(bed.in_lower("dir/small"), "small")
    make_sparse(bed.in_lower("dir/sparse"), 2)


def change(m):
    """One of each: lower, copied up, made sparse, preallocated, punched, written into."""
    for name in ("dense", "sparse"):
        shutil.copyfile(m(name), m(name + "-copy"))
    with open(m("dir/sparse"), "r+b") as file:  # copied up
        file.seek(3 * PAGE)
        file.write(b"changed")
    make_sparse(m("new-sparse"), 8)
    descriptor = os.open(m("preallocated"), os.O_CREAT | os.O_RDWR, 0o644)
    os.pwrite(descriptor, pattern(2 * PAGE), 0)
    fallocate(descriptor, 0, 4 * PAGE, 20 * PAGE)
    fallocate(descriptor, FALLOC_KEEP_SIZE, 1 << 20, 4 * PAGE)
    os.pwrite(descriptor, pattern(PAGE, seed=7), 6 * PAGE)
    os.close(descriptor)
    descriptor = os.open(m("punched"), os.O_CREAT | os.O_RDWR, 0o644)
    os.pwrite(descriptor, pattern(30 * PAGE), 0)
    fallocate(descriptor, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 5 * PAGE, 10 * PAGE)
    fallocate(descriptor, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 20 * PAGE + 100, PAGE)
    os.close(descriptor)
    write(m("zeros-new"), bytes(6 * PAGE))
    write(m("empty"))
    os.symlink("dense", m("link"))
    os.link(m("punched"), m("punched-again"))
    os.makedirs(m("tree/of/directories"))
    write(m("tree/of/f"), "f")
    os.setxattr(m("empty"), "user.large", b"x" * 3000)
    os.mkfifo(m("fifo"))


def contents(top):
    """Path to bytes, or to what a symlink says."""
    found = {}
    for directory, _, files in os.walk(top):
        for name in files:
            path = os.path.join(directory, name)
            if os.path.islink(path):
                found[os.path.relpath(path, top)] = os.readlink(path)
            elif os.path.isfile(path):
                found[os.path.relpath(path, top)] = read(path)
    return found


@case("tar -S, cp --sparse, rsync -S of lower, copied-up, sparse and preallocated files give the right bytes",
      lower=lower_files, **trootfs)
def archives(m):
    change(m)
    wanted = contents(m.mnt)
    equal(wanted["dir/sparse"][3 * PAGE:3 * PAGE + 7], b"changed", "a copied-up file")
    for round_ in ("first", "after a remount"):
        for name, command in (("tar", "mkdir out && tar -C mnt -cSf a.tar . && tar -C out -xSf a.tar"),
                              ("cp always", "cp -a --sparse=always mnt/. out"), ("cp auto", "cp -a mnt/. out"),
                              ("cp never", "cp -a --sparse=never mnt/. out"),
                              ("rsync", "rsync -aHSX mnt/ out/"), ("rsync plain", "rsync -a mnt/ out/")):
            if name.startswith("rsync"):
                if not shutil.which("rsync"):
                    print("# no rsync here: not tried", file=sys.stderr)
                    continue
            run("sh", "-ec", f"rm -rf out a.tar; {command}", cwd=m.base)
            got = contents(m.base + "/out")
            equal(sorted(got), sorted(wanted), f"names by {name}, {round_}")
            for path, data in wanted.items():
                check(got[path] == data, f"bytes of {path} by {name}, {round_}")
        m.remount()
    # And into the mount: holes stay holes, and are charged as such.
    before = m.used()
    run("sh", "-ec", "tar -C mnt -cSf a.tar new-sparse punched && mkdir mnt/in && tar -C mnt/in -xSf a.tar", cwd=m.base)
    inside = contents(m("in"))
    equal(inside, {n: wanted[n] for n in ("new-sparse", "punched")}, "bytes of what was unpacked in the mount")
    equal(m.used() - before, PAGE + sum(os.stat(m("in", n)).st_blocks * 512 for n in inside), "its charge")
    check(os.stat(m("in/new-sparse")).st_blocks * 512 == 8 * PAGE, "holes are not charged")
    agree(m)


def upper_objects(m):
    """The paths, in the mount, of what lies in the upper."""
    for directory, subdirectories, files in os.walk(m.mnt):
        for name in subdirectories + files:
            path = os.path.join(directory, name)
            if os.path.lexists(os.path.join(m.upper, os.path.relpath(path, m.mnt))):
                yield path


def agree(m):
    """du over upper objects == status == report == sum of the ledger. User xattrs beyond the first KiB are charged, and
    not data: st_blocks may leave them out."""
    seen, blocks, inodes = set(), 0, 0
    for path in upper_objects(m):
        status = os.lstat(path)
        if status.st_ino in seen:
            continue
        seen.add(status.st_ino)
        blocks += status.st_blocks * 512
        inodes += 1
    usage = m.status()
    root = os.lstat(m.mnt).st_blocks * 512
    equal((blocks + root, inodes + 1), (usage["used_bytes"], usage["used_inodes"]), "du over upper objects, and the usage")
    rows = m.control("report")
    equal(sum(int(r["used_bytes"]) for r in rows), usage["used_bytes"], "the report's sum")
    merged = {}
    for line in m.control("check"):
        merged.update(line)
    equal(merged["differences"], "0", "differences between usage and ledger")
    words = run("du", "-s", "--block-size=1", m.mnt).stdout.split()
    check(int(words[0]) >= usage["used_bytes"], "du of the whole mount counts lower files too")


@case("du over upper objects is the report and the sum of the ledger, also after a remount", lower=lower_files, **trootfs)
def du(m):
    change(m)
    run("chattr", "-p", "5", "+P", m("tree"))
    write(m("tree/g"), pattern(9 * PAGE))
    agree(m)
    before = m.status()
    m.remount()
    agree(m)
    equal({k: m.status()[k] for k in ("used_bytes", "used_inodes")}, {k: before[k] for k in ("used_bytes", "used_inodes")},
          "usage over a remount")


@case("at the limit what was allocated in a file is written to, also once the file has holes, and after a kill", **trootfs)
def allocated(m):
    os.mkdir(m("p"))
    run("chattr", "-p", "5", "+P", m("p"))
    descriptor = os.open(m("p/f"), os.O_CREAT | os.O_RDWR, 0o644)
    fallocate(descriptor, 0, 0, 6 * PAGE)
    os.pwrite(descriptor, b"x", 20 * PAGE)
    os.close(descriptor)
    m.control(f"limit project=5 bhard={m.project(5)['used_bytes']}")
    m.kill()
    m.mount(*m.options)
    descriptor = os.open(m("p/f"), os.O_RDWR)
    equal(os.pwrite(descriptor, pattern(6 * PAGE), 0), 6 * PAGE, "bytes written to what was allocated")
    try:
        os.pwrite(descriptor, b"x", 6 * PAGE)
        check(False, "a page that is not allocated fits")
    except OSError as error:
        equal(error.errno, errno.EDQUOT, "errno")
    os.close(descriptor)
    agree(m)


# ---- other file systems below ---------------------------------------------------------------------------------

def the_unit(kind):
    def body(m):
        with on_image(m, kind):
            m.mount("size=40M")
            change(m)
            charges = {os.path.relpath(p, m.mnt): os.lstat(p).st_blocks * 512 for p in upper_objects(m)}
            equal({k: charges[k] for k in ("dense-copy", "new-sparse", "preallocated", "punched", "zeros-new", "empty", "link",
                                           "tree", "fifo", "dir/sparse")},
                  {"dense-copy": 51 * PAGE, "new-sparse": 8 * PAGE, "preallocated": 26 * PAGE, "punched": 20 * PAGE,
                   "zeros-new": 6 * PAGE, "empty": PAGE, "link": 0, "tree": PAGE, "fifo": 0, "dir/sparse": 3 * PAGE}, f"charges on {kind}")
            agree(m)
            wanted = contents(m.mnt)
            usage = m.used()
            m.kill()
            os.unlink(m.control_socket())  # that of the dead server, which mount() would take for the new one's
            m.mount("size=40M")
            equal(m.used(), usage, "usage after a kill")
            again = {os.path.relpath(p, m.mnt): os.lstat(p).st_blocks * 512 for p in upper_objects(m)}
            equal({k: v for k, v in again.items() if charges[k] != v}, {}, f"charges that are other after a kill")
            equal(contents(m.mnt) == wanted, True, "contents after a kill")
            agree(m)
            # To the limit, which is the same everywhere.
            descriptor = os.open(m("fill"), os.O_CREAT | os.O_WRONLY, 0o644)
            done, room = 0, 40 * MIB - m.used()
            try:
                while True:
                    done += os.write(descriptor, pattern(MIB))
            except OSError as error:
                equal(error.errno, errno.EDQUOT, "errno")
            os.close(descriptor)
            equal(done, room, "what fits")
            agree(m)
            os.unlink(m("fill"))
            m.umount()
    return body


for each in FILE_SYSTEMS:
    case(f"the unit on {each}: the same charges, du, limit and recount as everywhere", modes=("root",), lower=lower_files,
         automount=False, **trootfs)(the_unit(each))


if __name__ == "__main__":
    main()
