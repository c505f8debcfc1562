"""What the tests of tools/prepare_tokens share. What needs a Python package that this machine has not is skipped, loudly; VPD_TOKENS_PYTHON names a
Python that has them; without it .venv's, which has tokenizers once tools/test has run."""

import ast
import functools
import importlib.util
import json
import os
import struct
import subprocess
import sys
import unittest
from importlib.machinery import SourceFileLoader
from pathlib import Path

from support import ProgramTest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tools" / "prepare_tokens"
VENV = ROOT / ".venv" / "bin" / "python"
PYTHON = os.environ.get("VPD_TOKENS_PYTHON", str(VENV) if VENV.exists() else sys.executable)


@functools.lru_cache(None)
def has(package):
    return subprocess.run([PYTHON, "-c", f"import {package}"], capture_output=True).returncode == 0


def needs(*packages):
    missing = [package for package in packages if not has(package)]
    return unittest.skipIf(missing, f"NOT TESTED: {PYTHON} has no {', '.join(missing)}; set VPD_TOKENS_PYTHON to a Python that has")


def load_script():
    loader = SourceFileLoader("prepare_tokens", str(SCRIPT))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("prepare_tokens", loader))
    sys.dont_write_bytecode = True
    loader.exec_module(module)
    return module


def read_shard(path):
    content = path.read_bytes()
    magic, version, count = struct.unpack("<3i", content[:12])
    kind = {(20240520, 1): "H", (20240801, 7): "I"}[(magic, version)]
    return list(struct.unpack(f"<{count}{kind}", content[1024:])), kind


class PrepareTokens(ProgramTest):
    def prepare(self, *arguments, exit_code=0):
        result = subprocess.run([PYTHON, SCRIPT, *map(str, arguments)], cwd=self.root, capture_output=True, text=True)
        self.assertEqual(result.returncode, exit_code, result.stdout + result.stderr)
        return result

    def refuse_input(self, exit_code, words, *arguments):
        error = self.prepare(*arguments, exit_code=exit_code).stderr
        for word in words:
            self.assertIn(word, error)
        self.assertEqual(error.strip().split("\n")[-1].startswith("prepare_tokens: error: "), True, error)
        self.assertFalse(self.out.exists())
        self.assertEqual([path.name for path in self.root.iterdir() if path.name.startswith(".tmp-")], [])

    def write_text(self, lines=400):
        text = "".join(f"line {i}: the {i % 7}th day, and the evening and the morning\n" for i in range(lines))
        (self.root / "text.txt").write_text(text + "\n  \n", encoding="utf-8")
        return text

    def tokens(self, prefix="train"):
        ids = []
        for path in sorted(self.out.glob(f"{prefix}_*.bin")):
            ids += read_shard(path)[0]
        return ids

    def decode(self, ids):
        code = "import sys, json, tokenizers; t = tokenizers.Tokenizer.from_file(sys.argv[1]); " \
               "print(json.dumps(t.decode(json.load(sys.stdin), skip_special_tokens=False)))"
        result = subprocess.run([PYTHON, "-c", code, self.out / "tokenizer.json"], input=json.dumps(ids), capture_output=True, text=True, check=True)
        return json.loads(result.stdout)

    def run_python(self, code):
        """Runs the code under the tests' Python, in the test's directory; what it prints last is a Python literal."""
        result = subprocess.run([PYTHON, "-W", "ignore", "-c", code, SCRIPT], cwd=self.root, capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result.stderr)
        return ast.literal_eval(result.stdout.splitlines()[-1]) if result.stdout else None
