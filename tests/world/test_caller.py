#!/usr/bin/env python3
"""What a command in a world has of its caller: the program that joined, keys, descriptors."""
import fcntl
import os
import shutil
import signal
import subprocess

from bed import Skip, case, check, equal, main, wait_until

EVERY = ("one", "range", "root")


def full_pipe():
    """The ends of a pipe that takes nothing more: who writes to it waits."""
    reader, writer = os.pipe()
    flags = fcntl.fcntl(writer, fcntl.F_GETFL)
    fcntl.fcntl(writer, fcntl.F_SETFL, flags | os.O_NONBLOCK)
    try:
        while os.write(writer, b"x" * 4096):
            pass
    except BlockingIOError:
        pass
    fcntl.fcntl(writer, fcntl.F_SETFL, flags)
    return reader, writer


def processes(u):
    """(process id, name, words) of what the user runs."""
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.stat("/proc/" + entry).st_uid not in (u.uid, 0):
                continue
            with open(f"/proc/{entry}/comm", encoding="utf-8") as name, open(f"/proc/{entry}/cmdline", "rb") as words:
                yield int(entry), name.read().strip(), words.read().split(b"\0")[:-1]
        except OSError:
            pass


@case("what joins a world and what serves it is no file of the host's: #!/proc/self/exe leads to a copy", ids=EVERY)
def own_program(u):
    own = u.home + "/bin"
    shutil.copytree(u.binaries, own)
    os.chown(own + "/troot", u.uid, u.gid)
    u.world("w")
    u.shell("w", "printf '#!/proc/self/exe\\n' > /usr/local/bin/tool; chmod 755 /usr/local/bin/tool")
    reader, writer = full_pipe()
    # The tool is troot itself, which says that it knows no such command, as soon as it can.
    child = u.popen(own + "/troot", "exec", "w", "--", "tool", stderr=writer)
    os.close(writer)
    tool = [b"/proc/self/exe", b"/usr/local/bin/tool"]
    wait_until(lambda: any(words == tool for _, _, words in processes(u)), "the tool runs")
    seen = set()
    for process, name, words in processes(u):
        if words == tool or words[:1] == [own.encode() + b"/troot"]:
            seen.add(name)
            program = os.readlink(f"/proc/{process}/exe")
            check(program.startswith("/memfd:"), f"{name} is {program}")
    check("troot-init" in seen, f"init is not among {seen}")
    os.close(reader)
    equal(child.wait(20), 128 + signal.SIGPIPE, "status of the tool")


@case("the copy knows where its program lies: the server beside it, and troot inside", ids=EVERY)
def found_beside(u):
    own = u.home + "/bin"
    shutil.copytree(u.binaries, own)
    u.world("w")
    path = {**u.environment, "PATH": "/usr/bin:/bin", "TROOT_PROGRAM": "/nowhere/troot"}
    code, out, err = u.run(own + "/troot", "exec", "w", "--", "sh", "-c", "troot list -q; echo \"[$TROOT_PROGRAM]\"", env=path)
    equal((code, out), (0, "w\n[]\n"), f"what is said inside ({err})")


KEYS = r"""
import ctypes, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)
KEYCTL = {"x86_64": (248, 250), "aarch64": (217, 219)}[__import__("platform").machine()]
def ctl(*words): return libc.syscall(KEYCTL[1], *words)
def read(key):
    value = ctypes.create_string_buffer(100)
    size = ctl(11, key, value, 100)
    return value.raw[:size].decode() if size >= 0 else "none"
if sys.argv[1] == "inside":
    key = ctl(10, -3, b"user", b"token", 0)
    print("found", key > 0, "by number", read(int(sys.argv[2])), flush=True)
else:
    if ctl(1, None) < 0: sys.exit(77)
    key = libc.syscall(KEYCTL[0], b"user", b"token", b"host", 4, -3)
    script = open(sys.argv[0]).read()
    subprocess.run(["troot", "exec", "w", "--", "python3", "-c", script, "inside", str(key)])
    print("host has", read(key))
"""


@case("the caller's session keyring stays outside: a key is not found, nor read by its number", ids=EVERY)
def keyring(u):
    u.world("w")
    with open(u.home + "/keys.py", "w", encoding="utf-8") as script:
        script.write(KEYS)
    code, out, err = u.run("python3", u.home + "/keys.py", "outside")
    if code == 77:
        raise Skip("no keyrings here")
    equal(out, "found False by number none\nhost has host\n", f"what is read ({err})")


@case("a descriptor that a session's caller left open is not held by the world that it starts", ids=EVERY)
def descriptors(u):
    u.world("w")
    first = u.popen("sh", "-c", "exec 9>lock; flock 9; exec troot exec w -- cat", stdin=subprocess.PIPE)
    wait_until(lambda: u.status("w")["state"] == "running", "the world runs")
    second = u.popen("troot", "exec", "w", "--", "cat", stdin=subprocess.PIPE)
    wait_until(lambda: u.status("w")["sessions"] == 2, "a second session")
    first.communicate(timeout=20)
    code, _, _ = u.run("flock", "-n", "lock", "true")
    second.communicate(timeout=20)
    equal(code, 0, "status of a try of the lock")


@case("paths with what means something in an option list are the paths they are", ids=("one", "root"))
def odd_paths(u):
    for number, odd in enumerate(['a"b"c', 'q"', 'b\\', 'c\\"', 'd:e', 'f,g', ' h ', "i'j", "k=l", '"', '\\,":']):
        base, data = f"{u.home}/base {odd}", f"{u.home}/data {odd}"
        for directory in (base, data):
            os.mkdir(directory)
            os.chown(directory, u.uid, u.gid)
        with open(base + "/mark", "w", encoding="utf-8") as mark:
            mark.write(odd)
        there = {**u.environment, "XDG_DATA_HOME": data}
        u.troot("create", "w", "--from", base, env=there)
        # Nothing in it can be executed: what a start makes in the upper shows where that is.
        u.run("troot", "exec", "w", "--", "/mark", env=there)
        upper = data + "/troot/worlds/w/upper"
        check(os.listdir(upper), f"{upper} is empty: the upper is elsewhere")
        u.troot("rm", "-f", "w", env=there)


if __name__ == "__main__":
    main()
