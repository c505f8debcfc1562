"""What `vpd inspect` shows where a part of what it looks at is damaged, missing or made to deceive a terminal."""

import json
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from support import ProgramTest, write_shard

CLEAR = "\x1b[2J"


class Inspect(ProgramTest):
    def setUp(self):
        super().setUp()
        self.data = self.root / "data"
        self.data.mkdir()
        write_shard(self.data / "a.bin", [0, 1, 0])

    def inspect(self, path):
        """What it says to people and as JSON, of which no byte steers a terminal."""
        text, err = self.run_program("inspect", path)
        self.assertEqual(err, "")
        for character in text:
            self.assertFalse(ord(character) < 0x20 and character != "\n" or 0x7F <= ord(character) < 0xA0, repr(text))
        found, _ = self.run_program("inspect", path, "--json", "-")
        return text, json.loads(found)

    def write_tokenizer(self, *texts):
        added = [{"id": i, "content": text} for i, text in enumerate(texts)]
        self.data.joinpath("tokenizer.json").write_text(json.dumps(
            {"model": {"type": "BPE", "vocab": {}, "merges": []}, "decoder": {"type": "ByteLevel"}, "added_tokens": added}))

    def test_a_tokenizer_of_another_kind(self):
        for content in ({"model": {"type": "WordPiece", "vocab": {"[PAD]": 0}}}, {"model_type": "bert"}, []):
            self.data.joinpath("tokenizer.json").write_text(json.dumps(content))
            text, found = self.inspect(self.data)
            self.assertIn("3 tokens in 1 file", text)
            self.assertIn("first tokens: 0 1 0", text)
            self.assertEqual(len(found["warnings"]), 1)
            self.assertIn("warning: " + found["warnings"][0], text)

    def test_a_padded_vocabulary(self):
        self.write_tokenizer("a")
        text, found = self.inspect(self.data / "a.bin")
        self.assertEqual(found["first_text"], "a\ufffda")
        self.assertIn("none for 1", found["warnings"][0])
        self.assertIn("first tokens: 0 1 0", text)

    def test_tokens_that_would_clear_the_terminal(self):
        self.write_tokenizer(CLEAR, "\u009b2J\u202e")
        text, found = self.inspect(self.data)
        self.assertEqual(found["first_text"], CLEAR + "\u009b2J\u202e" + CLEAR)
        self.assertNotIn("\u202e", text)

    def test_names_that_would_clear_the_terminal(self):
        path = self.data / f"{CLEAR}.bin"
        write_shard(path, [2])
        _, found = self.inspect(self.data)
        self.assertEqual(found["tokens"], 4)
        self.assertIn(str(path), [file["path"] for file in found["files"]])
        self.inspect(path)

    def test_names_that_are_no_text(self):
        path = bytes(self.data) + b"/caf\xe9.bin"
        with open(path, "wb") as file:
            file.write((self.data / "a.bin").read_bytes())
        _, found = self.inspect(self.data)
        self.assertEqual(found["files"][1]["path"], f"{self.data}/caf\ufffd.bin")

    def test_patterns(self):
        write_shard(self.data / "b.bin", [5])
        for pattern in ("data/*", "da*/*.bin", "d*"):
            self.assertEqual(self.inspect(pattern)[1]["tokens"], 4, pattern)
        (self.data / "README.md").write_text("notes")
        _, found = self.inspect("data/*")
        self.assertEqual(found["tokens"], 4)
        self.assertIn("README.md", found["warnings"][0])
        self.refuse(3, ["none*", "nothing that matches"], "inspect", "none*")


if __name__ == "__main__":
    unittest.main()
