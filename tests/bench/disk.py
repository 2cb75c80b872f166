"""A file system made for a benchmark. A used one has a past that each contender meets another part of: ext4
does not give an inode out again for minutes after it was freed (recently_deleted in fs/ext4/ialloc.c), and whoever comes
after many removals looks past all of them for each file it makes."""
import os
import shutil
import subprocess
import sys

IMAGE_BYTES = 16 << 30  # sparse


class Disk:
    """An ext4 in a file of `directory`, mounted on `directory`/disk."""

    def __init__(self, directory):
        self.image, self.point = directory + "/image", directory + "/disk"
        os.makedirs(self.point)
        with open(self.image, "wb") as file:
            file.truncate(IMAGE_BYTES)
        # What is left to be done later would be done while something is measured.
        run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", self.image)
        run("mount", "-o", "loop", self.image, self.point)

    def end(self):
        subprocess.run(["umount", self.point], check=False, stderr=subprocess.DEVNULL)
        if os.path.ismount(self.point):
            subprocess.run(["umount", "-l", self.point], check=False)
        os.unlink(self.image)
        os.rmdir(self.point)


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{command[0]}: {done.stderr.strip()}")


def unable():
    """Why none can be made; empty where it can."""
    if os.getuid() != 0:
        return "only root makes and mounts file systems"
    return "" if shutil.which("mkfs.ext4") else "there is no mkfs.ext4 (package e2fsprogs)"
