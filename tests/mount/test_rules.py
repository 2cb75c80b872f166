#!/usr/bin/env python3
"""The fourteen rules of project quota, a case (or more) that names each, on what test_project, test_quota
and test_quota_tools leave out: every kind of object and of operation, at the limit and over it, mappings past the
margin, and who may change what."""
import errno
import fcntl
import mmap
import os
import shutil
import socket
import stat
import struct
import sys

from harness import (FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE, PAGE, RENAME_EXCHANGE, Skip, case, check,
                     equal, fallocate, fill, in_process, main, names, pattern, read, refused, renameat2,
                     run, wait_until, write)

MIB = 1 << 20
MARGIN = 16 * MIB
FS_IOC_FSGETXATTR, FS_IOC_FSSETXATTR, FS_XFLAG_PROJINHERIT = 0x801c581f, 0x401c5820, 0x200
FSXATTR = struct.Struct("IIIII8x")
trootfs = {"on": ("trootfs",)}


# ---- small tools ----------------------------------------------------------------------------------------------

def project_of(path):
    """(id, inherits) as the ioctl says."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        data = fcntl.ioctl(descriptor, FS_IOC_FSGETXATTR, bytes(FSXATTR.size))
    finally:
        os.close(descriptor)
    flags, _, _, number, _ = FSXATTR.unpack(data)
    return number, bool(flags & FS_XFLAG_PROJINHERIT)


def set_project(path, number, inherit=False):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, FS_IOC_FSSETXATTR, FSXATTR.pack(FS_XFLAG_PROJINHERIT if inherit else 0, 0, 0, number, 0))
    finally:
        os.close(descriptor)


def directory(m, name, number):
    os.mkdir(m(name))
    set_project(m(name), number, inherit=True)
    return m(name)


def limit(m, number, **limits):
    m.control(f"limit project={number} " + " ".join(f"{k}={v}" for k, v in limits.items()))


def used(m, number):
    row = m.project(number)
    return row["used_bytes"], row["used_inodes"]


def make_socket(path):
    os.mknod(path, stat.S_IFSOCK | 0o644)


def agrees(m):
    """Usage is the sum over the ledger's records."""
    equal(m.control("check")[1]["differences"], "0", "differences between usage and ledger")


def lower_tree(bed):
    os.makedirs(bed.in_lower("deep/er/est"))
    write(bed.in_lower("deep/er/est/f"), pattern(10 * PAGE))
    write(bed.in_lower("deep/er/est/g"), "g")
    os.makedirs(bed.in_lower("dir/empty"))
    write(bed.in_lower("dir/f"), pattern(5 * PAGE))
    write(bed.in_lower("big"), pattern(300 * PAGE))


# ---- the rules ------------------------------------------------------------------------------------------------

@case("rule 1: every kind of object takes the parent's id where it is handed down, 0 elsewhere", lower=lower_tree, **trootfs)
def rule_1(m):
    top = (1 << 32) - 2  # the kernel takes no more
    equal(project_of(m("big")), (0, False), "a lower file")
    directory(m, "p", top)
    set_project(m("deep"), top, inherit=True)
    for base in ("p", "deep"):
        before = used(m, top)[1]
        os.mkdir(m(base, "d"))
        write(m(base, "f"))
        os.symlink("x", m(base, "s"))
        os.mkfifo(m(base, "fifo"))
        make_socket(m(base, "sock"))
        made = 5
        if m.mode == "root":
            os.mknod(m(base, "dev"), stat.S_IFCHR | 0o600, os.makedev(1, 3))
            made += 1
        equal(used(m, top)[1] - before, made, f"inodes of the project after one of each kind in {base}")
        equal(project_of(m(base, "d")), (top, True), "a directory hands it on")
        equal(project_of(m(base, "f")), (top, False), "a file does not")
    set_project(m("p"), top, inherit=False)
    os.mkdir(m("p/e"))
    equal(project_of(m("p/e")), (0, False), "made where the flag is cleared")
    write(m("p/d/g"))
    equal(project_of(m("p/d/g")), (top, False), "the directories below keep their flag")
    before = used(m, top)
    m.remount()
    equal(used(m, top), before, "kept over a remount")
    equal(project_of(m("deep")), (top, True), "of a directory that was copied up for it")
    agrees(m)


@case("rule 2: ids and the flag by the ioctls; who is not the owner is refused; files take no flag", **trootfs)
def rule_2(m):
    directory(m, "p", 9)
    write(m("p/f"))
    set_project(m("p/f"), 9, inherit=True)
    equal(project_of(m("p/f")), (9, False), "the flag is for directories")
    for number in (0, 1, 0x7fffffff, 0x80000000, 0xfffffffe):
        set_project(m("p/f"), number)
        equal(project_of(m("p/f"))[0], number, "the id that was set")
    refused(errno.EINVAL, set_project, m("p/f"), 0xffffffff)
    run("chattr", "-p", "9", m("p/f"))
    check(run("lsattr", "-p", m("p/f")).stdout.split()[0] == "9", "lsattr -p")
    if m.mode == "root":
        os.chmod(m(""), 0o755)

        def other():
            os.setresgid(m.account.gid, m.account.gid, m.account.gid)
            os.setresuid(m.account.uid, m.account.uid, m.account.uid)
            refused(errno.EPERM, set_project, m("p/f"), 10)
            refused(errno.EPERM, set_project, m("p"), 9, False)
            return True
        in_process(other)()
        equal(project_of(m("p/f")), (9, False), "nothing changed")


@case("rule 2: nobody changes an id, or the flag, from inside a user namespace", **trootfs)
def rule_2_namespaces(m):
    directory(m, "p", 9)
    write(m("p/f"))
    script = (f"import fcntl, os, struct\n"
              f"def change(path, number, flags):\n"
              f"    fd = os.open(path, os.O_RDONLY)\n"
              f"    try:\n"
              f"        fcntl.ioctl(fd, {FS_IOC_FSSETXATTR}, struct.pack('IIIII8x', flags, 0, 0, number, 0))\n"
              f"        print('changed')\n"
              f"    except OSError as error:\n"
              f"        print(error.errno)\n"
              f"change({m('p/f')!r}, 0, 0)\nchange({m('p')!r}, 9, 0)\nchange({m('p')!r}, 10, {FS_XFLAG_PROJINHERIT})\n")
    done = run("unshare", "-Ur", shutil.which("python3", path="/usr/bin") or sys.executable, "-c", script, check_status=False)
    if done.returncode != 0 and "unshare" in done.stderr:
        raise Skip(f"needs user namespaces: {done.stderr.strip()}")
    equal(done.stdout.split(), [str(errno.EINVAL)] * 3, f"answers ({done.stderr})")
    equal((project_of(m("p")), project_of(m("p/f"))), ((9, True), (9, False)), "nothing changed")


@case("rule 3: a changed id moves bytes and inode at once; the target's limits bind users, not root", lower=lower_tree, **trootfs)
def rule_3(m):
    write(m("f"), pattern(10 * PAGE))
    os.mkdir(m("d"))
    write(m("d/inside"), pattern(PAGE))
    limit(m, 5, bhard=20 * PAGE, ihard=2)
    set_project(m("f"), 5)
    equal(used(m, 5), (10 * PAGE, 1), "moved")
    set_project(m("d"), 5, inherit=True)
    equal(used(m, 5), (11 * PAGE, 2), "of a directory only itself")
    equal(project_of(m("d/inside")), (0, False), "not what is in it")
    if m.mode == "user":
        refused(errno.EDQUOT, set_project, m("d/inside"), 5)  # one inode too many
        limit(m, 5, ihard=0, bhard=11 * PAGE)
        refused(errno.EDQUOT, set_project, m("d/inside"), 5)  # one page too many
        equal(project_of(m("d/inside")), (0, False), "what was refused")
    else:
        whole = used(m, 0)
        set_project(m("d/inside"), 5)
        equal(used(m, 5), (12 * PAGE, 3), "root is not held to the target's limits")
        equal(m.project(5)["failcnt"], 0, "nothing was refused")
        set_project(m("d/inside"), 0)
        equal(used(m, 0), whole, "and back")
    limit(m, 5, ihard=0, bhard=20 * PAGE)
    before = used(m, 5)
    set_project(m("big"), 5)
    equal(used(m, 5), (before[0], before[1] + 1), "a lower file carries an id without its data")
    refused(errno.EDQUOT, write_at, m("big"), 0, b"x")  # which this would bring
    equal((project_of(m("big")), read(m("big"))), ((5, False), pattern(300 * PAGE)), "the file then")
    limit(m, 5, bhard=0)
    write_at(m("big"), 0, b"x")
    equal(used(m, 5), (before[0] + 300 * PAGE, before[1] + 1), "its data is its project's")
    set_project(m("dir/f"), 5) if m.mode == "root" else set_project(m("dir/f"), 6)
    equal(read(m("dir/f")), pattern(5 * PAGE), "a lower file carries an id, and its content")
    agrees(m)


@case("rule 4: EXDEV into a project of another id, of every kind; out and within are free, the charge follows", **trootfs)
def rule_4(m):
    directory(m, "p", 10)
    directory(m, "q", 11)
    makers = {"f": write, "d": os.mkdir, "s": lambda path: os.symlink("x", path), "fifo": os.mkfifo, "sock": make_socket}
    for name, make in makers.items():
        make(m(name))
        make(m("q", name))
        refused(errno.EXDEV, os.rename, m(name), m("p", name))
        refused(errno.EXDEV, os.rename, m("q", name), m("p", name))
        if name != "d":
            refused(errno.EXDEV, os.link, m(name), m("p", name), follow_symlinks=False)
        equal(names(m("p")), [], f"nothing came into p of {name}")
    write(m("p/g"), pattern(3 * PAGE))
    refused(errno.EXDEV, renameat2, m("p/g"), m("q/f"), RENAME_EXCHANGE)
    refused(errno.EXDEV, renameat2, m("f"), m("p/g"), RENAME_EXCHANGE)
    refused(errno.EXDEV, renameat2, m("p/g"), m("f"), RENAME_EXCHANGE)
    os.mkdir(m("p/sub"))
    os.rename(m("p/g"), m("p/sub/g"))
    os.link(m("p/sub/g"), m("p/again"))
    before = used(m, 10)
    os.rename(m("p/again"), m("out"))
    equal((used(m, 10), project_of(m("out"))), (before, (10, False)), "out: the charge follows the inode")
    os.rename(m("out"), m("p/back"))
    equal(used(m, 10), before, "what has the id may come back")
    os.rename(m("p/sub"), m("subout"))
    equal((used(m, 10), project_of(m("subout")), project_of(m("subout/g"))), (before, (10, True), (10, False)), "a directory out")
    for name in ("s", "fifo"):
        os.rename(m("q", name), m(name + "-out"))
    os.unlink(m("s-out"))
    run("rm", "-r", m("subout"), m("p"))
    wait_until(lambda: used(m, 10) == (0, 0), 2, "all given back")
    agrees(m)


def over(m, number):
    """The project's limits to below what it uses."""
    limit(m, number, bhard=PAGE, ihard=1)


@case("rule 5: at the limit and over it: unlink, rmdir, truncate down, punch, rename over never fail", **trootfs)
def rule_5(m):
    for number, at in ((20, True), (21, False)):
        base = directory(m, f"p{number}", number)
        for name in ("a", "b", "c", "t", "h"):
            write(f"{base}/{name}", pattern(8 * PAGE))
        os.makedirs(f"{base}/d/e")
        os.symlink("x", f"{base}/s")
        os.mkfifo(f"{base}/fifo")
        bytes_used, inodes_used = used(m, number)
        limit(m, number, bhard=bytes_used, ihard=inodes_used) if at else over(m, number)
        refused(errno.EDQUOT, write, f"{base}/new")
        refused(errno.EDQUOT, os.mkdir, f"{base}/new")
        with open(f"{base}/a", "r+b") as file:
            file.write(b"overwritten")  # costs nothing
        os.truncate(f"{base}/t", 4 * PAGE)
        descriptor = os.open(f"{base}/h", os.O_WRONLY)
        fallocate(descriptor, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, PAGE, 2 * PAGE)
        os.close(descriptor)
        os.rename(f"{base}/a", f"{base}/b")
        os.unlink(f"{base}/c")
        os.rmdir(f"{base}/d/e")
        os.unlink(f"{base}/s")
        os.unlink(f"{base}/fifo")
        os.link(f"{base}/b", f"{base}/link")
        os.chmod(f"{base}/b", 0o600)
        os.utime(f"{base}/b")
        os.truncate(f"{base}/b", 64 * PAGE)
        wait_until(lambda: used(m, number) == (bytes_used - (4 + 2 + 8 + 8 + 1) * PAGE, inodes_used - 5), 2,
                   f"what project {number} gave back")
        if not at:
            refused(errno.EDQUOT, write, f"{base}/new")
    agrees(m)


@case("rule 5: whiteouts at and over the limit: their directories are copied up by force", lower=lower_tree, **trootfs)
def rule_5_whiteouts(m):
    write(m("mine"), pattern(3 * PAGE))
    status = m.status()
    m.control(f"limit bhard={status['used_bytes']} ihard={status['used_inodes']}")
    refused(errno.EDQUOT, write, m("deep/er/est/new"))
    os.unlink(m("deep/er/est/f"))  # three directories are copied up
    equal(m.status()["used_bytes"], status["used_bytes"] + 3 * PAGE, "by force")
    equal(m.status()["used_inodes"], status["used_inodes"] + 3, "inodes too")
    os.rmdir(m("dir/empty"))
    m.control("limit bhard=1 ihard=1")
    os.unlink(m("dir/f"))
    run("rm", "-r", m("deep"), m("dir"))
    os.unlink(m("big"))
    equal(names(m("")), ["mine"], "names")
    os.unlink(m("mine"))
    m.remount()
    equal(names(m("")), [], "names after a remount")
    agrees(m)


@case("rule 6: timers of bytes and inodes run apart; at the soft limit they are cleared; usage over a lowered limit", **trootfs)
def rule_6(m):
    directory(m, "p", 6)
    limit(m, 6, bsoft=10 * PAGE, bhard=100 * PAGE, isoft=3)
    fill(m("p/f"), 9 * PAGE)
    equal((m.project(6)["bytes_timer"], m.project(6)["inodes_timer"]), (0, 0), "at soft exactly no timer runs")
    fill(m("p/f"), PAGE)
    row = m.project(6)
    check(row["bytes_timer"] > 0 and row["inodes_timer"] == 0, f"past soft: {row}")
    write(m("p/g"))
    write(m("p/h"))
    check(m.project(6)["inodes_timer"] > 0, "inodes past soft")
    timer = m.project(6)["bytes_timer"]
    m.control("timer project=6 bytes=1")
    refused(errno.EDQUOT, write, m("p/g"), b"x")
    write(m("p/i"))  # inodes are within their grace
    limit(m, 6, bsoft=10 * PAGE, bhard=1000 * PAGE)
    equal(m.project(6)["bytes_timer"], 1, "raising hard does not restart it")
    refused(errno.EDQUOT, write, m("p/g"), b"x")
    os.truncate(m("p/f"), 9 * PAGE)
    equal(m.project(6)["bytes_timer"], 0, "at the soft limit it is cleared")
    fill(m("p/f"), PAGE)
    check(m.project(6)["bytes_timer"] >= timer, "and starts anew")
    limit(m, 6, bsoft=0, bhard=2 * PAGE, isoft=0)
    refused(errno.EDQUOT, write, m("p/g"), b"x")
    os.truncate(m("p/f"), 5 * PAGE)
    refused(errno.EDQUOT, write, m("p/g"), b"x")
    os.truncate(m("p/f"), 0)
    write(m("p/g"), b"x")
    equal(used(m, 6)[0], 2 * PAGE, "usage in the end")


@case("rule 7: root is bound as well, by projects and by the whole; project 0 has no limit of its own", modes=("root",), **trootfs)
def rule_7(m):
    directory(m, "p", 7)
    limit(m, 7, bhard=10 * PAGE, ihard=3)
    equal(fill(m("p/f")), 9 * PAGE, "what root fits into a project")
    write(m("p/g"))
    refused(errno.EDQUOT, write, m("p/h"))
    fill(m("free"), 50 * PAGE)
    done = run(os.path.join(m.binaries, "troot"), "setquota", "-P", "0", "0", "1M", "0", "0", m(""), check_status=False)
    equal(done.returncode, 1, "a limit of project 0")
    check("limit the whole mount instead" in done.stderr, f"it says what to do: {done.stderr}")
    equal(used(m, 0)[0], 51 * PAGE, "project 0 is accounted")
    m.control(f"limit bhard={m.status()['used_bytes'] + 2 * PAGE}")
    equal(fill(m("free")), 2 * PAGE, "what root fits into the mount")


@case("rule 8: errno=enospc: every refusal says ENOSPC", options=["errno=enospc"], lower=lower_tree, **trootfs)
def rule_8(m):
    directory(m, "p", 8)
    write(m("p/f"), pattern(PAGE))
    descriptor = os.open(m("p/f"), os.O_RDWR)
    limit(m, 8, bhard=2 * PAGE, ihard=2)
    set_project(m("dir"), 8, inherit=True) if m.mode == "root" else None
    for call, arguments in ((os.pwrite, (descriptor, b"x", PAGE)), (fallocate, (descriptor, 0, 0, 9 * PAGE)), (write, (m("p/g"),)),
                            (os.mkdir, (m("p/d"),)), (os.symlink, ("x", m("p/s"))), (os.mkfifo, (m("p/fifo"),)),
                            (os.open, (m("p"), os.O_TMPFILE | os.O_RDWR))):
        refused(errno.ENOSPC, call, *arguments)
    os.close(descriptor)
    if m.mode == "user":
        write(m("g"))
        refused(errno.ENOSPC, set_project, m("g"), 8)


def zeroes_ranges(m):
    """Whether the file system of the upper does."""
    with open(write(m.base + "/zeroed", b"x"), "r+b") as file:
        try:
            fallocate(file.fileno(), FALLOC_ZERO_RANGE, 0, PAGE)
            return True
        except OSError:
            return False


@case("rule 9: each operation that grows is charged what it takes, and refused at the limit with nothing half done",
      lower=lower_tree, **trootfs)
def rule_9(m):
    directory(m, "p", 9)
    write(m("p/f"), pattern(PAGE))
    write(m("p/x"))
    write(m("source"), pattern(20 * PAGE))
    descriptor, source = os.open(m("p/f"), os.O_RDWR), os.open(m("source"), os.O_RDONLY)

    def grows(bytes_wanted, inodes_wanted, what, call, *arguments):
        before = used(m, 9)
        limit(m, 9, bhard=before[0] + bytes_wanted - 1 if bytes_wanted else 0,
              ihard=before[1] + inodes_wanted - 1 if inodes_wanted and not bytes_wanted else 0)
        refused(errno.EDQUOT, call, *arguments)
        equal(used(m, 9), before, f"usage after {what} was refused")
        limit(m, 9, bhard=before[0] + bytes_wanted if bytes_wanted else 0, ihard=before[1] + inodes_wanted if inodes_wanted else 0)
        call(*arguments)
        equal(used(m, 9), (before[0] + bytes_wanted, before[1] + inodes_wanted), f"usage after {what}")
        limit(m, 9, bhard=0, ihard=0)

    grows(0, 1, "create", write, m("p/new"))
    grows(PAGE, 1, "mkdir", os.mkdir, m("p/d"))
    grows(0, 1, "mknod", os.mkfifo, m("p/fifo"))
    grows(PAGE, 1, "symlink", os.symlink, "y" * 4000, m("p/s"))
    grows(PAGE, 0, "a write past the end", os.pwrite, descriptor, b"x", PAGE)
    grows(PAGE, 0, "a write into a hole far off", os.pwrite, descriptor, b"x", 1 << 40)
    grows(3 * PAGE, 0, "fallocate", fallocate, descriptor, 0, 10 * PAGE, 3 * PAGE)
    grows(4 * PAGE, 0, "fallocate past the end", fallocate, descriptor, FALLOC_KEEP_SIZE, 1 << 41, 4 * PAGE)
    if zeroes_ranges(m):
        grows(2 * PAGE, 0, "zeroing a range of holes", fallocate, descriptor, FALLOC_ZERO_RANGE, 100 * PAGE, 2 * PAGE)
    grows(PAGE, 0, "an xattr beyond what is free", os.setxattr, m("p/x"), "user.a", b"v" * 1500)
    grows(PAGE, 0, "a second xattr", os.setxattr, m("p/x"), "user.b", b"v" * 4000)
    before = used(m, 9)
    os.removexattr(m("p/x"), "user.b")
    equal(used(m, 9)[0], before[0] - PAGE, "an xattr that goes gives back")
    target = os.open(m("p/copy"), os.O_CREAT | os.O_WRONLY, 0o644)
    limit(m, 9, bhard=used(m, 9)[0] + 5 * PAGE)
    equal(os.copy_file_range(source, target, 20 * PAGE, 0, 0), 5 * PAGE, "copy_file_range is short")
    refused(errno.EDQUOT, os.copy_file_range, source, target, PAGE, 5 * PAGE, 5 * PAGE)
    limit(m, 9, bhard=0)
    os.ftruncate(target, 1 << 42)
    before = used(m, 9)
    os.truncate(m("p/x"), 1 << 40)
    equal(used(m, 9), before, "truncate up charges nothing")
    for each in (descriptor, source, target):
        os.close(each)
    agrees(m)


@case("rule 9: a copy-up is charged to the file's project; one that does not fit leaves the lower file", lower=lower_tree, **trootfs)
def rule_9_copy_up(m):
    status = m.status()
    m.control(f"limit bhard={status['used_bytes'] + 100 * PAGE}")
    refused(errno.EDQUOT, lambda: write_at(m("big"), 0, b"x"))
    equal(read(m("big")), pattern(300 * PAGE), "content")
    equal(m.status()["used_bytes"], status["used_bytes"], "nothing charged")
    os.chmod(m("dir"), 0o700)
    write_at(m("dir/f"), 0, b"x")
    equal(m.status()["used_bytes"], status["used_bytes"] + 6 * PAGE, "the file and its directory")
    os.truncate(m("big"), 10 * PAGE)
    equal(m.status()["used_bytes"], status["used_bytes"] + 16 * PAGE, "a truncated one: what is kept")


def write_at(path, offset, data):
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.pwrite(descriptor, data, offset)
    finally:
        os.close(descriptor)


@case("rule 10: links count once, to the last name and the last close; rm makes room at once", **trootfs)
def rule_10(m):
    directory(m, "p", 10)
    limit(m, 10, bhard=100 * PAGE)
    equal(fill(m("p/f")), 99 * PAGE, "fill")
    for i in range(5):
        os.link(m("p/f"), m(f"p/l{i}"))
    equal(used(m, 10), (100 * PAGE, 2), "six names, one charge")
    for i in range(5):
        os.unlink(m(f"p/l{i}"))
    refused(errno.EDQUOT, write, m("p/g"), b"x")
    holder = os.open(m("p/f"), os.O_RDWR)
    os.unlink(m("p/f"))
    refused(errno.EDQUOT, write, m("p/g"), b"x")
    equal(os.pread(holder, PAGE, 0), pattern(PAGE), "the open file")
    os.ftruncate(holder, 50 * PAGE)  # shrinking what has no name gives back
    write(m("p/g"), pattern(49 * PAGE))
    os.close(holder)
    write(m("p/h"), pattern(50 * PAGE))
    for _ in range(10):
        os.unlink(m("p/h"))
        write(m("p/h"), pattern(50 * PAGE))
    equal(used(m, 10), (100 * PAGE, 3), "full again")


def map_and_store(path, offset, length, data=None):
    """Stores through a shared mapping, then msync and fsync; their errnos, 0 for none."""
    descriptor = os.open(path, os.O_RDWR)
    area = mmap.mmap(descriptor, offset + length)
    area[offset:offset + length] = data or pattern(length)
    answers = []
    for sync in (area.flush, lambda: os.fsync(descriptor)):
        try:
            sync()
            answers.append(0)
        except OSError as error:
            answers.append(error.errno)
    area.close()
    os.close(descriptor)
    return answers


@case("rule 11: stores into holes at the limit are kept up to the margin, which reports show; rm gives it back", **trootfs)
def rule_11(m):
    directory(m, "p", 11)
    limit(m, 11, bhard=100 * PAGE)
    write(m("p/m"))
    os.truncate(m("p/m"), 1 << 40)  # a hole that would void any limit
    fill(m("p/f"))
    equal(map_and_store(m("p/m"), 0, 50 * PAGE), [0, 0], "msync and fsync")
    row = m.project(11)
    equal((row["used_bytes"], row["margin_bytes"]), (150 * PAGE, 50 * PAGE), "used, and the margin")
    troot = os.path.join(m.binaries, "troot")
    check("mapped    200K past the limit\n" in run(troot, "quota", "show", m(""), "11").stdout, "show")
    check("#11: 200K past the limit by mappings\n" in run(troot, "quota", "report", m("")).stdout, "report")
    refused(errno.EDQUOT, write, m("p/g"), b"x")
    equal(map_and_store(m("p/m"), 0, 50 * PAGE, b"y" * (50 * PAGE)), [0, 0], "stored again: no new pages")
    equal(m.project(11)["margin_bytes"], 50 * PAGE, "the margin then")
    os.unlink(m("p/f"))
    wait_until(lambda: m.project(11)["margin_bytes"] == 0, 2, "below the limit no margin is used")
    m.remount()
    with open(m("p/m"), "rb") as file:
        equal(file.read(50 * PAGE), b"y" * (50 * PAGE), "what was stored")
    agrees(m)


@case("rule 11: past the margin msync and fsync say EDQUOT; nothing of the server's is confused", **trootfs)
def rule_11_past(m):
    directory(m, "p", 11)
    limit(m, 11, bhard=100 * PAGE)
    write(m("p/m"))
    os.truncate(m("p/m"), MARGIN + 32 * MIB)
    answers = map_and_store(m("p/m"), 0, MARGIN + 16 * MIB, b"z" * (MARGIN + 16 * MIB))
    check(errno.EDQUOT in answers, f"msync and fsync: {[errno.errorcode.get(a, a) for a in answers]}")
    row = m.project(11)
    check(row["used_bytes"] <= 100 * PAGE + MARGIN, f"used {row['used_bytes']}, not past the margin")
    check(row["margin_bytes"] > MARGIN - MIB, f"the margin is used: {row['margin_bytes']}")
    check(row["failcnt"] > 0, "counted as refused")
    with open(m("p/m"), "rb") as file:
        equal(file.read(MIB), b"z" * MIB, "what came first is kept")
    equal(map_and_store(m("p/m"), 0, PAGE), [0, 0], "a page that has its place")
    os.unlink(m("p/m"))
    wait_until(lambda: used(m, 11) == (PAGE, 1), 2, "all given back")
    write(m("p/f"), pattern(99 * PAGE))
    agrees(m)


@case("rule 11: a lower file's mapping is copied up by force within the margin, and not beyond", automount=False,
      lower=lambda bed: (write(bed.in_lower("small"), pattern(50 * PAGE)),
                         write(bed.in_lower("large"), b"l" * (MARGIN + MIB))), **trootfs)
def rule_11_lower(m):
    m.mount()
    status = m.status()
    m.control(f"limit bhard={status['used_bytes']}")
    refused(errno.EDQUOT, write_at, m("small"), 0, b"x")
    equal(map_and_store(m("small"), PAGE, PAGE, b"s" * PAGE), [0, 0], "msync and fsync of the small one")
    equal(m.status()["used_bytes"], status["used_bytes"] + 50 * PAGE, "the whole file, by force")
    answers = map_and_store(m("large"), 0, PAGE)
    check(errno.EDQUOT in answers, f"of the large one: {answers}")
    equal(m.status()["used_bytes"], status["used_bytes"] + 50 * PAGE, "nothing more")
    m.remount()
    equal(read(m("small"))[:3 * PAGE], pattern(PAGE) + b"s" * PAGE + pattern(50 * PAGE)[2 * PAGE:3 * PAGE], "what was stored")
    equal(read(m("large")), b"l" * (MARGIN + MIB), "the large one is as it was")


@case("rule 12: df of a directory: soft before hard, the tightest of the ancestors, inodes; elsewhere the whole", **trootfs)
def rule_12(m):
    m.control(f"limit bhard={100 * MIB} ihard=1000")
    directory(m, "p", 12)
    os.makedirs(m("p/sub/deeper"))
    write(m("p/sub/f"), pattern(MIB))

    def df(path):
        s = os.statvfs(path)
        return s.f_blocks * s.f_frsize, s.f_bfree * s.f_frsize, s.f_files, s.f_ffree
    whole = (100 * MIB, 100 * MIB - m.status()["used_bytes"], 1000, 1000 - m.status()["used_inodes"])
    equal(df(m("")), whole, "the mount")
    equal(df(m("p")), whole, "a project without a limit")
    limit(m, 12, bhard=10 * MIB, ihard=50)
    mine = (10 * MIB, 10 * MIB - used(m, 12)[0], 50, 50 - used(m, 12)[1])
    for path in ("p", "p/sub", "p/sub/deeper"):
        equal(df(m(path)), mine, path)
    limit(m, 12, bsoft=5 * MIB, isoft=20)
    equal(df(m("p"))[0::2], (5 * MIB, 20), "soft before hard")
    limit(m, 12, bsoft=MIB)
    equal(df(m("p"))[:2], (MIB, 0), "over soft: nothing is free")
    limit(m, 12, bsoft=0)
    m.control("parent project=12 parent=13")
    limit(m, 13, bhard=2 * MIB)
    equal(df(m("p"))[:2], (2 * MIB, 2 * MIB - used(m, 13)[0]), "the parent's is tighter")
    equal(df(m("")), whole, "the mount still")
    set_project(m("p"), 12, inherit=False)
    equal(df(m("p"))[0], 100 * MIB, "without the flag it is the whole")


@case("rule 13: accounting goes on while nothing is enforced; what was passed then counts when it is", **trootfs)
def rule_13(m):
    directory(m, "p", 13)
    limit(m, 13, bsoft=2 * PAGE, bhard=3 * PAGE, ihard=2)
    m.control("enforce off")
    fill(m("p/f"), 50 * PAGE)
    write(m("p/g"))
    write(m("p/h"))
    row = m.project(13)
    equal((row["used_bytes"], row["used_inodes"], row["bytes_timer"], row["failcnt"]), (51 * PAGE, 4, 0, 0), "accounted, no timer")
    m.control("enforce on")
    refused(errno.EDQUOT, write, m("p/g"), b"x")
    refused(errno.EDQUOT, write, m("p/i"))
    run("rm", m("p/f"), m("p/g"), m("p/h"))
    write(m("p/f"), b"x")
    m.remount("pqnoenforce")
    equal(m.status()["enforcing"], "off", "by the option")
    fill(m("p/f"), 9 * PAGE)
    m.control("enforce on")
    refused(errno.EDQUOT, write_at, m("p/f"), 20 * PAGE, b"x")


@case("rule 14: limits hold for what is open: lowered, raised, taken away, in the middle of a write loop", **trootfs)
def rule_14(m):
    directory(m, "p", 14)
    descriptor = os.open(m("p/f"), os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
    limit(m, 14, bhard=10 * PAGE)
    equal(os.write(descriptor, pattern(20 * PAGE)), 9 * PAGE, "what fits")
    for pages_more in (1, 5, 3):
        limit(m, 14, bhard=used(m, 14)[0] + pages_more * PAGE)
        equal(os.write(descriptor, pattern(20 * PAGE)), pages_more * PAGE, f"{pages_more} more")
        refused(errno.EDQUOT, os.write, descriptor, b"x" * PAGE)
    limit(m, 14, bhard=PAGE)
    refused(errno.EDQUOT, os.write, descriptor, b"x" * PAGE)
    limit(m, 14, bhard=0)
    equal(os.write(descriptor, pattern(20 * PAGE)), 20 * PAGE, "without a limit")
    os.close(descriptor)


# ---- who may change what --------------------------------------------------------------------------------------

@case("the control socket answers its owner and root; another user gets EPERM even past the file's mode", modes=("root",), **trootfs)
def who(m):
    path = m.control_socket()
    equal(stat.S_IMODE(os.stat(path).st_mode), 0o600, "mode of the socket")

    def ask_as_other():
        os.setresgid(m.account.gid, m.account.gid, m.account.gid)
        os.setresuid(m.account.uid, m.account.uid, m.account.uid)
        link = socket.socket(socket.AF_UNIX)
        link.settimeout(10)
        try:
            link.connect(short)
        except OSError as error:
            return error.errno
        try:
            link.sendall(b"limit bhard=1\n")
        except BrokenPipeError:
            pass  # it has said no already
        return link.recv(1000).decode()
    # Reached by a link in a directory that anybody may enter.
    short = os.path.join(m.base, "s")
    os.link(path, short)
    equal(in_process(ask_as_other)(), errno.EACCES, "by the file's mode")
    os.chmod(short, 0o666)
    answer = in_process(ask_as_other)()
    check(str(answer).startswith("error 1 "), f"by the server: {answer}")
    equal(m.status()["limit_bytes"], 0, "no limit was set")
    os.unlink(short)


if __name__ == "__main__":
    main()
