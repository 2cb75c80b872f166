#!/usr/bin/env python3
"""Hosts that refuse something: what doctor finds and what the other commands say of it."""
import json
import os
import shlex

from bed import Skip, case, check, equal, main
from machine import complete

WORDS = {"ok", "warn", "fail"}


@case("doctor finds nothing wrong here, and says so in both forms", ids=("one", "range", "root"))
def healthy(u):
    code, out, err = u.run("troot", "doctor")
    equal((code, err), (0, ""), f"doctor ({out})")
    findings = json.loads(u.troot("doctor", "--json"))
    check({f["verdict"] for f in findings} <= WORDS, "verdicts")
    equal([f["what"] for f in findings if f["verdict"] == "fail"], [], "failures")
    ids = next(f for f in findings if f["what"] == "id range")
    equal(ids["verdict"], "warn" if u.mode == "one" else "ok", "the id range")
    check(u.mode != "one" or "uidmap" in ids["cure"] and f"echo {u.made}:" in ids["cure"] and "sshd" in ids["detail"], "its cure")
    check("\033" not in out and "\033[32m" in u.troot("--color", "always", "doctor"), "colour")


@case("ping: doctor names the sysctl where it is closed")
def closed_ping(u):
    if os.getuid() != 0:
        raise Skip("needs root")
    with open("/proc/sys/net/ipv4/ping_group_range", encoding="ascii") as file:
        was = file.read()
    script = ("echo 1 0 > /proc/sys/net/ipv4/ping_group_range && "
              f"exec setpriv --reuid {u.uid} --regid {u.gid} --clear-groups troot doctor --json")
    done = complete(["unshare", "-n", "sh", "-c", script], 60, env=u.environment, cwd="/", capture_output=True, text=True)
    found = next(f for f in json.loads(done.stdout) if f["what"] == "ping")
    equal(found["verdict"], "warn", f"ping ({found})")
    check("net.ipv4.ping_group_range" in found["cure"], str(found))
    with open("/proc/sys/net/ipv4/ping_group_range", encoding="ascii") as file:
        equal(file.read(), was, "the host's own sysctl")


def on_a_host(u, prepare, command):
    """Runs `command` as the user on a host that root changed by `prepare`, in a mount namespace."""
    if os.getuid() != 0:
        raise Skip("needs root")
    script = (f"mount --make-rprivate / && {prepare} && "
              f"exec setpriv --reuid {u.uid} --regid {u.gid} --clear-groups {command}")
    done = complete(["unshare", "-m", "sh", "-c", script], 60, env=u.environment, cwd="/", capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


CLOSED = "mount -t tmpfs none /mnt && mknod -m 600 /mnt/fuse c 10 229 && mount --bind /mnt/fuse /dev/fuse"
ABSENT = "mount -t tmpfs none /mnt && mkdir /mnt/pts && cp -a /dev/null /dev/tty /mnt && mount --move /mnt /dev"


@case("/dev/fuse with mode 0600")
def closed_device(u):
    u.world("w")
    code, _, err = on_a_host(u, CLOSED, "troot exec w true")
    equal((code, err.count("\n")), (125, 1), f"exec ({err!r})")
    check("/dev/fuse" in err and "sudo chmod 666 /dev/fuse" in err, f"exec says {err!r}")
    code, out, _ = on_a_host(u, CLOSED, "troot doctor")
    equal(code, 1, "doctor")
    check("sudo chmod 666 /dev/fuse" in out and "Permission denied" in out, f"doctor says {out!r}")


@case("no /dev/fuse")
def absent_device(u):
    u.world("w")
    code, _, err = on_a_host(u, ABSENT, "troot exec w true")
    equal((code, err.count("\n")), (125, 1), f"exec ({err!r})")
    check("/dev/fuse" in err and "modprobe fuse" in err, f"exec says {err!r}")


COVERED = "mount -t tmpfs none /proc/fs"
REACH = """
echo 500 > /proc/$0/oom_score_adj; kill -9 $0; kill -9 -1
test "$(cat /proc/$0/comm)" = sleep && echo seen
cat /proc/self/comm; echo x | cat /dev/stdin
unshare -m sleep 379 >/dev/null 2>&1 &
sleep 0.3
"""


@case("a /proc that is covered in part, as in a container: the host's processes are out of reach, and it is told",
      ids=("one", "range"))
def covered_proc(u):
    u.world("w")
    victim = u.popen("sleep", "300")
    try:
        code, out, err = on_a_host(u, COVERED, f"troot exec w -- sh -c {shlex.quote(REACH)} {victim.pid}")
        equal((code, out.split()), (0, ["seen", "cat", "x"]), f"what a program finds ({err!r})")
        check("troot: world 'w': /proc is the host's" in err, f"exec says {err!r}")
        equal(victim.poll(), None, "a process of the user's on the host")
        with open(f"/proc/{victim.pid}/oom_score_adj", encoding="ascii") as file:
            equal(file.read(), "0\n", "its oom_score_adj")
        equal(u.run("pgrep", "-U", str(u.uid), "-x", "-f", "sleep 379")[1], "", "what is left of the world")
    finally:
        victim.kill()
        victim.wait()
    code, out, _ = on_a_host(u, COVERED, "troot doctor --json")
    found = next(f for f in json.loads(out) if f["what"] == "fresh /proc")
    equal((code, found["verdict"]), (0, "warn"), f"doctor ({found})")
    check("the host's processes" in found["detail"], f"doctor says {found}")


@case("doctor tells whether FUSE over io_uring is enabled, and how")
def io_uring(u):
    switch = "/sys/module/fuse/parameters/enable_uring"
    if not os.path.exists(switch):
        raise Skip("this kernel has no FUSE over io_uring (Linux 6.14 with CONFIG_FUSE_IO_URING)")
    for value, told in (("N", "not enabled"), ("Y", "enabled: mounts use it")):
        shown = f"mount -t tmpfs none /mnt && echo {value} > /mnt/value && mount --bind /mnt/value {switch}"
        code, out, _ = on_a_host(u, shown, "troot doctor")
        equal(code, 0, "doctor")
        check(told in out and (value == "Y") != (f"tee {switch}" in out), f"doctor says {out!r}")


@case("user namespaces refused")
def no_namespaces(u):
    u.world("w")
    # The setting counts for each namespace: one in which it is 0 stands for a host where it is.
    refuse = "echo 0 > /proc/sys/user/max_user_namespaces && "
    code, _, err = u.run("unshare", "-Ur", "sh", "-c", refuse + "troot exec w true")
    equal((code, err.count("\n")), (125, 1), f"exec ({err!r})")
    check("user.max_user_namespaces" in err, f"exec says {err!r}")
    code, out, _ = u.run("unshare", "-Ur", "sh", "-c", refuse + "troot doctor")
    equal(code, 1, "doctor")
    check("user.max_user_namespaces" in out, f"doctor says {out!r}")


@case("a server that cannot start: its own line is passed on")
def failing_server(u):
    u.world("w")
    upper = u.upper("w")
    u.run("sh", "-c", f"rmdir {shlex.quote(upper)} && touch {shlex.quote(upper)}")
    u.refused(125, "exec", "w", "true", says=[upper])


if __name__ == "__main__":
    main()
