#!/usr/bin/env python3
"""What fsync of many files says and asks for: errors of a disk that fails while files are begun ahead of
their fsync, told by each file's own fsync."""
import errno
import os
import time

from harness import PAGE, Skip, case, check, equal, main, mounted, pattern, read, run, write
from images import move_layers, needs

MIB = 1 << 20
FILES = 600  # more than descriptors are cached
BYTES = 8 * PAGE


class Holey:
    """An ext4 whose used blocks are there, and whose free ones are not: its image lies in a tmpfs that can be filled up,
    with the free blocks punched out. From then on what is written to new blocks fails, as late as a disk does that is
    broken there: not at the write, but at the write-back."""

    def __init__(self, m):
        self.m, self.memory, self.point = m, m.base + "/memory", m.base + "/fs"
        needs("mkfs.ext4")
        needs("fstrim")
        for directory in (self.memory, self.point):
            os.mkdir(directory)

    def __enter__(self):
        m = self.m
        image = m.base + "/image"
        with open(image, "wb") as file:
            file.truncate(64 * MIB)
        run("mkfs.ext4", "-q", "-F", "-b", "4096", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0", image)
        run("mount", "-t", "tmpfs", "-o", "size=80M", "tmpfs", self.memory)
        try:
            self.fill(image)
        except BaseException:
            self.__exit__()
            raise
        return self

    def fill(self, image):
        m = self.m
        # mkfs too leaves holes where it would write zeros.
        run("cp", "--sparse=never", image, self.memory + "/whole", seconds=60)
        os.unlink(image)
        run("mount", "-o", "loop", self.memory + "/whole", self.point)
        move_layers(m, self.point)
        m.check_work_clean = lambda: None  # it goes with its file system

    def fail(self):
        run("sync", "-f", self.point)
        if run("fstrim", self.point, check_status=False).returncode != 0:
            raise Skip("a loop device here takes no discard")
        with open(self.memory + "/balloon", "wb", buffering=0) as balloon:
            for _ in range(3):  # some room comes back a little later
                self.blow_up(balloon)
                time.sleep(0.05)

    @staticmethod
    def blow_up(balloon):
        try:
            while balloon.write(b"\0" * PAGE) == PAGE:
                pass
        except OSError as error:
            equal(error.errno, errno.ENOSPC, "the tmpfs is full")

    def mend(self):
        os.unlink(self.memory + "/balloon")

    def remount(self):
        """With nothing cached of it."""
        run("umount", self.point)
        run("mount", "-o", "loop", self.memory + "/whole", self.point)

    def __exit__(self, *_):
        if self.m.server:
            self.m.kill()
        for path in (self.point, self.memory):
            if mounted(path):
                run("umount", "-l", path)


def sync(path):
    """The errno of fsync."""
    fd = os.open(path, os.O_WRONLY)
    try:
        os.fsync(fd)
    except OSError as error:
        return error.errno
    finally:
        os.close(fd)
    return 0


def in_turn(files):
    return [sync(path) for path in files]


def by_thirds(files):
    """Others are begun, and passed over; the server's caches have long dropped them when their turn comes."""
    told = dict((i, sync(files[i])) for third in range(3) for i in range(third, FILES, 3))
    return [told[i] for i in range(FILES)]


def fail_under(m, sync_all):
    with Holey(m) as disk:
        m.mount()
        files = [m(f"f{i:03}") for i in range(FILES)]
        for path in files:
            write(path, b"")
        disk.fail()
        for path in files:
            write(path, pattern(BYTES))
        told = sync_all(files)
        again = in_turn(files)
        m.kill()
        disk.mend()
        disk.remount()
        kept = [read(f"{m.upper}/f{i:03}") == pattern(BYTES) for i in range(FILES)]
        print(f"# of {FILES} files {FILES - told.count(0)} told, {kept.count(False)} lost", flush=True)
        equal([i for i in range(FILES) if told[i] == 0 and not kept[i]], [], "files that were lost, and nobody was told")
        if all(kept):
            raise Skip("the disk did not fail")
        equal(again, [0] * FILES, "what each fsync said again, with nothing new")
        m.mount()
        for i, path in enumerate(files):
            write(path, pattern(BYTES, i))
        equal(in_turn(files), [0] * FILES, "on a disk that is well again")


FAILING = {"modes": ("root",), "automount": False, "options": ["ledger=memory"], "seconds": 60, "on": ("trootfs",)}


@case("a disk that fails under files that are begun ahead: none whose data is lost hears that all is well", **FAILING)
def failing(m):
    fail_under(m, in_turn)


@case("nor where its turn comes late", **FAILING)
def failing_late(m):
    fail_under(m, by_thirds)


if __name__ == "__main__":
    main()
