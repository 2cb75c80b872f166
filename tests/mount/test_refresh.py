#!/usr/bin/env python3
"""`troot refresh` on a real mount: lowers that were changed below it are seen afterwards, through every
cache of the kernel; files that are open go on; nothing crashes under load."""
import os
import subprocess
import threading
import time

from harness import case, check, equal, mounted, names, pattern, read, refused, run, write

trootfs = {"on": ("trootfs",), "hash_lowers": False}


def lower(m):
    os.makedirs(m.in_lower("d/e"))
    for name in ("same", "edited", "replaced", "gone", "kind", "d/e/f"):
        write(m.in_lower(name), f"old {name}")


def refresh(m):
    done = run(os.path.join(m.binaries, "troot"), "refresh", m.mnt, seconds=30)
    check("looked at again" in done.stdout, done.stdout)


@case("what was changed in the lowers is seen after a refresh", lower=lower, **trootfs)
def seen(m):
    # Everything goes into the kernel's caches first: names that are not there, listings, pages, attributes.
    for name in ("same", "edited", "replaced", "gone", "kind", "d/e/f"):
        equal(read(m(name)), f"old {name}".encode(), name)
    for path in (m.mnt, m("d"), m("d/e")):
        names(path)
    for name in ("new", "d/new"):
        refused(2, os.stat, m(name))
    os.mkdir(m("kept"))
    write(m("kept/mine"), "mine")
    open_gone, open_replaced = open(m("gone"), "rb"), open(m("replaced"), "rb")
    mapped = os.open(m("edited"), os.O_RDONLY)
    for name in ("new", "d/new"):
        write(m.in_lower(name), f"new {name}")
    write(m.in_lower("edited"), pattern(10_000))
    write(m.in_lower("r"), "replaced now, and longer")
    os.rename(m.in_lower("r"), m.in_lower("replaced"))
    os.unlink(m.in_lower("gone"))
    os.unlink(m.in_lower("kind"))
    os.mkdir(m.in_lower("kind"))
    write(m.in_lower("kind/inside"), "inside")
    os.rename(m.in_lower("d/e"), m.in_lower("d/moved"))
    refresh(m)
    equal(names(m.mnt), ["d", "edited", "kept", "kind", "new", "replaced", "same"], "names")
    equal(names(m("d")), ["moved", "new"], "names in d")
    equal(read(m("new")), b"new new", "new")
    equal(read(m("d/new")), b"new d/new", "d/new")
    equal(os.stat(m("edited")).st_size, 10_000, "the size of what was edited")
    equal(read(m("edited")), pattern(10_000), "edited")
    equal(os.pread(mapped, 20_000, 0), pattern(10_000), "edited, by a descriptor from before")
    os.close(mapped)
    equal(read(m("replaced")), b"replaced now, and longer", "replaced")
    refused(2, os.stat, m("gone"))
    equal(names(m("kind")), ["inside"], "a file that became a directory")
    equal(read(m("d/moved/f")), b"old d/e/f", "moved")
    refused(2, os.stat, m("d/e"))
    equal(read(m("kept/mine")), b"mine", "the upper's")
    equal(open_gone.read(), b"old gone", "an open file that is gone")
    equal(open_replaced.read(), b"old replaced", "an open file that was replaced")
    open_gone.close(), open_replaced.close()
    for name in ("replaced", "kind/inside", "new"):
        with open(m(name), "ab") as file:
            file.write(b"+")
        equal(read(m(name))[-1:], b"+", f"{name}, written")
        check(not read(m.in_lower(name)).endswith(b"+"), "the lower was written")


@case("a refresh finds nothing where nothing was changed, and asks for what it cannot do",
      lower=lower, **trootfs)
def nothing(m):
    names(m.mnt), read(m("same"))
    inode = os.stat(m("same")).st_ino
    done = run(os.path.join(m.binaries, "troot"), "refresh", m("d"))
    check(done.stdout.endswith(", 0 names changed\n"), done.stdout)
    equal(os.stat(m("same")).st_ino, inode, "the inode's number")
    for words, code in ((["refresh"], 2), (["refresh", "/absent"], 2), (["refresh", "/proc"], 1),
                        (["refresh", "no-such-world"], 1)):
        done = run(os.path.join(m.binaries, "troot"), *words, check_status=False)
        equal(done.returncode, code, f"troot {words}")
        equal(done.stderr.count("\n"), 1, f"lines of {done.stderr!r}")


@case("a mount in a directory of the union stays over a refresh", modes=("root",), lower=lower, **trootfs)
def mounts(m):
    names(m("d/e"))
    run("mount", "-t", "tmpfs", "none", m("d/e"))
    write(m("d/e/over"), "over")
    os.rename(m.in_lower("d"), m.in_lower("d.old"))
    os.makedirs(m.in_lower("d/e"))
    write(m.in_lower("d/e/below"), "below")
    refresh(m)
    equal(names(m("d/e")), ["over"], "what is mounted there")
    run("umount", m("d/e"))
    equal(names(m("d/e")), ["below"], "what lies below")


@case("lowers that change under load and refreshes crash and hang nothing", lower=lower, **trootfs)
def load(m):
    stop = threading.Event()

    def change():
        i = 0
        while not stop.is_set():
            path = m.in_lower(f"d/c{i % 6}")
            run("rm", "-rf", path)
            if i % 3 == 0:
                os.makedirs(path + "/x")
                write(path + "/x/y", "y")
            elif i % 3 == 1:
                write(path, pattern(i % 9000))
            i += 1
    script = ("while :; do for i in 0 1 2 3 4 5; do cat d/c$i; ls -lR d/c$i; echo w >> d/c$i; touch d/c$i/x/n; "
              "ln d/c$i d/l$i; rm -rf d/c$i/x d/l$i; done; done")
    clients = [subprocess.Popen(["sh", "-c", script], cwd=m.mnt, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL) for _ in range(2)]
    changer = threading.Thread(target=change)
    changer.start()
    end, slowest, count = time.monotonic() + 4, 0.0, 0
    while time.monotonic() < end:
        begin = time.monotonic()
        m.control("refresh")
        slowest, count = max(slowest, time.monotonic() - begin), count + 1
    stop.set()
    changer.join()
    for client in clients:
        client.kill()
        client.wait()
    print(f"# {count} refreshes, the slowest {slowest * 1000:.0f} ms", flush=True)
    check(mounted(m.mnt) and m.server.poll() is None, "the server is gone")
    refresh(m)
    run("ls", "-lR", m("d"))
    run("rm", "-rf", m("d"))
    equal(names(m.mnt), ["edited", "gone", "kind", "replaced", "same"], "names in the end")


if __name__ == "__main__":
    from harness import main
    main()
