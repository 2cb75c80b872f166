"""Python scripts run inside a world, which say what they found as JSON."""
import json

PYTHON = "/usr/bin/python3"

HELPERS = r'''
import ctypes, errno, glob, json, os, stat, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(f, *words):
    """"ok", or the errno's name."""
    try:
        f(*words)
        return "ok"
    except OSError as e:
        return errno.errorcode[e.errno]
def system(number, *words):
    libc.syscall.restype = ctypes.c_long
    r = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(w) if isinstance(w, int) else w for w in words])
    return "ok" if r >= 0 else errno.errorcode[ctypes.get_errno()]
def say(what): print(json.dumps(what))
'''


def inside(user, world, script, *words, options=()):
    """What a Python script says inside, as JSON."""
    out = user.troot("exec", *options, world, "--", PYTHON, "-c", HELPERS + script, *words)
    return json.loads(out)
