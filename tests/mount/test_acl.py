#!/usr/bin/env python3
"""POSIX ACLs on the mount: enforced, inherited, kept by the tools that copy them, as on ext4."""
import errno
import os
import shutil

from harness import Skip, case, drop_to, equal, in_process, main, names, read, refused, run, write

FRIEND, STRANGER = 12345, 12346


def acl(path):
    """What getfacl says, without the comment lines, ids as numbers."""
    return run("getfacl", "--absolute-names", "--omit-header", "--numeric", path).stdout.split()


def setfacl(*arguments):
    run("setfacl", *arguments)


def lower_with_acl(bed):
    write(bed.in_lower("file"), "lower", 0o640)
    os.mkdir(bed.in_lower("dir"))
    try:
        setfacl("-m", f"u:{FRIEND}:rw", bed.in_lower("file"))
    except Exception as error:
        raise Skip(f"no ACLs below the layers: {error}") from error
    setfacl("-d", "-m", f"u:{FRIEND}:rwx", bed.in_lower("dir"))


def as_user(m, uid, work):
    """`work` below the mount's root by another user, who could not walk down to it."""
    def go():
        os.chdir(m(""))
        drop_to(uid, uid)
        return work()
    return in_process(go)()


def tries(path, flags):
    def work():
        try:
            os.close(os.open(path, flags))
            return 0
        except OSError as error:
            return error.errno
    return work


def enforced(m):
    os.chmod(m(""), 0o755)
    write(m("secret"), "s", 0o600)
    equal(as_user(m, FRIEND, tries("secret", os.O_RDONLY)), errno.EACCES, "before there is an ACL")
    setfacl("-m", f"u:{FRIEND}:r", m("secret"))
    for _ in range(2):
        equal(os.stat(m("secret")).st_mode & 0o777, 0o640, "the mode shows the mask")
        equal(as_user(m, FRIEND, tries("secret", os.O_RDONLY)), 0, "reading by the named user")
        equal(as_user(m, FRIEND, tries("secret", os.O_RDWR)), errno.EACCES, "writing by the named user")
        equal(as_user(m, STRANGER, tries("secret", os.O_RDONLY)), errno.EACCES, "reading by another")
        m.remount(*m.options)
    os.chmod(m("secret"), 0o600)
    equal(as_user(m, FRIEND, tries("secret", os.O_RDONLY)), errno.EACCES, "after chmod took the mask away")
    os.chmod(m("secret"), 0o660)
    equal(as_user(m, FRIEND, tries("secret", os.O_RDWR)), errno.EACCES, "the entry itself still says r")
    setfacl("-b", m("secret"))
    equal(as_user(m, FRIEND, tries("secret", os.O_RDONLY)), errno.EACCES, "without the ACL")


@case("an ACL is enforced", modes=("root",))
def enforced_native(m):
    enforced(m)


@case("an ACL is enforced where ownership is presented", modes=("root",), options=("ownership=presented",), on=("trootfs",))
def enforced_presented(m):
    enforced(m)
    equal([n for n in os.listxattr(m.in_upper("secret")) if n.startswith("system.")], [], "ACLs that act on the host")


@case("a default ACL is inherited and takes the umask's place")
def inherited(m):
    os.mkdir(m("dir"))
    setfacl("-d", "-m", f"u:{FRIEND}:rwx", m("dir"))
    before = os.umask(0o077)
    try:
        write(m("dir/file"), "x")
        os.mkdir(m("dir/sub"))
        write(m("dir/sub/deep"), "x")
        write(m("plain"), "x")
    finally:
        os.umask(before)
    for _ in range(2):
        equal(acl(m("dir/file")), ["user::rw-", f"user:{FRIEND}:rwx", "#effective:rw-", "group::r-x", "#effective:r--",
                                   "mask::rw-", "other::r--"], "of a file")
        equal(acl(m("dir/sub"))[-5:], ["default:user::rwx", f"default:user:{FRIEND}:rwx", "default:group::r-x",
                                       "default:mask::rwx", "default:other::r-x"], "of a directory")
        equal(os.stat(m("dir/sub/deep")).st_mode & 0o777, 0o664, "the mode of a file further down")
        equal(os.stat(m("plain")).st_mode & 0o777, 0o600, "the mode where there is no default ACL")
        m.remount(*m.options)


@case("the umask is taken off what is made", modes=("user", "root"))
def umask(m):
    before = os.umask(0o027)
    try:
        os.mkdir(m("dir"), 0o777)
        os.mkfifo(m("fifo"), 0o666)
        os.close(os.open(m("file"), os.O_CREAT | os.O_WRONLY, 0o666))
        descriptor = os.open(m(""), os.O_TMPFILE | os.O_RDWR, 0o666)
        equal(os.fstat(descriptor).st_mode & 0o777, 0o640, "an unnamed file")
        os.close(descriptor)
    finally:
        os.umask(before)
    equal([os.stat(m(n)).st_mode & 0o777 for n in ("dir", "fifo", "file")], [0o750, 0o640, 0o640], "modes")


@case("ACLs of a lower layer show and survive copy-up", lower=lower_with_acl, on=("trootfs", "overlay", "native"))
def lower_acl(m):
    wanted = ["user::rw-", f"user:{FRIEND}:rw-", "group::r--", "mask::rw-", "other::---"]
    equal(acl(m("file")), wanted, "of the lower file")
    with open(m("file"), "a") as file:
        file.write("!")
    equal(acl(m("file")), wanted, "after copy-up")
    write(m("dir/new"), "x")
    equal(f"user:{FRIEND}:rwx" in acl(m("dir/new")), True, "inherited from a lower directory")
    m.remount(*m.options)
    equal(acl(m("file")), wanted, "after a remount")
    equal(read(m("file")), b"lower!", "content")


@case("setfacl, getfacl, cp -a, tar --acls and rsync -A keep ACLs")
def tools(m):
    os.makedirs(m("from/sub"))
    write(m("from/a"), "a", 0o640)
    write(m("from/sub/b"), "b")
    setfacl("-m", f"u:{FRIEND}:rw,g:{FRIEND}:r", m("from/a"))
    setfacl("-R", "-d", "-m", f"u:{FRIEND}:rx", m("from"))
    tree = ("", "a", "sub", "sub/b")
    wanted = [acl(m("from", n)) for n in tree]
    run("cp", "-a", m("from"), m("copied"))
    os.mkdir(m("unpacked"))
    run("tar", "--acls", "-C", m("from"), "-cf", m("archive.tar"), ".")
    run("tar", "--acls", "-C", m("unpacked"), "-xpf", m("archive.tar"))
    copies = ["copied", "unpacked"]
    if shutil.which("rsync"):
        run("rsync", "-aA", m("from") + "/", m("synced"))
        copies.append("synced")
    for copy in copies:
        equal([acl(m(copy, n)) for n in tree], wanted, f"ACLs in {copy}")
    setfacl("-R", "-b", m("copied"))
    equal(acl(m("copied/a")), ["user::rw-", "group::r--", "other::---"], "after setfacl -b")
    equal([n for n in os.listxattr(m("copied")) if "acl" in n], [], "xattrs after setfacl -b")
    equal(sorted(n for n in os.listxattr(m("from/a"))), ["system.posix_acl_access"], "as listxattr has it")


@case("what is refused")
def errors(m):
    write(m("file"), "x")
    os.symlink("file", m("link"))
    refused(errno.EACCES, os.setxattr, m("file"), "system.posix_acl_default", bytes.fromhex(
        "02000000 01000700ffffffff 04000500ffffffff 20000500ffffffff"))
    refused(errno.EINVAL, os.setxattr, m("file"), "system.posix_acl_access", bytes.fromhex(
        "02000000 01000700ffffffff"))
    refused(errno.ENODATA, os.getxattr, m("file"), "system.posix_acl_access")
    equal(names(m("")), ["file", "link"], "names")


if __name__ == "__main__":
    main()
