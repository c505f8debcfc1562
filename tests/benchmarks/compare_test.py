"""benchmarks/compare.py with programs that only print: what is left of a comparison of which some sides fail."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(os.environ.get("VPD_SOURCE_DIR", Path(__file__).parents[2]))

OURS = {"device": "cpu", "commit": "0", "target": {"n_layer": 2, "vocabulary": 5}, "sites": [["h.0", 3]], "causal_importance": {},
        "subcomponents": 3, "parameters_components": 30, "parameters_ci": 10}


def measured(milliseconds):
    return {"ms_per_step": {"median": milliseconds, "min": milliseconds}, "peak_bytes": 100}


class Compare(unittest.TestCase):
    def setUp(self):
        self.root = Path(tempfile.mkdtemp(prefix="vpd_compare_"))
        self.addCleanup(shutil.rmtree, self.root)
        self.program("step", f"print({json.dumps({**OURS, **measured(10.0)})!r})")
        self.program("pytorch", f"""
if "--compile" in sys.argv:
    sys.exit("there is no compiler")
print({json.dumps(measured(30.0))!r})
""")

    def program(self, name, text):
        path = self.root / name
        path.write_text(f"#!{sys.executable}\nimport sys, time\n{text}\n")
        path.chmod(0o755)
        return path

    def compare(self, *arguments, sides=("--pytorch", "pytorch")):
        option, name = sides
        command = [sys.executable, ROOT / "benchmarks/compare.py", "--program", self.root / "step", option, self.root / name, "--config", "none",
                   "--batch", 1, "--seq", 1, "--json", self.root / "result.json", *arguments]
        return subprocess.run(list(map(str, command)), capture_output=True, text=True)

    def result(self):
        return json.loads((self.root / "result.json").read_text())

    def test_all_sides(self):
        done = self.compare("--rounds", 2)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.result()["ratios"]["pytorch"]["speed_median"], 3.0)
        self.assertEqual(len(self.result()["runs"]["pytorch"]), 2)
        self.assertEqual(self.result()["failed"], {})

    def test_a_side_that_fails_leaves_the_others(self):
        done = self.compare("--compile", "--rounds", 2)
        self.assertEqual(done.returncode, 1)
        self.assertIn("no result of pytorch_compile", done.stderr)
        self.assertIn("there is no compiler", done.stderr)
        self.assertEqual({name: len(side) for name, side in self.result()["runs"].items()}, {"ours": 2, "pytorch": 2})
        self.assertIn("there is no compiler", self.result()["failed"]["pytorch_compile"])

    def test_a_side_that_takes_too_long_leaves_the_others(self):
        self.program("jax", "time.sleep(600)")
        done = self.compare("--pytorch", self.root / "pytorch", "--preset", "ss_2l", "--rounds", 1, "--timeout", 8, sides=("--jax", "jax"))
        self.assertEqual(done.returncode, 1)
        self.assertIn("stopped after 8 s", self.result()["failed"]["jax"])
        self.assertEqual(self.result()["ratios"].keys(), {"pytorch"})

    def test_what_was_measured_is_kept_when_it_is_stopped(self):
        self.program("jax", "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)")
        done = self.compare("--pytorch", self.root / "pytorch", "--preset", "ss_2l", "--rounds", 1, sides=("--jax", "jax"))
        self.assertEqual(done.returncode, -9)
        self.assertEqual(self.result()["ratios"]["pytorch"]["speed_median"], 3.0)

    def test_other_shapes_are_no_comparison(self):
        self.program("pytorch", f"print({json.dumps({**measured(30.0), 'subcomponents': 4})!r})")
        done = self.compare("--rounds", 1)
        self.assertEqual(done.returncode, 1)
        self.assertIn("subcomponents: ours 3, pytorch's 4", done.stderr)
        self.assertEqual(self.result()["ratios"], {})

    def test_the_attention_of_jax(self):
        self.program("jax", f"assert sys.argv[-2:] == ['--attention', 'xla'], sys.argv\nprint({json.dumps(measured(20.0))!r})")
        done = self.compare("--preset", "ss_2l", "--rounds", 1, "--jax-attention", "xla", sides=("--jax", "jax"))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.result()["ratios"]["jax"]["speed_median"], 2.0)

    def test_nothing_without_our_own(self):
        self.program("step", "sys.exit('there is no GPU')")
        done = self.compare("--rounds", 1)
        self.assertEqual(done.returncode, 1)
        self.assertIn("there is no GPU", done.stderr)
        self.assertFalse((self.root / "result.json").exists())


if __name__ == "__main__":
    unittest.main()
