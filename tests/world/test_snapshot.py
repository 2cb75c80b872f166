#!/usr/bin/env python3
"""Snapshots of worlds that are stopped and that run, going back to them, clones, what each is charged for, and what
the store holds afterwards."""
import json
import os
import pty
import subprocess
import time
import zlib

from bed import MIB, case, check, equal, main, wait_until

EVERY = ("one", "range", "root")
OLDER_KNOWS = 3  # the highest version of world.json before there were snapshots


def layers(u):
    place = u.store + "/layers"
    return sorted(n for n in os.listdir(place) if n != "lock") if os.path.isdir(place) else []


def left(u):
    """All that lies in the store but what a store without worlds has."""
    return layers(u) + os.listdir(u.store + "/worlds")


def record(u, world):
    with open(f"{u.store}/worlds/{world}/world.json", encoding="utf-8") as file:
        return json.load(file)


def rewrite(u, world, keys):
    """As a person would edit it who also knows the checksum."""
    keys = {key: value for key, value in keys.items() if key != "sum"}
    text = json.dumps(keys, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    keys["sum"] = f"{zlib.crc32(text.encode()):08x}"
    with open(f"{u.store}/worlds/{world}/world.json", "w", encoding="utf-8") as file:
        json.dump(keys, file)


def tags(u, world):
    return [one["tag"] for one in json.loads(u.troot("snapshot", "list", world, "--json"))]


def session(u, world):
    """A shell inside that stays until its standard input closes."""
    child = u.popen("troot", "exec", world, "--", "sh", "-c", "echo in; cat > /dev/null", stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE, text=True)
    equal(child.stdout.readline(), "in\n", "a session")
    return child


def end(child):
    child.stdin.close()
    equal(child.wait(30), 0, "status of a session")


CHANGE = ("cd /srv && echo one > f && ln f g && mkdir -p d/e && echo x > d/e/x && ln -s d/e/x s && rm -f /etc/hostname && mv /etc/skel"
          " /etc/skel2 && chmod 750 d && touch -d 2001-01-01 f && mkfifo p && chown 7:8 d/e/x")
LOOK = ("cd /srv && find . -printf '%p %y %m %n %U:%G %T@ %l %i\\n' | sort; cat f d/e/x; ls /etc/hostname; find /etc/skel2 /etc/skel |"
        " sort; stat -c '%i %a %n' /srv /srv/f")


@case("a snapshot changes nothing that a stopped world shows, and rollback brings it back", ids=EVERY)
def round_trip(u):
    u.world("w", "--limit", "64M")
    u.shell("w", CHANGE)
    before = u.shell("w", LOOK, status=0)
    used = u.status("w")["used_bytes"]
    equal(u.troot("snapshot", "w"), "s1\n", "the tag")
    equal(u.shell("w", LOOK), before, "what is shown after the snapshot")
    status = u.status("w")
    equal(status["snapshots"], ["s1"], "snapshots in status")
    check(abs(status["used_bytes"] - used) <= 64 << 10, f"used {status['used_bytes']}, before {used}")
    u.shell("w", "cd /srv && echo two >> f && rm -r d && echo new > new && mv s t && chmod 777 /srv; rm -r /etc/skel2")
    equal(u.troot("snapshot", "w", "later"), "later\n", "the tag")
    u.shell("w", "cd /srv && rm -rf * && echo lost > lost")
    equal(u.troot("rollback", "w"), "later\n", "a rollback without a tag")
    equal(u.shell("w", "cd /srv; ls; cat f"), "f\ng\nnew\np\nt\none\ntwo\n", "the last snapshot")
    equal(u.run("troot", "rollback", "w", "@-2"), (0, "s1\n", ""), "the one before")
    equal(u.run("troot", "snapshot", "w", "still"), (0, "still\n", ""), "a snapshot after a rollback, without a start")
    u.troot("snapshot", "rm", "w", "still")
    equal(u.shell("w", LOOK), before, "the first snapshot")
    equal(tags(u, "w"), ["s1", "later"], "later snapshots stay")
    equal(u.troot("rollback", "w@later"), "later\n", "a snapshot behind the name")
    equal(u.shell("w", "cat /srv/new"), "new\n", "forward again")
    u.shell("w", "test ! -e /srv/lost")
    equal(u.status("w")["limit_bytes"], 64 * MIB, "the limit after all that")
    equal(len(layers(u)), 2, "layers")
    u.troot("rm", "w")
    equal(left(u), [], "what rm leaves")


@case("clones share what is there, and each changes its own", ids=EVERY)
def cloned(u):
    u.world("w", "--limit", "64M", "--inodes", "5000")
    u.shell("w", CHANGE + " && dd if=/dev/zero of=big bs=1M count=20 2> /dev/null")
    before = u.shell("w", LOOK)
    u.troot("clone", "w", "a", "b")
    for world in ("w", "a", "b"):
        equal(u.shell(world, LOOK), before, f"what {world} shows")
    equal(len(layers(u)), 1, "layers")
    u.shell("a", "echo a > /srv/f; rm /srv/big")
    u.shell("w", "echo w > /srv/g; chmod 700 /srv/d")
    equal((u.shell("a", "cat /srv/g"), u.shell("b", "cat /srv/g"), u.shell("w", "cat /srv/f")), ("a\n", "one\n", "w\n"), "hard links")
    for world in ("a", "b"):
        status = u.status(world)
        check(status["used_bytes"] < MIB, f"{world} is charged {status['used_bytes']}")
        equal((status["limit_bytes"], status["limit_inodes"], status["shared_layers"]), (64 * MIB, 5000, 1), f"status of {world}")
        check("own changes only" in u.troot("status", world), "what status says of a clone")
    check(u.status("w")["used_bytes"] > 20 * MIB, "the one that wrote it is charged")
    u.troot("rm", "w")
    equal(len(layers(u)), 1, "a layer that others need stays")
    equal(u.shell("b", LOOK), before, "b when w is gone")
    u.troot("clone", "b", "c")
    u.troot("rm", "a", "b")
    equal(u.shell("c", "cat /srv/f"), "one\n", "a clone of a clone")
    u.troot("rm", "c")
    equal(left(u), [], "what is left")


@case("a clone of a snapshot, and create --from, which takes a directory before a world", ids=EVERY)
def named(u):
    u.world("w", "--limit", "32M")
    u.shell("w", "echo one > /srv/f")
    u.troot("snapshot", "w", "first")
    u.shell("w", "echo two > /srv/f")
    u.troot("snapshot", "w")
    before = layers(u)
    u.troot("clone", "w", "z")
    equal((layers(u), u.shell("z", "cat /srv/f")), (before, "two\n"), "a clone of a world that changed nothing since its snapshot")
    u.shell("w", "echo three > /srv/f")
    u.troot("clone", "w@first", "a")
    u.troot("create", "b", "--from", "w@-1")
    u.troot("create", "c", "--from", "w", "--limit", "8M", "--inodes", "none")
    equal([u.shell(world, "cat /srv/f") for world in ("a", "b", "c", "w")], ["one\n", "two\n", "three\n", "three\n"], "files")
    equal([u.status(world)["limit_bytes"] for world in ("a", "b", "c")], [32 * MIB, 32 * MIB, 8 * MIB], "limits")
    equal((u.status("c")["limit_inodes"], u.status("a")["limit_inodes"]), (0, 8192), "limits of inodes")
    equal(u.troot("run", "--rm", "--from", "w@first", "--", "cat", "/srv/f"), "one\n", "a world for one command")
    os.mkdir(u.home + "/w")
    u.refused(1, "snapshot", "w", "first", says=["first", "already"])
    u.troot("create", "d", "--from", "w")
    equal(u.status("d")["base"], u.home + "/w", "a directory is a directory")
    u.troot("create", "e", "--from", "w@first")
    u.troot("snapshot", "rm", "w", "first")
    equal(u.shell("a", "cat /srv/f") + u.shell("e", "cat /srv/f"), "one\none\n", "clones of a snapshot that is gone")


@case("snapshot list tells sizes and what goes; rm frees what nothing needs", ids=EVERY)
def listed(u):
    u.world("w")
    u.shell("w", "true")
    equal(u.troot("snapshot", "list", "w"), "no snapshots\n", "none")
    u.troot("snapshot", "w", "base")
    u.shell("w", "dd if=/dev/urandom of=/srv/big bs=1M count=8 2> /dev/null")
    u.troot("snapshot", "w", "big")
    u.shell("w", "rm /srv/big")
    u.troot("snapshot", "w")
    rows = {one["tag"]: one for one in json.loads(u.troot("snapshot", "list", "w", "--json"))}
    equal(list(rows), ["base", "big", "s1"], "tags")
    check(8 * MIB <= rows["big"]["size_bytes"] < 9 * MIB and rows["s1"]["size_bytes"] < MIB, f"sizes: {rows}")
    equal([len(rows[tag]["layers"]) for tag in rows], [1, 2, 3], "layers")
    check("@-2" in u.troot("snapshot", "list", "w"), "the table")
    u.troot("rollback", "w", "base")
    rows = {one["tag"]: one for one in json.loads(u.troot("snapshot", "list", "w", "--json"))}
    check(rows["s1"]["freeable_bytes"] < MIB, "what s1 holds alone")
    check(8 * MIB <= u.status("w")["used_bytes"] < 10 * MIB, "all snapshots are charged")
    u.refused(1, "snapshot", "rm", "w", "s1", "absent", says=["absent"])
    equal(len(tags(u, "w")), 3, "all or none are removed")
    u.troot("snapshot", "rm", "w", "@-1", "big")
    equal(tags(u, "w"), ["base"], "tags that are left")
    equal(len(layers(u)), 1, "layers that are left")
    check(u.status("w")["used_bytes"] < MIB, "used after rm")
    u.shell("w", "true")
    check(u.status("w")["used_bytes"] < MIB, "used after the next start")
    df = json.loads(u.troot("store", "df", "--json"))
    equal([(one["kind"], one["worlds"], one["charged"]) for one in df["layers"]], [("snapshot", ["w"], True)], "store df")
    check("snapshot" in u.troot("store", "df"), "the table of store df")
    u.troot("snapshot", "rm", "w", "base")
    equal(len(layers(u)), 1, "what the world itself consists of stays")
    equal(json.loads(u.troot("store", "prune", "--json"))["removed"], [], "prune takes nothing that is needed")
    u.shell("w", "true")


@case("a limit counts snapshots as long as they are listed", ids=EVERY)
def charged(u):
    u.world("w", "--limit", "20M")
    u.shell("w", "dd if=/dev/zero of=/srv/a bs=1M count=12 2> /dev/null")
    u.troot("snapshot", "w", "full")
    u.shell("w", "rm /srv/a")
    check(u.status("w")["used_bytes"] > 12 * MIB, "what the snapshot holds is charged")
    u.shell("w", "dd if=/dev/zero of=/srv/b bs=1M count=12 2> /dev/null", status=1)
    equal(u.status("w")["used_bytes"], 20 * MIB, "used at the limit")
    u.troot("clone", "w@full", "c")
    u.shell("c", "rm /srv/a; dd if=/dev/zero of=/srv/b bs=1M count=15 2> /dev/null")
    u.troot("rollback", "w")
    check(12 * MIB < u.status("w")["used_bytes"] < 13 * MIB, "used after the rollback")
    u.shell("w", "test ! -e /srv/b && rm /srv/a && dd if=/dev/zero of=/srv/b bs=1M count=7 2> /dev/null")
    equal(json.loads(u.troot("list", "--json"))[0]["shared_layers"], 1, "the clone in list")


@case("an export of a snapshot, while the world runs", ids=EVERY)
def exported(u):
    u.world("w", "--from", base(u))
    child = session_of(u, "w")
    u.shell("w", "echo one > /srv/f; ln -s x /srv/s")
    u.troot("snapshot", "w", "one")
    u.shell("w", "echo two > /srv/f; echo g > /srv/g")
    u.troot("snapshot", "w", "two")
    out = {}
    for tag in ("@one", "@-1"):
        path = f"{u.home}/data/{tag[1:]}.tar"
        u.troot("export", "w" + tag, "-o", path)
        out[tag] = subprocess.run(["tar", "-tf", path], capture_output=True, text=True, timeout=60, check=True).stdout.split()
    check("srv/g" not in out["@one"] and "srv/f" in out["@one"] and "srv/g" in out["@-1"], f"names: {out}")
    u.troot("export", "w@two", "--format", "layer", "-o", u.home + "/data/layer.tar")
    names = subprocess.run(["tar", "-tf", u.home + "/data/layer.tar"], capture_output=True, text=True, timeout=60).stdout.split()
    check("srv/g" in names and "srv/s" not in names, f"what the snapshot added: {names}")
    end(child)
    u.troot("rollback", "w", "one")
    piped = u.popen("troot", "export", "w", "--compress", "none", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    data, _ = piped.communicate(timeout=60)
    with open(f"{u.home}/data/one.tar", "rb") as file:
        equal(data == file.read(), True, "the world as it is after a rollback, by a pipe, is the snapshot byte for byte")
    u.refused(1, "export", "w@three", says=["three", "snapshot list"])
    u.refused(2, "flatten", "w@two", says=["snapshot"])


def base(u):
    """A directory with what sh, ls and cat need."""
    place = u.home + "/base"
    needed = {"/bin/sh", "/bin/ls", "/bin/cat", "/bin/ln"}
    for program in list(needed):
        for word in subprocess.run(["ldd", program], capture_output=True, text=True, timeout=20).stdout.split():
            if word.startswith("/"):
                needed.add(word)
    for path in needed:
        os.makedirs(place + os.path.dirname(path), exist_ok=True)
        subprocess.run(["cp", "-L", path, place + path], check=True, timeout=20)
    for directory in ("/etc", "/srv"):
        os.mkdir(place + directory)
    subprocess.run(["chown", "-R", f"{u.uid}:{u.gid}", place], check=True, timeout=20)
    return place


session_of = session


@case("a snapshot of a running world: its programs go on, and see no difference", ids=EVERY)
def running(u):
    u.world("w", "--limit", "100M")
    script = ("exec 3>> /srv/log; cd /srv; mkdir d; cd d; echo begun; n=0; while [ ! -e /srv/stop ]; do n=$((n+1)); echo $n >&3;"
              " echo $n > f.$((n % 10)); mv f.$((n % 10)) g.$((n % 10)); done; stat -c %i /srv/log /srv/d; echo $n")
    child = u.popen("troot", "exec", "w", "--", "sh", "-c", script, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    equal(child.stdout.readline(), "begun\n", "the program")
    inodes = u.shell("w", "stat -c %i /srv/log /srv/d").split()
    for number in range(5):
        told = json.loads(u.troot("snapshot", "w", f"n{number}", "--json"))
        check(told["running"], "it runs")
        time.sleep(0.1)
    u.shell("w", "touch /srv/stop")
    out, err = child.communicate(timeout=60)
    equal((child.returncode, err), (0, ""), "the program's end")
    lines = out.split()
    equal(lines[:2], inodes, "inode numbers")
    count = int(lines[2])
    equal(u.shell("w", "wc -l < /srv/log; tail -n 1 /srv/log").split(), [str(count), str(count)], "what it wrote")
    log = [int(u.troot("run", "--rm", "--from", f"w@n{number}", "--", "sh", "-c", "wc -l < /srv/log")) for number in range(5)]
    check(log == sorted(log) and log[0] > 0 and log[-1] <= count, f"lines in the snapshots: {log} of {count}")
    equal(json.loads(u.troot("status", "w", "--json"))["snapshots"], [f"n{n}" for n in range(5)], "snapshots")


@case("what was written before a snapshot of a running world is in it", ids=EVERY)
def written(u):
    u.world("w")
    child = session(u, "w")
    for number in range(3):
        u.shell("w", f"dd if=/dev/urandom of=/srv/f bs=64k count=100 2> /dev/null; md5sum /srv/f > /srv/sum; echo {number} > /srv/n")
        u.troot("snapshot", "w")
    end(child)
    for number in range(3):
        u.troot("rollback", "w", f"s{number + 1}")
        equal(u.shell("w", "md5sum -c --quiet /srv/sum && cat /srv/n"), f"{number}\n", "content")


@case("a rollback of a running world is refused, asked for on a terminal, or forced", ids=("one", "root"))
def ends_sessions(u):
    u.world("w")
    u.shell("w", "echo one > /srv/f")
    u.troot("snapshot", "w")
    child = session(u, "w")
    u.shell("w", "echo two > /srv/f")
    u.refused(1, "rollback", "w", says=["1 session", "--force", "troot stop w"])
    equal(u.shell("w", "cat /srv/f"), "two\n", "after the refusal")
    for answer, code in (("n", 1), ("y", 0)):
        ours, theirs = pty.openpty()
        asked = u.popen("troot", "rollback", "w", stdin=theirs, stdout=subprocess.PIPE, stderr=theirs)
        os.close(theirs)
        text = b""
        while b"[y/N]" not in text:
            text += os.read(ours, 1000)
        check(b"1 session" in text, f"the question: {text!r}")
        os.write(ours, answer.encode() + b"\n")
        asked.communicate(timeout=60)
        os.close(ours)
        equal(asked.returncode, code, f"status after {answer}")
    child.wait(30)
    equal(u.shell("w", "cat /srv/f"), "one\n", "after the answer")
    child = session(u, "w")
    u.shell("w", "echo three > /srv/f")
    u.troot("rollback", "--force", "w")
    child.wait(30)
    equal(u.shell("w", "cat /srv/f"), "one\n", "by force")


@case("bad words and bad stores: one clear line each")
def bad(u):
    u.world("w")
    u.refused(1, "rollback", "w", says=["no snapshots", "troot snapshot w"])
    u.refused(1, "clone", "w@s1", "x", says=["no snapshots"])
    for tag in ("-1x", "a/b", "a b", "@", "x" * 65, ".x"):
        u.refused(2, "snapshot", "w", "--", tag)
    u.refused(2, "snapshot", says=["NAME"])
    u.refused(1, "snapshot", "absent", says=["absent"])
    u.troot("snapshot", "w")
    u.refused(1, "flatten", "w", says=["snapshots", "troot export"])
    u.refused(1, "rollback", "w", "@-2", says=["@-2", "1 snapshot"])
    for ref in ("@-0", "@-x", "@-"):
        u.refused(2, "rollback", "w", ref, says=[ref])
    u.refused(2, "rollback", "w@s1", "s1", says=["w@s1"])
    u.refused(1, "snapshot", "w", "s1", says=["already", "snapshot rm w s1"])
    u.refused(2, "clone", "w", "x", "x", says=["twice"])
    u.refused(1, "clone", "w", "x", "w", says=["'w'", "already"])
    u.refused(2, "clone", "w", "x", "a/b", says=["a/b"])
    u.refused(2, "create", "rm", says=["snapshot rm"])
    u.refused(1, "create", "x", "--from", "absent@s1", says=["absent"])
    u.refused(2, "create", "x", "--from", "absent", says=["absent"])
    equal(u.troot("list", "-q"), "w\n", "worlds that bad input makes")
    good = record(u, "w")
    equal((good["version"] > OLDER_KNOWS, good["base"], good["below"]), (True, None, "/"), "what an older troot refuses")
    spoilt = (("version", 5, "too old"), ("layers", ["x"], "none"), ("sealed", 9, "none"), ("charged", "x", "type"),
              ("snapshots", [{"tag": "../x", "created": 1, "layers": good["layers"]}], "none"),
              ("snapshots", [{"tag": "a", "created": 1, "layers": []}], "none"), ("snapshots", [1], "type"),
              ("pending", {"layer": "0" * 64, "incoming": "../../worlds/w", "tag": "x"}, "none"),
              ("pending", {"layer": "0" * 64, "incoming": ".incoming-x", "tag": "x"}, "none"), ("pending", {"rollback": "gone"}, "none"),
              ("pending", 1, "type"))
    for key, value, word in spoilt:
        rewrite(u, "w", {**good, key: value})
        u.refused(1, "snapshot", "w", says=["world.json", word])
        u.refused(125, "exec", "w", "true", says=["world.json", word])
        u.troot("list")
    rewrite(u, "w", good)
    u.shell("w", "true")
    place = f"{u.store}/layers/{good['layers'][0]}"
    os.rename(place + "/charges", u.home + "/charges")
    u.refused(125, "exec", "w", "true", says=[good["layers"][0]])
    os.rename(u.home + "/charges", place + "/charges")
    u.shell("w", "true")
    u.troot("snapshot", "w")
    u.shell("w", "echo kept > /srv/f")
    os.rename(place, u.home + "/layer")
    for words in (("rollback", "w"), ("rollback", "w", "s1"), ("clone", "w@s1", "x"), ("create", "x", "--from", "w@s1"), ("export", "w@s1"),
                  ("snapshot", "w")):
        u.refused(1, *words, says=[good["layers"][0]])
    os.rename(u.home + "/layer", place)
    equal((u.shell("w", "cat /srv/f"), u.troot("list", "-q")), ("kept\n", "w\n"), "after what could not be done")
    rewrite(u, "w", {**good, "sealed": 0})
    u.refused(125, "exec", "w", "true", says=["world.json"])


@case("so many layers as a mount takes, and no more", seconds=300)
def many(u):
    u.world("w")
    u.troot("snapshot", "w")
    keys = record(u, "w")
    first = keys["layers"][0]
    # Layers that hold nothing, as so many snapshots of an idle world would make.
    stack = [f"{number:064x}" for number in range(498)]
    for identity in stack:
        subprocess.run(["cp", "-a", f"{u.store}/layers/{first}", f"{u.store}/layers/{identity}"], check=True, timeout=20)
    rewrite(u, "w", {**keys, "layers": stack[1:] + [first], "sealed": 498, "charged": stack[1:] + [first]})
    u.troot("snapshot", "w", "last")
    u.refused(1, "snapshot", "w", says=["layers", "rollback"])
    u.shell("w", "echo x > /srv/f && cat /srv/f")
    u.troot("rollback", "w", "last")
    u.shell("w", "test ! -e /srv/f")


@case("two at once: every one of many snapshots and clones is whole", ids=("one", "root"), seconds=240)
def at_once(u):
    u.world("w")
    u.shell("w", "echo x > /srv/f")
    children = [u.popen("troot", *words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
                for words in [("snapshot", "w"), ("snapshot", "w"), ("clone", "w", "c1"), ("clone", "w", "c2"), ("list",),
                              ("snapshot", "w"), ("store", "df"), ("exec", "w", "true"), ("snapshot", "w", "mine"), ("list",)]]
    for child in children:
        _, err = child.communicate(timeout=120)
        equal((child.returncode, err), (0, ""), "status")
    equal(sorted(tags(u, "w")), ["mine", "s1", "s2", "s3"], "snapshots")
    for world in ("w", "c1", "c2"):
        equal(u.shell(world, "cat /srv/f"), "x\n", world)
    known = set(record(u, "w")["layers"]) | set(record(u, "c1")["layers"]) | set(record(u, "c2")["layers"])
    equal(layers(u), sorted(known), "layers")


@case("limits of projects go with a clone, and usage with snapshots is what a count finds", ids=("one", "root"))
def projects(u):
    u.world("w", "--limit", "64M")
    child = session(u, "w")
    u.shell("w", "mkdir /srv/p && dd if=/dev/zero of=/srv/p/f bs=1M count=4 2> /dev/null")
    u.troot("quota", "set", "w", "7", "--bhard", "8M", "--isoft", "50")
    u.troot("clone", "w", "c")
    end(child)
    child = session(u, "c")
    shown = u.troot("quota", "show", "c", "7", "--json")
    check("8388608" in shown and "50" in shown, f"limits of project 7 in the clone: {shown}")
    end(child)
    u.troot("snapshot", "w")
    u.shell("w", "dd if=/dev/zero of=/srv/p/g bs=1M count=2 2> /dev/null; rm /srv/p/f")
    used = u.status("w")["used_bytes"]
    check(6 * MIB < used < 7 * MIB, f"used {used}")
    subprocess.run(["rm", "-rf", f"{u.store}/worlds/w/work/troot/ledger/db"], check=True, timeout=20)
    u.shell("w", "true")
    equal(u.status("w")["used_bytes"], used, "used after a recount")
    u.troot("rollback", "w", "s1")
    child = session(u, "w")
    check("8388608" in u.troot("quota", "show", "w", "7", "--json"), "limits of project 7 after a rollback")
    end(child)


@case("nothing of the layers is swept while a world cannot be read")
def kept(u):
    u.world("w")
    u.shell("w", "echo x > /srv/f")
    u.troot("snapshot", "w")
    before = layers(u)
    good = record(u, "w")
    with open(f"{u.store}/worlds/w/world.json", "a", encoding="utf-8") as file:
        file.write("x")
    u.world("other")
    u.troot("rm", "other")
    u.troot("list")
    equal(layers(u), before, "layers of a world that cannot be read")
    rewrite(u, "w", good)
    equal(u.shell("w", "cat /srv/f"), "x\n", "mended")
    u.troot("rm", "w")
    wait_until(lambda: left(u) == [], "nothing is left")


if __name__ == "__main__":
    main()
