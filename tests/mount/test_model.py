#!/usr/bin/env python3
"""The mount beside a plain directory: two processes make the same random system calls on both; each must
answer the same, and the trees must be the same. Calls by name and by descriptor, on open and unlinked files, through
mappings, with locks; POSIX ACLs, and as root other users who try what these allow; listings while their directory
changes; remounts in mid-sequence, and snapshots, which nobody notices.

Holes are not compared: tmpfs fills one when a mapping is read.

TROOT_MOUNT_OPS=N makes N calls (6,000), TROOT_MOUNT_SEED=N takes that seed (else the day's, and those that are
kept)."""
import ctypes
import errno
import fcntl
import mmap
import os
import random
import shutil
import stat
import struct
import time

from actors import Actor
from harness import (FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, PAGE, PASSTHROUGH, RENAME_EXCHANGE, RENAME_NOREPLACE, Failure, case, check, equal,
                     fallocate, libc, libc_call, main, renameat2, write)

OPERATIONS = int(os.environ.get("TROOT_MOUNT_OPS", 6000))
TODAY = int(time.time()) // 86400
# A seed and its number of calls. One that shows a difference is added here.
RUNS = [(int(os.environ.get("TROOT_MOUNT_SEED", TODAY)), OPERATIONS)]
if not {"TROOT_MOUNT_SEED", "TROOT_MOUNT_OPS"} & os.environ.keys():
    RUNS += [(1, 1500)]
NAMES = ["a", "b", "c", "d", "e", ".wh.a", "n" * 255]
SLOTS = 5
SET_BEFORE_S = 900_000_000  # times that were set lie before, times that were taken lie after
MOST_OBJECTS = 600  # of a tree, before a part of it is removed
PLAIN = 1  # the side of the plain directory
ACLS = ["system.posix_acl_access", "system.posix_acl_default"]
AT_FDCWD, AT_SYMLINK_FOLLOW = -100, 0x400


def acl(owner, group, other, mask=None, users=(), groups=()):
    """The bytes of a POSIX ACL (linux/posix_acl_xattr.h): named entries as pairs of id and permissions."""
    entries = [(1, owner, -1), *((2, perm, uid) for uid, perm in users), (4, group, -1),
               *((8, perm, gid) for gid, perm in groups), *([] if mask is None else [(16, mask, -1)]), (32, other, -1)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)


def some_acl(r, keep=0o7):
    """Mostly one with names; minimal ones, those that stand for a removal, and broken ones."""
    def perm():
        return r.randrange(8)
    owner = keep | perm()
    kind = r.random()
    if kind < 0.15:
        return acl(owner, perm(), perm())
    if kind < 0.2:
        return acl(owner, perm(), perm(), perm())
    if kind < 0.25:  # nothing, no entry, no mask, another version, the wrong order, half an entry
        good = acl(owner, perm(), perm())
        return r.choice((b"", good[:4], acl(owner, 7, 0, None, [(1, 7)]), b"\3" + good[1:], good[:4] + good[:3:-1],
                         good[:-4], good + good[-8:]))
    users = [(uid, perm()) for uid in range(r.choice((1, 2, 3, 3, 100)))]
    return acl(owner, perm(), perm(), perm(), users, [(gid, perm()) for gid in range(r.randrange(3))])


class Hands:
    """The calls, each made on both trees; the answers as a pair."""

    def __init__(self, roots):
        self.roots = roots
        self.slots = [{} for _ in roots]
        self.mappings = [{} for _ in roots]

    def both(self, name, arguments):
        return [self.one(side, name, arguments) for side in range(len(self.roots))]

    def one(self, side, name, arguments):
        self.side = side
        try:
            return "done", getattr(self, name)(*arguments)
        except OSError as error:
            return "refused", errno.errorcode[error.errno]

    def at(self, path):
        return os.path.join(self.roots[self.side], path)

    def fd(self, slot):
        if slot not in self.slots[self.side]:
            raise OSError(errno.EBADF, "no such slot")
        return self.slots[self.side][slot]

    # -- by name

    def mkdir(self, path, mode):
        os.mkdir(self.at(path), mode)

    def mkfifo(self, path, mode):
        os.mkfifo(self.at(path), mode)

    def symlink(self, target, path):
        os.symlink(target, self.at(path))

    links_symlinks = True  # several names of one part at a snapshot

    def link(self, path, new):
        if not self.links_symlinks and os.path.islink(self.at(path)):
            raise OSError(errno.EPERM, "a symlink")
        os.link(self.at(path), self.at(new), follow_symlinks=False)

    def unlink(self, path):
        os.unlink(self.at(path))

    def rmdir(self, path):
        os.rmdir(self.at(path))

    def rename(self, path, new, flags):
        renameat2(self.at(path), self.at(new), flags)

    def chmod(self, path, mode):
        os.chmod(self.at(path), mode)

    def chown(self, path, uid, gid):
        os.chown(self.at(path), uid, gid, follow_symlinks=False)

    def utime(self, path, seconds):
        os.utime(self.at(path), ns=(seconds * 10**9 + 1, seconds * 10**9 + 123456789), follow_symlinks=False)

    def truncate(self, path, size):
        os.truncate(self.at(path), size)

    def setxattr(self, path, name, value, flags):
        os.setxattr(self.at(path), name, value, flags, follow_symlinks=False)

    def removexattr(self, path, name):
        os.removexattr(self.at(path), name, follow_symlinks=False)

    def getxattr(self, path, name):
        return os.getxattr(self.at(path), name, follow_symlinks=False)

    def access(self, path, mode):
        return os.access(self.at(path), mode)

    def umask(self, mask):
        os.umask(mask)

    def open_as(self, path, uid, gid, flags, mode):
        """Whether another user may, and what comes of what that user makes."""
        os.setegid(gid)
        os.seteuid(uid)
        try:
            os.close(os.open(self.at(path), flags | os.O_NONBLOCK, mode))
        finally:
            os.seteuid(0)
            os.setegid(0)

    def look(self, path):
        return facts(self.at(path))

    def follow(self, path):
        return os.stat(self.at(path)).st_size if os.path.isfile(self.at(path)) else os.path.isdir(self.at(path))

    # -- by descriptor

    def open(self, slot, path, flags, mode):
        self.mappings[self.side].pop(slot, None)
        if slot in self.slots[self.side]:
            os.close(self.slots[self.side].pop(slot))
        self.slots[self.side][slot] = os.open(self.at(path), flags | os.O_NONBLOCK, mode)

    def tmpfile(self, slot, path):
        self.open(slot, path, os.O_TMPFILE | os.O_RDWR, 0o600)

    def link_slot(self, slot, path):
        source = f"/proc/self/fd/{self.fd(slot)}".encode()
        libc_call("linkat", AT_FDCWD, source, AT_FDCWD, os.fsencode(self.at(path)), AT_SYMLINK_FOLLOW)

    def close(self, slot):
        self.mappings[self.side].pop(slot, None)
        os.close(self.fd(slot))
        del self.slots[self.side][slot]

    def fstat(self, slot):
        status = os.fstat(self.fd(slot))
        return status.st_mode, status.st_size if stat.S_ISREG(status.st_mode) else 0, (
            0 if stat.S_ISDIR(status.st_mode) else status.st_nlink)

    def pread(self, slot, size, offset):
        return os.pread(self.fd(slot), size, offset)

    def pwrite(self, slot, data, offset):
        return os.pwrite(self.fd(slot), data, offset)

    def write(self, slot, data):
        return os.write(self.fd(slot), data)

    def ftruncate(self, slot, size):
        os.ftruncate(self.fd(slot), size)

    def fchmod(self, slot, mode):
        os.fchmod(self.fd(slot), mode)

    def fsync(self, slot):
        os.fsync(self.fd(slot))

    def fallocate(self, slot, mode, offset, length):
        fallocate(self.fd(slot), mode, offset, length)

    def copy(self, slot, other, size, offset, into):
        done = 0
        while done < size:
            n = os.copy_file_range(self.fd(slot), self.fd(other), size - done, offset + done, into + done)
            if n == 0:
                break
            done += n
        return done

    def flock(self, slot, how):
        fcntl.flock(self.fd(slot), how)

    def lockf(self, slot, how, length, start):
        fcntl.lockf(self.fd(slot), how, length, start)

    # -- through mappings

    def map(self, slot, writable):
        status = os.fstat(self.fd(slot))
        size = status.st_size if stat.S_ISREG(status.st_mode) else PAGE  # a removed directory's is 0 on ext4
        if not 0 < size < 1 << 24:
            return False
        access = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        self.mappings[self.side][slot] = mmap.mmap(self.fd(slot), size, mmap.MAP_SHARED, access)
        return True

    def mapped(self, slot):
        """The mapping and how much of it lies in the file: beyond that a touch is a SIGBUS."""
        if slot not in self.mappings[self.side]:
            raise OSError(errno.EBADF, "no mapping")
        mapping = self.mappings[self.side][slot]
        return mapping, min(len(mapping), os.fstat(self.fd(slot)).st_size)

    def load(self, slot):
        mapping, size = self.mapped(slot)
        return mapping[:size]

    def store(self, slot, offset, data, flush):
        mapping, size = self.mapped(slot)
        data = data[:max(0, size - offset)]
        try:
            mapping[offset:offset + len(data)] = data
        except TypeError:
            return "read-only"
        if flush:
            mapping.flush()
        # tmpfs leaves the time alone; POSIX does not. Where the kernel passes the mapping through, tmpfs decides.
        if data and (self.side == PLAIN or PASSTHROUGH):
            os.utime(self.fd(slot))
        return len(data)

    # -- all at once

    def forget_all(self):
        for slot in list(self.slots[self.side]):
            self.close(slot)
        self.mappings[self.side].clear()

    def tree(self):
        found = {}

        def add(path):
            try:
                names = sorted(os.listdir(self.at(path)))
            except OSError as error:
                found[path] = errno.errorcode[error.errno]
                return
            for name in names:
                child = os.path.join(path, name)
                try:
                    found[child] = facts(self.at(child))
                except OSError as error:
                    found[child] = errno.errorcode[error.errno]
                    continue
                if stat.S_ISDIR(found[child][0]):
                    add(child)
        add("")
        return found

    def remove_tree(self, path):
        shutil.rmtree(self.at(path))

    def list_under_change(self, path, seed):
        """A listing in small pieces, with names coming and going: those that stayed are seen once, none that never was."""
        generator = random.Random(seed)
        descriptor = os.open(self.at(path), os.O_RDONLY | os.O_DIRECTORY)
        try:
            always = set(os.listdir(self.at(path)))
            ever, seen = set(always), []
            while piece := directory_entries(descriptor):
                seen += piece
                for _ in range(generator.randrange(3)):
                    name = generator.choice(NAMES)
                    at = os.path.join(self.at(path), name)
                    try:
                        if name in always and generator.random() < 0.5:
                            os.unlink(at)
                            always.discard(name)
                        else:
                            os.close(os.open(at, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
                            ever.add(name)
                    except OSError:
                        pass
            seen = [n for n in seen if n not in (".", "..")]
            return sorted(n for n in always if seen.count(n) != 1), sorted(set(seen) - ever)
        finally:
            os.close(descriptor)


def directory_entries(descriptor, size=600):
    """Some names more of an open directory, by getdents64; [] at the end."""
    buffer = ctypes.create_string_buffer(size)
    got = libc.syscall(217 if os.uname().machine == "x86_64" else 61, descriptor, buffer, size)
    if got < 0:
        raise OSError(ctypes.get_errno(), "getdents64")
    found, at = [], 0
    while at < got:
        length = struct.unpack_from("H", buffer, at + 16)[0]
        found.append(buffer.raw[at + 19:at + length].split(b"\0")[0].decode("utf-8", "surrogateescape"))
        at += length
    return found


def facts(path):
    """What must be the same of an object in both trees."""
    status = os.lstat(path)
    mode = status.st_mode
    time_ns = status.st_mtime_ns if status.st_mtime_ns < SET_BEFORE_S * 10**9 else None
    if stat.S_ISFIFO(mode):
        time_ns = None  # what flows through it is the kernel's own, and FUSE does not tell of it
    found = [mode, status.st_uid, status.st_gid, time_ns]
    if stat.S_ISDIR(mode):
        return found + xattrs(path)
    found.append(status.st_nlink)
    if stat.S_ISLNK(mode):
        return found + [os.readlink(path)]
    found += xattrs(path)
    if stat.S_ISREG(mode):
        found.append(status.st_size)
        try:
            with open(path, "rb") as file:
                found.append(file.read())
        except OSError as error:
            found.append(errno.errorcode[error.errno])
    return found


def xattrs(path):
    try:
        return [sorted((n, os.getxattr(path, n)) for n in os.listxattr(path))]
    except OSError as error:
        return [errno.errorcode[error.errno]]


def most_value(directory):
    """How large the model's xattrs may be, so that all of an object fit together with those of the mount. On ext4 an
    object has one block for them: there the mount meets ENOSPC some bytes before a plain directory does."""
    probe = write(os.path.join(directory, "probe"))
    try:
        os.setxattr(probe, "user.probe", b"x" * 16_000)
        return 2000
    except OSError as error:
        equal(error.errno, errno.ENOSPC, "the errno of an xattr of 16,000 bytes")
        return 400
    finally:
        os.unlink(probe)


class Driver:
    def __init__(self, m, plain, seed):
        self.m, self.seed, self.random, self.count = m, seed, random.Random(seed), 0
        self.most_value = most_value(m.base)
        self.root = os.getuid() == 0
        self.actors = [Actor(lambda: Hands([m.mnt, plain])) for _ in range(2)]
        self.story = []

    def path(self):
        depth = self.random.choices((1, 2, 3), (4, 4, 2))[0]
        return "/".join(self.random.choice(NAMES) for _ in range(depth))

    def mode(self):
        """Without suid and sgid: the kernel hears a moment later that they went."""
        usual = self.random.choice((0o644, 0o755, 0o600, 0o700))
        return self.random.choice((usual, usual, usual, self.random.randrange(0o2000) | 0o700))

    def data(self):
        r = self.random
        return bytes([r.randrange(1, 256)]) * r.randrange(1, r.choice((200, 5000, 70_000)))

    def invent(self):
        r = self.random
        slot, other, offset = r.randrange(SLOTS), r.randrange(SLOTS), r.randrange(r.choice((5000, 100_000)))
        xattr = r.choice(("user.a", "user.b", "user.overlay.x"))
        locks = (fcntl.LOCK_SH | fcntl.LOCK_NB, fcntl.LOCK_EX | fcntl.LOCK_NB, fcntl.LOCK_UN)
        flags = r.choice((os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDWR, os.O_RDWR | os.O_CREAT,
                          os.O_RDWR | os.O_CREAT | os.O_EXCL, os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
                          os.O_RDWR | os.O_CREAT | os.O_APPEND, os.O_RDWR | os.O_TRUNC, os.O_RDONLY | os.O_NOFOLLOW,
                          os.O_RDONLY | os.O_DIRECTORY))
        choices = [
            (8, "mkdir", (self.path(), self.mode())), (1, "mkfifo", (self.path(), self.mode())),
            (3, "symlink", (r.choice((*NAMES[:5], ".", "b/c", "nowhere")), self.path())),
            (4, "link", (self.path(), self.path())), (6, "unlink", (self.path(),)), (4, "rmdir", (self.path(),)),
            (8, "rename", (self.path(), self.path(), r.choice((0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE)))),
            (4, "chmod", (self.path(), self.mode())), (3, "utime", (self.path(), r.randrange(SET_BEFORE_S))),
            (3, "truncate", (self.path(), offset)), (1, "access", (self.path(), r.randrange(8))),
            (3, "setxattr", (self.path(), xattr, self.data()[:self.most_value], r.choice((0, os.XATTR_CREATE, os.XATTR_REPLACE)))),
            (1, "removexattr", (self.path(), xattr)), (1, "getxattr", (self.path(), xattr)),
            (5, "setxattr", (self.path(), r.choice(ACLS), some_acl(r), r.choice((0, 0, os.XATTR_CREATE)))),
            (2, "removexattr", (self.path(), r.choice(ACLS))), (1, "getxattr", (self.path(), r.choice(ACLS))),
            (1, "umask", (r.choice((0, 0o022, 0o027, 0o077)),)),
            (4, "look", (self.path(),)), (2, "follow", (self.path(),)),
            (16, "open", (slot, self.path(), flags, self.mode())), (1, "tmpfile", (slot, self.path())),
            (1, "link_slot", (slot, self.path())), (2, "close", (slot,)), (3, "fstat", (slot,)),
            (6, "pread", (slot, 100_000, offset)), (8, "pwrite", (slot, self.data(), offset)),
            (5, "write", (slot, self.data())), (4, "ftruncate", (slot, r.choice((0, offset)))),
            (1, "fchmod", (slot, self.mode())), (1, "fsync", (slot,)),
            (2, "fallocate", (slot, r.choice((0, FALLOC_KEEP_SIZE, FALLOC_KEEP_SIZE | FALLOC_PUNCH_HOLE)), offset,
                              r.randrange(1, 20_000))),
            (2, "copy", (slot, other, r.randrange(1, 50_000), offset, r.randrange(50_000))),
            (2, "flock", (slot, r.choice(locks))),
            (2, "lockf", (slot, r.choice(locks), r.randrange(1, 100), r.randrange(100))),
            (4, "map", (slot, r.random() < 0.7)), (4, "load", (slot,)),
            (6, "store", (slot, offset % 20_000, self.data()[:9000], r.random() < 0.3)),
            (1, "list_under_change", (self.path().split("/")[0], r.randrange(1 << 30)))]
        if self.root:
            choices.append((3, "chown", (self.path(), r.randrange(3), r.randrange(3))))
            choices.append((4, "open_as", (self.path(), r.randrange(1, 4), r.randrange(1, 4),
                                           r.choice((os.O_RDONLY, os.O_RDWR, os.O_WRONLY | os.O_CREAT)), self.mode())))
        _, name, arguments = r.choices(choices, [weight for weight, _, _ in choices])[0]
        return name, arguments

    def fail(self, text):
        raise Failure(f"TROOT_MOUNT_SEED={self.seed}: call {self.count}: {text}, after\n  " + "\n  ".join(self.story[-int(os.environ.get('TROOT_MOUNT_STORY', 25)):]))

    def step(self):
        self.count += 1
        actor = self.random.choice(self.actors)
        name, arguments = self.invent()
        answers = self.do(actor, name, arguments)
        if name == "list_under_change" and answers[0][0] == "done" and answers[0][1] != ([], []):
            self.fail(f"{name}{arguments}: (not seen once, seen but never there) {answers[0][1]}")

    def do(self, actor, name, arguments):
        """A call on both trees, whose answers must be the same."""
        how, answers = actor.call("both", name, arguments)
        told = f"{self.actors.index(actor)}: {name}{tuple(short(a) for a in arguments)}"
        if how != "done":
            self.fail(f"{told}: {how} {answers}")
        self.story.append(f"{told} = {short(answers[1])}")
        del self.story[:-4000]
        if answers[0] != answers[1]:
            self.fail(f"{told}: {short(answers[0])} on the mount, {short(answers[1])} on the plain directory")
        return answers

    def compare(self):
        _, ((_, mounted), (_, plain)) = self.actors[0].call("both", "tree", ())
        if mounted != plain:
            different = {p: (short(mounted.get(p)), short(plain.get(p))) for p in {*mounted, *plain}
                         if mounted.get(p) != plain.get(p)}
            self.fail(f"the trees differ (mount, plain): {dict(list(different.items())[:4])}")
        # What was moved far down is out of reach of the paths here: the tree would only grow.
        if len(plain) > MOST_OBJECTS:
            tops = sorted(path for path, found in plain.items() if "/" not in path and isinstance(found, list) and
                          stat.S_ISDIR(found[0]))
            self.do(self.actors[0], "remove_tree", (self.random.choice(tops),))

    def remount(self):
        for actor in self.actors:
            actor.call("both", "forget_all", ())
        self.m.remount()
        self.compare()

    def end(self):
        for actor in self.actors:
            actor.end()


def short(value):
    if isinstance(value, (list, tuple)):
        return type(value)(short(v) for v in value)
    if isinstance(value, (bytes, str)) and len(value) > 20:
        return f"{value[:6]!r}…{len(value)}"
    return value


def fill(bed, seed):
    generator = random.Random(seed)

    def add(path, depth):
        for name in NAMES:
            at, kind = os.path.join(path, name), generator.random()
            if kind < 0.35 and depth < 2 and len(name) < 50:  # a longer path would not fit into a redirect: EXDEV
                os.mkdir(at)
                add(at, depth + 1)
            elif kind < 0.45:
                os.symlink(generator.choice(("a", "b", "nowhere")), at)
            elif kind < 0.8:
                write(at, bytes([generator.randrange(1, 256)]) * generator.randrange(1, 20_000), 0o644)
            if os.path.exists(at) and not os.path.islink(at) and generator.random() < 0.2:
                os.setxattr(at, generator.choice(ACLS[:2 if os.path.isdir(at) else 1]), acl(7, 5, 5, 7, [(1, 6), (2, 1)]))
    for lower in reversed(bed.lowers):  # merged directories, and names that hide others of their kind
        add(lower, 0)
    drop_clashes(bed.lowers)


def drop_clashes(lowers):
    """Where the layers disagree on the kind of a name the topmost wins; cp, which makes the plain copy, would refuse."""
    for index, lower in enumerate(lowers):
        for directory, subdirectories, files in os.walk(lower, topdown=True):
            for name in list(subdirectories) + files:
                at = os.path.join(directory, name)
                below = os.path.relpath(at, lower)
                for under in lowers[index + 1:]:
                    other = os.path.join(under, below)
                    if not os.path.lexists(other) or (os.path.isdir(at) and not os.path.islink(at)) == (
                            os.path.isdir(other) and not os.path.islink(other)):
                        continue
                    if os.path.isdir(other) and not os.path.islink(other):
                        shutil.rmtree(other)
                    else:
                        os.unlink(other)


def model(m, seed, operations, snapshots=0):
    """`snapshots`: one after so many calls."""
    Hands.links_symlinks = not snapshots
    print(f"# TROOT_MOUNT_SEED={seed}", flush=True)
    plain = os.path.join(m.base, "plain")
    os.mkdir(plain)
    for lower in reversed(m.lowers):
        equal(os.spawnlp(os.P_WAIT, "cp", "cp", "-a", "--remove-destination", lower + "/.", plain), 0, "cp")
    os.umask(0)
    driver = Driver(m, plain, seed)
    try:
        driver.compare()
        for i in range(operations):
            driver.step()
            if snapshots and i % snapshots == snapshots - 1:
                m.snapshot()
            if i % 500 == 499:
                driver.compare()
            if i % 2000 == 1999:
                driver.remount()
        driver.remount()
        if not PASSTHROUGH:
            m.check_counted_anew()
    finally:
        driver.end()
    check(driver.count == operations, "calls were left out")


for run_seed, run_operations in RUNS:
    case(f"{run_operations} random calls answer as on a plain directory", lowers=2, on=("trootfs",),
         lower=lambda bed, seed=run_seed: fill(bed, seed), seconds=120 + run_operations // 100)(
        lambda m, seed=run_seed, operations=run_operations: model(m, seed, operations))
    if not PASSTHROUGH:
        case(f"{run_operations} random calls answer as on a plain directory while snapshots are taken", lowers=2,
             on=("trootfs",), lower=lambda bed, seed=run_seed: fill(bed, seed), seconds=120 + run_operations // 100)(
            lambda m, seed=run_seed, operations=run_operations: model(m, seed, operations, 100))


if __name__ == "__main__":
    main()
