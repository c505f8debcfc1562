"""The place where the files are written until all of them are whole, and how they then come to stand in --out."""

import errno
import hashlib
import os
import pathlib
import secrets
import shutil
import socket
import stat

from .speech import Failure, names_of, reason, say

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

PREFIX = ".tmp-"
INSIDE = f"{PREFIX}prepare_tokens"


def status(path):
    """What stands under the name, or None."""
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


class Lock:
    """Of one --out for one process at a time; a file that goes with its owner, or is taken over where the owner was killed."""

    def __init__(self, path, out):
        self.path = path
        while True:
            self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
            try:
                fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                owner = os.read(self.descriptor, 200).decode("utf-8", "replace").strip()
                os.close(self.descriptor)
                raise Failure(f"{out}: another prepare_tokens is writing there{owner and f' ({owner})'}: wait for it, stop it, or choose another "
                              "--out") from None
            except OSError:
                break  # a file system without locks is left to the user's care
            found = status(path)
            if found and (found.st_dev, found.st_ino) == (os.fstat(self.descriptor).st_dev, os.fstat(self.descriptor).st_ino):
                break
            os.close(self.descriptor)  # its owner has ended just now and removed it
        try:
            os.ftruncate(self.descriptor, 0)
            os.write(self.descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode("utf-8", "replace"))
        except OSError:
            pass

    def release(self):
        if self.descriptor is not None:
            try:
                os.unlink(self.path)
            except OSError:
                pass
            os.close(self.descriptor)
            self.descriptor = None


def others_in(directory):
    """What somebody else put there; a volume has its lost+found."""
    return [name for name in os.listdir(directory) if name != "lost+found" and not name.startswith(INSIDE)]


class StagingDirectory:
    """A directory beside --out that is renamed to it, or, where --out is an empty directory already (a volume cannot be renamed onto) or
    directories cannot be renamed, one inside of it, whose files are moved up. Whether that can be done is tried at the start."""

    def __init__(self, out):
        self.out = out
        self.destination = pathlib.Path(os.path.realpath(out))
        self.path, self.keep = None, False
        self.locks = []
        self.made = []  # directories that go again if nothing is written

    def open(self):
        try:
            self.find_place()
        except OSError as error:
            raise Failure(f"{self.out}: cannot write there: {reason(error)}; choose another --out, or change what is in the way") from None

    def find_place(self):
        self.inside = self.is_empty_directory()
        if not self.inside and not self.open_at(self.destination.parent, self.short_name(), self.try_the_directory):
            self.inside = True
        if self.inside and not self.open_at(self.destination, INSIDE, self.try_a_file):
            raise Failure(f"{self.out}: expected a place where files can be written and renamed, found one where they cannot: "
                          f"{self.why_not.strerror}; choose an --out on another file system")

    def is_empty_directory(self):
        """False where nothing is there; anything else is refused."""
        found = status(self.destination)
        if found is None:
            return False
        is_directory = stat.S_ISDIR(found.st_mode)
        if not is_directory or others_in(self.destination):
            raise Failure(f"{self.out} already exists{' and is not empty' if is_directory else ''}: choose another --out")
        return True

    def short_name(self):
        name = os.fsencode(self.destination.name)
        return PREFIX + (self.destination.name if len(name) <= 200 else hashlib.sha256(name).hexdigest()[:16])

    def open_at(self, home, name, can_be_moved):
        """Makes the directory to write in, and returns whether what is written there can be moved."""
        missing = [directory for directory in (home, *home.parents) if status(directory) is None]
        for directory in reversed(missing):
            try:
                os.mkdir(directory)
                self.made.append(directory)
            except FileExistsError:
                pass  # made by another just now
        if fcntl is not None:
            self.locks.append(Lock(home / f"{name}.lock", self.out))
        self.is_empty_directory()  # another may have ended between the first look and the lock
        say_what_was_left(home, name)
        self.path = home / f"{name}.{secrets.token_hex(4)}"
        os.mkdir(self.path)
        try:
            can_be_moved(self.path / "trial", self.path.with_name(f"{self.path.name}.trial"))
            return True
        except OSError as error:
            self.why_not = error
            for path in (self.path, self.path.with_name(f"{self.path.name}.trial")):
                shutil.rmtree(path, ignore_errors=True)
            self.path = None
            return False

    def try_the_directory(self, file, beside):
        file.write_bytes(b"trial")
        os.rename(self.path, beside)
        os.rename(beside, self.path)
        os.unlink(file)

    def try_a_file(self, file, beside):
        file.write_bytes(b"trial")
        os.rename(file, beside)
        os.unlink(beside)

    def publish(self):
        """All of it comes to stand in --out. What cannot be moved stays where it is, and the user is told where."""
        self.keep = True
        try:
            if self.inside:
                self.move_files()
            else:
                os.rename(self.path, self.destination)
        except OSError as error:
            raise Failure(f"cannot move what was written to {self.out}: {error.strerror}; all of it is whole and lies in {self.path}: move it from "
                          "there") from None
        self.path = None
        for directory in (self.destination, self.destination.parent):
            sync_directory(directory)

    def move_files(self):
        if others_in(self.destination):
            raise OSError(errno.ENOTEMPTY, "it is not empty any more")
        moved = []
        try:
            # tokenizer.json last: where it is, everything is.
            for name in sorted(os.listdir(self.path), key=lambda name: (name == "tokenizer.json", name)):
                os.rename(self.path / name, self.destination / name)
                moved.append(name)
        except OSError:
            for name in moved:
                os.rename(self.destination / name, self.path / name)
            raise
        try:
            os.rmdir(self.path)
        except OSError:
            pass

    def close(self):
        """Removes what is not whole."""
        if self.path is not None and not self.keep:
            shutil.rmtree(self.path, ignore_errors=True)
        for lock in self.locks:
            lock.release()
        for directory in reversed(self.made):
            try:
                os.rmdir(directory)
            except OSError:
                pass


def say_what_was_left(home, name):
    try:
        left = sorted(entry for entry in os.listdir(home) if entry.startswith(f"{name}.") and len(entry) == len(name) + 9)
    except OSError:
        left = []
    if left:
        say(f"note: {names_of([home / entry for entry in left])}: left by an earlier prepare_tokens that was killed, or could not move its work; "
            "remove what is not needed")


def sync_directory(directory):
    """So that the names in it are on the disk as well; where that cannot be done, they get there on their own."""
    try:
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError:
        pass
