"""A plain directory beside the mount, on which a program does the same: lowers that hold a tree by halves,
the plain copy of what they show, what programs said and left in both, compared.
"""
import difflib
import hashlib
import os
import random
import shutil
import stat
import subprocess
import time
import zlib

from harness import Failure, Skip, check, equal, run, write
from machine import complete, copy_over

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "TZ": "UTC",
    "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@b",
    "GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@b", "GIT_AUTHOR_DATE": "1700000000 +0000",
    "GIT_COMMITTER_DATE": "1700000000 +0000", "DEBIAN_FRONTEND": "noninteractive",
}
OLD = 1_600_000_000


def need(*programs):
    missing = [p for p in programs if not shutil.which(p, path=ENVIRONMENT["PATH"])]
    if missing:
        raise Skip(f"not installed: {', '.join(missing)}")


def sh(script, where, base, seconds=80):
    """A script in `where`; its status, and what it said with the directory's own name taken out."""
    done = complete(["sh", "-ec", script], seconds, cwd=where, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    env=ENVIRONMENT | {"HOME": base, "ROOT": where, "BASE": base,
                                       "WHICH": os.path.basename(where)})
    return done.returncode, done.stdout.decode("utf-8", "surrogateescape").replace(where, "ROOT")


# ---- making ---------------------------------------------------------------------------------------------------

def rich(root, seed, files=300):
    """A tree of everything that archivers carry: links, modes, times, xattrs, ACLs, odd names. As root, owners and
    devices as well."""
    dice = random.Random(seed)
    privileged = os.geteuid() == 0
    directories = ["."] + [f"d{i}" for i in range(8)] + [f"d{i}/s{j}" for i in range(4) for j in range(3)]
    directories += ["d0/with space", "d1/" + "n" * 255, "d2/\u00fcml\u00e4ut"]
    for each in directories:
        os.makedirs(os.path.join(root, each), exist_ok=True)
    made = []
    for number in range(files):
        name = f"f{number}" if number % 50 else (".wh.f%d" % number if number % 100 else "a\tb %d" % number)
        path = os.path.join(root, dice.choice(directories), name)
        kind = dice.random()
        if kind < 0.08:
            os.symlink(dice.choice(["f1", "../d0/f2", "/nowhere/at/all", "x" * 300]), path)
        elif kind < 0.11:
            os.mkfifo(path)
        elif kind < 0.13 and privileged:
            os.mknod(path, 0o640 | dice.choice([stat.S_IFCHR, stat.S_IFBLK]), os.makedev(1, dice.randrange(1, 200)))
        elif kind < 0.22 and made:
            os.link(dice.choice(made), path)
            continue
        else:
            write(path, dice.randbytes(dice.choice([0, 1, 700, 4096, 5000, 70_000])))
            made.append(path)
        if privileged and dice.random() < 0.4:
            os.chown(path, dice.choice([0, 1, 1234]), dice.choice([0, 5, 4321]), follow_symlinks=False)
        if not os.path.islink(path):
            # Without privilege tar cannot put xattrs on a file that it may not write.
            os.chmod(path, dice.choice([0o644, 0o600, 0o755, 0o444 if privileged else 0o640, 0o4755, 0o2755]))
        os.utime(path, ns=(OLD * 10**9, OLD * 10**9 + dice.randrange(10**15)), follow_symlinks=False)
    for path in dice.sample(made, len(made) // 3):
        os.chmod(path, os.stat(path).st_mode | 0o200)
        os.setxattr(path, "user.note", dice.randbytes(dice.choice([0, 20, 3000])))
        if privileged and dice.random() < 0.3:
            os.setxattr(path, "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))
    if shutil.which("setfacl"):
        for path in dice.sample(made, len(made) // 5):
            run("setfacl", "-m", f"u:{dice.randrange(2000, 2100)}:rw,g:77:r", path)
        for each in dice.sample(directories[1:], 5):
            run("setfacl", "-m", "u:2001:rwx", "-m", "d:u:2002:rx,d:g:77:rwx", os.path.join(root, each))
    for each in sorted(directories, key=len, reverse=True)[:-1]:
        path = os.path.join(root, each)
        os.chmod(path, dice.choice([0o755, 0o750, 0o2755, 0o1777]))
        os.setxattr(path, "user.of", each.encode()[:100])
        os.utime(path, (OLD, OLD + dice.randrange(10**6)))


def make_like(below, above, directory):
    """The directory in `above` as well, with what it is in `below`."""
    if os.path.isdir(os.path.join(above, directory)):
        return
    make_like(below, above, os.path.dirname(directory))
    source, target = os.path.join(below, directory), os.path.join(above, directory)
    os.mkdir(target)
    status = os.stat(source)
    os.chown(target, status.st_uid, status.st_gid)
    shutil.copystat(source, target)


def halve(bed):
    """Takes half of what the lowest lower holds into the topmost, so that directories are merged. Hard links stay."""
    below, above = bed.lowers[-1], bed.lowers[0]
    for directory, names, files in os.walk(below):
        names.sort()
        there = os.path.relpath(directory, below)
        keep = os.stat(directory)
        for name in sorted(files):
            path = os.path.join(directory, name)
            relative = os.path.join(there, name)
            if zlib.crc32(os.fsencode(relative)) % 2 or os.lstat(path).st_nlink > 1:
                continue
            make_like(below, above, there)
            os.rename(path, os.path.join(above, relative))
        for half in (below, above):
            if os.path.isdir(os.path.join(half, there)):
                os.utime(os.path.join(half, there), ns=(keep.st_atime_ns, keep.st_mtime_ns))
    # Times of directories moved while what they hold was made.
    for directory, _, _ in os.walk(above, topdown=False):
        other = os.stat(os.path.join(below, os.path.relpath(directory, above)))
        os.utime(directory, ns=(other.st_atime_ns, other.st_mtime_ns))


class Beside:
    """The mount of a bed, and a plain directory that began with the same."""

    def __init__(self, bed):
        self.bed, self.mnt, self.plain = bed, bed.mnt, os.path.join(bed.base, "plain")
        self.begun = time.time_ns()
        os.mkdir(self.plain)
        for lower in reversed(bed.lowers):
            copy_over(lower, self.plain)
        self.same("what the lowers hold")

    def both(self, script, what, status=0):
        """The same script in both: the same words and the same status, which is 0 unless it is said (None: any). Returns
        the words."""
        got = [sh(script, where, self.bed.base) for where in (self.mnt, self.plain)]
        if got[0] != got[1]:
            lines = list(difflib.unified_diff(got[1][1].split("\n"), got[0][1].split("\n"), "plain", "mount", n=0, lineterm=""))
            raise Failure(f"{what}: status {got[0][0]}, on the plain directory {got[1][0]}; output differs by\n" +
                          "\n".join(line[:300] for line in lines[:20]))
        if status is None:
            return got[0][1]
        equal(got[0][0], status, f"{what}: status ({got[0][1][-500:]})")
        return got[0][1]

    def same(self, what, below=".", passed_over=()):
        """Both trees are the same now."""
        got, wanted = (snapshot(os.path.join(root, below), self.begun, passed_over) for root in (self.mnt, self.plain))
        if got == wanted:
            return
        lines = [f"{name}: mount {got.get(name)}, plain {wanted.get(name)}"
                 for name in sorted(set(got) | set(wanted)) if got.get(name) != wanted.get(name)]
        raise Failure(f"{what}: {len(lines)} objects differ\n" + "\n".join(lines[:6]))

    def crash(self):
        """kill -9 of the server, and a new one."""
        if self.bed.server:
            self.bed.kill()
            self.bed.mount(*self.bed.options)


# ---- comparing ------------------------------------------------------------------------------------------------

def record_of(path, status, begun):
    """What must be equal of one object. A time after `begun` is only known to be new."""
    new = status.st_mtime_ns >= begun - 10**9
    record = [oct(status.st_mode), status.st_uid, status.st_gid, "new" if new else status.st_mtime_ns]
    if stat.S_ISLNK(status.st_mode):
        record += [os.readlink(path), "new" if new else status.st_size]
    elif stat.S_ISREG(status.st_mode):
        with open(path, "rb", opener=lambda p, f: os.open(p, f | os.O_NONBLOCK)) as file:
            record += [status.st_size, hashlib.sha256(file.read()).hexdigest()[:16]]
    elif stat.S_ISBLK(status.st_mode) or stat.S_ISCHR(status.st_mode):
        record.append(status.st_rdev)
    if not stat.S_ISLNK(status.st_mode):
        record += [(n, os.getxattr(path, n).hex()) for n in sorted(os.listxattr(path))]
    return record


def snapshot(root, begun, passed_over=()):
    """{path: what it is}, the root's own attributes left out."""
    found, first = {}, {}

    def add(directory, shown):
        for entry in sorted(os.scandir(directory), key=lambda e: e.name):
            name = shown + entry.name
            if name in passed_over:
                continue
            status = os.lstat(entry.path)
            check(entry.inode() == status.st_ino, f"{name}: d_ino {entry.inode()}, st_ino {status.st_ino}")
            found[name] = record_of(entry.path, status, begun)
            if stat.S_ISDIR(status.st_mode):
                add(entry.path, name + "/")
            else:
                found[name] += [status.st_nlink, "same as", first.setdefault(status.st_ino, name)]

    add(root, "")
    return found
