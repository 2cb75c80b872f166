"""Layers on a file system of a given kind, made in a file for one case."""
import contextlib
import os
import shutil

from harness import Skip, run

MIB = 1 << 20
# The program that is needed, what makes the file system, and its size in MiB.
FILE_SYSTEMS = {"ext4": ("mkfs.ext4", "mkfs.ext4 -q -F -b 4096", 96),
                "ext4 with bigalloc": ("mkfs.ext4", "mkfs.ext4 -q -F -b 4096 -O bigalloc -C 65536", 128),
                "xfs": ("mkfs.xfs", "mkfs.xfs -q -f", 320), "btrfs": ("mkfs.btrfs", "mkfs.btrfs -q -f", 128), "tmpfs": (None, None, 0)}


def needs(program):
    if not shutil.which(program):
        raise Skip(f"no {program} here")


@contextlib.contextmanager
def on_image(m, kind):
    """With the case's layers made anew on a file system of this kind, which is gone afterwards."""
    point = mount_image(m, kind)
    try:
        yield
    finally:
        if m.server:
            m.kill()
        run("umount", point, check_status=False)
        m.check_work_clean = lambda: None  # it went with its file system


def move_layers(m, point):
    """Upper and work directory, empty yet, to another file system."""
    for name in ("upper", "work"):
        os.rmdir(getattr(m, name))
        setattr(m, name, os.path.join(point, name))
        os.mkdir(getattr(m, name))


def mount_image(m, kind, size_mib=0):
    program, command, usual_mib = FILE_SYSTEMS[kind]
    point = m.base + "/fs"
    os.mkdir(point)
    if program:
        needs(program)
        image = m.base + "/image"
        with open(image, "wb") as file:
            file.truncate((size_mib or usual_mib) * MIB)
        run(*command.split(), image, seconds=120)
        done = run("mount", "-o", "loop", image, point, check_status=False)
    else:
        done = run("mount", "-t", "tmpfs", "tmpfs", point, check_status=False)
    if done.returncode != 0:
        raise Skip(f"{kind} cannot be mounted here: {done.stderr.strip()}")
    move_layers(m, point)
    return point
