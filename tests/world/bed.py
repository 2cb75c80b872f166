"""The test bed of tests/world: ordinary users made for the test, the programs where those users reach
them, commands run as typed, cases run each in a process of its own under a time limit, TAP output. Standard library only.

Root makes two users, one with a range of subordinate ids and one without; anybody else is the one user there is.
"""
import atexit
import hashlib
import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import traceback

sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "mount"))
from machine import Child, Patience, complete

CASE_SECONDS = 120
MIB = 1 << 20
CASES = []


class Skip(Exception):
    """The case cannot run here."""


class Failure(Exception):
    """An expectation that did not hold."""


def check(condition, text):
    if not condition:
        raise Failure(text)


def equal(got, wanted, what):
    if got != wanted:
        raise Failure(f"{what}: got {got!r}, expected {wanted!r}")


def wait_until(condition, what, seconds=10):
    patience = Patience(seconds)
    while not condition():
        if patience.over():
            raise Failure(f"not within {seconds} s of an idle machine: {what}")
        time.sleep(0.02)


def case(title, ids=("one",), seconds=CASE_SECONDS):
    """A function of a User. `ids`: the id modes to run it in, of one, range, root."""
    def add(function):
        for mode in ids:
            CASES.append((f"{title} [{mode}]", function, mode, seconds))
        return function
    return add


class User:
    """Somebody who types commands. Has a home of their own with an empty store."""

    def __init__(self, mode, binaries):
        self.mode = mode
        self.made = None
        self.binaries = binaries
        self.home = tempfile.mkdtemp(prefix="troot-world-", dir="/var/tmp")
        self.uid, self.gid = os.getuid(), os.getgid()
        if os.getuid() == 0 and mode != "root":
            self.make(mode)
        elif os.getuid() != 0 and mode == "root":
            raise Skip("needs root")
        os.chown(self.home, self.uid, self.gid)
        os.chmod(self.home, 0o755)
        self.store = self.home + "/data/troot"
        os.mkdir(self.home + "/data")
        os.chown(self.home + "/data", self.uid, self.gid)
        self.environment = {"PATH": binaries + ":/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": self.home,
                            "XDG_DATA_HOME": self.home + "/data", "LC_ALL": "C.UTF-8", "TERM": "dumb",
                            "SHELL": "/bin/bash"}

    def make(self, mode):
        self.made = f"troot-w{os.getpid()}"
        subprocess.run(["useradd", "--home-dir", self.home, "--no-create-home", "--shell", "/bin/bash", self.made],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=300)
        entry = pwd.getpwnam(self.made)
        self.uid, self.gid = entry.pw_uid, entry.pw_gid
        has = any(line.startswith(self.made + ":") for line in open("/etc/subuid", encoding="utf-8"))
        if mode == "range" and not has:
            subprocess.run(["usermod", "--add-subuids", "200000-265535", "--add-subgids", "200000-265535", self.made],
                           check=True, timeout=300)
        if mode == "one" and has:
            for line in open("/etc/subuid", encoding="utf-8"):
                name, first, count = line.strip().split(":")
                if name == self.made:
                    span = f"{first}-{int(first) + int(count) - 1}"
                    subprocess.run(["usermod", "--del-subuids", span, "--del-subgids", span, self.made], check=True,
                                   timeout=300)

    def identity(self):
        """For subprocess: who runs it."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if os.getuid() == 0 and self.uid != 0 else {}

    def popen(self, *words, **named):
        named.setdefault("cwd", self.home)
        named.setdefault("env", self.environment)
        named.setdefault("stdin", subprocess.DEVNULL)
        return Child(words, start_new_session=True, **self.identity(), **named)

    def run(self, *words, text=None, seconds=60, **named):
        """(status, stdout, stderr)."""
        child = self.popen(*words, stdin=subprocess.PIPE if text is not None else subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **named)
        try:
            out, err = child.communicate(text, timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
            raise Failure(f"{' '.join(words)} hangs") from None
        return child.returncode, out, err

    def troot(self, *words, status=0, **named):
        """stdout of a troot that must end with `status`."""
        code, out, err = self.run("troot", *words, **named)
        equal(code, status, f"status of troot {' '.join(words)} ({err.strip()})")
        return out

    def refused(self, status, *words, says=()):
        """troot must end with `status` and one line that holds each of `says`."""
        code, out, err = self.run("troot", *words)
        equal(code, status, f"status of troot {' '.join(words)} ({err.strip()})")
        equal(out, "", f"stdout of troot {' '.join(words)}")
        # Told at each start where the tests themselves run in a container.
        err = "".join(line for line in err.splitlines(True) if "/proc is the host's" not in line)
        equal(err.count("\n"), 1, f"lines of troot {' '.join(words)}: {err!r}")
        check(err.startswith("troot: "), f"troot {' '.join(words)}: {err!r} does not begin with the program's name")
        for word in says:
            check(word in err, f"troot {' '.join(words)}: {err!r} does not name {word!r}")

    def status(self, world):
        return json.loads(self.troot("status", world, "--json"))

    def shell(self, world, script, status=0, **named):
        return self.troot("exec", world, "--", "sh", "-c", script, status=status, **named)

    def world(self, name="w", *options):
        self.troot("create", name, *options)
        return name

    def upper(self, world):
        return f"{self.store}/worlds/{world}/upper"

    def close(self):
        if os.path.isdir(self.store + "/worlds"):
            for world in os.listdir(self.store + "/worlds"):
                complete(["troot", "rm", "--force", world], 60, env=self.environment, cwd="/", stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL, **self.identity())
        # Plain removal, as the owner, must do for all that a store holds.
        removed = complete(["rm", "-rf", self.home + "/data"], 60, stderr=subprocess.PIPE, **self.identity())
        shutil.rmtree(self.home, ignore_errors=True)
        if self.made:
            # What a failed case left running; the user is this case's own. userdel refuses one with processes.
            subprocess.run(["pkill", "-KILL", "-U", str(self.uid)], timeout=300)
            subprocess.run(["userdel", "--force", self.made], timeout=300, stderr=subprocess.DEVNULL)
        equal(removed.returncode, 0, f"plain rm -rf of the store ({removed.stderr!r})")


def servers(user):
    """Process ids of the trootfs that run as the user."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and os.stat("/proc/" + entry).st_uid == user.uid:
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    words = file.read().split(b"\0")
                if os.path.basename(words[0]) == b"trootfs" and user.store.encode() in b" ".join(words):
                    found.append(int(entry))
        except OSError:
            pass
    return found


# What the host's own tools may write while a test runs: somebody else makes users or installs packages.
ACCOUNTS = ("passwd", "group", "shadow", "gshadow", "subuid", "subgid")
PACKAGE_RECORDS = ("/var/lib/dpkg/", "/var/lib/apt/", "/etc/ld.so.cache", "/etc/.pwd.lock")


def host_state(*trees):
    """Path to mode, owner, time and digest of each file."""
    state = {}
    for tree in trees:
        for directory, _, files in os.walk(tree):
            for name in files:
                path = os.path.join(directory, name)
                try:
                    status = os.lstat(path)
                    state[path] = [status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, status.st_size]
                    if stat.S_ISREG(status.st_mode) and os.access(path, os.R_OK):
                        with open(path, "rb") as file:
                            state[path].append(hashlib.sha256(file.read()).digest())
                except FileNotFoundError:
                    state.pop(path, None)  # a temporary file of somebody else's
    return state


def host_untouched(user, world, before, *trees, marks):
    """Nothing of `trees` is other than it was, but for what the host's own tools wrote meanwhile: files that keep
    accounts and package records, without any of `marks` (words that the world wrote into its own), and, if packages
    were installed on the host, files of which the world has no copy."""
    after = host_state(*trees)
    changed = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    installing = "/var/lib/dpkg/status" in changed
    for path in changed:
        text = b""
        if os.path.isfile(path) and os.access(path, os.R_OK):
            with open(path, "rb") as file:
                text = file.read()
        for mark in marks:
            check(mark.encode() not in text and mark not in path, f"the host's {path} has the world's {mark}")
        account = os.path.dirname(path) == "/etc" and os.path.basename(path).split(".")[0].rstrip("-+") in ACCOUNTS
        others = installing and not os.path.lexists(user.upper(world) + path)
        check(account or others or path.startswith(PACKAGE_RECORDS), f"the host's {path} is not what it was")


def limit(patience):
    """Raises Failure in this process when the time is over."""
    def look(*_):
        if patience.over():
            raise Failure(f"took over {patience.seconds} s of an idle machine")
        signal.alarm(int(patience.left()) + 1)

    signal.signal(signal.SIGALRM, look)
    signal.alarm(patience.seconds)


def run_case(function, mode, binaries, seconds):
    """(word, reason), the case run in a child that is given up after `seconds`."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        # What a time limit raises, so that the user and the store go all the same.
        limit(Patience(seconds))
        verdict = "ok"
        user = None
        try:
            user = User(mode, binaries)
            function(user)
        except Skip as skip:
            verdict = f"skip {skip}"
        except Failure as failure:
            verdict = f"not ok {failure}"
        except BaseException:  # noqa: a broken case is a failed one
            verdict = "not ok " + traceback.format_exc()
        limit(Patience(60))
        try:
            if user and verdict.startswith("not ok"):
                show_logs(user)
            if user:
                user.close()
        except BaseException as failure:
            verdict = verdict if verdict.startswith("not ok") else f"not ok {failure}"
        os.write(writer, verdict.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        verdict = pipe.read()
    os.waitpid(child, 0)
    return verdict or "not ok the case died"


def show_logs(user):
    for directory, _, files in os.walk(user.store):
        for name in files:
            if name in ("init.log", "server.log"):
                with open(os.path.join(directory, name), encoding="utf-8", errors="replace") as file:
                    for line in file.read().splitlines()[-15:]:
                        print(f"#   {name}: {line}")
    sys.stdout.flush()


def stage_binaries():
    """A copy of the programs where every user may look."""
    source = os.environ.get("TROOT_BIN") or os.path.dirname(shutil.which("troot") or "")
    directory = tempfile.mkdtemp(prefix="troot-bin-", dir="/var/tmp")
    atexit.register(shutil.rmtree, directory, True)
    os.chmod(directory, 0o755)
    for name in ("troot", "trootfs"):
        if not os.path.exists(f"{source}/{name}"):
            sys.exit(f"{source}/{name} is not built")
        shutil.copy(f"{source}/{name}", directory)
        os.chmod(f"{directory}/{name}", 0o755)
    return directory


def unable():
    """Why no case can run on this machine; empty where it can."""
    try:
        status = os.stat("/dev/fuse")
        if os.getuid() == 0 and stat.S_IMODE(status.st_mode) & 0o666 != 0o666:
            return "needs FUSE: chmod 666 /dev/fuse, since an ordinary user is to open it"
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        return f"needs FUSE: /dev/fuse: {error.strerror}"
    if subprocess.run(["unshare", "-Ur", "true"], capture_output=True, timeout=300).returncode != 0:
        return "needs user namespaces"
    return ""


def main():
    why = unable()
    wanted = sys.argv[1:]
    cases = [c for c in CASES if not wanted or any(word in c[0] for word in wanted)]
    print(f"1..{len(cases)}", flush=True)
    if why:
        for number, (title, *_) in enumerate(cases, 1):
            print(f"ok {number} - {title} # SKIP {why}")
        sys.exit(77)
    binaries = stage_binaries()
    failed = skipped = 0
    for number, (title, function, mode, seconds) in enumerate(cases, 1):
        begun = time.monotonic()
        verdict = run_case(function, mode, binaries, seconds)
        took = time.monotonic() - begun
        if verdict.startswith("not ok"):
            failed += 1
            for line in verdict[7:].splitlines():
                print(f"# {line}")
            print(f"not ok {number} - {title}", flush=True)
        else:
            skipped += verdict.startswith("skip")
            more = f" # SKIP {verdict[5:]}" if verdict.startswith("skip") else f" [{took:.1f} s]" if took > 2 else ""
            print(f"ok {number} - {title}{more}", flush=True)
    sys.exit(1 if failed else 77 if skipped == len(cases) else 0)
