"""Signals that ask for an end: one exception in the main thread, or an end without it where a library keeps that thread."""

import os
import signal
import threading

# What people, schedulers and limits send, and would end the program where it stands.
ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU") if hasattr(signal, name)]
PATIENCE_SECONDS = 1.0


class Interrupted(BaseException):
    """Not an Exception, so that nothing takes it for an error of a file."""


class Interruption:
    """From `watch` on, the first such signal raises Interrupted in the main thread. While a library computes there, for minutes perhaps, nothing
    can be raised: then `last_resort` is called with the signal's name from another thread, to clean up and end the process."""

    def __init__(self, last_resort):
        self.last_resort = last_resort
        self.signal = None  # its name
        self.over = False  # the main thread has handled it, or has ended its work
        self.holding = False
        self.turn = threading.Lock()  # of the thread that moves or removes what is written

    def watch(self):
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)  # is written to at once, whatever the main thread does
        for number in ENDING:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):  # nohup, a shell's background
                signal.signal(number, self.handle)
        threading.Thread(target=self.wait, args=(reading,), daemon=True).start()

    def handle(self, number, frame):
        if self.signal is None:
            self.signal = signal.Signals(number).name
            self.check()

    def check(self):
        """Called now and then, because a library may have swallowed the exception."""
        if self.signal is not None and not self.holding and not self.over:
            raise Interrupted

    def undisturbed(self, act, last=False):
        """Calls what makes, moves or removes files, which is short: no signal ends it in between, and none comes after the last act."""
        self.holding = True  # before the lock: a signal between the two would leave it taken
        with self.turn:
            act()
            self.over = last
        self.holding = False
        self.check()

    def wait(self, reading):
        number = 0
        while number not in ENDING:
            number = os.read(reading, 1)[0]
        for _ in range(20):
            threading.Event().wait(PATIENCE_SECONDS / 20)
            if self.over:
                return
        with self.turn:
            if not self.over:
                self.last_resort(signal.Signals(number).name)
