"""Processes that do what they are told, one call at a time, so that a test says who does what in which
order and several do it at once."""
import os
import pickle
import signal
import struct


class Actor:
    """A process with an object of its own, made there by `make`; calls of its methods are sent to it."""

    def __init__(self, make):
        self.make = make
        self.start()

    def start(self):
        requests, self.requests = os.pipe()
        self.answers, answers = os.pipe()
        self.pid = os.fork()
        if self.pid:
            os.close(requests)
            os.close(answers)
            return
        try:
            os.close(self.requests)
            os.close(self.answers)
            hands = self.make()
            with os.fdopen(requests, "rb") as source:
                while True:
                    name, arguments = pickle.load(source)
                    try:
                        answer = ("done", getattr(hands, name)(*arguments))
                    except OSError as error:
                        answer = ("refused", error.errno)
                    data = pickle.dumps(answer)
                    data = struct.pack("I", len(data)) + data
                    while data:
                        data = data[os.write(answers, data):]
        except BaseException:  # the end of the test, or of what it maps
            os._exit(1)

    def ask(self, name, *arguments):
        data = pickle.dumps((name, arguments))
        while data:
            data = data[os.write(self.requests, data):]

    def answer(self):
        """("done", value), ("refused", errno), or ("gone", None) where the process died; another then takes its place."""
        head = os.read(self.answers, 4)
        if len(head) < 4:
            self.end()
            self.start()
            return "gone", None
        wanted, data = struct.unpack("I", head)[0], b""
        while len(data) < wanted:
            data += os.read(self.answers, wanted - len(data))
        return pickle.loads(data)

    def call(self, name, *arguments):
        self.ask(name, *arguments)
        return self.answer()

    def end(self):
        os.close(self.requests)
        os.close(self.answers)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
