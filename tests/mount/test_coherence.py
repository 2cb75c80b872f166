#!/usr/bin/env python3
"""One inode, one content: descriptors and mappings over copy-up, unlink, truncate and rename; what the
negotiation with the kernel must and must not contain, told by its effects."""
import errno
import fcntl
import mmap
import os
import struct
import subprocess

from harness import (FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE, PAGE, UNIONS, case, check, equal, fallocate,
                     in_process, libc_call, main, names, pattern, read, refused, run, wait_until, write)

AT_SYMLINK_FOLLOW = 0x400
OLD = ("overlay", "fuse-overlayfs")  # a descriptor opened before copy-up goes on reading the lower there


def lower_files(bed):
    write(bed.in_lower("file"), pattern(100_000))
    write(bed.in_lower("small"), "0123456789")
    os.mkdir(bed.in_lower("dir"))
    write(bed.in_lower("dir/f"), "f")


@case("a descriptor opened before copy-up sees what is written after it", lower=lower_files, differs=OLD)
def descriptor_over_copy_up(m):
    early = os.open(m("file"), os.O_RDONLY)
    equal(os.pread(early, 100, 4000), pattern(100_000)[4000:4100], "before")
    with open(m("file"), "r+b") as file:
        file.seek(4050)
        file.write(b"NEW CONTENT")
    wanted = bytearray(pattern(100_000))
    wanted[4050:4061] = b"NEW CONTENT"
    equal(os.pread(early, 100_000, 0), bytes(wanted), "through the early descriptor")
    os.truncate(m("file"), 10)
    equal(os.fstat(early).st_size, 10, "size through the early descriptor")
    equal(os.pread(early, 100, 0), bytes(wanted[:10]), "content after the truncate")
    os.close(early)


@case("a shared mapping made before copy-up sees what is written after it", lower=lower_files, differs=OLD)
def mapping_over_copy_up(m):
    descriptor = os.open(m("file"), os.O_RDONLY)
    with mmap.mmap(descriptor, 100_000, mmap.MAP_SHARED, mmap.PROT_READ) as early:
        equal(early[5000:5010], pattern(100_000)[5000:5010], "before")
        with open(m("file"), "r+b") as file:
            file.seek(5000)
            file.write(b"0123456789")
        equal(early[5000:5010], b"0123456789", "a page that was mapped already")
        equal(early[90_000:90_010], pattern(100_000)[90_000:90_010], "a page not touched before copy-up")
    os.close(descriptor)


@case("a writable mapping of a lower file copies it up on its first store", lower=lower_files)
def store_through_mapping(m):
    descriptor = os.open(m("file"), os.O_RDWR)
    with mmap.mmap(descriptor, 100_000) as mapping:
        mapping[70_000:70_004] = b"MMAP"
        mapping.flush()
        os.close(descriptor)
    equal(read(m("file"))[70_000:70_004], b"MMAP", "through read")
    m.remount()
    wanted = bytearray(pattern(100_000))
    wanted[70_000:70_004] = b"MMAP"
    equal(read(m("file")), bytes(wanted), "after a remount")


@case("the lower is read again after a cached copy-up: no stale zeros", lower=lower_files)
def no_stale_pages(m):
    equal(read(m("file")), pattern(100_000), "first read")
    with open(m("file"), "r+b") as file:
        file.seek(0)
        file.write(b"x")
    descriptor = os.open(m("file"), os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)
    equal(read(m("file")), b"x" + pattern(100_000)[1:], "after the cache was dropped")


@case("O_APPEND from several processes loses nothing", lower=lower_files)
def append(m):
    def appender(letter):
        def work():
            descriptor = os.open(m("small"), os.O_WRONLY | os.O_APPEND)
            for _ in range(200):
                os.write(descriptor, letter * 10)
            os.close(descriptor)
        return work
    for join in [in_process(appender(c)) for c in (b"a", b"b", b"c")]:
        join()
    content = read(m("small"))
    equal(len(content), 10 + 3 * 2000, "size")
    equal(content[:10], b"0123456789", "what was there")
    for letter in b"abc":
        equal(content.count(letter), 2000, f"bytes of {chr(letter)}")
    equal(sum(1 for i in range(10, len(content), 10) if len(set(content[i:i + 10])) != 1), 0, "torn records")


@case("open(O_TRUNC) truncates an existing file", lower=lower_files)
def open_truncates(m):
    os.close(os.open(m("file"), os.O_WRONLY | os.O_TRUNC))
    equal(os.stat(m("file")).st_size, 0, "a lower file")
    write(m("new"), pattern(10_000))
    os.close(os.open(m("new"), os.O_RDWR | os.O_TRUNC))
    equal(read(m("new")), b"", "an upper file")
    run("sh", "-c", 'echo shorter > "$0"', m("small"))
    equal(read(m("small")), b"shorter\n", "a shell's >")


@case("a second open sees no stale data", lower=lower_files)
def second_open(m):
    with open(m("small"), "rb") as early:
        early.read(4)
        def change():
            with open(m("small"), "r+b") as file:
                file.write(b"ABCDEFGHIJKLMNOP")
        in_process(change)()
        equal(read(m("small")), b"ABCDEFGHIJKLMNOP", "a second open")
        equal(os.fstat(early.fileno()).st_size, 16, "size at the first")


@case("truncate down and up, of lower and upper files", lower=lower_files)
def truncate(m):
    os.truncate(m("file"), 5000)
    equal(read(m("file")), pattern(100_000)[:5000], "down")
    os.truncate(m("file"), 9000)
    equal(read(m("file")), pattern(100_000)[:5000] + bytes(4000), "up: zeros")
    os.truncate(m("small"), 0)
    equal(read(m("small")), b"", "to nothing")
    m.remount()
    equal(read(m("file")), pattern(100_000)[:5000] + bytes(4000), "after a remount")
    refused(errno.EISDIR, os.truncate, m("dir"), 0)


@case("unlinked but open files read and write on", lower=lower_files, differs=("fuse-overlayfs",))
def open_unlinked(m):
    lower = os.open(m("file"), os.O_RDWR)
    upper = os.open(m("new"), os.O_RDWR | os.O_CREAT, 0o600)
    os.write(upper, b"upper")
    os.unlink(m("file"))
    os.unlink(m("new"))
    equal(names(m("")), ["dir", "small"], "names")
    equal(os.pread(lower, 100, 50_000), pattern(100_000)[50_000:50_100], "the lower file's content")
    os.pwrite(lower, b"written", 10)
    equal(os.pread(lower, 7, 10), b"written", "what was written to it")
    os.pwrite(upper, b"MORE", 5)
    equal(os.pread(upper, 20, 0), b"upperMORE", "the upper file's content")
    equal(os.fstat(upper).st_nlink, 0, "st_nlink")
    os.ftruncate(upper, 3)
    os.fchmod(upper, 0o640)
    equal(os.pread(upper, 20, 0), b"upp", "after ftruncate")
    os.close(lower)
    os.close(upper)
    write(m("new"), "next")
    equal(read(m("new")), b"next", "a new file of that name")


@case("a renamed-over file stays readable through its descriptor", lower=lower_files)
def renamed_over(m):
    victim = os.open(m("small"), os.O_RDONLY)
    write(m("new"), "new")
    os.rename(m("new"), m("small"))
    equal(os.read(victim, 20), b"0123456789", "the victim")
    equal(read(m("small")), b"new", "its successor")
    os.close(victim)


@case("a working directory that is removed")
def removed_cwd(m):
    os.mkdir(m("here"))
    os.chdir(m("here"))
    os.rmdir(m("here"))
    equal(os.listdir("."), [], "names in it")
    refused(errno.ENOENT, os.mkdir, "x")
    os.chdir("/")


@case("fallocate, holes and SEEK_DATA", differs=("fuse-overlayfs",))
def allocation(m):
    descriptor = os.open(m("f"), os.O_RDWR | os.O_CREAT, 0o600)
    fallocate(descriptor, 0, 0, 100_000)
    equal(os.fstat(descriptor).st_size, 100_000, "size")
    fallocate(descriptor, FALLOC_KEEP_SIZE, 100_000, 100_000)
    equal(os.fstat(descriptor).st_size, 100_000, "size kept")
    os.pwrite(descriptor, pattern(100_000), 0)
    fallocate(descriptor, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 8192, 16384)
    equal(os.pread(descriptor, 16384, 8192), bytes(16384), "the hole")
    equal(os.pread(descriptor, 8192, 0), pattern(100_000)[:8192], "before the hole")
    equal(os.pread(descriptor, 4096, 24576), pattern(100_000)[24576:28672], "behind the hole")
    equal(os.lseek(descriptor, 0, os.SEEK_HOLE), 8192, "SEEK_HOLE")
    equal(os.lseek(descriptor, 8192, os.SEEK_DATA), 24576, "SEEK_DATA")
    try:
        fallocate(descriptor, FALLOC_ZERO_RANGE, 0, 4096)
        equal(os.pread(descriptor, 4096, 0), bytes(4096), "zeroed")
    except OSError as error:  # tmpfs has no ZERO_RANGE
        equal(error.errno, errno.EOPNOTSUPP, "ZERO_RANGE")
    os.close(descriptor)


@case("a hole of a lower file is found through the mount", differs=("fuse-overlayfs",),
      lower=lambda bed: run("truncate", "-s", "1M", bed.in_lower("h")))
def lower_holes(m):
    descriptor = os.open(m("h"), os.O_RDONLY)
    equal(os.lseek(descriptor, 0, os.SEEK_HOLE), 0, "SEEK_HOLE")
    refused(errno.ENXIO, os.lseek, descriptor, 0, os.SEEK_DATA)
    os.close(descriptor)


@case("fsync of files and directories", lower=lower_files)
def synced(m):
    for path, flags in ((m("file"), os.O_RDWR), (m("dir"), os.O_RDONLY), (m("small"), os.O_RDONLY)):
        descriptor = os.open(path, flags)
        os.fsync(descriptor)
        os.fdatasync(descriptor)
        os.close(descriptor)
    descriptor = os.open(m("file"), os.O_RDWR)
    os.write(descriptor, b"x")
    os.fsync(descriptor)
    os.close(descriptor)


@case("O_DIRECT reads and writes", lower=lower_files)
def direct(m):
    buffer = mmap.mmap(-1, 4 * PAGE)
    buffer[:] = pattern(4 * PAGE, 7)
    try:
        descriptor = os.open(m("direct"), os.O_RDWR | os.O_CREAT | os.O_DIRECT, 0o600)
    except OSError as error:
        check(error.errno == errno.EINVAL, f"O_DIRECT: {error}")
        return  # a backing file system without O_DIRECT
    equal(os.pwritev(descriptor, [buffer], 0), 4 * PAGE, "written")
    back = mmap.mmap(-1, 4 * PAGE)
    equal(os.preadv(descriptor, [back], 0), 4 * PAGE, "read")
    equal(back[:], buffer[:], "content")
    os.close(descriptor)
    equal(read(m("direct")), buffer[:], "content through the cache")


@case("flock and POSIX locks between processes", lower=lower_files)
def locks(m):
    mine = os.open(m("small"), os.O_RDWR)
    fcntl.flock(mine, fcntl.LOCK_EX)
    def try_flock():
        other = os.open(m("small"), os.O_RDWR)
        refused(errno.EWOULDBLOCK, fcntl.flock, other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    in_process(try_flock)()
    fcntl.flock(mine, fcntl.LOCK_UN)
    fcntl.lockf(mine, fcntl.LOCK_EX, 5, 0)
    def try_lockf():
        other = os.open(m("small"), os.O_RDWR)
        try:
            fcntl.lockf(other, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 2)
        except OSError as error:
            check(error.errno in (errno.EACCES, errno.EAGAIN), str(error))
        else:
            raise AssertionError("a held range was locked")
        fcntl.lockf(other, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 5)
    in_process(try_lockf)()
    os.close(mine)


@case("O_TMPFILE and its link", differs=("fuse-overlayfs",))
def unnamed(m):
    try:
        descriptor = os.open(m(""), os.O_TMPFILE | os.O_RDWR, 0o600)
    except OSError as error:
        check(error.errno == errno.EOPNOTSUPP, f"O_TMPFILE: {error}")  # before Linux 6.0 and libfuse 3.17
        return
    os.write(descriptor, b"unnamed")
    equal(names(m("")), [], "names")
    libc_call("linkat", -100, f"/proc/self/fd/{descriptor}".encode(), -100, os.fsencode(m("named")), AT_SYMLINK_FOLLOW)
    equal(read(m("named")), b"unnamed", "content")
    os.close(descriptor)
    # O_EXCL: it may never have a name.
    descriptor = os.open(m(""), os.O_TMPFILE | os.O_RDWR | os.O_EXCL, 0o600)
    refused(errno.ENOENT, libc_call, "linkat", -100, f"/proc/self/fd/{descriptor}".encode(), -100,
            os.fsencode(m("never")), AT_SYMLINK_FOLLOW)
    os.close(descriptor)
    equal(names(m("")), ["named"], "names")


@case("copy_file_range from a lower to an upper file", lower=lower_files)
def copy_range(m):
    source, target = os.open(m("file"), os.O_RDONLY), os.open(m("copy"), os.O_RDWR | os.O_CREAT, 0o600)
    copied = 0
    while copied < 100_000:
        step = os.copy_file_range(source, target, 100_000 - copied)
        check(step > 0, "copy_file_range came to nothing")
        copied += step
    os.close(source)
    os.close(target)
    equal(read(m("copy")), pattern(100_000), "content")


@case("a program on the mount runs; writing to it meanwhile is ETXTBSY", lower=lower_files)
def executable(m):
    run("cp", "/bin/sleep", m("sleep"))
    equal(run(m("sleep"), "0").returncode, 0, "status")
    running = subprocess.Popen([m("sleep"), "5"])
    try:
        refused(errno.ETXTBSY, os.open, m("sleep"), os.O_WRONLY)
    finally:
        running.kill()
        running.wait()


@case("a write clears setuid and setgid; the union keeps what chmod set", lower=lower_files, differs=("fuse-overlayfs",))
def privileges(m):
    os.chmod(m("small"), 0o6755)
    equal(os.stat(m("small")).st_mode & 0o7777, 0o6755, "mode after chmod")
    def as_other():
        if os.getuid() == 0:
            os.chmod(m("small"), 0o6777)
            os.setresuid(65533, 65533, 65533)
        with open(m("small"), "r+b") as file:
            file.write(b"x")
    in_process(as_other)()
    equal(os.stat(m("small")).st_mode & 0o6000, 0, "setuid and setgid after a write")


@case("suid goes by fallocate and copy_file_range too", modes=("user",), on=("trootfs", "native"))
def privileges(m):
    write(m("from"), "abc")
    for name, change in (("f", lambda one, _: fallocate(one, 0, 0, 5000)),
                         ("g", lambda one, other: os.copy_file_range(other, one, 3, 0, 0))):
        write(m(name), "x" * 100, 0o4755)
        one, other = os.open(m(name), os.O_RDWR), os.open(m("from"), os.O_RDONLY)
        change(one, other)
        os.close(one)
        os.close(other)
        wait_until(lambda: os.stat(m(name)).st_mode & 0o7777 == 0o755, 5, f"{name} loses its suid")


@case("attribute ioctls answer", lower=lower_files, on=("trootfs",))
def attribute_ioctl(m):
    descriptor = os.open(m("file"), os.O_RDONLY)
    fsxattr = bytearray(28)
    fcntl.ioctl(descriptor, 0x801C581F, fsxattr)  # FS_IOC_FSGETXATTR
    equal(struct.unpack_from("I", fsxattr, 12)[0], 0, "a lower file's project")
    os.close(descriptor)


if __name__ == "__main__":
    main()
