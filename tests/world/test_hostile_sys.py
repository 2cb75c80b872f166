#!/usr/bin/env python3
"""What the host gave to the caller by /sys, and by file systems that can be mounted in namespaces, is out of reach of
whoever is root in a world: cgroups and FUSE connections."""
import os
import subprocess
import time

from bed import Skip, case, check, equal, main
from within import inside

USERS = ("one", "range")
SHOWN = {"block", "bus", "class", "dev", "devices", "firmware", "hypervisor", "kernel", "module", "power"}

SYS = r'''
REMOUNT_BIND = 32 | 4096
for line in open("/proc/self/mountinfo"):
    point = line.split()[4].encode()
    if point.startswith(b"/sys"): libc.mount(b"none", point, None, REMOUNT_BIND, None)
kinds = {line.split(" - ")[1].split()[0] for line in open("/proc/self/mountinfo")}
write = call(lambda: open("/sys/kernel/mm/transparent_hugepage/enabled", "w").write("never"))
say([os.listdir("/sys"), sorted(kinds), write])
'''


@case("/sys has no cgroup, no FUSE connection and no other place that the host may have given to the caller", ids=USERS)
def shown(u):
    u.world()
    names, kinds, write = inside(u, "w", SYS)
    check(set(names) <= SHOWN, f"/sys has {names}")
    for name in SHOWN & set(os.listdir("/sys")):
        check(name in names, f"/sys/{name} is missing")
    for kind in ("cgroup", "cgroup2", "fusectl"):
        check(kind not in kinds, f"a {kind} is mounted inside")
    check(write in ("EACCES", "EPERM", "EROFS", "ENOENT"), f"a write after a remount: {write}")


NAMESPACES = r'''
import subprocess, threading
NEWCGROUP, NEWUSER, NEWNS = 0x02000000, 0x10000000, 0x20000
def trial(*words):
    pid = os.fork()
    if pid == 0:
        r = system(*words)
        # A child of clone(2) is here as well.
        os._exit(0 if r == "ok" else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
arguments = ctypes.create_string_buffer(bytes(ctypes.c_uint64(NEWCGROUP)) + bytes(80))
tries = {"unshare": trial(272, NEWCGROUP), "unshare, others too": trial(272, NEWCGROUP | NEWUSER | NEWNS),
         "clone": trial(56, NEWCGROUP | 17, 0, 0, 0, 0), "clone, upper half set": trial(56, NEWCGROUP | 17 | 1 << 40, 0, 0, 0, 0),
         "clone3": trial(435, ctypes.addressof(arguments), 88), "x32 unshare": trial(0x40000000 | 272, NEWCGROUP),
         "mount cgroup2": libc.mount(b"none", b"/mnt", b"cgroup2", 0, None) == 0,
         "mount cgroup": libc.mount(b"none", b"/mnt", b"cgroup", 0, b"none,name=x") == 0}
done = []
thread = threading.Thread(target=lambda: done.append(1)); thread.start(); thread.join()
say([tries, done, subprocess.run(["true"]).returncode, trial(272, NEWUSER | NEWNS)])
'''


@case("no cgroup namespace can be made inside, and no cgroup file system be mounted", ids=USERS)
def cgroup_namespaces(u):
    if os.uname().machine != "x86_64":
        raise Skip("the numbers of system calls are those of x86_64")
    u.world()
    tries, thread, program, others = inside(u, "w", NAMESPACES)
    equal(tries, {how: False for how in tries}, "ways to a cgroup file system")
    equal((thread, program, others), ([1], 0, True), "threads, programs and other namespaces")


def unified():
    with open("/proc/mounts", encoding="utf-8") as mounts:
        for line in mounts:
            if line.split()[2] == "cgroup2":
                return line.split()[1]
    raise Skip("no cgroup2 on this machine")


ATTACK = r'''
mount -o remount,bind,rw /sys; mount -o remount,bind,rw "$1"; echo 1 > "$2/cgroup.kill"; mkdir "$2/inside"
mount -t cgroup2 none /mnt && echo 1 > /mnt/cgroup.kill
unshare -C sh -c 'mount -t cgroup2 none /mnt && echo 1 > /mnt/cgroup.kill'
unshare -UrCm sh -c 'mount -t cgroup2 none /mnt && echo 1 > /mnt/cgroup.kill'
true
'''


@case("the processes of a cgroup that was given to the caller are not ended from inside", ids=USERS)
def delegated(u):
    if os.getuid() != 0:
        raise Skip("needs root to give a cgroup away")
    top = unified()
    group = f"{top}/troot-{os.getpid()}"
    os.mkdir(group)
    victim = subprocess.Popen(["sleep", "300"])
    try:
        for name in ("", "/cgroup.procs", "/cgroup.kill"):
            if os.path.exists(group + name):
                os.chown(group + name, u.uid, u.gid)
        u.world()
        enter = u.popen("sh", "-c", 'read _; exec troot exec w -- sh -c "$0" sh "$1" "$2"', ATTACK, top, group,
                        stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for pid in (victim.pid, enter.pid):
            with open(group + "/cgroup.procs", "w", encoding="ascii") as file:
                file.write(str(pid))
        enter.communicate("go\n", timeout=60)
        equal(enter.returncode, 0, "the attack's own end")
        equal(victim.poll(), None, "a process of the caller's cgroup")
        check(not os.path.exists(group + "/inside"), "a cgroup was made from inside")
    finally:
        victim.kill()
        victim.wait()
        u.run("troot", "stop", "w")
        for _ in range(100):
            try:
                os.rmdir(group)
                break
            except OSError:
                time.sleep(0.05)


if __name__ == "__main__":
    main()
