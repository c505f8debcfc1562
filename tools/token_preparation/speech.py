"""What is said to the user: failures that are sentences, and one way out for every line."""

import os
import re
import sys

# What steers a terminal or the direction of its text: C0, C1, bidirectional controls, separators of lines and paragraphs.
STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
SURROGATE = re.compile("[\ud800-\udfff]")  # half a pair, or a byte of a name that is no UTF-8
MOST_QUOTED = 120


class Failure(Exception):
    """A sentence for the user; exit code 3."""


def valid(text):
    """The text as valid Unicode, which can be written as UTF-8."""
    return text if text.isascii() else SURROGATE.sub("\ufffd", text)


def printable(text):
    """The text on one line, without what could steer a terminal."""
    escape = lambda found: f"\\x{ord(found[0]):02x}" if ord(found[0]) < 256 else f"\\u{ord(found[0]):04x}"
    return STEERING.sub(escape, valid(text))


def quote(text):
    """Somebody else's text as a part of a sentence."""
    return f"'{text[:MOST_QUOTED]}...'" if len(text) > MOST_QUOTED else f"'{text}'"


def names_of(names):
    """Somebody else's names as a part of a sentence."""
    names = [str(name) if len(str(name)) <= MOST_QUOTED else f"{str(name)[:MOST_QUOTED]}..." for name in names]
    more = len(names) - 30
    return (", ".join(names[:30]) + (f" and {more} more" if more > 0 else "")) or "none"


def reason(error):
    """What an exception of a library says, in its first line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{os.fsdecode(error.filename)}: {error.strerror}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def open_streams():
    """A closed stream is opened on nothing, so that no file of ours takes its number; a character that the stream's encoding lacks is escaped."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def write_line(stream, line):
    if stream is None:
        return
    try:
        print(printable(line), file=stream, flush=True)
    except (OSError, ValueError):  # the reader of a pipe has gone, a log's disk is full: the work goes on without
        lose(stream)


def lose(stream):
    """What the stream still holds goes nowhere: at its end Python would try to write it once more, and complain."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError):
        pass


def say(line):
    write_line(sys.stdout, line)


def complain(line):
    write_line(sys.stderr, f"prepare_tokens: {line}")


def need(package, purpose):
    """Imports a package that only this purpose needs."""
    try:
        return __import__(package, fromlist=["*"])
    except ImportError as error:
        top = package.split(".")[0]
        raise Failure(f"{purpose} needs the Python package {top}, which this Python has not ({reason(error)}): python3 -m venv build/tokens && "
                      f"build/tokens/bin/pip install {top}, then run this with build/tokens/bin/python") from None
