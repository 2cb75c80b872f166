#!/usr/bin/env python3
"""Taking part in a world: exit codes, what is found inside, joining, terminals, signals, and how a world
ends."""
import os
import pty
import select
import signal
import subprocess
import time

from bed import Failure, Skip, case, check, equal, main, servers, wait_until
from machine import Patience, complete, slowness

EVERY = ("one", "range", "root")


@case("the exit code is the command's own; 125 to 128 and more as shells have them", ids=EVERY)
def exit_codes(u):
    u.world("w")
    u.troot("exec", "w", "true")
    u.troot("exec", "w", "--", "false", status=1)
    u.shell("w", "exit 42", status=42)
    u.shell("w", "kill -TERM $$", status=128 + signal.SIGTERM)
    u.shell("w", "kill -KILL $$", status=128 + signal.SIGKILL)
    u.refused(127, "exec", "w", "no-such-program", says=["no-such-program"])
    u.refused(126, "exec", "w", "/etc/passwd", says=["/etc/passwd"])
    u.refused(125, "exec", "absent", "true", says=["absent", "troot list"])
    u.refused(125, "enter", "absent", says=["absent"])
    u.refused(125, "exec", "w", says=["no command"])
    u.refused(125, "run", "--rm", says=["no command"])
    u.refused(125, "run", "--rm", "--limit", "12Q", "true", says=["12Q"])
    u.refused(125, "exec", "--nonsense", "w", "true", says=["--nonsense"])


@case("options after the command are the command's")
def options_pass(u):
    u.world("w")
    equal(u.troot("exec", "w", "echo", "--help", "-n", "--", "x"), "--help -n -- x\n", "exec without --")
    equal(u.troot("exec", "w", "--", "printf", "%s.", "--json", ""), "--json..", "exec with --")
    equal(u.troot("run", "--rm", "echo", "--rm", "--limit"), "--rm --limit\n", "run")


@case("inside: who one is, what is mounted, where one stands", ids=EVERY)
def inside(u):
    u.world("w")
    equal(u.shell("w", "id -u; id -g; echo $TROOT_WORLD $HOME $USER; cat /etc/debian_chroot"),
          "0\n0\nw /root root\nw\n", "identity")
    equal(u.troot("exec", "w", "pwd", cwd="/usr/share"), "/usr/share\n", "a directory that is there is kept")
    equal(u.troot("exec", "w", "pwd", cwd="/tmp"), "/tmp\n", "and /tmp")
    os.mkdir(u.home + "/data/elsewhere", 0o777)
    u.shell("w", "test -e /proc/self/status && test -c /dev/null && echo x > /dev/null && test -d /sys/class")
    u.shell("w", "test -f /run/.trootenv && touch /tmp/t /dev/shm/s /run/r /var/tmp/v && test ! -e /run/dbus")
    equal(u.shell("w", "ls /tmp; ls /dev/shm"), "t\ns\n", "/tmp and /dev/shm are kept, and their own")
    check("/run/.troot" not in u.shell("w", f"ls -A {u.store} 2>/dev/null; true"), "the store shows")
    equal(u.shell("w", f"ls {u.store} 2>/dev/null | wc -l"), "0\n", "what a world sees of the store")
    equal(u.shell("w", "python3 -c 'import pty; pty.openpty(); print(1)'"), "1\n", "a pseudo terminal can be opened")
    check(not os.path.exists("/var/tmp/v") and not os.path.exists("/tmp/t"), "written to the host")
    equal(u.shell("w", "ls /proc/self/fd | wc -l"), "4\n", "descriptors of a command: 0 to 2 and the listing's own")


@case("list marks the world one is in, inside and not outside", ids=EVERY)
def marked(u):
    u.world("w1")
    u.world("w2", "--limit", "1G")
    def marks(text):
        return {line.split()[0]: line.split()[1] for line in text.splitlines()[1:]}
    equal(marks(u.troot("list")), {"w1": "-", "w2": "-"}, "outside")
    equal(marks(u.troot("exec", "w2", "troot", "list")), {"w1": "-", "w2": "*"}, "inside w2")
    equal(u.troot("exec", "w1", "troot", "list", "-q"), "w1\nw2\n", "list -q")
    check('"current": true' in u.troot("exec", "w1", "--", "troot", "status", "w1", "--json"), "status --json inside")
    u.refused(1, "exec", "w1", "troot", "rm", "w2", says=["w1", "list"])


@case("two terminals in one world see each other's files; two worlds do not; the host neither", ids=EVERY)
def shared(u):
    u.world("w1")
    u.world("w2")
    first = u.popen("troot", "exec", "w1", "--", "sh", "-c",
                    "echo one > /srv/one; echo ready; while [ ! -e /srv/two ]; do sleep 0.05; done; cat /srv/two",
                    stdout=subprocess.PIPE, text=True)
    equal(first.stdout.readline(), "ready\n", "the first terminal")
    equal(u.status("w1")["sessions"], 1, "sessions")
    equal(u.status("w1")["state"], "running", "state")
    equal(u.shell("w1", "cat /srv/one"), "one\n", "the second terminal reads the first's")
    u.shell("w2", "test ! -e /srv/one")
    u.shell("w1", "echo two > /srv/two")
    equal(first.communicate(timeout=20)[0], "two\n", "the first terminal reads the second's")
    check(not os.path.exists("/srv/one"), "/srv/one on the host")
    equal(u.shell("w1", "cat /srv/one /srv/two"), "one\ntwo\n", "after all have left")


@case("ten starts at once make one world")
def at_once(u):
    u.world("w")
    children = [u.popen("troot", "exec", "w", "--", "sh", "-c", f"echo {i} >> /srv/log; sleep 0.{i}") for i in range(10)]
    for child in children:
        equal(child.wait(60), 0, "status")
    equal(sorted(u.shell("w", "cat /srv/log").split()), [str(i) for i in range(10)], "the log they share")


@case("start and stop, over and over, from two sides")
def start_stop(u):
    u.world("w")
    loops = [u.popen("sh", "-c", "for i in 1 2 3 4 5 6 7 8; do troot exec w true || exit 1; done") for _ in range(2)]
    for loop in loops:
        equal(loop.wait(100), 0, "status")


@case("the last one out ends the world and its server; leftovers end too", ids=("one", "root"))
def last_one_out(u):
    u.world("w")
    started = time.monotonic()
    u.shell("w", "sleep 1000 & trap '' TERM; (trap '' TERM HUP; sleep 1000) & echo left")
    check(time.monotonic() - started < 20 * slowness(), "leaving took long")
    equal(servers(u), [], "servers")
    equal(u.status("w")["state"], "stopped", "state")


@case("a shell reads commands from a pipe, and its exit is ours")
def piped_shell(u):
    u.world("w")
    equal(u.troot("enter", "w", text="echo in $TROOT_WORLD\nexit 9\n", status=9), "in w\n", "output")


class Screen:
    """A terminal with a shell on it, as a person has one."""

    def __init__(self, user):
        self.child, self.fd = pty.fork()
        if self.child == 0:
            os.chdir("/")
            if user.identity():
                os.setgroups([])
                os.setgid(user.gid)
                os.setuid(user.uid)
            os.execvpe("bash", ["bash", "--norc", "--noprofile", "-i"], user.environment)
        self.text = ""

    def expect(self, word, seconds=20):
        patience = Patience(seconds)
        while word not in self.text:
            if not select.select([self.fd], [], [], max(0, patience.left()))[0]:
                if not patience.over():
                    continue
                raise Failure(f"no {word!r} on the terminal: {self.text!r}")
            try:
                self.text += os.read(self.fd, 4096).decode(errors="replace")
            except OSError:
                raise Failure(f"the terminal closed before {word!r}: {self.text!r}") from None
        before, self.text = self.text.split(word, 1)
        return before

    def type(self, keys):
        os.write(self.fd, keys.encode())

    def run(self, words, shown=None):
        """Types a command, and waits until it (`shown`: what it runs) is what the terminal's keys go to."""
        self.type(words + "\n")
        self.front(shown or words)

    def front(self, words):
        wanted = "\0".join(words.split()) + "\0"

        def in_front():
            try:
                with open(f"/proc/{os.tcgetpgrp(self.fd)}/cmdline", encoding="utf-8", errors="replace") as file:
                    return file.read() == wanted
            except OSError:
                return False  # the shell is about to start it
        wait_until(in_front, f"'{words}' in the foreground", seconds=20)

    def close(self):
        os.close(self.fd)
        os.kill(self.child, signal.SIGKILL)
        os.waitpid(self.child, 0)


def state_of(words):
    """The state of the one process that runs these words, or None."""
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/cmdline", encoding="utf-8", errors="replace") as file:
                if file.read().split("\0")[:-1] != words.split():
                    continue
            with open(f"/proc/{entry}/stat", encoding="utf-8") as file:
                return file.read().rsplit(")", 1)[1].split()[0]
        except OSError:
            pass
    return None


@case("a terminal: job control inside, ^C, ^Z and fg outside, and the prompt comes back", ids=EVERY)
def terminal(u):
    u.world("w")
    screen = Screen(u)
    screen.type("PS1='ho''st> '\n")
    screen.expect("host> ")
    screen.type("troot exec w -- bash --norc --noprofile -i\n")
    screen.expect("# ")
    screen.type("PS1='in''side> '\n")
    screen.expect("inside> ")
    screen.run("sleep 1000")
    screen.type("\x03")
    screen.expect("inside> ")
    screen.run("sleep 1001")
    screen.type("\x1a")
    screen.expect("Stopped")
    screen.expect("inside> ")
    screen.type("kill %1; tty; exit 3\n")
    screen.expect("host> ")
    screen.type("echo was $?\n")
    screen.expect("was 3")
    screen.expect("host> ")
    sleeper = f"sleep 1002.{os.getpid()}"
    screen.run(f"troot exec w -- {sleeper}", sleeper)
    screen.type("\x1a")
    screen.expect("Stopped")
    screen.expect("host> ")
    wait_until(lambda: state_of(sleeper) == "T", "the command is stopped, too")
    screen.type("fg\n")
    wait_until(lambda: state_of(sleeper) == "S", "the command goes on")
    screen.front(sleeper)
    screen.type("\x03")
    screen.expect("host> ")
    screen.type("echo was $?\n")
    screen.expect("was 130")
    screen.close()


@case("a terminal: what is stopped and goes on in the background leaves the prompt alone; in a pipeline who asks has it")
def background(u):
    u.world("w")
    screen = Screen(u)
    screen.type("PS1='ho''st> '\n")
    screen.expect("host> ")
    sleeper = f"sleep 1003.{os.getpid()}"
    screen.run(f"troot exec w -- {sleeper}", sleeper)
    screen.type("\x1a")
    screen.expect("Stopped")
    screen.expect("host> ")
    screen.type("bg; echo so''on\n")
    screen.expect("soon")
    wait_until(lambda: state_of(sleeper) == "S", "the command goes on in the background")
    screen.type("kill %1; wait; echo en''ded\n")
    screen.expect("ended")
    screen.expect("host> ")
    # In the background it may not read the terminal: it is stopped, until it is brought to the front.
    screen.type("troot exec w -- sh -c 'read a < /dev/tty; echo go''t $a' &\n")
    screen.expect("host> ")
    screen.type("sleep 2; jobs\n")
    screen.expect("Stopped")
    screen.type("fg\n")
    time.sleep(0.5)
    screen.type("word\n")
    screen.expect("got word")
    screen.expect("host> ")
    # A pager behind it has the keys; before it, what asks gets them.
    screen.type("troot exec w -- echo text | (read a; read b < /dev/tty; echo $a be''hind $b)\n")
    time.sleep(0.5)
    screen.type("keys\n")
    screen.expect("text behind keys")
    screen.expect("host> ")
    screen.type("echo text | troot exec w -- sh -c 'read a; read b < /dev/tty; echo $a insi''de $b'\n")
    time.sleep(0.5)
    screen.type("keys\n")
    screen.expect("text inside keys")
    screen.expect("host> ")
    # ^C ends a script around it, too; also where the keys go to the script's group.
    sleeper = f"sleep 1004.{os.getpid()}"
    for words in (f"troot exec w -- {sleeper}", f"troot exec w -- {sleeper} < /dev/null | cat"):
        screen.type(f"sh -c '{words}; echo not ended'; echo af''ter\n")
        wait_until(lambda: state_of(sleeper), "the command", seconds=20)
        time.sleep(0.3)
        screen.type("\x03")
        before = screen.expect("host> ")
        check("\nnot ended" not in before, f"the script went on: {before!r}")
        wait_until(lambda: not state_of(sleeper), "the command ends")
    screen.close()


@case("a signal to troot goes to the command; what troot does in the end is done all the same")
def signals(u):
    u.world("w")
    child = u.popen("troot", "exec", "w", "--", "sh", "-c", "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done",
                    stdout=subprocess.PIPE, text=True)
    equal(child.stdout.readline(), "ready\n", "the command")
    os.kill(child.pid, signal.SIGTERM)
    equal(child.wait(20), 7, "status")
    equal(servers(u), [], "servers")


@case("a troot that is killed ends its command, and the world if it was the last")
def killed_client(u):
    u.world("w")
    child = u.popen("troot", "exec", "w", "--", "sh", "-c", "echo ready; sleep 1000", stdout=subprocess.PIPE, text=True)
    equal(child.stdout.readline(), "ready\n", "the command")
    os.kill(child.pid, signal.SIGKILL)
    child.wait(20)
    wait_until(lambda: not servers(u), "the server ends")
    equal(u.status("w")["state"], "stopped", "state")
    u.troot("exec", "w", "true")


@case("a server that is killed ends the world; the next start is as any", ids=("one", "root"))
def killed_server(u):
    u.world("w")
    child = u.popen("troot", "exec", "w", "--", "sh", "-c", "echo kept > /srv/f; sync /srv/f; echo ready; while :; do :; done",
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    equal(child.stdout.readline(), "ready\n", "the command")
    for server in servers(u):
        os.kill(server, signal.SIGKILL)
    err = child.communicate(timeout=30)[1]
    equal(child.returncode, 125, f"status ({err!r})")
    check("the server of world 'w' ended" in err.splitlines()[-1], f"troot says {err!r}")
    equal(u.shell("w", "cat /srv/f"), "kept\n", "after the next start")


@case("stop ends the sessions, rm refuses a world in use, rm --force does not", ids=("one", "root"))
def stop_and_rm(u):
    u.world("w")
    def busy():
        child = u.popen("troot", "exec", "w", "--", "sh", "-c", "echo ready; sleep 1000", stdout=subprocess.PIPE, text=True)
        equal(child.stdout.readline(), "ready\n", "the command")
        return child
    child = busy()
    u.refused(1, "rm", "w", says=["w", "1 session", "--force"])
    u.troot("stop", "w")
    equal(child.wait(20), 128 + signal.SIGTERM, "status of the session")
    equal(servers(u), [], "servers after stop")
    u.troot("stop", "w")
    child = busy()
    u.troot("rm", "--force", "w")
    check(child.wait(20) >= 128, "status of the session")
    equal(os.listdir(u.store + "/worlds"), [], "what is left")


@case("stop: of the two signals, a command that was stopped itself ends by SIGTERM", ids=("one", "root"))
def stop_the_stopped(u):
    u.world("w")
    # Its shell tells how it ended; that one gets the same signals, and ignores them.
    script = "trap '' TERM HUP; (trap - TERM HUP; echo ready; kill -STOP $(exec sh -c 'echo $PPID'); sleep 1000); echo ended $?"
    child = u.popen("troot", "exec", "w", "--", "bash", "-c", script, stdout=subprocess.PIPE, text=True)
    equal(child.stdout.readline(), "ready\n", "the command")
    time.sleep(0.3)  # a signal that comes before it stopped itself says nothing, and does no harm
    u.troot("stop", "w")
    equal(child.communicate(timeout=30)[0], "ended 143\n", "what the shell says of the command")


@case("a host that covers parts of /proc: worlds do without process ids of their own")
def covered_proc(u):
    if os.getuid() != 0:
        raise Skip("needs root")
    u.world("w")
    script = ("mount --make-rprivate / && mount -t tmpfs none /proc/irq && "
              f"exec setpriv --reuid {u.uid} --regid {u.gid} --clear-groups sh -c '"
              "troot exec w -- sh -c \"test -e /proc/self/status && exit 5\"; test $? = 5 && "
              "troot exec w -- sh -c \"sleep 1000 & exit 6\"; test $? = 6'")
    done = complete(["unshare", "-m", "sh", "-c", script], 60, env=u.environment, cwd="/", capture_output=True, text=True)
    equal(done.returncode, 0, f"status ({done.stderr})")
    equal(servers(u), [], "servers")


if __name__ == "__main__":
    main()
