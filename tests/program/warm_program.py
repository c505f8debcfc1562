"""Commands of the program without its start: a copy that is loaded once and forked for each (warm_program.cpp)."""

import atexit
import os
import socket
import struct
import subprocess
import tempfile
import threading


class WarmProgram:
    """One copy, started with the first command and ended with this process. Commands may come from several threads."""

    def __init__(self, path):
        self.path = path
        self.environment = dict(os.environ)
        self.lock = threading.Lock()
        self.commands = None

    def run(self, command, directory):
        """subprocess.run(command, cwd=directory, text=True, capture_output=True), with standard input from nowhere."""
        assert dict(os.environ) == self.environment, "the copy that is loaded has another environment"
        self.start()
        text = b"".join(os.fsencode(word) + b"\0" for word in (directory, *command))
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err, open(os.devnull) as nothing:
            answer, its_end = socket.socketpair()
            with answer:
                with its_end:
                    socket.send_fds(self.commands, [text], [file.fileno() for file in (its_end, nothing, out, err)])
                status = answer.recv(4)
            if len(status) != 4:
                raise RuntimeError(f"{self.path} has ended, or cannot fork")
            out.seek(0), err.seek(0)
            code = os.waitstatus_to_exitcode(struct.unpack("i", status)[0])
            return subprocess.CompletedProcess(command, code, out.read(), err.read())

    def start(self):
        with self.lock:
            if self.commands is None:
                self.commands, its_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                with its_end:
                    process = subprocess.Popen([self.path], stdin=its_end, stdout=subprocess.DEVNULL)
                atexit.register(process.wait)
                atexit.register(self.commands.close)  # first
