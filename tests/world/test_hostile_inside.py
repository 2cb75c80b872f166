#!/usr/bin/env python3
"""Programs inside a world that mean ill: nothing they do reaches the host's objects, the store, the limit or the
caller's terminal, with a range of ids, with one id and as root; the host is compared before and after.

Real root inside is real root (docs/SECURITY.md): its cases ask that troot itself gives it no way out."""
import ctypes
import json
import os
import stat
import struct
import subprocess
import tempfile
import time

from bed import Skip, case, check, equal, host_state, main, wait_until
from within import HELPERS, PYTHON, inside

ALL = ("one", "range", "root")
USERS = ("one", "range")


def nodes(directory="/dev"):
    """Mode, owner and number of each object of the host's /dev, but for terminals, which come and go."""
    found = {}
    for entry in os.scandir(directory):
        status = entry.stat(follow_symlinks=False)
        if not stat.S_ISDIR(status.st_mode):
            found[entry.path] = (status.st_mode, status.st_uid, status.st_gid, status.st_rdev)
    return found


LOOK = r'''
import struct
seen = {}
for process in glob.glob("/proc/[0-9]*"):
    try: name = open(process + "/comm").read().strip()
    except OSError: continue
    if not name.startswith("troot"): continue
    pid = int(process[6:])
    seen[name] = {
        "fd": call(lambda: [os.readlink(f"{process}/fd/{n}") for n in os.listdir(process + "/fd")]), "cwd": call(os.listdir, process + "/cwd"),
        "root": call(os.listdir, process + "/root/"), "exe": call(os.readlink, process + "/exe"),
        "chmod exe": call(os.chmod, process + "/exe", 0o700), "map_files": call(os.listdir, process + "/map_files"),
        "mem": call(lambda: open(process + "/mem", "rb")), "environ": call(lambda: open(process + "/environ").read()),
        "ptrace": system(101, 16, pid, 0, 0), "seize": system(101, 0x4206, pid, 0, 0)}
    # In a container /proc is the host's, and its numbers are nobody's here.
    try: seen[name]["getfd"] = [system(438, os.pidfd_open(pid), n, 0) for n in range(12)]
    except ProcessLookupError: pass
    buffer = ctypes.create_string_buffer(8)
    vector = struct.pack("QQ", ctypes.addressof(buffer), 8)
    other = struct.pack("QQ", 0x1000, 8)
    seen[name]["vm"] = system(310, pid, vector, 1, other, 1, 0)
say(seen)
'''


@case("nothing of a process of troot's can be looked into, traced or taken", ids=USERS)
def not_traceable(u):
    u.world()
    seen = inside(u, "w", LOOK)
    check("troot-init" in seen, f"init is not seen inside: {sorted(seen)}")
    for name, tries in seen.items():
        for what, result in tries.items():
            for one in result if isinstance(result, list) else [result]:
                check(one in ("EACCES", "EPERM", "ESRCH"), f"{name}: {what}: {one}")


@case("init of a world holds no directory, no file of the host's and no way to the store", ids=ALL)
def init_holds_nothing(u):
    u.world()
    child = u.popen("troot", "exec", "w", "sleep", "60")
    try:
        wait_until(lambda: u.status("w")["sessions"] == 1, "the session is there")
        if os.getuid() != 0:
            raise Skip("needs root to look at init from outside")
        inits = [p for p in os.listdir("/proc") if p.isdigit() and is_init(p, u)]
        equal(len(inits), 1, "inits of this user")
        for fd in os.listdir(f"/proc/{inits[0]}/fd"):
            where = os.readlink(f"/proc/{inits[0]}/fd/{fd}")
            check(where.startswith(("socket:", "anon_inode:", "user:", "mnt:", "ipc:", "pid:")) or
                  where in ("/dev/null", "/null"),
                  f"init holds {where}")
    finally:
        u.troot("stop", "w")
        child.wait()


def is_init(process, user):
    try:
        with open(f"/proc/{process}/comm", encoding="utf-8") as comm, open(f"/proc/{process}/environ", "rb") as names:
            return comm.read() == "troot-init\n" and user.home.encode() in names.read()
    except OSError:
        return False


WATCH = r'''
import time
caught, until = set(), time.monotonic() + float(sys.argv[1])
print("ready", flush=True)
while time.monotonic() < until:
    for process in os.listdir("/proc"):
        if not process.isdigit() or int(process) == os.getpid(): continue
        try:
            if open(f"/proc/{process}/comm").read().strip() != "troot": continue
            for fd in os.listdir(f"/proc/{process}/fd"): caught.add(os.readlink(f"/proc/{process}/fd/{fd}"))
        except OSError: pass
say(sorted(caught))
'''


@case("who joins cannot be looked into on the way from the host to its command", ids=USERS)
def joiners(u):
    u.world()
    watcher = u.popen("troot", "exec", "w", "--", PYTHON, "-c", HELPERS + WATCH, "4", stdout=subprocess.PIPE, text=True)
    try:
        equal(watcher.stdout.readline(), "ready\n", "the watcher")
        for _ in range(25):
            u.troot("exec", "w", "true")
        # At the moment of execve(2) the command's own are seen under the old name.
        caught = [fd for fd in json.loads(watcher.stdout.read()) if not fd.startswith(("pipe:", "/dev/null"))]
        equal(caught, [], "descriptors of those who join")
    finally:
        watcher.kill()
        watcher.wait()


STORE = r'''
ways = []
for link in glob.glob("/proc/*/fd/*") + glob.glob("/proc/*/cwd") + glob.glob("/proc/*/root"):
    for up in ("", "/..", "/../..", "/../../.."):
        if call(os.stat, link + up + "/worlds") == "ok": ways.append(link + up)
        if call(os.stat, link + up + "/init.sock") == "ok": ways.append(link + up)
say(ways)
'''


@case("no descriptor, working directory or root of any process leads to the store", ids=ALL)
def no_way_to_the_store(u):
    u.world("w", "--limit", "8M")
    equal(inside(u, "w", STORE), [], "ways to the store")
    equal(u.status("w")["limit_bytes"], 8 << 20, "the limit")


TIOCSTI = r'''
import mmap, struct
def native(request):
    c = ctypes.create_string_buffer(b"x")
    return system(16, 0, request, ctypes.addressof(c))
def x32(request):
    c = ctypes.create_string_buffer(b"x")
    return system(0x40000000 | 514, 0, request, ctypes.addressof(c))
def apart(f, *words):
    """What f says in a process of its own. Where the machine has no such door (int 0x80 is a fault) it is ended."""
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(into, f(*words).encode())
        os._exit(0)
    os.close(into)
    status, said = os.waitpid(child, 0)[1], os.read(out, 64).decode()
    return said or ("ENOSYS" if os.WIFSIGNALED(status) and os.WTERMSIG(status) in (4, 11) else f"status {status}")
def i386(request):
    """int 0x80 out of a process of 64 bits."""
    area = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    start = ctypes.addressof(ctypes.c_char.from_buffer(area))
    code = (b"\x53\xb8" + struct.pack("<I", 54) + b"\x31\xdb\xb9" + struct.pack("<I", request) + b"\xba" +
            struct.pack("<I", start + 2048) + b"\xcd\x80\x48\x98\x5b\xc3")
    area[:len(code)] = code
    r = ctypes.CFUNCTYPE(ctypes.c_long)(start)()
    return "ok" if r >= 0 else errno.errorcode[-r]
STI, LINUX = 0x5412, 0x541C
say({"native": native(STI), "native, upper half set": native(STI | 1 << 32), "linux": native(LINUX),
     "x32": x32(STI), "i386": apart(i386, STI) if os.uname().machine == "x86_64" else "EPERM"})
'''


@case("nothing can be typed into the caller's terminal, in no ABI", ids=ALL)
def terminal(u):
    if os.uname().machine != "x86_64":
        raise Skip("the numbers of system calls are those of x86_64")
    u.world()
    for how, result in inside(u, "w", TIOCSTI).items():
        # A kernel without the ABI has no such call; some machines answer int 0x80 by SIGSEGV.
        wanted = ("EPERM", "ENOSYS") if how in ("x32", "i386") else ("EPERM",)
        check(result in wanted, f"TIOCSTI, {how}: {result}")


WRITES = r'''
host = json.loads(sys.argv[1])
done = {}
# Nothing that a machine could not do without, should it reach the host after all.
os.system("chmod 646 /dev/zero; touch -d 2001-01-01 /dev/zero")
for path in host["files"]:
    done[path] = [call(lambda: open(path, "a").write("from inside\n")), call(os.chmod, path, 0o600),
                  call(os.utime, path, (1, 1)), call(os.setxattr, path, "user.x", b"y"),
                  call(os.rename, path, path + ".moved"), call(os.rename, path + ".moved", path)]
for mounted in ("/dev/shm", "/dev/mqueue", "/dev/pts", "/dev", "/sys", "/run", "/tmp"):
    os.system(f"umount -l {mounted} 2>/dev/null")
    done["write after umount " + mounted] = call(lambda: open(mounted + "/troot-from-inside", "w").write("x"))
os.system("mount -o remount,rw,bind /etc/resolv.conf 2>/dev/null; echo inside > /etc/resolv.conf")
say(done)
'''


@case("what is shown of the host cannot be changed, unmounted to or remounted to write", ids=ALL)
def host_stays(u):
    node = "/dev/troot-mark-node"
    if u.uid == 0:
        os.mknod(node, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    marks = [tempfile.NamedTemporaryFile(prefix="troot-mark-", dir=directory, mode="w+")
             for directory in ("/dev/shm", "/tmp", "/var/tmp")]
    programs = host_state(u.binaries)
    files = [m.name for m in marks] + ["/etc/hostname", "/etc/resolv.conf", "/usr/bin/env", u.binaries + "/troot",
                                       "/run/.troot/bin/troot"]
    for mark in marks:
        mark.write("the host's")
        mark.flush()
        os.chmod(mark.name, 0o666)
    before = {path: host_state(path) for path in ("/etc", "/usr/bin")}, nodes(), {m.name: os.stat(m.name) for m in marks}
    u.world()
    inside(u, "w", WRITES, json.dumps({"files": files + [node]}))
    u.troot("stop", "w")
    equal(host_state(u.binaries), programs, "the programs")
    for mark in marks:
        now, was = os.stat(mark.name), before[2][mark.name]
        equal((now.st_mode, now.st_mtime_ns, now.st_size, now.st_nlink), (was.st_mode, was.st_mtime_ns, was.st_size, 1),
              mark.name)
    equal(nodes(), before[1], "the host's /dev")
    if u.uid == 0:
        os.unlink(node)
    check("troot-from-inside" not in os.listdir("/dev/shm") + os.listdir("/dev") + os.listdir("/run") + os.listdir("/tmp"),
          "written from inside")
    for path in ("/etc/hostname", "/etc/resolv.conf", "/usr/bin/env"):
        if path in before[0]["/etc"] or path in before[0]["/usr/bin"]:
            tree = os.path.dirname(path)
            equal(host_state(tree).get(path), before[0][tree][path], path)


DEV = r'''
tree = {n: oct(os.lstat("/dev/" + n).st_mode & 0o170000) for n in os.listdir("/dev")}
use = {"null": call(lambda: open("/dev/null", "wb").write(b"x")), "zero": call(lambda: open("/dev/zero", "rb").read(4)),
       "urandom": call(lambda: open("/dev/urandom", "rb").read(4)), "pty": call(os.openpty),
       "shm": call(lambda: open("/dev/shm/x", "w").write("x")), "fd": call(os.stat, "/dev/fd/0")}
say([tree, use, os.path.ismount("/dev"), os.path.ismount("/dev/pts"), os.path.ismount("/dev/shm")])
'''


@case("/dev has the usual nodes, links and terminals of the world's own, and they work", ids=ALL)
def devices(u):
    u.world()
    tree, use, *mounts = inside(u, "w", DEV)
    for name in ("null", "zero", "full", "random", "urandom", "tty", "fd", "stdin", "stdout", "ptmx", "pts", "shm"):
        check(name in tree, f"/dev/{name} is missing: {sorted(tree)}")
    for forbidden in ("mem", "sda", "vda", "kmsg", "loop0", "vcs"):
        check(forbidden not in tree, f"/dev/{forbidden} is there")
    equal(use, {key: "ok" for key in use}, "use of devices")
    equal(mounts, [True] * 3, "mounts below /dev")


SOCKETS = r'''
import socket
found = []
for directory, names, files in os.walk("/run"):
    for name in files + names:
        path = os.path.join(directory, name)
        try:
            if stat.S_ISSOCK(os.lstat(path).st_mode): found.append(path)
        except OSError: pass
say(found)
'''


@case("/run has no socket but the one that lists worlds", ids=ALL)
def sockets(u):
    u.world()
    equal(inside(u, "w", SOCKETS), ["/run/.troot/list.sock"], "sockets in /run")


KERNEL = r'''
say({path: call(lambda: open(path, "r+b").write(b"1")) for path in
     ("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname", "/proc/sysrq-trigger", "/proc/sys/vm/drop_caches",
      "/sys/kernel/uevent_helper", "/sys/kernel/profiling") if os.path.exists(path)})
'''


@case("the host's kernel settings are read-only", ids=ALL)
def kernel_settings(u):
    u.world()
    for path, result in inside(u, "w", KERNEL).items():
        check(result in ("EROFS", "EACCES", "EPERM"), f"{path}: {result}")


HANDLE = r'''
handles = [bytes.fromhex(h) for h in json.loads(sys.argv[1])]
tried = []
for line in open("/proc/self/mountinfo"):
    point = line.split()[4]
    if " fuse.trootfs " in line: continue  # the union itself
    try: fd = os.open(point, os.O_RDONLY | os.O_NONBLOCK)
    except OSError: continue
    for handle in handles:
        if system(304, fd, handle, os.O_RDONLY | os.O_DIRECTORY) == "ok": tried.append(point)
    os.close(fd)
say(tried)
'''


def handle_of(path):
    """The file handle of a host's directory, for open_by_handle_at(2); it works for root outside."""
    libc = ctypes.CDLL(None, use_errno=True)
    handle = ctypes.create_string_buffer(struct.pack("Ii", 128, 0) + bytes(128))
    if libc.name_to_handle_at(-100, os.fsencode(path), handle, ctypes.byref(ctypes.c_int()), 0) != 0:
        return None
    root = os.open(path, os.O_RDONLY)
    opened = libc.open_by_handle_at(root, handle, os.O_RDONLY | os.O_DIRECTORY)
    os.close(root)
    check(os.getuid() != 0 or opened >= 0, f"a handle of {path} is none")
    if opened >= 0:
        os.close(opened)
    return handle.raw.hex()


@case("no mount of a world leads to another file system of the host's by a file handle", ids=ALL)
def handles(u):
    of_host = [h for h in map(handle_of, ("/", "/dev", "/run", u.home)) if h]
    check(of_host, "no file system here has handles")
    u.world()
    equal(inside(u, "w", HANDLE, json.dumps(of_host)), [], "file systems that were entered by a handle")


LIST = r'''
import socket, time
def ask():
    s = socket.socket(socket.AF_UNIX)
    s.connect("/run/.troot/list.sock")
    return s
flood = [ask() for _ in range(100)]
until = time.monotonic() + 60
text = b""
# Who asks while very many do may be sent nothing, and asks again.
while not text and time.monotonic() < until:
    s = ask()
    while piece := s.recv(65536): text += piece
say([w["name"] for w in json.loads(text) if w["current"]])
'''


@case("the list is answered though a hundred ask and do not read", ids=ALL)
def list_socket(u):
    u.world()
    equal(inside(u, "w", LIST), ["w"], "the list")


@case("mknod of a device says that it is not done", ids=USERS)
def no_devices(u):
    u.world()
    out = u.shell("w", "mknod /n c 1 3 2>/dev/null; echo $?; ls /n 2>/dev/null; mknod /p p; echo $?")
    equal(out.split(), ["1", "0"], "mknod")


if __name__ == "__main__":
    main()
