#!/usr/bin/env python3
"""Programs that people run, on the mount and on a plain directory beside it: git, rsync, tar and sqlite3
over lowers that hold half of the tree each. The same words, statuses and trees; databases whole after kill -9."""
import os
import random
import select
import signal
import subprocess
import sys
import time

from beside import ENVIRONMENT, Beside, halve, need, rich, sh, snapshot
from harness import case, check, equal, main, read, write
from machine import Child, Patience, complete

DICE = random.Random(5)


# ---- git ------------------------------------------------------------------------------------------------------

def repository(bed):
    need("git")
    root = bed.lowers[-1]
    for number in range(400):
        directory = f"{root}/src/m{number % 20}/{'deep/' * (number % 3)}"
        os.makedirs(directory, exist_ok=True)
        write(f"{directory}/f{number}.c", b"int x%d;\n" % number * (number % 97))
    os.symlink("src/m1", root + "/link")
    write(root + "/tool.sh", "#!/bin/sh\n", mode=0o755)
    script = """git init -q -b main .; git config gc.auto 0; git config pack.threads 1; git add -A; git commit -qm one
        git gc -q; for i in 1 2 3 4 5; do echo $i >> src/m$i/new; git add -A; git commit -qm "more $i"; done"""
    status, words = sh(script, root, bed.base)
    equal(status, 0, f"git in the lower ({words})")
    halve(bed)


GIT_STEPS = (
    ("status and log", "git status --porcelain; git log --stat --format=%H%s | tail -n 40"),
    ("edit, move, remove, commit", """
        for f in src/m3/*.c; do echo 'int more;' >> $f; done
        git mv src/m4 src/renamed; git mv tool.sh src/tool.sh; git rm -rq src/m5; rm -r src/m6; mkdir -p src/m6/again
        echo x > src/m6/again/file; chmod +x $(find src/m7 -name f7.c); ln -sf src/m2 link
        git add -A; git status --porcelain; git commit -qm changes; git log -1 --stat --summary --format=%H"""),
    ("checkout of many files, there and back", """
        git checkout -q -b other HEAD~3; git status --porcelain; ls src; echo other > src/m8/other; git add -A
        git commit -qm other; git checkout -q main; git status --porcelain; git merge -q other -m merged
        git log -1 --format=%H; git checkout -q other; git checkout -q main; git diff --stat HEAD~1"""),
    ("stash, reset, clean", """
        echo dirty >> src/m8/other; echo new > untracked; git stash -qu; git status --porcelain; git stash pop -q
        git status --porcelain; git reset -q --hard; git clean -fdq; git status --porcelain"""),
    ("gc and fsck", "git reflog expire --expire=now --all; git gc -q --prune=now; git fsck --full --strict; "
     "git count-objects -v | grep -v size; git rev-list --objects --all | sort"),
    ("clone and fsck", """
        git clone -q . clone; git -C clone fsck --full; git -C clone status --porcelain; git -C clone ls-files -s
        git clone -q --no-hardlinks --bare . bare.git; git -C bare.git rev-list --objects --all | sort
        git worktree add -q wt other; git -C wt status --porcelain; git worktree remove wt"""),
)


@case("git: init, add, commit, checkout, merge, stash, gc, clone, fsck", lower=repository, lowers=2)
def git(m):
    need("git")
    two = Beside(m)
    # What git keeps about its own files (times and inode numbers in the index) differs, also between two directories.
    own = (".git", "clone/.git", "bare.git")
    for title, script in GIT_STEPS:
        two.both(script, "git: " + title)
        two.same("git: " + title, passed_over=own)
    two.both("rm -rf .git clone bare.git; git init -q -b new .; git add -A; git commit -qm new; git fsck; git log --stat",
             "git: a new repository of it all")
    two.same("git: a new repository", passed_over=own)


# ---- rsync, tar -----------------------------------------------------------------------------------------------

def rich_halves(bed):
    rich(bed.lowers[-1], 1)
    halve(bed)


def changed(root):
    """Some of each: contents, modes, names, links, ACLs, xattrs; removals and additions."""
    dice = random.Random(9)
    rich(os.path.join(root, "fresh"), 2, files=60)
    files = sorted(os.path.join(d, f) for d, _, fs in os.walk(root) for f in fs if "fresh" not in d)
    regular = [p for p in files if os.path.isfile(p) and not os.path.islink(p)]
    for path in dice.sample(regular, 30):
        os.chmod(path, 0o644)
        write(path, dice.randbytes(3000))
    for path in dice.sample(files, 25):
        if os.path.lexists(path):
            os.unlink(path)
    for number, path in enumerate(p for p in dice.sample(regular, 60) if os.path.exists(p)):
        if number % 4 == 0:
            os.rename(path, path + "-moved"[:255 - len(os.path.basename(path))])
        elif number % 4 == 1:
            os.link(path, os.path.join(root, f"link-{number}"))
        elif number % 4 == 2:
            os.chmod(path, 0o640)
            os.setxattr(path, "user.more", b"more")
        else:
            os.utime(path, (1, 2))
    os.rename(root + "/d3", root + "/d3-renamed")


@case("rsync -aHAX --delete brings over what differs, and the second time nothing", lower=rich_halves, lowers=2)
def rsync(m):
    need("rsync", "setfacl")
    two = Beside(m)
    source = m.base + "/source"
    os.mkdir(source)
    # Of hard links it speaks in no certain order.
    copy = "rsync -aHAX --delete -i $BASE/source/ ./ > $BASE/words-$WHICH; sort $BASE/words-$WHICH"
    rich(source, 1)
    changed(source)
    # It names a directory whose time it changes, and looks at seconds: the two roots were made in seconds of their own.
    two.both("touch -d @1 .", "a time for the roots")
    for what in ("into a merged tree", "after more changes"):
        words = two.both(copy, f"rsync {what}")
        check(len(words.split("\n")) > 20, f"rsync {what}: it moved {words!r}")
        two.same(f"rsync {what}")
        equal(two.both(copy, f"rsync {what}, once more"), "", f"rsync {what}, the second time")
        if what == "into a merged tree":
            os.rename(source + "/d4", source + "/d5/d4")
        os.unlink(min(e.path for e in os.scandir(source) if e.is_file(follow_symlinks=False)))
    two.both("mkdir $BASE/back-$WHICH; touch -d @1 $BASE/back-$WHICH; rsync -aHAX -i ./ $BASE/back-$WHICH/ | sort", "rsync out of it")
    begun = two.begun
    equal(snapshot(m.base + "/back-mnt", begun), snapshot(m.base + "/back-plain", begun), "what rsync brought out")


TAR = ("tar --xattrs --xattrs-include='*' --acls --numeric-owner --sort=name --format=posix "
       "--pax-option=exthdr.name=%d/x/%f,delete=atime,delete=ctime ")


@case("tar --xattrs --acls archives byte for byte, extracts over a merged tree, compares", lower=rich_halves, lowers=2)
def tar(m):
    need("tar", "setfacl")
    two = Beside(m)
    two.both(TAR + "-cf $BASE/$WHICH.tar *", "tar -c of a merged tree")
    check(read(m.base + "/mnt.tar") == read(m.base + "/plain.tar"), "the archives of both are the same")
    two.both(TAR + "--compare -f $BASE/plain.tar", "tar --compare with the merged tree")
    source = m.base + "/source"
    os.mkdir(source)
    rich(source, 1)
    changed(source)
    equal(sh(TAR + "-cf $BASE/source.tar *", source, m.base), (0, ""), "tar of the changed tree")
    for how in ("", "--overwrite", "--unlink-first --recursive-unlink"):
        two.both(f"{TAR} -xpf $BASE/source.tar {how}", f"tar -x {how}")
        two.same(f"tar -x {how}")
        # Written over, a file that had other names is theirs as well, and a setuid one may be so no more.
        words = two.both(TAR + "--compare -f $BASE/source.tar", f"tar --compare after -x {how}", status=None)
        check(words == "" or how == "--overwrite", f"tar --compare after -x {how}: {words[:300]}")
        two.both("chmod -R u+w . ; rm -rf d1 d5; find . -type f -links 1 -name '*7' -exec sh -c 'echo x > \"$0\"' {} ';'",
                 "changes between")


# ---- sqlite3 --------------------------------------------------------------------------------------------------

CLIENT = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
db.execute("pragma journal_mode=wal")
db.execute("pragma synchronous=%s" % sys.argv[3])
db.execute("pragma wal_autocheckpoint=20")
n = int(sys.argv[2])
while True:
    db.execute("begin immediate")
    db.execute("insert into t values (?, ?)", (n, "x" * (n * 37 % 3000)))
    db.execute("update total set n = n + 1")
    db.execute("commit")
    print(n, flush=True)
    n += 1
"""


def database(bed):
    need("sqlite3")
    script = """sqlite3 db "pragma journal_mode=wal; create table t(n integer primary key, s text);
        create table total(n integer); insert into total values (100);
        with recursive c(i) as (select 1 union all select i+1 from c where i < 100)
        insert into t select i, hex(randomblob(500)) from c" """
    equal(sh(script, bed.lower, bed.base)[0], 0, "the database in the lower")


class Writer:
    """A client that commits and says so; what it said is what must be there."""

    def __init__(self, path, first, synchronous):
        self.process = Child([sys.executable, "-c", CLIENT, path, str(first), synchronous], env=ENVIRONMENT,
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def started(self):
        """Waits for its first commit, which a busy machine may keep it from for a while."""
        patience = Patience(30)
        while not select.select([self.process.stdout], [], [], max(0, patience.left()))[0]:
            check(not patience.over(), "the client commits nothing")

    def killed(self):
        """Ends it; the last commit it said."""
        self.process.send_signal(signal.SIGKILL)
        words = self.process.communicate()[0].decode().split("\n")
        return max((int(w) for w in words[:-1]), default=None)


def inspect(path, acknowledged, what):
    """Whole, every acknowledged commit there, at most one more."""
    words = complete(["sqlite3", "-cmd", ".timeout 20000", path,
                      "pragma integrity_check; select count(*), max(n), (select n from total) from t"], 30,
                     env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    text = words.stdout.decode() + words.stderr.decode()
    lines = text.split("\n")
    equal(lines[0], "ok", f"{what}: integrity_check ({text})")
    count, last, total = (int(w) for w in lines[1].split("|"))
    equal((count, total), (last, last), f"{what}: rows and the total kept in the same commits")
    check(acknowledged <= last <= acknowledged + 1, f"{what}: {acknowledged} were acknowledged, {last} are there")
    return last


@case("sqlite3 in WAL mode: kill -9 of the client and of the server lose no acknowledged commit", lower=database)
def sqlite(m):
    need("sqlite3")
    two = Beside(m)
    two.both("sqlite3 db 'select count(*) from t; delete from t where n % 7 = 0; vacuum; select sum(length(s)) from t;"
             " insert or ignore into t select n + 1, s from t where n % 7 = 6; pragma integrity_check'", "sqlite3")
    last = 100
    for number in range(6):
        synchronous = ("full", "normal")[number % 2]
        path = m("db")
        writer = Writer(path, last + 1, synchronous)
        reader = None
        if number % 3 == 0:
            reader = subprocess.Popen(["sh", "-c", f"while sqlite3 {path} 'select count(*) from t' >/dev/null; do :; done"],
                                      env=ENVIRONMENT, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        writer.started()
        time.sleep(0.2 + DICE.random() * 0.4)
        what = "kill -9 of the client"
        if number >= 3 and m.server:
            what = "kill -9 of the server"
            two.crash()
        acknowledged = writer.killed()
        if reader:
            reader.kill()
            reader.wait()
        check(acknowledged is not None, f"{what}: the client committed nothing")
        last = inspect(m("db"), acknowledged, f"{what}, synchronous={synchronous}")
    m.remount()
    equal(inspect(m("db"), last, "after a remount"), last, "commits after a remount")


if __name__ == "__main__":
    main()
