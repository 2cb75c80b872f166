#!/usr/bin/env python3
"""Project quota and worlds: the last limit set holds over a restart, whoever set it; events of a world; names
that no world may have; nobody inside sets limits or changes project ids."""
import json
import os
import select
import signal
import subprocess

from bed import MIB, case, check, equal, main, servers, wait_until

EVERY = ("one", "range", "root")


def kept(u, name="w"):
    """A session that keeps the world running."""
    child = u.popen("troot", "exec", name, "--", "sh", "-c", "echo up; cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                    text=True)
    equal(child.stdout.readline(), "up\n", "the session")
    return child


def leave(child):
    child.stdin.close()
    equal(child.wait(30), 0, "the session's status")


def limits(u, name="w"):
    status = u.status(name)
    return status["limit_bytes"], status["limit_inodes"]


@case("the last limit set holds at the next start: by the server, by world.json, by none", ids=("one", "root"))
def last_wins(u):
    u.world("w", "--limit", "64M", "--inodes", "5000")
    session = kept(u)
    u.troot("quota", "set", "w", "total", "--limit", "32M")  # through the control socket only
    equal(limits(u), (32 * MIB, 5000), "while it runs")
    leave(session)
    equal(limits(u), (32 * MIB, 5000), "when stopped")
    session = kept(u)
    equal(limits(u), (32 * MIB, 5000), "at the next start")
    leave(session)
    u.troot("quota", "w", "--limit", "48M")  # of the stopped world
    equal(limits(u), (48 * MIB, 5000), "typed while it was stopped")
    session = kept(u)
    equal(limits(u), (48 * MIB, 5000), "and told to the server")
    u.troot("quota", "w", "--inodes", "6000")
    u.troot("quota", "set", "w", "total", "--bhard", "none")
    leave(session)
    session = kept(u)
    equal(limits(u), (0, 6000), "taken away through the socket")
    equal(json.loads(u.troot("quota", "w", "--json")), {"name": "w", "limit_bytes": 0, "limit_inodes": 6000, "limit_inodes_derived": False},
          "quota --json")
    leave(session)


@case("with --limit alone the limit of inodes follows from it, and says so; --inodes rules", ids=("one", "root"))
def derived(u):
    def inodes():
        status = u.status("w")
        line = next(line for line in u.troot("status", "w").splitlines() if line.startswith("inodes"))
        shown = json.loads(u.troot("quota", "w", "--json"))
        equal(shown["limit_inodes"], status["limit_inodes"], "quota --json and status")
        equal("derived" in line, status["limit_inodes_derived"], f"status says {line!r}")
        equal("(derived)" in u.troot("quota", "w"), status["limit_inodes_derived"], "quota says")
        return status["limit_inodes"], status["limit_inodes_derived"]

    u.world("w", "--limit", "64M")
    equal(inodes(), (16384, True), "never started")
    session = kept(u)
    equal(inodes(), (16384, True), "running")
    equal(int(u.troot("exec", "w", "df", "--output=itotal", "/").split()[1]), 16384, "df -i inside")
    u.troot("quota", "w", "--limit", "32M")
    equal(inodes(), (8192, True), "with another limit, live")
    leave(session)
    equal(inodes(), (8192, True), "stopped")
    u.troot("quota", "w", "--limit", "16M")
    equal(inodes(), (4096, True), "with another limit, stopped")
    session = kept(u)
    equal(inodes(), (4096, True), "at the next start")
    u.troot("quota", "w", "--inodes", "none")
    equal(inodes(), (0, False), "none")
    leave(session)
    session = kept(u)
    equal(inodes(), (0, False), "none, at the next start")
    leave(session)
    u.troot("quota", "w", "--inodes", "derived")
    equal(inodes(), (4096, True), "derived again, stopped")
    session = kept(u)
    equal(inodes(), (4096, True), "derived again")
    u.troot("quota", "w", "--inodes", "77")
    equal(inodes(), (77, False), "stated")
    leave(session)


@case("a limit set through the socket outlives a server that is killed")
def killed(u):
    u.world("w", "--limit", "64M")
    session = kept(u)
    u.troot("quota", "set", "w", "total", "--limit", "32M")
    for pid in servers(u):
        os.kill(pid, signal.SIGKILL)
    session.stdin.close()
    session.wait(30)
    wait_until(lambda: u.status("w")["state"] == "stopped", "the world ends")
    u.troot("quota", "w", "--inodes", "7000")
    session = kept(u)
    equal(limits(u), (32 * MIB, 7000), "at the next start")
    leave(session)


@case("watch: a world's events, and its end", ids=("one", "root"))
def watch(u):
    u.world("w", "--limit", "32M")
    session = kept(u)
    child = u.popen("troot", "quota", "watch", "w", "--json", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    equal(child.stderr.readline(), "troot quota watch: watching w\n", "it says what it watches")
    u.shell("w", "dd if=/dev/zero of=/big bs=1M 2>&1", status=1)
    ready, _, _ = select.select([child.stdout], [], [], 20)
    check(ready, "no event")
    event = json.loads(child.stdout.readline())
    equal((event["mount"], event["code"], event["project"], event["hard"]), ("w", "BHARDWARN", None, 32 * MIB), "event")
    u.shell("w", "rm /big")
    equal(json.loads(child.stdout.readline())["code"], "BHARDBELOW", "the next")
    leave(session)
    equal(child.stderr.readline(), "troot quota watch: w: the mount has ended\n", "its end")
    equal(child.wait(20), 0, "status")


@case("no world is called like a verb of troot quota")
def names(u):
    for verb in ("set", "report", "watch", "df"):
        u.refused(2, "create", verb, says=(verb, "troot quota"))
    u.world("sets")


@case("nobody inside sets limits; project ids are not changed from inside a user namespace", ids=EVERY)
def inside(u):
    u.world("w", "--limit", "32M")
    session = kept(u)
    for words in ("quota set / total --limit 1G", "setquota -P 5 0 1M 0 0 /", "quotaoff -P /", "quota limit -p bhard=1g 5 /",
                  "quota w --limit 1G", "quota report /"):
        code, out, err = u.run("troot", "exec", "w", "--", "troot", *words.split())
        check(code in (1, 2) and out == "" and err.count("\n") == 1, f"troot {words} inside: {code} {out!r} {err!r}")
    equal(limits(u)[0], 32 * MIB, "the limit")
    if u.mode != "root":
        said = u.shell("w", "touch /f; chattr -p 5 /f 2>&1; mkdir /d; chattr -p 6 +P /d 2>&1; chattr +P /d 2>&1; true")
        equal(said.count("Invalid argument"), 3, f"chattr inside: {said}")
    leave(session)


if __name__ == "__main__":
    main()
