#!/usr/bin/env python3
"""What an image says of the program to run is kept and used: command, variables, directory and user, and what goes
before what."""
import json
import os

from archives import Layout, bootable, furnished, left, programs, put
from bed import case, check, equal, main

EVERY = ("one", "range", "root")
SAYS = {"Env": ["PATH=/bin", "GREETING=hello", "HOME=/srv"], "Entrypoint": ["/bin/sh", "-c"],
        "Cmd": ["echo $GREETING $HOME $USER $PWD; id -u; id -g"], "WorkingDir": "/srv", "User": "svc"}


def image(u, config=None, name="image"):
    layout = Layout().image("v1", furnished(bootable()).end(), config=SAYS if config is None else config)
    return "oci:" + layout.write(f"{u.home}/{name}")


def told_lines(err):
    return [line for line in err.splitlines() if "/proc is the host's" not in line]


def told_of_user(u, err):
    """The line of a world with one id, and no other."""
    lines = told_lines(err)
    equal(len(lines), 1 if u.mode == "one" else 0, f"lines on standard error: {lines}")
    check(all("the image's user is svc" in line for line in lines), f"what is said: {lines}")


def who(u):
    return ("root", "0\n0\n") if u.mode == "one" else ("svc", "7\n8\n")


@case("run without a command runs what the image says, where and as whom it says", ids=EVERY)
def says(u):
    code, out, err = u.run("troot", "run", "--rm", "--from", image(u))
    name, ids = who(u)
    equal((code, out), (0, f"hello /srv {name} /srv\n{ids}"), f"what ran ({err})")
    told_of_user(u, err)
    equal(u.troot("list", "-q"), "", "worlds")


@case("a command goes behind the entrypoint, which another one replaces", ids=("one", "root"))
def entrypoint(u):
    new = ("run", "--rm", "--from", image(u))
    equal(u.troot(*new, "--", "echo typed $GREETING"), "typed hello\n", "a command behind the entrypoint")
    equal(u.troot(*new, "--entrypoint", "/bin/cat", "--", "/etc/passwd").splitlines()[1], "svc:x:7:8::/:/bin/sh", "another entrypoint")
    check(u.troot(*new, "-u", "0", "--entrypoint", "id").startswith("uid=0"), "an entrypoint alone, found in the image's PATH")
    equal(u.troot(*new, "--entrypoint", "", "--", "/bin/sh", "-c", "echo plain"), "plain\n", "no entrypoint")
    equal(u.troot(*new, "--entrypoint=", "--", "/bin/sh", "-c", "echo plain"), "plain\n", "no entrypoint, in one word")
    u.refused(125, *new, "--entrypoint", "", says=["no command"])
    u.refused(125, "run", "--rm", "--from", image(u, {}, "bare"), says=["no command", "image"])
    u.refused(125, "run", "--rm", says=["no command"])
    equal(u.troot("list", "-q"), "", "worlds of refused runs")


@case("run --in takes a world that is there", ids=("one", "root"))
def inside(u):
    u.world("w", "--from", image(u))
    equal(u.troot("run", "--in", "w").splitlines()[0].split()[0], "hello", "the image's command")
    equal(u.troot("run", "--in", "w", "-e", "GREETING=other", "echo $GREETING"), "other\n", "a command behind the entrypoint")
    u.refused(125, "run", "--in", "w", "--rm", "true", says=["--in"])
    u.refused(125, "run", "--in", "w", "--limit", "1G", "true", says=["--in"])
    u.refused(125, "run", "--in", "absent", "true", says=["absent"])
    u.world("host", "--from", put(u, "plain.tar", bootable().end()))
    u.refused(125, "run", "--in", "host", says=["no command"])
    equal(u.troot("run", "--in", "host", "--", "/bin/sh", "-c", "echo x"), "x\n", "a world of no image")


@case("enter and exec have the image's variables, directory and user, and no entrypoint", ids=EVERY)
def sessions(u):
    u.world("w", "--from", image(u))
    name, ids = who(u)
    code, out, err = u.run("troot", "exec", "w", "--", "/bin/sh", "-c", SAYS["Cmd"][0])
    equal((code, out), (0, f"hello /srv {name} /srv\n{ids}"), "exec")
    told_of_user(u, err)
    code, out, err = u.run("troot", "enter", "w", text=SAYS["Cmd"][0] + "\n")
    equal((code, out), (0, f"hello /srv {name} /srv\n{ids}"), "enter")
    told_of_user(u, err)


@case("options go before the image, and the image before the defaults", ids=EVERY)
def order(u):
    u.world("w", "--from", image(u))
    shell = ("--", "/bin/sh", "-c")
    equal(u.troot("exec", "-u", "root", "-e", "GREETING=option", "-e", "GREETING=last", "-w", "/etc", "w", *shell,
                  "echo $GREETING $HOME $USER $PWD; id -u"), "last /srv root /etc\n0\n", "options")
    equal(u.troot("exec", "-u", "0", "-e", "OWN", "w", *shell, "echo $OWN", env=u.environment | {"OWN": "of the caller"}),
          "of the caller\n", "a variable of the caller's")
    equal(u.troot("exec", "-u", "0", "-e", "GREETING", "w", *shell, "echo $GREETING", env=u.environment | {"GREETING": "mine"}),
          "mine\n", "a variable of the caller's that the image has")
    equal(u.troot("exec", "-u", "0", "w", *shell, "echo $TROOT_WORLD ${PATH##*:}"), "w /run/.troot/bin\n", "what is troot's")
    u.world("plain", "--from", put(u, "plain.tar", furnished(bootable()).end()))
    equal(u.troot("exec", "-w", "/srv", "-e", "A=1", "plain", *shell, "echo $A $PWD $HOME"), "1 /srv /\n", "a world of no image")
    if u.mode != "one":
        equal(u.troot("exec", "-u", "7:0", "plain", *shell, "id -u; id -g; echo $USER $HOME"), "7\n0\nsvc /\n", "a user and a group")
        equal(u.troot("exec", "-u", "12:13", "plain", *shell, "id -u; id -g; echo $USER $HOME"), "12\n13\n12 /\n", "numbers")
        equal(u.shell("plain", "echo x > /srv/of-root; chmod 600 /srv/of-root"), "", "a file of root's")
        equal(u.troot("exec", "-u", "svc", "plain", *shell, "cat /srv/of-root 2> /dev/null || echo refused"), "refused\n", "its rights")
        equal(u.troot("exec", "-u", "svc", "plain", *shell, "grep Cap /proc/self/status 2> /dev/null || while read a b; do case $a in "
                      "CapEff:) echo $b;; esac; done < /proc/self/status"), "0000000000000000\n", "its capabilities")


@case("a user, a directory or a variable that cannot be is refused", ids=EVERY)
def wrong(u):
    u.world("w", "--from", image(u, {"Entrypoint": ["/bin/sh", "-c"]}))
    # The host has it.
    u.refused(125, "exec", "-u", "daemon", "w", "true", says=["/etc/passwd", "daemon"])
    u.refused(125, "exec", "-u", "svc:daemon", "w", "true", says=["/etc/group", "daemon"])
    u.refused(125, "exec", "-w", "/absent", "w", "true", says=["-w /absent"])
    u.refused(125, "exec", "-w", "etc", "w", "true", says=["-w etc"])
    u.refused(125, "exec", "-e", "=x", "w", "true", says=["-e"])
    if u.mode == "one":
        u.refused(125, "exec", "-u", "svc", "w", "true", says=["-u svc", "one user id"])
    if u.mode == "range":
        u.refused(125, "exec", "-u", "70000", "w", "true", says=["70000", "/etc/subuid"])
    u.world("lost", "--from", image(u, {"WorkingDir": "/absent", "Cmd": ["true"]}, "lost"))
    u.refused(125, "exec", "lost", "true", says=["/absent", "-w"])
    u.world("odd", "--from", image(u, {"User": "nobody-here", "Cmd": ["true"], "Env": ["=x", "novalue", "A=b=c"]}, "odd"))
    u.refused(125, "exec", "odd", "true", says=["nobody-here"])
    equal(u.troot("exec", "-u", "0", "odd", "--", "/bin/sh", "-c", "echo $A"), "b=c\n", "variables that are none")


@case("image.json is checked, and one that is gone is no image", ids=("one", "root"))
def record(u):
    u.world("w", "--from", image(u))
    path = f"{u.store}/worlds/w/image.json"
    with open(path, encoding="utf-8") as file:
        text = file.read()
    said = json.loads(text)
    equal((said["version"], said["tag"], json.loads(said["config"])["config"]), (1, "v1", SAYS), "what is kept")
    for what, bad, word in (("an edit", text.replace("hello", "hallo"), "damaged"), ("a cut", text[:50], "damaged"),
                            ("nothing", "", "damaged")):
        with open(path, "w", encoding="utf-8") as file:
            file.write(bad)
        for command in (("exec", "w", "true"), ("enter", "w"), ("run", "--in", "w")):
            u.refused(125, *command, says=[path, word])
        u.refused(1, "export", "w", "--format", "oci", "-o", u.home + "/data/out.tar", says=[path, word])
        check(u.status("w")["state"] == "stopped", f"status after {what}")
    os.unlink(path)
    equal(u.troot("exec", "w", "--", "/bin/sh", "-c", "echo $GREETING; id -u"), "\n0\n", "a world without the file")


@case("an image whose words have a NUL is refused, and leaves nothing")
def nul(u):
    for config in ({"Cmd": ["a\0b"]}, {"Env": ["A=\0"]}, {"User": "\0"}, {"WorkingDir": "/\0"}, {"Entrypoint": ["\0"]}):
        u.refused(1, "create", "w", "--from", image(u, config, f"nul{len(str(config))}{list(config)[0]}"), says=["NUL"])
        equal(left(u), [], "what it leaves")


if __name__ == "__main__":
    programs()  # once for all cases
    main()
