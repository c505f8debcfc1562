"""`vpd sample`: its files are read by the program's own data loader, rows are functions of their number, and what cannot be done is refused. The
distribution of its tokens has references in tests/target."""

import hashlib
import json
import re
import shutil
import signal
import struct
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from interpretation_support import CHECKPOINTS, HarvestTest
from support import DATA

REPOSITORY = Path(__file__).parents[2]
DEMO = REPOSITORY / "configs" / "demo"
MODEL = {"vocab_size": 61, "n_layer": 2, "n_head": 3, "n_embd": 24, "n_intermediate": 96}  # of tests/data/plain


def tokens_of(path):
    """Of an llm.c shard, with the size of each in bytes."""
    content = path.read_bytes()
    magic, version, count = struct.unpack("<3i", content[:12])
    letter = {(20240520, 1): "H", (20240801, 7): "I"}[magic, version]
    return list(struct.unpack(f"<{count}{letter}", content[1024:])), struct.calcsize(letter)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


class SampleTest(HarvestTest):
    def sample(self, *arguments, target="target", rows=10, length=17, out="rows.bin", threads=1):
        """The rows, the JSON beside them, and what was said on standard error."""
        _, errors = self.run_program("sample", target, "--rows", rows, "--length", length, "--threads", threads, "--out", out, *arguments)
        tokens, _ = tokens_of(self.root / out)
        self.assertEqual(len(tokens), rows * length)
        about = json.loads((self.root / f"{out}.json").read_text())
        return [tokens[i:i + length] for i in range(0, len(tokens), length)], about, errors

    def pretrain(self, config, out, *overrides):
        words = [word for override in ("training.steps=0", *overrides) for word in ("--set", override)]
        self.run_program("pretrain", REPOSITORY / "configs" / config, "--out", out, *words)
        return out


class Files(SampleTest):
    def test_rows_and_their_origin(self):
        rows, about, errors = self.sample("--start-token", "3", "--seed", "7", "--temperature", "0.8", "--top-p", "0.9")
        self.assertEqual(errors, "")
        self.assertTrue(all(row[0] == 3 and max(row) < 61 for row in rows))
        self.assertEqual(len(set(map(tuple, rows))), 10)
        self.assertEqual({name: about[name] for name in ("rows", "length", "vocabulary", "seed", "temperature", "top_p", "warnings")},
                         {"rows": 10, "length": 17, "vocabulary": 61, "seed": 7, "temperature": 0.8, "top_p": 0.9, "warnings": []})
        self.assertEqual(about["beginning"], {"tokens": [3], "origin": "--start-token"})
        self.assertEqual(about["sha256"], sha256(self.root / "rows.bin"))
        self.assertEqual({Path(file["path"]).name: file["sha256"] for file in about["target"]},
                         {path.name: sha256(path) for path in (self.root / "target").iterdir()})
        self.assertIn("--top-p 0.9", about["command_line"])

    def test_the_loader_reads_them(self):
        rows, _, _ = self.sample("--start-token", "3")
        config = self.configure(data__train={"type": "tokens", "path": "rows.bin", "sequence_length": 17, "shuffle": False})
        checked = json.loads(self.run_program("check", config, "--json", "-")[0])
        self.assertIn('"rows": 10', json.dumps(checked["data"]))
        self.run_program("decompose", config, "--out", self.out, "--set", "training.steps=2")
        found = json.loads(self.run_program("inspect", "rows.bin", "--json", "-")[0])
        self.assertEqual(found["first_tokens"], [token for row in rows for token in row][:48])

    def test_wide_tokens(self):
        model = self.pretrain("ss_2l_target.yaml", "wide", "model.vocab_size=70000", "model.n_embd=8", "model.n_intermediate=8", "model.block_size=8")
        rows, about, _ = self.sample("--start-token", "69999", target=model, rows=3, length=8)
        self.assertEqual(tokens_of(self.root / "rows.bin")[1], 4)
        self.assertTrue(all(row[0] == 69999 for row in rows))
        self.assertEqual(about["vocabulary"], 70000)


class Rows(SampleTest):
    def test_are_functions_of_their_number(self):
        rows, _, _ = self.sample("--start-token", "3")
        for batch, threads in ((3, 1), (1, 1), (32, 2)):
            with self.subTest(batch=batch, threads=threads):
                again, _, _ = self.sample("--start-token", "3", "--batch", batch, out=f"{batch}_{threads}.bin", threads=threads)
                self.assertEqual(again, rows)
        fewer, _, _ = self.sample("--start-token", "3", rows=4, length=6, out="fewer.bin")
        self.assertEqual(fewer, [row[:6] for row in rows[:4]])
        other, _, _ = self.sample("--start-token", "3", "--seed", "1", out="other.bin")
        self.assertNotEqual(other, rows)

    def test_the_target_is_named_in_several_ways(self):
        rows, _, _ = self.sample("--start-token", "3")
        for name, target in (("config", self.configure()), ("run", self.make_run())):
            with self.subTest(name):
                self.assertEqual(self.sample("--start-token", "3", target=target, out=f"{name}.bin")[0], rows)

    def test_beginnings(self):
        rows, about, errors = self.sample(target=CHECKPOINTS / "llama")
        self.assertEqual((about["beginning"], errors), ({"tokens": [1], "origin": "bos_token_id of config.json"}, ""))
        self.assertTrue(all(row[0] == 1 for row in rows))
        rows, about, errors = self.sample(out="uniform.bin")
        self.assertEqual(about["beginning"], {"tokens": [], "origin": "drawn uniformly"})
        self.assertIn("warning: the target's files name no token", errors)
        self.assertGreater(len({row[0] for row in rows}), 4)
        rows, about, _ = self.sample("--prompt-tokens", "5,8", target=CHECKPOINTS / "llama", out="prompt.bin")
        self.assertTrue(all(row[:2] == [5, 8] for row in rows))
        rows, about, _ = self.sample("--prompt-tokens", "5,8", "--start-token", "9", out="both.bin")
        self.assertTrue(all(row[:3] == [9, 5, 8] for row in rows))
        self.assertEqual(about["beginning"]["origin"], "--start-token and the prompt")

    def test_a_prompt_of_text(self):
        tokenizer = DEMO / "tokenizer.json"
        rows, about, _ = self.sample("--prompt", "And the king", "--tokenizer", tokenizer, target=DEMO / "target", rows=2)
        vocabulary = json.loads(tokenizer.read_text())["model"]["vocab"]
        begun = about["beginning"]["tokens"]
        self.assertTrue(all(row[:len(begun)] == begun for row in rows))
        words = {number: word for word, number in vocabulary.items()}
        self.assertEqual("".join(words[token] for token in begun).replace("Ġ", " "), "And the king")

    def test_the_most_probable_tokens(self):
        rows, _, _ = self.sample("--start-token", "3", "--temperature", "0")
        self.assertEqual(len(set(map(tuple, rows))), 1)
        self.assertEqual(self.sample("--start-token", "3", "--top-p", "1e-9", out="nucleus.bin")[0], rows)

    def test_a_tokenizer_that_cannot_be_read_is_in_the_way_of_text_alone(self):
        (self.root / "target" / "tokenizer.json").write_text("{}")
        _, about, _ = self.sample("--start-token", "3")
        self.assertIn("tokenizer.json", about["warnings"][0])
        self.refuse(3, ["tokenizer.json"], "sample", "target", "--rows", "1", "--length", "9", "--prompt", "a", "--out", "text.bin")


class Forecast(SampleTest):
    def test_dry_run(self):
        text, _ = self.run_program("sample", "target", "--rows", "100", "--length", "17", "--batch", "8", "--start-token", "3", "--out", "rows.bin", "--dry-run",
                                   "--json", "-")
        found = json.loads(text)
        d, wide, V = MODEL["n_embd"], MODEL["n_intermediate"], MODEL["vocab_size"]
        products = 2 * (MODEL["n_layer"] * (4 * d * d + 2 * d * wide) + d * V)
        attention = MODEL["n_layer"] * 4 * d * sum(range(1, 17))
        self.assertAlmostEqual(found["operations"], 100 * (16 * products + attention))
        self.assertEqual((found["file_bytes"], found["batch"]), (2 * 1700, 8))
        self.assertEqual(found["cache_bytes"], MODEL["n_layer"] * 2 * 4 * 8 * 16 * d)
        self.assertGreater(found["memory_bytes"], found["cache_bytes"])
        self.assertGreater(found["seconds"], 0.0)
        self.assertEqual(list(self.root.glob("rows.bin*")), [])


class Refused(SampleTest):
    def refuse_sample(self, exit_code, words, *arguments, target="target", rows=2, length=9, out="rows.bin"):
        self.refuse(exit_code, words, "sample", target, "--rows", rows, "--length", length, "--out", out, *arguments)
        self.assertEqual(list(self.root.glob(".tmp*")), [])

    def test_options(self):
        self.refuse_sample(2, ["--length", "1 to 32", "found 33"], length=33)
        self.refuse_sample(2, ["--rows", "at least 1"], rows=0)
        self.refuse_sample(2, ["--rows", "one file"], rows=2**31)
        self.refuse_sample(2, ["--out", ".bin"], out="rows.npy")
        self.refuse_sample(2, ["--start-token", "below 61", "found 61"], "--start-token", "61")
        self.refuse_sample(2, ["below 61", "found 70"], "--prompt-tokens", "5,70")
        self.refuse_sample(2, ["tokenizer.json", "--prompt-tokens"], "--prompt", "And")
        self.refuse_sample(2, ["--prompt"], "--prompt", "And", "--prompt-tokens", "5")
        self.refuse_sample(2, ["longer than their beginning", "9 tokens"], "--prompt-tokens", "1,2,3,4,5,6,7,8,9")
        self.refuse_sample(2, ["--temperature"], "--temperature", "-1")
        self.refuse_sample(2, ["--temperature", "nan"], "--temperature", "nan")
        for top_p in ("0", "1.5", "nan"):
            self.refuse_sample(2, ["--top-p", "above 0"], "--top-p", top_p)
        self.assertEqual(list(self.root.glob("rows*")), [])

    def test_targets(self):
        self.refuse_sample(3, ["absent", "nothing of that name"], target="absent")
        (self.root / "empty").mkdir()
        self.refuse_sample(3, ["empty", "config.json"], target="empty")
        features = self.pretrain("toys/tms_5-2_target.yaml", "features")
        self.refuse_sample(3, ["features", "language model"], target=features, length=1)
        induction = self.pretrain("toys/induction_target.yaml", "induction")
        self.refuse_sample(3, ["induction", "token that comes next"], target=induction, length=1)
        shutil.copytree(CHECKPOINTS / "llama", self.root / "llama")
        config = self.root / "llama" / "config.json"
        config.write_text(config.read_text().replace('"bos_token_id": 1', '"bos_token_id": 128000'))
        self.refuse_sample(3, ["bos_token_id", "128000", "--start-token"], target="llama")

    def test_files_that_are_there(self):
        self.sample("--start-token", "3")
        before = (self.root / "rows.bin").read_bytes()
        self.refuse_sample(3, ["rows.bin", "new file"])
        self.assertEqual((self.root / "rows.bin").read_bytes(), before)
        (self.root / "other.bin.json").write_text("{}")
        self.refuse_sample(3, ["other.bin.json", "new file"], out="other.bin")
        self.refuse_sample(3, ["absent"], out="absent/rows.bin")


class Interrupted(SampleTest):
    def end(self, target, *arguments):
        """Ends it while it samples."""
        process = self.start("sample", target, "--start-token", "3", "--threads", "1", "--out", "rows.bin", *arguments)
        while "sampling: " not in (line := process.stderr.readline()):
            self.assertTrue(line, "it ended by itself")
        process.send_signal(signal.SIGINT)
        return self.finish(process, 130)[1]

    def test_whole_rows_are_kept(self):
        errors = self.end("target", "--rows", 10_000_000, "--length", "32", "--batch", "16")
        rows = int(re.search(r"holds the first (\d+) of 10000000 rows", errors)[1])
        tokens, _ = tokens_of(self.root / "rows.bin")
        self.assertEqual(len(tokens), 32 * rows)
        self.assertEqual(json.loads((self.root / "rows.bin.json").read_text())["rows"], rows)
        again, _, _ = self.sample("--start-token", "3", rows=16, length=32, out="again.bin")
        self.assertEqual(tokens[:16 * 32], [token for row in again for token in row])

    def test_nothing_else_is(self):
        errors = self.end(self.pretrain("ss_2l_target.yaml", "slow"), "--rows", "512", "--length", "512", "--batch", "512")
        self.assertIn("nothing is written", errors)
        self.assertEqual(list(self.root.glob("*rows.bin*")), [])


if __name__ == "__main__":
    unittest.main()
