#!/usr/bin/env python3
"""A package with a system user, a chown and a setgid file installs in every id mode and is configured
without error; it is there inside only, and the host and the store stay clean."""
import os
import shutil
import stat

from bed import MIB, Skip, case, check, equal, host_state, host_untouched, main
from machine import complete

EVERY = ("one", "range", "root")
NAME = "troot-hello"
HOST = ("/etc", "/usr/bin", "/usr/sbin", "/var/lib/dpkg", "/var/lib/apt")
CONTROL = f"""Package: {NAME}
Version: 1.0
Architecture: all
Maintainer: nobody <nobody@localhost>
Description: a package that does what real ones do
"""
# What the maintainer scripts of cron, at and the like do, and a daemon that policy-rc.d must keep from starting.
POSTINST = f"""#!/bin/sh
set -e
getent group trootd >/dev/null || groupadd --system trootd
getent passwd trootd >/dev/null || useradd --system --gid trootd --home-dir /var/lib/trootd --shell /usr/sbin/nologin trootd
mkdir -p /var/lib/trootd
chown trootd:trootd /var/lib/trootd
chown root:trootd /usr/bin/{NAME}
chmod 2755 /usr/bin/{NAME}
chmod 1730 /var/lib/trootd
mkfifo /var/lib/trootd/fifo
if [ -x /usr/sbin/policy-rc.d ]; then /usr/sbin/policy-rc.d {NAME} start && exit 1 || test $? = 101; fi
"""


def package(directory):
    if not shutil.which("dpkg-deb"):
        raise Skip("no dpkg-deb")
    tree = directory + "/deb"
    for path in ("/DEBIAN", "/usr/bin"):
        os.makedirs(tree + path)
    for path, text, mode in (("/DEBIAN/control", CONTROL, 0o644), ("/DEBIAN/postinst", POSTINST, 0o755),
                             (f"/usr/bin/{NAME}", "#!/bin/sh\necho hello\n", 0o755)):
        with open(tree + path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(tree + path, mode)
    deb = f"{directory}/{NAME}.deb"
    complete(["dpkg-deb", "--root-owner-group", "--build", tree, deb], 60, check=True, capture_output=True)
    os.chmod(deb, 0o644)
    return deb


def store_is_harmless(u, world):
    """Nothing in the store gives another user of the host anything; a store of root's is closed by its directory."""
    equal(stat.S_IMODE(os.stat(u.store).st_mode), 0o700, "mode of the store")
    if u.mode == "root":
        return
    for directory, directories, files in os.walk(u.upper(world)):
        for name in directories + files:
            path = os.path.join(directory, name)
            status = os.lstat(path)
            equal(status.st_uid, u.uid, f"owner of {path}")
            equal(stat.S_IMODE(status.st_mode) & 0o7000, 0, f"setuid, setgid and sticky bits of {path}")
            if stat.S_ISCHR(status.st_mode):
                equal(status.st_rdev, 0, f"device number of {path}")
            else:
                check(stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode) or stat.S_ISLNK(status.st_mode),
                      f"{path} is of a special kind")
            if not stat.S_ISLNK(status.st_mode):
                for key in os.listxattr(path):
                    check(key.startswith("user."), f"{path} has {key}")


def installed_inside(u, world):
    equal(u.troot("exec", world, NAME), "hello\n", "the program")
    equal(u.shell(world, f"dpkg-query -W -f='${{db:Status-Status}}' {NAME}"), "installed", "its state")
    equal(u.shell(world, f"stat -c %A /usr/bin/{NAME} /var/lib/trootd"), "-rwxr-sr-x\ndrwx-wx--T\n", "modes")
    equal(u.shell(world, "stat -c %F /var/lib/trootd/fifo"), "fifo\n", "the fifo")
    owners = u.shell(world, f"stat -c %U:%G /usr/bin/{NAME} /var/lib/trootd").split()
    equal(owners, ["root:root"] * 2 if u.mode == "one" else ["root:trootd", "trootd:trootd"], "owners")
    u.shell(world, "getent passwd trootd && getent shadow trootd && getent group trootd")


@case("dpkg -i of a package with a system user, a chown and a setgid file", ids=EVERY, seconds=300)
def dpkg(u):
    deb = package(u.home)
    before = host_state(*HOST)
    u.world("w", "--limit", "300M")
    u.troot("exec", "w", "--", "dpkg", "-i", deb, seconds=200)
    installed_inside(u, "w")
    check(not os.path.exists(f"/usr/bin/{NAME}"), "the program is on the host")
    host_untouched(u, "w", before, *HOST, marks=(NAME, "trootd"))
    store_is_harmless(u, "w")
    check(0 < u.status("w")["used_bytes"] < 300 * MIB, "used")
    u.troot("exec", "w", "--", "dpkg", "-P", NAME, seconds=200)
    u.shell("w", f"test ! -e /usr/bin/{NAME}")


@case("apt-get installs it from a file, as it would from an archive", ids=EVERY, seconds=300)
def apt(u):
    if not shutil.which("apt-get"):
        raise Skip("no apt-get")
    deb = package(u.home)
    before = host_state(*HOST)
    u.world("w", "--limit", "300M")
    u.troot("exec", "w", "--", "apt-get", "install", "-y", "-q", "--no-install-recommends", deb, seconds=250)
    installed_inside(u, "w")
    host_untouched(u, "w", before, *HOST, marks=(NAME, "trootd"))
    store_is_harmless(u, "w")


@case("modes, owners and special files inside leave nothing behind on disk", ids=("one", "range"))
def harmless(u):
    u.world("w")
    u.shell("w", "cd /srv && cp /bin/true s && chmod 6755 s && mkdir d && chmod 3777 d && mkfifo p && "
                 "rm -r /usr/share/doc/b* 2>/dev/null; chmod 000 /etc/hostname; chown 1:1 s; mknod n c 1 3; ln -s x y; "
                 "setcap cap_net_raw+ep s 2>/dev/null; setfacl -m u:1:rwx d 2>/dev/null; true")
    store_is_harmless(u, "w")


if __name__ == "__main__":
    main()
