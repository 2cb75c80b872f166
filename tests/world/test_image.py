#!/usr/bin/env python3
"""Worlds that consist of an archive's layers and not of the host's tree: what they show, that layers are shared and
swept, that hostile archives are refused and leave nothing, and what an export brings back."""
import gzip
import json
import os
import shutil
import signal
import subprocess
import tarfile

from archives import (LONG_AGO, Archive, Layout, bootable, closed_root, digest, exported, furnished, layers, left, programs, put,
                      three_layers, told, tool)
from bed import MIB, Skip, case, check, equal, main, wait_until

EVERY = ("one", "range", "root")
LOOK = "cd /srv && stat -c '%n %F %a %h %u:%g %Y' file setuid name symlink fifo secret closed closed/in . nobody"


@case("a world of a tar shows what the archive has", ids=EVERY)
def shown(u):
    tar = put(u, "root.tar", furnished(bootable()).end())
    u.world("w", "--from", tar)
    ids = {"one": ("0:0", "0:0"), "range": ("7:8", "65534:65534" if u.mode == "range" else ""), "root": ("7:8", "70000:70000")}
    owner, far = ids[u.mode]
    lines = u.shell("w", LOOK).splitlines()
    equal(lines, [f"file regular file 640 2 {owner} {LONG_AGO}", f"setuid regular file 6755 1 {owner} {LONG_AGO}",
                  f"name regular file 640 2 {owner} {LONG_AGO}", f"symlink symbolic link 777 1 0:0 {LONG_AGO}",
                  f"fifo fifo 600 1 0:0 {LONG_AGO}", f"secret regular file 0 1 0:0 {LONG_AGO}",
                  f"closed directory 500 1 0:0 {LONG_AGO}", f"closed/in regular file 644 1 0:0 {LONG_AGO}",
                  f". directory 1777 1 {owner} {LONG_AGO}", f"nobody regular empty file 400 1 {far} {LONG_AGO}"], "what is shown")
    equal(u.shell("w", "id -u; cat /srv/file /srv/closed/in; ls -a /home /usr 2> /dev/null; test -c /dev/null && test -r /proc/self/status"
                  " && test -d /tmp && test -d /run && echo built"), "0\ntext\nin\nbuilt\n", "inside")
    equal(u.shell("w", "test $(stat -c %i /srv/file) = $(stat -c %i /srv/name) && echo more >> /srv/name && cat /srv/file"),
          "text\nmore\n", "a hard link")
    status = u.status("w")
    equal((status["base"], status["layers"]), ("", layers(u)), "what it says that it is made of")
    check(status["used_bytes"] < 300_000, "the layer is charged to nobody")
    record = json.load(open(f"{u.store}/layers/{layers(u)[0]}/layer.json", encoding="utf-8"))
    equal((record["diff_id"], record["charged"], record["parent"]), ("sha256:" + layers(u)[0], False, None), "layer.json")


@case("an ordinary user's layers hold nothing that acts on the host")
def harmless(u):
    tar = put(u, "root.tar", furnished(bootable()).add("srv/disk", tarfile.BLKTYPE, device=(8, 0), mode=0o660).end())
    u.world("w", "--from", tar)
    for directory, names, files in os.walk(u.store + "/layers"):
        for name in names + files:
            status = os.lstat(os.path.join(directory, name))
            equal((status.st_uid, status.st_mode & 0o6000), (u.uid, 0), f"owner and set-id bits of {directory}/{name}")
            check(os.path.isdir(os.path.join(directory, name)) or status.st_mode & 0o170000 in (0o100000, 0o120000), f"kind of {name}")
    equal(u.shell("w", "stat -c '%F %t %T' /srv/disk"), "block special file 8 0\n", "a device")


@case("gzip, zstd and the standard input are taken, and the same tar is one layer", ids=("one", "root"))
def shared(u):
    plain = furnished(bootable()).end()
    tar, packed = put(u, "root.tar", plain), put(u, "root.tgz", gzip.compress(plain, 1))
    u.world("a", "--from", tar)
    u.world("b", "--from", packed)
    equal(len(layers(u)), 1, "layers")
    zstd = put(u, "root.tar.zst", subprocess.run(["zstd", "-q", "-1", "-c"], input=plain, capture_output=True, check=True,
                                                 timeout=60).stdout)
    code, _, err = u.run("sh", "-c", f"troot create c --from - < {zstd}")
    equal(code, 0, f"status of create from a pipe ({err})")
    equal(len(layers(u)), 1, "layers")
    u.shell("a", "echo a > /srv/file")
    equal(u.shell("b", "cat /srv/file; ls /srv/") + u.shell("c", "cat /srv/file"),
          "text\nclosed\nfifo\nfile\nname\nnobody\nsecret\nsetuid\nsymlink\ntext\n", "the others")
    equal(u.troot("run", "--rm", "--from", tar, "--", "cat", "/srv/file"), "text\n", "a world for one command")


HOSTILE = (
    ("an absolute name", lambda a: a.add("/tmp/out"), "/tmp/out"),
    ("a way out", lambda a: a.add("srv/../../out"), "srv/../../out"),
    ("a symlink on the way", lambda a: a.add("way", tarfile.SYMTYPE, link="/tmp").add("way/out"), "way/out"),
    ("a hard link out", lambda a: a.add("link", tarfile.LNKTYPE, link="/etc/passwd"), "link"),
    ("a hard link up", lambda a: a.add("link", tarfile.LNKTYPE, link="../../../etc/passwd"), "link"),
    ("a whiteout", lambda a: a.add("srv/.wh.gone"), ".wh."),
    ("an overlayfs whiteout", lambda a: a.add("none", tarfile.CHRTYPE, device=(0, 0)), "none"),
    ("a long name", lambda a: a.add("n" * 300), "n" * 200),
    ("an image that is none", lambda a: a.add("oci-layout").directory("blobs"), "image"),
)


@case("hostile archives are refused by name, and leave nothing", ids=("one", "root"))
def hostile(u):
    for what, spoil, word in HOSTILE:
        tar = put(u, "bad.tar", spoil(Archive().directory("srv").add("srv/f", data=b"x" * 4096)).end())
        u.refused(1, "create", "w", "--from", tar, says=[tar, word])
        equal(left(u), [], f"what {what} leaves")
    good = Archive().directory("srv").add("srv/f", data=b"x" * 65536).end()
    for what, data in (("a cut tar", good[:40000]), ("no tar", b"no tar at all" * 100), ("a cut gzip", gzip.compress(good)[:-9]),
                       ("nothing", b"")):
        tar = put(u, "bad.tar", data)
        u.refused(1, "create", "w", "--from", tar, says=[tar])
        equal(left(u), [], f"what {what} leaves")
    u.refused(1, "create", "w", "--from", "oci:/srv/image", says=["/srv/image"])
    u.refused(2, "create", "w", "--from", u.home + "/absent.tar", says=["absent.tar"])


@case("a bomb of zeros is refused", seconds=240)
def bomb(u):
    path = u.home + "/bomb.tgz"
    script = (f"import gzip, tarfile\nclass Zeros:\n def read(self, n): return bytes(n)\n"
              f"t = tarfile.open({path!r}, 'w:gz', compresslevel=9)\ne = tarfile.TarInfo('zeros')\ne.size = 600 << 20\n"
              f"t.addfile(e, Zeros())\nt.close()\n")
    u.run("python3", "-c", script, seconds=200)
    u.refused(1, "create", "w", "--from", path, says=[path])
    equal(left(u), [], "what it leaves")


@case("a world of a name that is there unpacks nothing")
def name_taken(u):
    u.world("w")
    u.refused(1, "create", "w", "--from", put(u, "root.tar", furnished(Archive()).end()), says=["already"])
    equal(layers(u), [], "layers")


@case("create that is killed half-way leaves nothing after the next command", ids=("one", "root"))
def killed(u):
    tar = Archive().directory("d")
    for number in range(300):
        tar.add(f"d/f{number}", data=os.urandom(4096))
    data = tar.end()
    pipe = u.home + "/pipe"
    os.mkfifo(pipe, 0o666)
    os.chmod(pipe, 0o666)
    child = u.popen("sh", "-c", f"exec troot create w --from - < {pipe}")
    with open(pipe, "wb", buffering=0) as file:
        file.write(data[:len(data) // 2])
        wait_until(lambda: any(n.startswith(".incoming-") for n in layers(u)), "unpacking begins")
        incoming = f"{u.store}/layers/{layers(u)[0]}/tree"
        wait_until(lambda: len(os.listdir(incoming + "/d")) > 50 if os.path.isdir(incoming + "/d") else False, "files")
        u.troot("list")
        check(os.path.isdir(incoming), "a command swept what is being unpacked")
        os.kill(child.pid, signal.SIGKILL)
        child.wait(20)
    equal(len(layers(u)), 1, "what the kill leaves")
    equal(u.troot("list", "-q"), "", "worlds")
    equal(left(u), [], "what the next command leaves")
    u.world("w", "--from", put(u, "root.tar", data))
    equal(len(layers(u)), 1, "layers of one that was not killed")


@case("the limit holds in a world of layers", ids=EVERY)
def limited(u):
    u.world("w", "--from", put(u, "root.tar", furnished(bootable()).end()), "--limit", "20M")
    u.shell("w", "dd if=/dev/zero of=/srv/big bs=1M count=30 2> /dev/null", status=1)
    status = u.status("w")
    check(19 * MIB < status["used_bytes"] <= 20 * MIB, f"{status['used_bytes']} bytes used")
    u.shell("w", "rm /srv/big && dd if=/dev/zero of=/srv/big bs=1M count=15 2> /dev/null")


@case("a layer that is gone or damaged is named")
def damaged(u):
    u.world("w", "--from", put(u, "root.tar", furnished(bootable()).end()))
    place = f"{u.store}/layers/{layers(u)[0]}"
    text = open(place + "/layer.json", encoding="utf-8").read()
    with open(place + "/layer.json", "w", encoding="utf-8") as file:
        file.write(text.replace('"rootfs"', '"layer"'))
    u.refused(125, "exec", "w", "true", says=[place, "damaged"])
    os.rename(place, place + "x")
    u.refused(125, "exec", "w", "true", says=[os.path.basename(place), "'w'"])
    world = f"{u.store}/worlds/w/world.json"
    whole = json.load(open(world, encoding="utf-8"))
    equal((whole["version"], whole["base"]), (3, None), "what an older troot does not take for a world of the host's")


@case("an export of all that a world shows is the archive that it was made of", ids=EVERY)
def whole(u):
    archive = furnished(bootable()).add("srv/sparse", data=b"x" * 4096, pax={"SCHILY.xattr.user.mark": "kept"})
    if u.mode != "root":
        archive.add("srv/disk", tarfile.BLKTYPE, device=(8, 1), mode=0o660)
    plain = archive.end()
    u.world("w", "--from", put(u, "root.tar", plain))
    out = exported(u, "w", "--compress", "none")
    objects, links = told(out)
    wanted, wanted_links = told(plain)
    # What no entry of the archive stood for.
    for name in objects.keys() - wanted.keys():
        equal(objects.pop(name)[1:5], (0, 0, 0o755, 0), f"a directory that was implied, {name}")
    equal(sorted(objects), sorted(wanted), "names")
    for name, what in wanted.items():
        equal(objects[name], what, name)
    equal(links, wanted_links, "hard links")
    equal(exported(u, "w", "--compress", "none"), out, "a second export")
    u.world("again", "--from", put(u, "again.tar", out))
    equal(exported(u, "again", "--compress", "none"), out, "an export of a world made of the export")
    for how, magic in (("gzip", b"\x1f\x8b"), ("zstd", b"\x28\xb5\x2f\xfd")):
        packed = exported(u, "w", "--compress", how)
        check(packed.startswith(magic), f"an export by {how}")
        equal(exported(u, "w", "--compress", how), packed, f"a second export by {how}")
        u.world(how, "--from", put(u, how, packed))
    equal(len(layers(u)), 2, "layers of four worlds")


@case("an export has what the world changed, and not what is the world's own", ids=EVERY)
def changed(u):
    u.world("w", "--from", put(u, "root.tar", furnished(bootable()).end()))
    u.shell("w", "cd /srv && echo more >> file && rm secret && mv closed open && ln -s there new && chmod 4711 setuid && echo x > /tmp/t"
            " && rm -r /etc/passwd && mkdir /etc/passwd && touch -d 2001-01-01 open")
    out = exported(u, "w", "--compress", "none")
    objects, links = told(out)
    equal(objects["srv/name"][5], b"text\nmore\n", "a file that was changed by its other name")
    equal(links, [["srv/file", "srv/name"]], "hard links")
    equal((objects["srv/setuid"][3], objects["srv/new"][5], objects["srv/open/in"][5], objects["etc/passwd"][0]),
          (0o4711, "there", b"in\n", tarfile.DIRTYPE), "what was changed")
    for gone in ("srv/secret", "srv/closed", ".troot", "tmp/t"):
        check(gone not in objects, f"{gone} is exported")
    u.world("copy", "--from", put(u, "copy.tar", out))
    look = "find /srv /etc /bin -printf '%p %M %u %g %T@ %l\\n' | sort | grep -v debian_chroot; find /srv -type f | sort | xargs md5sum"
    look = look.replace("| xargs md5sum", "| while read f; do md5sum $f; done")
    ours, theirs = u.shell("w", look), u.shell("copy", look)
    differ = [pair for pair in zip(ours.splitlines(), theirs.splitlines()) if pair[0] != pair[1]]
    check([p for p in differ if not p[0].startswith("/etc ")] == [], f"the copy shows {differ}")


@case("an export of a layer has whiteouts, and one that is not plain names what makes it so", ids=EVERY)
def one_layer(u):
    u.world("w", "--from", put(u, "root.tar", furnished(bootable()).end()))
    u.shell("w", "cd /srv && echo new > new && rm secret fifo && rm -r closed && mkdir closed && echo x > /tmp/t && chmod 600 file")
    u.refused(1, "export", "w", "--format", "layer", "-o", u.home + "/layer.tar", says=["srv/file", "flatten"])
    check(not os.path.exists(u.home + "/layer.tar"), "a refused export leaves a file")
    u.troot("flatten", "w")
    out = exported(u, "w", "--format", "layer", "--compress", "none")
    objects, _ = told(out)
    for name in ("srv/new", "srv/.wh.secret", "srv/.wh.fifo", "srv/closed/.wh..wh..opq", "srv/file"):
        check(name in objects, f"{name} is not in {sorted(objects)}")
    check(not any(n.startswith((".troot", "bin/")) for n in objects), f"more than was changed: {sorted(objects)}")
    equal(exported(u, "w", "--format", "layer", "--compress", "none"), out, "a second export")
    u.refused(1, "create", "x", "--from", put(u, "layer.tar", out), says=["layer"])


@case("an export of a running world, to a terminal's place or a bad one, is refused", ids=("one", "root"))
def refused(u):
    u.world("w", "--from", put(u, "root.tar", furnished(bootable()).end()))
    child = u.popen("troot", "exec", "w", "sleep", "60")
    wait_until(lambda: u.status("w")["sessions"] == 1, "the session")
    u.refused(1, "export", "w", "-o", u.home + "/out.tar", says=["running", "troot stop w"])
    u.troot("stop", "w")
    child.wait(20)
    u.refused(1, "export", "w", "-o", u.home + "/absent/out.tar", says=["absent/out.tar"])
    u.refused(2, "export", "w", "-o", u.home, says=[u.home])
    u.refused(2, "export", "w", "--format", "zip", says=["--format"])
    u.troot("export", "w", "-o", u.home + "/data/out.tgz")
    with open(u.home + "/data/out.tgz", "rb") as file:
        equal(file.read(2), b"\x1f\x8b", "compression by the file's name")
    u.troot("export", "w", "-o", u.home + "/data/out.tgz")
    equal(sorted(os.listdir(u.home + "/data")), ["out.tgz", "troot"], "what exports leave")


@case("store df tells whose a layer is, rm leaves it and prune removes it", ids=("one", "root"))
def pruned(u):
    equal(json.loads(u.troot("store", "prune", "--json")), {"removed": [], "freed_bytes": 0}, "an empty store")
    tar, other = (put(u, name, Archive().directory("d").add("d/f", data=name.encode() * 5000).end()) for name in ("a.tar", "b.tar"))
    u.world("a", "--from", tar)
    u.world("b", "--from", tar)
    u.world("c", "--from", other)
    told_by = {tuple(one["worlds"]): one for one in json.loads(u.troot("store", "df", "--json"))["layers"]}
    equal(sorted(told_by), [("a", "b"), ("c",)], "whose layers are")
    equal(told_by[("c",)]["size_bytes"], 25000, "size")
    check("a,b" in u.troot("store", "df"), "the table")
    u.troot("rm", "c", "a")
    df = json.loads(u.troot("store", "df", "--json"))
    equal((sorted(one["worlds"] for one in df["layers"]), df["freeable_bytes"]), ([[], ["b"]], 25000), "after rm")
    removed = json.loads(u.troot("store", "prune", "--json"))
    equal((removed["removed"], removed["freed_bytes"]), ([told_by[("c",)]["id"]], 25000), "what prune removes")
    equal(layers(u), [told_by[("a", "b")]["id"]], "what prune leaves")
    # What a world that cannot be read needs is not known.
    with open(f"{u.store}/worlds/b/world.json", "a", encoding="utf-8") as file:
        file.write("x")
    u.refused(1, "store", "prune", says=["worlds/b/world.json"])
    equal(len(layers(u)), 1, "layers")
    u.troot("rm", "--force", "b")
    check("1 layers removed" in u.troot("store", "prune"), "prune after rm")
    equal(left(u), [], "what is left")


SEEN = "ls /srv; cat /srv/file /srv/name /srv/added; stat -c %a /srv /srv/file"
WANTED = "added\nfifo\nfile\nname\nnobody\nsetuid\nsymlink\nchanged\ntext\nnew\n755\n600\n"


@case("an image of several layers, as a layout, a tar of one and docker's tar", ids=EVERY)
def image(u):
    tars = three_layers()
    layout = Layout().image("v1", *tars)
    u.world("a", "--from", "oci:" + layout.write(u.home + "/image"))
    equal(u.shell("a", SEEN), WANTED, "what the image shows")
    equal(len(layers(u)), 3, "layers")
    equal([f"sha256:{one}" for one in u.status("a")["layers"]], [digest(tars[3]), digest(tars[2]), digest(tars[0])], "their order")
    layout.image("v2", tars[0])
    layout.write(u.home + "/image")
    u.refused(1, "create", "b", "--from", f"oci:{u.home}/image:v3", says=["v3", "v1"])
    u.world("b", "--from", f"oci:{u.home}/image:v2")
    equal(u.shell("b", "cat /srv/file /srv/secret"), "text\nx", "the other image")
    saved = put(u, "saved.tar", layout.tar())
    u.world("c", "--from", f"oci-archive:{saved}:v1")
    one = Layout().image("only", *tars)
    u.world("d", "--from", put(u, "one.tar", one.tar()))
    u.world("e", "--from", put(u, "one.tgz", gzip.compress(one.tar(), 1)))
    code, _, err = u.run("sh", "-c", f"troot create f --from oci-archive:- < {u.home}/one.tar")
    equal(code, 0, f"status of create from a pipe ({err})")
    config = json.dumps({"rootfs": {"type": "layers", "diff_ids": [digest(tar) for tar in tars]}}).encode()
    name = digest(config)[7:] + ".json"
    docker = Archive().add(name, data=config)
    for number, tar in enumerate(tars):
        docker.add(f"{number}/layer.tar", data=tar)
    said = [{"Config": name, "RepoTags": ["x:latest"], "Layers": [f"{n}/layer.tar" for n in range(len(tars))]}]
    docker.add("manifest.json", data=json.dumps(said).encode())
    u.world("g", "--from", put(u, "docker.tar", docker.end()))
    for world in "cdefg":
        equal(u.shell(world, SEEN), WANTED, f"what {world} shows")
    equal(len(layers(u)), 3, "layers of all of them")
    out = exported(u, "a", "--compress", "none")
    u.world("flat", "--from", put(u, "flat.tar", out))
    equal(u.shell("flat", SEEN), WANTED, "an export of all that it shows")


@case("the root directory is that of the topmost layer that has one", ids=EVERY)
def root_directory(u):
    u.world("w", "--from", "oci:" + Layout().image("v1", *closed_root()).write(u.home + "/image"))
    objects, _ = told(exported(u, "w", "--compress", "none"))
    equal(objects["."][1:5], (7, 8, 0o750, LONG_AGO), "owner, mode and time of the root")


@case("an image that is damaged is refused, and leaves none of its layers", ids=("one", "root"))
def bad_image(u):
    tars = three_layers()
    for what, spoil in (("a wrong digest", lambda tar: tar[:-1] + b"x"), ("a cut file", lambda tar: tar[:len(tar) // 2])):
        layout = Layout().image("v1", *tars)
        path = [p for p, data in layout.files.items() if data == gzip.compress(tars[2], 1, mtime=0)][0]
        layout.files[path] = spoil(layout.files[path])
        u.refused(1, "create", "w", "--from", "oci:" + layout.write(f"{u.home}/{len(what)}"), says=[path.split("/")[-1]])
        equal(left(u), [], f"what {what} leaves")
    lying = Layout().image("v1", tars[0])
    manifest = [p for p, data in lying.files.items() if b"layers" in data and b"config.v1" in data][0]
    lying.files[manifest] = lying.files[manifest].replace(b"layer.v1", b"layer.v9")
    u.refused(1, "create", "w", "--from", "oci:" + lying.write(u.home + "/lying"), says=[manifest.split("/")[-1]])
    outside = Layout().image("v1", tars[0], Archive().add("srv/.wh...").end())
    u.refused(1, "create", "w", "--from", "oci:" + outside.write(u.home + "/outside"), says=["srv/.wh..."])
    equal(left(u), [], "what a whiteout of .. leaves")


@case("a world as an image is all that it shows, and the same bytes each time", ids=EVERY)
def as_image(u):
    u.world("W", "--from", "oci:" + Layout().image("v1", *three_layers()).write(u.home + "/image"))
    out = exported(u, "W", "--format", "oci")
    equal(exported(u, "W", "--format", "oci"), out, "a second export")
    equal([n for n in layers(u) if n.startswith(".")], [], "what an export leaves in the store")
    saved = put(u, "saved.tar", out)
    u.world("again", "--from", f"oci-archive:{saved}:w")
    equal(exported(u, "again", "--compress", "none"), exported(u, "W", "--compress", "none"), "the tree of a world of the image")
    u.world("plain", "--from", saved)
    equal(u.shell("plain", SEEN), WANTED, "what a world of it shows")


@case("podman and skopeo take a world as an image, and podman's is taken", ids=("root", "one"), seconds=300)
def others(u):
    if os.getuid() != 0 or not shutil.which("podman") or not shutil.which("skopeo"):
        raise Skip("needs root, podman and skopeo")
    u.world("w", "--from", "oci:" + Layout().image("v1", *three_layers()).write(u.home + "/image"))
    plain = exported(u, "w", "--compress", "none")
    saved = put(u, "saved.tar", exported(u, "w", "--format", "oci"))
    check(json.loads(tool("skopeo", "inspect", f"oci-archive:{saved}"))["Layers"], "skopeo sees no layers")
    tool("skopeo", "copy", "--insecure-policy", f"oci-archive:{saved}", f"dir:{u.home}/copied")
    podman = ("podman", "--root", u.home + "/podman", "--runroot", u.home + "/podman-run", "--storage-driver", "vfs",
              "--cgroup-manager", "cgroupfs", "--events-backend", "file")
    try:
        tool(*podman, "load", "-i", saved)
        for kind in ("docker-archive", "oci-archive"):
            back = f"{u.home}/{kind}.tar"
            tool(*podman, "save", "--format", kind, "-o", back, "w")
            os.chmod(back, 0o644)
            u.world(kind, "--from", back)
            equal(told(exported(u, kind, "--compress", "none")), told(plain), f"what came back by {kind}")
    finally:
        shutil.rmtree(u.home + "/podman", ignore_errors=True)


@case("a world of a directory is exported without what is mounted over it")
def of_directory(u):
    base = u.home + "/base"
    for name in ("dev/null", "etc/conf", "proc/1", "tmp/x", "srv/tmp/kept"):
        os.makedirs(os.path.dirname(f"{base}/{name}"), exist_ok=True)
        with open(f"{base}/{name}", "w", encoding="utf-8") as file:
            file.write(name)
    u.world("w", "--from", base)
    objects, _ = told(exported(u, "w", "--compress", "none"))
    equal(sorted(objects), [".", "dev", "etc", "etc/conf", "proc", "srv", "srv/tmp", "srv/tmp/kept", "tmp"], "names")
    equal((objects["etc/conf"][5], objects["srv/tmp/kept"][5]), (b"etc/conf", b"srv/tmp/kept"), "content")


@case("doctor tells of layers that no world has")
def doctor(u):
    u.world("w", "--from", put(u, "a.tar", Archive().directory("d").end()))
    u.troot("rm", "w")
    code, out, _ = u.run("troot", "doctor", "--json")
    check(code in (0, 1), f"status of doctor: {code}")
    found = [one for one in json.loads(out) if one["what"] == "store layers"]
    equal([(one["verdict"], one["cure"]) for one in found], [("warn", "troot store prune")], "what doctor says")


@case("an export that is killed leaves no file, and the next command sweeps the store")
def killed_export(u):
    big = Archive().directory("d")
    for number in range(40):
        big.add(f"d/{number}", data=os.urandom(MIB))
    u.world("w", "--from", put(u, "big.tar", big.end()))
    child = u.popen("troot", "export", "w", "--format", "oci", "-o", u.home + "/data/out.tar")
    wait_until(lambda: len(layers(u)) == 2 or child.poll() is not None, "the layout begins")
    os.kill(child.pid, signal.SIGKILL)
    child.wait(20)
    u.troot("list")
    equal(len(layers(u)), 1, "layers")
    check(set(os.listdir(u.home + "/data")) <= {"troot", "out.tar"}, f"left: {os.listdir(u.home + '/data')}")
    check(not os.path.exists(u.home + "/data/out.tar"), "half an export")
    u.troot("export", "w", "-o", u.home + "/data/out.tar")


if __name__ == "__main__":
    programs()  # once for all cases, which are processes that begin with what is known here
    main()
