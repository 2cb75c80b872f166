"""The file systems that tests/bench/run compares, and the life of one mount of them."""
import os
import shutil
import subprocess
import sys
import time

sys.path.insert(1, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "mount"))
from control_link import ask

LAYERS = "lowerdir={lower},upperdir={upper},workdir={work}"
LIMIT = "size=64G,inodes=10000000"
CONTENDERS = {
    "native": None,  # a copy of the lower tree: what the backing file system can do
    "overlay": f"mount -t overlay overlay -o {LAYERS} {{mnt}}",
    "fuse-overlayfs": f"fuse-overlayfs -o {LAYERS} {{mnt}}",
    "unionfs-fuse": "unionfs -o cow,allow_other,default_permissions {upper}=RW:{lower}=RO {mnt}",
    "trootfs": f"{{bin}}/trootfs -o {LAYERS},{LIMIT} {{mnt}}",
}
# What single things cost; `noquota-again` is noquota once more, and shows the noise of the machine.
VARIANTS = {
    "trootfs-unlimited": f"{{bin}}/trootfs -o {LAYERS} {{mnt}}",
    "noquota": f"{{bin}}/trootfs -o {LAYERS},noquota {{mnt}}",
    # What FUSE over io_uring brings, where root enabled it: beside `no-rings`.
    "rings": f"{{bin}}/trootfs -o {LAYERS},{LIMIT},io_uring=on {{mnt}}",
    "no-rings": f"{{bin}}/trootfs -o {LAYERS},{LIMIT},io_uring=off {{mnt}}",
    # What serving a client on its own processor brings: beside trootfs.
    "no-follow": f"{{bin}}/trootfs -o {LAYERS},{LIMIT},follow=off {{mnt}}",
    "noquota-again": f"{{bin}}/trootfs -o {LAYERS},noquota {{mnt}}",
    "passthrough": f"{{bin}}/trootfs -o {LAYERS},noquota,passthrough {{mnt}}",
}


def shell(command):
    subprocess.run(["sh", "-c", command], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                   stderr=subprocess.PIPE)


class Contender:
    """One mount over the shared lower tree, or a copy of it."""

    def __init__(self, name, command, lower, directory, binaries):
        self.name, self.command, self.lower, self.binaries = name, command, lower, binaries
        self.directory = directory
        self.mnt = os.path.join(directory, "mnt")
        for part in ("upper", "work", "mnt"):
            os.makedirs(os.path.join(directory, part))
        if command is None:
            shell(f"cp -a {lower}/. {self.mnt}/")
        else:
            self.mount()

    def mount(self):
        if self.command is not None:
            shell(self.command.format(lower=self.lower, upper=f"{self.directory}/upper", work=f"{self.directory}/work",
                                      mnt=self.mnt, bin=self.binaries))

    def umount(self):
        if self.command is None:
            return
        server = self.server_pid()
        command = ["umount", self.mnt] if os.getuid() == 0 else ["fusermount3", "-u", self.mnt]
        for _ in range(50):
            if subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0:
                # It holds the layers until it has written everything out.
                for _ in range(500):
                    if server is None or not os.path.exists(f"/proc/{server}"):
                        return
                    time.sleep(0.01)
                return
            time.sleep(0.1)
        lazy = ["umount", "-l", self.mnt] if os.getuid() == 0 else ["fusermount3", "-u", "-z", self.mnt]
        subprocess.run(lazy, stderr=subprocess.DEVNULL)

    def fresh(self):
        """Caches of the mount emptied, the backing ones left warm."""
        self.umount()
        self.mount()

    def server_pid(self):
        """The process that serves the mount; None where there is none."""
        for entry in os.listdir("/proc"):
            try:
                if entry.isdigit() and os.fsencode(self.mnt) in open(f"/proc/{entry}/cmdline", "rb").read().split(b"\0"):
                    return int(entry)
            except OSError:
                pass
        return None

    def upcalls(self):
        """Requests that the mount's server has had from the kernel; None where nobody counts them. FORGETs are left out:
        nobody waits for those."""
        try:
            _, lines = ask(f"{self.directory}/work/troot/control", "requests")
        except OSError:
            return None
        counts = dict(line.split("=", 1) for line in lines)
        return sum(int(count) for kind, count in counts.items() if "forget" not in kind)

    def server_kib(self):
        """Resident memory of the process that serves the mount, in KiB; None where there is none."""
        server = self.server_pid()
        if server is None:
            return None
        with open(f"/proc/{server}/status", encoding="ascii") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("VmRSS:")), None)


def choose(only, binaries):
    """The contenders that can run here: those named, else all but the variants."""
    unknown = set(only or ()) - set(CONTENDERS) - set(VARIANTS)
    if unknown:
        sys.exit(f"tests/bench/run: no such contender: {', '.join(sorted(unknown))}; "
                 f"known: {', '.join([*CONTENDERS, *VARIANTS])}")
    chosen = {}
    for name, command in (CONTENDERS | VARIANTS).items():
        if name not in only if only else name in VARIANTS:
            continue
        program = command.format(bin=binaries, lower="", upper="", work="", mnt="").split()[0] if command else "cp"
        if not shutil.which(program):
            print(f"left out: {name}: there is no {program}", file=sys.stderr)
        elif name in ("overlay", "passthrough") and os.getuid() != 0:
            print(f"left out: {name}: only root mounts it", file=sys.stderr)
        else:
            chosen[name] = command
    return chosen
