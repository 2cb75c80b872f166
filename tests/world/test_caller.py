#!/usr/bin/env python3
"""What a command in a world has of its caller: the program that joined, keys, descriptors, files, process group."""
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


@case("a file handed over to be read is read, and neither written to nor changed through its descriptor", ids=EVERY)
def read_only_file(u):
    u.world("w")
    lines = "".join(f"{n}\n" for n in range(100000))
    with open(u.home + "/f", "w", encoding="utf-8") as file:
        file.write(lines)
    os.chown(u.home + "/f", u.uid, u.gid)
    os.chmod(u.home + "/f", 0o600)
    code, out, err = u.run("sh", "-c", "troot exec w -- cat < f")
    equal((code, out == lines, err), (0, True, ""), "a file that is read")
    u.run("sh", "-c", "tail -c 100 f > g; troot exec w -- sh -c 'echo inside 1<>/proc/self/fd/0 >&1' < g")
    equal(u.run("cat", "g")[1], lines[-100:], "a file that is written to by /proc/self/fd")
    u.run("sh", "-c", "troot exec w -- python3 -c 'import os; os.fchmod(0, 0o666); os.fchmod(2, 0o666)' < f 2< f")
    with open(u.home + "/f", encoding="utf-8") as file:
        equal(file.read() == lines, True, "the file is as it was")
    equal(os.stat(u.home + "/f").st_mode & 0o777, 0o600, "its mode")
    # What was not read inside is read by who comes next, as from any file.
    code, out, err = u.run("bash", "-c", "{ read a; troot exec w -- head -c 2; read b; echo $a $b; troot exec w true; read c; "
                                         "echo $c; troot exec w -- wc -l; read d || echo end; } < f")
    equal((code, out), (0, "1\n0 2\n3\n99996\nend\n"), f"what each reader has ({err})")


@case("a file handed over to be appended to has all that was written, in its order, and cannot be cut", ids=EVERY)
def appended_file(u):
    u.world("w")
    with open(u.home + "/log", "w", encoding="utf-8") as file:
        file.write("host\n")
    os.chown(u.home + "/log", u.uid, u.gid)
    script = ": > /proc/self/fd/1; i=0; while [ $i -lt 500 ]; do echo $i; echo $i >&2; i=$((i + 1)); done"
    code, _, err = u.run("sh", "-c", f"troot exec w -- sh -c '{script}' >> log 2>&1; echo host >> log")
    with open(u.home + "/log", encoding="utf-8") as file:
        wanted = "".join(f"{n}\n{n}\n" for n in range(500))
        equal((code, file.read()), (0, "host\n" + wanted + "host\n"), f"the log ({err})")
    code, _, err = u.run("sh", "-c", "troot exec w -- no-such-command 2>> log")
    with open(u.home + "/log", encoding="utf-8") as file:
        equal((code, file.read().endswith("not found in the world\n")), (127, True), "what troot itself says")
    # What is left running writes on, and nobody waits for it.
    holder = u.popen("troot", "exec", "w", "--", "cat", stdin=subprocess.PIPE)
    wait_until(lambda: u.status("w")["sessions"] == 1, "a session")
    u.run("sh", "-c", "troot exec w -- sh -c '(until [ -e /go ]; do sleep 0.05; done; echo later) &' >> log 2>&1", seconds=20)
    u.shell("w", "touch /go")
    wait_until(lambda: open(u.home + "/log", encoding="utf-8").read().endswith("later\n"), "what comes later is in the log")
    # A disk that is full is said.
    code, _, err = u.run("bash", "-c", "ulimit -S -f 1; troot exec w -- sh -c 'head -c 9000 /dev/zero' >> full")
    check(code == 125 and "standard output: File too large" in err, f"a file that cannot be written: {code} {err!r}")
    holder.communicate(timeout=20)


@case("a directory as standard input, output or error is refused; a closed one is /dev/null", ids=EVERY)
def no_directory(u):
    u.world("w")
    for number, name in enumerate(("input", "output", "error")):
        code, out, err = u.run("sh", "-c", f"(troot exec w -- true {number}< /) 2>&1" if number < 2 else
                               "troot exec w -- true 2< /; exit $?")
        equal(code, 125, f"status with a directory as standard {name}")
        check(number > 0 or ("standard input is a directory" in out and out.count("\n") == 1), f"troot says {out!r} {err!r}")
    equal(u.run("sh", "-c", "troot exec w -- readlink /proc/self/fd/0 <&-")[:2], (0, "/dev/null\n"), "a closed one")


@case("/dev/null of the caller's is the world's inside, where that is another one", ids=("root",))
def own_null(u):
    u.world("w")
    code, out, _ = u.run("sh", "-c", "troot exec w -- stat -L -c %d /proc/self/fd/0 /dev/null < /dev/null")
    equal((code, len(set(out.split()))), (0, 1), f"devices of the two: {out!r}")


@case("a signal to the whole group, sent inside, does not reach the caller's", ids=EVERY)
def own_group(u):
    u.world("w")
    script = "troot exec w -- python3 -c 'import os; os.kill(0, 9)'; echo was $?; sleep 1000 & troot exec w -- sh -c 'kill 0'; " \
             "echo was $?; kill $! && echo helper lives"
    code, out, err = u.run("sh", "-c", script)
    equal((code, out), (0, "was 137\nwas 143\nhelper lives\n"), f"what the script says ({err})")


if __name__ == "__main__":
    main()
