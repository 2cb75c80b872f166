#!/usr/bin/env python3
"""Project quota as an administrator types it: a stock session with chattr, lsattr, setquota, repquota, quota,
df and mv, every report to the character beside what real kernels and tools printed, names of projects, new ids."""
import json
import os
import shutil
import time

from harness import PAGE, Skip, case, check, equal, main, pattern, run, wait_until, write

MIB = 1 << 20
trootfs = {"on": ("trootfs",)}
TOOLS = ("setquota", "repquota", "quota", "quotaon", "quotaoff")


def stock_names(m):
    """A directory with the tools by their stock names, for PATH: the programs of argv[0]."""
    directory = os.path.join(m.base, "bin")
    os.makedirs(directory, exist_ok=True)
    for name in TOOLS + ("troot",):
        if not os.path.islink(f"{directory}/{name}"):
            os.symlink(os.path.join(m.binaries, "troot"), f"{directory}/{name}")
    return {**os.environ, "PATH": f"{directory}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C", "TZ": "UTC"}


def typed(m, line, status=0, only_stdout=False):
    """A line for the shell, typed in the mount; its output, both kinds."""
    done = run("sh", "-c", line, check_status=False, env=stock_names(m), cwd=m.mnt)
    equal(done.returncode, status, f"exit code of '{line}' ({done.stdout}{done.stderr})")
    return done.stdout if only_stdout else done.stdout + done.stderr


def table(m, *rows, kind="Block"):
    return (f"*** Report for project quotas on device {m.mnt}\nBlock grace time: 7days; Inode grace time: 7days\n"
            f"                        {kind} limits                File limits\n"
            "Project         used    soft    hard  grace    used  soft  hard  grace\n" + "-" * 70 + "\n"
            + "".join(row + "\n" for row in rows) + "\n\n")


@case("a stock session: chattr, lsattr, setquota, fill, repquota, quota, df, mv, grace, setquota on an open file", **trootfs)
def session(m):
    equal(typed(m, "mkdir p q && chattr -p 1001 +P p && chattr -p 1002 +P q"), "", "mkdir and chattr")
    equal(typed(m, "lsattr -pd p q"), " 1001 -------------------P-- p\n 1002 -------------------P-- q\n", "lsattr")
    equal(typed(m, f"setquota -P 1001 100M 120M 400 500 {m.mnt}"), "", "setquota")
    said = typed(m, "dd if=/dev/zero of=p/f bs=1M", status=1)
    check("dd: error writing 'p/f': Disk quota exceeded\n" in said, f"dd: {said}")
    check(f"\n{120 * MIB - PAGE} bytes" in said, f"what fits beside the directory: {said}")
    equal(typed(m, f"repquota -P -s {m.mnt}"),
          table(m, "#0        --      4K      0K      0K              1     0     0       ",
                "#1001     +-    120M    100M    120M  7days       2   400   500       ",
                "#1002     --      4K      0K      0K              1     0     0       ", kind="Space"), "repquota -s")
    equal(typed(m, f"quota -P -w --filesystem={m.mnt} 1001", status=1),
          "Disk quotas for project #1001 (pid 1001): \n"
          "     Filesystem  blocks   quota   limit   grace   files   quota   limit   grace\n"
          f"{m.mnt:>15}  122880* 102400  122880   7days       2     400     500        \n", "quota")
    equal(typed(m, f"quota -P -s -q --filesystem={m.mnt} 1001 1002", status=1),
          f"Disk quotas for project #1001 (pid 1001): \n\tBlock limit reached on {m.mnt}\n", "quota -q")
    answer = typed(m, "df -h p").splitlines()[1].split()
    equal(answer[-5:], ["100M", "100M", "0", "100%", m.mnt], "df -h of the directory")
    equal(typed(m, "df --output=itotal,iused p").split()[2:], ["400", "2"], "df of inodes")
    equal(typed(m, "mv p/f q/ && ls p q"), "p:\n\nq:\nf\n", "mv across projects")
    wait_until(lambda: m.project(1001)["used_bytes"] == PAGE, 2, "its charge went along")
    equal(m.project(1002)["used_bytes"], 120 * MIB, "to the other project")
    check("Invalid cross-device link" in typed(m, "ln q/f p/g", status=1), "ln across projects")
    equal(typed(m, "lsattr -p q/f").split()[0], "1002", "its id")


@case("grace in real seconds: setquota -t and -T, over soft, refused, raised, and on an open file at once", **trootfs)
def grace(m):
    typed(m, "mkdir p && chattr -p 7 +P p")
    typed(m, f"setquota -P -t 36000 3600 {m.mnt} && setquota -P 7 1M 8M 0 0 {m.mnt}")
    typed(m, "dd if=/dev/zero of=p/f bs=64k count=32 status=none")
    shown = typed(m, f"repquota -P {m.mnt}")
    check(any(f"+-    2052    1024    8192  {left}" in shown for left in ("10:00", "09:5")), f"over soft, within grace: {shown}")
    check("Block grace time: 10:00; Inode grace time: 01:00" in typed(m, f"repquota -P {m.mnt}"), "the periods")
    typed(m, f"setquota -P -T 7 1 unset {m.mnt}")
    time.sleep(2.2)
    check("Disk quota exceeded" in typed(m, "dd if=/dev/zero of=p/g bs=4k count=1 status=none", status=1), "after grace")
    check("   none" in typed(m, f"repquota -P {m.mnt}"), "repquota says that grace is over")
    equal(typed(m, f"quota -P -q --filesystem={m.mnt} 7", status=1).splitlines()[1], f"\tOver block quota on {m.mnt}", "quota -q")
    # One file stays open over all of this.
    script = (f"exec 3>>p/f; setquota -P 7 0 8M 0 0 {m.mnt}; printf x >&3 && echo grew; setquota -P 7 0 1M 0 0 {m.mnt}; "
              f"dd if=/dev/zero bs=8k count=1 status=none >&3 2>/dev/null || echo refused; "
              f"setquota -P 7 0 0 0 0 {m.mnt}; dd if=/dev/zero bs=8k count=1 status=none >&3 && echo grew again")
    equal(typed(m, script), "grew\nrefused\ngrew again\n", "limits take effect at once on an open file")


def real_state(m):
    """The projects of which real tools printed the reports below."""
    sizes = {7: (None, 0), 1001: ("d", 4), 1003: (1020 << 10, 0), 1004: (960 << 10, 0)}
    typed(m, "touch seven && chattr -p 7 seven && mkdir p1 p2 p3 p4 p5 p6 p7")
    for i in range(1, 8):
        typed(m, f"chattr -p {1000 + i} +P p{i}")
    typed(m, "mkdir p1/d && touch p1/d/f p6/f p7/f p5/a p5/b p5/c p5/d")
    write(m("p3/f"), pattern(sizes[1003][0]))
    write(m("p4/f"), pattern(sizes[1004][0]))
    write(m("big"), pattern((2080 - 4) << 10))
    for i in range(8):
        os.symlink("x", m(f"link{i}"))
    typed(m, "for i in 2 3 4; do setquota -P 100$i 0 1024 0 0 . ; done; setquota -P 1005 0 0 0 5 .")


ROWS = """\
#0        --    2080       0       0             10     0     0       
#7        --       0       0       0              1     0     0       
#1001     --       8       0       0              3     0     0       
#1002     --       4       0    1024              1     0     0       
#1003     --    1024       0    1024              2     0     0       
#1004     --     964       0    1024              2     0     0       
#1005     --       4       0       0              5     0     5       
#1006     --       4       0       0              2     0     0       
#1007     --       4       0       0              2     0     0       
"""
HEAD = """\
*** Report for project quotas on device /dev/loop0
Block grace time: 7days; Inode grace time: 7days
                        Block limits                File limits
Project         used    soft    hard  grace    used  soft  hard  grace
----------------------------------------------------------------------
"""


@case("reports of a real ext4, to the character: repquota plain, -n, -s, -p, csv, xml; quota; xfs_quota's",
      options=["fsname=/dev/loop0"], **trootfs)
def reports(m):
    real_state(m)
    equal(typed(m, "repquota -P ."), HEAD + ROWS + "\n\n", "repquota -P")
    equal(typed(m, "repquota -P /dev/loop0"), HEAD + ROWS + "\n\n", "by the device")
    equal(typed(m, "repquota -Pn ."), HEAD + ROWS + "\n\n", "repquota -P -n")
    equal(typed(m, "repquota -Pp ."), HEAD + raw_grace(ROWS) + "\n\n", "repquota -P -p")
    equal(typed(m, "repquota -Ps .").splitlines()[5:8],
          ["#0        --   2080K      0K      0K             10     0     0       ",
           "#7        --      0K      0K      0K              1     0     0       ",
           "#1001     --      8K      0K      0K              3     0     0       "], "repquota -P -s")
    equal(typed(m, "repquota -P -O csv .").splitlines()[:4],
          ["Project,BlockStatus,FileStatus,BlockUsed,BlockSoftLimit,BlockHardLimit,BlockGrace,FileUsed,FileSoftLimit,"
           "FileHardLimit,FileGrace", "#0,ok,ok,2080,0,0,,10,0,0,", "#7,ok,ok,0,0,0,,1,0,0,", "#1001,ok,ok,8,0,0,,3,0,0,"],
          "repquota -P -O csv")
    equal(typed(m, "repquota -P -O xml .").splitlines()[:11],
          ['<?xml version="1.0"?>', "<repquota>", "<Report type='project' dev='/dev/loop0'>",
           " <BlockGraceTime>7days</BlockGraceTime>", " <InodeGraceTime>7days</InodeGraceTime>", " <Quota user='#0'>",
           "  <QuotaStatus block='ok' inode='ok' />", "  <blockLimits used='2080' soft='0' hard='0' grace='' />",
           "  <FileLimits used='10' soft='0' hard='0' grace='' />", " </Quota>", " <Quota user='#7'>"], "repquota -P -O xml")
    equal(typed(m, "quota -P -f . 1002"),
          "Disk quotas for project #1002 (pid 1002): \n"
          "     Filesystem  blocks   quota   limit   grace   files   quota   limit   grace\n"
          "     /dev/loop0       4       0    1024               1       0       0        \n", "quota -P")
    equal(typed(m, "troot quota report -p -h ."),
          f"Project quota on {m.mnt} (/dev/loop0)\n"
          "                        Blocks              \n"
          "Project ID   Used   Soft   Hard Warn/Grace   \n"
          "---------- --------------------------------- \n"
          "#0           2.0M      0      0  00 [------]\n"
          "#7              0      0      0  00 [------]\n"
          "#1001          8K      0      0  00 [------]\n"
          "#1002          4K      0     1M  00 [------]\n"
          "#1003          1M      0     1M  00 [------]\n"
          "#1004        964K      0     1M  00 [------]\n"
          "#1005          4K      0      0  00 [------]\n"
          "#1006          4K      0      0  00 [------]\n"
          "#1007          4K      0      0  00 [------]\n\n", "xfs_quota's report -p -h")
    equal(typed(m, "troot quota state -p ."),
          f"Project quota state on {m.mnt} (/dev/loop0)\n  Accounting: ON\n  Enforcement: ON\n  Inode: N/A\n"
          "Blocks grace time: [7 days]\nBlocks max warnings: 0\nInodes grace time: [7 days]\nInodes max warnings: 0\n"
          "Realtime Blocks grace time: [7 days]\n", "xfs_quota's state -p")


def raw_grace(rows):
    """The rows with the ends of grace as numbers: 0 for both."""
    return "".join(row[:42] + "0" + row[43:69] + "0\n" for row in rows.splitlines())


def shimmed(m):
    return {"LD_PRELOAD": m.shim("quotactl_shim.c"), "SHIM_ROWS": m.base + "/rows", "LC_ALL": "C", "PATH": os.environ["PATH"]}


def many_states(m):
    """Over soft, over both, past grace, at hard, over it, large numbers, nothing used; the rows for the shim."""
    real_state(m)
    typed(m, "for i in 2001 2002 2003 2004 2005; do mkdir d$i && chattr -p $i +P d$i && dd if=/dev/zero of=d$i/f bs=1k "
             "count=$i status=none && touch d$i/a d$i/b; done")
    typed(m, "setquota -P 2001 500 4M 3 9 . && setquota -P 2002 1M 0 4 4 . && setquota -P -T 2002 0 unset . ; "
             "setquota -P 2003 0 100 0 2 . && setquota -P 2004 0 2008 0 4 . && setquota -P 2005 3T 5T 2m 1g . && setquota -P 2006 1 2 3 4 .")
    with open(m.base + "/rows", "w", encoding="ascii") as file:
        for r in m.control("report"):
            print(r["project"], r["used_bytes"], -(-int(r["bsoft"]) // 1024), -(-int(r["bhard"]) // 1024), r["bytes_timer"],
                  r["used_inodes"], r["isoft"], r["ihard"], r["inodes_timer"], file=file)


def both(m, ours, theirs, environment, translate=lambda text: text):
    """Ours and the stock program's say the same. Where the clock stands between two minutes they may differ once."""
    for attempt in (1, 2):
        wanted = run(*theirs, check_status=False, env=environment)
        done = run("sh", "-c", ours, check_status=False, env=stock_names(m), cwd=m.mnt)
        if done.stdout == translate(wanted.stdout) or attempt == 2:
            break
    equal(done.stdout, translate(wanted.stdout), f"'{ours}' and the stock program's answer")
    equal(done.returncode, wanted.returncode, f"exit code of '{ours}'")


@case("reports beside the stock repquota and quota, of the same projects: every format, every option", modes=("root",),
      options=["fsname=/dev/loop0"], **trootfs)
def beside_stock(m):
    stock = {name: shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin") for name in ("repquota", "quota")}
    if not all(stock.values()):
        raise Skip("no stock repquota and quota (apt-get install quota)")
    environment = {**shimmed(m), "SHIM_POINT": m.mnt}
    many_states(m)
    for words in ("", "-v", "-s", "-n", "-p", "-t", "-c", "-C", "-vs", "-snp", "-O csv", "-O xml", "-s -O csv", "-s -O xml",
                  "-vp -O csv", "--human-readable=m,k", "--human-readable=k,k", "--human-readable=g,t"):
        both(m, f"repquota -P {words} .", (stock["repquota"], "-P", *words.split(), "-a"), environment)
    for words in ("", "-v", "-s", "-q", "-p", "-w", "-vs", "--show-mntpoint", "--hide-device", "--show-mntpoint --hide-device"):
        for project in (0, 1002, 1003, 1005, 2001, 2002, 2003, 2004, 2005, 2006, 4711):
            both(m, f"quota -P {words} -f . {project}", (stock["quota"], "-P", *words.split(), str(project)), environment)


@case("reports beside the stock xfs_quota, of the same projects", modes=("root",), options=["fsname=/dev/loop0"], **trootfs)
def beside_xfs(m):
    stock = shutil.which("xfs_quota", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if not stock or not shutil.which("mkfs.xfs"):
        raise Skip("no xfs_quota (apt-get install xfsprogs)")
    environment = shimmed(m)
    many_states(m)
    point, image = m.base + "/xfs", m.base + "/image"
    os.mkdir(point)
    with open(image, "wb") as file:
        file.truncate(320 * MIB)
    run("mkfs.xfs", "-q", image)
    if (done := run("mount", "-o", "loop", image, point, check_status=False)).returncode != 0:
        raise Skip(f"no XFS can be mounted here: {done.stderr.strip()}")
    try:
        with open("/proc/self/mounts", encoding="utf-8") as file:
            device = next(line.split()[0] for line in file if line.split()[1] == point)

        def translate(text):
            # A line that newer releases have about a part of XFS that we lack.
            text = text.replace("Realtime Blocks max warnings: 0\n", "")
            return text.replace(point, m.mnt).replace(device, "/dev/loop0")
        for words in ("report -p", "report -p -b", "report -p -i", "report -p -bi", "report -p -h", "report -p -ih", "report -p -bih",
                      "report -p -N", "report -p -n", "report -p -t", "report -pN -bih", "state -p", "dump -p"):
            both(m, f"troot quota {words} .", (stock, "-x", "-c", words, point), environment, translate)
    finally:
        run("umount", point, check_status=False)


@case("options of the stock tools: those that can be meant work, the others say why not; exit codes", **trootfs)
def options(m):
    typed(m, "mkdir p && chattr -p 5 +P p && setquota -P 5 0 1M 0 0 .")
    for line, status, words in (
            ("repquota .", 1, "use -P"), ("repquota -P", 1, "a mount point, or -a, is missing"),
            ("repquota -Pu .", 1, "projects only"), ("repquota -Pg .", 1, "projects only"),
            ("repquota -P -F vfsv0 .", 1, "one ledger"), ("repquota -P -O yaml .", 1, "default, csv or xml"),
            ("repquota -P --human-readable=z .", 1, "units 'z'"), ("repquota -P --human-readable=g .", 1, "units 'g'"), ("repquota -P /nowhere", 2, "No such file"),
            ("repquota -P /proc", 1, "not on a mount of trootfs"), ("repquota -Px .", 1, "-x is not an option"),
            ("repquota --nonsense", 1, "--nonsense is not an option"), ("repquota -P -O", 1, "-O needs a value"),
            ("quota -P", 1, "name or id is missing"), ("quota -P nosuch", 1, "nosuch does not exist"),
            ("quota -PA 5", 1, "over the network"), ("quota -P --always-resolve 5", 1, "5 does not exist"),
            ("setquota -P 5 1 2 3", 1, "too few words"), ("setquota -P -r 5 0 0 0 0 .", 1, "over the network"),
            ("setquota -P 5 12Q 0 0 0 .", 1, "not an amount"), ("setquota -P 5 0 0 0 12Q .", 1, "not an amount"),
            ("setquota -P -t soon 1 .", 1, "not a time"), ("setquota -P --always-resolve 5 0 0 0 0 .", 1, "5 does not exist"),
            ("quotaon -P", 1, "a mount point, or -a, is missing"), ("quotaon .", 1, "use -P"),
            ("quotaoff -P -x account .", 1, "only 'enforce'"), ("quotaon -P /proc", 1, "not on a mount of trootfs")):
        said = typed(m, line, status=status)
        equal(len(said.splitlines()), 1, f"lines of '{line}': {said}")
        check(said.startswith(line.split()[0] + ": ") and words in said, f"'{line}': {said}")
    for line in ("repquota -P -i -c .", "repquota -PvC .", "quota -Pli --filesystem . 5", "setquota -P --project 5 0 1M 0 0 -- .",
                 "quotaon -P -x enforce .", "repquota --proj --verb ."):
        typed(m, line)
    for name in TOOLS:
        check(typed(m, f"{name} --help").startswith("Usage: "), f"{name} --help")
        check(typed(m, f"{name} -V").startswith(f"{name} of troot "), f"{name} -V")
    typed(m, "quotaon -Pf .")
    check(typed(m, "quotaon -Pp .").endswith(" is off\n"), "quotaon -f turns off")
    typed(m, "quotaon -P . && quotaon -Pp . | grep -q 'is on$'")
    typed(m, "printf '5 0 2M 0 0\\n6 0 3M 0 0\\n' | setquota -P -b .")
    equal((m.project(5)["bhard"], m.project(6)["bhard"]), (2 * MIB, 3 * MIB), "a batch")


@case("--json on every verb of troot quota", **trootfs)
def all_json(m):
    typed(m, "mkdir p && chattr -p 5 +P p")
    for line in ("set . 5 --limit 1M", "show . 5", "show . total", "report .", "check .", "list", "reset-peak . 5",
                 "limit -p bhard=2m 5 .", "report -p .", "state -p .", "timer -p 2days .", "timer -p 2days 5 .", "dump -p .",
                 "df .", "restore -p -f /dev/null ."):
        said = typed(m, f"troot quota {line} --json", only_stdout=True)
        try:
            answer = json.loads(said)
        except ValueError:
            answer = None
        check(answer is not None, f"troot quota {line} --json: {said}")
        check("--json" in typed(m, f"troot quota {line.split()[0]} --help")
              if line.split()[0] in ("set", "show", "report", "check", "list", "reset-peak") else True, f"{line} --help")
    answer = json.loads(typed(m, "troot quota limit -p bhard=3m 5 . --json"))
    equal((answer["project"], answer["bytes"]["hard"]), (5, 3 * MIB), "limit --json")
    check("--exec" in typed(m, "troot quota watch --help"), "watch --help")


ETC_FILES = ("passwd", "group", "nsswitch.conf", "mtab", "fstab", "ld.so.cache", "localtime")


def in_etc(m, line, projid="", projects="", status=0):
    """Typed with other files in /etc, by a mount namespace of its own. Not the whole of /etc is copied: a useradd beside
    this makes and removes lock files there, and a copy that meets one of them fails."""
    etc = os.path.join(m.base, "etc")
    if not os.path.isdir(etc):
        os.mkdir(etc)
        known = [name for name in ETC_FILES if os.path.lexists("/etc/" + name)]
        run("cp", "-a", *("/etc/" + name for name in known), etc)
    write(etc + "/projid", projid)
    write(etc + "/projects", projects)
    script = f"mount --bind {etc} /etc && {line}"
    done = run("unshare", "-m", "sh", "-c", script, check_status=False, env=stock_names(m), cwd=m.mnt)
    equal(done.returncode, status, f"exit code of '{line}' ({done.stdout}{done.stderr})")
    return done.stdout + done.stderr


@case("names of /etc/projid and directories of /etc/projects, wherever an id is taken or shown", modes=("root",), **trootfs)
def names(m):
    typed(m, "mkdir build && chattr -p 1001 +P build && mkdir t && chattr -p 7 +P t")
    files = {"projid": "# people\nalpha:1001\n7:7000\nspare:1003\n", "projects": f"1001:{m.mnt}/build\n"}
    in_etc(m, "setquota -P alpha 0 1M 0 0 .", **files)
    equal(m.project(1001)["bhard"], MIB, "setquota by name")
    in_etc(m, f"setquota -P {m.mnt}/build 0 2M 0 0 .", **files)
    equal(m.project(1001)["bhard"], 2 * MIB, "setquota by directory")
    report = in_etc(m, "repquota -P .", **files)
    check("\nalpha     --       4       0    2048              1     0     0       \n#0" in report, f"named ones first: {report}")
    check("\n#1001" in in_etc(m, "repquota -Pn .", **files), "-n")
    check("<Quota user='alpha'>" in in_etc(m, "repquota -P -O xml .", **files), "xml")
    check(in_etc(m, f"quota -P -f {m.mnt} alpha", **files).startswith("Disk quotas for project alpha (pid 1001): \n"), "quota")
    check(in_etc(m, f"quota -Pv -f {m.mnt} --always-resolve 7", **files).startswith("Disk quotas for project 7 (pid 7000): \n"),
          "a name of digits")
    check(" 7 " not in in_etc(m, "setquota -P --always-resolve 7 0 9M 0 0 . && repquota -Pvn . | grep 7000", **files), "setquota")
    equal(m.project(7000)["bhard"], 9 * MIB, "setquota of a name of digits")
    check(in_etc(m, "troot quota show . alpha", **files).startswith("project   alpha (1001)\n"), "show")
    equal(json.loads(in_etc(m, "troot quota show . 1001 --json", **files))["name"], "alpha", "show --json")
    in_etc(m, "troot quota set . alpha --parent spare", **files)
    equal(m.project(1001)["parent"], 1003, "a parent by name")
    check("parent    spare\n" in in_etc(m, "troot quota show . alpha", **files), "the parent shown")
    in_etc(m, "troot quota limit -p ihard=9 alpha . && troot quota timer -p 1h alpha .", **files)
    equal(m.project(1001)["ihard"], 9, "limit by name")
    check("\nalpha  " in in_etc(m, "troot quota report -p .", **files), "xfs_quota's report")
    check(f"{m.mnt}/build\n" in in_etc(m, "troot quota df .", **files), "df lists directories of /etc/projects")


@case("a directory gets a project of its own: a free id, set on the tree, handed down", **trootfs)
def allocate(m):
    os.makedirs(m("d/sub/deep"))
    write(m("d/f"), pattern(3 * PAGE))
    write(m("d/sub/deep/g"), pattern(PAGE))
    os.symlink("f", m("d/link"))
    os.mkdir(m("other"))
    typed(m, "mkdir taken && chattr -p 1000 +P taken")
    said = typed(m, "troot quota set d --limit 1M")
    check("troot quota set: d is project 1001 now, with 4 objects in it\n" in said, f"it says which: {said}")
    check("1 symlinks and special files keep their project" in said, f"and what it left out: {said}")
    equal(typed(m, "lsattr -pd d d/sub d/sub/deep"), "".join(f" 1001 -------------------P-- {n}\n" for n in ("d", "d/sub", "d/sub/deep")), "directories")
    equal(typed(m, "lsattr -p d/f d/sub/deep/g").split()[::3], ["1001", "1001"], "files")
    row = m.project(1001)
    equal((row["used_bytes"], row["used_inodes"], row["bhard"]), (7 * PAGE, 5, MIB), "its charge and limit")
    write(m("d/sub/new"), pattern(PAGE))
    equal(m.project(1001)["used_bytes"], 8 * PAGE, "handed down to what is made later")
    check("d is in project 1001" in typed(m, "troot quota set d --bsoft 500K"), "the second time it has one")
    equal((m.project(1001)["bsoft"], m.project(1001)["bhard"]), (500 << 10, MIB), "and keeps what is not named")
    check("project 1002 now" in typed(m, "troot quota set other --limit 1M"), "the next directory has the next id")
    check("name a project, or total" in typed(m, "troot quota set . --limit 1M", status=2), "not the whole mount")
    check("not a directory" in typed(m, "troot quota set d/f --limit 1M", status=2), "not a file")
    check("nothing to set" in typed(m, "troot quota set d", status=2), "nothing to set")
    typed(m, "mkdir chosen && mkdir chosen/in")
    check("chosen is project 77 now, with 1 objects in it" in typed(m, "troot quota set chosen 77 --limit 1M"), "the one named")
    equal(typed(m, "lsattr -pd chosen/in"), "   77 -------------------P-- chosen/in\n", "and what is in it")
    check("chosen is in project 77" in typed(m, "troot quota set chosen 78 --limit 1M", status=2), "not taken from another")
    equal((m.project(77)["bhard"], m.project(78).get("bhard", 0)), (MIB, 0), "limits of the one, none of the other")
    typed(m, "troot quota set . 79 --limit 1M")
    equal((m.project(79)["bhard"], m.project(79)["used_inodes"]), (MIB, 0), "the mount's root names the mount alone")
    check("agree" in typed(m, "troot quota check ."), "check")
    m.remount()
    equal((m.project(1001)["bhard"], m.project(1002)["bhard"]), (MIB, MIB), "kept")
    typed(m, "mkdir third")
    check("project 1003 now" in typed(m, "troot quota set third --limit 1M"), "ids of the ledger are not given out again")


@case("a new id avoids those of /etc/projid; a directory of /etc/projects has its own", modes=("root",), **trootfs)
def allocate_around_names(m):
    typed(m, "mkdir a b")
    files = {"projid": "one:1000\ntwo:1001\n", "projects": f"1002:/elsewhere\n77:{m.mnt}/b\n"}
    check("project 1003 now" in in_etc(m, "troot quota set a --limit 1M", **files), "past all that have names")
    check("project 77 now" in in_etc(m, "troot quota set b --limit 1M", **files), "what /etc/projects says")


@case("setting a project that is cut short can be done again", modes=("user",), **trootfs)
def allocate_again(m):
    os.mkdir(m("d"))
    write(m("d/closed"), "x", mode=0)
    said = typed(m, "troot quota set d --limit 1M", status=1)
    check("d/closed: Permission denied" in said, f"it names what it could not reach: {said}")
    os.chmod(m("d/closed"), 0o600)
    check("d is project 1000 now, with 1 objects in it" in typed(m, "troot quota set d --limit 1M"), "once more")


if __name__ == "__main__":
    main()
