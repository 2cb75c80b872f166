"""What a test may not presume of the machine it runs on, found out here for all of them: how busy it is, where it has a
disk, what its programs do otherwise in another release. Standard library only; the beds of tests/mount and tests/world
share it."""
import ctypes
import os
import subprocess
import time

MOST_PATIENCE = 12


def slowness():
    """How many times longer something takes than where it has a processor for itself: the processes that want to run for
    each processor, over the last minute or now, whichever is more; 1 to MOST_PATIENCE."""
    with open("/proc/loadavg", encoding="ascii") as file:
        words = file.read().split()
    wanting = max(float(words[0]), float(words[3].split("/")[0]))
    return min(max(1.0, wanting / len(os.sched_getaffinity(0))), MOST_PATIENCE)


class Patience:
    """A time limit that was made for an idle machine. Others may come while it runs, so it is asked, not computed once."""

    def __init__(self, seconds):
        self.begin, self.seconds, self.most = time.monotonic(), seconds, 1.0

    def left(self):
        """Seconds until it is over, by how busy the machine is now, or was when this was asked before."""
        self.most = max(self.most, slowness())
        return self.begin + self.seconds * self.most - time.monotonic()

    def over(self):
        return self.left() <= 0


class Child(subprocess.Popen):
    """A program whose time limits are those of an idle machine."""

    def _patiently(self, wait, seconds):
        patience = Patience(seconds)
        while True:
            try:
                return wait(max(0.01, patience.left()))
            except subprocess.TimeoutExpired:
                if patience.over():
                    raise

    def wait(self, timeout=None):
        return super().wait() if timeout is None else self._patiently(super().wait, timeout)

    def communicate(self, input=None, timeout=None):  # the library's names
        if timeout is None:
            return super().communicate(input)
        both = super().communicate
        return self._patiently(lambda seconds: both(input, seconds), timeout)


def complete(command, seconds, **named):
    """subprocess.run() of a Child; who takes too long is killed and subprocess.TimeoutExpired raised."""
    check = named.pop("check", False)
    if named.pop("capture_output", False):
        named.update(stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with Child(command, **named) as child:
        try:
            out, err = child.communicate(timeout=seconds)
        except BaseException:
            child.kill()
            raise
    done = subprocess.CompletedProcess(command, child.returncode, out, err)
    if check:
        done.check_returncode()
    return done


# ---- places ---------------------------------------------------------------------------------------------------

def is_memory(path):
    """Whether the file system of the path is nothing but cache."""
    device = os.stat(path).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            if before.split()[2] == number:
                return after.split()[0] in ("tmpfs", "ramfs")
    return False  # btrfs, whose numbers are not in the table


def disk_directory():
    """Where files lie on a disk: /var/tmp is a tmpfs on some machines. There, as root, a directory beside it will do;
    nobody else has one for certain."""
    for path in ("/var/tmp", "/var/cache", "/var/lib", "/"):
        if os.path.isdir(path) and os.access(path, os.W_OK) and not is_memory(path):
            return path
    return "/var/tmp"


def lock_directory():
    """Where programs of one machine lock against each other: not every system has /run/lock, /run is all that root needs."""
    return next(path for path in ("/run/lock", "/run", "/tmp") if os.path.isdir(path) and os.access(path, os.W_OK))


# ---- programs that are not everywhere, or not everywhere the same ---------------------------------------------

def cached_bytes(path):
    """What of the file is in the cache of its own file system (as fincore says, which is a package of its own in some
    releases): mincore(2) of a mapping that nobody touched."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
    libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    fd = os.open(path, os.O_RDONLY)
    try:
        size, page = os.fstat(fd).st_size, os.sysconf("SC_PAGE_SIZE")
        if size == 0:
            return 0
        at = libc.mmap(None, size, 1, 1, fd, 0)  # PROT_READ, MAP_SHARED
        if at == ctypes.c_void_p(-1).value:
            raise OSError(ctypes.get_errno(), "mmap", path)
        try:
            pages = ctypes.create_string_buffer(-(-size // page))
            if libc.mincore(at, size, pages) != 0:
                raise OSError(ctypes.get_errno(), "mincore", path)
        finally:
            libc.munmap(at, size)
        return sum(byte & 1 for byte in pages.raw) * page
    finally:
        os.close(fd)


def copy_over(source, target):
    """cp -a of all that the directory holds into another one, exactly: cp of coreutils 9.7 leaves to a file without an ACL
    the one that it got from its new directory's default."""
    subprocess.run(["cp", "-a", source + "/.", target], check=True, stdin=subprocess.DEVNULL)
    for directory, names, files in os.walk(source):
        for name in [".", *names, *files]:
            path = os.path.join(directory, name)
            copy = os.path.join(target, os.path.relpath(path, source))
            if os.path.islink(path):
                continue
            wanted = os.listxattr(path)
            for each in os.listxattr(copy):
                if each.startswith("system.posix_acl_") and each not in wanted:
                    os.removexattr(copy, each)
