"""What a file is: its first bytes say it, or else its ending; text is the last guess."""

import codecs
import dataclasses
import importlib
import io
import json
import os
import pathlib
import re
import stat
import sys

from .speech import Failure, reason

HEAD_BYTES = 1 << 16
MOST_LAYERS = 4

READABLE = {"text": "text", "jsonl": "JSON lines", "json": "JSON", "csv": "CSV", "tsv": "TSV", "parquet": "parquet"}
ENDINGS = {".txt": "text", ".text": "text", ".jsonl": "jsonl", ".ndjson": "jsonl", ".jsonlines": "jsonl", ".json": "json", ".csv": "csv",
           ".tsv": "tsv", ".tab": "tsv", ".parquet": "parquet", ".pq": "parquet"}
COMPRESSED_ENDINGS = (".gz", ".gzip", ".bz2", ".xz", ".lzma", ".zst", ".zstd")

# The cure where the format is known to be none of these.
AS_TEXT = "--format text takes it as it stands"
PLAIN = "save it as plain text"
UNPACK = "unpack it first"
PARQUET = "write its texts as parquet or as JSON lines"
AS_IT_IS = "if it holds token ids, it needs no preparing: name it as path in data.train"
WEIGHTS = "a model's weights hold no text"
NANOGPT = ("if it holds uint16 ids without a header, as nanoGPT writes them, make an array of it, which vpd reads: "
           "python -c \"import numpy as n; n.save('train.npy', n.fromfile('train.bin', n.uint16))\"")

# Offset, bytes, name, cure.
MAGIC = (
    (0, b"version https://git-lfs.github.com/spec/", "a Git LFS pointer, which stands in for the file itself", "fetch the file with git lfs pull"),
    (0, b"%PDF-", "a PDF document", "extract its text first, with pdftotext for example"),
    (0, b"%!PS", "a PostScript document", "extract its text first, with ps2ascii for example"),
    (0, b"{\\rtf", "a document in rich text format", PLAIN),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Office document", PLAIN),
    (0, b"WARC/", "a web archive (WARC)", "extract its texts first"),
    (0, b"\xff\xd8\xff", "a JPEG image", "give text"),
    (0, b"\x89PNG\r\n", "a PNG image", "give text"),
    (0, b"GIF87a", "a GIF image", "give text"),
    (0, b"GIF89a", "a GIF image", "give text"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (0, b"Rar!\x1a\x07", "a RAR archive", UNPACK),
    (257, b"ustar", "a tar archive", f"{UNPACK}, with tar -xf"),
    (0, b"\x04\x22\x4d\x18", "an LZ4 stream", "decompress it first, with lz4 -d"),
    (0, b"\x1f\x9d", "a file that compress made", "decompress it first, with uncompress"),
    (0, b"\xff\x06\x00\x00sNaPpY", "a Snappy stream", "decompress it first"),
    (0, b"\x93NUMPY", "a NumPy array", AS_IT_IS),
    (0, (20240520).to_bytes(4, "little"), "a token shard", AS_IT_IS),
    (0, (20240801).to_bytes(4, "little"), "a token shard", AS_IT_IS),
    (0, b"ARROW1\x00\x00", "an Arrow file", PARQUET),
    (0, b"\xff\xff\xff\xff", "an Arrow stream", f"give the directory that datasets saved, or {PARQUET}"),
    (0, b"Obj\x01", "an Avro file", PARQUET),
    (0, b"\x89HDF\r\n", "an HDF5 file", PARQUET),
    (0, b"SQLite format 3\x00", "an SQLite database", PARQUET),
    (0, b"GGUF\x02\x00", "a GGUF file", WEIGHTS),
    (0, b"GGUF\x03\x00", "a GGUF file", WEIGHTS),
    (0, b"\x80\x02", "a pickle of Python or PyTorch", PARQUET),
    (0, b"\x80\x03", "a pickle of Python", PARQUET),
    (0, b"\x80\x04", "a pickle of Python", PARQUET),
    (0, b"\x80\x05", "a pickle of Python", PARQUET),
    (0, b"\x7fELF", "a program", "give text"),
    (0, b"\x00\x05\x16\x07", "what macOS stores beside a file (._NAME)", "give the file itself"),
    (0, b"\x00\x00\x00\x01Bud1", "a .DS_Store of macOS", "leave it out"),
)

# Where the first bytes say nothing, or say zip.
ENDINGS_OF_OTHERS = {
    ".bin": ("a .bin file without the header of a token shard", NANOGPT),
    ".npy": ("a damaged .npy file", AS_IT_IS), ".npz": ("NumPy arrays (.npz)", "if they hold token ids, save each as .npy, which vpd reads"),
    ".safetensors": ("a damaged .safetensors file", WEIGHTS), ".gguf": ("a .gguf file", WEIGHTS), ".onnx": ("an .onnx file", WEIGHTS),
    ".pt": ("a PyTorch checkpoint (.pt)", WEIGHTS), ".pth": ("a PyTorch checkpoint (.pth)", WEIGHTS), ".ckpt": ("a checkpoint (.ckpt)", WEIGHTS),
    ".pkl": ("a pickle (.pkl)", PARQUET), ".pickle": ("a pickle (.pickle)", PARQUET), ".arrow": ("an .arrow file", PARQUET),
    ".feather": ("a .feather file", PARQUET), ".orc": ("an .orc file", PARQUET), ".avro": ("an .avro file", PARQUET),
    ".tfrecord": ("a .tfrecord file", PARQUET), ".msgpack": ("a .msgpack file", PARQUET), ".h5": ("an .h5 file", PARQUET),
    ".hdf5": ("an .hdf5 file", PARQUET), ".db": ("a database (.db)", PARQUET), ".sqlite": ("a database (.sqlite)", PARQUET),
    ".pdf": ("a damaged PDF document", "extract its text first, with pdftotext for example"), ".epub": ("an e-book (.epub)", PLAIN),
    ".mobi": ("an e-book (.mobi)", PLAIN), ".doc": ("a document (.doc)", PLAIN), ".docx": ("a document (.docx)", PLAIN),
    ".odt": ("a document (.odt)", PLAIN), ".rtf": ("a document (.rtf)", PLAIN), ".ppt": ("slides (.ppt)", PLAIN), ".pptx": ("slides (.pptx)", PLAIN),
    ".xls": ("a spreadsheet (.xls)", "save it as CSV"), ".xlsx": ("a spreadsheet (.xlsx)", "save it as CSV"),
    ".ods": ("a spreadsheet (.ods)", "save it as CSV"), ".tar": ("a tar archive", f"{UNPACK}, with tar -xf"),
    ".tgz": ("a tar archive", f"{UNPACK}, with tar -xf"), ".zip": ("a zip archive", f"{UNPACK}, with unzip"), ".7z": ("a 7z archive", UNPACK),
    ".rar": ("a RAR archive", UNPACK), ".br": ("a Brotli stream", "decompress it first, with brotli -d"),
    ".lz4": ("an LZ4 stream", "decompress it first, with lz4 -d"), ".html": ("an HTML page", f"extract its text first; {AS_TEXT}"),
    ".htm": ("an HTML page", f"extract its text first; {AS_TEXT}"), ".xml": ("an XML document", f"extract its texts first; {AS_TEXT}"),
}
ZIPS = (b"PK\x03\x04", b"PK\x05\x06")
BYTE_ORDER_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"),
                    (codecs.BOM_UTF16_BE, "utf-16"))  # those of UTF-32 first, which begins as that of UTF-16 does
# An object with its first key, or a list that begins with one: what no prose begins with.
BEGINS_AS_JSON = re.compile(r'\s*(\[\s*)?\{\s*"([^"\\]|\\.){0,200}"\s*:')
BEGINS_AS_MARKUP = re.compile(r"\s*<(!doctype\s+html|html|\?xml)\b", re.IGNORECASE)
CONTROLS = bytes(set(range(32)) - set(b"\t\n\v\f\r\b\x1b\x1a")) + b"\x7f"


DECOMPRESSORS = {"gzip": ("gzip", "GzipFile", "gunzip"), "bz2": ("bz2", "BZ2File", "bunzip2"), "lzma": ("lzma", "LZMAFile", "unxz"),
                 "zstd": ("compression.zstd", "ZstdFile", "zstd -d")}  # zstd from Python 3.14 on


@dataclasses.dataclass(frozen=True)
class Found:
    """What a file is, and how its content is reached."""
    path: pathlib.Path
    format: str = "text"  # a key of READABLE
    encoding: str = "utf-8"
    layers: tuple = ()  # of compression, outermost first
    pipe: object = None  # the stream of what can be read once only
    empty: bool = False

    def open(self):
        """Its bytes, decompressed."""
        if self.pipe is not None:
            return self.pipe
        stream = open(self.path, "rb")
        for layer in self.layers:
            stream = decompressed(stream, layer, self.path)
        return stream

    def open_text(self, newline):
        return io.TextIOWrapper(self.open(), encoding=self.encoding, newline=newline)


def layer_of(head):
    if head.startswith(b"\x1f\x8b\x08"):
        return "gzip"
    if head.startswith(b"BZh") and head[4:10] in (b"1AY&SY", b"\x17rE8P\x90"):
        return "bz2"
    old_lzma = head.startswith(b"\x5d\x00\x00") and (head[5:13] == b"\xff" * 8 or head[9:13] == bytes(4))  # its length is unknown, or below 4 GB
    if head.startswith(b"\xfd7zXZ\x00") or old_lzma:
        return "lzma"
    return "zstd" if head.startswith(b"\x28\xb5\x2f\xfd") else None


class Decompressed(io.BufferedReader):
    """Closes the stream that it comes from as well."""

    def __init__(self, stream, source):
        super().__init__(stream, HEAD_BYTES)
        self.source = source

    def close(self):
        super().close()
        self.source.close()


def decompressed(stream, layer, path):
    """With Python's standard library alone."""
    module, name, tool = DECOMPRESSORS[layer]
    try:
        opener = getattr(importlib.import_module(module), name)
    except ImportError:
        raise Failure(f"{path}: expected a file that this Python can decompress, found one compressed by {layer}, which Python "
                      f"{sys.version_info.major}.{sys.version_info.minor} here cannot: decompress it first, with {tool}") from None
    return Decompressed(opener(fileobj=stream, mode="rb") if layer == "gzip" else opener(stream, mode="rb"), stream)


def ending_of(path):
    """The last ending that does not name a compression, in small letters."""
    name = path.name.lower()
    while name.endswith(COMPRESSED_ENDINGS):
        name = name[:name.rindex(".")]
    return pathlib.PurePath(name).suffix


def is_compressed(path):
    return path.name.lower().endswith(COMPRESSED_ENDINGS)


def look(path, taken_as=None):
    """What the file is. `taken_as` is a format that the user names, against what it looks like. A file that is none of READABLE is refused."""
    path = pathlib.Path(path)
    stream = open(path, "rb", buffering=0)
    regular = stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    stream, layers = io.BufferedReader(stream, HEAD_BYTES), []
    try:
        head = stream.peek(HEAD_BYTES)
        while len(layers) < MOST_LAYERS and layer_of(head):
            layers.append(layer_of(head))
            stream = decompressed(stream, layers[-1], path)
            head = stream.peek(HEAD_BYTES)
    except READING_ERRORS as error:
        if not layers:
            raise
        raise Failure(f"{path}: expected a whole {layers[-1]} file, found a damaged one: {reason(error)}") from None
    finally:
        if regular:
            stream.close()
    encoding = next((name for mark, name in BYTE_ORDER_MARKS if head.startswith(mark)), "utf-8")
    found = Found(path, encoding=encoding, layers=tuple(layers), pipe=None if regular else stream, empty=not head)
    return dataclasses.replace(found, format=taken_as or format_of(found, head))


def refusal(path, head):
    """The name and the cure of a format that is not read here; None where the first bytes are of no such format."""
    ending = ending_of(path)
    for offset, magic, name, cure in MAGIC:
        if head.startswith(magic, offset):
            return name, cure
    if head.startswith(ZIPS):
        return ENDINGS_OF_OTHERS.get(ending, ENDINGS_OF_OTHERS[".zip"])
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= 1 << 27:
        return "a safetensors file", WEIGHTS
    return None


def format_of(found, head):
    path, ending = found.path, ending_of(found.path)

    def refuse(name, cure):
        within = f" within {found.layers[0]}" if found.layers else ""
        raise Failure(f"{path}: expected text, JSON lines, JSON, CSV, TSV or parquet, found {name}{within}: {cure}")

    if not head:
        return ENDINGS.get(ending, "text")
    others = refusal(path, head)
    if others:
        refuse(*others)
    if head.startswith(b"PAR1") and (b"\x00" in head or ending in (".parquet", ".pq")):
        if found.layers:
            refuse("parquet", "decompress it first")
        return "parquet"
    if head.startswith(b"PARE"):
        refuse("encrypted parquet", "decrypt it first")
    try:
        text = codecs.getincrementaldecoder(found.encoding)().decode(head)
    except UnicodeDecodeError:
        text = None
    if found.encoding in ("utf-8", "utf-8-sig") and b"\x00" in head:
        low, high = head[0::2].count(0), head[1::2].count(0)
        order = "LE" if high > 4 * low else "BE"
        if max(low, high) > 4 * min(low, high) and max(low, high) * 5 > len(head) and ending not in ENDINGS_OF_OTHERS:
            refuse(f"UTF-16{order} without a byte order mark", f"convert it first, with iconv -f UTF-16{order} -t UTF-8")
        refuse(*ENDINGS_OF_OTHERS.get(ending, binary(head)))
    if text is None and sum(map(head.count, CONTROLS)) * 50 > len(head):
        refuse(*ENDINGS_OF_OTHERS.get(ending, binary(head)))
    if text is not None and BEGINS_AS_MARKUP.match(text):
        refuse(*ENDINGS_OF_OTHERS[".xml" if "?xml" in text[:200].lower() else ".html"])
    if ENDINGS.get(ending) == "parquet":
        refuse("a file named .parquet that does not begin as one", "it is damaged or another format")
    if ENDINGS.get(ending) in ("csv", "tsv"):
        return ENDINGS[ending]
    if ENDINGS.get(ending) in ("json", "jsonl") or text is not None and BEGINS_AS_JSON.match(text):
        return json_layout(text or "", ENDINGS.get(ending) == "jsonl")
    if ending in ENDINGS_OF_OTHERS:
        name, cure = ENDINGS_OF_OTHERS[ending]
        refuse(name, cure if AS_TEXT in cure else f"{cure}; {AS_TEXT}")
    return "text"


def binary(head):
    return f"binary data, which begins with the bytes {head[:8].hex(' ')}", "give one of those"


def json_layout(text, named_lines):
    """A value on each line, or values that go over lines or lie in one list."""
    first, feed, _ = text.lstrip().partition("\n")
    first = first.strip()
    if feed:
        try:
            json.loads(first)
            return "jsonl"
        except (ValueError, RecursionError):
            return "jsonl" if named_lines and first != "{" and not first.startswith("[") else "json"
    return "jsonl" if first.startswith("{") or named_lines and not first.startswith("[") else "json"


def reading_errors():
    """What reading a damaged file may raise."""
    errors = [OSError, EOFError]
    for module, name in (("zlib", "error"), ("lzma", "LZMAError"), ("compression.zstd", "ZstdError")):
        try:
            errors.append(getattr(importlib.import_module(module), name))
        except ImportError:
            pass
    return tuple(errors)


READING_ERRORS = reading_errors()
