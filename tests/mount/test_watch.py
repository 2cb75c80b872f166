#!/usr/bin/env python3
"""Events of project quota as people and programs get them: troot quota watch, its --json and --exec, what
becomes of it when subscribers or servers die, and who may listen."""
import json
import os
import select
import signal
import socket
import subprocess
import time

from harness import PAGE, Failure, case, check, equal, main, pattern, run, wait_until, write
from machine import Patience, slowness

MIB = 1 << 20
trootfs = {"on": ("trootfs",)}


class Watch:
    """A running `troot quota watch`."""

    def __init__(self, m, *words, target=True):
        command = [os.path.join(m.binaries, "troot"), "quota", "watch", *([m.mnt] if target else []), *words]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        cwd="/", env={**os.environ, "TZ": "UTC"})
        self.data = {self.process.stdout: b"", self.process.stderr: b""}
        while not self.err_line().endswith(f"watching {m.mnt}"):
            pass  # others, where all are watched

    def next_of(self, stream, seconds):
        """Its next line. Read here, since a buffered stream may hold lines that select knows nothing of."""
        patience = Patience(seconds)
        while b"\n" not in self.data[stream]:
            ready, _, _ = select.select([stream], [], [], max(0, patience.left()))
            if not ready and not patience.over():
                continue
            check(ready, f"no line within {seconds} s (so far {self.data[stream]!r})")
            chunk = os.read(stream.fileno(), 65536)
            check(chunk, "watch has ended")
            self.data[stream] += chunk
        line, self.data[stream] = self.data[stream].split(b"\n", 1)
        return line.decode()

    def err_line(self):
        return self.next_of(self.process.stderr, 20)

    def line(self):
        return self.next_of(self.process.stdout, 10)

    def end(self, seconds=10):
        return self.process.wait(seconds)


def limited(m, number=7, **limits):
    os.mkdir(m("p"))
    run("chattr", "-p", str(number), "+P", m("p"))
    m.control(f"limit project={number} " + " ".join(f"{k}={v}" for k, v in limits.items()))


def append(m, size, name="p/f"):
    with open(m(name), "ab", buffering=0) as file:
        try:
            return file.write(pattern(size))
        except OSError:
            return 0


@case("events: crossing soft and hard, the end of grace, falling below, as they come", **trootfs)
def comes(m):
    limited(m, bsoft=64 << 10, bhard=128 << 10, isoft=3, ihard=4)
    m.control("grace bytes=3600 inodes=3600")
    watch = Watch(m)
    append(m, 32 << 10)
    append(m, 32 << 10)
    check(f" BSOFTWARN {m.mnt} #7: 68K used, over the soft limit of 64K, grace until 20" in watch.line(), "soft")
    append(m, 1 << 20)  # short
    append(m, PAGE)
    check(f" BHARDWARN {m.mnt} #7: 128K used, at the hard limit of 128K: growth is refused" in watch.line(), "hard")
    append(m, PAGE)  # said once
    os.truncate(m("p/f"), 100 << 10)
    check(f" BHARDBELOW {m.mnt} #7: 104K used, below the hard limit of 128K again" in watch.line(), "below hard")
    m.control("timer project=7 bytes=1")  # over long ago; in real seconds: test_session
    append(m, PAGE)
    check(" BSOFTLONGWARN " in watch.line(), "the end of grace")
    os.truncate(m("p/f"), 0)
    check(f" BSOFTBELOW {m.mnt} #7: 4K used, within the soft limit of 64K again" in watch.line(), "below soft")
    write(m("p/g"))
    write(m("p/h"))
    check(f" ISOFTWARN {m.mnt} #7: 4 inodes used, over the soft limit of 3" in watch.line(), "inodes, soft")
    refused_create(m("p/i"))
    check(" IHARDWARN " in watch.line(), "inodes, hard")
    m.control("limit bhard=4096")
    refused_create(m("more"), b"x")
    check(f" BHARDWARN {m.mnt} total: " in watch.line(), "the whole mount")
    m.umount()
    check(watch.err_line().endswith(f"{m.mnt}: the mount has ended"), "it hears of the end")
    equal(watch.end(), 0, "exit code")
    check(not any(watch.data.values()), f"nothing else was said: {watch.data}")


def refused_create(path, data=b""):
    try:
        write(path, data)
    except OSError:
        return
    raise Failure(f"{path} was written")


def of_mount(m, watch):
    """The next event of this mount; others may be watched too."""
    while True:
        event = json.loads(watch.line())
        if event["mount"] == m.mnt:
            return event


@case("events as JSON, an object a line; without TARGET all mounts are watched", **trootfs)
def as_json(m):
    limited(m, bsoft=8192)
    watch = Watch(m, "--json", target=False)
    append(m, 8192)
    event = of_mount(m, watch)
    timer = m.project(7)["bytes_timer"]
    equal({k: event[k] for k in ("mount", "device", "code", "number", "project", "name", "resource", "used", "soft", "hard", "timer")},
          {"mount": m.mnt, "device": m.mnt, "code": "BSOFTWARN", "number": 6, "project": 7, "name": None, "resource": "bytes",
           "used": 3 * PAGE, "soft": 8192, "hard": 0, "timer": timer}, "event")
    equal(event["time"] + 604800, timer, "its time")
    os.unlink(m("p/f"))
    following = of_mount(m, watch)
    equal((following["code"], following["event"]), ("BSOFTBELOW", event["event"] + 1), "the next")
    watch.process.terminate()
    watch.end()


@case("events: --exec runs a command for each, one at a time, with the event in its environment", **trootfs)
def exec_command(m):
    limited(m, bsoft=8192, bhard=16384)
    out = os.path.join(m.base, "out")
    lock = os.path.join(m.base, "lock")
    command = (f"mkdir {lock} || echo two at once >>{out}; sleep 0.2; "
               f"echo $TROOT_EVENT $TROOT_EVENT_CODE $TROOT_PROJECT $TROOT_RESOURCE $TROOT_USED $TROOT_SOFT $TROOT_HARD "
               f"$TROOT_MOUNT $TROOT_TEXT >>{out}; rmdir {lock}; test $TROOT_EVENT != BHARDWARN || exit 3")
    watch = Watch(m, "--exec", command)
    append(m, 1 << 20)
    append(m, PAGE)
    os.unlink(m("p/f"))
    lines = [watch.line() for _ in range(3)]
    equal([line.split()[2] for line in lines], ["BSOFTWARN", "BHARDWARN", "BSOFTBELOW"], "printed too")
    equal(watch.err_line(), "troot quota watch: the command ended with status 3", "a status that is not 0 is said")
    wait_until(lambda: os.path.exists(out) and open(out).read().count("\n") == 3, 5, "three runs")
    with open(out) as file:
        ran = file.read().splitlines()
    equal([" ".join(r.split()[:8]) for r in ran],
          [f"BSOFTWARN 6 7 bytes 16384 8192 16384 {m.mnt}", f"BHARDWARN 4 7 bytes 16384 8192 16384 {m.mnt}",
           f"BSOFTBELOW 10 7 bytes 4096 8192 16384 {m.mnt}"], "what the commands found")
    check(all(r.endswith(line) for r, line in zip(ran, lines)), "the text that was printed")
    watch.process.terminate()
    watch.end()


@case("ten thousand events in a burst, past a stopped and killed subscribers: nobody waits, nothing is passed over", **trootfs)
def burst(m):
    limited(m, bsoft=4096)
    stopped = Watch(m, "--json")
    stopped.process.send_signal(signal.SIGSTOP)
    killed = [Watch(m) for _ in range(3)]
    watch = Watch(m, "--json")
    descriptor = os.open(m("p/f"), os.O_CREAT | os.O_WRONLY, 0o644)
    begun = time.monotonic()
    for i in range(5000):
        os.pwrite(descriptor, b"x", 0)
        os.ftruncate(descriptor, 0)
        if i == 1000:
            for one in killed:
                one.process.kill()
                one.end()
    took = time.monotonic() - begun
    os.close(descriptor)
    check(took < 30 * slowness(), f"the writer took {took:.1f} s")
    for each in (watch, stopped):
        if each is stopped:
            stopped.process.send_signal(signal.SIGCONT)
        heard = lost = 0
        while heard + lost < 10000:
            line = json.loads(each.line())
            lost += line.get("lost", 0)
            heard += "code" in line
        equal(heard + lost, 10000, "heard or said to be lost")
        check(heard >= 2048, f"heard {heard}")
        each.process.terminate()
        each.end()
    equal(m.status()["enforcing"], "on", "the server answers")


@case("a server that dies: watch says so and ends with 1", modes=("root",), **trootfs)
def dies(m):
    watch = Watch(m)
    m.kill()
    check("the server is gone" in watch.err_line(), "it says so")
    equal(watch.end(), 1, "exit code")


@case("who may listen: not another user; not on a mount without quota", modes=("root",), **trootfs)
def who(m):
    done = run(os.path.join(m.binaries, "troot"), "quota", "watch", m.mnt, check_status=False, user=m.account.uid,
               group=m.account.gid, extra_groups=[])
    equal(done.returncode, 1, "exit code of another user")
    check("only the mount's owner and root may ask" in done.stderr, f"another user: {done.stderr}")
    m.remount("noquota")
    done = run(os.path.join(m.binaries, "troot"), "quota", "watch", m.mnt, check_status=False)
    equal(done.returncode, 1, "exit code without quota")
    check("noquota" in done.stderr, f"without quota: {done.stderr}")


@case("a subscriber that sends rubbish or never reads harms nobody", **trootfs)
def rude(m):
    limited(m, bsoft=4096)
    links = []
    for words in (b"watch\n" + b"x" * 5000, b"watch\nwatch\n", b"watch\n"):
        link = socket.socket(socket.AF_UNIX)
        directory = os.open(os.path.dirname(m.control_socket()), os.O_PATH)
        link.connect(f"/proc/self/fd/{directory}/control")
        os.close(directory)
        link.sendall(words)
        links.append(link)
    links[2].settimeout(5)
    equal(links[2].recv(3), b"ok\n", "it listens from now on")
    for _ in range(2000):
        append(m, PAGE)
        os.truncate(m("p/f"), 0)
    equal(m.status()["enforcing"], "on", "the server answers")
    check(links[2].recv(100).startswith(b"event=1 "), "who reads late gets what waits")
    for link in links:
        link.close()


if __name__ == "__main__":
    main()
