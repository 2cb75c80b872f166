#!/usr/bin/env python3
"""Making, naming and removing worlds, what the store looks like on disk, worlds for one command, bases other
than /, and what is said of bad input."""
import json
import os
import signal
import stat
import subprocess

from bed import case, check, equal, main, servers, wait_until
from machine import complete

EVERY = ("one", "range", "root")


@case("bad input: one clear line each, and its exit code")
def bad_input(u):
    u.world("w")
    for name in ("a/b", "../x", "", ".", "-x", "a b", "x" * 65, "a\nb"):
        u.refused(2, "create", "--", name)
    u.refused(1, "create", "w", says=["w", "already"])
    u.refused(2, "create", "x", "--limit", "12Q", says=["12Q"])
    u.refused(2, "create", "x", "--inodes", "many", says=["many"])
    u.refused(2, "create", "x", "--from", "/absent", says=["/absent"])
    u.refused(2, "create", "x", "--from", "/dev/null", says=["/dev/null"])
    u.refused(1, "create", "x", "--from", "/etc/passwd", says=["/etc/passwd"])
    u.refused(2, "create", says=["NAME"])
    u.refused(2, "quota", "w", "--limit", "12Q", says=["12Q"])
    for command in ("status", "stop", "rm", "quota"):
        u.refused(1, command, "absent", says=["absent", "troot list"])
    u.refused(2, "nonsense", says=["nonsense"])
    u.refused(2, says=["--help"])
    u.refused(2, "list", "--nonsense", says=["--nonsense"])
    # An option that is not there is named before what is missing, and the help is the command's own.
    for command in ("create", "status", "rm", "stop", "quota", "refresh"):
        for option in ("-x", "--nonsense", "--nonsense=1"):
            u.refused(2, command, option, says=[option.split("=")[0] + " is not an option", f"troot {command} --help"])
    equal(u.run("troot", "quota", "set", "--nonsense")[::2],
          (2, "troot quota: --nonsense is not an option (troot quota set --help)\n"), "an option of a verb")
    equal(u.troot("list", "-q"), "w\n", "worlds made by bad input")


@case("help and version")
def help_everywhere(u):
    for command in ("create", "enter", "exec", "run", "list", "status", "stop", "rm", "quota", "flatten", "doctor", "version"):
        check(command in u.troot("--help"), f"--help does not tell of {command}")
        check("--help" in u.troot(command, "--help"), f"help of {command}")
    equal(u.troot("version"), u.troot("--version"), "version")


@case("the store is its owner's alone, and a fresh world is small", ids=EVERY)
def rights(u):
    u.world("w")
    for path in (u.store, u.store + "/worlds", u.store + "/worlds/w"):
        equal(stat.S_IMODE(os.stat(path).st_mode), 0o700, f"mode of {path}")
    u.troot("exec", "w", "true")
    for directory, names, files in os.walk(u.store):
        for name in names + files:
            equal(os.lstat(os.path.join(directory, name)).st_uid, u.uid, f"owner of {directory}/{name}")
    check(u.status("w")["used_bytes"] < 200_000, "what furnishing takes")


@case("flatten makes a stopped world's upper plain", ids=("one", "range"))
def flattened(u):
    u.world("w")
    u.refused(2, "flatten", says=["-o"])
    u.refused(2, "flatten", "-o", "lowerdir=/etc", says=["upperdir"])
    u.shell("w", "mv /etc/skel /etc/skel2 && echo more >> /etc/skel2/.bashrc && touch -d 2001-01-01 /etc/hosts.allow /etc/hostname")
    show = ("cd /etc && find skel2 hostname -printf '%p %M %u %g %T@ ' '(' -type d -printf '\\n' -o -printf '%s\\n' ')' | sort &&"
            " cat skel2/.* hostname 2> /dev/null | md5sum;"
            " ls -d skel")
    before = u.shell("w", show, status=2)
    running = u.popen("troot", "exec", "w", "sleep", "60")
    wait_until(lambda: u.status("w")["sessions"] == 1, "the session")
    u.refused(1, "flatten", "w", says=["w", "running", "troot stop"])
    u.troot("stop", "w")
    running.wait(timeout=10)
    upper = u.upper("w")
    equal(os.getxattr(upper + "/etc/skel2", "user.overlay.redirect"), b"/etc/skel", "the redirect")
    planned = json.loads(u.troot("flatten", "w", "--dry-run", "--json"))
    done = json.loads(u.troot("flatten", "w", "--json"))
    check(done["changes"] == planned["changes"] > 1, f"{planned['changes']} planned, {done['changes']} done")
    steps = {(s["step"], s["path"]) for s in done["steps"]}
    check({("opaque", "/etc/skel2"), ("data", "/etc/hostname")} <= steps, str(steps))
    equal(os.getxattr(upper + "/etc/skel2", "user.overlay.opaque"), b"y", "the mark of a directory that is whole")
    for path, name in (("/etc/skel2", "redirect"), ("/etc/hostname", "metacopy")):
        check("user.overlay." + name not in os.listxattr(upper + path), f"{name} is left on {path}")
    equal(u.shell("w", show, status=2), before, "what the world shows")
    check("0 changes" in u.troot("flatten", "w"), "a second run")


@case("rm removes all of a world, and of several")
def removal(u):
    for name in ("a", "b", "c"):
        u.world(name)
        u.shell(name, "mkdir -p /srv/x/y && chmod 000 /srv/x && rm /etc/hostname; touch /srv/z; chmod 000 /srv")
    u.troot("rm", "a", "b")
    equal(u.troot("list", "-q"), "c\n", "what is left")
    u.troot("rm", "c")
    equal(os.listdir(u.store + "/worlds"), [], "what is left on disk")


DEEP = """import os
os.chdir('/srv')
for level in range(60):
    os.mkdir('d' * 200)
    os.chdir('d' * 200)
    for beside in range(3):
        os.makedirs(f'beside{beside}/full')
        open(f'beside{beside}/full/f', 'w').close()
"""


@case("a world with paths longer than PATH_MAX is removed, by rm, run --rm and after a removal that was cut short", ids=EVERY)
def deep(u):
    u.world("w")
    u.troot("exec", "w", "--", "python3", "-c", DEEP)
    u.troot("rm", "w")
    equal(os.listdir(u.store + "/worlds"), [], "what rm leaves on disk")
    u.troot("run", "--rm", "--", "python3", "-c", DEEP)
    equal(os.listdir(u.store + "/worlds"), [], "what run --rm leaves on disk")
    u.world("w")
    u.troot("exec", "w", "--", "python3", "-c", DEEP)
    # As a killed rm leaves it: out of sight, with a directory that it had moved up already.
    cut = f"{u.store}/worlds/.removed.w.{killed_process()}"
    os.rename(f"{u.store}/worlds/w", cut)
    os.rename(f"{cut}/upper/srv/{'d' * 200}", f"{cut}/rest.0")
    u.troot("list")
    equal(os.listdir(u.store + "/worlds"), [], "what the next command leaves of it")


def killed_process():
    """The number of a process that is no more."""
    child = subprocess.Popen(["true"])
    child.wait(20)
    return child.pid


@case("run: a world for one command, kept or removed", ids=EVERY)
def run(u):
    equal(u.troot("run", "--rm", "--", "sh", "-c", "touch /srv/x; echo $TROOT_WORLD | cut -c1-4"), "run-\n", "output")
    equal(u.troot("list", "-q"), "", "worlds after run --rm")
    u.troot("run", "--rm", "--", "sh", "-c", "exit 5", status=5)
    u.troot("run", "--name", "kept", "--limit", "50M", "--", "touch", "/srv/x")
    u.shell("kept", "test -e /srv/x")
    equal(u.status("kept")["limit_bytes"], 50 << 20, "its limit")
    u.refused(125, "run", "--rm", "--name", "kept", "true", says=["kept"])


@case("run --rm leaves nothing behind whatever ends it")
def run_ended(u):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL):
        child = u.popen("troot", "run", "--rm", "--", "sh", "-c", "echo ready; exec sleep 1000", stdout=subprocess.PIPE, text=True)
        equal(child.stdout.readline(), "ready\n", "the command")
        os.kill(child.pid, number)
        child.wait(30)
        wait_until(lambda: not servers(u), "the server ends")
        # After SIGKILL there is nobody to remove it but the next command.
        equal(u.troot("list", "-q"), "", f"worlds after signal {number}")
        equal(os.listdir(u.store + "/worlds"), [], f"what is left on disk after signal {number}")


@case("a base other than /", ids=EVERY)
def other_base(u):
    base = u.home + "/base"
    # The least that runs a shell: the host's own /usr, by copies of what sh needs.
    needed = {"/bin/sh", "/bin/ls", "/bin/cat"}
    for program in list(needed):
        for word in complete(["ldd", program], 20, capture_output=True, text=True).stdout.split():
            if word.startswith("/"):
                needed.add(word)
    for path in needed:
        os.makedirs(base + os.path.dirname(path), exist_ok=True)
        complete(["cp", "-L", path, base + path], 20, check=True)
    os.mkdir(base + "/etc")
    complete(["chown", "-R", f"{u.uid}:{u.gid}", base], 20, check=True)
    u.world("w", "--from", base)
    u.shell("w", "echo new > /etc/new && test -e /proc/self/status && test -c /dev/null && test -d /tmp")
    equal(u.shell("w", "cat /etc/new; ls /etc | cat"), "new\ndebian_chroot\nnew\nresolv.conf\n", "/etc inside")
    equal(os.listdir(base + "/etc"), [], "/etc of the base")


@case("--share-tmp shows the host's /tmp")
def share_tmp(u):
    marker = f"/tmp/troot-shared-{os.getpid()}"
    u.world("w", "--share-tmp")
    try:
        u.shell("w", f"echo x > {marker}")
        check(os.path.exists(marker), "not on the host")
    finally:
        if os.path.exists(marker):
            os.unlink(marker)


@case("a path with blanks, commas and colons in it")
def odd_path(u):
    u.environment["XDG_DATA_HOME"] = u.home + "/data/a b,c:d\\e" + "x" * 100
    os.mkdir(u.environment["XDG_DATA_HOME"])
    os.chown(u.environment["XDG_DATA_HOME"], u.uid, u.gid)
    u.world("w")
    equal(u.shell("w", "echo x > /srv/f; cat /srv/f"), "x\n", "output")
    u.troot("rm", "w")


if __name__ == "__main__":
    main()
