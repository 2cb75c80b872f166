#!/usr/bin/env python3
"""Whatever was done to files, ledger and upper agree: a stressor of four processes (stressor.py) on ext4, XFS, btrfs and
tmpfs, over a lower that it made itself, ends in a check without differences, also after a remount and after kill -9.

TROOT_STRESS_SEEDS=FIRST-LAST runs other seeds than the one of each run, TROOT_STRESS_STEPS more steps."""
import os

import stressor
from harness import case, check, equal, main
from images import FILE_SYSTEMS, on_image

SEEDS = os.environ.get("TROOT_STRESS_SEEDS", "1-1")
STEPS = int(os.environ.get("TROOT_STRESS_STEPS", "1500"))
KINDS = [kind for kind in FILE_SYSTEMS if kind != "ext4 with bigalloc"]


def differences(m):
    lines = m.control("check objects")
    merged = {}
    for line in lines:
        merged.update(line)
    sums = {}
    for line in m.control("check"):
        sums.update(line)
    equal(sums["differences"], "0", "sums that are not those of their records")
    return merged["differences"], lines[:8]


def agrees(m, when):
    count, some = differences(m)
    check(count == "0", f"{when}: {count} differences between ledger and upper, as {some}")


def one_seed(m, seed):
    m.mount("size=40M")
    # What a stressor that is ended leaves open is closed with it.
    broken = stressor.wait(stressor.start(m.mnt, seed, STEPS))
    equal(broken, 0, f"seed {seed}: processes that met something broken")
    agrees(m, f"seed {seed}")
    used = m.used()
    m.remount("size=40M")
    agrees(m, f"seed {seed}, after a remount")
    equal(m.used(), used, f"seed {seed}: usage over a remount")
    pids = stressor.start(m.mnt, seed + 500000, STEPS)
    # In the midst of it: one of them is done.
    os.waitpid(pids[0], 0)
    m.kill()
    stressor.wait(pids[1:])
    os.unlink(m.control_socket())
    m.mount("size=40M")
    agrees(m, f"seed {seed}, after a kill")
    m.umount()


def on(kind):
    def body(m):
        with on_image(m, kind):
            # The lower on the same file system: copies may be reflinks.
            os.rmdir(m.lower)
            m.lowers[0] = m.lower = os.path.join(m.base, "fs", "lower")
            os.mkdir(m.lower)
            first, last = (int(n) for n in SEEDS.split("-"))
            for seed in range(first, last + 1):
                for path in (m.lower, m.upper, m.work):
                    os.system(f"rm -rf {path} && mkdir {path}")
                stressor.wait(stressor.start(m.lower, seed + 900000, STEPS, processes=2))
                os.sync()
                one_seed(m, seed)
    return body


for each in KINDS:
    case(f"a stressor of four processes on {each}: ledger and upper agree, over a remount and a kill", modes=("root",),
         on=("trootfs",), automount=False, hash_lowers=False, seconds=3600 if "-" in SEEDS and SEEDS != "1-1" else 90)(on(each))


if __name__ == "__main__":
    main()
