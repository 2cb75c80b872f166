#!/usr/bin/env python3
"""A world as an image: the layers that it was made of are the same ones, what it changed is one more, what the image
says comes back, and others take it."""
import gzip
import io
import json
import os
import shutil
import tarfile

from archives import (LONG_AGO, Archive, Layout, bootable, closed_root, digest, exported, furnished, layers, programs, put,
                      three_layers, told, tool)
from bed import Skip, case, check, equal, main

EVERY = ("one", "range", "root")
SAYS = {"Env": ["PATH=/bin", "A=b"], "Entrypoint": ["/bin/sh"], "Cmd": ["-c", "true"], "WorkingDir": "/srv", "User": "0",
        "Labels": {"k": "v"}, "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/data": {}}, "StopSignal": "SIGINT"}
HISTORY = [{"created_by": "first"}, {"created_by": "said", "empty_layer": True}, {"created_by": "second"}]


def read(data):
    """(configuration, layers' tars) of an image in a tar."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        files = {entry.name: tar.extractfile(entry).read() for entry in tar if entry.isreg()}
    blob = lambda said: files["blobs/sha256/" + said["digest"][7:]]
    manifest = json.loads(blob(json.loads(files["index.json"])["manifests"][0]))
    tars = [gzip.decompress(blob(layer)) for layer in manifest["layers"]]
    config = json.loads(blob(manifest["config"]))
    equal(config["rootfs"]["diff_ids"], [digest(tar) for tar in tars], "diff_ids")
    return config, tars


def odd_tars():
    """Layers that nobody but their own maker would write so: GNU's format, holes, unordered names, owners' names, data
    behind the end."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in (("z/" + "long" * 40, b"long"), ("a", b"a" * 1000), ("m/n", b""), ("m/o", b"o" * 600_000)):
            entry = tarfile.TarInfo(name)
            entry.size, entry.uname, entry.gname, entry.mtime, entry.mode = len(data), "somebody", "users", LONG_AGO, 0o604
            tar.addfile(entry, io.BytesIO(data))
    holes = b"1\n1048576\n3\n".ljust(512, b"\0") + b"abc"
    sparse = Archive().add("holes", data=holes, pax={"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "holes",
                                                     "GNU.sparse.realsize": "2000000"})
    sparse.add("pax", data=b"p" * 5, pax={"SCHILY.xattr.user.mark": "kept", "mtime": "1234567890.25"})
    return raw.getvalue(), sparse.end() + b"\0" * 10240, three_layers()[2]


@case("the layers that a world was made of are exported as they came, with what their image says", ids=EVERY)
def same_layers(u):
    tars = (three_layers()[0], *odd_tars())
    history = HISTORY + [{"created_by": "third"}, {"created_by": "fourth"}]
    layout = Layout().image("v1", *tars, config=SAYS, history=history, author="me")
    u.world("w", "--from", "oci:" + layout.write(u.home + "/image"))
    config, out = read(exported(u, "w", "--format", "oci"))
    equal([digest(tar) for tar in out], [digest(tar) for tar in tars], "layers of a world without changes")
    equal((config["config"], config["history"], config["author"]), (SAYS, history, "me"), "what the image says")
    u.shell("w", "echo new > /srv/new; rm /srv/added")
    data = exported(u, "w", "--format", "oci")
    equal(exported(u, "w", "--format", "oci"), data, "a second export")
    config, out = read(data)
    equal([digest(tar) for tar in out[:-1]], [digest(tar) for tar in tars], "layers")
    objects, _ = told(out[-1])
    check({"srv/new", "srv/.wh.added"} <= objects.keys(), f"what was changed: {sorted(objects)}")
    check(not any(name.startswith(("bin", "z", ".troot")) for name in objects), f"more than was changed: {sorted(objects)}")
    equal(config["history"], history + [{"created_by": "troot export"}], "history")
    u.world("again", "--from", put(u, "saved.tar", data))
    equal(told(exported(u, "again", "--compress", "none")), told(exported(u, "w", "--compress", "none")), "the tree")
    equal(len(layers(u)), 5, "layers of both worlds")
    config, out = read(exported(u, "again", "--format", "oci"))
    equal([digest(tar) for tar in out], [digest(tar) for tar in read(data)[1]], "layers of one made of the export")


@case("a layer that comes twice, and one that hides all below it", ids=("one", "root"))
def stacked(u):
    tars = three_layers()
    u.world("w", "--from", "oci:" + Layout().image("v1", *tars, config=SAYS).write(u.home + "/image"))
    equal([digest(tar) for tar in read(exported(u, "w", "--format", "oci"))[1]], [digest(tar) for tar in tars], "layers")
    hiding = (tars[0], Archive().add(".wh..wh..opq").directory("srv").end())
    u.world("x", "--from", "oci:" + Layout().image("v1", *hiding, config=SAYS).write(u.home + "/hiding"))
    u.troot("rm", "w")
    data = exported(u, "x", "--format", "oci")
    equal([digest(tar) for tar in read(data)[1]], [digest(tar) for tar in hiding], "layers")
    u.troot("store", "prune")
    config, out = read(exported(u, "x", "--format", "oci"))
    equal(([digest(tar) for tar in out], config["config"]), ([digest(hiding[1])], SAYS), "what the world itself refers to")
    closed = closed_root()
    u.world("y", "--from", "oci:" + Layout().image("v1", *closed, config=SAYS).write(u.home + "/closed"))
    equal([digest(tar) for tar in read(exported(u, "y", "--format", "oci"))[1]], [digest(tar) for tar in closed], "layers")


CHANGES = """cd /srv && echo more >> name && rm secret fifo && mv closed open && chmod 4711 setuid && mkdir deep deep/er
mv /opt/lib /opt/moved; chmod 700 /opt/kept; rm -r /opt/gone; echo x > /opt/gone; rm /opt/file; mkdir /opt/file; echo y > /opt/file/in
rm -r /opt/again; mkdir /opt/again; echo z > /opt/again/z; ln /opt/one /srv/deep/er/one; ln -s two /srv/link; touch -d 2001-01-01 /opt/kept
echo x >> /opt/far/a"""


def rich():
    archive = furnished(bootable()).directory("opt")
    for name in ("lib", "kept", "gone", "again", "far", "other"):
        archive.directory(f"opt/{name}", mode=0o751, owner=(7, 8)).add(f"opt/{name}/a", data=name.encode() * 100, owner=(7, 8))
    archive.add("opt/other/b", tarfile.LNKTYPE, link="opt/far/a")
    return archive.add("opt/file", data=b"file").add("opt/one", data=b"one").end()


@case("what a world changed is one layer, whatever part of it lies below", ids=EVERY)
def changes(u):
    base = rich()
    u.world("w", "--from", "oci:" + Layout().image("v1", base, config=SAYS).write(u.home + "/image"))
    u.shell("w", CHANGES)
    data = exported(u, "w", "--format", "oci")
    _, out = read(data)
    equal((len(out), digest(out[0])), (2, digest(base)), "layers")
    objects, links = told(out[1])
    for name in ("srv/open/.wh..wh..opq", "srv/.wh.closed", "opt/moved/.wh..wh..opq", "opt/.wh.lib", "opt/again/.wh..wh..opq",
                 "srv/.wh.secret", "opt/other/b", "opt/kept"):
        check(name in objects, f"{name} is not in {sorted(objects)}")
    check("opt/kept/a" not in objects and "opt/other/a" not in objects, f"more than was changed: {sorted(objects)}")
    equal((objects["srv/open/in"][5], objects["srv/setuid"][3], objects["opt/kept"][3], objects["opt/other"][1:4]),
          (b"in\n", 0o4711, 0o700, (7, 8, 0o751)), "what lies below")
    check(["opt/far/a", "opt/other/b"] in links and ["srv/file", "srv/name"] in links, f"other names: {links}")
    u.world("again", "--from", put(u, "saved.tar", data))
    equal(told(exported(u, "again", "--compress", "none")), told(exported(u, "w", "--compress", "none")), "the tree")
    squashed = exported(u, "w", "--format", "oci", "--squash")
    equal(exported(u, "w", "--format", "oci", "--squash"), squashed, "a second export")
    config, out = read(squashed)
    equal((len(out), config["config"], config["history"]), (1, SAYS, [{"created_by": "troot export --squash"}]), "--squash")
    equal(told(out[0]), told(exported(u, "w", "--compress", "none")), "the tree of --squash")
    u.shell("w", "echo x > /srv/.wh.odd")
    for words in ((), ("--squash",)):
        u.refused(1, "export", "w", "--format", "oci", *words, "-o", u.home + "/data/x.tar", says=["srv/.wh.odd"])
    u.refused(2, "export", "w", "--squash", "-o", u.home + "/data/x.tar", says=["--squash"])
    check(not os.path.exists(u.home + "/data/x.tar"), "a refused export leaves a file")


@case("a world of a tar is that layer and its changes, and one of a directory is one layer", ids=EVERY)
def of_tar(u):
    tar = furnished(bootable()).end()
    u.world("w", "--from", put(u, "root.tar", tar))
    config, out = read(exported(u, "w", "--format", "oci"))
    equal(([digest(one) for one in out], config["config"]["Cmd"]), ([digest(tar)], ["/bin/sh"]), "a world without changes")
    u.shell("w", "echo new > /srv/new")
    config, out = read(exported(u, "w", "--format", "oci"))
    equal((len(out), digest(out[0]), len(config["history"])), (2, digest(tar), 2), "a world with changes")
    os.makedirs(u.home + "/base/etc")
    u.world("d", "--from", u.home + "/base")
    equal(len(read(exported(u, "d", "--format", "oci"))[1]), 1, "a world of a directory")


@case("a layer that cannot be made again is told, and all becomes one layer", ids=("one", "root"))
def not_again(u):
    tars = three_layers()
    u.world("w", "--from", "oci:" + Layout().image("v1", *tars, config=SAYS).write(u.home + "/image"))
    place = f"{u.store}/layers/{digest(tars[0])[7:]}"
    whole = told(exported(u, "w", "--compress", "none"))
    with open(place + "/frame", "rb") as file:
        frame = file.read()

    def squashed(what, word):
        code, _, err = u.run("troot", "export", "w", "--format", "oci", "-o", u.home + "/data/out.tar")
        equal(code, 0, f"status with {what} ({err})")
        check(err.count("\n") == 1 and "one layer" in err and word in err, f"what is said of {what}: {err!r}")
        with open(u.home + "/data/out.tar", "rb") as file:
            config, out = read(file.read())
        equal((len(out), config["config"], told(out[0])), (1, SAYS, whole), f"the image with {what}")

    for what, bad in (("a cut frame", frame[:len(frame) // 2]), ("an edited one", frame[:200] + b"x" + frame[201:]), ("none", None)):
        os.unlink(place + "/frame")
        if bad is not None:
            with open(place + "/frame", "wb") as file:
                file.write(bad)
        squashed(what, place if bad is not None else digest(tars[0])[7:])
    with open(place + "/frame", "wb") as file:
        file.write(frame)
    check(len(read(exported(u, "w", "--format", "oci"))[1]) == 4, "the frame is back")
    with open(place + "/tree/etc/passwd", "r+b") as file:
        file.write(b"R")
    whole = told(exported(u, "w", "--compress", "none"))
    squashed("a file that was changed", "changed in the store")


def podman(u, *words):
    return tool("podman", "--root", u.home + "/podman", "--runroot", u.home + "/podman-run", "--storage-driver", "vfs",
                "--cgroup-manager", "cgroupfs", "--events-backend", "file", *words)


def buildah(u, *words):
    return tool("buildah", "--root", u.home + "/podman", "--runroot", u.home + "/podman-run", "--storage-driver", "vfs",
                *words).decode().strip()


def built(u):
    """A saved image of three layers that buildah made: deletes, a replaced directory, hard links, set-id, xattrs."""
    root = u.home + "/rootfs.tar"
    with open(root, "wb") as file:
        file.write(rich())
    # One of its own at each step, so that there are layers.
    steps = ((("opt/new/x", b"x" * 70000), ("opt/file", b"changed")), (("opt/new/y", b"y"),))
    box = buildah(u, "from", "scratch")
    buildah(u, "add", box, root, "/")
    buildah(u, "config", "--env", "A=b", "--entrypoint", '["/bin/sh","-c"]', "--cmd", "true", "--workingdir", "/srv", "--label", "k=v",
            "--port", "80/tcp", "--user", "root", box)
    image = buildah(u, "commit", "-q", box, "one")
    for number, files in enumerate(steps):
        box = buildah(u, "from", image)
        mount = buildah(u, "mount", box)
        for name, data in files:
            os.makedirs(os.path.dirname(f"{mount}/{name}"), exist_ok=True)
            with open(f"{mount}/{name}", "wb") as file:
                file.write(data)
        if number == 0:
            shutil.rmtree(mount + "/opt/gone")
            shutil.rmtree(mount + "/opt/again")
            os.mkdir(mount + "/opt/again")
            os.link(mount + "/opt/new/x", mount + "/opt/new/link")
            os.chmod(mount + "/opt/new/x", 0o6755)
            os.setxattr(mount + "/opt/new/x", "user.mark", b"kept")
        buildah(u, "umount", box)
        image = buildah(u, "commit", "-q", box, f"step{number}")
    return image


@case("buildah's layers come through a world unchanged, and podman and skopeo take the image", ids=("one", "root"), seconds=400)
def others(u):
    if os.getuid() != 0 or not all(map(shutil.which, ("podman", "buildah", "skopeo"))):
        raise Skip("needs root, podman, buildah and skopeo")
    try:
        image = built(u)
        for kind in ("oci-archive", "docker-archive"):
            saved = f"{u.home}/{kind}.tar"
            podman(u, "save", "-q", "--format", kind, "-o", saved, image)
            os.chmod(saved, 0o644)
            u.world(kind, "--from", saved)
        ids = json.loads(podman(u, "inspect", image))[0]["RootFS"]["Layers"]
        equal(len(ids), 3, "layers of the image")
        for kind in ("oci-archive", "docker-archive"):
            config, out = read(exported(u, kind, "--format", "oci"))
            equal([digest(tar) for tar in out], ids, f"layers of {kind}")
        equal((config["config"]["Labels"]["k"], list(config["config"]["ExposedPorts"])), ("v", ["80/tcp"]), "what the image says")
        u.shell("oci-archive", CHANGES.replace("rm -r /opt/gone; ", "").replace("rm -r /opt/again; mkdir", "mkdir -p"))
        out = put(u, "out.tar", exported(u, "oci-archive", "--format", "oci"))
        tool("skopeo", "copy", "--insecure-policy", f"oci-archive:{out}", f"dir:{u.home}/copied")
        os.mkdir(u.home + "/layout")
        tool("tar", "-xf", out, "-C", u.home + "/layout")
        equal(len(json.loads(tool("skopeo", "inspect", f"oci:{u.home}/layout"))["Layers"]), 4, "layers that skopeo sees")
        tool("skopeo", "copy", "--insecure-policy", f"oci:{u.home}/layout", f"dir:{u.home}/copied2")
        podman(u, "load", "-q", "-i", out)
        back = json.loads(podman(u, "inspect", "localhost/oci-archive"))[0]
        equal((back["RootFS"]["Layers"][:3], back["Config"]["Entrypoint"], back["Config"]["WorkingDir"]),
              (ids, ["/bin/sh", "-c"], "/srv"), "what podman has of it")
        podman(u, "save", "-q", "--format", "docker-archive", "-o", u.home + "/back.tar", "localhost/oci-archive")
        os.chmod(u.home + "/back.tar", 0o644)
        u.world("back", "--from", u.home + "/back.tar")
        equal(told(exported(u, "back", "--compress", "none")), told(exported(u, "oci-archive", "--compress", "none")), "the tree")
    finally:
        for mount in sorted((line.split()[1] for line in open("/proc/mounts", encoding="utf-8") if u.home + "/podman" in line),
                            reverse=True):
            tool("umount", mount)
        shutil.rmtree(u.home + "/podman", ignore_errors=True)


if __name__ == "__main__":
    programs()  # once for all cases
    main()
