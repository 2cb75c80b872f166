"""All kinds of operations on a tree, drawn by a seed: what fsstress is for. Several processes work on the same names. An
operation may fail as it likes, but for errors that say that something is broken. Standard library only."""
import ctypes
import errno
import fcntl
import mmap
import os
import random
import stat
import struct
import sys

PAGE = 4096
FICLONE = 0x40049409
FS_IOC_FSGETXATTR, FS_IOC_FSSETXATTR = 0x801c581f, 0x401c5820
KEEP_SIZE, PUNCH_HOLE, COLLAPSE, ZERO, INSERT = 1, 2, 8, 16, 32
LARGEST = 600 * 1024
BROKEN = {errno.EIO, errno.EUCLEAN, errno.EBADF, errno.EFAULT, errno.ENOSYS, errno.ENOMEM}
libc = ctypes.CDLL(None, use_errno=True)


def call(name, *arguments):
    function = getattr(libc, name)
    if function(*arguments) < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


class Stressor:
    def __init__(self, top, seed):
        self.top, self.random, self.open = top, random.Random(seed), []
        self.done, self.said = {}, []
        self.operations = [getattr(self, n) for n in dir(self) if n.startswith("do_")]
        # What changes the allocation of files comes more often.
        self.weights = [4 if n.__name__ in DATA else 2 if n.__name__ == "do_create" else 1 for n in self.operations]

    def directory(self):
        return self.below(self.random.choice((0, 1, 1, 2)))

    def below(self, depth):
        return os.path.join(self.top, *(f"d{self.random.randrange(3)}" for _ in range(depth)))

    def name(self):
        return os.path.join(self.directory(), f"f{self.random.randrange(12)}")

    def place(self):
        """An offset and a length, now at a page's edge, now not."""
        offset = self.random.randrange(LARGEST)
        length = self.random.choice((1, 100, PAGE, 5 * PAGE, 40 * PAGE, 100 * PAGE))
        if self.random.random() < 0.5:
            offset -= offset % PAGE
        else:
            length = self.random.randrange(1, length + 1)
        return offset, length

    def file(self, flags=os.O_RDWR):
        """A descriptor of a file: of a name, or one that is held open and may have none any more."""
        if self.open and self.random.random() < 0.15:
            return os.dup(self.random.choice(self.open))
        descriptor = os.open(self.name(), flags | os.O_NOFOLLOW | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "no file")
        return descriptor

    def with_file(self, work, flags=os.O_RDWR):
        descriptor = self.file(flags)
        try:
            work(descriptor)
        finally:
            os.close(descriptor)

    def step(self):
        operation = self.random.choices(self.operations, self.weights)[0]
        try:
            operation()
            self.done[operation.__name__] = self.done.get(operation.__name__, 0) + 1
        except OSError as error:
            if error.errno in (errno.ENOTCONN, errno.ECONNABORTED):
                return False  # the server was ended
            if error.errno in BROKEN:
                self.said.append(f"{operation.__name__}: {error}")
        return True

    # ---- data
    def do_create(self):
        os.close(os.open(self.name(), os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644))

    def do_write(self):
        offset, length = self.place()
        self.with_file(lambda d: os.pwrite(d, self.random.randbytes(min(length, 64)) * (length // 64 + 1), offset))

    def do_append(self):
        self.with_file(lambda d: os.write(d, b"a" * self.place()[1]), os.O_RDWR | os.O_APPEND)

    def do_direct(self):
        page = mmap.mmap(-1, 4 * PAGE)
        page.write(b"d" * 4 * PAGE)
        self.with_file(lambda d: os.pwrite(d, page, self.place()[0] // PAGE * PAGE), os.O_RDWR | os.O_DIRECT)

    def do_read(self):
        self.with_file(lambda d: os.pread(d, LARGEST, 0), os.O_RDONLY)

    def do_truncate(self):
        self.with_file(lambda d: os.ftruncate(d, self.random.choice((0, self.place()[0], self.place()[0], os.fstat(d).st_size))))

    def do_fallocate(self):
        offset, length = self.place()
        self.with_file(lambda d: call("fallocate", d, 0, ctypes.c_long(offset), ctypes.c_long(length)))

    def do_keep_size(self):
        offset, length = self.place()
        self.with_file(lambda d: call("fallocate", d, KEEP_SIZE, ctypes.c_long(offset), ctypes.c_long(length)))

    def do_punch(self):
        offset, length = self.place()
        self.with_file(lambda d: call("fallocate", d, KEEP_SIZE | PUNCH_HOLE, ctypes.c_long(offset), ctypes.c_long(length)))

    def do_punch_end(self):
        self.with_file(lambda d: call("fallocate", d, KEEP_SIZE | PUNCH_HOLE,
                                      ctypes.c_long(max(0, os.fstat(d).st_size - 2 * PAGE)), ctypes.c_long(1 << 20)))

    def do_zero(self):
        offset, length = self.place()
        mode = ZERO | self.random.choice((0, KEEP_SIZE))
        self.with_file(lambda d: call("fallocate", d, mode, ctypes.c_long(offset), ctypes.c_long(length)))

    def do_shift(self):
        offset, length = self.place()
        mode = self.random.choice((COLLAPSE, INSERT))
        self.with_file(lambda d: call("fallocate", d, mode, ctypes.c_long(offset // PAGE * PAGE), ctypes.c_long(PAGE)))

    def do_copy_range(self):
        (offset, length), (to, _) = self.place(), self.place()
        self.with_file(lambda s: self.with_file(lambda d: os.copy_file_range(s, d, length, offset, to)), os.O_RDONLY)

    def do_clone(self):
        self.with_file(lambda s: self.with_file(lambda d: fcntl.ioctl(d, FICLONE, s)), os.O_RDONLY)

    def do_map(self):
        def work(descriptor):
            size = os.fstat(descriptor).st_size
            if size < 2 * PAGE:
                return
            with mmap.mmap(descriptor, PAGE * 2, offset=self.random.randrange(size // PAGE - 1) * PAGE) as view:
                # One that is cut meanwhile would be a SIGBUS: read(2) into the mapping says EFAULT instead.
                with open("/dev/urandom", "rb", buffering=0) as source:
                    try:
                        source.readinto(view)
                    except OSError:
                        pass
                try:
                    view.flush()
                except OSError:
                    pass
        self.with_file(work)

    def do_fsync(self):
        self.with_file(self.random.choice((os.fsync, os.fdatasync)))

    def do_forget(self):
        """Its pages leave the cache; those that are read ahead come back as they like."""
        self.with_file(lambda d: os.posix_fadvise(d, 0, 0, os.POSIX_FADV_DONTNEED), os.O_RDONLY)

    # ---- names
    def do_mkdir(self):
        os.mkdir(self.below(self.random.choice((1, 2))))

    def do_rmdir(self):
        os.rmdir(self.below(self.random.choice((1, 2))))

    def do_unlink(self):
        os.unlink(self.name())

    def do_unlink_open(self):
        path = self.name()
        self.open.append(os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK))
        os.unlink(path)

    def do_tmpfile(self):
        self.open.append(os.open(self.directory(), os.O_TMPFILE | os.O_RDWR, 0o600))

    def do_close(self):
        if self.open:
            os.close(self.open.pop(self.random.randrange(len(self.open))))

    def do_link(self):
        os.link(self.name(), self.name(), follow_symlinks=False)

    def do_symlink(self):
        os.symlink("x" * self.random.choice((5, 80)), self.name())

    def do_rename(self):
        os.rename(self.name(), self.name())

    def do_rename_directory(self):
        os.rename(self.below(1), self.below(2))

    def do_exchange(self):
        call("renameat2", -100, os.fsencode(self.name()), -100, os.fsencode(self.name()), 2)

    def do_mknod(self):
        os.mknod(self.name(), self.random.choice((stat.S_IFIFO, stat.S_IFSOCK)) | 0o644)

    # ---- attributes
    def do_set_xattr(self):
        os.setxattr(self.name(), f"user.{self.random.randrange(3)}", b"v" * self.random.choice((10, 1500)), follow_symlinks=False)

    def do_remove_xattr(self):
        os.removexattr(self.name(), f"user.{self.random.randrange(3)}", follow_symlinks=False)

    def do_chown(self):
        os.chown(self.name(), self.random.randrange(3), 0, follow_symlinks=False)

    def do_chmod(self):
        os.chmod(self.name(), self.random.choice((0o644, 0o4755, 0o600)))

    def do_times(self):
        os.utime(self.name(), (1, self.random.randrange(1 << 30)))

    def do_chproj(self):
        def work(descriptor):
            attributes = bytearray(28)
            fcntl.ioctl(descriptor, FS_IOC_FSGETXATTR, attributes)
            flags, extent, count, _, cow, rest = struct.unpack("=IIIII8s", attributes)
            fcntl.ioctl(descriptor, FS_IOC_FSSETXATTR,
                        struct.pack("=IIIII8s", flags, extent, count, self.random.choice((0, 7, 8)), cow, rest))
        self.with_file(work)


DATA = {"do_write", "do_truncate", "do_fallocate", "do_keep_size", "do_punch", "do_zero", "do_copy_range", "do_punch_end"}


def work(top, seed, steps):
    """The body of one process."""
    stressor = Stressor(top, seed)
    for _ in range(steps):
        if not stressor.step():
            return 0
    for line in stressor.said[:5]:
        print(f"seed {seed}: {line}", file=sys.stderr)
    return 1 if stressor.said else 0


def start(top, seed, steps, processes=4):
    """Pids of children that work on `top`; wait(pids) says how many of them met something broken."""
    sys.stdout.flush()
    sys.stderr.flush()
    pids = []
    for i in range(processes):
        pid = os.fork()
        if pid == 0:
            status = 99
            try:
                status = work(top, seed * 1000 + i, steps)
            except BaseException as error:
                print(f"seed {seed}: {error!r}", file=sys.stderr)
            finally:
                os._exit(status)
        pids.append(pid)
    return pids


def wait(pids):
    return sum(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0 for pid in pids)
