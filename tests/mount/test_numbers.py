#!/usr/bin/env python3
"""St_ino with layers on several file systems: no number twice, d_ino the same, and the same again after
remounts, kill -9, copy-up and rename, in whatever order things are looked at first."""
import os

from harness import Skip, case, check, equal, main, names, run, write

trootfs = {"on": ("trootfs",)}


def fill(root, prefix):
    for number in range(12):
        directory = f"{root}/{prefix}{number % 3}"
        os.makedirs(directory, exist_ok=True)
        write(f"{directory}/f{number}", f"{prefix}{number}")
    os.link(f"{root}/{prefix}0/f0", f"{root}/{prefix}0/hard")
    os.symlink("f0", f"{root}/{prefix}0/symlink")


def numbers(root, backwards=False):
    """{path: st_ino}; d_ino must be st_ino, and only hard links may share one."""
    found, seen = {}, {}

    def look(directory, shown):
        entries = sorted(os.scandir(directory), key=lambda e: e.name, reverse=backwards)
        for entry in entries:
            status = os.lstat(entry.path)
            name = shown + entry.name
            equal(entry.inode(), status.st_ino, f"d_ino of {name}")
            found[name] = status.st_ino
            other = seen.setdefault(status.st_ino, entry)
            check(other is entry or status.st_nlink > 1 and not entry.is_dir(follow_symlinks=False),
                  f"{name} and {other.path} have the number {status.st_ino:x}")
            if entry.is_dir(follow_symlinks=False):
                look(entry.path, name + "/")

    look(root, "")
    equal(len({os.lstat(os.path.join(root, n)).st_dev for n in found}), 1, "st_dev in one mount")
    return found


def tmpfs(path):
    os.makedirs(path, exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", path)


def keeps(m, before):
    """The numbers through everything that could change them."""
    def same(what, moved=lambda name: name, backwards=False):
        after = numbers(m.mnt, backwards)
        equal({moved(n): i for n, i in before.items()}, {n: i for n, i in after.items() if "new" not in n}, what)

    m.remount()
    same("numbers after a remount, looked at in the other order", backwards=True)
    m.kill()
    m.mount(*m.options)
    same("numbers after kill -9")
    for name in list(before):
        if os.path.islink(m(name)):
            os.lchown(m(name), os.getuid(), os.getgid())
        else:
            os.chmod(m(name), 0o700)
    same("numbers after a copy-up of the metadata")
    for name in before:
        if os.path.isfile(m(name)) and not os.path.islink(m(name)):
            with open(m(name), "ab") as file:
                file.write(b"more")
    same("numbers after a copy-up of the data")
    for number in range(40):
        write(m(f"new{number}"), "new")
    m.kill()
    m.mount(*m.options)
    same("numbers after copy-up and kill -9", backwards=True)
    top = sorted(n for n in before if "/" not in n and os.path.isdir(m(n)) and not os.path.ismount(m(n)))[0]
    os.rename(m(top), m("moved"))

    def moved(name):
        return "moved" + name[len(top):] if name == top or name.startswith(top + "/") else name
    same("numbers after the rename of a directory", moved)
    m.remount()
    same("numbers after the rename and a remount", moved)


def several(bed):
    for number, lower in enumerate(bed.lowers):
        tmpfs(lower)
        fill(lower, "abc"[number])


@case("three lowers on three tmpfs: numbers stay over remount, kill, copy-up, rename", modes=("root",), lower=several, lowers=3,
      **trootfs)
def three_tmpfs(m):
    keeps(m, numbers(m.mnt))


NESTED = ("one", "two", "three", "four")


def nested(bed):
    for name in NESTED:
        tmpfs(bed.in_lower(name))
        fill(bed.in_lower(name), "n")
    fill(bed.lower, "a")


@case("file systems mounted below a lower keep their numbers whichever is looked at first", modes=("root",), lower=nested,
      **trootfs)
def nested_tmpfs(m):
    before = numbers(m.mnt)
    for first in NESTED:
        m.remount()
        wanted = {n[len(first) + 1:]: i for n, i in before.items() if n.startswith(first + "/")}
        equal(numbers(m(first)), wanted, f"numbers of {first}, looked at first")
    keeps(m, before)


def images(bed):
    for number, lower in enumerate(bed.lowers):
        image = f"{bed.base}/image{number}"
        with open(image, "wb") as file:
            file.truncate(8 << 20)
        run("mkfs.ext4", "-q", image)
        attach(bed, number)
        fill(lower, "ab"[number])


def attach(bed, number):
    done = run("mount", "-o", "loop", f"{bed.base}/image{number}", bed.lowers[number], check_status=False)
    if done.returncode != 0:
        raise Skip(f"no loop mounts here: {done.stderr.strip()}")


@case("file systems that changed their device numbers are known again", modes=("root",), lower=images, lowers=2,
      hash_lowers=False, **trootfs)
def device_numbers(m):
    before = numbers(m.mnt)
    devices = [os.stat(lower).st_dev for lower in m.lowers]
    m.umount()
    for lower in m.lowers:
        run("umount", lower)
    for number in (1, 0):
        attach(m, number)
    if [os.stat(lower).st_dev for lower in m.lowers] == devices:
        raise Skip("the loop devices got the same numbers again")
    m.mount()
    keeps(m, before)


def host_directory(bed):
    """What an ordinary user has on another file system than /dev/shm."""
    fill(bed.lower, "a")
    if os.stat("/usr/share").st_dev == os.stat(bed.lower).st_dev:
        raise Skip("one file system only")
    bed.lowers.append("/usr/share")


@case("an ordinary user's lowers on two file systems", modes=("user",), lower=host_directory, hash_lowers=False, store="memory",
      **trootfs)
def two_for_a_user(m):
    chosen = names("/usr/share")[:30] + ["a0/f0", "a0/f3", "a0"]

    def look(order):
        return {n: os.lstat(m(n)).st_ino for n in order}
    before = look(chosen)
    equal(len(set(before.values())), len(chosen), "different numbers")
    m.kill()
    m.mount(*m.options)
    equal(look(reversed(chosen)), before, "numbers after kill -9, in the other order")


def binds(bed):
    fill(bed.lower, "a")
    os.makedirs(bed.in_lower("x/y"))
    write(bed.in_lower("x/y/f"), "one")
    write(bed.in_lower("x/other"), "other")
    for name in ("b1", "b2"):
        os.mkdir(bed.in_lower(name))
        run("mount", "--bind", bed.in_lower("x"), bed.in_lower(name))
    write(bed.in_lower("file"), "")
    run("mount", "--bind", bed.in_lower("x/other"), bed.in_lower("file"))


@case("what bind mounts of a lower show once more has numbers of its own", modes=("root",), lower=binds, hash_lowers=False,
      **trootfs)
def bound(m):
    before = numbers(m.mnt)
    for place in ("b2", "x", "b1"):
        m.remount()
        equal(numbers(m(place)), {n[len(place) + 1:]: i for n, i in before.items() if n.startswith(place + "/")},
              f"numbers of {place}, looked at first")
    write(m("x/y/f"), "two")
    with open(m("b2/y/f"), "ab") as file:
        file.write(b"three")
    write(m("file"), "four")
    for _ in range(2):
        equal([open(m(n), encoding="ascii").read() for n in ("x/y/f", "b1/y/f", "b2/y/f", "x/other", "file")],
              ["two", "one", "onethree", "other", "four"], "contents")
        equal(numbers(m.mnt), before, "numbers after they parted")
        m.remount()
    run("tar", "cf", m.base + "/t.tar", "-C", m.mnt, "x", "b1", "b2")
    os.mkdir(m.base + "/out")
    run("tar", "xf", m.base + "/t.tar", "-C", m.base + "/out")
    equal([open(f"{m.base}/out/{n}/y/f", encoding="ascii").read() for n in ("x", "b1", "b2")], ["two", "one", "onethree"],
          "what tar brought")


@case("hard links that bind mounts show once more stay one inode with one content", modes=("root",), lower=binds,
      hash_lowers=False, **trootfs)
def bound_links(m):
    m.umount()
    os.link(m.in_lower("x/y/f"), m.in_lower("x/y/g"))
    m.mount()
    every = [m(f"{place}/y/{name}") for place in ("x", "b1", "b2") for name in "fg"]
    for _ in range(2):
        equal(len({os.stat(path).st_ino for path in every}), 1, "one number")
        equal(len({open(path, encoding="ascii").read() for path in every}), 1, "one content")
        write(m("b1/y/g"), "two")
        equal({open(path, encoding="ascii").read() for path in every}, {"two"}, "after a change")
        m.remount()


def overlapping(bed):
    fill(bed.lowers[0], "a")
    os.makedirs(bed.lowers[0] + "/sub/dir")
    write(bed.lowers[0] + "/sub/dir/f", "one")
    os.rmdir(bed.lowers[1])
    bed.lowers[1] = bed.lowers[0] + "/sub"


@case("a layer within another layer has numbers of its own", lower=overlapping, lowers=2, hash_lowers=False, **trootfs)
def within(m):
    before = numbers(m.mnt)
    write(m("dir/f"), "two")
    for _ in range(2):
        equal([open(m(n), encoding="ascii").read() for n in ("dir/f", "sub/dir/f")], ["two", "one"], "contents")
        equal(numbers(m.mnt, backwards=True), before, "numbers after they parted")
        m.remount()


if __name__ == "__main__":
    main()
