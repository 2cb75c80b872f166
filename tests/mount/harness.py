"""The test bed of tests/mount: one mount with its layers in a private directory, cases run each in a
process of its own under a time limit, TAP output. Standard library only.

The same cases run against other file systems by TROOT_TEST_FS (trootfs, native, overlay, fuse-overlayfs): a mistake of
a test itself shows there. docs/TESTING.md, "Mount tests", tells how to write a case.
"""
import ctypes
import errno
import hashlib
import json
import os
import pwd
import select
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import traceback

from control_link import ask
from machine import Child, Patience, complete, copy_over, disk_directory
from mount_table import holders, leave_others, mounted, own_mounts

FILE_SYSTEM = os.environ.get("TROOT_TEST_FS", "trootfs")
# Options that every mount of trootfs gets, in front of those of its case.
MORE_OPTIONS = [o for o in os.environ.get("TROOT_TEST_OPTIONS", "").split(",") if o]
PASSTHROUGH = "passthrough" in MORE_OPTIONS
UNIONS = ("trootfs", "overlay", "fuse-overlayfs")
CASE_SECONDS = 90
SERVER_SECONDS = 30
PAGE = 4096


class Skip(Exception):
    """The case cannot run here. A reason that begins `needs FUSE`, `needs root` or `needs user namespaces` counts as
    a failure where CI promises them."""


class Failure(Exception):
    """An expectation that did not hold."""


# ---- expectations ---------------------------------------------------------------------------------------------

def check(condition, text):
    if not condition:
        raise Failure(text)


def shown(value):
    """Its repr; of bytes and strings that fill a screen, the length and the beginning."""
    if isinstance(value, (bytes, str)) and len(value) > 1000:
        return f"{len(value)} of {value[:200]!r}…"
    return repr(value)


def equal(got, wanted, what):
    if got != wanted:
        raise Failure(f"{what}: got {shown(got)}, expected {shown(wanted)}")


def refused(number, call, *arguments, **named):
    """The call must fail with this errno."""
    try:
        result = call(*arguments, **named)
    except OSError as error:
        if error.errno != number:
            raise Failure(f"{call.__name__}{arguments}: {errno.errorcode.get(error.errno)}, "
                          f"expected {errno.errorcode[number]}") from None
        return
    raise Failure(f"{call.__name__}{arguments}: succeeded ({result!r}), expected {errno.errorcode[number]}")


# ---- small tools ----------------------------------------------------------------------------------------------

def write(path, data=b"", mode=None):
    if isinstance(data, str):
        data = data.encode()
    with open(path, "wb") as file:
        file.write(data)
    if mode is not None:
        os.chmod(path, mode)
    return path


def read(path):
    with open(path, "rb") as file:
        return file.read()


def fill(path, size=1 << 40, chunk=256 << 10, flags=os.O_CREAT | os.O_WRONLY | os.O_APPEND):
    """Writes until EDQUOT, or until `size` bytes are there; returns the bytes that write(2) said it took."""
    descriptor, taken = os.open(path, flags, 0o644), 0
    try:
        while taken < size:
            taken += os.write(descriptor, pattern(min(chunk, size - taken)))
    except OSError as error:
        equal(error.errno, errno.EDQUOT, "the errno of the write that does not fit")
    finally:
        os.close(descriptor)
    return taken


def names(path):
    return sorted(os.listdir(path))


def pattern(size, seed=1):
    """Bytes that show a misplaced page: each 4 KiB differs."""
    block = b"".join(hashlib.sha256(f"{seed}:{i}".encode()).digest() * 128 for i in range(min(size // PAGE + 1, 64)))
    return (block * (size // len(block) + 1))[:size]


def pages(size):
    return -(-size // PAGE) * PAGE


def keeps_blocks(directory):
    """Whether its file system is one whose directories are charged their size, where that is more than their names."""
    return run("stat", "-f", "-c", "%T", directory).stdout.strip() in ("ext2/ext3", "xfs")


def name_pages(directory, listed=None):
    """What the names that lie in an upper directory count."""
    listed = os.listdir(directory) if listed is None else listed
    counted = max(PAGE, pages(sum(len(os.fsencode(name)) + 16 for name in listed)))
    size = pages(os.stat(directory).st_size)
    return size if size > counted and keeps_blocks(directory) else counted


def digest(root):
    """What a tree is: names, kinds, modes, owners, mtimes, contents, xattrs; not access times."""
    whole = hashlib.sha256()

    def add(path, name):
        status = os.lstat(path)
        record = [name, status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, status.st_rdev]
        if not stat.S_ISDIR(status.st_mode):
            record += [status.st_size, status.st_nlink]
        if stat.S_ISLNK(status.st_mode):
            record.append(os.readlink(path))
        else:
            try:
                record += [(n, os.getxattr(path, n).hex()) for n in sorted(os.listxattr(path))]
            except OSError:
                pass
        whole.update(repr(record).encode("utf-8", "surrogateescape"))
        if stat.S_ISREG(status.st_mode):
            try:
                with open(path, "rb", opener=lambda p, f: os.open(p, f | os.O_NOATIME)) as file:
                    while chunk := file.read(1 << 20):
                        whole.update(chunk)
            except PermissionError:
                pass
        elif stat.S_ISDIR(status.st_mode):
            for child in sorted(os.listdir(path)):
                add(os.path.join(path, child), name + "/" + child)

    add(root, "")
    return whole.hexdigest()


def is_whiteout(path):
    status = os.lstat(path)
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def overlay_xattr(path, key):
    """The value of the union's xattr under any of its prefixes, or None."""
    for prefix in ("trusted.overlay.", "user.overlay.", "user.fuseoverlayfs."):
        try:
            return os.getxattr(path, prefix + key, follow_symlinks=False)
        except OSError:
            pass
    return None


def wait_until(condition, seconds, what):
    patience = Patience(seconds)
    while not condition():
        if patience.over():
            raise Failure(f"{what}: not within {seconds} s of an idle machine")
        time.sleep(0.02)


def run(*command, seconds=60, check_status=True, **named):
    """A program with a time limit; its output as text."""
    done = complete(command, seconds, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **named)
    done.stdout, done.stderr = (x.decode("utf-8", "replace") for x in (done.stdout, done.stderr))
    if check_status and done.returncode != 0:
        raise Failure(f"{' '.join(map(str, command))}: status {done.returncode}: {done.stderr.strip()}")
    return done


def in_process(work):
    """Starts `work` in a process of its own; the returned function waits and returns its (JSON) result."""
    back, out = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(back)
        try:
            answer = {"value": work()}
        except BaseException as error:  # the parent must hear of anything
            answer = {"error": f"{type(error).__name__}: {error}"}
        data = json.dumps(answer).encode()
        while data:
            data = data[os.write(out, data):]
        os._exit(0)
    os.close(out)

    def join():
        data = b""
        while chunk := os.read(back, 1 << 16):
            data += chunk
        os.close(back)
        os.waitpid(pid, 0)
        answer = json.loads(data or b'{"error": "died"}')
        if "error" in answer:
            raise Failure(f"in another process: {answer['error']}")
        return answer["value"]
    return join


def drop_to(uid, gid):
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


libc = ctypes.CDLL(None, use_errno=True)


def libc_call(name, *arguments):
    """A call that Python's os module does not have; raises OSError."""
    result = getattr(libc, name)(*arguments)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def fallocate(descriptor, mode, offset, length):
    libc_call("fallocate", descriptor, mode, ctypes.c_long(offset), ctypes.c_long(length))


def renameat2(source, target, flags):
    libc_call("renameat2", -100, os.fsencode(source), -100, os.fsencode(target), flags)


FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE = 1, 2, 16
RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT = 1, 2, 4


# ---- the bed --------------------------------------------------------------------------------------------------

class Bed:
    """One mount: `lowers` (topmost first), `upper`, `work`, `mnt` below `base`."""

    def __init__(self, base, binaries, mode, lowers=1, account=None):
        self.base, self.binaries, self.mode, self.account = base, binaries, mode, account
        self.lowers = [os.path.join(base, f"lower{i}") for i in range(lowers)]
        self.upper, self.work, self.mnt = (os.path.join(base, n) for n in ("upper", "work", "mnt"))
        for path in (*self.lowers, self.upper, self.work, self.mnt):
            os.mkdir(path)
        self.lower = self.lowers[0] if lowers else None
        self.sealed = []  # layers that snapshots made, topmost first
        self.server = None
        self.options = []
        self.environment = {}  # of the server, beside our own
        self.log = os.path.join(base, "server.log")

    def __call__(self, *parts):
        """A path in the mount."""
        return os.path.join(self.mnt, *parts)

    def in_upper(self, *parts):
        return os.path.join(self.upper, *parts)

    def in_lower(self, *parts):
        return os.path.join(self.lower, *parts)

    # -- mounting

    def layer_options(self):
        lowers = [os.path.join(layer, "tree") for layer in self.sealed] + self.lowers
        options = ["lowerdir=" + ":".join(path.replace(":", "\\:") for path in lowers),
                   f"upperdir={self.upper}", f"workdir={self.work}"]
        if self.sealed:
            options += [f"sealed={len(self.sealed)}",
                        "charges=" + ":".join(os.path.join(layer, "charges") for layer in self.sealed)]
        return ",".join(option.replace(",", "\\,") for option in options)

    def shim(self, source):
        """A library to preload, made of a C file that lies here."""
        compiler = shutil.which("cc") or shutil.which("gcc")
        if not compiler:
            raise Skip("no C compiler")
        library = os.path.join(self.base, source + ".so")
        run(compiler, "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, self.source(source), "-ldl")
        return library

    def source(self, name):
        """A file that lies beside the tests, where the ordinary user can read it too."""
        return os.path.join(self.binaries, name)

    def trootfs_command(self, *options):
        joined = ",".join([self.layer_options(), *options])
        return [os.path.join(self.binaries, "trootfs"), "-f", "-o", joined, self.mnt]

    def mount(self, *options):
        """Mounts with these options of trootfs; they are kept for remount()."""
        self.options = [o for o in options if o]
        {"trootfs": self._mount_trootfs, "native": self._mount_native, "overlay": self._mount_overlay,
         "fuse-overlayfs": self._mount_fuse_overlayfs}[FILE_SYSTEM]()
        return self

    def _mount_trootfs(self):
        options = MORE_OPTIONS + self.options
        if "noquota" in options and any(o.startswith(("size=", "inodes=")) for o in options):
            raise Skip("of limits, which noquota knows none of")
        if self.mode == "root":
            options.append("allow_other")
        log = open(self.log, "ab")
        self.server = Child(self.trootfs_command(*options), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                       cwd="/", env={**os.environ, **self.environment})
        log.close()
        patience = Patience(SERVER_SECONDS)
        ready = [lambda: mounted(self.mnt)]
        if "upperdir=" in self.layer_options():
            ready.append(self.answers)
        while not all(condition() for condition in ready):
            if self.server.poll() is not None:
                raise Failure(f"trootfs ended with {self.server.returncode}: {self.server_says()}")
            if patience.over():
                raise Failure(f"trootfs did not mount within {SERVER_SECONDS} s: {self.server_says()}")
            time.sleep(0.005)

    def _mount_native(self):
        for lower in reversed(self.lowers):
            copy_over(lower, self.mnt)

    def _mount_overlay(self):
        run("mount", "-t", "overlay", "overlay", "-o", self.layer_options(), self.mnt)

    def _mount_fuse_overlayfs(self):
        run("fuse-overlayfs", "-o", self.layer_options(), self.mnt)

    def server_says(self):
        try:
            return read(self.log).decode("utf-8", "replace").strip()[-2000:]
        except OSError:
            return ""

    def umount(self):
        """Unmounts; trootfs must then end by itself with status 0."""
        if FILE_SYSTEM == "native" or not mounted(self.mnt):
            return
        command = ["umount", self.mnt] if os.getuid() == 0 else ["fusermount3", "-u", self.mnt]
        patience = Patience(10)
        while (done := run(*command, check_status=False)).returncode != 0:
            if patience.over():
                raise Failure(f"{' '.join(command)}: {done.stderr.strip()}")
            time.sleep(0.1)
        if self.server:
            try:
                status = self.server.wait(SERVER_SECONDS)
            except subprocess.TimeoutExpired:
                raise Failure(f"trootfs did not end within {SERVER_SECONDS} s of the unmount; "
                              f"{holders(self.mnt)}") from None
            self.server = None
            equal(status, 0, f"the server's exit status ({self.server_says()})")

    def remount(self, *options):
        """A new server on the same layers; with options: with those instead."""
        self.umount()
        if FILE_SYSTEM != "native":
            self.mount(*(options or self.options))

    def snapshot(self):
        """What lies in the upper becomes a sealed layer; the mount goes on. For how long nobody was served, in
        microseconds."""
        layer = os.path.join(self.base, f"sealed{len(self.sealed)}")
        os.mkdir(layer, 0o700)
        paused = int(self.control(f"snapshot dir={layer}")[0]["paused_us"])
        self.sealed.insert(0, layer)
        return paused

    def kill(self):
        """kill -9 of the server, and the dead mount taken away."""
        self.server.kill()
        self.server.wait()
        self.server = None
        detach(self.mnt)

    # -- the server as it runs

    def control_socket(self):
        """The socket of the mount's control protocol (fusefs/control/protocol.h)."""
        return os.path.join(self.work, "troot", "control")

    def control(self, request):
        """One request; the answer as a list of dictionaries, one a line."""
        first, lines = ask(self.control_socket(), request)
        check(first == "ok", f"control '{request}': {first}")
        return [dict(w.split("=", 1) for w in line.split(" ") if "=" in w) for line in lines]

    def answers(self):
        """Whether a server listens; the socket of one that was killed stays behind."""
        try:
            return bool(self.control("status"))
        except OSError:
            return False

    def status(self):
        merged = {}
        for line in self.control("status"):
            merged.update(line)
        return {k: int(v) if v.isdigit() else v for k, v in merged.items()}

    def used(self):
        return self.status()["used_bytes"]

    def project(self, number):
        """The report's line of one project as numbers; zeros if it has none."""
        for line in self.control("report"):
            if line.get("project") == str(number):
                return {k: int(v) for k, v in line.items() if v.lstrip("-").isdigit()}
        return {"project": number, "used_bytes": 0, "used_inodes": 0}

    def memory_kib(self):
        with open(f"/proc/{self.server.pid}/status", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmRSS:"))

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.server.pid}/fd"))

    # -- what must hold in the end

    def recount(self):
        """(bytes, inodes) of what lies in the upper by the charging unit, without xattrs, for dense files; and the bytes
        of its root."""
        total_bytes = total_inodes = root_bytes = 0
        seen = set()
        for directory, subdirectories, files in os.walk(self.upper):
            listed = subdirectories + files
            own = name_pages(directory, listed)
            if directory == self.upper:
                root_bytes = own
            else:
                total_bytes += own
            for name in listed:
                status = os.lstat(os.path.join(directory, name))
                if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0 or status.st_ino in seen:
                    continue
                seen.add(status.st_ino)
                total_inodes += 1
                if stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode) and status.st_size > 59:
                    total_bytes += pages(status.st_size)
        return total_bytes, total_inodes, root_bytes

    def check_counted_anew(self):
        """Usage is what a count of the upper, and of every sealed layer, finds."""
        equal(self.control("check objects")[1]["differences"], "0", "differences")
        used = self.status()["used_bytes"], self.status()["used_inodes"]
        self.umount()
        shutil.rmtree(os.path.join(self.work, "troot", "ledger"))
        for layer in self.sealed:
            os.unlink(os.path.join(layer, "charges"))
        self.mount(*self.options)
        equal((self.status()["used_bytes"], self.status()["used_inodes"]), used, "usage, counted again")

    def check_work_clean(self):
        """Nothing staged or parked may stay in work/ once nobody serves it."""
        for place in ("troot/stage", "troot/parked"):
            directory = os.path.join(self.work, place)
            left = names(directory) if os.path.isdir(directory) else []
            check(not left, f"left in work/{place}: {left[:5]} ({len(left)})")

    def check_recount(self):
        """The ledger's total is what lies in the upper (dense files only; the upper's root may count or not)."""
        status = self.status()
        total_bytes, total_inodes, root_bytes = self.recount()
        got = (status["used_bytes"], status["used_inodes"])
        check(got in ((total_bytes, total_inodes), (total_bytes + root_bytes, total_inodes + 1)),
              f"used {got}, but the upper holds {(total_bytes, total_inodes)} (bytes, inodes)")


def detach(path):
    """Takes a mount away whatever its state."""
    if os.getuid() == 0:
        libc.umount2(os.fsencode(path), 2)
    else:
        run("fusermount3", "-u", "-z", path, check_status=False)


# ---- cases ----------------------------------------------------------------------------------------------------

class Case:
    def __init__(self, work, title, modes, lower, lowers, options, on, seconds, store, hash_lowers, automount, differs):
        self.work, self.title, self.modes, self.lower, self.lowers = work, title, modes, lower, lowers
        self.options, self.on, self.seconds, self.store = options, on, seconds, store
        self.hash_lowers, self.automount, self.differs = hash_lowers, automount, differs


CASES = []


def case(title, modes=("user", "root"), lower=None, lowers=1, options=(), on=UNIONS + ("native",), seconds=CASE_SECONDS,
         store=None, hash_lowers=True, automount=True, differs=()):
    """Registers a case: a function of a Bed that is mounted (unless automount=False).

    modes: `user`: everything, the mount too, by an ordinary user; `root`. lower: function of the Bed that fills the
    lowers before the mount, as the same user. on: the file systems it makes sense on. differs: those known to behave
    worse, where it is left out. store: `disk` or `memory`, else what the run says.
    """
    def register(work):
        CASES.append(Case(work, title, modes, lower, lowers, options, on, seconds, store, hash_lowers, automount, differs))
        return work
    return register


class Account:
    """An ordinary user made for this run and removed after it; whoever runs the tests, if that is not root."""

    def __init__(self):
        self.made = os.getuid() == 0
        if not self.made:
            self.uid, self.gid = os.getuid(), os.getgid()
            return
        self.name = f"troot-t{os.getpid()}"
        # Other tests may hold the lock of /etc/passwd.
        for _ in range(50):
            done = run("useradd", "--no-create-home", "--home-dir", "/nonexistent", self.name, check_status=False)
            if done.returncode == 0:
                break
            time.sleep(0.2)
        else:
            raise Failure(f"useradd: {done.stderr}")
        entry = pwd.getpwnam(self.name)
        self.uid, self.gid = entry.pw_uid, entry.pw_gid

    def remove(self):
        if self.made:
            for _ in range(50):
                if run("userdel", self.name, check_status=False).returncode == 0:
                    break
                time.sleep(0.2)


def has_user_xattrs(path):
    with tempfile.NamedTemporaryFile(dir=path, prefix="troot-probe-") as file:
        try:
            os.setxattr(file.name, "user.probe", b"1")
            return True
        except OSError:
            return False


def store_directory(kind):
    """`memory` where tmpfs keeps user xattrs (Linux 6.6), else a disk if root runs the tests or /var/tmp is one. TROOT_TEST_STORE=disk decides for all."""
    kind = kind or os.environ.get("TROOT_TEST_STORE", "memory")
    if kind == "memory" and os.path.isdir("/dev/shm") and has_user_xattrs("/dev/shm"):
        return "/dev/shm"
    return disk_directory()


def why_not(each, mode):
    """None, or why a case cannot run here."""
    if FILE_SYSTEM not in each.on:
        return f"not for {FILE_SYSTEM}"
    if FILE_SYSTEM in each.differs:
        return f"{FILE_SYSTEM} is known to differ"
    if mode == "root" and os.getuid() != 0:
        return "needs root"
    if mode == "user" and FILE_SYSTEM == "overlay":
        return "the kernel's overlay mounts for root"
    if FILE_SYSTEM in ("trootfs", "fuse-overlayfs"):
        if not os.path.exists("/dev/fuse"):
            return "needs FUSE: there is no /dev/fuse"
        if mode == "user" and os.stat("/dev/fuse").st_mode & 0o006 != 0o006:
            return "needs FUSE: /dev/fuse is closed to ordinary users (chmod 666 /dev/fuse)"
    return None


def child(each, mode, base, binaries, account, report):
    """The body of a case's own process."""
    answer = {"result": "ok", "text": ""}
    bed = None
    try:
        if own_mounts():
            leave_others()
        if mode == "user" and os.getuid() == 0:
            drop_to(account.uid, account.gid)
        os.umask(0o022)
        os.chdir("/")
        bed = Bed(base, binaries, mode, each.lowers, account)
        if each.lower:
            each.lower(bed)
        before = [digest(path) for path in bed.lowers] if each.hash_lowers else []
        if each.automount:
            bed.mount(*each.options)
        each.work(bed)
        bed.umount()
        if before and FILE_SYSTEM in UNIONS:
            equal([digest(path) for path in bed.lowers], before, "the lowers' digests after the case")
        if FILE_SYSTEM == "trootfs":
            bed.check_work_clean()
    except Skip as reason:
        answer = {"result": "skip", "text": str(reason)}
    except Failure as failure:
        line = traceback.extract_tb(failure.__traceback__)
        where = next((f"{os.path.basename(f.filename)}:{f.lineno}" for f in reversed(line)
                      if not f.filename.endswith("harness.py")), "harness")
        answer = {"result": "fail", "text": f"{where}: {failure}"}
    except BaseException:
        answer = {"result": "fail", "text": traceback.format_exc()}
    if answer["result"] == "fail" and bed and bed.server_says():
        answer["text"] += "\nserver: " + bed.server_says()
    data = json.dumps(answer).encode()
    while data:
        data = data[os.write(report, data):]


def processes_of(base):
    """Processes whose command line names the case's directory."""
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            try:
                if os.fsencode(base) + b"/" in read(f"/proc/{entry}/cmdline"):
                    yield int(entry)
            except OSError:
                pass


def clean_up(base, group):
    """Ends everything of a case: its server first, since a hung mount keeps its clients from dying."""
    for pid in processes_of(base):
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass
    try:
        os.killpg(group, signal.SIGKILL)
    except OSError:
        pass
    with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as file:
        points = [line.split(" ")[1] for line in file]
    for point in reversed(points):
        if point.startswith(base + "/"):
            detach(point)
    run("rm", "-rf", "--one-file-system", base, check_status=False, seconds=120)


def run_case(each, mode, binaries, account):
    base = tempfile.mkdtemp(prefix="troot-mt-", dir=store_directory(each.store))
    os.chmod(base, 0o755)
    if mode == "user" and os.getuid() == 0:
        os.chown(base, account.uid, account.gid)
    sys.stdout.flush()
    back, out = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(back)
        os.setpgid(0, 0)
        child(each, mode, base, binaries, account, out)
        os._exit(0)
    os.close(out)
    data, patience = b"", Patience(each.seconds)
    while True:
        ready, _, _ = select.select([back], [], [], max(0, patience.left()))
        if not ready and not patience.over():
            continue
        if not ready:
            break
        chunk = os.read(back, 65536)
        if not chunk:
            break
        data += chunk
    os.close(back)
    clean_up(base, pid)
    os.waitpid(pid, 0)
    if not data:
        return {"result": "fail", "text": f"no answer within {each.seconds} s of an idle machine"}
    return json.loads(data)


def main():
    """Runs the registered cases (or those whose title contains an argument). Exit status 1 on failure."""
    wanted = sys.argv[1:]
    # Files are passed through for root.
    chosen = [(c, m) for c in CASES for m in c.modes if (m == "root" or not PASSTHROUGH) and
              (not wanted or any(w in f"{c.title} ({m})" for w in wanted))]
    print(f"1..{len(chosen)}")
    account, failed = None, 0
    top = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    binaries = os.environ.get("TROOT_BIN", os.path.join(top, "build", "release", "bin"))
    needed = [os.path.join(binaries, program) for program in ("trootfs", "troot") if FILE_SYSTEM == "trootfs"]
    if needed and not os.path.exists(needed[0]):
        sys.exit(f"there is no {needed[0]}: build it, or set TROOT_BIN to the directory that has it")
    # The checkout and the build may lie where the ordinary user cannot look.
    staged = tempfile.mkdtemp(prefix="troot-bin-", dir="/var/tmp")
    os.chmod(staged, 0o755)
    here = os.path.dirname(os.path.abspath(__file__))
    needed += [os.path.join(here, name) for name in os.listdir(here) if name.endswith((".c", ".expected"))]
    for path in needed:
        os.chmod(shutil.copy(path, staged), 0o755)
    try:
        account = Account()
        for number, (each, mode) in enumerate(chosen, 1):
            title = f"{number} - {each.title} ({mode})"
            if reason := why_not(each, mode):
                print(f"ok {title} # SKIP {reason}", flush=True)
                continue
            start = time.monotonic()
            answer = run_case(each, mode, staged, account)
            took = time.monotonic() - start
            if answer["result"] == "skip":
                print(f"ok {title} # SKIP {answer['text']}", flush=True)
                continue
            good = answer["result"] == "ok"
            failed += not good
            print(f"{'ok' if good else 'not ok'} {title}" + (f" [{took:.1f} s]" if took > 2 else ""), flush=True)
            for line in answer["text"].splitlines():
                print(f"#   {line}", flush=True)
    finally:
        if account:
            account.remove()
        shutil.rmtree(staged, ignore_errors=True)
    sys.exit(1 if failed else 0)
