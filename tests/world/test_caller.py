#!/usr/bin/env python3
"""What a command in a world has of its caller: the program that joined."""
import fcntl
import os
import shutil
import signal

from bed import case, check, equal, main, wait_until

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


if __name__ == "__main__":
    main()
