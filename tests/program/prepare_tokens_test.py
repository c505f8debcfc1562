"""tools/prepare_tokens makes shards that the program reads."""

import hashlib
import json
import os
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from prepare_tokens_support import PYTHON, SCRIPT, PrepareTokens, load_script, needs, read_shard


class WithoutPackages(PrepareTokens):
    def test_usage(self):
        self.write_text(3)
        base = ("text.txt", "--out", self.out)
        for words, extra in ((["--tokenizer", "--vocab-size"], ()), (["--tokenizer", "--vocab-size"], ("--vocab-size", 300, "--tokenizer", "x")),
                             (["--vocab-size", "256"], ("--vocab-size", 200)), (["--vocab-size", "257"], ("--vocab-size", 256, "--append-eos")),
                             (["--eval-fraction", "1"], ("--vocab-size", 300, "--eval-fraction", 1)),
                             (["--shard-tokens", "0"], ("--vocab-size", 300, "--shard-tokens", 0)),
                             (["--max-tokens", "0"], ("--vocab-size", 300, "--max-tokens", 0)),
                             (["--eos-token", "--append-eos"], ("--vocab-size", 300, "--eos-token", "x"))):
            self.refuse_input(2, words, *base, *extra)

    def test_files(self):
        self.refuse_input(3, ["absent.txt", "nothing of that name"], "absent.txt", "--vocab-size", 300, "--out", self.out)
        (self.root / "empty").mkdir()
        self.refuse_input(3, ["empty", ".parquet"], "empty", "--vocab-size", 300, "--out", self.out)
        self.write_text(3)
        for taken in (self.root / "text.txt", self.root / "target"):
            error = self.prepare("text.txt", "--vocab-size", 300, "--out", taken, exit_code=3).stderr
            self.assertIn(f"{taken} already exists", error)
        self.assertTrue((self.root / "target" / "model.safetensors").exists())

    def test_a_missing_package_is_one_sentence(self):
        self.write_text(3)
        (self.root / "a.parquet").write_bytes(b"")
        # A folder with broken packages in front of all others.
        for package in ("tokenizers", "pyarrow", "datasets"):
            (self.root / "broken" / package).mkdir(parents=True)
            (self.root / "broken" / package / "__init__.py").write_text("raise ImportError('not here')\n")
        environment = {**os.environ, "PYTHONPATH": str(self.root / "broken")}
        for name, package in (("text.txt", "tokenizers"), ("a.parquet", "tokenizers")):
            result = subprocess.run([PYTHON, SCRIPT, name, "--vocab-size", "300", "--out", self.out], cwd=self.root, env=environment,
                                    capture_output=True, text=True)
            self.assertEqual(result.returncode, 3)
            self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
            self.assertIn(f"pip install {package}", result.stderr)
            self.assertFalse(self.out.exists())
        script = load_script()
        sys.path.insert(0, str(self.root / "broken"))
        try:
            for source, package in (((script.parquet_rows, "a.parquet", "text"), "pyarrow"),
                                    ((script.dataset_rows, "a/b", None, "train", "text"), "datasets")):
                kept = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == package}
                with self.assertRaisesRegex(script.Failure, f"venv .*pip install {package}"):
                    next(source[0](*source[1:]))
                sys.modules.update(kept)
        finally:
            sys.path.remove(str(self.root / "broken"))

    def test_documents_of_text_files(self):
        script = load_script()
        text = self.write_text(5)
        path = self.root / "text.txt"
        self.assertEqual(list(script.text_documents(path, "line")), text.splitlines(keepends=True))
        self.assertEqual(list(script.text_documents(path, "file")), [text + "\n  \n"])
        path.write_bytes(b"good\nb\xffd\n")
        for kind in ("line", "file"):
            with self.assertRaisesRegex(script.Failure, "UTF-8"):
                list(script.text_documents(path, kind))

    def test_the_split_is_a_function_of_text_and_seed(self):
        script = load_script()
        texts = [f"document {i}" for i in range(4000)]
        held = [text for text in texts if script.is_held_out(text, 0.25, 0)]
        self.assertLess(abs(len(held) / 4000 - 0.25), 0.03)
        self.assertEqual(held, [text for text in texts if script.is_held_out(text + "\n", 0.25, 0)])
        self.assertNotEqual(held, [text for text in texts if script.is_held_out(text, 0.25, 1)])
        self.assertTrue(set(held) <= {text for text in texts if script.is_held_out(text, 0.5, 0)}, "a larger part holds the smaller")
        digest = hashlib.sha256(b"7\nabc").digest()
        share = int.from_bytes(digest[:8], "little") / 2**64
        self.assertTrue(script.is_held_out("abc", share * 1.001, 7))
        self.assertFalse(script.is_held_out("abc", share * 0.999, 7))

    def test_shards_that_the_program_reads(self):
        script = load_script()
        for width, kind, largest in ((2, "uint16", 65535), (4, "uint32", 4294967295)):
            directory = self.root / kind
            directory.mkdir()
            writer = script.ShardWriter(directory, "train", width, 10)
            ids = [(i * 7919) % (largest + 1) for i in range(34)] + [largest]
            for part in (ids[:3], ids[3:31], [], ids[31:]):
                writer.write(part)
            writer.close()
            self.assertEqual((writer.tokens, writer.shards), (35, 4))
            out, _ = self.run_program("inspect", directory / "train_*.bin", "--json", self.root / "found.json")
            files = json.loads((self.root / "found.json").read_text())["files"]
            self.assertEqual([file["tokens"] for file in files], [10, 10, 10, 5])
            self.assertTrue(all(file["format"].endswith(kind) for file in files), files)
            self.assertEqual(max(file["largest"] for file in files), largest)
            self.assertEqual(sum((read_shard(Path(file["path"]))[0] for file in files), []), ids)


@needs("tokenizers")
class Text(PrepareTokens):
    def test_lines(self):
        text = self.write_text()
        result = self.prepare("text.txt", "--vocab-size", 300, "--eval-fraction", 0.2, "--shard-tokens", 1000, "--out", self.out)
        self.assertIn("400 documents", result.stdout)
        lines = text.splitlines(keepends=True)
        script = load_script()
        sides = {"train": [], "eval": []}
        for line in lines:
            sides["eval" if script.is_held_out(line, 0.2, 0) else "train"].append(line)
        for side, expected in sides.items():
            self.assertEqual(self.decode(self.tokens(side)), "".join(expected))
        self.assertGreater(len(list(self.out.glob("train_*.bin"))), 1)
        out, _ = self.run_program("inspect", self.out / "train_*.bin", "--json", self.root / "found.json")
        found = json.loads((self.root / "found.json").read_text())
        self.assertEqual([file["tokens"] for file in found["files"]][0], 1000)
        self.assertLess(max(file["largest"] for file in found["files"]), 300)
        self.assertIn(sides["train"][0].rstrip("\n"), out, "the first tokens as text")
        # The same again, and nothing is written over.
        first = {path.name: path.read_bytes() for path in self.out.iterdir()}
        self.prepare("text.txt", "--vocab-size", 300, "--eval-fraction", 0.2, "--shard-tokens", 1000, "--out", self.root / "again")
        self.assertEqual({path.name: path.read_bytes() for path in (self.root / "again").iterdir()}, first)
        self.assertIn("already exists", self.prepare("text.txt", "--vocab-size", 300, "--out", self.out, exit_code=3).stderr)
        self.assertEqual({path.name: path.read_bytes() for path in self.out.iterdir()}, first)

    def test_a_run_on_them(self):
        self.write_text()
        # The tests' target has 61 tokens: those of the capital letters and the line feed alone, by a tokenizer of whole words.
        words = {"line": 0, "the": 1, "and": 2, "evening": 3, "morning": 4, "day": 5, "[UNK]": 6}
        tokenizer = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
                     "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None,
                     "model": {"type": "WordLevel", "vocab": words, "unk_token": "[UNK]"}}
        (self.root / "words.json").write_text(json.dumps(tokenizer))
        self.prepare("text.txt", "--tokenizer", "words.json", "--eval-fraction", 0.2, "--out", self.out)
        self.assertEqual((self.out / "tokenizer.json").read_text(), (self.root / "words.json").read_text())
        data = {"type": "tokens", "sequence_length": 17, "shuffle": True}
        config = self.configure(training__steps=1, data__train={**data, "path": str(self.out / "train_*.bin")},
                                data__eval={**data, "path": str(self.out / "eval_*.bin")})
        self.run_program("decompose", config, "--out", self.root / "run")

    def test_end_of_text(self):
        text = self.write_text(6)
        self.prepare("text.txt", "--vocab-size", 260, "--append-eos", "--out", self.out)
        self.assertEqual(self.decode(self.tokens()), text.replace("\n", "<|endoftext|>"))
        self.prepare("text.txt", "--tokenizer", self.out, "--append-eos", "--eos-token", "line", "--out", self.root / "b", exit_code=3)
        self.prepare("text.txt", "--tokenizer", self.out, "--append-eos", "--out", self.root / "c")
        self.assertEqual((self.root / "c" / "train_00000.bin").read_bytes(), (self.out / "train_00000.bin").read_bytes())

    def test_whole_files_and_their_limit(self):
        text = self.write_text(50)
        (self.root / "more").mkdir()
        for name in ("b.txt", "a.txt"):
            (self.root / "more" / name).write_text(f"{name}\n\n{text}")
        self.prepare("more", "--documents", "file", "--vocab-size", 256, "--max-tokens", 700, "--out", self.out)
        self.assertEqual(len(self.tokens()), 700)
        self.assertEqual(self.decode(self.tokens()), f"a.txt\n\n{text}"[:700])  # 256 tokens are the bytes
        self.refuse_side(["more", "--documents", "file", "--vocab-size", 256, "--eval-fraction", 1e-9], "to evaluate on, found none among 2")

    def refuse_side(self, arguments, words):
        error = self.prepare(*arguments, "--out", self.root / "side", exit_code=3).stderr
        self.assertIn(words, error)
        self.assertFalse((self.root / "side").exists())

    def test_bad_tokenizers(self):
        self.write_text(3)
        (self.root / "tokenizer.json").write_text("{}")
        self.refuse_input(3, ["--tokenizer", "tokenizer.json"], "text.txt", "--tokenizer", "tokenizer.json", "--out", self.out)


@needs("tokenizers", "pyarrow")
class Parquet(PrepareTokens):
    def test_rows(self):
        code = "import pyarrow as pa, pyarrow.parquet as pq; " \
               "pq.write_table(pa.table({'story': ['one day', None, '', 'two days\\n'], 'n': [1, 2, 3, 4]}), 'a.parquet')"
        subprocess.run([PYTHON, "-c", code], cwd=self.root, check=True)
        self.prepare("a.parquet", "--text-column", "story", "--vocab-size", 256, "--out", self.out)
        self.assertEqual(self.decode(self.tokens()), "one daytwo days\n")
        for extra, words in (((), ["'text'", "story, n"]), (("--text-column", "n"), ["'n'", "int"])):
            error = self.prepare("a.parquet", "--vocab-size", 256, *extra, "--out", self.root / "b", exit_code=3).stderr
            for word in words:
                self.assertIn(word, error)
        (self.root / "broken.parquet").write_text("no")
        self.assertIn("broken.parquet", self.prepare("broken.parquet", "--vocab-size", 256, "--out", self.root / "b", exit_code=3).stderr)


@needs("tokenizers", "datasets")
class Datasets(PrepareTokens):
    def test_saved_data_sets(self):
        code = "import datasets as d; one = d.Dataset.from_dict({'text': ['alpha ', 'beta ']}); one.save_to_disk('plain'); " \
               "d.DatasetDict({'train': one, 'test': d.Dataset.from_dict({'text': ['gamma']})}).save_to_disk('splits'); " \
               "d.Dataset.from_dict({'input_ids': [[1, 2], [3]]}).with_format('numpy').save_to_disk('ids')"
        subprocess.run([PYTHON, "-c", code], cwd=self.root, check=True, capture_output=True)
        for name, extra, expected in (("plain", (), "alpha beta "), ("splits", (), "alpha beta "), ("splits", ("--split", "test"), "gamma")):
            self.out = self.root / f"out_{len(list(self.root.iterdir()))}"
            self.prepare(name, *extra, "--vocab-size", 256, "--out", self.out)
            self.assertEqual(self.decode(self.tokens()), expected)
        self.out = self.root / "ids_out"
        self.prepare("ids", "--text-column", "input_ids", "--vocab-size", 256, "--out", self.out)
        self.assertEqual(self.tokens(), [1, 2, 3])
        for extra, word in ((("--split", "valid"), "valid"), (("--text-column", "story"), "text")):
            self.assertIn(word, self.prepare("splits", *extra, "--vocab-size", 256, "--out", self.root / "b", exit_code=3).stderr)


if __name__ == "__main__":
    unittest.main()
