"""What is written: llm.c's token shards, and whole files."""

import array
import errno
import os
import struct
import sys

from .speech import Failure, reason

HEADER_INTS = 256
MAGIC_AND_VERSION = {2: (20240520, 1), 4: (20240801, 7)}  # by bytes a token
MOST_TOKENS_A_SHARD = 2**31 - 1  # the count in the header is an int32
BUFFER_BYTES = 1 << 20


class File:
    """A new file. It buffers on its own, because Python's buffers try once more to write out, and complain, when they are dropped after a failure."""

    def __init__(self, path):
        self.path, self.buffer = path, bytearray()
        self.file = open(path, "xb", buffering=0)

    def write(self, content):
        self.buffer += content
        if len(self.buffer) >= BUFFER_BYTES:
            self.flush()

    def flush(self):
        try:
            rest = memoryview(bytes(self.buffer))
            while rest:
                rest = rest[self.file.write(rest):]
        except OSError as error:
            raise self.failure(error) from None
        self.buffer.clear()

    def failure(self, error):
        return Failure(f"{self.path}: cannot write to this file: {reason(error)}; free some space there, or choose another --out")

    def close(self, beginning=b""):
        """Writes `beginning` over the file's first bytes, and waits until the disk has all of it."""
        self.flush()
        try:
            self.file.seek(0)
            self.file.write(beginning)
            sync(self.file.fileno())
            self.file.close()
        except OSError as error:
            raise self.failure(error) from None


def sync(descriptor):
    """Not every file system can wait for its disk."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise


def write_whole(path, content):
    file = File(path)
    file.write(content)
    file.close()


class ShardWriter:
    """Shards <prefix>_00000.bin, <prefix>_00001.bin ... of `shard_tokens` each, the last one shorter."""

    def __init__(self, directory, prefix, width, shard_tokens):
        self.directory, self.prefix, self.width, self.shard_tokens = directory, prefix, width, shard_tokens
        self.tokens, self.shards, self.file, self.in_shard = 0, 0, None, 0

    def write(self, tokens):
        while tokens:
            if self.file is None:
                self.file, self.in_shard = File(self.directory / f"{self.prefix}_{self.shards:05d}.bin"), 0
                self.file.write(bytes(4 * HEADER_INTS))
            part, tokens = tokens[:self.shard_tokens - self.in_shard], tokens[self.shard_tokens - self.in_shard:]
            body = array.array("H" if self.width == 2 else "I", part)
            if sys.byteorder != "little":
                body.byteswap()
            self.file.write(body.tobytes())
            self.in_shard += len(part)
            self.tokens += len(part)
            if self.in_shard == self.shard_tokens:
                self.close()

    def close(self):
        if self.file is None:
            return
        self.file.close(struct.pack("<3i", *MAGIC_AND_VERSION[self.width], self.in_shard))
        self.file, self.shards = None, self.shards + 1
