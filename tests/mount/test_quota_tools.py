#!/usr/bin/env python3
"""The quota tools on a mount: setquota, repquota, quota, quotaon and the verbs of troot quota, how they find
the server, and rules of docs that only they can set up (grace, timers, enforcement, parents)."""
import errno
import json
import os
import signal
import time

from harness import (PAGE, case, check, equal, libc_call, main, pattern, read, refused, run, wait_until, write)
from machine import slowness

MIB = 1 << 20
AT_SYMLINK_FOLLOW = 0x400
trootfs = {"on": ("trootfs",)}


def tool(m, *words, status=0, **named):
    """A tool by `troot TOOL …`; its exit code must be `status`."""
    done = run(os.path.join(m.binaries, "troot"), *words, check_status=False, **named)
    equal(done.returncode, status, f"exit code of {' '.join(words)} ({done.stderr.strip()})")
    if status == 0:
        equal(done.stderr, "", f"stderr of {' '.join(words)}")
    return done


def complaint(m, *words, status=1):
    """The one line that a tool says."""
    lines = tool(m, *words, status=status).stderr.splitlines()
    equal(len(lines), 1, f"lines on stderr of {' '.join(words)}: {lines}")
    return lines[0]


def project_directory(m, name, number):
    os.mkdir(m(name))
    run("chattr", "-p", str(number), "+P", m(name))
    return m(name)


def fill(path, size):
    """Writes until it is refused or done; how much went in."""
    done = 0
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
    try:
        while done < size:
            done += os.write(descriptor, pattern(min(65536, size - done)))
    except OSError as error:
        equal(error.errno, errno.EDQUOT, "errno")
    finally:
        os.close(descriptor)
    return done


@case("an administrator's session: chattr, setquota, repquota, quota, df, mv, setquota again", options=["size=200M"], **trootfs)
def session(m):
    project_directory(m, "p", 1001)
    project_directory(m, "q", 1002)
    tool(m, "setquota", "-P", "1001", "8M", "10M", "400", "500", m(""))
    equal(fill(m("p/f"), 20 * MIB), 10 * MIB - PAGE, "what fits beside the directory")
    lines = tool(m, "repquota", "-P", m("")).stdout.splitlines()
    point = m.mnt
    equal(lines[:5], [f"*** Report for project quotas on device {point}",
                      "Block grace time: 7days; Inode grace time: 7days",
                      "                        Block limits                File limits",
                      "Project         used    soft    hard  grace    used  soft  hard  grace", "-" * 70], "head")
    check("#1001     +-   10240    8192   10240  7days       2   400   500       " in lines, f"row: {lines}")
    check("#1002     --       4       0       0              1     0     0       " in lines, f"row: {lines}")
    answer = tool(m, "quota", "-P", "-f", m(""), "1001", status=1).stdout.splitlines()
    equal(answer[0], "Disk quotas for project #1001 (pid 1001): ", "quota's head")
    check(answer[-1].endswith("   10240*   8192   10240   7days       2     400     500        "), f"quota: {answer}")
    size = os.statvfs(m("p"))
    equal((size.f_blocks * size.f_frsize, size.f_bfree), (8 * MIB, 0), "rule 12: df shows the soft limit")
    run("mv", m("p/f"), m("q/f"))
    equal(m.project(1002)["used_bytes"], 10 * MIB, "rule 4: mv copied it")
    wait_until(lambda: m.project(1001)["used_bytes"] == PAGE, 2, "and took it away")
    descriptor = os.open(m("q/f"), os.O_WRONLY | os.O_APPEND)
    os.write(descriptor, b"x" * PAGE)
    tool(m, "setquota", "-P", "1002", "0", "5M", "0", "0", m("q"))
    refused(errno.EDQUOT, os.write, descriptor, b"x" * 2 * PAGE)  # rule 14
    tool(m, "setquota", "-P", "1002", "0", "0", "0", "0", m("q"))
    os.write(descriptor, b"x" * 2 * PAGE)
    os.close(descriptor)


@case("rule 6: grace: crossing soft succeeds, after it growth is refused, shrinking clears it", **trootfs)
def grace(m):
    project_directory(m, "p", 7)
    tool(m, "setquota", "-P", "-t", "1h", "3days", m(""))
    tool(m, "setquota", "-P", "7", "64", "1M", "0", "0", m(""))
    equal(fill(m("p/f"), 128 << 10), 128 << 10, "over soft within grace")
    check(m.project(7)["bytes_timer"] > 0, "the timer runs")
    tool(m, "setquota", "-P", "-T", "7", "1", "unset", m(""))
    time.sleep(2.2)
    equal(fill(m("p/f"), PAGE), 0, "after grace")
    tool(m, "setquota", "-P", "7", "64", "2M", "0", "0", m(""))
    equal(fill(m("p/f"), PAGE), 0, "a raised hard limit does not restart the timer")
    check("none" in tool(m, "repquota", "-P", m("")).stdout, "repquota says that grace is over")
    tool(m, "setquota", "-P", "-T", "7", "1h", "unset", m(""))
    equal(fill(m("p/f"), PAGE), PAGE, "a moved timer lets it grow")
    os.truncate(m("p/f"), 60 << 10)
    equal(m.project(7)["bytes_timer"], 0, "at the soft limit the timer is cleared")
    tool(m, "quota", "set", m(""), "7", "--bgrace", "1", "--igrace", "5")
    equal((m.project(7)["bgrace"], m.project(7)["igrace"]), (1, 5), "a project's own grace")
    fill(m("p/f"), 64 << 10)
    time.sleep(2.2)
    equal(fill(m("p/f"), PAGE), 0, "its own grace ended")
    m.remount()
    equal((m.project(7)["bgrace"], m.project(7)["bsoft"]), (1, 64 << 10), "kept over a remount")


@case("rule 13: enforcement off and on at run time; accounting goes on", **trootfs)
def enforcement(m):
    project_directory(m, "p", 8)
    tool(m, "setquota", "-P", "8", "0", "64", "0", "0", m(""))
    check(tool(m, "quotaon", "-Pp", m(""), status=1).stdout.endswith("is on\n"), "quotaon -p")
    tool(m, "quotaoff", "-P", m(""))
    check(tool(m, "quotaon", "-Pp", m("")).stdout.endswith("is off\n"), "quotaon -p after quotaoff")
    equal(fill(m("p/f"), MIB), MIB, "not held to the limit")
    equal(m.project(8)["used_bytes"], MIB + PAGE, "but accounted")
    check(tool(m, "quotaon", "-Pv", m("")).stdout.endswith("project quotas turned on\n"), "quotaon -v")
    equal(fill(m("p/f"), PAGE), 0, "held again")
    os.unlink(m("p/f"))  # rule 5: never refused


@case("rule 15: --limit bounds the inodes, too, and says so; the stock tools' words do not", options=["size=64M"], **trootfs)
def derived(m):
    def inodes(which):
        row = json.loads(tool(m, "quota", "show", m(""), which, "--json").stdout)["inodes"]
        equal(", hard derived" in tool(m, "quota", "show", m(""), which).stdout, row["derived"], f"show {which}")
        return row["hard"], row["derived"]

    equal(inodes("total"), (16384, True), "size= alone")
    equal(os.statvfs(m("")).f_files, 16384, "df -i")
    os.mkdir(m("d"))
    run(os.path.join(m.binaries, "troot"), "quota", "set", m("d"), "--limit", "8M")
    number = next(p["project"] for p in json.loads(tool(m, "quota", "report", m(""), "--json").stdout)["projects"] if p["project"])
    equal(inodes(str(number)), (2048, True), "quota set DIR --limit")
    equal(os.statvfs(m("d")).f_files, 2048, "df -i of it")
    report = tool(m, "quota", "report", m("")).stdout
    check("16384*" in report and "2048*" in report and "\n* derived" in report, f"report: {report}")
    check("16384*" in tool(m, "quota", "list").stdout, "list")
    tool(m, "quota", "set", m(""), str(number), "--limit", "16M")
    equal(inodes(str(number)), (4096, True), "it follows")
    tool(m, "quota", "set", m(""), str(number), "--inodes", "none")
    tool(m, "quota", "set", m(""), str(number), "--limit", "32M")
    equal(inodes(str(number)), (0, False), "none stays none")
    tool(m, "quota", "set", m(""), str(number), "--inodes", "derived")
    equal(inodes(str(number)), (8192, True), "derived again")
    tool(m, "setquota", "-P", "77", "0", "32M", "0", "0", m(""))
    equal(inodes("77"), (0, False), "setquota: 0 is none")
    tool(m, "quota", "limit", "-p", "bhard=64m", "78", m(""))
    equal(inodes("78"), (0, False), "in xfs_quota's words")
    tool(m, "quota", "set", m(""), "77", "--limit", "16M")
    equal(inodes("77"), (4096, True), "quota set after setquota")
    m.remount()
    equal([inodes(w) for w in ("total", str(number), "77", "78")], [(16384, True), (8192, True), (4096, True), (0, False)],
          "after a remount")
    m.remount("size=32M,inodes=none")
    equal(inodes("total"), (0, False), "inodes=none")
    m.remount("size=48M")
    equal(inodes("total"), (0, False), "and kept")
    m.remount("inodes=derived")
    equal(inodes("total"), (12288, True), "inodes=derived")
    m.remount("inodes=1500")
    equal(inodes("total"), (1500, False), "inodes=N")


@case("a tree of projects: the parent's limit holds for its children", **trootfs)
def tree(m):
    for name, number in (("a", 21), ("b", 22)):
        project_directory(m, name, number)
        tool(m, "quota", "set", m(""), str(number), "--parent", "20")
    tool(m, "quota", "set", m(""), "20", "--bhard", "256K")
    equal(fill(m("a/f"), MIB), (256 << 10) - 2 * PAGE, "beside both directories")
    refused(errno.EDQUOT, os.mkdir, m("b/d"))
    shown = json.loads(tool(m, "quota", "show", m(""), "20", "--json").stdout)
    equal((shown["bytes"]["used"], shown["bytes"]["hard"], shown["failcnt"] > 0), (256 << 10, 256 << 10, True), "parent")
    check("below the project" in complaint(m, "quota", "set", m(""), "20", "--parent", "21"), "a ring is refused")
    check("agree" in tool(m, "quota", "check", m("")).stdout, "check")
    tool(m, "quota", "reset-peak", m(""), "20")
    os.unlink(m("a/f"))
    report = json.loads(tool(m, "quota", "report", m(""), "--json").stdout)
    row = next(p for p in report["projects"] if p["project"] == 21)
    equal((row["parent"], row["bytes"]["used"]), (20, PAGE), "report --json")
    check("agree" in tool(m, "quota", "check", m("")).stdout, "check once more")


@case("xfs_quota's words: limit, report, timer, state, dump and restore, df", **trootfs)
def xfs_words(m):
    project_directory(m, "p", 31)
    tool(m, "quota", "limit", "-p", "bsoft=1m", "bhard=2m", "isoft=3", "ihard=4", "31", m(""))
    line = next(l for l in tool(m, "quota", "report", "-p", "-bi", m("")).stdout.splitlines() if l.startswith("#31"))
    equal(line, "#31                 4       1024       2048     00 [--------]          1          3          4     00 [--------]", "row")
    tool(m, "quota", "timer", "-p", "2days", m(""))
    check("Blocks grace time: [2 days]" in tool(m, "quota", "state", "-p", m("")).stdout, "state")
    dump = tool(m, "quota", "dump", "-p", m("")).stdout
    check(dump.endswith("31            2048    4096       3       4\n"), f"dump: {dump}")
    tool(m, "setquota", "-P", "31", "0", "0", "0", "0", m(""))
    tool(m, "quota", "restore", "-p", "-f", write(m.base + "/dump", dump), m(""))
    equal(m.project(31)["bhard"], 2 * MIB, "restored")
    check(m.mnt in tool(m, "quota", "df", m("")).stdout, "df")


@case("setquota: a prototype, a batch, a name in CSV; bad words each get one line", **trootfs)
def words(m):
    tool(m, "setquota", "-P", "41", "1M", "2M", "3k", "4k", m(""))
    tool(m, "setquota", "-P", "-p", "41", "42", m(""))
    equal((m.project(42)["bhard"], m.project(42)["ihard"]), (2 * MIB, 4000), "the prototype's limits")
    for bad, words_ in (("not an amount", ("-P", "41", "12Q", "0", "0", "0", m(""))),
                        ("does not exist", ("-P", "nosuch", "1", "2", "3", "4", m(""))),
                        ("use -P", ("-u", "root", "1", "2", "3", "4", m(""))),
                        ("not on a mount of trootfs", ("-P", "41", "1", "2", "3", "4", "/proc")),
                        ("too few words", ("-P", "41", "1", "2", m(""))),
                        ("project 0", ("-P", "0", "1", "2", "3", "4", m(""))),
                        ("not an option", ("-P", "-x", m("")))):
        line = complaint(m, "setquota", *words_)
        check(line.startswith("setquota: ") and bad in line, f"{words_}: {line}")
    complaint(m, "setquota", "-P", "41", "1", "2", "3", "4", m.base + "/nowhere", status=2)
    check("41,ok,ok,0,1024,2048,,0,3000,4000," in tool(m, "repquota", "-Pv", "-O", "csv", m("")).stdout, "csv")
    check("<Quota user='#41'>" in tool(m, "repquota", "-Pv", "-O", "xml", m("")).stdout, "xml")


@case("rules 1 and 9: O_TMPFILE is charged, inherits, and can be linked", **trootfs)
def unnamed(m):
    project_directory(m, "p", 51)
    descriptor = os.open(m("p"), os.O_TMPFILE | os.O_RDWR, 0o640)
    os.write(descriptor, pattern(3 * PAGE))
    equal((m.project(51)["used_bytes"], m.project(51)["used_inodes"]), (4 * PAGE, 2), "charge")
    libc_call("linkat", -100, f"/proc/self/fd/{descriptor}".encode(), -100, os.fsencode(m("p/named")), AT_SYMLINK_FOLLOW)
    os.close(descriptor)
    equal(read(m("p/named")), pattern(3 * PAGE), "content once it has a name")
    descriptor = os.open(m("p"), os.O_TMPFILE | os.O_RDWR, 0o600)
    os.write(descriptor, pattern(PAGE))
    os.close(descriptor)
    wait_until(lambda: m.project(51)["used_bytes"] == 4 * PAGE, 2, "the charge of the unnamed one is gone")
    tool(m, "setquota", "-P", "51", "0", "0", "0", "2", m(""))
    refused(errno.EDQUOT, os.open, m("p"), os.O_TMPFILE | os.O_RDWR, 0o600)


@case("rules 10 and 5: hard links are charged once; sparse files by their pages; unlink at the limit", **trootfs)
def links_and_holes(m):
    project_directory(m, "p", 61)
    write(m("p/f"), pattern(10 * PAGE))
    os.link(m("p/f"), m("p/g"))
    equal((m.project(61)["used_bytes"], m.project(61)["used_inodes"]), (11 * PAGE, 2), "two names, one charge")
    os.unlink(m("p/f"))
    equal(m.project(61)["used_bytes"], 11 * PAGE, "one name left")
    os.truncate(m("p/g"), 100 * MIB)
    equal(m.project(61)["used_bytes"], 11 * PAGE, "truncate up charges nothing")
    equal(os.stat(m("p/g")).st_blocks * 512, 10 * PAGE, "du says the charge")
    tool(m, "setquota", "-P", "61", "0", "44", "0", "2", m(""))
    os.unlink(m("p/g"))
    wait_until(lambda: m.project(61)["used_bytes"] == PAGE, 2, "all given back")


@case("finding the server: below the mount point, no xattr in listings, no other user, dead and hung servers",
      modes=("root",), **trootfs)
def finding(m):
    os.mkdir(m("d"))
    write(m("d/f"), "f")
    for path in (m(""), m("d"), m("d/f")):
        check("ENFORCED" in tool(m, "quota", "list").stdout, "list")
        tool(m, "quota", "show", path, "total")
    equal(os.listxattr(m("d")), [], "listxattr")
    equal(os.getxattr(m("d/f"), "system.troot.control").decode(), m.control_socket(), "the xattr")
    other = complaint_as(m, m.account.uid, "repquota", "-P", m(""))
    check("owner and root" in other, f"another user: {other}")
    m.server.send_signal(signal.SIGSTOP)
    try:
        begun = time.monotonic()
        line = complaint(m, "repquota", "-P", m(""))
        check(time.monotonic() - begun < 20 * slowness(), "took too long")
        check("does not answer" in line or "timed out" in line, f"a hung server: {line}")
    finally:
        m.server.send_signal(signal.SIGCONT)
    m.server.kill()
    m.server.wait()
    line = complaint(m, "repquota", "-P", m(""))
    check("gone" in line, f"a dead server: {line}")
    run("umount", "-l", m.mnt)
    m.server = None


def complaint_as(m, uid, *words):
    done = run(os.path.join(m.binaries, "troot"), *words, check_status=False, user=uid, group=uid, extra_groups=[])
    equal(done.returncode, 1, "exit code")
    return done.stderr.strip()


if __name__ == "__main__":
    main()
