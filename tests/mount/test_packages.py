#!/usr/bin/env python3
"""What package managers do to a tree, on the mount and on a plain directory beside it: dpkg over an older
version in the lowers, the renames of a distribution upgrade with the server killed between any two steps, and trees of
many small files as npm and cargo make them (TROOT_TREE_FILES of them, 10,000 if not said)."""
import io
import os
import subprocess
import tarfile
import time

from beside import OLD, Beside, halve, need, sh
from harness import case, check, equal, main, names, write

TREE_FILES = int(os.environ.get("TROOT_TREE_FILES", "10000"))
TREE_SECONDS = 90 + TREE_FILES // 200


# ---- dpkg -----------------------------------------------------------------------------------------------------

SCRIPTS = {
    "preinst": "echo preinst $@ >> $DPKG_ROOT/var/log/demo.log",
    "postinst": "echo postinst $@ >> $DPKG_ROOT/var/log/demo.log; ln -sfn demo-$1 $DPKG_ROOT/etc/demo.link",
    "prerm": "echo prerm $@ >> $DPKG_ROOT/var/log/demo.log",
    "postrm": "echo postrm $@ >> $DPKG_ROOT/var/log/demo.log",
}


def package(bed, name, version, files, control="", conffiles=()):
    """Builds BASE/NAME_VERSION.deb of {path: content, or a symlink's target after ->, or a hard link's after =}."""
    root = f"{bed.base}/pkg-{name}-{version}"
    os.makedirs(root + "/DEBIAN")
    write(root + "/DEBIAN/control", f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: a <a@b>\n"
          f"{control}Description: a package\n")
    if conffiles:
        write(root + "/DEBIAN/conffiles", "".join(f"/{f}\n" for f in conffiles))
    for script, text in SCRIPTS.items():
        write(f"{root}/DEBIAN/{script}", f"#!/bin/sh\nset -e\nmkdir -p $DPKG_ROOT/var/log\n{text}\n", mode=0o755)
    for path, content in files.items():
        path = os.path.join(root, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if content.startswith("-> "):
            os.symlink(content[3:], path)
        elif content.startswith("= "):
            os.link(os.path.join(root, content[2:]), path)
        else:
            write(path, content, mode=0o755 if "/bin/" in path else 0o644)
            os.utime(path, (OLD, OLD))
    if "usr/bin/demo" in files:
        os.chmod(root + "/usr/bin/demo", 0o4755)
    script = """cd $ROOT; find . -type f ! -path './DEBIAN/*' -printf '%P\\0' | sort -z | xargs -0 md5sum > DEBIAN/md5sums
        find . -type d -exec touch -d @1600000000 {} +; dpkg-deb --root-owner-group -b . $BASE/""" + f"{name}_{version}.deb"
    status, words = sh(script, root, bed.base)
    equal(status, 0, f"dpkg-deb ({words})")


def demo(version):
    files = {f"usr/share/demo/d{n % 12}/f{n}": f"{n} of {version}\n" * (n % 40) for n in range(150) if n % 10 != version}
    files |= {f"usr/lib/demo/{version if n % 2 else 'same'}/m{n}.so": "x" * n * 50 for n in range(60)}
    files |= {"usr/bin/demo": f"demo {version}\n" * 1000, "usr/bin/demo-alias": "= usr/bin/demo",
              "usr/bin/demo-link": f"-> demo{version}", "etc/demo.conf": f"conf {version}\n", "etc/demo.d/same": "same\n"}
    # What was a file is a directory in the next version, and the other way round.
    files |= {"usr/share/demo/turns": "file\n"} if version == 1 else {"usr/share/demo/turns/inside": "x\n"}
    files |= {"usr/share/demo/back/inside": "x\n"} if version == 1 else {"usr/share/demo/back": "file\n"}
    return files


DPKG = ("dpkg --root=$ROOT --log=/dev/null --force-script-chrootless --force-not-root --force-confnew --force-unsafe-io "
        "--force-bad-path ")


def as_owner(bed, script):
    """dpkg gives files to root; an ordinary user pretends."""
    return script if bed.mode == "root" else "fakeroot -- sh -ec '" + script.replace("'", "'\\''") + "'"


def installed(bed):
    need("dpkg", "dpkg-deb", *(["fakeroot"] if bed.mode == "user" else []))
    root = bed.lowers[-1]
    for version in (1, 2):
        package(bed, "demo", version, demo(version), conffiles=("etc/demo.conf", "etc/demo.d/same"))
    extra = {"usr/share/demo/d1/f1": "taken over\n", "usr/share/extra/a": "a\n", "etc/extra": "-> demo.conf"}
    package(bed, "extra", 1, extra, "Depends: demo\nReplaces: demo\n")
    for directory in ("updates", "info", "parts", "triggers"):
        os.makedirs(f"{root}/var/lib/dpkg/{directory}")
    for file in ("status", "available"):
        write(f"{root}/var/lib/dpkg/{file}")
    status, words = sh(as_owner(bed, DPKG + "-i $BASE/demo_1.deb"), root, bed.base)
    equal(status, 0, f"dpkg in the lower ({words})")
    halve(bed)


DPKG_STEPS = (
    ("upgrade", "-i $BASE/demo_2.deb", 0), ("verify", "--verify demo", 0),
    ("a package that takes over a file", "-i $BASE/extra_1.deb", 0), ("list", "-L demo extra", 0), ("state", "-l", 0),
    ("a dependency that holds", "-r demo", 1), ("remove", "-r extra", 0), ("back to the older version", "-i $BASE/demo_1.deb", 0),
    ("verify again", "--verify demo", 0), ("purge", "-P demo", 0),
)


@case("dpkg: upgrade of what the lowers hold, takeover, removal, downgrade, purge", lower=installed, lowers=2)
def dpkg(m):
    two = Beside(m)
    for number, (title, words, status) in enumerate(DPKG_STEPS):
        two.both(as_owner(m, DPKG + words), f"dpkg: {title}", status)
        two.same(f"dpkg: {title}")
        if number == 3:
            two.crash()
    check(not os.path.exists(m("usr/bin/demo")), "purged")


# ---- a distribution upgrade -----------------------------------------------------------------------------------

def system(bed):
    root = bed.lowers[-1]
    for number in range(300):
        directory = f"{root}/usr/lib/app{number % 6}/{'sub/' * (number // 6 % 3)}v"
        os.makedirs(directory, exist_ok=True)
        write(f"{directory}/f{number}", b"%d\n" % number * (number % 200))
    os.makedirs(root + "/usr/share/doc")
    os.symlink("../lib/app1", root + "/usr/share/app1")
    halve(bed)


def system_with_links(bed):
    system(bed)
    root = bed.lowers[-1]
    file = next(e.path for e in os.scandir(root + "/usr/lib/app0/v") if e.is_file())
    os.link(file, root + "/usr/lib/app3/v/hard")


# As dpkg, apt and rustup replace directories: the old aside, the new beside, one rename each, then the old removed.
UPGRADE = (
    "mkdir usr/lib/app0.new; cp -a usr/lib/app0/. usr/lib/app0.new/; for f in usr/lib/app0.new/v/*; do echo new >> $f; done",
    "mv -T usr/lib/app0 usr/lib/app0.old",
    "mv -T usr/lib/app0.new usr/lib/app0",
    "rm -rf usr/lib/app0.old",
    "mv -T usr/lib/app1 usr/lib/.app1.aside; mkdir usr/lib/app1; echo 1 > usr/lib/app1/only",
    "mv usr/lib/.app1.aside/sub usr/lib/app1/sub; rm -r usr/lib/.app1.aside; ls -R usr/share/app1/",
    "mv usr/lib usr/lib.usrmerge; mkdir usr/lib; mv usr/lib.usrmerge/app? usr/lib/",
    "rmdir usr/lib.usrmerge; mv usr/lib/app2 usr/share/doc/; mv usr/share/doc/app2 usr/lib/app3/",
    "mv usr var; mv var/lib/app3/app2/v/* var/; find var -type f | sort | xargs md5sum",
    "mv var usr; mv -T usr/lib/app4 usr/lib/tmp; mv -T usr/lib/app5 usr/lib/app4; mv -T usr/lib/tmp usr/lib/app5",
    "echo more >> usr/lib/app5/v/f4; rm -r usr/lib/app3/app2; rm -r usr/lib/app4/v; mkdir usr/lib/app4/v; ls -lR usr | wc -l",
    "rm -rf usr/lib; cp -a usr usr.copy; rm -rf usr; mv usr.copy usr; find usr | sort",
)


@case("directories renamed aside, replaced, removed, with kill -9 of the server between any two steps",
      lower=system_with_links, lowers=2)
def upgrade(m):
    two = Beside(m)
    for number, step in enumerate(UPGRADE):
        two.both(step, f"step {number}")
        two.crash()
        two.same(f"step {number}, after kill -9")


@case("kill -9 in the midst of an upgrade: every directory is the old one or the new one", lower=system, lowers=2,
      on=("trootfs",))
def torn(m):
    wanted = {w: sorted(os.listdir(f"{m.mnt}/usr/lib/app{w}/v")) for w in (3, 4)}
    loop = f"""cd {m.mnt}/usr/lib; n=0; while :; do for a in app3 app4; do
        cp -a $a $a.new.$n; mv -T $a $a.old.$n; mv -T $a.new.$n $a; rm -rf $a.old.$n; done; n=$((n+1)); done"""
    for number in range(4):
        with subprocess.Popen(["sh", "-c", loop], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as client:
            time.sleep(0.25 + number * 0.08)
            m.kill()
            client.kill()
        m.mount(*m.options)
        for each, inside in wanted.items():
            own = f"app{each}"
            found = [n for n in names(m("usr/lib")) if n == own or n.startswith(own + ".")]
            whole = [n for n in found if os.path.isdir(m("usr/lib", n, "v")) and names(m("usr/lib", n, "v")) == inside]
            check(whole, f"no whole version of {own} among {found}")
            check(own in whole or own not in found, f"{own} is there, and torn: {found}")
            if own not in found:
                os.rename(m("usr/lib", whole[0]), m("usr/lib", own))
            for other in (n for n in found if n != own and os.path.exists(m("usr/lib", n))):
                sh(f"rm -rf usr/lib/{other}", m.mnt, m.base)
        m.check_recount()


# ---- many small files -----------------------------------------------------------------------------------------

def packed_tree(path, files, changed):
    """A tar of packages of small files, as node_modules has them, some hard linked, as cargo's targets are."""
    with tarfile.open(path, "w") as archive:
        seen = set()
        for number in range(files):
            directory = f"modules/p{number % (files // 40 + 1)}/{'lib/' * (number % 3)}"
            if directory not in seen:
                seen.add(directory)
                entry = tarfile.TarInfo(directory)
                entry.type, entry.mode, entry.mtime = tarfile.DIRTYPE, 0o755, OLD
                archive.addfile(entry)
            entry = tarfile.TarInfo(f"{directory}f{number}.js")
            entry.mtime, entry.mode = OLD + number, 0o755 if number % 17 == 0 else 0o644
            if number % 25 == 24:
                entry.type, entry.linkname = tarfile.LNKTYPE, last
                archive.addfile(entry)
                continue
            data = (b"// %d\n" % number) * (number % 300) + changed
            entry.size, last = len(data), entry.name
            archive.addfile(entry, io.BytesIO(data))


def half_a_tree(bed):
    """An older version of half of the packages lies below already."""
    packed_tree(bed.base + "/old.tar", TREE_FILES // 2, b"old\n")
    packed_tree(bed.base + "/new.tar", TREE_FILES, b"new\n")
    equal(sh("tar -xf $BASE/old.tar", bed.lowers[-1], bed.base)[0], 0, "tar in the lower")
    halve(bed)


@case(f"{TREE_FILES} small files over half of an older version: untar, rename of the whole, hard-linked copy, rm -rf",
      lower=half_a_tree, lowers=2, seconds=TREE_SECONDS, modes=("user",), hash_lowers=TREE_FILES <= 20_000)
def small_files(m):
    two = Beside(m)
    steps = (
        ("untar over the older version", "tar -xf $BASE/new.tar"),
        ("rename of the whole", "mv modules modules.aside; ls"),
        ("a copy by hard links of a part", "mkdir store; cp -al modules.aside/p1* store/; find store -type f | wc -l"),
        ("rename back, into another directory", "mkdir deep; mv modules.aside deep/modules; find deep | wc -l"),
        ("find of it all", "find . -type f -printf '%p %s %n %m %T@\\n' | sort | md5sum"),
        ("rm -rf", "rm -rf deep store; ls -A"),
    )
    for title, script in steps:
        times = []
        for where in (m.mnt, two.plain):
            start = time.monotonic()
            answer = sh(script, where, m.base, seconds=TREE_SECONDS)
            times.append(time.monotonic() - start)
            if where == m.mnt:
                got = answer
        equal(got, answer, f"{title}: status and output, mount against plain directory")
        equal(got[0], 0, title)
        print(f"# {title}: {times[0]:.2f} s, plain directory {times[1]:.2f} s", flush=True)
        if title.startswith(("untar", "a copy")):
            two.same(title)
    m.remount()
    equal(names(m.mnt), [], "names after rm -rf and a remount")
    if m.server:
        m.check_recount()


if __name__ == "__main__":
    main()
