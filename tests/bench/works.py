"""The pieces of work that tests/bench/run times, and the tree that they are done on."""
import os
import shutil
import subprocess
import sys
import tempfile
import time

from contenders import shell

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCES = ["/usr/include", "/usr/share/perl", "/usr/lib/python3", "/usr/share/doc", "/usr/share/cmake-3.25", "/usr/lib/gcc"]


def default_store():
    """tmpfs where it keeps user xattrs (Linux 6.6): the backing store is then not what is measured."""
    try:
        with tempfile.NamedTemporaryFile(dir="/dev/shm") as probe:
            os.setxattr(probe.name, "user.probe", b"1")
        return "/dev/shm"
    except OSError:
        return "/var/tmp"


# Of one operation, on Linux 6.18 (tests/mount/test_upcalls.py).
UPCALLS = {"roundtrip x1": 1, "create x1": 5, "mkdir x1": 3, "unlink x1": 2, "rename x1": 3, "churn x1": 5,
           "write4096 x1": 1, "write65536 x1": 1, "write1048576 x1": 1, "rwrite4096 x1": 1}


class Work:
    """A piece of work: returns a figure in `unit`, or None where it means nothing for a contender."""

    def __init__(self, name, unit, run, before=None):
        self.name, self.unit, self.run, self.before = name, unit, run, before


def better_low(unit):
    return unit in ("s", "KiB")


def timed(template):
    def run(contender):
        command = template.format(m=contender.mnt)
        start = time.monotonic()
        shell(command)
        return time.monotonic() - start
    return run


def micro(program, operation, count, processes):
    def run(contender):
        directory = os.path.join(contender.mnt, "micro")
        os.mkdir(directory)
        try:
            out = subprocess.run([program, directory, operation, str(count), str(processes)], check=True,
                                 capture_output=True, text=True).stdout
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        return float(out.split()[1])
    return run


def start(contender):
    """From the command to the first answer."""
    contender.umount()
    begin = time.monotonic()
    contender.mount()
    os.stat(contender.mnt)
    return time.monotonic() - begin


SQLITE = """
import sqlite3, sys
base = sqlite3.connect(sys.argv[1])
base.execute("pragma journal_mode=wal")
base.execute("create table t(a integer primary key, b text)")
for i in range(int(sys.argv[2])):
    base.execute("insert into t(b) values(?)", ("x" * 200,))
    base.commit()
"""


def sqlite(rows):
    def run(contender):
        begin = time.monotonic()
        subprocess.run([sys.executable, "-c", SQLITE, os.path.join(contender.mnt, "base.sqlite"), str(rows)], check=True,
                       capture_output=True)
        return time.monotonic() - begin
    return run


def works(program, scale):
    """All pieces of work in their order: later ones change what earlier ones made."""
    def fresh(contender):
        contender.fresh()
    yield Work("start", "s", start)
    yield Work("walk-cold", "s", timed("find {m} -printf '%s %n %U\\n'"), fresh)
    yield Work("memory", "KiB", lambda contender: contender.server_kib())
    yield Work("walk-warm", "s", timed("find {m} -printf '%s %n %U\\n'"))
    yield Work("read-tree-cold", "s", timed("tar -C {m}/usr -cf - include share/perl | cat"), fresh)
    yield Work("read-tree-warm", "s", timed("tar -C {m}/usr -cf - include share/perl | cat"))
    yield Work("read-big-first", "s", timed("dd if={m}/big bs=1M of=/dev/null status=none"), fresh)
    yield Work("read-big-again", "s", timed("dd if={m}/big bs=1M of=/dev/null status=none"))
    yield Work("untar", "s", timed("mkdir {m}/un && tar -C {m}/un -xf {m}/tree.tar"))
    yield Work("rm-rf", "s", timed("rm -rf {m}/un"))
    yield Work("chmod-R-lower", "s", timed("chmod -R g+w {m}/usr/share/perl {m}/usr/lib/python3"))
    yield Work("append-lower", "s", timed("find {m}/usr/include -type f | head -n 1500 | xargs -n 100 sh -c "
                                          "'for f; do echo >> \"$f\"; done' -"))
    yield Work("copy-up-big", "s", timed("printf x | dd of={m}/big conv=notrunc status=none"))
    yield Work("rm-rf-lower", "s", timed("rm -rf {m}/usr/share/doc"))
    if shutil.which("git"):
        yield Work("git", "s", timed("cd {m}/usr/include && git init -q . && git config gc.auto 0 && git add -A . && "
                                     "git -c user.name=b -c user.email=b@b commit -qm x && git status --short"))
    yield Work("compile", "s", timed(
        "mkdir {m}/cc && cd {m}/cc && for i in $(seq 40); do printf '#include <stdio.h>\\n#include <stdlib.h>\\n"
        "int f%d(void){{return %d;}}\\n' $i $i > f$i.c; done && ls f*.c | xargs -P2 -n1 cc -I{m}/usr/include -c && ar r lib.a *.o"))
    if shutil.which("dpkg"):
        yield Work("dpkg-unpack", "s", timed(
            "mkdir -p {m}/target/var/lib/dpkg/updates {m}/target/var/lib/dpkg/info && cd {m}/target/var/lib/dpkg && "
            ": > status && : > available && dpkg --root={m}/target --force-not-root --force-bad-path --log=/dev/null --unpack {m}/package.deb"))
    yield Work("sqlite", "s", sqlite(int(2000 * scale)))
    for operation, count, processes in (
            ("roundtrip", 30000, 1), ("stat", 200000, 1), ("negstat", 100000, 1), ("openclose", 30000, 1), ("readdir", 300, 1), ("create", 8000, 1),
            ("create", 4000, 4), ("mkdir", 5000, 1), ("unlink", 8000, 1), ("rename", 8000, 1), ("churn", 8000, 1),
            ("write4096", 30000, 1), ("write65536", 8000, 1), ("write1048576", 600, 1), ("rwrite4096", 20000, 1),
            ("write4096", 10000, 2), ("write4096", 5000, 8), ("create", 2000, 8), ("read4096", 60000, 1),
            ("read65536", 8000, 1), ("read1048576", 600, 1), ("rread4096", 60000, 1), ("store65536", 4000, 1),
            ("load65536", 4000, 1), ("openclose", 30000, 8)):
        count = max(1, int(count * scale))
        yield Work(f"{operation} x{processes}", "/s", micro(program, operation, count, processes))


def prepare(store, scale):
    """The lower tree, tens of thousands of real small files and one big one, and the compiled microfs."""
    lower, program = os.path.join(store, "lower"), os.path.join(store, "microfs")
    os.mkdir(lower)
    shell(f"cc -O2 -o {program} {HERE}/microfs.c")
    for source in SOURCES:
        if os.path.exists(source):
            shell(f"tar -C / -cf - {source[1:]} 2>/dev/null | tar -C {lower} -xf -")
    for needed in ("usr/include", "usr/share/perl", "usr/share/doc", "usr/lib/python3"):
        os.makedirs(os.path.join(lower, needed), exist_ok=True)
    shell(f"dd if=/dev/urandom of={lower}/big bs=1M count={max(1, int(512 * scale))} status=none")
    shell(f"tar -C {lower}/usr -cf {lower}/tree.tar include share/perl")
    if shutil.which("dpkg-deb"):
        package = os.path.join(store, "package")
        os.makedirs(package + "/DEBIAN")
        with open(package + "/DEBIAN/control", "w", encoding="ascii") as file:
            file.write("Package: bench\nVersion: 1\nArchitecture: all\nMaintainer: b <b@b>\nDescription: many files\n")
        shell(f"mkdir {package}/usr && tar -C {lower}/usr -cf - include | tar -C {package}/usr -xf - && "
              f"chmod 755 {package}/DEBIAN && dpkg-deb --root-owner-group -Zgzip -z1 --build {package} {lower}/package.deb && "
              f"rm -r {package}")
    return lower, program
