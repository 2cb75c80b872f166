#!/usr/bin/env python3
"""What a user may not read on the host, seen from a world: it may look empty, but nothing that holds data is brought into
the world as empty; what one may only execute is no empty script; what is one's own is there."""
import os

from bed import Skip, case, check, equal, main

FILES = (0o000, 0o200, 0o111, 0o600, 0o4111, 0o711)
WORK = {"chmod": "chmod 666 F", "mv": "mv F F.moved", "ln": "ln F F.linked", "append": "echo more >> F",
        "cut": "truncate -s 1 F", "exec": "./F"}
FINE = {"trunc": ": > F", "rm": "rm -f F", "replace": "echo new > F.new && mv -f F.new F", "look": "cat F; stat F"}


def host_tree(u, owner):
    top = u.home + "/tree"
    os.mkdir(top)
    for mode in FILES:
        for work in (*WORK, *FINE):
            path = f"{top}/{work}-{mode:o}"
            with open(path, "w", encoding="ascii") as file:
                file.write("#!/bin/sh\necho ran\n")
            os.chown(path, *owner)
            os.chmod(path, mode)
    os.chown(top, u.uid, u.gid)
    return top


def inside(u, world, top, command):
    code, out, err = u.run("troot", "exec", world, "--", "sh", "-c", f"cd {top} && {command}")
    return code, out, err


@case("files of others that may not be read: refused, never emptied", ids=("one", "range"))
def others(u):
    if os.getuid() != 0:
        raise Skip("needs root")
    top = host_tree(u, (0, 0))
    os.mkdir(top + "/closed", 0o700)
    with open(top + "/closed/f", "w", encoding="ascii") as file:
        file.write("data")
    with open(top + "/lock", "w", encoding="ascii"):
        pass
    os.chmod(top + "/lock", 0o600)
    u.world("w")
    script = []
    for mode in FILES:
        for work, command in WORK.items():
            name = f"{work}-{mode:o}"
            if work == "exec" and not mode & 0o111:
                continue
            script.append(f"({command.replace('F', name)}) >/dev/null 2>&1 && echo 'done: {name}'")
        for work, command in FINE.items():
            name = f"{work}-{mode:o}"
            if work == "look" and mode & 0o111:
                continue
            script.append(f"({command.replace('F', name)}) >/dev/null 2>&1 || echo 'refused: {name}'")
    script.append("mv closed away 2>/dev/null && echo 'done: mv closed'")
    script.append("echo x > closed/new || echo 'refused: a name in closed'")
    script.append("chmod 640 lock && mv lock lock2 && echo x > lock2 || echo 'refused: lock'")
    code, out, err = inside(u, "w", top, "\n".join(script) + "\ntrue")
    equal((code, out), (0, ""), f"what went the wrong way ({err})")
    equal(sorted(os.listdir(top + "/closed")), ["f"], "the host's directory")


@case("files of one's own that may not be read are there all the same", ids=("one", "range"))
def own(u):
    top = host_tree(u, (u.uid, u.gid))
    os.makedirs(top + "/d/sub")
    with open(top + "/d/sub/f", "w", encoding="ascii") as file:
        file.write("in")
    for path in (top + "/d/sub/f", top + "/d/sub", top + "/d"):
        os.chown(path, u.uid, u.gid)
    os.chmod(top + "/d", 0)
    u.world("w")
    script = []
    for mode in FILES:
        o = f"{mode:o}"
        script.append(f"chmod 600 chmod-{o} && mv mv-{o} mv-{o}.moved && ln ln-{o} ln-{o}.linked && "
                      f"grep -q ran chmod-{o} mv-{o}.moved && grep -q ran ln-{o}.linked || echo 'wrong: {o}'")
        script.append(f"cp -a look-{o} copy-{o} && cmp look-{o} copy-{o} && "
                      f"tar cf - look-{o} | tar xOf - | grep -q ran || echo 'wrong: copies of {o}'")
    script.append("ls d >/dev/null && test \"$(cat d/sub/f)\" = in && mv d d2 && chmod 700 d2 && "
                  "test \"$(cat d2/sub/f)\" = in || echo 'wrong: d'")
    code, out, err = inside(u, "w", top, "\n".join(script) + "\ntrue")
    equal((code, out), (0, ""), f"what went the wrong way ({err})")
    equal(os.stat(top + "/chmod-200").st_mode & 0o7777, 0o200, "the host's mode")
    check(os.path.isdir(top + "/d"), "the host's directory")


if __name__ == "__main__":
    main()
