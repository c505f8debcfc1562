"""Which files tools/prepare_tokens reads, and as what: first bytes and endings, damaged files, directories, patterns, token ids."""

import bz2
import contextlib
import gzip
import io
import json
import lzma
import os
import pathlib
import struct
import sys
import tarfile
import unittest
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from prepare_tokens_support import PYTHON, PrepareTokens, load_script, needs
from support import write_shard

ROWS = [{"text": "alpha\n", "n": 1}, {"text": None}, {"text": ""}, {"text": "beta \u00e9 \U0001f600"}, {"text": "half \ud800"}]
TEXTS = ["alpha\n", "beta \u00e9 \U0001f600", "half \ufffd"]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


def zipped(name, content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, content)
    return file.getvalue()


def tarred(content):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        entry = tarfile.TarInfo("a.txt")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return file.getvalue()


class Inputs(PrepareTokens):
    def setUp(self):
        super().setUp()
        self.script = load_script()
        here = os.getcwd()
        os.chdir(self.root)
        self.addCleanup(os.chdir, here)

    def write(self, name, content):
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return name

    def documents(self, *arguments):
        """All documents of the inputs, and what is said of them."""
        options = self.script.parse([*map(str, arguments), "--vocab-size", "300", "--out", "out"])
        with contextlib.redirect_stdout(io.StringIO()) as said:
            found = [document for source in self.script.sources_of(options) for document in source.documents()]
        return found, said.getvalue()

    def refuse(self, words, *arguments):
        with self.assertRaises(self.script.Failure) as caught:
            self.documents(*arguments)
        for word in words:
            self.assertIn(word, str(caught.exception))


class Formats(Inputs):
    def test_text(self):
        long = "x" * 20000
        for number, (content, expected) in enumerate((
                (b"one\r\n\r\ntwo\r\nthree", ["one\n", "two\n", "three"]), (b"one\ntwo\r\n", ["one\n", "two\n"]), (b"\xef\xbb\xbfone\r\n", ["one\n"]),
                ("one\r\ntwo \u00e9\r\n".encode("utf-16"), ["one\n", "two \u00e9\n"]), (b"\xfe\xff" + "one\n".encode("utf-16-be"), ["one\n"]),
                ("one\r\n".encode("utf-32"), ["one\n"]), (b"a\rb\n", ["a\rb\n"]), (b"", []), (b"{curly} is no JSON\n", ["{curly} is no JSON\n"]),
                (b"[1] a list of works\n", ["[1] a list of works\n"]), (b"GGUF and PAR1 and ORC\n", ["GGUF and PAR1 and ORC\n"]),
                (b"PAR1 begins here\n", ["PAR1 begins here\n"]), (f"{long}\r\n{long}".encode(), [f"{long}\n", long]),
                (b"caf\xc3\xa9\x1b[2J\n", ["caf\u00e9\x1b[2J\n"]))):
            for name in (f"{number}.txt", f"{number}", f"{number}.md"):
                with self.subTest(name, content=content[:40]):
                    self.write(name, content)
                    self.assertEqual(self.documents(name)[0], expected)
        self.write("whole.txt", b"\xef\xbb\xbfone\r\n\r\ntwo\r\n")
        self.assertEqual(self.documents("whole.txt", "--documents", "file")[0], ["one\n\ntwo\n"])
        self.assertIn("UTF-16", self.documents("3.txt")[1])

    def test_json(self):
        cases = {"a.jsonl": LINES, "a.ndjson": LINES, "a.json": LINES, "a.txt": LINES, "a": LINES, "crlf.jsonl": LINES.replace(b"\n", b"\r\n"),
                 "bom.jsonl": b"\xef\xbb\xbf" + LINES, "list.json": json.dumps(ROWS).encode(), "indented.json": json.dumps(ROWS, indent=1).encode(),
                 "list.txt": json.dumps(ROWS, indent=1).encode(), "list.jsonl": b"[" + b",\n".join(LINES.splitlines()) + b"]\n",
                 "objects.json": b"\n".join(json.dumps(row, indent=2).encode() for row in ROWS), "blank.jsonl": b"\n" + LINES.replace(b"\n", b"\n\n"),
                 "strings.json": json.dumps(TEXTS).encode(), "strings.jsonl": "\n".join(map(json.dumps, TEXTS)).encode(),
                 "utf16.jsonl": LINES.decode().encode("utf-16")}
        for name, content in cases.items():
            with self.subTest(name):
                self.write(name, content)
                found, said = self.documents(name)
                self.assertEqual(found, TEXTS)
                self.assertIn("JSON", said)
        self.write("body.jsonl", '{"body": "x", "n": [1]}\n')
        self.assertEqual(self.documents("body.jsonl", "--text-column", "body")[0], ["x"])
        self.assertEqual(self.documents("body.jsonl", "--text-field", "body")[0], ["x"])
        self.refuse(["body.jsonl, line 1", "'text'", "body, n", "--text-column"], "body.jsonl")
        self.refuse(["'n'", "int"], self.write("n.jsonl", '{"n": 1}'), "--text-column", "n")
        self.assertEqual(self.documents("a.jsonl", "--format", "text")[0], LINES.decode().splitlines(keepends=True))

    def test_json_is_read_piece_by_piece(self):
        readers = sys.modules["token_preparation.readers"]
        chunk, readers.CHUNK_CHARACTERS = readers.CHUNK_CHARACTERS, 7
        self.addCleanup(setattr, readers, "CHUNK_CHARACTERS", chunk)
        rows = [{"text": f"{'word ' * i}\u00e9\\\"", "n": [i, {"a": None, "b": 1.5e-3}]} for i in range(1, 40)]
        for indent in (None, 2):
            self.write("a.json", json.dumps(rows, indent=indent))
            self.assertEqual(self.documents("a.json")[0], [row["text"] for row in rows])
        self.refuse(["a.json, line 4", "JSON"], self.write("a.json", '[\n{"text": "a"},\n\n{"text" "b"},\n' + '{"text": "c"},\n' * 50 + "]"))
        self.refuse(["a.json", "cut short"], self.write("a.json", '[{"text": "a"},'))
        self.refuse(["a.json, line 2", "Unterminated"], self.write("a.json", '[\n{"text": "' + "a" * 100))

    def test_tables(self):
        for name, content, expected in (
                ("a.csv", 'id,text\r\n1,"hello, ""you""\r\nthere"\r\n2,x\r\n\r\n', ['hello, "you"\nthere', "x"]),
                ("b.csv", "id;text\n1;a, b\n", ["a, b"]),
                ("c.tsv", "id\ttext\n1\ta, b\n", ["a, b"]), ("d.csv", "\ufefftext\nx\n", ["x"]), ("e.csv", "text, n\n,1\nx,2", ["x"]),
                ("f.csv", b"\xff\xfe" + "text\tn\r\nx\t1\r\n".encode("utf-16-le"), ["x"]), ("g.csv", f"text\n{'y' * 200000}\n", ["y" * 200000])):
            with self.subTest(name):
                self.assertEqual(self.documents(self.write(name, content))[0], expected)
        self.refuse(["'text'", "id, story", "--text-column"], self.write("h.csv", "id,story\n1,a\n"))
        self.assertEqual(self.documents("h.csv", "--text-column", "story")[0], ["a"])
        self.refuse(["i.csv, line 3", "2 fields", "found 3"], self.write("i.csv", "id,text\n1,a\n2,b,c\n"))
        self.refuse(["j.csv", "quotation marks"], self.write("j.csv", 'id,text\n1,"a\n2,b\n'))

    def test_compression(self):
        for ending, compress in ((".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress),
                                 (".lzma", lambda content: lzma.compress(content, lzma.FORMAT_ALONE)),
                                 (".gz.xz", lambda c: lzma.compress(gzip.compress(c))),
                                 (".gz", lambda content: gzip.compress(content[:20]) + gzip.compress(content[20:]))):
            with self.subTest(ending):
                self.assertEqual(self.documents(self.write(f"a.jsonl{ending}", compress(LINES)))[0], TEXTS)
                self.assertEqual(self.documents(self.write("hidden.jsonl", compress(LINES)))[0], TEXTS, "the ending does not say it")
                self.assertEqual(self.documents(self.write(f"a.txt{ending}", compress(b"one\r\ntwo\n")))[0], ["one\n", "two\n"])
                self.assertEqual(self.documents(self.write(f"a{ending}", b"not compressed\n"))[0], ["not compressed\n"])
        whole = gzip.compress(os.urandom(50).hex().encode() * 4000 + os.urandom(70000).hex().encode())
        self.refuse(["a.txt.gz", "whole gzip"], self.write("a.txt.gz", whole[:-5000]))
        self.refuse(["a.txt.gz", "gzip"], self.write("a.txt.gz", whole[:20]))
        self.refuse(["tar"], self.write("a.tar.gz", gzip.compress(tarred(b"x"))))
        self.refuse(["a.parquet.gz", "decompress"], self.write("a.parquet.gz", gzip.compress(b"PAR1\x15\x00")))
        if sys.version_info < (3, 14):
            self.refuse(["zstd", "zstd -d"], self.write("a.txt.zst", b"\x28\xb5\x2f\xfd\x24\x05"))

    def test_what_is_no_text(self):
        safetensors = struct.pack("<Q", 40) + b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
        write_shard(Path("shard.bin"), [1, 2, 3])
        pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"
        cases = [("a.txt", pointer, ["Git LFS", "git lfs pull"]), ("a.parquet", pointer, ["Git LFS"]), ("a.jsonl", pointer, ["Git LFS"]),
                 ("a.txt", b"\n <!DOCTYPE html>\n<html></html>", ["HTML", "--format text"]), ("a.csv", b"<html lang='en'>", ["HTML"]),
                 ("a.txt", '\ufeff<HTML>'.encode(), ["HTML"]), ("a.html", b"<p>a</p>", ["HTML"]), ("dump.xml", b"<mediawiki>", ["XML"]),
                 ("a.txt", b"<?xml version='1.0'?>", ["XML"]), ("a.txt", b"%PDF-1.7\n", ["PDF", "pdftotext"]), ("a.pdf", b"no", ["PDF"]),
                 ("a", safetensors, ["safetensors"]), ("a.safetensors", pointer, ["Git LFS"]), ("a.safetensors", b"x", ["safetensors"]),
                 ("a.npy", b"\x93NUMPY\x01\x00", ["NumPy", "data.train"]), ("a.txt", b"\x93NUMPY\x01\x00", ["NumPy"]),
                 ("shard.bin", Path("shard.bin").read_bytes(), ["token shard", "data.train"]),
                 ("train.bin", struct.pack("<4H", 5, 600, 7, 8), ["numpy", ".npy"]),
                 ("train.bin", b"text", [".bin"]), ("a.npz", zipped("a.npy", b""), ["NumPy"]), ("a.zip", zipped("a.txt", b"x"), ["zip", "unzip"]),
                 ("a.txt", zipped("a.txt", b"x"), ["zip"]), ("a.docx", zipped("a.xml", b"x"), [".docx", "plain text"]),
                 ("a.tar", tarred(b"x"), ["tar"]), ("a.pt", zipped("archive/data.pkl", b""), [".pt"]), ("a.txt", b"\x80\x02}q\x00.", ["pickle"]),
                 ("a.xlsx", zipped("a", b""), ["CSV"]),
                 ("a.txt", b"\x89PNG\r\n\x1a\n", ["PNG"]), ("a.arrow", b"ARROW1\x00\x00", ["Arrow"]), ("a.db", b"SQLite format 3\x00", ["SQLite"]),
                 ("._a.txt", b"\x00\x05\x16\x07\x00\x02", ["macOS"]), ("a.txt", bytes(range(256)) * 20, ["binary", "00 01 02"]),
                 ("a.txt", bytes(range(1, 256)) * 20, ["binary"]), ("a.txt", "one two\n".encode("utf-16-le"), ["UTF-16LE", "iconv -f UTF-16LE"]),
                 ("a.txt", "one two\n".encode("utf-16-be"), ["UTF-16BE"]), ("a.parquet", b"no", ["parquet"]),
                 ("a.txt", b"good\ncaf\xe9 au lait\n", ["UTF-8", "e9 20", "line 2", "iconv"]), ("a.txt", b"good\n" * 5000 + b"\xff\n", ["line 5001"]),
                 ("a.txt", b"\xff\xfea\x00\x00\xd8", ["UTF-16"]), ("a.jsonl", b'{"text": "a"}\n{bad}\n', ["line 2", "{bad}"]),
                 ("a.jsonl", b'{"text": "a"}\n7\n', ["line 2", "int"]), ("a.jsonl", b'{"text": "caf\xe9"}\n', ["UTF-8"]),
                 ("a.jsonl", b'{"text": "a"', ["line 1"]), ("a.json", b"[" * 100000, ["line 1"])]
        for name, content, words in cases:
            with self.subTest(name, content=content[:20]):
                self.refuse([name, *words], self.write(name, content))
        self.write("page.html", "<p>a</p>\n")
        self.assertEqual(self.documents("page.html", "--format", "text")[0], ["<p>a</p>\n"])
        self.write("nul.txt", "a\0b\n")
        self.assertEqual(self.documents("nul.txt", "--format", "text")[0], ["a\0b\n"])

    def test_a_pipe_is_looked_at_without_losing_its_beginning(self):
        for content, expected in ((b"one\ntwo\n", ["one\n", "two\n"]), (LINES, TEXTS), (gzip.compress(LINES), TEXTS)):
            reading, writing = os.pipe()
            os.write(writing, content)
            os.close(writing)
            options = self.script.parse([f"/dev/fd/{reading}", "--tokenizer", "x", "--out", "out"])
            with contextlib.redirect_stdout(io.StringIO()):
                sources = self.script.sources_of(options)
            os.close(reading)
            self.assertEqual(list(sources[0].documents()), expected)
        reading, writing = os.pipe()
        os.write(writing, b"one\n")
        os.close(writing)
        self.refuse(["pipe", "--tokenizer"], f"/dev/fd/{reading}")
        os.close(reading)


class Names(Inputs):
    def test_directories(self):
        self.write("d/b.txt", "b\n")
        self.write("d/A.TXT", "a\n")
        self.write("d/._b.txt", b"\x00\x05\x16\x07")
        self.write("d/.DS_Store", b"\x00\x00\x00\x01Bud1")
        self.write("d/README.md", "not read")
        Path("d/folder.txt").mkdir()
        os.symlink("nowhere", "d/dangling.txt")
        self.assertEqual(self.documents("d"), (["a\n", "b\n"], ""))
        self.write("d/c.jsonl", LINES)
        self.write("d/b.txt.gz", gzip.compress(b"b\n"))
        found, said = self.documents("d")
        self.assertEqual(found, ["a\n", "b\n"])
        self.assertIn("passed over: b.txt.gz, c.jsonl", said)
        self.assertEqual(self.documents("d", "--format", "jsonl")[0], TEXTS)
        self.write("e/a.jsonl.gz", gzip.compress(LINES))
        self.write("e/info.json", "{}")
        self.assertEqual(self.documents("e")[0], TEXTS)
        self.write("e/a.jsonl", LINES)
        self.assertEqual(self.documents("e")[0], TEXTS, "not twice")
        self.write("e/b.csv", "text\nx\n")
        self.refuse(["e", "one kind", "a.jsonl, b.csv", "--format"], "e")
        self.assertEqual(self.documents(self.write("f/a.json", LINES), "f")[0], TEXTS * 2)
        self.write("g/sub/a.txt", "a\n")
        self.refuse(["g", "directories", "sub"], "g")
        write_shard(Path("g/train.bin"), [1])
        self.refuse(["g", "token files", "data.train"], "g")
        self.write("h/.a.txt", "a\n")
        self.refuse(["h", "found none of them"], "h")
        self.assertEqual(self.documents("h/.a.txt")[0], ["a\n"], "what is named is meant")

    def test_patterns(self):
        for name in ("data[1]/part[2].txt", "data[1]/x.txt", "data[1]/.y.txt", "data1/x.txt", "data1/part2.txt", "data2/part2.txt"):
            self.write(name, name)
        for pattern, expected in (("data[1]", ["data[1]/part[2].txt", "data[1]/x.txt"]), ("data[1]/*.txt", ["data[1]/part[2].txt", "data[1]/x.txt"]),
                                  ("data[1]/part[2].txt", ["data[1]/part[2].txt"]), ("data1/part[2].txt", ["data1/part2.txt"]),
                                  ("data[12]/part2.txt", ["data1/part2.txt", "data2/part2.txt"]), ("data?/x.txt", ["data1/x.txt"]),
                                  ("./data[1]/*", ["data[1]/part[2].txt", "data[1]/x.txt"]), ("data[1]/.*", ["data[1]/.y.txt"]),
                                  (f"{self.root}/data[1]/x*", ["data[1]/x.txt"]), ("data[2]", ["data2/part2.txt"])):
            with self.subTest(pattern):
                self.assertEqual(self.documents(pattern)[0], expected)
        self.refuse(["data[3]/*.txt", "pattern"], "data[3]/*.txt")

    def test_files_that_are_not_there(self):
        for name in ("absent.jsonl", "absent.txt.gz", "./absent", "a/b/c", "hf://datasets/a/b", "caf\udce9", "x.parquet"):
            with self.subTest(name):
                self.refuse([name, "nothing of that name"], name)

    def test_the_same_file_twice(self):
        self.write("a.txt", "a\n")
        os.link("a.txt", "b.txt")
        self.assertIn("b.txt is the same file as a.txt", self.documents("a.txt", "b.txt")[1])

    @unittest.skipIf(os.geteuid() != 0, "NOT TESTED: root alone can take another user's place")
    def test_a_directory_that_may_not_be_read(self):
        self.write("closed/a.txt", "a\n")
        self.write("closed/in/a.txt", "a\n")
        os.chmod("closed", 0o700)
        os.chmod(".", 0o755)
        os.seteuid(65534)
        try:
            for name in ("closed", "closed/*.txt", "closed/in/*.txt", "closed/a.txt", "closed/in"):
                with self.subTest(name):
                    self.refuse(["closed", "may not be read", "Permission denied"], name)
        finally:
            os.seteuid(0)


class Bounds(Inputs):
    def test_a_long_line_is_read_no_further_than_is_needed(self):
        self.write("a.txt", "x" * 1000 + "\n" + "y\n" + "z" * 50)
        found = self.script.sources_of(self.script.parse(["a.txt", "--vocab-size", "300", "--out", "out"]))[0]
        self.assertEqual(list(found.documents(10)), ["x" * 10, "y\n", "z" * 10])
        self.assertEqual(list(self.script.text_documents(pathlib.Path("a.txt"), "file", 7)), ["x" * 7])

    def test_a_tokenizer_learns_from_no_more_than_is_asked_for(self):
        def documents():
            for _ in range(3):
                yield "x" * 40
            self.fail("read on")
        self.assertEqual("".join(self.script.sample_to_train_on(documents(), 100)), "x" * 100)
        self.assertEqual(list(self.script.sample_to_train_on(iter(["a", "b"]), None)), ["a", "b"])


@needs("tokenizers")
class Program(PrepareTokens):
    def test_max_tokens_bounds_the_tokenizer_too(self):
        early, late = "the early bird catches\n" * 60000, "of late omegas sing\n" * 60000
        (self.root / "a.txt").write_text(early + late)
        result = self.prepare("a.txt", "--vocab-size", 300, "--max-tokens", 1000, "--out", self.out)
        self.assertIn("the first 153600 characters", result.stdout)
        self.assertEqual(len(self.tokens()), 1000)
        (self.root / "b.txt").write_text(early[:153600])
        self.prepare("b.txt", "--vocab-size", 300, "--out", self.root / "b")
        self.assertEqual((self.out / "tokenizer.json").read_bytes(), (self.root / "b" / "tokenizer.json").read_bytes())
        # One long document gives the same tokens as its beginning.
        (self.root / "c.txt").write_text(early.replace("\n", " "))
        self.prepare("c.txt", "--tokenizer", self.out, "--max-tokens", 1000, "--eval-fraction", 0, "--out", self.root / "c")
        (self.root / "d.txt").write_text(early.replace("\n", " ")[:30000])
        self.prepare("d.txt", "--tokenizer", self.out, "--max-tokens", 1000, "--out", self.root / "d")
        self.assertEqual((self.root / "c" / "train_00000.bin").read_bytes(), (self.root / "d" / "train_00000.bin").read_bytes())

    def test_token_ids(self):
        rows = [[1, 2, 300], [], [0], [70000, 5]]
        (self.root / "ids.jsonl").write_text("".join(json.dumps({"input_ids": ids}) + "\n" for ids in rows))
        column = ("--text-column", "input_ids")
        self.prepare("ids.jsonl", *column, "--vocab-size", 70001, "--out", self.out)
        self.assertEqual(self.tokens(), [1, 2, 300, 0, 70000, 5])
        self.assertEqual([path.name for path in self.out.iterdir()], ["train_00000.bin"], "nobody knows the tokenizer")
        (self.root / "words.json").write_text(json.dumps({
            "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None, "pre_tokenizer": {"type": "Whitespace"},
            "post_processor": None, "decoder": None, "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1, "</s>": 2, "c": 3}, "unk_token": "c"}}))
        (self.root / "few.jsonl").write_text('{"input_ids": [1, 0, 2]}\n{"input_ids": [3]}\n{"input_ids": "b a"}\n')
        out = self.root / "few"
        self.prepare("few.jsonl", *column, "--tokenizer", "words.json", "--append-eos", "--out", out)
        self.assertEqual((out / "train_00000.bin").read_bytes()[1024:], struct.pack("<8H", 1, 0, 2, 3, 2, 1, 0, 2))
        self.assertEqual((out / "tokenizer.json").read_bytes(), (self.root / "words.json").read_bytes())
        self.out = self.root / "refused"
        self.refuse_input(3, ["from 0 to 3", "300", "--tokenizer"], "ids.jsonl", *column, "--tokenizer", "words.json", "--out", self.out)
        self.refuse_input(3, ["found text", "--tokenizer"], "few.jsonl", *column, "--vocab-size", 300, "--out", self.out)

    def test_a_tokenizer_that_is_none(self):
        self.write_text(3)
        for content, words in ((b"version https://git-lfs.github.com/spec/v1\n", ["git lfs pull"]), (b"\xff\xfe{}", ["cannot load"])):
            (self.root / "tokenizer.json").write_bytes(content)
            self.refuse_input(3, ["tokenizer.json", *words], "text.txt", "--tokenizer", "tokenizer.json", "--out", self.out)
        (self.root / "bare").mkdir()
        self.refuse_input(3, ["bare", "tokenizer.json"], "text.txt", "--tokenizer", "bare", "--out", self.out)
        self.refuse_input(3, ["absent.json", "nothing of that name"], "text.txt", "--tokenizer", "absent.json", "--out", self.out)
        model = {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "missing"}
        (self.root / "tokenizer.json").write_text(json.dumps({"version": "1.0", "pre_tokenizer": {"type": "Whitespace"}, "model": model}))
        self.refuse_input(3, ["cannot encode"], "text.txt", "--tokenizer", "tokenizer.json", "--out", self.out)


@needs("tokenizers", "pyarrow")
class Parquet(PrepareTokens):
    def test_columns(self):
        code = """import pyarrow as pa, pyarrow.parquet as pq
text = ['one', None, 'two']
ids = [[1, 2], [], [299]]
columns = {'plain': pa.array(text), 'large': pa.array(text, pa.large_string()), 'bytes': pa.array([b'one', None, b'two']),
           'words': pa.array(text).dictionary_encode(), 'ids': pa.array(ids, pa.list_(pa.int64())),
           'small': pa.array(ids, pa.large_list(pa.uint16())),
           'flags': pa.array([[True], [], []]), 'real': pa.array([[1.0], [], []]), 'latin': pa.array([b'caf\\xe9', b'', b'']),
           'hole': pa.array([[1, None], [], []], pa.list_(pa.int32())), 'nested': pa.array([[[1]], [], []])}
pq.write_table(pa.table(columns), 'a.parquet')
content = open('a.parquet', 'rb').read()
open('b.txt', 'wb').write(content)
open('cut.parquet', 'wb').write(content[:-10])
open(b'caf\\xe9.parquet', 'wb').write(content)
"""
        self.run_python(code)
        found = self.run_python("""import sys; from importlib.machinery import SourceFileLoader
script = SourceFileLoader('prepare_tokens', sys.argv[1]).load_module()
def read(path, column):
    options = script.parse([path, '--text-column', column, '--vocab-size', '300', '--out', 'out'])
    try:
        [source] = script.sources_of(options)
        source.check()
        return list(source.documents())
    except script.Failure as failure:
        return script.printable(str(failure))
names = 'plain large bytes words ids small flags real latin hole nested'.split()
import os
print(repr({**{name: read('a.parquet', name) for name in names}, 'hidden': read('b.txt', 'plain'), 'cut': read('cut.parquet', 'plain'),
            'name': read(os.fsdecode(b'caf\\xe9.parquet'), 'plain')}))""")
        for name in ("plain", "large", "bytes", "words", "hidden", "name"):
            self.assertEqual(found[name], ["one", "two"], name)
        for name in ("ids", "small"):
            self.assertEqual(found[name], [[1, 2], [299]], name)
        for name, word in (("flags", "list<"), ("real", "list<"), ("latin", "UTF-8"), ("hole", "'hole'"), ("nested", "list<"),
                           ("cut", "cannot read")):
            self.assertIn(word, found[name])
        self.prepare("a.parquet", "--text-column", "ids", "--vocab-size", 300, "--out", self.out)
        self.assertEqual(self.tokens(), [1, 2, 299])
        self.out = self.root / "refused"
        self.refuse_input(3, ["cut.parquet"], "a.parquet", "cut.parquet", "--text-column", "plain", "--vocab-size", 300, "--out", self.out)


if __name__ == "__main__":
    unittest.main()
