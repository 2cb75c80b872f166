#!/usr/bin/env python3
"""`troot import`: an archive becomes a new world, or takes the place of what a world was made of that nobody has used."""
import os

from archives import Archive, Layout, bootable, furnished, layers, programs, put, three_layers
from bed import MIB, case, check, equal, main, wait_until

EVERY = ("one", "range", "root")


@case("import makes a world, or gives one that nobody has used its content", ids=EVERY)
def imported(u):
    says = {"Cmd": ["/bin/sh", "-c", "echo hello"]}
    from_image = "oci:" + Layout().image("v1", *three_layers(), config=says).write(u.home + "/image")
    u.troot("import", "a", from_image, "--limit", "30M", "--inodes", "5000")
    status = u.status("a")
    equal((status["limit_bytes"], status["limit_inodes"], len(status["layers"])), (30 * MIB, 5000, 3), "a new world")
    equal(u.troot("exec", "a", "cat", "/srv/file"), "changed\n", "what it shows")
    base = u.home + "/base"
    os.makedirs(base + "/bin")
    u.world("b", "--from", base, "--limit", "20M", "--share-tmp")
    u.troot("import", "b", from_image)
    status = u.status("b")
    equal((status["limit_bytes"], status["base"], len(status["layers"])), (20 * MIB, "", 3), "a world that was there")
    equal(u.troot("run", "--in", "b"), "hello\n", "what its image says")
    equal([n for n in os.listdir(u.store + "/worlds") if n.startswith(".")], [], "what is left of it before")
    u.world("c", "--limit", "10M", "--inodes", "700")
    u.troot("import", "c", put(u, "root.tar", furnished(bootable()).end()), "--limit", "40M")
    status = u.status("c")
    equal((status["limit_bytes"], status["limit_inodes"]), (40 * MIB, 700), "a limit that was said goes before")
    check(not os.path.exists(f"{u.store}/worlds/c/image.json"), "a tar is no image")
    equal(u.shell("c", "cat /srv/file"), "text\n", "what it shows")


@case("import into a world that runs or has changes, and of what is no archive, is refused", ids=("one", "root"))
def import_refused(u):
    tar = put(u, "root.tar", furnished(bootable()).end())
    u.world("w", "--from", tar)
    u.shell("w", "echo mine > /srv/mine")
    u.refused(1, "import", "w", tar, says=["'w'", "changes", "troot rm w"])
    child = u.popen("troot", "exec", "w", "sleep", "60")
    wait_until(lambda: u.status("w")["sessions"] == 1, "the session")
    u.refused(1, "import", "w", tar, says=["running", "troot stop w"])
    u.troot("stop", "w")
    child.wait(20)
    equal(u.shell("w", "cat /srv/mine"), "mine\n", "its changes")
    u.refused(2, "import", "x", u.home, says=[u.home, "create x --from"])
    u.refused(2, "import", "x", "/absent.tar", says=["/absent.tar"])
    u.refused(2, "import", "x", tar, "--limit", "none at all", says=["limit"])
    bad = put(u, "bad.tar", Archive().add("../out").end())
    u.world("fresh", "--from", tar)
    u.refused(1, "import", "fresh", bad, says=["../out"])
    equal(u.shell("fresh", "cat /srv/file"), "text\n", "a world whose import was refused")
    u.refused(1, "import", "y", bad, says=["../out"])
    equal((u.troot("list", "-q").split(), len(layers(u))), (["fresh", "w"], 1), "worlds and layers")


if __name__ == "__main__":
    programs()  # once for all cases
    main()
