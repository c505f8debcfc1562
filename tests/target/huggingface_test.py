"""New random checkpoints of each family, made with `transformers`, give the logits that it computes: tests/data/huggingface/make.py
writes them, and the tests of tests/target/huggingface_test.cpp read them in place of the committed ones."""

import os
import subprocess
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv" / "bin" / "python"  # with LibTorch, and transformers once tools/test has run


def can_import(module):
    return PYTHON.exists() and subprocess.run([PYTHON, "-c", f"import {module}"], capture_output=True).returncode == 0


class FreshCheckpoints(unittest.TestCase):
    def compare(self, script, one):
        """The checkpoints that a script writes, of which `one` has to be among those that were read."""
        if not can_import("transformers"):
            self.skipTest("NOT TESTED: transformers is not installed; tools/test installs it")
        seed = int.from_bytes(os.urandom(3), "big")
        with tempfile.TemporaryDirectory(prefix="vpd_huggingface_") as directory:
            subprocess.run([PYTHON, ROOT / script, "--out", directory, "--seed", str(seed)], check=True, capture_output=True)
            tests = Path(os.environ["VPD_BINARY_DIR"]) / "bin" / "vpd_target_tests"
            done = subprocess.run([tests, "--gtest_filter=*HuggingFaceLogits.*"], text=True, capture_output=True,
                                  env={**os.environ, "VPD_TEST_HUGGINGFACE": directory})
            self.assertEqual(done.returncode, 0, f"{script} --seed {seed}:\n{done.stdout}")
            self.assertIn(f"AreThoseOfTransformers/{one} ", done.stdout)

    def test_logits(self):
        self.compare("tests/data/huggingface/make.py", "gpt2")

    def test_logits_of_checkpoints_that_were_changed(self):
        self.compare("tests/target/huggingface_variants.py", "warned_linear_beside_parameters")


if __name__ == "__main__":
    unittest.main()
