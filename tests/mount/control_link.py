"""One request to a server's control socket (fusefs/control/protocol.h), for tests and the benchmark."""
import os
import socket


def ask(path, request):
    """The answer's first line, `ok` or why not, and the others. OSError where nobody listens."""
    directory, name = os.path.split(path)
    link = socket.socket(socket.AF_UNIX)
    link.settimeout(10)
    descriptor = os.open(directory, os.O_PATH)
    try:  # a path longer than sun_path is reached through its directory
        link.connect(f"/proc/self/fd/{descriptor}/{name}")
        link.sendall(request.encode() + b"\n")
        data = b""
        while not data.endswith(b"\n\n") and (chunk := link.recv(65536)):
            data += chunk
    finally:
        os.close(descriptor)
        link.close()
    first, *lines = data.decode().split("\n")
    return first, [line for line in lines if line]
