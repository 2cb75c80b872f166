#!/usr/bin/env python3
"""The limit of a world: reached exactly, answered by EDQUOT, left again by rm, changed while programs run,
remembered when nothing runs."""
import json
import os
import subprocess

from bed import MIB, case, check, equal, main, wait_until

EVERY = ("one", "range", "root")


@case("dd to the limit: Disk quota exceeded at exactly the limit; rm, rewrite at once, used falls", ids=EVERY)
def to_the_limit(u):
    limit = 64 * MIB
    u.world("w", "--limit", "64M")
    code, _, err = u.run("troot", "exec", "w", "--", "dd", "if=/dev/zero", "of=/big", "bs=1M")
    equal(code, 1, "status of dd")
    check("Disk quota exceeded" in err, f"dd says {err!r}")
    status = u.status("w")
    equal((status["used_bytes"], status["limit_bytes"]), (limit, limit), "used and limit when stopped")
    check("100%" in u.troot("status", "w"), "the bar")
    equal(u.shell("w", f"troot status w --json | grep -c '\"used_bytes\": {limit},'"), "1\n", "used and limit inside")
    u.troot("exec", "w", "rm", "/big")
    check(u.status("w")["used_bytes"] < MIB, f"used when stopped, after rm: {u.status('w')['used_bytes']}")
    u.shell("w", "dd if=/dev/zero of=/again bs=1M count=40 2>&1", seconds=60)
    code, _, err = u.run("troot", "exec", "w", "--", "sh", "-c", "dd if=/dev/zero of=/big bs=1M; rm /big; "
                         "dd if=/dev/zero of=/next bs=64k count=64 && rm /next /again")
    equal(code, 0, f"rm and an immediate rewrite at the limit ({err})")
    check(u.status("w")["used_bytes"] < 2 * MIB, f"used falls: {u.status('w')['used_bytes']}")


@case("used falls within a second of rm, while the world runs")
def falls(u):
    u.world("w", "--limit", "64M")
    child = u.popen("troot", "exec", "w", "cat", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    u.shell("w", "dd if=/dev/zero of=/big bs=1M count=50 2>&1")
    check(u.status("w")["used_bytes"] >= 50 * MIB, "used with the file")
    u.shell("w", "rm /big")
    wait_until(lambda: u.status("w")["used_bytes"] < MIB, "used falls", seconds=1)
    child.stdin.close()
    equal(child.wait(20), 0, "status")


@case("raising the limit lets a program go on that was refused", ids=EVERY)
def live_raise(u):
    u.world("w", "--limit", "16M")
    child = u.popen("troot", "exec", "w", "--", "sh", "-c",
                    "exec 3>/big; dd if=/dev/zero bs=1M >&3 2>/dev/null; echo full; read go; "
                    "dd if=/dev/zero bs=1M count=20 >&3 2>/dev/null && echo went on; stat -c %s /big",
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    equal(child.stdout.readline(), "full\n", "at the limit")
    equal(u.status("w")["used_bytes"], 16 * MIB, "used at the limit")
    u.troot("quota", "w", "--limit", "64M")
    equal(u.status("w")["limit_bytes"], 64 * MIB, "the new limit, live")
    out, _ = child.communicate("go\n", timeout=30)
    check(out.startswith("went on\n"), f"after the raise: {out!r}")
    equal(u.status("w")["limit_bytes"], 64 * MIB, "the limit when stopped")


@case("a stopped world remembers a new limit; none takes it away")
def stopped(u):
    u.world("w")
    equal(u.status("w")["limit_bytes"], 0, "no limit")
    u.troot("quota", "w", "--limit", "8M", "--inodes", "1000")
    equal((u.status("w")["limit_bytes"], u.status("w")["limit_inodes"]), (8 * MIB, 1000), "limits")
    u.shell("w", "dd if=/dev/zero of=/f bs=1M count=20 2>&1", status=1)
    equal(u.status("w")["used_bytes"], 8 * MIB, "used")
    u.troot("quota", "w", "--limit", "none")
    u.shell("w", "dd if=/dev/zero of=/f bs=1M count=20 2>&1")
    check(u.status("w")["used_bytes"] > 20 * MIB, "used without a limit")


@case("an inode limit refuses the object past it")
def inodes(u):
    u.world("w", "--inodes", "200")
    out = u.shell("w", "cd /srv; i=0; while touch f$i; do i=$((i+1)); done 2>&1; true")
    check("Disk quota exceeded" in out, f"the shell says {out!r}")
    equal((u.status("w")["used_inodes"], u.status("w")["limit_inodes"]), (200, 200), "inodes")


@case("df inside shows the limit; list and status agree on every form")
def shown(u):
    u.world("w", "--limit", "64M")
    words = u.troot("exec", "w", "df", "-B1", "--output=size", "/").split()
    equal(int(words[1]), 64 * MIB, "size by df")
    row = u.troot("list").splitlines()[1].split()
    equal((row[0], row[4]), ("w", "64M"), "list")
    one = json.loads(u.troot("list", "--json"))[0]
    two = u.status("w")
    equal(one, two, "list --json and status --json")
    for key in ("used_bytes", "limit_bytes", "used_inodes", "limit_inodes", "state", "sessions", "server_pid"):
        check(key in two, f"status --json lacks {key}")


@case("/tmp and /dev/shm are charged")
def charged(u):
    u.world("w", "--limit", "8M")
    for place in ("/tmp", "/dev/shm"):
        _, _, err = u.run("troot", "exec", "w", "--", "dd", "if=/dev/zero", f"of={place}/f", "bs=1M")
        check("Disk quota exceeded" in err, f"{place}: {err!r}")
        u.shell("w", f"rm {place}/f")
    check(os.statvfs("/").f_bavail > 0, "the host's disk")


if __name__ == "__main__":
    main()
