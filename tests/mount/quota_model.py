"""The rules of project quota (docs/design/unit.md) as a model without a file system: a world of
projects, directories and files that says what each operation must answer and what is charged afterwards.

Everything is plain data, so that a copy of a world (pickle) is the world before an operation.
"""
import errno

PAGE = 4096
MARGIN = 16 << 20
FREE_XATTR = 128
LIMITS, MAPPING = "limits", "mapping"


class Refused(Exception):
    """The errno that the operation must answer."""

    def __init__(self, number):
        super().__init__(errno.errorcode[number])
        self.number = number


def pages(size):
    return -(-size // PAGE)


def xattr_charge(size):
    return pages(max(0, size - FREE_XATTR)) * PAGE


class Meter:
    """Bytes or inodes of a project."""

    def __init__(self):
        self.used = self.peak = self.hard = self.margin = 0

    def room(self, how):
        if not self.hard:
            return 1 << 62
        return max(0, self.hard - self.used) + (MARGIN - self.margin if how == MAPPING else 0)

    def fits(self, delta, how):
        return delta == 0 or not self.hard or self.used + delta <= self.hard or how == MAPPING

    def take(self, delta):
        limit = self.hard or 1 << 62
        self.margin += max(0, self.used + delta - max(self.used, limit))
        self.used += delta
        self.peak = max(self.peak, self.used)

    def give(self, amount):
        self.used -= amount
        self.trim()

    def trim(self):
        self.margin = min(self.margin, max(0, self.used - (self.hard or 1 << 62)))


class Project:
    def __init__(self, number, parent=None):
        self.number, self.parent = number, parent
        self.bytes, self.inodes = Meter(), Meter()
        self.failcnt = 0


class Node:
    """A file, directory, symlink or fifo."""

    def __init__(self, kind, project=0, inherit=False):
        self.kind, self.project, self.inherit = kind, project, inherit
        self.data = bytearray()
        self.pages = set()
        self.links = 1
        self.xattrs = {}
        self.names = {}
        self.lower = False
        self.held_by = set()

    def xattr_size(self):
        return sum(len(n) + len(v) for n, v in self.xattrs.items())

    def charge(self):
        data = PAGE if self.kind == "dir" else len(self.pages) * PAGE
        return data + xattr_charge(self.xattr_size())


class World:
    def __init__(self):
        self.projects = {0: Project(0)}
        self.root = Node("dir")
        self.orphans = {}  # handle: a file that is open and may have no name any more

    # -- charging

    def chain(self, number):
        while number is not None:
            yield self.projects[number]
            number = self.projects[number].parent

    def charge(self, number, size, inodes, how=LIMITS, end=()):
        """All or nothing up the chain, but for the projects of `end`; the one that refuses counts it."""
        chain = [p for p in self.chain(number) if p.number not in end]
        for project in chain:
            if not project.bytes.fits(size, how) or not project.inodes.fits(inodes, how):
                project.failcnt += 1
                raise Refused(errno.EDQUOT)
        for project in chain:
            project.bytes.take(size)
            project.inodes.take(inodes)

    def charge_up_to(self, number, want, how):
        """How many of `want` pages fit; what does not is refused, and counted."""
        tightest = min(self.chain(number), key=lambda p: p.bytes.room(how))
        fits = min(want, tightest.bytes.room(how) // PAGE)
        tightest.failcnt += fits < want
        return fits

    def release(self, number, size, inodes, end=()):
        for project in self.chain(number):
            if project.number not in end:
                project.bytes.give(size)
                project.inodes.give(inodes)

    # -- the tree

    def find(self, path):
        node = self.root
        for name in path.split("/"):
            node = node.names[name]
        return node

    def place(self, path):
        directory, _, name = path.rpartition("/")
        return (self.find(directory) if directory else self.root), name

    def copy_up(self, node, keep=None):
        """A lower file's data is charged to project 0, which has no limit."""
        if not node.lower:
            return
        if keep is not None:
            del node.data[keep:]
            node.pages = {p for p in node.pages if p < pages(keep)}
        node.lower = False
        self.charge(0, node.charge(), 1)

    def drop(self, node):
        """A name went."""
        node.links -= 1
        if node.links == 0 and not node.held_by and not node.lower:
            self.release(node.project, node.charge(), 1)

    # -- operations, as system calls name them

    def make(self, path, kind):
        directory, name = self.place(path)
        if name in directory.names:
            raise Refused(errno.EEXIST)
        project = directory.project if directory.inherit else 0
        self.charge(project, PAGE if kind == "dir" else 0, 1)
        directory.names[name] = Node(kind, project, directory.inherit and kind == "dir")

    def open_tmpfile(self, directory, worker):
        parent = self.find(directory)
        project = parent.project if parent.inherit else 0
        self.charge(project, 0, 1)
        node = Node("file", project)
        node.links = 0
        self.orphans[worker] = node
        node.held_by = {worker}

    def hold(self, path, worker):
        node = self.find(path)
        node.held_by.add(worker)
        self.orphans[worker] = node

    def close(self, worker):
        node = self.orphans.pop(worker)
        node.held_by.discard(worker)
        if node.links == 0 and not node.held_by:
            self.release(node.project, node.charge(), 1)

    def unlink(self, path):
        directory, name = self.place(path)
        self.drop(directory.names.pop(name))

    def rmdir(self, path):
        directory, name = self.place(path)
        if directory.names[name].names:
            raise Refused(errno.ENOTEMPTY)
        self.drop(directory.names.pop(name))

    def link(self, source, target):
        node = self.find(source)
        directory, name = self.place(target)
        if name in directory.names:
            raise Refused(errno.EEXIST)
        if directory.inherit and directory.project != node.project:
            raise Refused(errno.EXDEV)
        directory.names[name] = node
        node.links += 1

    def rename(self, source, target, exchange=False):
        from_directory, old = self.place(source)
        to_directory, new = self.place(target)
        node = from_directory.names[old]
        victim = to_directory.names.get(new)
        if exchange and victim is None:
            raise Refused(errno.ENOENT)
        if victim is node:
            return
        if to_directory.inherit and node.project != to_directory.project:
            raise Refused(errno.EXDEV)
        if exchange and from_directory.inherit and victim.project != from_directory.project:
            raise Refused(errno.EXDEV)
        if exchange:
            from_directory.names[old], to_directory.names[new] = victim, node
            return
        if victim is not None and victim.names:
            raise Refused(errno.ENOTEMPTY)
        if victim is not None:
            self.drop(victim)
        del from_directory.names[old]
        to_directory.names[new] = node

    def write_node(self, node, offset, data, how=LIMITS, most=None):
        """The bytes that are taken; `most`: what a dying server got done of them."""
        self.copy_up(node)
        new = [p for p in range(offset // PAGE, pages(offset + len(data))) if p not in node.pages]
        if new:
            fits = self.charge_up_to(node.project, len(new), how)
            if fits < len(new):
                data = data[:max(0, new[fits] * PAGE - offset)]
                if not data:  # nor into pages that are there
                    raise Refused(errno.EDQUOT)
        if most is not None:
            data = data[:most]
        if data:
            self.put(node, offset, data, how)
        return len(data)

    def put(self, node, offset, data, how=LIMITS):
        touched = set(range(offset // PAGE, pages(offset + len(data))))
        new = len(touched - node.pages) * PAGE
        for project in self.chain(node.project):
            project.bytes.take(new)
        node.pages |= touched
        if len(node.data) < offset:
            node.data.extend(bytes(offset - len(node.data)))
        node.data[offset:offset + len(data)] = data

    def write(self, path, offset, data, most=None):
        return self.write_node(self.find(path), offset, data, most=most)

    def write_held(self, worker, offset, data, most=None):
        return self.write_node(self.orphans[worker], offset, data, most=most)

    def map_store(self, path, offset, data):
        """A store through a shared mapping, within the file and one page."""
        self.write_node(self.find(path), offset, data, MAPPING)

    def copy_range(self, source, target, from_offset, to_offset, length, most=None):
        node, into = self.find(source), self.find(target)
        data = bytes(node.data[from_offset:from_offset + length])
        return self.write_node(into, to_offset, data, most=most) if data else 0

    def truncate(self, path, size):
        node = self.find(path)
        self.copy_up(node, keep=min(size, len(node.data)))
        if size <= len(node.data):
            self.lose(node, {p for p in node.pages if p >= pages(size)})
            del node.data[size:]
        else:
            node.data.extend(bytes(size - len(node.data)))

    def lose(self, node, gone):
        node.pages -= gone
        self.release(node.project, len(gone) * PAGE, 0)

    def fallocate(self, path, offset, length, keep_size):
        node = self.find(path)
        new = set(range(offset // PAGE, pages(offset + length))) - node.pages
        self.charge(node.project, len(new) * PAGE, 0)
        node.pages |= new
        if not keep_size and len(node.data) < offset + length:
            node.data.extend(bytes(offset + length - len(node.data)))

    def punch(self, path, offset, length):
        node = self.find(path)
        end = min(len(node.data), offset + length)
        if offset < end:
            node.data[offset:end] = bytes(end - offset)
        first, last = pages(offset), (offset + length) // PAGE
        self.lose(node, {p for p in node.pages if first <= p < last})
        # What lies behind the end of the file goes whole, if all that is left there was meant.
        behind = {p for p in node.pages if p >= pages(len(node.data))}
        if offset + length >= len(node.data) and all(first <= p < pages(offset + length) for p in behind):
            self.lose(node, behind)

    def set_xattr(self, path, name, value):
        node = self.find(path)
        old = xattr_charge(node.xattr_size())
        without = node.xattr_size() - (len(name) + len(node.xattrs[name]) if name in node.xattrs else 0)
        grown = xattr_charge(without + len(name) + len(value)) - old
        self.resize_xattrs(node, grown)
        node.xattrs[name] = value

    def remove_xattr(self, path, name):
        node = self.find(path)
        if name not in node.xattrs:
            raise Refused(errno.ENODATA)
        old = xattr_charge(node.xattr_size())
        del node.xattrs[name]
        self.resize_xattrs(node, xattr_charge(node.xattr_size()) - old)

    def resize_xattrs(self, node, grown):
        if grown > 0:
            self.charge(node.project, grown, 0)
        else:
            self.release(node.project, -grown, 0)

    def set_project(self, path, number):
        node = self.find(path)
        if node.project == number:
            return
        shared = {p.number for p in self.chain(node.project)} & {p.number for p in self.chain(number)}
        self.charge(number, node.charge(), 1, end=shared)
        self.release(node.project, node.charge(), 1, end=shared)
        node.project = number

    def limit(self, number, size, inodes):
        project = self.projects[number]
        project.bytes.hard, project.inodes.hard = size, inodes
        project.bytes.trim()

    def server_died(self):
        """Whoever had a file open has it no more."""
        for worker in list(self.orphans):
            self.close(worker)
