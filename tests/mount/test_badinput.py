#!/usr/bin/env python3
"""What trootfs says and answers when it cannot mount: one line on stderr that names the thing, and the
exit code: 1 not possible here, 2 wrong usage. Also the contract of the mount program: --version, background, options."""
import os
import subprocess
import time

from harness import (Failure, Skip, case, check, detach, equal, in_process, libc, main, mounted, names, own_mounts, read, run,
                     wait_until, write)

trootfs = {"on": ("trootfs",), "automount": False, "hash_lowers": False}


def program(m):
    return os.path.join(m.binaries, "trootfs")


def refusal(m, status, *words, options=None, arguments=None, user=None):
    """trootfs must end with this status, one line on stderr that holds the words, and nothing mounted."""
    command = [program(m)] + (arguments if arguments is not None else ["-o", options, m.mnt])
    extra = {"user": user, "group": user, "extra_groups": []} if user else {}
    done = run(*command, check_status=False, seconds=20, cwd="/", **extra)
    shown = " ".join(command[1:])
    lines = [line for line in done.stderr.split("\n") if line]
    equal(len(lines), 1, f"lines on stderr of trootfs {shown}: {done.stderr!r}")
    equal(done.stdout, "", f"stdout of trootfs {shown}")
    for word in words:
        check(word in lines[0], f"trootfs {shown}: {lines[0]!r} does not name {word!r}")
    equal(done.returncode, status, f"status of trootfs {shown} ({lines[0]})")
    check(not mounted(m.mnt), "something is mounted")


@case("layers that are not there, or lie wrongly to each other", **trootfs)
def layers(m):
    low, up, work = m.lower, m.upper, m.work
    refusal(m, 1, low + "/absent", options=f"lowerdir={low}/absent,upperdir={up},workdir={work}")
    refusal(m, 1, up + "/absent", options=f"lowerdir={low},upperdir={up}/absent,workdir={work}")
    refusal(m, 1, work + "/absent", options=f"lowerdir={low},upperdir={up},workdir={work}/absent")
    file = write(m.base + "/file")
    refusal(m, 1, file, options=f"lowerdir={file},upperdir={up},workdir={work}")
    os.mkdir(low + "/u")
    os.mkdir(low + "/w")
    refusal(m, 2, low + "/u", options=f"lowerdir={low},upperdir={low}/u,workdir={low}/w")
    refusal(m, 2, up, options=f"lowerdir={low}:{up},upperdir={up},workdir={work}")
    refusal(m, 2, "workdir", options=f"lowerdir={low},upperdir={up},workdir={up}")
    refusal(m, 2, "workdir", options=f"lowerdir={low},upperdir={up}")
    refusal(m, 2, "lowerdir", options=f"upperdir={up},workdir={work}")
    refusal(m, 1, m.mnt + "/absent", arguments=["-o", m.layer_options(), m.mnt + "/absent"])


@case("usage: no mount point, unknown letters, sizes that are none", **trootfs)
def usage(m):
    refusal(m, 2, "mount", arguments=["-o", m.layer_options()])
    refusal(m, 2, "-q", arguments=["-q", "-o", m.layer_options(), m.mnt])
    for size in ("12Q", "x", "-1", "1.5.2", "", "99999999999999999999"):
        refusal(m, 2, "size", options=m.layer_options() + f",size={size}")
    refusal(m, 2, "inodes", options=m.layer_options() + ",inodes=many")
    refusal(m, 2, "errno", options=m.layer_options() + ",errno=eperm")


@case("a second mount of the same upper is refused, the first goes on", **trootfs)
def second_mount(m):
    m.mount()
    write(m("f"), "first")
    os.mkdir(m.base + "/second")
    command = [program(m), "-o", m.layer_options(), m.base + "/second"]
    done = run(*command, check_status=False, seconds=20, cwd="/")
    lines = [line for line in done.stderr.split("\n") if line]
    equal((done.returncode, len(lines)), (1, 1), f"status and lines ({done.stderr!r})")
    check(m.upper in lines[0] or m.work in lines[0], f"{lines[0]!r} does not name the upper")
    equal(read(m("f")), b"first", "the first mount's file")
    m.umount()
    m.mount()
    equal(read(m("f")), b"first", "after the first one's end the upper mounts again")


@case("an upper on a file system that cannot hold it", modes=("root",), **trootfs)
def unsuitable(m):
    place = m.base + "/vfat"
    os.mkdir(place)
    # proc can hold nothing at all and is everywhere.
    if libc.mount(b"proc", os.fsencode(place), b"proc", 0, None) != 0:
        raise Skip("proc cannot be mounted here")
    try:
        refusal(m, 1, place, options=f"lowerdir={m.lower},upperdir={place}/fs,workdir={place}/driver")
    finally:
        detach(place)


@case("an upper that the user may not write", modes=("user",), **trootfs)
def unwritable(m):
    if os.getuid() == 0:
        raise Skip("root may write everywhere")
    refusal(m, 1, "/usr/", "ermission denied", options=f"lowerdir={m.lower},upperdir=/usr/lib,workdir=/usr/share")


def with_device(m, prepare):
    """Runs trootfs as an ordinary user in a mount namespace of its own, where `prepare` has changed /dev/fuse."""
    if not own_mounts():
        raise Skip("no mount namespace can be made")
    prepare()
    for path in (m.upper, m.work):
        os.chown(path, m.account.uid, m.account.gid)


@case("/dev/fuse of mode 0600", modes=("root",), **trootfs)
def closed_device(m):
    def prepare():
        run("mount", "-t", "tmpfs", "-o", "dev", "tmpfs", m.base + "/mnt")
        os.mknod(m.base + "/mnt/fuse", 0o020600, os.makedev(10, 229))
        run("mount", "--bind", m.base + "/mnt/fuse", "/dev/fuse")
        run("umount", "-l", m.base + "/mnt")
    with_device(m, prepare)
    refusal(m, 1, "/dev/fuse", "chmod 666", options=m.layer_options(), user=m.account.uid)


@case("no /dev/fuse", modes=("root",), store="disk", **trootfs)  # /dev/shm goes away with /dev
def no_device(m):
    with_device(m, lambda: run("mount", "-t", "tmpfs", "tmpfs", "/dev"))
    os.mknod("/dev/null", 0o020666, os.makedev(1, 3))
    os.chmod("/dev/null", 0o666)
    refusal(m, 1, "/dev/fuse", "modprobe", options=m.layer_options(), user=m.account.uid)


@case("--version and --help", **trootfs)
def information(m):
    done = run(program(m), "--version")
    check("trootfs" in done.stdout and any(c.isdigit() for c in done.stdout), f"--version: {done.stdout!r}")
    check("lowerdir" in run(program(m), "--help").stdout, "--help names lowerdir")


@case("in the background: mounted when the parent ends with 0, stderr closed, source and type in /proc/mounts", **trootfs)
def background(m):
    write(m.in_lower("f"), "f")
    # A pipe as stderr: its end is seen only once nobody holds it, the server included.
    done = run(program(m), "someone", "-o", m.layer_options(), "-o", "size=1M", m.mnt, seconds=20, cwd="/")
    equal(done.stderr, "", "stderr")
    check(mounted(m.mnt), "mounted when the parent ended")
    equal(read(m("f")), b"f", "content")
    with open("/proc/self/mounts", encoding="utf-8") as file:
        line = next(line.split() for line in file if line.split()[1] == m.mnt)
    equal((line[0], line[2]), ("someone", "fuse.trootfs"), "source and type")
    equal(os.statvfs(m("")).f_blocks * os.statvfs(m("")).f_frsize, 1 << 20, "a second -o counts")
    pid = int(m.status()["pid"])
    detach(m.mnt)
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"), 20, "the server's end after a lazy unmount")


@case("an unknown option is a note and no error", **trootfs)
def unknown_option(m):
    done = run(program(m), "-o", m.layer_options() + ",frobnicate,context=\"a,b\"", m.mnt, seconds=20, cwd="/")
    check("frobnicate" in done.stderr and done.stderr.count("\n") <= 1, f"the note: {done.stderr!r}")
    check(mounted(m.mnt), "mounted")
    write(m("f"), "x")
    equal(names(m("")), ["f"], "names")
    pid = int(m.status()["pid"])
    detach(m.mnt)
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"), 20, "the server's end")


@case("the verb quit ends the server as an unmount would", **trootfs)
def quit_verb(m):
    m.mount()
    write(m("f"), "x")
    m.control("quit")
    equal(m.server.wait(20), 0, "status of the server")
    m.server = None
    wait_until(lambda: not mounted(m.mnt), 5, "unmounted")
    m.mount()
    equal(read(m("f")), b"x", "content")


@case("SIGTERM unmounts and ends with 0", **trootfs)
def terminated(m):
    m.mount()
    write(m("f"), "x")
    m.server.terminate()
    try:
        equal(m.server.wait(20), 0, "status of the server")
    except subprocess.TimeoutExpired:
        check(False, "the server did not end within 20 s of SIGTERM")
    m.server = None
    wait_until(lambda: not mounted(m.mnt), 5, "unmounted")
    time.sleep(0.1)
    m.check_work_clean()


@case("the control socket answers its own user only", modes=("root",), **trootfs)
def strangers(m):
    m.mount()
    def ask():
        os.setgroups([])
        os.setresgid(65533, 65533, 65533)
        os.setresuid(65533, 65533, 65533)
        try:
            m.control("limit bhard=0")
        except (PermissionError, Failure, ConnectionError):
            return "refused"
        return "answered"
    os.chmod(m.work, 0o755)
    equal(in_process(ask)(), "refused", "a stranger's request")
    m.umount()


if __name__ == "__main__":
    main()
