#!/usr/bin/env python3
"""Whose a store is: root and two ordinary users, none of whom is led into the store, the world or the namespaces of another."""
import json
import os
import pwd
import shutil
import subprocess
import tempfile
import time

from bed import Skip, case, check, equal, main, servers, wait_until
from machine import complete

COMMANDS = (("list",), ("status", "w"), ("enter", "w"), ("exec", "w", "true"), ("stop", "w"), ("rm", "w"), ("rm", "-f", "w"),
            ("quota", "w"), ("quota", "w", "--limit", "1G"), ("quota", "report", "w"), ("refresh", "w"), ("flatten", "w"),
            ("create", "x"), ("run", "--rm", "true"))


def as_root(u, *words, **changes):
    """(status, stdout, stderr) of troot typed by root with the user's environment, as sudo -E leaves it."""
    done = complete(["troot", *words], 60, env={**u.environment, **changes}, cwd="/", capture_output=True, text=True,
                    stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout, done.stderr


def refused_by(result, command, *says):
    code, out, err = result
    check(code in (1, 125), f"troot {' '.join(command)}: status {code} ({out!r} {err!r})")
    equal((out, err.count("\n")), ("", 1), f"troot {' '.join(command)}: {err!r}")
    for word in says:
        check(word in err, f"troot {' '.join(command)}: {err!r} does not name {word!r}")


def need_root():
    if os.getuid() != 0:
        raise Skip("needs root")


@case("root follows no XDG_DATA_HOME of another user, by no command")
def root_is_not_led(u):
    need_root()
    u.world("w")
    before = sorted(os.listdir(u.store + "/worlds"))
    for command in COMMANDS:
        refused_by(as_root(u, *command), command, u.home, u.made, "root", "unset XDG_DATA_HOME", "sudo without -E")
    equal(sorted(os.listdir(u.store + "/worlds")), before, "the user's worlds")
    code, out, _ = as_root(u, "doctor", "--json")
    store = next(f for f in json.loads(out) if f["what"] == "store")
    equal((code, store["verdict"]), (1, "fail"), "doctor")
    check("unset XDG_DATA_HOME" in store["detail"] + store["cure"], f"doctor says {store}")
    # A store that is not there yet is not made in another's directory either.
    refused_by(as_root(u, "create", "x", XDG_DATA_HOME=u.home + "/new"), ("create",), u.made)
    check(not os.path.exists(u.home + "/new"), "root made a directory in another's home")


@case("an ordinary user is not led either: by XDG_DATA_HOME, by HOME")
def user_is_not_led(u):
    need_root()
    theirs = tempfile.mkdtemp(prefix="troot-other-", dir="/var/tmp")
    try:
        nobody = pwd.getpwnam("nobody")
        os.chmod(theirs, 0o755)
        os.makedirs(theirs + "/troot/worlds")
        for path in (theirs, theirs + "/troot", theirs + "/troot/worlds"):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
        u.environment["XDG_DATA_HOME"] = theirs
        refused_by(u.run("troot", "list"), ("list",), theirs, "nobody", u.made, "unset XDG_DATA_HOME")
        del u.environment["XDG_DATA_HOME"]
        u.environment["HOME"] = theirs
        refused_by(u.run("troot", "list"), ("list",), theirs, "nobody", "HOME")
    finally:
        shutil.rmtree(theirs)


@case("a way to the store that others can write is refused; a sticky one is not", ids=("one", "root"))
def writable_way(u):
    data = u.home + "/data"
    u.world("w")
    for path, mode in ((data, 0o777), (u.store, 0o777), (u.store, 0o720), (u.store + "/worlds", 0o702)):
        was = os.stat(path).st_mode & 0o7777
        os.chmod(path, mode)
        refused_by(u.run("troot", "list"), ("list",), path, "chmod go-w")
        os.chmod(path, was)
    os.chmod(data, 0o1777)
    u.troot("exec", "w", "true")
    os.chmod(data, 0o755)
    for path, mode in (("", 0o770), ("/run", 0o777), ("/world.json", 0o666)):
        path = f"{u.store}/worlds/w{path}"
        was = os.stat(path).st_mode & 0o7777
        os.chmod(path, mode)
        refused_by(u.run("troot", "exec", "w", "true"), ("exec",), path, "chmod go-w")
        os.chmod(path, was)
    u.troot("exec", "w", "true")


@case("a home whose group is the user's own may be written by it, as umask 002 makes it")
def private_group(u):
    need_root()
    os.chmod(u.home + "/data", 0o775)
    u.world("w")
    os.chown(u.home + "/data", u.uid, pwd.getpwnam("nobody").pw_gid)
    refused_by(u.run("troot", "list"), ("list",), u.home + "/data", "its group")
    os.chown(u.home + "/data", u.uid, u.gid)


@case("a store that is a symlink to a directory of the user's own is followed; worlds and files that are symlinks are not")
def symlinks(u):
    u.world("w")
    os.rename(u.store, u.home + "/data/elsewhere")
    os.symlink(u.home + "/data/elsewhere", u.store)
    equal(u.shell("w", "echo x > /srv/f; cat /srv/f"), "x\n", "by way of the symlink")
    u.troot("stop", "w")
    worlds = u.store + "/worlds"
    os.symlink("w", worlds + "/linked")
    refused_by(u.run("troot", "rm", "-f", "linked"), ("rm",), "/data/elsewhere/worlds/linked", "symlink")
    equal({v["name"]: v["state"] for v in json.loads(u.troot("list", "--json"))}, {"w": "stopped", "linked": "foreign"}, "list")
    os.unlink(worlds + "/linked")
    for name in ("world.json", "lock", "run", "run/root", "upper", "work"):
        path = f"{worlds}/w/{name}"
        os.rename(path, path + ".aside")
        os.symlink(path + ".aside", path)
        refused_by(u.run("troot", "exec", "w", "true"), ("exec",), name, "symlink")
        os.unlink(path)
        os.rename(path + ".aside", path)
    u.troot("exec", "w", "true")


@case("a directory that another user makes on the way to the store, while troot is about to, is refused")
def raced_way(u):
    need_root()
    if not shutil.which("strace"):
        raise Skip("needs strace, to hold troot at its mkdir")
    theirs = tempfile.mkdtemp(prefix="troot-sticky-", dir="/var/tmp")
    try:
        os.chmod(theirs, 0o1777)
        data = theirs + "/data"
        child = u.popen("strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=mkdir", "-e",
                        "inject=mkdir:delay_enter=1500000:when=1", "troot", "run", "--name", "x", "--", "true",
                        env={**u.environment, "XDG_DATA_HOME": data}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        time.sleep(0.7)
        os.mkdir(data)
        os.chown(data, pwd.getpwnam("nobody").pw_uid, -1)
        os.chmod(data, 0o777)
        out, err = child.communicate(timeout=30)
        refused_by((child.returncode, out, err), ("run",), data, "nobody")
        equal(os.listdir(data), [], "what was made in another's directory")
    finally:
        shutil.rmtree(theirs)


@case("what another user put into the store is refused, and told of by list", ids=("one", "root"))
def foreign_parts(u):
    need_root()
    nobody = pwd.getpwnam("nobody")
    for part in ("", "/run", "/world.json", "/lock"):
        u.world("w")
        u.world("other")
        path = f"{u.store}/worlds/w{part}"
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
        for command in (("status", "w"), ("exec", "w", "true"), ("rm", "-f", "w"), ("quota", "w", "--limit", "1G")):
            code, out, err = u.run("troot", *command)
            if command[0] == "status" and code == 0:
                check("foreign" in out, f"status says {out!r}")
                continue
            refused_by((code, out, err), command, path, "nobody")
        equal({v["name"]: v["state"] for v in json.loads(u.troot("list", "--json"))},
              {"w": "foreign", "other": "stopped"}, f"list, {part}")
        os.chown(path, u.uid, u.gid)
        u.troot("rm", "w", "other")


# What another user leaves at the socket of a world: it hands out namespaces in which their program is.
LISTENER = """import os, socket, sys, array
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o777)
s.listen(8)
print('up', flush=True)
heard = 0
while True:
    c, _ = s.accept()
    word = c.recv(100)
    if word == b'session':
        fds = [os.open('/proc/self/ns/' + n, os.O_RDONLY) for n in ('user', 'mnt', 'ipc')]
        c.sendmsg([b'ok one'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))])
        open(sys.argv[2], 'w').close()
    elif word:
        open(sys.argv[2], 'w').close()
        c.send(b'0')
"""


def listen(u, path, identity):
    """A process of another user that answers at `path`, in namespaces of its own."""
    heard = tempfile.mktemp(prefix="troot-heard-", dir="/var/tmp")
    child = subprocess.Popen(["unshare", "-Urmi", "python3", "-c", LISTENER, path, heard], stdout=subprocess.PIPE, text=True,
                             **identity)
    equal(child.stdout.readline(), "up\n", "the listener")
    return child, heard


@case("a socket at which another user answers is not spoken to", ids=("one", "root"))
def foreign_socket(u):
    need_root()
    nobody = pwd.getpwnam("nobody")
    u.world("w")
    run = f"{u.store}/worlds/w/run"
    # It was theirs to write once.
    for path in (u.store, u.store + "/worlds", u.store + "/worlds/w"):
        os.chmod(path, 0o711)
    os.chmod(run, 0o777)
    child, heard = listen(u, run + "/init.sock", {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []})
    os.chmod(run, 0o700)
    try:
        refused_by(u.run("troot", "exec", "w", "true"), ("exec",), "init.sock", "another user")
        refused_by(u.run("troot", "stop", "w"), ("stop",), "init.sock", "another user")
        equal(json.loads(u.troot("list", "--json"))[0]["state"], "foreign", "list")
        check(not os.path.exists(heard), "something was said to the socket of another user")
    finally:
        child.kill()
        child.wait(20)
        if os.path.exists(heard):
            os.unlink(heard)
        os.unlink(run + "/init.sock")


@case("namespaces that are not the caller's are not entered, whoever hands them out", ids=("root",))
def foreign_namespaces(u):
    u.world("w")
    path = f"{u.store}/worlds/w/run/init.sock"
    # By root's own hand, but in a user namespace: its root is nobody on the host.
    nobody = pwd.getpwnam("nobody")
    script = LISTENER.replace("'/proc/self/ns/' + n", f"'/proc/%s/ns/' % os.environ['HOLDER'] + n")
    holder = subprocess.Popen(["unshare", "-Urmi", "sh", "-c", "echo up; exec sleep 100"], user=nobody.pw_uid,
                              group=nobody.pw_gid, extra_groups=[], stdout=subprocess.PIPE, text=True)
    equal(holder.stdout.readline(), "up\n", "who holds the namespaces")
    heard = tempfile.mktemp(prefix="troot-heard-", dir="/var/tmp")
    child = subprocess.Popen(["python3", "-c", script, path, heard], stdout=subprocess.PIPE, text=True,
                             env={**os.environ, "HOLDER": str(holder.pid)})
    try:
        equal(child.stdout.readline(), "up\n", "the listener")
        refused_by(u.run("troot", "exec", "w", "id"), ("exec",), "another user", "not entered")
        wait_until(lambda: os.path.exists(heard), "the listener was asked", 20)
    finally:
        for process in (child, holder):
            process.kill()
            process.wait(20)
        if os.path.exists(heard):
            os.unlink(heard)
        os.unlink(path)
    u.troot("exec", "w", "true")
    equal(servers(u), [], "servers")


if __name__ == "__main__":
    main()
