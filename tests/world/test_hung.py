#!/usr/bin/env python3
"""Worlds that end as somebody comes, and worlds that hang: races of exec, run and quota with stop, and a server or an init
that was stopped."""
import json
import os
import signal
import subprocess
import time

from bed import MIB, Skip, case, check, equal, main, servers, wait_until
from machine import slowness

ROUNDS = int(os.environ.get("TROOT_RACES", "60"))


def session(u, name="w"):
    child = u.popen("troot", "exec", name, "--", "sh", "-c", "echo up; exec sleep 1000", stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL, text=True)
    equal(child.stdout.readline(), "up\n", "the session")
    return child


def is_of(u, process):
    """Root has worlds of other tests beside this one's."""
    if u.uid != 0:
        return True
    with open(f"/proc/{process}/environ", "rb") as file:
        return u.home.encode() in file.read()


def pids_named(u, name):
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/comm", encoding="utf-8") as file:
                named = file.read().strip() == name
            with open(f"/proc/{entry}/status", encoding="utf-8") as file:
                status = file.read()
                # One that ended and was not waited for yet has its name still.
                if named and f"\nUid:\t{u.uid}\t" in status and "\nState:\tZ" not in status and is_of(u, entry):
                    found.append(int(entry))
        except OSError:
            pass
    return found


def quick(u, seconds, *words, **named):
    """(status, stdout, stderr), in time."""
    begun = time.monotonic()
    answer = u.run("troot", *words, **named)
    took = time.monotonic() - begun
    check(took < seconds * slowness(), f"troot {' '.join(words)} took {took:.1f} s")
    return answer


@case("exec and run against stop: the command runs, or was ended by the stop; nothing else is said", ids=("one", "root"), seconds=600)
def exec_against_stop(u):
    u.world("w")
    outcomes = {}
    for number in range(ROUNDS):
        keeper = session(u) if number % 2 else None
        first = u.popen("troot", "exec", "w", "--", "sh", "-c", "echo ran", stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                        text=True)
        time.sleep(0.002 * (number % 12))
        stop = u.popen("troot", "stop", "w", stderr=subprocess.PIPE, text=True)
        out, err = first.communicate(timeout=60)
        equal((stop.wait(60), stop.stderr.read()), (0, ""), "stop")
        outcomes[first.returncode] = outcomes.get(first.returncode, 0) + 1
        check((first.returncode, out, err) == (0, "ran\n", "") or (first.returncode in (143, 129, 137) and err == ""),
              f"exec against stop: {first.returncode} {out!r} {err!r}")
        if keeper:
            keeper.wait(60)
    print(f"# statuses {outcomes}")
    u.troot("exec", "w", "true")
    equal(servers(u), [], "servers")


@case("run against stop", seconds=600)
def run_against_stop(u):
    for number in range(ROUNDS // 2):
        first = u.popen("troot", "run", "--name", "r", "--", "sh", "-c", "echo ran", stdout=subprocess.PIPE,
                        stderr=subprocess.PIPE, text=True)
        wait_until(lambda: os.path.isdir(u.store + "/worlds/r"), "the world")
        time.sleep(0.004 * (number % 12))
        u.troot("stop", "r")
        out, err = first.communicate(timeout=60)
        check((first.returncode, out, err) == (0, "ran\n", "") or (first.returncode in (143, 129, 137) and err == ""),
              f"run against stop: {first.returncode} {out!r} {err!r}")
        u.troot("rm", "-f", "r")


@case("quota against the end of the world: the new limit is printed, and holds", ids=("one", "root"), seconds=600)
def quota_against_stop(u):
    u.world("w", "--limit", "64M")
    for number in range(ROUNDS):
        keeper = session(u)
        limit = 100 + number
        time.sleep(0.003 * (number % 5))
        stop = u.popen("troot", "stop", "w", stderr=subprocess.PIPE, text=True)
        time.sleep(0.003 * (number % 11))
        said = json.loads(u.troot("quota", "w", "--limit", f"{limit}M", "--json"))
        equal(said["limit_bytes"], limit * MIB, "what quota prints")
        equal((stop.wait(60), stop.stderr.read()), (0, ""), "stop")
        keeper.wait(60)
        equal(u.status("w")["limit_bytes"], limit * MIB, "when stopped")
        if number % 8 == 0:
            equal(u.shell("w", "df -B1 --output=size / | tail -1").strip(), str(limit * MIB), "at the next start")


@case("quota against a world that ends by itself", seconds=600)
def quota_against_the_last_exit(u):
    u.world("w", "--limit", "64M")
    for number in range(ROUNDS):
        keeper = u.popen("troot", "exec", "w", "--", "sh", "-c", "echo up; cat", stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, text=True)
        equal(keeper.stdout.readline(), "up\n", "the session")
        limit = 100 + number
        keeper.stdin.close()
        time.sleep(0.001 * (number % 25))
        said = json.loads(u.troot("quota", "w", "--limit", f"{limit}M", "--json"))
        equal(said["limit_bytes"], limit * MIB, "what quota prints")
        equal(keeper.wait(60), 0, "the session")
        equal(u.status("w")["limit_bytes"], limit * MIB, "when stopped")


@case("a stopped server: list and status say hung, the others name the cure, stop ends it in good order", ids=("one", "root"))
def stopped_server(u):
    u.world("w")
    u.world("other")
    child = session(u)
    u.shell("w", "echo kept > /srv/f")
    server, = servers(u)
    os.kill(server, signal.SIGSTOP)
    for _ in range(18):  # more than wait in the socket's queue
        _, out, _ = quick(u, 4, "list", "--json")
        equal({v["name"]: v["state"] for v in json.loads(out)}, {"w": "hung", "other": "stopped"}, "list")
    equal(json.loads(quick(u, 4, "status", "w", "--json")[1])["state"], "hung", "status")
    for command in (("exec", "w", "true"), ("quota", "w", "--limit", "1G"), ("quota", "report", "w"), ("refresh", "w")):
        code, out, err = quick(u, 6, *command)
        check(code in (1, 125) and out == "" and err.count("\n") == 1, f"troot {command}: {code} {out!r} {err!r}")
        check("troot stop w" in err or "does not answer" in err, f"troot {command}: {err!r} names no cure")
    equal(quick(u, 10, "stop", "w")[0], 0, "stop")
    check(child.wait(20) >= 128, "the session")
    equal(servers(u), [], "servers")
    equal(u.shell("w", "cat /srv/f"), "kept\n", "at the next start")


@case("a stopped server is ended by rm --force")
def stopped_server_rm(u):
    u.world("w")
    child = session(u)
    os.kill(servers(u)[0], signal.SIGSTOP)
    equal(quick(u, 10, "rm", "--force", "w"), (0, "", ""), "rm")
    check(child.wait(20) >= 128, "the session")
    equal(os.listdir(u.store + "/worlds"), [], "what is left")


@case("a server that is held by a debugger is ended by force, with processes inside that wait for it", ids=("one", "root"))
def traced_server(u):
    u.world("w")
    child = u.popen("troot", "exec", "w", "--", "sh", "-c", "echo kept > /srv/f; sync /srv/f; echo up; while :; do echo x > /srv/g; done",
                    stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    equal(child.stdout.readline(), "up\n", "the session")
    server, = servers(u)
    tracer = trace(u, server)
    try:
        equal(json.loads(quick(u, 4, "list", "--json")[1])[0]["state"], "hung", "list")
        equal(quick(u, 25, "stop", "w")[0], 0, "stop")
    finally:
        tracer.kill()
        tracer.wait(20)
    child.wait(20)
    equal(servers(u), [], "servers")
    equal(u.shell("w", "cat /srv/f"), "kept\n", "at the next start")


TRACER = """import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
pid = int(sys.argv[1])
for task in sorted(map(int, os.listdir(f'/proc/{pid}/task'))):
    if libc.ptrace(16, task, None, None) != 0:
        print('no', os.strerror(ctypes.get_errno()), flush=True)
        sys.exit(1)
    os.waitpid(task, 0x40000000)
print('up', flush=True)
import time
time.sleep(100)
"""


def trace(u, pid):
    """A process that holds all threads of `pid`."""
    child = subprocess.Popen(["python3", "-c", TRACER, str(pid)], stdout=subprocess.PIPE, text=True)
    word = child.stdout.readline()
    if word != "up\n":
        child.wait(20)
        raise Skip(f"needs ptrace: {word.strip()}")
    return child


@case("a stopped init: list says hung, exec and rm name the cure, stop ends it", ids=("one", "root"))
def stopped_init(u):
    u.world("w")
    child = session(u)
    init, = pids_named(u, "troot-init")
    os.kill(init, signal.SIGSTOP)
    equal(json.loads(quick(u, 6, "list", "--json")[1])[0]["state"], "hung", "list")
    code, _, err = quick(u, 6, "exec", "w", "true")
    check(code == 125 and "init" in err and "troot stop w" in err, f"exec says {err!r}")
    code, _, err = quick(u, 6, "rm", "w")
    check(code == 1 and "does not answer" in err and "--force" in err, f"rm says {err!r}")
    equal(quick(u, 10, "stop", "w")[0], 0, "stop")
    check(child.wait(20) >= 128, "the session")
    equal(servers(u), [], "servers")


if __name__ == "__main__":
    main()
