#!/usr/bin/env python3
"""One inode, one content: random schedules of two programs that open, map, read, write, store, truncate
and close a lower file while it is copied up and caches are emptied. Each sees the other's bytes at once.

TROOT_SCHEDULES=N runs N schedules (1,000), TROOT_SCHEDULES_SEED=N takes that seed (else the day's)."""
import mmap
import os
import random
import time

from actors import Actor
from harness import PAGE, Failure, case, equal, main, pattern, read, write

SCHEDULES = int(os.environ.get("TROOT_SCHEDULES", 1000))
SEED = int(os.environ.get("TROOT_SCHEDULES_SEED", int(time.time()) // 86400))
OTHERS = 600  # more than the server keeps descriptors
STEPS = 14


class Program:
    """Descriptors and mappings of one program."""

    def __init__(self):
        self.descriptor = self.mapping = None

    def open(self, path, flags):
        self.descriptor = os.open(path, flags)

    def close(self):
        os.close(self.descriptor)
        self.descriptor = None

    def map(self, size, writable):
        """A shared mapping; it outlives the descriptor."""
        access = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        self.mapping = mmap.mmap(self.descriptor, size, flags=mmap.MAP_SHARED, prot=access)

    def unmap(self):
        self.mapping.close()
        self.mapping = None

    def read(self, offset, size):
        return os.pread(self.descriptor, size, offset)

    def direct(self, path):
        """Past the page cache."""
        buffer = mmap.mmap(-1, 16 * PAGE)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECT)
        try:
            return buffer[:os.preadv(descriptor, [buffer], 0)]
        finally:
            os.close(descriptor)
            buffer.close()

    def write(self, offset, data):
        return os.pwrite(self.descriptor, data, offset)

    def append(self, path, data):
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
        try:
            return os.write(descriptor, data)
        finally:
            os.close(descriptor)

    def truncate(self, size):
        os.ftruncate(self.descriptor, size)

    def load(self, offset, size):
        return self.mapping[offset:offset + size]

    def store(self, offset, data):
        self.mapping[offset:offset + len(data)] = data

    def flush(self):
        self.mapping.flush()

    def evict(self):
        os.fsync(self.descriptor)
        os.posix_fadvise(self.descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


class Schedule:
    def __init__(self, m, programs, generator, path, data):
        self.m, self.programs, self.random, self.path = m, programs, generator, path
        self.data, self.story = bytearray(data), []
        self.opened = {}  # program: whether for writing
        self.mapped = {}  # program: (bytes, writable)

    def do(self, program, name, *arguments):
        shown = [f"{len(a)} bytes" if isinstance(a, bytes) else a for a in arguments]
        self.story.append(f"{self.programs.index(program)}: {name} {shown}")
        how, value = program.call(name, *arguments)
        if how != "done":
            raise Failure(f"{self.path}: {how} {value}, after {self.story}")
        return value

    def same(self, got, wanted):
        if got == wanted:
            return
        at = next((i for i, (a, b) in enumerate(zip(got, wanted)) if a != b), min(len(got), len(wanted)))
        raise Failure(f"{self.path}: {len(got)} bytes, wanted {len(wanted)}; they differ from {at} on: {got[at:at + 8]!r}, "
                      f"not {wanted[at:at + 8]!r}, after {self.story}")

    def look(self, program):
        """All that a program can see of the file is what the last one wrote."""
        if program in self.opened:
            self.same(self.do(program, "read", 0, 1 << 20), bytes(self.data))
        if program in self.mapped:
            size = min(self.mapped[program][0], len(self.data))
            self.same(self.do(program, "load", 0, size), bytes(self.data[:size]))

    def put(self, offset, data):
        self.data.extend(bytes(max(0, offset - len(self.data))))
        self.data[offset:offset + len(data)] = data

    def step(self):
        r, program = self.random, self.random.choice(self.programs)
        size, opened, mapped = len(self.data), self.opened.get(program), self.mapped.get(program)
        fresh = bytes([r.randrange(1, 256)])
        kind = r.choices(("open", "map", "write", "store", "truncate", "close", "evict", "chmod", "append", "direct",
                          "others"), (8, 8, 8, 8, 4, 3, 4, 2, 3, 2, 1 if r.random() < 0.1 else 0))[0]
        if kind == "open" and opened is None:
            writable = r.random() < 0.6
            self.do(program, "open", self.path, os.O_RDWR if writable else os.O_RDONLY)
            self.opened[program] = writable
        elif kind == "map" and opened is not None and mapped is None and size:
            self.do(program, "map", size, opened)
            self.mapped[program] = (size, opened)
        elif kind == "write" and opened:
            offset, data = r.randrange(size + 3000), fresh * r.randrange(1, 2 * PAGE)
            equal(self.do(program, "write", offset, data), len(data), "count")
            self.put(offset, data)
        elif kind == "store" and mapped and mapped[1] and size:
            most = min(mapped[0], size)
            offset = r.randrange(most)
            data = fresh * min(r.randrange(1, PAGE), most - offset)
            self.do(program, "store", offset, data)
            self.put(offset, data)
            if r.random() < 0.4:
                self.do(program, "flush")
        elif kind == "truncate" and opened:
            to = r.choice((0, r.randrange(size + 1), r.randrange(6 * PAGE)))
            self.do(program, "truncate", to)
            del self.data[to:]
            self.data.extend(bytes(to - len(self.data)))
        elif kind == "close" and opened is not None:
            if mapped and r.random() < 0.5:
                self.do(program, "unmap")
                del self.mapped[program]
            self.do(program, "close")
            del self.opened[program]
        elif kind == "evict" and opened is not None:
            self.do(program, "evict")
        elif kind == "chmod":  # copies up what nobody wrote to
            self.story.append("chmod")
            os.chmod(self.path, 0o600 + r.randrange(0o100))
        elif kind == "append":
            equal(self.do(program, "append", self.path, fresh * 100), 100, "count")
            self.put(size, fresh * 100)
        elif kind == "direct":
            self.same(self.do(program, "direct", self.path), bytes(self.data))
        elif kind == "others":  # empties the server's cache of descriptors
            self.story.append("reads others")
            for i in range(OTHERS):
                read(self.m(f"others/{i}"))

    def run(self):
        for _ in range(STEPS):
            self.step()
            for program in self.programs:
                self.look(program)
        for program in list(self.mapped):
            self.do(program, "unmap")
        for program in list(self.opened):
            self.do(program, "close")
        self.same(read(self.path), bytes(self.data))


def lower_files(bed):
    generator = random.Random(SEED)
    os.mkdir(bed.in_lower("d"))
    os.mkdir(bed.in_lower("others"))
    for i in range(SCHEDULES):
        write(bed.in_lower(f"d/{i}"), pattern(generator.randrange(1, 5 * PAGE), i), 0o644)
    for i in range(OTHERS):
        write(bed.in_lower(f"others/{i}"), f"{i}")


@case(f"{SCHEDULES} random schedules of two programs on a lower file give right bytes, at once and after a remount",
      lower=lower_files, differs=("overlay", "fuse-overlayfs"), seconds=240 + SCHEDULES // 5)
def schedules(m):
    generator = random.Random(SEED)
    programs = [Actor(Program), Actor(Program)]
    contents = []
    try:
        for i in range(SCHEDULES):
            schedule = Schedule(m, programs, generator, m(f"d/{i}"), read(m(f"d/{i}")))
            schedule.run()
            contents.append(bytes(schedule.data))
    except Failure as failure:
        raise Failure(f"TROOT_SCHEDULES_SEED={SEED}: {failure}") from None
    finally:
        for program in programs:
            program.end()
    m.remount()
    for i, content in enumerate(contents):
        equal(read(m(f"d/{i}")), content, f"TROOT_SCHEDULES_SEED={SEED}: d/{i} after a remount")


if __name__ == "__main__":
    main()
