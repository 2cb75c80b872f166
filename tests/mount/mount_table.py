"""What is mounted where, here and in other mount namespaces."""
import ctypes
import os

CLONE_NEWNS, MS_REC, MS_PRIVATE, MNT_DETACH = 0x20000, 0x4000, 1 << 18, 2
libc = ctypes.CDLL(None, use_errno=True)


def own_mounts():
    """A mount namespace for this process and its children, if that is allowed: no other gets a copy of what they mount.

    A FUSE server lives as long as anybody has its mount, and who makes a namespace takes along all that is mounted."""
    if libc.unshare(CLONE_NEWNS) != 0:
        return False
    return libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) == 0


def leave_others():
    """Takes the mounts of trootfs out of a namespace that was just made: their servers can end, and one that hangs
    concerns nobody here who asks all there are."""
    with open("/proc/self/mounts", "rb") as file:
        found = [line.split(b" ") for line in file]
    for _, point, kind, *_ in reversed(found):
        if kind == b"fuse.trootfs":
            libc.umount2(point.decode("unicode_escape").encode("latin-1"), MNT_DETACH)


def has_mount(path, process="self"):
    escaped = path.replace("\\", "\\134").replace(" ", "\\040").replace("\n", "\\012").replace("\t", "\\011")
    with open(f"/proc/{process}/mounts", encoding="utf-8", errors="surrogateescape") as file:
        return any(line.split(" ")[1] == escaped for line in file)


def mounted(path):
    """Whether something is mounted at `path`, told without touching it."""
    return has_mount(path)


def holders(path):
    """The processes that have something mounted at `path`, in words."""
    found = []
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            if has_mount(path, process):
                with open(f"/proc/{process}/comm", encoding="utf-8", errors="replace") as file:
                    found.append(f"{file.read().strip()} ({process})")
        except OSError:
            pass
    return "it is still mounted for " + ", ".join(found) if found else "nobody has it mounted"
