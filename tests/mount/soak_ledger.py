#!/usr/bin/env python3
"""The ledger at scale, by hand: 100,000 projects with limits, 1,000,000 charged objects. Prints how long a
count, a report, a limit, a remount after kill -9 and a check take, and what memory the server has; exits 1 where one
is out of bounds.

usage: TROOT_BIN=build/release/bin soak_ledger.py [--store DIRECTORY] [--projects N] [--files-each N]
"""
import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import harness
from harness import PAGE, Bed, pattern, run, write

# seconds, seconds, seconds, MiB
REPORT, LIMIT, REMOUNT, MEMORY = 1.0, 0.010, 1.0, 300
UUID = "00000000000000aa-00000000000000bb"
failed = []


def shown(what, value, bound=None, unit="s"):
    bad = bound is not None and value > bound
    if bad:
        failed.append(what)
    limit = "" if bound is None else f"  (bound {bound:g} {unit}{': MISSED' if bad else ''})"
    print(f"{what:<58} {value:10.4g} {unit}{limit}", flush=True)


def timed(work):
    start = time.monotonic()
    result = work()
    return time.monotonic() - start, result


def fill(bed, projects, files_each):
    """Straight into the upper, as a server would have left it."""
    space = "trusted" if os.geteuid() == 0 else "user"
    key = f"{space}.overlay.troot.project"
    os.setxattr(bed.upper, f"{space}.overlay.troot.uuid", UUID.encode())
    for project in range(1, projects + 1):
        if project % 1000 == 1:
            above = bed.in_upper(f"g{project // 1000:03}")
            os.mkdir(above)
        directory = f"{above}/p{project}"
        os.mkdir(directory)
        os.setxattr(directory, key, f"{project} P".encode())
        for number in range(files_each):
            descriptor = os.open(f"{directory}/f{number}", os.O_CREAT | os.O_WRONLY, 0o600)
            os.ftruncate(descriptor, 5000)
            os.setxattr(descriptor, key, str(project).encode())
            os.close(descriptor)
    ledger = bed.work + "/troot/ledger"
    os.makedirs(ledger)
    with open(ledger + "/limits.txt", "w", encoding="ascii") as file:
        file.write(f"troot-limits 1\nupper {UUID}\n")
        for project in range(1, projects + 1):
            file.write(f"project {project} bsoft=0 bhard={1 << 30} isoft=0 ihard=1000\n")


def raw_report(bed):
    """The server's answer, to its last byte."""
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(bed.control_socket())
        link.sendall(b"report\n")
        chunks = []
        while chunk := link.recv(1 << 20):
            chunks.append(chunk)
            if chunk.endswith(b"\n\n"):
                break
    return b"".join(chunks)


def mount(bed, *options):
    harness.SERVER_SECONDS = 600
    return timed(lambda: bed.mount(*options))[0]


def percentile(values, share):
    return sorted(values)[int(share * (len(values) - 1))]


def measure(bed, projects, files_each):
    objects = projects * (files_each + 1)
    seconds, _ = timed(lambda: fill(bed, projects, files_each))
    print(f"# {objects} objects in {projects} projects, made in {seconds:.0f} s", flush=True)
    shown("first mount: the whole upper is counted", mount(bed))
    print("".join(f"# {line}\n" for line in bed.server_says().split("\n") if "count" in line)[-600:], end="")
    shown("memory after the count", bed.memory_kib() / 1024, MEMORY, "MiB")
    troot = os.path.join(bed.binaries, "troot")

    shown("report, as the server answers it", timed(lambda: raw_report(bed))[0], REPORT)
    for words in (["quota", "report"], ["repquota", "-P"]):
        command = [troot, *words, bed.mnt]
        shown("report: troot " + " ".join(words), timed(lambda: run(*command))[0], REPORT)
    times = []
    for i in range(300):
        request = f"limit project={1 + i * 7 % projects} bhard={(2 << 30) + i}"
        times.append(timed(lambda: bed.control(request))[0])
    shown("set limit, median of 300", statistics.median(times), LIMIT)
    shown("set limit, 99th percentile", percentile(times, 0.99))
    command = [troot, "quota", "set", bed.mnt, "5", "--bhard", "3G"]
    shown("set limit by the command, median of 20",
          statistics.median(timed(lambda: run(*command))[0] for _ in range(20)))
    shown("memory after reports and limits", bed.memory_kib() / 1024, MEMORY, "MiB")

    remounts, recovered = [], 0
    for round_ in range(5):
        client = subprocess.Popen(
            ["sh", "-c", f'i=0; while :; do d={bed.mnt}/g0{round_}0/p$(({round_}0000 + i % 500 + 1)); '
             'echo x >> "$d/f0"; : > "$d/new$i"; rm -f "$d/f1"; i=$((i+1)); done'],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(2)
        bed.kill()
        client.kill()
        client.wait()
        os.truncate(bed.log, 0)
        remounts.append(mount(bed))
        says = bed.server_says()
        if "recovered " in says:
            recovered += int(says.split("recovered ")[1].split()[0])
        else:
            failed.append("a remount after kill -9 that counts nothing")
    shown("remount after kill -9 under load, worst of 5", max(remounts), REMOUNT)
    print(f"# {recovered} objects recovered in all", flush=True)
    seconds, answer = timed(lambda: run(troot, "quota", "check", bed.mnt, seconds=900, check_status=False))
    shown("troot quota check of every object, mount in use", seconds)
    print("# " + answer.stdout.strip(), flush=True)
    if answer.returncode != 0:
        failed.append("check")
    shown("memory at the end", bed.memory_kib() / 1024, MEMORY, "MiB")
    shown("unmount", timed(bed.umount)[0])
    shown("mount of a ledger that was closed", mount(bed), REMOUNT)
    bed.umount()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--store", default="/var/tmp")
    parser.add_argument("--projects", type=int, default=100_000)
    parser.add_argument("--files-each", type=int, default=9)
    arguments = parser.parse_args()
    base = tempfile.mkdtemp(prefix="troot-soak-", dir=arguments.store)
    bed = Bed(base, os.environ["TROOT_BIN"], "root" if os.geteuid() == 0 else "user")
    try:
        write(bed.in_lower("lower"), pattern(PAGE))
        measure(bed, arguments.projects, arguments.files_each)
    finally:
        if bed.server:
            bed.kill()
        shutil.rmtree(base, ignore_errors=True)
    print("out of bounds: " + ", ".join(failed) if failed else "all within bounds")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
