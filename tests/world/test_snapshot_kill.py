#!/usr/bin/env python3
"""troot and the world's server, killed before each call of a snapshot, a rollback, a clone and a snapshot rm that
changes something, and at random times: the next command ends what was begun or takes it back, nothing is lost, and
nothing is left. KILL_SEED and KILL_TIMES choose the random ones."""
import json
import os
import random
import shutil
import signal
import subprocess
import time

from bed import Skip, case, check, equal, main, servers

MODES = ("one", "root")
# More steps than any of them takes.
MOST = 2000
# So few layers that a world starts as fast as ever.
MOST_LAYERS = 40


def shim(u):
    """kill_at.so (kill_at.cc) where the user may read it."""
    source = os.environ.get("TROOT_BIN", "") + "/kill_at.so"
    if not os.path.exists(source):
        raise Skip(f"{source} is not built")
    path = u.home + "/kill_at.so"
    shutil.copy(source, path)
    os.chmod(path, 0o755)
    return path


def layers(u):
    place = u.store + "/layers"
    return sorted(n for n in os.listdir(place) if n != "lock") if os.path.isdir(place) else []


def record(u, world):
    with open(f"{u.store}/worlds/{world}/world.json", encoding="utf-8") as file:
        return json.load(file)


def needed(u):
    """Layers that some world lists."""
    found = set()
    for world in os.listdir(u.store + "/worlds"):
        keys = record(u, world)
        found |= set(keys.get("layers", []))
        for one in keys.get("snapshots", []):
            found |= set(one["layers"])
    return sorted(found)


def whole(u, what):
    """After the next commands: nothing is pending, nothing lies about, every layer is somebody's and there."""
    u.troot("list")
    for world in os.listdir(u.store + "/worlds"):
        check(not world.startswith("."), f"{what}: {world} is left")
        keys = record(u, world)
        check("pending" not in keys, f"{what}: {keys.get('pending')} is pending")
        # What is written beside is replaced by the next change.
        files = sorted(name for name in os.listdir(f"{u.store}/worlds/{world}") if name != "world.json.new")
        equal(files, ["lock", "run", "upper", "work", "world.json"], f"{what}: a world's directory")
        check(not os.path.exists(f"{u.store}/worlds/{world}/work/troot/sealing"), f"{what}: the seal's record is left")
        for identity in keys.get("charged", []):
            check(identity in needed(u), f"{what}: charged for what nobody lists")
    equal(layers(u), needed(u), f"{what}: layers")


def stepped(u, words, after, renew=lambda: None):
    """Runs troot, killed before its first changing call, before its second and so on, until nothing kills it. `words` is
    told the number; so is `after`, and whether it was killed. Returns the number of calls."""
    environment = {**u.environment, "LD_PRELOAD": shim(u), "KILL_IN": "troot"}
    for number in range(1, MOST):
        renew()
        code, _, err = u.run("troot", *words(number), env={**environment, "KILL_AT": str(number)})
        check(code in (0, -signal.SIGKILL), f"status {code} before call {number}: {err}")
        after(number, code != 0)
        if code == 0:
            return number - 1
    raise AssertionError("never ends")


def tag_count(u):
    return len(record(u, "w").get("snapshots", []))


class Plot:
    """A world whose file says which number it is at."""

    def __init__(self, u):
        self.u = u
        self.made = 0
        self.renew()

    def renew(self):
        """A fresh world, where the one before has got many layers."""
        u = self.u
        if self.made and len(record(u, "w").get("layers", [])) < MOST_LAYERS:
            return
        if self.made:
            u.troot("rm", "--force", "w")
        u.world("w", "--limit", "64M")
        u.shell("w", "cd /srv && echo 0 > n && ln n m && ln -s n s && mkdir d && echo x > d/x && rm /etc/hostname && chown 7:8 d/x")
        self.made += 1

    def says(self, number, what):
        equal(self.u.shell("w", "cd /srv && cat n m d/x s && stat -c '%h %F' n s && ls /etc/hostname 2> /dev/null; echo more >> d/y; rm d/y"),
              f"{number}\n{number}\nx\n{number}\n2 regular file\n1 symbolic link\n", f"{what}: what the world shows")


@case("a snapshot that is killed at any step is taken or not, by the next command", ids=MODES, seconds=600)
def snapshot(u):
    plot = Plot(u)
    taken = 0

    def after(number, killed):
        nonlocal taken
        what = f"killed before call {number}" if killed else "not killed"
        plot.says(0, what)
        whole(u, what)
        tags = [one["tag"] for one in record(u, "w").get("snapshots", [])]
        check(killed or f"t{number}" in tags, f"{what}: it was taken")
        if f"t{number}" in tags:
            taken += 1
            u.troot("rollback", "w", f"t{number}")
            plot.says(0, what + ", gone back to")

    calls = stepped(u, lambda number: ("snapshot", "w", f"t{number}"), after, plot.renew)
    print(f"# {calls} calls, taken after {taken} of the kills")
    check(calls > 10 and taken > 1, "it is killed before and after it is taken")


@case("a rollback that is killed at any step was written down, and is ended by the next command", ids=MODES, seconds=600)
def rollback(u):
    plot = Plot(u)
    u.troot("snapshot", "w", "zero")
    begun = 0

    def renew():
        u.shell("w", "cd /srv && echo 1 > n && rm -f s && chmod 777 . && ln -s n s")

    def after(number, killed):
        nonlocal begun
        what = f"killed before call {number}" if killed else "not killed"
        done = "pending" in record(u, "w") or not killed
        text = u.shell("w", "cat /srv/n; stat -c %a /srv").split()
        check(text in (["1", "777"], ["0", "755"]), f"{what}: {text}")
        check(not done or text[0] == "0", f"{what}: it was begun and is not done")
        begun += done
        whole(u, what)

    calls = stepped(u, lambda number: ("rollback", "w", "zero"), after, renew)
    print(f"# {calls} calls, begun before {begun} of the kills")
    check(calls > 10 and begun > 5, "it is killed before and after it is begun")
    plot.says(0, "in the end")


@case("a clone that is killed at any step is there or not, and takes nothing from the other", ids=MODES, seconds=600)
def clone(u):
    plot = Plot(u)

    def after(number, killed):
        what = f"killed before call {number}" if killed else "not killed"
        made = os.path.isdir(u.store + "/worlds/c")
        check(killed or made, f"{what}: it is made")
        plot.says(0, what)
        if made:
            equal(u.shell("c", "cat /srv/n"), "0\n", f"{what}: the clone")
            u.troot("rm", "c")
        whole(u, what)

    calls = stepped(u, lambda number: ("clone", "w", "c"), after, plot.renew)
    check(calls > 10, f"{calls} calls")


@case("snapshot rm and rm that are killed at any step leave nothing after the next command", ids=MODES, seconds=600)
def removal(u):
    plot = Plot(u)
    u.troot("snapshot", "w", "zero")

    def renew():
        if tag_count(u) < 2:
            u.shell("w", "echo 1 > /srv/n; echo y > /srv/d/z")
            u.troot("snapshot", "w", "one")
            u.troot("rollback", "w", "zero")
            whole(u, "made anew")

    def after(number, killed):
        what = f"killed before call {number}" if killed else "not killed"
        whole(u, what)
        check(tag_count(u) in (1, 2) and (killed or tag_count(u) == 1), f"{what}: snapshots")
        if tag_count(u) == 2:
            equal(u.troot("rollback", "w", "one"), "one\n", f"{what}: what is there can be gone back to")
            equal(u.shell("w", "cat /srv/n"), "1\n", f"{what}: one")
            u.troot("rollback", "w", "zero")

    calls = stepped(u, lambda number: ("snapshot", "rm", "w", "one"), after, renew)
    check(calls > 3, f"{calls} calls")
    plot.says(0, "in the end")


def session(u, environment=None):
    child = u.popen("troot", "exec", "w", "--", "sh", "-c", "echo in; cat > /dev/null", stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL, text=True, env=environment or u.environment)
    equal(child.stdout.readline(), "in\n", "a session")
    return child


@case("troot killed at any step of a snapshot of a running world: the world goes on", ids=MODES, seconds=600)
def running(u):
    plot = Plot(u)
    child = session(u)

    def renew():
        nonlocal child
        if len(record(u, "w").get("layers", [])) >= MOST_LAYERS:
            child.stdin.close()
            child.wait(30)
            plot.renew()
            child = session(u)
        u.shell("w", "cd /srv && echo 0 > n")

    def after(number, killed):
        what = f"killed before call {number}" if killed else "not killed"
        plot.says(0, what)
        # The next command that is about snapshots, while it runs.
        equal(u.troot("snapshot", "w", f"next{number}"), f"next{number}\n", f"{what}: another snapshot")
        check("pending" not in record(u, "w"), f"{what}: nothing is pending")
        plot.says(0, what)
        check(child.poll() is None, f"{what}: the session is alive")

    calls = stepped(u, lambda number: ("snapshot", "w", f"t{number}"), after, renew)
    check(calls > 5, f"{calls} calls")
    child.stdin.close()
    equal(child.wait(30), 0, "status of the session")
    whole(u, "in the end")
    plot.says(0, "in the end")


@case("the server killed at any step of a snapshot: what was acknowledged is there", ids=MODES, seconds=600)
def served(u):
    plot = Plot(u)
    when = u.home + "/data/when"
    environment = {**u.environment, "LD_PRELOAD": shim(u), "KILL_IN": "trootfs", "KILL_WHEN": when}
    for number in range(1, MOST):
        plot.renew()
        child = session(u, {**environment, "KILL_AT": str(number)})
        u.shell("w", f"echo {number} > /srv/n")
        with open(when, "w", encoding="utf-8"):
            pass
        os.chown(when, u.uid, u.gid)
        code, out, err = u.run("troot", "snapshot", "w", f"t{number}")
        alive = child.poll() is None and servers(u)
        os.unlink(when)
        child.stdin.close()
        child.wait(30)
        what = f"the server killed before its call {number} ({code}, {err.strip()})"
        plot.says(number, what)
        whole(u, what)
        tags = [one["tag"] for one in record(u, "w").get("snapshots", [])]
        equal(f"t{number}" in tags, code == 0, f"{what}: listed or not ({out!r})")
        if code == 0:
            u.troot("rollback", "w", f"t{number}")
            plot.says(number, what + ", gone back to")
        if alive:
            break
    print(f"# {number - 1} calls")
    check(number > 10, f"{number} calls")


@case("troot or the server killed at random times", ids=MODES, seconds=900)
def at_random(u):
    seed = int(os.environ.get("KILL_SEED", "14"))
    times = int(os.environ.get("KILL_TIMES", "50"))
    chance = random.Random(seed)
    plot = Plot(u)
    u.troot("snapshot", "w", "zero")
    now = 0
    for number in range(1, times + 1):
        if len(record(u, "w").get("layers", [])) >= MOST_LAYERS:
            u.troot("rollback", "--force", "w", "zero")
            now = 0
        what = f"seed {seed}, kill {number}"
        child = session(u) if chance.random() < 0.5 else None
        if chance.random() < 0.5:
            now = number
            u.shell("w", f"echo {now} > /srv/n")
        words = chance.choice((("snapshot", "w", f"t{number}"), ("rollback", "--force", "w", "zero"), ("clone", "w", f"c{number}")))
        target = u.popen("troot", *words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(chance.random() * (0.12 if child else 0.06))
        victim = target.pid
        if child and chance.random() < 0.5 and servers(u):
            victim = servers(u)[0]
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            pass
        target.wait(60)
        if child:
            child.stdin.close()
            child.wait(60)
        shown = int(u.shell("w", "cat /srv/n"))
        check(shown == now or (words[0] == "rollback" and shown == 0), f"{what}: {words} leaves {shown}, not {now}")
        now = shown
        plot.says(now, f"{what}: {words}")
        for world in os.listdir(u.store + "/worlds"):
            if world.startswith("c"):
                u.troot("rm", "--force", world)
        whole(u, f"{what}: {words}")
    u.troot("rollback", "w", "zero")
    plot.says(0, "in the end")


if __name__ == "__main__":
    main()
